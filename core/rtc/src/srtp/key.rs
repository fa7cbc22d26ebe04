//! Master keys, and the session keys derived from them (RFC 3711 §4.3, RFC 7714 §11).

use aes::cipher::{KeyIvInit, StreamCipher};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Profile, SrtpError};

/// A master key with its master salt and the profile that they are for.
///
/// Wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    profile: Profile,
    bytes: [u8; KEY_AND_SALT_LEN_MAX],
}

const KEY_AND_SALT_LEN_MAX: usize = 32 + 14;

impl MasterKey {
    /// Takes the key followed by the salt, as SDES carries them (RFC 4568 §6.1).
    pub fn from_bytes(profile: Profile, key_and_salt: &[u8]) -> Result<Self, SrtpError> {
        let needed = profile.key_len() + profile.salt_len();
        if key_and_salt.len() != needed {
            return Err(SrtpError::KeyLength { needed, given: key_and_salt.len() });
        }
        let mut bytes = [0; KEY_AND_SALT_LEN_MAX];
        bytes[..needed].copy_from_slice(key_and_salt);
        Ok(Self { profile, bytes })
    }

    /// Takes key and salt apart, as the DTLS exporter gives them (RFC 5764 §4.2).
    pub fn from_parts(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            let needed = profile.key_len() + profile.salt_len();
            return Err(SrtpError::KeyLength { needed, given: key.len() + salt.len() });
        }
        let mut bytes = [0; KEY_AND_SALT_LEN_MAX];
        bytes[..key.len()].copy_from_slice(key);
        bytes[key.len()..][..salt.len()].copy_from_slice(salt);
        Ok(Self { profile, bytes })
    }

    /// A new random key, for an SDES offer or answer.
    pub fn generate(profile: Profile) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_AND_SALT_LEN_MAX];
        getrandom::fill(&mut bytes[..profile.key_len() + profile.salt_len()])?;
        Ok(Self { profile, bytes })
    }

    /// The profile that the key is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Key followed by salt. Secret: for SDES lines and sealed stores only.
    pub fn expose(&self) -> &[u8] {
        &self.bytes[..self.profile.key_len() + self.profile.salt_len()]
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..self.profile.key_len()]
    }

    fn salt(&self) -> &[u8] {
        &self.bytes[self.profile.key_len()..][..self.profile.salt_len()]
    }

    /// The key stream of AES in counter mode that is the derivation function's output for `label`,
    /// with a key derivation rate of zero (RFC 3711 §4.3.1, §4.3.3).
    fn derive(&self, label: u8, out: &mut [u8]) {
        // x = label * 2^48 XOR salt, and the counter block is x * 2^16. The 96-bit salts of GCM are
        // padded on the right to 112 bits (RFC 7714 §11).
        let mut iv = [0u8; 16];
        iv[..self.profile.salt_len()].copy_from_slice(self.salt());
        iv[7] ^= label;
        out.fill(0);
        // The lengths are the profile's: neither constructor can fail.
        if let Ok(mut cipher) = ctr::Ctr128BE::<aes::Aes128>::new_from_slices(self.key(), &iv) {
            cipher.apply_keystream(out);
        } else if let Ok(mut cipher) = ctr::Ctr128BE::<aes::Aes256>::new_from_slices(self.key(), &iv) {
            cipher.apply_keystream(out);
        }
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({}, secret)", self.profile)
    }
}

/// What SRTP or SRTCP packets are transformed with.
pub(super) struct SessionKeys {
    pub profile: Profile,
    cipher: [u8; 32],
    pub auth: [u8; 20],
    /// 14 bytes; GCM uses the first 12.
    pub salt: [u8; 14],
}

/// Which packets session keys are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Srtp,
    Srtcp,
}

impl SessionKeys {
    /// Derives them from the master key (labels: RFC 3711 §4.3.2).
    pub fn derive(master: &MasterKey, protocol: Protocol) -> Self {
        let first_label = match protocol {
            Protocol::Srtp => 0,
            Protocol::Srtcp => 3,
        };
        let profile = master.profile;
        let mut keys = Self { profile, cipher: [0; 32], auth: [0; 20], salt: [0; 14] };
        master.derive(first_label, &mut keys.cipher[..profile.key_len()]);
        master.derive(first_label + 1, &mut keys.auth);
        master.derive(first_label + 2, &mut keys.salt[..profile.salt_len()]);
        keys
    }

    /// Session keys given as such: the standards' vectors for packets start there.
    #[cfg(test)]
    pub fn given(profile: Profile, cipher: &[u8], salt: &[u8]) -> Self {
        let mut keys = Self { profile, cipher: [0; 32], auth: [0; 20], salt: [0; 14] };
        keys.cipher[..cipher.len()].copy_from_slice(cipher);
        keys.salt[..salt.len()].copy_from_slice(salt);
        keys
    }

    pub fn cipher(&self) -> &[u8] {
        &self.cipher[..self.profile.key_len()]
    }
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.cipher.zeroize();
        self.auth.zeroize();
        self.salt.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::unhex;
    use super::*;

    #[test]
    fn rfc3711_appendix_b3() {
        let master = MasterKey::from_parts(
            Profile::AesCm128HmacSha1_80,
            &unhex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &unhex("0EC675AD498AFEEBB6960B3AABE6"),
        )
        .unwrap();
        let keys = SessionKeys::derive(&master, Protocol::Srtp);
        assert_eq!(keys.cipher(), unhex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(keys.salt[..], unhex("30CBBC08863D8C85D49DB34A9AE1"));
        // The appendix goes on for 94 bytes; the first 20 are the key of HMAC-SHA1.
        let mut auth = [0; 94];
        master.derive(1, &mut auth);
        assert_eq!(
            auth[..],
            unhex(
                "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE\
                 E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25\
                 6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2"
            )
        );
        assert_eq!(keys.auth[..], auth[..20]);
    }

    #[test]
    fn wrong_lengths_are_named() {
        assert_eq!(
            MasterKey::from_bytes(Profile::AeadAes128Gcm, &[0; 30]).unwrap_err(),
            SrtpError::KeyLength { needed: 28, given: 30 }
        );
        assert!(MasterKey::from_parts(Profile::AeadAes128Gcm, &[0; 14], &[0; 14]).is_err());
    }

    #[test]
    fn debug_shows_no_key() {
        let key = MasterKey::from_bytes(Profile::AeadAes256Gcm, &[0xab; 44]).unwrap();
        let text = format!("{key:?}");
        assert_eq!(text, "MasterKey(AEAD_AES_256_GCM, secret)");
        assert_ne!(
            MasterKey::generate(Profile::AeadAes256Gcm).unwrap(),
            MasterKey::generate(Profile::AeadAes256Gcm).unwrap()
        );
    }
}
