//! Calls between two user agents, and between one and a scripted peer, over transactions in memory.

mod sim;

use bifrons_sip_protocol::{FromSip, ToSip};
use bifrons_sip_ua::message::{Message, Method, Replaces};
use bifrons_sip_ua::ua::{AccountId, CallId, RequestOptions, UaError, UaEvent};
use sim::{Net, T64_MS, guest};

macro_rules! expect {
    ($net:expr, $node:expr, $pattern:pat => $out:expr) => {
        match $net.event($node) {
            Some($pattern) => $out,
            other => panic!("expected {}, got {other:#?}", stringify!($pattern)),
        }
    };
    ($net:expr, $node:expr, $pattern:pat) => {
        expect!($net, $node, $pattern => ())
    };
}

const OFFER: &[u8] = b"v=0 offer";
const ANSWER: &[u8] = b"v=0 answer";

/// Two user agents with a guest each.
fn pair() -> (Net, AccountId, AccountId) {
    let mut net = Net::new();
    let (a, b) = (net.ua(|_| ()), net.ua(|_| ()));
    let now = net.now;
    let alice = net.agent(a).register(now, guest("alice", a)).expect("an account");
    let bob = net.agent(b).register(now, guest("bob", b)).expect("an account");
    (net, alice, bob)
}

fn invite(net: &mut Net, account: AccountId, sdp: Option<&[u8]>) -> CallId {
    let now = net.now;
    let sdp = sdp.map(<[u8]>::to_vec);
    net.agent(0).invite(now, account, "sip:bob@127.0.0.2", sdp, RequestOptions::default()).expect("a call")
}

/// A call that both sides have agreed on.
fn established() -> (Net, CallId, CallId) {
    let (mut net, alice, _) = pair();
    let a = invite(&mut net, alice, Some(OFFER));
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    let now = net.now;
    net.agent(1).accept(now, b, ANSWER.to_vec(), &[]).expect("accepted");
    expect!(net, 0, UaEvent::Accepted { sdp: Some(_), needs_answer: false, .. });
    expect!(net, 1, UaEvent::Acknowledged { sdp: None, .. });
    (net, a, b)
}

/// Nothing is left anywhere when everything has run out.
fn assert_idle(net: &mut Net) {
    net.advance(T64_MS * 3 + 300_000);
    for node in 0..net.nodes.len() {
        if let Some(ua) = &net.nodes[node].ua {
            let [_, rest @ ..] = ua.sizes();
            assert_eq!(rest, [0; 4], "calls, clients, servers, transfers of node {node}");
        }
    }
}

fn header(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

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
    let (mut net, alice, _) = pair();
    let peer = net.peer();
    let now = net.now;
    let call =
        net.agent(0).invite(now, alice, "sip:x@127.0.0.3", Some(OFFER.to_vec()), RequestOptions::default());
    let (server, _) = net.take_request(peer);
    net.agent(0).hangup(now, call.expect("a call"), &[]).expect("cancelled");
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

/// A call from a scripted peer at 127.0.0.2 to Alice, with `extra` headers on the INVITE; and our tag.
fn called_by_peer(extra: &str) -> (Net, usize, CallId, String) {
    let (mut net, peer, call, answer, branch) = answered_to_peer(extra);
    ack(&mut net, peer, &answer, &branch);
    expect!(net, 0, UaEvent::Acknowledged { .. });
    let tag = answer.to.tag().expect("a tag").to_owned();
    (net, peer, call, tag)
}

/// The same before its ACK.
fn answered_to_peer(extra: &str) -> (Net, usize, CallId, Message, String) {
    let mut net = Net::new();
    let ua = net.ua(|_| ());
    let peer = net.peer();
    let now = net.now;
    net.agent(ua).register(now, guest("alice", ua)).expect("an account");
    net.send_body(
        peer,
        1,
        &format!(
            "INVITE sip:alice@127.0.0.1 SIP/2.0\nMax-Forwards: 70\nFrom: <sip:p@127.0.0.2>;tag=p\n\
             To: <sip:alice@127.0.0.1>\nCall-ID: c1\nCSeq: 1 INVITE\nContact: <sip:p@127.0.0.2>\n\
             Content-Type: application/sdp\n{extra}"
        ),
        OFFER,
    );
    let call = expect!(net, ua, UaEvent::Incoming { call, .. } => call);
    net.agent(ua).accept(now, call, ANSWER.to_vec(), &[]).expect("accepted");
    let (answer, branch) = net.take_response(peer);
    assert_eq!(answer.status(), Some(200));
    (net, peer, call, answer, branch)
}

fn ack(net: &mut Net, peer: usize, answer: &Message, branch: &str) {
    let target = answer.contacts().expect("contacts")[0].uri.to_string();
    let text = format!(
        "ACK {target} SIP/2.0\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n",
        answer.from, answer.to, answer.call_id, answer.cseq.number
    );
    let message = ToSip::Ack {
        id: bifrons_sip_protocol::ClientId(1),
        branch: branch.to_owned(),
        next_hop: String::new(),
        ident: "main".into(),
        flow: None,
        text: text.into_bytes(),
    };
    net.carry(peer, message);
    net.run();
}

fn in_dialog(method: &str, cseq: u32, tag: &str, extra: &str) -> String {
    format!(
        "{method} sip:alice@127.0.0.1 SIP/2.0\nFrom: <sip:p@127.0.0.2>;tag=p\nTo: <sip:alice@127.0.0.1>;tag={tag}\n\
         Call-ID: c1\nCSeq: {cseq} {method}\n{extra}"
    )
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
    net.agent(0).info(now, call, "a/b", b"x".to_vec(), &[]).expect("sent");
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
    let (mut net, alice, _) = pair();
    let peer = net.peer();
    let now = net.now;
    let call = net
        .agent(0)
        .invite(now, alice, "sip:x@127.0.0.3", Some(OFFER.to_vec()), RequestOptions::default())
        .expect("a call");
    let (server, _) = net.take_request(peer);
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
    let (mut net, alice, _) = pair();
    let peer = net.peer();
    let now = net.now;
    let call =
        net.agent(0).invite(now, alice, "sip:x@127.0.0.3", Some(OFFER.to_vec()), RequestOptions::default());
    let (server, _) = net.take_request(peer);
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
    net.agent(0).hangup(now, call.expect("a call"), &[]).expect("cancelled");
    assert_idle(&mut net);
}

#[test]
fn our_reliable_answers_wait_for_their_prack() {
    let mut net = Net::new();
    let (a, b) = (net.ua(|_| ()), net.ua(|_| ()));
    let now = net.now;
    let account = |user, node| bifrons_sip_ua::ua::AccountConfig { reliable: true, ..guest(user, node) };
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
fn a_transfer_is_told_from_end_to_end() {
    let (mut net, a, b) = established();
    let now = net.now;
    net.agent(0).refer(now, a, "sip:carol@127.0.0.9", None, &[]).expect("sent");
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
    net.agent(0).refer(now, a, "sip:bob@127.0.0.2", Some(a), &[]).expect("sent");
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
    let now = net.now;
    let options = RequestOptions { call_id: Some("mine".into()), headers: header("X-A", "b"), from: None };
    let sent =
        net.agent(0).message_to(now, alice, "sip:bob@127.0.0.2", "text/plain", b"hello".to_vec(), options);
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
        now,
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

#[test]
fn strangers_are_refused_before_anyone_hears_of_them() {
    let mut net = Net::new();
    let ua = net.ua(|_| ());
    let peer = net.peer();
    let now = net.now;
    net.agent(ua)
        .register(now, bifrons_sip_ua::ua::AccountConfig { sources: vec![], ..guest("alice", ua) })
        .expect("one");
    let text = |method: &str| {
        format!(
            "{method} sip:alice@127.0.0.1 SIP/2.0\nFrom: <sip:p@127.0.0.2>;tag=p\nTo: <sip:alice@127.0.0.1>\n\
             Call-ID: {method}\nCSeq: 1 {method}\nContact: <sip:p@127.0.0.2>\n"
        )
    };
    for method in ["INVITE", "MESSAGE", "OPTIONS", "REFER", "NOTIFY", "SUBSCRIBE"] {
        net.send(peer, 1, &text(method));
        assert_eq!(net.take_response(peer).0.status(), Some(403), "{method}");
    }
    for method in ["BYE", "INFO", "UPDATE"] {
        net.send(peer, 1, &text(method));
        assert_eq!(net.take_response(peer).0.status(), Some(481), "{method}");
    }
    assert_eq!(net.event(ua), None);
    assert_eq!((net.agent(ua).counters().refused_source, net.agent(ua).counters().refused_dialog), (6, 3));
    net.agent(ua).register(now, guest("carol", ua)).expect("an account");
    net.send(peer, 1, &text("INVITE"));
    assert_eq!(net.take_response(peer).0.status(), Some(404));
}

#[test]
fn a_trunk_may_ask_whether_we_are_there_and_call_any_user() {
    let mut net = Net::new();
    let trunk = bifrons_sip_ua::ua::Source { address: [127, 0, 0, 0].into(), prefix: 8 };
    let ua = net.ua(move |config| config.trunks = vec![trunk]);
    let peer = net.peer();
    let text = |method: &str| {
        format!(
            "{method} sip:alice@127.0.0.1 SIP/2.0\nFrom: <sip:p@127.0.0.2>;tag=p\nTo: <sip:alice@127.0.0.1>\n\
             Call-ID: {method}\nCSeq: 1 {method}\nContact: <sip:p@127.0.0.2>\n"
        )
    };
    net.send(peer, 1, &text("OPTIONS"));
    assert_eq!(net.take_response(peer).0.status(), Some(200), "without any account");
    net.send(peer, 2, &text("INVITE"));
    assert_eq!(net.take_response(peer).0.status(), Some(404));
    let now = net.now;
    let alice = bifrons_sip_ua::ua::AccountConfig { sources: vec![], ..guest("alice", ua) };
    net.agent(ua).register(now, alice).expect("an account");
    net.send(peer, 3, &text("INVITE").replace("Call-ID: INVITE", "Call-ID: again"));
    assert!(matches!(net.event(ua), Some(UaEvent::Incoming { .. })));
}

#[test]
fn what_an_application_gives_cannot_change_the_message() {
    let (mut net, alice, _) = pair();
    let now = net.now;
    for (name, value) in [
        ("X-A", "b\r\nX-B: c"),
        ("X A", "b"),
        ("Contact", "<sip:evil@x>"),
        ("Route", "<sip:evil;lr>"),
        ("call-id", "x"),
    ] {
        let options = RequestOptions { headers: header(name, value), ..RequestOptions::default() };
        let error = net.agent(0).invite(now, alice, "sip:bob@127.0.0.2", None, options);
        assert!(matches!(error, Err(UaError::Malformed(_))), "{name}: {value}");
    }
    for target in ["sip:a b@c", "sip:a@b\r\nX: y", "bob", "http://x", "sip:"] {
        let error = net.agent(0).invite(now, alice, target, None, RequestOptions::default());
        assert!(matches!(error, Err(UaError::Malformed(_))), "{target}");
    }
    net.run();
    assert_eq!(net.agent(0).sizes()[1..], [0; 4]);
}

#[test]
fn limits_are_errors_that_lose_nothing() {
    let mut net = Net::new();
    let ua = net.ua(|config| (config.accounts_max, config.calls_max, config.account_calls_max) = (1, 2, 1));
    let peer = net.peer();
    let now = net.now;
    let alice = net.agent(ua).register(now, guest("alice", ua)).expect("an account");
    assert_eq!(net.agent(ua).register(now, guest("bob", ua)), Err(UaError::Limit("accounts")));
    let options = RequestOptions::default;
    let call = net.agent(ua).invite(now, alice, "sip:p@127.0.0.2", None, options()).expect("a call");
    let second = net.agent(ua).invite(now, alice, "sip:p@127.0.0.2", None, options());
    assert_eq!(second, Err(UaError::Limit("calls of the account")));
    let (server, _) = net.take_request(peer);
    net.send(
        peer,
        1,
        "INVITE sip:alice@127.0.0.1 SIP/2.0\nFrom: <sip:p@127.0.0.2>;tag=p\nTo: <sip:alice@127.0.0.1>\nCall-ID: c\n\
         CSeq: 1 INVITE\nContact: <sip:p@127.0.0.2>\n",
    );
    assert_eq!(net.take_response(peer).0.status(), Some(486));
    net.answer(peer, server, 404, "t", "", b"");
    expect!(net, ua, UaEvent::Ended { call: c, code: 404, .. } => assert_eq!(c, call));
    assert_idle(&mut net);
}

#[test]
fn requests_wait_outside_while_the_application_does_not_keep_up() {
    let mut net = Net::new();
    let ua = net.ua(|config| config.queue_max = 3);
    let now = net.now;
    net.agent(ua).register(now, guest("alice", ua)).expect("an account");
    let text = |number: u32| {
        format!(
            "MESSAGE sip:alice@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK{number}\r\n\
             From: <sip:p@127.0.0.2>;tag=p\r\nTo: <sip:alice@127.0.0.1>\r\nCall-ID: {number}\r\n\
             CSeq: 1 MESSAGE\r\nContent-Length: 1\r\n\r\nx"
        )
    };
    for number in 0..5 {
        let origin = bifrons_sip_protocol::Origin {
            source: "127.0.0.2:5060".parse().expect("an address"),
            local: "127.0.0.1:5060".parse().expect("an address"),
            ident: "main".into(),
            transport: bifrons_sip_protocol::Transport::Udp,
            flow: None,
            tls: None,
        };
        let id = bifrons_sip_protocol::ServerId(u64::from(number) + 100);
        let message = FromSip::Request { id, origin, text: text(number).into_bytes(), parts: Vec::new() };
        net.agent(ua).handle(now, message);
    }
    let agent = net.agent(ua);
    let status = |message: ToSip| match message {
        ToSip::Respond { status, .. } => status,
        other => panic!("{other:?}"),
    };
    let answers: Vec<u16> = std::iter::from_fn(|| agent.poll_output()).map(status).collect();
    assert_eq!(answers, [200, 200, 200, 503, 503]);
    assert_eq!(agent.counters().limits, 2);
    assert_eq!(std::iter::from_fn(|| agent.poll_event()).count(), 3);
}

#[test]
fn dialogs_survive_the_death_of_the_sip_process() {
    let (mut net, a, b) = established();
    for node in [0, 1] {
        net.kill(node);
    }
    let now = net.now;
    net.agent(0).reinvite(now, a, Some(OFFER.to_vec()), &[]).expect("sent");
    while !matches!(net.event(1), Some(UaEvent::ReinviteReceived { .. })) {}
    net.agent(1).answer_reinvite(now, b, ANSWER.to_vec(), &[]).expect("answered");
    while !matches!(net.event(0), Some(UaEvent::ReinviteAccepted { .. })) {}
    net.agent(1).hangup(now, b, &[]).expect("hung up");
    expect!(net, 0, UaEvent::Ended { code: 200, .. });
    assert_idle(&mut net);
}

#[test]
fn an_ack_that_died_with_the_sip_process_is_not_missed() {
    for goes_on in [true, false] {
        let (mut net, peer, call, answer, _) = answered_to_peer("");
        let tag = answer.to.tag().expect("a tag").to_owned();
        net.kill(0);
        net.event(0);
        net.event(0);
        if goes_on {
            let text =
                in_dialog("INVITE", 2, &tag, "Contact: <sip:p@127.0.0.2>\nContent-Type: application/sdp\n");
            net.send_body(peer, 2, &text, OFFER);
        } else {
            net.advance(T64_MS + 1);
        }
        expect!(net, 0, UaEvent::Acknowledged { sdp: None, .. });
        if goes_on {
            expect!(net, 0, UaEvent::ReinviteReceived { .. });
        }
        assert_eq!(net.count_sent(0, "BYE"), 0);
        let now = net.now;
        net.agent(0).hangup(now, call, &[]).expect("hung up");
        assert_idle(&mut net);
    }
}

#[test]
fn a_late_200_after_the_death_is_acknowledged() {
    let (mut net, alice, _) = pair();
    invite(&mut net, alice, Some(OFFER));
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    net.kill(0);
    let now = net.now;
    net.agent(1).accept(now, b, ANSWER.to_vec(), &[]).expect("accepted");
    while !matches!(net.event(0), Some(UaEvent::Accepted { .. })) {}
    expect!(net, 1, UaEvent::Acknowledged { .. });
    net.agent(1).hangup(now, b, &[]).expect("hung up");
    expect!(net, 0, UaEvent::Ended { code: 200, .. });
    assert_idle(&mut net);
}

#[test]
fn an_invite_that_comes_again_after_the_death_does_not_ring_twice() {
    let (mut net, alice, _) = pair();
    let a = invite(&mut net, alice, Some(OFFER));
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    let now = net.now;
    net.agent(1).ring(now, b, &[]).expect("rings");
    net.kill(1);
    net.retransmit(1);
    net.nodes[1].events.retain(|event| !matches!(event, UaEvent::Listening { .. }));
    assert_eq!(net.event(1), None, "no second call");
    net.agent(1).accept(now, b, ANSWER.to_vec(), &[]).expect("accepted");
    while !matches!(net.event(0), Some(UaEvent::Accepted { .. })) {}
    expect!(net, 1, UaEvent::Acknowledged { .. });
    net.agent(0).hangup(now, a, &[]).expect("hung up");
    assert_idle(&mut net);
}

#[test]
fn an_invite_without_any_answer_after_the_death_ends() {
    let (mut net, alice, _) = pair();
    invite(&mut net, alice, Some(OFFER));
    expect!(net, 1, UaEvent::Incoming { .. });
    net.kill(0);
    net.kill(1);
    net.advance(T64_MS + 1);
    while !matches!(net.event(0), Some(UaEvent::Ended { code: 503, internal: true, .. })) {}
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
