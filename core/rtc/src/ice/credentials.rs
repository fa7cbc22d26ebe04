use std::fmt;

use bifrons_wire::stun::IntegrityKey;

use super::Random;
use super::id::{PASSWORD_LEN, UFRAG_LEN, is_ice_char, new_password, new_ufrag};

/// Our ufrag and password of one generation.
#[derive(Clone)]
pub struct LocalCredentials {
    ufrag: [u8; UFRAG_LEN],
    password: [u8; PASSWORD_LEN],
    pub(super) key: IntegrityKey,
}

impl LocalCredentials {
    pub(super) fn new(token: u32, random: &mut impl Random) -> LocalCredentials {
        let ufrag = new_ufrag(token, random);
        let password = new_password(random);
        LocalCredentials { ufrag, password, key: IntegrityKey::short_term(&password) }
    }

    /// For `a=ice-ufrag`.
    pub fn ufrag(&self) -> &str {
        str::from_utf8(&self.ufrag).unwrap_or_default()
    }

    /// For `a=ice-pwd`.
    pub fn password(&self) -> &str {
        str::from_utf8(&self.password).unwrap_or_default()
    }
}

impl fmt::Debug for LocalCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCredentials").field("ufrag", &self.ufrag()).finish_non_exhaustive()
    }
}

/// The peer's ufrag and password, within RFC 8839's limits.
#[derive(Clone)]
pub struct RemoteCredentials {
    ufrag: [u8; RemoteCredentials::UFRAG_LEN_MAX],
    ufrag_len: u16,
    pub(super) key: IntegrityKey,
}

impl RemoteCredentials {
    /// Characters of a remote ufrag (RFC 8839 §5.4).
    pub const UFRAG_LEN_MIN: usize = 4;
    /// Characters of a remote ufrag (RFC 8839 §5.4).
    pub const UFRAG_LEN_MAX: usize = 256;
    /// Characters of a remote password (RFC 8839 §5.4).
    pub const PASSWORD_LEN_MIN: usize = 22;
    /// Characters of a remote password (RFC 8839 §5.4).
    pub const PASSWORD_LEN_MAX: usize = 256;

    /// Checks and keys the values of `a=ice-ufrag` and `a=ice-pwd`.
    pub fn new(ufrag: &str, password: &str) -> Result<RemoteCredentials, CredentialsError> {
        use CredentialsError::*;
        if !(Self::UFRAG_LEN_MIN..=Self::UFRAG_LEN_MAX).contains(&ufrag.len()) {
            return Err(UfragLength(ufrag.len()));
        }
        if !(Self::PASSWORD_LEN_MIN..=Self::PASSWORD_LEN_MAX).contains(&password.len()) {
            return Err(PasswordLength(password.len()));
        }
        if !ufrag.bytes().all(is_ice_char) {
            return Err(UfragCharacter);
        }
        if !password.bytes().all(is_ice_char) {
            return Err(PasswordCharacter);
        }
        let mut stored = [0; Self::UFRAG_LEN_MAX];
        for (to, from) in stored.iter_mut().zip(ufrag.bytes()) {
            *to = from;
        }
        let key = IntegrityKey::short_term(password.as_bytes());
        Ok(RemoteCredentials { ufrag: stored, ufrag_len: ufrag.len() as u16, key })
    }

    /// The value of `a=ice-ufrag`.
    pub fn ufrag(&self) -> &str {
        str::from_utf8(self.ufrag.get(..self.ufrag_len.into()).unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Debug for RemoteCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCredentials").field("ufrag", &self.ufrag()).finish_non_exhaustive()
    }
}

/// Why a ufrag or password was refused. Never holds the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// Not 4–256 characters; with the length.
    UfragLength(usize),
    /// Not 22–256 characters; with the length.
    PasswordLength(usize),
    /// Something else than letters, digits, `+` and `/`.
    UfragCharacter,
    /// Something else than letters, digits, `+` and `/`.
    PasswordCharacter,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialsError::UfragLength(len) => {
                write!(f, "ice-ufrag has {len} characters, not 4 to 256")
            }
            CredentialsError::PasswordLength(len) => write!(f, "ice-pwd has {len} characters, not 22 to 256"),
            CredentialsError::UfragCharacter => f.write_str("ice-ufrag has a character that is no ice-char"),
            CredentialsError::PasswordCharacter => f.write_str("ice-pwd has a character that is no ice-char"),
        }
    }
}

impl std::error::Error for CredentialsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_characters() {
        let new = |ufrag: &str, password: &str| RemoteCredentials::new(ufrag, password).map(|_| ());
        let password = "p".repeat(22);
        assert_eq!(new("abcd", &password), Ok(()));
        assert_eq!(new(&"u".repeat(256), &"p".repeat(256)), Ok(()));
        assert_eq!(new("abc", &password), Err(CredentialsError::UfragLength(3)));
        assert_eq!(new(&"u".repeat(257), &password), Err(CredentialsError::UfragLength(257)));
        assert_eq!(new("abcd", &"p".repeat(21)), Err(CredentialsError::PasswordLength(21)));
        assert_eq!(new("abcd", &"p".repeat(257)), Err(CredentialsError::PasswordLength(257)));
        assert_eq!(new("ab:d", &password), Err(CredentialsError::UfragCharacter));
        assert_eq!(new("abcd", &"-".repeat(22)), Err(CredentialsError::PasswordCharacter));
    }

    #[test]
    fn passwords_are_not_printed() {
        let remote = RemoteCredentials::new("abcd", &"secret".repeat(4)).unwrap();
        assert!(!format!("{remote:?}").contains("secret"));
        let local = LocalCredentials::new(1, &mut crate::ice::SeededRandom::new(1));
        assert!(!format!("{local:?}").contains(local.password()));
    }
}
