//! What a worker counts: every reason to drop a packet, and the worker's own health.
//!
//! One writer (the worker), any number of readers: relaxed load and store, which are plain moves.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The counter's name as operators see it.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

pub(crate) use counters;

counters! {
    /// Why a packet (or a request to the worker) was dropped.
    Drop {
        /// Neither STUN, DTLS, RTP nor RTCP by its first bytes (RFC 7983).
        NotMedia = "not_media",
        /// RTP, RTCP or DTLS from an address that no leg has validated, or that no SDP of a shared RTP port names.
        UnknownSource = "unknown_source",
        /// A STUN message that does not parse.
        StunMalformed = "stun_malformed",
        /// A STUN message whose ufrag or transaction id names no leg.
        StunNoLeg = "stun_no_leg",
        /// A STUN message that the leg's agent refused (integrity, source, role, limits).
        StunRefused = "stun_refused",
        /// An address that another leg with live consent owns, and that cannot be shared with it (yet).
        AddressTaken = "address_taken",
        /// RTP from an address of several legs, with an SSRC that none of them has announced.
        SharedSsrc = "shared_ssrc",
        /// DTLS of a handshake from an address of several legs, none or more than one of which awaits it.
        DtlsUndecided = "dtls_undecided",
        /// DTLS from another than the selected pair, or than a validated one before there is that.
        DtlsNotSelected = "dtls_not_selected",
        /// DTLS that the leg does not expect: no remote description yet, or not DTLS by its header.
        DtlsUnexpected = "dtls_unexpected",
        /// The leg's or the handshake thread's datagram queue was full.
        DtlsQueueFull = "dtls_queue_full",
        /// Media on a leg whose keys are not there, beyond what is held back.
        NoKeys = "no_keys",
        /// SRTP or SRTCP that did not authenticate.
        SrtpAuth = "srtp_auth",
        /// SRTP or SRTCP seen before, or too old.
        SrtpReplay = "srtp_replay",
        /// SRTP that cannot be processed for another reason (malformed, too many SSRCs).
        SrtpOther = "srtp_other",
        /// Protecting an outgoing packet was refused (index used before, or no room).
        SrtpProtect = "srtp_protect",
        /// SRTP or SRTCP, in or out, of one SSRC more than the leg has room for, when the worker had no room in
        /// store.
        SrtpRoom = "srtp_room",
        /// An RTP header that does not parse.
        RtpMalformed = "rtp_malformed",
        /// An RTCP packet that does not parse.
        RtcpMalformed = "rtcp_malformed",
        /// RTP that no m-line of the leg takes.
        NoStream = "no_stream",
        /// An m-line that does not receive.
        NotReceiving = "not_receiving",
        /// A packet the stream had already.
        Duplicate = "duplicate",
        /// A stream without a route.
        NoRoute = "no_route",
        /// An output that is shut.
        GateShut = "gate_shut",
        /// A payload type that the output does not take.
        PayloadType = "payload_type",
        /// An output whose leg or stream is gone or not up yet.
        OutputGone = "output_gone",
        /// A rewrite that would repeat or turn back an index.
        RewriteRefused = "rewrite_refused",
        /// A header that does not fit before the payload.
        NoHeadroom = "no_headroom",
        /// No buffer in the send arena.
        NoBuffer = "no_buffer",
        /// Nowhere to send to: no pair, no remote address.
        NoDestination = "no_destination",
        /// Plain RTP from a source that the latching rule does not allow.
        SourceRefused = "source_refused",
        /// A late packet of a call that had this address before, by its SSRC.
        LateSsrc = "late_ssrc",
        /// A packet of a leg that had brought more than its budget ([`crate::Budgets`]), or a
        /// retransmission that such a leg asked for.
        LegOverBudget = "leg_over_budget",
        /// STUN for a leg beyond what it may have in a short time.
        StunOverBudget = "stun_over_budget",
        /// A ring to another worker was full.
        ReplicaFull = "replica_full",
        /// A replica's stream or route is gone.
        ReplicaGone = "replica_gone",
        /// Feedback (PLI, NACK) that has no source to go to.
        FeedbackNowhere = "feedback_nowhere",
        /// A keyframe request within the throttle interval.
        KeyframeThrottled = "keyframe_throttled",
        /// A NACK for packets that are not in the history.
        NackMiss = "nack_miss",
        /// A retransmission without an original packet (padding probe, unknown association).
        RtxOther = "rtx_other",
        /// A command for a leg that is gone.
        StaleCommand = "stale_command",
        /// A remote candidate that cannot be used.
        CandidateRefused = "candidate_refused",
        /// A telephone event that could not be noted for want of room.
        DtmfFull = "dtmf_full",
        /// A packet that a tap had no room for.
        TapFull = "tap_full",
        /// A panic while a packet was processed; its leg was ended.
        Panic = "panic",
    }
}

counters! {
    /// What a worker does, beside dropping.
    Work {
        /// Turns of the loop.
        Turns = "turns",
        /// Commands taken.
        Commands = "commands",
        /// Notices given.
        Notices = "notices",
        /// Timers that fired.
        Timers = "timers",
        /// Packets forwarded to an output.
        Forwarded = "forwarded",
        /// Frames of several packets that went to their outputs as one.
        Frames = "frames",
        /// Packets that did not wait for the rest of their frame, because those of too many streams do.
        FramesCrowded = "frames_crowded",
        /// Frames that went to their outputs in more than one turn, because those are many, or behind such a frame.
        FramesSliced = "frames_sliced",
        /// Packets sent to other workers.
        Replicated = "replicated",
        /// STUN messages handled.
        Stun = "stun",
        /// DTLS datagrams carried to the handshake thread.
        Dtls = "dtls",
        /// RTCP packets handled.
        Rtcp = "rtcp",
        /// Early SRTP packets held back and released after the keys were installed.
        Held = "held",
        /// Longest turn so far, microseconds.
        TurnMaxUs = "turn_max_us",
        /// Times that the worker started over after panics.
        Restarts = "restarts",
        /// Legs in the table.
        Legs = "legs",
        /// Addresses in the flow table.
        Flows = "flows",
        /// Times that a leg was given an address which another has.
        AddressShared = "address_shared",
        /// Packets received and sent a second, in the last window of measurement.
        PacketsPerS = "packets_per_s",
        /// Thousandths of its time in which the worker had work, over the last windows.
        BusyPermille = "busy_permille",
        /// Windows that were measured, a second each or longer.
        LoadWindows = "load_windows",
    }
}

const DROPS: usize = Drop::ALL.len();
const WORKS: usize = Work::ALL.len();

/// A worker's counters, shared with the control side.
#[derive(Debug)]
pub struct Counters {
    drops: [AtomicU64; DROPS],
    works: [AtomicU64; WORKS],
    driver: [AtomicU64; DRIVER_NAMES.len()],
}

/// The names of the driver's counters, in order.
const DRIVER_NAMES: [&str; 17] = [
    "received",
    "sent",
    "send_failed",
    "truncated",
    "no_buffers",
    "receive_errors",
    "arena_empty",
    "system_calls",
    "xdp_received",
    "xdp_sent",
    "xdp_malformed",
    "xdp_send_ring_full",
    "xdp_dropped",
    "xdp_ring_full",
    "xdp_no_frames",
    "xdp_neighbours_postponed",
    "xdp_neighbours_evicted",
];

impl Default for Counters {
    fn default() -> Self {
        Self {
            drops: std::array::from_fn(|_| AtomicU64::new(0)),
            works: std::array::from_fn(|_| AtomicU64::new(0)),
            driver: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Counters {
    /// Counts a drop.
    pub(crate) fn count(&self, why: Drop) {
        if let Some(word) = self.drops.get(why as usize) {
            word.store(word.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// Adds to a work counter.
    pub(crate) fn add(&self, what: Work, more: u64) {
        if let Some(word) = self.works.get(what as usize) {
            word.store(word.load(Relaxed).wrapping_add(more), Relaxed);
        }
    }

    /// Sets a work counter.
    pub(crate) fn set(&self, what: Work, value: u64) {
        if let Some(word) = self.works.get(what as usize) {
            word.store(value, Relaxed);
        }
    }

    /// Publishes what the driver counted.
    pub(crate) fn set_driver(&self, counted: &crate::driver::DriverCounters) {
        let values = [
            counted.received,
            counted.sent,
            counted.send_failed,
            counted.truncated,
            counted.no_buffers,
            counted.receive_errors,
            counted.arena_empty,
            counted.system_calls,
            counted.xdp_received,
            counted.xdp_sent,
            counted.xdp_malformed,
            counted.xdp_send_ring_full,
            counted.xdp_dropped,
            counted.xdp_ring_full,
            counted.xdp_no_frames,
            counted.xdp_neighbours_postponed,
            counted.xdp_neighbours_evicted,
        ];
        for (word, value) in self.driver.iter().zip(values) {
            word.store(value, Relaxed);
        }
    }

    /// How often something was dropped for this reason.
    pub fn dropped(&self, why: Drop) -> u64 {
        self.drops.get(why as usize).map_or(0, |word| word.load(Relaxed))
    }

    /// A work counter's value.
    pub fn work(&self, what: Work) -> u64 {
        self.works.get(what as usize).map_or(0, |word| word.load(Relaxed))
    }

    /// All counters with their names: drops, work, driver.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let drops = Drop::ALL.iter().map(|why| (why.name(), self.dropped(*why)));
        let works = Work::ALL.iter().map(|what| (what.name(), self.work(*what)));
        let driver = DRIVER_NAMES.iter().zip(&self.driver).map(|(name, word)| (*name, word.load(Relaxed)));
        drops.chain(works).chain(driver).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_counters_count() {
        let counters = Counters::default();
        counters.count(Drop::Panic);
        counters.count(Drop::Panic);
        counters.add(Work::Turns, 5);
        assert_eq!((counters.dropped(Drop::Panic), counters.dropped(Drop::NotMedia)), (2, 0));
        assert_eq!(counters.work(Work::Turns), 5);
        let mut names: Vec<_> = counters.all().into_iter().map(|(name, _)| name).collect();
        let before = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
