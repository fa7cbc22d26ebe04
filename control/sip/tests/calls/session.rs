//! What happens in a call, and messages without one.

use bifrons_sip_ua::message::{Method, Replaces};
use bifrons_sip_ua::ua::{RequestOptions, UaError, UaEvent};

use crate::sim::Net;
use crate::{ANSWER, OFFER, assert_idle, called_by_peer, established, header, in_dialog, pair};

#[test]
fn offers_go_both_ways_in_a_session() {
    let (mut net, a, b) = established();
    for (from, call, other) in [(0, a, 1), (1, b, 0)] {
        let now = net.now;
        net.agent(from).reinvite(now, call, Some(OFFER.to_vec()), &[]).expect("sent");
        assert!(matches!(net.agent(from).reinvite(now, call, None, &[]), Err(UaError::State(_))));
        let there = expect!(net, other, UaEvent::ReinviteReceived { call, sdp: Some(_), .. } => call);
        assert!(matches!(net.agent(other).reinvite(now, there, None, &[]), Err(UaError::State("reinvited"))));
        net.agent(other).answer_reinvite(now, there, ANSWER.to_vec(), &[]).expect("answered");
        expect!(net, from, UaEvent::ReinviteAccepted { sdp: Some(_), needs_answer: false, .. });
        expect!(net, other, UaEvent::Acknowledged { .. });
        // Refused: the session stays.
        net.agent(from).reinvite(now, call, Some(OFFER.to_vec()), &[]).expect("sent");
        expect!(net, other, UaEvent::ReinviteReceived { .. });
        net.agent(other).reject_reinvite(now, there, 488, &[]).expect("refused");
        expect!(net, from, UaEvent::ReinviteFailed { code: 488, .. });
        // Offerless.
        net.agent(from).reinvite(now, call, None, &[]).expect("sent");
        expect!(net, other, UaEvent::ReinviteReceived { sdp: None, .. });
        net.agent(other).answer_reinvite(now, there, OFFER.to_vec(), &[]).expect("offered");
        expect!(net, from, UaEvent::ReinviteAccepted { needs_answer: true, .. });
        net.agent(from).answer(now, call, ANSWER.to_vec()).expect("answered");
        expect!(net, other, UaEvent::Acknowledged { sdp: Some(_), .. });
    }
    let now = net.now;
    net.agent(0).hangup(now, a, &[]).expect("hung up");
    assert_idle(&mut net);
}

#[test]
fn offers_that_meet_are_tried_again() {
    let (mut net, a, b) = established();
    let now = net.now;
    net.agent(0).reinvite(now, a, Some(OFFER.to_vec()), &[]).expect("sent");
    net.agent(1).reinvite(now, b, Some(OFFER.to_vec()), &[]).expect("sent");
    net.run();
    let mut accepted = 0;
    for _ in 0..100 {
        net.advance(100);
        for (node, call) in [(0, a), (1, b)] {
            while let Some(event) = net.event(node) {
                let now = net.now;
                match event {
                    UaEvent::ReinviteReceived { .. } => {
                        net.agent(node).answer_reinvite(now, call, ANSWER.to_vec(), &[]).expect("answered");
                    }
                    UaEvent::ReinviteAccepted { .. } => accepted += 1,
                    UaEvent::Acknowledged { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!(accepted, 2);
    assert!(net.count_sent(0, "INVITE") >= 3, "INVITE, re-INVITE, and again");
    let now = net.now;
    net.agent(1).hangup(now, b, &[]).expect("hung up");
    assert_idle(&mut net);
}

#[test]
fn requests_of_the_peer_in_a_dialog() {
    let (mut net, peer, call, tag) = called_by_peer("");
    net.send(peer, 2, &in_dialog("UPDATE", 2, &tag, "Contact: <sip:p2@127.0.0.2>\n"));
    assert_eq!(net.take_response(peer).0.status(), Some(200), "a refresh is answered by itself");
    assert_eq!(net.event(0), None);
    net.send_body(peer, 3, &in_dialog("UPDATE", 3, &tag, "Content-Type: application/sdp\n"), OFFER);
    expect!(net, 0, UaEvent::ReinviteReceived { sdp: Some(_), .. });
    let now = net.now;
    net.agent(0).answer_reinvite(now, call, ANSWER.to_vec(), &[]).expect("answered");
    assert_eq!(net.take_response(peer).0.body, ANSWER);
    net.send_body(
        peer,
        4,
        &in_dialog("INFO", 4, &tag, "Content-Type: application/dtmf-relay\n"),
        b"Signal=5",
    );
    expect!(net, 0, UaEvent::Info { content_type, .. } => assert_eq!(content_type, "application/dtmf-relay"));
    assert_eq!(net.take_response(peer).0.status(), Some(200));
    net.send(peer, 5, &in_dialog("OPTIONS", 5, &tag, ""));
    assert!(net.take_response(peer).0.headers.has_token("Allow", "UPDATE"));
    net.send_body(peer, 6, &in_dialog("MESSAGE", 6, &tag, "Content-Type: text/plain\n"), b"hi");
    expect!(net, 0, UaEvent::Message { call: Some(_), .. });
    net.take_response(peer);
    net.send(peer, 7, &in_dialog("INFO", 6, &tag, ""));
    assert_eq!(net.take_response(peer).0.status(), Some(500), "a CSeq that has been");
    net.send(peer, 8, &in_dialog("BYE", 9, "other", ""));
    assert_eq!(net.take_response(peer).0.status(), Some(481));
    net.send(peer, 9, &in_dialog("FOO", 10, &tag, ""));
    assert_eq!(net.take_response(peer).0.status(), Some(405));
    net.agent(0).info(call, "a/b", b"x".to_vec(), &[]).expect("sent");
    net.run();
    assert_eq!(
        net.last_request(0, "INFO").request_uri().map(ToString::to_string).as_deref(),
        Some("sip:p2@127.0.0.2")
    );
    let (id, _) = net.take_request(peer);
    net.answer(peer, id, 481, "", "", b"");
    expect!(net, 0, UaEvent::Answered { code: 481, .. });
    expect!(net, 0, UaEvent::Ended { code: 481, .. });
    assert_idle(&mut net);
}

#[test]
fn a_session_timer_of_the_peer_is_kept_and_runs_out() {
    let (mut net, peer, _, tag) = called_by_peer("Supported: timer\nSession-Expires: 100;refresher=uac\n");
    net.advance(90_000);
    net.send(
        peer,
        2,
        &in_dialog("UPDATE", 2, &tag, "Supported: timer\nSession-Expires: 100;refresher=uac\n"),
    );
    let (answer, _) = net.take_response(peer);
    assert_eq!(answer.header("Session-Expires"), Some("100;refresher=uac"));
    net.advance(99_000);
    assert_eq!(net.event(0), None);
    net.advance(2_000);
    expect!(net, 0, UaEvent::Ended { code: 408, .. });
    let (bye, request) = net.take_request(peer);
    assert_eq!(request.cseq.method, Method::Bye);
    net.answer(peer, bye, 200, "", "", b"");
    assert_idle(&mut net);
}

#[test]
fn a_transfer_is_told_from_end_to_end() {
    let (mut net, a, b) = established();
    let now = net.now;
    net.agent(0).refer(a, "sip:carol@127.0.0.9", None, &[]).expect("sent");
    let refer = match net.event(1) {
        Some(UaEvent::Refer { refer, refer_to, referred_by, replaces: None, call: Some(call), .. }) => {
            assert_eq!(
                (refer_to.as_str(), referred_by.as_str()),
                ("sip:carol@127.0.0.9", "<sip:alice@127.0.0.1>")
            );
            assert_eq!(call, b);
            refer
        }
        other => panic!("{other:?}"),
    };
    expect!(net, 0, UaEvent::Answered { code: 202, .. });
    expect!(net, 0, UaEvent::Notify { content, .. } => assert_eq!(content, b"SIP/2.0 100 Trying\r\n"));
    net.agent(1).refer_progress(now, refer, 180, "").expect("told");
    net.agent(1).refer_progress(now, refer, 200, "").expect("told");
    assert_eq!(net.agent(1).refer_progress(now, refer, 200, ""), Err(UaError::NoRefer));
    expect!(net, 0, UaEvent::Notify { state, .. } => assert_eq!(state, "active"));
    expect!(net, 0, UaEvent::Notify { state, event, .. } => assert_eq!((state.as_str(), event.starts_with("refer")), ("terminated", true)));
    net.agent(0).hangup(now, a, &[]).expect("hung up");
    assert_idle(&mut net);
}

#[test]
fn an_attended_transfer_names_the_dialog_whatever_its_spelling() {
    let (mut net, a, b) = established();
    let now = net.now;
    net.agent(0).refer(a, "sip:bob@127.0.0.2", Some(a), &[]).expect("sent");
    let replaces = expect!(net, 1, UaEvent::Refer { replaces: Some(replaces), .. } => replaces);
    assert_eq!(net.agent(1).find_call(&replaces), Some(b), "the target finds its own call");
    assert_eq!(net.agent(1).find_call(&Replaces { to_tag: "x".into(), ..replaces }), None);
    net.agent(1).hangup(now, b, &[]).expect("hung up");
    assert_idle(&mut net);

    let (mut net, peer, _, tag) = called_by_peer("");
    net.send(
        peer,
        2,
        &in_dialog("REFER", 2, &tag, "Refer-To: <sip:c@x?rEPLACES=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>\n"),
    );
    let replaces = expect!(net, 0, UaEvent::Refer { replaces: Some(replaces), .. } => replaces);
    assert_eq!(replaces.to_string(), "a@b;to-tag=1;from-tag=2");
    assert_idle_call(&mut net);
}

/// The transfer runs out by itself even if nobody tells its progress.
fn assert_idle_call(net: &mut Net) {
    net.advance(300_000);
    assert_eq!(net.agent(0).sizes()[4], 0);
}

#[test]
fn messages_outside_a_call() {
    let (mut net, alice, _) = pair();
    let options = RequestOptions { call_id: Some("mine".into()), headers: header("X-A", "b"), from: None };
    let sent = net.agent(0).message_to(alice, "sip:bob@127.0.0.2", "text/plain", b"hello".to_vec(), options);
    let (request, call_id) = sent.expect("sent");
    assert_eq!(call_id, "mine");
    match net.event(1) {
        Some(UaEvent::Message { call: None, content, from, .. }) => {
            assert_eq!(
                (content.as_slice(), from.uri.to_string().as_str()),
                (&b"hello"[..], "sip:alice@127.0.0.1")
            );
        }
        other => panic!("{other:?}"),
    }
    expect!(net, 0, UaEvent::Answered { request: r, code: 200, .. } => assert_eq!(r, request));
    let gone = net.agent(0).message_to(
        alice,
        "sip:x@127.9.9.9",
        "text/plain",
        b"x".to_vec(),
        RequestOptions::default(),
    );
    gone.expect("sent");
    expect!(net, 0, UaEvent::Answered { code: 503, .. });
    assert_idle(&mut net);
}
