//! DTLS and RTCP transport: `setup`, `fingerprint`, `rtcp`.

use core::fmt;
use core::str::FromStr;

use super::{Attribute, AttributeError, Connection};

/// Longest digest of a fingerprint, bytes (SHA-512).
const DIGEST_LEN_MAX: usize = 64;

/// Who begins the DTLS handshake (RFC 4145 §4, RFC 8842 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Either; only in offers.
    Actpass,
    /// The writer is the client.
    Active,
    /// The writer is the server.
    Passive,
    /// Not now.
    Holdconn,
}

impl Attribute for Setup {
    const NAME: &'static str = "setup";
}

impl FromStr for Setup {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        use Setup::*;
        [Actpass, Active, Passive, Holdconn]
            .into_iter()
            .find(|setup| text.trim().eq_ignore_ascii_case(setup.as_str()))
            .ok_or_else(|| AttributeError::new(Self::NAME, text, "actpass, active, passive or holdconn"))
    }
}

impl Setup {
    /// The attribute's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Setup::Actpass => "actpass",
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::Holdconn => "holdconn",
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Fingerprint of a certificate (RFC 8122 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash function, lower case, e.g. `sha-256`.
    pub hash: String,
    /// The digest.
    pub digest: Vec<u8>,
}

impl Attribute for Fingerprint {
    const NAME: &'static str = "fingerprint";
}

impl FromStr for Fingerprint {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let parse = || {
            let (hash, digest) = text.trim().split_once(' ')?;
            let byte = |hex: &str| match hex.len() {
                2 if hex.bytes().all(|c| c.is_ascii_hexdigit()) => u8::from_str_radix(hex, 16).ok(),
                _ => None,
            };
            let digest: Vec<u8> =
                digest.trim().split(':').take(DIGEST_LEN_MAX + 1).map(byte).collect::<Option<_>>()?;
            let expected_len = match hash.to_ascii_lowercase().as_str() {
                "sha-1" => Some(20),
                "sha-224" => Some(28),
                "sha-256" => Some(32),
                "sha-384" => Some(48),
                "sha-512" => Some(64),
                _ => None,
            };
            let fits = expected_len.map_or(digest.len() <= DIGEST_LEN_MAX, |len| len == digest.len());
            (fits && !hash.is_empty()).then(|| Fingerprint { hash: hash.to_ascii_lowercase(), digest })
        };
        parse().ok_or_else(|| AttributeError::new(Self::NAME, text, "hash function, then its digest in hex"))
    }
}

/// Digest in upper case, as RFC 8122 §5 demands.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash)?;
        let mut gap = ' ';
        self.digest.iter().try_for_each(|byte| write!(f, "{}{byte:02X}", core::mem::replace(&mut gap, ':')))
    }
}

/// Where RTCP goes when it is not the next port (RFC 3605 §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtcp {
    /// Port.
    pub port: u16,
    /// Address, if it differs from the medium's.
    pub connection: Option<Connection>,
}

impl Attribute for Rtcp {
    const NAME: &'static str = "rtcp";
}

impl FromStr for Rtcp {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let (port, connection) = match text.trim().split_once(' ') {
            Some((port, connection)) => (port, Some(connection.parse()?)),
            None => (text.trim(), None),
        };
        let port = port.parse().map_err(|_| AttributeError::new(Self::NAME, text, "port and address"))?;
        Ok(Rtcp { port, connection })
    }
}

impl fmt::Display for Rtcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.port)?;
        self.connection.as_ref().map_or(Ok(()), |connection| write!(f, " {connection}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints() {
        let digest = ["AB"; 32].join(":");
        let value = format!("sha-256 {digest}");
        let fingerprint = Fingerprint::from_value(&value).unwrap();
        assert_eq!((fingerprint.digest.len(), fingerprint.to_string()), (32, value.clone()));
        assert_eq!(Fingerprint::from_value(&value.to_lowercase()), Ok(fingerprint.clone()));
        assert_eq!(Fingerprint::from_value(&value.to_uppercase()), Ok(fingerprint));
        for bad in
            ["", "sha-256", "sha-256 AB:CD", "sha-1 +1:02", "x A", &format!("md9 {}", ["00"; 65].join(":"))]
        {
            assert!(Fingerprint::from_value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn setup_and_rtcp() {
        for value in ["actpass", "active", "passive", "holdconn"] {
            assert_eq!(Setup::from_value(value).unwrap().to_string(), value);
        }
        assert!(Setup::from_value("").is_err());
        for value in ["53020", "53020 IN IP6 2001:db8::1"] {
            assert_eq!(Rtcp::from_value(value).unwrap().to_string(), value);
        }
        assert!(Rtcp::from_value("65536").is_err() && Rtcp::from_value("9 IN").is_err());
    }
}
