//! Packets kept for retransmission: one slab a worker, one index a source.

use core::time::Duration;

use super::ExtendedSequence;
use crate::Time;

/// The bytes of all histories of a worker, a ring with a fixed budget.
///
/// The newest packet overwrites the oldest, whosever it is, so every source reaches equally far back: the
/// budget divided by what all of them send. Nothing is ever freed or moved.
#[derive(Debug)]
pub struct HistorySlab {
    bytes: Box<[u8]>,
    /// Position of the next byte; positions only rise.
    head: u64,
}

impl HistorySlab {
    /// A slab of this many bytes, taken now.
    pub fn new(budget_bytes: usize) -> Self {
        HistorySlab { bytes: vec![0; budget_bytes].into_boxed_slice(), head: 0 }
    }

    fn append(&mut self, packet: &[u8]) -> Option<u64> {
        let budget = self.bytes.len() as u64;
        if packet.len() as u64 > budget || packet.is_empty() {
            return None;
        }
        let to_end = budget - self.head % budget;
        if (packet.len() as u64) > to_end {
            // A packet is never split: what is left at the end stays unused this time round.
            self.head += to_end;
        }
        let position = self.head;
        let start = (position % budget) as usize;
        self.bytes.get_mut(start..start + packet.len())?.copy_from_slice(packet);
        self.head += packet.len() as u64;
        Some(position)
    }

    fn get(&self, position: u64, len: usize) -> Option<&[u8]> {
        let budget = self.bytes.len() as u64;
        if budget == 0 || self.head.saturating_sub(position) > budget {
            return None;
        }
        let start = (position % budget) as usize;
        self.bytes.get(start..start + len)
    }
}

/// Where the latest packets of one source lie in its worker's slab.
#[derive(Debug)]
pub struct History {
    entries: Box<[Entry]>,
    highest: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Index of the packet; 0 is never used by [`ExtendedSequence`].
    index: u64,
    position: u64,
    len: u32,
}

impl History {
    /// A history of at least `packets_max` packets, rounded up to a power of two between 2 and 32,768.
    pub fn new(packets_max: usize) -> Self {
        let len = packets_max.clamp(2, 1 << 15).next_power_of_two();
        History { entries: vec![Entry::default(); len].into_boxed_slice(), highest: 0 }
    }

    /// Keeps a (decrypted) packet under its extended sequence number; false if it is longer than the slab.
    pub fn store(&mut self, slab: &mut HistorySlab, index: u64, packet: &[u8]) -> bool {
        let Some(position) = slab.append(packet) else { return false };
        let slot = index as usize & (self.entries.len() - 1);
        if let Some(entry) = self.entries.get_mut(slot) {
            *entry = Entry { index, position, len: packet.len() as u32 };
            self.highest = self.highest.max(index);
        }
        true
    }

    /// The packet with this extended sequence number, if it is still there.
    pub fn get<'a>(&self, slab: &'a HistorySlab, index: u64) -> Option<&'a [u8]> {
        let entry = self.entries.get(index as usize & (self.entries.len() - 1))?;
        if entry.index != index || entry.len == 0 {
            return None;
        }
        slab.get(entry.position, entry.len as usize)
    }

    /// Knows no packet any more.
    pub fn clear(&mut self) {
        self.entries.fill(Entry::default());
        self.highest = 0;
    }

    /// The packet whose sequence number this is, nearest to the newest one.
    pub fn get_sequence<'a>(&self, slab: &'a HistorySlab, sequence: u16) -> Option<(u64, &'a [u8])> {
        let index = ExtendedSequence::nearest(self.highest, sequence);
        self.get(slab, index).map(|packet| (index, packet))
    }
}

/// Resends of one output, so that repeated requests within a round trip are answered once.
#[derive(Debug, Clone)]
pub struct NackResponder {
    recent: [(u16, Time); 128],
    /// Requests not answered because the packet had just been sent.
    pub suppressed: u64,
}

impl Default for NackResponder {
    fn default() -> Self {
        NackResponder { recent: [(0, Time::ZERO); 128], suppressed: 0 }
    }
}

impl NackResponder {
    /// Sent again no sooner than this, whatever the round trip.
    const RESEND_WAIT_MIN: Duration = Duration::from_millis(5);

    /// Whether to send this packet again now.
    pub fn allow(&mut self, sequence: u16, now: Time, round_trip: Duration) -> bool {
        let Some(slot) = self.recent.get_mut(usize::from(sequence) % 128) else { return false };
        let (last, again_at) = *slot;
        if last == sequence && now < again_at {
            self.suppressed += 1;
            return false;
        }
        *slot = (sequence, now + round_trip.max(Self::RESEND_WAIT_MIN));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn newest_overwrites_oldest_of_any_source() {
        let mut slab = HistorySlab::new(100);
        let (mut a, mut b) = (History::new(8), History::new(8));
        assert!(a.store(&mut slab, 70_000, &[1; 40]));
        assert!(b.store(&mut slab, 80_000, &[2; 40]));
        assert_eq!(a.get(&slab, 70_000), Some(&[1; 40][..]));
        // 40 bytes do not fit into the last 20: the ring begins again over the first packet.
        assert!(b.store(&mut slab, 80_001, &[3; 40]));
        assert_eq!((a.get(&slab, 70_000), b.get(&slab, 80_000)), (None, Some(&[2; 40][..])));
        assert_eq!(b.get_sequence(&slab, 80_001u32 as u16), Some((80_001, &[3; 40][..])));
        assert!(!a.store(&mut slab, 70_001, &[0; 101]));
        assert!(!a.store(&mut HistorySlab::new(0), 70_001, &[0]));
        assert_eq!(a.get(&slab, 70_001), None);
        b.clear();
        assert_eq!((b.get(&slab, 80_001), b.get_sequence(&slab, 80_001u32 as u16)), (None, None));
    }

    #[test]
    fn resends_once_a_round_trip() {
        let mut r = NackResponder::default();
        let rtt = Duration::from_millis(40);
        assert!(r.allow(7, Time::from_millis(100), rtt));
        assert!(!r.allow(7, Time::from_millis(139), rtt));
        assert!(r.allow(7, Time::from_millis(140), rtt));
        assert!(r.allow(8, Time::from_millis(140), rtt));
        assert_eq!(r.suppressed, 1);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_stored(
            budget in 1usize..4000, lens in prop::collection::vec((1usize..300, 0usize..2), 1..200),
        ) {
            let mut slab = HistorySlab::new(budget);
            let mut histories = [History::new(16), History::new(64)];
            for (i, (len, which)) in lens.iter().enumerate() {
                let packet = vec![i as u8; *len];
                histories[*which].store(&mut slab, 65_536 + i as u64, &packet);
                for (old, (len, which)) in lens.iter().enumerate().take(i + 1) {
                    if let Some(found) = histories[*which].get(&slab, 65_536 + old as u64) {
                        prop_assert_eq!(found, &vec![old as u8; *len][..]);
                    }
                }
                let fits = *len <= budget;
                prop_assert_eq!(histories[*which].get(&slab, 65_536 + i as u64).is_some(), fits);
            }
        }
    }
}
