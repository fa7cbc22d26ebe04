//! The packet engine: workers, handle table, routes, drivers.
//!
//! | module | gives |
//! | --- | --- |
//! | [`media`] | the control side's vocabulary: legs, streams, routes, notices |
//! | [`id`] | generational ids |
//! | [`driver`] | what moves datagrams: uring, mmsg, sim |
//! | [`counter`] | what a worker counts |

pub mod counter;
pub mod driver;
mod flow;
pub mod id;
pub mod media;
mod timer;

pub use id::LegId;
pub use media::Media;
