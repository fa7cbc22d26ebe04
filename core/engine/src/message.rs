//! What travels between the threads. All of it is made and freed on the control side; a worker only
//! moves boxes.

use std::net::SocketAddr;

use bifrons_rtc::ice::RemoteCandidate;
use bifrons_rtc::srtp::Room;
use bifrons_rtc::stream::{SenderClock, SrMapping};

use crate::driver::BUFFER_BYTES;
use crate::id::LegId;
use crate::leg::{Leg, RemotePlan, Route, RtpPlan, Stream};
use crate::media::{Notice, StreamRef};
use crate::tap::Tap;
use rtrb::{Consumer, Producer};

/// Random octets that an ICE restart needs: for a ufrag and a password.
pub(crate) const RESTART_RANDOM_BYTES: usize = 64;

/// Control → worker.
pub(crate) enum Command<S> {
    Open {
        leg: Box<Leg>,
        rtp: Option<S>,
        rtcp: Option<S>,
    },
    /// Sockets of a shared RTP port; the RTP socket has this number, the other one the next.
    OpenShared {
        number: u8,
        rtp: S,
        rtcp: S,
    },
    WebRtcRemote {
        leg: LegId,
        plan: Box<RemotePlan>,
    },
    Candidate {
        leg: LegId,
        candidate: RemoteCandidate,
    },
    EndOfCandidates {
        leg: LegId,
    },
    RestartIce {
        leg: LegId,
        random: Box<[u8; RESTART_RANDOM_BYTES]>,
    },
    RtpRemote {
        leg: LegId,
        plan: Box<RtpPlan>,
    },
    Streams {
        leg: LegId,
        streams: Box<[Stream]>,
    },
    Route {
        source: StreamRef,
        route: Option<Box<Route>>,
    },
    Replica {
        source: StreamRef,
        route: Option<Box<Replica>>,
    },
    /// The way to another worker.
    CrossTo {
        worker: u8,
        ring: Producer<Cross>,
    },
    /// The way from another worker.
    CrossFrom {
        worker: u8,
        ring: Consumer<Cross>,
    },
    Gate {
        source: StreamRef,
        to: StreamRef,
        open: bool,
    },
    Tap {
        source: StreamRef,
        tap: Box<Tap>,
    },
    BitrateCap {
        source: StreamRef,
        bitrate_bps: Option<u64>,
    },
    Keyframe {
        source: StreamRef,
    },
    /// For the worker's store.
    Rooms(Vec<Room>),
    Close {
        leg: LegId,
    },
    /// A fault, for the tests of what comes after one.
    #[cfg(test)]
    Panic {
        leg: LegId,
    },
}

/// Worker → control: notices, and memory and sockets that come back.
pub(crate) enum Report<S> {
    Notice(Notice),
    /// A leg has left its slot.
    LegGone(Box<Leg>),
    /// A socket that the driver has let go of.
    Socket(S, u64),
    /// The worker's store of rooms for SSRCs is half empty.
    RoomsLow,
    /// Something to free.
    Free(Garbage),
}

/// Memory on its way back.
#[expect(dead_code, reason = "it is only carried, then dropped")]
pub(crate) enum Garbage {
    Remote(Box<RemotePlan>),
    Rtp(Box<RtpPlan>),
    Streams(Box<[Stream]>),
    Route(Box<Route>),
    Replica(Box<Replica>),
    Keys(Box<crate::leg::Keys>),
    Tap(Box<Tap>),
    Restart(Box<[u8; RESTART_RANDOM_BYTES]>),
    Leg(Box<Leg>),
    Rooms(Vec<Room>),
}

/// The stand-in of a stream on another worker.
pub(crate) struct Replica {
    pub route: Route,
    pub history: Option<Box<bifrons_rtc::stream::History>>,
    pub mapping: Option<SrMapping>,
    pub clock: SenderClock,
}

/// Worker → worker.
#[expect(clippy::large_enum_variant, reason = "slots of a ring: a pointer would be an allocation a packet")]
pub(crate) enum Cross {
    /// A decrypted packet of a stream.
    Packet { source: StreamRef, index: u64, len: u16, bytes: [u8; CROSS_BYTES] },
    /// What the source's sender reports say.
    SenderReport { source: StreamRef, mapping: SrMapping, clock: SenderClock },
    /// An output needs a key frame.
    Keyframe { source: StreamRef },
}

/// Longest packet that crosses.
pub(crate) const CROSS_BYTES: usize = BUFFER_BYTES - crate::driver::HEADROOM - crate::driver::TAILROOM;

/// Tags of sockets: a worker's shared sockets have their number, sockets of RTP legs their leg's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketTag {
    /// A shared WebRTC socket: its number among the local addresses.
    Shared(u8),
    /// A shared RTP socket: its number, even for RTP and odd for RTCP.
    SharedRtp(u8),
    /// An RTP leg's socket.
    Rtp(LegId),
    /// An RTP leg's RTCP socket.
    Rtcp(LegId),
}

impl SocketTag {
    /// Bits 28–31 of a leg's id are free.
    const RTCP_BIT: u64 = 1 << 28;
    const SHARED_RTP_BIT: u64 = 1 << 8;

    pub(crate) fn encode(self) -> u64 {
        match self {
            Self::Shared(number) => number.into(),
            Self::SharedRtp(number) => u64::from(number) | Self::SHARED_RTP_BIT,
            Self::Rtp(leg) => leg.as_u64(),
            Self::Rtcp(leg) => leg.as_u64() | Self::RTCP_BIT,
        }
    }

    pub(crate) fn decode(tag: u64) -> Self {
        if tag >> 32 == 0 {
            // Generation 0 is never given out, so this is no leg.
            let number = tag as u8;
            let rtp = tag & Self::SHARED_RTP_BIT != 0;
            return if rtp { Self::SharedRtp(number) } else { Self::Shared(number) };
        }
        let leg = LegId::from_u64(tag & !Self::RTCP_BIT);
        if tag & Self::RTCP_BIT == 0 { Self::Rtp(leg) } else { Self::Rtcp(leg) }
    }
}

/// A datagram in a ring.
pub(crate) struct Inline {
    len: u16,
    bytes: [u8; INLINE_BYTES],
}

/// Longest DTLS datagram that is carried: more than any path's MTU lets through unfragmented.
pub(crate) const INLINE_BYTES: usize = 1500;

impl Inline {
    pub(crate) fn new(datagram: &[u8]) -> Option<Self> {
        let mut bytes = [0; INLINE_BYTES];
        bytes.get_mut(..datagram.len())?.copy_from_slice(datagram);
        Some(Self { len: datagram.len() as u16, bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The two addresses of a pair.
pub(crate) type Path = (SocketAddr, SocketAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_back() {
        let leg = LegId::new(255, (1 << 20) - 1, 1);
        for tag in
            [SocketTag::Shared(3), SocketTag::SharedRtp(127), SocketTag::Rtp(leg), SocketTag::Rtcp(leg)]
        {
            assert_eq!(SocketTag::decode(tag.encode()), tag);
        }
    }
}
