//! The Janus API: sessions, handles, transactions, JSEP, errors; the Plugin trait.
//!
//! | module | gives |
//! | --- | --- |
//! | [`plugin`] | what a plugin is to the core, and what the core offers it |
#![forbid(unsafe_code)]

pub mod plugin;

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
