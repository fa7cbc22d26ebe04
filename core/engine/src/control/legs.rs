//! Slots and what the control side remembers of each leg.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bifrons_rtc::dtls::Fingerprint;

use super::admission::AdmissionCount;
use super::{BoundSocket, Engine};
use crate::id::LegId;
use crate::leg::StreamShared;
use crate::media::{MediaError, Output, StreamConfig, StreamRef};

/// One slot of a worker.
#[derive(Default)]
pub(super) struct Entry {
    /// Rises each time the slot is given out; 0 before the first time.
    pub generation: u32,
    pub state: SlotState,
    pub kind: LegKind,
    pub streams: Vec<StreamConfig>,
    pub shared: Vec<Arc<StreamShared>>,
    /// Outputs by m-line.
    pub routes: BTreeMap<u8, Vec<Output>>,
    /// Sources that have this leg as an output.
    pub sources: BTreeSet<StreamRef>,
}

/// Who has a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SlotState {
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

/// What differs by the leg's kind.
#[derive(Default)]
pub(super) enum LegKind {
    #[default]
    None,
    WebRtc {
        /// Ufrag and password of the peer.
        credentials: Option<(String, String)>,
        fingerprint: Option<Fingerprint>,
    },
    Rtp {
        /// Keys in use: suite, ours, the peer's.
        keys: Option<(String, Vec<u8>, Vec<u8>)>,
        /// All keys that we ever protected with on this leg: none is used twice.
        used: Vec<Vec<u8>>,
    },
}

/// What a leg that has just been closed took part in.
pub(super) struct ClosedLeg {
    /// Sources that had it as an output.
    pub sources: BTreeSet<StreamRef>,
    /// Its own routes.
    pub routes: BTreeMap<u8, Vec<Output>>,
    /// The worker had lost it already.
    pub lost: bool,
}

impl<S: BoundSocket> Engine<S> {
    /// The entry of a leg that is open.
    pub(super) fn entry(&self, leg: LegId) -> Option<&Entry> {
        let worker = self.workers.get(usize::from(leg.worker()))?;
        let entry = worker.entries.get(leg.slot() as usize)?;
        let open = matches!(entry.state, SlotState::Open | SlotState::Lost);
        (entry.generation == leg.generation() && open).then_some(entry)
    }

    /// The entry of a leg that is open.
    pub(super) fn entry_mut(&mut self, leg: LegId) -> Result<&mut Entry, MediaError> {
        let worker = self.workers.get_mut(usize::from(leg.worker())).ok_or(MediaError::NoSuchLeg)?;
        let entry = worker.entries.get_mut(leg.slot() as usize).ok_or(MediaError::NoSuchLeg)?;
        let open = matches!(entry.state, SlotState::Open | SlotState::Lost);
        if entry.generation == leg.generation() && open { Ok(entry) } else { Err(MediaError::NoSuchLeg) }
    }

    /// Takes a slot of a worker.
    pub(super) fn take_slot(&mut self, worker: u8, kind: LegKind) -> Result<LegId, MediaError> {
        let handle = self.workers.get_mut(usize::from(worker)).ok_or(MediaError::NoSuchLeg)?;
        let slot = handle.free.pop_front().ok_or(MediaError::Full("the worker's leg table"))?;
        let entry = handle.entries.get_mut(slot as usize).ok_or(MediaError::NoSuchLeg)?;
        // 0 is never given out; the low 12 bits are part of the ICE ids.
        let generation = entry.generation.wrapping_add(1).max(1);
        *entry = Entry { generation, state: SlotState::Open, kind, ..Entry::default() };
        handle.open += 1;
        handle.expected.opened(&handle.counters);
        self.admission.count(AdmissionCount::Opened);
        Ok(LegId::new(worker, slot, generation))
    }

    /// The worker has let go of a leg.
    pub(super) fn slot_free(&mut self, worker: u8, leg: LegId) {
        let Some(handle) = self.workers.get_mut(usize::from(worker)) else { return };
        let Some(entry) = handle.entries.get_mut(leg.slot() as usize) else { return };
        if entry.generation != leg.generation() {
            return;
        }
        match entry.state {
            SlotState::Closing => {
                entry.state = SlotState::Free;
                handle.free.push_back(leg.slot());
            }
            SlotState::Open => entry.state = SlotState::Lost,
            SlotState::Free | SlotState::Lost => {}
        }
    }

    /// Counts a leg as closed; gives what it took part in, if it was open.
    pub(super) fn close_slot(&mut self, leg: LegId) -> Option<ClosedLeg> {
        let entry = self.entry_mut(leg).ok()?;
        let lost = entry.state == SlotState::Lost;
        entry.state = if lost { SlotState::Free } else { SlotState::Closing };
        let sources = std::mem::take(&mut entry.sources);
        let routes = std::mem::take(&mut entry.routes);
        entry.kind = LegKind::None;
        entry.streams = Vec::new();
        entry.shared = Vec::new();
        let handle = self.workers.get_mut(usize::from(leg.worker()))?;
        handle.open -= 1;
        if lost {
            handle.free.push_back(leg.slot());
        }
        Some(ClosedLeg { sources, routes, lost })
    }
}
