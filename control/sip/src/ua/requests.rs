//! Requests besides INVITE: those of a peer inside a dialog, and INFO, MESSAGE, OPTIONS of either side.

use bifrons_sip_protocol::{ServerId, ToSip, TransactionId};

use super::agent::{Answered, Client, Purpose, Received, UserAgent};
use super::arena::{AccountId, CallId};
use super::auth::Authorization;
use super::call::{Answer, Phase};
use super::error::UaError;
use super::event::{RequestId, UaEvent};
use super::request::{Extra, OutRequest, add_to_request};
use super::status;
use super::uac::{RequestOptions, parse_target};
use super::uas::End;
use crate::message::{Headers, Message, Method, NameAddr, Params, SubscriptionState};

/// What OPTIONS is told (RFC 3261 §11.2).
pub(super) const CAPABILITIES: [(&str, &str); 3] =
    [("Allow", super::ALLOW), ("Accept", "application/sdp"), ("Supported", "replaces, timer, 100rel")];

impl UserAgent {
    pub(super) fn request_in_dialog(
        &mut self,
        now_ms: u64,
        key: &(String, String),
        mut received: Received<'_>,
    ) {
        let (server, request) = (received.server, &received.request);
        let method = request.cseq.method.clone();
        if method == Method::Ack {
            self.out.push_back(ToSip::Release { transaction: TransactionId::Server(server) });
            return;
        }
        let found = self.dialogs.get(key).copied();
        let Some((id, call)) = found.and_then(|id| Some((id, self.calls.get_mut(id)?))) else {
            self.request_about_refer(server, request, key);
            return;
        };
        let from_tag = request.from.tag();
        if call.dialog.remote_tag.as_deref() != from_tag {
            // A fork that we have not accepted may end itself; there is nothing else in it.
            let fork = call.forks.iter().position(|fork| fork.dialog.remote_tag.as_deref() == from_tag);
            match fork.filter(|_| method == Method::Bye) {
                Some(_) => self.respond_in(id, server, 200, &[]),
                None => {
                    self.counters.refused_dialog += 1;
                    self.respond_status(server, 481, &[]);
                }
            }
            return;
        }
        let account = call.account;
        // Whoever goes on in the dialog has had our 2xx.
        self.ack_missed(now_ms, id);
        let Some(call) = self.calls.get_mut(id) else { return };
        if matches!(method, Method::Invite | Method::Update) {
            self.offer_received(now_ms, id, received);
            return;
        }
        if !call.dialog.take_cseq(request.cseq.number) {
            self.respond_in(id, server, 500, &[]);
            return;
        }
        match method {
            Method::Bye => {
                self.respond_in(id, server, 200, &[]);
                let details = received.details();
                let end = End::by(200, super::SESSION_TERMINATED, Some(&received.request), details);
                self.end(now_ms, id, end);
            }
            Method::Info => {
                self.respond_in(id, server, 200, &[]);
                let details = received.details();
                let content_type = received.request.content_type().unwrap_or_default();
                self.events.push_back(UaEvent::Info {
                    call: id,
                    from: received.request.from,
                    content_type,
                    content: received.request.body,
                    details,
                });
            }
            Method::Options => self.respond_in(id, server, 200, &CAPABILITIES),
            Method::Message => self.message_received(account, Some(id), received),
            Method::Notify => self.notify_received(account, Some(id), received),
            Method::Refer => self.refer_received(now_ms, account, Some(id), received),
            // A PRACK that the stack knows comes as such; this one fits nothing.
            Method::Prack | Method::Cancel => self.respond_in(id, server, 481, &[]),
            Method::Subscribe => self.respond_in(id, server, 489, &[("Allow-Events", "refer")]),
            _ => self.respond_in(id, server, 405, &[("Allow", super::ALLOW)]),
        }
    }

    fn answer_ok(&mut self, server: ServerId, call: Option<CallId>) {
        match call {
            Some(call) => self.respond_in(call, server, 200, &[]),
            None => self.respond_status(server, 200, &[]),
        }
    }

    pub(super) fn message_received(
        &mut self,
        account: AccountId,
        call: Option<CallId>,
        mut received: Received<'_>,
    ) {
        let details = received.details();
        let Received { server, request, .. } = received;
        self.answer_ok(server, call);
        let content_type = request.header("Content-Type").unwrap_or("text/plain").to_owned();
        self.events.push_back(UaEvent::Message {
            account,
            call,
            request_uri: request.request_uri().map(ToString::to_string).unwrap_or_default(),
            call_id: request.call_id,
            from: request.from,
            content_type,
            content: request.body,
            details,
        });
    }

    pub(super) fn notify_received(
        &mut self,
        account: AccountId,
        call: Option<CallId>,
        mut received: Received<'_>,
    ) {
        let details = received.details();
        let Received { server, request, .. } = received;
        let Some(event) = request.header("Event").map(str::to_owned) else {
            self.respond_status(server, 489, &[("Allow-Events", "refer")]);
            return;
        };
        self.answer_ok(server, call);
        let state = request.typed("Subscription-State", SubscriptionState::parse).ok().flatten();
        self.events.push_back(UaEvent::Notify {
            account,
            call,
            event,
            state: state.map(|state| state.state).unwrap_or_default(),
            content_type: request.header("Content-Type").unwrap_or_default().to_owned(),
            call_id: request.call_id,
            content: request.body,
            details,
        });
    }

    /// INFO in a call; [`UaEvent::Answered`] follows.
    ///
    /// # Errors
    /// [`UaError::State`] while there is no dialog.
    pub fn info(
        &mut self,
        call: CallId,
        content_type: &str,
        content: Vec<u8>,
        headers: Extra<'_>,
    ) -> Result<RequestId, UaError> {
        self.request_in_call(call, Method::Info, content_type, content, headers)
    }

    /// MESSAGE in a call; [`UaEvent::Answered`] follows.
    ///
    /// # Errors
    /// As [`UserAgent::info`].
    pub fn message(
        &mut self,
        call: CallId,
        content_type: &str,
        content: Vec<u8>,
        headers: Extra<'_>,
    ) -> Result<RequestId, UaError> {
        self.request_in_call(call, Method::Message, content_type, content, headers)
    }

    /// MESSAGE outside a call; gives the number that [`UaEvent::Answered`] will have, and the Call-ID.
    ///
    /// # Errors
    /// [`UaError`]: nothing was sent.
    pub fn message_to(
        &mut self,
        account: AccountId,
        target: &str,
        content_type: &str,
        content: Vec<u8>,
        options: RequestOptions,
    ) -> Result<(RequestId, String), UaError> {
        let target = parse_target(target)?;
        let mut request = self.new_request(account, Method::Message, &target, options.call_id)?;
        request.contact = None;
        if let Some(from) = options.from {
            request.from = NameAddr { params: Params::default(), ..from }.to_string();
        }
        add_to_request(&mut request.headers, &options.headers)?;
        request.set_body(content_type, content)?;
        let call_id = request.call_id.clone();
        Ok((self.send_for_application(account, None, request)?, call_id))
    }

    /// Not done by this version.
    ///
    /// # Errors
    /// Always [`UaError::Unsupported`].
    pub fn subscribe(
        &mut self,
        _account: AccountId,
        _target: &str,
        _event: &str,
    ) -> Result<RequestId, UaError> {
        Err(UaError::Unsupported("SUBSCRIBE"))
    }

    fn request_in_call(
        &mut self,
        id: CallId,
        method: Method,
        content_type: &str,
        content: Vec<u8>,
        headers: Extra<'_>,
    ) -> Result<RequestId, UaError> {
        let (account, mut request) = self.dialog_request(id, method)?;
        add_to_request(&mut request.headers, headers)?;
        request.set_body(content_type, content)?;
        self.send_for_application(account, Some(id), request)
    }

    /// A request in the dialog of a call, if there is one that can take it.
    pub(super) fn dialog_request(
        &mut self,
        id: CallId,
        method: Method,
    ) -> Result<(AccountId, OutRequest), UaError> {
        let user_agent = self.config.user_agent.clone();
        let call = self.calls.get_mut(id).ok_or(UaError::NoCall)?;
        let has_dialog = call.dialog.remote_tag.is_some() && !matches!(call.phase, Phase::Ending { .. });
        if !has_dialog {
            return Err(UaError::State(call.state_name()));
        }
        Ok((call.account, call.dialog.request(method, None, &user_agent)))
    }

    pub(super) fn send_for_application(
        &mut self,
        account: AccountId,
        call: Option<CallId>,
        request: OutRequest,
    ) -> Result<RequestId, UaError> {
        let number = self.next_request + 1;
        self.send(Purpose::Application { account, call, request: number }, request)?;
        self.next_request = number;
        Ok(number)
    }

    /// The answer to BYE, PRACK, NOTIFY, or a request of the application.
    pub(super) fn request_answered(&mut self, now_ms: u64, mut answered: Answered) {
        if answered.status < 200 {
            return;
        }
        let Some(Client { purpose, request, .. }) = self.clients.get(&answered.id).cloned() else { return };
        let account = match purpose {
            Purpose::Bye(id) | Purpose::Prack(id) => self.calls.get(id).map(|call| call.account),
            Purpose::Application { account, .. } => Some(account),
            Purpose::Progress(id) => self.refers.get(id).map(|refer| refer.account),
            _ => None,
        };
        if matches!(answered.status, 401 | 407)
            && let Some(account) = account
            && let Authorization::Again(_) = self.authorize(account, &answered)
        {
            return;
        }
        self.release(answered.id);
        match purpose {
            Purpose::Bye(id) if self.calls.get(id).is_some() => {
                let details = answered.details();
                let mut end = End::by(200, super::TO_BYE, None, details);
                end.internal = answered.internal;
                self.end(now_ms, id, end);
            }
            Purpose::Progress(id) if answered.status >= 300 => self.drop_refer(id),
            Purpose::Progress(id) => self.progress_answered(id),
            Purpose::Application { account, call, request: number } => {
                let (code, reason, details) = (answered.status, answered.reason(), answered.details());
                self.events.push_back(UaEvent::Answered {
                    request: number,
                    account,
                    call: call.filter(|id| self.calls.get(*id).is_some()),
                    method: request.method.to_string(),
                    call_id: request.call_id,
                    code,
                    reason: reason.clone(),
                    details: details.clone(),
                });
                // The peer knows nothing of the dialog (RFC 5057 §5.1).
                if let Some(id) = call
                    && code == 481
                    && request.method != Method::Refer
                    && self.calls.get(id).is_some_and(|call| call.is_established())
                {
                    let end = End::by(code, &reason, answered.message.as_ref(), details);
                    self.bye_and_end(now_ms, id, end, "");
                }
            }
            _ => {}
        }
    }

    /// A request in the dialog of a REFER without call, or in none at all.
    fn request_about_refer(&mut self, server: ServerId, request: &Message, key: &(String, String)) {
        let known = self.refer_dialogs.get(key).and_then(|id| self.refers.get(*id));
        let known = known.filter(|refer| refer.dialog.remote_tag.as_deref() == request.from.tag());
        let Some(tag) = known.map(|refer| refer.dialog.local_tag.clone()) else {
            self.counters.refused_dialog += 1;
            self.respond_status(server, 481, &[]);
            return;
        };
        let status = if request.cseq.method == Method::Options { 200 } else { 405 };
        let mut headers = Headers::default();
        headers.push("Allow", super::ALLOW);
        let answer = Answer { status, reason: status::phrase(status).to_owned(), headers, body: Vec::new() };
        self.respond(server, &tag, answer, None);
    }
}
