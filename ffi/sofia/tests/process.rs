//! The program as a process: its symbols, its start and end, what control may get wrong, and back-pressure.

mod common;

use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use bifrons_sip_protocol::*;
use common::*;

#[test]
fn it_exports_the_gates_three_symbols_and_no_other() {
    let output =
        match Command::new("nm").args(["-D", "--defined-only", env!("CARGO_BIN_EXE_bifrons-sip")]).output() {
            Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
            _ => return println!("skipped: nm (binutils) is missing"),
        };
    let mut symbols: Vec<_> = output.lines().filter_map(|line| line.split_whitespace().last()).collect();
    symbols.sort_unstable();
    assert_eq!(symbols, ["bind", "recvmsg", "sendmsg"]);
}

#[test]
fn without_a_link_it_says_so() {
    let output = Command::new("/bin/sh")
        .args(["-c", &format!("exec {} 3>&-", env!("CARGO_BIN_EXE_bifrons-sip"))])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("descriptor 3"), "{output:?}");
}

#[test]
fn it_ends_when_told_and_when_control_is_gone() {
    let mut sip = Sip::start();
    sip.udp();
    sip.send(&ToSip::Stop {});
    assert!(sip.wait().success());

    // A process whose only link is the other end of ours: its end is the end of file.
    let mut sip = Sip::start();
    let pid = sip.process.id();
    // SAFETY: signals to a process that the test started.
    unsafe {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::kill(pid as i32, signal);
        }
    }
    sip.assert_alive();
    // SAFETY: shutting down our own end.
    unsafe { libc::shutdown(std::os::fd::AsRawFd::as_raw_fd(sip.process.link()), libc::SHUT_RDWR) };
    assert!(sip.wait().success());
}

#[test]
fn hello_comes_first_and_once() {
    let mut sip = Sip::spawn(Generation(3));
    sip.send(&ToSip::Stats {});
    sip.refused(RefusedReason::Unsupported);
    let bad = Settings { t1_ms: 0, ..Settings::default() };
    sip.send(&ToSip::Hello { settings: bad });
    sip.refused(RefusedReason::Malformed);
    let bad = Settings { message_bytes_max: TEXT_BYTES_MAX as u32 + 1, ..Settings::default() };
    sip.send(&ToSip::Hello { settings: bad });
    sip.refused(RefusedReason::Malformed);
    sip.send(&ToSip::Hello { settings: Settings::default() });
    let ready = sip.expect(|message| matches!(message, FromSip::Ready { .. }));
    assert!(matches!(ready, FromSip::Ready { library } if library.contains("1.1")));
    sip.send(&ToSip::Hello { settings: Settings::default() });
    sip.refused(RefusedReason::Unsupported);
    sip.send_frame(b"garbage", None);
    sip.refused(RefusedReason::Protocol);
    sip.send_frame(&[], None);
    // An empty datagram is how the kernel shows the end; the program ends.
    assert!(sip.wait().success());
}

#[test]
fn listeners_are_checked() {
    let mut sip = Sip::start();
    let used = sip.udp();
    let mut listen = |ident: &str, transport, address: &str, via_host: &str, tls: Option<TlsSettings>| {
        let id = ListenId(sip.id());
        sip.send(&ToSip::Listen {
            id,
            ident: ident.into(),
            transport,
            address: address.parse().unwrap(),
            via_host: via_host.into(),
            descriptor: false,
            tls,
        });
        sip.refused(RefusedReason::Listen)
    };
    listen("", Transport::Udp, "127.0.0.1:0", "", None);
    listen("two words", Transport::Udp, "127.0.0.1:0", "", None);
    listen("main", Transport::Udp, "0.0.0.0:0", "", None);
    listen("main", Transport::Udp, "127.0.0.1:0", "a;b", None);
    listen("main", Transport::Udp, "192.0.2.77:5060", "", None);
    listen("again", Transport::Udp, &used.to_string(), "", None);
    assert!(listen("main", Transport::Tls, "127.0.0.1:0", "", None).contains("TLS"));
    let tls = TlsSettings { directory: "/nonexistent".into(), verify: TlsVerify::None };
    assert!(listen("main", Transport::Tls, "127.0.0.1:0", "", Some(tls)).contains("/nonexistent/agent.pem"));
    sip.send(&ToSip::Unlisten { id: ListenId(1) });
    sip.refused(RefusedReason::Unsupported);
    sip.assert_alive();
}

#[test]
fn via_shows_the_host_that_control_chose() {
    let mut sip = Sip::start();
    sip.send(&ToSip::Listen {
        id: ListenId(900),
        ident: "main".into(),
        transport: Transport::Udp,
        address: "127.0.0.1:0".parse().unwrap(),
        via_host: "sip.example.org".into(),
        descriptor: false,
        tls: None,
    });
    let message = sip.expect(|message| matches!(message, FromSip::Listening { .. }));
    let FromSip::Listening { address, .. } = message else { unreachable!() };
    let peer = Peer::new(address);
    let id = sip.request(&peer.uri(), &Call::new("via", "sip:b@example.org").text("OPTIONS", "", ""));
    let got = peer.recv("OPTIONS ");
    assert!(header(&got, "Via").unwrap().contains("sip.example.org"), "{got}");
    peer.send(&answer(&got, "200 OK", "b", "", ""));
    sip.response(id, 200);
}

/// Nothing that control writes can reach an assertion of the library.
#[test]
fn what_control_gets_wrong_is_refused() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let good = Call::new("good", "sip:b@example.org").text("INVITE", CONTACT, "");
    for bad in [
        "",
        "garbage\r\n\r\n",
        "SIP/2.0 200 OK\r\n\r\n",
        &good.replace("INVITE sip:b@example.org", "INVITE <sip:b>"),
        &good.replace("INVITE sip:b@example.org", "INVITE bad uri"),
        &good.replace("From: <sip:alice@example.org>;tag=a", "From: ;;;"),
        &good.replace("CSeq: 1 INVITE", "CSeq: 99999999999999 INVITE"),
        &good.replace("CSeq: 1 INVITE", "CSeq: 1 ACK"),
        &good.replace("Call-ID: good", "Call-ID: "),
        &good.replace("Max-Forwards: 70\r\n", "Via: SIP/2.0/UDP x;branch=z9hG4bKx\r\n"),
    ] {
        sip.request(&peer.uri(), bad);
        sip.refused(RefusedReason::Malformed);
    }
    for method in ["ACK", "CANCEL"] {
        sip.request(&peer.uri(), &Call::new("m", "sip:b@example.org").text(method, "", ""));
        sip.refused(RefusedReason::Unsupported);
    }
    for next_hop in ["tel:1", "sip:", "sip:a b", "sip:a\r\nX: y", "*"] {
        sip.request(next_hop, &good);
        sip.refused(RefusedReason::Malformed);
    }
    sip.request_with("", "main", Some(FlowId(9)), RequestFlags::NONE, &good);
    sip.refused(RefusedReason::UnknownFlow);
    // Strange but parseable ones are the library's: it sends them, answers 4xx/5xx or refuses.
    for (number, next_hop) in [
        "sip:%00",
        "sip:[::1]:99999",
        "sip:@",
        "sip:127.0.0.1:0",
        "sip:x;transport=nope",
        "sips:127.0.0.1",
        "sip:127.0.0.1;transport=tcp",
        "sip:[",
        "sip:;;;",
    ]
    .into_iter()
    .enumerate()
    {
        let text = Call::new(&format!("odd{number}"), "sip:b@example.org").text("OPTIONS", "", "");
        let id = sip.request(next_hop, &text);
        let message = sip.expect(|message| match message {
            FromSip::Refused { about, .. } => *about == id.0,
            FromSip::Response { id: it, internal, .. } => *it == id && *internal,
            _ => false,
        });
        if matches!(message, FromSip::Response { .. }) {
            sip.release(TransactionId::Client(id));
        }
    }
    let id = sip.request(&peer.uri(), &good);
    sip.send(&ToSip::Request {
        id,
        next_hop: peer.uri(),
        ident: "main".into(),
        flow: None,
        flags: RequestFlags::NONE,
        text: good.clone().into(),
    });
    sip.refused(RefusedReason::DuplicateId);
    sip.release(TransactionId::Client(ClientId(4_000)));
    sip.refused(RefusedReason::UnknownId);
    sip.release(TransactionId::Reliable(ReliableId(4_000)));
    sip.refused(RefusedReason::UnknownId);
    sip.respond(ServerId(4_000), 200, "", "");
    sip.refused(RefusedReason::UnknownId);

    peer.send(&peer.request("INVITE", "w", &Call::new("w", "sip:us@127.0.0.1"), "", ""));
    let invite = sip.incoming("INVITE");
    for headers in
        ["no end", "X y\r\n", "Via: x\r\n", "Contact: <<<\r\n", "CSeq: 2 BYE\r\n", "X: y\r\n\r\nbody"]
    {
        sip.respond(invite.id, 200, headers, "");
        sip.refused(RefusedReason::Malformed);
    }
    for status in [0, 99, 700, 65_535] {
        sip.respond(invite.id, status, "", "");
        sip.refused(RefusedReason::Malformed);
    }
    sip.respond(invite.id, 200, CONTACT, "\0binary\0");
    assert!(peer.recv("SIP/2.0 200 ").ends_with("\0binary\0"));
    sip.respond(invite.id, 200, CONTACT, "");
    sip.refused(RefusedReason::State);
    sip.assert_alive();
}

#[test]
fn random_frames_of_control_do_no_harm() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below.max(1) as u64) as usize
    };
    let text = Call::new("fuzz", peer.uri()).text("INVITE", CONTACT, "v=0\r\n");
    for round in 0..3_000u64 {
        let message = match round % 4 {
            0 => ToSip::Request {
                id: ClientId(round + 10_000),
                next_hop: String::new(),
                ident: "main".into(),
                flow: None,
                flags: RequestFlags::NONE,
                text: text.clone().into(),
            },
            1 => ToSip::Ack {
                id: ClientId(1),
                branch: "z9hG4bKx".into(),
                next_hop: peer.uri(),
                ident: "main".into(),
                flow: None,
                text: text.replace("INVITE", "ACK").into(),
            },
            2 => {
                ToSip::Cancel { id: ClientId(round + 9_998), headers: b"Reason: SIP;cause=200\r\n".to_vec() }
            }
            _ => ToSip::Release { transaction: TransactionId::Client(ClientId(round + 9_997)) },
        };
        let mut frame = Vec::new();
        message.encode(sip.generation, &mut frame).unwrap();
        if round % 4 < 2 {
            for _ in 0..=random(4) {
                let at = 16 + random(frame.len() - 16);
                frame[at] =
                    [0, b' ', b':', b';', b'<', b'\r', b'\n', b'@', 255, random(256) as u8][random(10)];
            }
        }
        // A changed message must not be Stop.
        sip.send_frame(&frame, None);
    }
    sip.assert_alive();
    drop(peer);
}

#[test]
fn draining_refuses_new_requests_only() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    sip.send(&ToSip::Drain { retry_after_s: 17 });
    sip.assert_alive();
    let call = Call::new("drain", "sip:us@127.0.0.1");
    for method in ["INVITE", "OPTIONS"] {
        peer.send(&peer.request(method, method, &call, "", ""));
        assert_eq!(header(&peer.recv("SIP/2.0 503 "), "Retry-After"), Some("17"));
    }
    peer.send(&peer.request("BYE", "bye", &call.clone().tagged("ours"), "", ""));
    let bye = sip.incoming("BYE");
    sip.respond(bye.id, 200, "", "");
    peer.recv("SIP/2.0 200 ");
    assert_eq!(sip.counter("refused_drain"), 2);
}

#[test]
fn when_control_is_behind_new_requests_get_503_and_nothing_else_is_lost() {
    let settings = Settings { queue_max: 50, server_transactions_max: 100_000, ..Settings::default() };
    let mut sip = Sip::start_with(settings);
    let peer = Peer::new(sip.udp());
    // Control does not read: the link fills, then the queue.
    let body = "x".repeat(20_000);
    let mut refused = false;
    for number in 0..4_000 {
        let call = Call::new(&format!("flood-{number}"), "sip:us@127.0.0.1");
        peer.send(&peer.request("MESSAGE", &format!("f{number}"), &call, "", &body));
        if let Some(text) = peer.try_recv(Duration::from_millis(if number % 50 == 49 { 100 } else { 0 }))
            && text.starts_with("SIP/2.0 503 ")
        {
            assert_eq!(header(&text, "Retry-After"), Some("5"));
            refused = true;
            break;
        }
    }
    assert!(refused, "never refused");
    // In-dialog requests still come through, once control reads.
    let bye = Call::new("flood-bye", "sip:us@127.0.0.1").tagged("ours");
    peer.send(&peer.request("BYE", "fbye", &bye, "", ""));
    sip.expect(|message| matches!(message, FromSip::Request { text, .. } if text.starts_with(b"BYE ")));
    assert!(sip.counter("refused_queue") >= 1);
    assert_eq!(sip.counter("queue_lost"), 0);
    sip.assert_alive();
}

#[test]
fn a_descriptor_that_is_promised_must_come() {
    let mut sip = Sip::start();
    let listen = |descriptor| ToSip::Listen {
        id: ListenId(50),
        ident: "main".into(),
        transport: Transport::Udp,
        address: "127.0.0.1:0".parse().unwrap(),
        via_host: String::new(),
        descriptor,
        tls: None,
    };
    sip.send(&listen(true));
    sip.refused(RefusedReason::Listen);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut frame = Vec::new();
    listen(false).encode(sip.generation, &mut frame).unwrap();
    sip.send_frame(&frame, Some(socket.as_fd()));
    sip.refused(RefusedReason::Listen);
    sip.assert_alive();
}
