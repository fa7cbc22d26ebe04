//! NACK and PLI (RFC 4585 §6.2.1, §6.3.1), FIR (RFC 5104 §4.3.1).

use crate::bytes::{u8_at, u16_at, u32_at};

/// Length of the two SSRCs that begin every feedback message, bytes.
const HEAD_LEN: usize = 8;

/// A generic negative acknowledgement.
#[derive(Debug, Clone)]
pub struct Nack<'a> {
    /// Who misses packets.
    pub sender_ssrc: u32,
    /// The source whose packets are missing.
    pub media_ssrc: u32,
    entries: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let entries = body.get(HEAD_LEN..)?;
        Some(Nack { sender_ssrc: u32_at(body, 0), media_ssrc: u32_at(body, 4), entries })
    }

    /// Missing sequence numbers, in the order of the message.
    pub fn sequences(&self) -> NackSequences<'a> {
        NackSequences { entries: self.entries.chunks_exact(4), base: 0, mask: 0 }
    }
}

/// Sequence numbers of a [`Nack`].
#[derive(Debug, Clone)]
pub struct NackSequences<'a> {
    entries: core::slice::ChunksExact<'a, u8>,
    base: u16,
    mask: u16,
}

impl Iterator for NackSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let entry = self.entries.next()?;
            (self.base, self.mask) = (u16_at(entry, 0), u16_at(entry, 2));
            return Some(self.base);
        }
        let bit = self.mask.trailing_zeros() as u16;
        self.mask &= self.mask - 1;
        Some(self.base.wrapping_add(1 + bit))
    }
}

/// A picture loss indication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pli {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The source that shall send a key frame.
    pub media_ssrc: u32,
}

impl Pli {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        body.get(..HEAD_LEN)?;
        Some(Pli { sender_ssrc: u32_at(body, 0), media_ssrc: u32_at(body, 4) })
    }
}

/// A full intra request.
#[derive(Debug, Clone)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    entries: &'a [u8],
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Fir { sender_ssrc: u32_at(body, 0), entries: body.get(HEAD_LEN..)? })
    }

    /// The requests, one a source.
    pub fn entries(&self) -> FirEntries<'a> {
        FirEntries(self.entries.chunks_exact(8))
    }
}

/// One source's full intra request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirEntry {
    /// The source that shall send a key frame.
    pub ssrc: u32,
    /// Number of the request; the same number is the same request repeated.
    pub sequence: u8,
}

/// Requests of a [`Fir`].
#[derive(Debug, Clone)]
pub struct FirEntries<'a>(core::slice::ChunksExact<'a, u8>);

impl Iterator for FirEntries<'_> {
    type Item = FirEntry;

    fn next(&mut self) -> Option<FirEntry> {
        let entry = self.0.next()?;
        Some(FirEntry { ssrc: u32_at(entry, 0), sequence: u8_at(entry, 4) })
    }
}
