//! What the control side says to the packet engine, and what it hears back.
//!
//! Plugins compile calls into legs and routes; this file is the whole vocabulary. Every call
//! returns at once: it is written into a bounded ring to the leg's worker, and what comes of it is
//! heard as a [`Notice`].

use std::net::SocketAddr;

use crate::id::LegId;

/// The control side's view of the engine. [`crate::Engine`] is the real one.
pub trait Media {
    /// Whether a new call would be taken now. Only a leg that is opened without `near` begins one; asking
    /// first saves the work that comes before it.
    ///
    /// # Errors
    /// [`MediaError::Busy`].
    fn admission(&mut self) -> Result<(), MediaError> {
        Ok(())
    }
    /// Opens a WebRTC leg: ICE, DTLS-SRTP and RTP on its worker's shared port.
    fn open_webrtc_leg(&mut self, open: WebRtcOpen) -> Result<WebRtcLocal, MediaError>;
    /// Gives a WebRTC leg its peer's credentials, fingerprint and role. A second call with other
    /// credentials completes an ICE restart; with another fingerprint it starts a new DTLS session.
    fn set_webrtc_remote(&mut self, leg: LegId, remote: WebRtcRemote) -> Result<(), MediaError>;
    /// Adds one trickled candidate (the text after `candidate:`, RFC 8839 §5.1). One that cannot be
    /// used (mDNS, TCP, component 2) is counted and dropped without an error, as Janus does.
    fn add_remote_candidate(&mut self, leg: LegId, candidate: &str) -> Result<(), MediaError>;
    /// The peer has no more candidates (RFC 8838 §13).
    fn end_of_candidates(&mut self, leg: LegId) -> Result<(), MediaError>;
    /// New local credentials for an ICE restart (RFC 8445 §9). The old ones answer until a pair of
    /// the new generation is selected.
    fn restart_ice(&mut self, leg: LegId) -> Result<IceCredentials, MediaError>;

    /// Opens an RTP leg: one m-line's port (or port pair) towards a plain or SDES-SRTP peer.
    fn open_rtp_leg(&mut self, open: RtpOpen) -> Result<RtpLocal, MediaError>;
    /// Where the peer's SDP says that an RTP leg's media go, and the keys. Re-arms latching. On shared ports
    /// [`MediaError::AddressTaken`] leaves the leg as it was.
    fn set_rtp_remote(&mut self, leg: LegId, remote: RtpRemote) -> Result<(), MediaError>;

    /// The m-lines of a leg as negotiated, in m-line order (an RTP leg has exactly one).
    fn set_streams(&mut self, leg: LegId, streams: Vec<StreamConfig>) -> Result<(), MediaError>;
    /// Where the packets that arrive on `source` go; replaces what was there. Empty: nowhere.
    fn set_route(&mut self, source: StreamRef, outputs: Vec<Output>) -> Result<(), MediaError>;
    /// Opens or shuts one output of a route (mute, hold, direction) without touching its state.
    fn set_gate(&mut self, source: StreamRef, to: StreamRef, open: bool) -> Result<(), MediaError>;
    /// Caps what the peer sends on `source` by REMB, in bits a second; `None` takes the cap away.
    fn set_bitrate_cap(&mut self, source: StreamRef, bitrate_bps: Option<u64>) -> Result<(), MediaError>;
    /// Asks the peer that sends `source` for a keyframe (PLI or FIR, throttled).
    fn request_keyframe(&mut self, source: StreamRef) -> Result<(), MediaError>;
    /// Ends a leg: close_notify to a WebRTC peer, BYE in RTCP, then its slot and ports are freed.
    fn close_leg(&mut self, leg: LegId);

    /// A copy of a leg's counters; `None` when the leg is gone.
    fn leg_stats(&self, leg: LegId) -> Option<LegStats>;
    /// The next thing that the engine has to say, if any.
    fn poll_notice(&mut self) -> Option<Notice>;
}

/// One m-line of one leg: `mline` is its index in the leg's [`Media::set_streams`] list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamRef {
    /// The leg.
    pub leg: LegId,
    /// Index of the m-line.
    pub mline: u8,
}

/// How a WebRTC leg is opened.
#[derive(Clone, Debug, Default)]
pub struct WebRtcOpen {
    /// The leg belongs to the call of this one: it goes to the same worker, so that their route stays on one
    /// core, and is not refused for the load.
    pub near: Option<LegId>,
    /// We made the offer: ICE controlling. Otherwise controlled.
    pub offerer: bool,
}

/// ICE user name fragment and password (RFC 8839 §5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceCredentials {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub pwd: String,
}

/// What an SDP says about the local end of a WebRTC leg.
#[derive(Clone, Debug)]
pub struct WebRtcLocal {
    /// The new leg.
    pub leg: LegId,
    /// Its ICE credentials.
    pub ice: IceCredentials,
    /// Its candidates, complete, as the text after `candidate:`.
    pub candidates: Vec<String>,
    /// SHA-256 fingerprint of our certificate, upper-case hex with colons.
    pub fingerprint: String,
    /// This server runs ICE lite.
    pub ice_lite: bool,
}

/// DTLS role that *we* take (RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// We send the ClientHello (`a=setup:active`).
    Client,
    /// We wait for it (`a=setup:passive`).
    Server,
}

/// What the peer's SDP says about its end of a WebRTC leg.
#[derive(Clone, Debug)]
pub struct WebRtcRemote {
    /// ICE credentials.
    pub ice: IceCredentials,
    /// The peer is ICE lite.
    pub ice_lite: bool,
    /// Hash function (`sha-256`, …) and value as in `a=fingerprint`.
    pub fingerprint: (String, String),
    /// Our DTLS role.
    pub role: DtlsRole,
    /// Candidates in the SDP, text after `candidate:`.
    pub candidates: Vec<String>,
    /// No more candidates will come (`trickle:false` or `a=end-of-candidates`).
    pub end_of_candidates: bool,
}

/// How an RTP leg is opened. By default: a call's first leg, over IPv4, with a port for RTCP of its own.
#[derive(Clone, Debug, Default)]
pub struct RtpOpen {
    /// The leg belongs to the call of this one, as in [`WebRtcOpen::near`].
    pub near: Option<LegId>,
    /// The address family that the peer needs; picks the configured local address.
    pub ipv6: bool,
    /// Take addresses from this remote source: see [`Latching`].
    pub latching: Latching,
    /// Use one port for RTP and RTCP (RFC 5761).
    pub rtcp_mux: bool,
    /// Share ports with other legs; `None`: ports of its own.
    pub shared: Option<RtpShared>,
}

/// How an RTP leg shares its ports with others: packets are told apart by their source, which must be the
/// address and port of the peer's SDP (RFC 4961). So there is no latching on such a leg.
#[derive(Clone, Debug)]
pub struct RtpShared {
    /// Which ports: an index of [`crate::EngineConfig::shared_ports`].
    pub group: u8,
    /// The remote end where it is known, because we answer: a port is taken on which no other leg has its
    /// addresses.
    pub remote: Option<RtpRemote>,
    /// RTP ports that are not taken: those of the call's other m-lines, since two m-lines with one port
    /// would be a BUNDLE to many (RFC 9143 §7.2).
    pub not: Vec<u16>,
}

/// May media from another address than the SDP's move where we send (symmetric RTP)?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latching {
    /// Never: only the SDP's address is heard.
    Off,
    /// From the SDP's IP address, any port.
    #[default]
    SameIp,
    /// The first source after an SDP, within a bounded time.
    AnyFirst,
}

/// The local end of an RTP leg.
#[derive(Clone, Debug)]
pub struct RtpLocal {
    /// The new leg.
    pub leg: LegId,
    /// Where RTP is received (an address that can be advertised).
    pub rtp: SocketAddr,
    /// Where RTCP is received; equals `rtp` with rtcp-mux.
    pub rtcp: SocketAddr,
}

/// The remote end of an RTP leg.
#[derive(Clone, Debug)]
pub struct RtpRemote {
    /// `c=` and `m=` of the SDP. Port 0 or the unspecified address: nothing is sent.
    pub rtp: SocketAddr,
    /// `a=rtcp`; `None`: RTP port + 1, or the RTP port with rtcp-mux.
    pub rtcp: Option<SocketAddr>,
    /// The peer agreed to rtcp-mux.
    pub rtcp_mux: bool,
    /// SDES keys we protect with, and keys the peer protects with (RFC 4568).
    pub sdes: Option<SdesKeys>,
}

impl RtpRemote {
    /// Plain RTP, and RTCP on the same port.
    pub fn muxed(rtp: SocketAddr) -> Self {
        Self { rtp, rtcp: None, rtcp_mux: true, sdes: None }
    }
}

/// A pair of SDES keys.
#[derive(Clone)]
pub struct SdesKeys {
    /// Crypto suite name as in RFC 4568 / RFC 7714, e.g. `AES_CM_128_HMAC_SHA1_80`.
    pub suite: String,
    /// Our master key and salt.
    pub local: Vec<u8>,
    /// The peer's master key and salt.
    pub remote: Vec<u8>,
}

impl std::fmt::Debug for SdesKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SdesKeys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
}

/// One m-line as negotiated.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Audio or video.
    pub kind: MediaKind,
    /// `a=mid`, at most 16 bytes; empty where there is none.
    pub mid: String,
    /// We send on it.
    pub send: bool,
    /// We receive on it. An m-line with neither is inactive or rejected.
    pub recv: bool,
    /// Payload types in use, in order of preference.
    pub payload_types: Vec<PayloadType>,
    /// SSRCs that the peer announced (primary first); empty: learnt from mid or payload type.
    pub remote_ssrcs: Vec<u32>,
    /// The peer's RTX SSRC (RFC 4588), if announced.
    pub remote_rtx_ssrc: Option<u32>,
    /// The SSRC that we send with.
    pub local_ssrc: u32,
    /// The SSRC that our retransmissions have.
    pub local_rtx_ssrc: Option<u32>,
    /// `a=cname` of our SDES.
    pub cname: String,
    /// Header extensions, ids 1–255 (RFC 8285).
    pub extensions: Vec<(u8, Extension)>,
    /// RTCP feedback that was negotiated.
    pub feedback: Feedback,
}

impl StreamConfig {
    /// An m-line that sends and receives these payload types, without mid, announced SSRCs, RTX, header
    /// extensions and feedback. The rest is said by
    /// `StreamConfig { feedback, ..StreamConfig::new(kind, local_ssrc, payload_types) }`.
    pub fn new(kind: MediaKind, local_ssrc: u32, payload_types: Vec<PayloadType>) -> Self {
        Self {
            kind,
            mid: String::new(),
            send: true,
            recv: true,
            payload_types,
            remote_ssrcs: Vec::new(),
            remote_rtx_ssrc: None,
            local_ssrc,
            local_rtx_ssrc: None,
            cname: "bifrons".to_owned(),
            extensions: Vec::new(),
            feedback: Feedback::default(),
        }
    }
}

/// A payload type and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadType {
    /// 0–127.
    pub number: u8,
    /// Encoding name as in `a=rtpmap`, lower case (`opus`, `pcmu`, `vp8`, `telephone-event`, `rtx`).
    pub encoding: String,
    /// RTP clock, Hz.
    pub clock_hz: u32,
    /// For `rtx`: the payload type that it repairs (`apt`).
    pub repairs: Option<u8>,
}

impl PayloadType {
    /// A payload type that repairs no other.
    pub fn new(number: u8, encoding: &str, clock_hz: u32) -> Self {
        Self { number, encoding: encoding.to_owned(), clock_hz, repairs: None }
    }
}

/// Header extensions that the engine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extension {
    /// urn:ietf:params:rtp-hdrext:sdes:mid
    Mid,
    /// urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
    Rid,
    /// urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id
    RepairedRid,
    /// urn:ietf:params:rtp-hdrext:ssrc-audio-level
    AudioLevel,
    /// urn:3gpp:video-orientation
    VideoOrientation,
    /// Transport-wide sequence number
    TransportCc,
    /// abs-send-time
    AbsSendTime,
    /// abs-capture-time
    AbsCaptureTime,
    /// playout-delay
    PlayoutDelay,
    /// AV1 dependency descriptor
    DependencyDescriptor,
}

/// RTCP feedback of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Generic NACK (RFC 4585).
    pub nack: bool,
    /// PLI.
    pub pli: bool,
    /// FIR (RFC 5104).
    pub fir: bool,
    /// REMB.
    pub remb: bool,
    /// Transport-wide congestion control.
    pub transport_cc: bool,
}

/// One output of a route.
#[derive(Clone, Debug)]
pub struct Output {
    /// Where the packets go.
    pub to: StreamRef,
    /// Open: packets pass. Shut: they are dropped and counted; the rewrite goes on.
    pub open: bool,
    /// Payload type on the source → on the output. One that is not listed is dropped and counted.
    pub payload_types: Vec<(u8, u8)>,
}

/// Why a leg ended by itself, or never came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegEnd {
    /// No pair could be validated in time.
    IceFailed,
    /// Consent was lost (RFC 7675).
    ConsentExpired,
    /// The peer sent close_notify or a fatal alert.
    DtlsAlert,
    /// The handshake did not finish in time.
    DtlsTimeout,
    /// The handshake failed, or the certificate is not the SDP's.
    DtlsError,
    /// The worker was restarted after a fault.
    WorkerLost,
}

/// What the engine tells the control side. Notices of a leg arrive in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A pair was selected (also when it changes): local and remote address.
    IceSelected {
        /// The leg.
        leg: LegId,
        /// Ours.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// Consent checks go unanswered; media still flow.
    IceDisconnected {
        /// The leg.
        leg: LegId,
    },
    /// DTLS is done and keys are installed: media may flow.
    Up {
        /// The leg.
        leg: LegId,
    },
    /// The leg is over; close it.
    Ended {
        /// The leg.
        leg: LegId,
        /// Why.
        why: LegEnd,
    },
    /// The first packet of a stream, silence for a while, or its end.
    Receiving {
        /// The stream.
        stream: StreamRef,
        /// Packets arrive.
        receiving: bool,
        /// How long the silence has been, in seconds (0 when `receiving`).
        silent_s: u32,
    },
    /// Losses in the last second over the threshold.
    SlowLink {
        /// The stream.
        stream: StreamRef,
        /// The peer reports losses of what we send; otherwise we miss packets of the peer.
        uplink: bool,
        /// Packets lost.
        lost: u32,
    },
    /// The end of an RFC 4733 event.
    Dtmf {
        /// The stream.
        stream: StreamRef,
        /// 0–15: 0-9, *, #, A-D.
        event: u8,
        /// In RTP clock units.
        duration: u16,
    },
    /// An RTP leg now sends to another address than its SDP said.
    Latched {
        /// The leg.
        leg: LegId,
        /// Where to.
        remote: SocketAddr,
    },
}

impl Notice {
    /// The leg that it is about.
    pub fn leg(&self) -> LegId {
        match self {
            Self::IceSelected { leg, .. }
            | Self::IceDisconnected { leg }
            | Self::Up { leg }
            | Self::Ended { leg, .. }
            | Self::Latched { leg, .. } => *leg,
            Self::Receiving { stream, .. } | Self::SlowLink { stream, .. } | Self::Dtmf { stream, .. } => {
                stream.leg
            }
        }
    }
}

/// Counters of a leg, by m-line.
#[derive(Clone, Debug, Default)]
pub struct LegStats {
    /// One entry an m-line.
    pub streams: Vec<StreamStats>,
}

/// Counters of an m-line. Packets and bytes are RTP packets and payload-with-header bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamStats {
    /// Received from the peer.
    pub in_packets: u64,
    /// Received from the peer.
    pub in_bytes: u64,
    /// Sent to the peer.
    pub out_packets: u64,
    /// Sent to the peer.
    pub out_bytes: u64,
    /// Lost on the way to us, cumulative (RFC 3550 A.3).
    pub in_lost: i64,
    /// Lost on the way to the peer, as it reports.
    pub out_lost: i64,
    /// Interarrival jitter, RTP clock units (RFC 3550 A.8).
    pub in_jitter: u32,
    /// Jitter that the peer reports, RTP clock units.
    pub out_jitter: u32,
    /// Round-trip time from RTCP, microseconds; 0: not known yet.
    pub round_trip_us: u32,
    /// NACKs sent, received.
    pub nacks_sent: u64,
    /// NACKs received.
    pub nacks_received: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Packets dropped because the leg had spent its budget ([`crate::Budgets`]); RTCP counts at the first
    /// m-line.
    pub over_budget: u64,
}

/// Why the engine refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaError {
    /// No such leg (any more).
    NoSuchLeg,
    /// A limit is reached; the text names it.
    Full(&'static str),
    /// All workers are at their limit of load; it passes.
    Busy {
        /// The limit, by its name in the configuration.
        limit: &'static str,
        /// What the least loaded worker has.
        measured: u64,
        /// What it may have.
        max: u64,
    },
    /// No port of the range is free.
    NoPorts {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// No local address of the family that is needed is configured.
    NoAddress,
    /// The remote address is another leg's on the shared port, or on all ports of the group.
    AddressTaken(SocketAddr),
    /// The configuration of a stream or remote is not usable; the text names the member.
    Invalid(String),
    /// A socket call failed.
    Io(String),
}

impl std::fmt::Display for MediaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchLeg => write!(f, "no such leg"),
            Self::Full(what) => write!(f, "{what} is full"),
            Self::Busy { limit, measured, max } => {
                write!(f, "the server is busy: {limit} is {max}, and the least loaded worker has {measured}")
            }
            Self::NoPorts { first, last } => write!(f, "no free port pair in {first}-{last}"),
            Self::NoAddress => write!(f, "no local address of that family is configured"),
            Self::AddressTaken(remote) => {
                write!(f, "the media address {remote} is another call's on the shared RTP port")
            }
            Self::Invalid(what) => write!(f, "{what}"),
            Self::Io(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for MediaError {}
