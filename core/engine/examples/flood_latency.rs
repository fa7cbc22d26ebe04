//! What a flood on one leg, or on the shared port, or video to many does to the others: round trips of 100 calls
//! over loopback, through one worker with a driver of its own choice.
//!
//! `cargo run --release -p bifrons-engine --example flood_latency [SECONDS]`
//!
//! The worker is on core 0; whoever measures and whoever floods are on core 1, the first with real-time
//! priority, so that the flooder does not make it late. Without the right to that, times are also the wait for
//! the flooder. All calls use one socket of the generator. Times are from before its send to after its receive.
//! On loopback the sender does the receiving half of the kernel's work as well.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bifrons_engine::counter::Counters;
use bifrons_engine::driver::thread::{pin_to_core, schedule_fifo};
use bifrons_engine::media::{
    Latching, MediaKind, Output, PayloadType, RtpOpen, RtpRemote, StreamConfig, StreamRef,
};
use bifrons_engine::{Engine, EngineConfig, LocalAddress, Media};

const CALLS: usize = 100;
const PACKETS_PER_S: u64 = 50;
/// Viewers of the video, and packets of a frame of it.
const VIEWERS: usize = 600;
const FRAME: u64 = 8;

/// A plain leg that echoes to this address; where it is.
fn echo(engine: &mut Engine, phone: SocketAddr) -> SocketAddr {
    let open = RtpOpen { latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
    let local = engine.open_rtp_leg(open).expect("a leg");
    engine.set_rtp_remote(local.leg, RtpRemote::muxed(phone)).expect("a remote address");
    let stream = StreamConfig::new(MediaKind::Audio, 7, vec![PayloadType::new(0, "pcmu", 8_000)]);
    engine.set_streams(local.leg, vec![stream]).expect("a stream");
    let stream = StreamRef { leg: local.leg, mline: 0 };
    let output = Output { to: stream, open: true, payload_types: vec![(0, 0)] };
    engine.set_route(stream, vec![output]).expect("a route");
    local.rtp
}

/// A plain leg whose video goes to this address, from there on `VIEWERS` times to `sink`; where it is.
fn video(engine: &mut Engine, camera: SocketAddr, sink: SocketAddr) -> SocketAddr {
    let mut leg = |remote, near| {
        let open = RtpOpen { near, latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
        let local = engine.open_rtp_leg(open).expect("a leg");
        engine.set_rtp_remote(local.leg, RtpRemote::muxed(remote)).expect("a remote address");
        let stream = StreamConfig::new(MediaKind::Video, 8, vec![PayloadType::new(96, "vp8", 90_000)]);
        engine.set_streams(local.leg, vec![stream]).expect("a stream");
        (StreamRef { leg: local.leg, mline: 0 }, local.rtp)
    };
    let (source, address) = leg(camera, None);
    let viewers: Vec<_> = (0..VIEWERS).map(|_| leg(sink, Some(source.leg)).0).collect();
    let output = |to| Output { to, open: true, payload_types: vec![(96, 96)] };
    engine.set_route(source, viewers.into_iter().map(output).collect()).expect("a route");
    address
}

fn packet(sequence: u16, since: Duration) -> [u8; 172] {
    let mut packet = [0; 172];
    packet[0] = 0x80;
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet[11] = 5;
    packet[12..20].copy_from_slice(&(since.as_nanos() as u64).to_be_bytes());
    packet
}

/// Sends so many packets a second to an address until told to stop. Gives how many, and for how long.
fn flood(socket: &UdpSocket, to: SocketAddr, per_s: u64, what: Target, stop: &AtomicBool) -> (u64, f64) {
    let start = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_micros() as u64 * per_s / 1_000_000;
        let due = if matches!(what, Target::Video) { due / FRAME * FRAME } else { due };
        while sent < due {
            let small = packet(sent as u16, start.elapsed());
            let (mut bytes, mut len) = ([0; 1_212], small.len());
            bytes[..len].copy_from_slice(&small);
            match what {
                Target::SharedStun => {
                    // A binding request with the cookie and an attribute that is not there.
                    bytes[..8].copy_from_slice(&[0, 1, 0, 152, 0x21, 0x12, 0xa4, 0x42]);
                }
                Target::Video => {
                    let marker = if sent % FRAME == FRAME - 1 { 0x80 } else { 0 };
                    bytes[1] = marker | 96;
                    bytes[4..8].copy_from_slice(&((sent / FRAME) as u32 * 3_600).to_be_bytes());
                    len = bytes.len();
                }
                _ => {}
            }
            let _ = socket.send_to(&bytes[..len], to);
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    (sent, start.elapsed().as_secs_f64())
}

/// Round trips of all calls for so long, sorted, in microseconds; and how many were sent.
fn round_trips(socket: &UdpSocket, legs: &[SocketAddr], time: Duration) -> (Vec<u64>, u64) {
    let start = Instant::now();
    let (mut sent, mut took, mut buffer) = (0u64, Vec::new(), [0; 2_048]);
    let mut until = time;
    while start.elapsed() < until {
        let due = (start.elapsed().as_micros() as u64 * PACKETS_PER_S * legs.len() as u64) / 1_000_000;
        while sent < due && start.elapsed() < time {
            let leg = legs[sent as usize % legs.len()];
            let sequence = (sent / legs.len() as u64) as u16;
            let _ = socket.send_to(&packet(sequence, start.elapsed()), leg);
            sent += 1;
        }
        // A little longer, for what is still on its way.
        until = time + Duration::from_millis(100);
        while let Ok((len, _)) = socket.recv_from(&mut buffer) {
            if len >= 20 && buffer[1] == 0 {
                let nanos = u64::from_be_bytes(buffer[12..20].try_into().expect("eight bytes"));
                took.push((start.elapsed().as_nanos() as u64).saturating_sub(nanos) / 1_000);
            }
        }
    }
    took.sort_unstable();
    (took, sent)
}

/// What is flooded, and from where.
#[derive(Clone, Copy)]
enum Target {
    /// A leg, by the source that it hears.
    Leg,
    /// A leg's port, by a stranger.
    LegPort,
    /// The shared port, with RTP of nobody.
    Shared,
    /// The shared port, with STUN of nobody.
    SharedStun,
    /// A leg with many viewers.
    Video,
}

/// Names, packets a second, targets, and whether legs have budgets.
const FLOODS: [(&str, u64, Target, bool); 10] = [
    ("none", 0, Target::Leg, true),
    ("one leg, 500 a second (10 times its rate)", 500, Target::Leg, true),
    ("one leg, 20,000 a second", 20_000, Target::Leg, true),
    ("one leg, 100,000 a second", 100_000, Target::Leg, true),
    ("one leg, 100,000 a second, without budgets", 100_000, Target::Leg, false),
    ("strangers on a leg's port, 500", 500, Target::LegPort, true),
    ("strangers on a leg's port, 100,000", 100_000, Target::LegPort, true),
    ("strangers on the shared port, RTP, 100,000", 100_000, Target::Shared, true),
    ("strangers on the shared port, STUN, 100,000", 100_000, Target::SharedStun, true),
    ("no flood: 25 frames to 600 viewers", 25 * FRAME, Target::Video, true),
];

/// CPU time of this process's threads so far, nanoseconds: the workers', and all others'.
fn used() -> (u64, u64) {
    let (mut workers, mut others) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let ns = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0u64);
        if read("comm").starts_with("bifrons-worker") { workers += ns } else { others += ns }
    }
    (workers, others)
}

/// What a worker counted by this name.
fn counted(counters: &Counters, name: &str) -> u64 {
    counters.all().into_iter().filter(|(other, _)| *other == name).map(|(_, value)| value).sum()
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let pinned = pin_to_core(1);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_micros(100))).expect("a socket option");
    // Nobody reads it: what it has no room for is dropped.
    let sink = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    println!(
        "{:<44} {:>7} {:>7} {:>7} {:>6} {:>9} {:>12} {:>10} {:>12}",
        "flood", "p50 us", "p99 us", "max us", "lost", "worker %", "generator %", "flooded/s", "of it read"
    );
    for (name, per_s, target, budget) in FLOODS {
        let mut config = EngineConfig {
            addresses: vec![LocalAddress { address: [127, 0, 0, 1].into(), advertised: None }],
            rtp_port_range: (40_000, 45_999),
            cores: vec![0],
            ..EngineConfig::default()
        };
        config.limits.legs = 1_024;
        if !budget {
            config.limits.budgets.audio_packets_per_s = 0;
        }
        let (mut engine, _) = Engine::start(config).expect("an engine");
        let own = socket.local_addr().expect("an address");
        let legs: Vec<SocketAddr> = (0..CALLS).map(|_| echo(&mut engine, own)).collect();
        let flooder = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let to = match target {
            Target::Leg => echo(&mut engine, flooder.local_addr().expect("an address")),
            Target::LegPort => legs[0],
            Target::Shared | Target::SharedStun => engine.webrtc_addresses(0)[0],
            Target::Video => video(
                &mut engine,
                flooder.local_addr().expect("an address"),
                sink.local_addr().expect("an address"),
            ),
        };
        std::thread::sleep(Duration::from_millis(100));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || flood(&flooder, to, per_s, target, &stopped));
        let measured = std::thread::spawn({
            let socket = socket.try_clone().expect("a descriptor");
            move || {
                let fifo = schedule_fifo(1);
                (round_trips(&socket, &legs, Duration::from_secs(seconds)), fifo)
            }
        });
        let (before, began) = (used(), Instant::now());
        std::thread::sleep(Duration::from_secs(seconds));
        let (after, took_s) = (used(), began.elapsed().as_secs_f64());
        let ((took, sent), fifo) = measured.join().expect("the measurement ends by itself");
        stop.store(true, Ordering::Relaxed);
        let (flooded, flooded_s) = thread.join().expect("the flood ends by itself");
        std::thread::sleep(Duration::from_millis(100));
        let read = counted(&engine.counters()[0], "received").saturating_sub(sent);
        if per_s == 0 {
            for error in [pinned.as_ref().err(), fifo.as_ref().err()].into_iter().flatten() {
                println!("not where or what it should be: {error}");
            }
        }
        let share = |ns: u64| ns as f64 / 1e7 / took_s;
        let at =
            |permille: usize| took.get(took.len().saturating_sub(1) * permille / 1_000).copied().unwrap_or(0);
        println!(
            "{name:<44} {:>7} {:>7} {:>7} {:>6} {:>9.0} {:>12.0} {:>10.0} {:>10.1} %",
            at(500),
            at(990),
            at(1_000),
            sent - took.len() as u64,
            share(after.0 - before.0),
            share(after.1 - before.1),
            flooded as f64 / flooded_s,
            read as f64 / flooded.max(1) as f64 * 100.0,
        );
    }
}
