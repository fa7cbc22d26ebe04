//! What a flood on one leg, or on the shared port, does to the others: round trips of 100 calls over
//! loopback, through one worker with a driver of its own choice.
//!
//! `cargo run --release -p bifrons-engine --example flood_latency [SECONDS]`
//!
//! All calls use one socket of the generator. Times are from before its send to after its receive, so the
//! generator's own share is in them, in every line the same.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bifrons_engine::counter::{Drop, Work};
use bifrons_engine::media::{
    Latching, MediaKind, Output, PayloadType, RtpOpen, RtpRemote, StreamConfig, StreamRef,
};
use bifrons_engine::{Engine, EngineConfig, LocalAddress, Media};

const CALLS: usize = 100;
const PACKETS_PER_S: u64 = 50;

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

fn packet(sequence: u16, since: Duration) -> [u8; 172] {
    let mut packet = [0; 172];
    packet[0] = 0x80;
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet[11] = 5;
    packet[12..20].copy_from_slice(&(since.as_nanos() as u64).to_be_bytes());
    packet
}

/// Sends so many packets a second to an address until told to stop. Gives how many.
fn flood(socket: &UdpSocket, to: SocketAddr, per_s: u64, stop: &AtomicBool) -> u64 {
    let start = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_micros() as u64 * per_s / 1_000_000;
        while sent < due {
            let _ = socket.send_to(&packet(sent as u16, start.elapsed()), to);
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    sent
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

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_micros(100))).expect("a socket option");
    println!(
        "{:<44} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "flood", "p50 us", "p99 us", "max us", "lost", "busy %", "dropped"
    );
    for (name, per_s, shared, budget) in [
        ("none", 0, false, true),
        ("one leg, 500 a second (10 times its rate)", 500, false, true),
        ("one leg, 20,000 a second", 20_000, false, true),
        ("one leg, 100,000 a second", 100_000, false, true),
        ("one leg, 100,000 a second, without budgets", 100_000, false, false),
        ("strangers on the shared port, 100,000", 100_000, true, true),
    ] {
        let mut config = EngineConfig {
            addresses: vec![LocalAddress { address: [127, 0, 0, 1].into(), advertised: None }],
            rtp_port_range: (40_000, 45_999),
            ..EngineConfig::default()
        };
        config.limits.legs = 256;
        if !budget {
            config.limits.budgets.audio_packets_per_s = 0;
        }
        let (mut engine, _) = Engine::start(config).expect("an engine");
        let own = socket.local_addr().expect("an address");
        let legs: Vec<SocketAddr> = (0..CALLS).map(|_| echo(&mut engine, own)).collect();
        let flooder = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let leg = echo(&mut engine, flooder.local_addr().expect("an address"));
        let to = if shared { engine.webrtc_addresses(0)[0] } else { leg };
        std::thread::sleep(Duration::from_millis(100));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || flood(&flooder, to, per_s, &stopped));
        let (took, sent) = round_trips(&socket, &legs, Duration::from_secs(seconds));
        let counters = engine.counters().remove(0);
        let busy = counters.work(Work::BusyPermille) / 10;
        stop.store(true, Ordering::Relaxed);
        let flooded = thread.join().expect("the flood ends by itself");
        let at =
            |permille: usize| took.get(took.len().saturating_sub(1) * permille / 1_000).copied().unwrap_or(0);
        let dropped = counters.dropped(Drop::LegOverBudget) + counters.dropped(Drop::UnknownSource);
        println!(
            "{name:<44} {:>8} {:>8} {:>8} {:>8} {busy:>8} {dropped:>9} of {flooded}",
            at(500),
            at(990),
            at(1_000),
            sent - took.len() as u64
        );
    }
}
