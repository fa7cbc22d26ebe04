//! Reads the state of a batch's legs before the batch is worked on.
//!
//! With a thousand legs nothing of a leg is in the cache when its packet comes: it was last used 20 ms
//! ago. Worked on one packet after the other, each miss waits for the one before it. Here the packets
//! do not depend on each other, so the processor waits for several at once.

use std::hint::black_box;

use super::Worker;
use crate::driver::{Driver, Received};
use crate::leg::{Crypto, Leg, Transport, Word};
use crate::message::SocketTag;

/// A smaller batch is not worth a second look-up.
const BATCH_MIN: usize = 3;

impl<D: Driver> Worker<D> {
    /// Touches what the packets of the batch will need. Changes nothing.
    pub(super) fn warm(&self) {
        if self.batch.len() >= BATCH_MIN {
            let sum = self.batch.iter().fold(0, |sum: u64, received| sum.wrapping_add(self.touch(received)));
            black_box(sum);
        }
    }

    fn touch(&self, received: &Received) -> u64 {
        let leg = match SocketTag::decode(received.tag) {
            SocketTag::Shared(local) => {
                self.flows.get(local, received.source).and_then(|slot| self.legs.at(slot))
            }
            SocketTag::Rtp(id) | SocketTag::Rtcp(id) => self.legs.get(id),
        };
        let Some(leg) = leg else { return 0 };
        let mut sum = touch_leg(leg, false);
        let route = leg.streams.first().and_then(|stream| stream.route.as_deref());
        if let Some(output) = route.and_then(|route| route.outputs.first())
            && let Some(leg) = self.legs.get(output.to.leg)
        {
            sum = sum.wrapping_add(u64::from(output.open)).wrapping_add(touch_leg(leg, true));
        }
        sum
    }
}

fn touch_leg(leg: &Leg, sends: bool) -> u64 {
    let mut sum = u64::from(leg.up);
    if let Crypto::Srtp(keys) = &leg.crypto {
        sum = sum.wrapping_add(match sends {
            true => keys.outbound.counters().rtp_packets,
            false => keys.inbound.counters().rtp_packets,
        });
    }
    if let Some(stream) = leg.streams.first() {
        sum = sum.wrapping_add(match sends {
            true => u64::from(stream.output.rtx_sequence).wrapping_add(stream.shared.get(Word::OutPackets)),
            false => stream.input.statistics.packets.wrapping_add(stream.input.last_at.as_nanos()),
        });
    }
    if sends && let Transport::WebRtc(webrtc) = &leg.transport {
        sum = sum.wrapping_add(u64::from(webrtc.agent.selected().is_some()));
    }
    sum
}
