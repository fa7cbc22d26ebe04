//! A worker allocates nothing while media flow.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bifrons_engine::driver::mmsg::{Mmsg, MmsgConfig};
use bifrons_engine::driver::uring::{self, Uring, UringConfig};
use bifrons_engine::driver::{Clock, Driver};
use bifrons_engine::media::*;
use bifrons_engine::{Assembled, Engine, EngineConfig, LocalAddress, Media, Worker};
use bifrons_rtc::dtls::Certificate;
use bifrons_rtc::srtp::{Backend, Inbound, MasterKey, Outbound, Profile};

struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn note() {
    if WATCHED.with(Cell::get) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn steady_state<D: Driver<Socket = UdpSocket> + 'static>(driver: fn(Clock) -> D) {
    let config = EngineConfig {
        addresses: vec![LocalAddress { address: "127.0.0.1".parse().unwrap(), advertised: None }],
        rtp_port_range: (50_000, 59_999),
        ..EngineConfig::default()
    };
    let Assembled { mut engine, mut workers, clock, .. } =
        Engine::assemble(config, &Certificate::generate().unwrap()).unwrap();
    let parts = workers.remove(0);
    let (stop, watch) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (stopped, watched) = (stop.clone(), watch.clone());
    let thread = std::thread::spawn(move || {
        let mut worker = Worker::new(driver(clock), parts);
        while !stopped.load(Ordering::Relaxed) {
            WATCHED.with(|cell| cell.set(watched.load(Ordering::Relaxed)));
            worker.turn();
        }
        WATCHED.with(|cell| cell.set(false));
    });

    // An SRTP leg that echoes.
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let open = RtpOpen { near: None, ipv6: false, latching: Latching::Off, rtcp_mux: true };
    let local = engine.open_rtp_leg(open).unwrap();
    let suite = "AES_CM_128_HMAC_SHA1_80".to_owned();
    let sdes = Some(SdesKeys { suite, local: vec![1; 30], remote: vec![2; 30] });
    let remote = RtpRemote { rtp: phone.local_addr().unwrap(), rtcp: None, rtcp_mux: true, sdes };
    engine.set_rtp_remote(local.leg, remote).unwrap();
    let payload = PayloadType { number: 96, encoding: "vp8".to_owned(), clock_hz: 90_000, repairs: None };
    let config = StreamConfig {
        kind: MediaKind::Video,
        mid: "0".to_owned(),
        send: true,
        recv: true,
        payload_types: vec![payload],
        remote_ssrcs: vec![],
        remote_rtx_ssrc: None,
        local_ssrc: 7,
        local_rtx_ssrc: None,
        cname: "c".to_owned(),
        extensions: vec![(4, Extension::Mid), (5, Extension::TransportCc)],
        feedback: Feedback { nack: true, ..Feedback::default() },
    };
    engine.set_streams(local.leg, vec![config]).unwrap();
    let stream = StreamRef { leg: local.leg, mline: 0 };
    let echo = Output { to: stream, open: true, payload_types: vec![(96, 96)] };
    engine.set_route(stream, vec![echo]).unwrap();

    let key = |byte| MasterKey::from_bytes(Profile::AesCm128HmacSha1_80, &[byte; 30]).unwrap();
    let mut outbound = Outbound::new(Backend::Native, &key(2)).unwrap();
    let mut inbound = Inbound::new(Backend::Native, &key(1)).unwrap();
    let mut back = 0;
    for n in 0..1_000u16 {
        if n == 200 {
            watch.store(true, Ordering::Relaxed);
        }
        let mut packet = [0u8; 1_000];
        packet[..2].copy_from_slice(&[0x80, 96]);
        // A gap now and then, so that NACKs are made too.
        let sequence = n + n / 50;
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(n) * 3_000).to_be_bytes());
        packet[11] = 5;
        let len = outbound.protect_rtp(&mut packet, 900).unwrap();
        phone.send_to(&packet[..len], local.rtp).unwrap();
        // Reports and NACKs come in between.
        loop {
            let mut buffer = [0; 1_500];
            let len = match phone.recv(&mut buffer) {
                // The ring that the probe made on this thread is still being taken down.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                result => result.unwrap(),
            };
            if buffer[1] & 0x7f == 96 {
                inbound.unprotect_rtp(engine.now(), &mut buffer[..len]).unwrap();
                back += 1;
                break;
            }
        }
    }
    watch.store(false, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    assert_eq!(back, 1_000);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0, "the worker allocated or freed while media flowed");
}

#[test]
fn a_worker_allocates_nothing_while_media_flow() {
    // The count counts.
    WATCHED.with(|cell| cell.set(true));
    drop(std::hint::black_box(Box::new(1u64)));
    WATCHED.with(|cell| cell.set(false));
    assert_eq!(ALLOCATIONS.swap(0, Ordering::Relaxed), 2);

    steady_state(|clock| Mmsg::new(MmsgConfig { sockets_max: 64 }, clock).unwrap());
    match uring::probe() {
        Ok(()) => {
            steady_state(|clock| Uring::new(UringConfig { sockets_max: 64, hosted: false }, clock).unwrap())
        }
        Err(why) => println!("io_uring skipped: {why}"),
    }
}
