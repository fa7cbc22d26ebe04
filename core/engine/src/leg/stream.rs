//! One m-line of a leg: what was negotiated, what comes in and what goes out.

use std::mem::offset_of;
use std::sync::Arc;
use std::time::Duration;

use bifrons_rtc::Time;
use bifrons_rtc::ice::Random;
use bifrons_rtc::stream::{
    Activity, BitrateCap, DtmfDetector, ExtendedSequence, History, KeyframeThrottle, NackGenerator,
    NackResponder, ReceiveStatistics, Rewriter, SWITCH_GRACE, SendStatistics, SenderClock, TwccReceiver,
};

use super::{Route, StreamShared};
use crate::driver::prefetch::{self, LINE};
use crate::media::{Extension, Feedback, MediaError, MediaKind, StreamConfig, StreamRef};
use crate::tap::Tap;

/// A source is asked for a key frame at most this often.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// How often a bitrate cap is repeated.
const CAP_INTERVAL: Duration = Duration::from_secs(1);
/// How often transport-wide feedback is sent.
const TWCC_INTERVAL: Duration = Duration::from_millis(100);
/// Packets that a video source's history reaches back.
const HISTORY_PACKETS: usize = 512;

/// What a payload type is on an m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadKind {
    /// Not negotiated.
    Unknown,
    /// Media.
    Media,
    /// Retransmission of this payload type (RFC 4588).
    Rtx(u8),
    /// RFC 4733.
    TelephoneEvent,
}

/// Ids of header extensions; 0: not negotiated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExtensionIds {
    pub mid: u8,
    pub rid: u8,
    pub transport_cc: u8,
    pub abs_send_time: u8,
}

/// One m-line. A packet needs the first line of it, and the first lines of the half that it goes through.
#[repr(C, align(64))]
pub(crate) struct Stream {
    pub route: Option<Box<Route>>,
    /// Who gets a copy of what comes in.
    pub taps: Option<Box<Tap>>,
    pub shared: Arc<StreamShared>,
    /// By number: number, what it is, and for RTX what it repairs.
    payload: Vec<(u8, PayloadKind)>,
    pub extensions: ExtensionIds,
    pub kind: MediaKind,
    pub send: bool,
    pub recv: bool,
    mid_len: u8,
    pub local_ssrc: u32,
    pub clock_hz: u32,
    pub input: Input,
    pub remote_rtx_ssrc: Option<u32>,
    mid: [u8; 16],
    pub output: OutputState,
    pub feedback: Feedback,
    pub remote_ssrcs: Vec<u32>,
    pub local_rtx_ssrc: Option<u32>,
    pub cname: Box<str>,
    /// How long the last silence was, seconds; for the notice.
    pub silent_s: u32,
    /// Packets lost in the last second: uplink, downlink; for the notice.
    pub slow: [u32; 2],
}

/// The receiving half. What each packet needs comes first.
#[repr(C)]
pub(crate) struct Input {
    pub ssrc: Option<u32>,
    pub last_at: Time,
    /// Video with negotiated NACK only.
    pub nack: Option<Box<NackGenerator>>,
    /// Video only: what outputs' NACKs are answered from.
    pub history: Option<Box<History>>,
    pub activity: Activity,
    pub statistics: ReceiveStatistics,
    pub dtmf: DtmfDetector,
    pub keyframes: KeyframeThrottle,
    pub cap: BitrateCap,
    pub twcc: Option<Box<TwccReceiver>>,
    pub clock: SenderClock,
    pub lost_prior: i64,
    /// The source before this one.
    pub former: Option<Former>,
}

/// A source that another has taken the place of.
#[derive(Clone, Copy)]
pub(crate) struct Former {
    ssrc: u32,
    sequence: ExtendedSequence,
    left_at: Time,
}

/// The sending half. What each packet needs comes first.
#[repr(C)]
pub(crate) struct OutputState {
    /// The source that was forwarded last.
    pub feed: Option<StreamRef>,
    /// Video with NACK and no RTX on an SRTP leg: packets as they were sent, by outgoing index. They are sent
    /// again byte for byte, since an index is protected once.
    pub ciphertext: Option<Box<History>>,
    pub statistics: SendStatistics,
    pub rewriter: Rewriter,
    pub responder: Option<Box<NackResponder>>,
    pub rtx_sequence: u16,
    pub lost_prior: i64,
    pub packets_prior: u64,
}

/// Where ends what an incoming packet needs, and an outgoing one, bytes.
const INPUT_HOT_END: usize =
    offset_of!(Stream, input) + offset_of!(Input, statistics) + ReceiveStatistics::HOT_BYTES;
const OUTPUT_HOT_END: usize =
    offset_of!(Stream, output) + offset_of!(OutputState, rewriter) + Rewriter::HOT_BYTES;

// One line for both, five more to receive, four more to send.
const _: () = assert!(offset_of!(Stream, input) == LINE);
const _: () = assert!(INPUT_HOT_END <= 6 * LINE);
const _: () = assert!(offset_of!(Stream, mid) % LINE == 0);
const _: () = assert!(OUTPUT_HOT_END - offset_of!(Stream, mid) <= 4 * LINE);

impl Stream {
    /// Checks and compiles what was negotiated.
    pub(crate) fn new(
        config: &StreamConfig,
        silence: Duration,
        shared: Arc<StreamShared>,
        random: &mut impl Random,
    ) -> Result<Self, MediaError> {
        let invalid = |text: String| Err(MediaError::Invalid(text));
        if config.mid.len() > 16 {
            return invalid(format!("mid: {:?} is longer than 16 bytes", config.mid));
        }
        if config.payload_types.len() > 64 || config.extensions.len() > 32 {
            return invalid("payload_types or extensions: too many".to_owned());
        }
        if config.cname.len() > 255 {
            return invalid("cname: longer than 255 bytes".to_owned());
        }
        if config.remote_ssrcs.len() > super::SSRCS_MAX {
            return invalid(format!("remote_ssrcs: more than {}", super::SSRCS_MAX));
        }
        let mut payload: Vec<(u8, PayloadKind)> = Vec::with_capacity(config.payload_types.len());
        for entry in &config.payload_types {
            if entry.number > 127 {
                return invalid(format!("payload_types: {} is over 127", entry.number));
            }
            let kind = match (entry.encoding.as_str(), entry.repairs) {
                ("rtx", Some(repairs)) => PayloadKind::Rtx(repairs),
                ("rtx", None) => continue,
                ("telephone-event", _) => PayloadKind::TelephoneEvent,
                _ => PayloadKind::Media,
            };
            payload.push((entry.number, kind));
        }
        let main = config.payload_types.iter().find(|entry| entry.repairs.is_none());
        let clock_hz = main.map_or(0, |entry| entry.clock_hz);
        let clock_hz = if clock_hz == 0 { 8_000 } else { clock_hz };
        let mut extensions = ExtensionIds::default();
        for (id, extension) in &config.extensions {
            match extension {
                Extension::Mid => extensions.mid = *id,
                Extension::Rid => extensions.rid = *id,
                Extension::TransportCc => extensions.transport_cc = *id,
                Extension::AbsSendTime => extensions.abs_send_time = *id,
                _ => {}
            }
        }
        let mut mid = [0; 16];
        for (to, from) in mid.iter_mut().zip(config.mid.bytes()) {
            *to = from;
        }
        let video = config.kind == MediaKind::Video;
        let rtx = config.local_rtx_ssrc.is_some()
            && payload.iter().any(|(_, kind)| matches!(kind, PayloadKind::Rtx(_)));
        let ciphertext = video && config.send && config.feedback.nack && !rtx;
        let start = random.next_u64();
        Ok(Self {
            kind: config.kind,
            send: config.send,
            recv: config.recv,
            feedback: config.feedback,
            remote_ssrcs: config.remote_ssrcs.clone(),
            remote_rtx_ssrc: config.remote_rtx_ssrc,
            local_ssrc: config.local_ssrc,
            local_rtx_ssrc: config.local_rtx_ssrc,
            cname: config.cname.as_str().into(),
            extensions,
            clock_hz,
            mid,
            mid_len: config.mid.len() as u8,
            payload,
            route: None,
            taps: None,
            input: Input {
                ssrc: None,
                last_at: Time::ZERO,
                statistics: ReceiveStatistics::new(clock_hz),
                activity: Activity::new(silence),
                dtmf: DtmfDetector::default(),
                keyframes: KeyframeThrottle::new(KEYFRAME_INTERVAL),
                cap: BitrateCap::new(CAP_INTERVAL),
                nack: (video && config.recv && config.feedback.nack).then(Box::default),
                history: (video && config.recv).then(|| Box::new(History::new(HISTORY_PACKETS))),
                twcc: (config.feedback.transport_cc && config.recv && extensions.transport_cc != 0)
                    .then(|| Box::new(TwccReceiver::new(TWCC_INTERVAL))),
                clock: SenderClock::default(),
                lost_prior: 0,
                former: None,
            },
            output: OutputState {
                rewriter: Rewriter::new(start as u16, (start >> 16) as u32, clock_hz),
                statistics: SendStatistics::default(),
                responder: (video && config.feedback.nack).then(Box::default),
                ciphertext: ciphertext.then(|| Box::new(History::new(HISTORY_PACKETS))),
                rtx_sequence: (start >> 48) as u16 & 0x7fff,
                feed: None,
                lost_prior: 0,
                packets_prior: 0,
            },
            shared,
            silent_s: 0,
            slow: [0; 2],
        })
    }

    /// Takes over the state of the same m-line before a renegotiation.
    pub(crate) fn go_on_from(&mut self, old: &mut Stream) {
        if self.kind != old.kind {
            return;
        }
        self.route = old.route.take();
        self.taps = old.taps.take();
        if self.local_ssrc == old.local_ssrc {
            // Whatever else has changed: an SRTP index of this SSRC is never used twice.
            std::mem::swap(&mut self.output.rewriter, &mut old.output.rewriter);
            if self.output.ciphertext.is_some() && old.output.ciphertext.is_some() {
                std::mem::swap(&mut self.output.ciphertext, &mut old.output.ciphertext);
            }
            self.output.statistics = old.output.statistics;
            self.output.rtx_sequence = old.output.rtx_sequence;
            self.output.feed = old.output.feed;
            self.output.lost_prior = old.output.lost_prior;
            self.output.packets_prior = old.output.packets_prior;
        }
        if self.clock_hz == old.clock_hz {
            self.input.ssrc = old.input.ssrc;
            self.input.last_at = old.input.last_at;
            self.input.statistics = old.input.statistics;
            self.input.activity = old.input.activity;
            self.input.clock = old.input.clock;
            self.input.lost_prior = old.input.lost_prior;
            self.input.former = old.input.former;
        }
        self.input.dtmf = old.input.dtmf;
        self.input.cap = old.input.cap;
        self.input.keyframes = old.input.keyframes;
        if self.input.history.is_some() {
            std::mem::swap(&mut self.input.history, &mut old.input.history);
        }
        if self.input.twcc.is_some() && old.input.twcc.is_some() {
            std::mem::swap(&mut self.input.twcc, &mut old.input.twcc);
        }
    }

    /// The value of `a=mid`; empty where there is none.
    pub(crate) fn mid(&self) -> &[u8] {
        self.mid.get(..usize::from(self.mid_len)).unwrap_or_default()
    }

    /// Asks the processor for what an incoming packet needs.
    #[inline(always)]
    pub(crate) fn ask_input(&self) {
        prefetch::part(self, INPUT_HOT_END);
    }

    /// Asks the processor for what an outgoing packet needs.
    #[inline(always)]
    pub(crate) fn ask_output(&self) {
        prefetch::first(self);
        prefetch::part(&self.mid, OUTPUT_HOT_END - offset_of!(Self, mid));
    }

    /// Asks the processor for the payload types.
    pub(crate) fn ask_payload(&self) {
        prefetch::first(&self.payload[..]);
    }

    /// What a payload type is.
    pub(crate) fn payload_kind(&self, number: u8) -> PayloadKind {
        let found = self.payload.iter().find(|(known, _)| *known == number);
        found.map_or(PayloadKind::Unknown, |(_, kind)| *kind)
    }

    /// All SSRCs that the peer sends with are known from its SDP.
    pub(crate) fn announces_ssrcs(&self) -> bool {
        let repaired = self.payload.iter().any(|(_, kind)| matches!(kind, PayloadKind::Rtx(_)));
        !self.remote_ssrcs.is_empty() && (!repaired || self.remote_rtx_ssrc.is_some())
    }

    /// The RTX payload type that repairs this one.
    pub(crate) fn rtx_for(&self, number: u8) -> Option<u8> {
        self.payload.iter().find(|(_, kind)| *kind == PayloadKind::Rtx(number)).map(|(rtx, _)| *rtx)
    }
}

impl Input {
    /// What a packet of the source before this one is: none if it is of another. Within the grace it may
    /// fill a gap that it left, and has an index.
    pub(crate) fn late_index(&mut self, ssrc: u32, sequence: u16, now: Time) -> Option<Option<u64>> {
        let former = self.former.as_mut().filter(|former| former.ssrc == ssrc)?;
        let late = now - former.left_at < SWITCH_GRACE;
        Some(late.then(|| former.sequence.update(sequence).index()).flatten())
    }

    /// Packets come from another SSRC now: what was known of the old one is void, but for where it stood.
    pub(crate) fn switch(&mut self, ssrc: u32, clock_hz: u32, now: Time) {
        let sequence = self.statistics.sequence();
        self.former = self.ssrc.map(|ssrc| Former { ssrc, sequence, left_at: now });
        self.ssrc = Some(ssrc);
        self.statistics = ReceiveStatistics::new(clock_hz);
        self.lost_prior = 0;
        if let Some(nack) = &mut self.nack {
            **nack = NackGenerator::default();
        }
    }
}
