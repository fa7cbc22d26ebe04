//! One outgoing stream made from changing sources.

use super::send::ticks;
use super::sequence::{DROPOUT_MAX, ExtendedSequence, MISORDER_MAX};
use crate::Time;
use crate::srtp::{Refusal, RtpWindow, WINDOW_LEN};
use core::time::Duration;

/// Changes of mapping that are remembered, for late packets and for NACKs. A change is a switch, a resume, a
/// restart or a run of packets left out.
const SEGMENTS: usize = 16;
/// Indices left free below the first one, for packets that were sent before it and come after it: as many as
/// SRTP takes late.
const ROOM_BELOW: u64 = WINDOW_LEN;
/// For so long after a switch packets of the source before it are late, not a switch back.
pub const SWITCH_GRACE: Duration = Duration::from_millis(500);
/// A timestamp that is this far from the time that has passed has been set anew by its source.
const TIMESTAMP_STEP_MAX_S: u64 = 10;

/// An incoming packet, as far as its outgoing header depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming {
    /// SSRC it came with.
    pub ssrc: u32,
    /// Its extended sequence number within that source ([`ExtendedSequence`]).
    pub index: u64,
    /// Its timestamp.
    pub timestamp: u32,
}

/// The outgoing header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// SRTP packet index: rollover counter and sequence number. Never given twice.
    pub index: u64,
    /// Its low 16 bits.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
}

/// What an outgoing sequence number was made from, for a retransmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original {
    /// SSRC it came with.
    pub ssrc: u32,
    /// Extended sequence number within that source.
    pub index: u64,
    /// Outgoing index.
    pub outgoing_index: u64,
    /// To be added to the incoming timestamp.
    pub timestamp_offset: u32,
}

/// Why a packet does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It has no place in the outgoing stream: it is from before the first packet after a switch, a resume or a
    /// restart, newer than the last packet before it, or older than what is remembered.
    ///
    /// At the first packet of a stream there is room for those before it. At a switch there is not: a gap would
    /// be reported as loss and asked for by NACK at each of them.
    Late,
    /// Its place in the outgoing stream has been used.
    Duplicate,
}

/// Rewrites sequence numbers and timestamps of changing sources into one outgoing stream.
///
/// Loss and reordering within a source stay visible, also before its first packet; what was left out on purpose
/// (pause, gate, selector) leaves no gap. Whatever comes in, an outgoing index is given at most once, so SRTP never protects one
/// index with two contents.
///
/// What each packet needs comes first.
#[repr(C)]
#[derive(Debug, Clone)]
pub struct Rewriter {
    next_out: u64,
    highest_in: u64,
    last_at: Time,
    /// Segments in use; the newest is the last.
    used: usize,
    last_in_timestamp: u32,
    last_out_timestamp: u32,
    clock_rate: u32,
    resume: bool,
    /// What SRTP will have protected: a packet that it would refuse as too old has no place here either.
    sent: RtpWindow,
    segments: [Segment; SEGMENTS],
    switched_at: Time,
    /// Packets refused as late.
    pub late: u64,
    /// Packets refused as duplicates.
    pub duplicates: u64,
    /// Changes of source.
    pub switches: u64,
}

/// From `from_in` of source `ssrc` on, index `i` goes out as `i - from_in + from_out`.
#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    ssrc: u32,
    from_in: u64,
    from_out: u64,
    timestamp_offset: u32,
}

impl Rewriter {
    /// A stream that begins at `sequence` and `timestamp`, both best random (RFC 3550 §5.1). The highest bit of
    /// `sequence` is left off, so that a receiver cannot misjudge the first rollover (RFC 3711 §3.3.1), and a
    /// lower one is set, so that there are indices for packets before the first.
    pub fn new(sequence: u16, timestamp: u32, clock_rate: u32) -> Self {
        Rewriter {
            clock_rate,
            segments: [Segment::default(); SEGMENTS],
            used: 0,
            sent: RtpWindow::default(),
            next_out: u64::from(sequence & 0x7fff) | ROOM_BELOW,
            highest_in: 0,
            last_in_timestamp: 0,
            last_out_timestamp: timestamp,
            last_at: Time::ZERO,
            switched_at: Time::ZERO,
            resume: false,
            late: 0,
            duplicates: 0,
            switches: 0,
        }
    }

    /// So much of it, from its beginning, does a packet need while there is one source.
    pub const HOT_BYTES: usize = core::mem::offset_of!(Self, segments) + size_of::<Segment>();

    /// Places one packet in the outgoing stream.
    pub fn forward(&mut self, packet: Incoming, now: Time) -> Result<Outgoing, Refused> {
        self.follow(&packet, now);
        let Some((out, timestamp_offset)) = self.map(packet.ssrc, packet.index) else {
            self.late += 1;
            return Err(Refused::Late);
        };
        match self.sent.check(out) {
            Ok(()) => self.sent.insert(out),
            Err(Refusal::TooOld) => {
                self.late += 1;
                return Err(Refused::Late);
            }
            Err(Refusal::Used) => {
                self.duplicates += 1;
                return Err(Refused::Duplicate);
            }
        }
        let timestamp = packet.timestamp.wrapping_add(timestamp_offset);
        if out >= self.next_out {
            self.next_out = out + 1;
            self.highest_in = packet.index;
            self.last_in_timestamp = packet.timestamp;
            self.last_out_timestamp = timestamp;
            self.last_at = now;
        }
        Ok(Outgoing { index: out, sequence: out as u16, timestamp })
    }

    /// Leaves one packet of the current source out without a gap (a layer or a probe that does not go on).
    /// It must not be given to [`Rewriter::forward`] as well.
    pub fn skip(&mut self, ssrc: u32, index: u64) {
        let Some(current) = self.current().filter(|current| current.ssrc == ssrc) else { return };
        if self.resume || index <= self.highest_in || index - self.highest_in > DROPOUT_MAX {
            return;
        }
        // The place of this packet goes to the next one; places of lost ones before it stay theirs.
        let Some((out, timestamp_offset)) = self.map(ssrc, index) else { return };
        let next = Segment { ssrc, from_in: index + 1, from_out: out, timestamp_offset };
        if current.from_in == index {
            self.replace_current(next);
        } else {
            self.push(next);
        }
    }

    /// What comes from now on is left out (mute, hold, closed gate) until the next [`Rewriter::forward`],
    /// which goes on with the next sequence number.
    pub fn pause(&mut self) {
        self.resume = true;
    }

    /// The current source's timestamp as it goes out, for sender reports.
    pub fn map_timestamp(&self, timestamp: u32) -> Option<u32> {
        self.current().map(|current| timestamp.wrapping_add(current.timestamp_offset))
    }

    /// SSRC of the current source.
    pub fn source(&self) -> Option<u32> {
        self.current().map(|current| current.ssrc)
    }

    /// What an outgoing sequence number was made from; `None` if it was not sent or is too old.
    pub fn original(&self, sequence: u16) -> Option<Original> {
        let outgoing_index = ExtendedSequence::nearest(self.next_out.checked_sub(1)?, sequence);
        if !self.sent.contains(outgoing_index) {
            return None;
        }
        let segment = self.in_use().iter().rev().find(|segment| segment.from_out <= outgoing_index)?;
        Some(Original {
            ssrc: segment.ssrc,
            index: segment.from_in + (outgoing_index - segment.from_out),
            outgoing_index,
            timestamp_offset: segment.timestamp_offset,
        })
    }

    /// Begins a new segment where this packet demands one.
    fn follow(&mut self, packet: &Incoming, now: Time) {
        let Some(current) = self.current().copied() else {
            // What comes before the opening of a gate stays out.
            let room = if self.resume { 0 } else { ROOM_BELOW.min(packet.index) };
            return self.begin(packet, self.last_out_timestamp, room, now);
        };
        if packet.ssrc != current.ssrc {
            let was_before = self.in_use().iter().any(|segment| segment.ssrc == packet.ssrc);
            if was_before && now - self.switched_at < SWITCH_GRACE {
                // It may still fill a gap that it left.
                return;
            }
            self.switches += 1;
            self.begin(packet, self.timestamp_now(now), 0, now);
            self.switched_at = now;
        } else if packet.index > self.highest_in || self.is_restart(packet) {
            if self.is_restart(packet) || self.timestamp_stepped(packet, now) {
                self.begin(packet, self.timestamp_now(now), 0, now);
            } else if self.resume {
                self.begin(packet, packet.timestamp.wrapping_add(current.timestamp_offset), 0, now);
            }
        }
    }

    /// This packet goes out next, with this timestamp; `room` packets before it have a place too.
    fn begin(&mut self, packet: &Incoming, timestamp: u32, room: u64, now: Time) {
        let from_out = self.next_out.max(self.current().map_or(0, |current| current.from_out));
        self.push(Segment {
            ssrc: packet.ssrc,
            from_in: packet.index - room,
            from_out: from_out - room,
            timestamp_offset: timestamp.wrapping_sub(packet.timestamp),
        });
        self.highest_in = packet.index;
        self.last_in_timestamp = packet.timestamp;
        self.last_at = now;
        self.resume = false;
    }

    /// The last outgoing timestamp carried on by the time that has passed, at least by one.
    fn timestamp_now(&self, now: Time) -> u32 {
        self.last_out_timestamp.wrapping_add(ticks(now - self.last_at, self.clock_rate).max(1))
    }

    /// Further off than one run of a source can be: its counting has begun again. That is so when it came back
    /// after another source that never went on.
    fn is_restart(&self, packet: &Incoming) -> bool {
        packet.index > self.highest_in.saturating_add(DROPOUT_MAX)
            || packet.index.saturating_add(MISORDER_MAX) < self.highest_in
    }

    fn timestamp_stepped(&self, packet: &Incoming, now: Time) -> bool {
        let step = i64::from(packet.timestamp.wrapping_sub(self.last_in_timestamp) as i32);
        let elapsed = i64::from(ticks(now - self.last_at, self.clock_rate) as i32);
        (step - elapsed).unsigned_abs() > TIMESTAMP_STEP_MAX_S * u64::from(self.clock_rate)
    }

    /// Place and timestamp offset of an index; `None` if the place belongs to a later segment or is forgotten.
    fn map(&self, ssrc: u32, index: u64) -> Option<(u64, u32)> {
        let mut limit = u64::MAX;
        for segment in self.in_use().iter().rev() {
            if segment.ssrc == ssrc && segment.from_in <= index {
                let out = segment.from_out.checked_add(index - segment.from_in)?;
                return (out < limit).then_some((out, segment.timestamp_offset));
            }
            limit = segment.from_out;
        }
        None
    }

    fn in_use(&self) -> &[Segment] {
        self.segments.get(..self.used).unwrap_or(&[])
    }

    fn current(&self) -> Option<&Segment> {
        self.in_use().last()
    }

    fn replace_current(&mut self, segment: Segment) {
        if let Some(current) = self.used.checked_sub(1).and_then(|last| self.segments.get_mut(last)) {
            *current = segment;
        }
    }

    fn push(&mut self, segment: Segment) {
        if self.used == SEGMENTS {
            self.segments.copy_within(1.., 0);
        } else {
            self.used += 1;
        }
        self.replace_current(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::{Backend, MasterKey, Outbound, Profile, SrtpError};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn rewriter() -> Rewriter {
        Rewriter::new(2000, 50_000, 8000)
    }

    fn at(ssrc: u32, index: u64, timestamp: u32) -> Incoming {
        Incoming { ssrc, index, timestamp }
    }

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn loss_and_reordering_stay_visible() {
        let mut r = rewriter();
        let mut out = |index: u64| r.forward(at(1, index, 160 * index as u32), ms(index)).map(|o| o.sequence);
        assert_eq!(
            [out(65_536), out(65_537), out(65_540), out(65_539)],
            [Ok(2000), Ok(2001), Ok(2004), Ok(2003)]
        );
        // Packets from before the first one have their places too, as far as anything is remembered.
        let last = WINDOW_LEN - 1;
        assert_eq!([out(65_535), out(65_540 - last)], [Ok(1999), Ok(2004 - last as u16)]);
        assert_eq!([out(65_539), out(65_535)], [Err(Refused::Duplicate); 2]);
        assert_eq!(out(65_540 - WINDOW_LEN), Err(Refused::Late));
        assert_eq!((r.duplicates, r.late), (2, 1));
        assert_eq!(r.original(1999).unwrap().index, 65_535);
    }

    #[test]
    fn there_is_room_below_every_first_index() {
        for start in [0, 1, 511, 512, 0x7fff, 0x8000, u16::MAX] {
            let mut r = Rewriter::new(start, 0, 8000);
            let first = r.forward(at(1, 70_000, 0), ms(0)).unwrap().index;
            let last = WINDOW_LEN - 1;
            let lowest = r.forward(at(1, 70_000 - last, 0), ms(0)).unwrap().index;
            assert!(first <= 0x7fff && lowest == first - last, "{start}");
        }
        // Indices of a source that counts from zero.
        let mut r = rewriter();
        assert_eq!(r.forward(at(1, 2, 0), ms(0)).unwrap().sequence, 2000);
        assert_eq!(r.forward(at(1, 0, 0), ms(0)).unwrap().sequence, 1998);
    }

    #[test]
    fn a_new_source_goes_on_with_the_next_number_and_the_time_passed() {
        let mut r = rewriter();
        r.forward(at(1, 100, 777), ms(0)).unwrap();
        let o = r.forward(at(2, 9000, 5), ms(500)).unwrap();
        assert_eq!((o.sequence, o.timestamp, r.switches, r.source()), (2001, 50_000 + 4000, 1, Some(2)));
        // Late packets of the source before do not switch back. Newer ones have no place any more; older ones
        // fill the gap that they left, and have the timestamps of their time.
        assert_eq!(r.forward(at(1, 101, 937), ms(510)), Err(Refused::Late));
        let o = r.forward(at(1, 99, 617), ms(510)).unwrap();
        assert_eq!((o.sequence, o.timestamp, r.source()), (1999, 50_000 - 160, Some(2)));
        // The first of the new source left no gap below it.
        assert_eq!(r.forward(at(2, 8999, 5), ms(515)), Err(Refused::Late));
        assert_eq!(r.forward(at(2, 9001, 165), ms(520)).unwrap().sequence, 2002);
        // Later it may come back.
        assert_eq!(r.forward(at(1, 200, 16_777), ms(1500)).unwrap().sequence, 2003);
        assert_eq!(r.map_timestamp(16_777), Some(r.last_out_timestamp));
    }

    #[test]
    fn pause_and_resume_leave_no_gap_but_keep_the_time() {
        let mut r = rewriter();
        r.forward(at(1, 100, 0), ms(0)).unwrap();
        r.pause();
        let o = r.forward(at(1, 600, 80_000), ms(10_000)).unwrap();
        assert_eq!((o.sequence, o.timestamp), (2001, 50_000 + 80_000));
        assert_eq!(r.forward(at(1, 599, 79_840), ms(10_001)), Err(Refused::Late));
        assert_eq!(r.forward(at(1, 101, 160), ms(10_001)), Err(Refused::Late));
        // Nor is anything let through from before a gate was opened for the first time.
        let mut r = rewriter();
        r.pause();
        r.forward(at(1, 100, 0), ms(0)).unwrap();
        assert_eq!(r.forward(at(1, 99, 0), ms(0)), Err(Refused::Late));
    }

    #[test]
    fn skipped_packets_leave_no_gap_and_lost_ones_do() {
        let mut r = rewriter();
        let mut sequences = Vec::new();
        for index in 100..110u64 {
            match index {
                102 | 103 | 106 => r.skip(1, index),
                104 => {}
                _ => sequences.push(r.forward(at(1, index, 0), ms(0)).unwrap().sequence),
            }
        }
        // 100 101 [102 103 left out] (104 lost) 105 [106 left out] 107 108 109
        assert_eq!(sequences, [2000, 2001, 2003, 2004, 2005, 2006]);
        assert_eq!(r.forward(at(1, 104, 0), ms(0)).unwrap().sequence, 2002);
    }

    #[test]
    fn a_restarted_or_stepped_source_goes_on() {
        let mut r = rewriter();
        r.forward(at(1, 100, 0), ms(0)).unwrap();
        let o = r.forward(at(1, 100_000, 4_000_000_000), ms(20)).unwrap();
        assert_eq!((o.sequence, o.timestamp), (2001, 50_160));
        // Same SSRC, numbers in order, timestamp from elsewhere: a switch behind a session border controller.
        let o = r.forward(at(1, 100_001, 12), ms(40)).unwrap();
        assert_eq!((o.sequence, o.timestamp), (2002, 50_320));
        assert_eq!(r.forward(at(1, 100_002, 172), ms(60)).unwrap().timestamp, 50_480);
    }

    #[test]
    fn a_source_counted_anew_goes_on() {
        let mut r = rewriter();
        r.forward(at(1, 300_000, 0), ms(0)).unwrap();
        // Another source came meanwhile, but the gate was shut; then the first came back.
        r.pause();
        assert_eq!(r.forward(at(1, 70_000, 800), ms(100)).unwrap().sequence, 2001);
        assert_eq!(r.forward(at(1, 70_001, 960), ms(120)).unwrap().sequence, 2002);
        assert_eq!((r.late, r.original(2000).unwrap().index), (0, 300_000));
    }

    #[test]
    fn originals_of_sent_packets_only() {
        let mut r = rewriter();
        r.forward(at(1, 100, 0), ms(0)).unwrap();
        r.forward(at(2, 7, 0), ms(100)).unwrap();
        r.forward(at(2, 9, 0), ms(100)).unwrap();
        let original = |sequence| r.original(sequence).map(|o| (o.ssrc, o.index, o.outgoing_index));
        assert_eq!(original(2000), Some((1, 100, 2000)));
        assert_eq!([original(2001), original(2003)], [Some((2, 7, 2001)), Some((2, 9, 2003))]);
        assert_eq!([original(2002), original(2004), original(999)], [None, None, None]);
    }

    /// What comes late enough is refused here, where it is counted as late, and not by SRTP; and nothing that
    /// SRTP would take is refused.
    #[test]
    fn a_packet_is_as_late_as_srtp_takes_it() {
        let key = MasterKey::from_bytes(Profile::AeadAes128Gcm, &[7; 28]).unwrap();
        let mut srtp = Outbound::new(Backend::Native, &key).unwrap();
        let mut protect = |sequence: u16| {
            let mut packet = [0; 64];
            packet[0] = 0x80;
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
            srtp.protect_rtp(&mut packet, 20).map(drop)
        };
        let mut r = rewriter();
        let place = |index: u64| (index - 65_536 + 2000) as u16;
        let head = 65_536 + 2_000;
        for index in [65_536, head] {
            assert_eq!(protect(r.forward(at(1, index, 0), ms(0)).unwrap().sequence), Ok(()));
        }
        for back in (1..2 * WINDOW_LEN).rev() {
            let index = head - back;
            match r.forward(at(1, index, 0), ms(0)) {
                Ok(out) => {
                    assert_eq!((out.sequence, protect(out.sequence)), (place(index), Ok(())), "{back}")
                }
                Err(why) => {
                    assert_eq!(
                        (why, protect(place(index))),
                        (Refused::Late, Err(SrtpError::TooOld)),
                        "{back}"
                    );
                }
            }
        }
        assert_eq!(r.late, WINDOW_LEN);
    }

    /// Numbers of `count` packets in the order in which they arrive, some twice.
    fn arrivals(count: usize) -> impl Strategy<Value = Vec<u64>> {
        let delays =
            prop::collection::vec((0..WINDOW_LEN, prop::option::weighted(0.1, 0..WINDOW_LEN)), count);
        let reach = prop_oneof![Just(1u64), Just(15), Just(WINDOW_LEN - 1)];
        (delays, reach).prop_map(|(delays, reach)| {
            let mut order = Vec::new();
            for (n, (delay, again)) in (0u64..).zip(delays) {
                order.extend([Some(delay), again].into_iter().flatten().map(|delay| (n + delay % reach, n)));
            }
            order.sort_unstable();
            order.into_iter().map(|(_, n)| n).collect()
        })
    }

    #[derive(Debug, Clone)]
    enum Step {
        Forward { ssrc: u32, back: u64, ahead: u64, timestamp: u32 },
        Skip,
        Pause,
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let ahead = prop_oneof![8 => 0u64..3, 2 => 0u64..50, 1 => 2990u64..70_000];
        let back = prop_oneof![4 => Just(0u64), 2 => 0u64..5, 1 => 0u64..2000];
        let timestamp = prop_oneof![6 => Just(0u32), 1 => any::<u32>()];
        prop_oneof![
            20 => (0u32..3, back, ahead, timestamp)
                .prop_map(|(ssrc, back, ahead, timestamp)| Step::Forward { ssrc, back, ahead, timestamp }),
            3 => Just(Step::Skip),
            1 => Just(Step::Pause),
            3 => (0u64..800).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Nothing is lost here: in whatever order a source's packets come, each goes out the first time and
        /// not the second, as far from the others as it was sent.
        #[test]
        fn every_packet_of_a_source_goes_out_once(
            start: u16, first in 0u64..200_000, order in arrivals(1200),
        ) {
            let mut r = Rewriter::new(start, 7, 8000);
            let mut seen = std::collections::HashSet::new();
            let mut origin = None;
            for (at_ms, n) in (0u64..).zip(order) {
                let out = r.forward(at(1, first + n, 160 * n as u32), ms(at_ms));
                if !seen.insert(n) {
                    prop_assert_eq!(out, Err(Refused::Duplicate));
                    continue;
                }
                let out = out.unwrap();
                let zero = (out.index as i64 - n as i64, out.timestamp.wrapping_sub(160 * n as u32));
                prop_assert_eq!(*origin.get_or_insert(zero), zero);
            }
            prop_assert_eq!((r.late, r.switches), (0, 0));
        }

        /// At a switch to another source only those are left out that have no place: older than the first of
        /// the new source, or newer than the last of the one before.
        #[test]
        fn a_switch_leaves_out_only_what_has_no_place(start: u16, switch_at in 16usize..400, seed: u64) {
            let mut r = Rewriter::new(start, 7, 8000);
            // The first source's packets, then the second's, each up to 15 places late; so one of the first is
            // the first.
            let mut order: Vec<(u64, u32, u64)> = (0u64..400)
                .map(|n| {
                    let ssrc = if (n as usize) < switch_at { 1 } else { 2 };
                    (n + (seed ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 16, ssrc, n)
                })
                .collect();
            order.sort_unstable();
            let (mut last_of_first, mut first_of_second) = (0, None);
            for (at_ms, (_, ssrc, n)) in (0u64..).zip(order) {
                let out = r.forward(at(ssrc, 70_000 + n, 160 * n as u32), ms(at_ms));
                let has_place = match (ssrc, first_of_second) {
                    (1, Some(_)) => n < last_of_first,
                    (1, None) => true,
                    (_, first) => n >= first.unwrap_or(0),
                };
                prop_assert_eq!(out.is_ok(), has_place, "{} of {}", n, ssrc);
                match ssrc {
                    1 if first_of_second.is_none() => last_of_first = last_of_first.max(n),
                    2 if first_of_second.is_none() => first_of_second = Some(n),
                    _ => {}
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        /// The property SRTP's safety rests on, and the one NACKs rest on.
        #[test]
        fn an_outgoing_index_is_given_once(start: u16, steps in prop::collection::vec(step(), 1..300)) {
            let mut r = Rewriter::new(start, 0, 8000);
            let (mut heads, mut now, mut current) = ([100_000u64; 3], Time::ZERO, 0u32);
            let mut given: HashMap<u64, (u32, u64)> = HashMap::new();
            let mut srtp = RtpWindow::default();
            let (mut highest_out, mut skipped) = (None::<u64>, std::collections::HashSet::new());
            for step in steps {
                match step {
                    Step::Wait(wait) => now += Duration::from_millis(wait),
                    Step::Pause => r.pause(),
                    Step::Skip => {
                        let index = heads[current as usize] + 1;
                        heads[current as usize] = index;
                        r.skip(current, index);
                        skipped.insert((current, index));
                    }
                    Step::Forward { ssrc, back, ahead, timestamp } => {
                        let head = &mut heads[ssrc as usize];
                        *head += ahead;
                        let index = head.saturating_sub(back);
                        if skipped.contains(&(ssrc, index)) {
                            continue;
                        }
                        let timestamp = timestamp.wrapping_add(160 * index as u32);
                        if let Ok(out) = r.forward(at(ssrc, index, timestamp), now) {
                            current = ssrc;
                            prop_assert_eq!(out.sequence, out.index as u16);
                            let twice = given.insert(out.index, (ssrc, index));
                            prop_assert_eq!(twice, None, "index {} given twice", out.index);
                            prop_assert_eq!(srtp.estimate(out.sequence), Some(out.index));
                            prop_assert_eq!(srtp.check(out.index), Ok(()));
                            srtp.insert(out.index);
                            // A receiver guesses the rollover right only for steps under 2^15.
                            if let Some(highest) = highest_out {
                                prop_assert!(out.index < highest + DROPOUT_MAX + 1000);
                            }
                            highest_out = highest_out.max(Some(out.index));
                            let original = r.original(out.sequence).unwrap();
                            prop_assert_eq!((original.ssrc, original.index), (ssrc, index));
                        }
                    }
                }
            }
        }
    }
}
