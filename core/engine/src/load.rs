//! How loaded a worker is: packets a second, and the share of time in which it had work.
//!
//! The share is measured by the clock that a turn reads anyway. Between two turns of which the first
//! found something, the driver does not sleep, so that time is work: packets, and the system call that
//! sends them. After a turn that found nothing the driver sleeps or waits for more packets to gather;
//! that time is idle, whatever `coalesce_us` is, and with `busy_poll` too.

use std::time::Duration;

use bifrons_rtc::Time;

use crate::counter::{Counters, Work};

/// How long is measured for one figure.
pub(crate) const LOAD_WINDOW: Duration = Duration::from_secs(1);

/// After so many windows with nothing in them the figures say so, and so does what the control side still
/// expects of legs it has opened; measuring more would wake a worker for nothing.
const QUIET_WINDOWS: u8 = 2;

/// One worker's measurement.
#[derive(Debug)]
pub(crate) struct LoadMeter {
    window_at: Time,
    busy: Duration,
    /// The turn that began now found work.
    working_since: Option<Time>,
    packets: u64,
    /// Windows in a row in which there was nothing to measure.
    quiet_windows: u8,
}

impl LoadMeter {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            window_at: now,
            busy: Duration::ZERO,
            working_since: None,
            packets: 0,
            quiet_windows: QUIET_WINDOWS,
        }
    }

    /// A turn begins.
    pub(crate) fn turn_begins(&mut self, now: Time) {
        if let Some(since) = self.working_since.take() {
            self.busy += now - since;
        }
    }

    /// A turn that began at `began` found work: all is work until the next one begins.
    pub(crate) fn turn_worked(&mut self, began: Time) {
        self.working_since = Some(began);
        self.quiet_windows = 0;
    }

    /// When a turn is wanted to end a window, though nothing arrives: a worker that fell silent would keep
    /// the figures of its last busy second, and be refused new legs for them.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        (self.quiet_windows < QUIET_WINDOWS).then(|| self.window_at + LOAD_WINDOW)
    }

    /// A turn that found nothing in the rings may have had timers to see to.
    pub(crate) fn add(&mut self, took: Duration) {
        self.busy += took;
    }

    /// Publishes figures once a window is over. `packets`: received and sent, since the start.
    pub(crate) fn publish(&mut self, now: Time, packets: u64, counters: &Counters) {
        let window = now - self.window_at;
        if window < LOAD_WINDOW {
            return;
        }
        let nanos = window.as_nanos().max(1);
        let per_s = u128::from(packets - self.packets) * 1_000_000_000 / nanos;
        let permille = (self.busy.as_nanos() * 1_000 / nanos).min(1_000) as u64;
        counters.set(Work::PacketsPerS, per_s as u64);
        // Half of the figure before: one window in which something else had the core is no load.
        let smooth = (counters.work(Work::BusyPermille) + permille).div_ceil(2);
        let shown = if permille == 0 { smooth / 2 } else { smooth };
        counters.set(Work::BusyPermille, shown);
        let quiet = shown == 0 && per_s == 0 && self.working_since.is_none();
        self.quiet_windows = if quiet { self.quiet_windows.saturating_add(1) } else { 0 };
        counters.add(Work::LoadWindows, 1);
        (self.window_at, self.busy, self.packets) = (now, Duration::ZERO, packets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn busy_from_a_turn_that_worked_to_the_next() {
        let counters = Counters::default();
        let mut meter = LoadMeter::new(at(0));
        // Each 10 ms: a turn with packets, 3 ms until the next one, which finds nothing, and sleep.
        for n in 0..200 {
            meter.turn_begins(at(n * 10));
            meter.turn_worked(at(n * 10));
            meter.publish(at(n * 10), n * 7, &counters);
            meter.turn_begins(at(n * 10 + 3));
            meter.publish(at(n * 10 + 3), n * 7, &counters);
        }
        assert_eq!(counters.work(Work::LoadWindows), 1);
        assert_eq!(counters.work(Work::PacketsPerS), 700);
        assert_eq!(counters.work(Work::BusyPermille), 150, "half of 300: the window before had none");
        // It comes down again, all the way, by itself; then nothing more is asked for.
        let mut asked = 0;
        while let Some(due) = meter.next_timeout() {
            meter.turn_begins(due);
            meter.publish(due, 1_393, &counters);
            asked += 1;
            assert!(asked < 20);
        }
        assert_eq!((counters.work(Work::PacketsPerS), counters.work(Work::BusyPermille)), (0, 0));
    }

    #[test]
    fn work_too_small_to_show_still_ends_its_windows() {
        let counters = Counters::default();
        let mut meter = LoadMeter::new(at(0));
        assert_eq!(meter.next_timeout(), None);
        meter.turn_begins(at(5_000));
        meter.turn_worked(at(5_000));
        meter.publish(at(5_000), 0, &counters);
        meter.turn_begins(at(5_000));
        for window in 2..=3 {
            let due = meter.next_timeout().unwrap();
            meter.turn_begins(due);
            meter.publish(due, 0, &counters);
            assert_eq!(counters.work(Work::LoadWindows), window);
        }
        assert_eq!(meter.next_timeout(), None);
    }

    #[test]
    fn timers_are_work_too_and_no_more_than_all_of_the_time() {
        let counters = Counters::default();
        let mut meter = LoadMeter::new(at(0));
        meter.add(Duration::from_millis(400));
        meter.publish(at(1_000), 0, &counters);
        assert_eq!(counters.work(Work::BusyPermille), 200);
        for n in 2..30 {
            meter.add(Duration::from_secs(3));
            meter.publish(at(n * 1_000), 0, &counters);
        }
        assert_eq!(counters.work(Work::BusyPermille), 1_000);
    }
}
