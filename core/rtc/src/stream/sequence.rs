//! Sequence numbers extended to 64 bits (RFC 3550 §A.1).

/// Largest jump forward that still counts as loss, packets (RFC 3550 §A.1 `MAX_DROPOUT`).
pub const DROPOUT_MAX: u64 = 3000;
/// Largest step back that still counts as a late packet. RFC 3550 §A.1 has 100; retransmitted video comes
/// later than that.
pub const MISORDER_MAX: u64 = 1024;

/// What a sequence number means for its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before. `missing` packets between this and the newest before have not been seen.
    New {
        /// Its extended sequence number.
        index: u64,
        /// Packets skipped.
        missing: u64,
    },
    /// Not newer than what came before: reordered, retransmitted or a duplicate.
    Late {
        /// Its extended sequence number.
        index: u64,
    },
    /// The source has started again elsewhere; the index went on to a cycle of its own.
    Restart {
        /// Its extended sequence number.
        index: u64,
    },
    /// Far from what came before. The next number right after it makes it a restart; until then it is not to
    /// be used (RFC 3550 §A.1).
    Suspect,
}

impl Arrival {
    /// The extended sequence number, unless the packet is suspect.
    pub fn index(self) -> Option<u64> {
        match self {
            Arrival::New { index, .. } | Arrival::Late { index } | Arrival::Restart { index } => Some(index),
            Arrival::Suspect => None,
        }
    }
}

/// Extends the 16 bits of one source's sequence numbers. The first number gets an index in the second cycle,
/// so that packets before it have one too.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtendedSequence {
    highest: Option<u64>,
    expected_restart: Option<u16>,
}

impl ExtendedSequence {
    /// Index that the first cycle begins with.
    pub const FIRST_CYCLE: u64 = 1 << 16;

    /// Places one more sequence number.
    pub fn update(&mut self, sequence: u16) -> Arrival {
        let Some(highest) = self.highest else {
            let index = Self::FIRST_CYCLE + u64::from(sequence);
            self.highest = Some(index);
            return Arrival::New { index, missing: 0 };
        };
        let index = Self::nearest(highest, sequence);
        if index > highest && index - highest <= DROPOUT_MAX {
            self.highest = Some(index);
            self.expected_restart = None;
            return Arrival::New { index, missing: index - highest - 1 };
        }
        if index <= highest && highest - index <= MISORDER_MAX {
            return Arrival::Late { index };
        }
        if self.expected_restart.replace(sequence.wrapping_add(1)) != Some(sequence) {
            return Arrival::Suspect;
        }
        // Two cycles on: no packet of the old run can be taken for one of the new.
        let index = ((highest >> 16) + 2) << 16 | u64::from(sequence);
        self.highest = Some(index);
        self.expected_restart = None;
        Arrival::Restart { index }
    }

    /// The highest index so far.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// The index with these low 16 bits that is nearest to `reference`.
    pub fn nearest(reference: u64, sequence: u16) -> u64 {
        let delta = i64::from(sequence.wrapping_sub(reference as u16) as i16);
        reference.saturating_add_signed(delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_and_reorders() {
        let mut sequence = ExtendedSequence::default();
        let at = |index| ExtendedSequence::FIRST_CYCLE + index;
        assert_eq!(sequence.update(65_534), Arrival::New { index: at(65_534), missing: 0 });
        assert_eq!(sequence.update(1), Arrival::New { index: at(65_537), missing: 2 });
        assert_eq!(sequence.update(65_535), Arrival::Late { index: at(65_535) });
        assert_eq!(sequence.update(1), Arrival::Late { index: at(65_537) });
        assert_eq!(sequence.update(65_533), Arrival::Late { index: at(65_533) });
        assert_eq!(sequence.highest(), Some(at(65_537)));
    }

    #[test]
    fn a_restart_takes_two_packets_in_a_row() {
        let mut sequence = ExtendedSequence::default();
        sequence.update(100);
        assert_eq!(sequence.update(30_000), Arrival::Suspect);
        assert_eq!(sequence.update(101), Arrival::New { index: 65_536 + 101, missing: 0 });
        assert_eq!(sequence.update(30_001), Arrival::Suspect);
        let Arrival::Restart { index } = sequence.update(30_002) else { panic!("restart") };
        assert_eq!((index as u16, index > 65_536 + 101 + DROPOUT_MAX), (30_002, true));
        assert_eq!(sequence.update(30_003), Arrival::New { index: index + 1, missing: 0 });
    }
}
