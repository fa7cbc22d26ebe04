//! DTLS 1.2 (RFC 6347) with `use_srtp` (RFC 5764), sans-IO, over OpenSSL.
//!
//! A [`Session`] takes datagrams and the time and gives datagrams, one [`Event`] for the end of the
//! handshake and one for the end of the connection. Peers prove themselves by the fingerprint that
//! their SDP announced (RFC 8122), and no key leaves a session before that is checked.
//!
//! **Time.** OpenSSL would retransmit by the clock of the system. `bifrons-openssl` sets that timer
//! out of reach; the session has a clock of its own, fed with `now`, and makes OpenSSL send a
//! flight again when it says so. So a handshake over a lossy simulated network runs in simulated
//! time, and the same code runs in real time.
//!
//! **After the handshake.** An SSL holds nearly 70 KiB. Where no data channel needs it a [`Tail`] of some
//! hundred bytes takes its place at once: keys and sequence numbers enough to understand `close_notify` and
//! to send ours, and the last flight in ciphertext, for a peer that has missed it.
//!
//! **Cost.** Client 190 us, server 204 us a handshake with ECDSA P-256 certificates on both sides
//! and X25519, export and fingerprint included; a connected session holds 69 KiB (`taskset -c 1
//! dtls_cost` of `examples/dtls_cost.rs`, release build, one virtual core of an AMD EPYC,
//! 2026-11-20). A handshake costs as much as 2,000 packets: keep it off the workers.

mod certificate;
mod context;
mod datagrams;
mod event;
mod fingerprint;
#[cfg(test)]
mod openssl_command;
mod session;
mod tail;
#[cfg(test)]
mod tests;

pub use certificate::Certificate;
pub use context::{DtlsConfig, DtlsContext};
pub use event::{Connected, DtlsCounters, DtlsError, Event, FailReason, Role, SrtpKeys};
pub use fingerprint::{Fingerprint, FingerprintError, Hash};
pub use session::{APPLICATION_QUEUE_LEN_MAX, DATAGRAM_QUEUE_LEN_MAX, Session};
pub use tail::{Tail, TailEvent};
