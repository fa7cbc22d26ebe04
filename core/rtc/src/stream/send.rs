//! What one outgoing source has sent, and what reports about it tell.

use core::time::Duration;

use bifrons_wire::rtcp::{NtpTime, ReportBlock, SenderInfo};

use super::receive::to_ntp_short;
use crate::Time;

/// Counters of one outgoing source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendStatistics {
    /// Packets sent, retransmissions on the same SSRC included.
    pub packets: u64,
    /// Payload bytes sent.
    pub payload_bytes: u64,
    last: Option<(u32, Time)>,
}

impl SendStatistics {
    /// Counts one packet with its outgoing timestamp.
    pub fn on_packet(&mut self, timestamp: u32, payload_len: usize, now: Time) {
        self.packets += 1;
        self.payload_bytes += payload_len as u64;
        self.last = Some((timestamp, now));
    }

    /// Sender information for a report sent at `now`, which is `ntp` on our wall clock; `None` while nothing
    /// has been sent.
    ///
    /// `mapped` is the outgoing timestamp at `now` where the source's own reports tell it (its
    /// [`super::SrMapping`] at [`super::SenderClock::remote`], through [`super::Rewriter::map_timestamp`]).
    /// Without it the last packet's timestamp is carried on.
    pub fn sender_info(
        &self,
        ntp: NtpTime,
        mapped: Option<u32>,
        clock_rate: u32,
        now: Time,
    ) -> Option<SenderInfo> {
        let (timestamp, at) = self.last?;
        let rtp_timestamp = mapped.unwrap_or_else(|| timestamp.wrapping_add(ticks(now - at, clock_rate)));
        // RFC 3550 §6.4.1: both counters are 32 bits and wrap.
        let (packet_count, octet_count) = (self.packets as u32, self.payload_bytes as u32);
        Some(SenderInfo { ntp, rtp_timestamp, packet_count, octet_count })
    }
}

/// Units of a clock in a duration, modulo 2^32.
pub(super) fn ticks(duration: Duration, clock_rate: u32) -> u32 {
    (duration.as_nanos().saturating_mul(u128::from(clock_rate)) / 1_000_000_000) as u32
}

/// Longest round trip that is believed.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(60);

/// Round trip from a report about what we sent (RFC 3550 §6.4.1): `ntp` is our wall clock when it came.
/// `None` where the reporter has not seen a sender report yet, or where the times make no sense.
pub fn round_trip(block: &ReportBlock, ntp: NtpTime) -> Option<Duration> {
    if block.last_sr == 0 {
        return None;
    }
    let short = ntp.middle().wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
    // A clock a little coarse on the other side can make it slightly negative: then it is as good as zero.
    let short = if short > u32::MAX - to_ntp_short(Duration::from_millis(20)) { 0 } else { short };
    let round_trip = Duration::from_nanos((u64::from(short) * 1_000_000_000) >> 16);
    (round_trip <= ROUND_TRIP_MAX).then_some(round_trip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3550_round_trip_example() {
        // RFC 3550 §6.4.1, figure 2: 10 Nov 1995 11:33:36.5, LSR b705:2000, DLSR 5.25 s, RTT 6.125 s.
        let block =
            ReportBlock { last_sr: 0xb705_2000, delay_since_last_sr: 0x0005_4000, ..Default::default() };
        let now = NtpTime(0x0000_b710_8000_0000);
        assert_eq!(round_trip(&block, now), Some(Duration::from_millis(6125)));
    }

    #[test]
    fn nonsense_is_no_round_trip() {
        let block =
            |last_sr, delay_since_last_sr| ReportBlock { last_sr, delay_since_last_sr, ..Default::default() };
        let now = NtpTime(0x1000_0000_0000);
        assert_eq!(round_trip(&block(0, 0), now), None);
        assert_eq!(round_trip(&block(0x1000_0000, 5), now), Some(Duration::ZERO));
        assert_eq!(round_trip(&block(0x1000_0000, 0x0100_0000), now), None);
        assert_eq!(round_trip(&block(1, 0), now), None);
    }

    #[test]
    fn sender_information() {
        let mut s = SendStatistics::default();
        assert_eq!(s.sender_info(NtpTime(1), None, 8000, Time::ZERO), None);
        s.on_packet(1000, 160, Time::from_millis(100));
        let info = s.sender_info(NtpTime(1), None, 8000, Time::from_millis(600)).unwrap();
        assert_eq!((info.rtp_timestamp, info.packet_count, info.octet_count), (5000, 1, 160));
        let info = s.sender_info(NtpTime(1), Some(7), 8000, Time::from_millis(600)).unwrap();
        assert_eq!(info.rtp_timestamp, 7);
    }
}
