//! Offers inside a session: re-INVITE in both directions, UPDATE from the peer (RFC 3261 §14, RFC 3311).

use bifrons_sip_protocol::ServerId;

use super::agent::{Answered, Client, Purpose, Received, UserAgent, sdp_of};
use super::arena::CallId;
use super::auth::Authorization;
use super::call::{Answer, GLARE_TRIES_MAX, Offer, Phase, Retry, Serving};
use super::error::UaError;
use super::event::{Details, UaEvent};
use super::request::{Extra, add_to_answer, add_to_request};
use super::status;
use super::uas::End;
use crate::message::{Headers, Method};

impl UserAgent {
    /// Sends a re-INVITE with an offer, or (`None`) asking for one. [`UaEvent::ReinviteAccepted`] or
    /// [`UaEvent::ReinviteFailed`] follows; a collision with the peer's (491) is tried again.
    ///
    /// # Errors
    /// [`UaError::State`] outside a session, or while another offer is open in either direction.
    pub fn reinvite(
        &mut self,
        now_ms: u64,
        id: CallId,
        sdp: Option<Vec<u8>>,
        headers: Extra<'_>,
    ) -> Result<(), UaError> {
        add_to_request(&mut Headers::default(), headers)?;
        let call = self.calls.get(id).ok_or(UaError::NoCall)?;
        match (&call.phase, &call.offer) {
            (Phase::Established, Offer::None) if call.later.is_none() => {}
            (Phase::Established, Offer::Received { .. } | Offer::Answered { .. }) => {
                return Err(UaError::State("reinvited"));
            }
            (Phase::Established, _) => return Err(UaError::State("reinviting")),
            _ => return Err(UaError::State(call.state_name())),
        }
        self.send_reinvite(now_ms, id, Retry { sdp, headers: headers.to_vec(), tries: 0 })
    }

    fn send_reinvite(&mut self, now_ms: u64, id: CallId, try_: Retry) -> Result<(), UaError> {
        let call = self.calls.get_mut(id).ok_or(UaError::NoCall)?;
        let (account, user_agent) = (call.account, self.config.user_agent.clone());
        let mut request = call.dialog.request(Method::Invite, None, &user_agent);
        request.user_agent = self.user_agent_of(account);
        request.headers.push("Allow", super::ALLOW);
        request.headers.push("Supported", "replaces");
        add_to_request(&mut request.headers, &try_.headers)?;
        request.set_body("application/sdp", try_.sdp.clone().unwrap_or_default())?;
        let client = self.send(Purpose::Reinvite(id), request)?;
        let deadline = now_ms + self.config.ring_ms_max;
        if let Some(call) = self.calls.get_mut(id) {
            call.offer = Offer::Sent { client, try_, deadline };
        }
        self.arm(id);
        Ok(())
    }

    pub(super) fn reinvite_answered(&mut self, now_ms: u64, id: CallId, mut answered: Answered) {
        if answered.status < 200 {
            return;
        }
        let user_agent = self.config.user_agent.clone();
        let Some(request) = self.clients.get(&answered.id).map(|client| client.request.clone()) else {
            return;
        };
        let Some(call) = self.calls.get_mut(id) else {
            self.release(answered.id);
            return;
        };
        let (try_, deadline) = match &call.offer {
            Offer::Sent { client, try_, deadline } if *client == answered.id => (try_.clone(), *deadline),
            _ => {
                self.nobody_answered(now_ms, answered);
                return;
            }
        };
        if answered.status < 300 {
            if let Some(message) = &answered.message {
                call.dialog.refresh_target(message);
            }
            call.invite_auth = request.auth.clone();
            let sdp = answered.sdp();
            let needs_answer = try_.sdp.is_none() && sdp.is_some();
            if needs_answer {
                let (client, branch, deadline) =
                    (answered.id, answered.branch.clone(), now_ms + u64::from(self.config.sip.t1_ms) * 64);
                call.offer = Offer::AnswerPending { client, branch, cseq: request.cseq, deadline };
            } else {
                call.offer = Offer::None;
                let mut ack = call.dialog.request(Method::Ack, Some(request.cseq), &user_agent);
                ack.auth = request.auth.clone();
                self.send_ack(answered.id, &answered.branch, &ack);
                self.release_later(now_ms, answered.id);
            }
            self.arm(id);
            let details = answered.details();
            self.events.push_back(UaEvent::ReinviteAccepted { call: id, sdp, needs_answer, details });
            return;
        }
        let (account, is_uas) = (call.account, call.dialog.is_uas);
        match answered.status {
            401 | 407 => {
                if let Authorization::Again(client) = self.authorize(account, &answered) {
                    if let Some(call) = self.calls.get_mut(id) {
                        call.offer = Offer::Sent { client, try_, deadline };
                    }
                    return;
                }
            }
            491 if try_.tries < GLARE_TRIES_MAX => {
                // RFC 3261 §14.1: the owner of the Call-ID waits 2.1 to 4 s, the other up to 2 s.
                let wait =
                    if is_uas { self.random.below(201) * 10 } else { 2_100 + self.random.below(191) * 10 };
                self.release(answered.id);
                if let Some(call) = self.calls.get_mut(id) {
                    call.offer = Offer::None;
                    call.later = Some((now_ms + wait, Retry { tries: try_.tries + 1, ..try_ }));
                }
                self.arm(id);
                return;
            }
            _ => {}
        }
        self.release(answered.id);
        if let Some(call) = self.calls.get_mut(id) {
            call.offer = Offer::None;
        }
        let (code, reason, details) = (answered.status, answered.reason(), answered.details());
        if Client::ends_dialog(code) {
            let mut end = End::by(code, &reason, answered.message.as_ref(), details);
            end.internal = answered.internal;
            self.bye_and_end(now_ms, id, end, "");
            return;
        }
        self.arm(id);
        self.events.push_back(UaEvent::ReinviteFailed { call: id, code, reason, details });
    }

    /// A re-INVITE or UPDATE of the peer.
    pub(super) fn offer_received(&mut self, now_ms: u64, id: CallId, received: Received<'_>) {
        let Received { server, origin, request, parts } = received;
        let method = request.cseq.method.clone();
        let is_update = method == Method::Update;
        let sdp = sdp_of(&request);
        if !request.body.is_empty() && sdp.is_none() {
            self.respond_in(id, server, 415, &[("Accept", "application/sdp")]);
            return;
        }
        let life = self.life;
        let Some(call) = self.calls.get_mut(id) else { return };
        // Its repetition after the SIP process died.
        if let Offer::Received { server: serving, .. } | Offer::Answered { server: serving, .. } =
            &mut call.offer
            && serving.life != life
            && serving.cseq == request.cseq.number
        {
            *serving = Serving { id: server, life, cseq: serving.cseq };
            let (tag, again) = (call.dialog.local_tag.clone(), call.offer.last_answer());
            self.servers.insert(server, id);
            if let Some(answer) = again {
                self.respond(server, &tag, answer, None);
            }
            return;
        }
        if !call.dialog.take_cseq(request.cseq.number) {
            self.respond_in(id, server, 500, &[]);
            return;
        }
        let in_session = call.is_established()
            || matches!(call.phase, Phase::Answered { .. }) && is_update && sdp.is_none();
        let early_refresh = is_update && sdp.is_none();
        let refused = match (&call.phase, &call.offer) {
            _ if early_refresh => None,
            (Phase::Ending { .. }, _) => Some(481),
            // Both at once: one of us tries again (RFC 3261 §14.2, RFC 3311 §5.2).
            (_, Offer::Sent { .. } | Offer::AnswerPending { .. }) => Some(491),
            (_, Offer::Received { .. } | Offer::Answered { .. }) => Some(500),
            (Phase::Calling { .. } | Phase::AnswerPending { .. }, _) => Some(491),
            _ if !in_session => Some(500),
            _ => None,
        };
        if let Some(status) = refused {
            let wait = self.random.below(11).to_string();
            let retry = [("Retry-After", wait.as_str())];
            self.respond_in(id, server, status, if status == 500 { &retry } else { &[] });
            return;
        }
        let session = match self.session_timer(now_ms, &request) {
            Ok(session) => session,
            Err(()) => {
                self.respond_in(id, server, 422, &[("Min-SE", "90")]);
                return;
            }
        };
        let Some(call) = self.calls.get_mut(id) else { return };
        call.dialog.refresh_target(&request);
        if call.is_established() && (session.is_some() || call.session.is_some()) {
            call.session = session;
        }
        if is_update && sdp.is_none() {
            // A refresh without offer (RFC 4028 §7.4): nothing for the application.
            let answer = self.session_answer(id, Vec::new());
            let tag = self.calls.get(id).map(|call| call.dialog.local_tag.clone()).unwrap_or_default();
            self.respond(server, &tag, answer, None);
            self.arm(id);
            return;
        }
        let cseq = request.cseq.number;
        let deadline =
            now_ms + u64::from(self.config.sip.t1_ms) * 64 - 1_000.min(u64::from(self.config.sip.t1_ms));
        call.offer = Offer::Received { server: Serving { id: server, life, cseq }, method, deadline };
        self.servers.insert(server, id);
        self.arm(id);
        let details = Details::of(&request, Some(origin.source), parts);
        self.events.push_back(UaEvent::ReinviteReceived { call: id, sdp, from: request.from, details });
    }

    /// 200 to a re-INVITE or UPDATE.
    fn session_answer(&self, id: CallId, sdp: Vec<u8>) -> Answer {
        let mut headers = Headers::default();
        if let Some(call) = self.calls.get(id) {
            headers.push("Contact", &call.dialog.contact);
            headers.push("Allow", super::ALLOW);
            headers.push("Supported", "replaces, timer");
            if let Some(session) = call.session {
                headers.push("Session-Expires", format!("{};refresher=uac", session.interval_ms / 1_000));
                headers.push("Require", "timer");
            }
            headers.push("Server", self.user_agent_of(call.account));
        }
        if !sdp.is_empty() {
            headers.push("Content-Type", "application/sdp");
        }
        Answer { status: 200, reason: status::phrase(200).to_owned(), headers, body: sdp }
    }

    /// Accepts the peer's re-INVITE or UPDATE with the answer, or with an offer if it had none.
    ///
    /// # Errors
    /// [`UaError::State`] if none waits.
    pub fn answer_reinvite(
        &mut self,
        now_ms: u64,
        id: CallId,
        sdp: Vec<u8>,
        headers: Extra<'_>,
    ) -> Result<(), UaError> {
        let mut answer = self.session_answer(id, sdp);
        add_to_answer(&mut answer.headers, headers)?;
        let until = now_ms + self.transaction_ms() + 2_000;
        let call = self.calls.get_mut(id).ok_or(UaError::NoCall)?;
        let Offer::Received { server, method, .. } = &call.offer else {
            return Err(UaError::State("not reinvited"));
        };
        let (server, is_invite) = (*server, *method == Method::Invite);
        call.offer = if is_invite {
            Offer::Answered { server, last: answer.clone(), deadline: until }
        } else {
            self.servers.remove(&server.id);
            Offer::None
        };
        let tag = call.dialog.local_tag.clone();
        self.respond(server.id, &tag, answer, None);
        self.arm(id);
        Ok(())
    }

    /// Refuses the peer's re-INVITE or UPDATE (300 to 699); the session stays as it was.
    ///
    /// # Errors
    /// [`UaError::State`] if none waits, or for another status.
    pub fn reject_reinvite(
        &mut self,
        _now_ms: u64,
        id: CallId,
        code: u16,
        headers: Extra<'_>,
    ) -> Result<(), UaError> {
        let mut all = Headers::default();
        add_to_answer(&mut all, headers)?;
        let call = self.calls.get_mut(id).ok_or(UaError::NoCall)?;
        let Offer::Received { server, .. } = call.offer else { return Err(UaError::State("not reinvited")) };
        if !(300..700).contains(&code) {
            return Err(UaError::State("not a refusal"));
        }
        call.offer = Offer::None;
        let tag = call.dialog.local_tag.clone();
        self.servers.remove(&server.id);
        let answer =
            Answer { status: code, reason: status::phrase(code).to_owned(), headers: all, body: Vec::new() };
        self.respond(server.id, &tag, answer, None);
        self.arm(id);
        Ok(())
    }

    /// Answers a request in a dialog with a bare status.
    pub(super) fn respond_in(&mut self, id: CallId, server: ServerId, code: u16, headers: &[(&str, &str)]) {
        let tag = self.calls.get(id).map(|call| call.dialog.local_tag.clone()).unwrap_or_default();
        let mut all = Headers::default();
        for (name, value) in headers {
            all.push(*name, *value);
        }
        let answer =
            Answer { status: code, reason: status::phrase(code).to_owned(), headers: all, body: Vec::new() };
        self.respond(server, &tag, answer, None);
    }

    pub(super) fn offer_timeout(&mut self, now_ms: u64, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if let Some((at, try_)) = call.later.take_if(|(at, _)| *at <= now_ms) {
            if !matches!(call.offer, Offer::None) {
                // The peer's is being answered.
                call.later = Some((at.max(now_ms) + 1_000, try_));
            } else if self.send_reinvite(now_ms, id, try_).is_err() {
                let (reason, details) = (status::phrase(503).to_owned(), Details::default());
                self.events.push_back(UaEvent::ReinviteFailed { call: id, code: 503, reason, details });
            }
        }
        let Some(call) = self.calls.get_mut(id) else { return };
        match &call.offer {
            Offer::Sent { client, deadline, .. } if *deadline <= now_ms => {
                let client = *client;
                call.offer = Offer::None;
                self.give_up(now_ms, client);
                let (reason, details) = (status::phrase(408).to_owned(), Details::default());
                self.events.push_back(UaEvent::ReinviteFailed { call: id, code: 408, reason, details });
            }
            Offer::AnswerPending { client, branch, cseq, deadline } if *deadline <= now_ms => {
                // The application did not answer: without an answer there is no session (RFC 3261 §13.2.2.4).
                let (client, branch, cseq) = (*client, branch.clone(), *cseq);
                call.offer = Offer::None;
                let _ = self.acknowledge(now_ms, id, client, &branch, cseq, Vec::new());
                let reason = ("Reason".to_owned(), "SIP;cause=488;text=\"No answer to offer\"".to_owned());
                self.send_bye(now_ms, id, &[reason]);
            }
            Offer::Received { deadline, .. } if *deadline <= now_ms => {
                let _ = self.reject_reinvite(now_ms, id, 480, &[]);
                self.events.push_back(UaEvent::ReinviteCancelled { call: id });
            }
            Offer::Answered { deadline, server, .. } if *deadline <= now_ms => {
                self.servers.remove(&server.id);
                let lost = server.life == self.life;
                call.offer = Offer::None;
                if lost {
                    let end = End::local(408, "ACK Timeout");
                    self.bye_and_end(now_ms, id, end, "SIP;cause=408;text=\"ACK Timeout\"");
                }
            }
            _ => {}
        }
    }
}

impl Offer {
    fn last_answer(&self) -> Option<Answer> {
        match self {
            Offer::Answered { last, .. } => Some(last.clone()),
            _ => None,
        }
    }
}
