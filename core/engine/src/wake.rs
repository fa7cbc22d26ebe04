//! The waker of a worker, which is there once the worker's driver is.

use std::sync::OnceLock;

use crate::driver::DriverWaker;
use crate::sync::{AtomicBool, Ordering, fence};

/// Told a worker's waker when it begins, and wakes it from then on.
///
/// A worker that begins looks at its rings after [`WakerCell::set`], one who wakes has filled a ring before
/// [`WakerCell::wake`]. The fences see to it that not both miss each other: either the ring is seen to be
/// full, or the waker is seen to be there.
#[derive(Default)]
pub(crate) struct WakerCell {
    waker: OnceLock<DriverWaker>,
    ready: AtomicBool,
}

impl WakerCell {
    /// Call before the rings are looked at for the first time.
    pub(crate) fn set(&self, waker: DriverWaker) {
        // A second worker on the same parts cannot be, so the cell is empty.
        let _ = self.waker.set(waker);
        self.ready.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Wakes the worker, if it has begun. Call after a ring was filled.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.ready.load(Ordering::Acquire)
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
    }
}
