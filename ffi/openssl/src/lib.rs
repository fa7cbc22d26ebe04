//! What the openssl crate has no safe word for: DTLS timers.
