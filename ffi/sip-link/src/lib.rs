//! Starts `bifrons-sip` and carries messages to and from it.
//!
//! - [`Link`]: one end of the non-blocking Unix `SOCK_SEQPACKET` pair; a datagram is a frame of
//!   `bifrons-sip-protocol`, and may carry one descriptor.
//! - [`SipProcess`]: the program with its other end as descriptor 3. It dies with its parent.
//!
//! Both are plain descriptors: tokio's `AsyncFd` (over [`Link`]) or any poll loop waits for them.

mod link;
mod process;

pub use link::{Link, Received};
pub use process::{LINK_FD, SipProcess};
