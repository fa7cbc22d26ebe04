//! The plugins: echotest, nosip, sip.
//!
//! | module | gives |
//! | --- | --- |
//! | [`echotest`] | what a page sends comes back |
//! | [`nosip`] | a PeerConnection bridged to plain RTP |
//! | [`sip`] | accounts and calls of pages |
//! | [`plain`] | the plain side of a call, shared by nosip and sip |
//! | [`params`] | members of a request, checked |
#![forbid(unsafe_code)]

pub mod echotest;
pub mod nosip;
pub mod params;
pub mod plain;
pub mod sip;
#[cfg(test)]
#[allow(missing_docs)]
mod testing;
mod unique;
