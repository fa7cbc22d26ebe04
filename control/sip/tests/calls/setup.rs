//! How a call begins, and how it ends before or right after its answer.

use bifrons_sip_protocol::FromSip;
use bifrons_sip_ua::message::Method;
use bifrons_sip_ua::ua::{AccountConfig, RequestOptions, UaError, UaEvent};

use crate::sim::{Net, T64_MS, guest};
use crate::{ANSWER, OFFER, assert_idle, calling_peer, header, invite, pair};

#[test]
fn a_call_rings_is_accepted_and_ends_by_bye() {
    let (mut net, alice, _) = pair();
    let a = invite(&mut net, alice, Some(OFFER));
    let b = match net.event(1) {
        Some(UaEvent::Incoming { call, from, sdp, details, .. }) => {
            assert_eq!((from.uri.to_string().as_str(), sdp.as_deref()), ("sip:alice@127.0.0.1", Some(OFFER)));
            assert_eq!(details.source, Some("127.0.0.1:5060".parse().expect("an address")));
            call
        }
        other => panic!("{other:?}"),
    };
    let now = net.now;
    net.agent(1).ring(now, b, &[]).expect("rings");
    expect!(net, 0, UaEvent::Provisional { code: 180, sdp: None, .. });
    net.agent(1).progress(now, b, ANSWER.to_vec(), &[]).expect("progress");
    expect!(net, 0, UaEvent::Provisional { code: 183, sdp: Some(_), .. });
    net.agent(1).accept(now, b, ANSWER.to_vec(), &header("X-Own", "yes")).expect("accepted");
    let details = expect!(net, 0, UaEvent::Accepted { sdp: Some(_), details, .. } => details);
    assert!(details.headers.contains(&("X-Own".into(), "yes".into())));
    expect!(net, 1, UaEvent::Acknowledged { .. });
    net.agent(1)
        .hangup(now, b, &header("Reason", "Q.850;cause=16;text=\"Bye \\\"bye\\\"\""))
        .expect("hung up");
    match net.event(0) {
        Some(UaEvent::Ended { call, code: 200, reason, reason_header: Some(header), .. }) => {
            assert_eq!((call, reason.as_str()), (a, "Session Terminated"));
            assert_eq!((header.protocol.as_str(), header.cause.as_deref()), ("Q.850", Some("16")));
            assert_eq!(header.text.as_deref(), Some("Bye \"bye\""));
        }
        other => panic!("{other:?}"),
    }
    expect!(net, 1, UaEvent::Ended { code: 200, reason, .. } => assert_eq!(reason, "to BYE"));
    assert_eq!(net.agent(0).hangup(now, a, &[]), Err(UaError::NoCall));
    assert_idle(&mut net);
}

#[test]
fn a_refusal_ends_both_sides() {
    let (mut net, alice, _) = pair();
    invite(&mut net, alice, Some(OFFER));
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    let now = net.now;
    net.agent(1).reject(now, b, 486, "", &header("Reason", "SIP;cause=486;text=\"No\"")).expect("refused");
    expect!(net, 1, UaEvent::Ended { code: 486, .. });
    let reason = expect!(net, 0, UaEvent::Ended { code: 486, reason_header, .. } => reason_header);
    assert_eq!(reason.and_then(|r| r.text).as_deref(), Some("No"));
    assert_idle(&mut net);
}

#[test]
fn a_redirection_is_reported_with_its_contacts() {
    let (mut net, alice, _) = pair();
    invite(&mut net, alice, Some(OFFER));
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    let now = net.now;
    let headers = header("Contact", "<sip:carol@example.com>;q=0.5, <tel:+1555>");
    net.agent(1).reject(now, b, 302, "", &headers).expect("redirected");
    let contacts = expect!(net, 0, UaEvent::Ended { code: 302, contacts, .. } => contacts);
    assert_eq!(contacts, ["<sip:carol@example.com>;q=0.5", "<tel:+1555>"]);
}

#[test]
fn a_cancelled_call_ends_487_with_its_reason() {
    let (mut net, alice, _) = pair();
    let a = invite(&mut net, alice, Some(OFFER));
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    let now = net.now;
    net.agent(1).ring(now, b, &[]).expect("rings");
    expect!(net, 0, UaEvent::Provisional { code: 180, .. });
    net.agent(0).hangup(now, a, &header("Reason", "SIP;cause=200;text=\"Elsewhere\"")).expect("cancelled");
    net.agent(0).hangup(now, a, &[]).expect("twice does nothing");
    let reason = expect!(net, 1, UaEvent::Ended { code: 487, reason_header, .. } => reason_header);
    assert_eq!(reason.and_then(|r| r.text).as_deref(), Some("Elsewhere"));
    assert_eq!(net.agent(1).accept(now, b, ANSWER.to_vec(), &[]), Err(UaError::NoCall));
    expect!(net, 0, UaEvent::Ended { code: 487, .. });
    assert_idle(&mut net);
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let (mut net, peer, call, server) = calling_peer();
    let now = net.now;
    net.agent(0).hangup(now, call, &[]).expect("cancelled");
    net.answer(
        peer,
        server,
        200,
        "t",
        "Contact: <sip:x@127.0.0.3>\r\nContent-Type: application/sdp\r\n",
        ANSWER,
    );
    assert!(matches!(net.take(peer), Some(FromSip::Ack { .. })));
    let (bye, request) = net.take_request(peer);
    assert_eq!((request.cseq.method, request.cseq.number), (Method::Bye, 2));
    net.answer(peer, bye, 200, "", "", b"");
    expect!(net, 0, UaEvent::Ended { code: 200, reason, .. } => assert_eq!(reason, "to BYE"));
    assert_idle(&mut net);
}

#[test]
fn an_offerless_call_is_answered_in_the_ack() {
    let (mut net, alice, _) = pair();
    let a = invite(&mut net, alice, None);
    let b = expect!(net, 1, UaEvent::Incoming { call, sdp: None, .. } => call);
    let now = net.now;
    net.agent(1).accept(now, b, OFFER.to_vec(), &[]).expect("offered");
    expect!(net, 0, UaEvent::Accepted { needs_answer: true, sdp: Some(_), .. });
    assert!(net.nodes[1].events.is_empty());
    net.agent(0).answer(now, a, ANSWER.to_vec()).expect("answered");
    expect!(net, 1, UaEvent::Acknowledged { sdp, .. } => assert_eq!(sdp.as_deref(), Some(ANSWER)));
    net.agent(0).hangup(now, a, &[]).expect("hung up");
    expect!(net, 1, UaEvent::Ended { code: 200, .. });
    assert_idle(&mut net);
}

#[test]
fn an_offer_in_a_200_that_nobody_answers_ends_the_call() {
    let (mut net, alice, _) = pair();
    invite(&mut net, alice, None);
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    let now = net.now;
    net.agent(1).accept(now, b, OFFER.to_vec(), &[]).expect("offered");
    expect!(net, 0, UaEvent::Accepted { needs_answer: true, .. });
    net.advance(T64_MS + 3_000);
    expect!(net, 0, UaEvent::Ended { .. });
    assert_idle(&mut net);
}

#[test]
fn a_200_without_ack_ends_by_bye() {
    let (mut net, alice, _) = pair();
    let peer = net.peer();
    let _ = alice;
    net.send_body(
        peer,
        1,
        "INVITE sip:alice@127.0.0.1 SIP/2.0\nFrom: <sip:p@127.0.0.3>;tag=p\nTo: <sip:alice@127.0.0.1>\nCall-ID: c2\n\
         CSeq: 1 INVITE\nContact: <sip:p@127.0.0.3>\nContent-Type: application/sdp\n",
        OFFER,
    );
    let call = expect!(net, 0, UaEvent::Incoming { call, .. } => call);
    let now = net.now;
    net.agent(0).accept(now, call, ANSWER.to_vec(), &[]).expect("accepted");
    net.agent(0).hangup(now, call, &[]).expect("waits for the ACK");
    net.run();
    assert_eq!(net.count_sent(0, "BYE"), 0);
    net.advance(T64_MS + 3_000);
    assert_eq!(net.count_sent(0, "BYE"), 1);
    expect!(net, 0, UaEvent::Ended { code: 408, .. });
    assert_idle(&mut net);
}

#[test]
fn forks_have_dialogs_of_their_own() {
    let (mut net, peer, call, server) = calling_peer();
    let now = net.now;
    let sdp = |host: &str| format!("Contact: <sip:{host}@127.0.0.3>\r\nContent-Type: application/sdp\r\n");
    net.answer(peer, server, 183, "one", &sdp("one"), ANSWER);
    net.answer(peer, server, 183, "two", &sdp("two"), ANSWER);
    for fork in ["one", "two"] {
        expect!(net, 0, UaEvent::Provisional { to_tag, .. } => assert_eq!(to_tag.as_deref(), Some(fork)));
    }
    net.answer(peer, server, 200, "two", &sdp("two"), ANSWER);
    expect!(net, 0, UaEvent::Accepted { .. });
    assert_eq!(net.last_request(0, "ACK").to.tag(), Some("two"));
    net.answer(peer, server, 200, "one", &sdp("one"), ANSWER);
    assert_eq!(net.last_request(0, "ACK").to.tag(), Some("one"));
    let bye = net.last_request(0, "BYE");
    assert_eq!(
        (bye.to.tag(), bye.request_uri().map(ToString::to_string).as_deref()),
        (Some("one"), Some("sip:one@127.0.0.3"))
    );
    assert_eq!(net.event(0), None, "the call goes on");
    net.agent(0).hangup(now, call, &[]).expect("hung up");
    net.run();
    assert_eq!(net.last_request(0, "BYE").to.tag(), Some("two"));
    assert_idle(&mut net);
}

#[test]
fn reliable_answers_are_acknowledged_once() {
    let (mut net, peer, call, server) = calling_peer();
    let now = net.now;
    let headers =
        "Contact: <sip:x@127.0.0.3>\r\nRequire: 100rel\r\nRSeq: 7\r\nRecord-Route: <sip:127.0.0.3;lr>\r\n";
    for _ in 0..2 {
        net.answer(peer, server, 183, "t", headers, b"");
    }
    let prack = net.last_request(0, "PRACK");
    assert_eq!(
        (prack.header("RAck"), prack.header("Route")),
        (Some("7 1 INVITE"), Some("<sip:127.0.0.3;lr>"))
    );
    assert_eq!(net.count_sent(0, "PRACK"), 1, "the repetition is dropped");
    expect!(net, 0, UaEvent::Provisional { .. });
    assert_eq!(net.event(0), None);
    net.agent(0).hangup(now, call, &[]).expect("cancelled");
    assert_idle(&mut net);
}

#[test]
fn our_reliable_answers_wait_for_their_prack() {
    let mut net = Net::new();
    let (a, b) = (net.ua(|_| ()), net.ua(|_| ()));
    let now = net.now;
    let account = |user, node| AccountConfig { reliable: true, ..guest(user, node) };
    let alice = net.agent(a).register(now, account("alice", a)).expect("an account");
    net.agent(b).register(now, account("bob", b)).expect("an account");
    invite(&mut net, alice, Some(OFFER));
    let call = expect!(net, b, UaEvent::Incoming { call, .. } => call);
    let agent = net.agent(b);
    agent.progress(now, call, ANSWER.to_vec(), &[]).expect("progress");
    agent.ring(now, call, &[]).expect("waits");
    agent.accept(now, call, ANSWER.to_vec(), &[]).expect("waits");
    assert!(matches!(agent.reject(now, call, 486, "", &[]), Err(UaError::State(_))));
    expect!(net, a, UaEvent::Provisional { code: 183, .. });
    expect!(net, a, UaEvent::Provisional { code: 180, .. });
    expect!(net, a, UaEvent::Accepted { .. });
    assert_eq!(net.count_sent(a, "PRACK"), 2);
    expect!(net, b, UaEvent::Acknowledged { .. });
}

#[test]
fn a_reliable_answer_without_prack_ends_the_call() {
    let mut net = Net::new();
    let ua = net.ua(|_| ());
    let peer = net.peer();
    let now = net.now;
    net.agent(ua).register(now, guest("alice", ua)).expect("an account");
    net.send_body(
        peer,
        1,
        "INVITE sip:alice@127.0.0.1 SIP/2.0\nFrom: <sip:p@127.0.0.2>;tag=p\nTo: <sip:alice@127.0.0.1>\nCall-ID: c\n\
         CSeq: 1 INVITE\nContact: <sip:p@127.0.0.2>\nContent-Type: application/sdp\nRequire: 100rel\n",
        OFFER,
    );
    let call = expect!(net, ua, UaEvent::Incoming { call, .. } => call);
    net.agent(ua).progress(now, call, ANSWER.to_vec(), &[]).expect("progress");
    assert_eq!(net.take_response(peer).0.header("RSeq"), Some("1"));
    net.advance(T64_MS + 1);
    expect!(net, ua, UaEvent::Ended { code: 503, .. });
    assert_idle(&mut net);
}

#[test]
fn a_dead_target_and_silence_end_the_call() {
    let (mut net, alice, _) = pair();
    let now = net.now;
    for (target, code) in [("sip:x@127.9.9.9", 503), ("sip:x@127.0.0.3", 408)] {
        if code == 408 {
            net.peer();
        }
        net.agent(0)
            .invite(now, alice, target, Some(OFFER.to_vec()), RequestOptions::default())
            .expect("a call");
        net.advance(T64_MS + 1);
        expect!(net, 0, UaEvent::Ended { code: c, internal: true, .. } => assert_eq!(c, code));
    }
    assert_idle(&mut net);
}

#[test]
fn a_call_that_rings_for_ever_is_given_up_on_both_sides() {
    let (mut net, alice, _) = pair();
    invite(&mut net, alice, Some(OFFER));
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    let now = net.now;
    net.agent(1).ring(now, b, &[]).expect("rings");
    expect!(net, 0, UaEvent::Provisional { code: 180, .. });
    net.advance(301_000);
    let code = expect!(net, 0, UaEvent::Ended { code, .. } => code);
    assert!(code == 480 || code == 487, "{code}");
    assert_idle(&mut net);
}
