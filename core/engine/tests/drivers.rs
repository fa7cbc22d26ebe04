//! The same expectations of every driver that moves real datagrams, on loopback.

#[path = "common/netns.rs"]
mod netns;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bifrons_engine::driver::mmsg::{Mmsg, MmsgConfig};
use bifrons_engine::driver::uring::{Uring, UringConfig, probe};
use bifrons_engine::driver::xdp::{Interface, Xdp, XdpConfig};
use bifrons_engine::driver::{Clock, DATAGRAM_BYTES_MAX, Driver, HEADROOM, Received, Wait};

use netns::{Cable, INTERFACE};

type Real = Box<dyn Driver<Socket = UdpSocket>>;

/// With the namespaces that a driver is in, if any. All sockets made later are on the same loopback.
fn drivers(sockets_max: usize) -> Vec<(&'static str, Real, Option<Cable>)> {
    let mut all: Vec<(&'static str, Real, Option<Cable>)> =
        vec![("mmsg", Box::new(Mmsg::new(MmsgConfig { sockets_max }, Clock::start()).unwrap()), None)];
    match probe() {
        Ok(()) => {
            let config = UringConfig { sockets_max, hosted: false };
            all.push(("uring", Box::new(Uring::new(config, Clock::start()).unwrap()), None));
        }
        Err(why) => println!("skipped for uring: {why}"),
    }
    // What does not come by its interface, as on loopback, comes through its sockets.
    if let Some(cable) = Cable::new(1) {
        cable.enter(0);
        match Interface::open(INTERFACE, &[netns::address(0, false)], 1) {
            Ok(interface) => {
                let config = XdpConfig { sockets_max, worker: 0, interfaces: vec![Arc::new(interface)] };
                all.push(("xdp", Box::new(Xdp::new(config, Clock::start()).unwrap()), Some(cable)));
            }
            Err(why) if netns::is_not_granted(&why) => println!("skipped for xdp: {why}"),
            Err(why) => panic!("{why}"),
        }
    }
    all
}

fn bound(text: &str) -> UdpSocket {
    let socket = UdpSocket::bind(text).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn client(text: &str) -> UdpSocket {
    let socket = UdpSocket::bind(text).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Turns until `want` datagrams were seen; each goes back twice with a byte in front: once from a
/// copy, once in place. Returns (tag, length) of what was seen.
fn echo(driver: &mut Real, want: usize) -> Vec<(u64, usize)> {
    let mut batch: Vec<Received> = Vec::with_capacity(64);
    let mut seen = Vec::new();
    for _ in 0..5_000 {
        let deadline = driver.now() + Duration::from_millis(5);
        driver.wait(Wait::Until { deadline, coalesce_us: 200 });
        while driver.receive(&mut batch) > 0 {
            for Received { buffer, start, len, socket, tag, source } in batch.drain(..) {
                assert_eq!(start, HEADROOM);
                driver.bytes(&buffer)[start - 1] = b'>';
                let copy = driver.allocate().unwrap();
                let (from, to) = driver.bytes_pair(&buffer, &copy);
                to[start - 1..start + len].copy_from_slice(&from[start - 1..start + len]);
                driver.send(socket, source, copy, start - 1, len + 1);
                driver.send(socket, source, buffer, start - 1, len + 1);
                seen.push((tag, len));
            }
        }
        if seen.len() >= want {
            driver.wait(Wait::Poll);
            return seen;
        }
    }
    panic!("only {} of {want} arrived", seen.len());
}

fn expect_twice(socket: &UdpSocket, payload: &[u8]) {
    let mut buffer = [0; 2048];
    for _ in 0..2 {
        let n = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[0], b'>');
        assert_eq!(&buffer[1..n], payload);
    }
}

#[test]
fn datagrams_come_and_go_in_place_and_by_copy() {
    for (name, mut driver, _cable) in drivers(4) {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = bound(address);
            let to = socket.local_addr().unwrap();
            let key = driver.add_socket(socket, 7).unwrap();
            let peer = client(address);
            for len in [1, 12, 172, 1_200, DATAGRAM_BYTES_MAX] {
                let payload = vec![0x5a; len];
                peer.send_to(&payload, to).unwrap();
                assert_eq!(echo(&mut driver, 1), [(7, len)], "{name}");
                expect_twice(&peer, &payload);
            }
            driver.remove_socket(key);
        }
        let counters = driver.counters();
        assert_eq!((counters.received, counters.sent, counters.send_failed), (10, 20, 0), "{name}");
    }
}

/// Packets of one frame to one subscriber are one run for the kernel (`UDP_SEGMENT`), and arrive as they were.
#[test]
fn frames_to_many_subscribers_arrive_as_they_were() {
    for (name, mut driver, _cable) in drivers(4) {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let key = driver.add_socket(bound(address), 7).unwrap();
            let subscribers: Vec<UdpSocket> = (0..20).map(|_| client(address)).collect();
            let to: Vec<SocketAddr> = subscribers.iter().map(|socket| socket.local_addr().unwrap()).collect();
            let frames: [&[usize]; 3] = [&[1_200, 1_200, 1_200, 311], &[1_100], &[900, 901, 901, 40, 40]];
            let before = driver.counters().sent;
            for (number, len) in frames.into_iter().flatten().enumerate() {
                for (subscriber, to) in to.iter().enumerate() {
                    let buffer = driver.allocate().unwrap();
                    let bytes = &mut driver.bytes(&buffer)[HEADROOM..HEADROOM + len];
                    bytes.fill(number as u8);
                    bytes[0] = subscriber as u8;
                    driver.send(key, *to, buffer, HEADROOM, *len);
                }
            }
            driver.wait(Wait::Poll);
            assert_eq!(driver.counters().sent - before, 200, "{name}");
            let mut buffer = [0; 2_048];
            for (subscriber, socket) in subscribers.iter().enumerate() {
                for (number, len) in frames.into_iter().flatten().enumerate() {
                    assert_eq!(socket.recv(&mut buffer).unwrap(), *len, "{name}");
                    assert_eq!(buffer[0], subscriber as u8, "{name}");
                    assert!(buffer[1..*len].iter().all(|byte| *byte == number as u8), "{name}");
                }
            }
            driver.remove_socket(key);
        }
        let mut batch = Vec::with_capacity(8);
        driver.receive(&mut batch);
        assert_eq!(driver.counters().send_failed, 0, "{name}");
    }
}

#[test]
fn a_run_that_cannot_go_is_counted_whole() {
    for (name, mut driver, _cable) in drivers(2) {
        let key = driver.add_socket(bound("127.0.0.1:0"), 0).unwrap();
        for _ in 0..300 {
            for _ in 0..10 {
                let buffer = driver.allocate().unwrap_or_else(|| panic!("{name}: buffers leak"));
                driver.send(key, "[::1]:9".parse().unwrap(), buffer, HEADROOM, 100);
            }
            driver.wait(Wait::Poll);
            driver.receive(&mut Vec::with_capacity(64));
        }
        assert_eq!((driver.counters().sent, driver.counters().send_failed), (0, 3_000), "{name}");
    }
}

#[test]
fn a_datagram_that_is_too_long_is_counted_and_the_next_one_served() {
    for (name, mut driver, _cable) in drivers(4) {
        let socket = bound("127.0.0.1:0");
        let to = socket.local_addr().unwrap();
        driver.add_socket(socket, 1).unwrap();
        let peer = client("127.0.0.1:0");
        for len in [DATAGRAM_BYTES_MAX + 1, 9_000, 65_507] {
            peer.send_to(&vec![1; len], to).unwrap();
        }
        peer.send_to(b"short", to).unwrap();
        assert_eq!(echo(&mut driver, 1), [(1, 5)], "{name}");
        expect_twice(&peer, b"short");
        assert_eq!(driver.counters().truncated, 3, "{name}");
    }
}

#[test]
fn many_sockets_are_told_apart_and_more_datagrams_than_buffers_arrive() {
    for (name, mut driver, _cable) in drivers(200) {
        let to: Vec<SocketAddr> = (0..200)
            .map(|tag| {
                let socket = bound("127.0.0.1:0");
                let to = socket.local_addr().unwrap();
                driver.add_socket(socket, tag).unwrap();
                to
            })
            .collect();
        driver.wait(Wait::Poll);
        assert!(driver.add_socket(bound("127.0.0.1:0"), 0).is_err(), "{name}: the table is full");
        let peer = client("127.0.0.1:0");
        // 1,000 datagrams wait in the sockets at once: more than there are buffers.
        for round in 0..5_u8 {
            to.iter().for_each(|to| assert_eq!(peer.send_to(&[round; 20], to).unwrap(), 20));
        }
        let mut seen = echo(&mut driver, 1_000);
        seen.sort_unstable();
        let expected: Vec<_> = (0..200).flat_map(|tag| [(tag, 20); 5]).collect();
        assert_eq!(seen, expected, "{name}");
    }
}

#[test]
fn a_removed_socket_comes_back_and_its_slot_serves_another() {
    for (name, mut driver, _cable) in drivers(1) {
        for tag in 0..20 {
            let socket = bound("127.0.0.1:0");
            let to = socket.local_addr().unwrap();
            let key = driver.add_socket(socket, tag).unwrap();
            let peer = client("127.0.0.1:0");
            if tag % 2 == 0 {
                peer.send_to(b"hello", to).unwrap();
                assert_eq!(echo(&mut driver, 1), [(tag, 5)], "{name}");
                expect_twice(&peer, b"hello");
            }
            driver.remove_socket(key);
            driver.remove_socket(key);
            let mut batch = Vec::with_capacity(8);
            let (socket, its_tag) = loop {
                driver.wait(Wait::Poll);
                driver.receive(&mut batch);
                if let Some(removed) = driver.next_removed() {
                    break removed;
                }
            };
            assert_eq!((socket.local_addr().unwrap(), its_tag), (to, tag), "{name}");
            drop(socket);
            assert!(UdpSocket::bind(to).is_ok(), "{name}: the port is free again");
            let buffer = driver.allocate().unwrap();
            driver.send(key, to, buffer, HEADROOM, 10);
            driver.wait(Wait::Poll);
        }
        assert_eq!(driver.counters().send_failed, 20, "{name}: sends on a socket that is gone");
    }
}

#[test]
fn a_wake_up_ends_the_wait() {
    for (name, mut driver, _cable) in drivers(1) {
        for _ in 0..3 {
            let waker = driver.waker();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                waker.wake();
            });
            let deadline = driver.now() + Duration::from_secs(60);
            driver.wait(Wait::Until { deadline, coalesce_us: 500 });
            assert!(driver.now() < deadline, "{name}");
            let mut batch = Vec::with_capacity(8);
            assert_eq!(driver.receive(&mut batch), 0, "{name}");
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_wake_up_ends_a_nap_and_a_packet_does_not() {
    for (name, mut driver, _cable) in drivers(1) {
        let socket = bound("127.0.0.1:0");
        let to = socket.local_addr().unwrap();
        driver.add_socket(socket, 7).unwrap();
        let peer = client("127.0.0.1:0");
        let mut batch = Vec::with_capacity(8);
        for early in [false, true, false] {
            driver.wait(Wait::Poll);
            peer.send_to(b"packet", to).unwrap();
            let (waker, woken) = (driver.waker(), Arc::new(AtomicBool::new(false)));
            let also = Arc::clone(&woken);
            let wake = move || {
                also.store(true, Ordering::SeqCst);
                waker.wake();
            };
            let thread = if early {
                wake();
                None
            } else {
                Some(std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(20));
                    wake();
                }))
            };
            // Without the wake-up it would take an hour.
            let deadline = driver.now() + Duration::from_secs(7_200);
            driver.wait(Wait::Nap { deadline, nap_us: 3_600_000_000 });
            assert!(woken.load(Ordering::SeqCst), "{name}: the packet ended it");
            // The wake-up may have been taken in before what came by the socket.
            while driver.receive(&mut batch) == 0 {
                driver.wait(Wait::Poll);
            }
            assert_eq!(batch.len(), 1, "{name}");
            batch.drain(..).for_each(|received| driver.release(received.buffer));
            thread.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }
}

#[test]
fn after_a_nap_a_packet_ends_the_wait() {
    for (name, mut driver, _cable) in drivers(1) {
        let socket = bound("127.0.0.1:0");
        let to = socket.local_addr().unwrap();
        driver.add_socket(socket, 7).unwrap();
        let peer = client("127.0.0.1:0");
        let mut batch = Vec::with_capacity(8);
        for late in [false, true] {
            driver.wait(Wait::Poll);
            let peer = peer.try_clone().unwrap();
            let send = move || {
                peer.send_to(b"packet", to).unwrap();
            };
            let thread = if late {
                Some(std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(20));
                    send();
                }))
            } else {
                send();
                None
            };
            let deadline = driver.now() + Duration::from_secs(3_600);
            // A driver may end a wait early, but not late.
            while driver.receive(&mut batch) == 0 {
                driver.wait(Wait::Nap { deadline, nap_us: 500 });
                assert!(driver.now() < deadline, "{name}");
            }
            assert_eq!(batch.len(), 1, "{name}");
            batch.drain(..).for_each(|received| driver.release(received.buffer));
            thread.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }
}

#[test]
fn a_send_that_cannot_go_is_counted_and_gives_its_buffer_back() {
    for (name, mut driver, _cable) in drivers(2) {
        let key = driver.add_socket(bound("127.0.0.1:0"), 0).unwrap();
        // An IPv6 destination on an IPv4 socket is refused by the kernel.
        for _ in 0..5_000 {
            let buffer = driver.allocate().unwrap_or_else(|| panic!("{name}: buffers leak"));
            driver.send(key, "[::1]:9".parse().unwrap(), buffer, HEADROOM, 10);
            driver.wait(Wait::Poll);
            driver.receive(&mut Vec::with_capacity(64));
        }
        assert_eq!((driver.counters().sent, driver.counters().send_failed), (0, 5_000), "{name}");
    }
}
