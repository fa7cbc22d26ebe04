//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22): MD5 and SHA-256, their `-sess` forms, qop `auth`
//! and `auth-int`, and the old form without qop (RFC 2069), on both sides.
//!
//! - [`Challenge`] and [`Credentials`]: the client's side; [`ClientAuth`] counts a nonce's uses.
//! - [`Verifier`]: the server's side, with nonces that carry their own proof.

mod client;
mod hash;
mod server;

pub use client::{Challenge, ClientAuth, Credentials, Secret};
pub use hash::{Algorithm, ha1};
pub use server::{NONCES_MAX, Verdict, Verifier};
