//! Our own certificate: made at start, or loaded.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509NameBuilder};

use super::{DtlsError, Fingerprint, Hash};

/// A certificate with its private key.
#[derive(Clone)]
pub struct Certificate {
    pub(super) x509: X509,
    pub(super) chain: Vec<X509>,
    pub(super) key: PKey<Private>,
}

/// How long a generated certificate is valid.
const VALID_DAYS: u32 = 30;

impl Certificate {
    /// A new self-signed ECDSA P-256 certificate (RFC 8827 §6.5), valid from yesterday for
    /// 30 days: peers compare fingerprints, but some look at the dates as well.
    pub fn generate() -> Result<Self, DtlsError> {
        Self::generate_with(|| {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            PKey::from_ec_key(EcKey::generate(&group)?)
        })
        .map_err(DtlsError::OpenSsl)
    }

    pub(super) fn generate_with(
        key: impl FnOnce() -> Result<PKey<Private>, ErrorStack>,
    ) -> Result<Self, ErrorStack> {
        let key = key()?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "Bifrons")?;
        let name = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_not_before(&*yesterday()?)?;
        builder.set_not_after(&*Asn1Time::days_from_now(VALID_DAYS)?)?;
        builder.set_pubkey(&key)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self { x509: builder.build(), chain: Vec::new(), key })
    }

    /// A certificate and its key in PEM; ECDSA or RSA. Certificates after the first are sent with
    /// it. `password` is for an encrypted key.
    pub fn from_pem(certificates: &[u8], key: &[u8], password: Option<&str>) -> Result<Self, DtlsError> {
        let mut chain = X509::stack_from_pem(certificates).map_err(DtlsError::CertificatePem)?;
        if chain.is_empty() {
            return Err(DtlsError::NoCertificate);
        }
        let x509 = chain.remove(0);
        // Never the variant that would ask on the terminal.
        let key = PKey::private_key_from_pem_passphrase(key, password.unwrap_or_default().as_bytes())
            .map_err(DtlsError::KeyPem)?;
        let public = x509.public_key().map_err(DtlsError::CertificatePem)?;
        if !public.public_eq(&key) {
            return Err(DtlsError::KeyMismatch);
        }
        Ok(Self { x509, chain, key })
    }

    /// Its fingerprint for our SDP.
    pub fn fingerprint(&self, hash: Hash) -> Result<Fingerprint, DtlsError> {
        Fingerprint::of(&self.x509, hash).ok_or_else(|| DtlsError::OpenSsl(ErrorStack::get()))
    }

    /// Certificate and key in PEM, to be stored and given to [`from_pem`](Self::from_pem) at the
    /// next start. The key is not encrypted.
    pub fn to_pem(&self) -> Result<(Vec<u8>, Vec<u8>), DtlsError> {
        let certificate = self.x509.to_pem().map_err(DtlsError::OpenSsl)?;
        let key = self.key.private_key_to_pem_pkcs8().map_err(DtlsError::OpenSsl)?;
        Ok((certificate, key))
    }
}

fn yesterday() -> Result<Asn1Time, ErrorStack> {
    let day = 24 * 60 * 60;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(day, |since| since.as_secs());
    Asn1Time::from_unix(now.saturating_sub(day) as i64)
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({:?})", Fingerprint::of(&self.x509, Hash::Sha256))
    }
}

#[cfg(test)]
mod tests {
    use openssl::rsa::Rsa;
    use openssl::symm::Cipher;

    use super::*;

    #[test]
    fn pem_and_back_with_and_without_password() {
        let made = Certificate::generate().unwrap();
        let (cert, key) = made.to_pem().unwrap();
        let loaded = Certificate::from_pem(&cert, &key, None).unwrap();
        assert_eq!(loaded.fingerprint(Hash::Sha256).unwrap(), made.fingerprint(Hash::Sha256).unwrap());
        let rsa = Certificate::generate_with(|| PKey::from_rsa(Rsa::generate(2048)?)).unwrap();
        let cert = rsa.x509.to_pem().unwrap();
        let key = rsa.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"geheim").unwrap();
        Certificate::from_pem(&cert, &key, Some("geheim")).unwrap();
        assert!(matches!(Certificate::from_pem(&cert, &key, Some("falsch")), Err(DtlsError::KeyPem(_))));
        assert!(matches!(Certificate::from_pem(&cert, &key, None), Err(DtlsError::KeyPem(_))));
    }

    #[test]
    fn a_key_of_another_certificate_is_named() {
        let (cert, _) = Certificate::generate().unwrap().to_pem().unwrap();
        let (_, key) = Certificate::generate().unwrap().to_pem().unwrap();
        assert!(matches!(Certificate::from_pem(&cert, &key, None), Err(DtlsError::KeyMismatch)));
        assert!(matches!(Certificate::from_pem(b"", &key, None), Err(DtlsError::NoCertificate)));
    }
}
