//! How long an idle worker waits on for more packets.
//!
//! Being woken costs ten times what forwarding a packet does, so packets should come in company. But where
//! they are few, waiting brings no company and only makes them late; and where they are many, a short wait
//! brings enough.
//!
//! Where nothing comes but consent checks (RFC 7675) and RTCP, nobody hears that they are late: they wait longer,
//! and the timers with them.

use std::time::Duration;

use bifrons_rtc::Time;

use crate::driver::Wait;

/// Packets that a wake-up should find: it then costs each of them less than a tenth of its own cost.
const PACKETS_WANTED: u64 = 128;
/// With fewer than so many in the longest wait, none is waited for.
const PACKETS_MIN: u64 = 2;
/// The rate is counted over this: one round of audio packets.
const WINDOW_NANOS: u64 = 20_000_000;
/// A worker is quiet when for so long nothing came that is in a hurry. Between two packets of an Opus stream in
/// its silence there are 400 ms.
const QUIET_AFTER: Duration = Duration::from_secs(1);
/// A quiet worker waits so many times the longest wait, but not longer than [`NAP_US_MAX`]: the first packet
/// of a call, or the first check of a new leg, may come at its beginning.
const NAP_TIMES: u32 = 4;
/// Longest nap of a quiet worker, microseconds.
const NAP_US_MAX: u32 = 2_000;

/// Chooses by the load of the last moment.
#[derive(Debug)]
pub(super) struct Coalescing {
    max_us: u32,
    since: Time,
    packets: u64,
    wait_us: u32,
    nap_us: u32,
    stirred: bool,
    quiet_at: Time,
    quiet: bool,
}

impl Coalescing {
    /// Waits of at most `max_us`.
    pub(super) fn new(max_us: u32, now: Time) -> Self {
        let (stirred, quiet) = (true, false);
        Self { max_us, since: now, packets: 0, wait_us: 0, nap_us: 0, stirred, quiet_at: now, quiet }
    }

    /// Something was done that is in a hurry: media, a message of a handshake, a check of a leg that is being
    /// set up, a command.
    #[inline]
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// Nothing that is in a hurry came for a while.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet && !self.stirred
    }

    /// How to wait for packets and for `timer`. `handled` counts packets since the start: those that came or,
    /// in a fan-out, those that went.
    pub(super) fn wait(&mut self, now: Time, handled: u64, timer: Time) -> Wait {
        if std::mem::take(&mut self.stirred) {
            self.quiet_at = now + QUIET_AFTER;
        }
        self.quiet = now >= self.quiet_at;
        let nanos = now.as_nanos().saturating_sub(self.since.as_nanos());
        if nanos >= WINDOW_NANOS {
            let packets = handled.saturating_sub(self.packets);
            self.wait_us = choose(self.max_us, packets, nanos / 1_000);
            let nap_us_max = self.max_us.saturating_mul(NAP_TIMES).min(NAP_US_MAX);
            self.nap_us = choose(nap_us_max, packets, nanos / 1_000);
            (self.since, self.packets) = (now, handled);
        }
        // Timers wait for the packets, too: with a thousand legs one is due nearly every millisecond.
        let not_before = |us: u32| timer.max(now + Duration::from_micros(us.into()));
        if self.nap_us > 0 && self.quiet {
            Wait::Nap { deadline: not_before(self.nap_us), nap_us: self.nap_us }
        } else {
            Wait::Until { deadline: not_before(self.wait_us), coalesce_us: self.wait_us }
        }
    }
}

/// The longest delay that a packet may get, microseconds, after so many in the last `us`.
fn choose(us_max: u32, packets: u64, us: u64) -> u32 {
    let us_max = u64::from(us_max);
    if packets.saturating_mul(us_max) < PACKETS_MIN.saturating_mul(us) {
        return 0;
    }
    let wanted_us = PACKETS_WANTED.saturating_mul(us).checked_div(packets).unwrap_or(us_max);
    wanted_us.min(us_max) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Time = Time::MAX;

    fn until(coalesce_us: u32) -> Wait {
        Wait::Until { deadline: NEVER, coalesce_us }
    }

    fn nap(nap_us: u32) -> Wait {
        Wait::Nap { deadline: NEVER, nap_us }
    }

    /// What is chosen at so many packets a second, some of which are in a hurry.
    fn at(packets_per_s: u64, max_us: u32) -> Wait {
        let mut coalescing = Coalescing::new(max_us, Time::ZERO);
        let early = coalescing.wait(Time::from_millis(19), packets_per_s / 50, NEVER);
        assert_eq!(early, until(0), "nothing is known yet");
        coalescing.wait(Time::from_millis(20), packets_per_s / 50, NEVER)
    }

    /// The same when for more than a second none was.
    fn quiet_at(packets_per_s: u64, max_us: u32) -> Wait {
        let mut coalescing = Coalescing::new(max_us, Time::ZERO);
        coalescing.wait(Time::ZERO, 0, NEVER);
        coalescing.wait(Time::from_millis(1_000), packets_per_s, NEVER)
    }

    #[test]
    fn few_packets_are_not_held_and_many_not_for_long() {
        let chosen = [0, 100, 950, 1_000, 5_000, 50_000, 100_000, 400_000].map(|rate| at(rate, 2_000));
        assert_eq!(chosen, [0, 0, 0, 2_000, 2_000, 2_000, 1_280, 320].map(until));
        assert_eq!([0, 5_000, 400_000].map(|rate| at(rate, 500)), [0, 500, 320].map(until));
        assert_eq!(at(50_000, 0), until(0));
    }

    #[test]
    fn it_follows_the_load() {
        let mut coalescing = Coalescing::new(1_000, Time::ZERO);
        assert_eq!(coalescing.wait(Time::from_millis(20), 200, NEVER), until(1_000));
        assert_eq!(coalescing.wait(Time::from_millis(30), 200, NEVER), until(1_000));
        assert_eq!(coalescing.wait(Time::from_millis(40), 210, NEVER), until(0), "500 a second");
    }

    #[test]
    fn a_quiet_worker_naps() {
        let chosen = [1_000, 4_000, 50_000, 100_000, 400_000].map(|rate| quiet_at(rate, 500));
        assert_eq!(chosen, [2_000, 2_000, 2_000, 1_280, 320].map(nap));
        assert_eq!([100, 200, 2_000].map(|max_us| quiet_at(20_000, max_us)), [400, 800, 2_000].map(nap));
        // With few packets none is held, and without leave no nap is taken.
        assert_eq!([0, 100, 950].map(|rate| quiet_at(rate, 500)), [until(0); 3]);
        assert_eq!(quiet_at(4_000, 0), until(0));
    }

    #[test]
    fn what_is_in_a_hurry_ends_the_quiet_at_once() {
        let mut coalescing = Coalescing::new(500, Time::ZERO);
        let mut handled = 0;
        let mut naps = Vec::new();
        for ms in (0..4_000).step_by(20) {
            // Consent checks of ten thousand legs, and one packet of something else.
            handled += 80;
            if ms == 2_000 {
                coalescing.stir();
            }
            if coalescing.wait(Time::from_millis(ms), handled, NEVER) == nap(2_000) {
                naps.push(ms);
            }
        }
        let expected: Vec<u64> = (1_000..2_000).chain(3_000..4_000).step_by(20).collect();
        assert_eq!(naps, expected);
    }

    #[test]
    fn timers_wait_for_the_packets() {
        let mut coalescing = Coalescing::new(500, Time::ZERO);
        let (soon, now) = (Time::from_micros(20_100), Time::from_millis(20));
        let wait = coalescing.wait(now, 200, soon);
        assert_eq!(wait, Wait::Until { deadline: Time::from_micros(20_500), coalesce_us: 500 });
        let (soon, now) = (Time::from_micros(1_020_100), Time::from_millis(1_020));
        let wait = coalescing.wait(now, 10_000, soon);
        assert_eq!(wait, Wait::Nap { deadline: Time::from_millis(1_022), nap_us: 2_000 });
    }
}
