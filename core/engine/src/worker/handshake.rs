//! The worker's side of DTLS: it carries datagrams, installs keys and sends flights.

use bifrons_rtc::Time;

use super::Worker;
use crate::counter::{Drop, Work};
use crate::driver::{Driver, Received};
use crate::handshake::{FromHandshake, ToHandshake};
use crate::id::LegId;
use crate::leg::{Crypto, DtlsPhase, Keys, Transport};
use crate::message::{Garbage, Inline};

impl<D: Driver> Worker<D> {
    /// A DTLS datagram from an address in the flow table: carried if it came over the selected pair, or
    /// before there is one over any validated pair.
    pub(super) fn receive_dtls(&mut self, now: Time, slot: u32, local: u8, received: Received) {
        let why = self.carry_dtls(now, slot, local, &received).err();
        if let Some(why) = why {
            self.counters.count(why);
        }
        self.driver.release(received.buffer);
    }

    pub(super) fn carry_dtls(
        &mut self,
        now: Time,
        slot: u32,
        local: u8,
        received: &Received,
    ) -> Result<(), Drop> {
        let leg = self.legs.at_mut(slot).ok_or(Drop::UnknownSource)?;
        let Transport::WebRtc(webrtc) = &mut leg.transport else { return Err(Drop::DtlsUnexpected) };
        if !webrtc.takes_dtls_from(local, received.source) {
            return Err(Drop::DtlsNotSelected);
        }
        if webrtc.dtls == DtlsPhase::Idle || leg.ended {
            return Err(Drop::DtlsUnexpected);
        }
        if !webrtc.may_carry_dtls(now) {
            return Err(Drop::DtlsQueueFull);
        }
        let bytes = self.driver.bytes(&received.buffer);
        let bytes = bytes.get(received.start..received.start + received.len).unwrap_or_default();
        let datagram = Inline::new(bytes).ok_or(Drop::DtlsUnexpected)?;
        let message = ToHandshake::Datagram { leg: leg.id, datagram };
        self.handshake.to.push(message).map_err(|_| Drop::DtlsQueueFull)?;
        (self.handshake.wake)();
        self.coalescing.stir();
        self.counters.add(Work::Dtls, 1);
        Ok(())
    }

    /// Starts DTLS on a leg that has a validated pair, once its remote description is there.
    pub(super) fn start_dtls(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Transport::WebRtc(webrtc) = &mut leg.transport else { return };
        // What the peer answers would come to the leg that has the address.
        let waits = webrtc.flows.is_empty() && webrtc.wanted.is_some();
        if webrtc.start.is_none() || waits || webrtc.dtls_path().is_none() {
            return;
        }
        let Some(start) = webrtc.start.take() else { return };
        match self.handshake.to.push(ToHandshake::Start(start)) {
            Ok(()) => {
                webrtc.dtls = DtlsPhase::Started;
                (self.handshake.wake)();
            }
            Err(rtrb::PushError::Full(ToHandshake::Start(start))) => {
                // The leg's timer tries again.
                webrtc.start = Some(start);
                self.counters.count(Drop::DtlsQueueFull);
            }
            Err(_) => {}
        }
    }

    pub(super) fn take_handshakes(&mut self, now: Time) {
        while let Ok(message) = self.handshake.from.pop() {
            self.busy = true;
            self.coalescing.stir();
            match message {
                FromHandshake::Datagram { leg, datagram } => self.send_dtls(leg, datagram.bytes()),
                FromHandshake::Keys { leg, keys } => self.install_keys(now, leg, keys),
                FromHandshake::Ended { leg, why } => self.end_leg(leg, why),
                FromHandshake::Closed { leg } => {
                    if self.legs.get(leg).is_some_and(|leg| leg.closing.is_some()) {
                        self.remove_leg(leg);
                    }
                }
            }
        }
    }

    fn send_dtls(&mut self, id: LegId, datagram: &[u8]) {
        let path = self.legs.get(id).and_then(|leg| {
            let Transport::WebRtc(webrtc) = &leg.transport else { return None };
            let (socket, remote) = webrtc.dtls_path()?;
            Some((*self.locals.get(usize::from(socket))?, remote))
        });
        match path {
            Some((socket, remote)) => self.send_copy(socket, remote, datagram),
            None => self.counters.count(Drop::NoDestination),
        }
    }

    /// Puts keys in place, then lets through what was held back for them.
    fn install_keys(&mut self, now: Time, id: LegId, keys: Box<Keys>) {
        let Some(leg) = self.legs.get_mut(id) else { return self.free(Garbage::Keys(keys)) };
        if let Transport::WebRtc(webrtc) = &mut leg.transport {
            webrtc.dtls = DtlsPhase::Done;
        }
        leg.forget_ciphertext();
        match &mut leg.crypto {
            Crypto::Srtp(old) => {
                // A new DTLS session beside the old one.
                if let Some(older) = Keys::succeed(old, keys, now) {
                    self.free(Garbage::Keys(older));
                }
            }
            waiting => *waiting = Crypto::Srtp(keys),
        }
        self.leg_up(now, id);
        // In the order in which they came.
        let mut at = 0;
        while let Some(held) = self.held.get(at) {
            if held.leg == id {
                let held = self.held.remove(at);
                self.counters.add(Work::Held, 1);
                self.driver.take(&held.received.buffer);
                self.receive_media(now, id, held.received, false);
            } else {
                at += 1;
            }
        }
    }

    /// A leg is up once it has keys and a selected pair, whichever comes last; told for each DTLS session.
    pub(super) fn leg_up(&mut self, now: Time, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Transport::WebRtc(webrtc) = &leg.transport else { return };
        let ready = webrtc.dtls == DtlsPhase::Done && webrtc.agent.selected().is_some();
        if !ready || leg.ended || leg.closing.is_some() {
            return;
        }
        leg.up = true;
        leg.report_at = now + super::report::REPORT_FIRST;
        self.tell(id, |pending| pending.up = true);
        self.rearm(id.slot(), now);
    }

    /// Copies a datagram into the arena and sends it.
    pub(super) fn send_copy(
        &mut self,
        socket: crate::driver::SocketKey,
        remote: std::net::SocketAddr,
        datagram: &[u8],
    ) {
        send_copy(&mut self.driver, &self.counters, socket, remote, datagram);
    }
}

/// Copies a datagram into the arena and sends it.
pub(super) fn send_copy<D: Driver>(
    driver: &mut D,
    counters: &crate::counter::Counters,
    socket: crate::driver::SocketKey,
    remote: std::net::SocketAddr,
    datagram: &[u8],
) {
    let start = crate::driver::HEADROOM;
    let Some(buffer) = driver.allocate() else { return counters.count(Drop::NoBuffer) };
    match driver.bytes(&buffer).get_mut(start..start + datagram.len()) {
        Some(room) => room.copy_from_slice(datagram),
        None => {
            driver.release(buffer);
            return counters.count(Drop::NoHeadroom);
        }
    }
    driver.send(socket, remote, buffer, start, datagram.len());
}
