//! Security descriptions, `a=crypto` (RFC 4568).

use core::fmt;
use core::str::FromStr;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{ATTRIBUTE_LIST_MAX, Attribute, AttributeError};

/// Keys are written with padding and read with or without it: telephones leave it off.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Longest master key and salt of any suite, bytes (AES-256: 32 and 14).
const KEY_SALT_LEN_MAX: usize = 46;

/// Crypto suite (RFC 4568 §6.2, RFC 6188 §7, RFC 7714 §14.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`.
    AesCm128HmacSha1_32,
    /// `AES_192_CM_HMAC_SHA1_80`.
    AesCm192HmacSha1_80,
    /// `AES_192_CM_HMAC_SHA1_32`.
    AesCm192HmacSha1_32,
    /// `AES_256_CM_HMAC_SHA1_80`.
    AesCm256HmacSha1_80,
    /// `AES_256_CM_HMAC_SHA1_32`.
    AesCm256HmacSha1_32,
    /// `AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`.
    AeadAes256Gcm,
    /// Any other, by name.
    Other(String),
}

impl Suite {
    const NAMED: [(Suite, &'static str, usize); 8] = [
        (Suite::AesCm128HmacSha1_80, "AES_CM_128_HMAC_SHA1_80", 30),
        (Suite::AesCm128HmacSha1_32, "AES_CM_128_HMAC_SHA1_32", 30),
        (Suite::AesCm192HmacSha1_80, "AES_192_CM_HMAC_SHA1_80", 38),
        (Suite::AesCm192HmacSha1_32, "AES_192_CM_HMAC_SHA1_32", 38),
        (Suite::AesCm256HmacSha1_80, "AES_256_CM_HMAC_SHA1_80", 46),
        (Suite::AesCm256HmacSha1_32, "AES_256_CM_HMAC_SHA1_32", 46),
        (Suite::AeadAes128Gcm, "AEAD_AES_128_GCM", 28),
        (Suite::AeadAes256Gcm, "AEAD_AES_256_GCM", 44),
    ];

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Suite::Other(name) => name,
            known => Self::NAMED.iter().find(|(suite, ..)| suite == known).map_or("", |(_, name, _)| name),
        }
    }

    /// Length of master key and master salt together, bytes, where the suite is known.
    pub fn key_salt_len(&self) -> Option<usize> {
        Self::NAMED.iter().find(|(suite, ..)| suite == self).map(|(.., len)| *len)
    }

    fn of(name: &str) -> Self {
        // An early draft's spelling that telephones still send.
        let plain = name.replacen("AES_CM_256_", "AES_256_CM_", 1).replacen("AES_CM_192_", "AES_192_CM_", 1);
        let known = Self::NAMED.iter().find(|(_, own, _)| own.eq_ignore_ascii_case(&plain));
        known.map_or_else(|| Suite::Other(name.to_owned()), |(suite, ..)| suite.clone())
    }
}

/// Master key identifier (RFC 4568 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mki {
    /// Its value.
    pub value: u64,
    /// Its length in the packet, bytes, 1..=128.
    pub len: u8,
}

/// One inline key.
#[derive(Clone, PartialEq, Eq)]
pub struct CryptoKey {
    /// Master key, then master salt.
    pub key_salt: Vec<u8>,
    /// How many packets it may protect.
    pub lifetime: Option<u64>,
    /// Its identifier, if packets carry one.
    pub mki: Option<Mki>,
}

/// Without the key.
impl fmt::Debug for CryptoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CryptoKey { key_salt, lifetime, mki } = self;
        write!(f, "CryptoKey {{ {} bytes, lifetime: {lifetime:?}, mki: {mki:?} }}", key_salt.len())
    }
}

/// A security description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Tells the descriptions of an m-line apart; the answer repeats the offer's.
    pub tag: u32,
    /// Crypto suite.
    pub suite: Suite,
    /// Its keys, at least one.
    pub keys: Vec<CryptoKey>,
    /// Session parameters as they stand, e.g. `UNENCRYPTED_SRTCP`. One that is not understood must make the
    /// description unusable (RFC 4568 §6.3.7).
    pub session_parameters: Vec<String>,
}

impl Crypto {
    /// A description with one key, without lifetime or MKI.
    pub fn new(tag: u32, suite: Suite, key_salt: &[u8]) -> Self {
        let key = CryptoKey { key_salt: key_salt.to_vec(), lifetime: None, mki: None };
        Crypto { tag, suite, keys: vec![key], session_parameters: Vec::new() }
    }
}

impl Attribute for Crypto {
    const NAME: &'static str = "crypto";
}

impl FromStr for Crypto {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let error = |expected| AttributeError::new(Self::NAME, text, expected);
        let mut words = text.split_ascii_whitespace();
        let tag = words.next().filter(|tag| tag.len() <= 9).and_then(|tag| tag.parse().ok());
        let tag = tag.ok_or_else(|| error("a tag of one to nine digits first"))?;
        let suite = Suite::of(words.next().ok_or_else(|| error("a crypto suite after the tag"))?);
        let keys = words.next().ok_or_else(|| error("a key after the crypto suite"))?;
        let keys: Vec<CryptoKey> = keys
            .split(';')
            .take(ATTRIBUTE_LIST_MAX + 1)
            .map(key)
            .collect::<Option<_>>()
            .ok_or_else(|| error("inline:key||salt in base64, [|lifetime][|MKI:length]"))?;
        let fits = |key: &CryptoKey| suite.key_salt_len().is_none_or(|len| len == key.key_salt.len());
        if !keys.iter().all(fits) {
            return Err(error("key and salt of the suite's length"));
        }
        let session_parameters: Vec<String> = words.take(ATTRIBUTE_LIST_MAX + 1).map(str::to_owned).collect();
        if keys.len() > ATTRIBUTE_LIST_MAX || session_parameters.len() > ATTRIBUTE_LIST_MAX {
            return Err(error("at most 64 keys and session parameters"));
        }
        Ok(Crypto { tag, suite, keys, session_parameters })
    }
}

fn key(text: &str) -> Option<CryptoKey> {
    let (method, info) = text.split_once(':')?;
    if !method.eq_ignore_ascii_case("inline") {
        return None;
    }
    let mut parts = info.split('|');
    let encoded = parts.next().filter(|encoded| encoded.len() <= 2 * KEY_SALT_LEN_MAX)?;
    let key_salt = BASE64.decode(encoded).ok()?;
    let (mut lifetime, mut mki) = (None, None);
    for part in parts {
        match part.split_once(':') {
            Some((value, len)) if mki.is_none() => {
                let len = len.parse().ok().filter(|len| (1..=128).contains(len))?;
                mki = Some(Mki { value: value.parse().ok()?, len });
            }
            None if lifetime.is_none() && mki.is_none() => {
                lifetime = Some(match part.strip_prefix("2^") {
                    Some(exponent) => 1u64.checked_shl(exponent.parse().ok()?)?,
                    None => part.parse().ok()?,
                });
            }
            _ => return None,
        }
    }
    Some(CryptoKey { key_salt, lifetime, mki })
}

impl fmt::Display for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.tag, self.suite.as_str())?;
        for (i, key) in self.keys.iter().enumerate() {
            write!(f, "{}inline:{}", if i > 0 { ";" } else { "" }, BASE64.encode(&key.key_salt))?;
            match key.lifetime {
                Some(lifetime) if lifetime.is_power_of_two() => {
                    write!(f, "|2^{}", lifetime.trailing_zeros())?
                }
                Some(lifetime) => write!(f, "|{lifetime}")?,
                None => {}
            }
            if let Some(Mki { value, len }) = key.mki {
                write!(f, "|{value}:{len}")?;
            }
        }
        self.session_parameters.iter().try_for_each(|parameter| write!(f, " {parameter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4568 §9.1, §4.1 and §6.1: the standard's own examples.
    #[test]
    fn rfc_4568_examples() {
        for value in [
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 FEC_ORDER=FEC_SRTP",
            "1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:32",
            "1 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj|2^20|1:32",
            "2 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4;\
             inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj|2^20|2:4",
            "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
        ] {
            let crypto = Crypto::from_value(value).unwrap();
            assert_eq!(crypto.to_string(), value);
            assert_eq!(crypto.keys[0].key_salt.len(), 30);
        }
    }

    #[test]
    fn telephones_spelling() {
        let key = BASE64.encode([7; 46]);
        let crypto = Crypto::from_value(&format!("1 AES_CM_256_HMAC_SHA1_80 inline:{key}")).unwrap();
        assert_eq!(crypto.suite, Suite::AesCm256HmacSha1_80);
        let gcm = Crypto::new(3, Suite::AeadAes256Gcm, &[1; 44]);
        assert_eq!(gcm.to_string().replace('=', "").parse(), Ok(gcm));
        let other = Crypto::from_value("1 F8_128_HMAC_SHA1_80 inline:AAAA KDR=1").unwrap();
        assert_eq!(other.suite.as_str(), "F8_128_HMAC_SHA1_80");
    }

    #[test]
    fn malformed_values_are_refused_and_not_quoted() {
        let key = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
        let many = format!("1 X inline:AAAA{}", ";inline:AAAA".repeat(64));
        for bad in [
            String::new(),
            "1".into(),
            "1 AES_CM_128_HMAC_SHA1_80".into(),
            format!("1 AES_CM_128_HMAC_SHA1_80 outline:{key}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}AAAA"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^64"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20|1:4|1:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|1:129"),
            format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{key}"),
            format!("1 X inline:{}", "A".repeat(5000)),
            format!("1 X inline:*{key}"),
            many,
        ] {
            let error = Crypto::from_value(&bad).unwrap_err().to_string();
            assert!(!error.contains(key), "{error}");
        }
        assert!(
            !format!("{:?}", Crypto::new(1, Suite::AeadAes128Gcm, b"abcdefghijklmnopqrstuvwxyz12"))
                .contains("abc")
        );
    }
}
