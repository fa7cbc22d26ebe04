//! When the kernel received a datagram (`SO_TIMESTAMPNS`, socket(7)), for measuring: the reading
//! thread's own delay is not in it. The control message lies in the headroom, so who does not ask
//! for it pays nothing.

use std::io;
use std::os::fd::RawFd;

use super::address::NAME_BYTES;

/// Room for a name where a control message stands behind it: `sockaddr_in6` has 28 bytes.
pub(super) const NAME_BYTES_BEFORE_CONTROL: usize = 32;
/// Room for the control message: header and `timespec`.
pub(super) const CONTROL_BYTES: usize = NAME_BYTES - NAME_BYTES_BEFORE_CONTROL;

/// Asks the kernel for receive times on a socket.
pub(super) fn enable(fd: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` outlives the call and its size is given.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The time in a control message, nanoseconds since 1970 (`CLOCK_REALTIME`); `None` where it is
/// another message. `cmsghdr` is length, level, type; `timespec` follows, both 16 bytes on 64 bits.
pub(super) fn read(control: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u64::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(i32::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    if half(8)? != libc::SOL_SOCKET || half(12)? != libc::SCM_TIMESTAMPNS {
        return None;
    }
    word(16)?.checked_mul(1_000_000_000)?.checked_add(word(24)?)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, SystemTime};

    use super::super::mmsg::{Mmsg, MmsgConfig};
    use super::super::uring::{Uring, UringConfig};
    use super::super::{Clock, Driver, Wait};

    fn sent_between<D: Driver<Socket = UdpSocket>>(mut driver: D) {
        let since_1970 =
            || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let (address, sender) = (socket.local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        driver.add_socket(socket, 7).unwrap();
        driver.wait(Wait::Poll);
        let mut batch = Vec::with_capacity(4);
        // The kernel turns stamping on by a work item of its own after the first socket of the machine has
        // asked; until that has run a datagram gets the time at which it is read.
        let stamped_in_time = (0..50).any(|_| {
            let before = since_1970();
            sender.send_to(b"0123456789", address).unwrap();
            let after = since_1970();
            std::thread::sleep(Duration::from_millis(20));
            for _ in 0..100 {
                let deadline = driver.now() + Duration::from_millis(50);
                driver.wait(Wait::Until { deadline, coalesce_us: 0 });
                if driver.receive(&mut batch) > 0 {
                    break;
                }
            }
            let received = batch.pop().unwrap();
            let at = driver.arrived_ns(&received.buffer).unwrap();
            let bytes = &driver.bytes(&received.buffer)[received.start..received.start + received.len];
            assert_eq!((bytes, received.source), (&b"0123456789"[..], sender.local_addr().unwrap()));
            driver.release(received.buffer);
            (before..=after).contains(&at)
        });
        assert!(stamped_in_time);
    }

    #[test]
    fn the_kernel_says_when() {
        sent_between(Mmsg::new(MmsgConfig { sockets_max: 1 }, Clock::start()).unwrap().with_timestamps());
        match Uring::new(UringConfig { sockets_max: 1, hosted: false }, Clock::start()) {
            Ok(uring) => sent_between(uring.with_timestamps()),
            Err(error) => println!("skipped: io_uring: {error}"),
        }
    }
}
