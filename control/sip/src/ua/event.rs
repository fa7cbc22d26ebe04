use std::net::SocketAddr;

use bifrons_sip_protocol::{FromSip, Part};

use super::{AccountId, CallId, ReferId};
use crate::message::{Message, NameAddr, Reason, Replaces};

/// Number of a request that the application sent with [`super::UserAgent::info`] and its like.
pub type RequestId = u64;

/// What the application hears of.
// A few of them a call, each moved twice: a box would only stand in the way of patterns.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum UaEvent {
    /// A REGISTER was answered 200: also on every refresh.
    Registered {
        /// Account.
        account: AccountId,
        /// Granted, in seconds.
        expires_s: u32,
        /// Of the answer.
        details: Details,
    },
    /// A REGISTER failed for good, or a registration was lost.
    RegistrationFailed {
        /// Account; it stays, in state failed, until it is removed or registered again.
        account: AccountId,
        /// Final status; 904 if the credentials were refused (`detail_code` has the real one).
        code: u16,
        /// Reason phrase.
        reason: String,
        /// The status on the wire.
        detail_code: u16,
        /// Tried again by itself after this, in milliseconds.
        retry_in_ms: Option<u64>,
        /// Of the answer.
        details: Details,
    },
    /// Answer to `Expires: 0`; also given if that was not answered or refused, since the account is then unused.
    Unregistered {
        /// Account.
        account: AccountId,
        /// Of the answer.
        details: Details,
    },
    /// An INVITE for an account.
    Incoming {
        /// The new call.
        call: CallId,
        /// Account.
        account: AccountId,
        /// From; its display name as written, quotes included.
        from: NameAddr,
        /// To.
        to: NameAddr,
        /// Request-URI.
        request_uri: String,
        /// SIP Call-ID.
        call_id: String,
        /// Offer; `None` if the INVITE has no body: [`super::UserAgent::accept`] then takes an offer.
        sdp: Option<Vec<u8>>,
        /// Value of Referred-By as written.
        referred_by: Option<String>,
        /// Call to be replaced; [`super::UserAgent::find_call`] finds it.
        replaces: Option<Replaces>,
        /// Of the INVITE.
        details: Details,
    },
    /// A provisional answer above 100 to our INVITE.
    Provisional {
        /// Call.
        call: CallId,
        /// Status.
        code: u16,
        /// Reason phrase.
        reason: String,
        /// Answer (early media).
        sdp: Option<Vec<u8>>,
        /// To tag: another one is another fork.
        to_tag: Option<String>,
        /// Of the answer.
        details: Details,
    },
    /// 2xx to our INVITE. ACK is sent already unless `needs_answer`.
    Accepted {
        /// Call.
        call: CallId,
        /// Session description of the 2xx.
        sdp: Option<Vec<u8>>,
        /// The INVITE had no offer, this one is it: [`super::UserAgent::answer`] sends the ACK.
        needs_answer: bool,
        /// Of the answer.
        details: Details,
    },
    /// ACK to our 2xx: the call is established. `sdp` is the answer if the 2xx had the offer.
    Acknowledged {
        /// Call.
        call: CallId,
        /// Session description of the ACK.
        sdp: Option<Vec<u8>>,
        /// Of the ACK.
        details: Details,
    },
    /// A re-INVITE or UPDATE with an offer, or an offerless re-INVITE: answer it with
    /// [`super::UserAgent::answer_reinvite`] or [`super::UserAgent::reject_reinvite`].
    ReinviteReceived {
        /// Call.
        call: CallId,
        /// Offer; `None`: we have to make one.
        sdp: Option<Vec<u8>>,
        /// From, as in [`UaEvent::Incoming`].
        from: NameAddr,
        /// Of the request.
        details: Details,
    },
    /// Our re-INVITE was answered 2xx. ACK is sent already unless `needs_answer`.
    ReinviteAccepted {
        /// Call.
        call: CallId,
        /// Session description of the 2xx.
        sdp: Option<Vec<u8>>,
        /// The re-INVITE had no offer: [`super::UserAgent::answer`] sends the ACK.
        needs_answer: bool,
        /// Of the answer.
        details: Details,
    },
    /// Our re-INVITE was refused; the session stays as it was.
    ReinviteFailed {
        /// Call.
        call: CallId,
        /// Final status.
        code: u16,
        /// Reason phrase.
        reason: String,
        /// Of the answer.
        details: Details,
    },
    /// A re-INVITE or UPDATE that we had not answered yet is over (cancelled or expired).
    ReinviteCancelled {
        /// Call.
        call: CallId,
    },
    /// The call is over; its id means nothing any more.
    Ended {
        /// Call.
        call: CallId,
        /// Final status as Janus shows it: 200 for BYE, 487 if cancelled, else the final answer's; 904 if
        /// credentials were refused.
        code: u16,
        /// Phrase as Janus shows it: `Session Terminated` (peer's BYE), `to BYE` (ours), `Request Terminated`,
        /// else the answer's.
        reason: String,
        /// The status on the wire where `code` is 904.
        detail_code: u16,
        /// No peer said so: time-out, dead target, lost SIP process.
        internal: bool,
        /// Reason header of the BYE, CANCEL or answer.
        reason_header: Option<Reason>,
        /// Contacts of a redirection (3xx).
        contacts: Vec<String>,
        /// Of the message that ended it.
        details: Details,
    },
    /// INFO in a call; answered 200 already.
    Info {
        /// Call.
        call: CallId,
        /// From.
        from: NameAddr,
        /// Content-Type.
        content_type: String,
        /// Body.
        content: Vec<u8>,
        /// Of the request.
        details: Details,
    },
    /// MESSAGE in or outside a call; answered 200 already.
    Message {
        /// Account.
        account: AccountId,
        /// Call, if in one.
        call: Option<CallId>,
        /// SIP Call-ID.
        call_id: String,
        /// Request-URI.
        request_uri: String,
        /// From.
        from: NameAddr,
        /// Content-Type.
        content_type: String,
        /// Body.
        content: Vec<u8>,
        /// Of the request.
        details: Details,
    },
    /// REFER in or outside a call; answered 202 and NOTIFY `100 Trying` sent already. Tell its progress with
    /// [`super::UserAgent::refer_progress`].
    Refer {
        /// The REFER.
        refer: ReferId,
        /// Account.
        account: AccountId,
        /// Call, if in one.
        call: Option<CallId>,
        /// Target without URI headers.
        refer_to: String,
        /// Call that the target replaces, from `Replaces` in Refer-To whatever its case.
        replaces: Option<Replaces>,
        /// The same as written, escapes resolved.
        replaces_text: Option<String>,
        /// Value of Referred-By as written, else the From URI.
        referred_by: String,
        /// Of the request.
        details: Details,
    },
    /// NOTIFY; answered 200 already.
    Notify {
        /// Account.
        account: AccountId,
        /// Call, if in one (progress of our REFER).
        call: Option<CallId>,
        /// SIP Call-ID.
        call_id: String,
        /// Event header as written.
        event: String,
        /// Subscription-State without parameters; empty if absent.
        state: String,
        /// Content-Type.
        content_type: String,
        /// Body.
        content: Vec<u8>,
        /// Of the request.
        details: Details,
    },
    /// The final answer to a request of the application (INFO, MESSAGE, REFER).
    Answered {
        /// What [`super::UserAgent::info`] and its like returned.
        request: RequestId,
        /// Account.
        account: AccountId,
        /// Call, if in one.
        call: Option<CallId>,
        /// `INFO`, `MESSAGE`, `REFER`.
        method: String,
        /// SIP Call-ID.
        call_id: String,
        /// Final status.
        code: u16,
        /// Reason phrase.
        reason: String,
        /// Of the answer.
        details: Details,
    },
    /// A listener is bound.
    Listening {
        /// Its ident.
        ident: String,
        /// Where; the port that was taken, if 0 was configured.
        address: SocketAddr,
    },
    /// A listener could not be opened, or `bifrons-sip` reports trouble.
    Trouble {
        /// For people.
        detail: String,
    },
    /// What is for others: traces, counters, connections coming up.
    Passed(FromSip),
}

/// What every event tells of the message that made it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// All headers of the message in their order, names and values as written.
    pub headers: Vec<(String, String)>,
    /// Where it came from; `None` if no peer sent it.
    pub source: Option<SocketAddr>,
    /// Contact has the feature tag `isfocus` (RFC 4579).
    pub isfocus: bool,
    /// Parts of a multipart body other than the session description.
    pub parts: Vec<Part>,
}

impl Details {
    pub(super) fn of(message: &Message, source: Option<SocketAddr>, parts: Vec<Part>) -> Self {
        let isfocus =
            message.contacts().is_ok_and(|contacts| contacts.iter().any(|c| c.params.has("isfocus")));
        let headers = message.headers.iter().map(|h| (h.name.clone(), h.value.clone())).collect();
        Self { headers, source, isfocus, parts }
    }
}
