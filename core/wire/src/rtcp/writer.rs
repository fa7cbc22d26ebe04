//! Packets appended to a caller's buffer.

use core::fmt;

use super::*;
use crate::bytes::put;

/// Writes RTCP packets one after the other. A packet that does not fit is not written at all.
///
/// ```
/// use bifrons_wire::rtcp::Writer;
/// let mut buffer = [0; 64];
/// let mut writer = Writer::new(&mut buffer);
/// writer.receiver_report(1, &[])?;
/// writer.nack(1, 2, [7, 9])?;
/// assert_eq!(writer.bytes().len(), 8 + 16);
/// # Ok::<(), bifrons_wire::rtcp::Full>(())
/// ```
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

/// The packet does not fit: into the buffer, or into a field that counts its parts. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RTCP packet does not fit")
    }
}

impl core::error::Error for Full {}

impl<'a> Writer<'a> {
    /// Starts at the beginning of `buffer`, whose length is the limit of the compound.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Writer { buffer, len: 0 }
    }

    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or(&[])
    }

    /// Length of what has been written, bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.buffer.len() - self.len
    }

    /// Appends a sender report (at most 31 blocks).
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Result<(), Full> {
        self.packet(TYPE_SR, blocks.len(), |to| {
            to.u32(ssrc);
            to.bytes(&info.ntp.0.to_be_bytes());
            to.u32(info.rtp_timestamp);
            to.u32(info.packet_count);
            to.u32(info.octet_count);
            blocks.iter().for_each(|block| to.bytes(&block.to_bytes()));
        })
    }

    /// Appends a receiver report (at most 31 blocks).
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<(), Full> {
        self.packet(TYPE_RR, blocks.len(), |to| {
            to.u32(ssrc);
            blocks.iter().for_each(|block| to.bytes(&block.to_bytes()));
        })
    }

    /// Appends a source description with the canonical name alone (at most 255 bytes), as RFC 3550 §6.1
    /// demands it in every compound.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) -> Result<(), Full> {
        let len = u8::try_from(cname.len()).map_err(|_| Full)?;
        self.packet(TYPE_SDES, 1, |to| {
            to.u32(ssrc);
            to.bytes(&[SDES_CNAME, len]);
            to.bytes(cname.as_bytes());
            to.u8(0);
        })
    }

    /// Appends a goodbye of at most 31 sources; a reason of more than 255 bytes does not fit.
    pub fn bye(&mut self, ssrcs: &[u32], reason: Option<&str>) -> Result<(), Full> {
        let reason_len = u8::try_from(reason.map_or(0, str::len)).map_err(|_| Full)?;
        self.packet(TYPE_BYE, ssrcs.len(), |to| {
            ssrcs.iter().for_each(|ssrc| to.u32(*ssrc));
            if let Some(reason) = reason {
                to.u8(reason_len);
                to.bytes(reason.as_bytes());
            }
        })
    }

    /// Appends an application-defined packet; `data` is padded with zeros to a multiple of four bytes.
    pub fn app(&mut self, subtype: u8, ssrc: u32, name: [u8; 4], data: &[u8]) -> Result<(), Full> {
        self.packet(TYPE_APP, usize::from(subtype), |to| {
            to.u32(ssrc);
            to.bytes(&name);
            to.bytes(data);
        })
    }

    /// Appends a generic NACK. Sequence numbers in rising order share entries; any order is right.
    pub fn nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        sequences: impl IntoIterator<Item = u16>,
    ) -> Result<(), Full> {
        self.feedback(TYPE_RTPFB, FMT_NACK, sender_ssrc, media_ssrc, |to| {
            let mut entry: Option<(u16, u16)> = None;
            for sequence in sequences {
                match &mut entry {
                    Some((base, _)) if *base == sequence => {}
                    Some((base, mask)) if (1..=16).contains(&sequence.wrapping_sub(*base)) => {
                        *mask |= 1 << (sequence.wrapping_sub(*base) - 1);
                    }
                    _ => {
                        if let Some((base, mask)) = entry.replace((sequence, 0)) {
                            to.u16(base);
                            to.u16(mask);
                        }
                    }
                }
            }
            if let Some((base, mask)) = entry {
                to.u16(base);
                to.u16(mask);
            }
        })
    }

    /// Appends a picture loss indication.
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), Full> {
        self.feedback(TYPE_PSFB, FMT_PLI, sender_ssrc, media_ssrc, |_| {})
    }

    /// Appends a full intra request.
    pub fn fir(&mut self, sender_ssrc: u32, entries: &[FirEntry]) -> Result<(), Full> {
        self.feedback(TYPE_PSFB, FMT_FIR, sender_ssrc, 0, |to| {
            for entry in entries {
                to.u32(entry.ssrc);
                to.bytes(&[entry.sequence, 0, 0, 0]);
            }
        })
    }

    /// Appends a bitrate estimate for at most 255 sources.
    pub fn remb(&mut self, sender_ssrc: u32, bitrate_bps: u64, ssrcs: &[u32]) -> Result<(), Full> {
        let count = u8::try_from(ssrcs.len()).map_err(|_| Full)?;
        self.feedback(TYPE_PSFB, FMT_AFB, sender_ssrc, 0, |to| {
            to.u32(remb::IDENTIFIER);
            to.u32(u32::from(count) << 24 | remb::encode_bitrate(bitrate_bps));
            ssrcs.iter().for_each(|ssrc| to.u32(*ssrc));
        })
    }

    /// Appends transport-wide feedback: `statuses` holds, from `base_sequence` on, the delta to the previous
    /// received packet (the first one's to the reference time), 250 µs, or `None` for a packet that did not
    /// arrive. `reference_time` is in multiples of 64 ms.
    pub fn twcc(
        &mut self,
        (sender_ssrc, media_ssrc): (u32, u32),
        base_sequence: u16,
        reference_time: i32,
        feedback_count: u8,
        statuses: &[Option<i16>],
    ) -> Result<(), Full> {
        let count = u16::try_from(statuses.len()).map_err(|_| Full)?;
        self.feedback(TYPE_RTPFB, FMT_TWCC, sender_ssrc, media_ssrc, |to| {
            to.u16(base_sequence);
            to.u16(count);
            to.u32((reference_time as u32) << 8 | u32::from(feedback_count));
            twcc::write_statuses(to, statuses);
        })
    }

    /// Appends an extended report with the receiver reference time (RFC 3611 §4.4).
    pub fn xr_receiver_reference_time(&mut self, ssrc: u32, ntp: NtpTime) -> Result<(), Full> {
        self.packet(TYPE_XR, 0, |to| {
            to.u32(ssrc);
            to.bytes(&[4, 0, 0, 2]);
            to.bytes(&ntp.0.to_be_bytes());
        })
    }

    /// Appends an extended report that answers receiver reference times (RFC 3611 §4.5): (SSRC, last RR,
    /// delay since it in 1/65536 s).
    pub fn xr_delay_since_last_rr(&mut self, ssrc: u32, answers: &[(u32, u32, u32)]) -> Result<(), Full> {
        let words = u16::try_from(answers.len() * 3).map_err(|_| Full)?;
        self.packet(TYPE_XR, 0, |to| {
            to.u32(ssrc);
            to.bytes(&[5, 0]);
            to.u16(words);
            for (ssrc, last_rr, delay) in answers {
                to.u32(*ssrc);
                to.u32(*last_rr);
                to.u32(*delay);
            }
        })
    }

    fn feedback(
        &mut self,
        packet_type: u8,
        format: u8,
        sender_ssrc: u32,
        media_ssrc: u32,
        fci: impl FnOnce(&mut Cursor<'_>),
    ) -> Result<(), Full> {
        self.packet(packet_type, usize::from(format), |to| {
            to.u32(sender_ssrc);
            to.u32(media_ssrc);
            fci(to);
        })
    }

    /// One packet; its head is written last, when its length is known.
    fn packet(
        &mut self,
        packet_type: u8,
        count: usize,
        body: impl FnOnce(&mut Cursor<'_>),
    ) -> Result<(), Full> {
        if count > 31 {
            return Err(Full);
        }
        let buffer = self.buffer.get_mut(self.len..).ok_or(Full)?;
        let mut cursor = Cursor { buffer, len: 4 };
        body(&mut cursor);
        while !cursor.len.is_multiple_of(4) {
            cursor.u8(0);
        }
        let (len, fits) = (cursor.len, cursor.len <= cursor.buffer.len());
        let words = u16::try_from(len / 4 - 1).map_err(|_| Full)?;
        if !fits {
            return Err(Full);
        }
        let [high, low] = words.to_be_bytes();
        put(cursor.buffer, 0, &[0x80 | count as u8, packet_type, high, low]);
        self.len += len;
        Ok(())
    }
}

/// Where a body is written; past the end it only counts.
pub(super) struct Cursor<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl Cursor<'_> {
    pub(super) fn bytes(&mut self, value: &[u8]) {
        put(self.buffer, self.len, value);
        self.len = self.len.saturating_add(value.len());
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>) -> Vec<u8> {
        let mut buffer = [0xee; 1500];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer).unwrap();
        assert_eq!(writer.len() % 4, 0);
        writer.bytes().to_vec()
    }

    fn only(bytes: &[u8]) -> Packet<'_> {
        let mut walk = Compound::new(bytes);
        let packet = walk.next().unwrap().unwrap();
        assert!(walk.next().is_none());
        packet
    }

    #[test]
    fn a_packet_that_does_not_fit_leaves_nothing() {
        for room in 0..24 {
            let mut buffer = vec![0; room];
            let mut writer = Writer::new(&mut buffer);
            let fits = writer.receiver_report(1, &[]).is_ok();
            assert_eq!((fits, writer.len()), (room >= 8, if room >= 8 { 8 } else { 0 }));
            assert_eq!(writer.nack(1, 2, [3]).is_ok(), room >= 24);
        }
        let mut buffer = [0; 5000];
        let mut writer = Writer::new(&mut buffer);
        assert_eq!(writer.receiver_report(1, &[ReportBlock::default(); 32]), Err(Full));
        assert_eq!(writer.sdes_cname(1, &"x".repeat(256)), Err(Full));
        assert!(writer.is_empty());
    }

    #[test]
    fn app_bye_sdes_xr() {
        let bytes = written(|w| w.app(3, 9, *b"name", &[1, 2, 3, 4]));
        let Packet::App(app) = only(&bytes) else { panic!("APP") };
        assert_eq!((app.subtype, app.ssrc, &app.name, app.data), (3, 9, b"name", &[1, 2, 3, 4][..]));
        let bytes = written(|w| w.bye(&[1, 2], Some("gone")));
        let Packet::Bye(bye) = only(&bytes) else { panic!("BYE") };
        assert_eq!((bye.ssrcs().collect::<Vec<_>>(), bye.reason), (vec![1, 2], Some(&b"gone"[..])));
        for cname in ["", "a", "ab", "abc", "janus", "\u{fc}"] {
            let bytes = written(|w| w.sdes_cname(9, cname));
            let Packet::Sdes(sdes) = only(&bytes) else { panic!("SDES") };
            assert_eq!(sdes.cname(9), Some(cname.as_bytes()));
        }
        let bytes = written(|w| w.xr_delay_since_last_rr(1, &[(7, 8, 9)]));
        let Packet::Xr(xr) = only(&bytes) else { panic!("XR") };
        let Some(XrBlock::DelaySinceLastRr(mut dlrr)) = xr.blocks().next() else { panic!("DLRR") };
        assert_eq!(dlrr.next(), Some((7, 8, 9)));
        let bytes = written(|w| w.xr_receiver_reference_time(1, NtpTime(77)));
        let Packet::Xr(xr) = only(&bytes) else { panic!("XR") };
        assert!(matches!(xr.blocks().next(), Some(XrBlock::ReceiverReferenceTime(NtpTime(77)))));
    }

    #[test]
    fn nack_packs_entries() {
        let bytes = written(|w| w.nack(1, 2, [65530, 65531, 65535, 10, 27, 27]));
        // 10 is 16 after 65530, across the wrap: two entries.
        assert_eq!(bytes.len(), 12 + 2 * 4);
        let Packet::Nack(nack) = only(&bytes) else { panic!("NACK") };
        assert_eq!(nack.sequences().collect::<Vec<_>>(), [65530, 65531, 65535, 10, 27]);
    }

    #[test]
    fn remb_bitrates() {
        for (given, read) in [(0, 0), (262_143, 262_143), (262_145, 262_144), (u64::MAX, u64::MAX << 46)] {
            let bytes = written(|w| w.remb(1, given, &[5, 6]));
            let Packet::Remb(remb) = only(&bytes) else { panic!("REMB") };
            assert_eq!((remb.bitrate_bps, remb.ssrcs().collect::<Vec<_>>()), (read, vec![5, 6]));
        }
        // Exponent 63 with a full mantissa is more than 64 bits.
        let mut bytes = written(|w| w.remb(1, 1, &[]));
        bytes[17..20].copy_from_slice(&[0xff, 0xff, 0xff]);
        let Packet::Remb(remb) = only(&bytes) else { panic!("REMB") };
        assert_eq!(remb.bitrate_bps, u64::MAX);
    }

    #[test]
    fn twcc_is_compact() {
        // Draft §3.1.3: a run of 5,000 small deltas is one chunk.
        let mut buffer = vec![0; 65_535];
        let mut writer = Writer::new(&mut buffer);
        writer.twcc((1, 2), 65_000, -5, 200, &[Some(3); 5000]).unwrap();
        assert_eq!(writer.len(), 20 + (2 + 5000_usize).next_multiple_of(4));
        let Packet::Twcc(twcc) = only(writer.bytes()) else { panic!("TWCC") };
        assert_eq!((twcc.reference_time, twcc.feedback_count, twcc.base_sequence), (-5, 200, 65_000));
        let last = twcc.statuses().last();
        assert_eq!(last, Some((65_000u16.wrapping_add(4999), Some(3))));
    }

    #[test]
    fn hostile_twcc_is_bounded() {
        // Runs of no packets and a count of 65,535: the walk ends with the bytes.
        let mut bytes = vec![0x8f, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
        bytes.extend([0; 8]);
        let Packet::Twcc(twcc) = only(&bytes) else { panic!("TWCC") };
        assert_eq!(twcc.statuses().count(), 0);
        let long = [bytes, vec![0x3f, 0xff]].concat();
        assert!(Compound::new(&long).last().unwrap().is_err());
    }

    fn block() -> impl Strategy<Value = ReportBlock> {
        (any::<[u32; 5]>(), any::<u8>(), -0x80_0000..0x80_0000).prop_map(|(w, fraction_lost, lost)| {
            ReportBlock {
                ssrc: w[0],
                fraction_lost,
                cumulative_lost: lost,
                highest_sequence: w[1],
                jitter: w[2],
                last_sr: w[3],
                delay_since_last_sr: w[4],
            }
        })
    }

    proptest! {
        #[test]
        fn reports_round_trip(ssrc: u32, ntp: u64, rest: [u32; 3], blocks in prop::collection::vec(block(), 0..31)) {
            let [rtp_timestamp, packet_count, octet_count] = rest;
            let info = SenderInfo { ntp: NtpTime(ntp), rtp_timestamp, packet_count, octet_count };
            let bytes = written(|w| w.sender_report(ssrc, &info, &blocks));
            let Packet::SenderReport(sr) = only(&bytes) else { panic!("SR") };
            prop_assert_eq!((sr.ssrc, sr.info, sr.blocks.collect::<Vec<_>>()), (ssrc, info, blocks.clone()));
            let bytes = written(|w| w.receiver_report(ssrc, &blocks));
            let Packet::ReceiverReport(rr) = only(&bytes) else { panic!("RR") };
            prop_assert_eq!((rr.ssrc, rr.blocks.collect::<Vec<_>>()), (ssrc, blocks));
        }

        #[test]
        fn twcc_round_trips(base: u16, statuses in prop::collection::vec(
            prop_oneof![3 => Just(None), 5 => (0i16..256).prop_map(Some), 1 => any::<i16>().prop_map(Some)], 0..300,
        )) {
            let bytes = written(|w| w.twcc((1, 2), base, 77, 1, &statuses));
            let Packet::Twcc(twcc) = only(&bytes) else { panic!("TWCC") };
            let read: Vec<_> = twcc.statuses().map(|(_, status)| status).collect();
            prop_assert_eq!(read, statuses);
        }

        #[test]
        fn nack_round_trips(set in prop::collection::btree_set(any::<u16>(), 0..100)) {
            let bytes = written(|w| w.nack(1, 2, set.iter().copied()));
            let Packet::Nack(nack) = only(&bytes) else { panic!("NACK") };
            prop_assert_eq!(nack.sequences().collect::<Vec<_>>(), set.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_walked(bytes in prop::collection::vec(any::<u8>(), 0..300), types: [u8; 4]) {
            // Plausible heads lead the walk into the bodies.
            let mut bytes = bytes;
            for (i, chunk) in bytes.chunks_mut(32).enumerate() {
                if let [a, b, c, d, ..] = chunk {
                    (*a, *b, *c, *d) = (*a & 0x1f | 0x80, 200 + types[i % 4] % 8, 0, 7);
                }
            }
            for packet in Compound::new(&bytes).flatten() {
                match packet {
                    Packet::Twcc(p) => prop_assert!(p.statuses().count() <= 65_535),
                    Packet::Nack(p) => prop_assert!(p.sequences().count() <= 17 * 300),
                    Packet::Sdes(p) => p.for_each(|chunk| chunk.items.for_each(drop)),
                    Packet::Xr(p) => p.blocks().for_each(drop),
                    Packet::Fir(p) => p.entries().for_each(drop),
                    Packet::Remb(p) => p.ssrcs().for_each(drop),
                    Packet::Bye(p) => p.ssrcs().for_each(drop),
                    _ => {}
                }
            }
        }
    }
}
