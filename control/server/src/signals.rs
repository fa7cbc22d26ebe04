//! The signals that the program answers to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT end the program, SIGHUP reads certificates again.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Come to an end.
    End,
    /// Read certificates again.
    Reload,
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
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hang_up.recv() => Wish::Reload,
        }
    }

    /// The next one that asks for the end.
    pub async fn end(&mut self) {
        while self.next().await != Wish::End {}
    }
}
