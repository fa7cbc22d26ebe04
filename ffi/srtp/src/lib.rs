//! libsrtp behind a safe face: the second SRTP back end and the oracle in tests.
