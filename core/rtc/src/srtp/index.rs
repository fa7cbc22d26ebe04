//! Packet indices: the estimate of the rollover counter (RFC 3711 §3.3.1), and the window of those
//! that were used (RFC 3711 §3.3.2).

/// Packets that a window remembers (RFC 3711 §3.3.2 asks for at least 64).
pub const WINDOW_LEN: u64 = 128;

/// The largest index of an SRTP packet: 32 bits of rollover counter, 16 of sequence number.
const INDEX_MAX: u64 = (1 << 48) - 1;

/// Which indices of one SSRC were used: the highest, and the 127 below it.
///
/// For SRTP an index is the rollover counter followed by the sequence number; for SRTCP it is the
/// 31-bit packet index. The fields are public so that they can be stored and taken up elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexWindow {
    /// The highest index so far; zero at the start.
    pub highest: u64,
    /// Bit `n` tells that index `highest - n` was used.
    pub used: u128,
}

/// Why an index must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Used,
    TooOld,
}

impl IndexWindow {
    /// The index that a packet with this sequence number most likely has; none where the rollover
    /// counter would pass its end.
    ///
    /// While the highest index is in the first half of the first round, the rollover counter is
    /// taken as zero: there is no round before.
    #[inline]
    pub(super) fn estimate(&self, sequence_number: u16) -> Option<u64> {
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
    pub(super) fn check(&self, index: u64) -> Result<(), Refusal> {
        if index > self.highest {
            return Ok(());
        }
        let below = self.highest - index;
        if below >= WINDOW_LEN {
            Err(Refusal::TooOld)
        } else if self.used >> below & 1 == 1 {
            Err(Refusal::Used)
        } else {
            Ok(())
        }
    }

    /// Notes an index that [`check`](Self::check) allowed.
    #[inline]
    pub(super) fn insert(&mut self, index: u64) {
        if index > self.highest {
            let shift = index - self.highest;
            self.used = if shift < WINDOW_LEN { self.used << shift } else { 0 };
            self.used |= 1;
            self.highest = index;
        } else if self.highest - index < WINDOW_LEN {
            self.used |= 1 << (self.highest - index);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_counter_follows_a_wrap_both_ways() {
        let mut window = IndexWindow::default();
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
        assert_eq!(window.check(0x1_0001 - 128), Err(Refusal::TooOld));
    }

    #[test]
    fn the_last_round_has_no_successor() {
        let window = IndexWindow { highest: INDEX_MAX, used: 1 };
        assert_eq!(window.estimate(0), None);
        assert_eq!(window.estimate(65_000), Some(INDEX_MAX - 535));
    }

    proptest! {
        /// Against a set: nothing is allowed twice, and what is new and within the window is allowed.
        #[test]
        fn same_as_a_set(steps in proptest::collection::vec(0u64..600, 1..400)) {
            let (mut window, mut set, mut highest) = (IndexWindow::default(), HashSet::new(), 0);
            for index in steps {
                let expected = if index + WINDOW_LEN <= highest {
                    Err(Refusal::TooOld)
                } else if set.contains(&index) {
                    Err(Refusal::Used)
                } else {
                    Ok(())
                };
                prop_assert_eq!(window.check(index), expected);
                if expected.is_ok() {
                    window.insert(index);
                    set.insert(index);
                    highest = highest.max(index);
                }
            }
        }

        /// Any step of less than half a round is followed.
        #[test]
        fn estimates_within_half_a_round(start in 40_000u64..1 << 40, step in -32_000i64..32_000) {
            let window = IndexWindow { highest: start, used: 1 };
            let index = start.checked_add_signed(step).unwrap();
            prop_assert_eq!(window.estimate(index as u16), Some(index));
        }
    }
}
