//! Interactive Connectivity Establishment (RFC 8445) for a server: one [`Agent`] a leg, one
//! component, several local addresses, trickle (RFC 8838), consent (RFC 7675), full or lite.
//!
//! An agent never meets an address map. A request carries the local ufrag and a response its
//! transaction id, and both hold the leg's token ([`id`]): [`id::leg_token`] reads it from any
//! message. Checks leave in [`Agent::on_timeout`] only, so they are paced in one place; requests are
//! answered and nominations take effect inside [`Agent::handle_stun`]. After each call the driver
//! looks at [`Agent::next_timeout`] and polls the events.
//!
//! A request is parsed, routed and answered in 0.41 µs, a check written in 0.26 µs and its response
//! taken in 0.17 µs, with 10,000 agents in turn (`examples/ice_cost.rs`).
//!
//! Everything learned from the peer has a bound ([`REMOTE_CANDIDATES_MAX`], [`PAIRS_MAX`], …), and
//! nothing is allocated after the agent was made.

mod agent;
pub mod candidate;
mod checks;
mod consent;
mod counters;
mod credentials;
pub mod id;
mod pair;
mod random;
mod requests;
mod responses;

pub use agent::{
    Agent, AgentConfig, ConsentLoss, Event, LOCAL_CANDIDATES_MAX, LocalCandidate, Outcome, PAIRS_MAX,
    PEER_REFLEXIVE_MAX, REMOTE_CANDIDATES_MAX, Role, SelectedPair, Sink, State, Timers,
};
pub use candidate::{AddressPolicy, Candidate, Ignored, RemoteCandidate};
pub use counters::Counters;
pub use credentials::{CredentialsError, LocalCredentials, RemoteCredentials};
pub use id::TransactionIds;
pub use random::{OsRandom, Random, SeededRandom};

#[cfg(test)]
mod tests;
