//! What SRTP needs to see of a packet's clear header.

use super::SrtpError;

/// The parts of an RTP header that SRTP uses (RFC 3550 §5.1, §5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RtpHeader {
    /// Fixed header, CSRCs and header extension: authenticated, not encrypted.
    pub len: usize,
    pub sequence_number: u16,
    pub ssrc: u32,
}

impl RtpHeader {
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, SrtpError> {
        let &[first, _, seq_hi, seq_lo, _, _, _, _, s0, s1, s2, s3] =
            packet.first_chunk::<12>().ok_or(SrtpError::Malformed)?;
        if first >> 6 != 2 {
            return Err(SrtpError::Malformed);
        }
        let mut len = 12 + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let &[_, _, hi, lo] =
                packet.get(len..).and_then(<[u8]>::first_chunk::<4>).ok_or(SrtpError::Malformed)?;
            len += 4 + 4 * usize::from(u16::from_be_bytes([hi, lo]));
        }
        if packet.len() < len {
            return Err(SrtpError::Malformed);
        }
        Ok(Self {
            len,
            sequence_number: u16::from_be_bytes([seq_hi, seq_lo]),
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
        })
    }
}

/// Bytes at the start of a compound RTCP packet that stay clear (RFC 3711 §3.4).
pub(super) const RTCP_HEADER_LEN: usize = 8;

/// The SSRC of the first packet of a compound.
#[inline]
pub(super) fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    let &[first, _, _, _, s0, s1, s2, s3] =
        packet.first_chunk::<RTCP_HEADER_LEN>().ok_or(SrtpError::Malformed)?;
    if first >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    Ok(u32::from_be_bytes([s0, s1, s2, s3]))
}
