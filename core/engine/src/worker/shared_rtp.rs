//! RTP ports that legs share: whose packet it is, by the socket that it came to and its source.
//!
//! The control side knows all of this table, because only a peer's SDP changes it: it gives a source to one
//! leg at a time (`control/shared`). Here that is followed, in the order of its commands.

use std::net::SocketAddr;

use super::Worker;
use crate::config::SHARED_PORTS_MAX;
use crate::counter::{Counters, Drop};
use crate::driver::{Driver, SocketKey};
use crate::flow::FlowTable;
use crate::leg::{RtpPlan, SharedFlows};
use crate::message::{Report, SocketTag};

/// The shared RTP sockets of a worker, and the sources of its legs on them.
pub(super) struct SharedRtp {
    /// By number: RTP even, RTCP odd.
    sockets: Vec<Option<SocketKey>>,
    sources: FlowTable,
    sources_max: usize,
}

impl SharedRtp {
    /// Room for two sources a leg, if there will be shared ports at all.
    pub(super) fn new(wanted: bool, legs: usize) -> Self {
        // A pair in both address families.
        let sockets = if wanted { SHARED_PORTS_MAX * 4 } else { 0 };
        let sources_max = if wanted { legs * 2 } else { 0 };
        Self { sockets: vec![None; sockets], sources: FlowTable::new(sources_max), sources_max }
    }

    /// All legs are gone; the sockets stay.
    pub(super) fn forget_sources(&mut self) {
        self.sources = FlowTable::new(self.sources_max);
    }

    /// How many sources there are.
    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    /// The slot of the leg that a packet is for.
    pub(super) fn get(&self, number: u8, source: SocketAddr) -> Option<u32> {
        self.sources.get(number, source)
    }

    /// Asks the processor for the place of a source.
    pub(super) fn ask(&self, number: u8, source: SocketAddr) {
        self.sources.ask(number, source);
    }

    /// The sockets of a shared port: RTP, RTCP.
    pub(super) fn sockets(&self, number: u8) -> [Option<SocketKey>; 2] {
        [number, number + 1].map(|number| self.sockets.get(usize::from(number)).copied().flatten())
    }

    /// Takes a leg's sources from its new remote description. One without an address, a hold, leaves them.
    pub(super) fn follow(
        &mut self,
        shared: &mut SharedFlows,
        slot: u32,
        plan: &RtpPlan,
        counters: &Counters,
    ) {
        if plan.rtp.is_none() {
            return;
        }
        let wanted = [plan.rtp, plan.rtcp.filter(|_| !plan.mux)];
        if shared.sources == wanted {
            return;
        }
        self.leave(shared, slot);
        for (number, source) in (shared.number..).zip(wanted) {
            if let Some(source) = source
                && self.sources.insert(number, source, slot).is_err()
            {
                // The control side gives no source out twice, so this cannot be.
                counters.count(Drop::AddressTaken);
            }
        }
        shared.sources = wanted;
    }

    /// Takes all sources of a leg away.
    pub(super) fn leave(&mut self, shared: &SharedFlows, slot: u32) {
        for (number, source) in (shared.number..).zip(shared.sources) {
            if let Some(source) = source {
                self.sources.remove(number, source, slot);
            }
        }
    }
}

impl<D: Driver> Worker<D> {
    /// Takes the sockets of a shared port in.
    pub(super) fn open_shared_rtp(&mut self, number: u8, rtp: D::Socket, rtcp: D::Socket) {
        for (number, socket) in (number..).zip([rtp, rtcp]) {
            let tag = SocketTag::SharedRtp(number).encode();
            match self.driver.add_socket(socket, tag) {
                Ok(key) => {
                    if let Some(place) = self.shared_rtp.sockets.get_mut(usize::from(number)) {
                        *place = Some(key);
                    }
                }
                Err(socket) => self.report(Report::Socket(socket, tag)),
            }
        }
    }
}
