//! From a stream to its outputs: gate, rewrite, header extensions, protect, send.

use std::net::SocketAddr;

use bifrons_rtc::Time;
use bifrons_rtc::stream::{HistorySlab, Incoming};
use bifrons_wire::rtp::{AbsSendTime, Packet, edit_extensions};

use super::Worker;
use super::receive::Placed;
use crate::counter::{Counters, Drop, Work};
use crate::driver::{BUFFER_BYTES, Buffer, Driver, HEADROOM, SocketKey};
use crate::leg::{Crypto, Leg, LegTable, RouteOutput, Word};
use crate::media::StreamRef;
use crate::message::{CROSS_BYTES, Cross, Garbage};
use crate::tap::Tap;

/// Where a packet goes out and how it is named there.
struct Plan {
    socket: SocketKey,
    remote: SocketAddr,
    payload_type: u8,
    /// Outgoing SRTP packet index.
    index: u64,
    timestamp: u32,
}

impl<D: Driver> Worker<D> {
    /// Sends a packet to all outputs of its stream: copies to all but the last, the last in place.
    pub(super) fn forward(&mut self, now: Time, source: StreamRef, buffer: Buffer, packet: Placed) {
        self.tap(now, source, &buffer, &packet);
        let stream =
            self.legs.get_mut(source.leg).and_then(|leg| leg.streams.get_mut(usize::from(source.mline)));
        // The route steps out of its leg, so that the leg can be an output too (an echo).
        let Some(mut route) = stream.and_then(|stream| stream.route.take()) else {
            self.counters.count(Drop::NoRoute);
            return self.driver.release(buffer);
        };
        for worker in &route.workers {
            self.send_across(*worker, source, &buffer, &packet);
        }
        self.forward_to(now, source, &mut route.outputs, buffer, &packet);
        let stream =
            self.legs.get_mut(source.leg).and_then(|leg| leg.streams.get_mut(usize::from(source.mline)));
        if let Some(stream) = stream {
            stream.route = Some(route);
        }
    }

    /// Copies a packet to those who listen in.
    fn tap(&mut self, now: Time, source: StreamRef, buffer: &Buffer, packet: &Placed) {
        let stream =
            self.legs.get_mut(source.leg).and_then(|leg| leg.streams.get_mut(usize::from(source.mline)));
        let Some(stream) = stream.filter(|stream| stream.taps.is_some()) else { return };
        let bytes = self.driver.bytes(buffer).get(packet.start..packet.start + packet.len);
        let offered = Tap::offer(&mut stream.taps, now, packet.index, bytes.unwrap_or_default());
        (0..offered.full).for_each(|_| self.counters.count(Drop::TapFull));
        if let Some(tap) = offered.ended {
            self.free(Garbage::Tap(tap));
        }
    }

    /// The outputs on this worker. Takes the buffer.
    pub(super) fn forward_to(
        &mut self,
        now: Time,
        source: StreamRef,
        outputs: &mut [RouteOutput],
        buffer: Buffer,
        packet: &Placed,
    ) {
        let Self { driver, legs, counters, locals, slab, .. } = self;
        let mut original = Some(buffer);
        let count = outputs.len();
        for (number, output) in outputs.iter_mut().enumerate() {
            let Some(from) = &original else { break };
            let bytes = driver.bytes(from);
            let plan = match plan(now, source, output, legs, locals, bytes, packet) {
                Ok(plan) => plan,
                Err(why) => {
                    counters.count(why);
                    continue;
                }
            };
            let target = if number + 1 == count { original.take() } else { copy(driver, from, packet) };
            let Some(target) = target else {
                counters.count(Drop::NoBuffer);
                continue;
            };
            let Some(leg) = legs.get_mut(output.to.leg) else {
                driver.release(target);
                continue;
            };
            match write(now, leg, output, &plan, driver.bytes(&target), packet) {
                Ok((start, len)) => {
                    keep_ciphertext(
                        leg,
                        output.to.mline,
                        slab,
                        plan.index,
                        driver.bytes(&target),
                        start..start + len,
                    );
                    driver.send(plan.socket, plan.remote, target, start, len);
                    counters.add(Work::Forwarded, 1);
                }
                Err(why) => {
                    counters.count(why);
                    driver.release(target);
                }
            }
        }
        if let Some(buffer) = original {
            driver.release(buffer);
        }
    }

    /// Copies a decrypted packet into another worker's ring.
    fn send_across(&mut self, worker: u8, source: StreamRef, buffer: &Buffer, packet: &Placed) {
        let bytes = self.driver.bytes(buffer).get(packet.start..packet.start + packet.len);
        let (Some(bytes), Some(Some(ring))) = (bytes, self.cross.to.get_mut(usize::from(worker))) else {
            return self.counters.count(Drop::ReplicaGone);
        };
        let mut slot = [0; CROSS_BYTES];
        let Some(room) = slot.get_mut(..bytes.len()) else { return self.counters.count(Drop::ReplicaFull) };
        room.copy_from_slice(bytes);
        let message = Cross::Packet {
            source,
            ssrc: packet.ssrc,
            index: packet.index,
            len: packet.len as u16,
            bytes: slot,
        };
        match ring.push(message) {
            Ok(()) => {
                self.counters.add(Work::Replicated, 1);
                self.cross.told.insert(worker);
            }
            Err(_) => self.counters.count(Drop::ReplicaFull),
        }
    }
}

/// Decides whether and how a packet goes to an output.
fn plan(
    now: Time,
    source: StreamRef,
    output: &RouteOutput,
    legs: &mut LegTable,
    locals: &[SocketKey],
    bytes: &[u8],
    packet: &Placed,
) -> Result<Plan, Drop> {
    let packet_view =
        Packet::at(bytes, packet.start..packet.start + packet.len).map_err(|_| Drop::RtpMalformed)?;
    let header = packet_view.header();
    let leg =
        legs.get_mut(output.to.leg).filter(|leg| leg.up && leg.closing.is_none()).ok_or(Drop::OutputGone)?;
    let path = leg.rtp_path(locals);
    let stream = leg.streams.get_mut(usize::from(output.to.mline)).ok_or(Drop::OutputGone)?;
    if !output.open || !stream.send {
        stream.output.rewriter.pause();
        return Err(Drop::GateShut);
    }
    let payload_type = output.payload_type(header.payload_type).ok_or(Drop::PayloadType)?;
    let (socket, remote) = path.ok_or(Drop::NoDestination)?;
    let incoming = Incoming { ssrc: packet.ssrc, index: packet.index, timestamp: header.timestamp };
    let outgoing = stream.output.rewriter.forward(incoming, now).map_err(|_| Drop::RewriteRefused)?;
    stream.output.feed = Some(source);
    Ok(Plan { socket, remote, payload_type, index: outgoing.index, timestamp: outgoing.timestamp })
}

/// A copy of the packet, at its place, in a buffer of the arena.
fn copy<D: Driver>(driver: &mut D, from: &Buffer, packet: &Placed) -> Option<Buffer> {
    let to = driver.allocate()?;
    let (source, target) = driver.bytes_pair(from, &to);
    let range = packet.start..packet.start + packet.len;
    if let (Some(source), Some(target)) = (source.get(range.clone()), target.get_mut(range)) {
        target.copy_from_slice(source);
    }
    Some(to)
}

/// Writes the outgoing header and protects the packet. Gives its place.
fn write(
    now: Time,
    leg: &mut Leg,
    output: &RouteOutput,
    plan: &Plan,
    bytes: &mut [u8],
    packet: &Placed,
) -> Result<(usize, usize), Drop> {
    let mline = usize::from(output.to.mline);
    let range =
        write_header(now, leg, output, plan.payload_type, bytes, packet.start..packet.start + packet.len)?;
    let stream = leg.streams.get_mut(mline).ok_or(Drop::OutputGone)?;
    let view = bytes.get_mut(range.clone()).ok_or(Drop::NoHeadroom)?;
    let mut view = Packet::parse(view).map_err(|_| Drop::RtpMalformed)?;
    view.set_sequence(plan.index as u16);
    view.set_timestamp(plan.timestamp);
    view.set_ssrc(stream.local_ssrc);
    stream.output.statistics.on_packet(plan.timestamp, view.payload().len(), now);
    stream.shared.add(Word::OutPackets, 1);
    stream.shared.add(Word::OutBytes, range.len() as u64);
    protect(leg, bytes, range)
}

/// Keeps a packet as it is sent, where it can only be sent again as it is.
fn keep_ciphertext(
    leg: &mut Leg,
    mline: u8,
    slab: &mut HistorySlab,
    index: u64,
    bytes: &[u8],
    range: std::ops::Range<usize>,
) {
    if let Crypto::Srtp(_) = leg.crypto
        && let Some(stream) = leg.streams.get_mut(usize::from(mline))
        && let Some(history) = &mut stream.output.ciphertext
        && let Some(packet) = bytes.get(range)
    {
        history.store(slab, index, packet);
    }
}

/// Rewrites header extensions and payload type for an output.
pub(super) fn write_header(
    now: Time,
    leg: &mut Leg,
    output: &RouteOutput,
    payload_type: u8,
    bytes: &mut [u8],
    range: std::ops::Range<usize>,
) -> Result<std::ops::Range<usize>, Drop> {
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
    let range = edit_extensions(bytes, range, &output.extensions, set).map_err(|_| Drop::NoHeadroom)?;
    if ids.transport_cc != 0 {
        leg.transport_sequence = leg.transport_sequence.wrapping_add(1);
    }
    let view = bytes.get_mut(range.clone()).ok_or(Drop::NoHeadroom)?;
    let mut view = Packet::parse(view).map_err(|_| Drop::RtpMalformed)?;
    view.set_payload_type(payload_type);
    Ok(range)
}

/// Protects what stands at `range` with the leg's key, and gives the place of the result.
pub(super) fn protect(
    leg: &mut Leg,
    bytes: &mut [u8],
    range: std::ops::Range<usize>,
) -> Result<(usize, usize), Drop> {
    let len = match &mut leg.crypto {
        Crypto::Plain => range.len(),
        Crypto::Waiting => return Err(Drop::OutputGone),
        Crypto::Srtp(keys) => {
            let room = bytes.get_mut(range.start..).ok_or(Drop::NoHeadroom)?;
            keys.outbound.protect_rtp(room, range.len()).map_err(|_| Drop::SrtpProtect)?
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
