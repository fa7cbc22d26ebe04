//! What comes out of the core: replies and events for transports.

use std::net::IpAddr;

/// A transport instance: one WebSocket connection, one HTTP request. Given by the transports, never used
/// twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportId(pub u64);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct RequestSource {
    /// The transport instance, which gets the reply.
    pub transport: TransportId,
    /// The client's address, for limits a source; `None`: a local or trusted channel without limits.
    pub ip: Option<IpAddr>,
}

/// One thing for the transports to do, in the order in which the core did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The one answer to a request, for the transport that made it.
    Reply {
        /// The requester.
        transport: TransportId,
        /// Compact JSON.
        text: String,
    },
    /// An event of a session, for the transport that owns it.
    Event {
        /// The owner.
        transport: TransportId,
        /// The session.
        session: u64,
        /// Compact JSON.
        text: String,
    },
    /// A session begins, or a `claim` gives it to this transport. Its events come after this.
    SessionOpened {
        /// The owner.
        transport: TransportId,
        /// The session.
        session: u64,
    },
    /// No event of this session comes to this transport any more.
    SessionClosed {
        /// The former owner.
        transport: TransportId,
        /// The session.
        session: u64,
        /// Why.
        why: SessionEnd,
    },
}

/// Why a transport loses a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// `destroy`, or the Admin API.
    Destroyed,
    /// Idle for too long; the `timeout` event has gone out.
    TimedOut,
    /// Another transport claimed it.
    Claimed,
}
