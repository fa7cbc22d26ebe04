//! What a plugin is to the API core, and what the core offers it.
//!
//! A plugin is plain state on the control thread. The core calls it; it answers through the
//! [`PluginCx`] that every call carries, whose effects happen in the order in which they were asked
//! for, after the call returns. A plugin never blocks.

use std::time::Duration;

use bifrons_engine::{LegId, Media, media::Notice, media::StreamConfig};
use serde_json::{Map, Value};

/// A handle, for as long as it is attached. Never used twice in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandleKey(pub u64);

/// What `info` and the Admin API tell of a plugin.
#[derive(Clone, Copy, Debug)]
pub struct PluginInfo {
    /// `janus.plugin.…`
    pub package: &'static str,
    /// Human name.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Who made it.
    pub author: &'static str,
    /// Integer version that clients may test.
    pub version: i64,
    /// The same as text.
    pub version_string: &'static str,
}

/// `offer` or `answer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsepType {
    /// An offer.
    Offer,
    /// An answer.
    Answer,
}

/// A session description between core and plugin. Its SDP is the anonymized one of
/// `jsep/anonymize.rs`: without ICE, DTLS, SSRCs, RTX.
#[derive(Clone, Debug)]
pub struct Jsep {
    /// Offer or answer.
    pub kind: JsepType,
    /// SDP text.
    pub sdp: String,
    /// A renegotiation of a PeerConnection that is up (core to plugin).
    pub update: bool,
    /// The media are end-to-end encrypted.
    pub e2ee: bool,
    /// Plugin to core: restart ICE with this description.
    pub restart: bool,
    /// Core to plugin: the `simulcast` member as Janus shows it, if the offer has layers.
    pub simulcast: Option<Value>,
    /// Plugin to core, first offer: open the WebRTC leg on this leg's worker.
    pub near: Option<LegId>,
}

impl Jsep {
    /// A description with no flag set.
    pub fn new(kind: JsepType, sdp: impl Into<String>) -> Self {
        Self {
            kind,
            sdp: sdp.into(),
            update: false,
            e2ee: false,
            restart: false,
            simulcast: None,
            near: None,
        }
    }
}

/// The direct outcome of a `message`.
#[derive(Clone, Debug)]
pub enum MessageResult {
    /// Synchronous: `{"janus":"success",…,"plugindata":…}`.
    Success(Value),
    /// Asynchronous: `{"janus":"ack"[,"hint":…]}`; the outcome follows by [`PluginCx::push_event`].
    Ack(Option<&'static str>),
    /// The core's error 462 with this text.
    Error(String),
}

/// A plugin. One value serves all handles.
pub trait Plugin {
    /// Who it is.
    fn info(&self) -> PluginInfo;

    /// A handle is attached. An error refuses it (461 with the number).
    fn attach(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) -> Result<(), i32>;

    /// A `message` for a handle.
    fn message(
        &mut self,
        cx: &mut PluginCx<'_>,
        handle: HandleKey,
        transaction: &str,
        body: Map<String, Value>,
        jsep: Option<Jsep>,
    ) -> MessageResult;

    /// The PeerConnection of a handle is up: DTLS is done, media may flow.
    fn webrtc_up(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey);

    /// Offer and answer of a PeerConnection were merged and given to the engine, the first time or
    /// again: its streams are [`PluginCx::peer_connection`]. The place to set routes.
    fn negotiated(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey);

    /// The PeerConnection of a handle is gone. Also called before [`Plugin::detach`].
    fn hangup_media(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey);

    /// The handle is gone.
    fn detach(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey);

    /// The engine says something about the handle's PeerConnection, or about a leg that the plugin
    /// opened for the handle ([`PluginCx::own_leg`]).
    fn media_notice(&mut self, _cx: &mut PluginCx<'_>, _handle: HandleKey, _notice: &Notice) {}

    /// A timer that the plugin set has run out.
    fn timer(&mut self, _cx: &mut PluginCx<'_>, _timer: TimerKey) {}

    /// Something outside woke the plugin by its [`crate::Waker`] (a socket has data, …).
    fn woken(&mut self, _cx: &mut PluginCx<'_>) {}

    /// `plugin_specific` of the Admin API's `handle_info`.
    fn query(&self, handle: HandleKey) -> Value;

    /// What it has counted since its start, by name.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// The Admin API's `message_plugin`.
    fn admin_message(&mut self, _cx: &mut PluginCx<'_>, request: Value) -> Value {
        request
    }
}

/// A timer of a plugin; the number is the plugin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerKey(pub u64);

/// A handle's PeerConnection as far as a plugin needs it.
#[derive(Clone, Debug)]
pub struct PeerConnectionView {
    /// The WebRTC leg.
    pub leg: LegId,
    /// Its m-lines as negotiated, index = m-line.
    pub streams: Vec<StreamConfig>,
    /// DTLS is done.
    pub up: bool,
}

/// What a plugin can do during a call of the core. Effects happen in order after the call.
pub struct PluginCx<'a> {
    /// The engine.
    pub media: &'a mut dyn Media,
    pub(crate) host: &'a mut dyn PluginHost,
}

impl<'a> PluginCx<'a> {
    /// Puts a context together (the core does, and tests).
    pub fn new(media: &'a mut dyn Media, host: &'a mut dyn PluginHost) -> Self {
        Self { media, host }
    }

    /// Monotonic time since the start of the process.
    pub fn now(&self) -> Duration {
        self.host.now()
    }

    /// Sends `{"janus":"event",…,"plugindata":{"plugin":P,"data":data}[,"jsep":…]}` to the client of
    /// a handle. A description is merged with the transport's data first (`jsep/merge.rs`); where
    /// that fails the event goes out without it and the error is returned through
    /// [`Plugin::hangup_media`].
    pub fn push_event(
        &mut self,
        handle: HandleKey,
        transaction: Option<&str>,
        data: Value,
        jsep: Option<Jsep>,
    ) {
        self.host.push_event(handle, transaction.map(str::to_owned), data, jsep);
    }

    /// Closes a handle's PeerConnection: `hangup` with reason `Close PC`.
    pub fn close_pc(&mut self, handle: HandleKey) {
        self.host.close_pc(handle);
    }

    /// Detaches a handle from the plugin's side: `detached`.
    pub fn end_handle(&mut self, handle: HandleKey) {
        self.host.end_handle(handle);
    }

    /// The handle's PeerConnection, if there is one.
    pub fn peer_connection(&self, handle: HandleKey) -> Option<PeerConnectionView> {
        self.host.peer_connection(handle)
    }

    /// Makes notices of a leg that the plugin opened come to `handle`.
    pub fn own_leg(&mut self, leg: LegId, handle: HandleKey) {
        self.host.own_leg(leg, handle);
    }

    /// Closes a leg that the plugin opened.
    pub fn close_leg(&mut self, leg: LegId) {
        self.host.disown_leg(leg);
        self.media.close_leg(leg);
    }

    /// Sets (or moves) a timer of this plugin to run out `after` from now.
    pub fn set_timer(&mut self, timer: TimerKey, after: Duration) {
        self.host.set_timer(timer, after);
    }

    /// Stops a timer.
    pub fn cancel_timer(&mut self, timer: TimerKey) {
        self.host.cancel_timer(timer);
    }

    /// The session id and handle id as the client knows them, and its `opaque_id`.
    pub fn identity(&self, handle: HandleKey) -> Option<(u64, u64, Option<String>)> {
        self.host.identity(handle)
    }

    /// Emits an event-handler event (type 64) of the plugin about a handle.
    pub fn notify_event(&mut self, handle: Option<HandleKey>, data: Value) {
        self.host.notify_event(handle, data);
    }
}

/// The core's side of [`PluginCx`]; plugins do not call it directly.
pub trait PluginHost {
    /// See [`PluginCx::now`].
    fn now(&self) -> Duration;
    /// See [`PluginCx::push_event`].
    fn push_event(&mut self, handle: HandleKey, transaction: Option<String>, data: Value, jsep: Option<Jsep>);
    /// See [`PluginCx::close_pc`].
    fn close_pc(&mut self, handle: HandleKey);
    /// See [`PluginCx::end_handle`].
    fn end_handle(&mut self, handle: HandleKey);
    /// See [`PluginCx::peer_connection`].
    fn peer_connection(&self, handle: HandleKey) -> Option<PeerConnectionView>;
    /// See [`PluginCx::own_leg`].
    fn own_leg(&mut self, leg: LegId, handle: HandleKey);
    /// See [`PluginCx::close_leg`].
    fn disown_leg(&mut self, leg: LegId);
    /// See [`PluginCx::set_timer`].
    fn set_timer(&mut self, timer: TimerKey, after: Duration);
    /// See [`PluginCx::cancel_timer`].
    fn cancel_timer(&mut self, timer: TimerKey);
    /// See [`PluginCx::identity`].
    fn identity(&self, handle: HandleKey) -> Option<(u64, u64, Option<String>)>;
    /// See [`PluginCx::notify_event`].
    fn notify_event(&mut self, handle: Option<HandleKey>, data: Value);
}
