//! Wakes the control thread from others: the engine's workers, a plugin's sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bifrons_api::Waker;
use tokio::sync::Notify;

/// Who wants attention: a bit a plugin, and the topmost one for the engine.
#[derive(Clone, Default)]
pub struct Wakers(Arc<State>);

#[derive(Default)]
struct State {
    due: AtomicU64,
    notify: Notify,
}

const MEDIA: u32 = 63;

impl Wakers {
    /// Most plugins that can be woken.
    pub const PLUGINS_MAX: usize = MEDIA as usize;

    /// Wakers that nobody has used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that the engine has notices.
    pub fn media(&self) -> Waker {
        self.bit(MEDIA)
    }

    /// Wakes the plugin at this index of the list given to [`bifrons_api::Api::new`]; one beyond
    /// [`Self::PLUGINS_MAX`] is never woken.
    pub fn plugin(&self, index: usize) -> Waker {
        match u32::try_from(index) {
            Ok(bit) if bit < MEDIA => self.bit(bit),
            _ => Waker::new(|| {}),
        }
    }

    fn bit(&self, bit: u32) -> Waker {
        let state = self.0.clone();
        Waker::new(move || {
            if state.due.fetch_or(1 << bit, Ordering::AcqRel) & (1 << bit) == 0 {
                state.notify.notify_one();
            }
        })
    }

    /// Waits until somebody is due.
    pub(crate) async fn wait(&self) {
        self.0.notify.notified().await;
    }

    /// Wakes the loop for its own sake: a timer may be earlier now.
    pub(crate) fn nudge(&self) {
        self.0.notify.notify_one();
    }

    /// Who is due: the engine, and plugins by index.
    pub(crate) fn take(&self) -> (bool, impl Iterator<Item = usize> + use<>) {
        let due = self.0.due.swap(0, Ordering::AcqRel);
        (due >> MEDIA != 0, (0..Self::PLUGINS_MAX).filter(move |bit| due >> bit & 1 != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_is_once() {
        let wakers = Wakers::new();
        let three = wakers.plugin(3);
        three.wake();
        three.wake();
        wakers.media().wake();
        wakers.plugin(1000).wake();
        let (media, plugins) = wakers.take();
        assert!(media && plugins.eq([3]));
        let (media, plugins) = wakers.take();
        assert!(!media && plugins.count() == 0);
    }
}
