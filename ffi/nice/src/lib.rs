//! libnice: the ICE and STUN peer in tests.
