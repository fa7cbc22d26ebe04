//! A small registrar for demonstrations and tests: users with digest authentication, calls between them, and an
//! echo phone.
//!
//! [`Registrar`] is driven like a [`crate::ua::UserAgent`] and speaks with a `bifrons-sip` of its own. Calls between
//! two users are two calls of its own user agent, joined: offers, answers, early media, re-INVITEs, INFO and
//! MESSAGE pass from one to the other.

mod bindings;
mod bridge;
mod server;

pub use server::{Registrar, RegistrarConfig, RegistrarEvent, User};
