//! What a handle of the SIP plugin is: an account, a call.

use bifrons_sip_ua::ua::{AccountId, CallId};
use bifrons_wire::sdp::{Direction, Suite};

use crate::plain::{PlainConfig, PlainSide, SrtpPolicy};
use crate::unique::unique_id;

/// Registration state, with the words of `handle_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// No account.
    #[default]
    Unregistered,
    /// REGISTER is under way.
    Registering,
    /// The registrar has us.
    Registered,
    /// `Expires: 0` is under way.
    Unregistering,
    /// An account that does not register: guest, or `send_register` false.
    Disabled,
}

impl Registration {
    /// The word that clients know.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unregistered => "unregistered",
            Self::Registering => "registering",
            Self::Registered => "registered",
            Self::Unregistering => "unregistering",
            Self::Disabled => "disabled",
        }
    }

    /// A call can be made.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Registered | Self::Disabled)
    }
}

/// Call state, with the words of `handle_info` and of error texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Our INVITE has no final answer.
    Inviting,
    /// The peer's INVITE has none.
    Invited,
    /// We sent 183 with media.
    Progress,
    /// Media run.
    Incall,
    /// Our re-INVITE is under way.
    Reinviting,
    /// The peer's re-INVITE waits for the client.
    Reinvited,
    /// The end is under way.
    Closing,
}

impl Status {
    /// The word that clients know.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inviting => "inviting",
            Self::Invited => "invited",
            Self::Progress => "progress",
            Self::Incall => "incall",
            Self::Reinviting => "incall_reinviting",
            Self::Reinvited => "incall_reinvited",
            Self::Closing => "closing",
        }
    }

    /// A session is established.
    pub fn is_incall(self) -> bool {
        matches!(self, Self::Incall | Self::Reinviting | Self::Reinvited)
    }
}

/// What a re-INVITE of ours is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Reinvite {
    /// Hold or its end; the direction before it, to roll back to.
    Hold(Option<Direction>),
    /// A renegotiation by the browser, which waits for the answer.
    Update,
}

/// A call.
pub struct Call {
    /// The user agent's.
    pub id: CallId,
    /// SIP Call-ID.
    pub call_id: String,
    /// State.
    pub status: Status,
    /// Transaction of the `call`, which events caused by SIP carry.
    pub transaction: Option<String>,
    /// RTP legs and descriptions.
    pub plain: PlainSide,
    /// SRTP as the client asked for.
    pub policy: SrtpPolicy,
    /// The suite of offers of ours.
    pub suite: Suite,
    /// The peer's re-INVITEs are answered without asking the client.
    pub autoaccept: bool,
    /// The INVITE had no offer: `accept` brings ours.
    pub offerless: bool,
    /// The browser has its answer (early media).
    pub answered: bool,
    /// What a re-INVITE under way is for.
    pub reinvite: Option<Reinvite>,
    /// The answer to an offer that changed nothing; it follows the reply.
    pub repeated: Option<String>,
    /// The other end's address, for `dtmf` and `handle_info`.
    pub peer: String,
    /// Why we end the call ourselves, for `hangup`: cause and text.
    pub own_cause: Option<(u16, String)>,
}

impl Call {
    /// A call that begins in `status`.
    pub fn new(id: CallId, call_id: String, status: Status, peer: String, plain: PlainConfig) -> Self {
        Self {
            id,
            call_id,
            status,
            transaction: None,
            plain: PlainSide::new(plain),
            policy: SrtpPolicy::Follow,
            suite: Suite::AesCm128HmacSha1_80,
            autoaccept: true,
            offerless: false,
            answered: false,
            reinvite: None,
            repeated: None,
            peer,
            own_cause: None,
        }
    }
}

/// A handle.
pub struct Handle {
    /// For logs and event handlers.
    pub unique_id: String,
    /// A number that stays for the handle's life.
    pub master_id: u32,
    /// The user agent's account.
    pub account: Option<AccountId>,
    /// Its state.
    pub registration: Registration,
    /// User part of the address of record.
    pub username: String,
    /// Address of record.
    pub identity: String,
    /// Digest user, display name, User-Agent: for `handle_info`.
    pub shown: [Option<String>; 3],
    /// Prefixes of headers to report.
    pub prefixes: Vec<String>,
    /// 180 is sent by itself.
    pub automatic_ringing: bool,
    /// The call.
    pub call: Option<Call>,
    /// Callee of the last call; outlives it in `handle_info`.
    pub last_callee: Option<String>,
}

impl Default for Handle {
    /// A handle without account.
    fn default() -> Self {
        let mut number = [0; 4];
        // Tells handles apart for people; nothing is protected by it.
        let _ = getrandom::fill(&mut number);
        Self {
            unique_id: unique_id(),
            master_id: u32::from_le_bytes(number),
            account: None,
            registration: Registration::Unregistered,
            username: String::new(),
            identity: String::new(),
            shown: [None, None, None],
            prefixes: Vec::new(),
            automatic_ringing: true,
            call: None,
            last_callee: None,
        }
    }
}

impl Handle {
    /// Word of the call's state; `idle` without one.
    pub fn status_word(&self) -> &'static str {
        self.call.as_ref().map_or("idle", |call| call.status.word())
    }

    /// SIP Call-ID of the call.
    pub fn call_id(&self) -> Option<String> {
        self.call.as_ref().map(|call| call.call_id.clone())
    }

    /// Transaction that events caused by SIP carry.
    pub fn transaction(&self) -> Option<String> {
        self.call.as_ref().and_then(|call| call.transaction.clone())
    }
}
