use std::fmt;

use super::fingerprint::{FINGERPRINT_XOR, crc32};
use super::integrity::HMAC_LEN;
use super::{Attribute, IntegrityKey, kind};

/// Octets of a STUN header.
pub const HEADER_LEN: usize = 20;
/// The second word of every message (RFC 8489 §5).
pub const MAGIC_COOKIE: u32 = 0x2112_a442;
/// The method of ICE's checks.
pub const BINDING: u16 = 1;
/// The most attributes a message may have. ICE needs ten.
pub const ATTRIBUTES_MAX: usize = 32;

/// 96 bits that join a response to its request.
pub type TransactionId = [u8; 12];

/// Error codes that ICE uses.
pub mod error_code {
    /// RFC 8489 §14.8: malformed request.
    pub const BAD_REQUEST: u16 = 400;
    /// RFC 8489 §14.8: wrong credentials.
    pub const UNAUTHENTICATED: u16 = 401;
    /// RFC 8489 §14.8: a comprehension-required attribute was not understood.
    pub const UNKNOWN_ATTRIBUTE: u16 = 420;
    /// RFC 8445 §7.3.1.1.
    pub const ROLE_CONFLICT: u16 = 487;
}

/// A message's class (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// Answers a request.
    Success,
    /// Answers a request with ERROR-CODE.
    Error,
}

/// Why a datagram is not a STUN message that this crate accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunError {
    /// Shorter than a header.
    Short,
    /// The first two bits are not zero, or the magic cookie is absent (RFC 3489 clients).
    NotStun,
    /// The length field is not a multiple of four, or is not the rest of the datagram.
    Length,
    /// An attribute reaches past the end of the message.
    AttributeLength {
        /// The attribute's number.
        kind: u16,
    },
    /// More than [`ATTRIBUTES_MAX`].
    TooManyAttributes,
    /// An attribute follows FINGERPRINT, or FINGERPRINT or MESSAGE-INTEGRITY is of the wrong size.
    Order,
    /// A known attribute with a value that cannot be.
    MalformedAttribute {
        /// The attribute's number.
        kind: u16,
    },
}

impl fmt::Display for StunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StunError::Short => f.write_str("shorter than a STUN header"),
            StunError::NotStun => f.write_str("no STUN magic cookie"),
            StunError::Length => f.write_str("STUN length field does not fit the datagram"),
            StunError::AttributeLength { kind } => write!(f, "STUN attribute {kind:#06x} is cut off"),
            StunError::TooManyAttributes => write!(f, "more than {ATTRIBUTES_MAX} STUN attributes"),
            StunError::Order => f.write_str("STUN integrity or fingerprint misplaced or of wrong size"),
            StunError::MalformedAttribute { kind } => write!(f, "STUN attribute {kind:#06x} is malformed"),
        }
    }
}

impl std::error::Error for StunError {}

/// What [`Message::fingerprint`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fingerprint {
    /// The message has none. ICE requires it (RFC 8445 §7.1), yet some stacks leave it out.
    Absent,
    /// It is there and right.
    Valid,
    /// It is there and wrong: drop the message.
    Wrong,
}

/// A view over a STUN message whose frame was checked: header, length, and every attribute's bounds.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    header: &'a [u8; HEADER_LEN],
    /// Where attributes end that a reader may look at: at the first MESSAGE-INTEGRITY, since what
    /// follows is not covered by it (RFC 8489 §14.5), else at the end.
    visible_end: usize,
    /// The offset of MESSAGE-INTEGRITY's header.
    integrity_at: Option<usize>,
    /// The offset of FINGERPRINT's header.
    fingerprint_at: Option<usize>,
}

impl<'a> Message<'a> {
    /// Checks a datagram's frame. Attribute values are checked when they are read.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, StunError> {
        let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(StunError::Short)?;
        let &[t0, _, l0, l1, c0, c1, c2, c3, ..] = header;
        if t0 & 0xc0 != 0 || u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
            return Err(StunError::NotStun);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length % 4 != 0 || length != body.len() {
            return Err(StunError::Length);
        }
        let mut message =
            Message { bytes, header, visible_end: bytes.len(), integrity_at: None, fingerprint_at: None };
        let mut walk = Walk { rest: body };
        let mut count = 0;
        while let Some(step) = walk.next() {
            let (kind, value) = step?;
            count += 1;
            if count > ATTRIBUTES_MAX {
                return Err(StunError::TooManyAttributes);
            }
            if message.fingerprint_at.is_some() {
                return Err(StunError::Order);
            }
            // Both sizes are multiples of four, so there is no padding to count.
            let offset = bytes.len() - walk.rest.len() - value.len() - 4;
            match kind {
                kind::MESSAGE_INTEGRITY if value.len() != HMAC_LEN => return Err(StunError::Order),
                kind::MESSAGE_INTEGRITY if message.integrity_at.is_none() => {
                    message.integrity_at = Some(offset);
                    message.visible_end = offset;
                }
                kind::FINGERPRINT if value.len() != 4 => return Err(StunError::Order),
                kind::FINGERPRINT => {
                    message.fingerprint_at = Some(offset);
                    message.visible_end = message.visible_end.min(offset);
                }
                _ => {}
            }
        }
        Ok(message)
    }

    /// Request, indication, success or error.
    pub fn class(&self) -> Class {
        match (self.header[0] & 1, self.header[1] & 0x10) {
            (0, 0) => Class::Request,
            (0, _) => Class::Indication,
            (_, 0) => Class::Success,
            _ => Class::Error,
        }
    }

    /// The method's 12 bits; [`BINDING`] in ICE.
    pub fn method(&self) -> u16 {
        let word = u16::from_be_bytes([self.header[0], self.header[1]]);
        (word & 0x000f) | ((word & 0x00e0) >> 1) | ((word & 0x3e00) >> 2)
    }

    /// The transaction id.
    pub fn transaction_id(&self) -> TransactionId {
        let &[_, _, _, _, _, _, _, _, id @ ..] = self.header;
        id
    }

    /// The attributes that MESSAGE-INTEGRITY covers, or all before FINGERPRINT where it is absent.
    /// Where a kind stands twice, only the first counts (RFC 8489 §14): that is up to the reader.
    pub fn attributes(&self) -> Attributes<'a> {
        let visible = self.bytes.get(HEADER_LEN..self.visible_end).unwrap_or_default();
        Attributes { walk: Walk { rest: visible }, id: self.transaction_id() }
    }

    /// The value of USERNAME, if there is one. The cheap way to a leg before anything else is read.
    pub fn username(&self) -> Option<&'a [u8]> {
        self.attributes().walk.find_map(|step| match step {
            Ok((kind::USERNAME, value)) => Some(value),
            _ => None,
        })
    }

    /// Whether there is a MESSAGE-INTEGRITY at all.
    pub fn has_integrity(&self) -> bool {
        self.integrity_at.is_some()
    }

    /// Whether MESSAGE-INTEGRITY is there and right under `key`.
    pub fn verify_integrity(&self, key: &IntegrityKey) -> bool {
        let Some(at) = self.integrity_at else { return false };
        // The HMAC is over the message up to the attribute, with a length that includes it.
        let Some((covered, tag)) = self.bytes.split_at_checked(at) else { return false };
        let (Some(start), Some(rest), Some(tag)) = (covered.get(..2), covered.get(4..), tag.get(4..24))
        else {
            return false;
        };
        let length = ((at + 4 + HMAC_LEN - HEADER_LEN) as u16).to_be_bytes();
        key.verify(&[start, &length, rest], tag)
    }

    /// Checks FINGERPRINT. It is the last attribute, so the header's length is the one it was
    /// computed with.
    pub fn fingerprint(&self) -> Fingerprint {
        let Some(at) = self.fingerprint_at else { return Fingerprint::Absent };
        let Some((covered, attribute)) = self.bytes.split_at_checked(at) else { return Fingerprint::Wrong };
        let value = (crc32(&[covered]) ^ FINGERPRINT_XOR).to_be_bytes();
        if attribute.get(4..8) == Some(&value) { Fingerprint::Valid } else { Fingerprint::Wrong }
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("class", &self.class())
            .field("method", &self.method())
            .field("transaction_id", &self.transaction_id())
            .field("attributes", &self.attributes().collect::<Vec<_>>())
            .finish()
    }
}

/// The attributes of a message with their values checked.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    walk: Walk<'a>,
    id: TransactionId,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, StunError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.walk.next()?;
        Some(step.and_then(|(kind, value)| Attribute::decode(kind, value, &self.id)))
    }
}

/// Kind and value without padding, each within bounds.
#[derive(Clone, Debug)]
struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<(u16, &'a [u8]), StunError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some((&[k0, k1, l0, l1], rest)) = rest.split_first_chunk() else {
            return Some(Err(StunError::Length));
        };
        let kind = u16::from_be_bytes([k0, k1]);
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let (Some(value), Some(after)) = (rest.get(..len), rest.get(len.next_multiple_of(4)..)) else {
            return Some(Err(StunError::AttributeLength { kind }));
        };
        self.rest = after;
        Some(Ok((kind, value)))
    }
}
