//! Calls between two user agents, and between one and a scripted peer, over transactions in memory.
//!
//! | module | tests |
//! | --- | --- |
//! | `setup` | how a call begins, and how it ends before or right after its answer |
//! | `session` | what happens in a call, and messages without one |
//! | `doors` | who gets in, whom a request is for, what is refused |
//! | `restart` | calls over the death of the SIP process |

#[path = "../sim/mod.rs"]
mod sim;

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

mod doors;
mod restart;
mod session;
mod setup;

use bifrons_sip_protocol::{ServerId, ToSip};
use bifrons_sip_ua::message::Message;
use bifrons_sip_ua::ua::{AccountId, CallId, RequestOptions, UaEvent};
use sim::{Net, T64_MS, guest};

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

/// Alice calls a scripted peer at 127.0.0.3: the peer, the call, and the peer's transaction.
fn calling_peer() -> (Net, usize, CallId, ServerId) {
    let (mut net, alice, _) = pair();
    let peer = net.peer();
    let (now, offer) = (net.now, Some(OFFER.to_vec()));
    let call = net.agent(0).invite(now, alice, "sip:x@127.0.0.3", offer, RequestOptions::default());
    let (server, _) = net.take_request(peer);
    (net, peer, call.expect("a call"), server)
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
