//! Handshakes over a simulated network in simulated time.

use std::time::Duration;

use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVersion};

use super::datagrams::Datagrams;
use super::*;
use crate::Time;
use crate::srtp::{Backend, Inbound, MasterKey, Outbound, Profile};

const DELAY: Duration = Duration::from_millis(20);

/// Two sessions and the network between them; the seed decides what is lost.
struct Sim {
    now: Time,
    random: u64,
    loss_percent: u64,
    /// Datagrams on the way: when they arrive, whether at `server`, and what.
    wire: std::collections::VecDeque<(Time, bool, Vec<u8>)>,
    /// Every datagram that was sent, and whether by the client.
    log: Vec<(bool, Vec<u8>)>,
    client: Session,
    server: Session,
}

impl Sim {
    fn new(client: Session, server: Session) -> Self {
        let wire = Default::default();
        Self { now: Time::ZERO, random: 1, loss_percent: 0, wire, log: Vec::new(), client, server }
    }

    fn lossy(mut self, percent: u64, seed: u64) -> Self {
        (self.loss_percent, self.random) = (percent, seed * 2 + 1);
        self
    }

    fn is_lost(&mut self) -> bool {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % 100 < self.loss_percent
    }

    fn collect(&mut self) {
        for from_client in [true, false] {
            let from = if from_client { &mut self.client } else { &mut self.server };
            let sent: Vec<_> = std::iter::from_fn(|| from.poll_transmit()).collect();
            for datagram in sent {
                assert!(datagram.len() <= 1200, "{} bytes", datagram.len());
                self.log.push((from_client, datagram.clone()));
                if !self.is_lost() {
                    self.wire.push_back((self.now + DELAY, from_client, datagram));
                }
            }
        }
    }

    /// Runs until nothing is on the way and no timer runs, or the time is over.
    fn run(&mut self, until: Time) {
        loop {
            self.collect();
            let timeouts = [self.client.next_timeout(), self.server.next_timeout()];
            let next =
                self.wire.front().map(|(at, ..)| *at).into_iter().chain(timeouts.into_iter().flatten()).min();
            let Some(next) = next.filter(|at| *at <= until) else { return };
            self.now = self.now.max(next);
            let has_arrived = self.wire.front().is_some_and(|(at, ..)| *at <= self.now);
            if has_arrived && let Some((_, to_server, datagram)) = self.wire.pop_front() {
                let to = if to_server { &mut self.server } else { &mut self.client };
                to.handle_datagram(self.now, &datagram);
            } else {
                self.client.on_timeout(self.now);
                self.server.on_timeout(self.now);
            }
        }
    }

    fn finish(&mut self) -> (Event, Event) {
        self.run(Time::from_millis(120_000));
        (self.client.poll_event().expect("an end"), self.server.poll_event().expect("an end"))
    }
}

fn context(certificate: &Certificate) -> DtlsContext {
    DtlsContext::new(certificate, DtlsConfig::default()).unwrap()
}

fn of(certificate: &Certificate) -> Vec<Fingerprint> {
    vec![certificate.fingerprint(Hash::Sha256).unwrap()]
}

/// A client and a server that know each other.
fn pair() -> Sim {
    pair_with(&Certificate::generate().unwrap(), &Certificate::generate().unwrap(), DtlsConfig::default())
}

fn pair_with(client: &Certificate, server: &Certificate, config: DtlsConfig) -> Sim {
    let make = |own, role, peer| {
        let context = DtlsContext::new(own, config.clone()).unwrap();
        Session::new(&context, role, Time::ZERO, &of(peer)).unwrap()
    };
    Sim::new(make(client, Role::Client, server), make(server, Role::Server, client))
}

/// The server is connected, and the flight that would connect its client is lost.
fn pair_without_last_flight() -> Sim {
    let mut sim = pair();
    while !sim.server.is_connected() {
        sim.run(sim.now + DELAY / 4);
        sim.now += DELAY / 4;
    }
    sim.collect();
    sim.wire.clear();
    sim
}

fn connected(event: Event) -> Connected {
    match event {
        Event::Connected(connected) => connected,
        other => panic!("{other:?}"),
    }
}

fn keys(event: Event) -> SrtpKeys {
    connected(event).srtp.expect("SRTP")
}

/// A call's worth of use: what one end protects the other understands.
fn assert_usable(sender: &MasterKey, receiver: &MasterKey) {
    let mut out = Outbound::new(Backend::Native, sender).unwrap();
    let mut inn = Inbound::new(Backend::Libsrtp, receiver).unwrap();
    let clear = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3];
    let mut buf = [0; 64];
    buf[..clear.len()].copy_from_slice(&clear);
    let len = out.protect_rtp(&mut buf, clear.len()).unwrap();
    let len = inn.unprotect_rtp(Time::ZERO, &mut buf[..len]).unwrap();
    assert_eq!(buf[..len], clear);
}

/// Sessions live on handshake threads, contexts on workers.
#[test]
fn all_may_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<(Session, Tail, Event, Outbound, Inbound)>();
}

#[test]
fn both_ends_get_the_same_keys_and_can_use_them() {
    let mut sim = pair();
    let (client, server) = sim.finish();
    assert_eq!(sim.now, Time::ZERO + DELAY * 4, "two round trips");
    assert!(!format!("{client:?}").contains("key: ["), "no key in Debug");
    let (client, server) = (keys(client), keys(server));
    assert_eq!(client.profile, Profile::AeadAes128Gcm);
    assert_eq!((&client.local, &client.remote), (&server.remote, &server.local));
    assert_ne!(client.local, client.remote);
    assert_usable(&client.local, &server.remote);
    assert_usable(&server.local, &client.remote);
}

#[test]
fn every_profile_can_be_agreed_on() {
    let (a, b) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
    for profile in Profile::ALL {
        let config = DtlsConfig { profiles: vec![profile], ..DtlsConfig::default() };
        let (client, server) = pair_with(&a, &b, config).finish();
        let (client, server) = (keys(client), keys(server));
        assert_eq!((client.profile, server.profile), (profile, profile));
        assert_usable(&client.local, &server.remote);
    }
}

#[test]
fn an_rsa_certificate_does() {
    let rsa = || Certificate::generate_with(|| PKey::from_rsa(Rsa::generate(2048)?)).unwrap();
    let (client, server) = pair_with(&rsa(), &rsa(), DtlsConfig::default()).finish();
    assert_eq!(keys(client).local, keys(server).remote);
}

#[test]
fn a_fifth_of_all_datagrams_lost() {
    let (a, b) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
    let mut retransmissions = 0;
    for seed in 0..40 {
        let run = || {
            let mut sim = pair_with(&a, &b, DtlsConfig::default()).lossy(20, seed);
            let (client, server) = sim.finish();
            assert_eq!(keys(client).local, keys(server).remote, "seed {seed}");
            let counters = [sim.client.counters(), sim.server.counters()];
            (sim.now, counters, sim.log.len())
        };
        let first = run();
        assert_eq!(first, run(), "the same seed gives the same run");
        retransmissions += first.1[0].retransmissions + first.1[1].retransmissions;
    }
    assert!(retransmissions > 20, "{retransmissions}");
}

/// The one who waits for the last flight asks again, and the other, long connected, answers.
#[test]
fn a_lost_last_flight_is_sent_again() {
    let mut sim = pair_without_last_flight();
    assert!(!sim.client.is_connected());
    let (client, server) = sim.finish();
    assert_eq!(keys(client).local, keys(server).remote);
    assert!(sim.client.counters().retransmissions > 0);
    assert_eq!(sim.server.counters().errors_ignored, 0);
}

/// The same where the server's SSL is gone already; whatever else arrives there gets no answer.
#[test]
fn a_tail_sends_a_lost_last_flight_again() {
    let mut sim = pair_without_last_flight();
    let (mut client, mut now) = (sim.client, sim.now);
    let sent: Vec<_> = sim.log.iter().filter(|(by_client, _)| *by_client).map(|(_, d)| d.clone()).collect();
    let keys_of_server = keys(sim.server.poll_event().unwrap());
    let mut tail = sim.server.into_tail().unwrap();
    assert!(!tail.last_flight().is_empty());
    let mut answered = 0;
    for lost in [true, true, false] {
        now = client.next_timeout().expect("it waits");
        client.on_timeout(now);
        let flight: Vec<_> = std::iter::from_fn(|| client.poll_transmit()).collect();
        let repeats = |tail: &mut Tail, flight: &[Vec<u8>]| {
            flight.iter().filter(|datagram| tail.handle_datagram(datagram) == Some(TailEvent::Repeat)).count()
        };
        let mut tampered = flight.clone();
        tampered.iter_mut().for_each(|datagram| *datagram.last_mut().unwrap() ^= 1);
        assert_eq!(repeats(&mut tail, &tampered), 0, "not the peer's");
        assert_eq!(repeats(&mut tail, &flight), 1);
        assert_eq!(repeats(&mut tail, &flight), 0, "a replay");
        answered += 1;
        if !lost {
            tail.last_flight().iter().for_each(|datagram| client.handle_datagram(now, datagram));
        }
    }
    assert_eq!(keys(client.poll_event().unwrap()).local, keys_of_server.remote);
    assert!(sent.iter().all(|datagram| tail.handle_datagram(datagram).is_none()), "older than answered");
    // What comes after it is heard as before, and what was repeated may arrive twice.
    tail.last_flight().iter().for_each(|datagram| client.handle_datagram(now, datagram));
    assert_eq!((answered, client.poll_event()), (3, None));
    client.close();
    assert_eq!(tail.handle_datagram(&client.poll_transmit().unwrap()), Some(TailEvent::Closed));
}

#[test]
fn a_silent_peer_ends_the_handshake_in_time() {
    let mut sim = pair().lossy(100, 1);
    let (client, server) = sim.finish();
    assert_eq!(client, Event::Failed(FailReason::Timeout));
    assert_eq!(server, Event::Failed(FailReason::Timeout));
    assert_eq!(sim.now, Time::from_millis(30_000));
    // After 250 ms, 500 ms, and then each second: at 0.25, 0.75, 1.75 … 29.75 s.
    assert_eq!(sim.client.counters().retransmissions, 31);
    assert_eq!((sim.client.next_timeout(), sim.server.next_timeout()), (None, None));
}

#[test]
fn another_certificate_than_announced() {
    let [a, b, other] = [(); 3].map(|()| Certificate::generate().unwrap());
    // The server is deceived, then the client.
    for (expected_client, expected_server) in [(&other, &b), (&a, &other)] {
        let client = Session::new(&context(&a), Role::Client, Time::ZERO, &of(expected_server)).unwrap();
        let server = Session::new(&context(&b), Role::Server, Time::ZERO, &of(expected_client)).unwrap();
        let mut sim = Sim::new(client, server);
        let ends = sim.finish();
        let (deceived, other) = if std::ptr::eq(expected_client, &other) { (ends.1, ends.0) } else { ends };
        assert_eq!(deceived, Event::Failed(FailReason::FingerprintMismatch));
        assert!(matches!(other, Event::Failed(FailReason::Alert(_))), "{other:?}");
        assert!(sim.client.poll_event().is_none() && sim.server.poll_event().is_none());
        assert!(sim.client.send_application_data(b"x").is_err());
        assert!(sim.client.into_tail().is_none() && sim.server.into_tail().is_none());
    }
}

#[test]
fn nothing_leaves_before_the_fingerprint_is_known() {
    let [a, b, other] = [(); 3].map(|()| Certificate::generate().unwrap());
    for (announced, good) in [(&a, true), (&other, false)] {
        let client = Session::new(&context(&a), Role::Client, Time::ZERO, &of(&b)).unwrap();
        let server = Session::new(&context(&b), Role::Server, Time::ZERO, &[]).unwrap();
        let mut sim = Sim::new(client, server);
        sim.run(Time::from_millis(1_000));
        keys(sim.client.poll_event().unwrap());
        sim.client.send_application_data(b"early").unwrap();
        sim.run(Time::from_millis(2_000));
        assert_eq!(sim.server.poll_event(), None, "handshake done, but with whom?");
        assert!(sim.server.send_application_data(b"x").is_err());
        sim.server.set_remote_fingerprints(&of(announced)).unwrap();
        assert_eq!(sim.server.poll_application_data(), None);
        match sim.server.poll_event().unwrap() {
            Event::Connected(_) => assert!(good),
            Event::Failed(reason) => {
                assert!(!good);
                assert_eq!(reason, FailReason::FingerprintMismatch);
                sim.run(Time::from_millis(3_000));
                assert_eq!(sim.client.poll_event(), Some(Event::Closed), "the peer is told");
            }
            Event::Closed => panic!("closed"),
        }
    }
    // It is not waited for without end.
    let client = Session::new(&context(&a), Role::Client, Time::ZERO, &of(&b)).unwrap();
    let server = Session::new(&context(&b), Role::Server, Time::ZERO, &[]).unwrap();
    assert_eq!(Sim::new(client, server).finish().1, Event::Failed(FailReason::Timeout));
}

#[test]
fn sha1_alone_is_refused_unless_allowed() {
    let (a, b) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
    let sha1 = [a.fingerprint(Hash::Sha1).unwrap()];
    let error = Session::new(&context(&b), Role::Server, Time::ZERO, &sha1).unwrap_err();
    assert!(matches!(error, DtlsError::Fingerprint(FingerprintError::Weak)), "{error}");
    let mut late = Session::new(&context(&b), Role::Server, Time::ZERO, &[]).unwrap();
    assert!(late.set_remote_fingerprints(&sha1).is_err());
    // A stronger one beside it decides, right or wrong.
    let [wrong] = [b.fingerprint(Hash::Sha512).unwrap()];
    let client = || Session::new(&context(&a), Role::Client, Time::ZERO, &of(&b)).unwrap();
    let given = [sha1[0].clone(), wrong];
    let server = Session::new(&context(&b), Role::Server, Time::ZERO, &given).unwrap();
    assert_eq!(Sim::new(client(), server).finish().1, Event::Failed(FailReason::FingerprintMismatch));
    for hash in [Hash::Sha384, Hash::Sha512] {
        let given = [sha1[0].clone(), a.fingerprint(hash).unwrap()];
        let server = Session::new(&context(&b), Role::Server, Time::ZERO, &given).unwrap();
        keys(Sim::new(client(), server).finish().1);
    }
    let config = DtlsConfig { accept_sha1: true, ..DtlsConfig::default() };
    let allowing = DtlsContext::new(&b, config).unwrap();
    let server = Session::new(&allowing, Role::Server, Time::ZERO, &sha1).unwrap();
    keys(Sim::new(client(), server).finish().1);
}

#[test]
fn no_srtp_profile_in_common() {
    let (a, b) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
    let make = |own, peer, role, profile, require_srtp| {
        let config = DtlsConfig { profiles: vec![profile], require_srtp, ..DtlsConfig::default() };
        Session::new(&DtlsContext::new(own, config).unwrap(), role, Time::ZERO, &of(peer)).unwrap()
    };
    for require in [true, false] {
        let client = make(&a, &b, Role::Client, Profile::AeadAes128Gcm, require);
        let server = make(&b, &a, Role::Server, Profile::AesCm128HmacSha1_80, require);
        let (client, server) = Sim::new(client, server).finish();
        if require {
            assert_eq!(client, Event::Failed(FailReason::NoSrtpProfile));
            assert_eq!(server, Event::Failed(FailReason::NoSrtpProfile));
        } else {
            assert_eq!((connected(client).srtp, connected(server).srtp), (None, None));
        }
    }
}

/// A client made of OpenSSL alone.
fn raw_client(configure: impl FnOnce(&mut openssl::ssl::SslContextBuilder)) -> SslStream<Datagrams> {
    let mut builder = SslContext::builder(SslMethod::dtls()).unwrap();
    builder.set_options(SslOptions::NO_QUERY_MTU);
    builder.set_max_proto_version(Some(SslVersion::DTLS1_2)).unwrap();
    builder.set_tlsext_use_srtp("SRTP_AES128_CM_SHA1_80").unwrap();
    configure(&mut builder);
    let mut ssl = Ssl::new(&builder.build()).unwrap();
    ssl.set_mtu(1200).unwrap();
    ssl.set_connect_state();
    SslStream::new(ssl, Datagrams::new(16)).unwrap()
}

#[test]
fn a_client_without_certificate() {
    let (a, b) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
    let mut server = Session::new(&context(&b), Role::Server, Time::ZERO, &of(&a)).unwrap();
    let mut client = raw_client(|_| {});
    for _ in 0..10 {
        let _ = client.do_handshake();
        while let Some(datagram) = client.get_mut().pop() {
            server.handle_datagram(Time::ZERO, &datagram);
        }
        while let Some(datagram) = server.poll_transmit() {
            client.get_mut().incoming = Some(datagram);
            let _ = client.do_handshake();
        }
    }
    assert_eq!(server.poll_event(), Some(Event::Failed(FailReason::NoPeerCertificate)));
    assert_eq!(server.poll_event(), None);
}

/// ClientHello of a client whose only suite is replaced by TLS_RSA_WITH_NULL_SHA.
fn null_cipher_hello() -> Vec<u8> {
    let mut client = raw_client(|b| b.set_cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256").unwrap());
    let _ = client.do_handshake();
    let mut hello = client.get_mut().pop().unwrap();
    let at = hello.windows(2).position(|w| w == [0xc0, 0x2b]).unwrap();
    hello[at..at + 2].copy_from_slice(&[0x00, 0x02]);
    hello
}

#[test]
fn a_hello_with_a_null_cipher_changes_nothing() {
    let mut sim = pair();
    let hello = null_cipher_hello();
    for _ in 0..20 {
        sim.server.handle_datagram(Time::ZERO, &hello);
    }
    assert!(sim.server.poll_transmit().is_none(), "no alert");
    assert_eq!(sim.server.counters().hellos_refused, 20);
    let (client, server) = sim.finish();
    assert_eq!(keys(client).local, keys(server).remote);
    assert_eq!(sim.now, Time::ZERO + DELAY * 4, "no round trip more");

    // Where nothing better comes, the reason is told in the end.
    let mut sim = pair();
    sim.server.handle_datagram(Time::ZERO, &hello);
    sim.server.on_timeout(Time::from_millis(30_000));
    match sim.server.poll_event() {
        Some(Event::Failed(FailReason::HelloRefused(reason))) => assert_eq!(reason, "no shared cipher"),
        other => panic!("{other:?}"),
    }

    let mut sim = pair();
    for _ in 0..1_100 {
        sim.server.handle_datagram(Time::ZERO, &hello);
    }
    assert_eq!(sim.server.poll_event(), Some(Event::Failed(FailReason::HelloFlood)));
}

#[test]
fn garbage_before_between_and_after() {
    let mut sim = pair();
    let mut random = 7u64;
    let mut byte = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        (random >> 40) as u8
    };
    sim.collect();
    let real = sim.log[0].1.clone();
    // A well-formed handshake fragment of the validated peer is believed until the handshake is
    // done, so noise of that type comes after it only.
    let mut spray = |session: &mut Session, now, content_type: u8| {
        for n in 0..300usize {
            // Noise, noise in the shape of records, and real flights cut short or with bits flipped.
            let mut datagram: Vec<u8> = (0..n).map(|_| byte()).collect();
            match n % 4 {
                0 => {}
                1 if n > 13 => {
                    let len = (n - 13) as u16;
                    datagram[..11].copy_from_slice(&[content_type, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, n as u8]);
                    datagram[11..13].copy_from_slice(&len.to_be_bytes());
                }
                2 => datagram = real[..real.len() * n / 300].to_vec(),
                _ => {
                    // Alerts of epoch 1 that nobody authenticated.
                    datagram = vec![21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, n as u8, 0, 26];
                    datagram.extend((0..26).map(|_| byte()));
                }
            }
            session.handle_datagram(now, &datagram);
        }
    };
    spray(&mut sim.server, Time::ZERO, 30);
    let (client, server) = sim.finish();
    assert_eq!(keys(client).local, keys(server).remote);
    for content_type in 20..=26 {
        spray(&mut sim.server, sim.now, content_type);
        spray(&mut sim.client, sim.now, content_type);
    }
    sim.client.send_application_data(b"still here").unwrap();
    sim.run(sim.now + DELAY);
    assert_eq!(sim.server.poll_application_data().as_deref(), Some(&b"still here"[..]));
    assert!(sim.server.counters().garbage > 0);
}

/// Fragments that are never completed, overlap, or come in every order.
#[test]
fn a_flood_of_fragments() {
    let mut sim = pair();
    for n in 0..20_000u32 {
        let message = (n % 64) as u8;
        let total = 1 + n % 20_000;
        let offset = (n * 31) % total;
        let len = (total - offset).min(100) as usize;
        let mut datagram = vec![22, 0xfe, 0xfd, 0, 0, 0, 0];
        datagram.extend(n.to_be_bytes());
        datagram.extend(((12 + len) as u16).to_be_bytes());
        // Not message 0: the first message is the real hello's.
        datagram.extend([if n % 2 == 0 { 11 } else { 16 }]);
        datagram.extend(&total.to_be_bytes()[1..]);
        datagram.extend([0, message.max(2)]);
        datagram.extend(&offset.to_be_bytes()[1..]);
        datagram.extend(&(len as u32).to_be_bytes()[1..]);
        datagram.extend(vec![0xaa; len]);
        sim.server.handle_datagram(Time::ZERO, &datagram);
        while sim.server.poll_transmit().is_some() {}
    }
    // Whoever may send here is the validated peer: its handshake may fail by this, but soon, with
    // a reason, and with bounded queues.
    let (_, server) = sim.finish();
    assert!(!matches!(server, Event::Closed), "{server:?}");
}

#[test]
fn application_data_is_kept_to_a_bound() {
    let mut sim = pair();
    sim.finish();
    for n in 0..100u8 {
        sim.client.send_application_data(&[n; 100]).unwrap();
        sim.run(sim.now + DELAY);
    }
    for n in 0..APPLICATION_QUEUE_LEN_MAX as u8 {
        assert_eq!(sim.server.poll_application_data().as_deref(), Some(&[n; 100][..]));
    }
    assert_eq!(sim.server.poll_application_data(), None);
    assert_eq!(sim.server.counters().overflowed, 100 - APPLICATION_QUEUE_LEN_MAX as u64);
    let too_long = vec![0; 20_000];
    assert!(matches!(sim.server.send_application_data(&too_long), Err(DtlsError::TooLong(20_000))));
    // And nobody who forgets to send fills the memory.
    for _ in 0..100 {
        sim.server.send_application_data(b"x").unwrap();
    }
    assert_eq!(std::iter::from_fn(|| sim.server.poll_transmit()).count(), DATAGRAM_QUEUE_LEN_MAX);
}

#[test]
fn close_notify_between_sessions() {
    for client_closes in [true, false] {
        let mut sim = pair();
        sim.finish();
        let (from, to) = if client_closes {
            (&mut sim.client, &mut sim.server)
        } else {
            (&mut sim.server, &mut sim.client)
        };
        from.close();
        let farewell = from.poll_transmit().unwrap();
        to.handle_datagram(sim.now, &farewell);
        assert_eq!(to.poll_event(), Some(Event::Closed));
        assert!(to.poll_transmit().is_some(), "answered");
        assert!(to.send_application_data(b"x").is_err());
        to.handle_datagram(sim.now, &farewell);
        assert_eq!((to.poll_event(), from.poll_event()), (None, None));
    }
}

#[test]
fn close_notify_through_a_tail() {
    let suites = |sim: &Sim| sim.server.is_connected() && sim.client.is_connected();
    for (client_has_tail, lossy) in [(true, 0), (false, 0), (true, 30), (false, 30)] {
        let connect = || {
            let mut sim = pair().lossy(lossy, 5);
            sim.finish();
            assert!(suites(&sim));
            sim.client.send_application_data(b"advances the numbers").unwrap();
            sim.server.send_application_data(b"advances the numbers").unwrap();
            sim.loss_percent = 0;
            sim.run(sim.now + DELAY);
            if client_has_tail { (sim.client, sim.server) } else { (sim.server, sim.client) }
        };
        // The peer's farewell arrives at a tail.
        let (ours, mut peer) = connect();
        let mut tail = ours.into_tail().unwrap();
        assert_eq!(tail.last_flight().is_empty(), client_has_tail, "a server's is the last");
        peer.close();
        let farewell = peer.poll_transmit().unwrap();
        let mut tampered = farewell.clone();
        *tampered.last_mut().unwrap() ^= 1;
        assert_eq!(tail.handle_datagram(&tampered), None);
        for len in 0..farewell.len() {
            assert_eq!(tail.handle_datagram(&farewell[..len]), None);
        }
        assert_eq!(tail.handle_datagram(&farewell), Some(TailEvent::Closed));
        assert_eq!(tail.handle_datagram(&farewell), None);
        // And a tail's farewell at the peer.
        let (ours, mut peer) = connect();
        let mut tail = ours.into_tail().unwrap();
        let farewell = tail.close().unwrap();
        assert_eq!(tail.close(), None, "one nonce, one packet");
        peer.handle_datagram(Time::ZERO, &farewell);
        assert_eq!(peer.poll_event(), Some(Event::Closed));
        // Two tails.
        let (ours, peer) = connect();
        let (mut ours, mut peer) = (ours.into_tail().unwrap(), peer.into_tail().unwrap());
        assert_eq!(peer.handle_datagram(&ours.close().unwrap()), Some(TailEvent::Closed));
    }
}
