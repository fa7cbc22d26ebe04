//! SRTP and SRTCP (RFC 3711, RFC 7714): [`Outbound`] protects what a leg sends, [`Inbound`]
//! authenticates and decrypts what it receives, both in place and without allocation.
//!
//! Two back ends give the same bytes; [`Backend`] chooses. Indices (rollover counter, replay
//! window, the rule that none is used twice) are ours for both.
//!
//! ```
//! use bifrons_rtc::Time;
//! use bifrons_rtc::srtp::{Backend, Inbound, MasterKey, Outbound, Profile, SrtpError};
//!
//! let key = MasterKey::generate(Profile::AeadAes128Gcm).expect("randomness");
//! let mut outbound = Outbound::new(Backend::default(), &key)?;
//! let mut inbound = Inbound::new(Backend::default(), &key)?;
//!
//! // An RTP packet with three bytes of payload, and room for the tag behind it.
//! let mut buf = [0; 64];
//! buf[..15].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7, 1, 2, 3]);
//! let len = outbound.protect_rtp(&mut buf, 15)?;
//! assert_eq!(len, 15 + 16);
//! assert_eq!(outbound.protect_rtp(&mut buf, 15), Err(SrtpError::IndexUsed));
//!
//! let len = inbound.unprotect_rtp(Time::ZERO, &mut buf[..len])?;
//! assert_eq!(buf[12..len], [1, 2, 3]);
//! # Ok::<(), SrtpError>(())
//! ```

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
