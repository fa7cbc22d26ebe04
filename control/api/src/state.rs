//! What the core knows, apart from the plugins, so that a plugin can be called while its host is at hand.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bifrons_engine::LegId;
use serde_json::{Map, Value};

use crate::auth::Auth;
use crate::config::{ApiConfig, Limits};
use crate::counters::Counters;
use crate::output::{Output, SessionEnd, TransportId};
use crate::plugin::{HandleKey, Jsep, PeerConnectionView, PluginHost, TimerKey};
use crate::rate::RateLimiter;
use crate::session::{Handle, Session};
use crate::timers::Timers;

/// Everything but the plugins.
#[derive(Debug)]
pub(crate) struct Core {
    pub config: ApiConfig,
    pub auth: Auth,
    pub accepting: bool,
    pub now: Duration,
    /// Microseconds since 1970 at `now` 0.
    pub unix_start_us: u64,
    pub sessions: HashMap<u64, Session>,
    pub by_transport: HashMap<TransportId, BTreeSet<u64>>,
    pub handles: HashMap<HandleKey, Handle>,
    pub legs: HashMap<LegId, HandleKey>,
    pub next_key: u64,
    pub timers: Timers<Timer>,
    pub effects: VecDeque<Effect>,
    pub outputs: VecDeque<Output>,
    pub counters: Counters,
    pub limiters: Limiters,
}

/// What the core waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Sessions are looked at.
    Watchdog,
    /// A plugin's.
    Plugin(usize, TimerKey),
}

/// What a plugin asked for during a call.
#[derive(Debug)]
pub(crate) enum Effect {
    PushEvent {
        handle: HandleKey,
        transaction: Option<String>,
        data: Value,
        jsep: Option<Box<Jsep>>,
    },
    ClosePc(HandleKey),
    EndHandle(HandleKey),
    /// The core's own: tells the plugin that offer and answer were merged.
    Negotiated(HandleKey),
}

/// Rate limits, by source and by token.
#[derive(Debug)]
pub(crate) struct Limiters {
    pub create: (RateLimiter<IpAddr>, RateLimiter<String>),
    pub attach: (RateLimiter<IpAddr>, RateLimiter<String>),
    pub message: (RateLimiter<IpAddr>, RateLimiter<String>),
    pub unknown: RateLimiter<IpAddr>,
}

impl Limiters {
    fn new(limits: &Limits) -> Self {
        let max = limits.rate_keys_max;
        let pair = |source, token| (RateLimiter::new(source, max), RateLimiter::new(token, max));
        Self {
            create: pair(limits.create_per_source, limits.create_per_token),
            attach: pair(limits.attach_per_source, limits.attach_per_token),
            message: (
                RateLimiter::new(limits.message_per_source, max),
                RateLimiter::new(limits.message_per_token, max),
            ),
            unknown: RateLimiter::new(limits.unknown_session_per_source, max),
        }
    }

    /// Forgets addresses and tokens that have been quiet.
    pub(crate) fn tidy(&mut self, now: Duration) {
        for (source, token) in [&mut self.create, &mut self.attach, &mut self.message] {
            source.tidy(now);
            token.tidy(now);
        }
        self.unknown.tidy(now);
    }

    /// Nobody has used up anything.
    pub(crate) fn are_empty(&self) -> bool {
        let pairs = [&self.create, &self.attach, &self.message];
        self.unknown.is_empty()
            && pairs.into_iter().all(|(source, token)| source.is_empty() && token.is_empty())
    }
}

impl Core {
    pub(crate) fn new(config: ApiConfig) -> Self {
        Self {
            auth: Auth::new(config.api_secret.clone(), config.tokens.clone()),
            accepting: config.accept_new_sessions,
            limiters: Limiters::new(&config.limits),
            config,
            now: Duration::ZERO,
            unix_start_us: 0,
            sessions: HashMap::new(),
            by_transport: HashMap::new(),
            handles: HashMap::new(),
            legs: HashMap::new(),
            next_key: 1,
            timers: Timers::default(),
            effects: VecDeque::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Sessions are looked at from now on, if they are not already.
    pub(crate) fn watch(&mut self, period: Duration) {
        if !self.timers.is_set(Timer::Watchdog) {
            self.timers.set(Timer::Watchdog, self.now + period);
        }
    }

    pub(crate) fn unix_us(&self) -> u64 {
        self.unix_start_us.saturating_add(u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn reply(&mut self, transport: TransportId, value: &Value) {
        self.outputs.push_back(Output::Reply { transport, text: value.to_string() });
    }

    /// Sends an event to a session's owner, or keeps it for the one who will claim the session.
    pub(crate) fn event(&mut self, session_id: u64, value: &Value) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        let text = value.to_string();
        match session.owner {
            Some(transport) => {
                self.counters.events_sent += 1;
                self.outputs.push_back(Output::Event { transport, session: session_id, text });
            }
            None => {
                if session.kept.len() >= self.config.limits.events_kept_max {
                    session.kept.pop_front();
                    self.counters.events_dropped += 1;
                }
                session.kept.push_back(text);
            }
        }
    }

    /// `{"janus":NAME,"session_id":S,"sender":H[,"opaque_id":O]…}` to the handle's session.
    pub(crate) fn handle_event(&mut self, key: HandleKey, name: &str, members: &[(&str, Value)]) {
        let Some(handle) = self.handles.get(&key) else { return };
        let session = handle.session;
        let mut event = self.envelope(handle, name, None);
        for (name, value) in members {
            event.insert((*name).to_owned(), value.clone());
        }
        self.event(session, &Value::Object(event));
    }

    /// The first members of an event or a reply with a sender, in their order.
    pub(crate) fn envelope(
        &self,
        handle: &Handle,
        name: &str,
        transaction: Option<&str>,
    ) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("janus".into(), name.into());
        members.insert("session_id".into(), (handle.session as i64).into());
        if let Some(transaction) = transaction {
            members.insert("transaction".into(), transaction.into());
        }
        members.insert("sender".into(), handle.id.into());
        if self.config.opaqueid_in_api
            && let Some(opaque_id) = &handle.opaque_id
        {
            members.insert("opaque_id".into(), opaque_id.as_str().into());
        }
        members
    }

    /// Gives a session to a transport.
    pub(crate) fn give(&mut self, session_id: u64, transport: TransportId) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        let former = session.owner.replace(transport);
        if former == Some(transport) {
            return;
        }
        let kept = std::mem::take(&mut session.kept);
        if let Some(former) = former {
            self.forget_owner(former, session_id, SessionEnd::Claimed);
        }
        self.by_transport.entry(transport).or_default().insert(session_id);
        self.outputs.push_back(Output::SessionOpened { transport, session: session_id });
        for text in kept {
            self.counters.events_sent += 1;
            self.outputs.push_back(Output::Event { transport, session: session_id, text });
        }
    }

    /// A transport has a session no longer.
    pub(crate) fn forget_owner(&mut self, transport: TransportId, session: u64, why: SessionEnd) {
        if let Some(sessions) = self.by_transport.get_mut(&transport) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.by_transport.remove(&transport);
            }
        }
        self.outputs.push_back(Output::SessionClosed { transport, session, why });
    }
}

/// The core as a plugin sees it during a call.
pub(crate) struct Host<'a> {
    pub core: &'a mut Core,
    pub plugin: usize,
}

impl PluginHost for Host<'_> {
    fn now(&self) -> Duration {
        self.core.now
    }

    fn push_event(
        &mut self,
        handle: HandleKey,
        transaction: Option<String>,
        data: Value,
        jsep: Option<Jsep>,
    ) {
        self.core.effects.push_back(Effect::PushEvent {
            handle,
            transaction,
            data,
            jsep: jsep.map(Box::new),
        });
    }

    fn close_pc(&mut self, handle: HandleKey) {
        self.core.effects.push_back(Effect::ClosePc(handle));
    }

    fn end_handle(&mut self, handle: HandleKey) {
        self.core.effects.push_back(Effect::EndHandle(handle));
    }

    fn peer_connection(&self, handle: HandleKey) -> Option<PeerConnectionView> {
        let pc = self.core.handles.get(&handle)?.pc.as_ref()?;
        Some(PeerConnectionView { leg: pc.leg, streams: pc.streams.clone(), up: pc.up })
    }

    fn own_leg(&mut self, leg: LegId, handle: HandleKey) {
        if let Some(owner) = self.core.handles.get_mut(&handle) {
            owner.own_legs.push(leg);
            self.core.legs.insert(leg, handle);
        }
    }

    fn disown_leg(&mut self, leg: LegId) {
        if let Some(owner) = self.core.legs.remove(&leg)
            && let Some(owner) = self.core.handles.get_mut(&owner)
        {
            owner.own_legs.retain(|own| *own != leg);
        }
    }

    fn set_timer(&mut self, timer: TimerKey, after: Duration) {
        let at = self.core.now.saturating_add(after);
        self.core.timers.set(Timer::Plugin(self.plugin, timer), at);
    }

    fn cancel_timer(&mut self, timer: TimerKey) {
        self.core.timers.cancel(Timer::Plugin(self.plugin, timer));
    }

    fn identity(&self, handle: HandleKey) -> Option<(u64, u64, Option<String>)> {
        let handle = self.core.handles.get(&handle)?;
        Some((handle.session, handle.id, handle.opaque_id.clone()))
    }

    fn notify_event(&mut self, handle: Option<HandleKey>, data: Value) {
        // Event handlers are not served yet; the log has their names.
        // Never the data: an SDP in them may carry keys (RFC 4568).
        tracing::trace!(?handle, event = data["event"].as_str(), "plugin event");
    }
}
