//! Extended reports (RFC 3611): block walk, receiver reference time, DLRR and VoIP metrics.

use super::NtpTime;
use crate::bytes::{u8_at, u16_at, u32_at, u64_at};

/// An extended report: an iterator over its blocks comes from [`Xr::blocks`].
#[derive(Debug, Clone)]
pub struct Xr<'a> {
    /// Reporter.
    pub ssrc: u32,
    blocks: &'a [u8],
}

impl<'a> Xr<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Xr { ssrc: u32_at(body, 0), blocks: body.get(4..)? })
    }

    /// Its report blocks (RFC 3611 §3); a block that the packet cuts off ends the walk.
    pub fn blocks(&self) -> XrBlocks<'a> {
        XrBlocks(self.blocks)
    }
}

/// Blocks of an [`Xr`].
#[derive(Debug, Clone)]
pub struct XrBlocks<'a>(&'a [u8]);

impl<'a> Iterator for XrBlocks<'a> {
    type Item = XrBlock<'a>;

    fn next(&mut self) -> Option<XrBlock<'a>> {
        self.0.first_chunk::<4>()?;
        let (block, rest) = self.0.split_at_checked(4 + 4 * usize::from(u16_at(self.0, 2)))?;
        self.0 = rest;
        XrBlock::parse(u8_at(block, 0), u8_at(block, 1), block.get(4..)?)
    }
}

/// One report block.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum XrBlock<'a> {
    /// Receiver reference time (RFC 3611 §4.4): the reporter's wall clock.
    ReceiverReferenceTime(NtpTime),
    /// Answers to receiver reference times (RFC 3611 §4.5).
    DelaySinceLastRr(DelaySinceLastRr<'a>),
    /// VoIP metrics (RFC 3611 §4.7).
    VoipMetrics(VoipMetrics),
    /// A block that this crate does not read, or one of a wrong length.
    Other {
        /// Block type.
        block_type: u8,
        /// Type-specific byte.
        specific: u8,
        /// Content after the four-byte head.
        body: &'a [u8],
    },
}

impl<'a> XrBlock<'a> {
    fn parse(block_type: u8, specific: u8, body: &'a [u8]) -> Option<Self> {
        Some(match (block_type, body.len()) {
            (4, 8) => XrBlock::ReceiverReferenceTime(NtpTime(u64_at(body, 0))),
            (5, len) if len % 12 == 0 => XrBlock::DelaySinceLastRr(DelaySinceLastRr(body.chunks_exact(12))),
            (7, 32) => XrBlock::VoipMetrics(VoipMetrics::parse(body)),
            _ => XrBlock::Other { block_type, specific, body },
        })
    }
}

/// Sub-blocks of a DLRR block: (SSRC, last RR as middle 32 NTP bits, delay since it in 1/65536 s).
#[derive(Debug, Clone)]
pub struct DelaySinceLastRr<'a>(core::slice::ChunksExact<'a, u8>);

impl Iterator for DelaySinceLastRr<'_> {
    type Item = (u32, u32, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.0.next()?;
        Some((u32_at(bytes, 0), u32_at(bytes, 4), u32_at(bytes, 8)))
    }
}

/// VoIP metrics of one source. For levels, factors and scores 127 means "not available".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoipMetrics {
    /// Source that the block is about.
    pub ssrc: u32,
    /// Fraction lost, 1/256.
    pub loss_rate: u8,
    /// Fraction discarded by the jitter buffer, 1/256.
    pub discard_rate: u8,
    /// Fraction lost or discarded within bursts, 1/256.
    pub burst_density: u8,
    /// Fraction lost or discarded within gaps, 1/256.
    pub gap_density: u8,
    /// Mean burst duration, ms.
    pub burst_duration_ms: u16,
    /// Mean gap duration, ms.
    pub gap_duration_ms: u16,
    /// Round trip, ms.
    pub round_trip_delay_ms: u16,
    /// End system delay, ms.
    pub end_system_delay_ms: u16,
    /// Signal level, dBm0.
    pub signal_level: i8,
    /// Noise level, dBm0.
    pub noise_level: i8,
    /// Residual echo return loss, dB.
    pub residual_echo_return_loss: u8,
    /// Gap threshold.
    pub gap_min: u8,
    /// R factor of this leg.
    pub r_factor: u8,
    /// R factor of the other network.
    pub external_r_factor: u8,
    /// Listening quality score times ten.
    pub mos_lq: u8,
    /// Conversational quality score times ten.
    pub mos_cq: u8,
    /// Receiver configuration: loss concealment and jitter buffer.
    pub rx_config: u8,
    /// Nominal jitter buffer delay, ms.
    pub jitter_buffer_nominal_ms: u16,
    /// Current maximum jitter buffer delay, ms.
    pub jitter_buffer_maximum_ms: u16,
    /// Absolute maximum jitter buffer delay, ms.
    pub jitter_buffer_absolute_ms: u16,
}

impl VoipMetrics {
    fn parse(body: &[u8]) -> Self {
        VoipMetrics {
            ssrc: u32_at(body, 0),
            loss_rate: u8_at(body, 4),
            discard_rate: u8_at(body, 5),
            burst_density: u8_at(body, 6),
            gap_density: u8_at(body, 7),
            burst_duration_ms: u16_at(body, 8),
            gap_duration_ms: u16_at(body, 10),
            round_trip_delay_ms: u16_at(body, 12),
            end_system_delay_ms: u16_at(body, 14),
            signal_level: u8_at(body, 16) as i8,
            noise_level: u8_at(body, 17) as i8,
            residual_echo_return_loss: u8_at(body, 18),
            gap_min: u8_at(body, 19),
            r_factor: u8_at(body, 20),
            external_r_factor: u8_at(body, 21),
            mos_lq: u8_at(body, 22),
            mos_cq: u8_at(body, 23),
            rx_config: u8_at(body, 24),
            jitter_buffer_nominal_ms: u16_at(body, 26),
            jitter_buffer_maximum_ms: u16_at(body, 28),
            jitter_buffer_absolute_ms: u16_at(body, 30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_blocks() {
        let mut body = vec![0, 0, 0, 9];
        body.extend([4, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
        body.extend([5, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 8, 0, 1, 0, 0]);
        body.extend([7, 0, 0, 8]);
        body.extend((0..32).collect::<Vec<u8>>());
        body.extend([99, 3, 0, 1, 1, 2, 3, 4]);
        let xr = Xr::parse(&body).unwrap();
        let blocks: Vec<_> = xr.blocks().collect();
        assert_eq!(blocks.len(), 4);
        assert!(matches!(blocks[0], XrBlock::ReceiverReferenceTime(NtpTime(0x1_0000_0002))));
        let XrBlock::DelaySinceLastRr(dlrr) = &blocks[1] else { panic!("DLRR") };
        assert_eq!(dlrr.clone().collect::<Vec<_>>(), [(7, 8, 0x1_0000)]);
        let XrBlock::VoipMetrics(metrics) = &blocks[2] else { panic!("VoIP metrics") };
        assert_eq!((metrics.ssrc, metrics.loss_rate, metrics.mos_cq), (0x0001_0203, 4, 23));
        assert_eq!(metrics.jitter_buffer_absolute_ms, 0x1e1f);
        assert!(matches!(blocks[3], XrBlock::Other { block_type: 99, specific: 3, body: [1, 2, 3, 4] }));
    }

    #[test]
    fn hostile_blocks() {
        assert!(Xr::parse(&[0, 0, 0]).is_none());
        assert_eq!(Xr::parse(&[0, 0, 0, 1, 4, 0, 0xff, 0xff]).unwrap().blocks().count(), 0);
        assert_eq!(Xr::parse(&[0, 0, 0, 1, 4, 0, 0]).unwrap().blocks().count(), 0);
        let wrong_len = [0, 0, 0, 1, 7, 0, 0, 1, 0, 0, 0, 0];
        let xr = Xr::parse(&wrong_len).unwrap();
        assert!(matches!(xr.blocks().next(), Some(XrBlock::Other { block_type: 7, .. })));
    }
}
