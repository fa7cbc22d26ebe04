//! From a datagram to its leg: first byte, flow, decryption, stream.

use std::ops::Range;

use bifrons_rtc::Time;
use bifrons_rtc::srtp::SrtpError;
use bifrons_rtc::stream::NackOutcome;
use bifrons_wire::demux::{Kind, classify};
use bifrons_wire::rtp::{Header, Packet, TelephoneEvent, rtx_unwrap, transport_sequence};

use super::{HELD_LEG_MAX, HELD_MAX, Held, Worker};
use crate::counter::{Drop, Work};
use crate::driver::{Driver, Received};
use crate::id::LegId;
use crate::leg::{Crypto, DTMF_PENDING_MAX, DtlsPhase, PayloadKind, SourceVerdict, SsrcUse, Transport, Word};
use crate::media::StreamRef;
use crate::message::SocketTag;

/// How long an m-line stays with one SSRC after its last packet, nanoseconds: simulcast layers do not
/// take turns, nor do the two sources of a transfer.
const SSRC_HOLD_NANOS: u64 = 500_000_000;

/// Which counter an error is.
pub(super) fn srtp_drop(error: SrtpError) -> Drop {
    match error {
        SrtpError::Authentication => Drop::SrtpAuth,
        SrtpError::Replayed | SrtpError::TooOld => Drop::SrtpReplay,
        SrtpError::SsrcRoom => Drop::SrtpRoom,
        _ => Drop::SrtpOther,
    }
}

/// A decrypted packet: its place in the buffer, and its header, which is parsed once.
pub(super) struct Placed {
    pub mline: u8,
    pub start: usize,
    pub len: usize,
    /// Bytes of payload, padding left out.
    pub payload_len: usize,
    /// Extended sequence number.
    pub index: u64,
    pub header: Header,
}

impl Placed {
    /// A packet that starts here, with the number that it has in its stream.
    pub(super) fn new(mline: u8, packet: &Packet<&[u8]>, start: usize, index: u64) -> Self {
        let (len, payload_len) = (packet.bytes().len(), packet.payload().len());
        Self { mline, start, len, payload_len, index, header: *packet.header() }
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

impl<D: Driver> Worker<D> {
    /// One datagram. It is released or sent on every way out.
    pub(super) fn receive(&mut self, now: Time, received: Received) {
        let bytes = self.driver.bytes(&received.buffer);
        let bytes = bytes.get(received.start..received.start + received.len).unwrap_or_default();
        let kind = classify(bytes);
        match SocketTag::decode(received.tag) {
            SocketTag::Shared(local) => match kind {
                Kind::Stun => self.receive_stun(now, local, received),
                Kind::Dtls | Kind::Rtp | Kind::Rtcp => {
                    let Some(slot) = self.flows.get(local, received.source) else {
                        return self.drop_packet(received, Drop::UnknownSource);
                    };
                    let Some(leg) = self.legs.at(slot).filter(|leg| !leg.ended) else {
                        return self.receive_shared(now, slot, local, received, kind);
                    };
                    let id = leg.id;
                    self.current = Some(id);
                    match kind {
                        Kind::Dtls => self.receive_dtls(now, slot, local, received),
                        _ => self.receive_media(now, id, received, kind == Kind::Rtcp),
                    }
                }
                Kind::Other => self.drop_packet(received, Drop::NotMedia),
            },
            SocketTag::SharedRtp(number) => {
                if !matches!(kind, Kind::Rtp | Kind::Rtcp) {
                    return self.drop_packet(received, Drop::NotMedia);
                }
                let slot = self.shared_rtp.get(number, received.source);
                let leg = slot.and_then(|slot| self.legs.at(slot)).filter(|leg| !leg.ended);
                let Some(id) = leg.map(|leg| leg.id) else {
                    return self.drop_packet(received, Drop::UnknownSource);
                };
                self.current = Some(id);
                self.receive_media(now, id, received, kind == Kind::Rtcp);
            }
            SocketTag::Rtp(id) | SocketTag::Rtcp(id) => {
                if !matches!(kind, Kind::Rtp | Kind::Rtcp) {
                    return self.drop_packet(received, Drop::NotMedia);
                }
                if self.legs.get(id).is_none_or(|leg| leg.ended) {
                    return self.drop_packet(received, Drop::UnknownSource);
                }
                self.current = Some(id);
                self.receive_media(now, id, received, kind == Kind::Rtcp);
            }
        }
    }

    pub(super) fn drop_packet(&mut self, received: Received, why: Drop) {
        self.counters.count(why);
        self.driver.release(received.buffer);
    }

    /// RTP or RTCP of a leg.
    pub(super) fn receive_media(&mut self, now: Time, id: LegId, received: Received, rtcp: bool) {
        let Some(leg) = self.legs.get_mut(id) else { return self.drop_packet(received, Drop::UnknownSource) };
        if let Crypto::Waiting = leg.crypto {
            let expected = matches!(&leg.transport,
                Transport::WebRtc(webrtc) if webrtc.dtls == DtlsPhase::Started);
            let mine = self.held.iter().filter(|held| held.leg == id).count();
            if !expected || rtcp || mine >= HELD_LEG_MAX || self.held.len() >= HELD_MAX {
                return self.drop_packet(received, Drop::NoKeys);
            }
            self.driver.lay_down(&received.buffer);
            self.held.push(Held { leg: id, received });
            return;
        }
        let end = received.start + received.len;
        let bytes = self.driver.bytes(&received.buffer);
        let Some(bytes) = bytes.get_mut(received.start..end) else {
            return self.drop_packet(received, Drop::NotMedia);
        };
        let len = match &mut leg.crypto {
            Crypto::Srtp(keys) => keys.unprotect(&mut self.rooms, now, bytes, rtcp),
            _ => Ok(bytes.len()),
        };
        let len = match len {
            Ok(len) => len,
            Err(error) => return self.drop_packet(received, srtp_drop(error)),
        };
        if rtcp {
            self.receive_rtcp(now, id, received, len);
        } else {
            self.receive_rtp(now, id, received, len);
        }
    }

    pub(super) fn receive_rtp(&mut self, now: Time, id: LegId, received: Received, len: usize) {
        self.coalescing.stir();
        match self.place(now, id, &received, len) {
            Ok(placed) => {
                let source = StreamRef { leg: id, mline: placed.mline };
                self.forward(now, source, received.buffer, placed);
            }
            Err(why) => self.drop_packet(received, why),
        }
    }

    /// Finds a packet's stream and counts it there.
    fn place(&mut self, now: Time, id: LegId, received: &Received, len: usize) -> Result<Placed, Drop> {
        let media_key = self.media_key(id.slot());
        let buffer = self.driver.bytes(&received.buffer);
        let mut range = received.start..received.start + len;
        let mut packet = Packet::at(buffer, range.clone()).map_err(|_| Drop::RtpMalformed)?;
        let header = *packet.header();
        let leg = self.legs.get_mut(id).ok_or(Drop::UnknownSource)?;

        let what = if let Transport::Rtp(rtp) = &mut leg.transport {
            // Judged here and not earlier: on an SRTP leg the packet is authentic by now.
            match rtp.hear(now, received.source) {
                SourceVerdict::Refused => return Err(Drop::SourceRefused),
                SourceVerdict::Heard => {}
                SourceVerdict::Latched => {
                    leg.pending.latched = Some(received.source);
                    if !std::mem::replace(&mut leg.pending.queued, true) {
                        self.dirty.push_back(id.slot());
                    }
                }
            }
            if matches!(leg.crypto, Crypto::Plain) && rtp.is_late(now, header.ssrc) {
                return Err(Drop::LateSsrc);
            }
            SsrcUse { mline: 0, rtx: false }
        } else {
            match leg.ssrc(header.ssrc) {
                Some(what) => what,
                None => {
                    let mid = leg.streams.iter().map(|stream| stream.extensions.mid).find(|id| *id != 0);
                    let mid = mid.and_then(|mid| packet.extension(mid));
                    let what = leg.find_stream(mid, header.payload_type).ok_or(Drop::NoStream)?;
                    if !leg.learn_ssrc(header.ssrc, what) {
                        return Err(Drop::NoStream);
                    }
                    what
                }
            }
        };
        let stream = leg.streams.get(usize::from(what.mline)).ok_or(Drop::NoStream)?;
        if !leg.budget.take(now) {
            stream.shared.add(Word::OverBudget, 1);
            return Err(Drop::LegOverBudget);
        }
        let transport_cc = stream.extensions.transport_cc;
        // These numbers count the packets of a whole leg: one receiver takes them all, or each would report
        // the packets of the other streams as lost. It is that of the first stream that has one.
        if let Some(sequence) = packet.extension(transport_cc).and_then(transport_sequence)
            && let Some(twcc) = leg.streams.iter_mut().find_map(|stream| stream.input.twcc.as_mut())
        {
            let before = twcc.deadline();
            twcc.on_packet(sequence, now);
            if before.is_none()
                && let Some(at) = twcc.deadline()
            {
                self.wheel.lower(media_key, at);
            }
        }
        let stream = leg.streams.get_mut(usize::from(what.mline)).ok_or(Drop::NoStream)?;
        if !stream.recv {
            return Err(Drop::NotReceiving);
        }
        let kind = stream.payload_kind(header.payload_type);
        if what.rtx || matches!(kind, PayloadKind::Rtx(_)) {
            let (PayloadKind::Rtx(repairs), Some(primary)) = (kind, stream.input.ssrc) else {
                return Err(Drop::RtxOther);
            };
            range = rtx_unwrap(buffer, range, repairs, primary).map_err(|_| Drop::RtxOther)?;
            packet = Packet::at(buffer, range.clone()).map_err(|_| Drop::RtpMalformed)?;
        }
        let header = *packet.header();
        let ssrc = header.ssrc;

        let input = &mut stream.input;
        if input.ssrc != Some(ssrc) {
            let held = now.as_nanos().saturating_sub(input.last_at.as_nanos()) < SSRC_HOLD_NANOS;
            if input.ssrc.is_some() && held {
                if matches!(leg.transport, Transport::WebRtc(_)) {
                    return Err(Drop::NoStream);
                }
                // The telephone at an RTP leg may change at any time, but not back and forth.
                if let Some(index) = input.late_index(ssrc, header.sequence, now) {
                    let index = index.ok_or(Drop::NoStream)?;
                    stream.shared.add(Word::InPackets, 1);
                    stream.shared.add(Word::InBytes, range.len() as u64);
                    return Ok(Placed::new(what.mline, &packet, range.start, index));
                }
            }
            input.switch(ssrc, stream.clock_hz, now);
        }
        input.last_at = now;
        let payload = packet.payload();
        let arrival = input.statistics.on_packet(header.sequence, header.timestamp, payload.len(), now);
        stream.shared.add(Word::InPackets, 1);
        stream.shared.add(Word::InBytes, range.len() as u64);
        stream.shared.set(Word::InLost, input.statistics.cumulative_lost() as u64);
        stream.shared.set(Word::InJitter, input.statistics.jitter().into());
        let began = input.activity.on_packet(now);
        let index = arrival.arrival.index().filter(|_| !arrival.duplicate).ok_or(Drop::Duplicate)?;

        let mut dtmf = None;
        if kind == PayloadKind::TelephoneEvent
            && let Ok(event) = TelephoneEvent::parse(payload)
        {
            dtmf = input.dtmf.on_packet(header.timestamp, &event, now);
            if let Some(at) = input.dtmf.deadline() {
                self.wheel.lower(media_key, at);
            }
        }
        let mut gave_up = false;
        if let Some(nack) = &mut input.nack {
            gave_up = nack.on_packet(index, now) == NackOutcome::GaveUp;
            if let Some(at) = nack.deadline() {
                self.wheel.lower(media_key, at);
            }
        }
        if let Some(history) = &mut input.history {
            history.store(&mut self.slab, index, packet.bytes());
        }
        let mline = what.mline;
        let placed = Placed::new(mline, &packet, range.start, index);
        let source = StreamRef { leg: id, mline };
        if let Some(began) = began {
            stream.silent_s = began.silence.as_secs() as u32;
            self.tell(id, |pending| pending.receiving |= 1 << mline);
            self.report_soon(now, source);
            self.rearm(id.slot(), now);
        }
        if let Some(event) = dtmf {
            self.tell_dtmf(id, mline, event.event, event.duration);
        }
        if gave_up {
            self.request_keyframe(now, source);
        }
        Ok(placed)
    }

    pub(super) fn tell_dtmf(&mut self, id: LegId, mline: u8, event: u8, duration: u32) {
        let counters = self.counters.clone();
        self.tell(id, |pending| {
            match pending.dtmf.get_mut(pending.dtmf_len) {
                Some(place) => {
                    *place = (mline, event, u16::try_from(duration).unwrap_or(u16::MAX));
                    pending.dtmf_len += 1;
                }
                None => counters.count(Drop::DtmfFull),
            }
            debug_assert!(pending.dtmf_len <= DTMF_PENDING_MAX);
        });
    }

    /// RTCP of a leg, decrypted.
    pub(super) fn receive_rtcp(&mut self, now: Time, id: LegId, received: Received, len: usize) {
        let Some(leg) = self.legs.get_mut(id) else { return self.drop_packet(received, Drop::UnknownSource) };
        if let Transport::Rtp(rtp) = &mut leg.transport
            && rtp.hear_rtcp(received.source) == SourceVerdict::Refused
        {
            return self.drop_packet(received, Drop::SourceRefused);
        }
        if !leg.budget.take(now) {
            if let Some(stream) = leg.streams.first() {
                stream.shared.add(Word::OverBudget, 1);
            }
            return self.drop_packet(received, Drop::LegOverBudget);
        }
        self.counters.add(Work::Rtcp, 1);
        self.take_rtcp(now, id, &received, len);
        self.driver.release(received.buffer);
    }
}
