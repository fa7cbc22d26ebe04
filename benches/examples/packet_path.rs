//! Sends packets through one worker on the network in memory, for a profiler to look at.
//!
//! ```sh
//! cargo run --release -p bifrons-benches --example packet_path -- srtp-srtp [LEGS [TURNS [PROFILE]]]
//! benches/packet-instructions     # instructions a packet by function, all ways (wants valgrind)
//! ```
//!
//! The ways are `rtp-rtp`, `srtp-rtp`, `rtp-srtp` and `srtp-srtp`. Each leg that receives has its packets sent on by
//! another one; a turn is a packet of 160 bytes of payload to each of the `LEGS` that receive. Everything that the worker
//! does for them is inside `measured`, and nothing else is.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bifrons_engine::driver::sim::{Link, Network, SimDriver};
use bifrons_engine::media::*;
use bifrons_engine::{EngineConfig, LocalAddress, Media, SimEngine, Worker};
use bifrons_rtc::Time;
use bifrons_rtc::dtls::Certificate;
use bifrons_rtc::srtp::{Backend, Inbound, MasterKey, Outbound, Profile};

const PAYLOAD_LEN: usize = 160;
/// Packets that wait for the worker together: no more than it takes in a turn.
const BATCH: usize = 200;
/// Turns before those that are measured: reports are sent, SSRCs have their places.
const WARM_UP_TURNS: usize = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let way = arguments.first().map_or("srtp-srtp", String::as_str);
    let (from, to) = match way {
        "rtp-rtp" => (false, false),
        "srtp-rtp" => (true, false),
        "rtp-srtp" => (false, true),
        "srtp-srtp" => (true, true),
        _ => panic!("{way} is none of rtp-rtp, srtp-rtp, rtp-srtp, srtp-srtp"),
    };
    let (legs, turns) = (number(1, 100), number(2, 100));
    let suite = arguments.get(3).map_or("AEAD_AES_128_GCM", String::as_str);
    let profile = Profile::from_sdes_name(suite).expect("a suite of RFC 4568 or RFC 7714");
    let mut calls = Calls::new(legs, from.then_some(profile), to.then_some(profile));
    (0..WARM_UP_TURNS).for_each(|_| _ = calls.turn());
    let mut times: Vec<Duration> = (0..turns).map(|_| calls.turn()).collect();
    times.sort();
    let ns = times[turns / 2].as_nanos() as f64 / legs as f64;
    println!("{way} {suite}: {} packets, {ns:.0} ns a packet (median of {turns} turns)", legs * turns);
}

/// What the worker does for the packets that have come.
#[inline(never)]
fn measured(worker: &mut Worker<SimDriver>, now: Time) {
    while worker.turn_at(now) {}
}

/// Pairs of legs. What the first of a pair receives, the second sends.
struct Calls {
    network: Network,
    sim: SimEngine,
    host: usize,
    first: Vec<End>,
    second: Vec<End>,
    sequence: u16,
}

/// The far end of a leg.
struct End {
    address: SocketAddr,
    local: SocketAddr,
    stream: StreamRef,
    srtp: Option<(Inbound, Outbound)>,
}

impl Calls {
    fn new(legs: usize, from: Option<Profile>, to: Option<Profile>) -> Self {
        let network = Network::new(1, Link::default(), Time::from_millis(1));
        let config = EngineConfig {
            addresses: vec![LocalAddress { address: [10, 0, 0, 1].into(), advertised: None }],
            webrtc_port: Some(5_000),
            ..EngineConfig::default()
        };
        let certificate = Certificate::generate().expect("a certificate");
        let sim = SimEngine::new(config, &certificate, &network, 1, 512).expect("an engine");
        let host = network.add_host();
        let mut calls = Self { network, sim, host, first: Vec::new(), second: Vec::new(), sequence: 0 };
        for call in 0..legs {
            let (a, b) = (calls.end(2 * call, from), calls.end(2 * call + 1, to));
            let output = Output { to: b.stream, open: true, payload_types: vec![(0, 0)] };
            calls.sim.engine.set_route(a.stream, vec![output]).expect("a route");
            calls.sim.turn();
            calls.first.push(a);
            calls.second.push(b);
        }
        calls
    }

    fn end(&mut self, number: usize, profile: Option<Profile>) -> End {
        let Self { network, sim, host, .. } = self;
        let address = SocketAddr::from(([10, 0, 0, 2], 1_024 + number as u16));
        assert!(network.bind(*host, address));
        let keys = profile.map(|profile| [1, 2].map(|salt| key(profile, number, salt)));
        let sdes = keys.as_ref().map(|[ours, theirs]| SdesKeys {
            suite: ours.profile().sdes_name().to_owned(),
            local: ours.expose().to_vec(),
            remote: theirs.expose().to_vec(),
        });
        let open = RtpOpen { latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
        let local = sim.engine.open_rtp_leg(open).expect("a leg");
        let remote = RtpRemote { sdes, ..RtpRemote::muxed(address) };
        sim.engine.set_rtp_remote(local.leg, remote).expect("an address");
        let pcmu = PayloadType::new(0, "pcmu", 8_000);
        let line = StreamConfig::new(MediaKind::Audio, 1_000 + number as u32, vec![pcmu]);
        sim.engine.set_streams(local.leg, vec![line]).expect("a stream");
        sim.turn();
        let srtp = keys.map(|[ours, theirs]| {
            let inbound = Inbound::new(Backend::Libsrtp, &ours).expect("a context");
            (inbound, Outbound::new(Backend::Libsrtp, &theirs).expect("a context"))
        });
        End { address, local: local.rtp, stream: StreamRef { leg: local.leg, mline: 0 }, srtp }
    }

    /// A packet to each of the first legs. Gives the time that the worker took.
    fn turn(&mut self) -> Duration {
        self.sequence = self.sequence.wrapping_add(1);
        (0..self.first.len().div_ceil(BATCH)).map(|batch| self.batch(batch * BATCH)).sum()
    }

    fn batch(&mut self, start: usize) -> Duration {
        let sending = self.first.iter_mut().skip(start).take(BATCH);
        let expected = sending.len();
        for end in sending {
            let mut packet = [0x55; 12 + PAYLOAD_LEN + 32];
            packet[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
            packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
            packet[4..8].copy_from_slice(&(u32::from(self.sequence) * 160).to_be_bytes());
            let len = 12 + PAYLOAD_LEN;
            let len = match &mut end.srtp {
                Some((_, outbound)) => outbound.protect_rtp(&mut packet, len).expect("protected"),
                None => len,
            };
            self.network.send(end.address, end.local, &packet[..len]);
        }
        self.network.advance(self.network.now() + Duration::from_millis(2));
        let now = self.network.now();
        let start = Instant::now();
        measured(&mut self.sim.workers[0], now);
        let time = start.elapsed();
        self.network.advance(now + Duration::from_millis(2));
        let mut came = 0;
        while let Some((_, to, mut bytes)) = self.network.take(self.host) {
            let number = usize::from(to.port() - 1_024);
            // The second of a pair hears media; both get reports.
            let end = &mut if number % 2 == 1 { &mut self.second } else { &mut self.first }[number / 2];
            if bytes[1] & 0x7f != 0 {
                continue;
            }
            let len = match &mut end.srtp {
                Some((inbound, _)) => inbound.unprotect_rtp(now, &mut bytes).expect("authentic"),
                None => bytes.len(),
            };
            assert_eq!(bytes[12..len], [0x55; PAYLOAD_LEN], "the payload arrives as it was sent");
            came += 1;
        }
        assert_eq!(came, expected, "packets were lost");
        while self.sim.engine.poll_notice().is_some() {}
        time
    }
}

/// A key of a number, so that two runs do the same.
fn key(profile: Profile, number: usize, salt: usize) -> MasterKey {
    let byte = |at: usize| (number >> (8 * (at % 2))) as u8 ^ (at * 7 + salt) as u8;
    let bytes: Vec<u8> = (0..profile.key_len() + profile.salt_len()).map(byte).collect();
    MasterKey::from_bytes(profile, &bytes).expect("the profile's length")
}
