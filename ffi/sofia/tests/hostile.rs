//! What attackers and odd peers send: the gate, the torture messages of RFC 4475, mutated messages.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bifrons_sip_protocol::*;
use common::*;

/// That the program still takes and answers a request. As any client does over UDP, it sends the request
/// again until the answer is there (RFC 3261 §17.1.2.2): behind thousands of messages, and of answers to
/// them, a single datagram finds the socket full, its own or the program's.
fn assert_serves(sip: &mut Sip, peer: &Peer, name: &str) {
    const RETRANSMIT: Duration = Duration::from_millis(500);
    let request = peer.request("OPTIONS", name, &Call::new(name, "sip:us@127.0.0.1"), "", "");
    let call_id = format!("Call-ID: {name}\r\n");
    let deadline = Instant::now() + PATIENCE;
    let mut due = Instant::now();
    while Instant::now() < deadline {
        if Instant::now() >= due {
            peer.send(&request);
            due += RETRANSMIT;
        }
        answer_all(sip, &call_id);
        let answer = peer.try_recv(Duration::from_millis(5));
        if answer.is_some_and(|text| text.starts_with("SIP/2.0 200 ") && text.contains(&call_id)) {
            return sip.assert_alive();
        }
    }
    panic!("{name} was not answered");
}

/// Answers everything that waits, as control would: 200 where `wanted` stands in it, else 404.
fn answer_all(sip: &mut Sip, wanted: &str) {
    for message in sip.drain() {
        if let FromSip::Request { id, text, .. } = message {
            let is_wanted = !wanted.is_empty() && String::from_utf8_lossy(&text).contains(wanted);
            sip.respond(id, if is_wanted { 200 } else { 404 }, "", "");
        }
    }
}

fn torture() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rfc4475");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dat"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert_eq!(files.len(), 50, "the RFC's messages");
    files
}

#[test]
fn torture_messages_over_udp_and_tcp() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let address = sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    for (name, message) in torture() {
        peer.send_bytes(&message);
        let mut stream = tcp(address);
        let _ = std::io::Write::write_all(&mut stream, &message);
        drop(stream);
        assert_serves(&mut sip, &peer, &format!("after-{name}"));
        answer_all(&mut sip, "");
    }
    assert!(sip.counter("requests_received") > 20);
}

#[test]
fn mutated_messages_do_no_harm() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let call = Call::new("mutant", "sip:us@127.0.0.1");
    let ours = sip.request(&peer.uri(), &Call::new("ours", "sip:b@example.org").text("INVITE", CONTACT, ""));
    let invite = peer.recv("INVITE ");
    let mut seeds: Vec<Vec<u8>> = torture().into_iter().map(|(_, message)| message).collect();
    for status in ["100 Trying", "180 Ringing", "200 OK", "302 Moved", "401 Unauthorized"] {
        let extra = "Contact: <sip:p@127.0.0.1>\r\nWWW-Authenticate: Digest realm=\"x\"\r\nRSeq: 1\r\nRequire: 100rel\r\n";
        seeds.push(answer(&invite, status, "b", extra, "v=0\r\n").into_bytes());
    }
    for method in ["INVITE", "ACK", "CANCEL", "BYE", "PRACK", "REFER", "SUBSCRIBE", "NOTIFY"] {
        let extra = "Contact: <sip:p@127.0.0.1>\r\nRAck: 1 1 INVITE\r\nSupported: 100rel\r\nEvent: x\r\nRoute: <sip:a;lr>\r\n";
        seeds.push(peer.request(method, method, &call, extra, "v=0\r\n").into_bytes());
    }
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below.max(1) as u64) as usize
    };
    for round in 0..8_000 {
        let mut message = seeds[random(seeds.len())].clone();
        for _ in 0..=random(6) {
            let at = random(message.len());
            match random(4) {
                0 => message[at] = b" \0:;,<>\"@\r\n=/%\xff1"[random(16)],
                1 => message[at] = random(256) as u8,
                2 => drop(message.drain(at..(at + random(12)).min(message.len()))),
                _ => {
                    let piece = message[at..(at + random(60)).min(message.len())].to_vec();
                    message.splice(at..at, piece);
                }
            }
            if message.is_empty() {
                message.push(b'I');
            }
        }
        peer.send_bytes(&message);
        if round % 100 == 99 {
            while peer.try_recv(Duration::ZERO).is_some() {}
            sip.assert_alive();
            answer_all(&mut sip, "");
        }
    }
    while peer.try_recv(Duration::ZERO).is_some() {}
    answer_all(&mut sip, "");
    sip.release(TransactionId::Client(ours));
    assert_serves(&mut sip, &peer, "after");
}

#[test]
fn the_gate_drops_and_counts() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    peer.send_bytes(&stun);
    peer.send_bytes(b"\r\n\r\n");
    peer.send_bytes(&[0xf8, 1, 2, 3]);
    peer.send_bytes(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 3]);
    peer.send_bytes(&vec![b'A'; TEXT_BYTES_MAX + 1]);
    peer.send_bytes(&[]);
    let multipart = "Content-Type: multipart/mixed;boundary=much-longer-than-the-body\r\n";
    peer.send(&peer.request("INVITE", "bad", &Call::new("bad", "sip:us@127.0.0.1"), multipart, "--x--"));
    let multipart = "Content-Type: multipart/mixed;boundary=x\r\n";
    peer.send(&peer.request(
        "INVITE",
        "big",
        &Call::new("big", "sip:us@127.0.0.1"),
        multipart,
        &"x".repeat(40_000),
    ));
    assert_serves(&mut sip, &peer, "after");
    for (name, value) in [
        ("gate_stun", 1),
        ("gate_keepalive", 1),
        ("gate_first_byte", 2),
        ("gate_size", 1),
        ("gate_multipart", 1),
        ("gate_multipart_size", 1),
    ] {
        assert_eq!(sip.counter(name), value, "{name}");
    }
    assert_eq!(sip.counter("requests_received"), 1);
    assert!(peer.try_recv(Duration::from_millis(20)).is_none(), "nothing is answered");
}

#[test]
fn sources_are_blocked_and_slowed() {
    let mut sip = Sip::start();
    let address = sip.udp();
    let (good, bad) = (Peer::new(address), Peer::at("127.0.0.2:0", address));
    let network = |peer: &Peer| Network { address: peer.address.ip(), prefix: 32 };
    sip.send(&ToSip::Gate { rules: GateRules { blocked: vec![network(&bad)], ..GateRules::default() } });
    sip.assert_alive();
    for number in 0..3 {
        bad.send(&bad.request(
            "OPTIONS",
            &format!("b{number}"),
            &Call::new("bad", "sip:us@127.0.0.1"),
            "",
            "",
        ));
    }
    assert_serves(&mut sip, &good, "good");
    assert_eq!((sip.counter("gate_blocked"), sip.counter("requests_received")), (3, 1));
    let rules = GateRules {
        allowed: vec![network(&good)],
        source_rate_per_s: 1,
        source_burst: 2,
        ..GateRules::default()
    };
    sip.send(&ToSip::Gate { rules });
    sip.assert_alive();
    for number in 0..50 {
        bad.send(&bad.request(
            "OPTIONS",
            &format!("r{number}"),
            &Call::new(&format!("r{number}"), "sip:us@127.0.0.1"),
            "",
            "",
        ));
    }
    for number in 0..5 {
        assert_serves(&mut sip, &good, &format!("good{number}"));
    }
    assert!(sip.counter("gate_rate") >= 40);
}

#[test]
fn multipart_over_udp_reaches_control_in_parts() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let extra = "Content-Type: multipart/mixed;boundary=unique-boundary-1\r\nMIME-Version: 1.0\r\n";
    let isup = "\u{1}\u{10}isup, long enough to be longer than the header that leads to it: 0123456789";
    let body = format!(
        "--unique-boundary-1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\n\r\n--unique-boundary-1\r\n\
         Content-Type: application/isup;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n\
         {isup}\r\n--unique-boundary-1--\r\n"
    );
    peer.send(&peer.request("INVITE", "multi", &Call::new("multi", "sip:us@127.0.0.1"), extra, &body));
    let invite = sip.incoming("INVITE");
    assert!(
        invite.text.ends_with("\r\n\r\nv=0\r\ns=-\r\n") && !invite.text.contains("X-Parts"),
        "{}",
        invite.text
    );
    assert_eq!(header(&invite.text, "Content-Type"), Some("application/sdp"));
    assert_eq!(invite.parts.len(), 1);
    assert_eq!(invite.parts[0].body, isup.as_bytes());
    sip.respond(invite.id, 486, "", "");
    peer.recv("SIP/2.0 486 ");
    sip.assert_alive();
}

#[test]
fn udp_messages_are_traced_as_they_pass() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    sip.send(&ToSip::Trace { on: true });
    sip.assert_alive();
    let request = peer.request("OPTIONS", "trace", &Call::new("trace", "sip:us@127.0.0.1"), "", "");
    peer.send(&request);
    let got = sip.incoming("OPTIONS");
    sip.respond(got.id, 200, "", "");
    let answer = peer.recv("SIP/2.0 200 ");
    for (wanted, text) in [(TraceDirection::Received, request), (TraceDirection::Sent, answer)] {
        let trace = sip.expect(|message| matches!(message, FromSip::Trace { .. }));
        let FromSip::Trace { direction, transport, source, destination, time_us, text: it } = trace else {
            unreachable!()
        };
        assert_eq!((direction, transport, it), (wanted, Transport::Udp, text.into_bytes()));
        let ends = (peer.address, peer.sip);
        let ends = if wanted == TraceDirection::Received { ends } else { (ends.1, ends.0) };
        assert_eq!((source, destination), ends);
        assert!(time_us > 1_700_000_000_000_000);
    }
    sip.send(&ToSip::Trace { on: false });
    assert_serves(&mut sip, &peer, "quiet");
    assert!(!sip.drain().iter().any(|message| matches!(message, FromSip::Trace { .. })));
}

#[test]
fn the_largest_message_and_one_more_byte() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let address = sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    let call = Call::new("edge", "sip:us@127.0.0.1");
    let empty = peer.request("MESSAGE", "edge", &call, "", "").len();
    // The length itself has four digits more.
    let room = TEXT_BYTES_MAX - empty - 4;
    for spare in [64, 0] {
        let body = "x".repeat(room - spare);
        let branch = if spare == 0 { "edg2" } else { "edge" };
        let text = peer.request("MESSAGE", branch, &Call::new(branch, "sip:us@127.0.0.1"), "", &body);
        assert_eq!(text.len(), TEXT_BYTES_MAX - spare);
        peer.send(&text);
        // With what the stack adds to Via the second is too large to hand over.
        if spare == 0 {
            peer.recv("SIP/2.0 413 ");
        } else {
            let got = sip.incoming("MESSAGE");
            assert!(got.text.ends_with(&body));
            sip.respond(got.id, 200, "", "");
            peer.recv("SIP/2.0 200 ");
        }
    }
    peer.send(&peer.request("MESSAGE", "edg3", &call, "", &"x".repeat(room + 1)));
    let mut stream = tcp(address);
    let text = request_of_peer("TCP", peer.address, "MESSAGE", "edg4", &call, "", &"x".repeat(70_000));
    let _ = std::io::Write::write_all(&mut stream, text.as_bytes());
    let got = read_message(&mut stream);
    assert!(got.starts_with("SIP/2.0 413 ") || got.starts_with("SIP/2.0 513 "), "{got}");
    assert_serves(&mut sip, &peer, "after");
    assert_eq!(sip.counter("gate_size"), 1);
}
