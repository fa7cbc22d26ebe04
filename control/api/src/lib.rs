//! The Janus API: sessions, handles, transactions, JSEP, errors; the Plugin trait.
//!
//! [`Api`] is plain state on one thread. A server program gives it requests, the engine's notices and the
//! time, and carries its [`Output`]s to the clients; `bifrons-transports` does all of that.
//!
//! | module | gives |
//! | --- | --- |
//! | [`api`] | the way in and out: [`Api`] |
//! | [`plugin`] | what a plugin is to the core, and what the core offers it |
//! | [`sdp_tools`] | offers and answers for plugins |
//! | [`config`] | settings and limits |
//! | [`auth`] | secrets, stored and signed tokens |
//! | [`json`] | JSON from the network, within limits |
//! | [`error`] | codes and texts |
#![forbid(unsafe_code)]

pub mod api;
pub mod auth;
pub mod config;
pub mod error;
pub mod info;
pub mod json;
pub mod plugin;
pub mod rate;
pub mod sdp_tools;

mod counters;
mod ends;
mod ids;
mod jsep;
mod messages;
mod output;
mod session;
mod state;
mod timers;
mod trickle;
mod verbs;

pub use api::{Api, PollRefused};
pub use config::ApiConfig;
pub use counters::Counters;
pub use output::{Output, RequestSource, SessionEnd, TransportId};

/// Wakes one plugin from outside the core (a socket task, another thread): the core then calls
/// [`plugin::Plugin::woken`]. Waking twice before the call is the same as once.
#[derive(Clone)]
pub struct Waker(std::sync::Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that runs `wake`, which must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(std::sync::Arc::new(wake))
    }

    /// Wakes the plugin.
    pub fn wake(&self) {
        (self.0)();
    }
}
