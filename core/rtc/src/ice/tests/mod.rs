//! Agents on the simulated network.

mod chaos;
mod connect;
mod consent;
mod defects;
mod forge;
mod hostile;
mod interop_is;
mod world;
