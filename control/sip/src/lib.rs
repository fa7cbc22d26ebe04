//! The SIP user agent: messages, dialogs, registrations, digest, as plain data.
//!
//! - [`message`]: a bounded parser and writer for SIP messages.
//! - [`digest`]: digest authentication, both sides.
//! - [`registrar`]: users, calls between them and an echo phone, for demonstrations.
//! - [`ua`]: accounts, calls and requests over the transactions of `bifrons-sip`.
#![forbid(unsafe_code)]

pub mod digest;
pub mod message;
pub mod registrar;
pub mod ua;
