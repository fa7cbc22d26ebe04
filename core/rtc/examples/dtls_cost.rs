//! What a DTLS handshake costs each side, in microseconds of its own thread's time, and how much
//! memory a finished session and its tail hold.
//!
//! ```text
//! taskset -c 0 cargo run --release -p bifrons-rtc --example dtls_cost
//! ```

use std::time::{Duration, Instant};

use bifrons_rtc::Time;
use bifrons_rtc::dtls::{Certificate, DtlsConfig, DtlsContext, Event, Hash, Role, Session};

const HANDSHAKES: usize = 1_000;

fn main() {
    let certificates = [(); 2].map(|()| Certificate::generate().expect("a certificate"));
    let contexts =
        certificates.each_ref().map(|c| DtlsContext::new(c, DtlsConfig::default()).expect("a context"));
    let fingerprints = certificates.each_ref().map(|c| [c.fingerprint(Hash::Sha256).expect("a fingerprint")]);

    let (mut client_us, mut server_us) = (Vec::new(), Vec::new());
    let mut sessions = Vec::with_capacity(HANDSHAKES);
    let before_kib = resident_kib();
    for _ in 0..HANDSHAKES {
        let mut spent = [Duration::ZERO; 2];
        let mut client = timed(&mut spent[0], || {
            Session::new(&contexts[0], Role::Client, Time::ZERO, &fingerprints[1]).expect("a session")
        });
        let mut server = timed(&mut spent[1], || {
            Session::new(&contexts[1], Role::Server, Time::ZERO, &fingerprints[0]).expect("a session")
        });
        while !(client.is_connected() && server.is_connected()) {
            while let Some(datagram) = client.poll_transmit() {
                timed(&mut spent[1], || server.handle_datagram(Time::ZERO, &datagram));
            }
            while let Some(datagram) = server.poll_transmit() {
                timed(&mut spent[0], || client.handle_datagram(Time::ZERO, &datagram));
            }
        }
        assert!(matches!(server.poll_event(), Some(Event::Connected(_))));
        client_us.push(spent[0].as_secs_f64() * 1e6);
        server_us.push(spent[1].as_secs_f64() * 1e6);
        sessions.push(server);
    }
    let held_kib = resident_kib() - before_kib;
    println!("client {:.0} us, server {:.0} us a handshake (median)", median(client_us), median(server_us));
    println!("a connected session holds about {:.1} KiB", held_kib / HANDSHAKES as f64);

    let start = Instant::now();
    let tails: Vec<_> = sessions.into_iter().map(|s| s.into_tail().expect("a tail")).collect();
    println!("into_tail {:.1} us", start.elapsed().as_secs_f64() * 1e6 / HANDSHAKES as f64);
    let flight: usize = tails[0].last_flight().iter().map(Vec::len).sum();
    println!("a tail is {} bytes, and the last flight {flight}", size_of_val(&tails[0]));
}

fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *spent += start.elapsed();
    result
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Resident memory of this process; zero where there is no /proc.
fn resident_kib() -> f64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .unwrap_or(0.0)
}
