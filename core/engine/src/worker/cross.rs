//! Packets and requests between workers.

use bifrons_rtc::Time;

use super::Worker;
use super::receive::Placed;
use crate::counter::Drop;
use crate::driver::{Driver, HEADROOM};
use crate::media::StreamRef;
use crate::message::Cross;

/// Messages a turn from each worker.
const CROSS_MAX: usize = 128;

impl<D: Driver> Worker<D> {
    pub(super) fn take_cross(&mut self, now: Time) {
        for worker in 0..self.cross.from.len() {
            for _ in 0..CROSS_MAX {
                let Some(Some(ring)) = self.cross.from.get_mut(worker) else { break };
                let Ok(message) = ring.pop() else { break };
                self.busy = true;
                match message {
                    Cross::Packet { source, ssrc, index, len, bytes } => {
                        let bytes = bytes.get(..usize::from(len)).unwrap_or_default();
                        self.replicate(now, source, ssrc, index, bytes);
                    }
                    Cross::SenderReport { source, mapping, clock } => {
                        if let Some(replica) = self.replicas.get_mut(&source) {
                            replica.mapping = Some(mapping);
                            replica.clock = clock;
                        }
                    }
                    Cross::Keyframe { source } => self.request_keyframe(now, source),
                }
            }
        }
    }

    /// A packet of another worker's stream, for the outputs here.
    fn replicate(&mut self, now: Time, source: StreamRef, ssrc: u32, index: u64, bytes: &[u8]) {
        // The replica steps out of its table, as a route does out of its leg.
        let Some(replica) = self.replicas.get_mut(&source) else {
            return self.counters.count(Drop::ReplicaGone);
        };
        if let Some(history) = &mut replica.history {
            history.store(&mut self.slab, index, bytes);
        }
        let mut outputs = std::mem::take(&mut replica.route.outputs);
        match self.driver.allocate() {
            Some(buffer) => {
                if let Some(room) = self.driver.bytes(&buffer).get_mut(HEADROOM..HEADROOM + bytes.len()) {
                    room.copy_from_slice(bytes);
                }
                let packet = Placed { mline: source.mline, start: HEADROOM, len: bytes.len(), ssrc, index };
                self.forward_to(now, source, &mut outputs, buffer, &packet);
            }
            None => self.counters.count(Drop::NoBuffer),
        }
        if let Some(replica) = self.replicas.get_mut(&source) {
            replica.route.outputs = outputs;
        }
    }

    /// Notes that a worker has something to take.
    pub(super) fn note_cross(&mut self, worker: u8) {
        if let Some(bit) = 1u128.checked_shl(u32::from(worker)) {
            self.cross_woken |= bit;
        } else {
            self.wake_worker(usize::from(worker));
        }
    }

    /// Wakes the workers that got something, once a turn.
    pub(super) fn flush_cross(&mut self) {
        let mut woken = std::mem::take(&mut self.cross_woken);
        while woken != 0 {
            self.wake_worker(woken.trailing_zeros() as usize);
            woken &= woken - 1;
        }
    }

    fn wake_worker(&self, worker: usize) {
        if let Some(waker) = self.cross.wakers.get(worker).and_then(|waker| waker.get()) {
            waker.wake();
        }
    }

    /// Sends a message to another worker.
    pub(super) fn send_cross(&mut self, worker: u8, message: Cross) {
        match self.cross.to.get_mut(usize::from(worker)) {
            Some(Some(ring)) => match ring.push(message) {
                Ok(()) => self.note_cross(worker),
                Err(_) => self.counters.count(Drop::ReplicaFull),
            },
            _ => self.counters.count(Drop::ReplicaGone),
        }
    }
}
