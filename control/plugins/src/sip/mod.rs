//! `janus.plugin.sip`: accounts and calls of pages, on one SIP user agent.
//!
//! | module | gives |
//! | --- | --- |
//! | [`handle`] | what a handle is |
//! | `register`, `calls`, `in_call` | the requests |
//! | `events` | what the user agent tells, as events |
//! | [`headers`] | custom headers both ways |
//! | [`policy`] | what pages may ask for |
//!
//! The user agent is plain data on this thread. Its messages to the `bifrons-sip` program leave by the
//! sink that the plugin was made with; what the program says comes in by [`Inbox`].
//!
//! Left for later, each with a clear error: helpers, `subscribe`, `recording`, `rtp_forward`, answering
//! a received REFER.

mod calls;
mod events;
pub mod handle;
pub mod headers;
mod in_call;
pub mod policy;
mod register;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bifrons_api::plugin::{HandleKey, Jsep, MessageResult, Plugin, PluginCx, PluginInfo, TimerKey};
use bifrons_engine::media::{MediaError, MediaKind, Notice, StreamRef};
use bifrons_sip_protocol::{FromSip, ToSip};
use bifrons_sip_ua::ua::{AccountId, CallId, Config as UaConfig, RequestId, UaError, UserAgent};
use serde_json::{Map, Value, json};

use crate::params::{self, Kind, Param, PluginError, required};
use crate::plain::{PlainConfig, PlainError};
use handle::{Call, Handle, Registration, Status};
use policy::{Policy, Refused};

pub(crate) const FORBIDDEN: u32 = 403;
pub(crate) const UNKNOWN_REQUEST: u32 = 442;
pub(crate) const MISSING_ELEMENT: u32 = 443;
pub(crate) const INVALID_ELEMENT: u32 = 444;
pub(crate) const ALREADY_REGISTERED: u32 = 445;
pub(crate) const INVALID_ADDRESS: u32 = 446;
pub(crate) const WRONG_STATE: u32 = 447;
pub(crate) const MISSING_SDP: u32 = 448;
pub(crate) const STACK: u32 = 449;
pub(crate) const IO_ERROR: u32 = 450;
pub(crate) const TOO_STRICT: u32 = 452;
pub(crate) const UNAVAILABLE: u32 = 499;

const UA_TIMER: TimerKey = TimerKey(0);

/// What comes from the link to `bifrons-sip`.
// One at a time, moved once: a box would only cost an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Inbound {
    /// A message of the program.
    Message(FromSip),
    /// A new program stands ready, the first one too.
    Started,
}

/// Where the link puts what it received before it wakes the plugin.
pub type Inbox = Rc<RefCell<VecDeque<Inbound>>>;

/// How the plugin is set up.
#[derive(Clone, Debug)]
pub struct SipConfig {
    /// The user agent.
    pub ua: UaConfig,
    /// Addresses and latching; the plugin sets what is its own.
    pub plain: PlainConfig,
    /// Registration time asked for where the client names none, seconds.
    pub register_ttl_s: u32,
    /// What pages may ask for.
    pub policy: Policy,
}

/// The plugin.
pub struct Sip {
    ua: UserAgent,
    plain: PlainConfig,
    register_ttl_s: u32,
    policy: Policy,
    refused: Refused,
    handles: HashMap<HandleKey, Handle>,
    accounts: HashMap<AccountId, HandleKey>,
    calls: HashMap<CallId, HandleKey>,
    /// Requests whose final answer a client hears of.
    requests: HashMap<RequestId, HandleKey>,
    inbox: Inbox,
    outbox: Box<dyn FnMut(ToSip)>,
}

/// A reply to a request: the `result` object and a description.
pub(crate) type Reply = Result<(Value, Option<Jsep>), PluginError>;

impl Sip {
    /// A plugin whose messages for `bifrons-sip` go to `outbox`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(config: SipConfig, inbox: Inbox, outbox: Box<dyn FnMut(ToSip)>) -> Result<Self, UaError> {
        let plain =
            PlainConfig { own_origin: true, keep_sendrecv: false, prune_duplicates: true, ..config.plain };
        Ok(Self {
            ua: UserAgent::new(config.ua)?,
            plain,
            register_ttl_s: config.register_ttl_s,
            policy: config.policy,
            refused: Refused::default(),
            handles: HashMap::new(),
            accounts: HashMap::new(),
            calls: HashMap::new(),
            requests: HashMap::new(),
            inbox,
            outbox,
        })
    }

    fn request(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        transaction: &str,
        body: &Map<String, Value>,
        jsep: Option<&Jsep>,
    ) -> Reply {
        check(body, &[required("request", Kind::Text)])?;
        let name = params::text(body, "request").unwrap_or("").to_ascii_lowercase();
        if let Err(error) = self.policy.check(&name, body, &mut self.refused) {
            cx.notify_event(Some(key), json!({"event": "refused", "request": name, "reason": error.text}));
            return Err(error);
        }
        match name.as_str() {
            "register" => self.register(cx, key, body),
            "unregister" => self.unregister(cx, key),
            "call" => self.call(cx, key, transaction, body, jsep),
            "progress" => self.answer(cx, key, transaction, body, jsep, true),
            "accept" => self.answer(cx, key, transaction, body, jsep, false),
            "decline" => self.decline(cx, key, body),
            "hangup" => self.hangup(cx, key, body),
            "update" => self.update(cx, key, jsep),
            "hold" => self.hold(cx, key, body, true),
            "unhold" => self.hold(cx, key, body, false),
            "info" => self.info_request(key, body),
            "dtmf_info" => self.dtmf_info(key, body),
            "message" => self.message_request(key, body),
            "transfer" => self.transfer(key, body),
            "keyframe" => self.keyframe(cx, key, body),
            "send_ringing" => self.send_ringing(cx, key),
            "reset" => Ok((json!({"event": "reset"}), None)),
            "subscribe" | "unsubscribe" | "recording" | "rtp_forward" | "stop_rtp_forward"
            | "listforwarders" => {
                Err(PluginError::new(UNAVAILABLE, format!("{name} is not available in this version")))
            }
            _ => {
                let asked = params::text(body, "request").unwrap_or("");
                Err(PluginError::new(UNKNOWN_REQUEST, format!("Unknown request ({asked})")))
            }
        }
    }

    /// Takes what the link brought, tells what the user agent says, sends what it wants sent.
    fn settle(&mut self, cx: &mut PluginCx<'_>) {
        loop {
            let next = self.inbox.borrow_mut().pop_front();
            match next {
                Some(Inbound::Message(message)) => self.ua.handle(now_ms(cx), message),
                Some(Inbound::Started) => self.ua.process_restarted(now_ms(cx)),
                None => break,
            }
        }
        // An event can make the user agent say more (a refusal ends a call at once).
        while let Some(event) = self.ua.poll_event() {
            self.event(cx, event);
        }
        while let Some(message) = self.ua.poll_output() {
            (self.outbox)(message);
        }
        match self.ua.next_timeout() {
            Some(at) => cx.set_timer(UA_TIMER, Duration::from_millis(at.saturating_sub(now_ms(cx)))),
            None => cx.cancel_timer(UA_TIMER),
        }
    }

    /// Sends an event of a handle; a null `result` is left out.
    pub(crate) fn push(
        &self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        transaction: Option<&str>,
        call_id: Option<&str>,
        result: Value,
        jsep: Option<Jsep>,
    ) {
        let mut data = json!({"sip": "event"});
        if !result.is_null() {
            data["result"] = result;
        }
        if let Some(call_id) = call_id {
            data["call_id"] = call_id.into();
        }
        cx.push_event(key, transaction, data, jsep);
    }

    /// Ends the SIP side of a call; `Ended` follows and tells the client.
    pub(crate) fn end_call(&mut self, cx: &mut PluginCx<'_>, key: HandleKey, cause: Option<(u16, String)>) {
        let Some(call) = self.handles.get_mut(&key).and_then(|handle| handle.call.as_mut()) else { return };
        let headers: Vec<_> = cause
            .iter()
            .map(|(code, text)| ("Reason".to_owned(), format!("SIP;cause={code};text=\"{text}\"")))
            .collect();
        let (id, status) = (call.id, call.status);
        call.status = Status::Closing;
        call.own_cause = cause.clone();
        let ended = match (status, &cause) {
            (Status::Invited | Status::Progress, Some((code, text))) => {
                self.ua.reject(now_ms(cx), id, *code, text, &headers)
            }
            _ => self.ua.hangup(now_ms(cx), id, &headers),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a call that is over already");
        }
    }

    /// Streams, routes and gates as the descriptions now stand.
    pub(crate) fn connect(&mut self, cx: &mut PluginCx<'_>, key: HandleKey) {
        let Some(pc) = cx.peer_connection(key).filter(|pc| !pc.streams.is_empty()) else { return };
        let Some(call) = self.handles.get_mut(&key).and_then(|handle| handle.call.as_mut()) else { return };
        if let Err(error) = call.plain.connect(cx, &pc) {
            tracing::warn!(%error, "the engine refused the routes of a call");
            self.end_call(cx, key, Some((500, "Media Error".into())));
        }
    }
}

/// Checks the members of a request, with the codes of this plugin.
fn check(body: &Map<String, Value>, params: &[Param]) -> Result<(), PluginError> {
    params::check(body, params, MISSING_ELEMENT, INVALID_ELEMENT)
}

fn not_in_a_call() -> PluginError {
    PluginError::new(WRONG_STATE, "Wrong state (not in a call?)")
}

/// The call of a handle, if its state `fits`.
// Of the table alone, so that the user agent stays free for use beside the call.
fn call_in(
    handles: &mut HashMap<HandleKey, Handle>,
    key: HandleKey,
    fits: impl Fn(Status) -> bool,
) -> Result<&mut Call, PluginError> {
    let call = handles.get_mut(&key).and_then(|handle| handle.call.as_mut());
    call.filter(|call| fits(call.status)).ok_or_else(not_in_a_call)
}

/// Now, as the user agent counts it.
pub(crate) fn now_ms(cx: &PluginCx<'_>) -> u64 {
    u64::try_from(cx.now().as_millis()).unwrap_or(u64::MAX)
}

/// A plain-side error in the codes of this plugin.
pub(crate) fn of_plain(error: PlainError) -> PluginError {
    let code = match &error {
        PlainError::Parse(text) => {
            return PluginError::new(MISSING_SDP, format!("Error parsing SDP: {text}"));
        }
        PlainError::DataChannels => {
            return PluginError::new(MISSING_SDP, "The SIP plugin does not support DataChannels");
        }
        PlainError::SrtpRequired => {
            let text = "Can't accept the call: SDES-SRTP required, but caller didn't offer it";
            return PluginError::new(TOO_STRICT, text);
        }
        PlainError::SrtpMismatch => TOO_STRICT,
        PlainError::Media(error @ MediaError::AddressTaken(_)) => {
            return PluginError::new(IO_ERROR, error.to_string());
        }
        PlainError::Media(error) => {
            return PluginError::new(IO_ERROR, format!("Could not allocate RTP/RTCP ports: {error}"));
        }
        PlainError::NoMedia
        | PlainError::NoRemoteAddress
        | PlainError::NoCommonCodec { .. }
        | PlainError::NotItsMedia { .. }
        | PlainError::NoOffer => MISSING_SDP,
    };
    PluginError::new(code, error.to_string())
}

/// A user agent's error in the codes of this plugin.
pub(crate) fn of_ua(error: UaError) -> PluginError {
    let code = match &error {
        UaError::State(_) | UaError::NoCall | UaError::NoAccount | UaError::NoRefer => WRONG_STATE,
        UaError::Malformed(_) => INVALID_ELEMENT,
        UaError::NoListener(_) | UaError::Unsupported(_) => STACK,
        UaError::Limit(_) | UaError::Random => UNAVAILABLE,
    };
    PluginError::new(code, error.to_string())
}

impl Plugin for Sip {
    fn info(&self) -> PluginInfo {
        PluginInfo {
            package: "janus.plugin.sip",
            name: "JANUS SIP plugin",
            description: "This is a simple SIP plugin for Janus, allowing WebRTC peers to register at a SIP server and call SIP user agents through the gateway.",
            author: "Bifrons",
            version: 10,
            version_string: "0.0.10",
        }
    }

    fn attach(&mut self, _cx: &mut PluginCx<'_>, handle: HandleKey) -> Result<(), i32> {
        self.handles.insert(handle, Handle::default());
        Ok(())
    }

    fn message(
        &mut self,
        cx: &mut PluginCx<'_>,
        handle: HandleKey,
        transaction: &str,
        body: Map<String, Value>,
        jsep: Option<Jsep>,
    ) -> MessageResult {
        let reply = self.request(cx, handle, transaction, &body, jsep.as_ref());
        let call_id = self.handles.get(&handle).and_then(Handle::call_id);
        match reply {
            Ok((result, jsep)) => self.push(cx, handle, Some(transaction), call_id.as_deref(), result, jsep),
            Err(error) => {
                let mut data = json!({"sip": "event", "error_code": error.code, "error": error.text});
                if let Some(call_id) = call_id {
                    data["call_id"] = call_id.into();
                }
                cx.push_event(handle, Some(transaction), data, None);
            }
        }
        self.tell_repeated(cx, handle);
        self.settle(cx);
        MessageResult::Ack(None)
    }

    fn webrtc_up(&mut self, _cx: &mut PluginCx<'_>, _handle: HandleKey) {}

    fn negotiated(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        self.connect(cx, handle);
        self.settle(cx);
    }

    fn hangup_media(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        let open = |call: &&handle::Call| call.status != Status::Closing;
        if let Some(call) = self.handles.get(&handle).and_then(|own| own.call.as_ref()).filter(open) {
            let (transaction, call_id) = (call.transaction.clone(), call.call_id.clone());
            let event = json!({"event": "hangingup"});
            self.push(cx, handle, transaction.as_deref(), Some(&call_id), event, None);
            self.end_call(cx, handle, None);
            self.settle(cx);
        }
    }

    fn detach(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        self.end_call(cx, handle, None);
        if let Some(mut own) = self.handles.remove(&handle) {
            if let Some(call) = &mut own.call {
                call.plain.close(cx);
                self.calls.remove(&call.id);
            }
            if let Some(account) = own.account {
                self.accounts.remove(&account);
                self.ua.remove_account(now_ms(cx), account);
            }
        }
        self.requests.retain(|_, owner| *owner != handle);
        self.settle(cx);
    }

    fn media_notice(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey, notice: &Notice) {
        let Some(call) = self.handles.get(&handle).and_then(|own| own.call.as_ref()) else { return };
        match notice {
            Notice::Dtmf { stream, event, duration } if call.plain.owns(stream.leg) => {
                let signal = "0123456789*#ABCD".get(usize::from(*event)..=usize::from(*event));
                let Some(signal) = signal else { return };
                let (transaction, call_id) = (call.transaction.clone(), call.call_id.clone());
                let data =
                    json!({"event": "dtmf", "sender": call.peer, "signal": signal, "duration": duration});
                self.push(cx, handle, transaction.as_deref(), Some(&call_id), data, None);
            }
            Notice::Ended { leg, .. } if call.plain.owns(*leg) => {
                self.end_call(cx, handle, Some((500, "Media Error".into())));
                self.settle(cx);
            }
            _ => {}
        }
    }

    fn timer(&mut self, cx: &mut PluginCx<'_>, timer: TimerKey) {
        if timer == UA_TIMER {
            self.ua.on_timeout(now_ms(cx));
            self.settle(cx);
        }
    }

    fn woken(&mut self, cx: &mut PluginCx<'_>) {
        self.settle(cx);
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.ua.counters().all().into_iter().chain(self.refused.all()).collect()
    }

    fn query(&self, handle: HandleKey) -> Value {
        let Some(own) = self.handles.get(&handle) else { return json!({}) };
        let mut info = json!({"unique_id": own.unique_id});
        if own.account.is_some() {
            info["username"] = own.username.clone().into();
            let [authuser, display_name, user_agent] = &own.shown;
            if let Some(authuser) = authuser {
                info["authuser"] = authuser.clone().into();
            }
            info["secret"] = "(hidden)".into();
            if let Some(name) = display_name {
                info["display_name"] = name.clone().into();
            }
            if let Some(agent) = user_agent {
                info["user_agent"] = agent.clone().into();
            }
            info["identity"] = own.identity.clone().into();
        }
        info["registration_status"] = own.registration.word().into();
        info["call_status"] = own.status_word().into();
        if let Some(callee) = &own.last_callee {
            info["callee"] = callee.clone().into();
            let yes_no = |flag: bool| if flag { "yes" } else { "no" };
            let call = own.call.as_ref();
            let srtp = |kind| call.map_or((false, false), |call| call.plain.srtp(kind));
            let required = call.is_some_and(|call| call.policy == crate::plain::SrtpPolicy::Mandatory);
            info["srtp-required"] = yes_no(required).into();
            let (audio, video) = (srtp(MediaKind::Audio), srtp(MediaKind::Video));
            info["sdes-local-audio"] = yes_no(audio.0).into();
            info["sdes-local-video"] = yes_no(video.0).into();
            info["sdes-remote-audio"] = yes_no(audio.1).into();
            info["sdes-remote-video"] = yes_no(video.1).into();
        }
        let word = own.status_word();
        info["establishing"] = i32::from(matches!(word, "inviting" | "invited" | "progress")).into();
        info["established"] = i32::from(word.starts_with("incall")).into();
        info["hangingup"] = i32::from(word == "closing").into();
        info["destroyed"] = 0.into();
        info
    }
}

impl Sip {
    /// The stream of a kind on the browser's leg and on the telephone's.
    pub(crate) fn streams(
        &self,
        cx: &PluginCx<'_>,
        key: HandleKey,
        kind: MediaKind,
    ) -> [Option<StreamRef>; 2] {
        let browser = cx.peer_connection(key).and_then(|pc| {
            let mline = pc.streams.iter().position(|stream| stream.kind == kind)?;
            Some(StreamRef { leg: pc.leg, mline: mline as u8 })
        });
        let call = self.handles.get(&key).and_then(|handle| handle.call.as_ref());
        let telephone = call.and_then(|call| call.plain.legs().find(|(own, _)| *own == kind));
        [browser, telephone.map(|(_, leg)| StreamRef { leg, mline: 0 })]
    }

    /// The account of a handle that may make calls.
    pub(crate) fn usable_account(&self, key: HandleKey) -> Result<AccountId, PluginError> {
        let handle = self.handles.get(&key);
        let account =
            handle.filter(|handle| handle.registration.is_usable()).and_then(|handle| handle.account);
        account.ok_or_else(|| PluginError::new(WRONG_STATE, "Wrong state (register first)"))
    }

    /// Forgets a handle's account.
    pub(crate) fn drop_account(&mut self, cx: &PluginCx<'_>, key: HandleKey) {
        let Some(handle) = self.handles.get_mut(&key) else { return };
        handle.registration = Registration::Unregistered;
        if let Some(account) = handle.account.take() {
            self.accounts.remove(&account);
            self.ua.remove_account(now_ms(cx), account);
        }
    }
}
