//! A network of SIP processes in memory: carries transactions between user agents and scripted peers, exactly as
//! `bifrons-sip` reports them. Nothing is lost and nothing takes time; what a transaction does at its end
//! (408, missing ACK, missing PRACK) happens when the clock is moved.
#![allow(dead_code)]

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use bifrons_sip_protocol::{
    ClientId, ExpiredCause, FromSip, Origin, PrackOutcome, ReliableId, ServerId, ToSip, TransactionId,
    Transport,
};
use bifrons_sip_ua::digest::Secret;
use bifrons_sip_ua::message::{Headers, Message, Method, NameAddr, RAck, StartLine, Uri};
use bifrons_sip_ua::registrar::{Registrar, RegistrarConfig, User};
use bifrons_sip_ua::ua::{AccountConfig, Config, Listener, Source, UaEvent, UserAgent};

pub const T64_MS: u64 = 32_000;

pub struct Net {
    pub now: u64,
    pub nodes: Vec<Node>,
    transactions: Vec<Transaction>,
    next_server: u64,
    branches: u64,
}

pub struct Node {
    pub address: SocketAddr,
    pub ua: Option<UserAgent>,
    pub registrar: Option<Registrar>,
    /// What a scripted peer has received.
    pub inbox: VecDeque<FromSip>,
    pub events: VecDeque<UaEvent>,
    /// Everything that the node asked of its SIP process.
    pub sent: Vec<ToSip>,
}

#[derive(Debug)]
struct Transaction {
    from: usize,
    client: Option<ClientId>,
    forks: HashMap<String, ClientId>,
    to: usize,
    server: Option<ServerId>,
    /// The same, still known when it has ended: another fork may answer.
    known: Option<ServerId>,
    branch: String,
    request: Message,
    /// Status, and when the stack gives up.
    answered: Option<u16>,
    acked: bool,
    deadline: u64,
    /// Open reliable answer: its id, its RSeq, when the stack gives up.
    reliable: Option<(ReliableId, u32, u64)>,
    rseq: u32,
}

impl Net {
    pub fn new() -> Self {
        Self { now: 1_000, nodes: Vec::new(), transactions: Vec::new(), next_server: 0, branches: 0 }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, self.nodes.len() as u8 + 1], 5060))
    }

    /// Adds a user agent; its address is 127.0.0.(index + 1):5060.
    pub fn ua(&mut self, change: impl FnOnce(&mut Config)) -> usize {
        let address = self.address();
        let index = self.nodes.len();
        let mut config = Config { seed: Some([index as u8 + 1; 32]), ..Config::default() };
        config.listeners = [Transport::Udp, Transport::Tcp]
            .map(|transport| Listener { ident: "main".into(), transport, address, public_host: None })
            .to_vec();
        change(&mut config);
        let ua = UserAgent::new(config).expect("a user agent");
        self.nodes.push(Node {
            address,
            ua: Some(ua),
            registrar: None,
            inbox: VecDeque::new(),
            events: VecDeque::new(),
            sent: Vec::new(),
        });
        self.run();
        self.nodes[index].events.clear();
        index
    }

    /// Adds a registrar for users whose passwords are their names, with an echo phone `echo`.
    pub fn registrar(&mut self, users: &[&str]) -> usize {
        let address = self.address();
        let listener =
            Listener { ident: "main".into(), transport: Transport::Udp, address, public_host: None };
        let user = |name: &&str| User { name: (*name).into(), secret: Secret::Password((*name).into()) };
        let config = RegistrarConfig {
            domain: address.ip().to_string(),
            users: users.iter().map(user).collect(),
            echo: "echo".into(),
            callback: "callback".into(),
            agent: Config { seed: Some([77; 32]), listeners: vec![listener], ..Config::default() },
        };
        let index = self.peer();
        self.nodes[index].registrar = Some(Registrar::new(self.now, config).expect("a registrar"));
        self.run();
        index
    }

    /// Adds a scripted peer.
    pub fn peer(&mut self) -> usize {
        let address = self.address();
        self.nodes.push(Node {
            address,
            ua: None,
            registrar: None,
            inbox: VecDeque::new(),
            events: VecDeque::new(),
            sent: Vec::new(),
        });
        self.nodes.len() - 1
    }

    pub fn agent(&mut self, node: usize) -> &mut UserAgent {
        self.nodes[node].ua.as_mut().expect("a user agent")
    }

    pub fn event(&mut self, node: usize) -> Option<UaEvent> {
        self.run();
        self.nodes[node].events.pop_front()
    }

    /// Carries everything until nobody has anything to say.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            let mut quiet = true;
            for node in 0..self.nodes.len() {
                while let Some(message) = self.nodes[node].poll_output() {
                    quiet = false;
                    self.carry(node, message);
                }
                while let Some(event) = self.nodes[node].ua.as_mut().and_then(UserAgent::poll_event) {
                    self.nodes[node].events.push_back(event);
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the agents talk without end");
    }

    /// Moves the clock, with everything that falls due on the way.
    pub fn advance(&mut self, ms: u64) {
        let end = self.now + ms;
        self.run();
        for _ in 0..1_000_000 {
            let agents = self.nodes.iter().filter_map(Node::next_timeout).min();
            let stack = self.transactions.iter().filter_map(Transaction::next_timeout).min();
            let Some(at) = [agents, stack].into_iter().flatten().min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            let now = self.now;
            for node in 0..self.nodes.len() {
                if let Some(ua) = &mut self.nodes[node].ua
                    && ua.next_timeout().is_some_and(|at| at <= now)
                {
                    ua.on_timeout(now);
                }
                if let Some(registrar) = &mut self.nodes[node].registrar
                    && registrar.next_timeout().is_some_and(|at| at <= now)
                {
                    registrar.on_timeout(now);
                }
            }
            self.expire();
            self.run();
        }
        panic!("time does not pass");
    }

    fn expire(&mut self) {
        for index in 0..self.transactions.len() {
            let t = &mut self.transactions[index];
            if t.deadline <= self.now {
                t.deadline = u64::MAX;
                if t.answered.is_none() {
                    t.answered = Some(408);
                    if let Some(id) = t.client {
                        let (from, branch) = (t.from, t.branch.clone());
                        let message = FromSip::Response {
                            id,
                            status: 408,
                            internal: true,
                            origin: None,
                            branch,
                            text: Vec::new(),
                            parts: Vec::new(),
                        };
                        self.deliver(from, message);
                    }
                } else if let (Some(id), false) = (t.server.take(), t.acked) {
                    let to = t.to;
                    self.deliver(to, FromSip::Expired { id, cause: ExpiredCause::NoAck });
                }
            }
            let t = &mut self.transactions[index];
            if let Some((id, _, at)) = t.reliable
                && at <= self.now
            {
                t.reliable = None;
                let to = t.to;
                self.respond(index, 503, "", &[], &[], None);
                self.deliver(to, FromSip::Prack { id, outcome: PrackOutcome::TimedOut });
            }
        }
    }

    /// Does what a node asks of its SIP process.
    pub fn carry(&mut self, node: usize, message: ToSip) {
        self.nodes[node].sent.push(message.clone());
        match message {
            ToSip::Hello { .. } => self.deliver(node, FromSip::Ready { library: "sim".into() }),
            ToSip::Listen { id, address, .. } => self.deliver(node, FromSip::Listening { id, address }),
            ToSip::Request { id, next_hop, ident, text, .. } => {
                assert_eq!(ident, "main");
                self.request(node, Some(id), &next_hop, &text);
            }
            ToSip::Ack { branch, text, .. } => {
                let ack = with_via(&text, &branch, self.nodes[node].address);
                let ack = Message::parse(&ack).expect("a valid ACK");
                let found = self.transactions.iter_mut().find(|t| t.branch == branch && t.server.is_some());
                if let Some(t) = found {
                    assert_eq!(ack.cseq.number, t.request.cseq.number, "the ACK has its INVITE's CSeq");
                    t.acked = true;
                    t.deadline = u64::MAX;
                    let (to, server) = (t.to, t.server.take().expect("just seen"));
                    self.deliver(to, FromSip::Ack { id: server, text: ack.to_bytes(), parts: Vec::new() });
                }
            }
            ToSip::Cancel { id, headers } => {
                let Some(index) =
                    self.transactions.iter().position(|t| t.from == node && t.client == Some(id))
                else {
                    return;
                };
                let t = &mut self.transactions[index];
                if let (None, Some(server)) = (t.answered, t.server) {
                    let mut cancel = t.request.clone();
                    cancel.start = StartLine::Request {
                        method: Method::Cancel,
                        uri: t.request.request_uri().expect("a request").clone(),
                    };
                    cancel.body.clear();
                    let text = String::from_utf8(cancel.to_bytes())
                        .expect("text")
                        .replace(" INVITE\r\n", " CANCEL\r\n");
                    let (head, _) = text.split_once("\r\n\r\n").expect("a head");
                    let text = format!("{head}\r\n{}\r\n", String::from_utf8(headers).expect("text"));
                    let to = t.to;
                    self.respond(index, 487, "", &[], &[], None);
                    self.deliver(to, FromSip::Cancelled { id: server, text: text.into_bytes() });
                }
            }
            ToSip::Fork { id, fork, to_tag } => {
                if let Some(t) = self.transactions.iter_mut().find(|t| t.from == node && t.client == Some(id))
                {
                    t.forks.insert(to_tag, fork);
                }
            }
            ToSip::Respond { id, status, to_tag, headers, body, reliable, .. } => {
                if let Some(index) =
                    self.transactions.iter().position(|t| t.to == node && t.known == Some(id))
                {
                    self.respond(index, status, &to_tag, &headers, &body, reliable);
                }
            }
            ToSip::Release { transaction: TransactionId::Client(id) } => {
                for t in &mut self.transactions {
                    if t.from == node {
                        t.forks.retain(|_, fork| *fork != id);
                        if t.client == Some(id) {
                            t.client = None;
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn request(&mut self, node: usize, client: Option<ClientId>, next_hop: &str, text: &[u8]) {
        self.branches += 1;
        let branch = format!("z9hG4bK{}", self.branches);
        let bytes = with_via(text, &branch, self.nodes[node].address);
        let request = Message::parse(&bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)));
        let route = request.addresses("Route").expect("routes").into_iter().next().map(|route| route.uri);
        let hop = if next_hop.is_empty() {
            route.or_else(|| request.request_uri().cloned()).expect("a next hop")
        } else {
            Uri::parse(next_hop).expect("a next hop")
        };
        let host = match &hop {
            Uri::Sip(uri) => uri.host.clone(),
            other => panic!("no way to {other}"),
        };
        let to = self.nodes.iter().position(|n| n.address.ip().to_string() == host);
        let deadline = self.now + T64_MS;
        let transaction = |to, server| Transaction {
            from: node,
            client,
            forks: HashMap::new(),
            to,
            server,
            known: server,
            branch: branch.clone(),
            request: request.clone(),
            answered: None,
            acked: false,
            deadline,
            reliable: None,
            rseq: 0,
        };
        let Some(to) = to else {
            if let Some(id) = client {
                let branch = branch.clone();
                let message = FromSip::Response {
                    id,
                    status: 503,
                    internal: true,
                    origin: None,
                    branch,
                    text: Vec::new(),
                    parts: Vec::new(),
                };
                self.deliver(node, message);
            }
            return;
        };
        self.next_server += 1;
        let server = ServerId(self.next_server);
        self.transactions.push(transaction(to, Some(server)));
        let origin = self.origin(node, to);
        if let Ok(Some(rack)) = request.typed("RAck", RAck::parse) {
            let open = self.transactions.iter_mut().find(|t| {
                t.to == to
                    && t.request.call_id == request.call_id
                    && t.reliable.is_some_and(|r| r.1 == rack.rseq)
            });
            if let Some((id, ..)) = open.and_then(|t| t.reliable.take()) {
                let text = request.to_bytes();
                let outcome = PrackOutcome::Received { server, origin, text, parts: Vec::new() };
                self.deliver(to, FromSip::Prack { id, outcome });
                return;
            }
        }
        self.deliver(
            to,
            FromSip::Request { id: server, origin, text: request.to_bytes(), parts: Vec::new() },
        );
    }

    fn origin(&self, from: usize, to: usize) -> Origin {
        origin(self.nodes[from].address, self.nodes[to].address)
    }

    fn respond(
        &mut self,
        index: usize,
        status: u16,
        to_tag: &str,
        headers: &[u8],
        body: &[u8],
        reliable: Option<ReliableId>,
    ) {
        let now = self.now;
        let t = &mut self.transactions[index];
        // Of another fork, a second 2xx may follow.
        let is_fork =
            t.answered.is_some_and(|s| s < 300) && status < 300 && t.request.cseq.method == Method::Invite;
        if t.answered.is_some() && !is_fork {
            return;
        }
        let mut all = Headers::default();
        all.push("Via", t.request.via[0].to_string());
        for route in t.request.headers.all("Record-Route") {
            all.push("Record-Route", route);
        }
        all.push("From", t.request.from.to_string());
        let mut to = t.request.to.clone();
        if to.tag().is_none() && !to_tag.is_empty() {
            to = to.with_param("tag", to_tag);
        }
        all.push("To", to.to_string());
        all.push("Call-ID", &t.request.call_id);
        all.push("CSeq", t.request.cseq.to_string());
        let mut text = format!("SIP/2.0 {status} Phrase {status}\r\n").into_bytes();
        all.write(&mut text);
        if let Some(id) = reliable {
            t.rseq += 1;
            t.reliable = Some((id, t.rseq, now + T64_MS));
            text.extend_from_slice(format!("Require: 100rel\r\nRSeq: {}\r\n", t.rseq).as_bytes());
        }
        text.extend_from_slice(headers);
        text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        text.extend_from_slice(body);
        Message::parse(&text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
        if t.request.cseq.method == Method::Invite && status < 200 {
            t.deadline = u64::MAX; // Timer B is over.
        }
        if status >= 200 {
            t.answered = Some(status);
            t.reliable = None;
            if t.request.cseq.method == Method::Invite && status < 300 {
                t.deadline = now + T64_MS;
            } else {
                t.deadline = u64::MAX;
                t.server = None;
            }
        }
        let client = t.forks.get(to_tag).copied().or(t.client);
        let (from, to, branch) = (t.from, t.to, t.branch.clone());
        let origin = self.origin(to, from);
        let message = match client {
            Some(id) => FromSip::Response {
                id,
                status,
                internal: false,
                origin: Some(origin),
                branch,
                text,
                parts: Vec::new(),
            },
            None if status >= 200 => FromSip::Stray { origin, text, parts: Vec::new() },
            None => return,
        };
        self.deliver(from, message);
    }

    fn deliver(&mut self, node: usize, message: FromSip) {
        let now = self.now;
        let node = &mut self.nodes[node];
        match (&mut node.ua, &mut node.registrar) {
            (Some(ua), _) => ua.handle(now, message),
            (None, Some(registrar)) => registrar.handle(now, message),
            (None, None) => node.inbox.push_back(message),
        }
    }

    /// The SIP process of a node dies, and a new one takes its place.
    pub fn kill(&mut self, node: usize) {
        self.run();
        for t in &mut self.transactions {
            if t.from == node {
                t.client = None;
                t.forks.clear();
            }
            if t.to == node {
                t.server = None;
                t.known = None;
                t.reliable = None;
            }
        }
        let now = self.now;
        self.agent(node).process_restarted(now);
        self.run();
    }

    /// Peers repeat requests that a node has not answered, as the retransmission timers would.
    pub fn retransmit(&mut self, to: usize) {
        for index in 0..self.transactions.len() {
            let t = &mut self.transactions[index];
            if t.to == to
                && t.server.is_none()
                && t.client.is_some()
                && t.answered.is_none_or(|s| s < 300 && !t.acked)
            {
                t.answered = None;
                self.next_server += 1;
                t.server = Some(ServerId(self.next_server));
                t.known = t.server;
                let (from, id, text) = (t.from, ServerId(self.next_server), t.request.to_bytes());
                let origin = self.origin(from, to);
                self.deliver(to, FromSip::Request { id, origin, text, parts: Vec::new() });
            }
        }
        self.run();
    }

    // Scripted peers.

    /// The next request that a scripted peer has got.
    pub fn take_request(&mut self, peer: usize) -> (ServerId, Message) {
        self.run();
        while let Some(message) = self.nodes[peer].inbox.pop_front() {
            match message {
                FromSip::Request { id, text, .. }
                | FromSip::Prack { outcome: PrackOutcome::Received { server: id, text, .. }, .. } => {
                    return (id, Message::parse(&text).expect("a valid request"));
                }
                _ => {}
            }
        }
        panic!("peer {peer} got no request");
    }

    /// The next message that a scripted peer has got.
    pub fn take(&mut self, peer: usize) -> Option<FromSip> {
        self.run();
        self.nodes[peer].inbox.pop_front()
    }

    /// Answers a request as a scripted peer.
    pub fn answer(
        &mut self,
        peer: usize,
        id: ServerId,
        status: u16,
        to_tag: &str,
        headers: &str,
        body: &[u8],
    ) {
        let (to_tag, headers, body) = (to_tag.to_owned(), headers.as_bytes().to_vec(), body.to_vec());
        let message =
            ToSip::Respond { id, status, reason: String::new(), to_tag, headers, body, reliable: None };
        self.carry(peer, message);
        self.run();
    }

    /// Sends a request as a scripted peer; `text` without Via and Content-Length.
    pub fn send(&mut self, peer: usize, id: u64, text: &str) {
        self.send_body(peer, id, text, b"");
    }

    pub fn send_body(&mut self, peer: usize, id: u64, text: &str, body: &[u8]) {
        let mut bytes = text.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes();
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        self.request(peer, Some(ClientId(id)), "", &bytes);
        self.run();
    }

    /// The next response that a scripted peer has got, with its branch.
    pub fn take_response(&mut self, peer: usize) -> (Message, String) {
        self.run();
        while let Some(message) = self.nodes[peer].inbox.pop_front() {
            if let FromSip::Response { text, branch, .. } = message {
                return (Message::parse(&text).expect("a valid response"), branch);
            }
        }
        panic!("peer {peer} got no response");
    }

    /// What the agent's SIP process was last asked, as text.
    pub fn last_request(&self, node: usize, method: &str) -> Message {
        let text = self.nodes[node].sent.iter().rev().find_map(|message| match message {
            ToSip::Request { text, .. } | ToSip::Ack { text, .. } if text.starts_with(method.as_bytes()) => {
                Some(text)
            }
            _ => None,
        });
        let text = text.unwrap_or_else(|| panic!("no {method} was sent"));
        Message::parse(&with_via(text, "z9hG4bK0", self.nodes[node].address)).expect("a valid request")
    }

    pub fn count_sent(&self, node: usize, method: &str) -> usize {
        let is = |message: &&ToSip| match message {
            ToSip::Request { text, .. } | ToSip::Ack { text, .. } => text.starts_with(method.as_bytes()),
            _ => false,
        };
        self.nodes[node].sent.iter().filter(is).count()
    }
}

impl Node {
    fn poll_output(&mut self) -> Option<ToSip> {
        let registrar = self.registrar.as_mut();
        self.ua.as_mut().and_then(UserAgent::poll_output).or_else(|| registrar?.poll_output())
    }

    fn next_timeout(&self) -> Option<u64> {
        let registrar = self.registrar.as_ref().and_then(Registrar::next_timeout);
        [self.ua.as_ref().and_then(UserAgent::next_timeout), registrar].into_iter().flatten().min()
    }
}

impl Transaction {
    fn next_timeout(&self) -> Option<u64> {
        let reliable = self.reliable.map(|r| r.2);
        [(self.deadline != u64::MAX).then_some(self.deadline), reliable].into_iter().flatten().min()
    }
}

fn with_via(text: &[u8], branch: &str, address: SocketAddr) -> Vec<u8> {
    let end = text.windows(2).position(|w| w == b"\r\n").expect("a start line") + 2;
    let mut out = text[..end].to_vec();
    out.extend_from_slice(format!("Via: SIP/2.0/UDP {address};branch={branch}\r\n").as_bytes());
    out.extend_from_slice(&text[end..]);
    out
}

fn origin(source: SocketAddr, local: SocketAddr) -> Origin {
    Origin { source, local, ident: "main".into(), transport: Transport::Udp, flow: None, tls: None }
}

/// A request to the first node as it stands, from the address of the second, past all that is in between.
pub fn from_neighbour(id: u64, text: Vec<u8>) -> FromSip {
    let origin = origin(([127, 0, 0, 2], 5060).into(), ([127, 0, 0, 1], 5060).into());
    FromSip::Request { id: ServerId(id), origin, text, parts: Vec::new() }
}

/// A guest at a node whom everybody on loopback may call.
pub fn guest(user: &str, node: usize) -> AccountConfig {
    let uri = Uri::parse(&format!("sip:{user}@127.0.0.{}", node + 1)).expect("a URI");
    let mut config = AccountConfig::new(uri.as_sip().expect("a SIP URI").clone());
    config.register = false;
    config.sources = vec![Source { address: "127.0.0.0".parse().expect("an address"), prefix: 8 }];
    config
}

pub fn name(text: &str) -> NameAddr {
    NameAddr::parse(text).expect("an address")
}
