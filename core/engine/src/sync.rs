//! The atomics of what threads tell each other, and the kernel's event that wakes one.
//!
//! With the feature `loom` they are stand-ins by which the models in `models/` try every order in which
//! threads can run and see each other's writes. What is modelled is the code that runs in production.

#[cfg(not(feature = "loom"))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

    pub(crate) use crate::driver::eventfd::EventFd;
}

#[cfg(feature = "loom")]
mod real {
    use std::os::fd::{AsRawFd, RawFd};

    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
    use loom::sync::{Condvar, Mutex};

    /// As eventfd(2) behaves: a counter under a lock of the kernel.
    #[derive(Debug)]
    pub(crate) struct EventFd {
        count: Mutex<u64>,
        readable: Condvar,
    }

    impl EventFd {
        pub(crate) fn new() -> std::io::Result<Self> {
            Ok(Self { count: Mutex::new(0), readable: Condvar::new() })
        }

        pub(crate) fn signal(&self) {
            *self.count.lock().unwrap() += 1;
            self.readable.notify_all();
        }

        pub(crate) fn clear(&self) -> bool {
            std::mem::take(&mut *self.count.lock().unwrap()) > 0
        }

        /// poll(2): sleeps until it is readable, and leaves it so.
        #[cfg(test)]
        pub(crate) fn wait(&self) {
            let mut count = self.count.lock().unwrap();
            while *count == 0 {
                count = self.readable.wait(count).unwrap();
            }
        }

        #[cfg(test)]
        pub(crate) fn is_readable(&self) -> bool {
            *self.count.lock().unwrap() > 0
        }
    }

    impl AsRawFd for EventFd {
        fn as_raw_fd(&self) -> RawFd {
            -1
        }
    }
}

pub(crate) use real::*;
