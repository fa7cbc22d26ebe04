//! Fuzz targets for every parser that eats bytes from the network.
//!
//! A target is a function of bytes that must not panic, must end soon, and asserts what holds for every
//! input: what is written is read back as it was, an edit leaves alone what it does not name. `ci/fuzz` runs
//! the targets under libFuzzer; `tests/corpus.rs` runs each over its corpus as an ordinary test.
#![forbid(unsafe_code)]

mod frame;
mod link;
mod rtcp;
mod rtp;
mod sdp;
mod sip;
mod stun;

pub use frame::frame;
pub use link::link;
pub use rtcp::rtcp;
pub use rtp::rtp;
pub use sdp::sdp;
pub use sip::sip;
pub use stun::stun;

/// A target's name and body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 7] = [
    ("stun", stun),
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("sdp", sdp),
    ("sip", sip),
    ("link", link),
    ("frame", frame),
];
