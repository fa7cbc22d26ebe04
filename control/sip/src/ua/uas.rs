//! Calls that we receive (RFC 3261 §13.3): matching, ringing, reliable progress, the final answer and its ACK;
//! and the end of every call.

use std::collections::VecDeque;

use bifrons_sip_protocol::{ExpiredCause, Origin, Part, ReliableId, ServerId, ToSip, TransactionId};

use super::agent::{Purpose, Received, UserAgent, sdp_of};
use super::arena::{AccountId, CallId};
use super::call::{ANSWERS_MAX, Answer, Call, Offer, Phase, Ringing, Serving, SessionTimer};
use super::dialog::Dialog;
use super::directory::Named;
use super::error::UaError;
use super::event::{Details, UaEvent};
use super::request::{Extra, add_to_answer, add_to_request};
use super::requests::CAPABILITIES;
use super::status;
use crate::message::{Headers, Message, Method, NameAddr, Reason, Replaces, SessionExpires, StartLine};

/// How a call ends: what [`UaEvent::Ended`] will say.
#[derive(Debug, Clone, Default)]
pub(super) struct End {
    pub code: u16,
    pub reason: String,
    pub detail_code: u16,
    pub internal: bool,
    pub reason_header: Option<Reason>,
    pub contacts: Vec<String>,
    pub details: Details,
}

impl End {
    /// An end that no message of the peer told.
    pub fn local(code: u16, reason: &str) -> Self {
        Self { code, reason: reason.to_owned(), detail_code: code, internal: true, ..Self::default() }
    }

    /// An end that a message told.
    pub fn by(code: u16, reason: &str, message: Option<&Message>, details: Details) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            detail_code: code,
            reason_header: message.and_then(reason_of),
            details,
            ..Self::default()
        }
    }
}

/// The Reason header, of several the one with protocol SIP or else the first (RFC 3326).
pub(super) fn reason_of(message: &Message) -> Option<Reason> {
    let values = message.headers.list("Reason").ok()?;
    values.into_iter().find_map(|value| Reason::parse(value).ok())
}

/// What we understand in Require.
const SUPPORTED: [&str; 3] = ["100rel", "replaces", "timer"];
/// Shortest session interval that we accept (RFC 4028 §5), in seconds.
const MIN_SE_S: u32 = 90;

impl UserAgent {
    /// Rings (180).
    ///
    /// # Errors
    /// [`UaError::State`] if the call is not an unanswered incoming one.
    pub fn ring(&mut self, now_ms: u64, call: CallId, headers: Extra<'_>) -> Result<(), UaError> {
        self.answer_invite(now_ms, call, 180, "", headers, Vec::new())
    }

    /// 183 with a session description; reliable if the caller wants that and the account or the caller demands it.
    ///
    /// # Errors
    /// As [`UserAgent::ring`].
    pub fn progress(
        &mut self,
        now_ms: u64,
        call: CallId,
        sdp: Vec<u8>,
        headers: Extra<'_>,
    ) -> Result<(), UaError> {
        self.answer_invite(now_ms, call, 183, "", headers, sdp)
    }

    /// Accepts (200): with the answer, or with an offer if the INVITE had none.
    /// [`UaEvent::Acknowledged`] follows, or [`UaEvent::Ended`].
    ///
    /// # Errors
    /// As [`UserAgent::ring`].
    pub fn accept(
        &mut self,
        now_ms: u64,
        call: CallId,
        sdp: Vec<u8>,
        headers: Extra<'_>,
    ) -> Result<(), UaError> {
        self.answer_invite(now_ms, call, 200, "", headers, sdp)
    }

    /// Refuses with a final status of 300 to 699; an empty `reason` is the standard's. [`UaEvent::Ended`] follows
    /// at once with the same code.
    ///
    /// # Errors
    /// As [`UserAgent::ring`]; [`UaError::State`] also for another status.
    pub fn reject(
        &mut self,
        now_ms: u64,
        call: CallId,
        code: u16,
        reason: &str,
        headers: Extra<'_>,
    ) -> Result<(), UaError> {
        if !(300..700).contains(&code) {
            return Err(UaError::State("not a refusal"));
        }
        self.answer_invite(now_ms, call, code, reason, headers, Vec::new())
    }

    /// Ends a call in whatever state: CANCEL, 480, or BYE (after the ACK, where that is missing).
    /// [`UaEvent::Ended`] follows.
    ///
    /// # Errors
    /// [`UaError::NoCall`], or [`UaError::Malformed`] for a header.
    pub fn hangup(&mut self, now_ms: u64, id: CallId, headers: Extra<'_>) -> Result<(), UaError> {
        add_to_request(&mut Headers::default(), headers)?;
        let call = self.calls.get_mut(id).ok_or(UaError::NoCall)?;
        match &mut call.phase {
            Phase::Calling { .. } => return self.cancel(now_ms, id, headers),
            Phase::Ringing(ringing) => {
                // Also what waits for a PRACK is not sent any more.
                ringing.queue.clear();
                return self.reject(now_ms, id, 480, "", headers);
            }
            Phase::Answered { hangup, .. } => {
                // BYE may not cross the missing ACK (RFC 3261 §15).
                *hangup = Some(headers.to_vec());
            }
            Phase::AnswerPending { client, branch, cseq, .. } => {
                let (client, branch, cseq) = (*client, branch.clone(), *cseq);
                let _ = self.acknowledge(now_ms, id, client, &branch, cseq, Vec::new());
                self.send_bye(now_ms, id, headers);
            }
            Phase::Established => self.send_bye(now_ms, id, headers),
            Phase::Ending { .. } => {}
        }
        Ok(())
    }

    /// Any answer of the application to an INVITE.
    fn answer_invite(
        &mut self,
        now_ms: u64,
        id: CallId,
        status: u16,
        reason: &str,
        extra: Extra<'_>,
        sdp: Vec<u8>,
    ) -> Result<(), UaError> {
        let call = self.calls.get(id).ok_or(UaError::NoCall)?;
        let Phase::Ringing(ringing) = &call.phase else { return Err(UaError::State(call.state_name())) };
        if ringing.queue.iter().any(|answer| answer.status >= 200) {
            return Err(UaError::State("answered"));
        }
        if ringing.queue.len() >= ANSWERS_MAX {
            return Err(UaError::Limit("answers"));
        }
        let mut headers = Headers::default();
        if status < 300 {
            headers.push("Contact", &call.dialog.contact);
            headers.push("Allow", super::ALLOW);
            let session = call.session.filter(|_| status == 200).map(|session| session.interval_ms / 1_000);
            if let Some(interval_s) = session {
                headers.push("Session-Expires", format!("{interval_s};refresher=uac"));
                headers.push("Require", "timer");
            }
            headers.push("Supported", "replaces, timer");
        }
        headers.push("Server", self.user_agent_of(call.account));
        add_to_answer(&mut headers, extra)?;
        if !sdp.is_empty() {
            headers.push("Content-Type", "application/sdp");
        }
        let reason = if reason.is_empty() { status::phrase(status) } else { reason }.to_owned();
        let answer = Answer { status, reason, headers, body: sdp };
        // A 2xx may not overtake a reliable answer that carries SDP (RFC 3262 §3); a refusal may.
        if status < 300 && ringing.unacknowledged.is_some() {
            if let Some(Call { phase: Phase::Ringing(ringing), .. }) = self.calls.get_mut(id) {
                ringing.queue.push_back(answer);
            }
            return Ok(());
        }
        self.send_answer(now_ms, id, answer);
        Ok(())
    }

    fn send_answer(&mut self, now_ms: u64, id: CallId, answer: Answer) {
        // A little later than the stack, which tells it better.
        let until = now_ms + self.transaction_ms() + 2_000;
        let Some(call) = self.calls.get_mut(id) else { return };
        let Phase::Ringing(ringing) = &mut call.phase else { return };
        let (server, tag) = (ringing.server, call.dialog.local_tag.clone());
        match answer.status {
            ..200 => {
                ringing.last = Some(answer.clone());
                let mut reliable = None;
                if ringing.reliable && answer.status > 100 {
                    self.next_reliable += 1;
                    reliable = Some(ReliableId(self.next_reliable));
                    ringing.unacknowledged = reliable;
                    self.reliables.insert(ReliableId(self.next_reliable), id);
                }
                self.respond(server.id, &tag, answer, reliable);
            }
            200..300 => {
                call.phase = Phase::Answered { server, deadline: until, last: answer.clone(), hangup: None };
                self.respond(server.id, &tag, answer, None);
                self.arm(id);
            }
            status => {
                let reason = answer.reason.clone();
                self.respond(server.id, &tag, answer, None);
                // Answered: nothing is left to be told of the transaction.
                self.servers.remove(&server.id);
                self.end(now_ms, id, End { code: status, reason, detail_code: status, ..End::default() });
            }
        }
    }

    /// A PRACK came: what waited for it goes on.
    pub(super) fn prack_received(&mut self, now_ms: u64, id: CallId, reliable: ReliableId) {
        loop {
            let Some(Call { phase: Phase::Ringing(ringing), .. }) = self.calls.get_mut(id) else { return };
            if ringing.unacknowledged == Some(reliable) {
                ringing.unacknowledged = None;
            }
            if ringing.unacknowledged.is_some() {
                return;
            }
            let Some(answer) = ringing.queue.pop_front() else { return };
            self.send_answer(now_ms, id, answer);
        }
    }

    /// A request; ACK and CANCEL of known transactions come by other ways.
    pub(super) fn on_request(
        &mut self,
        now_ms: u64,
        id: ServerId,
        origin: &Origin,
        text: &[u8],
        parts: Vec<Part>,
    ) {
        let request = match Message::parse(text) {
            Ok(request) => request,
            Err(error) => {
                self.counters.malformed += 1;
                self.respond_status(
                    id,
                    400,
                    &[(
                        "Warning",
                        &format!("399 bifrons \"{}\"", error.to_string().replace(['"', '\\'], "'")),
                    )],
                );
                return;
            }
        };
        // What ends something is always heard.
        let is_end = matches!(request.cseq.method, Method::Ack | Method::Bye | Method::Cancel);
        if self.events.len() >= self.config.queue_max && !is_end {
            self.counters.limits += 1;
            self.respond_status(id, 503, &[("Retry-After", "5")]);
            return;
        }
        if let Some(tag) = request.to.tag() {
            let key = (request.call_id.clone(), tag.to_owned());
            self.request_in_dialog(now_ms, &key, Received { server: id, origin, request, parts });
            return;
        }
        match request.cseq.method {
            Method::Ack => self.out.push_back(ToSip::Release { transaction: TransactionId::Server(id) }),
            Method::Bye | Method::Info | Method::Update | Method::Prack | Method::Cancel => {
                self.counters.refused_dialog += 1;
                self.respond_status(id, 481, &[]);
            }
            _ => self.request_outside_dialog(now_ms, Received { server: id, origin, request, parts }),
        }
    }

    fn request_outside_dialog(&mut self, now_ms: u64, received: Received<'_>) {
        let (id, origin, request) = (received.server, received.origin, &received.request);
        if request.cseq.method == Method::Invite && self.invite_again(id, request) {
            return;
        }
        let account = match self.account_for(origin, request) {
            Ok(account) => account,
            // A trunk that asks whether we are there; no account has to be.
            Err(404) if request.cseq.method == Method::Options => {
                return self.respond_status(id, 200, &CAPABILITIES);
            }
            Err(status) => {
                self.respond_status(id, status, &[]);
                return;
            }
        };
        let unknown: Vec<&str> = match request.headers.list("Require") {
            Ok(tags) => {
                tags.into_iter().filter(|t| SUPPORTED.iter().all(|s| !s.eq_ignore_ascii_case(t))).collect()
            }
            Err(_) => Vec::new(),
        };
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            self.respond_status(id, 420, &[("Unsupported", &unknown)]);
            return;
        }
        match request.cseq.method {
            Method::Invite => self.invite_received(now_ms, account, received),
            Method::Options => self.respond_status(id, 200, &CAPABILITIES),
            Method::Message => self.message_received(account, None, received),
            Method::Notify => self.notify_received(account, None, received),
            Method::Refer => self.refer_received(now_ms, account, None, received),
            Method::Subscribe => self.respond_status(id, 489, &[("Allow-Events", "refer")]),
            _ => self.respond_status(id, 405, &[("Allow", super::ALLOW)]),
        }
    }

    /// Whom a request outside a dialog is for, or how it is refused.
    fn account_for(&mut self, origin: &Origin, request: &Message) -> Result<AccountId, u16> {
        let (accounts, directory, compared) =
            (&self.accounts, &self.directory, &mut self.counters.accounts_compared);
        let mut account = |id: AccountId| {
            *compared += 1;
            let fits = |ident: &str| ident.is_empty() || ident == origin.ident;
            accounts.get(id).filter(|account| !account.remove && fits(&account.config.ident))
        };
        let uri = request.request_uri();
        let token = uri.and_then(|uri| uri.as_sip()?.user.as_deref());
        if let Some(id) = token.and_then(|token| directory.by_token(token))
            && account(id).is_some()
        {
            return Ok(id);
        }
        let source = origin.source.ip();
        let is_trunk = self.config.trunks.iter().any(|trunk| trunk.contains(source));
        let mut heard = |id: AccountId| {
            account(id)
                .filter(|account| is_trunk || account.config.sources.iter().any(|net| net.contains(source)))
        };
        if let Some((uri, user)) = uri.and_then(|uri| Some((uri, uri.user()?))) {
            let mut best =
                |named: Option<&Named>| named?.for_source(source, is_trunk).find(|id| heard(*id).is_some());
            let to = Some(&request.to.uri).filter(|to| to.user().as_ref() == Some(&user));
            let found = best(directory.by_address(uri))
                .or_else(|| best(to.and_then(|to| directory.by_address(to))))
                .or_else(|| best(directory.by_user(&user)));
            if let Some(id) = found {
                return Ok(id);
            }
        }
        let (mut trunk, mut known_source) = (None, is_trunk);
        for id in directory.wide() {
            let Some(account) = heard(id) else { continue };
            known_source = true;
            if account.config.any_user || request.cseq.method == Method::Options {
                trunk = Some(id);
            }
        }
        if let Some(id) = trunk {
            return Ok(id);
        }
        let (refused, status) = match known_source {
            true => (&mut self.counters.refused_user, 404),
            false => (&mut self.counters.refused_source, 403),
        };
        *refused += 1;
        Err(status)
    }

    /// An INVITE that we know: its repetition after the SIP process died goes on where the old one was; another
    /// way of the same one is a merged request (RFC 3261 §8.2.2.2).
    fn invite_again(&mut self, id: ServerId, request: &Message) -> bool {
        let Some(from_tag) = request.from.tag() else { return false };
        let Some(call_id) = self.invites.get(&(request.call_id.clone(), from_tag.to_owned())).copied() else {
            return false;
        };
        let life = self.life;
        let Some(call) = self.calls.get_mut(call_id) else { return false };
        let tag = call.dialog.local_tag.clone();
        let (server, again) = match &mut call.phase {
            Phase::Ringing(ringing) => (&mut ringing.server, ringing.last.clone()),
            Phase::Answered { server, last, .. } => (server, Some(last.clone())),
            _ => {
                self.respond_status(id, 482, &[]);
                return true;
            }
        };
        if server.life == life || server.cseq != request.cseq.number {
            self.respond_status(id, 482, &[]);
            return true;
        }
        *server = Serving { id, life, cseq: server.cseq };
        self.servers.insert(id, call_id);
        if let Some(answer) = again {
            self.respond(id, &tag, answer, None);
        }
        true
    }

    fn invite_received(&mut self, now_ms: u64, account_id: AccountId, received: Received<'_>) {
        let Received { server: id, origin, request, parts } = received;
        if self.draining {
            self.respond_status(id, 503, &[("Retry-After", "5")]);
            return;
        }
        if !request.body.is_empty() && sdp_of(&request).is_none() {
            self.respond_status(id, 415, &[("Accept", "application/sdp")]);
            return;
        }
        let Some(from_tag) = request.from.tag().map(str::to_owned) else {
            self.respond_status(id, 400, &[]); // RFC 2543 peers without tags have died out.
            return;
        };
        if let Err(error) = self.check_room(account_id) {
            let status = if error == UaError::Limit("calls") { 503 } else { 486 };
            self.respond_status(id, status, &[]);
            return;
        }
        let session = match self.session_timer(now_ms, &request) {
            Ok(session) => session,
            Err(()) => {
                self.respond_status(id, 422, &[("Min-SE", &MIN_SE_S.to_string())]);
                return;
            }
        };
        let (local_tag, user) = (self.random.token(8), self.random.token(8));
        let Some(account) = self.accounts.get(account_id) else { return };
        let wants_reliable = account.config.reliable && request.headers.has_token("Supported", "100rel");
        let reliable = wants_reliable || request.headers.has_token("Require", "100rel");
        let dialog = self.contact_over(account, origin.transport, &user).map_err(|_| 480).and_then(
            |(ident, contact)| {
                Dialog::from_request(&request, local_tag.clone(), contact.to_string(), ident).map_err(|_| 400)
            },
        );
        let dialog = match dialog {
            Ok(dialog) => dialog,
            Err(status) => {
                self.respond_status(id, status, &[]);
                return;
            }
        };
        let server = Serving { id, life: self.life, cseq: request.cseq.number };
        let phase = Phase::Ringing(Ringing {
            server,
            deadline: now_ms + self.config.ring_ms_max,
            last: None,
            unacknowledged: None,
            queue: VecDeque::new(),
            reliable,
        });
        let key = (request.call_id.clone(), local_tag);
        let Ok(call) = self.add_call(account_id, dialog, phase) else { return };
        if let Some(call) = self.calls.get_mut(call) {
            call.session = session;
        }
        self.servers.insert(id, call);
        self.dialogs.insert(key, call);
        self.invites.insert((request.call_id.clone(), from_tag), call);
        self.arm(call);
        let details = Details::of(&request, Some(origin.source), parts);
        let StartLine::Request { uri, .. } = &request.start else { return };
        self.events.push_back(UaEvent::Incoming {
            call,
            account: account_id,
            sdp: sdp_of(&request),
            referred_by: request.header("Referred-By").map(str::to_owned),
            replaces: request.typed("Replaces", Replaces::parse).ok().flatten(),
            request_uri: uri.to_string(),
            call_id: request.call_id,
            from: request.from,
            to: request.to,
            details,
        });
    }

    /// The session timer of an INVITE or refresh, if its sender refreshes it (RFC 4028 §9); `Err` if it is too short.
    pub(super) fn session_timer(&self, now_ms: u64, request: &Message) -> Result<Option<SessionTimer>, ()> {
        let Ok(Some(timer)) = request.typed("Session-Expires", SessionExpires::parse) else {
            return Ok(None);
        };
        if timer.interval_s < MIN_SE_S {
            return Err(());
        }
        // We refresh nothing ourselves: without our consent there is no timer, and the peer knows (§9, table 2).
        if timer.refresher_is_uac == Some(false) || !request.headers.has_token("Supported", "timer") {
            return Ok(None);
        }
        let interval_ms = u64::from(timer.interval_s) * 1_000;
        Ok(Some(SessionTimer { interval_ms, expires_at: now_ms + interval_ms }))
    }

    pub(super) fn on_ack(&mut self, now_ms: u64, server: ServerId, text: &[u8], parts: Vec<Part>) {
        let Some(id) = self.servers.remove(&server) else {
            self.counters.unmatched += 1;
            return;
        };
        let ack = self.parse(text);
        let Some(call) = self.calls.get_mut(id) else { return };
        if matches!(&call.offer, Offer::Answered { server: serving, .. } if serving.id == server) {
            call.offer = Offer::None;
        } else if let Phase::Answered { hangup, .. } = &mut call.phase {
            let hangup = hangup.take();
            call.phase = Phase::Established;
            if let Some(headers) = hangup {
                self.send_bye(now_ms, id, &headers);
                return;
            }
        } else {
            return;
        }
        self.arm(id);
        let sdp = ack.as_ref().and_then(sdp_of);
        let details = ack.map(|ack| Details::of(&ack, None, parts)).unwrap_or_default();
        self.events.push_back(UaEvent::Acknowledged { call: id, sdp, details });
    }

    /// The ACK came while the SIP process was dead: the peer would have repeated its INVITE else.
    pub(super) fn ack_missed(&mut self, now_ms: u64, id: CallId) {
        let life = self.life;
        let Some(call) = self.calls.get_mut(id) else { return };
        let Phase::Answered { server, hangup, .. } = &mut call.phase else { return };
        if server.life == life {
            return;
        }
        let hangup = hangup.take();
        call.phase = Phase::Established;
        self.arm(id);
        match hangup {
            Some(headers) => self.send_bye(now_ms, id, &headers),
            None => {
                self.events.push_back(UaEvent::Acknowledged {
                    call: id,
                    sdp: None,
                    details: Details::default(),
                });
            }
        }
    }

    pub(super) fn on_cancelled(&mut self, now_ms: u64, server: ServerId, text: &[u8]) {
        let Some(id) = self.servers.remove(&server) else { return };
        let cancel = self.parse(text);
        let Some(call) = self.calls.get_mut(id) else { return };
        if matches!(&call.offer, Offer::Received { server: serving, .. } | Offer::Answered { server: serving, .. } if serving.id == server)
        {
            call.offer = Offer::None;
            self.arm(id);
            self.events.push_back(UaEvent::ReinviteCancelled { call: id });
            return;
        }
        let details = cancel.as_ref().map(|c| Details::of(c, None, Vec::new())).unwrap_or_default();
        self.end(now_ms, id, End::by(487, status::phrase(487), cancel.as_ref(), details));
    }

    pub(super) fn on_expired(&mut self, now_ms: u64, server: ServerId, cause: ExpiredCause) {
        let Some(id) = self.servers.remove(&server) else { return };
        let Some(call) = self.calls.get_mut(id) else { return };
        if matches!(&call.offer, Offer::Received { server: serving, .. } if serving.id == server) {
            call.offer = Offer::None;
            self.arm(id);
            self.events.push_back(UaEvent::ReinviteCancelled { call: id });
            return;
        }
        match (&call.phase, cause) {
            (Phase::Answered { .. }, ExpiredCause::NoAck) => self.no_ack(now_ms, id),
            (Phase::Established, ExpiredCause::NoAck) => self.no_ack(now_ms, id),
            (Phase::Ringing(_) | Phase::Answered { .. }, _) => {
                self.end(now_ms, id, End::local(503, "Transaction Lost"));
            }
            _ => {}
        }
    }

    /// Our 2xx was never acknowledged: BYE (RFC 3261 §13.3.1.4), and the call is over.
    fn no_ack(&mut self, now_ms: u64, id: CallId) {
        self.bye_and_end(now_ms, id, End::local(408, "ACK Timeout"), "SIP;cause=408;text=\"ACK Timeout\"");
    }

    /// Sends BYE for a call whose end is known already.
    pub(super) fn bye_and_end(&mut self, now_ms: u64, id: CallId, end: End, reason: &str) {
        if let Some(call) = self.calls.get(id) {
            self.bye_nobody(call.dialog.clone(), reason);
        }
        self.end(now_ms, id, end);
    }

    /// Sends BYE; its answer ends the call.
    pub(super) fn send_bye(&mut self, now_ms: u64, id: CallId, headers: Extra<'_>) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let user_agent = self.config.user_agent.clone();
        let mut bye = call.dialog.request(Method::Bye, None, &user_agent);
        call.phase = Phase::Ending { deadline: now_ms + u64::from(self.config.sip.t1_ms) * 64 + 1_000 };
        call.session = None;
        call.later = None;
        // Checked by whoever asked; what cannot be written is left out rather than the BYE.
        let _ = add_to_request(&mut bye.headers, headers);
        if self.send(Purpose::Bye(id), bye).is_err() {
            self.end(now_ms, id, End::local(200, super::TO_BYE));
            return;
        }
        self.close_offer(now_ms, id);
        self.arm(id);
    }

    /// Ends an offer that is open when the call ends.
    fn close_offer(&mut self, now_ms: u64, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        match std::mem::replace(&mut call.offer, Offer::None) {
            Offer::Received { server, .. } => {
                if self.servers.remove(&server.id).is_some() {
                    self.respond_status(server.id, 487, &[]);
                }
            }
            Offer::Answered { server, .. } => {
                self.servers.remove(&server.id);
            }
            Offer::AnswerPending { client, branch, cseq, .. } => {
                let _ = self.acknowledge(now_ms, id, client, &branch, cseq, Vec::new());
            }
            Offer::Sent { client, .. } => self.give_up(now_ms, client),
            Offer::None => {}
        }
    }

    /// The end of a call: everything of it is forgotten, and the application is told.
    pub(super) fn end(&mut self, now_ms: u64, id: CallId, end: End) {
        self.close_offer(now_ms, id);
        let Some(call) = self.calls.remove(id) else { return };
        self.set_timer(super::agent::Wake::Call(id), call.wake_at, None);
        self.dialogs.remove(&(call.dialog.call_id.clone(), call.dialog.local_tag.clone()));
        if let Some(remote_tag) = &call.dialog.remote_tag {
            self.invites.remove(&(call.dialog.call_id.clone(), remote_tag.clone()));
        }
        for fork in &call.forks {
            self.release_later(now_ms, fork.client);
        }
        match call.phase {
            Phase::Ringing(ringing) => {
                if let Some(reliable) = ringing.unacknowledged {
                    self.reliables.remove(&reliable);
                }
                if self.servers.remove(&ringing.server.id).is_some() && ringing.server.life == self.life {
                    let answer = Answer {
                        status: 487,
                        reason: status::phrase(487).to_owned(),
                        headers: Headers::default(),
                        body: Vec::new(),
                    };
                    self.respond(ringing.server.id, &call.dialog.local_tag, answer, None);
                }
            }
            Phase::Answered { server, .. } => {
                self.servers.remove(&server.id);
            }
            // Released by whoever got its final answer; else it is given up here.
            Phase::Calling { client, .. } => self.release(client),
            Phase::AnswerPending { client, .. } => self.release_later(now_ms, client),
            Phase::Established | Phase::Ending { .. } => {}
        }
        self.refers_without_call(id, &call.dialog);
        if let Some(account) = self.accounts.get_mut(call.account) {
            account.calls = account.calls.saturating_sub(1);
        }
        let End { code, reason, detail_code, internal, reason_header, contacts, details } = end;
        self.events.push_back(UaEvent::Ended {
            call: id,
            code,
            reason,
            detail_code,
            internal,
            reason_header,
            contacts,
            details,
        });
        self.drop_account_when_free(call.account);
    }

    /// A call's deadline has come.
    pub(super) fn call_timeout(&mut self, now_ms: u64, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.wake_at = None;
        if call.session.is_some_and(|session| session.expires_at <= now_ms) {
            call.session = None;
            let reason = "SIP;cause=408;text=\"Session Timeout\"";
            if call.is_established() {
                self.bye_and_end(now_ms, id, End::local(408, "Session Timeout"), reason);
                return;
            }
        }
        let Some(call) = self.calls.get(id) else { return };
        let due = |deadline: u64| deadline <= now_ms;
        match &call.phase {
            Phase::Calling { deadline, cancelled: false, orphaned: false, .. } if due(*deadline) => {
                let _ = self.cancel(
                    now_ms,
                    id,
                    &[("Reason".to_owned(), "SIP;cause=408;text=\"No Answer\"".to_owned())],
                );
                return;
            }
            // No final answer to a cancelled INVITE (RFC 3261 §9.1), or none of a lost process's.
            Phase::Calling { deadline, cancelled, .. } if due(*deadline) => {
                let end = if *cancelled {
                    End::local(487, status::phrase(487))
                } else {
                    End::local(503, "SIP Process Lost")
                };
                self.end(now_ms, id, end);
                return;
            }
            Phase::Ringing(ringing) if due(ringing.deadline) => {
                let _ = self.reject(now_ms, id, 480, "", &[]);
                return;
            }
            Phase::Answered { deadline, server, .. } if due(*deadline) => {
                if server.life == self.life {
                    // The stack says so itself a little later; whoever is first.
                    self.no_ack(now_ms, id);
                    return;
                }
                self.ack_missed(now_ms, id);
            }
            Phase::AnswerPending { deadline, .. } if due(*deadline) => {
                let _ = self.hangup(
                    now_ms,
                    id,
                    &[("Reason".to_owned(), "SIP;cause=488;text=\"No answer to offer\"".to_owned())],
                );
                return;
            }
            Phase::Ending { deadline } if due(*deadline) => {
                self.end(now_ms, id, End::local(200, super::TO_BYE));
                return;
            }
            _ => {}
        }
        self.offer_timeout(now_ms, id);
        self.arm(id);
    }

    /// The peer's address of a call, without tag.
    pub fn remote_address(&self, id: CallId) -> Option<NameAddr> {
        NameAddr::parse(&self.calls.get(id)?.dialog.remote).ok()
    }
}
