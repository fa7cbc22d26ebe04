//! The embedded registrar with two user agents as its users: nothing is scripted.

mod sim;

use bifrons_sip_ua::digest::Secret;
use bifrons_sip_ua::message::Uri;
use bifrons_sip_ua::registrar::RegistrarEvent;
use bifrons_sip_ua::ua::{AccountConfig, AccountId, CallId, RequestOptions, UaEvent};
use sim::Net;

const REGISTRAR: usize = 0;
const OFFER: &[u8] = b"v=0 offer";
const ANSWER: &[u8] = b"v=0 answer";

fn account(net: &mut Net, node: usize, user: &str, password: &str) -> AccountId {
    let uri = Uri::parse(&format!("sip:{user}@127.0.0.1")).expect("a URI");
    let mut config = AccountConfig::new(uri.as_sip().expect("a SIP URI").clone());
    config.secret = Some(Secret::Password(password.into()));
    let now = net.now;
    net.agent(node).register(now, config).expect("an account")
}

/// The registrar, Alice at node 1 and Bob at node 2.
fn start() -> (Net, AccountId, AccountId) {
    let mut net = Net::new();
    assert_eq!(net.registrar(&["alice", "bob", "carol"]), REGISTRAR);
    let (a, b) = (net.ua(|_| ()), net.ua(|_| ()));
    let alice = account(&mut net, a, "alice", "alice");
    let bob = account(&mut net, b, "bob", "bob");
    for node in [a, b] {
        match net.event(node) {
            Some(UaEvent::Registered { expires_s: 3600, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    while registrar_event(&mut net).is_some() {}
    (net, alice, bob)
}

fn registrar_event(net: &mut Net) -> Option<RegistrarEvent> {
    net.run();
    net.nodes[REGISTRAR].registrar.as_mut().and_then(|registrar| registrar.poll_event())
}

fn call(net: &mut Net, account: AccountId, target: &str, sdp: Option<&[u8]>) -> CallId {
    let (now, sdp) = (net.now, sdp.map(<[u8]>::to_vec));
    net.agent(1).invite(now, account, target, sdp, RequestOptions::default()).expect("a call")
}

#[test]
fn wrong_passwords_and_unknown_users_do_not_register() {
    let (mut net, ..) = start();
    for (user, password) in [("alice", "wrong"), ("mallory", "mallory")] {
        account(&mut net, 1, user, password);
        match net.event(1) {
            Some(UaEvent::RegistrationFailed { code: 904, detail_code: 401, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(registrar_event(&mut net), None);
}

#[test]
fn one_user_calls_another_and_everything_passes() {
    let (mut net, alice, _) = start();
    let a = call(&mut net, alice, "sip:bob@127.0.0.1", Some(OFFER));
    let b = match net.event(2) {
        Some(UaEvent::Incoming { call, from, sdp, .. }) => {
            assert_eq!((from.uri.to_string().as_str(), sdp.as_deref()), ("sip:alice@127.0.0.1", Some(OFFER)));
            call
        }
        other => panic!("{other:?}"),
    };
    let now = net.now;
    net.agent(2).ring(now, b, &[]).expect("rings");
    assert!(matches!(net.event(1), Some(UaEvent::Provisional { code: 180, .. })));
    net.agent(2).accept(now, b, ANSWER.to_vec(), &[]).expect("accepted");
    assert!(matches!(net.event(1), Some(UaEvent::Accepted { sdp: Some(sdp), .. }) if sdp == ANSWER));
    assert!(matches!(net.event(2), Some(UaEvent::Acknowledged { .. })));
    net.agent(2).reinvite(now, b, Some(OFFER.to_vec()), &[]).expect("sent");
    assert!(matches!(net.event(1), Some(UaEvent::ReinviteReceived { sdp: Some(_), .. })));
    net.agent(1).answer_reinvite(now, a, ANSWER.to_vec(), &[]).expect("answered");
    assert!(matches!(net.event(2), Some(UaEvent::ReinviteAccepted { sdp: Some(_), .. })));
    assert!(matches!(net.event(1), Some(UaEvent::Acknowledged { .. })));
    net.agent(1).info(a, "application/dtmf-relay", b"Signal=1".to_vec(), &[]).expect("sent");
    assert!(matches!(net.event(2), Some(UaEvent::Info { .. })));
    assert!(matches!(net.event(1), Some(UaEvent::Answered { code: 200, .. })));
    net.agent(1).hangup(now, a, &[]).expect("hung up");
    assert!(matches!(net.event(2), Some(UaEvent::Ended { code: 200, .. })));
    assert!(matches!(net.event(1), Some(UaEvent::Ended { code: 200, .. })));
}

#[test]
fn refusals_and_cancels_pass() {
    let (mut net, alice, _) = start();
    call(&mut net, alice, "sip:bob@127.0.0.1", Some(OFFER));
    let Some(UaEvent::Incoming { call: b, .. }) = net.event(2) else { panic!("no call") };
    let now = net.now;
    net.agent(2).reject(now, b, 486, "", &[]).expect("refused");
    assert!(matches!(net.event(1), Some(UaEvent::Ended { code: 486, .. })));
    let a = call(&mut net, alice, "sip:bob@127.0.0.1", Some(OFFER));
    net.event(2);
    net.run();
    net.agent(1).hangup(now, a, &[]).expect("cancelled");
    assert!(matches!(net.event(2), Some(UaEvent::Incoming { .. })));
    assert!(matches!(net.event(2), Some(UaEvent::Ended { code: 487, .. })));
    assert!(matches!(net.event(1), Some(UaEvent::Ended { code: 487, .. })));
    for (user, code) in [("carol", 480), ("nobody", 404)] {
        call(&mut net, alice, &format!("sip:{user}@127.0.0.1"), Some(OFFER));
        assert!(matches!(net.event(1), Some(UaEvent::Ended { code: c, .. }) if c == code), "{user}");
    }
}

#[test]
fn an_offerless_call_passes() {
    let (mut net, alice, _) = start();
    let a = call(&mut net, alice, "sip:bob@127.0.0.1", None);
    let Some(UaEvent::Incoming { call: b, sdp: None, .. }) = net.event(2) else { panic!("no call") };
    let now = net.now;
    net.agent(2).accept(now, b, OFFER.to_vec(), &[]).expect("offered");
    assert!(matches!(net.event(1), Some(UaEvent::Accepted { needs_answer: true, .. })));
    net.agent(1).answer(now, a, ANSWER.to_vec()).expect("answered");
    assert!(matches!(net.event(2), Some(UaEvent::Acknowledged { sdp: Some(sdp), .. }) if sdp == ANSWER));
}

#[test]
fn the_echo_phone_answers_and_calls_back() {
    let (mut net, alice, _) = start();
    let a = call(&mut net, alice, "sip:echo@127.0.0.1", Some(OFFER));
    let echo = match registrar_event(&mut net) {
        Some(RegistrarEvent::EchoOffer { call, sdp: Some(sdp) }) if sdp == OFFER => call,
        other => panic!("{other:?}"),
    };
    let now = net.now;
    let registrar = |net: &mut Net| net.nodes[REGISTRAR].registrar.take().expect("a registrar");
    let mut own = registrar(&mut net);
    own.echo_answer(now, echo, ANSWER.to_vec()).expect("answered");
    net.nodes[REGISTRAR].registrar = Some(own);
    assert!(matches!(net.event(1), Some(UaEvent::Accepted { sdp: Some(sdp), .. }) if sdp == ANSWER));
    net.agent(1).reinvite(now, a, Some(OFFER.to_vec()), &[]).expect("sent");
    assert!(matches!(registrar_event(&mut net), Some(RegistrarEvent::EchoReoffer { .. })));
    let mut own = registrar(&mut net);
    own.echo_answer(now, echo, ANSWER.to_vec()).expect("answered");
    net.nodes[REGISTRAR].registrar = Some(own);
    assert!(matches!(net.event(1), Some(UaEvent::ReinviteAccepted { .. })));
    net.agent(1).hangup(now, a, &[]).expect("hung up");
    assert_eq!(registrar_event(&mut net), Some(RegistrarEvent::EchoEnded { call: echo }));
    net.event(1);

    let message = net.agent(1).message_to(
        alice,
        "sip:echo@127.0.0.1",
        "text/plain",
        b"!".to_vec(),
        RequestOptions::default(),
    );
    message.expect("sent");
    assert_eq!(registrar_event(&mut net), Some(RegistrarEvent::CallBackWanted { user: "alice".into() }));
    assert!(matches!(net.event(1), Some(UaEvent::Answered { code: 200, .. })));
    let mut own = registrar(&mut net);
    let echo = own.call_back(now, "alice", OFFER.to_vec()).expect("calls");
    assert!(own.call_back(now, "carol", OFFER.to_vec()).is_err());
    net.nodes[REGISTRAR].registrar = Some(own);
    let Some(UaEvent::Incoming { call: a, from, .. }) = net.event(1) else { panic!("no call") };
    assert_eq!(from.uri.to_string(), "sip:echo@127.0.0.1");
    net.agent(1).accept(now, a, ANSWER.to_vec(), &[]).expect("accepted");
    assert_eq!(
        registrar_event(&mut net),
        Some(RegistrarEvent::EchoAnswered { call: echo, sdp: ANSWER.to_vec() })
    );
}

#[test]
fn nobody_calls_in_anothers_name() {
    let (mut net, ..) = start();
    // Mallory shows Alice's address, with Bob's password.
    let peer = net.peer();
    net.send(
        peer,
        1,
        "INVITE sip:bob@127.0.0.1 SIP/2.0\nFrom: <sip:alice@127.0.0.1>;tag=x\nTo: <sip:bob@127.0.0.1>\nCall-ID: c\n\
         CSeq: 1 INVITE\nContact: <sip:x@127.0.0.4>\n",
    );
    let (answer, _) = net.take_response(peer);
    assert_eq!(answer.status(), Some(407));
    assert_eq!(answer.auth("Proxy-Authenticate").map(|challenges| challenges.len()), Ok(2));
    assert_eq!(net.event(2), None);
}

#[test]
fn an_unregistered_user_is_not_called_any_more() {
    let (mut net, alice, bob) = start();
    let now = net.now;
    net.agent(2).unregister(now, bob).expect("unregisters");
    assert!(matches!(net.event(2), Some(UaEvent::Unregistered { .. })));
    let gone = RegistrarEvent::Registered { user: "bob".into(), reachable: false };
    assert_eq!(registrar_event(&mut net), Some(gone));
    call(&mut net, alice, "sip:bob@127.0.0.1", Some(OFFER));
    assert!(matches!(net.event(1), Some(UaEvent::Ended { code: 480, .. })));
    // Refreshes keep Alice for a day.
    net.advance(86_400_000);
    assert!(net.nodes[1].events.iter().all(|event| matches!(event, UaEvent::Registered { .. })));
    assert!(net.nodes[1].events.len() > 23);
}
