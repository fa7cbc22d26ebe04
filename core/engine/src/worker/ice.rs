//! The worker's side of ICE: where STUN goes, what agents send, and which addresses become flows.

use std::net::SocketAddr;

use bifrons_rtc::Time;
use bifrons_rtc::ice::{Event, Outcome, Sink, State, id::leg_token};
use bifrons_wire::stun::Message;

use super::Worker;
use super::handshake::send_copy;
use crate::counter::{Counters, Drop, Work};
use crate::driver::{Driver, Received, SocketKey};
use crate::id::LegId;
use crate::leg::{FLOWS_MAX, Transport, WANTED_WAIT, WantedFlow};
use crate::media::LegEnd;

/// An agent's way out: each datagram is copied into the send arena.
pub(super) struct IceSink<'a, D: Driver> {
    pub driver: &'a mut D,
    pub locals: &'a [SocketKey],
    pub counters: &'a Counters,
}

impl<D: Driver> Sink for IceSink<'_, D> {
    fn send(&mut self, socket: u8, destination: SocketAddr, datagram: &[u8]) {
        match self.locals.get(usize::from(socket)) {
            Some(socket) => send_copy(self.driver, self.counters, *socket, destination, datagram),
            None => self.counters.count(Drop::NoDestination),
        }
    }
}

/// The 32 bits that a ufrag and a transaction id carry: slot and the low bits of the generation.
pub(crate) fn ice_token(id: LegId) -> u32 {
    id.slot() | (id.generation() & 0xfff) << 20
}

impl<D: Driver> Worker<D> {
    /// STUN on a shared socket. It is never looked up by address.
    pub(super) fn receive_stun(&mut self, now: Time, local: u8, received: Received) {
        if let Err(why) = self.stun(now, local, &received) {
            self.counters.count(why);
        }
        self.driver.release(received.buffer);
    }

    fn stun(&mut self, now: Time, local: u8, received: &Received) -> Result<(), Drop> {
        // A message is at most as long as ICE needs; it is copied so that the agent can send from the
        // same driver while it reads.
        let mut copy = [0u8; STUN_BYTES_MAX];
        let bytes = self.driver.bytes(&received.buffer);
        let bytes = bytes.get(received.start..received.start + received.len).ok_or(Drop::StunMalformed)?;
        let copy = copy.get_mut(..bytes.len()).ok_or(Drop::StunMalformed)?;
        copy.copy_from_slice(bytes);
        let message = Message::parse(copy).map_err(|_| Drop::StunMalformed)?;
        let token = leg_token(&message, &self.transaction_ids).ok_or(Drop::StunNoLeg)?;
        let leg = self.legs.at_mut(token & 0xf_ffff).ok_or(Drop::StunNoLeg)?;
        let id = leg.id;
        if ice_token(id) != token || leg.ended || leg.closing.is_some() {
            return Err(Drop::StunNoLeg);
        }
        self.current = Some(id);
        let owner = self.flows.get(local, received.source);
        let known = owner.is_some_and(|owner| owner == id.slot() || self.shared.holds(owner, id.slot()));
        if !leg.take_stun(now, self.stun_rate, known) {
            return Err(Drop::StunOverBudget);
        }
        if !(known && leg.up) {
            self.coalescing.stir();
        }
        let Transport::WebRtc(webrtc) = &mut leg.transport else { return Err(Drop::StunNoLeg) };
        let mut sink = IceSink { driver: &mut self.driver, locals: &self.locals, counters: &self.counters };
        let outcome = webrtc.agent.handle_stun(now, local, received.source, &message, &mut sink);
        self.counters.add(Work::Stun, 1);
        if outcome == Outcome::Dropped {
            return Err(Drop::StunRefused);
        }
        self.after_ice(now, id);
        Ok(())
    }

    /// After anything that an agent did: its events, and its next deadline.
    pub(super) fn after_ice(&mut self, now: Time, id: LegId) {
        if let Some(leg) = self.legs.get_mut(id) {
            leg.renew_path(&self.locals);
        }
        loop {
            let Some(leg) = self.legs.get_mut(id) else { return };
            let Transport::WebRtc(webrtc) = &mut leg.transport else { return };
            let Some(event) = webrtc.agent.poll_event() else { break };
            match event {
                Event::Validated { socket, remote } => {
                    self.add_flow(now, id, socket, remote);
                    self.start_dtls(id);
                }
                Event::Selected(pair) => {
                    self.add_flow(now, id, pair.socket, pair.remote);
                    self.tell(id, |pending| pending.selected = Some((pair.local, pair.remote)));
                    self.start_dtls(id);
                    if self.legs.get(id).is_some_and(|leg| !leg.up) {
                        self.leg_up(now, id);
                    }
                }
                Event::State(State::Disconnected) => self.tell(id, |pending| pending.disconnected = true),
                Event::State(State::Failed) => {
                    let had_flows = !webrtc.flows.is_empty();
                    self.end_leg(id, if had_flows { LegEnd::ConsentExpired } else { LegEnd::IceFailed });
                }
                Event::State(State::Connected) => {
                    // Also the way back from disconnected: the pair is told again.
                    if let Some(path) = leg.selected_path() {
                        self.tell(id, |pending| pending.selected = Some(path));
                    }
                }
                Event::State(State::Checking) => {}
            }
        }
        self.rearm_transport(id.slot(), now);
    }

    /// Enters a validated address into the flow table, unless a leg with live consent has it that cannot
    /// share it. Then it is wanted for a while.
    fn add_flow(&mut self, now: Time, id: LegId, socket: u8, remote: SocketAddr) {
        let slot = id.slot();
        let owner = self.flows.insert(socket, remote, slot).err();
        let refused = match owner {
            Some(Some(owner)) => !self.share_flow(id, socket, remote, owner),
            Some(None) => true,
            None => false,
        };
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Transport::WebRtc(webrtc) = &mut leg.transport else { return };
        let wanted = webrtc.wanted.take_if(|wanted| wanted.flow == (socket, remote));
        if refused {
            if wanted.is_none() {
                self.counters.count(Drop::AddressTaken);
            }
            let until = wanted.map_or(now + WANTED_WAIT, |wanted| wanted.until);
            if owner.flatten().is_some() && now < until {
                webrtc.wanted = Some(WantedFlow { flow: (socket, remote), until });
            }
            return;
        }
        if webrtc.flows.contains(&(socket, remote)) {
            return;
        }
        if webrtc.flows.len() >= FLOWS_MAX {
            // The oldest that is not in use makes room.
            let selected = webrtc.agent.selected().map(|pair| (pair.socket, pair.remote));
            let Some(at) = webrtc.flows.iter().position(|flow| Some(*flow) != selected) else { return };
            let (old_socket, old_remote) = webrtc.flows.remove(at);
            webrtc.flows.push((socket, remote));
            return self.drop_flow(old_socket, old_remote, slot);
        }
        webrtc.flows.push((socket, remote));
    }

    /// Asks again for an address that another leg had.
    pub(super) fn retry_flow(&mut self, now: Time, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Transport::WebRtc(webrtc) = &mut leg.transport else { return };
        let Some(WantedFlow { flow: (socket, remote), .. }) = webrtc.wanted else { return };
        // Only while the agent stands by it.
        if webrtc.agent.selected().is_some_and(|pair| (pair.socket, pair.remote) != (socket, remote)) {
            webrtc.wanted = None;
            return;
        }
        self.add_flow(now, id, socket, remote);
    }
}

/// Longest STUN message that is read: the longest USERNAME is 513 octets, all else is less.
const STUN_BYTES_MAX: usize = 1_024;
