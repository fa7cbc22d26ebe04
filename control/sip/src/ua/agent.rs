use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use bifrons_sip_protocol::{
    ClientId, ExpiredCause, FromSip, ListenId, Origin, Part, PrackOutcome, RefusedReason, ReliableId,
    RequestFlags, ServerId, ToSip, TransactionId, Transport,
};

use super::account::Account;
use super::arena::{AccountId, Arena, CallId, ReferId};
use super::call::{Answer, Call, Offer, Phase};
use super::config::{Config, Listener};
use super::counters::Counters;
use super::dialog::Dialog;
use super::directory::Directory;
use super::error::UaError;
use super::event::{Details, RequestId, UaEvent};
use super::random::Random;
use super::refer::Refer;
use super::request::OutRequest;
use crate::message::{Headers, Message, StartLine};

/// The user agent: every account, dialog and registration on one agent, as plain data.
///
/// It is driven from outside: [`UserAgent::handle`] takes what `bifrons-sip` reports, [`UserAgent::on_timeout`]
/// is called when [`UserAgent::next_timeout`] has come, and after each of them (and after every request of the
/// application) [`UserAgent::poll_output`] and [`UserAgent::poll_event`] are emptied. `now_ms` is a monotonic
/// time in milliseconds with any epoch.
pub struct UserAgent {
    pub(super) config: Config,
    pub(super) random: Random,
    pub(super) out: VecDeque<ToSip>,
    pub(super) events: VecDeque<UaEvent>,
    pub(super) accounts: Arena<AccountId, Account>,
    pub(super) calls: Arena<CallId, Call>,
    pub(super) refers: Arena<ReferId, Refer>,
    pub(super) directory: Directory,
    /// (Call-ID, local tag) to call.
    pub(super) dialogs: HashMap<(String, String), CallId>,
    /// (Call-ID, local tag) to a REFER whose call is gone or that had none.
    pub(super) refer_dialogs: HashMap<(String, String), ReferId>,
    /// (Call-ID, From tag) of INVITEs that we received, while their calls live.
    pub(super) invites: HashMap<(String, String), CallId>,
    pub(super) clients: HashMap<ClientId, Client>,
    pub(super) servers: HashMap<ServerId, CallId>,
    pub(super) reliables: HashMap<ReliableId, CallId>,
    pub(super) timers: BTreeSet<(u64, Wake)>,
    /// Client transactions to release, in the order of their time.
    pub(super) lingering: VecDeque<(u64, ClientId)>,
    /// Where each listener is bound.
    pub(super) bound: Vec<Option<SocketAddr>>,
    pub(super) life: u32,
    pub(super) draining: bool,
    pub(super) next_client: u64,
    pub(super) next_reliable: u64,
    pub(super) next_request: RequestId,
    /// Microsecond at which the next paced REGISTER may go.
    pub(super) next_register_us: u64,
    pub(super) counters: Counters,
}

/// An open client transaction.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub purpose: Purpose,
    pub request: OutRequest,
    /// Realms for which it has credentials.
    pub realms: Vec<String>,
}

/// What a client transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Register(AccountId),
    /// An INVITE, or a fork of it.
    Invite(CallId),
    Reinvite(CallId),
    Bye(CallId),
    Prack(CallId),
    /// NOTIFY about a REFER.
    Progress(ReferId),
    Application {
        account: AccountId,
        call: Option<CallId>,
        request: RequestId,
    },
    /// Nobody waits for the answer; a 2xx to INVITE is acknowledged and ended.
    Nobody,
}

/// Who wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    Account(AccountId),
    Call(CallId),
    Refer(ReferId),
}

/// A request of a peer, as `bifrons-sip` gave it.
pub(super) struct Received<'a> {
    pub server: ServerId,
    pub origin: &'a Origin,
    pub request: Message,
    pub parts: Vec<Part>,
}

impl Received<'_> {
    pub fn details(&mut self) -> Details {
        Details::of(&self.request, Some(self.origin.source), std::mem::take(&mut self.parts))
    }
}

/// An answer to our request, as `bifrons-sip` gave it.
pub(super) struct Answered {
    pub id: ClientId,
    pub status: u16,
    pub internal: bool,
    pub origin: Option<Origin>,
    pub branch: String,
    pub message: Option<Message>,
    pub parts: Vec<Part>,
}

impl Answered {
    pub fn reason(&self) -> String {
        match &self.message {
            Some(message) => message.reason_phrase().to_owned(),
            None => super::status::phrase(self.status).to_owned(),
        }
    }

    pub fn details(&mut self) -> Details {
        let source = self.origin.as_ref().map(|origin| origin.source);
        let parts = std::mem::take(&mut self.parts);
        self.message.as_ref().map_or_else(Details::default, |message| Details::of(message, source, parts))
    }

    pub fn sdp(&self) -> Option<Vec<u8>> {
        self.message.as_ref().and_then(sdp_of)
    }
}

/// The session description of a message.
pub(super) fn sdp_of(message: &Message) -> Option<Vec<u8>> {
    let is_sdp = message.content_type().is_none_or(|content_type| content_type == "application/sdp");
    (is_sdp && !message.body.is_empty()).then(|| message.body.clone())
}

impl UserAgent {
    /// A user agent that asks the first SIP process to listen as configured.
    ///
    /// # Errors
    /// [`UaError::Random`] if the system gives no seed.
    pub fn new(config: Config) -> Result<Self, UaError> {
        let random = match config.seed {
            Some(seed) => Random::new(seed),
            None => Random::from_system().map_err(|_| UaError::Random)?,
        };
        let mut agent = Self {
            accounts: Arena::new(config.accounts_max),
            calls: Arena::new(config.calls_max),
            refers: Arena::new(config.refers_max),
            bound: vec![None; config.listeners.len()],
            random,
            config,
            out: VecDeque::new(),
            events: VecDeque::new(),
            directory: Directory::default(),
            dialogs: HashMap::new(),
            refer_dialogs: HashMap::new(),
            invites: HashMap::new(),
            clients: HashMap::new(),
            servers: HashMap::new(),
            reliables: HashMap::new(),
            timers: BTreeSet::new(),
            lingering: VecDeque::new(),
            life: 0,
            draining: false,
            next_client: 0,
            next_reliable: 0,
            next_request: 0,
            next_register_us: 0,
            counters: Counters::default(),
        };
        agent.greet();
        Ok(agent)
    }

    /// The next message for `bifrons-sip`.
    pub fn poll_output(&mut self) -> Option<ToSip> {
        self.out.pop_front()
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<UaEvent> {
        self.events.pop_front()
    }

    /// When [`UserAgent::on_timeout`] is due.
    pub fn next_timeout(&self) -> Option<u64> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let linger = self.lingering.front().map(|(at, _)| *at);
        [timer, linger].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn on_timeout(&mut self, now_ms: u64) {
        while let Some((at, id)) = self.lingering.front().copied()
            && at <= now_ms
        {
            self.lingering.pop_front();
            self.release(id);
        }
        while let Some((at, wake)) = self.timers.first().copied()
            && at <= now_ms
        {
            self.timers.pop_first();
            match wake {
                Wake::Account(id) => self.account_timeout(now_ms, id),
                Wake::Call(id) => self.call_timeout(now_ms, id),
                Wake::Refer(id) => self.refer_timeout(now_ms, id),
            }
        }
    }

    /// Takes a message of `bifrons-sip`.
    pub fn handle(&mut self, now_ms: u64, message: FromSip) {
        match message {
            FromSip::Ready { .. } => {}
            FromSip::Listening { id, address } => self.listening(id, address),
            FromSip::Request { id, origin, text, parts } => {
                self.on_request(now_ms, id, &origin, &text, parts)
            }
            FromSip::Ack { id, text, parts } => self.on_ack(now_ms, id, &text, parts),
            FromSip::Cancelled { id, text } => self.on_cancelled(now_ms, id, &text),
            FromSip::Expired { id, cause } => self.on_expired(now_ms, id, cause),
            FromSip::Response { id, status, internal, origin, branch, text, parts } => {
                // The stack has parsed it; what we cannot read counts as an answer without headers.
                let message = Message::parse(&text).ok();
                if message.is_none() && !internal {
                    self.counters.malformed += 1;
                }
                self.on_response(now_ms, Answered { id, status, internal, origin, branch, message, parts });
            }
            FromSip::Prack { id, outcome } => self.on_prack(now_ms, id, outcome),
            FromSip::Stray { origin, text, parts } => self.on_stray(now_ms, origin, &text, parts),
            FromSip::FlowDown { id, .. } => self.flow_down(now_ms, id),
            FromSip::Refused { kind, about, reason, detail } => {
                self.on_refused(now_ms, kind, about, reason, detail)
            }
            FromSip::Error { detail } => self.events.push_back(UaEvent::Trouble { detail }),
            other => self.events.push_back(UaEvent::Passed(other)),
        }
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Accounts, calls, open client and server transactions, received REFERs: all zero when everything is idle.
    pub fn sizes(&self) -> [usize; 5] {
        [self.accounts.len(), self.calls.len(), self.clients.len(), self.servers.len(), self.refers.len()]
    }

    /// Answers new INVITEs 503 from now on; what runs goes on.
    pub fn drain(&mut self, retry_after_s: u32) {
        self.draining = true;
        self.out.push_back(ToSip::Drain { retry_after_s });
    }

    /// `Hello` and the listeners for a new SIP process.
    pub(super) fn greet(&mut self) {
        self.out.push_back(ToSip::Hello { settings: self.config.sip.clone() });
        // Before the first socket is open.
        self.out.push_back(ToSip::Gate { rules: self.config.gate.clone() });
        for (index, listener) in self.config.listeners.iter().enumerate() {
            let mut address = listener.address;
            // A port that was free once is kept, so that our Contacts stay true.
            if let Some(bound) = self.bound.get(index).copied().flatten() {
                address = bound;
            }
            self.out.push_back(ToSip::Listen {
                id: ListenId(index as u64 + 1),
                ident: listener.ident.clone(),
                transport: listener.transport,
                address,
                via_host: listener.public_host.clone().unwrap_or_default(),
                descriptor: false,
                tls: None,
            });
        }
    }

    fn listening(&mut self, id: ListenId, address: SocketAddr) {
        let index = usize::try_from(id.0.wrapping_sub(1)).unwrap_or(usize::MAX);
        if let (Some(bound), Some(listener)) = (self.bound.get_mut(index), self.config.listeners.get(index)) {
            *bound = Some(address);
            self.events.push_back(UaEvent::Listening { ident: listener.ident.clone(), address });
        }
    }

    /// The ident of an account, and the `host:port` that its Contact shows for a transport.
    pub(super) fn local_address(
        &self,
        ident: &str,
        transport: Transport,
    ) -> Result<(String, String), UaError> {
        let fits = |listener: &&Listener| {
            (ident.is_empty() || listener.ident == ident) && listener.transport == transport
        };
        let no_listener = || UaError::NoListener(format!("{ident} {}", transport.name()));
        let index = self.config.listeners.iter().position(|l| fits(&l)).ok_or_else(no_listener)?;
        let listener = self.config.listeners.get(index).ok_or_else(no_listener)?;
        let address = self.bound.get(index).copied().flatten().unwrap_or(listener.address);
        let shown = match &listener.public_host {
            Some(host) => format!("{host}:{}", address.port()),
            None => address.to_string(),
        };
        Ok((listener.ident.clone(), shown))
    }

    /// Wakes `who` at `at`, and no longer at `before`.
    pub(super) fn set_timer(&mut self, who: Wake, before: Option<u64>, at: Option<u64>) {
        if let Some(before) = before {
            self.timers.remove(&(before, who));
        }
        if let Some(at) = at {
            self.timers.insert((at, who));
        }
    }

    /// Puts a call's timer where its deadlines are.
    pub(super) fn arm(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id) {
            let (before, at) = (call.wake_at, call.next_deadline());
            call.wake_at = at;
            self.set_timer(Wake::Call(id), before, at);
        }
    }

    /// 64*T1: how long a transaction repeats itself.
    pub(super) fn transaction_ms(&self) -> u64 {
        u64::from(self.config.sip.t1_ms) * 64
    }

    /// Sends a request in a new client transaction.
    pub(super) fn send(&mut self, purpose: Purpose, request: OutRequest) -> Result<ClientId, UaError> {
        if self.clients.len() >= self.config.clients_max {
            self.counters.limits += 1;
            return Err(UaError::Limit("client transactions"));
        }
        self.next_client += 1;
        let id = ClientId(self.next_client);
        self.out.push_back(ToSip::Request {
            id,
            next_hop: request.next_hop.clone(),
            ident: request.ident.clone(),
            flow: request.flow,
            flags: RequestFlags::NONE,
            text: request.text(),
        });
        self.clients.insert(id, Client { purpose, request, realms: Vec::new() });
        Ok(id)
    }

    /// Forgets a client transaction that has its final answer.
    pub(super) fn release(&mut self, id: ClientId) {
        if self.clients.remove(&id).is_some() {
            self.out.push_back(ToSip::Release { transaction: TransactionId::Client(id) });
        }
    }

    /// Forgets an INVITE transaction when the peer cannot repeat its 2xx any more.
    pub(super) fn release_later(&mut self, now_ms: u64, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.purpose = Purpose::Nobody;
            self.lingering.push_back((now_ms + self.transaction_ms(), id));
        }
    }

    /// Cancels an INVITE transaction that nobody waits for any more.
    pub(super) fn give_up(&mut self, now_ms: u64, id: ClientId) {
        if self.clients.contains_key(&id) {
            self.out.push_back(ToSip::Cancel { id, headers: Vec::new() });
            self.release_later(now_ms, id);
        }
    }

    /// Acknowledges a 2xx.
    pub(super) fn send_ack(&mut self, id: ClientId, branch: &str, request: &OutRequest) {
        self.out.push_back(ToSip::Ack {
            id,
            branch: branch.to_owned(),
            next_hop: String::new(),
            ident: request.ident.clone(),
            flow: None,
            text: request.text(),
        });
    }

    /// Answers a request.
    pub(super) fn respond(
        &mut self,
        id: ServerId,
        to_tag: &str,
        answer: Answer,
        reliable: Option<ReliableId>,
    ) {
        let mut headers = Vec::new();
        answer.headers.write(&mut headers);
        self.out.push_back(ToSip::Respond {
            id,
            status: answer.status,
            reason: answer.reason.replace(['\r', '\n', '\0'], " "),
            to_tag: to_tag.to_owned(),
            headers,
            body: answer.body,
            reliable,
        });
    }

    /// Answers with a bare status.
    pub(super) fn respond_status(&mut self, id: ServerId, status: u16, headers: &[(&str, &str)]) {
        let tag = self.random.token(8);
        let mut all = Headers::default();
        for (name, value) in headers {
            all.push(*name, *value);
        }
        let answer = Answer {
            status,
            reason: super::status::phrase(status).to_owned(),
            headers: all,
            body: Vec::new(),
        };
        self.respond(id, &tag, answer, None);
    }

    /// BYE in a dialog that no call stands for.
    pub(super) fn bye_nobody(&mut self, mut dialog: Dialog, reason: &str) {
        let mut bye = dialog.request(crate::message::Method::Bye, None, &self.config.user_agent);
        if !reason.is_empty() {
            bye.headers.push("Reason", reason);
        }
        // If the table is full, the peer ends the dialog by its own timers.
        let _ = self.send(Purpose::Nobody, bye);
    }

    fn on_response(&mut self, now_ms: u64, answered: Answered) {
        let Some(client) = self.clients.get(&answered.id) else {
            self.counters.unmatched += 1;
            return;
        };
        match client.purpose {
            Purpose::Register(account) => self.register_answered(now_ms, account, answered),
            Purpose::Invite(call) => self.invite_answered(now_ms, call, answered),
            Purpose::Reinvite(call) => self.reinvite_answered(now_ms, call, answered),
            Purpose::Bye(_) | Purpose::Prack(_) | Purpose::Progress(_) | Purpose::Application { .. } => {
                self.request_answered(now_ms, answered);
            }
            Purpose::Nobody => self.nobody_answered(now_ms, answered),
        }
    }

    pub(super) fn nobody_answered(&mut self, now_ms: u64, answered: Answered) {
        if answered.status < 200 {
            return;
        }
        let Some(client) = self.clients.get(&answered.id) else { return };
        let is_invite = client.request.method == crate::message::Method::Invite;
        if let Some(message) = &answered.message
            && is_invite
            && answered.status < 300
        {
            let request = client.request.clone();
            let dialog = Dialog::from_response(&request, message);
            let key = (request.call_id.clone(), request.from_tag.clone());
            let call = self.dialogs.get(&key).and_then(|id| self.calls.get_mut(*id));
            if let Some(call) = call.filter(|call| call.dialog.remote_tag == dialog.remote_tag) {
                // The 2xx that made the call, once more.
                let mut ack = call.dialog.request(
                    crate::message::Method::Ack,
                    Some(request.cseq),
                    &self.config.user_agent,
                );
                ack.auth = call.invite_auth.clone();
                self.send_ack(answered.id, &answered.branch, &ack);
                return;
            }
            self.ack_and_end(now_ms, answered.id, &answered.branch, dialog, request.cseq);
            return;
        }
        self.release(answered.id);
    }

    /// A 2xx that nobody wants any more: ACK and BYE.
    pub(super) fn ack_and_end(
        &mut self,
        now_ms: u64,
        id: ClientId,
        branch: &str,
        mut dialog: Dialog,
        cseq: u32,
    ) {
        let ack = dialog.request(crate::message::Method::Ack, Some(cseq), &self.config.user_agent);
        self.send_ack(id, branch, &ack);
        self.bye_nobody(dialog, "");
        self.release_later(now_ms, id);
    }

    fn on_refused(&mut self, now_ms: u64, kind: u8, about: u64, reason: RefusedReason, detail: String) {
        self.counters.refused_by_sip += 1;
        const LISTEN: u8 = 2;
        const REQUEST: u8 = 4;
        const RESPOND: u8 = 8;
        match kind {
            REQUEST if self.clients.contains_key(&ClientId(about)) => {
                // As if the next hop had said it; the detail is for the log.
                let status = if reason == RefusedReason::Malformed { 400 } else { 503 };
                self.on_response(
                    now_ms,
                    Answered {
                        id: ClientId(about),
                        status,
                        internal: true,
                        origin: None,
                        branch: String::new(),
                        message: None,
                        parts: Vec::new(),
                    },
                );
            }
            RESPOND if self.servers.contains_key(&ServerId(about)) => {
                self.on_expired(now_ms, ServerId(about), ExpiredCause::Ended);
                if reason != RefusedReason::UnknownId {
                    self.respond_status(ServerId(about), 500, &[]);
                }
            }
            _ => {}
        }
        if matches!(kind, LISTEN | REQUEST | RESPOND) {
            self.events.push_back(UaEvent::Trouble { detail });
        }
    }

    fn on_prack(&mut self, now_ms: u64, id: ReliableId, outcome: PrackOutcome) {
        let call = self.reliables.remove(&id);
        if let PrackOutcome::Received { server, text, .. } = &outcome {
            // An offer in a PRACK would need an answer here; it may be refused on its own (RFC 3262 §5).
            let has_sdp = Message::parse(text).is_ok_and(|prack| sdp_of(&prack).is_some());
            let status = match call {
                None => 481,
                Some(_) if has_sdp => 488,
                Some(_) => 200,
            };
            self.respond_status(*server, status, &[]);
        }
        let Some(call) = call else { return };
        match outcome {
            PrackOutcome::Received { .. } => self.prack_received(now_ms, call, id),
            PrackOutcome::TimedOut => {
                self.end(now_ms, call, super::uas::End::local(503, "PRACK Timeout"));
            }
        }
    }

    /// Parses what the stack handed over, or counts it.
    pub(super) fn parse(&mut self, text: &[u8]) -> Option<Message> {
        let parsed = Message::parse(text);
        if parsed.is_err() {
            self.counters.malformed += 1;
        }
        parsed.ok()
    }

    fn on_stray(&mut self, now_ms: u64, origin: Origin, text: &[u8], parts: Vec<Part>) {
        let Some(message) = self.parse(text) else { return };
        let (StartLine::Response { status, .. }, Some(tag)) = (&message.start, message.from.tag()) else {
            return;
        };
        let status = *status;
        let branch = message.via.first().and_then(|via| via.branch()).unwrap_or("").to_owned();
        let key = (message.call_id.clone(), tag.to_owned());
        let call = self.dialogs.get(&key).copied();
        if message.cseq.method != crate::message::Method::Invite {
            self.counters.unmatched += 1;
            return;
        }
        let number = message.cseq.number;
        let state =
            call.and_then(|id| self.calls.get(id)).map(|call| (&call.phase, &call.offer, &call.dialog));
        match (call, state) {
            // The answer to an INVITE of an earlier life: go on as if it were of this one.
            (Some(_), Some((Phase::Calling { client, .. }, _, _)))
                if self.clients.get(client).is_some_and(|c| c.request.cseq == number) =>
            {
                let id = *client;
                let answered = Answered {
                    id,
                    status,
                    internal: false,
                    origin: Some(origin),
                    branch,
                    message: Some(message),
                    parts,
                };
                self.on_response(now_ms, answered);
            }
            // Its 2xx again: our ACK was lost, or died with the process.
            (Some(id), Some((_, Offer::None, dialog)))
                if status < 300
                    && dialog.local_cseq >= number
                    && dialog.remote_tag.as_deref() == message.to.tag() =>
            {
                let user_agent = self.config.user_agent.clone();
                let Some(call) = self.calls.get_mut(id) else { return };
                let mut ack = call.dialog.request(crate::message::Method::Ack, Some(number), &user_agent);
                ack.auth = call.invite_auth.clone();
                self.send_ack(ClientId(0), &branch, &ack);
            }
            _ => self.counters.unmatched += 1,
        }
    }
}
