use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, StunError, TransactionId};

/// Attribute kinds (IANA "STUN Attributes"). Kinds below 0x8000 are comprehension-required.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the registry's")]
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const SOFTWARE: u16 = 0x8022;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802a;
}

/// An attribute with a value that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// RFC 8489 §14.3; in ICE `receiver's ufrag:sender's ufrag` (RFC 8445 §7.2.2). At most 513 octets
    /// (two ufrags of 256), which is more than the 508 that RFC 8489 allows.
    Username(&'a [u8]),
    /// RFC 8489 §14.2.
    XorMappedAddress(SocketAddr),
    /// RFC 8489 §14.1.
    MappedAddress(SocketAddr),
    /// RFC 8445 §7.1.1: the priority that a peer-reflexive candidate made by this check has.
    Priority(u32),
    /// RFC 8445 §7.1.2.
    UseCandidate,
    /// RFC 8445 §7.1.3, with the tie-breaker.
    IceControlled(u64),
    /// RFC 8445 §7.1.3, with the tie-breaker.
    IceControlling(u64),
    /// RFC 8489 §14.8.
    ErrorCode(ErrorCode<'a>),
    /// RFC 8489 §14.13.
    UnknownAttributes(UnknownKinds<'a>),
    /// RFC 8489 §14.14.
    Software(&'a [u8]),
    /// A kind that this crate does not interpret.
    Other {
        /// Its number; see [`Attribute::is_unknown_required`].
        kind: u16,
        /// Its value without padding.
        value: &'a [u8],
    },
}

/// Two ufrags of 256 characters and the colon.
const USERNAME_LEN_MAX: usize = 513;

impl<'a> Attribute<'a> {
    pub(super) fn decode(kind: u16, value: &'a [u8], id: &TransactionId) -> Result<Attribute<'a>, StunError> {
        let malformed = StunError::MalformedAttribute { kind };
        Ok(match kind {
            kind::USERNAME if value.len() <= USERNAME_LEN_MAX => Attribute::Username(value),
            kind::USERNAME => return Err(malformed),
            kind::XOR_MAPPED_ADDRESS => {
                Attribute::XorMappedAddress(xor(address(value).ok_or(malformed)?, id))
            }
            kind::MAPPED_ADDRESS => Attribute::MappedAddress(address(value).ok_or(malformed)?),
            kind::PRIORITY => {
                Attribute::Priority(u32::from_be_bytes(value.try_into().map_err(|_| malformed)?))
            }
            kind::USE_CANDIDATE if value.is_empty() => Attribute::UseCandidate,
            kind::USE_CANDIDATE => return Err(malformed),
            kind::ICE_CONTROLLED => {
                Attribute::IceControlled(u64::from_be_bytes(value.try_into().map_err(|_| malformed)?))
            }
            kind::ICE_CONTROLLING => {
                Attribute::IceControlling(u64::from_be_bytes(value.try_into().map_err(|_| malformed)?))
            }
            kind::ERROR_CODE => Attribute::ErrorCode(ErrorCode::decode(value).ok_or(malformed)?),
            kind::UNKNOWN_ATTRIBUTES => Attribute::UnknownAttributes(UnknownKinds(value)),
            kind::SOFTWARE => Attribute::Software(value),
            _ => Attribute::Other { kind, value },
        })
    }

    /// The kind, where it is comprehension-required and not understood here: a request with it is
    /// answered with 420 (RFC 8489 §6.3.1), a response with it fails its transaction.
    pub fn is_unknown_required(&self) -> Option<u16> {
        match *self {
            Attribute::Other { kind: kind::REALM | kind::NONCE | kind::MESSAGE_INTEGRITY_SHA256, .. } => None,
            Attribute::Other { kind, .. } if kind < 0x8000 => Some(kind),
            _ => None,
        }
    }
}

/// The value of ERROR-CODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// 300–699.
    pub code: u16,
    /// The phrase for people; not checked to be UTF-8.
    pub reason: &'a [u8],
}

impl<'a> ErrorCode<'a> {
    fn decode(value: &'a [u8]) -> Option<ErrorCode<'a>> {
        let (&[_, _, class, number], reason) = value.split_first_chunk()?;
        let class = class & 0x07;
        if !(3..=6).contains(&class) || number > 99 {
            return None;
        }
        Some(ErrorCode { code: u16::from(class) * 100 + u16::from(number), reason })
    }
}

/// The kinds listed in UNKNOWN-ATTRIBUTES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownKinds<'a>(&'a [u8]);

impl Iterator for UnknownKinds<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (&kind, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(kind))
    }
}

fn address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], ip) = value.split_first_chunk()?;
    let ip = match family {
        1 => IpAddr::V4(<[u8; 4]>::try_from(ip).ok()?.into()),
        2 => IpAddr::V6(<[u8; 16]>::try_from(ip).ok()?.into()),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([p0, p1])))
}

/// The XOR of RFC 8489 §14.2; its own inverse.
pub(super) fn xor(address: SocketAddr, id: &TransactionId) -> SocketAddr {
    let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            mask[4..].copy_from_slice(id);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ u128::from_be_bytes(mask)))
        }
    };
    SocketAddr::new(ip, port)
}
