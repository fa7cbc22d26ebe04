//! Certificate fingerprints as SDP carries them (RFC 8122 §5).

use openssl::hash::MessageDigest;
use openssl::x509::X509Ref;

/// A hash function of a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// SHA-1: read, so that it can be refused by name.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    const ALL: [Hash; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in `a=fingerprint`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// The hash function of this name; case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|h| h.name().eq_ignore_ascii_case(name))
    }

    /// Length of the digest in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn digest(self) -> MessageDigest {
        match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}

/// The hash of a certificate in DER.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    hash: Hash,
    bytes: Vec<u8>,
}

/// Why a fingerprint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FingerprintError {
    /// Not "hash AB:CD:…".
    Syntax,
    /// A hash function that is not supported.
    UnknownHash(String),
    /// As many bytes as the hash function does not give.
    Length {
        /// The hash function.
        hash: Hash,
        /// Bytes given.
        given: usize,
    },
    /// Only SHA-1 fingerprints, which the configuration refuses.
    Weak,
    /// No fingerprint at all.
    Missing,
}

impl Fingerprint {
    /// From the digest's bytes.
    pub fn new(hash: Hash, bytes: &[u8]) -> Result<Self, FingerprintError> {
        if bytes.len() != hash.digest_len() {
            return Err(FingerprintError::Length { hash, given: bytes.len() });
        }
        Ok(Self { hash, bytes: bytes.to_vec() })
    }

    /// Of a certificate.
    pub(super) fn of(certificate: &X509Ref, hash: Hash) -> Option<Self> {
        let digest = certificate.digest(hash.digest()).ok()?;
        Some(Self { hash, bytes: digest.to_vec() })
    }

    /// The hash function.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The digest.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Those of a peer's fingerprints that count: all with the strongest hash (RFC 8122 §5).
    pub(super) fn strongest(
        given: &[Fingerprint],
        accept_sha1: bool,
    ) -> Result<Vec<Fingerprint>, FingerprintError> {
        let strongest = given.iter().map(|f| f.hash).max().ok_or(FingerprintError::Missing)?;
        if strongest == Hash::Sha1 && !accept_sha1 {
            return Err(FingerprintError::Weak);
        }
        Ok(given.iter().filter(|f| f.hash == strongest).cloned().collect())
    }

    /// Whether the certificate has one of these fingerprints.
    pub(super) fn any_matches(fingerprints: &[Fingerprint], certificate: &X509Ref) -> bool {
        fingerprints.iter().any(|f| Self::of(certificate, f.hash).as_ref() == Some(f))
    }
}

/// `sha-256 AB:CD:…`, the value of `a=fingerprint`.
impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.hash.name())?;
        for (n, byte) in self.bytes.iter().enumerate() {
            write!(f, "{}{byte:02X}", if n == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let (name, digits) = text.trim().split_once(' ').ok_or(FingerprintError::Syntax)?;
        let hash = Hash::from_name(name).ok_or_else(|| FingerprintError::UnknownHash(name.into()))?;
        let bytes = digits
            .trim()
            .split(':')
            .map(|pair| match pair.as_bytes() {
                [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                    u8::from_str_radix(pair, 16).map_err(|_| FingerprintError::Syntax)
                }
                _ => Err(FingerprintError::Syntax),
            })
            .collect::<Result<Vec<u8>, _>>()?;
        Self::new(hash, &bytes)
    }
}

impl std::fmt::Display for FingerprintError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax => f.write_str("fingerprint is not \"hash AB:CD:…\""),
            Self::UnknownHash(name) => write!(f, "fingerprint hash {name:?} is not supported"),
            Self::Length { hash, given } => {
                write!(f, "{} fingerprint has {given} bytes instead of {}", hash.name(), hash.digest_len())
            }
            Self::Weak => f.write_str("only a SHA-1 fingerprint, which is refused"),
            Self::Missing => f.write_str("no fingerprint"),
        }
    }
}

impl std::error::Error for FingerprintError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for hash in Hash::ALL {
            let fingerprint = Fingerprint::new(hash, &vec![0xab; hash.digest_len()]).unwrap();
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint.clone()));
            assert_eq!(fingerprint.to_string().to_lowercase().parse(), Ok(fingerprint));
        }
        let parse = |text: &str| text.parse::<Fingerprint>().unwrap_err();
        assert_eq!(parse("sha-256"), FingerprintError::Syntax);
        assert_eq!(parse("sha-256 A:B"), FingerprintError::Syntax);
        assert_eq!(parse("sha-256 +1:02"), FingerprintError::Syntax);
        assert_eq!(parse("sha-256 AB:CD"), FingerprintError::Length { hash: Hash::Sha256, given: 2 });
        assert_eq!(parse("md5 AB"), FingerprintError::UnknownHash("md5".into()));
    }

    #[test]
    fn only_the_strongest_count() {
        let of = |hash: Hash, byte| Fingerprint::new(hash, &vec![byte; hash.digest_len()]).unwrap();
        let (weak, a, b) = (of(Hash::Sha1, 1), of(Hash::Sha256, 2), of(Hash::Sha256, 3));
        let given = [weak.clone(), a.clone(), b.clone()];
        assert_eq!(Fingerprint::strongest(&given, false), Ok(vec![a, b]));
        assert_eq!(Fingerprint::strongest(&given[..1], false), Err(FingerprintError::Weak));
        assert_eq!(Fingerprint::strongest(&given[..1], true), Ok(vec![weak]));
        assert_eq!(Fingerprint::strongest(&[], true), Err(FingerprintError::Missing));
    }
}
