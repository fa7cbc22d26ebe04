//! RTCP that goes out: reports, requests, goodbye.

use std::time::Duration;

use bifrons_rtc::Time;
use bifrons_wire::rtcp::{FirEntry, NtpTime, ReportBlock, Writer};

use super::Worker;
use super::forward::protect_drop;
use crate::counter::Drop;
use crate::driver::{Driver, HEADROOM};
use crate::id::LegId;
use crate::leg::{Crypto, Word};
use crate::media::StreamRef;

/// The first report, soon after the leg is up, a source begins, or a receiver joins one: it is what brings
/// audio and video together, so it does not wait for half an interval (RFC 3550 §6.2).
pub(super) const REPORT_FIRST: Duration = Duration::from_millis(500);
/// Between reports; the real time is 0.8 to 1.2 of it, so that legs do not report in step.
const REPORT_INTERVAL_MS: u64 = 1_000;
/// How much longer a leg waits that has nothing to report: 5 s, the least interval of RFC 3550 §6.2. A leg
/// without media costs what its consent costs, not a timer a second. [`Worker::report_soon`] ends the wait.
const QUIET_INTERVALS: u32 = 5;
/// Longest compound: one that fits any path with SRTCP's trailer.
const COMPOUND_MAX: usize = 1_180;
/// Report blocks in one packet (RFC 3550 §6.4.1).
const BLOCKS_MAX: usize = 31;

impl<D: Driver> Worker<D> {
    /// One compound a leg: a sender report for each stream that has sent, blocks for all that is
    /// received, and the names.
    pub(super) fn send_reports(&mut self, now: Time, id: LegId) {
        let ntp = self.ntp(now);
        let threshold = i64::from(self.settings.slowlink_threshold);
        let jitter = bifrons_rtc::ice::Random::next_u64(&mut self.random) % (REPORT_INTERVAL_MS * 2 / 5);
        let Some(leg) = self.legs.get_mut(id) else { return };
        let interval = Duration::from_millis(REPORT_INTERVAL_MS * 4 / 5 + jitter);
        leg.report_at = now + interval;
        if !leg.up || leg.rtcp_path().is_none() {
            return;
        }
        let mut blocks = [EMPTY_BLOCK; BLOCKS_MAX];
        let mut used = 0;
        let mut slow = 0u64;
        let silence = now.as_nanos().saturating_sub(2 * REPORT_INTERVAL_MS * 1_000_000);
        for (mline, stream) in leg.streams.iter_mut().enumerate() {
            let Some(ssrc) = stream.input.ssrc.filter(|_| stream.recv) else { continue };
            if stream.input.last_at.as_nanos() < silence {
                continue;
            }
            let lost = stream.input.statistics.cumulative_lost();
            let more = lost - std::mem::replace(&mut stream.input.lost_prior, lost);
            if threshold > 0 && more >= threshold {
                stream.slow[1] = more as u32;
                slow |= 1 << mline;
            }
            if let Some(place) = blocks.get_mut(used) {
                *place = stream.input.statistics.report_block(ssrc, now);
                used += 1;
            }
        }
        let blocks = blocks.get(..used).unwrap_or_default();
        if slow != 0 {
            self.tell(id, |pending| pending.slow[1] |= slow);
        }

        let mut buffer = [0u8; COMPOUND_MAX];
        let mut writer = Writer::new(&mut buffer);
        let mut first = true;
        let lines = self.legs.get(id).map_or(0, |leg| leg.streams.len());
        for mline in 0..lines {
            let Some(mapped) = self.sender_info(now, ntp, StreamRef { leg: id, mline: mline as u8 }) else {
                continue;
            };
            let Some(stream) = self.legs.get(id).and_then(|leg| leg.streams.get(mline)) else { continue };
            let blocks = if std::mem::take(&mut first) { blocks } else { &[] };
            let written = writer
                .sender_report(stream.local_ssrc, &mapped, blocks)
                .and_then(|()| writer.sdes_cname(stream.local_ssrc, &stream.cname));
            if written.is_err() {
                break;
            }
        }
        if first {
            let Some(leg) = self.legs.get_mut(id) else { return };
            if blocks.is_empty() {
                leg.report_at = now + interval * QUIET_INTERVALS;
                return;
            }
            let Some(stream) = leg.streams.first() else { return };
            let written = writer
                .receiver_report(stream.local_ssrc, blocks)
                .and_then(|()| writer.sdes_cname(stream.local_ssrc, &stream.cname));
            if written.is_err() {
                return;
            }
        }
        let len = writer.len();
        self.send_rtcp(id, &buffer, len);
    }

    /// A source begins: its leg and those that it goes to have something to report.
    pub(super) fn report_soon(&mut self, now: Time, source: StreamRef) {
        self.report_by(source.leg, now + REPORT_FIRST);
        let mut at = 0;
        while let Some(to) = self.output(source, at) {
            self.report_by(to.leg, now + REPORT_FIRST);
            at += 1;
        }
    }

    fn output(&self, source: StreamRef, at: usize) -> Option<StreamRef> {
        let stream = self.legs.get(source.leg)?.streams.get(usize::from(source.mline))?;
        Some(stream.route.as_ref()?.outputs.get(at)?.to)
    }

    /// A leg has something to report, or will have: no later than this.
    pub(super) fn report_by(&mut self, id: LegId, at: Time) {
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.up && leg.report_at > at) else { return };
        leg.report_at = at;
        self.wheel.lower(self.media_key(id.slot()), at);
    }

    /// What a sender report says of an output: its source's clock, mapped (RFC 3550 §6.4.1).
    fn sender_info(&self, now: Time, ntp: NtpTime, to: StreamRef) -> Option<bifrons_wire::rtcp::SenderInfo> {
        let stream = self.legs.get(to.leg)?.streams.get(usize::from(to.mline))?;
        if !stream.send || stream.output.statistics.packets == 0 {
            return None;
        }
        let from = stream.output.feed.and_then(|feed| {
            let own = self.legs.get(feed.leg).and_then(|leg| leg.streams.get(usize::from(feed.mline)));
            match own {
                Some(source) => Some((source.input.statistics.mapping()?, source.input.clock)),
                None => self.replicas.get(&feed).and_then(|replica| Some((replica.mapping?, replica.clock))),
            }
        });
        let mapped = from.and_then(|(mapping, clock)| {
            stream.output.rewriter.map_timestamp(mapping.timestamp_at(clock.remote(ntp)?))
        });
        stream.output.statistics.sender_info(ntp, mapped, stream.clock_hz, now)
    }

    /// PLI or FIR to the peer that sends `source`, whichever it understands.
    pub(super) fn send_keyframe_request(&mut self, source: StreamRef) {
        let Some(stream) = self.stream_mut(source) else { return };
        let Some(media_ssrc) = stream.input.ssrc.or(stream.remote_ssrcs.first().copied()) else { return };
        let sender_ssrc = stream.local_ssrc;
        let mut buffer = [0u8; 256];
        let mut writer = Writer::new(&mut buffer);
        let head = writer.receiver_report(sender_ssrc, &[]);
        let name = writer.sdes_cname(sender_ssrc, &stream.cname);
        let request = if stream.feedback.pli || !stream.feedback.fir {
            writer.pli(sender_ssrc, media_ssrc)
        } else {
            let sequence = stream.input.keyframes.next_fir_sequence();
            writer.fir(sender_ssrc, &[FirEntry { ssrc: media_ssrc, sequence }])
        };
        if head.and(name).and(request).is_ok() {
            let len = writer.len();
            self.send_rtcp(source.leg, &buffer, len);
        }
    }

    /// What the timers of a stream have to send: NACKs, transport-wide feedback, the bitrate cap.
    pub(super) fn send_feedback(&mut self, now: Time, source: StreamRef) {
        // Transport-wide feedback is about the leg: any source of it is named.
        let heard = self.legs.get(source.leg).map_or(&[][..], |leg| &leg.streams);
        let heard = heard.iter().find_map(|stream| stream.input.ssrc);
        let Some(stream) = self.stream_mut(source) else { return };
        let sender_ssrc = stream.local_ssrc;
        let mut buffer = [0u8; COMPOUND_MAX];
        let mut writer = Writer::new(&mut buffer);
        let own = stream.input.ssrc;
        let media_ssrc = own.or(heard).unwrap_or(0);
        if writer.receiver_report(sender_ssrc, &[]).is_err()
            || writer.sdes_cname(sender_ssrc, &stream.cname).is_err()
        {
            return;
        }
        let head = writer.len();
        let mut gave_up = false;
        if let Some(nack) = &mut stream.input.nack {
            let round_trip = Duration::from_micros(stream.shared.get(Word::RoundTripUs));
            let mut missing = [0u16; bifrons_rtc::stream::MISSING_MAX];
            let mut used = 0;
            let outcome = nack.due(now, round_trip, |sequence| {
                if let Some(place) = missing.get_mut(used) {
                    *place = sequence;
                    used += 1;
                }
            });
            gave_up = outcome == bifrons_rtc::stream::NackOutcome::GaveUp;
            if used > 0 {
                let missing = missing.get(..used).unwrap_or_default();
                if writer.nack(sender_ssrc, media_ssrc, missing.iter().copied()).is_ok() {
                    stream.shared.add(Word::NacksSent, 1);
                }
            }
        }
        if stream.feedback.remb
            && own.is_some()
            && let Some(bitrate_bps) = stream.input.cap.due(None, now)
        {
            // No room: it is repeated in a second.
            let _ = writer.remb(sender_ssrc, bitrate_bps, &[media_ssrc]);
        }
        if let Some(twcc) = &mut stream.input.twcc {
            while let Ok(true) = twcc.write(&mut writer, sender_ssrc, media_ssrc, now) {}
        }
        let len = writer.len();
        if len > head {
            self.send_rtcp(source.leg, &buffer, len);
        }
        if gave_up {
            self.request_keyframe(now, source);
        }
    }

    /// BYE for all that the leg sent.
    pub(super) fn send_bye(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id).filter(|leg| leg.up) else { return };
        let mut ssrcs = [0u32; BLOCKS_MAX];
        let sent = leg.streams.iter().filter(|stream| stream.output.statistics.packets > 0);
        let mut used = 0;
        for (place, stream) in ssrcs.iter_mut().zip(sent) {
            *place = stream.local_ssrc;
            used += 1;
        }
        let ssrcs = ssrcs.get(..used).unwrap_or_default();
        let Some(first) = ssrcs.first().copied() else { return };
        let name = leg.streams.iter().find(|stream| stream.local_ssrc == first).map(|stream| &stream.cname);
        let mut buffer = [0u8; COMPOUND_MAX];
        let mut writer = Writer::new(&mut buffer);
        let written = writer
            .receiver_report(first, &[])
            .and_then(|()| writer.sdes_cname(first, name.map_or("", |name| name)))
            .and_then(|()| writer.bye(ssrcs, None));
        if written.is_ok() {
            let len = writer.len();
            self.send_rtcp(id, &buffer, len);
        }
    }

    /// Protects a compound and sends it.
    fn send_rtcp(&mut self, id: LegId, compound: &[u8], len: usize) {
        if let Err(why) = self.try_send_rtcp(id, compound.get(..len).unwrap_or_default()) {
            self.counters.count(why);
        }
    }

    fn try_send_rtcp(&mut self, id: LegId, compound: &[u8]) -> Result<(), Drop> {
        let Self { driver, legs, rooms, .. } = self;
        let leg = legs.get_mut(id).filter(|leg| !leg.ended).ok_or(Drop::OutputGone)?;
        let (socket, remote) = leg.rtcp_path().ok_or(Drop::NoDestination)?;
        let buffer = driver.allocate().ok_or(Drop::NoBuffer)?;
        let bytes = driver.bytes(&buffer);
        if let Some(room) = bytes.get_mut(HEADROOM..HEADROOM + compound.len()) {
            room.copy_from_slice(compound);
        }
        let len = match (&mut leg.crypto, bytes.get_mut(HEADROOM..)) {
            (Crypto::Plain, _) => Ok(compound.len()),
            (Crypto::Srtp(keys), Some(room)) => {
                keys.protect_rtcp(rooms, room, compound.len()).map_err(protect_drop)
            }
            _ => Err(Drop::NoKeys),
        };
        match len {
            Ok(len) => {
                driver.send(socket, remote, buffer, HEADROOM, len);
                Ok(())
            }
            Err(why) => {
                driver.release(buffer);
                Err(why)
            }
        }
    }
}

const EMPTY_BLOCK: ReportBlock = ReportBlock {
    ssrc: 0,
    fraction_lost: 0,
    cumulative_lost: 0,
    highest_sequence: 0,
    jitter: 0,
    last_sr: 0,
    delay_since_last_sr: 0,
};
