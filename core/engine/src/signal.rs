//! Wakes the control side, once however much there is.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::driver::eventfd;
use crate::sync::{AtomicBool, EventFd, Ordering};

/// An eventfd that workers make readable when they have something to tell.
#[derive(Debug)]
pub(crate) struct Signal {
    event: EventFd,
    noted: AtomicBool,
    fired: AtomicBool,
}

impl Signal {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { event: EventFd::new()?, noted: AtomicBool::new(false), fired: AtomicBool::new(false) })
    }

    /// There is something in a ring. Swapped, not stored: whoever takes the flag away takes with it what all
    /// have pushed who set it, and not only the last of them.
    pub(crate) fn note(&self) {
        self.noted.swap(true, Ordering::AcqRel);
    }

    /// Makes the descriptor readable if something was noted and it is not yet.
    pub(crate) fn fire(&self) {
        if self.noted.load(Ordering::Relaxed)
            && self.noted.swap(false, Ordering::AcqRel)
            && !self.fired.swap(true, Ordering::AcqRel)
        {
            self.event.signal();
        }
    }

    /// The control side has seen it; call before the rings are looked at.
    ///
    /// The descriptor is cleared first: whoever fires in between has filled a ring that is looked at
    /// afterwards. It is cleared always, because one who fires may set the flag long before it makes the
    /// descriptor readable. And the flag is swapped, not stored: so all is seen that was pushed before it was
    /// set (`models/signal.rs` has what goes wrong otherwise).
    pub(crate) fn clear(&self) {
        self.event.clear();
        self.fired.swap(false, Ordering::AcqRel);
    }

    /// What the control side sleeps on, for the models.
    #[cfg(all(test, feature = "loom"))]
    pub(crate) fn event(&self) -> &EventFd {
        &self.event
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    pub(crate) fn duplicate(&self) -> std::io::Result<OwnedFd> {
        eventfd::duplicate(self.event.as_raw_fd())
    }
}
