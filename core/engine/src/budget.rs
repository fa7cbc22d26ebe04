//! How many packets one sender may have worked on, so that a flood costs its own leg and nobody else's.
//!
//! A token bucket as one word of time (GCRA): no refill, no division, no timer. A worker reads the clock
//! once a turn, so what a leg may spend in a turn is what has come in since it spent last, at most its
//! burst.

use bifrons_rtc::Time;

/// How fast a [`Budget`] fills, and how full it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Between two packets, nanoseconds; 0: no limit.
    interval_ns: u32,
    /// What a full budget is worth, packets.
    burst_packets: u32,
}

impl Rate {
    /// So many a second (0: no limit), and so many at once, at least one.
    pub(crate) fn new(packets_per_s: u32, burst_packets: u32) -> Self {
        let interval_ns = 1_000_000_000_u32.checked_div(packets_per_s).unwrap_or(0);
        Self { interval_ns, burst_packets: burst_packets.max(1) }
    }

    /// What a full budget is worth, nanoseconds.
    #[inline]
    fn burst_ns(self) -> u64 {
        u64::from(self.interval_ns) * u64::from(self.burst_packets)
    }
}

/// What one sender has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    /// When it is full again, nanoseconds.
    full_at: u64,
}

impl Budget {
    /// Spends one packet, if there is one left.
    #[inline]
    pub(crate) fn take(&mut self, now: Time, rate: Rate) -> bool {
        let now = now.as_nanos();
        let full_at = self.full_at.max(now).saturating_add(rate.interval_ns.into());
        let may = full_at - now <= rate.burst_ns();
        if may {
            self.full_at = full_at;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_at_once_then_the_rate() {
        let rate = Rate::new(100, 20);
        let mut budget = Budget::default();
        let now = Time::from_millis(5_000);
        assert_eq!((0..50).filter(|_| budget.take(now, rate)).count(), 20);
        assert_eq!((0..50).filter(|_| budget.take(Time::from_millis(5_009), rate)).count(), 0);
        assert_eq!((0..50).filter(|_| budget.take(Time::from_millis(5_010), rate)).count(), 1);
        // Idle time fills it up to the burst and no further.
        assert_eq!((0..50).filter(|_| budget.take(Time::from_millis(60_000), rate)).count(), 20);
    }

    #[test]
    fn zero_is_no_limit_and_a_burst_is_at_least_one() {
        let mut budget = Budget::default();
        assert!((0..10_000).all(|_| budget.take(Time::ZERO, Rate::new(0, 0))));
        let mut budget = Budget::default();
        assert_eq!((0..10).filter(|_| budget.take(Time::from_millis(1), Rate::new(1, 0))).count(), 1);
    }

    proptest! {
        /// In no stretch of time more pass than the burst and what the stretch is worth; whoever keeps to
        /// the rate loses nothing.
        #[test]
        fn bounded_whatever_the_arrivals(
            per_s in 1u32..5_000,
            burst in 1u32..1_000,
            gaps in proptest::collection::vec(0u64..20_000_000, 1..400),
        ) {
            let rate = Rate::new(per_s, burst);
            let (mut flooded, mut kept) = (Budget::default(), Budget::default());
            let (mut now, mut passed) = (1_000_000_000u64, 0u64);
            let start = now;
            for (n, gap) in gaps.iter().enumerate() {
                now += gap;
                passed += u64::from(flooded.take(Time::from_nanos(now), rate));
                let worth = (now - start) / (1_000_000_000 / u64::from(per_s));
                prop_assert!(passed <= u64::from(burst) + worth);
                let paced = start + n as u64 * (1_000_000_000 / u64::from(per_s));
                prop_assert!(kept.take(Time::from_nanos(paced), rate));
            }
        }
    }
}
