//! Which packets are missing, and when to ask for them again (RFC 4585 §6.2.1).

use core::time::Duration;

use crate::Time;

/// Missing packets that are remembered; more at once are not worth asking for.
pub const MISSING_MAX: usize = 256;
/// A packet may be merely reordered for so long before it is asked for.
const REORDER_WAIT: Duration = Duration::from_millis(5);
/// Asked for again no sooner than this, whatever the round trip.
const RETRY_WAIT_MIN: Duration = Duration::from_millis(20);
/// Times that one packet is asked for.
const TRIES_MAX: u8 = 10;
/// A packet older than this is of no use any more.
const AGE_MAX: Duration = Duration::from_secs(1);

/// What came of a packet or of a look at the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NackOutcome {
    /// All is being taken care of.
    Ok,
    /// Packets were given up: too many at once, too often asked for, too old. Only a key frame helps.
    GaveUp,
}

/// The missing packets of one source.
#[derive(Debug, Clone)]
pub struct NackGenerator {
    /// In rising order.
    missing: [Missing; MISSING_MAX],
    len: usize,
    highest: Option<u64>,
    /// Packets found missing.
    pub lost: u64,
    /// Packets that came after having been missed.
    pub recovered: u64,
    /// Packets given up.
    pub abandoned: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Missing {
    index: u64,
    since: Time,
    ask_at: Time,
    tries: u8,
}

impl Default for NackGenerator {
    fn default() -> Self {
        NackGenerator {
            missing: [Missing::default(); MISSING_MAX],
            len: 0,
            highest: None,
            lost: 0,
            recovered: 0,
            abandoned: 0,
        }
    }
}

impl NackGenerator {
    /// Takes the extended sequence number of a packet that has come, retransmitted or not.
    pub fn on_packet(&mut self, index: u64, now: Time) -> NackOutcome {
        let highest = match self.highest.replace(index) {
            None => return NackOutcome::Ok,
            Some(highest) if index <= highest => {
                self.highest = Some(highest);
                self.recover(index);
                return NackOutcome::Ok;
            }
            Some(highest) => highest,
        };
        let gap = index - highest - 1;
        self.lost += gap;
        if gap > (MISSING_MAX - self.len) as u64 {
            self.abandoned += gap + self.len as u64;
            self.len = 0;
            return NackOutcome::GaveUp;
        }
        for index in highest + 1..index {
            if let Some(slot) = self.missing.get_mut(self.len) {
                *slot = Missing { index, since: now, ask_at: now + REORDER_WAIT, tries: 0 };
                self.len += 1;
            }
        }
        NackOutcome::Ok
    }

    fn recover(&mut self, index: u64) {
        let missing = self.missing.get(..self.len).unwrap_or(&[]);
        if let Ok(at) = missing.binary_search_by_key(&index, |missing| missing.index) {
            self.missing.copy_within(at + 1..self.len, at);
            self.len -= 1;
            self.recovered += 1;
        }
    }

    /// Gives the sequence numbers that are to be asked for now, rising, at most [`MISSING_MAX`] of them.
    pub fn due(&mut self, now: Time, round_trip: Duration, mut ask: impl FnMut(u16)) -> NackOutcome {
        let mut kept = 0;
        for at in 0..self.len {
            let Some(mut missing) = self.missing.get(at).copied() else { break };
            if missing.ask_at <= now {
                if missing.tries == TRIES_MAX || now - missing.since > AGE_MAX {
                    self.abandoned += 1;
                    continue;
                }
                ask(missing.index as u16);
                missing.tries += 1;
                missing.ask_at = now + round_trip.max(RETRY_WAIT_MIN);
            }
            if let Some(slot) = self.missing.get_mut(kept) {
                *slot = missing;
            }
            kept += 1;
        }
        let gave_up = kept < self.len;
        self.len = kept;
        if gave_up { NackOutcome::GaveUp } else { NackOutcome::Ok }
    }

    /// When [`NackGenerator::due`] has something to do next.
    pub fn deadline(&self) -> Option<Time> {
        self.missing.get(..self.len)?.iter().map(|missing| missing.ask_at).min()
    }

    /// Packets missing now.
    pub fn missing(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn due(g: &mut NackGenerator, now: u64) -> Vec<u16> {
        let mut asked = Vec::new();
        g.due(ms(now), RTT, |sequence| asked.push(sequence));
        asked
    }

    #[test]
    fn asks_after_reordering_time_and_again_after_a_round_trip() {
        let mut g = NackGenerator::default();
        g.on_packet(65_535, ms(0));
        g.on_packet(65_539, ms(0));
        assert_eq!((due(&mut g, 4), g.deadline()), (vec![], Some(ms(5))));
        assert_eq!(due(&mut g, 5), [0, 1, 2]);
        g.on_packet(65_537, ms(6));
        assert_eq!(due(&mut g, 54), []);
        assert_eq!(due(&mut g, 55), [0, 2]);
        g.on_packet(65_536, ms(60));
        g.on_packet(65_538, ms(60));
        assert_eq!((g.deadline(), g.recovered, g.missing()), (None, 3, 0));
    }

    #[test]
    fn gives_up_after_tries_or_age() {
        let mut g = NackGenerator::default();
        g.on_packet(10, ms(0));
        g.on_packet(12, ms(0));
        let mut asked = 0;
        let mut gave_up_at = None;
        for now in 0..2000 {
            if g.due(ms(now), RTT, |_| asked += 1) == NackOutcome::GaveUp {
                gave_up_at = Some(now);
            }
        }
        assert_eq!((asked, gave_up_at, g.abandoned, g.missing()), (10, Some(505), 1, 0));
        let mut slow = NackGenerator::default();
        slow.on_packet(10, ms(0));
        slow.on_packet(12, ms(0));
        assert_eq!(slow.due(ms(1500), RTT, |_| panic!("too old")), NackOutcome::GaveUp);
    }

    #[test]
    fn bounded() {
        let mut g = NackGenerator::default();
        g.on_packet(0, ms(0));
        assert_eq!(g.on_packet(MISSING_MAX as u64 + 1, ms(0)), NackOutcome::Ok);
        assert_eq!(g.missing(), MISSING_MAX);
        assert_eq!(g.on_packet(MISSING_MAX as u64 + 3, ms(0)), NackOutcome::GaveUp);
        assert_eq!((g.missing(), g.abandoned), (0, MISSING_MAX as u64 + 1));
        assert_eq!(g.on_packet(u64::MAX, ms(0)), NackOutcome::GaveUp);
    }
}
