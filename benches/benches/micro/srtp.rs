//! Both back ends, every profile, short and long packets, one context and a thousand in turn.

use std::time::{Duration, Instant};

use bifrons_rtc::Time;
use bifrons_rtc::srtp::{Backend, Inbound, MasterKey, Outbound, Profile};
use criterion::{BenchmarkId, Criterion};

pub fn benches(criterion: &mut Criterion) {
    for (what, protects) in [("srtp protect", true), ("srtp unprotect", false)] {
        let mut group = criterion.benchmark_group(what);
        for profile in Profile::ALL {
            for backend in [Backend::Native, Backend::Libsrtp] {
                for (payload_len, contexts) in [(160, 1), (1_200, 1), (160, 1_000), (1_200, 1_000)] {
                    let name = format!("{profile} {backend:?}");
                    let id = BenchmarkId::new(name, format!("{payload_len} x {contexts}"));
                    let mut calls = Calls::new(profile, backend, payload_len, contexts);
                    group.bench_function(id, |bencher| {
                        bencher.iter_custom(|packets| calls.run(packets, protects));
                    });
                }
            }
        }
        group.finish();
    }
}

/// Packets between two looks at the clock, at least.
const BATCH: usize = 64;

/// Contexts that have a packet in turn.
struct Calls {
    contexts: Vec<(Outbound, Inbound)>,
    packets: Vec<Vec<u8>>,
    len: usize,
    sequence: u16,
}

impl Calls {
    fn new(profile: Profile, backend: Backend, payload_len: usize, contexts: usize) -> Self {
        let contexts = (0..contexts).map(|n| {
            let bytes: Vec<u8> = (0..profile.key_len() + profile.salt_len()).map(|i| (n ^ i) as u8).collect();
            let key = MasterKey::from_bytes(profile, &bytes).expect("the profile's length");
            let outbound = Outbound::new(backend, &key).expect("a context");
            (outbound, Inbound::new(backend, &key).expect("a context"))
        });
        let contexts: Vec<_> = contexts.collect();
        let packets = vec![vec![0; 12 + payload_len + 64]; contexts.len().max(BATCH)];
        Self { contexts, packets, len: 12 + payload_len, sequence: 0 }
    }

    /// The time of so many packets, in one direction.
    fn run(&mut self, packets: u64, protects: bool) -> Duration {
        let mut time = Duration::ZERO;
        let mut left = packets as usize;
        while left > 0 {
            let (packets, contexts) = (&mut self.packets[..], &mut self.contexts[..]);
            let count = left.min(packets.len());
            left -= count;
            for (n, packet) in packets[..count].iter_mut().enumerate() {
                if n % contexts.len() == 0 {
                    self.sequence = self.sequence.wrapping_add(1);
                }
                packet[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
                packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
            }
            let start = Instant::now();
            let mut len = 0;
            for pass in packets[..count].chunks_mut(contexts.len()) {
                for ((outbound, _), packet) in contexts.iter_mut().zip(pass) {
                    len = outbound.protect_rtp(packet, self.len).expect("protected");
                }
            }
            let between = Instant::now();
            for pass in packets[..count].chunks_mut(contexts.len()) {
                for ((_, inbound), packet) in contexts.iter_mut().zip(pass) {
                    inbound.unprotect_rtp(Time::ZERO, &mut packet[..len]).expect("authentic");
                }
            }
            time += if protects { between - start } else { between.elapsed() };
        }
        time
    }
}
