//! Sender and receiver reports (RFC 3550 §6.4).

use crate::bytes::{u8_at, u24_at, u32_at, u64_at};

const BLOCK_LEN: usize = 24;
const SENDER_INFO_LEN: usize = 20;

/// NTP timestamp: seconds since 1900 as 32.32 fixed point (RFC 3550 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Seconds from 1900 (NTP) to 1970 (Unix).
    const UNIX_OFFSET_S: u64 = 2_208_988_800;

    /// From nanoseconds since the Unix epoch.
    pub fn from_unix_nanos(nanos: u64) -> Self {
        let fixed = (u128::from(nanos) << 32) / 1_000_000_000;
        NtpTime((fixed as u64).wrapping_add(Self::UNIX_OFFSET_S << 32))
    }

    /// Nanoseconds since the Unix epoch; zero before 1970.
    pub fn to_unix_nanos(self) -> u64 {
        let fixed = u128::from(self.0.saturating_sub(Self::UNIX_OFFSET_S << 32));
        ((fixed * 1_000_000_000) >> 32) as u64
    }

    /// The middle 32 bits, 16.16 seconds, as LSR carries them (RFC 3550 §6.4.1).
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// Sender information of a sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// Wall clock when the report was sent.
    pub ntp: NtpTime,
    /// The same instant, units of the RTP timestamp.
    pub rtp_timestamp: u32,
    /// Packets sent since the source began.
    pub packet_count: u32,
    /// Payload bytes sent since the source began.
    pub octet_count: u32,
}

/// One reception report block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// Source that the block is about.
    pub ssrc: u32,
    /// Fraction lost since the last report, 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bit signed: duplicates make it negative.
    pub cumulative_lost: i32,
    /// Extended highest sequence number received.
    pub highest_sequence: u32,
    /// Interarrival jitter, units of the RTP timestamp.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP timestamp; 0 without one.
    pub last_sr: u32,
    /// Delay since that report arrived, 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8]) -> Self {
        ReportBlock {
            ssrc: u32_at(bytes, 0),
            fraction_lost: u8_at(bytes, 4),
            cumulative_lost: ((u24_at(bytes, 5) << 8) as i32) >> 8,
            highest_sequence: u32_at(bytes, 8),
            jitter: u32_at(bytes, 12),
            last_sr: u32_at(bytes, 16),
            delay_since_last_sr: u32_at(bytes, 20),
        }
    }

    /// The block's bytes; a cumulative loss outside 24 bits is clamped (RFC 3550 §A.3).
    pub(super) fn to_bytes(self) -> [u8; BLOCK_LEN] {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0x00ff_ffff;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        let mut bytes = [0; BLOCK_LEN];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// The report blocks of a packet.
#[derive(Debug, Clone)]
pub struct ReportBlocks<'a>(core::slice::ChunksExact<'a, u8>);

impl<'a> ReportBlocks<'a> {
    fn parse(count: u8, bytes: &'a [u8]) -> Option<Self> {
        Some(ReportBlocks(bytes.get(..usize::from(count) * BLOCK_LEN)?.chunks_exact(BLOCK_LEN)))
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        self.0.next().map(ReportBlock::parse)
    }
}

/// A sender report.
#[derive(Debug, Clone)]
pub struct SenderReport<'a> {
    /// Sender.
    pub ssrc: u32,
    /// What it has sent.
    pub info: SenderInfo,
    /// What it has received.
    pub blocks: ReportBlocks<'a>,
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let info = SenderInfo {
            ntp: NtpTime(u64_at(body, 4)),
            rtp_timestamp: u32_at(body, 12),
            packet_count: u32_at(body, 16),
            octet_count: u32_at(body, 20),
        };
        let blocks = ReportBlocks::parse(count, body.get(4 + SENDER_INFO_LEN..)?)?;
        Some(SenderReport { ssrc: u32_at(body, 0), info, blocks })
    }
}

/// A receiver report.
#[derive(Debug, Clone)]
pub struct ReceiverReport<'a> {
    /// Reporter.
    pub ssrc: u32,
    /// What it has received.
    pub blocks: ReportBlocks<'a>,
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let blocks = ReportBlocks::parse(count, body.get(4..)?)?;
        Some(ReceiverReport { ssrc: u32_at(body, 0), blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_of_the_unix_epoch() {
        assert_eq!(NtpTime::from_unix_nanos(0).0 >> 32, 2_208_988_800);
        let nanos = 1_700_000_000_500_000_000;
        let ntp = NtpTime::from_unix_nanos(nanos);
        assert_eq!(ntp.0 as u32, 1 << 31);
        assert!(ntp.to_unix_nanos().abs_diff(nanos) <= 1);
        assert_eq!(ntp.middle(), (ntp.0 >> 16) as u32);
    }

    #[test]
    fn cumulative_loss_is_signed_and_clamped() {
        for (given, read) in [(-5, -5), (0x7f_ffff, 0x7f_ffff), (i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000)]
        {
            let block = ReportBlock { cumulative_lost: given, fraction_lost: 9, ..Default::default() };
            let again = ReportBlock::parse(&block.to_bytes());
            assert_eq!((again.cumulative_lost, again.fraction_lost), (read, 9));
        }
    }
}
