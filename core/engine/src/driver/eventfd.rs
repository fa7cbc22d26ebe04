//! A descriptor that wakes an event loop.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// An eventfd (eventfd(2)), non-blocking, closed on exec.
#[derive(Debug)]
pub struct EventFd(File);

impl EventFd {
    /// Makes one.
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: eventfd takes two integers; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and nobody else owns it.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// Makes it readable. A counter at its limit is readable already, so an error means nothing.
    pub fn signal(&self) {
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Makes it unreadable; says whether it had been signalled.
    pub fn clear(&self) -> bool {
        let mut count = [0u8; 8];
        (&self.0).read(&mut count).is_ok()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Sleeps until the time is over or the descriptor is readable.
pub(super) fn nap(fd: RawFd, time: Duration) {
    let mut watched = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: both point to locals, and one descriptor is announced. Any result ends the nap: a signal only
    // makes it shorter.
    let _ = unsafe { libc::ppoll(&raw mut watched, 1, &raw const time, std::ptr::null()) };
}

/// A second descriptor for what `fd` names, which its holder owns.
pub(crate) fn duplicate(fd: RawFd) -> std::io::Result<OwnedFd> {
    // SAFETY: the driver that gave `fd` out is borrowed by the caller, so it is open.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_add_up_to_one() {
        let event = EventFd::new().unwrap();
        assert!(!event.clear());
        event.signal();
        event.signal();
        assert!(event.clear());
        assert!(!event.clear());
    }
}
