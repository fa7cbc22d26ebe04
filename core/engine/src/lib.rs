//! The packet engine: workers, handle table, routes, drivers.
//!
//! | module | gives |
//! | --- | --- |
//! | [`media`] | the control side's vocabulary: legs, streams, routes, notices |
//! | [`id`] | generational ids |
//! | [`config`] | what an engine is started with, and all its limits |
//! | [`driver`] | what moves datagrams: uring, mmsg, xdp, sim |
//! | [`tap`] | copies of a stream's packets for other threads |
//! | [`counter`] | what a worker counts: every reason to drop a packet has a name |
//!
//! [`Engine::start`] makes an engine with threads of its own. A host with event loops of its own takes
//! [`Engine::assemble`], makes each [`Worker`] on its thread, and calls [`Worker::turn_ready`] whenever
//! [`Worker::wake_fd`] is readable or the time has come that it returned (`examples/`).

mod budget;
pub mod config;
mod control;
pub mod counter;
pub mod driver;
mod flow;
mod handshake;
pub mod id;
mod leg;
mod load;
pub mod media;
mod message;
#[cfg(all(test, feature = "loom"))]
mod models;
mod ports;
mod random;
mod signal;
mod sync;
pub mod tap;
#[doc(hidden)]
pub mod timer;
mod wake;
mod worker;
mod worker_set;

pub use config::{
    Admission, Budgets, DriverChoice, EngineConfig, Limits, LocalAddress, SHARED_PORTS_MAX, StartError,
};
pub use control::{
    AdmissionCount, AdmissionCounters, Assembled, BoundSocket, Engine, SimEngine, StartReport,
};
pub use handshake::{HandshakeCount, HandshakeCounters, Handshaker};
pub use id::LegId;
pub use media::Media;
pub use worker::{Worker, WorkerParts};
