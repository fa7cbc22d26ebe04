//! Who gets in, whom a request is for, what is refused.

use bifrons_sip_protocol::{GateRules, ToSip};
use bifrons_sip_ua::message::Uri;
use bifrons_sip_ua::ua::{AccountConfig, RequestOptions, Source, UaError, UaEvent};

use crate::sim::{Net, from_neighbour, guest};
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
        net.agent(ua).handle(now, from_neighbour(u64::from(number) + 100, text(number).into_bytes()));
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

/// A trunk at 127.0.0.2, which is the peer, and a user agent that takes what it sends.
fn behind_a_trunk() -> (Net, usize, usize) {
    let mut net = Net::new();
    let ua = net.ua(|config| config.trunks = vec![Source::host([127, 0, 0, 2].into())]);
    let peer = net.peer();
    (net, ua, peer)
}

/// An account that names no sources.
fn account(user: &str, domain: &str) -> AccountConfig {
    let uri = Uri::parse(&format!("sip:{user}@{domain}")).expect("a URI");
    let mut config = AccountConfig::new(uri.as_sip().expect("a SIP URI").clone());
    config.register = false;
    config
}

fn invite_of_trunk(call_id: &str, uri: &str, to: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\nRoute: <sip:127.0.0.1;lr>\nFrom: <sip:p@127.0.0.2>;tag=p\nTo: <{to}>\nCall-ID: {call_id}\nCSeq: 1 INVITE\n\
         Contact: <sip:p@127.0.0.2>\n"
    )
}

#[test]
fn ten_thousand_accounts_are_not_walked() {
    let (mut net, ua, peer) = behind_a_trunk();
    let now = net.now;
    let ids: Vec<_> = (0..10_000)
        .map(|n| net.agent(ua).register(now, account(&n.to_string(), "example.com")).expect("an account"))
        .collect();
    for (call, n) in [0, 5_000, 9_999].into_iter().enumerate() {
        let uri = format!("sip:{n}@127.0.0.1");
        net.send(peer, call as u64 + 1, &invite_of_trunk(&format!("c{n}"), &uri, &uri));
        expect!(net, ua, UaEvent::Incoming { account, .. } => assert_eq!(account, ids[n]));
    }
    net.send(peer, 9, &invite_of_trunk("nobody", "sip:nobody@127.0.0.1", "sip:nobody@127.0.0.1"));
    assert_eq!(net.take_response(peer).0.status(), Some(404));
    let stranger = net.peer();
    net.send(stranger, 10, &invite_of_trunk("stranger", "sip:1@127.0.0.1", "sip:1@127.0.0.1"));
    assert_eq!(net.take_response(stranger).0.status(), Some(403));
    let compared = net.agent(ua).counters().accounts_compared;
    assert!((3..=10).contains(&compared), "{compared} accounts were looked at for five requests");
    for id in ids {
        net.agent(ua).remove_account(now, id);
    }
    let compared = net.agent(ua).counters().accounts_compared;
    net.send(peer, 11, &invite_of_trunk("late", "sip:5@127.0.0.1", "sip:5@127.0.0.1"));
    // The calls of the accounts end before it (480).
    let mut answers = std::iter::from_fn(|| Some(net.take_response(peer).0));
    let late = answers.find(|answer| answer.call_id == "late").and_then(|answer| answer.status());
    assert_eq!(late, Some(404));
    assert_eq!(net.agent(ua).counters().accounts_compared, compared, "nothing of them is left");
}

/// Thousands of pages with one user, in as many domains or in one, and a trunk that names none of them.
#[test]
fn ten_thousand_accounts_of_one_user_are_not_walked() {
    for in_one_domain in [false, true] {
        let (mut net, ua, peer) = behind_a_trunk();
        let now = net.now;
        let domain =
            |n| if in_one_domain { "one.example".to_owned() } else { format!("a{}.example", 9_999 - n) };
        let ids: Vec<_> = (0..10_000)
            .map(|n| net.agent(ua).register(now, account("100", &domain(n))).expect("an account"))
            .collect();
        for uri in ["sip:100@127.0.0.1", "sip:100@one.example"] {
            net.send(peer, 1, &invite_of_trunk(uri, uri, uri));
            expect!(net, ua, UaEvent::Incoming { account, .. } => assert_eq!(account, ids[0], "the oldest"));
        }
        let stranger = net.peer();
        net.send(stranger, 10, &invite_of_trunk("stranger", "sip:100@127.0.0.1", "sip:100@127.0.0.1"));
        assert_eq!(net.take_response(stranger).0.status(), Some(403));
        let compared = net.agent(ua).counters().accounts_compared;
        assert!((2..=10).contains(&compared), "{compared} accounts were looked at for three requests");
    }
}

#[test]
fn two_accounts_of_one_user_get_their_own_calls() {
    let (mut net, ua, peer) = behind_a_trunk();
    let now = net.now;
    let mut register = |domain| net.agent(ua).register(now, account("100", domain)).expect("an account");
    let [one, two] = ["one.example", "two.example"].map(&mut register);
    let mut called = |uri: &str, to: &str| {
        net.send(peer, 1, &invite_of_trunk(&format!("{uri} {to}").replace(' ', "-"), uri, to));
        expect!(net, ua, UaEvent::Incoming { account, .. } => account)
    };
    assert_eq!(called("sip:100@two.example", "sip:100@127.0.0.1"), two, "the Request-URI names the domain");
    assert_eq!(called("sip:100@ONE.example:5060", "sip:100@two.example"), one, "before what To says");
    assert_eq!(called("sip:100@127.0.0.1", "sip:100@two.example"), two, "To names the domain");
    assert_eq!(called("sip:100@127.0.0.1", "sip:200@two.example"), one, "another user's domain says nothing");
    assert_eq!(called("sip:%3100@127.0.0.1", "sip:100@127.0.0.1"), one, "escapes are resolved; the oldest");
    // An account that changes its address is found by the new one only.
    net.agent(ua).update_account(now, one, account("100", "three.example")).expect("changed");
    let mut called = |uri: &str| {
        net.send(peer, 1, &invite_of_trunk(&format!("again-{uri}"), uri, "sip:x@y"));
        expect!(net, ua, UaEvent::Incoming { account, .. } => account)
    };
    assert_eq!((called("sip:100@three.example"), called("sip:100@two.example")), (one, two));
}

#[test]
fn of_two_registrars_each_calls_its_own_account() {
    let mut net = Net::new();
    let all = Source { address: [127, 0, 0, 0].into(), prefix: 8 };
    let ua = net.ua(move |config| config.trunks = vec![all]);
    let now = net.now;
    let accounts = [(); 2].map(|()| {
        let registrar = net.peer();
        let mut config = account("100", &format!("127.0.0.{}", registrar + 1));
        config.register = true;
        let id = net.agent(ua).register(now, config).expect("an account");
        let (server, _) = net.take_request(registrar);
        net.answer(registrar, server, 200, "r", "Expires: 600\r\n", b"");
        expect!(net, ua, UaEvent::Registered { .. });
        (registrar, id)
    });
    // The younger one first, so that the order of registration decides nothing.
    for (registrar, id) in accounts.into_iter().rev() {
        let text = invite_of_trunk(&format!("c{registrar}"), "sip:100@127.0.0.1", "sip:100@127.0.0.1");
        net.send(registrar, 50, &text);
        expect!(net, ua, UaEvent::Incoming { account, .. } => assert_eq!(account, id));
    }
}

#[test]
fn the_gate_is_set_before_the_first_socket_opens() {
    let rules = GateRules { source_rate_per_s: 50, source_burst: 100, ..GateRules::default() };
    let mut net = Net::new();
    let configured = rules.clone();
    let ua = net.ua(move |config| config.gate = configured);
    net.kill(ua);
    let sent = &net.nodes[ua].sent;
    let gates = sent.iter().filter(|message| **message == ToSip::Gate { rules: rules.clone() }).count();
    assert_eq!(gates, 2, "a new process is told as well");
    let place = |is: fn(&ToSip) -> bool| sent.iter().position(is).expect("sent");
    let gate = place(|message| matches!(message, ToSip::Gate { .. }));
    assert!(gate < place(|message| matches!(message, ToSip::Listen { .. })));
}
