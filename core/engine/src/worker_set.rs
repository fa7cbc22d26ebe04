//! Sets of workers: plain for one thread, shared for word from many.

use crate::id::LegId;
use crate::sync::{AtomicU64, Ordering};

const WORDS: usize = LegId::WORKERS_MAX / 64;

/// Some of the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerSet([u64; WORDS]);

impl WorkerSet {
    pub(crate) fn insert(&mut self, worker: u8) {
        if let Some(word) = self.0.get_mut(usize::from(worker / 64)) {
            *word |= 1 << (worker % 64);
        }
    }

    pub(crate) fn remove(&mut self, worker: u8) {
        if let Some(word) = self.0.get_mut(usize::from(worker / 64)) {
            *word &= !(1 << (worker % 64));
        }
    }

    /// The first member from `at` on; behind the last comes the first.
    pub(crate) fn next_from(&self, at: u8) -> Option<u8> {
        let (first, bit) = (usize::from(at / 64), at % 64);
        for step in 0..=WORDS {
            let index = (first + step) % WORDS;
            let word = self.0.get(index).copied().unwrap_or_default();
            let word = if step == 0 { word & (u64::MAX << bit) } else { word };
            if word != 0 {
                return Some((index * 64) as u8 + word.trailing_zeros() as u8);
            }
        }
        None
    }

    /// Takes all members out, one after the other.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = u8> {
        let mut all = std::mem::take(self);
        std::iter::from_fn(move || {
            let worker = all.next_from(0)?;
            all.remove(worker);
            Some(worker)
        })
    }
}

/// Workers that have something for one reader, who so looks at them only and not at all there are.
#[derive(Debug, Default)]
pub(crate) struct SharedWorkerSet([AtomicU64; WORDS]);

impl SharedWorkerSet {
    /// Adds a worker, after what it has is in its ring. Whether the reader must be woken: others that are
    /// in the set have seen to it.
    pub(crate) fn insert(&self, worker: u8) -> bool {
        let word = self.0.get(usize::from(worker / 64));
        word.is_some_and(|word| word.fetch_or(1 << (worker % 64), Ordering::AcqRel) == 0)
    }

    /// Moves all members to `to`; call before the rings are looked at.
    pub(crate) fn take_into(&self, to: &mut WorkerSet) {
        for (shared, own) in self.0.iter().zip(&mut to.0) {
            // A plain load where there is nothing: no line is taken from another core.
            if shared.load(Ordering::Relaxed) != 0 {
                *own |= shared.swap(0, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_round_from_anywhere() {
        let mut set = WorkerSet::default();
        assert_eq!(set.next_from(0), None);
        for worker in [3, 63, 64, 200, 255] {
            set.insert(worker);
        }
        let next: Vec<_> = [0, 3, 4, 64, 65, 201].map(|at| set.next_from(at).unwrap()).to_vec();
        assert_eq!(next, [3, 3, 63, 64, 200, 255]);
        set.remove(255);
        assert_eq!(set.next_from(201), Some(3));
        assert_eq!(set.drain().collect::<Vec<_>>(), [3, 63, 64, 200]);
        assert_eq!(set, WorkerSet::default());
    }

    #[test]
    fn only_the_first_has_to_wake() {
        let shared = SharedWorkerSet::default();
        assert_eq!([shared.insert(7), shared.insert(8), shared.insert(7)], [true, false, false]);
        let mut set = WorkerSet::default();
        shared.take_into(&mut set);
        assert_eq!(set.drain().collect::<Vec<_>>(), [7, 8]);
        assert!(shared.insert(8));
    }
}
