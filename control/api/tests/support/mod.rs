//! An engine that records, a plugin that does what it is told, and a client of both.
#![allow(dead_code)] // Every test file uses a part.

pub mod client;
pub mod media;
pub mod plugin;
