//! x
#![forbid(unsafe_code)]
pub mod auth;
pub mod config;
pub mod error;
mod ids;
pub mod info;
pub mod json;
pub mod plugin;
pub mod rate;
pub mod timers;
/// c
pub struct Counters;
/// w
pub struct Waker;
