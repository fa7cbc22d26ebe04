//! What a session says: events, reasons, counters.

use openssl::error::ErrorStack;

use super::{Fingerprint, FingerprintError};
use crate::srtp::{MasterKey, Profile};

/// Which end of the handshake we are (RFC 5763 §5: active is the client).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends the ClientHello: `a=setup:active`.
    Client,
    /// Waits for it: `a=setup:passive`.
    Server,
}

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done and the peer is who its SDP says. Comes once. A server's last flight
    /// is still to be sent then: install the keys first, so that no early packet is lost.
    Connected(Connected),
    /// There is no connection, and will be none. Comes at most once.
    Failed(FailReason),
    /// The peer sent `close_notify`. Comes at most once.
    Closed,
}

/// What a finished handshake gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Keys for media; none where no profile was agreed on and none was required.
    pub srtp: Option<SrtpKeys>,
    /// SHA-256 fingerprint of the peer's certificate.
    pub peer_fingerprint: Fingerprint,
}

/// The keys of RFC 5764 §4.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The profile that was agreed on.
    pub profile: Profile,
    /// For what we send.
    pub local: MasterKey,
    /// For what the peer sends.
    pub remote: MasterKey,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// The handshake took longer than configured.
    Timeout,
    /// The peer's certificate does not have the fingerprint that its SDP announced.
    FingerprintMismatch,
    /// The peer showed no certificate.
    NoPeerCertificate,
    /// No SRTP profile in common, and one is required.
    NoSrtpProfile,
    /// The peer sent a fatal alert with this description (RFC 5246 §7.2).
    Alert(u8),
    /// Until the handshake's time was over only ClientHellos came that could not be answered; the
    /// last one for this reason.
    HelloRefused(String),
    /// Too many such ClientHellos.
    HelloFlood,
    /// Anything else, in OpenSSL's words.
    Protocol(String),
}

impl std::fmt::Display for FailReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout => f.write_str("DTLS handshake timed out"),
            Self::FingerprintMismatch => f.write_str("DTLS peer's certificate is not the one of its SDP"),
            Self::NoPeerCertificate => f.write_str("DTLS peer has no certificate"),
            Self::NoSrtpProfile => f.write_str("DTLS peers have no SRTP profile in common"),
            Self::Alert(description) => write!(f, "DTLS peer sent fatal alert {description}"),
            Self::HelloRefused(text) => write!(f, "DTLS peer's ClientHello is not acceptable: {text}"),
            Self::HelloFlood => f.write_str("DTLS peer sent too many ClientHellos without a usable offer"),
            Self::Protocol(text) => write!(f, "DTLS: {text}"),
        }
    }
}

/// What a session counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DtlsCounters {
    /// Datagrams that are no DTLS at all.
    pub garbage: u64,
    /// Flights sent again.
    pub retransmissions: u64,
    /// ClientHellos that could not be answered; the session went on waiting for a better one.
    pub hellos_refused: u64,
    /// Datagrams or application data for which a queue had no place.
    pub overflowed: u64,
    /// Errors of OpenSSL after the handshake, which change nothing for the media.
    pub errors_ignored: u64,
}

/// Why a certificate, a context or a session cannot be made.
#[derive(Debug)]
pub enum DtlsError {
    /// The certificate is not readable PEM.
    CertificatePem(ErrorStack),
    /// There is no certificate in the PEM.
    NoCertificate,
    /// The private key is not readable PEM, or the password is wrong.
    KeyPem(ErrorStack),
    /// The private key is not the certificate's.
    KeyMismatch,
    /// SRTP is required and no profile is configured.
    NoProfiles,
    /// The peer's fingerprints cannot be used.
    Fingerprint(FingerprintError),
    /// There is no connection to send on.
    NotConnected,
    /// Longer than a record can be, in bytes.
    TooLong(usize),
    /// OpenSSL failed (memory, mostly).
    OpenSsl(ErrorStack),
}

impl std::fmt::Display for DtlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CertificatePem(e) => write!(f, "certificate cannot be read: {e}"),
            Self::NoCertificate => f.write_str("no certificate in the file"),
            Self::KeyPem(e) => write!(f, "private key cannot be read (is the password right?): {e}"),
            Self::KeyMismatch => f.write_str("private key is not the certificate's"),
            Self::NoProfiles => f.write_str("no SRTP profile configured"),
            Self::Fingerprint(e) => e.fmt(f),
            Self::NotConnected => f.write_str("DTLS is not connected"),
            Self::TooLong(len) => write!(f, "{len} bytes do not fit into a DTLS record"),
            Self::OpenSsl(e) => write!(f, "OpenSSL: {e}"),
        }
    }
}

impl std::error::Error for DtlsError {}

impl From<FingerprintError> for DtlsError {
    fn from(error: FingerprintError) -> Self {
        Self::Fingerprint(error)
    }
}
