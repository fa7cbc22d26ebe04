//! What control asks for. What the network brings is in `reports.rs`.

use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use bifrons_sip_protocol::{
    ClientId, FlowAction, FlowId, FromSip, GateRules, ListenId, RefusedReason, ReliableId, RequestFlags,
    ServerId, Settings, TEXT_BYTES_MAX, TlsSettings, ToSip, TraceDirection, TransactionId, Transport,
};

use crate::agent::{Agent, Failure, Incoming, Outgoing, Reliable, Route};
use crate::counters::Counters;
use crate::gate::{self, Opening, Traced};
use crate::outbox::Outbox;
use crate::tags::c_string;
use crate::{check, clock, event, flow, log};

/// Longest ident in bytes.
const IDENT_BYTES_MAX: usize = 64;
/// Most listeners.
const LISTENERS_MAX: usize = 256;

/// A client transaction or fork.
pub(crate) struct Client {
    pub(crate) transaction: Outgoing,
    pub(crate) invite: bool,
    pub(crate) fork: bool,
    pub(crate) answered: bool,
    pub(crate) finished: bool,
    cancelled: bool,
}

/// A server transaction that waits for our answer or its ACK.
pub(crate) struct Server {
    pub(crate) transaction: Incoming,
    pub(crate) invite: bool,
    pub(crate) finished: bool,
    pub(crate) origin: bifrons_sip_protocol::Origin,
}

/// A reliable response that waits for its PRACK.
pub(crate) struct Unacknowledged {
    pub(crate) server: u64,
    reliable: Reliable,
    /// A body in it holds a 2xx back (RFC 3262 §3).
    has_body: bool,
}

/// What can be refused.
type Refusal = (RefusedReason, String);

/// The program's whole state beside Sofia's.
pub(crate) struct Program {
    pub(crate) agent: Option<Agent>,
    pub(crate) settings: Settings,
    pub(crate) outbox: Outbox,
    pub(crate) counters: Counters,
    pub(crate) clients: HashMap<u64, Client>,
    pub(crate) servers: HashMap<u64, Server>,
    pub(crate) reliables: HashMap<u64, Unacknowledged>,
    /// Deadline and id of unanswered requests: INVITE in the second queue, all others in the first, so that
    /// each is in order.
    pub(crate) unanswered: [VecDeque<(u64, u64)>; 2],
    pub(crate) draining: Option<u32>,
    pub(crate) stopping: bool,
    /// Idents of the listeners. The library keeps their addresses, so they live to the end.
    listeners: HashMap<u64, &'static CStr>,
}

impl Program {
    pub(crate) fn new() -> Program {
        let settings = Settings::default();
        Program {
            agent: None,
            outbox: Outbox::new(settings.queue_max as usize),
            settings,
            counters: Counters::default(),
            clients: HashMap::new(),
            servers: HashMap::new(),
            reliables: HashMap::new(),
            unanswered: [VecDeque::new(), VecDeque::new()],
            draining: None,
            stopping: false,
            listeners: HashMap::new(),
        }
    }

    /// One frame of control.
    pub(crate) fn frame(&mut self, frame: &[u8], descriptor: Option<OwnedFd>) {
        let (generation, message) = match ToSip::decode(frame) {
            Ok(decoded) => decoded,
            Err(error) => {
                let kind = frame.get(1).copied().unwrap_or(0);
                return self.refused(kind, 0, RefusedReason::Protocol, error.to_string());
            }
        };
        if self.agent.is_none() {
            // Before Hello an answer carries the generation of what it answers.
            self.outbox.generation = generation;
        } else if generation != self.outbox.generation {
            self.counters.generation_dropped += 1;
            return;
        }
        let (kind, about) = (message.kind(), about(&message));
        if let Err((reason, detail)) = self.message(message, descriptor) {
            self.refused(kind, about, reason, detail);
        }
    }

    fn refused(&mut self, kind: u8, about: u64, reason: RefusedReason, detail: String) {
        self.counters.messages_refused += 1;
        self.outbox.push(&FromSip::Refused { kind, about, reason, detail });
    }

    fn message(&mut self, message: ToSip, descriptor: Option<OwnedFd>) -> Result<(), Refusal> {
        if self.agent.is_none() && !matches!(message, ToSip::Hello { .. }) {
            return Err((RefusedReason::Unsupported, "the first message is Hello".into()));
        }
        match message {
            ToSip::Hello { settings } => self.hello(settings),
            ToSip::Listen { id, ident, transport, address, via_host, descriptor: comes, tls } => {
                if comes != descriptor.is_some() {
                    return Err((RefusedReason::Listen, "the socket did not come with the message".into()));
                }
                self.listen(id, ident, transport, address, &via_host, tls.as_ref(), descriptor)
            }
            ToSip::Unlisten { .. } => Err((
                RefusedReason::Unsupported,
                "a listener closes with its process: start a new one".into(),
            )),
            ToSip::Request { id, next_hop, ident, flow, flags, text } => {
                self.request(id, &next_hop, &ident, flow, flags, &text)
            }
            ToSip::Ack { id: _, branch, next_hop, ident, flow, text } => {
                self.ack(&branch, &next_hop, &ident, flow, &text)
            }
            ToSip::Cancel { id, headers } => self.cancel(id, &headers),
            ToSip::Fork { id, fork, to_tag } => self.fork(id, fork, &to_tag),
            ToSip::Respond { id, status, reason, to_tag, headers, body, reliable } => {
                let answer = Answer { status, reason, to_tag, headers, body };
                self.respond(id, &answer, reliable)
            }
            ToSip::Release { transaction } => self.release(transaction),
            ToSip::Gate { rules } => {
                set_gate(rules);
                Ok(())
            }
            ToSip::Flow { id, action } => self.flow(id, action),
            ToSip::Trace { on } => {
                gate::with(|gate| {
                    gate.tracing = on;
                    if !on {
                        gate.traced.clear();
                    }
                });
                Ok(())
            }
            ToSip::Stats {} => {
                let counters = self.list_counters();
                self.outbox.push(&FromSip::Counters { counters });
                Ok(())
            }
            ToSip::Drain { retry_after_s } => {
                self.draining = Some(retry_after_s);
                Ok(())
            }
            ToSip::Stop {} => {
                self.stopping = true;
                Ok(())
            }
        }
    }

    fn hello(&mut self, settings: Settings) -> Result<(), Refusal> {
        let bad = |detail: &str| Err((RefusedReason::Malformed, detail.to_owned()));
        if self.agent.is_some() {
            return Err((RefusedReason::Unsupported, "a second Hello".into()));
        }
        let timers = [settings.t1_ms, settings.t2_ms, settings.t4_ms];
        if timers.iter().any(|ms| !(10..=60_000).contains(ms)) || settings.t2_ms < settings.t1_ms {
            return bad("timers: 10 to 60000 ms, T2 not below T1");
        }
        if !(1_024..=TEXT_BYTES_MAX as u32).contains(&settings.message_bytes_max) {
            return bad("message_bytes_max: 1024 to 61440");
        }
        if settings.queue_max == 0 || settings.server_transactions_max == 0 {
            return bad("queue_max and server_transactions_max: at least 1");
        }
        let stack = |error: String| (RefusedReason::Stack, error);
        let agent = Agent::new(&settings).map_err(stack)?;
        gate::with(|gate| gate.configure(&settings));
        self.outbox.queue_max = settings.queue_max as usize;
        self.settings = settings;
        self.outbox.push(&FromSip::Ready { library: agent.version() });
        self.agent = Some(agent);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    fn listen(
        &mut self,
        id: ListenId,
        ident: String,
        transport: Transport,
        address: SocketAddr,
        via_host: &str,
        tls: Option<&TlsSettings>,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), Refusal> {
        let refuse = |detail: &str| Err((RefusedReason::Listen, detail.to_owned()));
        if self.listeners.contains_key(&id.0) {
            return Err((RefusedReason::DuplicateId, "this listener exists".into()));
        }
        if self.listeners.len() >= LISTENERS_MAX {
            return Err((RefusedReason::Limit, format!("{LISTENERS_MAX} listeners at most")));
        }
        if !check::token(&ident) || ident.len() > IDENT_BYTES_MAX {
            return refuse("the ident is a token of at most 64 bytes");
        }
        if !check::host(via_host) {
            return refuse("via_host is a name or an address");
        }
        if address.ip().is_unspecified() {
            return refuse("a wildcard address");
        }
        if descriptor.is_some() && (transport != Transport::Udp || address.port() == 0) {
            return refuse("only a UDP socket can be handed over, with its port");
        }
        let Some(agent) = &self.agent else { return refuse("no agent") };
        let known = self.listeners.values().find(|known| known.to_bytes() == ident.as_bytes());
        let ident = match (known, c_string(ident)) {
            (Some(known), _) => *known,
            (None, Some(ident)) => Box::leak(ident.into_boxed_c_str()),
            (None, None) => return refuse("NUL in the ident"),
        };
        let tls = tls.or(self.settings.tls.as_ref());
        let opening = Opening { transport, address, descriptor, bound: None };
        let listen = |error| (RefusedReason::Listen, error);
        let bound = agent.listen(ident, address, via_host, tls, opening).map_err(listen)?;
        self.listeners.insert(id.0, ident);
        self.outbox.push(&FromSip::Listening { id, address: bound });
        Ok(())
    }

    fn route<'a>(&self, next_hop: &'a str, ident: &str, flow: Option<FlowId>) -> Result<Route<'a>, Refusal> {
        if !check::next_hop(next_hop) {
            return Err((RefusedReason::Malformed, "next hop".into()));
        }
        let known = self.listeners.values().find(|known| known.to_bytes() == ident.as_bytes());
        let unknown = || (RefusedReason::UnknownIdent, format!("no listener has the ident {ident:?}"));
        let ident = known.ok_or_else(unknown)?;
        let flow = match flow {
            None => None,
            Some(id) => {
                let gone = || (RefusedReason::UnknownFlow, "the connection is gone".to_owned());
                Some(flow::transport(id).ok_or_else(gone)?)
            }
        };
        Ok(Route { next_hop, ident, flow })
    }

    fn request(
        &mut self,
        id: ClientId,
        next_hop: &str,
        ident: &str,
        flow: Option<FlowId>,
        flags: RequestFlags,
        text: &[u8],
    ) -> Result<(), Refusal> {
        self.new_client(id)?;
        let method = check::request(text).map_err(malformed)?;
        if matches!(method, b"ACK" | b"CANCEL") {
            return Err((RefusedReason::Unsupported, "ACK and CANCEL have messages of their own".into()));
        }
        let route = self.route(next_hop, ident, flow)?;
        let Some(agent) = &self.agent else { return Ok(()) };
        let transaction = agent.request(id.0, text, &route, flags).map_err(failed)?;
        let invite = method == b"INVITE";
        self.counters.requests_sent += 1;
        trace_sent(flow, || transaction.text());
        let client =
            Client { transaction, invite, fork: false, answered: false, finished: false, cancelled: false };
        self.clients.insert(id.0, client);
        Ok(())
    }

    fn new_client(&self, id: ClientId) -> Result<(), Refusal> {
        if id.0 == 0 || self.clients.contains_key(&id.0) {
            return Err((RefusedReason::DuplicateId, "this client transaction exists".into()));
        }
        if self.clients.len() >= self.settings.client_transactions_max as usize {
            return Err((RefusedReason::Limit, "client_transactions_max".into()));
        }
        Ok(())
    }

    fn ack(
        &mut self,
        branch: &str,
        next_hop: &str,
        ident: &str,
        flow: Option<FlowId>,
        text: &[u8],
    ) -> Result<(), Refusal> {
        if check::request(text).map_err(malformed)? != b"ACK" {
            return Err((RefusedReason::Malformed, "not an ACK".into()));
        }
        let branch = branch.strip_prefix("branch=").unwrap_or(branch);
        if !check::token(branch) {
            return Err((RefusedReason::Malformed, "branch".into()));
        }
        let route = self.route(next_hop, ident, flow)?;
        let Some(agent) = &self.agent else { return Ok(()) };
        agent.ack(text, &route, branch).map_err(failed)?;
        self.counters.requests_sent += 1;
        trace_sent(flow, || text.to_vec());
        Ok(())
    }

    fn cancel(&mut self, id: ClientId, headers: &[u8]) -> Result<(), Refusal> {
        check::headers(headers).map_err(malformed)?;
        let client = self.clients.get_mut(&id.0).ok_or_else(unknown_client)?;
        if !client.invite || client.fork || client.finished || client.cancelled {
            return Err((RefusedReason::State, "not an INVITE that waits for its final answer".into()));
        }
        let headers = c_string(headers).ok_or_else(|| malformed("NUL in the headers"))?;
        client.cancelled = true;
        client.transaction.cancel(&headers);
        self.counters.requests_sent += 1;
        Ok(())
    }

    fn fork(&mut self, id: ClientId, fork: ClientId, to_tag: &str) -> Result<(), Refusal> {
        self.new_client(fork)?;
        let client = self.clients.get(&id.0).ok_or_else(unknown_client)?;
        if !client.invite || client.fork || !client.answered {
            return Err((RefusedReason::State, "not an INVITE with a provisional answer".into()));
        }
        if !check::token(to_tag) {
            return Err((RefusedReason::Malformed, "To tag".into()));
        }
        let to_tag = c_string(to_tag).ok_or_else(|| malformed("To tag"))?;
        let transaction = client.transaction.fork(fork.0, &to_tag);
        let refused = || (RefusedReason::State, "an INVITE inside a dialog does not fork".to_owned());
        let transaction = transaction.ok_or_else(refused)?;
        let client = Client {
            transaction,
            invite: true,
            fork: true,
            answered: true,
            finished: false,
            cancelled: false,
        };
        self.clients.insert(fork.0, client);
        Ok(())
    }

    fn respond(
        &mut self,
        id: ServerId,
        answer: &Answer,
        reliable: Option<ReliableId>,
    ) -> Result<(), Refusal> {
        let state = |detail: &str| Err((RefusedReason::State, detail.to_owned()));
        let server = self.servers.get_mut(&id.0).ok_or_else(unknown_server)?;
        if !(100..=699).contains(&answer.status) {
            return Err((RefusedReason::Malformed, "status".into()));
        }
        if !check::reason(&answer.reason) || !(answer.to_tag.is_empty() || check::token(&answer.to_tag)) {
            return Err((RefusedReason::Malformed, "reason or To tag".into()));
        }
        check::headers(&answer.headers).map_err(malformed)?;
        if server.finished {
            return state("it has its final answer");
        }
        let Answer { status, reason, to_tag, headers, body } = answer;
        let Some(agent) = &self.agent else { return Ok(()) };
        if let Some(reliable) = reliable {
            if !server.invite || !(101..200).contains(status) {
                return state("only 101 to 199 to INVITE can be reliable");
            }
            if self.reliables.contains_key(&reliable.0) {
                return Err((RefusedReason::DuplicateId, "this reliable response exists".into()));
            }
            let handle = agent
                .respond_reliably(reliable.0, &server.transaction, *status, reason, to_tag, headers, body)
                .map_err(failed)?;
            let has_body = !body.is_empty();
            self.reliables.insert(reliable.0, Unacknowledged { server: id.0, reliable: handle, has_body });
            self.counters.responses_sent += 1;
            return Ok(());
        }
        let is_2xx = (200..300).contains(status);
        let mut open = self.reliables.values().filter(|open| open.server == id.0);
        if server.invite && is_2xx && open.any(|open| open.has_body) {
            return state("a reliable response with a body is not acknowledged yet");
        }
        agent.respond(&server.transaction, *status, reason, to_tag, headers, body).map_err(failed)?;
        self.counters.responses_sent += 1;
        trace_sent(server.origin.flow, || server.transaction.response_text());
        if *status >= 200 {
            server.finished = true;
            if server.invite && is_2xx {
                // The library ends what is not acknowledged with the final answer; that is no time-out.
                self.reliables.retain(|_, open| open.server != id.0);
            } else {
                self.drop_server(id.0);
            }
        }
        Ok(())
    }

    fn release(&mut self, transaction: TransactionId) -> Result<(), Refusal> {
        match transaction {
            TransactionId::Client(id) => {
                let client = self.clients.remove(&id.0).ok_or_else(unknown_client)?;
                client.transaction.destroy();
            }
            TransactionId::Server(id) => {
                if !self.drop_server(id.0) {
                    return Err(unknown_server());
                }
            }
            TransactionId::Reliable(id) => {
                let unknown = || (RefusedReason::UnknownId, "no such reliable response".to_owned());
                self.reliables.remove(&id.0).ok_or_else(unknown)?.reliable.destroy();
            }
        }
        Ok(())
    }

    /// Frees a server transaction with what hangs on it. False if there is none.
    pub(crate) fn drop_server(&mut self, id: u64) -> bool {
        let Some(server) = self.servers.remove(&id) else { return false };
        if server.invite && !self.reliables.is_empty() {
            // The library frees them with the transaction, or reports them while it ends.
            self.reliables.retain(|_, open| open.server != id);
        }
        server.transaction.destroy();
        true
    }

    fn flow(&mut self, id: FlowId, action: FlowAction) -> Result<(), Refusal> {
        let gone = || (RefusedReason::UnknownFlow, "the connection is gone".to_owned());
        match action {
            FlowAction::Close => {
                self.close_flow(id, bifrons_sip_protocol::DownCause::Local).then_some(()).ok_or_else(gone)
            }
            FlowAction::Ping { interval_ms } => flow::ping(id, interval_ms).then_some(()).ok_or_else(gone),
        }
    }

    /// Closes a connection and tells so. False if it is gone.
    pub(crate) fn close_flow(&mut self, id: FlowId, cause: bifrons_sip_protocol::DownCause) -> bool {
        let Some(flow) = flow::close(id) else { return false };
        self.outbox.push(&FromSip::FlowDown { id, remote: flow.remote, cause });
        true
    }

    fn list_counters(&mut self) -> Vec<(String, u64)> {
        self.counters.queue_lost = self.outbox.lost;
        let mut list: Vec<(&str, u64)> = self.counters.list();
        list.extend([
            ("client_transactions_now", self.clients.len() as u64),
            ("server_transactions_now", self.servers.len() as u64),
            ("queue_now", self.outbox.len() as u64),
            ("flows_now", flow::len() as u64),
            ("callback_panics", event::panics()),
        ]);
        if let Some(agent) = &self.agent {
            list.extend(agent.counters());
        }
        let mut list: Vec<(String, u64)> =
            list.into_iter().map(|(name, value)| (name.into(), value)).collect();
        gate::with(|gate| {
            list.extend(gate.counters().map(|(name, value)| (name.to_owned(), value)));
            list.push(("gate_parts_lost".into(), gate.parts_lost));
        });
        list
    }
}

/// The fields of an answer.
struct Answer {
    status: u16,
    reason: String,
    to_tag: String,
    headers: Vec<u8>,
    body: Vec<u8>,
}

fn set_gate(rules: GateRules) {
    log::line(&format!("gate: {} blocked, {} allowed", rules.blocked.len(), rules.allowed.len()));
    gate::with(|gate| gate.set_rules(rules));
}

/// Traces a message over a known connection; over UDP the gate does.
fn trace_sent(flow: Option<FlowId>, text: impl FnOnce() -> Vec<u8>) {
    let Some(flow) = flow.and_then(flow::get) else { return };
    gate::with(|gate| {
        if gate.tracing {
            gate.trace(Traced {
                received: false,
                transport: flow.kind,
                local: flow.local,
                remote: flow.remote,
                time_us: clock::unix_us(),
                text: text(),
            });
        }
    });
}

/// Direction as control knows it.
pub(crate) fn direction(received: bool) -> TraceDirection {
    if received { TraceDirection::Received } else { TraceDirection::Sent }
}

fn about(message: &ToSip) -> u64 {
    match message {
        ToSip::Listen { id, .. } | ToSip::Unlisten { id } => id.0,
        ToSip::Request { id, .. } | ToSip::Ack { id, .. } | ToSip::Cancel { id, .. } => id.0,
        ToSip::Fork { fork, .. } => fork.0,
        ToSip::Respond { id, .. } => id.0,
        ToSip::Flow { id, .. } => id.0,
        ToSip::Release { transaction } => match transaction {
            TransactionId::Client(id) => id.0,
            TransactionId::Server(id) => id.0,
            TransactionId::Reliable(id) => id.0,
        },
        _ => 0,
    }
}

fn malformed(detail: &str) -> Refusal {
    (RefusedReason::Malformed, detail.to_owned())
}

fn unknown_client() -> Refusal {
    (RefusedReason::UnknownId, "no such client transaction".into())
}

fn unknown_server() -> Refusal {
    (RefusedReason::UnknownId, "no such server transaction".into())
}

fn failed(failure: Failure) -> Refusal {
    match failure {
        Failure::Malformed(piece) => (RefusedReason::Malformed, piece.to_owned()),
        Failure::Stack(detail) => (RefusedReason::Stack, detail.to_owned()),
    }
}
