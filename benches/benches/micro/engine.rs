//! A worker's whole turn on a network in memory, and its timers.

use std::time::{Duration, Instant};

use bifrons_engine::driver::sim::{Link, Network};
use bifrons_engine::media::*;
use bifrons_engine::timer::Wheel;
use bifrons_engine::{EngineConfig, LocalAddress, Media, SimEngine};
use bifrons_rtc::Time;
use bifrons_rtc::dtls::Certificate;
use criterion::Criterion;

/// Legs, and packets of a turn: one of each.
const LEGS: usize = 100;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    let mut route = Route::new();
    group.bench_function("route a packet, plain RTP", |bencher| {
        bencher.iter_custom(|packets| route.run(packets));
    });

    let keys = 10_000;
    let mut wheel = Wheel::new(keys as usize, Time::ZERO);
    let mut now = Time::ZERO;
    for key in 0..keys {
        wheel.set(key, Some(now + Duration::from_millis(u64::from(key % 5_000) + 1)));
    }
    group.bench_function("set a timer and have it fire, 10,000 keys", |bencher| {
        bencher.iter_custom(|timers| {
            let start = Instant::now();
            let mut fired = 0;
            while fired < timers {
                now += Duration::from_millis(1);
                while let Some(key) = wheel.expired(now) {
                    fired += 1;
                    wheel.set(key, Some(now + Duration::from_millis(5_000)));
                }
            }
            start.elapsed()
        });
    });
    group.finish();
}

/// Legs whose packets go back to where they came from.
struct Route {
    network: Network,
    sim: SimEngine,
    host: usize,
    legs: Vec<(std::net::SocketAddr, std::net::SocketAddr)>,
    packet: [u8; 172],
    sequence: u16,
}

impl Route {
    fn new() -> Self {
        let network = Network::new(1, Link::default(), Time::from_millis(1));
        let config = EngineConfig {
            addresses: vec![LocalAddress { address: [10, 0, 0, 1].into(), advertised: None }],
            webrtc_port: Some(5_000),
            ..EngineConfig::default()
        };
        let certificate = Certificate::generate().expect("a certificate");
        let mut sim = SimEngine::new(config, &certificate, &network, 1, 512).expect("an engine");
        let host = network.add_host();
        let mut legs = Vec::new();
        for leg in 0..LEGS {
            let phone = std::net::SocketAddr::from(([10, 0, 0, 2], 6_000 + leg as u16));
            assert!(network.bind(host, phone));
            let engine = &mut sim.engine;
            let open = RtpOpen { latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
            let local = engine.open_rtp_leg(open).expect("a leg");
            engine.set_rtp_remote(local.leg, RtpRemote::muxed(phone)).expect("an address");
            let pcmu = PayloadType::new(0, "pcmu", 8_000);
            let line = StreamConfig::new(MediaKind::Audio, 1_000 + leg as u32, vec![pcmu]);
            engine.set_streams(local.leg, vec![line]).expect("a stream");
            let stream = StreamRef { leg: local.leg, mline: 0 };
            let output = Output { to: stream, open: true, payload_types: vec![(0, 0)] };
            engine.set_route(stream, vec![output]).expect("a route");
            legs.push((phone, local.rtp));
            sim.turn();
        }
        let mut packet = [0x55; 172];
        packet[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        Self { network, sim, host, legs, packet, sequence: 0 }
    }

    /// The time that the worker takes for so many packets.
    fn run(&mut self, packets: u64) -> Duration {
        let mut time = Duration::ZERO;
        let mut left = packets as usize;
        while left > 0 {
            let count = left.min(LEGS);
            left -= count;
            self.sequence = self.sequence.wrapping_add(1);
            self.packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
            for (phone, local) in &self.legs[..count] {
                self.network.send(*phone, *local, &self.packet);
            }
            self.network.advance(self.network.now() + Duration::from_millis(20));
            let now = self.network.now();
            let start = Instant::now();
            self.sim.workers[0].turn_at(now);
            time += start.elapsed();
            self.network.advance(now + Duration::from_millis(1));
            let mut came = 0;
            while let Some((_, _, bytes)) = self.network.take(self.host) {
                came += usize::from(bytes.len() == 172);
            }
            assert_eq!(came, count, "packets were lost");
            while self.sim.engine.poll_notice().is_some() {}
        }
        time
    }
}
