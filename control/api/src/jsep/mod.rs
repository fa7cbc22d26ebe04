//! Session descriptions between a client, the core and a plugin.
//!
//! A client's SDP is parsed and checked (`rules`), read (`remote`), and given to the plugin without its
//! transport (`anonymize`). A plugin's SDP gets ours (`merge`). Once an offer has its answer, what was
//! agreed goes to the engine (`streams`). `peer_connection` is the state in the middle.

mod anonymize;
mod merge;
mod peer_connection;
mod remote;
pub(crate) mod rules;
mod streams;
mod uri;

pub(crate) use anonymize::anonymize;
pub(crate) use peer_connection::{PeerConnection, Surroundings};
pub(crate) use remote::RemoteDescription;
