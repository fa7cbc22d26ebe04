//! RTCP: the walk, and what is read written and read again.

use bifrons_wire::rtcp::{Compound, Packet, Writer, XrBlock};

/// A decrypted compound.
pub fn rtcp(data: &[u8]) {
    let mut buffer = vec![0; 4 * data.len() + 64];
    for packet in Compound::new(data).flatten() {
        let mut writer = Writer::new(&mut buffer);
        match packet {
            Packet::SenderReport(sr) => {
                let blocks: Vec<_> = sr.blocks.clone().collect();
                assert_eq!(writer.sender_report(sr.ssrc, &sr.info, &blocks), Ok(()));
                let Some(Ok(Packet::SenderReport(again))) = Compound::new(writer.bytes()).next() else {
                    panic!("SR")
                };
                assert_eq!((again.ssrc, again.info), (sr.ssrc, sr.info));
                assert!(again.blocks.eq(sr.blocks));
            }
            Packet::ReceiverReport(rr) => {
                let blocks: Vec<_> = rr.blocks.clone().collect();
                assert_eq!(writer.receiver_report(rr.ssrc, &blocks), Ok(()));
                let Some(Ok(Packet::ReceiverReport(again))) = Compound::new(writer.bytes()).next() else {
                    panic!("RR")
                };
                assert!(again.blocks.eq(rr.blocks));
            }
            Packet::Nack(nack) => {
                assert!(nack.sequences().count() <= 17 * data.len() / 4);
                // More entries than 16 bits of length can tell do not fit.
                if writer.nack(nack.sender_ssrc, nack.media_ssrc, nack.sequences()).is_ok() {
                    let Some(Ok(Packet::Nack(again))) = Compound::new(writer.bytes()).next() else {
                        panic!("NACK")
                    };
                    let sorted = |n: &mut dyn Iterator<Item = u16>| {
                        let mut all: Vec<u16> = n.collect();
                        all.sort_unstable();
                        all.dedup();
                        all
                    };
                    assert_eq!(sorted(&mut again.sequences()), sorted(&mut nack.sequences()));
                }
            }
            Packet::Twcc(twcc) => {
                let statuses: Vec<_> = twcc.statuses().map(|(_, delta)| delta).collect();
                assert!(statuses.len() <= usize::from(twcc.status_count));
                let ssrcs = (twcc.sender_ssrc, twcc.media_ssrc);
                let (time, count) = (twcc.reference_time, twcc.feedback_count);
                if writer.twcc(ssrcs, twcc.base_sequence, time, count, &statuses).is_ok() {
                    let Some(Ok(Packet::Twcc(again))) = Compound::new(writer.bytes()).next() else {
                        panic!("TWCC")
                    };
                    assert!(again.statuses().map(|(_, delta)| delta).eq(statuses));
                    assert_eq!(again.reference_time, time);
                }
            }
            Packet::Remb(remb) => {
                let ssrcs: Vec<_> = remb.ssrcs().collect();
                assert_eq!(writer.remb(remb.sender_ssrc, remb.bitrate_bps, &ssrcs), Ok(()));
                let Some(Ok(Packet::Remb(again))) = Compound::new(writer.bytes()).next() else {
                    panic!("REMB")
                };
                assert!(again.bitrate_bps <= remb.bitrate_bps);
                assert!(again.ssrcs().eq(ssrcs));
            }
            Packet::Fir(fir) => {
                let entries: Vec<_> = fir.entries().collect();
                assert_eq!(writer.fir(fir.sender_ssrc, &entries), Ok(()));
            }
            Packet::Sdes(sdes) => {
                for chunk in sdes.clone() {
                    assert!(chunk.items.clone().count() <= data.len() / 2);
                    let _ = sdes.cname(chunk.ssrc);
                }
            }
            Packet::Xr(xr) => {
                for block in xr.blocks() {
                    if let XrBlock::DelaySinceLastRr(answers) = block {
                        let answers: Vec<_> = answers.collect();
                        assert_eq!(writer.xr_delay_since_last_rr(xr.ssrc, &answers), Ok(()));
                        writer = Writer::new(&mut buffer);
                    }
                }
            }
            Packet::Bye(bye) => {
                assert!(bye.ssrcs().count() <= 31);
                assert!(bye.reason.is_none_or(|reason| reason.len() <= 255));
            }
            Packet::App(app) => assert!(app.data.len() % 4 == 0 || app.data.len() < data.len()),
            Packet::Pli(pli) => assert_eq!(writer.pli(pli.sender_ssrc, pli.media_ssrc), Ok(())),
            _ => {}
        }
    }
}
