//! Statistics of an m-line, written by its worker and read by the control side.

use crate::driver::prefetch::LINE;
use crate::media::StreamStats;
use crate::sync::{AtomicU64, Ordering::Relaxed};

/// A word of [`StreamShared`]. Those that each packet changes come first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    InPackets,
    InBytes,
    InLost,
    InJitter,
    OutPackets,
    OutBytes,
    OutLost,
    OutJitter,
    RoundTripUs,
    NacksSent,
    NacksReceived,
    Retransmitted,
    /// Bits a second that the peer says it can take (REMB), 0: never said.
    RembBps,
    /// Packets dropped because the leg had spent its budget.
    OverBudget,
}

const WORDS: usize = 14;

const _: () = assert!(Word::OutBytes as usize * size_of::<u64>() < LINE);

/// One writer, relaxed load and store. Each word stands for itself: a report may show a packet whose
/// bytes are in the next report.
///
/// What each packet changes is one line, and the counts of references, which the control side changes, are in
/// another.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct StreamShared {
    words: [AtomicU64; WORDS],
}

impl StreamShared {
    pub(crate) fn add(&self, word: Word, more: u64) {
        if let Some(word) = self.words.get(word as usize) {
            word.store(word.load(Relaxed).wrapping_add(more), Relaxed);
        }
    }

    pub(crate) fn set(&self, word: Word, value: u64) {
        if let Some(word) = self.words.get(word as usize) {
            word.store(value, Relaxed);
        }
    }

    pub(crate) fn get(&self, word: Word) -> u64 {
        self.words.get(word as usize).map_or(0, |word| word.load(Relaxed))
    }

    /// A copy.
    pub(crate) fn read(&self) -> StreamStats {
        StreamStats {
            in_packets: self.get(Word::InPackets),
            in_bytes: self.get(Word::InBytes),
            out_packets: self.get(Word::OutPackets),
            out_bytes: self.get(Word::OutBytes),
            in_lost: self.get(Word::InLost) as i64,
            out_lost: self.get(Word::OutLost) as i64,
            in_jitter: self.get(Word::InJitter) as u32,
            out_jitter: self.get(Word::OutJitter) as u32,
            round_trip_us: self.get(Word::RoundTripUs) as u32,
            nacks_sent: self.get(Word::NacksSent),
            nacks_received: self.get(Word::NacksReceived),
            retransmitted: self.get(Word::Retransmitted),
            over_budget: self.get(Word::OverBudget),
        }
    }
}
