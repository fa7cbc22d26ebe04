use std::collections::VecDeque;

use bifrons_sip_protocol::{ClientId, ReliableId, ServerId};

use super::AccountId;
use super::dialog::Dialog;
use crate::message::{Headers, Method};

/// Most early dialogs of one INVITE besides the first.
pub(super) const FORKS_MAX: usize = 16;
/// Most provisional answers that wait for a PRACK.
pub(super) const ANSWERS_MAX: usize = 8;
/// How often a re-INVITE is tried again after 491.
pub(super) const GLARE_TRIES_MAX: u8 = 3;

/// One call. Its state is [`Phase`] and [`Offer`]; there are no other flags.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub account: AccountId,
    pub dialog: Dialog,
    pub phase: Phase,
    pub offer: Offer,
    /// A re-INVITE of ours that met the peer's (491): sent again at this time.
    pub later: Option<(u64, Retry)>,
    /// Early dialogs besides `dialog`.
    pub forks: Vec<Fork>,
    /// RSeq of the last reliable answer in `dialog` that we acknowledged by PRACK.
    pub rseq: u32,
    /// Credentials of the last INVITE, for its ACK (RFC 3261 §22.1).
    pub invite_auth: Vec<(&'static str, String)>,
    /// The session timer, if there is one.
    pub session: Option<SessionTimer>,
    /// When the call has something to do by itself.
    pub wake_at: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Our INVITE has no final answer.
    Calling {
        client: ClientId,
        /// Give up (then: cancel, then: end) at this time.
        deadline: u64,
        cancelled: bool,
        /// The SIP process that knew the INVITE is gone: only a stray answer can come.
        orphaned: bool,
        has_offer: bool,
    },
    /// Our INVITE had no offer and was answered: the application makes the answer for the ACK.
    AnswerPending { client: ClientId, branch: String, cseq: u32, deadline: u64 },
    /// The peer's INVITE has no final answer of ours.
    Ringing(Ringing),
    /// Our 2xx has no ACK yet.
    Answered { server: Serving, deadline: u64, last: Answer, hangup: Option<Vec<(String, String)>> },
    /// Both sides agree that there is a session.
    Established,
    /// Our BYE has no answer yet.
    Ending { deadline: u64 },
}

/// A server transaction and the life of the SIP process that knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Serving {
    pub id: ServerId,
    pub life: u32,
    pub cseq: u32,
}

/// What we know of an INVITE that we have not answered finally.
#[derive(Debug, Clone)]
pub(super) struct Ringing {
    pub server: Serving,
    pub deadline: u64,
    /// Last provisional answer, to be repeated if the INVITE comes again.
    pub last: Option<Answer>,
    /// The reliable answer that waits for its PRACK.
    pub unacknowledged: Option<ReliableId>,
    /// Answers that wait for that PRACK.
    pub queue: VecDeque<Answer>,
    pub reliable: bool,
}

/// An answer of ours without the headers that the stack writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    pub reason: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// Another early dialog of our INVITE.
#[derive(Debug, Clone)]
pub(super) struct Fork {
    pub client: ClientId,
    pub dialog: Dialog,
    pub rseq: u32,
}

/// An offer inside the established session, in either direction.
#[derive(Debug, Clone)]
pub(super) enum Offer {
    None,
    /// Our re-INVITE has no final answer.
    Sent {
        client: ClientId,
        try_: Retry,
        deadline: u64,
    },
    /// It had no offer and was answered: the application makes the answer for the ACK.
    AnswerPending {
        client: ClientId,
        branch: String,
        cseq: u32,
        deadline: u64,
    },
    /// The peer's re-INVITE or UPDATE has no answer of ours.
    Received {
        server: Serving,
        method: Method,
        deadline: u64,
    },
    /// Our 2xx to its re-INVITE has no ACK yet.
    Answered {
        server: Serving,
        last: Answer,
        deadline: u64,
    },
}

/// A re-INVITE, to be sent again.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    pub sdp: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
    pub tries: u8,
}

/// A session timer that the peer refreshes (RFC 4028).
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionTimer {
    pub interval_ms: u64,
    pub expires_at: u64,
}

impl Call {
    /// The earliest of its deadlines.
    pub fn next_deadline(&self) -> Option<u64> {
        let phase = match &self.phase {
            Phase::Calling { deadline, .. }
            | Phase::AnswerPending { deadline, .. }
            | Phase::Answered { deadline, .. }
            | Phase::Ending { deadline } => Some(*deadline),
            Phase::Ringing(ringing) => Some(ringing.deadline),
            Phase::Established => None,
        };
        let offer = match &self.offer {
            Offer::None => None,
            Offer::Sent { deadline, .. }
            | Offer::AnswerPending { deadline, .. }
            | Offer::Received { deadline, .. }
            | Offer::Answered { deadline, .. } => Some(*deadline),
        };
        let session = self.session.map(|session| session.expires_at);
        let later = self.later.as_ref().map(|(at, _)| *at);
        [phase, offer, session, later].into_iter().flatten().min()
    }

    /// True while the session can carry offers and other requests.
    pub fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established)
    }

    /// Names the state for an error.
    pub fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Calling { .. } => "inviting",
            Phase::AnswerPending { .. } => "answer pending",
            Phase::Ringing(_) => "invited",
            Phase::Answered { .. } => "answered, not acknowledged",
            Phase::Established => "incall",
            Phase::Ending { .. } => "closing",
        }
    }
}
