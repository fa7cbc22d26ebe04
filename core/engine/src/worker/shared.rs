//! Several legs on one remote address: a peer that has one port for all its sessions.
//!
//! An address belongs to a leg, and what comes from it is that leg's. A second leg may join where the two
//! can be told apart, and nothing of the first becomes uncertain by it:
//!
//! - **RTP** goes to the leg whose SDP announces its SSRC, and that leg's key decides. Two that announce the
//!   same are both asked, so nobody can claim another's packets. So all legs that come to an address
//!   announce the SSRC of each m-line that they receive. One whose later SDP no longer does keeps its part:
//!   its key is tried on what no SDP has announced, and what that opens is known by its SSRC from then on.
//! - **RTCP** is tried in the same way; a receiver's SSRC need not be announced, so then all keys are tried.
//! - **DTLS** has nothing that names its association. Records of epoch 1 are authenticated: all legs get
//!   them, and one understands. Records of epoch 0 are for the one leg whose handshake is not over, so a leg
//!   joins only when that of all others is, which the peer has shown by use of the keys. Two handshakes at
//!   one time, as after a new SDP for a leg of a shared address, cannot be told apart: dropped and counted.

use std::net::SocketAddr;

use bifrons_rtc::Time;
use bifrons_wire::demux::Kind;

use super::Worker;
use super::receive::srtp_drop;
use crate::counter::{Drop, Work};
use crate::driver::{BUFFER_BYTES, Driver, Received};
use crate::id::LegId;
use crate::leg::Crypto;

/// Legs that one address may have.
const LEGS_MAX: usize = 8;
/// Shared addresses of a worker.
const ADDRESSES_MAX: usize = 256;
/// In the flow table, in the place of a leg's slot: the number of a shared address follows.
const SHARED: u32 = 1 << 31;

/// The shared addresses of a worker.
pub(super) struct SharedFlows(Vec<Members>);

/// Slots of the legs that have an address, in the order in which they came.
#[derive(Clone, Copy, Default)]
struct Members {
    slots: [u32; LEGS_MAX],
    len: usize,
}

impl SharedFlows {
    pub(super) fn new() -> Self {
        Self(vec![Members::default(); ADDRESSES_MAX])
    }

    /// Whether this entry of the flow table is a shared address, and the leg has a part in it.
    pub(super) fn holds(&self, entry: u32, slot: u32) -> bool {
        self.get(entry).is_some_and(|members| members.iter().any(|member| member == slot))
    }

    fn get(&self, entry: u32) -> Option<&Members> {
        self.0.get((entry ^ SHARED) as usize)
    }

    fn get_mut(&mut self, entry: u32) -> Option<&mut Members> {
        self.0.get_mut((entry ^ SHARED) as usize)
    }

    /// A new shared address; its entry for the flow table.
    fn insert(&mut self, members: Members) -> Option<u32> {
        let free = self.0.iter().position(|members| members.len == 0)?;
        *self.0.get_mut(free)? = members;
        Some(SHARED | free as u32)
    }

    fn free(&mut self, entry: u32) {
        if let Some(members) = self.get_mut(entry) {
            members.len = 0;
        }
    }
}

impl Members {
    fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        self.slots.into_iter().take(self.len)
    }

    fn push(&mut self, slot: u32) -> bool {
        let Some(place) = self.slots.get_mut(self.len) else { return false };
        *place = slot;
        self.len += 1;
        true
    }

    fn filter(&self, keep: impl Fn(u32) -> bool) -> Self {
        let mut kept = Self::default();
        self.iter().filter(|slot| keep(*slot)).all(|slot| kept.push(slot));
        kept
    }
}

impl<D: Driver> Worker<D> {
    /// Gives a leg an address that `owner` has in the flow table: beside it, or after it if it has ended.
    pub(super) fn share_flow(&mut self, id: LegId, socket: u8, remote: SocketAddr, owner: u32) -> bool {
        let slot = id.slot();
        if self.shared.holds(owner, slot) {
            return true;
        }
        let mut all = Members::default();
        match self.shared.get(owner) {
            Some(members) => all = *members,
            None => _ = all.push(owner),
        }
        let legs = &self.legs;
        let mut live = all.filter(|slot| legs.at(slot).is_some_and(|leg| !leg.ended));
        if live.len == 0 {
            self.shared.free(owner);
            return self.flows.replace(socket, remote, owner, slot);
        }
        let settled = live
            .iter()
            .all(|slot| legs.at(slot).is_some_and(|leg| leg.announces_ssrcs() && leg.dtls_settled()));
        let announced = legs.get(id).is_some_and(|leg| leg.announces_ssrcs());
        if !settled || !announced || !live.push(slot) {
            return false;
        }
        match self.shared.get_mut(owner) {
            Some(members) => *members = live,
            None => {
                let Some(entry) = self.shared.insert(live) else { return false };
                if !self.flows.replace(socket, remote, owner, entry) {
                    self.shared.free(entry);
                    return false;
                }
            }
        }
        self.counters.add(Work::AddressShared, 1);
        true
    }

    /// Takes an address away from a leg.
    pub(super) fn drop_flow(&mut self, socket: u8, remote: SocketAddr, slot: u32) {
        let Some(owner) = self.flows.get(socket, remote) else { return };
        let Some(members) = self.shared.get_mut(owner) else {
            return self.flows.remove(socket, remote, slot);
        };
        *members = members.filter(|member| member != slot);
        match (members.len, members.slots) {
            (0, _) => self.flows.remove(socket, remote, owner),
            (1, [last, ..]) => {
                self.shared.free(owner);
                self.flows.replace(socket, remote, owner, last);
            }
            _ => {}
        }
    }

    /// DTLS, RTP or RTCP from an address that is not one leg's alone.
    #[cold]
    pub(super) fn receive_shared(
        &mut self,
        now: Time,
        entry: u32,
        local: u8,
        received: Received,
        kind: Kind,
    ) {
        let Some(members) = self.shared.get(entry).copied() else {
            return self.drop_packet(received, Drop::UnknownSource);
        };
        let legs = &self.legs;
        let live = members.filter(|slot| legs.at(slot).is_some_and(|leg| !leg.ended));
        match kind {
            Kind::Dtls => self.shared_dtls(now, live, local, received),
            _ => self.shared_media(now, live, received, kind == Kind::Rtcp),
        }
    }

    fn shared_dtls(&mut self, now: Time, live: Members, local: u8, received: Received) {
        let bytes = self.driver.bytes(&received.buffer).get(received.start..received.start + received.len);
        // RFC 6347 §4.1: content type, version, epoch.
        let epoch = bytes.and_then(|bytes| bytes.get(3..5)).unwrap_or_default();
        let mut takers = live;
        if epoch == [0, 0] {
            let legs = &self.legs;
            takers = live.filter(|slot| legs.at(slot).is_some_and(|leg| !leg.dtls_settled()));
            if takers.len != 1 {
                return self.drop_packet(received, Drop::DtlsUndecided);
            }
        }
        let mut refused = None;
        for slot in takers.iter() {
            self.current = self.legs.at(slot).map(|leg| leg.id);
            match self.carry_dtls(now, slot, local, &received) {
                Ok(()) => takers.len = 0,
                Err(why) => refused = Some(why),
            }
        }
        // One that took it is enough.
        if let Some(why) = refused.filter(|_| takers.len > 0) {
            self.counters.count(why);
        }
        self.driver.release(received.buffer);
    }

    fn shared_media(&mut self, now: Time, live: Members, received: Received, rtcp: bool) {
        let Self { driver, legs, rooms, .. } = self;
        let end = received.start + received.len;
        let bytes = driver.bytes(&received.buffer).get_mut(received.start..end).unwrap_or_default();
        // RFC 3550 §5.1 and §6.4: both in clear (RFC 3711 §3).
        let at = if rtcp { 4 } else { 8 };
        let Some(ssrc) = bytes.get(at..).and_then(|bytes| bytes.first_chunk()) else {
            return self.drop_packet(received, Drop::NotMedia);
        };
        let ssrc = u32::from_be_bytes(*ssrc);
        let known = live.filter(|slot| legs.at(slot).is_some_and(|leg| leg.ssrc(ssrc).is_some()));
        let others = live.filter(|slot| {
            let tried = rtcp || legs.at(slot).is_some_and(|leg| !leg.announces_ssrcs());
            tried && known.iter().all(|known| known != slot)
        });

        let mut copy = [0; BUFFER_BYTES];
        let (mut opened, mut waiting, mut why) = (None, None, Drop::SharedSsrc);
        for slot in known.iter().chain(others.iter()) {
            let Some(leg) = legs.at_mut(slot) else { continue };
            self.current = Some(leg.id);
            let Crypto::Srtp(keys) = &mut leg.crypto else {
                waiting = waiting.or(Some(leg.id));
                continue;
            };
            // A try with the wrong key leaves nothing usable behind.
            let Some(copy) = copy.get_mut(..bytes.len()) else { continue };
            copy.copy_from_slice(bytes);
            match keys.unprotect(rooms, now, copy, rtcp) {
                Ok(len) => {
                    bytes.copy_from_slice(copy);
                    opened = Some((leg.id, len));
                    break;
                }
                Err(error) => why = srtp_drop(error),
            }
        }
        match (opened, waiting) {
            (Some((id, len)), _) if rtcp => self.receive_rtcp(now, id, received, len),
            (Some((id, len)), _) => self.receive_rtp(now, id, received, len),
            // Held until its keys are there.
            (None, Some(id)) => self.receive_media(now, id, received, rtcp),
            (None, None) => self.drop_packet(received, why),
        }
    }
}
