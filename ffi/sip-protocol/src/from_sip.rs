//! `bifrons-sip` → control.

use std::net::SocketAddr;

use crate::codec::{lists, messages};
use crate::{
    ClientId, DownCause, ExpiredCause, FlowId, ListenId, Origin, Part, PrackOutcome, RefusedReason,
    ReliableId, ServerId, TlsPeer, TraceDirection, Transport,
};

messages! {
    /// What the SIP process reports. `text` is a whole SIP message with the stack's own spelling and order of
    /// headers; of a `multipart/` body only the session description stays in it, the rest is in `parts`.
    pub enum FromSip {
        /// Answer to `Hello`.
        1 = Ready {
            /// Version of the Sofia-SIP library.
            library: String,
        },
        /// Answer to `Listen`.
        2 = Listening [
            /// The listener.
            id: ListenId
        ] {
            /// Where it is bound; the port that was taken, if 0 was asked for.
            address: SocketAddr,
        },
        /// A request other than ACK and CANCEL. Control answers it with `Respond`; a 100 has been sent where
        /// the standard wants one.
        3 = Request [
            /// The new server transaction.
            id: ServerId
        ] {
            /// Where it came from.
            origin: Origin,
            /// The request.
            text: Vec<u8>,
            /// Parts of its body other than the session description.
            parts: Vec<Part>,
        },
        /// The ACK to our 2xx; the transaction is freed.
        4 = Ack [
            /// The INVITE's transaction.
            id: ServerId
        ] {
            /// The ACK.
            text: Vec<u8>,
            /// Parts of its body other than the session description.
            parts: Vec<Part>,
        },
        /// The INVITE was cancelled: 200 and 487 have been sent, the transaction is freed.
        5 = Cancelled [
            /// The INVITE's transaction.
            id: ServerId
        ] {
            /// The CANCEL.
            text: Vec<u8>,
        },
        /// The server transaction ended without an answer of ours or an ACK to it, and is freed.
        6 = Expired [
            /// The transaction.
            id: ServerId
        ] {
            /// Why.
            cause: ExpiredCause,
        },
        /// An answer to our request.
        7 = Response [
            /// The transaction or fork.
            id: ClientId
        ] {
            /// Its status; also where `text` is empty.
            status: u16,
            /// The stack made it: 408 after 64*T1, 503 for a dead target or a name that does not resolve.
            internal: bool,
            /// Where it came from; none if internal.
            origin: Option<Origin>,
            /// Branch of our request: what an ACK needs.
            branch: String,
            /// The answer; may be empty if internal.
            text: Vec<u8>,
            /// Parts of its body other than the session description.
            parts: Vec<Part>,
        },
        /// The end of a reliable provisional response.
        8 = Prack [
            /// The response.
            id: ReliableId
        ] {
            /// PRACK or time-out.
            outcome: PrackOutcome,
        },
        /// A final answer without a transaction: of an earlier life, or later than 64*T1.
        9 = Stray {
            /// Where it came from.
            origin: Origin,
            /// The answer; its top Via has the branch.
            text: Vec<u8>,
            /// Parts of its body other than the session description.
            parts: Vec<Part>,
        },
        /// A connection carried its first SIP message.
        10 = FlowUp [
            /// The connection.
            id: FlowId
        ] {
            /// TCP or TLS.
            transport: Transport,
            /// Its listener's ident.
            ident: String,
            /// Our end.
            local: SocketAddr,
            /// The other end.
            remote: SocketAddr,
            /// The certificate shown, with TLS.
            tls: Option<TlsPeer>,
        },
        /// A connection is gone.
        11 = FlowDown [
            /// The connection.
            id: FlowId
        ] {
            /// The other end.
            remote: SocketAddr,
            /// Why.
            cause: DownCause,
        },
        /// A SIP message as it passed.
        12 = Trace {
            /// Received or sent.
            direction: TraceDirection,
            /// What carried it.
            transport: Transport,
            /// Sender's address.
            source: SocketAddr,
            /// Receiver's address.
            destination: SocketAddr,
            /// Microseconds since 1970-01-01 00:00 UTC.
            time_us: u64,
            /// The message; over UDP its very bytes, else as parsed.
            text: Vec<u8>,
        },
        /// A message of control was not done.
        13 = Refused {
            /// Type number of that message.
            kind: u8,
            /// Its id (head), or the transaction's for `Release`.
            about: u64,
            /// Why.
            reason: RefusedReason,
            /// For people.
            detail: String,
        },
        /// Answer to `Stats`.
        14 = Counters {
            /// Name and value since the start of the process; a name that ends in `_now` is a gauge.
            counters: Vec<(String, u64)>,
        },
        /// Something went wrong that belongs to no message of control.
        15 = Error {
            /// For people.
            detail: String,
        },
        /// Answer to `Unlisten`.
        16 = Unlistened [
            /// The listener.
            id: ListenId
        ] {},
    }
}
lists!((String, u64));
