//! The core's way in and out: requests, notices and time go in, replies and events come out.

use std::time::Duration;

use bifrons_engine::Media;
use serde_json::Value;

use crate::config::ApiConfig;
use crate::counters::Counters;
use crate::error::{ApiError, Code};
use crate::json;
use crate::output::{Output, RequestSource, SessionEnd, TransportId};
use crate::plugin::{Plugin, PluginCx};
use crate::state::{Core, Host, Timer};

/// How often idle sessions are looked for, while there are sessions.
const WATCHDOG_PERIOD: Duration = Duration::from_secs(2);
/// Notices taken from the engine at one time, so that requests and timers get their turn.
const NOTICES_AT_ONCE: usize = 1024;

/// The Janus API of one server: plain state on one thread, without sockets, threads or clocks.
///
/// `now` is monotonic time since the start of the process and the same in every call. After every call,
/// [`Api::next_output`] has what it led to, in order.
pub struct Api {
    pub(crate) core: Core,
    pub(crate) plugins: Vec<Box<dyn Plugin>>,
}

/// Why a long poll is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollRefused {
    /// Wrong or missing secret or token.
    Unauthorized,
    /// No such session.
    NoSession,
}

impl Api {
    /// A server with these plugins.
    pub fn new(config: ApiConfig, plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self { core: Core::new(config), plugins }
    }

    /// Tells what time it is, microseconds since 1970, at this `now`. To be repeated when clocks may have
    /// been set; signed tokens expire by it.
    pub fn set_unix_time(&mut self, now: Duration, unix_us: u64) {
        self.core.unix_start_us = unix_us.saturating_sub(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
    }

    /// A request as text: one or more JSON objects, answered in order. A text with a fault is answered with
    /// one error and nothing of it is done.
    pub fn request_text(&mut self, now: Duration, media: &mut dyn Media, source: RequestSource, text: &str) {
        match json::parse_all(text, &self.core.config.limits.json) {
            Ok(values) => {
                for value in values {
                    // Framings with several values accept only objects and arrays.
                    if value.is_object() || value.is_array() {
                        self.request(now, media, source, value);
                    } else {
                        self.refuse(
                            source.transport,
                            ApiError::new(
                                Code::InvalidJson,
                                "Invalid Janus API request - <string>(1,1): '[' or '{' expected",
                            ),
                        );
                    }
                }
            }
            Err(error) => {
                let reason = format!(
                    "Invalid Janus API request - <string>({},{}): {}",
                    error.line, error.column, error.text
                );
                self.refuse(source.transport, ApiError::new(Code::InvalidJson, reason));
            }
        }
    }

    /// Answers a request that is not even one.
    pub fn refuse(&mut self, transport: TransportId, error: ApiError) {
        self.core.counters.requests += 1;
        self.core.counters.json_rejected += 1;
        self.core.counters.errors += 1;
        self.core.reply(transport, &error.to_value(None, None));
    }

    /// A request. Exactly one [`Output::Reply`] follows.
    pub fn request(&mut self, now: Duration, media: &mut dyn Media, source: RequestSource, request: Value) {
        self.core.now = now;
        self.core.counters.requests += 1;
        self.core.watch(WATCHDOG_PERIOD);
        self.dispatch(media, source, &request);
        self.run_effects(media);
    }

    /// A long poll asks for a session's events: may it? Polling keeps the session alive.
    pub fn poll(
        &mut self,
        now: Duration,
        source: RequestSource,
        session: u64,
        secret: Option<&str>,
        token: Option<&str>,
    ) -> Result<(), PollRefused> {
        self.core.now = now;
        self.core.watch(WATCHDOG_PERIOD);
        if !self.core.auth.allows(secret, token, self.core.unix_us() / 1_000_000) {
            self.core.counters.unauthorized += 1;
            return Err(PollRefused::Unauthorized);
        }
        self.find_session(source, session).map_err(|_| PollRefused::NoSession)
    }

    /// A transport instance is gone for good. Its sessions end, or wait to be claimed.
    pub fn transport_gone(&mut self, now: Duration, media: &mut dyn Media, transport: TransportId) {
        self.core.now = now;
        let sessions = self.core.by_transport.remove(&transport).unwrap_or_default();
        for id in sessions {
            let Some(session) = self.core.sessions.get_mut(&id) else { continue };
            session.owner = None;
            if self.core.config.reclaim_session_timeout_s == 0 {
                self.end_session(media, id, SessionEnd::Destroyed);
            }
        }
        self.run_effects(media);
    }

    /// Takes what the engine has to say. True: there may be more at once.
    pub fn poll_media(&mut self, now: Duration, media: &mut dyn Media) -> bool {
        self.core.now = now;
        for _ in 0..NOTICES_AT_ONCE {
            let Some(notice) = media.poll_notice() else { return false };
            self.notice(media, &notice);
            self.run_effects(media);
        }
        true
    }

    /// A plugin's [`crate::Waker`] was used; `plugin` is its index in the list given to [`Api::new`].
    pub fn plugin_woken(&mut self, now: Duration, media: &mut dyn Media, plugin: usize) {
        self.core.now = now;
        if plugin < self.plugins.len() {
            self.call(media, plugin, |plugin, cx| plugin.woken(cx));
        }
        self.run_effects(media);
    }

    /// When [`Api::on_timeout`] is to be called next.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.core.timers.next()
    }

    /// Time has come.
    pub fn on_timeout(&mut self, now: Duration, media: &mut dyn Media) {
        self.core.now = now;
        while let Some(timer) = self.core.timers.pop(now) {
            match timer {
                Timer::Watchdog => {
                    // Set first: a plugin that looks at its timers must find the core's there.
                    self.core.timers.set(Timer::Watchdog, now + WATCHDOG_PERIOD);
                    self.core.limiters.tidy(now);
                    self.end_idle_sessions(media);
                    // With nothing left to watch the server sleeps until the next request.
                    if self.core.sessions.is_empty() && self.core.limiters.are_empty() {
                        self.core.timers.cancel(Timer::Watchdog);
                    }
                }
                Timer::Plugin(plugin, timer) => {
                    self.call(media, plugin, |plugin, cx| plugin.timer(cx, timer))
                }
            }
            self.run_effects(media);
        }
    }

    /// The next thing for the transports to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// Serves `create`, or refuses it with 472 (drain).
    pub fn set_accepting(&mut self, accepting: bool) {
        self.core.accepting = accepting;
    }

    /// Ends every session, as at the end of the program; clients get `timeout`.
    pub fn end_all(&mut self, now: Duration, media: &mut dyn Media) {
        self.core.now = now;
        let mut ids: Vec<u64> = self.core.sessions.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.end_session(media, id, SessionEnd::TimedOut);
        }
        self.run_effects(media);
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.core.counters
    }

    /// What the plugins have counted, those that count anything, by package.
    pub fn plugin_counters(&self) -> Vec<(&'static str, Vec<(&'static str, u64)>)> {
        let all = self.plugins.iter().map(|plugin| (plugin.info().package, plugin.counters()));
        all.filter(|(_, counters)| !counters.is_empty()).collect()
    }

    /// Sessions now.
    pub fn session_count(&self) -> usize {
        self.core.sessions.len()
    }

    /// Handles now.
    pub fn handle_count(&self) -> usize {
        self.core.handles.len()
    }

    /// PeerConnections now (from the first description on).
    pub fn peer_connection_count(&self) -> usize {
        self.core.handles.values().filter(|handle| handle.pc.is_some()).count()
    }

    /// The settings.
    pub fn config(&self) -> &ApiConfig {
        &self.core.config
    }

    pub(crate) fn call<R>(
        &mut self,
        media: &mut dyn Media,
        plugin: usize,
        f: impl FnOnce(&mut dyn Plugin, &mut PluginCx<'_>) -> R,
    ) -> R {
        let mut host = Host { core: &mut self.core, plugin };
        let mut cx = PluginCx::new(media, &mut host);
        f(&mut *self.plugins[plugin], &mut cx)
    }
}
