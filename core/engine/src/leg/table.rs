//! The slots of a worker.

use super::Leg;
use crate::driver::prefetch;
use crate::id::LegId;

/// Legs by slot; a look-up is an index and a comparison of generations.
pub(crate) struct LegTable<L = Leg> {
    slots: Vec<Option<Box<L>>>,
    used: usize,
}

/// What knows which slot it belongs in.
pub(crate) trait InSlot {
    fn id(&self) -> LegId;
}

impl InSlot for Leg {
    fn id(&self) -> LegId {
        self.id
    }
}

impl<L: InSlot> LegTable<L> {
    /// All slots that there will ever be.
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| None).collect(), used: 0 }
    }

    /// How many legs there are.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// The leg with this id, if it is still there.
    pub(crate) fn get(&self, id: LegId) -> Option<&L> {
        self.at(id.slot()).filter(|leg| leg.id() == id)
    }

    /// The leg with this id, if it is still there.
    pub(crate) fn get_mut(&mut self, id: LegId) -> Option<&mut L> {
        self.at_mut(id.slot()).filter(|leg| leg.id() == id)
    }

    /// Asks the processor for a slot.
    pub(crate) fn ask(&self, slot: u32) {
        if let Some(slot) = self.slots.get(slot as usize) {
            prefetch::first(slot);
        }
    }

    /// Whatever leg is in this slot.
    pub(crate) fn at(&self, slot: u32) -> Option<&L> {
        self.slots.get(slot as usize)?.as_deref()
    }

    /// Whatever leg is in this slot.
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut L> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// Puts a leg into its slot. It comes back if the slot is taken or does not exist.
    pub(crate) fn insert(&mut self, leg: Box<L>) -> Result<(), Box<L>> {
        match self.slots.get_mut(leg.id().slot() as usize) {
            Some(slot @ None) => {
                *slot = Some(leg);
                self.used += 1;
                Ok(())
            }
            _ => Err(leg),
        }
    }

    /// Takes a leg out.
    pub(crate) fn remove(&mut self, id: LegId) -> Option<Box<L>> {
        let leg = self.slots.get_mut(id.slot() as usize)?.take_if(|leg| leg.id() == id)?;
        self.used -= 1;
        Some(leg)
    }

    /// All legs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &L> {
        self.slots.iter().flatten().map(|leg| &**leg)
    }
}
