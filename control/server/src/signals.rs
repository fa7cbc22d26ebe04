//! The signals that the program answers to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT end the program, SIGHUP reads certificates again, SIGUSR1 writes counters to the log.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Come to an end.
    End,
    /// Read certificates again.
    Reload,
    /// Write counters to the log.
    Count,
}

impl Signals {
    /// Catches them from now on. In a tokio runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hang_up.recv() => Wish::Reload,
            _ = self.user.recv() => Wish::Count,
        }
    }

    /// The next one that asks for the end.
    pub async fn end(&mut self) {
        while self.next().await != Wish::End {}
    }
}
