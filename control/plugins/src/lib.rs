//! The plugins: echotest, nosip, sip.
//!
//! | module | gives |
//! | --- | --- |
//! | [`plain`] | the plain side of a call, shared by nosip and sip |
#![forbid(unsafe_code)]

pub mod plain;
