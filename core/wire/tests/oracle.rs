//! What independent implementations write we read, and what we write they read.

use bifrons_wire::rtcp::{self, FirEntry, NtpTime, ReportBlock, SenderInfo};
use bifrons_wire::rtp::{self, ExtensionMap, edit_extensions, rtx_wrap};
use proptest::prelude::*;
use rtcp_types::{Fir, Nack, Packet as Theirs, Pli, Sdes, Twcc, TwccPacketStatus, prelude::*};
use rtp_types::{RtpPacket, RtpPacketBuilder};

const HEADROOM: usize = 96;

fn their_rtp() -> impl Strategy<Value = Vec<u8>> {
    let csrcs = prop::collection::vec(any::<u32>(), 0..16);
    let extension = prop::option::of((any::<u16>(), prop::collection::vec(any::<[u8; 4]>(), 0..20)));
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    let padding = prop::option::of(1u8..);
    ((0u8..128, any::<bool>(), any::<u16>(), any::<u32>(), any::<u32>()), csrcs, extension, payload, padding)
        .prop_map(|((pt, marker, sequence, timestamp, ssrc), csrcs, extension, payload, padding)| {
            let elements: Vec<u8> = extension.iter().flat_map(|(_, words)| words.concat()).collect();
            let mut builder = RtpPacketBuilder::new()
                .payload_type(pt)
                .marker_bit(marker)
                .sequence_number(sequence)
                .timestamp(timestamp)
                .ssrc(ssrc)
                .payload(&payload[..])
                // A multiple of four keeps to RFC 3550 §5.1's wish and to the builder's rule.
                .maybe_padding(padding.map(|padding| padding & 0xfc).filter(|padding| *padding > 0));
            for csrc in csrcs {
                builder = builder.add_csrc(csrc);
            }
            if let Some((profile, _)) = extension {
                builder = builder.extension(profile, &elements[..]);
            }
            builder.write_vec().expect("a valid packet")
        })
}

fn same_rtp(ours: &rtp::Packet<&[u8]>, theirs: &RtpPacket<'_>) {
    let header = ours.header();
    assert_eq!(
        (header.payload_type, header.marker, header.sequence, header.timestamp, header.ssrc),
        (
            theirs.payload_type(),
            theirs.marker_bit(),
            theirs.sequence_number(),
            theirs.timestamp(),
            theirs.ssrc()
        )
    );
    assert!(ours.csrcs().eq(theirs.csrc()));
    assert_eq!(ours.payload(), theirs.payload());
    assert_eq!(ours.padding_len(), usize::from(theirs.padding().unwrap_or(0)));
    let extension = theirs.extension();
    assert_eq!(header.extension_profile, extension.map(|(profile, _)| profile));
    assert_eq!(header.extension_range().len(), extension.map_or(0, |(_, elements)| elements.len()));
}

fn blocks() -> impl Strategy<Value = Vec<ReportBlock>> {
    let block = (any::<[u32; 5]>(), any::<u8>(), 0i32..0x80_0000).prop_map(|(words, fraction_lost, lost)| {
        let [ssrc, highest_sequence, jitter, last_sr, delay_since_last_sr] = words;
        ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost: lost,
            highest_sequence,
            jitter,
            last_sr,
            delay_since_last_sr,
        }
    });
    prop::collection::vec(block, 0..32)
}

fn same_block(theirs: &rtcp_types::ReportBlock<'_>) -> ReportBlock {
    ReportBlock {
        ssrc: theirs.ssrc(),
        fraction_lost: theirs.fraction_lost(),
        cumulative_lost: theirs.cumulative_lost() as i32,
        highest_sequence: theirs.extended_sequence_number(),
        jitter: theirs.interarrival_jitter(),
        last_sr: theirs.last_sender_report_timestamp(),
        delay_since_last_sr: theirs.delay_since_last_sender_report_timestamp(),
    }
}

fn written(buffer: &mut [u8], write: impl FnOnce(&mut rtcp::Writer<'_>) -> Result<(), rtcp::Full>) -> &[u8] {
    let mut writer = rtcp::Writer::new(buffer);
    write(&mut writer).expect("room");
    let len = writer.len();
    &buffer[..len]
}

proptest! {
    #[test]
    fn rtp_of_theirs(bytes in their_rtp()) {
        same_rtp(&rtp::Packet::parse(&bytes[..]).unwrap(), &RtpPacket::parse(&bytes).unwrap());
    }

    #[test]
    fn rtp_of_ours(bytes in their_rtp(), set in prop::collection::vec((1u8..30, any::<[u8; 3]>()), 0..4)) {
        let original = RtpPacket::parse(&bytes).unwrap();
        let mut buffer = vec![0; HEADROOM];
        buffer.extend(&bytes);
        let at = HEADROOM..buffer.len();
        let set: Vec<(u8, &[u8])> = set.iter().map(|(id, value)| (*id, &value[..])).collect();
        let header = rtp::Header::parse(&bytes).unwrap();
        let edited = edit_extensions(&mut buffer, at, &header, &ExtensionMap::DROP, &set).unwrap();
        let theirs = RtpPacket::parse(&buffer[edited.clone()]).unwrap();
        same_rtp(&rtp::Packet::at(&buffer, edited.clone()).unwrap(), &theirs);
        prop_assert_eq!(theirs.payload(), original.payload());
        prop_assert_eq!(theirs.extension_bit(), !set.is_empty());

        let wrapped = rtx_wrap(&mut buffer, edited, 97, 5, 6).unwrap();
        let theirs = RtpPacket::parse(&buffer[wrapped]).unwrap();
        prop_assert_eq!((theirs.payload_type(), theirs.ssrc(), theirs.sequence_number()), (97, 5, 6));
        prop_assert_eq!(&theirs.payload()[..2], &original.sequence_number().to_be_bytes()[..]);
        prop_assert_eq!(&theirs.payload()[2..], original.payload());
    }

    #[test]
    fn any_bytes_as_rtp(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x3f | 0x80;
        }
        // Both take the same bytes for a packet, and read the same in it.
        match (rtp::Packet::parse(&bytes[..]), RtpPacket::parse(&bytes)) {
            (Ok(ours), Ok(theirs)) => same_rtp(&ours, &theirs),
            (Err(_), Err(_)) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?} {theirs:?}"),
        }
    }

    #[test]
    fn reports_of_ours(ssrc: u32, ntp: u64, words: [u32; 3], blocks in blocks()) {
        let mut buffer = [0; 1500];
        prop_assume!(blocks.len() < 32);
        let [rtp_timestamp, packet_count, octet_count] = words;
        let info = SenderInfo { ntp: NtpTime(ntp), rtp_timestamp, packet_count, octet_count };
        let bytes = written(&mut buffer, |w| w.sender_report(ssrc, &info, &blocks));
        let Theirs::Sr(sr) = Theirs::parse(bytes).unwrap() else { panic!("SR") };
        prop_assert_eq!((sr.ssrc(), sr.ntp_timestamp(), sr.rtp_timestamp()), (ssrc, ntp, rtp_timestamp));
        prop_assert_eq!((sr.packet_count(), sr.octet_count()), (packet_count, octet_count));
        prop_assert_eq!(sr.report_blocks().map(|b| same_block(&b)).collect::<Vec<_>>(), blocks.clone());
        let bytes = written(&mut buffer, |w| w.receiver_report(ssrc, &blocks));
        let Theirs::Rr(rr) = Theirs::parse(bytes).unwrap() else { panic!("RR") };
        prop_assert_eq!(rr.report_blocks().map(|b| same_block(&b)).collect::<Vec<_>>(), blocks);
    }

    #[test]
    fn feedback_of_ours(
        ssrcs: (u32, u32), sequences in prop::collection::btree_set(any::<u16>(), 1..60),
        entries in prop::collection::vec((any::<u32>(), any::<u8>()), 1..10),
    ) {
        let mut buffer = [0; 1500];
        let bytes = written(&mut buffer, |w| w.nack(ssrcs.0, ssrcs.1, sequences.iter().copied()));
        let Theirs::TransportFeedback(feedback) = Theirs::parse(bytes).unwrap() else { panic!("NACK") };
        prop_assert_eq!((feedback.sender_ssrc(), feedback.media_ssrc()), ssrcs);
        let nack = feedback.parse_fci::<Nack>().unwrap();
        prop_assert!(nack.entries().eq(sequences));
        let bytes = written(&mut buffer, |w| w.pli(ssrcs.0, ssrcs.1));
        let Theirs::PayloadFeedback(feedback) = Theirs::parse(bytes).unwrap() else { panic!("PLI") };
        prop_assert!(feedback.parse_fci::<Pli>().is_ok());
        let ours: Vec<_> = entries.iter().map(|(ssrc, sequence)| FirEntry { ssrc: *ssrc, sequence: *sequence }).collect();
        let bytes = written(&mut buffer, |w| w.fir(ssrcs.0, &ours));
        let Theirs::PayloadFeedback(feedback) = Theirs::parse(bytes).unwrap() else { panic!("FIR") };
        let fir = feedback.parse_fci::<Fir>().unwrap();
        prop_assert!(fir.entries().map(|e| (e.ssrc(), e.sequence())).eq(entries));
    }

    #[test]
    fn transport_wide_feedback_both_ways(base: u16, statuses in prop::collection::vec(
        prop_oneof![3 => Just(None), 5 => (0i16..256).prop_map(Some), 1 => any::<i16>().prop_map(Some)], 1..200,
    )) {
        let mut buffer = [0; 1500];
        let bytes = written(&mut buffer, |w| w.twcc((1, 2), base, 0x01_0203, 9, &statuses));
        let Theirs::TransportFeedback(feedback) = Theirs::parse(bytes).unwrap() else { panic!("TWCC") };
        let twcc = feedback.parse_fci::<Twcc>().unwrap();
        prop_assert_eq!((twcc.base_sequence_number(), twcc.reference_time()), (base, 0x01_0203));
        let their_status = |status: Option<i16>| match status {
            Some(delta) => TwccPacketStatus::Received { delta },
            None => TwccPacketStatus::NotReceived,
        };
        let read: Vec<_> = twcc.packets().map(|packet| packet.unwrap().1).collect();
        prop_assert_eq!(&read, &statuses.iter().copied().map(their_status).collect::<Vec<_>>());

        let fci = Twcc::builder(base, 5, 6, &read, None);
        let theirs = rtcp_types::TransportFeedback::builder_owned(fci).sender_ssrc(1).media_ssrc(2);
        let mut bytes = [0; 1500];
        let len = theirs.write_into(&mut bytes).unwrap();
        let Some(Ok(rtcp::Packet::Twcc(ours))) = rtcp::Compound::new(&bytes[..len]).next() else { panic!("TWCC") };
        let read: Vec<_> = ours.statuses().map(|(_, delta)| delta).collect();
        prop_assert_eq!(read, statuses);
    }

    #[test]
    fn compounds_of_theirs(ssrc: u32, cname in "[ -~]{0,60}", reason in "[ -~]{0,60}", lost in prop::collection::btree_set(any::<u16>(), 1..40)) {
        let mut nack = Nack::builder();
        for sequence in &lost {
            nack = nack.add_rtp_sequence(*sequence);
        }
        let item = rtcp_types::SdesItem::builder(rtcp_types::SdesItem::CNAME, &cname);
        let compound = rtcp_types::Compound::builder()
            .add_packet(rtcp_types::ReceiverReport::builder(ssrc))
            .add_packet(Sdes::builder().add_chunk(rtcp_types::SdesChunk::builder(ssrc).add_item(item)))
            .add_packet(rtcp_types::TransportFeedback::builder_owned(nack).sender_ssrc(ssrc).media_ssrc(7))
            .add_packet(rtcp_types::Bye::builder().add_source(ssrc).reason(&reason[..]));
        let mut bytes = [0; 1500];
        let len = compound.write_into(&mut bytes).unwrap();
        let packets: Vec<_> = rtcp::Compound::new(&bytes[..len]).map(Result::unwrap).collect();
        let [rtcp::Packet::ReceiverReport(rr), rtcp::Packet::Sdes(sdes), rtcp::Packet::Nack(nack), rtcp::Packet::Bye(bye)] =
            &packets[..] else { panic!("{packets:?}") };
        prop_assert_eq!((rr.ssrc, sdes.cname(ssrc)), (ssrc, Some(cname.as_bytes())));
        prop_assert!(nack.sequences().eq(lost));
        prop_assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [ssrc]);
        prop_assert_eq!(bye.reason.unwrap_or(b""), reason.as_bytes());
    }
}

/// Datagrams longer than any buffer of an older gateway, up to the longest there is.
#[test]
fn long_datagrams() {
    for len in [1500, 1501, 9000, 65_507] {
        let mut buffer = vec![0x90; HEADROOM + len];
        for word in [0u16, 1, 300, 16_000, 0xffff] {
            buffer[HEADROOM] = 0x90;
            buffer[HEADROOM + 14..HEADROOM + 16].copy_from_slice(&word.to_be_bytes());
            let fits = 16 + 4 * usize::from(word) <= len;
            let at = HEADROOM..HEADROOM + len;
            assert_eq!(rtp::Packet::at(&buffer, at.clone()).is_ok(), fits);
            let header = rtp::Header::parse(&buffer[at.clone()]);
            assert_eq!(header.is_ok(), fits);
            let set = [(1, &b"x"[..])];
            let edited = header
                .map(|header| edit_extensions(&mut buffer.clone(), at, &header, &ExtensionMap::KEEP, &set));
            assert!(edited.is_ok_and(|edited| edited.is_ok()) == fits);
        }
        // RTCP that announces more than there is, at every packet of a long compound.
        let mut compound = [0x80, 201, 0, 1, 0, 0, 0, 7].repeat(len / 8);
        let last = compound.len() - 8;
        compound[last + 3] = 2;
        let walk = rtcp::Compound::new(&compound);
        assert!(walk.count() <= rtcp::COMPOUND_PACKETS_MAX + 1);
        assert!(matches!(rtcp::Compound::new(&compound[last..]).next(), Some(Err(rtcp::RtcpError::Length))));
    }
}
