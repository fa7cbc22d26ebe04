//! Reception statistics and what a source's sender reports say.

use bifrons_wire::rtcp::{NtpTime, ReportBlock, SenderInfo};

use super::{Arrival, ExtendedSequence, MISORDER_MAX};
use crate::Time;
use crate::srtp::IndexWindow;

/// What has been seen of a source: as far back as a packet is late and no restart.
type Seen = IndexWindow<{ MISORDER_MAX as usize / 64 }>;

/// What one more packet was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its place in the stream.
    pub arrival: Arrival,
    /// This index has come before, or is too old to know.
    pub duplicate: bool,
}

/// Statistics of one received source (RFC 3550 §6.4.1, §A.3, §A.8). What each packet needs comes first.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ReceiveStatistics {
    sequence: ExtendedSequence,
    /// Packets received, duplicates included.
    pub packets: u64,
    /// Payload bytes received.
    pub payload_bytes: u64,
    base: u64,
    in_run: u64,
    transit: Option<u32>,
    clock_rate: u32,
    jitter_x16: u32,
    seen: Seen,
    expected_prior: u64,
    received_prior: u64,
    last_sr: Option<(u32, Time)>,
    mapping: Option<SrMapping>,
    /// Packets that came a second time, or too late to know.
    pub duplicates: u64,
    /// Packets that came after a newer one.
    pub reordered: u64,
    /// Packets put aside because they were far from the others.
    pub suspects: u64,
    /// Times that the source started again.
    pub restarts: u64,
}

impl ReceiveStatistics {
    /// So much of it, from its beginning, does a packet need.
    pub const HOT_BYTES: usize = core::mem::offset_of!(Self, expected_prior);

    /// Statistics of a source whose timestamp counts `clock_rate` a second.
    pub fn new(clock_rate: u32) -> Self {
        ReceiveStatistics {
            clock_rate,
            sequence: ExtendedSequence::default(),
            seen: Seen::default(),
            base: 0,
            expected_prior: 0,
            received_prior: 0,
            in_run: 0,
            transit: None,
            jitter_x16: 0,
            last_sr: None,
            mapping: None,
            packets: 0,
            payload_bytes: 0,
            duplicates: 0,
            reordered: 0,
            suspects: 0,
            restarts: 0,
        }
    }

    /// Counts one (authenticated) packet.
    pub fn on_packet(&mut self, sequence: u16, timestamp: u32, payload_len: usize, now: Time) -> Received {
        let before = self.sequence.highest();
        let arrival = self.sequence.update(sequence);
        self.packets += 1;
        self.payload_bytes += payload_len as u64;
        let Some(index) = arrival.index() else {
            self.suspects += 1;
            return Received { arrival, duplicate: false };
        };
        match arrival {
            Arrival::Restart { .. } => {
                self.restarts += 1;
                self.begin(index);
            }
            Arrival::New { .. } if before.is_none() => self.begin(index),
            Arrival::Late { .. } => self.reordered += 1,
            _ => {}
        }
        let duplicate = self.seen.check(index).is_err();
        if !duplicate {
            self.seen.insert(index);
        } else {
            self.duplicates += 1;
            self.reordered -= 1;
        }
        // RFC 3550 §A.3: duplicates count as received, so loss can be negative.
        self.in_run += 1;
        // A retransmission is late by a round trip, which says nothing of the path's jitter.
        if !matches!(arrival, Arrival::Late { .. }) {
            self.update_jitter(timestamp, now);
        }
        Received { arrival, duplicate }
    }

    fn begin(&mut self, index: u64) {
        self.base = index;
        (self.expected_prior, self.received_prior, self.in_run) = (0, 0, 0);
        self.transit = None;
    }

    fn update_jitter(&mut self, timestamp: u32, now: Time) {
        let arrival = u128::from(now.as_nanos()) * u128::from(self.clock_rate) / 1_000_000_000;
        let transit = (arrival as u32).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            // RFC 3550 §A.8: J += (|D| - J) / 16, kept times 16.
            self.jitter_x16 =
                self.jitter_x16.saturating_add(difference) - (self.jitter_x16.saturating_add(8) >> 4);
        }
    }

    /// Interarrival jitter, units of the timestamp.
    pub fn jitter(&self) -> u32 {
        self.jitter_x16 >> 4
    }

    /// Interarrival jitter, microseconds.
    pub fn jitter_us(&self) -> u64 {
        u64::from(self.jitter()) * 1_000_000 / u64::from(self.clock_rate.max(1))
    }

    /// Packets expected minus packets received since the source (re)started.
    pub fn cumulative_lost(&self) -> i64 {
        self.expected() as i64 - self.in_run as i64
    }

    fn expected(&self) -> u64 {
        self.sequence.highest().map_or(0, |highest| highest.saturating_sub(self.base) + 1)
    }

    /// Where the source stands in its counting.
    pub fn sequence(&self) -> ExtendedSequence {
        self.sequence
    }

    /// Highest index received.
    pub fn highest(&self) -> Option<u64> {
        self.sequence.highest()
    }

    /// The report block about this source; begins a new interval for the fraction lost.
    pub fn report_block(&mut self, ssrc: u32, now: Time) -> ReportBlock {
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.in_run.saturating_sub(self.received_prior);
        let lost_interval = expected_interval.saturating_sub(received_interval);
        (self.expected_prior, self.received_prior) = (expected, self.in_run);
        let fraction = (lost_interval << 8).checked_div(expected_interval).unwrap_or(0);
        let highest = self.sequence.highest().unwrap_or(0).saturating_sub(ExtendedSequence::FIRST_CYCLE);
        let (last_sr, delay) = match self.last_sr {
            Some((last_sr, at)) => (last_sr, to_ntp_short(now - at)),
            None => (0, 0),
        };
        ReportBlock {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: self.cumulative_lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: highest as u32,
            jitter: self.jitter(),
            last_sr,
            delay_since_last_sr: delay,
        }
    }

    /// Takes the source's sender report.
    pub fn on_sender_report(&mut self, info: &SenderInfo, now: Time) {
        self.last_sr = Some((info.ntp.middle(), now));
        self.mapping =
            Some(SrMapping { ntp: info.ntp, rtp_timestamp: info.rtp_timestamp, clock_rate: self.clock_rate });
    }

    /// The latest sender report's mapping between the source's wall clock and its timestamp.
    pub fn mapping(&self) -> Option<SrMapping> {
        self.mapping
    }
}

/// Duration as 16.16 seconds.
pub(super) fn to_ntp_short(duration: core::time::Duration) -> u32 {
    u32::try_from((duration.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}

/// One instant on a source's wall clock and on its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SrMapping {
    /// The source's wall clock.
    pub ntp: NtpTime,
    /// Its timestamp at that instant.
    pub rtp_timestamp: u32,
    /// Timestamp units a second.
    pub clock_rate: u32,
}

impl SrMapping {
    /// The source's timestamp at another instant of its wall clock.
    pub fn timestamp_at(&self, ntp: NtpTime) -> u32 {
        let elapsed = i128::from(ntp.0.wrapping_sub(self.ntp.0) as i64);
        let ticks = (elapsed * i128::from(self.clock_rate)) >> 32;
        self.rtp_timestamp.wrapping_add(ticks as u32)
    }
}

/// How a remote wall clock stands to ours; one for all sources of a leg, so that audio and video keep the
/// distance that their sender gave them, whatever delay their reports had.
#[derive(Debug, Clone, Copy, Default)]
pub struct SenderClock {
    offset: Option<i64>,
}

impl SenderClock {
    /// How far the offset follows reports that come later than the fastest, as a power of two.
    const FOLLOW_SHIFT: u32 = 5;
    /// A step larger than this is a clock that was set: 2 s in NTP units.
    const STEP_MAX: i64 = 2 << 32;

    /// Takes a report's time and our own when it came. The fastest report tells the offset best; slower ones
    /// move it a little, to follow a drifting clock.
    pub fn update(&mut self, remote: NtpTime, local: NtpTime) {
        let offset = local.0.wrapping_sub(remote.0) as i64;
        self.offset = Some(match self.offset {
            Some(old) => match offset.wrapping_sub(old) {
                step if (0..Self::STEP_MAX).contains(&step) => old.wrapping_add(step >> Self::FOLLOW_SHIFT),
                _ => offset,
            },
            None => offset,
        });
    }

    /// The remote wall clock at an instant of ours, once a report has come.
    pub fn remote(&self, local: NtpTime) -> Option<NtpTime> {
        self.offset.map(|offset| NtpTime(local.0.wrapping_sub(offset as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn even_arrivals_have_no_jitter_and_no_loss() {
        let mut s = ReceiveStatistics::new(8000);
        for i in 0..100u16 {
            s.on_packet(65_500u16.wrapping_add(i), 160 * u32::from(i), 160, ms(20 * u64::from(i)));
        }
        let block = s.report_block(9, ms(2000));
        assert_eq!((block.fraction_lost, block.cumulative_lost, block.jitter), (0, 0, 0));
        assert_eq!((block.highest_sequence, block.last_sr), (65_500 + 99, 0));
        assert_eq!((s.packets, s.payload_bytes), (100, 16_000));
    }

    #[test]
    fn jitter_follows_rfc_3550_a_8() {
        // Every other packet 5 ms late: |D| is 40 units each time, J approaches 40.
        let mut s = ReceiveStatistics::new(8000);
        for i in 0..400u64 {
            s.on_packet(i as u16, 160 * i as u32, 160, ms(20 * i + 5 * (i % 2)));
        }
        assert!((39..=40).contains(&s.jitter()), "{}", s.jitter());
        assert_eq!(s.jitter_us(), u64::from(s.jitter()) * 125);
    }

    #[test]
    fn retransmissions_leave_jitter_alone() {
        let mut s = ReceiveStatistics::new(8000);
        for i in (0..400u64).filter(|i| i % 2 == 0) {
            s.on_packet(i as u16, 160 * i as u32, 160, ms(20 * i));
            if i > 10 {
                s.on_packet(i as u16 - 9, 160 * (i as u32 - 9), 160, ms(20 * i + 1));
            }
        }
        assert_eq!((s.jitter(), s.reordered), (0, 194));
    }

    #[test]
    fn loss_fraction_is_per_interval() {
        let mut s = ReceiveStatistics::new(8000);
        for i in (0..100u16).filter(|i| i % 4 != 3) {
            s.on_packet(i, 0, 1, ms(0));
        }
        let block = s.report_block(1, ms(0));
        // The last packet, 99, is missing too, but nobody can know that yet.
        assert_eq!((block.cumulative_lost, block.fraction_lost), (24, (24 * 256 / 99) as u8));
        for i in 100..150u16 {
            s.on_packet(i, 0, 1, ms(0));
        }
        let block = s.report_block(1, ms(0));
        assert_eq!((block.cumulative_lost, block.fraction_lost), (25, (256 / 51) as u8));
        assert_eq!(s.report_block(1, ms(0)).fraction_lost, 0);
    }

    #[test]
    fn duplicates_make_loss_negative() {
        let mut s = ReceiveStatistics::new(8000);
        for i in [0, 1, 1, 2, 2, 0] {
            s.on_packet(i, 0, 1, ms(0));
        }
        assert_eq!((s.duplicates, s.reordered, s.cumulative_lost()), (3, 0, -3));
        s.on_packet(4, 0, 1, ms(0));
        s.on_packet(3, 0, 1, ms(0));
        assert_eq!((s.duplicates, s.reordered), (3, 1));
        let block = s.report_block(1, ms(0));
        assert_eq!((block.cumulative_lost, block.fraction_lost), (-3, 0));
    }

    #[test]
    fn sender_report_is_echoed() {
        let mut s = ReceiveStatistics::new(90_000);
        s.on_packet(1, 0, 1, ms(0));
        let info = SenderInfo { ntp: NtpTime(0x1234_5678_9abc_def0), ..Default::default() };
        s.on_sender_report(&info, ms(1000));
        let block = s.report_block(1, ms(1500));
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x5678_9abc, 0x8000));
        assert_eq!(to_ntp_short(Duration::MAX), u32::MAX);
    }

    #[test]
    fn restart_begins_a_new_run() {
        let mut s = ReceiveStatistics::new(8000);
        for i in [10, 11, 12, 40_000, 40_001, 40_002] {
            s.on_packet(i, 0, 1, ms(0));
        }
        assert_eq!((s.restarts, s.suspects, s.cumulative_lost()), (1, 1, 0));
    }

    #[test]
    fn lip_sync_survives_unequal_report_delay() {
        // Audio and video share a wall clock; the video report was 80 ms slower on its way.
        let second = 1u64 << 32;
        let mut clock = SenderClock::default();
        let audio = SrMapping { ntp: NtpTime(100 * second), rtp_timestamp: 48_000, clock_rate: 48_000 };
        let video = SrMapping { ntp: NtpTime(100 * second), rtp_timestamp: 90_000, clock_rate: 90_000 };
        clock.update(audio.ntp, NtpTime(500 * second));
        clock.update(video.ntp, NtpTime(500 * second + second * 8 / 100));
        let remote = clock.remote(NtpTime(502 * second)).unwrap();
        let audio_s = f64::from(audio.timestamp_at(remote)) / 48_000.0;
        let video_s = f64::from(video.timestamp_at(remote)) / 90_000.0;
        assert!((audio_s - video_s).abs() < 1e-4, "{audio_s} {video_s}");
        assert!((audio_s - 3.0).abs() < 0.01, "{audio_s}");
    }
}
