//! The SIP user agent: messages, dialogs, registrations, digest, as plain data.
#![forbid(unsafe_code)]

pub mod digest;
pub mod message;
