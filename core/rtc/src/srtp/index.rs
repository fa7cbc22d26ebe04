//! Packet indices: the estimate of the rollover counter (RFC 3711 §3.3.1), and the window of those
//! that were used (RFC 3711 §3.3.2).

/// SRTP packets that a window remembers (RFC 3711 §3.3.2 asks for at least 64): with 300 ms of jitter a packet
/// may be overtaken by all that are sent meanwhile, which are as many at 1,700 a second, some 16 Mbit/s.
pub const WINDOW_LEN: u64 = RtpWindow::LEN;

/// The indices of an SSRC's SRTP packets.
pub type RtpWindow = IndexWindow<8>;
/// The indices of an SSRC's SRTCP packets.
pub type RtcpWindow = IndexWindow<2>;

/// The largest index of an SRTP packet: 32 bits of rollover counter, 16 of sequence number.
const INDEX_MAX: u64 = (1 << 48) - 1;

/// Which indices of one SSRC were used: the highest, and those below it, 64 for each word.
///
/// For SRTP an index is the rollover counter followed by the sequence number; for SRTCP it is the
/// 31-bit packet index; elsewhere an extended sequence number (RFC 3550 §A.1). The fields are public so that they can be stored and taken up elsewhere.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexWindow<const WORDS: usize> {
    /// The highest index so far; zero at the start.
    pub highest: u64,
    /// A ring: bit `i % 64` of word `i / 64 % WORDS` tells that index `i` was used.
    pub used: [u64; WORDS],
}

impl<const WORDS: usize> Default for IndexWindow<WORDS> {
    fn default() -> Self {
        Self { highest: 0, used: [0; WORDS] }
    }
}

/// Why an index must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Used,
    TooOld,
}

impl<const WORDS: usize> IndexWindow<WORDS> {
    /// Indices that it remembers.
    pub const LEN: u64 = 64 * WORDS as u64;

    /// The index that a packet with this sequence number most likely has; none where the rollover
    /// counter would pass its end.
    ///
    /// While the highest index is in the first half of the first round, the rollover counter is
    /// taken as zero: there is no round before.
    #[inline]
    pub(crate) fn estimate(&self, sequence_number: u16) -> Option<u64> {
        const HALF: u64 = 1 << 15;
        let sequence_number = u64::from(sequence_number);
        if self.highest <= HALF {
            return Some(sequence_number);
        }
        let (round, last) = (self.highest & !0xffff, self.highest & 0xffff);
        let round = if last < HALF {
            if sequence_number > last + HALF { round.checked_sub(1 << 16)? } else { round }
        } else if last - HALF > sequence_number {
            round.checked_add(1 << 16)?
        } else {
            round
        };
        let index = round | sequence_number;
        (index <= INDEX_MAX).then_some(index)
    }

    /// Whether the index may be used.
    #[inline]
    pub(crate) fn check(&self, index: u64) -> Result<(), Refusal> {
        if index > self.highest {
            return Ok(());
        }
        let below = self.highest - index;
        if below >= Self::LEN {
            Err(Refusal::TooOld)
        } else if self.used.get(Self::word(index)).is_none_or(|word| word >> (index % 64) & 1 == 1) {
            Err(Refusal::Used)
        } else {
            Ok(())
        }
    }

    /// Whether the index was used, as far as it is remembered.
    pub(crate) fn contains(&self, index: u64) -> bool {
        self.check(index) == Err(Refusal::Used)
    }

    /// Notes an index that [`check`](Self::check) allowed.
    #[inline]
    pub(crate) fn insert(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest < Self::LEN {
                // What stood there was a window's length before.
                (self.highest + 1..index).for_each(|between| self.set(between, false));
            } else {
                self.used = [0; WORDS];
            }
            self.highest = index;
        }
        if self.highest - index < Self::LEN {
            self.set(index, true);
        }
    }

    fn set(&mut self, index: u64, on: bool) {
        if let Some(word) = self.used.get_mut(Self::word(index)) {
            *word = *word & !(1 << (index % 64)) | u64::from(on) << (index % 64);
        }
    }

    fn word(index: u64) -> usize {
        (index / 64) as usize % WORDS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_counter_follows_a_wrap_both_ways() {
        let mut window = RtpWindow::default();
        for seq in [65_534u16, 65_535, 0, 1] {
            let index = window.estimate(seq).unwrap();
            window.check(index).unwrap();
            window.insert(index);
        }
        assert_eq!(window.highest, 0x1_0001);
        // A straggler from before the wrap.
        assert_eq!(window.estimate(65_533), Some(65_533));
        assert_eq!(window.check(65_533), Ok(()));
        assert_eq!(window.check(65_535), Err(Refusal::Used));
        assert_eq!(window.check(0x1_0001 - WINDOW_LEN), Err(Refusal::TooOld));
    }

    #[test]
    fn the_last_round_has_no_successor() {
        let window = RtpWindow { highest: INDEX_MAX, ..Default::default() };
        assert_eq!(window.estimate(0), None);
        assert_eq!(window.estimate(65_000), Some(INDEX_MAX - 535));
    }

    fn like_a_set<const WORDS: usize>(indices: &[u64]) -> Result<(), TestCaseError> {
        let (mut window, mut set) = (IndexWindow::<WORDS>::default(), HashSet::new());
        let mut highest = 0;
        for index in indices.iter().copied() {
            let expected = if index + IndexWindow::<WORDS>::LEN <= highest {
                Err(Refusal::TooOld)
            } else if set.contains(&index) {
                Err(Refusal::Used)
            } else {
                Ok(())
            };
            prop_assert_eq!(window.check(index), expected);
            prop_assert_eq!(window.contains(index), expected == Err(Refusal::Used));
            if expected.is_ok() {
                window.insert(index);
                set.insert(index);
                highest = highest.max(index);
            }
        }
        Ok(())
    }

    proptest! {
        /// Against a set: nothing is allowed twice, and what is new and within the window is allowed.
        #[test]
        fn same_as_a_set(steps in proptest::collection::vec(0u64..2500, 1..400)) {
            like_a_set::<8>(&steps)?;
            like_a_set::<2>(&steps.iter().map(|index| index / 4).collect::<Vec<_>>())?;
        }

        /// Any step of less than half a round is followed.
        #[test]
        fn estimates_within_half_a_round(start in 40_000u64..1 << 40, step in -32_000i64..32_000) {
            let window = RtpWindow { highest: start, ..Default::default() };
            let index = start.checked_add_signed(step).unwrap();
            prop_assert_eq!(window.estimate(index as u16), Some(index));
        }
    }
}
