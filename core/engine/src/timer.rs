//! The timer wheel of a worker: one deadline a key, two keys a leg, hierarchical, no allocation after it is made.

use bifrons_rtc::Time;

const LEVELS: usize = 5;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const NONE: u32 = u32::MAX;

/// Deadlines by key. A key has at most one deadline. Resolution 1 ms, rounded up, so
/// that a timer never fires early; the farthest deadline it tells apart is 2³⁰ ms (12 days) away.
#[derive(Debug)]
pub struct Wheel {
    entries: Vec<Entry>,
    heads: Vec<u32>,
    occupied: [u64; LEVELS],
    /// The tick up to which everything has fired.
    tick: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: u64,
    next: u32,
    prev: u32,
    bucket: u32,
}

const IDLE: Entry = Entry { due: u64::MAX, next: NONE, prev: NONE, bucket: NONE };

impl Wheel {
    /// A wheel for keys below `keys`.
    pub fn new(keys: usize, now: Time) -> Self {
        Self {
            entries: vec![IDLE; keys],
            heads: vec![NONE; LEVELS * SLOTS],
            occupied: [0; LEVELS],
            tick: now.as_millis(),
        }
    }

    /// Sets a key's deadline; `None` or [`Time::MAX`] takes it away.
    pub fn set(&mut self, key: u32, deadline: Option<Time>) {
        let due = match deadline {
            Some(at) if at != Time::MAX => at.as_nanos().div_ceil(1_000_000).max(self.tick + 1),
            _ => u64::MAX,
        };
        let Some(entry) = self.entries.get(key as usize) else { return };
        if entry.due == due {
            return;
        }
        self.unlink(key);
        if due != u64::MAX {
            self.link(key, due);
        }
    }

    /// Brings a key's deadline forward, if it is later or there is none.
    pub fn lower(&mut self, key: u32, at: Time) {
        let due = self.entries.get(key as usize).map_or(0, |entry| entry.due);
        if at.as_nanos().div_ceil(1_000_000) < due {
            self.set(key, Some(at));
        }
    }

    /// The earliest moment at which [`Wheel::expired`] may find something.
    pub fn next(&self) -> Option<Time> {
        let mut best: Option<u64> = None;
        for (level, &bits) in self.occupied.iter().enumerate() {
            if bits == 0 {
                continue;
            }
            let shift = SLOT_BITS * level as u32;
            let position = (self.tick >> shift) as u32 & (SLOTS as u32 - 1);
            // Distance to the next occupied slot after the current one, going round.
            let turned = bits.rotate_right((position + 1) & 63);
            let slots = u64::from(turned.trailing_zeros()) + 1;
            let at = ((self.tick >> shift) + slots) << shift;
            best = Some(best.map_or(at, |b| b.min(at)));
        }
        best.map(Time::from_millis)
    }

    /// Takes a key whose deadline has passed; call until `None`.
    pub fn expired(&mut self, now: Time) -> Option<u32> {
        let target = now.as_millis();
        loop {
            // Level 0's current slot holds what is due at `tick`.
            let head = self.head(0, self.tick);
            if head != NONE {
                self.unlink(head);
                return Some(head);
            }
            if self.tick >= target {
                return None;
            }
            let next = self.next().map_or(target, |at| at.as_millis().min(target));
            self.advance(next.max(self.tick + 1));
        }
    }

    /// Moves to a tick before which nothing is due, and takes apart the upper slots entered there.
    fn advance(&mut self, to: u64) {
        let from = self.tick;
        self.tick = to;
        for level in (1..LEVELS).rev() {
            let shift = SLOT_BITS * level as u32;
            if from >> shift == to >> shift {
                continue;
            }
            loop {
                let head = self.head(level, to >> shift);
                if head == NONE {
                    break;
                }
                let due = self.entries.get(head as usize).map_or(0, |entry| entry.due);
                self.unlink(head);
                self.link(head, due.max(to));
            }
        }
    }

    fn head(&self, level: usize, index: u64) -> u32 {
        let bucket = level * SLOTS + (index as usize & (SLOTS - 1));
        self.heads.get(bucket).copied().unwrap_or(NONE)
    }

    fn link(&mut self, key: u32, due: u64) {
        let distance = due.saturating_sub(self.tick).min((1 << (SLOT_BITS * LEVELS as u32)) - 1);
        let at = self.tick + distance;
        // The lowest level whose current turn still contains the deadline.
        let level = (0..LEVELS)
            .find(|level| {
                let shift = SLOT_BITS * *level as u32;
                (at >> shift) - (self.tick >> shift) < SLOTS as u64
            })
            .unwrap_or(LEVELS - 1);
        let slot = (at >> (SLOT_BITS * level as u32)) as usize & (SLOTS - 1);
        let bucket = level * SLOTS + slot;
        let Some(head) = self.heads.get_mut(bucket) else { return };
        let next = std::mem::replace(head, key);
        if let Some(entry) = self.entries.get_mut(key as usize) {
            *entry = Entry { due, next, prev: NONE, bucket: bucket as u32 };
        }
        if let Some(entry) = self.entries.get_mut(next as usize) {
            entry.prev = key;
        }
        if let Some(bits) = self.occupied.get_mut(level) {
            *bits |= 1 << slot;
        }
    }

    fn unlink(&mut self, key: u32) {
        let Some(entry) = self.entries.get_mut(key as usize) else { return };
        let Entry { next, prev, bucket, .. } = std::mem::replace(entry, IDLE);
        if bucket == NONE {
            return;
        }
        if let Some(entry) = self.entries.get_mut(next as usize) {
            entry.prev = prev;
        }
        if let Some(entry) = self.entries.get_mut(prev as usize) {
            entry.next = next;
        } else {
            if let Some(head) = self.heads.get_mut(bucket as usize) {
                *head = next;
            }
            if next == NONE
                && let Some(bits) = self.occupied.get_mut(bucket as usize / SLOTS)
            {
                *bits &= !(1 << (bucket as usize % SLOTS));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fires_once_and_not_early() {
        let mut wheel = Wheel::new(4, Time::from_millis(1_000));
        wheel.set(0, Some(Time::from_micros(1_005_500)));
        wheel.set(1, Some(Time::from_millis(500_000)));
        wheel.set(2, Some(Time::from_millis(999)));
        wheel.set(3, Some(Time::from_millis(1_500)));
        wheel.set(3, None);
        assert_eq!(wheel.expired(Time::from_millis(1_000)), None);
        assert_eq!(wheel.expired(Time::from_millis(1_005)), Some(2));
        assert_eq!(wheel.expired(Time::from_millis(1_005)), None);
        assert_eq!(wheel.expired(Time::from_millis(1_006)), Some(0));
        assert_eq!(wheel.expired(Time::from_millis(499_999)), None);
        assert_eq!(wheel.expired(Time::from_millis(500_000)), Some(1));
        assert_eq!(wheel.next(), None);
    }

    proptest! {
        /// Against a sorted list: the same keys at the same ticks, and `next` is never too late.
        #[test]
        fn like_a_sorted_list(ops in proptest::collection::vec((0u32..16, 0u64..400_000, 0u64..5_000), 1..200)) {
            let mut wheel = Wheel::new(16, Time::ZERO);
            let mut model = [None::<u64>; 16];
            let mut now = 0;
            for (key, delay, step) in ops {
                wheel.set(key, Some(Time::from_millis(now + delay)));
                model[key as usize] = Some((now + delay).max(now + 1));
                let first = model.iter().flatten().min().copied();
                prop_assert!(wheel.next().map(|at| at.as_millis()) <= first.or(Some(0)) || first.is_none());
                now += step;
                let mut fired = Vec::new();
                while let Some(key) = wheel.expired(Time::from_millis(now)) {
                    fired.push(key);
                }
                let mut expected = Vec::new();
                for (key, due) in model.iter_mut().enumerate() {
                    if due.is_some_and(|at| at <= now) {
                        *due = None;
                        expected.push(key as u32);
                    }
                }
                fired.sort_unstable();
                prop_assert_eq!(fired, expected);
            }
        }
    }
}
