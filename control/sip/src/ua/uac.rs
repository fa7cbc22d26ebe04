//! Calls that we make (RFC 3261 §13.2): INVITE, its provisional answers and forks, its final answer.

use bifrons_sip_protocol::{ClientId, ToSip};

use super::agent::{Answered, Purpose, UserAgent};
use super::arena::{AccountId, CallId};
use super::auth::Authorization;
use super::call::{Call, FORKS_MAX, Fork, Offer, Phase};
use super::dialog::Dialog;
use super::error::UaError;
use super::event::UaEvent;
use super::request::{Extra, add_to_request};
use super::uas::End;
use crate::message::{Headers, Message, Method, NameAddr, Params, ParseError, RAck, Uri};

/// Options of [`UserAgent::invite`] and [`UserAgent::message_to`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestOptions {
    /// Call-ID; `None`: a random one.
    pub call_id: Option<String>,
    /// Headers of the application.
    pub headers: Vec<(String, String)>,
    /// From instead of the account's, without tag: a trunk shows its callers. Not for pages to choose.
    pub from: Option<NameAddr>,
}

impl UserAgent {
    /// Calls `target` (`sip:`, `sips:` or `tel:`), with an offer or (`None`) asking the peer for one.
    /// [`UaEvent::Provisional`], [`UaEvent::Accepted`] and in any case [`UaEvent::Ended`] follow.
    ///
    /// # Errors
    /// [`UaError`]: nothing was sent.
    pub fn invite(
        &mut self,
        now_ms: u64,
        account: AccountId,
        target: &str,
        sdp: Option<Vec<u8>>,
        options: RequestOptions,
    ) -> Result<CallId, UaError> {
        let target = parse_target(target)?;
        let mut request = self.new_request(account, Method::Invite, &target, options.call_id)?;
        let reliable = self.accounts.get(account).is_some_and(|account| account.config.reliable);
        if let Some(from) = options.from {
            request.from = NameAddr { params: Params::default(), ..from }.to_string();
        }
        request.headers.push("Allow", super::ALLOW);
        request.headers.push("Supported", if reliable { "replaces, 100rel" } else { "replaces" });
        add_to_request(&mut request.headers, &options.headers)?;
        let has_offer = sdp.is_some();
        request.set_body("application/sdp", sdp.unwrap_or_default())?;
        self.check_room(account)?;
        let key = (request.call_id.clone(), request.from_tag.clone());
        let dialog = Dialog {
            call_id: request.call_id.clone(),
            local: request.from.clone(),
            local_tag: request.from_tag.clone(),
            remote: request.to.clone(),
            remote_tag: None,
            local_cseq: request.cseq,
            remote_cseq: None,
            routes: request.routes.clone(),
            target: request.uri.clone(),
            contact: request.contact.clone().unwrap_or_default(),
            ident: request.ident.clone(),
            is_uas: false,
        };
        let client = self.send(Purpose::Nobody, request)?;
        let phase = Phase::Calling {
            client,
            deadline: now_ms + self.config.ring_ms_max,
            cancelled: false,
            orphaned: false,
            has_offer,
        };
        let id = self.add_call(account, dialog, phase)?;
        if let Some(client) = self.clients.get_mut(&client) {
            client.purpose = Purpose::Invite(id);
        }
        self.dialogs.insert(key, id);
        self.arm(id);
        Ok(id)
    }

    /// The answer to an offer that came in a 2xx ([`UaEvent::Accepted`] or [`UaEvent::ReinviteAccepted`] with
    /// `needs_answer`): sends the ACK with it.
    ///
    /// # Errors
    /// [`UaError::State`] if none is wanted.
    pub fn answer(&mut self, now_ms: u64, id: CallId, sdp: Vec<u8>) -> Result<(), UaError> {
        let call = self.calls.get_mut(id).ok_or(UaError::NoCall)?;
        let (client, branch, cseq) = match (&call.phase, &call.offer) {
            (Phase::AnswerPending { client, branch, cseq, .. }, _)
            | (Phase::Established, Offer::AnswerPending { client, branch, cseq, .. }) => {
                (*client, branch.clone(), *cseq)
            }
            _ => return Err(UaError::State(call.state_name())),
        };
        call.phase = Phase::Established;
        call.offer = Offer::None;
        self.acknowledge(now_ms, id, client, &branch, cseq, sdp)?;
        self.arm(id);
        Ok(())
    }

    /// Room for one more call of an account.
    pub(super) fn check_room(&mut self, account: AccountId) -> Result<(), UaError> {
        let calls = self.accounts.get(account).ok_or(UaError::NoAccount)?.calls;
        let limit = if self.calls.is_full() {
            "calls"
        } else if calls >= self.config.account_calls_max {
            "calls of the account"
        } else {
            return Ok(());
        };
        self.counters.limits += 1;
        Err(UaError::Limit(limit))
    }

    /// Adds a call; there is room, [`UserAgent::check_room`] has said so.
    pub(super) fn add_call(
        &mut self,
        account: AccountId,
        dialog: Dialog,
        phase: Phase,
    ) -> Result<CallId, UaError> {
        let call = Call {
            account,
            dialog,
            phase,
            offer: Offer::None,
            later: None,
            forks: Vec::new(),
            rseq: 0,
            invite_auth: Vec::new(),
            session: None,
            wake_at: None,
        };
        let id = self.calls.insert(call).map_err(|_| UaError::Limit("calls"))?;
        self.counters.calls += 1;
        if let Some(account) = self.accounts.get_mut(account) {
            account.calls += 1;
        }
        Ok(id)
    }

    pub(super) fn invite_answered(&mut self, now_ms: u64, id: CallId, answered: Answered) {
        let Some(Phase::Calling { cancelled, has_offer, .. }) = self.calls.get(id).map(|call| &call.phase)
        else {
            self.nobody_answered(now_ms, answered);
            return;
        };
        let (cancelled, has_offer) = (*cancelled, *has_offer);
        match answered.status {
            ..200 => self.provisional(id, answered, cancelled),
            200..300 => self.accepted(now_ms, id, answered, cancelled, has_offer),
            status => self.invite_refused(now_ms, id, answered, status, cancelled),
        }
    }

    fn provisional(&mut self, id: CallId, mut answered: Answered, cancelled: bool) {
        let Some(message) = &answered.message else { return };
        let tag = message.to.tag().map(str::to_owned);
        let sdp = answered.sdp();
        if let Some(tag) = &tag {
            if !self.early_dialog(id, tag, answered.id, message) {
                return;
            }
            if message.headers.has_token("Require", "100rel") && !self.send_prack(id, tag, message) {
                return; // A repetition.
            }
        }
        if answered.status > 100 && !cancelled {
            let (code, reason, details) = (answered.status, answered.reason(), answered.details());
            self.events.push_back(UaEvent::Provisional { call: id, code, reason, sdp, to_tag: tag, details });
        }
    }

    /// Finds or makes the early dialog of a provisional answer; false if there are too many.
    fn early_dialog(&mut self, id: CallId, tag: &str, client: ClientId, message: &Message) -> bool {
        let Some(call) = self.calls.get_mut(id) else { return false };
        match &call.dialog.remote_tag {
            None => {
                call.dialog.remote_tag = Some(tag.to_owned());
                call.dialog.confirm(message);
                return true;
            }
            Some(known) if known == tag => return true,
            Some(_) if call.forks.iter().any(|fork| fork.dialog.remote_tag.as_deref() == Some(tag)) => {
                return true;
            }
            Some(_) => {}
        }
        let Some(root) = self.clients.get(&client).cloned() else { return false };
        if call.forks.len() >= FORKS_MAX || self.clients.len() >= self.config.clients_max {
            self.counters.limits += 1;
            return false;
        }
        // Told before its 2xx can come, or the stack would answer that with ACK and BYE.
        self.next_client += 1;
        let fork = ClientId(self.next_client);
        let dialog = Dialog::from_response(&root.request, message);
        call.forks.push(Fork { client: fork, dialog, rseq: 0 });
        self.out.push_back(ToSip::Fork { id: client, fork, to_tag: tag.to_owned() });
        self.clients.insert(fork, root);
        true
    }

    /// PRACK for a reliable provisional answer (RFC 3262 §4); false if it is a repetition or out of order.
    fn send_prack(&mut self, id: CallId, tag: &str, message: &Message) -> bool {
        let Ok(Some(rseq)) = message.number("RSeq") else { return true };
        let Some(call) = self.calls.get_mut(id) else { return false };
        let auth = call.invite_auth.clone();
        let user_agent = self.config.user_agent.clone();
        let (dialog, last) = match call.forks.iter_mut().find(|f| f.dialog.remote_tag.as_deref() == Some(tag))
        {
            Some(fork) => (&mut fork.dialog, &mut fork.rseq),
            None => (&mut call.dialog, &mut call.rseq),
        };
        if *last != 0 && rseq != last.wrapping_add(1) {
            return false;
        }
        *last = rseq;
        let mut prack = dialog.request(Method::Prack, None, &user_agent);
        prack.headers.push("RAck", RAck { rseq, cseq: message.cseq.clone() }.to_string());
        prack.auth = auth;
        // If it cannot be sent, the peer repeats and then ends the call itself.
        let _ = self.send(Purpose::Prack(id), prack);
        true
    }

    fn accepted(
        &mut self,
        now_ms: u64,
        id: CallId,
        mut answered: Answered,
        cancelled: bool,
        has_offer: bool,
    ) {
        let (Some(message), Some(client)) = (&answered.message, self.clients.get(&answered.id)) else {
            self.end(now_ms, id, End::local(500, "Unreadable Answer"));
            return;
        };
        let request = client.request.clone();
        let Some(call) = self.calls.get_mut(id) else { return };
        let tag = message.to.tag();
        if let Some(at) = call.forks.iter().position(|fork| fork.dialog.remote_tag.as_deref() == tag) {
            let fork = call.forks.swap_remove(at);
            call.dialog = fork.dialog;
            call.dialog.confirm(message);
        } else if call.dialog.remote_tag.is_none() || call.dialog.remote_tag.as_deref() == tag {
            call.dialog.remote_tag = tag.map(str::to_owned);
            call.dialog.confirm(message);
        } else {
            let local_cseq = call.dialog.local_cseq;
            call.dialog = Dialog::from_response(&request, message);
            call.dialog.local_cseq = local_cseq.max(request.cseq);
        }
        call.invite_auth = request.auth.clone();
        // Other forks may be answered as well: ACK and BYE.
        let root = match call.phase {
            Phase::Calling { client, .. } if client != answered.id => Some(client),
            _ => None,
        };
        let losers: Vec<ClientId> =
            call.forks.drain(..).map(|fork| fork.client).filter(|c| *c != answered.id).chain(root).collect();
        for client in losers {
            self.release_later(now_ms, client);
        }
        let Some(call) = self.calls.get_mut(id) else { return };
        let sdp = answered.sdp();
        if cancelled {
            // The 2xx crossed our CANCEL (RFC 3261 §9.1).
            call.phase = Phase::Established;
            let _ = self.acknowledge(now_ms, id, answered.id, &answered.branch, request.cseq, Vec::new());
            self.send_bye(now_ms, id, &[]);
            return;
        }
        let needs_answer = !has_offer && sdp.is_some();
        if needs_answer {
            call.phase = Phase::AnswerPending {
                client: answered.id,
                branch: answered.branch.clone(),
                cseq: request.cseq,
                deadline: now_ms + u64::from(self.config.sip.t1_ms) * 64,
            };
        } else {
            call.phase = Phase::Established;
            let _ = self.acknowledge(now_ms, id, answered.id, &answered.branch, request.cseq, Vec::new());
        }
        self.arm(id);
        let details = answered.details();
        self.events.push_back(UaEvent::Accepted { call: id, sdp, needs_answer, details });
    }

    /// Sends the ACK to a 2xx of an INVITE of ours in the call's dialog.
    pub(super) fn acknowledge(
        &mut self,
        now_ms: u64,
        id: CallId,
        client: ClientId,
        branch: &str,
        cseq: u32,
        sdp: Vec<u8>,
    ) -> Result<(), UaError> {
        let user_agent = self.config.user_agent.clone();
        let call = self.calls.get_mut(id).ok_or(UaError::NoCall)?;
        let mut ack = call.dialog.request(Method::Ack, Some(cseq), &user_agent);
        ack.auth = call.invite_auth.clone();
        ack.set_body("application/sdp", sdp)?;
        self.send_ack(client, branch, &ack);
        self.release_later(now_ms, client);
        Ok(())
    }

    fn invite_refused(
        &mut self,
        now_ms: u64,
        id: CallId,
        mut answered: Answered,
        status: u16,
        cancelled: bool,
    ) {
        let Some(call) = self.calls.get(id) else { return };
        let account = call.account;
        let mut wrong = false;
        if matches!(status, 401 | 407) && !cancelled {
            match self.authorize(account, &answered) {
                Authorization::Again(new) => {
                    let auth = self.clients.get(&new).map(|client| client.request.auth.clone());
                    let forks = self.calls.get_mut(id).map(|call| {
                        if let Phase::Calling { client, .. } = &mut call.phase {
                            *client = new;
                        }
                        call.invite_auth = auth.unwrap_or_default();
                        // Dialogs of the refused INVITE are over (RFC 3261 §12.3).
                        call.dialog.remote_tag = None;
                        call.rseq = 0;
                        std::mem::take(&mut call.forks)
                    });
                    for fork in forks.into_iter().flatten() {
                        self.release(fork.client);
                    }
                    return;
                }
                Authorization::Wrong => wrong = true,
                Authorization::NotOurs => {}
            }
        }
        self.release(answered.id);
        let reason = if wrong { super::NO_MATCHING_CHALLENGE.to_owned() } else { answered.reason() };
        let contacts = match &answered.message {
            Some(message) if (300..400).contains(&status) => message.contacts().unwrap_or_default(),
            _ => Vec::new(),
        };
        let end = End {
            code: if wrong { 904 } else { status },
            reason,
            detail_code: status,
            internal: answered.internal,
            reason_header: answered.message.as_ref().and_then(super::uas::reason_of),
            contacts: contacts.iter().map(|contact| contact.to_string()).collect(),
            details: answered.details(),
        };
        self.end(now_ms, id, end);
    }

    /// Gives an INVITE up: CANCEL, whose 487 ends the call.
    pub(super) fn cancel(&mut self, now_ms: u64, id: CallId, extra: Extra<'_>) -> Result<(), UaError> {
        let mut headers = Headers::default();
        add_to_request(&mut headers, extra)?;
        let until = now_ms + self.transaction_ms();
        let call = self.calls.get_mut(id).ok_or(UaError::NoCall)?;
        let Phase::Calling { client, deadline, cancelled, orphaned, .. } = &mut call.phase else {
            return Err(UaError::State(call.state_name()));
        };
        let (client, again) = (*client, std::mem::replace(cancelled, true));
        *deadline = until;
        let orphaned = *orphaned;
        if !again && !orphaned {
            let mut lines = Vec::new();
            headers.write(&mut lines);
            self.out.push_back(ToSip::Cancel { id: client, headers: lines });
        }
        self.arm(id);
        Ok(())
    }
}

/// Parses the target of a request of the application.
pub(super) fn parse_target(target: &str) -> Result<Uri, UaError> {
    Uri::parse(target.trim()).map_err(|kind| UaError::Malformed(ParseError::new("Request-URI", kind)))
}
