//! DTLS beside the workers: a handshake costs as much as a thousand packets.
//!
//! A [`Handshaker`] owns the DTLS session of every leg of its workers. A worker carries the datagrams
//! between the wire and here, inline in bounded rings. The message with the keys stands in the ring
//! before the flight that ends the handshake, so that keys are installed before the peer can use them.

mod counters;
mod handshaker;

pub use counters::{HandshakeCount, HandshakeCounters};
pub use handshaker::Handshaker;

use std::sync::Arc;

use bifrons_rtc::dtls::{Fingerprint, Role};
use rtrb::{Consumer, Producer};

use crate::id::LegId;
use crate::leg::Keys;
use crate::media::LegEnd;
use crate::message::Inline;

/// What starts a session.
pub(crate) struct Start {
    pub leg: LegId,
    pub role: Role,
    pub fingerprint: Fingerprint,
}

/// Worker → handshake thread.
#[expect(clippy::large_enum_variant, reason = "slots of a ring: a pointer would be an allocation a datagram")]
pub(crate) enum ToHandshake {
    /// A pair is selected: begin. A session that the leg had before goes on until this one is done.
    Start(Box<Start>),
    /// A datagram from the selected pair.
    Datagram { leg: LegId, datagram: Inline },
    /// The leg goes: say so to the peer, and forget it.
    Close { leg: LegId },
}

/// Handshake thread → worker.
#[expect(clippy::large_enum_variant, reason = "slots of a ring: a pointer would be an allocation a datagram")]
pub(crate) enum FromHandshake {
    /// Send this to the peer.
    Datagram { leg: LegId, datagram: Inline },
    /// The handshake is done and the peer is who its SDP says.
    Keys { leg: LegId, keys: Box<Keys> },
    /// It failed, or the peer has closed.
    Ended { leg: LegId, why: LegEnd },
    /// All that [`ToHandshake::Close`] had to say is said.
    Closed { leg: LegId },
}

/// A worker's end.
pub(crate) struct WorkerLink {
    pub to: Producer<ToHandshake>,
    pub from: Consumer<FromHandshake>,
    /// Wakes the handshake thread.
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

/// The handshake thread's end.
pub(crate) struct HandshakerLink {
    pub to: Producer<FromHandshake>,
    pub from: Consumer<ToHandshake>,
    /// Wakes the worker, once its driver is there.
    pub waker: Arc<crate::wake::WakerCell>,
}
