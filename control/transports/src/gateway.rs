//! The control thread's state: the core, the engine, and the way to the clients.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bifrons_api::{Api, PollRefused, RequestSource, TransportId};
use bifrons_engine::Media;
use serde_json::Value;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use crate::hub::{Hub, HubCounters, Poll};
use crate::wakers::Wakers;

/// Everything that the control thread has, shared by its tasks. Requests run where they arrive, one after
/// another: nothing in the core waits.
#[derive(Clone)]
pub struct Gateway(Rc<Inner>);

struct Inner {
    state: RefCell<State>,
    wakers: Wakers,
    start: Instant,
}

struct State {
    api: Api,
    media: Box<dyn Media>,
    hub: Hub,
}

impl Gateway {
    /// Puts core and engine together. `start` is moment 0 of all their times; `events_max` bounds what waits
    /// for one client.
    pub fn new(api: Api, media: Box<dyn Media>, wakers: Wakers, start: Instant, events_max: usize) -> Self {
        let hub = Hub::new(events_max.max(1));
        let gateway = Self(Rc::new(Inner { state: RefCell::new(State { api, media, hub }), wakers, start }));
        gateway.with(|_, _, _| {});
        gateway
    }

    /// Runs timers, takes the engine's notices and wakes plugins, for ever. `media_poll`: how often to ask
    /// the engine even if nobody woke us.
    pub async fn run(&self, media_poll: Option<Duration>) {
        loop {
            let now = self.0.start.elapsed();
            let due = self.0.state.borrow().api.next_timeout().map(|due| due.saturating_sub(now));
            // Without a timer nothing wakes us but others.
            match due.into_iter().chain(media_poll).min() {
                Some(pause) => drop(tokio::time::timeout(pause, self.0.wakers.wait()).await),
                None => self.0.wakers.wait().await,
            }
            // The engine is asked in any case: that costs a look at its rings.
            let (_, plugins) = self.0.wakers.take();
            let more = self.with(|api, media, now| {
                api.on_timeout(now, media);
                for plugin in plugins {
                    api.plugin_woken(now, media, plugin);
                }
                api.poll_media(now, media)
            });
            if more {
                self.0.wakers.media().wake();
            }
            // Requests get their turn between two rounds.
            tokio::task::yield_now().await;
        }
    }

    /// Takes the engine's notices whenever its descriptor (`Engine::notice_handle`, non-blocking) becomes readable,
    /// until this thread's tasks end.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    pub fn watch_notices(wakers: &Wakers, fd: OwnedFd) -> io::Result<()> {
        // Reads and readiness of an eventfd are those of a pipe.
        let event = pipe::Receiver::from_owned_fd_unchecked(fd)?;
        let media = wakers.media();
        tokio::task::spawn_local(async move {
            while event.readable().await.is_ok() {
                let _ = event.try_read(&mut [0; 8]);
                media.wake();
            }
        });
        Ok(())
    }

    /// Calls the core (drain, counters, …); what comes of it goes to the clients.
    pub fn with<R>(&self, f: impl FnOnce(&mut Api, &mut dyn Media, Duration) -> R) -> R {
        let mut state = self.0.state.borrow_mut();
        let State { api, media, hub } = &mut *state;
        let before = api.next_timeout();
        let now = self.0.start.elapsed();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        api.set_unix_time(now, u64::try_from(unix.as_micros()).unwrap_or(u64::MAX));
        let result = f(api, media.as_mut(), now);
        while let Some(output) = api.next_output() {
            hub.deliver(output);
        }
        hub.release_all();
        if api.next_timeout() < before || (before.is_none() && api.next_timeout().is_some()) {
            self.0.wakers.nudge();
        }
        result
    }

    /// What the way to the clients has counted.
    pub fn hub_counters(&self) -> HubCounters {
        self.0.state.borrow().hub.counters
    }

    /// A socket connects; its replies and events come out of the receiver, which ends when the client is too
    /// slow.
    pub(crate) fn connect(&self) -> (TransportId, mpsc::Receiver<String>) {
        self.0.state.borrow_mut().hub.connect()
    }

    pub(crate) fn disconnect(&self, transport: TransportId) {
        self.0.state.borrow_mut().hub.disconnect(transport);
        self.with(|api, media, now| api.transport_gone(now, media, transport));
    }

    pub(crate) fn request_text(&self, source: RequestSource, text: &str) {
        self.with(|api, media, now| api.request_text(now, media, source, text));
    }

    /// A request that stands alone, and where its reply comes.
    pub(crate) fn request(&self, ip: std::net::IpAddr, request: Value) -> oneshot::Receiver<String> {
        let (transport, reply) = self.0.state.borrow_mut().hub.request();
        let source = RequestSource { transport, ip: Some(ip) };
        self.with(|api, media, now| api.request(now, media, source, request));
        reply
    }

    pub(crate) fn poll(
        &self,
        ip: std::net::IpAddr,
        session: u64,
        secret: Option<&str>,
        token: Option<&str>,
        max: usize,
    ) -> Result<Poll, PollRefused> {
        let source = RequestSource { transport: TransportId(0), ip: Some(ip) };
        self.with(|api, _, now| api.poll(now, source, session, secret, token))?;
        match self.0.state.borrow_mut().hub.poll(session, max) {
            Poll::NoSession => Err(PollRefused::NoSession),
            poll => Ok(poll),
        }
    }

    pub(crate) fn json_limits(&self) -> bifrons_api::json::JsonLimits {
        self.0.state.borrow().api.config().limits.json
    }
}
