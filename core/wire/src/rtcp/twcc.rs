//! Transport-wide congestion control feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use super::writer::Cursor;
use crate::bytes::{u8_at, u16_at, u24_at, u32_at};

/// Packets that a run-length chunk can tell of.
const RUN_MAX: usize = 0x1fff;
/// Packets in a vector chunk of one-bit symbols.
const ONE_BIT: usize = 14;
/// Packets in a vector chunk of two-bit symbols.
const TWO_BIT: usize = 7;

/// A feedback message: which transport sequence numbers arrived, and when.
#[derive(Debug, Clone)]
pub struct Twcc<'a> {
    /// Who reports.
    pub sender_ssrc: u32,
    /// A source of the transport; any of them.
    pub media_ssrc: u32,
    /// First transport sequence number reported on.
    pub base_sequence: u16,
    /// How many sequence numbers are reported on.
    pub status_count: u16,
    /// When the first deltas count from, multiples of 64 ms on the receiver's clock, 24 bit signed.
    pub reference_time: i32,
    /// Number of this feedback message.
    pub feedback_count: u8,
    rest: &'a [u8],
}

impl<'a> Twcc<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Twcc {
            sender_ssrc: u32_at(body, 0),
            media_ssrc: u32_at(body, 4),
            base_sequence: u16_at(body, 8),
            status_count: u16_at(body, 10),
            reference_time: ((u24_at(body, 12) << 8) as i32) >> 8,
            feedback_count: u8_at(body, 15),
            rest: body.get(16..)?,
        })
    }

    /// (sequence number, delta to the previous received packet in 250 µs if it arrived), in order; ends early
    /// where the message is cut off.
    pub fn statuses(&self) -> TwccStatuses<'a> {
        // The chunks must be counted first: deltas follow the last of them.
        let mut chunks_len = 0;
        let mut covered = 0;
        while covered < usize::from(self.status_count) && chunks_len + 2 <= self.rest.len() {
            covered += chunk_count(u16_at(self.rest, chunks_len)).max(1);
            chunks_len += 2;
        }
        let (chunks, deltas) = self.rest.split_at_checked(chunks_len).unwrap_or((&[], &[]));
        TwccStatuses {
            chunks: chunks.chunks_exact(2),
            deltas,
            chunk: 0,
            in_chunk: 0,
            sequence: self.base_sequence,
            left: self.status_count,
        }
    }
}

fn chunk_count(chunk: u16) -> usize {
    match chunk >> 14 {
        0 | 1 => usize::from(chunk) & RUN_MAX,
        2 => ONE_BIT,
        _ => TWO_BIT,
    }
}

/// Symbol of the packet `left` places before the end of its chunk.
fn chunk_symbol(chunk: u16, left: usize) -> u16 {
    match chunk >> 14 {
        0 | 1 => chunk >> 13 & 3,
        2 => chunk >> (left - 1) & 1,
        _ => chunk >> (2 * (left - 1)) & 3,
    }
}

/// Statuses of a [`Twcc`].
#[derive(Debug, Clone)]
pub struct TwccStatuses<'a> {
    chunks: core::slice::ChunksExact<'a, u8>,
    deltas: &'a [u8],
    chunk: u16,
    in_chunk: usize,
    sequence: u16,
    left: u16,
}

impl Iterator for TwccStatuses<'_> {
    type Item = (u16, Option<i16>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        while self.in_chunk == 0 {
            self.chunk = u16_at(self.chunks.next()?, 0);
            self.in_chunk = chunk_count(self.chunk);
        }
        let symbol = chunk_symbol(self.chunk, self.in_chunk);
        self.in_chunk -= 1;
        let delta = match symbol {
            1 => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i16::from(*delta))
            }
            2 => {
                let (delta, rest) = self.deltas.split_first_chunk::<2>()?;
                self.deltas = rest;
                Some(i16::from_be_bytes(*delta))
            }
            _ => None,
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some((sequence, delta))
    }
}

/// 0 not received, 1 received with a small delta, 2 received with a large or negative one.
fn symbol(status: &Option<i16>) -> u16 {
    match status {
        None => 0,
        Some(0..=255) => 1,
        Some(_) => 2,
    }
}

/// Writes chunks and deltas for `statuses`.
pub(super) fn write_statuses(to: &mut Cursor<'_>, statuses: &[Option<i16>]) {
    let mut rest = statuses;
    while let Some(first) = rest.first() {
        let first = symbol(first);
        let run = rest.iter().take(RUN_MAX).take_while(|status| symbol(status) == first).count();
        let vector = if rest.iter().take(ONE_BIT).all(|s| symbol(s) < 2) { ONE_BIT } else { TWO_BIT };
        // A run wins where it tells as much as the vector would.
        let taken = if run >= vector.min(rest.len()) {
            to.u16(first << 13 | run as u16);
            run
        } else {
            let taken = vector.min(rest.len());
            let bits = if vector == ONE_BIT { 1 } else { 2 };
            let mut chunk = if vector == ONE_BIT { 2 << 14 } else { 3 << 14 };
            for (i, status) in rest.iter().take(taken).enumerate() {
                chunk |= symbol(status) << (bits * (vector - 1 - i));
            }
            to.u16(chunk);
            taken
        };
        rest = rest.get(taken..).unwrap_or(&[]);
    }
    for delta in statuses.iter().flatten() {
        match u8::try_from(*delta) {
            Ok(small) => to.u8(small),
            Err(_) => to.u16(*delta as u16),
        }
    }
}
