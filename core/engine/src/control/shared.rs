//! RTP ports that legs share: which there are, and which remote address is whose on them.
//!
//! A packet's leg is known by its local port and its source. So on one port a remote address belongs to one
//! leg. Where the remote end is known when a leg is opened, a port is chosen on which its addresses are free;
//! where it is not, because we offer, a port is named and the answer may still be refused.
//!
//! When a leg ends its addresses rest, as ports of one's own do. The peer may use one of them again before:
//! then another port is preferred; on the same port, which is the only one when we have offered it, packets
//! of the old call are known by their SSRC and dropped for a while.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bifrons_rtc::Time;

use super::admission::AdmissionCount;
use super::legs::LegKind;
use super::media::destinations;
use super::start::SHARED_BUFFER_BYTES;
use super::{BoundSocket, Engine};
use crate::flow::Key;
use crate::id::LegId;
use crate::leg::{Leg, RtpTransport, SharedFlows, Transport};
use crate::media::{Latching, MediaError, RtpLocal, RtpOpen, RtpRemote, RtpShared};
use crate::message::Command;

/// Addresses of a worker that rest. Beyond it the oldest are free at once.
const RESTING_MAX: usize = 65_536;

/// How long after a call's end its packets may still come. A peer that uses an address again has ended the call
/// that had it; so only the network can make them late. Longer would be wrong for peers that have one SSRC
/// for all calls.
const LATE_MAX: Duration = Duration::from_secs(2);

/// An SSRC whose packets are late, and until when.
type Late = Option<(u32, Time)>;

/// The shared ports of one worker.
#[derive(Default)]
pub(super) struct SharedPorts {
    /// By half their number.
    ports: Vec<Option<Port>>,
    /// Legs opened, by group: the next one begins its search one port further.
    opened: HashMap<u8, usize>,
    claims: Claims,
}

#[derive(Clone, Copy)]
struct Port {
    group: u8,
    /// Of its local address among those configured.
    position: usize,
    rtp: u16,
}

impl SharedPorts {
    /// The worker could not take a port in.
    pub(super) fn lost(&mut self, number: u8) {
        if let Some(port) = self.ports.get_mut(usize::from(number / 2)) {
            *port = None;
        }
    }

    /// Numbers and ports of a group on a local address, the one whose turn it is first. `None` stands for the
    /// one that is not open yet.
    fn candidates(&mut self, group: u8, position: usize, count: u8) -> Vec<Option<(u8, u16)>> {
        let open = self.ports.iter().zip((0..).step_by(2));
        let open = open.filter_map(|(port, number)| {
            let port = port.filter(|port| port.group == group && port.position == position)?;
            Some(Some((number, port.rtp)))
        });
        let mut ports: Vec<_> = open.take(count.into()).collect();
        let turn = self.opened.entry(group).or_default();
        *turn = turn.wrapping_add(1);
        let first = turn.wrapping_sub(1) % usize::from(count.max(1));
        if ports.len() < usize::from(count) {
            ports.push(None);
        }
        let length = ports.len();
        ports.rotate_left(first % length);
        ports
    }

    /// A number for a port that is opened now.
    fn add(&mut self, port: Port) -> Option<u8> {
        let at = match self.ports.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.ports.push(None);
                self.ports.len() - 1
            }
        };
        let number = u8::try_from(at * 2).ok()?;
        *self.ports.get_mut(at)? = Some(port);
        Some(number)
    }
}

impl<S: BoundSocket> Engine<S> {
    /// Opens a leg on shared ports of a worker.
    pub(super) fn open_shared_rtp_leg(
        &mut self,
        worker: u8,
        position: usize,
        open: &RtpOpen,
        shared: &RtpShared,
    ) -> Result<RtpLocal, MediaError> {
        self.room(worker, 2)?;
        let group = shared.group;
        let count = self.config.shared_ports.get(usize::from(group)).copied();
        let count = count.ok_or_else(|| MediaError::Invalid("shared: no such group of ports".to_owned()))?;
        let now = self.clock.now();
        let remote = shared.remote.as_ref();
        let wanted = |number| remote.map_or([None; 2], |remote| sources(number, remote));

        let handle = self.workers.get_mut(usize::from(worker)).ok_or(MediaError::NoSuchLeg)?;
        let mut candidates = handle.shared.candidates(group, position, count);
        candidates.retain(|candidate| candidate.is_none_or(|(_, port)| !shared.not.contains(&port)));
        let state = |candidate: &Option<(u8, u16)>| match candidate {
            None => State::Free,
            Some((number, _)) => handle.shared.claims.state(now, wanted(*number), None),
        };
        let mut failed = None;
        if !candidates.is_empty() {
            candidates.retain(|candidate| state(candidate) != State::Taken);
            candidates.sort_by_key(state);
            if candidates.is_empty() {
                failed = Some(self.refuse_address(remote));
            }
        }
        let mut chosen = None;
        for candidate in candidates {
            match candidate.map_or_else(|| self.open_shared_port(worker, group, position), Ok) {
                Ok(port) => {
                    chosen = Some(port);
                    break;
                }
                // Those that are open serve as long as no more can be had.
                Err(error) => failed = Some(error),
            }
        }
        let full = MediaError::Full("the group of shared RTP ports");
        let (number, port) = chosen.ok_or(failed.unwrap_or(full))?;
        let leg =
            self.take_slot(worker, LegKind::Rtp { keys: None, used: Vec::new(), shared: Some(number) })?;
        let until = self.rested(now);
        let handle = self.workers.get_mut(usize::from(worker)).ok_or(MediaError::NoSuchLeg)?;
        let late = handle.shared.claims.set(now, leg, wanted(number), until).unwrap_or(None);
        let mut transport = RtpTransport::new(Latching::Off, open.rtcp_mux);
        transport.shared = Some(SharedFlows::new(number, late));
        let boxed = Box::new(Leg::new(leg, Transport::Rtp(transport)));
        self.command(worker, Command::Open { leg: boxed, rtp: None, rtcp: None })?;
        let local = self.config.addresses.get(position).ok_or(MediaError::NoAddress)?;
        let told = local.advertised.unwrap_or(local.address);
        let rtcp = if open.rtcp_mux { port } else { port + 1 };
        Ok(RtpLocal { leg, rtp: SocketAddr::new(told, port), rtcp: SocketAddr::new(told, rtcp) })
    }

    fn open_shared_port(&mut self, worker: u8, group: u8, position: usize) -> Result<(u8, u16), MediaError> {
        let (port, rtp, rtcp) = self.bind_pair(worker, position, true, SHARED_BUFFER_BYTES)?;
        let Some(rtcp) = rtcp else { return Err(MediaError::NoAddress) };
        let handle = self.workers.get_mut(usize::from(worker)).ok_or(MediaError::NoSuchLeg)?;
        let number = handle.shared.add(Port { group, position, rtp: port });
        let number = number.ok_or(MediaError::Full("the worker's shared RTP ports"))?;
        self.admission.count(AdmissionCount::SharedPorts);
        self.command(worker, Command::OpenShared { number, rtp, rtcp })?;
        Ok((number, port))
    }

    /// Fails if another leg on the leg's shared port has these addresses.
    pub(super) fn check_shared(&self, leg: LegId, remote: &RtpRemote) -> Result<(), MediaError> {
        let Some(number) = self.shared_number(leg) else { return Ok(()) };
        let handle = self.workers.get(usize::from(leg.worker())).ok_or(MediaError::NoSuchLeg)?;
        match handle.shared.claims.state(self.clock.now(), sources(number, remote), Some(leg)) {
            State::Taken => Err(self.refuse_address(Some(remote))),
            State::Free | State::Rests => Ok(()),
        }
    }

    /// Gives a leg these addresses on its shared port, in place of those that it had. A hold, which names
    /// none, leaves it those.
    pub(super) fn claim_shared(&mut self, leg: LegId, remote: &RtpRemote) -> Result<Late, MediaError> {
        let Some(number) = self.shared_number(leg) else { return Ok(None) };
        let keys = sources(number, remote);
        if keys == [None; 2] {
            return Ok(None);
        }
        let now = self.clock.now();
        let until = self.rested(now);
        let handle = self.workers.get_mut(usize::from(leg.worker())).ok_or(MediaError::NoSuchLeg)?;
        handle.shared.claims.set(now, leg, keys, until).ok_or_else(|| self.refuse_address(Some(remote)))
    }

    /// The worker has let go of a leg, whose last packets had this SSRC.
    pub(super) fn shared_leg_gone(&mut self, leg: LegId, ssrc: Option<u32>) {
        let now = self.clock.now();
        let until = self.rested(now);
        let late = ssrc.map(|ssrc| (ssrc, until.min(now + LATE_MAX)));
        if let Some(handle) = self.workers.get_mut(usize::from(leg.worker())) {
            handle.shared.claims.gone(leg, late, until);
        }
    }

    fn shared_number(&self, leg: LegId) -> Option<u8> {
        match self.entry(leg)?.kind {
            LegKind::Rtp { shared, .. } => shared,
            _ => None,
        }
    }

    fn rested(&self, now: Time) -> Time {
        now + Duration::from_millis(self.config.rtp_port_rest_ms)
    }

    fn refuse_address(&self, remote: Option<&RtpRemote>) -> MediaError {
        self.admission.count(AdmissionCount::AddressTaken);
        let full = MediaError::Full("the group of shared RTP ports");
        remote.map_or(full, |remote| MediaError::AddressTaken(remote.rtp))
    }
}

/// What a leg with this remote end hears on its shared port: on the RTP socket, on the RTCP socket.
fn sources(number: u8, remote: &RtpRemote) -> [Option<Key>; 2] {
    let (rtp, rtcp) = destinations(remote);
    let rtcp = rtcp.filter(|_| !remote.rtcp_mux);
    [rtp.map(|rtp| Key::new(number, rtp)), rtcp.map(|rtcp| Key::new(number + 1, rtcp))]
}

/// Which leg has which address.
#[derive(Debug, Default)]
struct Claims {
    claims: HashMap<Key, Claim>,
    legs: HashMap<LegId, [Option<Key>; 2]>,
    /// In the order in which their rest ends.
    resting: VecDeque<(Time, Key)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Leg(LegId),
    Rests { until: Time, late: Late },
}

/// What a leg that wants some addresses finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Nobody has them.
    Free,
    /// Late packets of another leg may come from one of them.
    Rests,
    /// Another leg has one of them.
    Taken,
}

impl Claims {
    fn state(&self, now: Time, keys: [Option<Key>; 2], leg: Option<LegId>) -> State {
        let claims = || keys.iter().flatten().filter_map(|key| self.claims.get(key));
        if claims().any(|claim| matches!(claim, Claim::Leg(other) if Some(*other) != leg)) {
            return State::Taken;
        }
        match claims().any(|claim| matches!(claim, Claim::Rests { until, .. } if *until > now)) {
            true => State::Rests,
            false => State::Free,
        }
    }

    /// Gives a leg these addresses; those that it had and no longer has rest. Says which late packets may come
    /// from the first. `None`: another leg has one, and nothing has changed.
    fn set(&mut self, now: Time, leg: LegId, keys: [Option<Key>; 2], until: Time) -> Option<Late> {
        self.prune(now);
        if self.state(now, keys, Some(leg)) == State::Taken {
            return None;
        }
        let before = self.legs.insert(leg, keys).unwrap_or_default();
        for key in before.into_iter().flatten().filter(|key| !keys.contains(&Some(*key))) {
            self.rest(key, None, until);
        }
        let mut late = None;
        for (index, key) in keys.into_iter().enumerate() {
            let Some(key) = key else { continue };
            if let Some(Claim::Rests { late: rests, .. }) = self.claims.insert(key, Claim::Leg(leg))
                && index == 0
            {
                late = rests.filter(|(_, until)| *until > now);
            }
        }
        Some(late)
    }

    /// A leg is gone: its addresses rest.
    fn gone(&mut self, leg: LegId, late: Late, until: Time) {
        for key in self.legs.remove(&leg).into_iter().flatten().flatten() {
            self.rest(key, late, until);
        }
    }

    fn rest(&mut self, key: Key, late: Late, until: Time) {
        self.claims.insert(key, Claim::Rests { until, late });
        self.resting.push_back((until, key));
        if self.resting.len() > RESTING_MAX {
            self.end_oldest();
        }
    }

    fn prune(&mut self, now: Time) {
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            self.end_oldest();
        }
    }

    fn end_oldest(&mut self) {
        let Some((until, key)) = self.resting.pop_front() else { return };
        // It may have a leg by now, or have got a new rest since.
        if matches!(self.claims.get(&key), Some(Claim::Rests { until: until_now, .. }) if *until_now == until)
        {
            self.claims.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::FlowTable;

    fn key(port: u16) -> Option<Key> {
        Some(Key::new(0, SocketAddr::from(([10, 0, 0, 7], port))))
    }

    fn leg(slot: u32) -> LegId {
        LegId::new(0, slot, 1)
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn an_address_has_one_leg_and_rests_after_it() {
        let mut claims = Claims::default();
        assert_eq!(claims.set(at(0), leg(1), [key(1), key(2)], at(10)), Some(None));
        assert_eq!(claims.set(at(0), leg(2), [key(3), key(2)], at(10)), None, "its RTCP is another's");
        assert_eq!(claims.set(at(0), leg(2), [key(3), None], at(10)), Some(None), "nothing had changed");
        claims.gone(leg(1), Some((77, at(10))), at(10));
        assert_eq!(claims.state(at(9), [key(1), None], None), State::Rests);
        assert_eq!(claims.state(at(10), [key(1), None], None), State::Free);
        assert_eq!(claims.set(at(9), leg(4), [key(1), None], at(19)), Some(Some((77, at(10)))));
        assert_eq!(claims.set(at(9), leg(4), [key(5), None], at(19)), Some(None), "it moves");
        assert_eq!(claims.set(at(12), leg(5), [key(1), None], at(22)), Some(None), "whose SSRC nobody knows");
        claims.gone(leg(2), None, at(22));
        claims.gone(leg(4), None, at(22));
        claims.gone(leg(5), None, at(22));
        claims.prune(at(22));
        assert_eq!((claims.claims.len(), claims.legs.len(), claims.resting.len()), (0, 0, 0));
    }

    #[test]
    fn ports_are_used_in_turn_and_opened_as_they_are_needed() {
        let mut ports = SharedPorts::default();
        assert_eq!(ports.candidates(0, 0, 2), [None]);
        assert_eq!(ports.add(Port { group: 0, position: 0, rtp: 100 }), Some(0));
        assert_eq!(ports.add(Port { group: 1, position: 0, rtp: 200 }), Some(2));
        assert_eq!(ports.candidates(0, 0, 2), [None, Some((0, 100))]);
        assert_eq!(ports.add(Port { group: 0, position: 0, rtp: 300 }), Some(4));
        assert_eq!(ports.candidates(0, 0, 2), [Some((0, 100)), Some((4, 300))]);
        assert_eq!(ports.candidates(0, 0, 2), [Some((4, 300)), Some((0, 100))]);
        assert_eq!(ports.candidates(0, 1, 2), [None], "another address");
        ports.lost(0);
        assert_eq!(ports.add(Port { group: 0, position: 1, rtp: 400 }), Some(0));
    }

    proptest! {
        /// What the control side claims is what the worker's table gets: each source has one leg, and a claim
        /// that succeeded always finds its place.
        #[test]
        fn the_workers_table_follows(
            ops in proptest::collection::vec((0u32..6, 0u16..8, 0u16..8, 0u8..4), 0..300),
        ) {
            let mut claims = Claims::default();
            let mut table = FlowTable::new(12);
            let mut now = 0;
            let address = |port| SocketAddr::from(([10, 0, 0, 7], port));
            let mut held: HashMap<u32, [Option<u16>; 2]> = HashMap::new();
            for (slot, rtp, rtcp, what) in ops {
                now += 1;
                let before = held.get(&slot).copied().unwrap_or_default();
                let leave = |table: &mut FlowTable| for (number, port) in (0..).zip(before) {
                    if let Some(port) = port {
                        table.remove(number, address(port), slot);
                    }
                };
                if what == 0 {
                    claims.gone(leg(slot), Some((slot, at(now + 2))), at(now + 5));
                    leave(&mut table);
                    held.remove(&slot);
                    continue;
                }
                let wanted = [Some(rtp), (what > 1).then_some(rtcp)];
                let keys = [0, 1].map(|index| {
                    wanted[index].map(|port| Key::new(index as u8, address(port)))
                });
                let clash = held.iter().any(|(other, has)| {
                    *other != slot && (0..2).any(|i| has[i].is_some() && has[i] == wanted[i])
                });
                let claimed = claims.set(at(now), leg(slot), keys, at(now + 5));
                prop_assert_eq!(claimed.is_none(), clash);
                if clash {
                    continue;
                }
                leave(&mut table);
                for (number, port) in (0..).zip(wanted) {
                    if let Some(port) = port {
                        prop_assert_eq!(table.insert(number, address(port), slot), Ok(()));
                    }
                }
                held.insert(slot, wanted);
            }
            for number in 0..2u8 {
                for port in 0..8 {
                    let owner = held.iter().find(|(_, has)| has[usize::from(number)] == Some(port));
                    prop_assert_eq!(table.get(number, address(port)), owner.map(|(slot, _)| *slot));
                }
            }
        }
    }
}
