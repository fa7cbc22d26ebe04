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
use crate::leg::{FLOWS_MAX, Transport};
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
        let known = self.flows.get(local, received.source) == Some(id.slot());
        if !leg.budget.take_stun(now, self.stun_rate, known) {
            return Err(Drop::StunOverBudget);
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
        loop {
            let Some(leg) = self.legs.get_mut(id) else { return };
            let Transport::WebRtc(webrtc) = &mut leg.transport else { return };
            let Some(event) = webrtc.agent.poll_event() else { break };
            match event {
                Event::Validated { socket, remote } => {
                    self.add_flow(id, socket, remote);
                    self.start_dtls(id);
                }
                Event::Selected(pair) => {
                    self.add_flow(id, pair.socket, pair.remote);
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
        self.rearm(id.slot(), now);
    }

    /// Enters a validated address into the flow table, unless a leg with live consent has it.
    fn add_flow(&mut self, id: LegId, socket: u8, remote: SocketAddr) {
        let slot = id.slot();
        if let Err(owner) = self.flows.insert(socket, remote, slot) {
            let owner_lives = owner.and_then(|owner| self.legs.at(owner)).is_some_and(|leg| !leg.ended);
            let Some(owner) = owner.filter(|_| !owner_lives) else {
                self.counters.count(Drop::AddressTaken);
                return;
            };
            self.flows.remove(socket, remote, owner);
            if self.flows.insert(socket, remote, slot).is_err() {
                self.counters.count(Drop::AddressTaken);
                return;
            }
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Transport::WebRtc(webrtc) = &mut leg.transport else { return };
        if webrtc.flows.contains(&(socket, remote)) {
            return;
        }
        if webrtc.flows.len() >= FLOWS_MAX {
            // The oldest that is not in use makes room.
            let selected = webrtc.agent.selected().map(|pair| (pair.socket, pair.remote));
            let Some(at) = webrtc.flows.iter().position(|flow| Some(*flow) != selected) else { return };
            let (old_socket, old_remote) = webrtc.flows.remove(at);
            self.flows.remove(old_socket, old_remote, slot);
        }
        webrtc.flows.push((socket, remote));
    }
}

/// Longest STUN message that is read: the longest USERNAME is 513 octets, all else is less.
const STUN_BYTES_MAX: usize = 1_024;
