//! STUN (RFC 8489) as ICE uses it (RFC 8445): Binding requests, responses and indications with
//! short-term credentials.
//!
//! [`Message`] is a checked view over a received datagram, [`Writer`] writes a message into the
//! caller's buffer. Neither allocates. [`IntegrityKey`] keeps the HMAC's state after its key, which
//! halves the cost of a message.

mod attribute;
mod fingerprint;
mod integrity;
mod message;
mod writer;

pub use attribute::{Attribute, ErrorCode, UnknownKinds, kind};
pub use fingerprint::crc32;
pub use integrity::IntegrityKey;
pub use message::{
    ATTRIBUTES_MAX, Attributes, BINDING, Class, Fingerprint, HEADER_LEN, MAGIC_COOKIE, Message, StunError,
    TransactionId, error_code,
};
pub use writer::{Full, Writer};

#[cfg(test)]
mod rfc5769;
