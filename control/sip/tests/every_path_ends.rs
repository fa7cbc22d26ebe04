//! Whatever applications and peers do, in whatever order, and whenever SIP processes die: each call ends exactly
//! once, nothing is heard of it afterwards, and when all have ended nothing is left in any table.

mod sim;

use std::collections::{HashMap, VecDeque};

use bifrons_sip_protocol::{FromSip, PrackOutcome, ServerId};
use bifrons_sip_ua::message::{Message, Method};
use bifrons_sip_ua::ua::{AccountConfig, AccountId, CallId, ReferId, RequestOptions, UaEvent};
use proptest::prelude::*;
use sim::{Net, T64_MS, from_neighbour, guest};

const SDP: &[u8] = b"v=0";

struct World {
    net: Net,
    accounts: [AccountId; 2],
    /// Live calls of each agent.
    live: [Vec<CallId>; 2],
    /// How often each call has ended.
    ended: [HashMap<CallId, usize>; 2],
    refers: [Vec<ReferId>; 2],
    peer: usize,
    /// Requests that the scripted peer has not answered finally.
    open: VecDeque<(ServerId, Message)>,
    /// Dialogs that the scripted peer knows: Call-ID, its tag with URI, the agent's tag with URI, target, CSeq.
    dialogs: Vec<(String, String, String, String, u32)>,
    number: u64,
}

impl World {
    fn new(reliable: bool) -> Self {
        let mut net = Net::new();
        net.ua(|_| ());
        net.ua(|_| ());
        let peer = net.peer();
        let accounts = ["alice", "bob"].map(|user| {
            let node = usize::from(user == "bob");
            let now = net.now;
            net.agent(node)
                .register(now, AccountConfig { reliable, ..guest(user, node) })
                .expect("an account")
        });
        Self {
            net,
            accounts,
            live: Default::default(),
            ended: Default::default(),
            refers: Default::default(),
            peer,
            open: VecDeque::new(),
            dialogs: Vec::new(),
            number: 0,
        }
    }

    /// Hears everything, and checks that only living calls are spoken of.
    fn listen(&mut self) {
        self.net.run();
        for node in [0, 1] {
            while let Some(event) = self.net.nodes[node].events.pop_front() {
                let call = match &event {
                    UaEvent::Incoming { call, .. } => {
                        self.live[node].push(*call);
                        Some(*call)
                    }
                    UaEvent::Refer { refer, call, .. } => {
                        self.refers[node].push(*refer);
                        *call
                    }
                    UaEvent::Provisional { call, .. }
                    | UaEvent::Accepted { call, .. }
                    | UaEvent::Acknowledged { call, .. }
                    | UaEvent::ReinviteReceived { call, .. }
                    | UaEvent::ReinviteAccepted { call, .. }
                    | UaEvent::ReinviteFailed { call, .. }
                    | UaEvent::ReinviteCancelled { call }
                    | UaEvent::Ended { call, .. }
                    | UaEvent::Info { call, .. } => Some(*call),
                    UaEvent::Message { call, .. }
                    | UaEvent::Notify { call, .. }
                    | UaEvent::Answered { call, .. } => *call,
                    _ => None,
                };
                if let Some(call) = call {
                    assert!(self.live[node].contains(&call), "an event of a call that is over: {event:?}");
                }
                if let UaEvent::Ended { call, .. } = event {
                    self.live[node].retain(|live| *live != call);
                    *self.ended[node].entry(call).or_insert(0) += 1;
                }
            }
        }
        while let Some(message) = self.net.take(self.peer) {
            match message {
                FromSip::Request { id, text, .. }
                | FromSip::Prack { outcome: PrackOutcome::Received { server: id, text, .. }, .. } => {
                    self.open.push_back((id, Message::parse(&text).expect("a valid request")));
                }
                FromSip::Cancelled { id, .. } => self.open.retain(|(open, _)| *open != id),
                FromSip::Response { text, branch, .. } if !text.is_empty() => {
                    let answer = Message::parse(&text).expect("a valid response");
                    let is_invite = answer.cseq.method == Method::Invite;
                    if is_invite && answer.status().is_some_and(|s| (200..300).contains(&s)) {
                        self.remember(&answer);
                        if !self.number.is_multiple_of(4) {
                            self.acknowledge(&answer, branch);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn remember(&mut self, answer: &Message) {
        let target = answer.contacts().expect("contacts")[0].uri.to_string();
        self.dialogs.retain(|(call_id, ..)| *call_id != answer.call_id);
        self.dialogs.push((
            answer.call_id.clone(),
            answer.from.to_string(),
            answer.to.to_string(),
            target,
            answer.cseq.number,
        ));
    }

    fn acknowledge(&mut self, answer: &Message, branch: String) {
        let target = answer.contacts().expect("contacts")[0].uri.to_string();
        let text = format!(
            "ACK {target} SIP/2.0\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n",
            answer.from, answer.to, answer.call_id, answer.cseq.number
        );
        let ack = bifrons_sip_protocol::ToSip::Ack {
            id: bifrons_sip_protocol::ClientId(1),
            branch,
            next_hop: String::new(),
            ident: "main".into(),
            flow: None,
            text: text.into_bytes(),
        };
        let peer = self.peer;
        self.net.carry(peer, ack);
    }

    /// One step; what is not possible at the moment is an error of the agent, not a failure.
    fn step(&mut self, op: u8, x: u8) {
        let (now, node) = (self.net.now, usize::from(x & 1));
        let call = self.live[node].get(usize::from(x >> 1) % self.live[node].len().max(1)).copied();
        let account = self.accounts[node];
        let agent = self.net.agent(node);
        let sdp = || SDP.to_vec();
        match (op % 28, call) {
            (0 | 1, _) => {
                let target =
                    ["sip:bob@127.0.0.2", "sip:x@127.0.0.3", "sip:alice@127.0.0.1", "sip:x@127.9.9.9"];
                let target = target[usize::from(x >> 2) % 4];
                let offer = (x & 0x40 == 0).then(sdp);
                if let Ok(call) = agent.invite(now, account, target, offer, RequestOptions::default()) {
                    self.live[node].push(call);
                }
            }
            (2, Some(call)) => drop(agent.ring(now, call, &[])),
            (3, Some(call)) => drop(agent.progress(now, call, sdp(), &[])),
            (4 | 5, Some(call)) => drop(agent.accept(now, call, sdp(), &[])),
            (6, Some(call)) => drop(agent.reject(now, call, 300 + u16::from(x), "", &[])),
            (7, Some(call)) => drop(agent.hangup(now, call, &[])),
            (8, Some(call)) => drop(agent.reinvite(now, call, Some(sdp()), &[])),
            (9, Some(call)) => drop(agent.reinvite(now, call, None, &[])),
            (10 | 11, Some(call)) => drop(agent.answer_reinvite(now, call, sdp(), &[])),
            (12, Some(call)) => drop(agent.reject_reinvite(now, call, 488, &[])),
            (13 | 14, Some(call)) => drop(agent.answer(now, call, sdp())),
            (15, Some(call)) => drop(agent.info(call, "a/b", sdp(), &[])),
            (16, Some(call)) => drop(agent.refer(call, "sip:c@127.0.0.3", Some(call), &[])),
            (17, _) => {
                if let Some(refer) = self.refers[node].last().copied() {
                    let _ = agent.refer_progress(now, refer, 100 + u16::from(x) * 2, "");
                }
            }
            (18, _) => self.net.advance(u64::from(x) * 10),
            (19, _) => self.net.advance(u64::from(x) * 1_000),
            (20, _) if x < 128 => self.net.kill(node),
            (21, _) => self.net.retransmit(node),
            (22 | 23, _) => self.peer_answers(x),
            (24 | 25, _) => self.peer_requests(x),
            (26, _) => self.peer_calls(x),
            _ => {}
        }
        self.listen();
    }

    fn peer_answers(&mut self, x: u8) {
        let Some((id, request)) = self.open.pop_front() else { return };
        let tag = ["a", "b", "c"][usize::from(x) % 3];
        let status = [180, 183, 200, 200, 200, 302, 401, 404, 481, 487, 491, 503][usize::from(x >> 2) % 12];
        let is_invite = request.cseq.method == Method::Invite;
        let mut headers = String::from("Contact: <sip:x@127.0.0.3>\r\n");
        let reliable = status < 200 && x & 1 == 1 && is_invite;
        if reliable {
            headers.push_str(&format!("Require: 100rel\r\nRSeq: {}\r\n", u32::from(x)));
        }
        let body = if is_invite && (status == 183 || status == 200) && x != 77 {
            headers.push_str("Content-Type: application/sdp\r\n");
            SDP
        } else {
            b""
        };
        if status < 200 && !is_invite {
            self.open.push_back((id, request));
            return;
        }
        let peer = self.peer;
        self.net.answer(peer, id, status, tag, &headers, body);
        if status < 200 || status == 200 && is_invite && x & 3 == 3 {
            self.open.push_back((id, request.clone())); // More to come, also a second 2xx.
        }
        if status == 200 && is_invite {
            let target = request.contacts().expect("contacts")[0].uri.to_string();
            let ours = request.to.clone().with_param("tag", tag).to_string();
            self.dialogs.push((request.call_id.clone(), ours, request.from.to_string(), target, 0));
        }
    }

    fn peer_requests(&mut self, x: u8) {
        if self.dialogs.is_empty() {
            return;
        }
        let at = usize::from(x >> 3) % self.dialogs.len();
        let (call_id, from, to, target, cseq) = &mut self.dialogs[at];
        *cseq += 1;
        let method =
            ["BYE", "INVITE", "INVITE", "UPDATE", "INFO", "REFER", "OPTIONS", "NOTIFY"][usize::from(x & 7)];
        let mut text = format!(
            "{method} {target} SIP/2.0\nFrom: {from}\nTo: {to}\nCall-ID: {call_id}\nCSeq: {cseq} {method}\n\
             Contact: <sip:x@127.0.0.3>\nRefer-To: <sip:d@127.0.0.3>\nEvent: refer\n"
        );
        let body = if matches!(method, "INVITE" | "UPDATE") && x & 0x10 == 0 {
            text.push_str("Content-Type: application/sdp\n");
            SDP
        } else {
            b""
        };
        self.number += 1;
        let (peer, number) = (self.peer, self.number);
        self.net.send_body(peer, number, &text, body);
    }

    fn peer_calls(&mut self, x: u8) {
        self.number += 1;
        let (peer, number) = (self.peer, self.number);
        let (user, host) = [("alice", 1), ("bob", 2)][usize::from(x & 1)];
        let require = if x & 2 == 2 { "Require: 100rel\n" } else { "" };
        let session = if x & 4 == 4 { "Supported: timer\nSession-Expires: 90;refresher=uac\n" } else { "" };
        let text = format!(
            "INVITE sip:{user}@127.0.0.{host} SIP/2.0\nFrom: <sip:x@127.0.0.3>;tag=p{number}\n\
             To: <sip:{user}@127.0.0.{host}>\nCall-ID: p{number}\nCSeq: 1 INVITE\nContact: <sip:x@127.0.0.3>\n\
             {require}{session}Content-Type: application/sdp\n"
        );
        self.net.send_body(peer, number, &text, SDP);
    }

    fn finish(mut self) {
        self.listen();
        for _ in 0..3 {
            for node in [0, 1] {
                for call in self.live[node].clone() {
                    let now = self.net.now;
                    let _ = self.net.agent(node).hangup(now, call, &[]);
                }
            }
            self.listen();
            self.net.advance(T64_MS * 2 + 5_000);
            self.listen();
        }
        self.net.advance(600_000);
        self.listen();
        for node in [0, 1] {
            assert_eq!(self.live[node], [], "calls that did not end");
            assert!(self.ended[node].values().all(|times| *times == 1), "a call ended twice");
            assert_eq!(self.net.agent(node).sizes(), [1, 0, 0, 0, 0], "what is left at node {node}");
            assert_eq!(self.net.agent(node).next_timeout(), None);
            let (now, account) = (self.net.now, self.accounts[node]);
            self.net.agent(node).remove_account(now, account);
            assert_eq!(self.net.agent(node).sizes(), [0; 5]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_path_ends_in_idle(reliable: bool, steps in prop::collection::vec((any::<u8>(), any::<u8>()), 1..80)) {
        let mut world = World::new(reliable);
        for (op, x) in steps {
            world.step(op, x);
        }
        world.finish();
    }

    /// Whatever bytes come, the agent stays whole.
    #[test]
    fn changed_messages_do_no_harm(at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut net = Net::new();
        net.ua(|_| ());
        let now = net.now;
        net.agent(0).register(now, guest("alice", 0)).expect("an account");
        let mut text = b"INVITE sip:alice@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK1\r\n\
            From: \"P\" <sip:p@127.0.0.2>;tag=p\r\nTo: <sip:alice@127.0.0.1>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
            Contact: <sip:p@127.0.0.2>;q=1\r\nRecord-Route: <sip:127.0.0.2;lr>\r\nRequire: 100rel\r\n\
            Session-Expires: 1800;refresher=uac\r\nReplaces: a;to-tag=1;from-tag=2\r\n\
            Content-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0".to_vec();
        for (index, value) in at {
            let index = index.index(text.len());
            text[index] = value;
        }
        net.agent(0).handle(now, from_neighbour(1, text));
        let responded = |net: &mut Net| {
            let ua = net.agent(0);
            std::iter::from_fn(|| ua.poll_output()).count() + std::iter::from_fn(|| ua.poll_event()).count()
        };
        prop_assert!(responded(&mut net) > 0, "neither answered nor told");
    }
}
