use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Octets of an HMAC-SHA1.
pub(super) const HMAC_LEN: usize = 20;

/// The key of MESSAGE-INTEGRITY (RFC 8489 §14.5), held as the HMAC's inner and outer state after the
/// key block, so that a message costs no keying. It never prints its secret.
#[derive(Clone)]
pub struct IntegrityKey(Hmac<Sha1>);

impl IntegrityKey {
    /// The key of short-term credentials: the password itself (RFC 8489 §9.1.1). ICE passwords are
    /// ASCII, which OpaqueString leaves alone.
    pub fn short_term(password: &[u8]) -> IntegrityKey {
        let Ok(hmac) = Hmac::new_from_slice(password) else { unreachable!("HMAC takes keys of any length") };
        IntegrityKey(hmac)
    }

    /// The HMAC over `parts` in order.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; HMAC_LEN] {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Whether `tag` is the HMAC over `parts`, compared in constant time.
    pub(super) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.over(parts).verify_slice(tag).is_ok()
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha1> {
        let mut hmac = self.0.clone();
        for part in parts {
            hmac.update(part);
        }
        hmac
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 2202 §3, cases 2 and 6.
    #[test]
    fn hmac_sha1_vectors() {
        let key = IntegrityKey::short_term(b"Jefe");
        let tag = key.sign(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(tag[..4], [0xef, 0xfc, 0xdf, 0x6a]);
        assert!(key.verify(&[b"what do ya want for nothing?"], &tag));
        assert!(!key.verify(&[b"what do ya want for nothing!"], &tag));
        assert!(!key.verify(&[b"what do ya want for nothing?"], &tag[..19]));

        let long = IntegrityKey::short_term(&[0xaa; 80]);
        let tag = long.sign(&[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(tag[..4], [0xaa, 0x4a, 0xe5, 0xe1]);
    }

    #[test]
    fn never_prints_the_secret() {
        assert_eq!(format!("{:?}", IntegrityKey::short_term(b"secret")), "IntegrityKey(..)");
    }
}
