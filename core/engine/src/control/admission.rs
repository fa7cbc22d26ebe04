//! Which worker a new leg goes to, and when none may come.

use super::{BoundSocket, Engine, WorkerHandle};
use crate::counter::{Counters, Work};
use crate::id::LegId;
use crate::media::MediaError;

crate::counter::counters! {
    /// What became of legs, and of what they need.
    AdmissionCount {
        /// Legs opened.
        Opened = "legs_opened",
        /// Calls refused because all workers were at their limit of load.
        RefusedBusy = "calls_refused_busy",
        /// Shared RTP ports opened.
        SharedPorts = "shared_rtp_ports",
        /// Remote addresses refused on shared RTP ports because another leg has them.
        AddressTaken = "shared_rtp_address_taken",
    }
}

/// Counted by the control side, read by anyone.
#[derive(Debug, Default)]
pub struct AdmissionCounters([std::sync::atomic::AtomicU64; AdmissionCount::ALL.len()]);

impl AdmissionCounters {
    pub(super) fn count(&self, what: AdmissionCount) {
        if let Some(word) = self.0.get(what as usize) {
            word.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// A counter's value.
    pub fn get(&self, what: AdmissionCount) -> u64 {
        self.0.get(what as usize).map_or(0, |word| word.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// All counters with their names.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        AdmissionCount::ALL.iter().map(|what| (what.name(), self.get(*what))).collect()
    }
}

/// Packets a second that a leg is taken to bring until it has been measured: 20 ms of audio each way.
const LEG_PACKETS_PER_S: u64 = 100;
/// Shares of time in one such step are the same to placement: below a quarter they are mostly noise.
const BUSY_STEP_PERMILLE: u64 = 250;

/// Legs that were opened so lately that the worker's figures do not have them yet.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The worker's window of measurement.
    window: u64,
    /// Opened in it, and in the one before.
    legs: [u64; 2],
}

impl Expected {
    pub(super) fn opened(&mut self, counters: &Counters) {
        self.follow(counters);
        self.legs[0] += 1;
    }

    fn follow(&mut self, counters: &Counters) {
        let window = counters.work(Work::LoadWindows);
        match window - self.window {
            0 => return,
            1 => self.legs = [0, self.legs[0]],
            _ => self.legs = [0, 0],
        }
        self.window = window;
    }

    /// Packets a second, measured and to come.
    fn packets_per_s(&mut self, counters: &Counters) -> u64 {
        self.follow(counters);
        counters.work(Work::PacketsPerS) + (self.legs[0] + self.legs[1]) * LEG_PACKETS_PER_S
    }
}

impl<S: BoundSocket> Engine<S> {
    /// The worker for a new leg: that of its call, else the least loaded one.
    pub(super) fn place(&mut self, near: Option<LegId>) -> Result<u8, MediaError> {
        if let Some(near) = near.filter(|near| self.entry(*near).is_some()) {
            return Ok(near.worker());
        }
        let limits = self.config.limits.admission;
        let load = |worker: &mut WorkerHandle<S>| {
            let busy = worker.counters.work(Work::BusyPermille);
            (busy, worker.expected.packets_per_s(&worker.counters))
        };
        let mut best = None;
        let mut least: Option<MediaError> = None;
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let (busy, packets_per_s) = load(worker);
            let checks = [
                ("worker_busy_percent_max", busy / 10, limits.worker_busy_percent_max),
                ("worker_packets_per_s_max", packets_per_s, limits.worker_packets_per_s_max),
            ];
            let over = checks.into_iter().find(|(_, has, max)| *max > 0 && *has >= u64::from(*max));
            if let Some((limit, measured, max)) = over {
                let less = !matches!(&least, Some(MediaError::Busy { measured: other, limit: same, .. })
                    if *same == limit && *other <= measured);
                if less {
                    least = Some(MediaError::Busy { limit, measured, max: max.into() });
                }
                continue;
            }
            // A worker without a slot is the last choice; asked for one it says what is full.
            let rank =
                (worker.slots.free() == 0, busy / BUSY_STEP_PERMILLE, packets_per_s, worker.slots.open());
            if best.is_none_or(|(other, _)| rank < other) {
                best = Some((rank, index as u8));
            }
        }
        let refused = least.unwrap_or(MediaError::Full("workers"));
        best.map(|(_, worker)| worker).ok_or_else(|| {
            self.admission.count(AdmissionCount::RefusedBusy);
            refused
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_are_expected_until_they_have_been_measured() {
        let counters = Counters::default();
        let mut expected = Expected::default();
        (0..3).for_each(|_| expected.opened(&counters));
        assert_eq!(expected.packets_per_s(&counters), 300);
        counters.add(Work::LoadWindows, 1);
        counters.set(Work::PacketsPerS, 120);
        expected.opened(&counters);
        assert_eq!(expected.packets_per_s(&counters), 520);
        counters.add(Work::LoadWindows, 1);
        assert_eq!(expected.packets_per_s(&counters), 220);
        counters.add(Work::LoadWindows, 7);
        assert_eq!(expected.packets_per_s(&counters), 120);
    }
}
