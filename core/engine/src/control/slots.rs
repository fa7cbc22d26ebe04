//! Which slots of a worker are given out, as the control side knows it.
//!
//! A slot is given out again only after the worker has let go of the leg that had it, and then with the next
//! generation: so the worker finds it empty, and what still names the old leg finds none. `models/slots.rs`
//! proves that for every order in which commands and reports cross.

use std::collections::VecDeque;

use crate::id::LegId;

/// The slots of one worker.
pub(crate) struct Slots {
    worker: u8,
    slots: Vec<Slot>,
    /// Slots to give out; the one that has been free for longest comes first.
    free: VecDeque<u32>,
    open: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Rises each time the slot is given out; 0 before the first time.
    generation: u32,
    state: State,
}

/// Who has a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nobody.
    #[default]
    Free,
    /// A leg.
    Open,
    /// A leg that the control side has closed and the worker has not let go of.
    Closing,
    /// A leg that the worker has lost and the control side has not closed.
    Lost,
}

impl Slots {
    pub(crate) fn new(worker: u8, count: usize) -> Self {
        let free = (0..count as u32).collect();
        Self { worker, slots: vec![Slot::default(); count], free, open: 0 }
    }

    /// Gives a slot to a new leg; `None` when all are taken.
    pub(crate) fn take(&mut self) -> Option<LegId> {
        let index = self.free.pop_front()?;
        let slot = self.slots.get_mut(index as usize)?;
        // 0 is never given out; the low 12 bits are part of the ICE ids.
        let generation = slot.generation.wrapping_add(1).max(1);
        *slot = Slot { generation, state: State::Open };
        self.open += 1;
        Some(LegId::new(self.worker, index, generation))
    }

    /// The leg has not been closed, though the worker may have lost it.
    pub(crate) fn is_open(&self, leg: LegId) -> bool {
        let slot = self.slots.get(leg.slot() as usize).filter(|slot| slot.generation == leg.generation());
        slot.is_some_and(|slot| matches!(slot.state, State::Open | State::Lost))
    }

    /// Closes a leg that is open. Whether the worker still has it and must be told.
    pub(crate) fn close(&mut self, leg: LegId) -> Option<bool> {
        if !self.is_open(leg) {
            return None;
        }
        let slot = self.slots.get_mut(leg.slot() as usize)?;
        self.open -= 1;
        if slot.state == State::Lost {
            slot.state = State::Free;
            self.free.push_back(leg.slot());
            return Some(false);
        }
        slot.state = State::Closing;
        Some(true)
    }

    /// The worker has let go of a leg.
    pub(crate) fn gone(&mut self, leg: LegId) {
        let Some(slot) = self.slots.get_mut(leg.slot() as usize) else { return };
        if slot.generation != leg.generation() {
            return;
        }
        match slot.state {
            State::Closing => {
                slot.state = State::Free;
                self.free.push_back(leg.slot());
            }
            State::Open => slot.state = State::Lost,
            State::Free | State::Lost => {}
        }
    }

    /// Legs that are open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Slots that can be given out now.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }
}
