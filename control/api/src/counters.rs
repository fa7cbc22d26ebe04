//! What the core counts.

/// Totals since the start, and the sizes of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // A field counts what its name says.
pub struct Counters {
    pub requests: u64,
    pub errors: u64,
    pub sessions_created: u64,
    pub sessions_timed_out: u64,
    pub handles_attached: u64,
    pub peer_connections: u64,
    pub events_sent: u64,
    /// Events dropped because a session that waits for its claim had too many.
    pub events_dropped: u64,
    pub json_rejected: u64,
    pub unauthorized: u64,
    pub unknown_sessions: u64,
    /// Requests refused because their source had asked for too many unknown sessions.
    pub guesses_refused: u64,
    pub create_limited: u64,
    pub attach_limited: u64,
    pub message_limited: u64,
    pub sessions_full: u64,
    pub handles_full: u64,
    pub sdp_rejected: u64,
    pub candidates_dropped: u64,
    pub media_errors: u64,
}
