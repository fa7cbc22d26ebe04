//! A process dies and another takes its place: nothing has to be told to it.

mod common;

use std::net::UdpSocket;
use std::os::fd::AsFd;

use bifrons_sip_protocol::*;
use common::*;

/// Starts a process on a socket that the test keeps, as control does.
fn start_on(socket: &UdpSocket, generation: u32) -> Sip {
    let mut sip = Sip::spawn(Generation(generation));
    sip.send(&ToSip::Hello {
        settings: Settings { t1_ms: 50, t2_ms: 400, t4_ms: 500, ..Settings::default() },
    });
    sip.expect(|message| matches!(message, FromSip::Ready { .. }));
    let listen = ToSip::Listen {
        id: ListenId(1),
        ident: "main".into(),
        transport: Transport::Udp,
        address: socket.local_addr().unwrap(),
        via_host: String::new(),
        descriptor: true,
        tls: None,
    };
    let mut frame = Vec::new();
    listen.encode(sip.generation, &mut frame).unwrap();
    sip.send_frame(&frame, Some(socket.as_fd()));
    let listening =
        sip.expect(|message| matches!(message, FromSip::Listening { .. } | FromSip::Refused { .. }));
    assert_eq!(listening, FromSip::Listening { id: ListenId(1), address: socket.local_addr().unwrap() });
    sip
}

fn kill(mut sip: Sip) {
    sip.process.kill().unwrap();
    assert!(!sip.wait().success());
}

#[test]
fn calls_go_on_in_a_new_process_on_the_same_socket() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sip = start_on(&socket, 1);
    let peer = Peer::new(socket.local_addr().unwrap());
    let call = Call::new("old", "sip:us@127.0.0.1");
    peer.send(&peer.request("INVITE", "i", &call, "Contact: <sip:p@127.0.0.1>\r\n", ""));
    let invite = sip.incoming("INVITE");
    sip.respond(invite.id, 200, CONTACT, "");
    peer.recv("SIP/2.0 200 ");
    peer.send(&peer.request("ACK", "a", &call.clone().tagged("ours"), "", ""));
    sip.expect(|message| matches!(message, FromSip::Ack { .. }));
    // A call that rings: its 200 will come into the next life.
    let out = Call::new("rings", peer.uri());
    sip.request("", &out.text("INVITE", CONTACT, ""));
    let ringing = peer.recv("INVITE ");
    // A call that comes in: its retransmission will too.
    let incoming = peer.request("INVITE", "late", &Call::new("late", "sip:us@127.0.0.1"), "", "");
    peer.send(&incoming);
    sip.incoming("INVITE");
    kill(sip);
    let bye = peer.request("BYE", "queued", &Call::new("queued", "sip:us@127.0.0.1").tagged("x"), "", "");
    peer.send(&bye);

    let mut sip = start_on(&socket, 2);
    let dialog = call.tagged("ours");
    for (method, cseq) in [("INVITE", 2), ("UPDATE", 3)] {
        peer.send(&peer.request(
            method,
            method,
            &dialog.clone().cseq(cseq),
            "Contact: <sip:p@127.0.0.1>\r\n",
            "",
        ));
        let request = sip.incoming(method);
        assert!(request.text.contains(";tag=ours") && request.text.contains(";tag=a"), "{}", request.text);
        sip.send(&ToSip::Respond {
            id: request.id,
            status: 488,
            reason: "Not Now".into(),
            to_tag: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
            reliable: None,
        });
        let answer = peer.recv("SIP/2.0 488 Not Now");
        assert_eq!(answer.matches("tag=ours").count(), 1, "{answer}");
    }
    peer.send(&peer.request("ACK", "INVITE", &dialog.clone().cseq(2), "", ""));
    // Our BYE of the old call.
    let back = Call {
        from: "<sip:bob@example.org>;tag=ours".into(),
        to: "<sip:alice@example.org>;tag=a".into(),
        ..Call::new("old", peer.uri())
    };
    let id = sip.request("", &back.text("BYE", "", ""));
    let got = peer.recv("BYE ");
    peer.send(&answer(&got, "200 OK", "", "", ""));
    sip.response(id, 200);
    // The 200 to the INVITE of the other life.
    peer.send(&answer(&ringing, "200 OK", "b", &format!("Contact: <{}>\r\n", peer.uri()), ""));
    let stray = sip.expect(|message| matches!(message, FromSip::Stray { .. }));
    let FromSip::Stray { origin, text, .. } = stray else { unreachable!() };
    assert_eq!(origin.source, peer.address);
    let text = String::from_utf8(text).unwrap();
    let via = header(&text, "Via").expect("Via");
    let branch = via.split("branch=").nth(1).unwrap().split(';').next().unwrap();
    assert!(ringing.contains(branch));
    let dialog = out.tagged("b");
    sip.ack(ClientId(1), branch, "", &dialog.text("ACK", "", ""));
    assert!(peer.recv("ACK ").contains("Call-ID: rings"));
    let id = sip.request("", &dialog.cseq(2).text("BYE", "", ""));
    let got = peer.recv("BYE ");
    peer.send(&answer(&got, "200 OK", "", "", ""));
    sip.response(id, 200);
    // The retransmission of the INVITE starts anew.
    peer.send(&incoming);
    let late = sip.incoming("INVITE");
    sip.respond(late.id, 486, "", "");
    peer.recv("SIP/2.0 486 ");
    // A PRACK for a 183 of the other life is the stack's to refuse.
    let prack = Call::new("late", "sip:us@127.0.0.1").tagged("ours").cseq(2);
    peer.send(&peer.request("PRACK", "lost", &prack, "RAck: 1 1 INVITE\r\n", ""));
    peer.recv("SIP/2.0 481 ");
    sip.assert_alive();
}

#[test]
fn messages_of_another_generation_are_dropped_and_counted() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    sip.generation = Generation(6);
    sip.request(&peer.uri(), &Call::new("old", "sip:b@example.org").text("OPTIONS", "", ""));
    sip.generation = Generation(7);
    assert_eq!(sip.counter("generation_dropped"), 1);
    assert!(peer.try_recv(std::time::Duration::from_millis(50)).is_none());
}

#[test]
fn a_new_process_takes_the_same_tcp_port_at_once() {
    let mut sip = Sip::start();
    let address = sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    let mut stream = tcp(address);
    let call = Call::new("tcp", "sip:us@127.0.0.1");
    let options = request_of_peer("TCP", stream.local_addr().unwrap(), "OPTIONS", "o", &call, "", "");
    write(&mut stream, &options);
    sip.incoming("OPTIONS");
    kill(sip);
    let mut sip = Sip::start();
    assert_eq!(sip.listen("main", Transport::Tcp, &address.to_string()), address);
}
