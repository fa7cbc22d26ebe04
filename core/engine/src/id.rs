//! Names of things that outlive nothing: generational ids.

/// A leg: worker, slot and generation in one word, so that a look-up is arithmetic and one
/// comparison, and an id of a leg that is gone never finds its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(u64);

impl LegId {
    /// Largest number of workers.
    pub const WORKERS_MAX: usize = 256;
    /// Largest number of legs a worker.
    pub const SLOTS_MAX: usize = 1 << 20;

    /// Puts an id together. Generation 0 is never given out.
    pub const fn new(worker: u8, slot: u32, generation: u32) -> Self {
        Self(((generation as u64) << 32) | ((worker as u64) << 20) | (slot as u64 & 0xf_ffff))
    }

    /// The worker that owns the leg.
    pub const fn worker(self) -> u8 {
        (self.0 >> 20) as u8
    }

    /// The slot in the worker's table.
    pub const fn slot(self) -> u32 {
        self.0 as u32 & 0xf_ffff
    }

    /// How often the slot had been given out.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// An id from its whole word.
    pub const fn from_u64(word: u64) -> Self {
        Self(word)
    }

    /// The whole word.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        let id = LegId::new(255, (1 << 20) - 1, u32::MAX);
        assert_eq!((id.worker(), id.slot(), id.generation()), (255, (1 << 20) - 1, u32::MAX));
        let id = LegId::new(3, 70_000, 1);
        assert_eq!((id.worker(), id.slot(), id.generation()), (3, 70_000, 1));
    }
}
