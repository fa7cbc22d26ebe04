//! Slots and what the control side remembers of each leg.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
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
    pub kind: LegKind,
    pub streams: Vec<StreamConfig>,
    pub shared: Vec<Arc<StreamShared>>,
    /// Outputs by m-line.
    pub routes: BTreeMap<u8, Vec<Output>>,
    /// Sources that have this leg as an output.
    pub sources: BTreeSet<StreamRef>,
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
        /// The number of its shared RTP socket, where it has one.
        shared: Option<u8>,
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
    /// Binds a pair of ports for RTP and, if it is wanted, RTCP: of this worker's, on the local address at this
    /// position.
    pub(super) fn bind_pair(
        &mut self,
        worker: u8,
        position: usize,
        rtcp: bool,
        buffer_bytes: usize,
    ) -> Result<(u16, S, Option<S>), MediaError> {
        let now = self.clock.now();
        let bind = &mut self.bind;
        let local = self.config.addresses.get(position).ok_or(MediaError::NoAddress)?.address;
        let ports = self.ports.get_mut(position).ok_or(MediaError::NoAddress)?;
        let taken = ports.take(worker, now, |port| {
            let first = bind(SocketAddr::new(local, port), buffer_bytes)?;
            let second = match rtcp {
                true => Some(bind(SocketAddr::new(local, port + 1), buffer_bytes)?),
                false => None,
            };
            Ok((first, second))
        });
        let (first, last) = self.config.rtp_port_range;
        let taken = taken.map_err(|error| MediaError::Io(format!("RTP port: {error}")))?;
        let (port, (rtp, rtcp)) = taken.ok_or(MediaError::NoPorts { first, last })?;
        Ok((port, rtp, rtcp))
    }

    /// The entry of a leg that is open.
    pub(super) fn entry(&self, leg: LegId) -> Option<&Entry> {
        let worker =
            self.workers.get(usize::from(leg.worker())).filter(|worker| worker.slots.is_open(leg))?;
        worker.entries.get(leg.slot() as usize)
    }

    /// The entry of a leg that is open.
    pub(super) fn entry_mut(&mut self, leg: LegId) -> Result<&mut Entry, MediaError> {
        let worker = self.workers.get_mut(usize::from(leg.worker()));
        let worker = worker.filter(|worker| worker.slots.is_open(leg)).ok_or(MediaError::NoSuchLeg)?;
        worker.entries.get_mut(leg.slot() as usize).ok_or(MediaError::NoSuchLeg)
    }

    /// Takes a slot of a worker.
    pub(super) fn take_slot(&mut self, worker: u8, kind: LegKind) -> Result<LegId, MediaError> {
        let handle = self.workers.get_mut(usize::from(worker)).ok_or(MediaError::NoSuchLeg)?;
        let leg = handle.slots.take().ok_or(MediaError::Full("the worker's leg table"))?;
        let entry = handle.entries.get_mut(leg.slot() as usize).ok_or(MediaError::NoSuchLeg)?;
        *entry = Entry { kind, ..Entry::default() };
        handle.expected.opened(&handle.counters);
        self.admission.count(AdmissionCount::Opened);
        Ok(leg)
    }

    /// The worker has let go of a leg.
    pub(super) fn slot_free(&mut self, worker: u8, leg: LegId) {
        if let Some(handle) = self.workers.get_mut(usize::from(worker)) {
            handle.slots.gone(leg);
        }
    }

    /// Counts a leg as closed; gives what it took part in, if it was open.
    pub(super) fn close_slot(&mut self, leg: LegId) -> Option<ClosedLeg> {
        let handle = self.workers.get_mut(usize::from(leg.worker()))?;
        let lost = !handle.slots.close(leg)?;
        if lost {
            self.shared_leg_gone(leg, None);
        }
        let handle = self.workers.get_mut(usize::from(leg.worker()))?;
        let entry = handle.entries.get_mut(leg.slot() as usize)?;
        let sources = std::mem::take(&mut entry.sources);
        let routes = std::mem::take(&mut entry.routes);
        entry.kind = LegKind::None;
        entry.streams = Vec::new();
        entry.shared = Vec::new();
        Some(ClosedLeg { sources, routes, lost })
    }
}
