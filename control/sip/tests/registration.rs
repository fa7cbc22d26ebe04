//! Registrations and challenges, against a scripted registrar that checks digests.

mod sim;

use bifrons_sip_ua::digest::{Secret, Verdict, Verifier, ha1};
use bifrons_sip_ua::message::{AuthValue, Message, Method, Uri};
use bifrons_sip_ua::ua::{AccountConfig, AccountId, RequestOptions, UaError, UaEvent};
use sim::Net;

/// A user agent (node 0) and a scripted registrar (node 1); the account `100@127.0.0.2`.
fn start(change: impl FnOnce(&mut AccountConfig)) -> (Net, AccountId) {
    let mut net = Net::new();
    net.ua(|_| ());
    net.peer();
    let uri = Uri::parse("sip:100@127.0.0.2").expect("a URI");
    let mut config = AccountConfig::new(uri.as_sip().expect("a SIP URI").clone());
    config.secret = Some(Secret::Password("p:w\"".repeat(60)));
    change(&mut config);
    let now = net.now;
    let account = net.agent(0).register(now, config).expect("an account");
    (net, account)
}

fn verifier() -> Verifier {
    Verifier::new("realm", [9; 32], 600_000)
}

fn verify(verifier: &mut Verifier, now: u64, request: &Message, header: &str) -> Verdict {
    let Some(line) = request.header(header) else { return Verdict::Invalid };
    let value = AuthValue::parse(line).expect("credentials");
    verifier.verify(now, &value, request.cseq.method.as_str(), &request.body, |user, algorithm| {
        (user == "100").then(|| ha1(algorithm, user, "realm", &"p:w\"".repeat(60)))
    })
}

fn challenge(verifier: &mut Verifier, now: u64, header: &str, stale: bool) -> String {
    verifier.challenges(now, stale).map(|line| format!("{header}: {line}\r\n")).concat()
}

/// Challenges the next request and checks its second try, which is left unanswered.
fn challenged(net: &mut Net, verifier: &mut Verifier) -> (bifrons_sip_protocol::ServerId, Message) {
    let (server, first) = net.take_request(1);
    let lines = challenge(verifier, net.now, "WWW-Authenticate", false);
    net.answer(1, server, 401, "r", &lines, b"");
    let (server, second) = net.take_request(1);
    assert_eq!((second.cseq.number, &second.call_id), (first.cseq.number + 1, &first.call_id));
    assert!(
        second.header("Authorization").is_some_and(|line| line.contains("algorithm=SHA-256")),
        "the first offered"
    );
    assert_eq!(verify(verifier, net.now, &second, "Authorization"), Verdict::Valid);
    (server, second)
}

fn registered() -> (Net, AccountId, Verifier) {
    let (mut net, account) = start(|_| ());
    let mut verifier = verifier();
    let (server, request) = challenged(&mut net, &mut verifier);
    let contact = format!("Contact: {};expires=120\r\n", request.header("Contact").expect("a contact"));
    net.answer(1, server, 200, "r", &contact, b"");
    match net.event(0) {
        Some(UaEvent::Registered { account: a, expires_s: 120, .. }) => assert_eq!(a, account),
        other => panic!("{other:?}"),
    }
    (net, account, verifier)
}

#[test]
fn an_account_registers_refreshes_and_unregisters() {
    let (mut net, account, mut verifier) = registered();
    let first = net.last_request(0, "REGISTER");
    assert_eq!(first.request_uri().map(ToString::to_string).as_deref(), Some("sip:127.0.0.2"));
    assert_eq!((first.header("Expires"), first.header("Supported")), (Some("3600"), Some("replaces, path")));
    let contact = &first.contacts().expect("contacts")[0];
    assert_eq!(contact.uri.as_sip().and_then(|uri| uri.transport()), Some("udp"));
    assert_ne!(contact.uri.user().as_deref(), Some("100"), "its Contact is its own");

    net.advance(95_000);
    assert!(net.nodes[1].inbox.iter().all(|m| !matches!(m, bifrons_sip_protocol::FromSip::Request { .. })));
    net.advance(14_000);
    let (server, refresh) = net.take_request(1);
    assert_eq!((&refresh.call_id, refresh.header("Contact")), (&first.call_id, first.header("Contact")));
    assert_eq!(
        verify(&mut verifier, net.now, &refresh, "Authorization"),
        Verdict::Valid,
        "with the known nonce"
    );
    let line = refresh.header("Authorization").expect("credentials");
    assert!(line.contains("nc=00000002"), "{line}");
    // Its nonce is too old now.
    let lines = challenge(&mut verifier, net.now, "WWW-Authenticate", true);
    net.answer(1, server, 401, "r", &lines, b"");
    let (server, again) = net.take_request(1);
    assert_eq!(verify(&mut verifier, net.now, &again, "Authorization"), Verdict::Valid);
    net.answer(1, server, 200, "r", "Expires: 60\r\n", b"");
    assert!(matches!(net.event(0), Some(UaEvent::Registered { expires_s: 60, .. })));

    let now = net.now;
    net.agent(0).unregister(now, account).expect("unregisters");
    let (server, request) = net.take_request(1);
    assert_eq!(request.header("Expires"), Some("0"));
    net.answer(1, server, 200, "r", "", b"");
    assert!(matches!(net.event(0), Some(UaEvent::Unregistered { .. })));
    assert_eq!(net.agent(0).unregister(now, account), Err(UaError::State("not registered")));
    net.agent(0).remove_account(now, account);
    assert_eq!(net.agent(0).sizes(), [0; 5]);
}

#[test]
fn wrong_credentials_are_said_as_janus_does() {
    let (mut net, account) = start(|config| config.secret = Some(Secret::Password("wrong".into())));
    let mut verifier = verifier();
    for _ in 0..2 {
        let (server, _) = net.take_request(1);
        let lines = challenge(&mut verifier, net.now, "WWW-Authenticate", false);
        net.answer(1, server, 401, "r", &lines, b"");
    }
    match net.event(0) {
        Some(UaEvent::RegistrationFailed {
            code: 904, reason, detail_code: 401, retry_in_ms: None, ..
        }) => {
            assert_eq!(reason, "Operation has no matching challenge ");
        }
        other => panic!("{other:?}"),
    }
    net.advance(10_000_000);
    assert_eq!(net.count_sent(0, "REGISTER"), 2, "not tried again");
    let now = net.now;
    net.agent(0).remove_account(now, account);
    assert_eq!(net.agent(0).sizes(), [0; 5]);
}

#[test]
fn other_failures_come_as_received() {
    for (code, headers) in [
        (403, ""),
        (401, "WWW-Authenticate: Basic realm=\"x\"\r\n"),
        (401, ""),
        (401, "WWW-Authenticate: Digest x\r\n"),
    ] {
        let (mut net, _) = start(|_| ());
        let (server, _) = net.take_request(1);
        net.answer(1, server, code, "r", headers, b"");
        assert!(
            matches!(net.event(0), Some(UaEvent::RegistrationFailed { code: c, .. }) if c == code),
            "{headers}"
        );
    }
}

#[test]
fn too_brief_an_interval_grows() {
    let (mut net, _) = start(|config| config.expires_s = 30);
    let (server, _) = net.take_request(1);
    net.answer(1, server, 423, "r", "Min-Expires: 90\r\n", b"");
    let (server, request) = net.take_request(1);
    assert_eq!(request.header("Expires"), Some("90"));
    net.answer(1, server, 423, "r", "Min-Expires: 90\r\n", b"");
    assert!(matches!(net.event(0), Some(UaEvent::RegistrationFailed { code: 423, .. })), "no endless loop");
}

#[test]
fn a_lost_registration_is_tried_again_with_back_off() {
    let (mut net, _, mut verifier) = registered();
    net.advance(110_000);
    let (server, request) = net.take_request(1);
    assert_eq!(verify(&mut verifier, net.now, &request, "Authorization"), Verdict::Valid);
    net.answer(1, server, 503, "r", "Retry-After: 7\r\n", b"");
    assert!(matches!(
        net.event(0),
        Some(UaEvent::RegistrationFailed { code: 503, retry_in_ms: Some(7_000), .. })
    ));
    let mut last = net.now;
    for round in 0..3 {
        while net.nodes[1].inbox.is_empty() {
            net.advance(1_000);
        }
        let (server, _) = net.take_request(1);
        let waited = net.now - last;
        assert!(round == 0 || waited >= 15_000 << round, "{round}: {waited}");
        last = net.now;
        net.answer(1, server, 500, "r", "", b"");
        assert!(matches!(net.event(0), Some(UaEvent::RegistrationFailed { retry_in_ms: Some(_), .. })));
    }
}

#[test]
fn an_account_is_changed_in_place() {
    let (mut net, account, _) = registered();
    let before = net.last_request(0, "REGISTER");
    let now = net.now;
    let mut config = net.agent(0).account(account).expect("the account").0.clone();
    config.display_name = Some("A \"B\"".into());
    net.agent(0).update_account(now, account, config).expect("changed");
    net.run();
    let after = net.last_request(0, "REGISTER");
    assert_eq!(after.call_id, before.call_id);
    assert_eq!(after.from.display.as_deref(), Some(r#""A \"B\"""#));
    assert_eq!(net.last_request(0, "REGISTER").header("Expires"), Some("3600"), "no Expires 0 in between");
}

#[test]
fn all_accounts_register_again_at_a_pace_when_the_sip_process_died() {
    let mut net = Net::new();
    net.ua(|config| config.registrations_per_s = 100);
    net.peer();
    let now = net.now;
    for user in 0..200 {
        let uri = Uri::parse(&format!("sip:{user}@127.0.0.2")).expect("a URI");
        let config = AccountConfig::new(uri.as_sip().expect("a SIP URI").clone());
        net.agent(0).register(now, config).expect("an account");
    }
    for _ in 0..200 {
        let (server, _) = net.take_request(1);
        net.answer(1, server, 200, "r", "", b"");
    }
    net.advance(5_000);
    let before = net.count_sent(0, "REGISTER");
    net.kill(0);
    net.advance(1_000);
    let after = net.count_sent(0, "REGISTER") - before;
    assert!((90..=110).contains(&after), "{after} in one second");
    net.advance(1_500);
    assert_eq!(net.count_sent(0, "REGISTER") - before, 200);
}

#[test]
fn two_accounts_of_one_number_each_get_their_own_calls() {
    let mut net = Net::new();
    net.ua(|_| ());
    let (one, two) = (net.peer(), net.peer());
    let now = net.now;
    let accounts = [one, two].map(|peer| {
        let uri = Uri::parse(&format!("sip:100@127.0.0.{}", peer + 1)).expect("a URI");
        let config = AccountConfig::new(uri.as_sip().expect("a SIP URI").clone());
        net.agent(0).register(now, config).expect("an account")
    });
    for (peer, account) in [(two, accounts[1]), (one, accounts[0])] {
        let (server, request) = net.take_request(peer);
        let target = request.contacts().expect("contacts")[0].uri.to_string();
        net.answer(peer, server, 200, "r", "", b"");
        net.event(0);
        net.send(
            peer,
            1,
            &format!(
                "INVITE {target} SIP/2.0\nFrom: <sip:x@127.0.0.9>;tag=x{peer}\nTo: <sip:100@127.0.0.{}>\nCall-ID: c{peer}\n\
                 CSeq: 1 INVITE\nContact: <sip:x@127.0.0.{}>\n",
                peer + 1,
                peer + 1
            ),
        );
        match net.event(0) {
            Some(UaEvent::Incoming { account: a, .. }) => assert_eq!(a, account),
            other => panic!("{other:?}"),
        }
    }
    // Its user part alone finds nobody.
    net.send(
        one,
        9,
        "INVITE sip:100@127.0.0.1 SIP/2.0\nFrom: <sip:x@127.0.0.9>;tag=x\nTo: <sip:100@127.0.0.2>\nCall-ID: c9\n\
         CSeq: 1 INVITE\nContact: <sip:x@127.0.0.2>\n",
    );
    assert_eq!(net.take_response(one).0.status(), Some(403));
}

/// A call through the registrar (node 1), which challenges it, and then a BYE.
#[test]
fn calls_are_authenticated_towards_the_registrar() {
    let (mut net, account, mut verifier) = registered();
    let now = net.now;
    let call = net
        .agent(0)
        .invite(now, account, "sip:200@127.0.0.2", Some(b"v=0".to_vec()), RequestOptions::default())
        .expect("a call");
    let (server, first) = net.take_request(1);
    let lines = challenge(&mut verifier, now, "Proxy-Authenticate", false);
    net.answer(1, server, 407, "r", &lines, b"");
    let (server, invite) = net.take_request(1);
    assert_eq!(
        (invite.cseq.number, &invite.call_id, invite.from.tag()),
        (2, &first.call_id, first.from.tag())
    );
    assert_eq!(verify(&mut verifier, now, &invite, "Proxy-Authorization"), Verdict::Valid);
    net.answer(
        1,
        server,
        200,
        "t",
        "Contact: <sip:200@127.0.0.2>\r\nContent-Type: application/sdp\r\n",
        b"v=0",
    );
    assert!(matches!(net.event(0), Some(UaEvent::Accepted { .. })));
    let ack = net.last_request(0, "ACK");
    assert_eq!(
        (ack.cseq.number, ack.header("Proxy-Authorization")),
        (2, invite.header("Proxy-Authorization"))
    );
    net.agent(0).hangup(now, call, &[]).expect("hung up");
    let (server, _) = net.take_request(1);
    let lines = challenge(&mut verifier, now, "Proxy-Authenticate", false);
    net.answer(1, server, 407, "", &lines, b"");
    let (server, bye) = net.take_request(1);
    assert_eq!((&bye.cseq.method, bye.cseq.number), (&Method::Bye, 4));
    assert_eq!(verify(&mut verifier, now, &bye, "Proxy-Authorization"), Verdict::Valid);
    net.answer(1, server, 200, "", "", b"");
    assert!(matches!(net.event(0), Some(UaEvent::Ended { code: 200, .. })));
}

/// Security: a stranger who is called, or is in a call, challenges us in the registrar's name.
#[test]
fn a_stranger_gets_no_digest() {
    let (mut net, account, mut verifier) = registered();
    let stranger = net.peer();
    let now = net.now;
    let lines = challenge(&mut verifier, now, "WWW-Authenticate", false);
    let sdp = "Contact: <sip:x@127.0.0.3>\r\nContent-Type: application/sdp\r\n";
    // On the INVITE.
    net.agent(0)
        .invite(now, account, "sip:x@127.0.0.3", Some(b"v=0".to_vec()), RequestOptions::default())
        .expect("a call");
    let (server, _) = net.take_request(stranger);
    net.answer(stranger, server, 401, "t", &lines, b"");
    assert!(matches!(net.event(0), Some(UaEvent::Ended { code: 401, .. })));
    // On our BYE, of a call that came through the registrar: at its own address, and through the registrar.
    for (contact, node) in [("127.0.0.3", stranger), ("127.0.0.2", 1)] {
        let call = net
            .agent(0)
            .invite(now, account, "sip:200@127.0.0.2", Some(b"v=0".to_vec()), RequestOptions::default())
            .expect("a call");
        let (server, _) = net.take_request(1);
        let route = if node == 1 { "Record-Route: <sip:127.0.0.2;lr>\r\n" } else { "" };
        let contact = if node == 1 { "192.0.2.7" } else { contact };
        net.answer(1, server, 200, "t", &format!("{route}{}", sdp.replace("127.0.0.3", contact)), b"v=0");
        assert!(matches!(net.event(0), Some(UaEvent::Accepted { .. })));
        net.agent(0).hangup(now, call, &[]).expect("hung up");
        let (server, bye) = net.take_request(node);
        assert_eq!(bye.cseq.method, Method::Bye);
        net.answer(node, server, 401, "", &lines, b"");
        assert!(matches!(net.event(0), Some(UaEvent::Ended { .. })));
    }
    for method in ["INVITE", "BYE"] {
        assert_eq!(net.last_request(0, method).header("Authorization"), None, "{method}");
    }
    assert!(net.agent(0).counters().refused_challenges >= 3);
}

#[test]
fn an_outbound_proxy_and_a_service_route_are_taken() {
    let (mut net, account) = start(|config| {
        config.outbound_proxy = Uri::parse("sip:127.0.0.2:5060").ok().and_then(|uri| uri.as_sip().cloned());
        config.registrar = Uri::parse("sip:example.com").ok().and_then(|uri| uri.as_sip().cloned());
    });
    let (server, request) = net.take_request(1);
    assert_eq!(request.header("Route"), Some("<sip:127.0.0.2:5060;lr>"));
    assert_eq!(request.request_uri().map(ToString::to_string).as_deref(), Some("sip:example.com"));
    net.answer(
        1,
        server,
        200,
        "r",
        "Service-Route: <sip:127.0.0.2;lr;x>, <sip:core.example.com;lr>\r\n",
        b"",
    );
    net.event(0);
    let now = net.now;
    let tel = net.agent(0).invite(now, account, "tel:+1555", None, RequestOptions::default());
    tel.expect("a call");
    let (_, invite) = net.take_request(1);
    assert_eq!(invite.request_uri().map(ToString::to_string).as_deref(), Some("tel:+1555"));
    let routes: Vec<&str> = invite.headers.all("Route").collect();
    assert_eq!(routes, ["<sip:127.0.0.2;lr;x>", "<sip:core.example.com;lr>"]);
}
