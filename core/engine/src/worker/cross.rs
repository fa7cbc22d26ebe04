//! Packets and requests between workers.

use bifrons_rtc::Time;
use bifrons_wire::rtp::Packet;

use super::Worker;
use super::frames::OUTPUTS_MIN;
use super::receive::Placed;
use crate::counter::Drop;
use crate::driver::{Driver, HEADROOM};
use crate::media::StreamRef;
use crate::message::Cross;

/// Messages a turn from one worker.
const CROSS_WORKER_MAX: usize = 128;
/// Messages a turn from all workers: as many as there may be packets from the network.
const CROSS_TURN_MAX: usize = 256;

impl<D: Driver> Worker<D> {
    /// Takes what other workers have sent. Only the rings of those are looked at that have said so: the
    /// cost of a turn does not grow with the number of workers.
    pub(super) fn take_cross(&mut self, now: Time) {
        let Some(flags) = self.cross.flags.get(usize::from(self.settings.index)) else { return };
        flags.take_into(&mut self.cross.pending);
        let mut left = CROSS_TURN_MAX;
        while left > 0
            && self.frames.has_room()
            && let Some(worker) = self.cross.pending.next_from(self.cross.first)
        {
            self.busy = true;
            self.coalescing.stir();
            self.cross.first = worker.wrapping_add(1);
            let mut more = left.min(CROSS_WORKER_MAX);
            left -= more;
            while more > 0 && self.frames.has_room() {
                let ring = self.cross.from.get_mut(usize::from(worker)).and_then(Option::as_mut);
                let Some(message) = ring.and_then(|ring| ring.pop().ok()) else {
                    self.cross.pending.remove(worker);
                    left += more;
                    break;
                };
                more -= 1;
                self.take_message(now, message);
            }
        }
    }

    fn take_message(&mut self, now: Time, message: Cross) {
        match message {
            Cross::Packet { source, index, len, bytes } => {
                let bytes = bytes.get(..usize::from(len)).unwrap_or_default();
                self.replicate(now, source, index, bytes);
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

    /// A packet of another worker's stream, for the outputs here.
    fn replicate(&mut self, now: Time, source: StreamRef, index: u64, bytes: &[u8]) {
        let Some(replica) = self.replicas.get_mut(&source) else {
            return self.counters.count(Drop::ReplicaGone);
        };
        if let Some(history) = &mut replica.history {
            history.store(&mut self.slab, index, bytes);
        }
        let may_wait = replica.history.is_some() && replica.route.outputs.len() >= OUTPUTS_MIN;
        let Ok(packet) = Packet::parse(bytes) else { return self.counters.count(Drop::RtpMalformed) };
        let packet = Placed::new(source.mline, &packet, HEADROOM, index);
        let Some(buffer) = self.driver.allocate() else { return self.counters.count(Drop::NoBuffer) };
        if let Some(room) = self.driver.bytes(&buffer).get_mut(HEADROOM..HEADROOM + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.hand_on(now, source, buffer, packet, may_wait);
    }

    /// Tells the workers that got something, once a turn, and wakes those whom nobody else has.
    pub(super) fn flush_cross(&mut self) {
        for worker in self.cross.told.drain() {
            let flags = self.cross.flags.get(usize::from(worker));
            if flags.is_some_and(|flags| flags.insert(self.settings.index))
                && let Some(waker) = self.cross.wakers.get(usize::from(worker))
            {
                waker.wake();
            }
        }
    }

    /// Sends a message to another worker.
    pub(super) fn send_cross(&mut self, worker: u8, message: Cross) {
        match self.cross.to.get_mut(usize::from(worker)) {
            Some(Some(ring)) => match ring.push(message) {
                Ok(()) => self.cross.told.insert(worker),
                Err(_) => self.counters.count(Drop::ReplicaFull),
            },
            _ => self.counters.count(Drop::ReplicaGone),
        }
    }
}
