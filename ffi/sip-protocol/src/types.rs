//! Values that several messages share.

use std::net::SocketAddr;

use crate::ProtocolError;
use crate::codec::{Field, Reader, Writer, code, lists, record};
use crate::{FlowId, ServerId};

code! {
    /// What carries SIP (RFC 3261 §18).
    pub enum Transport {
        /// Datagrams.
        Udp = 1,
        /// Connections.
        Tcp = 2,
        /// TLS over connections.
        Tls = 3,
    }
}

impl Transport {
    /// As in a URI's `transport` parameter.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

record! {
    /// Where a message came from and where it arrived.
    pub struct Origin {
        /// Source address of the datagram or connection; not what Via says.
        pub source: SocketAddr,
        /// Local address at which it arrived.
        pub local: SocketAddr,
        /// Name of the listener's ident.
        pub ident: String,
        /// What carried it.
        pub transport: Transport,
        /// The connection; none over UDP.
        pub flow: Option<FlowId>,
        /// The certificate shown; none over UDP and TCP.
        pub tls: Option<TlsPeer>,
    }
}

record! {
    /// What is known of the other end of a TLS connection.
    pub struct TlsPeer {
        /// Names in its certificate (subject alternative names and common name), empty if it showed none.
        pub subjects: Vec<String>,
        /// The certificate chains to a configured authority. The names are not compared with anything.
        pub verified: bool,
    }
}

record! {
    /// One part of a `multipart/` body that is not the session description (RFC 2046 §5.1).
    pub struct Part {
        /// The part's own headers, lines ended by CR LF.
        pub headers: Vec<u8>,
        /// Its content.
        pub body: Vec<u8>,
    }
}
lists!(Part);

code! {
    /// Why a server transaction ended without us.
    pub enum ExpiredCause {
        /// A 2xx to INVITE was repeated for 64*T1 and not acknowledged (RFC 3261 §13.3.1.4): send BYE.
        NoAck = 1,
        /// Control gave no final answer in time; 500 (other than INVITE: after 64*T1) was sent for it.
        Unanswered = 2,
        /// The stack ended the transaction itself.
        Ended = 3,
    }
}

/// What became of a reliable provisional response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrackOutcome {
    /// A PRACK came. It is a server transaction of its own that control answers with `Respond`.
    Received {
        /// The PRACK's transaction.
        server: ServerId,
        /// Where it came from.
        origin: Origin,
        /// The PRACK.
        text: Vec<u8>,
        /// Parts of its body other than the session description.
        parts: Vec<Part>,
    },
    /// None came in 64*T1 (RFC 3262 §3); the stack has answered the INVITE 503.
    TimedOut,
}

impl Field for PrackOutcome {
    fn put(&self, to: &mut Writer) {
        match self {
            PrackOutcome::Received { server, origin, text, parts } => {
                1u8.put(to);
                server.put(to);
                origin.put(to);
                text.put(to);
                parts.put(to);
            }
            PrackOutcome::TimedOut => 2u8.put(to),
        }
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        match u8::take(from)? {
            1 => Ok(PrackOutcome::Received {
                server: Field::take(from)?,
                origin: Field::take(from)?,
                text: Field::take(from)?,
                parts: Field::take(from)?,
            }),
            2 => Ok(PrackOutcome::TimedOut),
            _ => Err(ProtocolError::Value { field: "PrackOutcome" }),
        }
    }
    #[cfg(test)]
    fn sample(rng: &mut crate::codec::TestRng) -> Self {
        if bool::sample(rng) {
            PrackOutcome::TimedOut
        } else {
            PrackOutcome::Received {
                server: Field::sample(rng),
                origin: Field::sample(rng),
                text: Field::sample(rng),
                parts: Field::sample(rng),
            }
        }
    }
}

code! {
    /// Why a connection is gone.
    pub enum DownCause {
        /// The peer closed it.
        Closed = 1,
        /// An error of the connection or of TLS.
        Failed = 2,
        /// Control asked for it, or the listener was closed.
        Local = 3,
    }
}

code! {
    /// Direction of a traced message.
    pub enum TraceDirection {
        /// Received from the network.
        Received = 1,
        /// Sent to the network.
        Sent = 2,
    }
}

code! {
    /// Why a message of control could not be done. Nothing of it was.
    pub enum RefusedReason {
        /// The id is not (or no longer) known.
        UnknownId = 1,
        /// The id is in use.
        DuplicateId = 2,
        /// The text, a URI, a header or a tag cannot be parsed; the detail says which.
        Malformed = 3,
        /// No listener has this ident (and transport).
        UnknownIdent = 4,
        /// The connection is gone.
        UnknownFlow = 5,
        /// It does not fit the transaction's state, e.g. a second final answer.
        State = 6,
        /// A limit of `Settings` is reached.
        Limit = 7,
        /// The address could not be bound, or the TLS files could not be loaded; the detail says why.
        Listen = 8,
        /// The stack refused for a reason of its own.
        Stack = 9,
        /// A message before `Hello`, a second `Hello`, or one that this version cannot do.
        Unsupported = 10,
        /// The frame could not be decoded; the detail says why.
        Protocol = 11,
    }
}
