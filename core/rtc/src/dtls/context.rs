//! What all sessions share: certificate, cipher suites, SRTP profiles.

use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{
    SslContext, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion,
};

use super::{Certificate, DtlsError, Fingerprint, Hash};
use crate::srtp::Profile;

/// How sessions behave.
#[derive(Clone, Debug)]
pub struct DtlsConfig {
    /// SRTP profiles, the preferred first. As server we choose, as client the peer does.
    pub profiles: Vec<Profile>,
    /// Whether a handshake without a common SRTP profile fails. Off for data channels alone.
    pub require_srtp: bool,
    /// Whether a peer may prove itself by SHA-1 where it announced nothing better.
    pub accept_sha1: bool,
    /// The longest datagram, in bytes.
    pub mtu_bytes: u16,
    /// When an unanswered flight is first sent again; doubles each time, up to 1 s. RFC 6347 §4.2.4.1 says
    /// 1 s for those who know nothing of the path; here ICE has just measured it, and a caller
    /// waits.
    pub retransmit_initial: Duration,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

impl Default for DtlsConfig {
    /// GCM first, then AES_CM_128_HMAC_SHA1_80 (which RFC 8827 §6.5 requires); 30 s.
    fn default() -> Self {
        Self {
            profiles: vec![Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80],
            require_srtp: true,
            accept_sha1: false,
            mtu_bytes: 1200,
            retransmit_initial: Duration::from_millis(250),
            handshake_timeout: Duration::from_secs(30),
        }
    }
}

/// Makes sessions. Cheap to clone.
#[derive(Clone)]
pub struct DtlsContext {
    pub(super) ssl: SslContext,
    pub(super) config: DtlsConfig,
    certificate: Certificate,
}

/// Forward secrecy and AEAD only; the first is the one that RFC 8827 §6.5 requires of everyone.
/// A [`Tail`](super::Tail) understands these and no others.
const CIPHER_SUITES: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                             ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";

/// X25519 first: 255 µs against 298 µs a handshake with P-256.
const GROUPS: &str = "X25519:P-256:P-384";

/// The longest handshake message; OpenSSL reassembles at most ten at a time.
const HANDSHAKE_MESSAGE_LEN_MAX: u16 = 16_384;

impl DtlsContext {
    /// A context with this certificate.
    pub fn new(certificate: &Certificate, config: DtlsConfig) -> Result<Self, DtlsError> {
        if config.profiles.is_empty() && config.require_srtp {
            return Err(DtlsError::NoProfiles);
        }
        let ssl = build(certificate, &config).map_err(DtlsError::OpenSsl)?;
        Ok(Self { ssl, config, certificate: certificate.clone() })
    }

    /// Our fingerprint, for our SDP.
    pub fn fingerprint(&self, hash: Hash) -> Result<Fingerprint, DtlsError> {
        self.certificate.fingerprint(hash)
    }
}

fn build(certificate: &Certificate, config: &DtlsConfig) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::dtls())?;
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_cipher_list(CIPHER_SUITES)?;
    builder.set_groups_list(GROUPS)?;
    // Without NO_QUERY_MTU OpenSSL cuts flights at 256 bytes.
    builder.set_options(
        SslOptions::NO_QUERY_MTU
            | SslOptions::NO_TICKET
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::CIPHER_SERVER_PREFERENCE,
    );
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    bifrons_openssl::set_handshake_message_len_max(&mut builder, HANDSHAKE_MESSAGE_LEN_MAX);
    builder.set_certificate(&certificate.x509)?;
    for x509 in &certificate.chain {
        builder.add_extra_chain_cert(x509.clone())?;
    }
    builder.set_private_key(&certificate.key)?;
    builder.check_private_key()?;
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    if !config.profiles.is_empty() {
        let names: Vec<&str> = config.profiles.iter().map(|p| p.use_srtp_name()).collect();
        builder.set_tlsext_use_srtp(&names.join(":"))?;
    }
    Ok(builder.build())
}

impl std::fmt::Debug for DtlsContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsContext").field("config", &self.config).finish_non_exhaustive()
    }
}
