//! The transport of a WebRTC leg: ICE and DTLS on the worker's shared port.

use bifrons_rtc::ice;

use crate::handshake::Start;

/// ICE agent and where DTLS stands.
pub(crate) struct WebRtcTransport {
    pub agent: ice::Agent,
    pub dtls: DtlsPhase,
    /// What the handshake thread needs; goes there when the first pair is selected.
    pub start: Option<Box<Start>>,
    /// Addresses that it has in the flow table.
    pub flows: Vec<(u8, std::net::SocketAddr)>,
}

/// Addresses that one leg may have in the flow table.
pub(crate) const FLOWS_MAX: usize = 8;

/// Where the DTLS session of a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DtlsPhase {
    /// No remote description, or no pair yet.
    Idle,
    /// The handshake thread has it.
    Started,
    /// Keys are installed.
    Done,
}

/// What [`crate::media::WebRtcRemote`] becomes once it is checked.
pub(crate) struct RemotePlan {
    /// `None`: they have not changed.
    pub credentials: Option<ice::RemoteCredentials>,
    pub ice_lite: bool,
    pub candidates: Vec<ice::RemoteCandidate>,
    pub end_of_candidates: bool,
    /// A DTLS session to start: the first one, or one with another fingerprint.
    pub start: Option<Box<Start>>,
}
