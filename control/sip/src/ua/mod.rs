//! The user agent (RFC 3261 §8): registrations, dialogs and requests of all accounts on one agent.
//!
//! [`UserAgent`] holds everything as plain data and does no I/O: messages of `bifrons-sip` go in by
//! [`UserAgent::handle`], messages for it come out of [`UserAgent::poll_output`], what the application has to know
//! out of [`UserAgent::poll_event`]. Each call ends with exactly one [`UaEvent::Ended`].
//!
//! | file | what it does |
//! |---|---|
//! | `register.rs` | accounts, REGISTER, refresh, back-off |
//! | `uac.rs`, `uas.rs` | calls out, calls in, the end of every call |
//! | `reinvite.rs` | offers inside a session |
//! | `requests.rs`, `refer.rs` | INFO, MESSAGE, OPTIONS, NOTIFY; transfers |
//! | `directory.rs` | which account a request outside a dialog names |
//! | `auth.rs` | whose challenges are answered |
//! | `restart.rs` | what a new SIP process is told |

mod account;
mod agent;
mod arena;
mod auth;
mod call;
mod config;
mod counters;
mod dialog;
mod directory;
mod error;
mod event;
pub(crate) mod random;
mod refer;
mod register;
mod reinvite;
mod request;
mod requests;
mod restart;
pub(crate) mod status;
mod uac;
mod uas;

pub use agent::UserAgent;
pub use arena::{AccountId, CallId, ReferId};
pub use config::{AccountConfig, Config, Listener, Source};
pub use counters::Counters;
pub use error::UaError;
pub use event::{Details, RequestId, UaEvent};
pub use register::EXPIRES_S_MAX;
pub use uac::RequestOptions;

/// Methods that we take.
pub(crate) const ALLOW: &str =
    "INVITE, ACK, BYE, CANCEL, OPTIONS, REFER, MESSAGE, INFO, NOTIFY, UPDATE, PRACK";
/// Phrase of a call that the peer's BYE ended, as Janus shows it.
pub const SESSION_TERMINATED: &str = "Session Terminated";
/// Phrase of a call that our BYE ended, as Janus shows it.
pub const TO_BYE: &str = "to BYE";
/// Phrase (with its space) of refused credentials, as Janus shows it with code 904.
pub const NO_MATCHING_CHALLENGE: &str = "Operation has no matching challenge ";
