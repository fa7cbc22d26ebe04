//! Wakes the control side, once however much there is.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::driver::eventfd::{self, EventFd};

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

    /// There is something in a ring.
    pub(crate) fn note(&self) {
        self.noted.store(true, Ordering::Release);
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

    /// The control side has seen it; call before the rings are looked at. The descriptor is cleared
    /// first: whoever fires in between has filled a ring that is looked at afterwards.
    pub(crate) fn clear(&self) {
        if self.fired.load(Ordering::Acquire) {
            self.event.clear();
            self.fired.store(false, Ordering::SeqCst);
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    pub(crate) fn duplicate(&self) -> std::io::Result<OwnedFd> {
        eventfd::duplicate(self.event.as_raw_fd())
    }
}
