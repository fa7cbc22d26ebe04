//! What the user agent tells, as events of the API.

use bifrons_api::plugin::{HandleKey, Jsep, JsepType, PluginCx};
use bifrons_sip_ua::message::{NameAddr, Reason};
use bifrons_sip_ua::ua::{AccountId, CallId, Details, UaEvent};
use serde_json::{Value, json};

use super::handle::{Call, Registration, Reinvite, Status};
use super::{Sip, headers, now_ms};
use crate::plain::{PlainError, SrtpPolicy};

/// Retry-After of calls that are refused for the load: it is measured anew each second.
const BUSY_RETRY_S: &str = "5";

/// An event object that grows.
struct Event(Value);

impl Event {
    fn new(name: &str) -> Self {
        Self(json!({"event": name}))
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0[name] = value.into();
        self
    }

    fn maybe<T: Into<Value>>(self, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// An incoming INVITE, taken apart.
struct Incoming {
    from: NameAddr,
    callee: String,
    sdp: Option<Vec<u8>>,
    referred_by: Option<String>,
    replaces: Option<String>,
    details: Details,
}

impl Sip {
    pub(super) fn event(&mut self, cx: &mut PluginCx<'_>, event: UaEvent) {
        match event {
            UaEvent::Registered { account, details, .. } => self.registered(cx, account, &details),
            UaEvent::RegistrationFailed { account, code, reason, details, .. } => {
                self.registration_failed(cx, account, code, &reason, &details);
            }
            UaEvent::Unregistered { account, details } => self.unregistered(cx, account, &details),
            UaEvent::Incoming {
                call,
                account,
                from,
                to,
                call_id,
                sdp,
                referred_by,
                replaces,
                details,
                ..
            } => {
                let replaces = replaces.map(|replaces| replaces.call_id);
                let callee = to.uri.to_string();
                let incoming = Incoming { from, callee, sdp, referred_by, replaces, details };
                self.incoming(cx, call, account, call_id, incoming);
            }
            UaEvent::Provisional { call, code, sdp, details, .. } => {
                self.provisional(cx, call, code, sdp, &details)
            }
            UaEvent::Accepted { call, sdp, details, .. } => self.accepted(cx, call, sdp, &details),
            UaEvent::Acknowledged { call, sdp, details } => self.acknowledged(cx, call, sdp, &details),
            UaEvent::ReinviteReceived { call, sdp, from, details } => {
                self.reinvited(cx, call, sdp, &from, &details)
            }
            UaEvent::ReinviteAccepted { call, sdp, details, .. } => {
                self.reinvite_accepted(cx, call, sdp, &details)
            }
            UaEvent::ReinviteFailed { call, code, reason, .. } => {
                self.reinvite_failed(cx, call, code, &reason)
            }
            UaEvent::ReinviteCancelled { call } => {
                if let Some((_, own)) = self.call_mut(call).filter(|(_, own)| own.status == Status::Reinvited)
                {
                    own.status = Status::Incall;
                }
            }
            UaEvent::Ended { call, code, reason, reason_header, details, .. } => {
                self.ended(cx, call, code, &reason, reason_header.as_ref(), &details);
            }
            UaEvent::Info { call, from, content_type, content, details } => {
                let Some(key) = self.calls.get(&call).copied() else { return };
                let event = sender(Event::new("info"), &from)
                    .with("type", content_type)
                    .with("content", String::from_utf8_lossy(&content).into_owned());
                self.tell(cx, key, None, event, &details, None);
            }
            UaEvent::Message { account, call, from, content_type, content, details, .. } => {
                let owner =
                    call.and_then(|call| self.calls.get(&call)).or_else(|| self.accounts.get(&account));
                let Some(key) = owner.copied() else { return };
                let event = sender(Event::new("message"), &from)
                    .with("content", String::from_utf8_lossy(&content).into_owned())
                    .with("content_type", content_type);
                self.tell(cx, key, None, event, &details, None);
            }
            UaEvent::Refer { refer, account, call, .. } => {
                tracing::info!(?account, ?call, "a transfer was declined: following one comes later");
                if let Err(error) = self.ua.refer_progress(now_ms(cx), refer, 603, "Decline") {
                    tracing::debug!(%error, "the transfer ended meanwhile");
                }
            }
            UaEvent::Notify { account, call, call_id, event, state, content_type, content, details } => {
                let owner =
                    call.and_then(|call| self.calls.get(&call)).or_else(|| self.accounts.get(&account));
                let Some(key) = owner.copied() else { return };
                let event = Event::new("notify")
                    .with("notify", event)
                    .with("substate", state)
                    .with("content-type", content_type)
                    .with("content", String::from_utf8_lossy(&content).into_owned());
                self.tell(cx, key, Some(&call_id), event, &details, None);
            }
            UaEvent::Answered { request, method, call_id, code, reason, details, .. } => {
                self.answered(cx, request, &method, &call_id, code, &reason, &details);
            }
            UaEvent::Listening { ident, address } => tracing::debug!(%ident, %address, "SIP is listened on"),
            UaEvent::Trouble { detail } => tracing::warn!("SIP: {detail}"),
            UaEvent::Passed(message) => tracing::debug!(?message, "from bifrons-sip"),
        }
    }

    fn call_mut(&mut self, id: CallId) -> Option<(HandleKey, &mut Call)> {
        let key = *self.calls.get(&id)?;
        let call = self.handles.get_mut(&key)?.call.as_mut().filter(|call| call.id == id)?;
        Some((key, call))
    }

    /// Sends an event caused by SIP: with the transaction of the last `call`, and the headers that the
    /// account asked for.
    fn tell(
        &self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        call_id: Option<&str>,
        event: Event,
        details: &Details,
        jsep: Option<Jsep>,
    ) {
        let Some(handle) = self.handles.get(&key) else { return };
        let event = event.maybe("headers", headers::reported(details, &handle.prefixes));
        let own_call_id = handle.call_id();
        let call_id = call_id.or(own_call_id.as_deref());
        self.push(cx, key, handle.transaction().as_deref(), call_id, event.0, jsep);
    }

    fn registered(&mut self, cx: &mut PluginCx<'_>, account: AccountId, details: &Details) {
        let Some(key) = self.accounts.get(&account).copied() else { return };
        let Some(handle) = self.handles.get_mut(&key) else { return };
        handle.registration = Registration::Registered;
        let event = Event::new("registered")
            .with("username", handle.username.clone())
            .with("register_sent", true)
            .with("master_id", handle.master_id)
            .maybe("headers", headers::reported(details, &handle.prefixes));
        let data = json!({"sip": "event", "unique_id": handle.unique_id, "result": event.0});
        let (transaction, told) =
            (handle.transaction(), json!({"event": "registered", "identity": handle.identity}));
        cx.push_event(key, transaction.as_deref(), data, None);
        cx.notify_event(Some(key), told);
    }

    fn registration_failed(
        &mut self,
        cx: &mut PluginCx<'_>,
        account: AccountId,
        code: u16,
        reason: &str,
        details: &Details,
    ) {
        let Some(key) = self.accounts.get(&account).copied() else { return };
        let Some(handle) = self.handles.get(&key) else { return };
        let event = Event::new("registration_failed")
            .with("code", code)
            .with("reason", reason)
            .maybe("headers", headers::reported(details, &handle.prefixes));
        let transaction = handle.transaction();
        self.push(cx, key, transaction.as_deref(), None, event.0, None);
        cx.notify_event(Some(key), json!({"event": "registration_failed", "code": code, "reason": reason}));
        // A call that runs keeps its account until it ends.
        match self.handles.get_mut(&key) {
            Some(handle) if handle.call.is_some() => handle.registration = Registration::Unregistered,
            _ => self.drop_account(cx, key),
        }
    }

    fn unregistered(&mut self, cx: &mut PluginCx<'_>, account: AccountId, details: &Details) {
        let Some(key) = self.accounts.get(&account).copied() else { return };
        let Some(handle) = self.handles.get(&key) else { return };
        let event = Event::new("unregistered")
            .with("username", handle.username.clone())
            .maybe("headers", headers::reported(details, &handle.prefixes));
        let data = json!({"sip": "event", "unique_id": handle.unique_id, "result": event.0});
        let (transaction, identity) = (handle.transaction(), handle.identity.clone());
        cx.push_event(key, transaction.as_deref(), data, None);
        cx.notify_event(Some(key), json!({"event": "unregistered", "identity": identity}));
        self.drop_account(cx, key);
    }

    fn incoming(
        &mut self,
        cx: &mut PluginCx<'_>,
        id: CallId,
        account: AccountId,
        call_id: String,
        incoming: Incoming,
    ) {
        let now = now_ms(cx);
        let Some(key) = self.accounts.get(&account).copied() else {
            let _ = self.ua.reject(now, id, 404, "", &[]);
            return;
        };
        let Some(handle) = self.handles.get(&key) else { return };
        // Before anybody's telephone rings. It passes, so the peer may try again, or elsewhere.
        if let Err(error) = cx.media.admission() {
            tracing::debug!(%error, "an INVITE was refused");
            let _ = self.ua.reject(now, id, 503, "", &[("Retry-After".into(), BUSY_RETRY_S.into())]);
            return;
        }
        let caller = incoming.from.uri.to_string();
        if handle.call.is_some() {
            let _ = self.ua.reject(now, id, 486, "", &[]);
            let event = Event::new("missed_call")
                .with("caller", caller.clone())
                .maybe("displayname", incoming.from.display.clone())
                .with("callee", incoming.callee.clone());
            cx.notify_event(
                Some(key),
                json!({"event": "missed_call", "caller": caller, "callee": incoming.callee}),
            );
            self.tell(cx, key, Some(&call_id), event, &incoming.details, None);
            return;
        }
        let mut call = Call::new(id, call_id.clone(), Status::Invited, caller.clone(), self.plain.clone());
        let mut jsep = None;
        let mut srtp = SrtpPolicy::Follow;
        match incoming.sdp.as_deref().map(|sdp| call.plain.remote_offer(sdp)) {
            None => call.offerless = true,
            Some(Ok(offer)) => {
                srtp = offer.srtp;
                jsep = Some(Jsep::new(JsepType::Offer, offer.browser));
            }
            Some(Err(error)) => return self.refuse_offer(cx, key, id, &call_id, &error),
        }
        let srtp = match srtp {
            SrtpPolicy::Follow => None,
            SrtpPolicy::Optional => Some("sdes_optional"),
            SrtpPolicy::Mandatory => Some("sdes_mandatory"),
        };
        let event = Event::new("incomingcall")
            .with("username", caller.clone())
            .with("call_id", call_id.clone())
            .maybe("displayname", incoming.from.display.clone())
            .with("callee", incoming.callee.clone())
            .maybe("referred_by", incoming.referred_by)
            .maybe("replaces", incoming.replaces)
            .maybe("isfocus", incoming.details.isfocus.then_some(true))
            .maybe("srtp", srtp);
        self.calls.insert(id, key);
        let mut rings = true;
        if let Some(handle) = self.handles.get_mut(&key) {
            handle.last_callee = Some(caller.clone());
            handle.call = Some(call);
            rings = handle.automatic_ringing;
        }
        let told = json!({"event": "incomingcall", "call-id": call_id, "username": caller, "callee": incoming.callee});
        cx.notify_event(Some(key), told);
        self.tell(cx, key, None, event, &incoming.details, jsep);
        if rings && let Err(error) = self.ua.ring(now, id, &[]) {
            tracing::debug!(%error, "the caller gave up meanwhile");
        }
    }

    /// An offer that no browser could answer.
    fn refuse_offer(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        id: CallId,
        call_id: &str,
        error: &PlainError,
    ) {
        let (code, reason) = match error {
            PlainError::Parse(_) => (400, "Bad Session Description"),
            _ => (488, "Not Acceptable Here"),
        };
        tracing::info!(%error, code, "an INVITE was refused");
        let _ = self.ua.reject(now_ms(cx), id, code, reason, &[]);
        let event = json!({"event": "hangup", "code": code, "reason": reason});
        self.push(cx, key, None, Some(call_id), event, None);
    }

    fn provisional(
        &mut self,
        cx: &mut PluginCx<'_>,
        id: CallId,
        code: u16,
        sdp: Option<Vec<u8>>,
        details: &Details,
    ) {
        let Some((key, call)) = self.call_mut(id).filter(|(_, call)| call.status != Status::Closing) else {
            return;
        };
        let peer = call.peer.clone();
        match sdp.filter(|_| matches!(code, 180 | 183)) {
            Some(sdp) => {
                let mut jsep = None;
                if !call.answered {
                    match call.plain.remote_answer(cx, &sdp, call.policy) {
                        Ok(answer) => jsep = Some(Jsep::new(JsepType::Answer, answer)),
                        Err(error) => return self.unusable_answer(cx, key, &error),
                    }
                    call.answered = true;
                    call.status = Status::Incall;
                }
                let event = Event::new("progress")
                    .with("username", peer)
                    .maybe("isfocus", details.isfocus.then_some(true));
                self.tell(cx, key, None, event, details, jsep);
            }
            None if matches!(code, 180 | 183) => {
                self.tell(cx, key, None, Event::new("ringing"), details, None)
            }
            None => {}
        }
        let event = json!({"event": "proceeding", "code": code});
        let handle = self.handles.get(&key);
        let (transaction, call_id) =
            handle.map_or((None, None), |handle| (handle.transaction(), handle.call_id()));
        self.push(cx, key, transaction.as_deref(), call_id.as_deref(), event, None);
    }

    /// A session description of the peer that cannot be used ends the call with the cause.
    fn unusable_answer(&mut self, cx: &mut PluginCx<'_>, key: HandleKey, error: &PlainError) {
        tracing::info!(%error, "a call was ended: the peer's description cannot be used");
        self.end_call(cx, key, Some((488, error.to_string())));
    }

    fn accepted(&mut self, cx: &mut PluginCx<'_>, id: CallId, sdp: Option<Vec<u8>>, details: &Details) {
        let Some((key, call)) = self.call_mut(id).filter(|(_, call)| call.status != Status::Closing) else {
            return;
        };
        let mut jsep = None;
        match (call.answered, sdp) {
            (false, None) => return self.end_call(cx, key, Some((488, "Incomplete offer/answer".into()))),
            (false, Some(sdp)) => match call.plain.remote_answer(cx, &sdp, call.policy) {
                Ok(answer) => jsep = Some(Jsep::new(JsepType::Answer, answer)),
                Err(error) => return self.unusable_answer(cx, key, &error),
            },
            // Early media gave the answer; another fork may have others addresses and keys.
            (true, Some(sdp)) => {
                if let Err(error) = call.plain.remote_reanswer(cx, &sdp) {
                    return self.unusable_answer(cx, key, &error);
                }
            }
            (true, None) => {}
        }
        call.answered = true;
        call.status = Status::Incall;
        let (peer, call_id) = (call.peer.clone(), call.call_id.clone());
        let event = Event::new("accepted")
            .with("username", peer.clone())
            .maybe("isfocus", details.isfocus.then_some(true));
        cx.notify_event(Some(key), json!({"event": "accepted", "call-id": call_id, "username": peer}));
        self.tell(cx, key, None, event, details, jsep);
        self.connect(cx, key);
    }

    fn acknowledged(&mut self, cx: &mut PluginCx<'_>, id: CallId, sdp: Option<Vec<u8>>, details: &Details) {
        let Some((key, call)) = self.call_mut(id).filter(|(_, call)| call.status != Status::Closing) else {
            return;
        };
        if !call.offerless {
            // The ACK of a re-INVITE that had no offer brings the answer to ours.
            if let Some(sdp) = sdp
                && let Err(error) = call.plain.remote_reanswer(cx, &sdp)
            {
                return self.unusable_answer(cx, key, &error);
            }
            return self.connect(cx, key);
        }
        call.offerless = false;
        let Some(sdp) = sdp else {
            return self.end_call(cx, key, Some((488, "No answer to offer".into())));
        };
        match call.plain.remote_answer(cx, &sdp, call.policy) {
            Ok(answer) => {
                let event = Event::new("accepted").with("username", call.peer.clone());
                let jsep = Jsep::new(JsepType::Answer, answer);
                self.tell(cx, key, None, event, details, Some(jsep));
                self.connect(cx, key);
            }
            Err(error) => self.unusable_answer(cx, key, &error),
        }
    }

    fn reinvited(
        &mut self,
        cx: &mut PluginCx<'_>,
        id: CallId,
        sdp: Option<Vec<u8>>,
        from: &NameAddr,
        details: &Details,
    ) {
        let now = now_ms(cx);
        let Some((key, call)) = self.call_mut(id) else { return };
        if call.autoaccept {
            let answer = match &sdp {
                Some(sdp) => call.plain.answer_reoffer(cx, sdp),
                None => call.plain.reoffer().ok_or(PlainError::NoOffer),
            };
            let done = match answer {
                Ok(answer) => self.ua.answer_reinvite(now, id, answer.into_bytes(), &[]),
                Err(error) => {
                    tracing::info!(%error, "a re-INVITE was refused");
                    self.ua.reject_reinvite(now, id, 488, &[])
                }
            };
            if let Err(error) = done {
                tracing::debug!(%error, "a re-INVITE that is over already");
            }
            return self.connect(cx, key);
        }
        let mut jsep = None;
        if let Some(sdp) = &sdp {
            match call.plain.remote_offer(sdp) {
                Ok(offer) => jsep = Some(Jsep { update: true, ..Jsep::new(JsepType::Offer, offer.browser) }),
                Err(error) => {
                    tracing::info!(%error, "a re-INVITE was refused");
                    let _ = self.ua.reject_reinvite(now, id, 488, &[]);
                    return;
                }
            }
        }
        call.status = Status::Reinvited;
        let call_id = call.call_id.clone();
        let event = Event::new("updatingcall")
            .with("username", from.uri.to_string())
            .with("call_id", call_id)
            .maybe("displayname", from.display.clone());
        self.tell(cx, key, None, event, details, jsep);
    }

    fn reinvite_accepted(
        &mut self,
        cx: &mut PluginCx<'_>,
        id: CallId,
        sdp: Option<Vec<u8>>,
        details: &Details,
    ) {
        let Some((key, call)) = self.call_mut(id) else { return };
        call.status = Status::Incall;
        let purpose = call.reinvite.take();
        let Some(sdp) = sdp else { return };
        if purpose == Some(Reinvite::Update) {
            match call.plain.remote_answer(cx, &sdp, call.policy) {
                Ok(answer) => {
                    let event = Event::new("accepted").with("username", call.peer.clone());
                    self.tell(cx, key, None, event, details, Some(Jsep::new(JsepType::Answer, answer)));
                }
                Err(error) => return self.unusable_answer(cx, key, &error),
            }
        } else if let Err(error) = call.plain.remote_reanswer(cx, &sdp) {
            return self.unusable_answer(cx, key, &error);
        }
        self.connect(cx, key);
    }

    /// The answer to an offer that the peer need not hear of, as if it had come from there.
    pub(super) fn tell_repeated(&mut self, cx: &mut PluginCx<'_>, key: HandleKey) {
        let Some(call) = self.handles.get_mut(&key).and_then(|handle| handle.call.as_mut()) else { return };
        if let Some(answer) = call.repeated.take() {
            let event = Event::new("accepted").with("username", call.peer.clone());
            self.tell(cx, key, None, event, &Details::default(), Some(Jsep::new(JsepType::Answer, answer)));
        }
    }

    /// Not in the original API: a re-INVITE that the peer refused is told, and a hold rolled back.
    fn reinvite_failed(&mut self, cx: &mut PluginCx<'_>, id: CallId, code: u16, reason: &str) {
        let Some((key, call)) = self.call_mut(id) else { return };
        call.status = Status::Incall;
        if let Some(Reinvite::Hold(before)) = call.reinvite.take() {
            call.plain.set_hold(before);
        }
        self.apply_gates(cx, key);
        let event = Event::new("updatefailed").with("code", code).with("reason", reason);
        self.tell(cx, key, None, event, &Details::default(), None);
    }

    fn ended(
        &mut self,
        cx: &mut PluginCx<'_>,
        id: CallId,
        code: u16,
        reason: &str,
        header: Option<&Reason>,
        details: &Details,
    ) {
        let Some(key) = self.calls.remove(&id) else { return };
        let Some(handle) = self.handles.get_mut(&key) else { return };
        let Some(mut call) = handle.call.take_if(|call| call.id == id) else { return };
        let mut event = Event::new("hangup").with("code", code).with("reason", reason);
        if let Some(header) = header {
            event = event
                .maybe("reason_header", header.text.clone())
                .with("reason_header_protocol", header.protocol.clone())
                .maybe("reason_header_cause", header.cause.clone());
        } else if let Some((cause, text)) = &call.own_cause {
            event = event
                .with("reason_header", text.clone())
                .with("reason_header_protocol", "SIP")
                .with("reason_header_cause", cause.to_string());
        }
        let event = event.maybe("headers", headers::reported(details, &handle.prefixes));
        let orphaned = handle.registration == Registration::Unregistered && handle.account.is_some();
        call.plain.close(cx);
        self.push(cx, key, call.transaction.as_deref(), Some(&call.call_id), event.0, None);
        cx.notify_event(
            Some(key),
            json!({"event": "hangup", "call-id": call.call_id, "code": code, "reason": reason}),
        );
        cx.close_pc(key);
        if orphaned {
            self.drop_account(cx, key);
        }
    }

    #[allow(clippy::too_many_arguments)] // the members of one event
    fn answered(
        &mut self,
        cx: &mut PluginCx<'_>,
        request: u64,
        method: &str,
        call_id: &str,
        code: u16,
        reason: &str,
        details: &Details,
    ) {
        let Some(key) = self.requests.remove(&request) else { return };
        // All but `messagedelivery` are ours: the original API does not tell.
        let name = match (method, code) {
            ("MESSAGE", _) => "messagedelivery",
            ("REFER", 200..=299) => "transferaccepted",
            ("REFER", _) => "transferfailed",
            (_, 200..=299) => return,
            _ => "infofailed",
        };
        let event = Event::new(name).with("code", code).with("reason", reason);
        self.tell(cx, key, Some(call_id), event, details, None);
    }
}

fn sender(event: Event, from: &NameAddr) -> Event {
    event.with("sender", from.uri.to_string()).maybe("displayname", from.display.clone())
}
