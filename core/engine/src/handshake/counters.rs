use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the handshake thread counts. One writer, any number of readers.
#[derive(Debug, Default)]
pub struct HandshakeCounters {
    words: [AtomicU64; HandshakeCount::ALL.len()],
}

/// A word of [`HandshakeCounters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeCount {
    /// Sessions begun.
    Started,
    /// Handshakes that finished with a verified peer.
    Connected,
    /// Handshakes that failed.
    Failed,
    /// Handshakes that did not finish in time.
    TimedOut,
    /// Connections that the peer closed.
    ClosedByPeer,
    /// Handshakes in progress now.
    InProgress,
    /// Legs that wait for their turn now.
    Waiting,
    /// Datagrams and messages dropped because a queue was full.
    Refused,
}

impl HandshakeCount {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Started,
        Self::Connected,
        Self::Failed,
        Self::TimedOut,
        Self::ClosedByPeer,
        Self::InProgress,
        Self::Waiting,
        Self::Refused,
    ];

    /// The counter's name as operators see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "handshakes_started",
            Self::Connected => "handshakes_connected",
            Self::Failed => "handshakes_failed",
            Self::TimedOut => "handshakes_timed_out",
            Self::ClosedByPeer => "dtls_closed_by_peer",
            Self::InProgress => "handshakes_in_progress",
            Self::Waiting => "handshakes_waiting",
            Self::Refused => "handshake_queue_full",
        }
    }
}

impl HandshakeCounters {
    /// A counter's value.
    pub fn get(&self, what: HandshakeCount) -> u64 {
        self.words.get(what as usize).map_or(0, |word| word.load(Relaxed))
    }

    /// All counters with their names.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        HandshakeCount::ALL.iter().map(|what| (what.name(), self.get(*what))).collect()
    }

    pub(super) fn add(&self, what: HandshakeCount) {
        self.set(what, self.get(what) + 1);
    }

    pub(super) fn set(&self, what: HandshakeCount, value: u64) {
        if let Some(word) = self.words.get(what as usize) {
            word.store(value, Relaxed);
        }
    }
}
