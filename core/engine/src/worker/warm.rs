//! Asks for the state of the next packets' legs before they are worked on.
//!
//! With a thousand legs nothing of a leg is in the cache when its packet comes: it was last used 20 ms ago.
//! Worked on one packet after the other, each miss waits for the one before it: the leg's address, the leg,
//! its stream, the route, the output's leg, its stream. Here a group of packets goes that way together, step by
//! step, so that the misses of one step are waited for at once. Nothing is changed.
//!
//! Where nothing but consent checks comes, a leg's media are not asked for.

use super::{Worker, timer};
use crate::driver::prefetch::{all, first, line};
use crate::driver::{Driver, Received};
use crate::leg::{Crypto, Leg, LegTable, RouteOutput, Transport};
use crate::message::SocketTag;

/// Packets that go together. What they need has to stay in the first cache until they are worked on.
const GROUP: usize = 16;
/// A smaller group is not worth it.
const GROUP_MIN: usize = 2;

impl<D: Driver> Worker<D> {
    /// Asks for what the next packets of the batch need. Gives how many of them there are.
    pub(super) fn warm(&self) -> usize {
        let next = self.batch.get(self.batch.len().saturating_sub(GROUP)..).unwrap_or_default();
        if next.len() < GROUP_MIN {
            return next.len();
        }
        let mut slots = [None; GROUP];
        next.iter().for_each(|received| self.ask_flow(received));
        for (slot, received) in slots.iter_mut().zip(next) {
            *slot = self.slot_of(received);
            slot.iter().for_each(|slot| self.legs.ask(*slot));
        }
        let legs = slots.map(|slot| slot.and_then(|slot| self.legs.at(slot)));
        if self.coalescing.is_quiet() {
            legs.iter().flatten().for_each(|leg| leg.ask_transport());
            legs.iter().flatten().for_each(|leg| ask_agent(leg));
            return next.len();
        }
        legs.iter().flatten().for_each(|leg| leg.ask());
        let streams = legs.map(|leg| leg.and_then(|leg| leg.streams.first()));
        for (leg, stream) in legs.iter().flatten().zip(streams.iter()) {
            ask_incoming(leg);
            stream.iter().for_each(|stream| stream.ask_input());
        }
        for stream in streams.iter().flatten() {
            first(&*stream.shared);
            stream.ask_payload();
            stream.route.iter().for_each(|route| first(&**route));
        }
        let routes = streams.map(|stream| stream.and_then(|stream| stream.route.as_deref()));
        for route in routes.iter().flatten() {
            route.outputs.first().iter().for_each(|output| all(*output));
        }
        let targets =
            routes.map(|route| route.and_then(|route| route.outputs.first()).map(|output| output.to));
        targets.iter().flatten().for_each(|to| self.legs.ask(to.leg.slot()));
        let legs = targets.map(|to| to.and_then(|to| self.legs.at(to.leg.slot())));
        legs.iter().flatten().for_each(|leg| leg.ask());
        let streams = legs.map(|leg| leg.and_then(|leg| leg.streams.first()));
        for (leg, stream) in legs.iter().flatten().zip(streams.iter()) {
            ask_outgoing(leg);
            stream.iter().for_each(|stream| stream.ask_output());
        }
        for stream in streams.iter().flatten() {
            first(&*stream.shared);
        }
        next.len()
    }

    /// Asks for what the timers that have expired need.
    pub(super) fn warm_timers(&self) {
        if self.due.len() < GROUP_MIN {
            return;
        }
        let mut legs = [None; timer::GROUP];
        for (leg, key) in legs.iter_mut().zip(&self.due) {
            // Those of media are few.
            *leg = self.legs.at(*key);
        }
        legs.iter().flatten().for_each(|leg| leg.ask_transport());
        legs.iter().flatten().for_each(|leg| ask_agent(leg));
    }

    fn ask_flow(&self, received: &Received) {
        match SocketTag::decode(received.tag) {
            SocketTag::Shared(local) => self.flows.ask(local, received.source),
            SocketTag::SharedRtp(number) => self.shared_rtp.ask(number, received.source),
            SocketTag::Rtp(_) | SocketTag::Rtcp(_) => {}
        }
    }

    fn slot_of(&self, received: &Received) -> Option<u32> {
        match SocketTag::decode(received.tag) {
            SocketTag::Shared(local) => self.flows.get(local, received.source),
            SocketTag::SharedRtp(number) => self.shared_rtp.get(number, received.source),
            SocketTag::Rtp(id) | SocketTag::Rtcp(id) => Some(id.slot()),
        }
    }
}

/// Asks for the state of the outputs that come next, of each for what the step before has brought.
#[inline]
pub(super) fn ask_ahead(legs: &LegTable, next: &[RouteOutput]) {
    let at = |place: usize| next.get(place).and_then(|output| legs.at(output.to.leg.slot()));
    if let Some(output) = next.get(4) {
        legs.ask(output.to.leg.slot());
    }
    if let Some(leg) = at(3) {
        leg.ask();
    }
    if let Some(leg) = at(2) {
        ask_outgoing(leg);
        leg.streams.first().iter().for_each(|stream| stream.ask_output());
    }
    if let Some(stream) = at(1).and_then(|leg| leg.streams.first()) {
        first(&*stream.shared);
    }
}

fn ask_agent(leg: &Leg) {
    if let Transport::WebRtc(webrtc) = &leg.transport {
        all(&**webrtc);
    }
}

fn ask_incoming(leg: &Leg) {
    ask_addresses(leg);
    if let Crypto::Srtp(keys) = &leg.crypto {
        keys.ask_inbound(line);
    }
}

fn ask_outgoing(leg: &Leg) {
    ask_addresses(leg);
    if let Crypto::Srtp(keys) = &leg.crypto {
        keys.outbound.hot_lines(line);
    }
}

/// A phone's leg has its addresses in its transport, a browser's before it.
fn ask_addresses(leg: &Leg) {
    if let Transport::Rtp(rtp) = &leg.transport {
        rtp.ask();
    }
}
