//! Registrations and calls, as control and the network see them.

mod common;

use bifrons_sip_protocol::*;
use common::*;

#[test]
fn register_is_challenged_and_sent_again_with_our_header() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let call = Call::new("reg-1", "sip:example.org");
    let id = sip.request(&peer.uri(), &call.text("REGISTER", CONTACT, ""));
    let got = peer.recv("REGISTER ");
    assert!(header(&got, "Via").unwrap().contains(";rport"), "{got}");
    peer.send(&answer(
        &got,
        "401 Unauthorized",
        "r",
        "WWW-Authenticate: Digest realm=\"x\", nonce=\"n\"\r\n",
        "",
    ));
    let challenge = sip.response(id, 401);
    assert!(challenge.text.contains("Digest realm=\"x\""), "{}", challenge.text);
    assert_eq!(challenge.origin.unwrap().source, peer.address);
    sip.release(TransactionId::Client(id));

    let authorization = "Authorization: Digest username=\"a\", realm=\"x\", nonce=\"n\", response=\"00\"\r\n";
    let extra = format!("{CONTACT}{authorization}");
    let id = sip.request(&peer.uri(), &call.cseq(2).text("REGISTER", &extra, ""));
    let got = peer.recv("REGISTER ");
    assert!(got.contains("CSeq: 2 REGISTER") && got.contains("response=\"00\""), "{got}");
    let extra =
        "Service-Route: <sip:sr.example.org;lr>\r\nX-Own: kept\r\nContact: <sip:us@127.0.0.1>;expires=60\r\n";
    peer.send(&answer(&got, "200 OK", "r", extra, ""));
    let ok = sip.response(id, 200).text;
    assert!(ok.contains("Service-Route: <sip:sr.example.org;lr>") && ok.contains("X-Own: kept"), "{ok}");
    sip.release(TransactionId::Client(id));
    sip.assert_alive();
}

#[test]
fn a_call_out_with_its_bye() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let call = Call::new("out-1", peer.uri());
    let id = sip.request_with(
        "",
        "main",
        None,
        RequestFlags::REPORT_100,
        &call.text("INVITE", CONTACT, "v=0\r\n"),
    );
    let invite = peer.recv("INVITE ");
    assert!(invite.ends_with("\r\n\r\nv=0\r\n") && !invite.contains("100rel"), "{invite}");
    peer.send(&answer(&invite, "100 Trying", "", "", ""));
    sip.response(id, 100);
    peer.send(&answer(&invite, "180 Ringing", "b", "", ""));
    sip.response(id, 180);
    let contact = format!("Contact: <{}>\r\n", peer.uri());
    let ok = answer(&invite, "200 OK", "b", &contact, "v=0\r\n");
    peer.send(&ok);
    let branch = sip.response(id, 200).branch;
    let dialog = call.clone().tagged("b");
    sip.ack(id, &branch, "", &dialog.text("ACK", "", ""));
    let ack = peer.recv("ACK ");
    assert_ne!(header(&ack, "Via"), header(&invite, "Via"));
    // A repeated 200 gets our ACK again, unseen by control.
    peer.send(&ok);
    peer.recv("ACK ");
    let bye = sip.request("", &dialog.cseq(2).text("BYE", "", ""));
    let got = peer.recv("BYE ");
    peer.send(&answer(&got, "200 OK", "", "", ""));
    sip.response(bye, 200);
    sip.release(TransactionId::Client(bye));
    sip.release(TransactionId::Client(id));
    sip.assert_alive();
    assert!(sip.drain().is_empty());
    assert_eq!(sip.counter("client_transactions_now"), 0);
}

#[test]
fn a_refused_call_is_acknowledged_by_the_stack_and_a_302_only_reported() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let id = sip.request(&peer.uri(), &Call::new("302", "sip:bob@example.org").text("INVITE", CONTACT, ""));
    let invite = peer.recv("INVITE ");
    let contacts = "Contact: <sip:one@example.org>;q=0.7, <sip:two@example.org>;q=0.5\r\n";
    peer.send(&answer(&invite, "302 Moved Temporarily", "b", contacts, ""));
    let moved = sip.response(id, 302).text;
    assert!(moved.contains("sip:one@example.org") && moved.contains("sip:two@example.org"), "{moved}");
    let ack = peer.recv("ACK ");
    assert_eq!(
        header(&ack, "Via").unwrap().split("branch=").nth(1),
        header(&invite, "Via").unwrap().split("branch=").nth(1)
    );
    sip.release(TransactionId::Client(id));
    sip.assert_alive();
}

#[test]
fn a_call_in_with_a_late_bye() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let call = Call::new("in-1", "sip:us@127.0.0.1");
    let invite = peer.request(
        "INVITE",
        "in1",
        &call,
        "Contact: <sip:p@127.0.0.1>\r\nRecord-Route: <sip:127.0.0.1;lr>\r\n",
        "v=0\r\n",
    );
    peer.send(&invite);
    let got = sip.incoming("INVITE");
    assert_eq!((got.origin.source, got.origin.ident.as_str()), (peer.address, "main"));
    assert_eq!((got.origin.local, got.origin.transport), (peer.sip, Transport::Udp));
    assert!(got.text.ends_with("\r\n\r\nv=0\r\n"), "{}", got.text);
    // A retransmission is absorbed and answered 100.
    peer.send(&invite);
    peer.recv("SIP/2.0 100 ");
    sip.respond(got.id, 180, CONTACT, "");
    peer.recv("SIP/2.0 180 ");
    sip.respond(
        got.id,
        200,
        "Contact: <sip:us@127.0.0.1>\r\nContent-Type: application/sdp\r\nX-Own: y\r\n",
        "v=0\r\n",
    );
    let ok = peer.recv("SIP/2.0 200 ");
    assert!(ok.contains(";tag=ours") && ok.contains("X-Own: y") && ok.contains("Record-Route"), "{ok}");
    assert!(ok.ends_with("\r\n\r\nv=0\r\n"), "{ok}");
    // It is repeated until the ACK.
    peer.recv("SIP/2.0 200 ");
    let dialog = call.tagged("ours");
    peer.send(&peer.request("ACK", "in2", &dialog, "", ""));
    let ack = sip.expect(|message| matches!(message, FromSip::Ack { .. }));
    assert!(matches!(ack, FromSip::Ack { id, .. } if id == got.id));
    peer.send(&peer.request("BYE", "in3", &dialog.cseq(2), "", ""));
    let bye = sip.incoming("BYE");
    sip.respond(bye.id, 200, "", "");
    peer.recv("SIP/2.0 200 ");
    sip.assert_alive();
    assert_eq!(sip.counter("server_transactions_now"), 0);
}

#[test]
fn we_cancel_with_a_reason() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let id =
        sip.request(&peer.uri(), &Call::new("cancel", "sip:bob@example.org").text("INVITE", CONTACT, ""));
    let invite = peer.recv("INVITE ");
    // Before the first provisional answer the CANCEL waits.
    let headers = b"Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n".to_vec();
    sip.send(&ToSip::Cancel { id, headers });
    peer.send(&answer(&invite, "180 Ringing", "b", "", ""));
    sip.response(id, 180);
    let cancel = peer.recv("CANCEL ");
    assert!(cancel.contains("cause=200") && cancel.contains("CSeq: 1 CANCEL"), "{cancel}");
    peer.send(&answer(&cancel, "200 OK", "b", "", ""));
    peer.send(&answer(&invite, "487 Request Terminated", "b", "", ""));
    sip.response(id, 487);
    peer.recv("ACK ");
    sip.send(&ToSip::Cancel { id, headers: Vec::new() });
    sip.refused(RefusedReason::State);
    sip.release(TransactionId::Client(id));
    sip.assert_alive();
}

#[test]
fn the_peer_cancels() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let call = Call::new("in-cancel", "sip:us@127.0.0.1");
    peer.send(&peer.request("INVITE", "c1", &call, "", ""));
    let invite = sip.incoming("INVITE");
    sip.respond(invite.id, 180, "", "");
    peer.recv("SIP/2.0 180 ");
    peer.send(&peer.request("CANCEL", "c1", &call, "Reason: Q.850;cause=16\r\n", ""));
    let cancelled = sip.expect(|message| matches!(message, FromSip::Cancelled { .. }));
    let FromSip::Cancelled { id, text } = cancelled else { unreachable!() };
    assert_eq!(id, invite.id);
    assert!(String::from_utf8_lossy(&text).contains("cause=16"));
    let mut statuses = [peer.recv("SIP/2.0 "), peer.recv("SIP/2.0 ")].map(|text| text[8..11].to_owned());
    statuses.sort();
    assert_eq!(statuses, ["200", "487"]);
    peer.send(&peer.request("ACK", "c1", &call.tagged("ours"), "", ""));
    sip.respond(invite.id, 200, "", "");
    sip.refused(RefusedReason::UnknownId);
    sip.assert_alive();
    assert_eq!(sip.counter("server_transactions_now"), 0);
}

#[test]
fn methods_inside_and_outside_a_dialog() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let sipfrag = "SIP/2.0 100 Trying\r\n";
    for (number, method) in
        ["UPDATE", "REFER", "NOTIFY", "OPTIONS", "MESSAGE", "INFO", "SUBSCRIBE", "PUBLISH"]
            .into_iter()
            .enumerate()
    {
        let call = Call::new(&format!("m-{method}"), peer.uri()).tagged("b").cseq(number as u32 + 1);
        let extra = "Event: refer\r\nRefer-To: <sip:c@example.org>\r\nContact: <sip:us@127.0.0.1>\r\nContent-Type: message/sipfrag\r\n";
        let id = sip.request("", &call.text(method, extra, sipfrag));
        let got = peer.recv(method);
        assert!(got.ends_with(sipfrag), "{got}");
        peer.send(&answer(&got, "202 Accepted", "b", "", ""));
        sip.response(id, 202);
        sip.release(TransactionId::Client(id));

        peer.send(&peer.request(method, &format!("m{number}"), &call, extra, sipfrag));
        let incoming = sip.incoming(method);
        assert!(incoming.text.ends_with(sipfrag), "{}", incoming.text);
        sip.respond(incoming.id, 202, "", "");
        peer.recv("SIP/2.0 202 ");
    }
    sip.assert_alive();
}

#[test]
fn a_long_request_goes_over_udp_both_ways() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let body = "a=x-long:0123456789\r\n".repeat(300);
    let id = sip.request(&peer.uri(), &Call::new("long", "sip:b@example.org").text("INVITE", CONTACT, &body));
    let got = peer.recv("INVITE ");
    assert!(got.ends_with(&body) && header(&got, "Via").unwrap().starts_with("SIP/2.0/UDP"));
    peer.send(&answer(&got, "486 Busy Here", "b", "", ""));
    sip.response(id, 486);
    peer.send(&peer.request("INVITE", "long", &Call::new("long-in", "sip:us@127.0.0.1"), "", &body));
    let invite = sip.incoming("INVITE");
    assert!(invite.text.ends_with(&body));
    sip.respond(invite.id, 486, "", "");
    peer.recv("SIP/2.0 486 ");
}

#[test]
fn idents_choose_the_address() {
    let mut sip = Sip::start();
    let main = sip.udp();
    let other = sip.listen("other", Transport::Udp, "127.0.0.2:0");
    let peer = Peer::new(main);
    for (ident, local) in [("main", main), ("other", other)] {
        let text = Call::new(ident, "sip:b@example.org").text("OPTIONS", "", "");
        let id = sip.request_with(&peer.uri(), ident, None, RequestFlags::NONE, &text);
        let got = peer.recv("OPTIONS ");
        assert!(header(&got, "Via").unwrap().contains(&local.to_string()), "{got}");
        peer.socket.send_to(answer(&got, "200 OK", "b", "", "").as_bytes(), local).unwrap();
        let origin = sip.response(id, 200).origin.unwrap();
        assert_eq!((origin.ident.as_str(), origin.local), (ident, local));
    }
    let text = Call::new("none", "sip:b@example.org").text("OPTIONS", "", "");
    sip.request_with(&peer.uri(), "nobody", None, RequestFlags::NONE, &text);
    sip.refused(RefusedReason::UnknownIdent);
    sip.assert_alive();
}
