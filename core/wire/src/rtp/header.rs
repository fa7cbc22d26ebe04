//! The offsets of one RTP header, checked once.

use core::fmt;
use core::ops::Range;

use super::{FIXED_HEADER_LEN, VERSION};
use crate::bytes::{u8_at, u16_at, u32_at};

/// Fields and offsets of one RTP header (RFC 3550 §5.1).
///
/// Parsing looks at the header alone, so it works on an SRTP packet too: there the padding count is still
/// encrypted, and only [`Header::payload`] or [`super::Packet::parse`] look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Marker bit.
    pub marker: bool,
    /// Padding bit; how much padding there is stands in the last byte of the (decrypted) packet.
    pub padding: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, units of the payload's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// Number of contributing sources, 0..=15.
    pub csrc_count: u8,
    /// `defined by profile` of the extension block, if there is one.
    pub extension_profile: Option<u16>,
    extension_start: u16,
    header_len: u16,
}

impl Header {
    /// Reads and checks a header at the start of `packet`; the payload, padding and SRTP trailer are not
    /// looked at.
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let fixed: &[u8; FIXED_HEADER_LEN] = packet.first_chunk().ok_or(RtpError::TooShort)?;
        let [first, second, ..] = *fixed;
        if first >> 6 != VERSION {
            return Err(RtpError::Version(first >> 6));
        }
        let csrc_count = first & 0x0f;
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(csrc_count);
        let mut extension_start = header_len;
        let mut extension_profile = None;
        if first & 0x10 != 0 {
            extension_start = header_len + 4;
            if packet.len() < extension_start {
                return Err(RtpError::ExtensionTooLong);
            }
            extension_profile = Some(u16_at(packet, header_len));
            header_len = extension_start + 4 * usize::from(u16_at(packet, header_len + 2));
        }
        if packet.len() < header_len {
            let error =
                if extension_profile.is_some() { RtpError::ExtensionTooLong } else { RtpError::CsrcTooLong };
            return Err(error);
        }
        Ok(Header {
            marker: second & 0x80 != 0,
            padding: first & 0x20 != 0,
            payload_type: second & 0x7f,
            sequence: u16_at(packet, 2),
            timestamp: u32_at(packet, 4),
            ssrc: u32_at(packet, 8),
            csrc_count,
            extension_profile,
            extension_start: u16::try_from(extension_start).map_err(|_| RtpError::TooLong)?,
            header_len: u16::try_from(header_len).map_err(|_| RtpError::TooLong)?,
        })
    }

    /// Length of the header with sources and extension block, bytes: where the payload starts.
    pub fn len(&self) -> usize {
        usize::from(self.header_len)
    }

    /// Never true: a header has at least twelve bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Where the extension block's elements stand, without its four-byte head; empty without a block.
    pub fn extension_range(&self) -> Range<usize> {
        usize::from(self.extension_start)..usize::from(self.header_len)
    }

    /// Where the payload stands in the decrypted `packet`, padding left out (RFC 3550 §5.1).
    pub fn payload(&self, packet: &[u8]) -> Result<Range<usize>, RtpError> {
        let start = self.len();
        let padding_len = match packet.len().checked_sub(1) {
            Some(last) if self.padding => match usize::from(u8_at(packet, last)) {
                0 => return Err(RtpError::Padding),
                len => len,
            },
            _ => 0,
        };
        match packet.len().checked_sub(padding_len) {
            Some(end) if end >= start => Ok(start..end),
            _ => Err(RtpError::Padding),
        }
    }
}

/// Why bytes are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtpError {
    /// Fewer than the twelve bytes of the fixed header.
    TooShort,
    /// Longer than a datagram can be.
    TooLong,
    /// The version field is not 2.
    Version(u8),
    /// More contributing sources announced than there are bytes.
    CsrcTooLong,
    /// The extension block is longer than the packet.
    ExtensionTooLong,
    /// The padding count is zero or longer than the payload.
    Padding,
}

impl fmt::Display for RtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RtpError::TooShort => f.write_str("RTP packet shorter than its fixed header"),
            RtpError::TooLong => f.write_str("RTP packet longer than a datagram"),
            RtpError::Version(version) => write!(f, "RTP version {version} instead of 2"),
            RtpError::CsrcTooLong => f.write_str("RTP contributing sources longer than the packet"),
            RtpError::ExtensionTooLong => f.write_str("RTP header extension longer than the packet"),
            RtpError::Padding => f.write_str("RTP padding count zero or longer than the payload"),
        }
    }
}

impl core::error::Error for RtpError {}
