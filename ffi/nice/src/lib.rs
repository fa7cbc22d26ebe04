//! libnice as ICE and STUN peer in tests.
//!
//! The library is opened at run time and only when a test asks for it, so nothing that ships needs
//! it, and no program links it beside Sofia (both export `stun_message_length`). Where it is not
//! installed [`Nice::load`] says so and the test is skipped. The declarations are written by hand
//! after the headers of libnice 0.1.21; they are the few that the tests use.

mod agent;
mod library;
mod stun;

pub use agent::{ComponentState, NiceAgent, Options};
pub use library::{LoadError, Nice};
pub use stun::StunOracle;
