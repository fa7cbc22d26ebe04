//! Forks, reliable provisional answers and time-outs.

mod common;

use bifrons_sip_protocol::*;
use common::*;

fn invite_out(sip: &mut Sip, peer: &Peer, call_id: &str, extra: &str) -> (ClientId, String) {
    let call = Call::new(call_id, peer.uri());
    let id = sip.request("", &call.text("INVITE", &format!("{CONTACT}{extra}"), ""));
    (id, peer.recv("INVITE "))
}

fn contact(peer: &Peer) -> String {
    format!("Contact: <{}>\r\n", peer.uri())
}

#[test]
fn two_early_dialogs_and_two_200s() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let (id, invite) = invite_out(&mut sip, &peer, "fork", "");
    peer.send(&answer(&invite, "180 Ringing", "one", "", ""));
    sip.response(id, 180);
    peer.send(&answer(&invite, "183 Session Progress", "two", "", ""));
    let early = sip.response(id, 183).text;
    assert!(early.contains("tag=two"), "{early}");
    let fork = ClientId(sip.id());
    sip.send(&ToSip::Fork { id, fork, to_tag: "two".into() });
    sip.assert_alive();
    peer.send(&answer(&invite, "180 Ringing", "two", "", ""));
    sip.response(fork, 180);
    for (id, tag) in [(fork, "two"), (id, "one")] {
        peer.send(&answer(&invite, "200 OK", tag, &contact(&peer), ""));
        let branch = sip.response(id, 200).branch;
        let call = Call::new("fork", peer.uri()).tagged(tag);
        sip.ack(id, &branch, "", &call.text("ACK", "", ""));
        assert!(peer.recv("ACK ").contains(&format!("tag={tag}")));
    }
    sip.release(TransactionId::Client(id));
    sip.release(TransactionId::Client(fork));
    sip.assert_alive();
    assert!(sip.drain().is_empty());
}

#[test]
fn a_200_that_nobody_asked_for_gets_ack_and_bye_of_the_stack() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let (id, invite) = invite_out(&mut sip, &peer, "unasked", "");
    peer.send(&answer(&invite, "200 OK", "one", &contact(&peer), ""));
    let branch = sip.response(id, 200).branch;
    let call = Call::new("unasked", peer.uri()).tagged("one");
    sip.ack(id, &branch, "", &call.text("ACK", "", ""));
    peer.recv("ACK ");
    peer.send(&answer(&invite, "200 OK", "two", &contact(&peer), ""));
    assert!(peer.recv("ACK ").contains("tag=two"));
    assert!(peer.recv("BYE ").contains("tag=two"));
    sip.assert_alive();
}

#[test]
fn fork_needs_an_invite_that_can_fork() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let (id, invite) = invite_out(&mut sip, &peer, "nofork", "");
    let fork = |sip: &mut Sip, id, to_tag: &str| {
        let fork = ClientId(sip.id());
        sip.send(&ToSip::Fork { id, fork, to_tag: to_tag.into() });
    };
    fork(&mut sip, id, "x");
    sip.refused(RefusedReason::State);
    peer.send(&answer(&invite, "180 Ringing", "one", "", ""));
    sip.response(id, 180);
    fork(&mut sip, id, "not a token");
    sip.refused(RefusedReason::Malformed);
    fork(&mut sip, ClientId(99), "x");
    sip.refused(RefusedReason::UnknownId);
    sip.send(&ToSip::Fork { id, fork: id, to_tag: "x".into() });
    sip.refused(RefusedReason::DuplicateId);
    let dialog = Call::new("nofork-2", peer.uri()).tagged("b");
    let inside = sip.request("", &dialog.text("INVITE", CONTACT, ""));
    let invite = peer.recv("INVITE ");
    peer.send(&answer(&invite, "180 Ringing", "", "", ""));
    sip.response(inside, 180);
    fork(&mut sip, inside, "x");
    sip.refused(RefusedReason::State);
    sip.assert_alive();
}

/// Trap 3: an INVITE is not killed by its cancellation, and a fork outlives its INVITE's release.
#[test]
fn releases_in_any_order_do_no_harm() {
    let mut sips = Vec::new();
    for order in 0..6 {
        let mut sip = Sip::start();
        let peer = Peer::new(sip.udp());
        let (id, invite) = invite_out(&mut sip, &peer, "order", "");
        peer.send(&answer(&invite, "180 Ringing", "one", "", ""));
        sip.response(id, 180);
        let fork = ClientId(sip.id());
        sip.send(&ToSip::Fork { id, fork, to_tag: "two".into() });
        sip.assert_alive();
        peer.send(&answer(&invite, "180 Ringing", "two", "", ""));
        sip.response(fork, 180);
        let release = |sip: &mut Sip, id| sip.release(TransactionId::Client(id));
        match order {
            0 => {
                release(&mut sip, id);
                peer.send(&answer(&invite, "200 OK", "two", &contact(&peer), ""));
                sip.response(fork, 200);
                release(&mut sip, fork);
            }
            1 => {
                release(&mut sip, fork);
                peer.send(&answer(&invite, "200 OK", "one", &contact(&peer), ""));
                sip.response(id, 200);
                release(&mut sip, id);
            }
            2 => {
                sip.send(&ToSip::Cancel { id, headers: Vec::new() });
                let cancel = peer.recv("CANCEL ");
                release(&mut sip, fork);
                release(&mut sip, id);
                peer.send(&answer(&cancel, "200 OK", "", "", ""));
                peer.send(&answer(&invite, "487 Request Terminated", "one", "", ""));
                peer.recv("ACK ");
            }
            3 => {
                release(&mut sip, id);
                release(&mut sip, fork);
                peer.send(&answer(&invite, "200 OK", "one", &contact(&peer), ""));
            }
            4 => {
                peer.send(&answer(&invite, "486 Busy Here", "one", "", ""));
                sip.response(id, 486);
                release(&mut sip, id);
                release(&mut sip, fork);
            }
            _ => {
                release(&mut sip, fork);
                release(&mut sip, id);
                peer.send(&answer(&invite, "486 Busy Here", "two", "", ""));
            }
        }
        sips.push(sip);
    }
    // Longer than every timer of these transactions.
    std::thread::sleep(std::time::Duration::from_millis(3_500));
    for (order, sip) in sips.iter_mut().enumerate() {
        sip.assert_alive();
        assert_eq!(sip.counter("client_transactions_now"), 0, "order {order}");
    }
}

#[test]
fn a_reliable_183_in_gets_our_prack() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let (id, invite) = invite_out(&mut sip, &peer, "rel-out", "Supported: 100rel\r\n");
    let extra = format!("Require: 100rel\r\nRSeq: 17\r\n{}", contact(&peer));
    let progress = answer(&invite, "183 Session Progress", "b", &extra, "");
    peer.send(&progress);
    let text = sip.response(id, 183).text;
    assert!(text.contains("RSeq: 17"), "{text}");
    let dialog = Call::new("rel-out", peer.uri()).tagged("b").cseq(2);
    let prack = sip.request("", &dialog.text("PRACK", "RAck: 17 1 INVITE\r\n", ""));
    let got = peer.recv("PRACK ");
    assert!(got.contains("RAck: 17 1 INVITE"), "{got}");
    peer.send(&answer(&got, "200 OK", "", "", ""));
    sip.response(prack, 200);
    peer.send(&answer(&invite, "200 OK", "b", &contact(&peer), ""));
    sip.response(id, 200);
    sip.assert_alive();
}

fn invite_in(sip: &mut Sip, peer: &Peer, call: &Call) -> Incoming {
    let extra = "Supported: 100rel\r\nContact: <sip:p@127.0.0.1>\r\n";
    peer.send(&peer.request("INVITE", "rel", call, extra, ""));
    sip.incoming("INVITE")
}

fn prack(peer: &Peer, call: &Call, branch: &str, progress: &str) {
    let rseq = header(progress, "RSeq").expect("RSeq");
    let call = call.clone().tagged("ours").cseq(2);
    peer.send(&peer.request("PRACK", branch, &call, &format!("RAck: {rseq} 1 INVITE\r\n"), ""));
}

/// Trap 6 and 8.
#[test]
fn our_reliable_183_is_repeated_until_its_prack() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let call = Call::new("rel-in", "sip:us@127.0.0.1");
    let invite = invite_in(&mut sip, &peer, &call);
    let reliable = ReliableId(sip.id());
    sip.respond_with(invite.id, 183, "Content-Type: application/sdp\r\n", "v=0\r\n", Some(reliable));
    let progress = peer.recv("SIP/2.0 183 ");
    assert!(header(&progress, "Require").unwrap().contains("100rel"));
    assert_eq!(peer.recv("SIP/2.0 183 "), progress);
    // A body in it holds the 2xx back (RFC 3262 §3): the library would queue it where an assertion waits.
    sip.respond(invite.id, 200, CONTACT, "v=0\r\n");
    sip.refused(RefusedReason::State);
    prack(&peer, &call, "prack", &progress);
    let message = sip.expect(|message| matches!(message, FromSip::Prack { .. }));
    let FromSip::Prack { id, outcome: PrackOutcome::Received { server, text, .. } } = message else {
        panic!("{message:?}")
    };
    assert_eq!(id, reliable);
    assert!(text.starts_with(b"PRACK "));
    sip.respond(server, 200, "", "");
    let ok = peer.recv("SIP/2.0 200 ");
    assert!(ok.contains("2 PRACK"), "{ok}");
    sip.respond(invite.id, 200, CONTACT, "v=0\r\n");
    let ok = peer.recv("SIP/2.0 200 ");
    assert!(ok.contains("1 INVITE"), "{ok}");
    peer.send(&peer.request("ACK", "ack", &call.clone().tagged("ours"), "", ""));
    sip.expect(|message| matches!(message, FromSip::Ack { .. }));
    // A PRACK that matches nothing is the stack's to refuse.
    prack(&peer, &call.cseq(9), "stray", &progress);
    peer.recv("SIP/2.0 481 ");
    sip.assert_alive();
}

#[test]
fn two_reliable_answers_go_one_after_the_other() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let call = Call::new("rel-two", "sip:us@127.0.0.1");
    let invite = invite_in(&mut sip, &peer, &call);
    let (first, second) = (ReliableId(sip.id()), ReliableId(sip.id()));
    sip.respond_with(invite.id, 183, "", "", Some(first));
    sip.respond_with(invite.id, 180, "", "", Some(second));
    prack(&peer, &call, "p1", &peer.recv("SIP/2.0 183 "));
    sip.expect(|message| matches!(message, FromSip::Prack { id, .. } if *id == first));
    prack(&peer, &call.clone().cseq(1), "p2", &peer.recv("SIP/2.0 180 "));
    sip.expect(|message| matches!(message, FromSip::Prack { id, .. } if *id == second));
    sip.respond(invite.id, 486, "", "");
    peer.recv("SIP/2.0 486 ");
    sip.assert_alive();
}

#[test]
fn a_reliable_answer_ends_with_its_invite() {
    let mut sips = Vec::new();
    for end in ["final", "cancel", "release", "release the answer"] {
        let mut sip = Sip::start();
        let peer = Peer::new(sip.udp());
        let call = Call::new("rel-end", "sip:us@127.0.0.1");
        let invite = invite_in(&mut sip, &peer, &call);
        let reliable = ReliableId(sip.id());
        sip.respond_with(invite.id, 183, "", "", Some(reliable));
        peer.recv("SIP/2.0 183 ");
        match end {
            "final" => sip.respond(invite.id, 486, "", ""),
            "cancel" => peer.send(&peer.request("CANCEL", "rel", &call, "", "")),
            "release" => sip.release(TransactionId::Server(invite.id)),
            _ => {
                sip.release(TransactionId::Reliable(reliable));
                sip.respond(invite.id, 486, "", "");
            }
        }
        let status = if end == "cancel" {
            "SIP/2.0 487 "
        } else if end == "release" {
            "SIP/2.0 500 "
        } else {
            "SIP/2.0 486 "
        };
        peer.recv(status);
        peer.send(&peer.request("ACK", "rel", &call.clone().tagged("ours"), "", ""));
        sips.push((end, sip));
    }
    std::thread::sleep(std::time::Duration::from_millis(800));
    for (end, sip) in &mut sips {
        sip.assert_alive();
        assert_eq!(sip.counter("server_transactions_now"), 0, "{end}");
    }
}

#[test]
fn reliable_only_where_the_peer_can() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    peer.send(&peer.request("INVITE", "norel", &Call::new("norel", "sip:us@127.0.0.1"), "", ""));
    let invite = sip.incoming("INVITE");
    sip.respond_with(invite.id, 183, "", "", Some(ReliableId(5)));
    sip.refused(RefusedReason::Stack);
    sip.respond_with(invite.id, 200, "", "", Some(ReliableId(6)));
    sip.refused(RefusedReason::State);
    sip.respond(invite.id, 486, "", "");
    peer.recv("SIP/2.0 486 ");
    sip.assert_alive();
}

/// Traps 8 and 10.
#[test]
fn what_is_not_answered_times_out() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    // Our request.
    let id = sip.request(&peer.uri(), &Call::new("t1", "sip:b@example.org").text("OPTIONS", "", ""));
    // Our 200.
    peer.send(&peer.request("INVITE", "t2", &Call::new("t2", "sip:us@127.0.0.1"), "", ""));
    let answered = sip.incoming("INVITE");
    sip.respond(answered.id, 200, CONTACT, "");
    // Our reliable 183.
    let call = Call::new("t3", "sip:us@127.0.0.1");
    let invite = invite_in(&mut sip, &peer, &call);
    sip.respond_with(invite.id, 183, "", "", Some(ReliableId(1)));
    // A request that control forgets.
    peer.send(&peer.request("MESSAGE", "t4", &Call::new("t4", "sip:us@127.0.0.1"), "", ""));
    let forgotten = sip.incoming("MESSAGE");

    let response = sip.response(id, 408);
    assert!(response.internal);
    let expired = |sip: &mut Sip, id: ServerId| {
        let message = sip.expect(|message| matches!(message, FromSip::Expired { id: it, .. } if *it == id));
        let FromSip::Expired { cause, .. } = message else { unreachable!() };
        cause
    };
    assert_eq!(expired(&mut sip, answered.id), ExpiredCause::NoAck);
    let prack = sip.expect(|message| matches!(message, FromSip::Prack { .. }));
    assert_eq!(prack, FromSip::Prack { id: ReliableId(1), outcome: PrackOutcome::TimedOut });
    assert_eq!(expired(&mut sip, invite.id), ExpiredCause::Ended);
    peer.recv("SIP/2.0 503 ");
    assert_eq!(expired(&mut sip, forgotten.id), ExpiredCause::Unanswered);
    peer.recv("SIP/2.0 500 ");
    sip.assert_alive();
    assert_eq!(sip.counter("server_transactions_now"), 0);
}

#[test]
fn a_dead_udp_target_is_503_at_once() {
    let mut sip = Sip::start_with(Settings::default());
    sip.udp();
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let id =
        sip.request(&format!("sip:{dead}"), &Call::new("dead", "sip:b@example.org").text("OPTIONS", "", ""));
    assert!(sip.response(id, 503).internal);
    let id = sip.request(
        &format!("sip:{dead}"),
        &Call::new("dead2", "sip:b@example.org").text("INVITE", CONTACT, ""),
    );
    assert!(sip.response(id, 503).internal);
    sip.send(&ToSip::Cancel { id, headers: Vec::new() });
    sip.refused(RefusedReason::State);
    sip.assert_alive();
}

/// Traps 1 and 6.
#[test]
fn an_ack_without_its_invite_is_sent_and_one_from_the_network_is_counted() {
    let mut sip = Sip::start();
    let peer = Peer::new(sip.udp());
    let call = Call::new("lone", peer.uri()).tagged("b");
    sip.ack(ClientId(77), "z9hG4bKother-life", "", &call.text("ACK", "", ""));
    peer.recv("ACK ");
    for branch in ["", "two words", "z9\r\nVia: x"] {
        sip.ack(ClientId(77), branch, "", &call.text("ACK", "", ""));
        sip.refused(RefusedReason::Malformed);
    }
    peer.send(&peer.request("ACK", "nothing", &call, "", ""));
    peer.send(&peer.request("CANCEL", "nothing2", &call, "", ""));
    let cancel = sip.incoming("CANCEL");
    sip.respond(cancel.id, 481, "", "");
    peer.recv("SIP/2.0 481 ");
    assert_eq!(sip.counter("stray_acks"), 1);
    sip.assert_alive();
}
