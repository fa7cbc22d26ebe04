//! Transport-wide feedback about what a leg receives
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2, §3).

use core::num::NonZeroU32;
use core::time::Duration;

use bifrons_wire::rtcp::{Full, Writer};

use super::ExtendedSequence;
use crate::Time;

/// Sequence numbers that wait for a report at most; older ones are not reported.
const PENDING_MAX: u64 = 1024;
/// Sequence numbers in one message at most, so that it fits any MTU.
pub const TWCC_STATUSES_MAX: usize = 400;
/// Unit of a delta.
const TICK_NANOS: u64 = 250_000;

/// Arrival times of a leg's packets by transport sequence number.
#[derive(Debug, Clone)]
pub struct TwccReceiver {
    /// Arrival in ticks of 250 µs, modulo 2^32; the reference time's 24 bits of 64 ms are its upper bits.
    arrivals: [Option<NonZeroU32>; PENDING_MAX as usize],
    /// The first index not yet reported, and the one after the highest received.
    pending: core::ops::Range<u64>,
    feedback_count: u8,
    interval: Duration,
    next_at: Option<Time>,
    /// Packets that came after they had been reported missing, or twice.
    pub late: u64,
    /// Sequence numbers that were never reported because too many waited.
    pub overflowed: u64,
}

impl TwccReceiver {
    /// Reports every `interval` (the draft: 50 to 250 ms).
    pub fn new(interval: Duration) -> Self {
        TwccReceiver {
            arrivals: [None; PENDING_MAX as usize],
            pending: 0..0,
            feedback_count: 0,
            interval,
            next_at: None,
            late: 0,
            overflowed: 0,
        }
    }

    /// Takes a packet's transport sequence number.
    pub fn on_packet(&mut self, sequence: u16, now: Time) {
        if self.pending.end == 0 {
            let first = ExtendedSequence::FIRST_CYCLE + u64::from(sequence);
            self.pending = first..first;
        }
        let index = ExtendedSequence::nearest(self.pending.end, sequence);
        if index < self.pending.start {
            self.late += 1;
            return;
        }
        if index >= self.pending.end {
            for between in self.pending.end.max((index + 1).saturating_sub(PENDING_MAX))..index {
                self.set(between, None);
            }
            self.pending.end = index + 1;
            let start = self.pending.start.max(self.pending.end.saturating_sub(PENDING_MAX));
            self.overflowed += start - self.pending.start;
            self.pending.start = start;
        } else if self.get(index).is_some() {
            self.late += 1;
            return;
        }
        self.set(index, NonZeroU32::new((now.as_nanos() / TICK_NANOS) as u32).or(Some(NonZeroU32::MIN)));
        self.next_at.get_or_insert(now + self.interval);
    }

    /// When the next report is due.
    pub fn deadline(&self) -> Option<Time> {
        self.next_at
    }

    /// Appends one report if it is due; true if one was written. More may wait: call until false or full.
    pub fn write(
        &mut self,
        writer: &mut Writer<'_>,
        sender_ssrc: u32,
        media_ssrc: u32,
        now: Time,
    ) -> Result<bool, Full> {
        if self.next_at.is_none_or(|next_at| now < next_at) {
            return Ok(false);
        }
        // A report begins with a packet that came: its time is the reference.
        let Some((first, reference)) =
            self.pending.clone().find_map(|index| self.get(index).map(|ticks| (index, ticks)))
        else {
            self.pending.start = self.pending.end;
            self.next_at = None;
            return Ok(false);
        };
        // Lost packets before it are part of the report too, as far as there is room.
        let base = self.pending.start.max((first + 1).saturating_sub(TWCC_STATUSES_MAX as u64));
        let mut statuses = [None; TWCC_STATUSES_MAX];
        let mut before = reference.get() & !0xff;
        let mut next = base;
        for (slot, index) in statuses.iter_mut().zip(base..self.pending.end) {
            if let Some(ticks) = self.get(index) {
                // A delta too long for 16 bits (8 s) begins a report of its own.
                let Ok(delta) = i16::try_from(ticks.get().wrapping_sub(before) as i32) else { break };
                *slot = Some(delta);
                before = ticks.get();
            }
            next = index + 1;
        }
        let reported = statuses.get(..(next - base) as usize).unwrap_or(&[]);
        let ssrcs = (sender_ssrc, media_ssrc);
        // The upper 24 bits of the ticks are the reference time; the writer keeps 24 bits.
        let reference_time = (reference.get() >> 8) as i32;
        writer.twcc(ssrcs, base as u16, reference_time, self.feedback_count, reported)?;
        self.overflowed += base - self.pending.start;
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.pending.start = next;
        if self.pending.is_empty() {
            self.next_at = None;
        }
        Ok(true)
    }

    fn get(&self, index: u64) -> Option<NonZeroU32> {
        self.arrivals.get((index % PENDING_MAX) as usize).copied().flatten()
    }

    fn set(&mut self, index: u64, ticks: Option<NonZeroU32>) {
        if let Some(slot) = self.arrivals.get_mut((index % PENDING_MAX) as usize) {
            *slot = ticks;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bifrons_wire::rtcp::{Compound, Packet};
    use proptest::prelude::*;

    /// All reports due at `now`: (sequence, arrival in ticks since the epoch modulo 2^32).
    fn reports(r: &mut TwccReceiver, now: Time) -> Vec<Vec<(u16, Option<u32>)>> {
        let mut all = Vec::new();
        let mut buffer = [0; 1200];
        loop {
            let mut writer = Writer::new(&mut buffer);
            if !r.write(&mut writer, 1, 2, now).unwrap() {
                return all;
            }
            let Some(Ok(Packet::Twcc(twcc))) = Compound::new(writer.bytes()).next() else { panic!("TWCC") };
            let mut at = (twcc.reference_time as u32) << 8;
            let statuses = twcc.statuses().map(|(sequence, delta)| {
                (
                    sequence,
                    delta.map(|delta| {
                        at = at.wrapping_add_signed(i32::from(delta));
                        at
                    }),
                )
            });
            all.push(statuses.collect());
        }
    }

    #[test]
    fn reports_arrivals_and_losses_once() {
        let mut r = TwccReceiver::new(Duration::from_millis(100));
        for (sequence, ms) in [(65_534, 1000), (65_535, 1010), (1, 1030), (0, 1040)] {
            r.on_packet(sequence, Time::from_millis(ms));
        }
        r.on_packet(4, Time::from_millis(1050));
        assert_eq!(
            (r.deadline(), reports(&mut r, Time::from_millis(1099))),
            (Some(Time::from_millis(1100)), vec![])
        );
        let report = vec![
            (65_534, Some(4000)),
            (65_535, Some(4040)),
            (0, Some(4160)),
            (1, Some(4120)),
            (2, None),
            (3, None),
            (4, Some(4200)),
        ];
        assert_eq!(reports(&mut r, Time::from_millis(1100)), [report]);
        assert_eq!((r.deadline(), reports(&mut r, Time::from_millis(9000))), (None, vec![]));
        r.on_packet(3, Time::from_millis(9000));
        r.on_packet(7, Time::from_millis(9000));
        assert_eq!(r.late, 1);
        assert_eq!(reports(&mut r, Time::from_millis(9100)), [vec![(5, None), (6, None), (7, Some(36_000))]]);
    }

    #[test]
    fn bounded_when_sequence_numbers_jump() {
        let mut r = TwccReceiver::new(Duration::ZERO);
        r.on_packet(0, Time::from_millis(1));
        r.on_packet(30_000, Time::from_millis(2));
        let all = reports(&mut r, Time::from_millis(2));
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].len(), all[0].last()), (TWCC_STATUSES_MAX, Some(&(30_000, Some(8)))));
        assert_eq!(r.overflowed, 30_001 - TWCC_STATUSES_MAX as u64);
        // Ten seconds between two packets: two reports.
        r.on_packet(30_001, Time::from_millis(100));
        r.on_packet(30_002, Time::from_millis(10_100));
        assert_eq!(reports(&mut r, Time::from_millis(10_100)).len(), 2);
    }

    proptest! {
        #[test]
        fn every_arrival_is_reported_exactly_once(
            start: u16, steps in prop::collection::vec((1u16..6, 0u64..30_000, any::<bool>()), 1..300),
        ) {
            let mut r = TwccReceiver::new(Duration::from_millis(100));
            let (mut sequence, mut now, mut sent) = (start, Time::from_millis(50), Vec::new());
            let mut reported = Vec::new();
            for (step, wait_us, report) in steps {
                now += Duration::from_micros(wait_us);
                sequence = sequence.wrapping_add(step);
                r.on_packet(sequence, now);
                sent.push((sequence, Some((now.as_nanos() / TICK_NANOS) as u32)));
                if report {
                    reported.extend(reports(&mut r, now).concat());
                }
            }
            now += Duration::from_secs(1);
            reported.extend(reports(&mut r, now).concat());
            reported.retain(|(_, at)| at.is_some());
            prop_assert_eq!(reported, sent);
        }
    }
}
