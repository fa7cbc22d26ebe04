//! RTCP that comes in. It ends here: reports feed statistics, requests go back to the source.

use bifrons_rtc::Time;
use bifrons_rtc::stream::round_trip;
use bifrons_wire::rtcp::{Compound, Nack, Packet as Rtcp, ReportBlock, SenderReport};
use bifrons_wire::rtp::{Header, rtx_wrap, set_identity};
use std::time::Duration;

use super::Worker;
use super::forward::{count, protect, write_extensions};
use super::handshake::send_copy;
use crate::counter::Drop;
use crate::driver::{Driver, HEADROOM, Received};
use crate::id::LegId;
use crate::leg::{Crypto, Leg, Transport, Word};
use crate::media::StreamRef;
use crate::message::Cross;

/// Longest RTCP compound that is read.
const COMPOUND_BYTES_MAX: usize = 1_500;
/// Packets that one NACK message is answered with at most.
const NACK_ANSWERS_MAX: usize = 128;

impl<D: Driver> Worker<D> {
    pub(super) fn take_rtcp(&mut self, now: Time, id: LegId, received: &Received, len: usize) {
        let mut copy = [0u8; COMPOUND_BYTES_MAX];
        let bytes = self.driver.bytes(&received.buffer).get(received.start..received.start + len);
        let (Some(bytes), Some(copy)) = (bytes, copy.get_mut(..len)) else {
            return self.counters.count(Drop::RtcpMalformed);
        };
        copy.copy_from_slice(bytes);
        for packet in Compound::new(copy) {
            match packet {
                Ok(Rtcp::SenderReport(report)) => {
                    self.take_sender_report(now, id, &report);
                    report.blocks.clone().for_each(|block| self.take_block(now, id, &block));
                }
                Ok(Rtcp::ReceiverReport(report)) => {
                    report.blocks.clone().for_each(|block| self.take_block(now, id, &block));
                }
                Ok(Rtcp::Nack(nack)) => self.take_nack(now, id, &nack),
                Ok(Rtcp::Pli(pli)) => self.keyframe_wanted(now, id, pli.media_ssrc),
                Ok(Rtcp::Fir(fir)) => {
                    fir.entries().for_each(|entry| self.keyframe_wanted(now, id, entry.ssrc));
                }
                Ok(Rtcp::Remb(remb)) => {
                    if let Some(leg) = self.legs.get(id) {
                        for ssrc in remb.ssrcs() {
                            if let Some((_, stream)) = sending(leg, ssrc) {
                                stream.shared.set(Word::RembBps, remb.bitrate_bps);
                            }
                        }
                    }
                }
                Ok(_) => {}
                Err(_) => self.counters.count(Drop::RtcpMalformed),
            }
        }
    }

    fn take_sender_report(&mut self, now: Time, id: LegId, report: &SenderReport<'_>) {
        let local = self.ntp(now);
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some((mline, stream)) =
            leg.streams.iter_mut().enumerate().find(|(_, stream)| stream.input.ssrc == Some(report.ssrc))
        else {
            return;
        };
        stream.input.statistics.on_sender_report(&report.info, now);
        let mut clock = stream.input.clock;
        clock.update(report.info.ntp, local);
        // One peer has one clock. Audio and video measured apart would differ by their reports' delays, and
        // lips would not fit the voice.
        leg.streams.iter_mut().for_each(|stream| stream.input.clock = clock);
        self.tell_clock(StreamRef { leg: id, mline: mline as u8 });
    }

    /// Tells the workers that have outputs of a stream what its sender's reports say.
    pub(super) fn tell_clock(&mut self, source: StreamRef) {
        let mut at = 0;
        while let Some(stream) = self.stream_mut(source)
            && let Some(mapping) = stream.input.statistics.mapping()
            && let Some(worker) = stream.route.as_ref().and_then(|route| route.workers.get(at).copied())
        {
            let clock = stream.input.clock;
            self.send_cross(worker, Cross::SenderReport { source, mapping, clock });
            at += 1;
        }
    }

    /// What the peer says of a stream that we send.
    fn take_block(&mut self, now: Time, id: LegId, block: &ReportBlock) {
        let ntp = self.ntp(now);
        let threshold = i64::from(self.settings.slowlink_threshold);
        let Some(leg) = self.legs.get_mut(id) else { return };
        let found = leg.streams.iter_mut().enumerate().find(|(_, stream)| stream.local_ssrc == block.ssrc);
        let Some((mline, stream)) = found else { return };
        let lost = i64::from(block.cumulative_lost);
        stream.shared.set(Word::OutLost, lost as u64);
        stream.shared.set(Word::OutJitter, block.jitter.into());
        if let Some(round_trip) = round_trip(block, ntp) {
            stream.shared.set(Word::RoundTripUs, round_trip.as_micros() as u64);
        }
        let more = lost - std::mem::replace(&mut stream.output.lost_prior, lost);
        if threshold > 0 && more >= threshold {
            stream.slow[0] = more as u32;
            self.tell(id, |pending| pending.slow[0] |= 1 << mline);
        }
    }

    /// A receiver of ours lost its picture.
    fn keyframe_wanted(&mut self, now: Time, id: LegId, ssrc: u32) {
        let feed = self.legs.get(id).and_then(|leg| sending(leg, ssrc)).and_then(|(_, out)| out.output.feed);
        match feed {
            Some(source) => self.request_keyframe(now, source),
            None => self.counters.count(Drop::FeedbackNowhere),
        }
    }

    /// Asks the peer that sends `source`, wherever it is.
    pub(super) fn request_keyframe(&mut self, now: Time, source: StreamRef) {
        if source.leg.worker() != self.settings.index {
            return self.send_cross(source.leg.worker(), Cross::Keyframe { source });
        }
        let Some(stream) = self.stream_mut(source) else {
            return self.counters.count(Drop::FeedbackNowhere);
        };
        if stream.input.keyframes.request(now) {
            self.send_keyframe_request(source);
        } else {
            self.counters.count(Drop::KeyframeThrottled);
            self.rearm(source.leg.slot(), now);
        }
    }

    /// Answers from the history of the source.
    fn take_nack(&mut self, now: Time, id: LegId, nack: &Nack<'_>) {
        let Some((mline, stream)) = self.legs.get(id).and_then(|leg| sending(leg, nack.media_ssrc)) else {
            return self.counters.count(Drop::FeedbackNowhere);
        };
        stream.shared.add(Word::NacksReceived, 1);
        let to = StreamRef { leg: id, mline };
        for sequence in nack.sequences().take(NACK_ANSWERS_MAX) {
            let result = self.resend(now, to, sequence);
            count(&self.counters, result);
        }
    }

    fn resend(&mut self, now: Time, to: StreamRef, sequence: u16) -> Result<(), Drop> {
        let Self { driver, legs, replicas, slab, rooms, counters, .. } = self;
        let mline = usize::from(to.mline);
        let leg = legs.get_mut(to.leg).ok_or(Drop::NackMiss)?;
        let stream = leg.streams.get_mut(mline).ok_or(Drop::NackMiss)?;
        let original = stream.output.rewriter.original(sequence).ok_or(Drop::NackMiss)?;
        let round_trip = Duration::from_micros(stream.shared.get(Word::RoundTripUs));
        let responder = stream.output.responder.as_deref_mut().ok_or(Drop::NackMiss)?;
        if !responder.allow(sequence, now, round_trip) {
            return Ok(());
        }
        // One small NACK asks for many packets: whoever asks pays for each.
        if !leg.budget.take(now) {
            stream.shared.add(Word::OverBudget, 1);
            return Err(Drop::LegOverBudget);
        }
        if let (Crypto::Srtp(_), Some(history)) = (&leg.crypto, stream.output.ciphertext.as_deref()) {
            let bytes = history.get(slab, original.outgoing_index).ok_or(Drop::NackMiss)?;
            stream.shared.add(Word::Retransmitted, 1);
            let (socket, remote) = leg.rtp_path().ok_or(Drop::NoDestination)?;
            send_copy(driver, counters, socket, remote, bytes);
            return Ok(());
        }
        let source = stream.output.feed.ok_or(Drop::NackMiss)?;

        // The packet as it came, from this worker's own stream or from the replica here.
        let own = legs.get(source.leg).and_then(|leg| leg.streams.get(usize::from(source.mline)));
        let (history, route) = match (own, replicas.get(&source)) {
            (Some(stream), _) if stream.input.ssrc == Some(original.ssrc) => {
                (stream.input.history.as_deref(), stream.route.as_deref())
            }
            (None, Some(replica)) => (replica.history.as_deref(), Some(&replica.route)),
            _ => return Err(Drop::NackMiss),
        };
        let bytes = history.and_then(|history| history.get(slab, original.index)).ok_or(Drop::NackMiss)?;
        let output = route.and_then(|route| route.outputs.iter().find(|output| output.to == to));
        let output = output.ok_or(Drop::NackMiss)?.clone();
        let buffer = driver.allocate().ok_or(Drop::NoBuffer)?;
        let mut range = HEADROOM..HEADROOM + bytes.len();
        if let Some(room) = driver.bytes(&buffer).get_mut(range.clone()) {
            room.copy_from_slice(bytes);
        }

        let mut write = || -> Result<_, Drop> {
            let leg = legs.get_mut(to.leg).ok_or(Drop::OutputGone)?;
            let path = leg.rtp_path().ok_or(Drop::NoDestination)?;
            let bytes = driver.bytes(&buffer);
            let header = bytes.get(range.clone()).and_then(|bytes| Header::parse(bytes).ok());
            let header = header.ok_or(Drop::RtpMalformed)?;
            let payload_type = output.payload_type(header.payload_type).ok_or(Drop::PayloadType)?;
            range = write_extensions(now, leg, &output, &header, bytes, range.clone())?;
            let protected = matches!(leg.crypto, Crypto::Srtp(_));
            let stream = leg.streams.get_mut(mline).ok_or(Drop::OutputGone)?;
            let view = bytes.get_mut(range.clone()).ok_or(Drop::NoHeadroom)?;
            let timestamp = header.timestamp.wrapping_add(original.timestamp_offset);
            let sequence = original.outgoing_index as u16;
            if !set_identity(view, payload_type, sequence, timestamp, stream.local_ssrc) {
                return Err(Drop::RtpMalformed);
            }
            match (stream.local_rtx_ssrc, stream.rtx_for(payload_type)) {
                (Some(ssrc), Some(rtx)) => {
                    let sequence = stream.output.rtx_sequence;
                    stream.output.rtx_sequence = sequence.wrapping_add(1);
                    range =
                        rtx_wrap(bytes, range.clone(), rtx, ssrc, sequence).map_err(|_| Drop::NoHeadroom)?;
                }
                // One SRTP index is never protected twice (`ARCHITECTURE.md`, SRTP): without RTX the
                // ciphertext is sent again, or nothing.
                _ if protected => return Err(Drop::NackMiss),
                _ => {}
            }
            stream.shared.add(Word::Retransmitted, 1);
            let (start, len) = protect(leg, rooms, bytes, range.clone())?;
            Ok((path, start, len))
        };
        match write() {
            Ok(((socket, remote), start, len)) => {
                driver.send(socket, remote, buffer, start, len);
                Ok(())
            }
            Err(why) => {
                driver.release(buffer);
                Err(why)
            }
        }
    }
}

/// The m-line that we send with this SSRC.
fn sending(leg: &Leg, ssrc: u32) -> Option<(u8, &crate::leg::Stream)> {
    // An RTP leg has one m-line; peers without RTCP for it may name any SSRC.
    let only = matches!(leg.transport, Transport::Rtp(_));
    let mut streams = leg.streams.iter().enumerate();
    let found = streams.find(|(_, stream)| stream.local_ssrc == ssrc || only)?;
    Some((found.0 as u8, found.1))
}
