//! Control → `bifrons-sip`.

use std::net::SocketAddr;

use crate::ProtocolError;
use crate::codec::{Field, Reader, Writer, messages};
use crate::{ClientId, FlowId, GateRules, ListenId, ReliableId, ServerId, Settings, TlsSettings, Transport};

messages! {
    /// What control asks of the SIP process. What cannot be done is answered with `FromSip::Refused`.
    pub enum ToSip {
        /// First message, once: its head gives the generation that every later message carries. Answered
        /// with `Ready`.
        1 = Hello {
            /// Timers, limits, TLS.
            settings: Settings,
        },
        /// Opens a listener. Answered with `Listening`.
        2 = Listen [
            /// The listener.
            id: ListenId
        ] {
            /// Name by which requests choose it; several transports and addresses may share an ident.
            ident: String,
            /// What it listens for.
            transport: Transport,
            /// Where; never a wildcard address. Port 0 takes a free one.
            address: SocketAddr,
            /// Host that Via shows instead of the address; empty: the address.
            via_host: String,
            /// The frame carries (SCM_RIGHTS) a UDP socket bound to `address`; it is used instead of a new one.
            descriptor: bool,
            /// Instead of the `tls` of `Settings`.
            tls: Option<TlsSettings>,
        },
        /// Closes a listener and its connections. Answered with `Unlistened`.
        3 = Unlisten [
            /// The listener.
            id: ListenId
        ] {},
        /// Sends a request other than ACK and CANCEL in a client transaction.
        4 = Request [
            /// The new transaction.
            id: ClientId
        ] {
            /// URI to send to; empty: the topmost Route, else the Request-URI (RFC 3261 §8.1.2).
            next_hop: String,
            /// Ident to send from. Its listener must have the transport that is used.
            ident: String,
            /// Connection to send on; without it one is found or made.
            flow: Option<FlowId>,
            /// Options.
            flags: RequestFlags,
            /// The whole request but the top Via, which the stack writes, with `rport` (RFC 3581).
            text: Vec<u8>,
        },
        /// Sends the ACK to a 2xx; the stack repeats it when the 2xx is. ACK to other answers is the stack's.
        5 = Ack [
            /// The INVITE's transaction or fork; it may be gone.
            id: ClientId
        ] {
            /// Branch of the INVITE, from `Response` or from the top Via of a `Stray`.
            branch: String,
            /// As in `Request`.
            next_hop: String,
            /// As in `Request`.
            ident: String,
            /// As in `Request`.
            flow: Option<FlowId>,
            /// The whole ACK but the top Via.
            text: Vec<u8>,
        },
        /// Cancels an INVITE. Its final answer (487, or a 2xx that crossed) still comes as `Response`. Before
        /// the first provisional answer the CANCEL waits for it (RFC 3261 §9.1).
        6 = Cancel [
            /// The INVITE's transaction, not a fork.
            id: ClientId
        ] {
            /// Header lines to add, e.g. Reason.
            headers: Vec<u8>,
        },
        /// Makes a transaction of its own for another To tag of an INVITE (a second early dialog). Needed
        /// before its 2xx comes, or the stack answers that with ACK and BYE.
        7 = Fork [
            /// The INVITE's transaction.
            id: ClientId
        ] {
            /// The fork; `Response`s with this To tag carry it from now on.
            fork: ClientId,
            /// The To tag.
            to_tag: String,
        },
        /// Answers a request.
        8 = Respond [
            /// The request's transaction.
            id: ServerId
        ] {
            /// 100–699. A final one ends the transaction; a 2xx to INVITE after its ACK.
            status: u16,
            /// Reason phrase; empty: the standard's.
            reason: String,
            /// Our To tag; empty: none is added (or the one given before).
            to_tag: String,
            /// Header lines, without Via, From, To, Call-ID, CSeq, Content-Length, Record-Route.
            headers: Vec<u8>,
            /// Body; its Content-Type stands in `headers`.
            body: Vec<u8>,
            /// Send a 101–199 reliably (RFC 3262); RSeq and Require are the stack's. `Prack` tells the end.
            reliable: Option<ReliableId>,
        },
        /// Frees a transaction: a client one after its final answer, a 2xx'd INVITE's when its ACK need not
        /// be repeated any more; a server one at once answers 500 if it was not answered. Not needed after
        /// `Expired`.
        9 = Release {
            /// Which.
            transaction: TransactionId,
        },
        /// Replaces the gate's rules.
        10 = Gate {
            /// The rules.
            rules: GateRules,
        },
        /// Something with a connection.
        11 = Flow [
            /// The connection.
            id: FlowId
        ] {
            /// What.
            action: FlowAction,
        },
        /// Turns tracing of all SIP messages on or off.
        12 = Trace {
            /// Send `FromSip::Trace`.
            on: bool,
        },
        /// Asks for `Counters`.
        13 = Stats {},
        /// Answers every new request outside a dialog 503 from now on; what runs goes on.
        14 = Drain {
            /// Retry-After in seconds; 0: none.
            retry_after_s: u32,
        },
        /// Ends the process at once, in order: sockets closed, exit status 0.
        15 = Stop {},
    }
}

/// A transaction of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionId {
    /// One that we started.
    Client(ClientId),
    /// One that a peer started.
    Server(ServerId),
    /// A reliable response: it is no longer repeated and its PRACK no longer reported.
    Reliable(ReliableId),
}

impl Field for TransactionId {
    fn put(&self, to: &mut Writer) {
        match self {
            TransactionId::Client(id) => (1u8, *id).put(to),
            TransactionId::Server(id) => (2u8, *id).put(to),
            TransactionId::Reliable(id) => (3u8, *id).put(to),
        }
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        match u8::take(from)? {
            1 => ClientId::take(from).map(TransactionId::Client),
            2 => ServerId::take(from).map(TransactionId::Server),
            3 => ReliableId::take(from).map(TransactionId::Reliable),
            _ => Err(ProtocolError::Value { field: "TransactionId" }),
        }
    }
    #[cfg(test)]
    fn sample(rng: &mut crate::codec::TestRng) -> Self {
        match u8::sample(rng) % 3 {
            0 => TransactionId::Client(Field::sample(rng)),
            1 => TransactionId::Server(Field::sample(rng)),
            _ => TransactionId::Reliable(Field::sample(rng)),
        }
    }
}

/// Options of a request; bits that are not defined are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestFlags(u32);

impl RequestFlags {
    /// No option.
    pub const NONE: RequestFlags = RequestFlags(0);
    /// Report 100 Trying too.
    pub const REPORT_100: RequestFlags = RequestFlags(1);
    const ALL: u32 = 1;

    /// Whether all options of `other` are set.
    pub fn contains(self, other: RequestFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The options of both.
    #[must_use]
    pub fn with(self, other: RequestFlags) -> RequestFlags {
        RequestFlags(self.0 | other.0)
    }
}

impl Field for RequestFlags {
    fn put(&self, to: &mut Writer) {
        self.0.put(to);
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        match u32::take(from)? {
            bits if bits & !RequestFlags::ALL == 0 => Ok(RequestFlags(bits)),
            _ => Err(ProtocolError::Value { field: "RequestFlags" }),
        }
    }
    #[cfg(test)]
    fn sample(rng: &mut crate::codec::TestRng) -> Self {
        RequestFlags(u32::sample(rng) & RequestFlags::ALL)
    }
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowAction {
    /// Close it.
    Close,
    /// Send CR LF CR LF so often and expect CR LF (RFC 5626 §3.5.1); 0 stops.
    Ping {
        /// In milliseconds.
        interval_ms: u32,
    },
}

impl Field for FlowAction {
    fn put(&self, to: &mut Writer) {
        match self {
            FlowAction::Close => 1u8.put(to),
            FlowAction::Ping { interval_ms } => (2u8, *interval_ms).put(to),
        }
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        match u8::take(from)? {
            1 => Ok(FlowAction::Close),
            2 => Ok(FlowAction::Ping { interval_ms: u32::take(from)? }),
            _ => Err(ProtocolError::Value { field: "FlowAction" }),
        }
    }
    #[cfg(test)]
    fn sample(rng: &mut crate::codec::TestRng) -> Self {
        if bool::sample(rng) { FlowAction::Close } else { FlowAction::Ping { interval_ms: u32::sample(rng) } }
    }
}
