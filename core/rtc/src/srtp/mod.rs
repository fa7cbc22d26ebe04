//! SRTP and SRTCP (RFC 3711, RFC 7714): [`Outbound`] protects what a leg sends, [`Inbound`]
//! authenticates and decrypts what it receives, both in place and without allocation.
//!
//! Two back ends give the same bytes; [`Backend`] chooses. Indices (rollover counter, replay
//! window, the rule that none is used twice) are ours for both.
//!
//! # What a packet costs
//!
//! ns a packet, protect/unprotect, bytes of payload x contexts in turn; middle of three runs of
//! `taskset -c 1 srtp_cost` (`examples/srtp_cost.rs`, release build) on one of two virtual cores of
//! an AMD EPYC (AES-NI, VAES, SHA-NI), with other work on the machine, 2026-11-20. Libsrtp is 2.3
//! with OpenSSL 3.5.5.
//!
//! | profile | back end | 160 x 1 | 1,200 x 1 | 160 x 1,000 | 1,200 x 1,000 |
//! | --- | --- | --- | --- | --- | --- |
//! | AEAD_AES_128_GCM | Native | 88/95 | 154/156 | 94/96 | 177/163 |
//! | AEAD_AES_128_GCM | Libsrtp | 231/163 | 314/241 | 278/215 | 371/321 |
//! | AEAD_AES_256_GCM | Native | 90/97 | 167/167 | 100/103 | 182/176 |
//! | AEAD_AES_256_GCM | Libsrtp | 228/163 | 343/246 | 268/215 | 379/306 |
//! | AES_CM_128_HMAC_SHA1_80 | Native | 205/215 | 859/867 | 208/219 | 881/892 |
//! | AES_CM_128_HMAC_SHA1_80 | Libsrtp | 217/234 | 812/833 | 297/350 | 1,057/1,202 |
//! | AES_CM_128_HMAC_SHA1_32 | Native | 209/218 | 876/885 | 239/254 | 904/915 |
//! | AES_CM_128_HMAC_SHA1_32 | Libsrtp | 218/231 | 807/821 | 307/302 | 1,144/1,205 |
//!
//! So the native back end is the default. libsrtp is 6 % faster in one case, long packets of one
//! context with HMAC-SHA1, and loses it again with many contexts. SHA-1 is the bound there, and why
//! GCM is preferred.
//!
//! # Example
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
pub(crate) use index::Refusal;
pub use index::{IndexWindow, RtcpWindow, RtpWindow, WINDOW_LEN};
pub use key::MasterKey;
pub use outbound::{OUTBOUND_SSRCS_MAX, Outbound, OutboundCounters};
pub use profile::Profile;
pub use table::Room;
