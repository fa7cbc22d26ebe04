//! Who gets in, whom a request is for, what is refused.

use bifrons_sip_protocol::{FromSip, ToSip};
use bifrons_sip_ua::ua::{AccountConfig, RequestOptions, Source, UaError, UaEvent};

use crate::sim::{Net, guest};
use crate::{assert_idle, header, pair};

#[test]
fn strangers_are_refused_before_anyone_hears_of_them() {
    let mut net = Net::new();
    let ua = net.ua(|_| ());
    let peer = net.peer();
    let now = net.now;
    net.agent(ua).register(now, AccountConfig { sources: vec![], ..guest("alice", ua) }).expect("one");
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
    let trunk = Source { address: [127, 0, 0, 0].into(), prefix: 8 };
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
    let alice = AccountConfig { sources: vec![], ..guest("alice", ua) };
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
