//! What a packet costs to protect and to unprotect, in nanoseconds, on both back ends.
//!
//! ```text
//! taskset -c 0 cargo run --release -p bifrons-rtc --example srtp_cost
//! ```
//!
//! Each figure is the median over batches; with 1,000 contexts the packets go to them in turn.

use std::time::Instant;

use bifrons_rtc::Time;
use bifrons_rtc::srtp::{Backend, Inbound, MasterKey, Outbound, Profile};

const PACKETS: usize = 48_000;
const BATCH: usize = 32;

fn main() {
    println!("{} bytes an Outbound, {} an Inbound", size_of::<Outbound>(), size_of::<Inbound>());
    println!("ns a packet, protect/unprotect; bytes of payload x contexts");
    println!("| profile | back end | 160 x 1 | 1,200 x 1 | 160 x 1,000 | 1,200 x 1,000 |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for profile in Profile::ALL {
        for backend in [Backend::Native, Backend::Libsrtp] {
            print!("| {profile} | {backend:?} |");
            for contexts in [1, 1_000] {
                for payload_len in [160, 1_200] {
                    let (protect, unprotect) = measure(profile, backend, contexts, payload_len);
                    print!(" {protect:.0}/{unprotect:.0} |");
                }
            }
            println!();
        }
    }
}

/// Median nanoseconds a packet.
fn measure(profile: Profile, backend: Backend, contexts: usize, payload_len: usize) -> (f64, f64) {
    let mut pairs: Vec<(Outbound, Inbound)> = (0..contexts)
        .map(|n| {
            let bytes: Vec<u8> = (0..profile.key_len() + profile.salt_len()).map(|i| (n ^ i) as u8).collect();
            let key = MasterKey::from_bytes(profile, &bytes).expect("the profile's length");
            (
                Outbound::new(backend, &key).expect("a context"),
                Inbound::new(backend, &key).expect("a context"),
            )
        })
        .collect();
    let len = 12 + payload_len;
    let batch = BATCH.max(contexts);
    let mut packets = vec![[0u8; 1_280]; batch];
    let mut sealed = vec![0; batch];
    let (mut protect, mut unprotect) = (Vec::new(), Vec::new());
    let mut sequence_number = 0u16;
    for round in 0..PACKETS / batch + 10 {
        for (n, packet) in packets.iter_mut().enumerate() {
            if n % contexts == 0 {
                sequence_number = sequence_number.wrapping_add(1);
            }
            packet[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
            packet[2..4].copy_from_slice(&sequence_number.to_be_bytes());
        }
        let start = Instant::now();
        for (n, packet) in packets.iter_mut().enumerate() {
            sealed[n] = pairs[n % contexts].0.protect_rtp(packet, len).expect("protected");
        }
        let between = Instant::now();
        for (n, packet) in packets.iter_mut().enumerate() {
            let packet = &mut packet[..sealed[n]];
            pairs[n % contexts].1.unprotect_rtp(Time::ZERO, packet).expect("authentic");
        }
        let end = Instant::now();
        if round >= 10 {
            protect.push((between - start).as_nanos() as f64 / batch as f64);
            unprotect.push((end - between).as_nanos() as f64 / batch as f64);
        }
    }
    (median(protect), median(unprotect))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
