//! One leg's protocols, sans-IO: ICE, DTLS, SRTP, RTP stream state.
//!
//! Nothing here opens a socket, reads a clock or logs. `now` is a parameter ([`Time`]); datagrams
//! come in as bytes and go out through a sink of the caller's; events are polled.
#![forbid(unsafe_code)]

pub mod dtls;
pub mod ice;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod srtp;
pub mod stream;
mod time;

pub use time::Time;
