//! SRTP and SRTCP (RFC 3711, RFC 7714): [`Outbound`] protects what a leg sends, [`Inbound`]
//! authenticates and decrypts what it receives, both in place and without allocation.
//!
//! Two back ends give the same bytes; [`Backend`] chooses. Indices (rollover counter, replay
//! window, the rule that none is used twice) are ours for both.

mod context;
mod differential;
mod error;
mod inbound;
mod index;
mod key;
mod native;
mod outbound;
mod packet;
mod profile;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use context::{Backend, ContextState, PACKET_LEN_MAX, Rollover, StreamState};
#[doc(hidden)]
pub use differential::differential;
pub use error::SrtpError;
pub use inbound::{INBOUND_SSRCS_MAX, Inbound, InboundCounters, REKEY_OVERLAP};
pub use index::{IndexWindow, WINDOW_LEN};
pub use key::MasterKey;
pub use outbound::{OUTBOUND_SSRCS_MAX, Outbound, OutboundCounters};
pub use profile::Profile;
