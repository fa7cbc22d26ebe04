//! Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2).

use crate::bytes::{u8_at, u24_at, u32_at};

/// `REMB`.
pub(super) const IDENTIFIER: u32 = u32::from_be_bytes(*b"REMB");
const MANTISSA_BITS: u32 = 18;

/// A bitrate estimate.
#[derive(Debug, Clone)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender_ssrc: u32,
    /// Total estimated bitrate of the sources, bit/s; more than 64 bits can say is `u64::MAX`.
    pub bitrate_bps: u64,
    ssrcs: &'a [u8],
}

impl<'a> Remb<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let ssrcs = body.get(16..)?.get(..4 * usize::from(u8_at(body, 12)))?;
        let word = u24_at(body, 13);
        let (exponent, mantissa) = (word >> MANTISSA_BITS, u64::from(word & ((1 << MANTISSA_BITS) - 1)));
        let fits = mantissa.leading_zeros() >= exponent;
        let bitrate_bps = if fits { mantissa << exponent } else { u64::MAX };
        Some(Remb { sender_ssrc: u32_at(body, 0), bitrate_bps, ssrcs })
    }

    /// Sources that the estimate is about.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + 'a {
        self.ssrcs.chunks_exact(4).map(|bytes| u32_at(bytes, 0))
    }
}

/// The 24 bits of exponent and mantissa, rounded down.
pub(super) fn encode_bitrate(bitrate_bps: u64) -> u32 {
    let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(MANTISSA_BITS);
    exponent << MANTISSA_BITS | (bitrate_bps >> exponent) as u32
}
