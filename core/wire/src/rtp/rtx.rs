//! RTP retransmission payload format (RFC 4588): the original sequence number before the payload.

use core::fmt;
use core::ops::Range;

use super::{Packet, RtpError};
use crate::bytes::{put, u16_at};

/// Length of the original sequence number, bytes (RFC 4588 §4).
const OSN_LEN: usize = 2;

/// Turns the packet at `packet` in `buffer` into its retransmission and gives the new place.
///
/// The header moves two bytes down to make room for the original sequence number; padding is left off.
pub fn rtx_wrap(
    buffer: &mut [u8],
    packet: Range<usize>,
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
) -> Result<Range<usize>, RtxError> {
    let original = Packet::at(buffer, packet.clone())?;
    let (header_len, payload, original) =
        (original.header().len(), original.payload_range(), original.header().sequence);
    let start = packet.start.checked_sub(OSN_LEN).ok_or(RtxError::NoHeadroom)?;
    buffer.copy_within(packet.start..packet.start + header_len, start);
    put(buffer, start + header_len, &original.to_be_bytes());
    let new = start..packet.start + payload.end;
    rename(buffer, new.clone(), payload_type, ssrc, sequence)?;
    Ok(new)
}

/// Turns the retransmission at `packet` in `buffer` back into the original packet and gives the new place.
///
/// `payload_type` and `ssrc` are those of the original stream. A packet without a payload is a probe for
/// bandwidth, not a retransmission: [`RtxError::NoPayload`].
pub fn rtx_unwrap(
    buffer: &mut [u8],
    packet: Range<usize>,
    payload_type: u8,
    ssrc: u32,
) -> Result<Range<usize>, RtxError> {
    let rtx = Packet::at(buffer, packet.clone())?;
    let (header_len, payload) = (rtx.header().len(), rtx.payload_range());
    if payload.len() < OSN_LEN {
        return Err(RtxError::NoPayload);
    }
    let original = u16_at(buffer, packet.start + payload.start);
    let start = packet.start + OSN_LEN;
    buffer.copy_within(packet.start..packet.start + header_len, start);
    let new = start..packet.start + payload.end;
    rename(buffer, new.clone(), payload_type, ssrc, original)?;
    Ok(new)
}

/// Sets what differs between original and retransmission; both are without padding.
fn rename(buffer: &mut [u8], at: Range<usize>, pt: u8, ssrc: u32, seq: u16) -> Result<(), RtxError> {
    let bytes = buffer.get_mut(at).ok_or(RtpError::TooShort)?;
    if let Some(first) = bytes.first_mut() {
        *first &= !0x20;
    }
    let mut packet = Packet::parse(bytes)?;
    packet.set_payload_type(pt);
    packet.set_ssrc(ssrc);
    packet.set_sequence(seq);
    Ok(())
}

/// Why a retransmission was not made or not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtxError {
    /// What stands there is not an RTP packet.
    Rtp(RtpError),
    /// There are no two bytes of room before the packet.
    NoHeadroom,
    /// Less payload than an original sequence number.
    NoPayload,
}

impl From<RtpError> for RtxError {
    fn from(error: RtpError) -> Self {
        RtxError::Rtp(error)
    }
}

impl fmt::Display for RtxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RtxError::Rtp(error) => error.fmt(f),
            RtxError::NoHeadroom => f.write_str("no room before the packet for an original sequence number"),
            RtxError::NoPayload => f.write_str("retransmission without an original sequence number"),
        }
    }
}

impl core::error::Error for RtxError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_then_unwrap() {
        let mut original = vec![0x90, 0xe0, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 7];
        original.extend([0xbe, 0xde, 0, 1, 0x30, b'0', 0, 0, 9, 8, 7]);
        let mut b = vec![0; 10];
        b.extend(&original);
        let end = b.len();
        let rtx = rtx_wrap(&mut b, 10..end, 97, 8, 42).unwrap();
        assert_eq!(rtx, 8..end);
        let p = Packet::at(&b, rtx.clone()).unwrap();
        assert_eq!((p.header().payload_type, p.header().ssrc, p.header().sequence), (97, 8, 42));
        assert_eq!((p.payload(), p.header().marker), (&[0xff, 0xff, 9, 8, 7][..], true));
        assert_eq!(p.extension(3), Some(&b"0"[..]));
        let back = rtx_unwrap(&mut b, rtx, 96, 7).unwrap();
        assert_eq!(&b[back], &original[..]);
    }

    #[test]
    fn padding_is_left_off() {
        let mut b = vec![0, 0, 0xa0, 96, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7, 1, 2, 0, 2];
        let rtx = rtx_wrap(&mut b, 2..18, 97, 8, 1).unwrap();
        assert_eq!(rtx, 0..16);
        assert_eq!(Packet::at(&b, rtx).unwrap().payload(), [0, 5, 1, 2]);
    }

    #[test]
    fn hostile() {
        let mut b = vec![0x80, 97, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7, 1];
        assert_eq!(rtx_unwrap(&mut b, 0..12, 96, 7), Err(RtxError::NoPayload));
        assert_eq!(rtx_unwrap(&mut b, 0..13, 96, 7), Err(RtxError::NoPayload));
        assert_eq!(rtx_unwrap(&mut b, 0..11, 96, 7), Err(RtxError::Rtp(RtpError::TooShort)));
        assert_eq!(rtx_wrap(&mut b, 0..13, 96, 7, 1), Err(RtxError::NoHeadroom));
        // A padding that eats the original sequence number (the underflow of older gateways).
        let mut b = vec![0xa0, 97, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7, 1, 2, 3, 3];
        assert_eq!(rtx_unwrap(&mut b, 0..16, 96, 7), Err(RtxError::NoPayload));
    }
}
