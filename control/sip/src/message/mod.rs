//! SIP messages: a bounded parser and a writer (RFC 3261 §7, §19, §20, §25).
//!
//! [`Message::parse`] checks what every message must have (start line, Via, From, To, Call-ID, CSeq, framing)
//! and keeps all other headers as text in their order; a typed accessor parses one of them when it is asked
//! for, so that a peer's odd header costs nothing until somebody needs it. Whatever the peer sends, the outcome
//! is a value or a [`ParseError`] that names the header.

mod address;
mod auth;
mod error;
mod headers;
mod method;
mod params;
mod parse;
mod text;
mod uri;
mod values;
mod via;

pub use address::NameAddr;
pub use auth::{AuthScheme, AuthValue};
pub use error::{ErrorKind, ParseError};
pub use headers::{Header, Headers};
pub use method::Method;
pub use params::Params;
pub use parse::{Message, StartLine, write_message};
pub use text::{is_token, quote, unquote};
pub use uri::{SipUri, Uri, escape};
pub use values::{CSeq, RAck, Reason, Replaces, SessionExpires, SubscriptionState};
pub use via::Via;

/// Largest message taken or written, in bytes (one datagram).
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// Most header lines of a message.
pub const HEADERS_MAX: usize = 256;
/// Longest start line or header value, in bytes, after unfolding.
pub const LINE_BYTES_MAX: usize = 8_192;
/// Most values of one list header (Via, Contact, Route …) over all its lines.
pub const LIST_VALUES_MAX: usize = 64;
/// Most parameters of one value or URI.
pub const PARAMS_MAX: usize = 64;
