//! The packet engine: workers, handle table, routes, drivers.
//!
//! | module | gives |
//! | --- | --- |
//! | [`media`] | the control side's vocabulary: legs, streams, routes, notices |
//! | [`id`] | generational ids |
//! | [`driver`] | what moves datagrams: uring, mmsg, sim |

pub mod driver;
pub mod id;
pub mod media;

pub use id::LegId;
pub use media::Media;
