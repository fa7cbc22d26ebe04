//! How long an idle worker waits on for more packets.
//!
//! Being woken costs ten times what forwarding a packet does, so packets should come in company. But where
//! they are few, waiting brings no company and only makes them late; and where they are many, a short wait
//! brings enough.

use bifrons_rtc::Time;

/// Packets that a wake-up should find: it then costs each of them less than a tenth of its own cost.
const PACKETS_WANTED: u64 = 128;
/// With fewer than so many in the longest wait, none is waited for.
const PACKETS_MIN: u64 = 2;
/// The rate is counted over this: one round of audio packets.
const WINDOW_NANOS: u64 = 20_000_000;

/// Chooses by the load of the last moment.
#[derive(Debug)]
pub(super) struct Coalescing {
    max_us: u32,
    since: Time,
    packets: u64,
    wait_us: u32,
}

impl Coalescing {
    /// Waits of at most `max_us`.
    pub(super) fn new(max_us: u32, now: Time) -> Self {
        Self { max_us, since: now, packets: 0, wait_us: 0 }
    }

    /// The longest delay that a packet may get, microseconds. `handled` counts packets since the start: those
    /// that came or, in a fan-out, those that went.
    pub(super) fn wait_us(&mut self, now: Time, handled: u64) -> u32 {
        let nanos = now.as_nanos().saturating_sub(self.since.as_nanos());
        if nanos >= WINDOW_NANOS {
            let packets = handled.saturating_sub(self.packets);
            self.wait_us = self.choose(packets, nanos / 1_000);
            (self.since, self.packets) = (now, handled);
        }
        self.wait_us
    }

    fn choose(&self, packets: u64, us: u64) -> u32 {
        let max_us = u64::from(self.max_us);
        if packets.saturating_mul(max_us) < PACKETS_MIN.saturating_mul(us) {
            return 0;
        }
        let wanted_us = PACKETS_WANTED.saturating_mul(us).checked_div(packets).unwrap_or(max_us);
        wanted_us.min(max_us) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is chosen at so many packets a second.
    fn at(packets_per_s: u64, max_us: u32) -> u32 {
        let mut coalescing = Coalescing::new(max_us, Time::ZERO);
        assert_eq!(coalescing.wait_us(Time::from_millis(19), packets_per_s / 50), 0, "nothing is known yet");
        coalescing.wait_us(Time::from_millis(20), packets_per_s / 50)
    }

    #[test]
    fn few_packets_are_not_held_and_many_not_for_long() {
        let chosen = [0, 100, 950, 1_000, 5_000, 50_000, 100_000, 400_000].map(|rate| at(rate, 2_000));
        assert_eq!(chosen, [0, 0, 0, 2_000, 2_000, 2_000, 1_280, 320]);
        assert_eq!([0, 5_000, 400_000].map(|rate| at(rate, 500)), [0, 500, 320]);
        assert_eq!(at(50_000, 0), 0);
    }

    #[test]
    fn it_follows_the_load() {
        let mut coalescing = Coalescing::new(1_000, Time::ZERO);
        assert_eq!(coalescing.wait_us(Time::from_millis(20), 200), 1_000);
        assert_eq!(coalescing.wait_us(Time::from_millis(30), 200), 1_000);
        assert_eq!(coalescing.wait_us(Time::from_millis(40), 210), 0, "500 a second");
    }
}
