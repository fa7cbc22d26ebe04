//! Legs as a worker holds them.
//!
//! A leg is built and freed on the control side and travels in a box; a worker only moves the box
//! into its slot and back.

mod keys;
mod rooms;
mod route;
mod rtp;
mod ssrc;
mod stats;
mod stream;
mod table;
mod webrtc;

pub(crate) use keys::Keys;
pub(crate) use rooms::Rooms;
pub(crate) use route::{Route, RouteOutput};
pub(crate) use rtp::{KeyPlan, RtpPlan, RtpTransport, SharedFlows, SourceVerdict};
pub(crate) use ssrc::{FewSsrcs, MoreSsrcs, SSRCS_MAX, SsrcUse};
pub(crate) use stats::{StreamShared, Word};
pub(crate) use stream::{PayloadKind, Stream};
#[cfg(all(test, feature = "loom"))]
pub(crate) use table::InSlot;
pub(crate) use table::LegTable;
pub(crate) use webrtc::{DtlsPhase, FLOWS_MAX, RemotePlan, WANTED_WAIT, WantedFlow, WebRtcTransport};

use bifrons_rtc::Time;

use crate::budget::{Budget, Rate};
use crate::config::Budgets;
use crate::driver::SocketKey;
use crate::driver::prefetch::{self, LINE};
use crate::id::LegId;
use crate::media::{LegEnd, MediaKind};
use std::mem::offset_of;
use std::net::SocketAddr;

/// Telephone events that wait to be told.
pub(crate) const DTMF_PENDING_MAX: usize = 8;

/// One leg. What each packet needs comes first, on two lines of the cache. A phone's transport, which follows, has
/// two or three more.
#[repr(C, align(64))]
pub(crate) struct Leg {
    pub id: LegId,
    /// Sends and receives media.
    pub up: bool,
    /// It was told that the leg has ended; nothing is sent any more.
    pub ended: bool,
    /// Transport-wide sequence number of the next packet out.
    pub transport_sequence: u16,
    pub crypto: Crypto,
    pub streams: Box<[Stream]>,
    /// Over which pair a WebRTC leg sends: what its agent has selected, after each of the agent's steps.
    path: Option<(SocketKey, SocketAddr)>,
    ssrcs: FewSsrcs,
    pub budget: MediaBudget,
    pub transport: Transport,
    more_ssrcs: MoreSsrcs,
    stun_budget: StunBudget,
    /// The leg goes when its close_notify is out, at the latest now. It is not up any more.
    pub closing: Option<Time>,
    /// When the next RTCP report is due.
    pub report_at: Time,
    pub pending: Pending,
}

// Of the transport its kind is on the second line; a phone's begins with the third.
const _: () = assert!(align_of::<Transport>() == 8 && offset_of!(Leg, transport) + 8 == 2 * LINE);

/// The packets of media that a leg may still have worked on.
pub(crate) struct MediaBudget {
    left: Budget,
    rate: Rate,
}

impl MediaBudget {
    /// Spends one packet.
    #[inline]
    pub(crate) fn take(&mut self, now: Time) -> bool {
        self.left.take(now, self.rate)
    }
}

/// The STUN messages that a leg may still have worked on.
#[derive(Default)]
struct StunBudget {
    /// From addresses in the flow table.
    known: Budget,
    /// From all others.
    stranger: Budget,
}

/// How a leg's packets travel. Which it is stands before the rest of it.
#[repr(u8)]
#[expect(clippy::large_enum_variant, reason = "no pointer to follow on the packet path")]
pub(crate) enum Transport {
    WebRtc(Box<WebRtcTransport>),
    Rtp(RtpTransport),
}

/// How a leg's media are protected.
pub(crate) enum Crypto {
    /// A plain RTP leg.
    Plain,
    /// Keys will come; until then nothing passes.
    Waiting,
    /// SRTP.
    Srtp(Box<Keys>),
}

/// What the control side has yet to be told: dirty bits, not a queue, so that nothing can be lost.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// The leg stands in the worker's list of dirty legs.
    pub queued: bool,
    pub selected: Option<(SocketAddr, SocketAddr)>,
    pub up: bool,
    pub latched: Option<SocketAddr>,
    pub disconnected: bool,
    /// One bit an m-line.
    pub receiving: u64,
    /// One bit an m-line: uplink, downlink.
    pub slow: [u64; 2],
    pub dtmf: [(u8, u8, u16); DTMF_PENDING_MAX],
    pub dtmf_len: usize,
    pub ended: Option<LegEnd>,
}

impl Leg {
    /// A leg that has just been opened.
    pub(crate) fn new(id: LegId, transport: Transport) -> Self {
        let plain = matches!(transport, Transport::Rtp(_));
        Self {
            id,
            transport,
            crypto: if plain { Crypto::Plain } else { Crypto::Waiting },
            streams: Box::default(),
            path: None,
            ssrcs: FewSsrcs::default(),
            more_ssrcs: MoreSsrcs::new(),
            pending: Pending::default(),
            budget: MediaBudget { left: Budget::default(), rate: Rate::new(1, 1) },
            stun_budget: StunBudget::default(),
            up: plain,
            ended: false,
            closing: None,
            report_at: Time::MAX,
            transport_sequence: 0,
        }
    }

    /// Asks the processor for what a packet needs.
    #[inline(always)]
    pub(crate) fn ask(&self) {
        prefetch::part(self, offset_of!(Self, transport) + 1);
    }

    /// Asks the processor for what leads to a browser's ICE agent.
    #[inline(always)]
    pub(crate) fn ask_transport(&self) {
        prefetch::part(self, offset_of!(Self, transport) + 16);
    }

    /// Notes which pair the agent has selected.
    pub(crate) fn renew_path(&mut self, locals: &[SocketKey]) {
        if let Transport::WebRtc(webrtc) = &self.transport {
            let selected = webrtc.agent.selected();
            self.path = selected.and_then(|pair| Some((*locals.get(usize::from(pair.socket))?, pair.remote)));
        }
    }

    /// Where RTP goes from, and where to.
    pub(crate) fn rtp_path(&self) -> Option<(SocketKey, SocketAddr)> {
        match &self.transport {
            Transport::WebRtc(_) => self.path,
            Transport::Rtp(rtp) => Some((rtp.rtp_socket?, rtp.destination()?)),
        }
    }

    /// Where RTCP goes from, and where to.
    pub(crate) fn rtcp_path(&self) -> Option<(SocketKey, SocketAddr)> {
        match &self.transport {
            Transport::WebRtc(_) => self.path,
            Transport::Rtp(rtp) => {
                let socket = if rtp.mux { rtp.rtp_socket? } else { rtp.rtcp_socket.or(rtp.rtp_socket)? };
                Some((socket, rtp.rtcp_destination()?))
            }
        }
    }

    /// What a received SSRC is, if it is known.
    #[inline]
    pub(crate) fn ssrc(&self, ssrc: u32) -> Option<SsrcUse> {
        self.ssrcs.get(&self.more_ssrcs, ssrc)
    }

    /// Notes what an SSRC is. False: the leg has as many as it may.
    pub(crate) fn learn_ssrc(&mut self, ssrc: u32, what: SsrcUse) -> bool {
        self.ssrcs.set(&mut self.more_ssrcs, ssrc, what)
    }

    /// Spends one STUN message. Strangers spend from a budget of their own: what they send costs an
    /// established leg no consent.
    pub(crate) fn take_stun(&mut self, now: Time, rate: Rate, known: bool) -> bool {
        match known {
            true => self.stun_budget.known.take(now, rate),
            false => self.stun_budget.stranger.take(now, rate),
        }
    }

    /// Each m-line that it receives has its SSRCs announced, so that its packets can be told from another
    /// leg's.
    pub(crate) fn announces_ssrcs(&self) -> bool {
        !self.streams.is_empty() && self.streams.iter().all(|stream| !stream.recv || stream.announces_ssrcs())
    }

    /// Its DTLS handshake is over on both sides: the peer has used the keys.
    pub(crate) fn dtls_settled(&self) -> bool {
        match (&self.transport, &self.crypto) {
            (Transport::WebRtc(webrtc), Crypto::Srtp(keys)) => {
                let counters = keys.inbound.counters();
                webrtc.dtls == DtlsPhase::Done && counters.rtp_packets + counters.rtcp_packets > 0
            }
            _ => false,
        }
    }

    /// What was sent is not sent again: the peer has no longer the key for it.
    pub(crate) fn forget_ciphertext(&mut self) {
        let outputs = self.streams.iter_mut().filter_map(|stream| stream.output.ciphertext.as_mut());
        outputs.for_each(|history| history.clear());
    }

    /// Takes the m-lines that were negotiated anew, and goes on with the state of those that stay.
    /// Gives the old ones back, to be freed elsewhere.
    pub(crate) fn set_streams(&mut self, mut new: Box<[Stream]>, budgets: &Budgets) -> Box<[Stream]> {
        self.budget.rate = rate_of(&new, budgets);
        for (new, old) in new.iter_mut().zip(&mut self.streams) {
            new.go_on_from(old);
        }
        let old = std::mem::replace(&mut self.streams, new);
        // Learnt SSRCs stay where they were, unless they are announced now.
        let lines = self.streams.len();
        self.ssrcs.retain(&mut self.more_ssrcs, |_, what| usize::from(what.mline) < lines);
        for (mline, stream) in (0..).zip(&self.streams) {
            let announced = stream.remote_ssrcs.iter().map(|ssrc| (*ssrc, false));
            for (ssrc, rtx) in announced.chain(stream.remote_rtx_ssrc.map(|ssrc| (ssrc, true))) {
                self.ssrcs.set(&mut self.more_ssrcs, ssrc, SsrcUse { mline, rtx });
            }
        }
        old
    }

    /// The m-line that an incoming packet of an unknown SSRC belongs to: by mid, else by payload type
    /// where only one m-line takes it (RFC 9143 §9.2).
    pub(crate) fn find_stream(&self, mid: Option<&[u8]>, payload_type: u8) -> Option<SsrcUse> {
        let takes = |stream: &&(usize, &Stream)| stream.1.payload_kind(payload_type) != PayloadKind::Unknown;
        let mut lines = self.streams.iter().enumerate();
        let (mline, stream) = match mid {
            Some(mid) => lines.find(|(_, stream)| stream.mid() == mid)?,
            None => {
                let mut taking = lines.filter(|line| takes(&line));
                let only = taking.next()?;
                if taking.next().is_some() {
                    return None;
                }
                only
            }
        };
        let rtx = matches!(stream.payload_kind(payload_type), PayloadKind::Rtx(_));
        Some(SsrcUse { mline: mline as u8, rtx })
    }
}

/// The sum of the m-lines' rates, and the largest of their bursts: by that a leg holds others up at most.
fn rate_of(streams: &[Stream], budgets: &Budgets) -> Rate {
    let limits = streams.iter().map(|stream| match stream.kind {
        MediaKind::Audio => (budgets.audio_packets_per_s, budgets.audio_burst_packets),
        MediaKind::Video => (budgets.video_packets_per_s, budgets.video_burst_packets),
    });
    let unlimited = limits.clone().any(|(per_s, _)| per_s == 0);
    let (per_s, burst) =
        limits.fold((0u32, 0), |sum, (per_s, burst)| (sum.0.saturating_add(per_s), burst.max(sum.1)));
    Rate::new(if unlimited { 0 } else { per_s }, burst)
}
