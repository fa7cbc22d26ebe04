//! How often a source is asked for something.

use core::time::Duration;

use crate::Time;

/// Key frame requests to one source, from any number of receivers.
///
/// A source answers a request with a frame many times the usual size, so requests within an interval become
/// one. None is lost: a request that came too soon is made when the interval ends.
#[derive(Debug, Clone, Copy)]
pub struct KeyframeThrottle {
    interval: Duration,
    next_at: Time,
    pending: bool,
    fir_sequence: u8,
    /// Requests that were joined with another.
    pub joined: u64,
}

impl KeyframeThrottle {
    /// At most one request an `interval`.
    pub fn new(interval: Duration) -> Self {
        KeyframeThrottle { interval, next_at: Time::ZERO, pending: false, fir_sequence: 0, joined: 0 }
    }

    /// A receiver needs a key frame; true if the source is to be asked now.
    pub fn request(&mut self, now: Time) -> bool {
        self.joined += u64::from(self.pending);
        self.pending = true;
        self.due(now)
    }

    /// True if a request that had to wait is to be made now.
    pub fn due(&mut self, now: Time) -> bool {
        if !self.pending || now < self.next_at {
            return false;
        }
        self.pending = false;
        self.next_at = now + self.interval;
        true
    }

    /// When a waiting request is to be made.
    pub fn deadline(&self) -> Option<Time> {
        self.pending.then_some(self.next_at)
    }

    /// A key frame has come: requests that wait are answered.
    pub fn on_keyframe(&mut self) {
        self.pending = false;
    }

    /// Number for the next FIR (RFC 5104 §4.3.1.1): rises with every request made.
    pub fn next_fir_sequence(&mut self) -> u8 {
        self.fir_sequence = self.fir_sequence.wrapping_add(1);
        self.fir_sequence
    }
}

/// The bitrate that a source may send at most, told to it by REMB.
///
/// REMB has no acknowledgement, so it is repeated; a new cap is told at once.
#[derive(Debug, Clone, Copy)]
pub struct BitrateCap {
    interval: Duration,
    next_at: Time,
    cap_bps: Option<u64>,
}

impl BitrateCap {
    /// No cap yet; one that is set is repeated every `interval`.
    pub fn new(interval: Duration) -> Self {
        BitrateCap { interval, next_at: Time::ZERO, cap_bps: None }
    }

    /// Sets the cap, bit/s; `None` ends it.
    pub fn set(&mut self, cap_bps: Option<u64>) {
        if cap_bps != self.cap_bps {
            self.cap_bps = cap_bps;
            self.next_at = Time::ZERO;
        }
    }

    /// The cap, bit/s.
    pub fn get(&self) -> Option<u64> {
        self.cap_bps
    }

    /// The bitrate to tell the source now, if it is time. `estimate_bps` is what receivers can take (the
    /// lowest of their REMBs); the lower of both counts.
    pub fn due(&mut self, estimate_bps: Option<u64>, now: Time) -> Option<u64> {
        let bitrate_bps = match (self.cap_bps, estimate_bps) {
            (Some(cap), Some(estimate)) => cap.min(estimate),
            (Some(bitrate), None) | (None, Some(bitrate)) => bitrate,
            (None, None) => return None,
        };
        if now < self.next_at {
            return None;
        }
        self.next_at = now + self.interval;
        Some(bitrate_bps)
    }

    /// When the cap is to be told again.
    pub fn deadline(&self) -> Option<Time> {
        self.cap_bps.map(|_| self.next_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn requests_within_an_interval_become_one_and_none_is_lost() {
        let mut t = KeyframeThrottle::new(Duration::from_millis(500));
        assert!(t.request(ms(100)));
        assert!(!t.request(ms(200)) && !t.request(ms(300)));
        assert_eq!((t.joined, t.deadline()), (1, Some(ms(600))));
        assert!(!t.due(ms(599)));
        assert!(t.due(ms(600)));
        assert_eq!((t.due(ms(2000)), t.deadline()), (false, None));
        t.request(ms(700));
        t.on_keyframe();
        assert!(!t.due(ms(5000)));
        assert_eq!([t.next_fir_sequence(), t.next_fir_sequence()], [1, 2]);
    }

    #[test]
    fn a_new_cap_is_told_at_once_and_repeated() {
        let mut c = BitrateCap::new(Duration::from_secs(1));
        assert_eq!((c.due(None, ms(0)), c.deadline()), (None, None));
        c.set(Some(500_000));
        assert_eq!([c.due(None, ms(10)), c.due(None, ms(500))], [Some(500_000), None]);
        c.set(Some(400_000));
        assert_eq!(
            [c.due(Some(300_000), ms(510)), c.due(Some(900_000), ms(1510))],
            [Some(300_000), Some(400_000)]
        );
        c.set(None);
        assert_eq!(c.due(Some(1), ms(1511)), Some(1));
    }
}
