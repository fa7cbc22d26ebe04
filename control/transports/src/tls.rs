//! Certificates that can be exchanged while connections live.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

/// A certificate chain and its key, read from files. [`Certificates::reload`] exchanges them for new
/// connections; those that are open keep what they have.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Files>);

#[derive(Debug)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

/// Certificates that cannot be used.
#[derive(Debug)]
pub struct CertificateError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for CertificateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for CertificateError {}

impl Certificates {
    /// Reads PEM files. The key may stand in the same file.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, CertificateError> {
        let current = RwLock::new(Arc::new(read(chain, key)?));
        Ok(Self(Arc::new(Files { chain: chain.into(), key: key.into(), current })))
    }

    /// Reads the files again. After an error the old certificate stays.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let new = Arc::new(read(&self.0.chain, &self.0.key)?);
        *self.0.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = new;
        Ok(())
    }

    /// Accepts TLS 1.2 and 1.3 with the certificate of the moment.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CertificateError { file: self.0.chain.clone(), reason: error.to_string() })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }
}

fn read(chain: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let fail = |file: &Path, reason: String| CertificateError { file: file.into(), reason };
    let bytes = |file: &Path| std::fs::read(file).map_err(|error| fail(file, error.to_string()));
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes(chain)?)
        .collect::<Result<_, _>>()
        .map_err(|error| fail(chain, error.to_string()))?;
    if certificates.is_empty() {
        return Err(fail(chain, "no certificate in it".into()));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|error| fail(key, error.to_string()))?;
    let private =
        aws_lc_rs::sign::any_supported_type(&private).map_err(|error| fail(key, error.to_string()))?;
    let certified = CertifiedKey::new(certificates, private);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(error) => Err(fail(key, error.to_string())),
    }
}
