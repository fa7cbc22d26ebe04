//! From a stream to its outputs: gate, rewrite, header extensions, protect, send.

use std::net::SocketAddr;
use std::ops::Range;

use bifrons_rtc::Time;
use bifrons_rtc::srtp::SrtpError;
use bifrons_rtc::stream::{HistorySlab, Incoming, Outgoing};
use bifrons_wire::rtp::{AbsSendTime, Header, edit_extensions, set_identity};

use super::Worker;
use super::frames::{Arrived, OUTPUTS_MIN, SLICE_PACKETS};
use super::in_hand::InHand;
use super::receive::Placed;
use super::warm::ask_ahead;
use crate::counter::{Counters, Drop, Work};
use crate::driver::{BUFFER_BYTES, Buffer, Driver, HEADROOM, SocketKey};
use crate::leg::{Crypto, Leg, LegTable, Rooms, RouteOutput, Word};
use crate::media::{MediaKind, StreamRef};
use crate::message::{CROSS_BYTES, Cross, Garbage};
use crate::tap::Tap;

impl<D: Driver> Worker<D> {
    /// Gives a packet to taps and to workers that have outputs, and to the outputs here.
    pub(super) fn forward(&mut self, now: Time, source: StreamRef, buffer: Buffer, packet: Placed) {
        self.tap(now, source, &buffer, &packet);
        let Some(stream) = self.stream_mut(source) else {
            self.counters.count(Drop::NoRoute);
            return self.driver.release(buffer);
        };
        let video = stream.kind == MediaKind::Video;
        let Some(route) = stream.route.as_deref_mut() else {
            self.counters.count(Drop::NoRoute);
            return self.driver.release(buffer);
        };
        let may_wait = video && route.outputs.len() >= OUTPUTS_MIN;
        if !route.workers.is_empty() {
            // The list steps out of its route for as long as it is gone through.
            let workers = std::mem::take(&mut route.workers);
            workers.iter().for_each(|worker| self.send_across(*worker, source, &buffer, &packet));
            if let Some(route) = self.stream_mut(source).and_then(|stream| stream.route.as_deref_mut()) {
                route.workers = workers;
            }
        }
        self.hand_on(now, source, buffer, packet, may_wait);
    }

    /// Gives a packet to the outputs on this worker, at once or with the rest of its frame.
    pub(super) fn hand_on(
        &mut self,
        now: Time,
        source: StreamRef,
        buffer: Buffer,
        packet: Placed,
        may_wait: bool,
    ) {
        self.driver.lay_down(&buffer);
        let may_wait = may_wait && !packet.header.marker;
        if self.frames.add(now, source, Arrived { buffer: Some(buffer), packet }, may_wait) {
            self.forward_frame(now, source);
        }
    }

    /// Copies a packet to those who listen in.
    fn tap(&mut self, now: Time, source: StreamRef, buffer: &Buffer, packet: &Placed) {
        let stream =
            self.legs.get_mut(source.leg).and_then(|leg| leg.streams.get_mut(usize::from(source.mline)));
        let Some(stream) = stream.filter(|stream| stream.taps.is_some()) else { return };
        let bytes = self.driver.bytes(buffer).get(packet.range());
        let offered = Tap::offer(&mut stream.taps, now, packet.index, bytes.unwrap_or_default());
        (0..offered.full).for_each(|_| self.counters.count(Drop::TapFull));
        if let Some(tap) = offered.ended {
            self.free(Garbage::Tap(tap));
        }
    }

    /// Sends the packets that go now to all outputs here. Where that is much work, a part of it is for later turns.
    pub(super) fn forward_frame(&mut self, now: Time, source: StreamRef) {
        self.counters.add(Work::Frames, u64::from(self.frames.going.len() > 1));
        let next = match self.frames.is_under_way(source) {
            true => Some(0),
            false => self.forward_slice(now, source, 0, SLICE_PACKETS),
        };
        let Some(next) = next else { return };
        self.counters.add(Work::FramesSliced, 1);
        if let Some((oldest, next)) = self.frames.go_on_later(source, next) {
            self.forward_slice(now, oldest, next, usize::MAX);
        }
    }

    /// Goes on with the frame that is longest under way.
    pub(super) fn forward_next_slice(&mut self, now: Time) {
        let Some((source, next)) = self.frames.go_on() else { return };
        self.current = Some(source.leg);
        if let Some(next) = self.forward_slice(now, source, next, SLICE_PACKETS) {
            self.frames.go_on_next(source, next);
        }
    }

    /// The outputs of a stream are about to change: what is under way goes to those that were.
    pub(super) fn forward_rest(&mut self, now: Time, source: StreamRef) {
        while self.frames.is_under_way(source)
            && let Some((source, next)) = self.frames.go_on()
        {
            self.current = Some(source.leg);
            self.forward_slice(now, source, next, usize::MAX);
        }
    }

    /// Sends the packets that go now to the outputs from `first` on, so many packets about: copies to all but the last
    /// output, to the last in place. Gives the next output; `None`: all have it, and the buffers are given back.
    fn forward_slice(
        &mut self,
        now: Time,
        source: StreamRef,
        first: usize,
        packets_max: usize,
    ) -> Option<usize> {
        // The outputs step out of their leg, so that it can be one of them (an echo).
        let Some(outputs) = self.outputs_mut(source).map(std::mem::take) else {
            self.frames.going.iter().for_each(|_| self.counters.count(Drop::NoRoute));
            self.release_going();
            return None;
        };
        let Self { driver, legs, counters, slab, rooms, frames, .. } = self;
        let packets = &mut frames.going;
        let last = outputs.len().saturating_sub(1);
        let mut left = packets_max;
        let mut next = first;
        while let Some(output) = outputs.get(next)
            && left > 0
        {
            ask_ahead(legs, outputs.get(next + 1..).unwrap_or_default());
            match Way::to(source, output, legs) {
                Ok(mut way) => packets.iter_mut().for_each(|arrived| {
                    match way.send(now, driver, slab, rooms, arrived, next == last) {
                        Ok(()) => counters.add(Work::Forwarded, 1),
                        Err(why) => counters.count(why),
                    }
                }),
                Err(why) => packets.iter().for_each(|_| counters.count(why)),
            }
            left = left.saturating_sub(packets.len());
            next += 1;
        }
        let more = next < outputs.len();
        if let Some(place) = self.outputs_mut(source) {
            *place = outputs;
        }
        if !more {
            self.release_going();
        }
        more.then_some(next)
    }

    /// Gives back what no output has sent in place.
    pub(super) fn release_going(&mut self) {
        while let Some(arrived) = self.frames.going.pop() {
            if let Some(buffer) = arrived.buffer {
                self.driver.release(buffer);
            }
        }
    }

    /// The outputs of a stream on this worker: of its own route, or its replica's.
    fn outputs_mut(&mut self, source: StreamRef) -> Option<&mut Vec<RouteOutput>> {
        let route = match source.leg.worker() == self.settings.index {
            true => self.stream_mut(source)?.route.as_deref_mut(),
            false => self.replicas.get_mut(&source).map(|replica| &mut replica.route),
        };
        route.map(|route| &mut route.outputs)
    }

    /// Copies a decrypted packet into another worker's ring.
    fn send_across(&mut self, worker: u8, source: StreamRef, buffer: &Buffer, packet: &Placed) {
        let bytes = self.driver.bytes(buffer).get(packet.range());
        let (Some(bytes), Some(Some(ring))) = (bytes, self.cross.to.get_mut(usize::from(worker))) else {
            return self.counters.count(Drop::ReplicaGone);
        };
        let mut slot = [0; CROSS_BYTES];
        let Some(room) = slot.get_mut(..bytes.len()) else { return self.counters.count(Drop::ReplicaFull) };
        room.copy_from_slice(bytes);
        let message = Cross::Packet { source, index: packet.index, len: packet.len as u16, bytes: slot };
        match ring.push(message) {
            Ok(()) => {
                self.counters.add(Work::Replicated, 1);
                self.cross.told.insert(worker);
            }
            Err(_) => self.counters.count(Drop::ReplicaFull),
        }
    }
}

/// The way to an output, for the packets of a frame.
struct Way<'a> {
    leg: &'a mut Leg,
    source: StreamRef,
    output: &'a RouteOutput,
    socket: SocketKey,
    remote: SocketAddr,
}

impl<'a> Way<'a> {
    /// The way, if it is open.
    fn to(source: StreamRef, output: &'a RouteOutput, legs: &'a mut LegTable) -> Result<Self, Drop> {
        let leg = legs.get_mut(output.to.leg).filter(|leg| leg.up).ok_or(Drop::OutputGone)?;
        let path = leg.rtp_path();
        let stream = leg.streams.get_mut(usize::from(output.to.mline)).ok_or(Drop::OutputGone)?;
        if !output.open || !stream.send {
            stream.output.rewriter.pause();
            return Err(Drop::GateShut);
        }
        let (socket, remote) = path.ok_or(Drop::NoDestination)?;
        Ok(Self { leg, source, output, socket, remote })
    }

    /// Sends a packet, in place or as a copy.
    fn send<D: Driver>(
        &mut self,
        now: Time,
        driver: &mut InHand<D>,
        slab: &mut HistorySlab,
        rooms: &mut Rooms,
        arrived: &mut Arrived,
        in_place: bool,
    ) -> Result<(), Drop> {
        let Self { leg, source, output, socket, remote } = self;
        let Arrived { buffer, packet } = arrived;
        let Header { payload_type, ssrc, timestamp, .. } = packet.header;
        let payload_type = output.payload_type(payload_type).ok_or(Drop::PayloadType)?;
        let stream = leg.streams.get_mut(usize::from(output.to.mline)).ok_or(Drop::OutputGone)?;
        let incoming = Incoming { ssrc, index: packet.index, timestamp };
        let outgoing = stream.output.rewriter.forward(incoming, now).map_err(|_| Drop::RewriteRefused)?;
        stream.output.feed = Some(*source);
        let target = match in_place {
            true => buffer.take().inspect(|buffer| driver.take(buffer)),
            false => buffer.as_ref().and_then(|buffer| copy(driver, buffer, packet)),
        };
        let target = target.ok_or(Drop::NoBuffer)?;
        let bytes = driver.bytes(&target);
        let range = write(now, leg, output, payload_type, outgoing, bytes, packet);
        match range.and_then(|range| protect(leg, rooms, bytes, range)) {
            Ok((start, len)) => {
                let bytes = driver.bytes(&target);
                keep_ciphertext(leg, output.to.mline, slab, outgoing.index, bytes, start..start + len);
                driver.send(*socket, *remote, target, start, len);
                Ok(())
            }
            Err(why) => {
                driver.release(target);
                Err(why)
            }
        }
    }
}

/// A copy of the packet, at its place, in a buffer of the arena.
fn copy<D: Driver>(driver: &mut D, from: &Buffer, packet: &Placed) -> Option<Buffer> {
    let to = driver.allocate()?;
    let (source, target) = driver.bytes_pair(from, &to);
    let range = packet.range();
    if let (Some(source), Some(target)) = (source.get(range.clone()), target.get_mut(range)) {
        target.copy_from_slice(source);
    }
    Some(to)
}

/// Writes the outgoing header. Gives the packet's place.
fn write(
    now: Time,
    leg: &mut Leg,
    output: &RouteOutput,
    payload_type: u8,
    outgoing: Outgoing,
    bytes: &mut [u8],
    packet: &Placed,
) -> Result<Range<usize>, Drop> {
    let range = write_extensions(now, leg, output, &packet.header, bytes, packet.range())?;
    let stream = leg.streams.get_mut(usize::from(output.to.mline)).ok_or(Drop::OutputGone)?;
    let view = bytes.get_mut(range.clone()).ok_or(Drop::NoHeadroom)?;
    if !set_identity(view, payload_type, outgoing.sequence, outgoing.timestamp, stream.local_ssrc) {
        return Err(Drop::RtpMalformed);
    }
    stream.output.statistics.on_packet(outgoing.timestamp, packet.payload_len, now);
    stream.shared.add(Word::OutPackets, 1);
    stream.shared.add(Word::OutBytes, range.len() as u64);
    Ok(range)
}

/// Keeps a packet as it is sent, where it can only be sent again as it is.
fn keep_ciphertext(
    leg: &mut Leg,
    mline: u8,
    slab: &mut HistorySlab,
    index: u64,
    bytes: &[u8],
    range: Range<usize>,
) {
    if let Crypto::Srtp(_) = leg.crypto
        && let Some(stream) = leg.streams.get_mut(usize::from(mline))
        && let Some(history) = &mut stream.output.ciphertext
        && let Some(packet) = bytes.get(range)
    {
        history.store(slab, index, packet);
    }
}

/// Rewrites header extensions for an output.
pub(super) fn write_extensions(
    now: Time,
    leg: &mut Leg,
    output: &RouteOutput,
    header: &Header,
    bytes: &mut [u8],
    range: Range<usize>,
) -> Result<Range<usize>, Drop> {
    let transport_sequence = leg.transport_sequence.to_be_bytes();
    let stream = leg.streams.get(usize::from(output.to.mline)).ok_or(Drop::OutputGone)?;
    let ids = stream.extensions;
    let send_time = AbsSendTime::from_nanos(now.as_nanos()).to_bytes();
    let mut set: [(u8, &[u8]); 3] = [(0, &[]); 3];
    let mut used = 0;
    let own: [(u8, &[u8]); 3] =
        [(ids.mid, stream.mid()), (ids.transport_cc, &transport_sequence), (ids.abs_send_time, &send_time)];
    for (id, value) in own {
        if id != 0
            && !value.is_empty()
            && let Some(place) = set.get_mut(used)
        {
            *place = (id, value);
            used += 1;
        }
    }
    let set = set.get(..used).unwrap_or_default();
    let range =
        edit_extensions(bytes, range, header, &output.extensions, set).map_err(|_| Drop::NoHeadroom)?;
    if ids.transport_cc != 0 {
        leg.transport_sequence = leg.transport_sequence.wrapping_add(1);
    }
    Ok(range)
}

/// Which counter an error is.
pub(super) fn protect_drop(error: SrtpError) -> Drop {
    match error {
        SrtpError::SsrcRoom => Drop::SrtpRoom,
        _ => Drop::SrtpProtect,
    }
}

/// Protects what stands at `range` with the leg's key, and gives the place of the result.
pub(super) fn protect(
    leg: &mut Leg,
    rooms: &mut Rooms,
    bytes: &mut [u8],
    range: Range<usize>,
) -> Result<(usize, usize), Drop> {
    let len = match &mut leg.crypto {
        Crypto::Plain => range.len(),
        Crypto::Waiting => return Err(Drop::OutputGone),
        Crypto::Srtp(keys) => {
            let room = bytes.get_mut(range.start..).ok_or(Drop::NoHeadroom)?;
            keys.protect_rtp(rooms, room, range.len()).map_err(protect_drop)?
        }
    };
    Ok((range.start, len))
}

const _: () = assert!(CROSS_BYTES + HEADROOM <= BUFFER_BYTES);

/// Counts; keeps the signature of helpers short.
pub(super) fn count(counters: &Counters, result: Result<(), Drop>) {
    if let Err(why) = result {
        counters.count(why);
    }
}
