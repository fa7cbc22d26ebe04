//! The transport of a WebRTC leg: ICE and DTLS on the worker's shared port.

use std::net::SocketAddr;
use std::time::Duration;

use bifrons_rtc::{Time, ice};

use crate::handshake::Start;

/// ICE agent and where DTLS stands.
pub(crate) struct WebRtcTransport {
    pub agent: ice::Agent,
    pub dtls: DtlsPhase,
    /// What the handshake thread needs; goes there when the first pair is validated.
    pub start: Option<Box<Start>>,
    /// Addresses that it has in the flow table.
    pub flows: Vec<(u8, SocketAddr)>,
    /// An address that it has validated and that another leg has.
    pub wanted: Option<WantedFlow>,
    dtls_window: Time,
    dtls_carried: u8,
}

impl WebRtcTransport {
    pub(crate) fn new(agent: ice::Agent) -> Self {
        Self {
            agent,
            dtls: DtlsPhase::Idle,
            start: None,
            flows: Vec::with_capacity(FLOWS_MAX),
            wanted: None,
            dtls_window: Time::ZERO,
            dtls_carried: 0,
        }
    }

    /// Where DTLS goes: over the selected pair, and before there is one over the validated pair that it
    /// came from. A browser begins as soon as its first check was answered, one round trip and a pace
    /// of checks before it nominates.
    pub(crate) fn dtls_path(&self) -> Option<(u8, SocketAddr)> {
        let selected = self.agent.selected().map(|pair| (pair.socket, pair.remote));
        selected.or_else(|| self.flows.last().copied())
    }

    /// DTLS from here is the peer's: the flow table holds only what was validated.
    pub(crate) fn takes_dtls_from(&self, socket: u8, source: SocketAddr) -> bool {
        match self.agent.selected() {
            Some(pair) => pair.socket == socket && pair.remote == source,
            None => self.flows.contains(&(socket, source)),
        }
    }

    /// Whether one more DTLS datagram may be carried now: a peer that floods us fills no queue that other
    /// legs need.
    pub(crate) fn may_carry_dtls(&mut self, now: Time) -> bool {
        if now - self.dtls_window >= DTLS_WINDOW {
            self.dtls_window = now;
            self.dtls_carried = 0;
        }
        let may = self.dtls_carried < DTLS_WINDOW_DATAGRAMS_MAX;
        self.dtls_carried += u8::from(may);
        may
    }
}

/// DTLS datagrams that a leg may have carried in a [`DTLS_WINDOW`]. A flight has at most four or so.
pub(crate) const DTLS_WINDOW_DATAGRAMS_MAX: u8 = 16;
/// What a handshake thread needs to work off that many, with room to spare.
const DTLS_WINDOW: Duration = Duration::from_millis(50);

/// An address that is another leg's. It is asked for again: that leg may end, or show that its handshake is
/// over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedFlow {
    pub flow: (u8, SocketAddr),
    /// Then it is given up.
    pub until: Time,
}

/// How long a leg waits for an address of another: a peer reports within five seconds.
pub(crate) const WANTED_WAIT: Duration = Duration::from_secs(15);

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
