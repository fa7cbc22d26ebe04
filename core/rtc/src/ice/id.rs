//! Ufrags, passwords and transaction ids that hold the leg's token, so that a worker finds the leg
//! of any STUN message without a map of addresses or of outstanding checks.
//!
//! The token is 32 bits of the engine's choice: slot and generation. A ufrag shows it plainly (the
//! peer is told it anyway). A transaction id is seen by everybody on the path and must be
//! unpredictable (RFC 8489 §5), so there the token is masked with a keyed hash of 64 random bits.

use std::hash::Hasher;

use bifrons_wire::stun::{Class, Message, TransactionId};

use super::Random;

/// The 64 `ice-char`s (RFC 8839 §5.1).
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Characters that hold the token: 6 × 6 bits.
const TOKEN_LEN: usize = 6;

/// Characters of our ufrags: the token's and six random ones (RFC 8445 §5.3 wants 24 random bits).
pub const UFRAG_LEN: usize = 12;

/// Characters of our passwords: 144 bits (RFC 8445 §5.3 wants 128).
pub const PASSWORD_LEN: usize = 24;

/// Whether a character may stand in a ufrag or password.
pub fn is_ice_char(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'+' || octet == b'/'
}

/// A ufrag with the token and fresh random characters.
pub fn new_ufrag(token: u32, random: &mut impl Random) -> [u8; UFRAG_LEN] {
    let mut ufrag = random_chars(random);
    for (place, octet) in ufrag.iter_mut().take(TOKEN_LEN).enumerate() {
        *octet = ice_char(u64::from(token) >> (6 * (TOKEN_LEN - 1 - place)));
    }
    ufrag
}

/// A fresh password.
pub fn new_password(random: &mut impl Random) -> [u8; PASSWORD_LEN] {
    random_chars(random)
}

/// The token of one of our ufrags; `None` for anything that we cannot have made.
pub fn decode_ufrag(ufrag: &[u8]) -> Option<u32> {
    let ufrag: &[u8; UFRAG_LEN] = ufrag.try_into().ok()?;
    let mut token = 0u64;
    for &octet in ufrag.iter().take(TOKEN_LEN) {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        token = token << 6 | u64::from(value);
    }
    u32::try_from(token).ok()
}

/// The token of the leg that a STUN message is for: from the local part of a request's USERNAME, from
/// a response's transaction id. `None` where there cannot be one. The token is only a hint where to
/// look; the leg then checks the whole ufrag or id, and integrity.
pub fn leg_token(message: &Message<'_>, ids: &TransactionIds) -> Option<u32> {
    match message.class() {
        Class::Request | Class::Indication => decode_ufrag(local_part(message.username()?)?),
        Class::Success | Class::Error => Some(ids.token(&message.transaction_id())),
    }
}

/// What stands before the colon of a USERNAME.
pub(super) fn local_part(username: &[u8]) -> Option<&[u8]> {
    let colon = username.iter().position(|&octet| octet == b':')?;
    username.get(..colon)
}

/// Makes and reads transaction ids. A worker has one key for all of its legs.
#[derive(Clone, Copy)]
pub struct TransactionIds {
    key: [u64; 2],
}

impl TransactionIds {
    /// With a secret key.
    pub fn new(key: [u64; 2]) -> TransactionIds {
        TransactionIds { key }
    }

    /// With a key from `random`.
    pub fn from_random(random: &mut impl Random) -> TransactionIds {
        TransactionIds { key: [random.next_u64(), random.next_u64()] }
    }

    /// The id of 64 random bits that holds `token`.
    pub fn make(&self, token: u32, random: u64) -> TransactionId {
        let mut id = [0; 12];
        let (masked, bits) = id.split_at_mut(4);
        masked.copy_from_slice(&(token ^ self.mask(random)).to_be_bytes());
        bits.copy_from_slice(&random.to_be_bytes());
        id
    }

    /// The token that [`make`](TransactionIds::make) put in. Anything at all for ids of others.
    pub fn token(&self, id: &TransactionId) -> u32 {
        let &[m0, m1, m2, m3, r @ ..] = id;
        u32::from_be_bytes([m0, m1, m2, m3]) ^ self.mask(u64::from_be_bytes(r))
    }

    fn mask(&self, random: u64) -> u32 {
        // SipHash-2-4. Deprecated in std as a hasher of maps, but it is the keyed hash that std
        // keeps, and its output is fixed.
        #[allow(deprecated)]
        let mut hasher = std::hash::SipHasher::new_with_keys(self.key[0], self.key[1]);
        hasher.write_u64(random);
        hasher.finish() as u32
    }
}

impl std::fmt::Debug for TransactionIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TransactionIds(..)")
    }
}

fn random_chars<const LEN: usize>(random: &mut impl Random) -> [u8; LEN] {
    let mut chars = [0; LEN];
    random.fill(&mut chars);
    // 256 is a multiple of 64, so every character is equally likely.
    chars.map(|octet| ice_char(octet.into()))
}

fn ice_char(value: u64) -> u8 {
    // In range by the mask.
    ICE_CHARS[(value & 63) as usize]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ice::SeededRandom;

    #[test]
    fn foreign_ufrags_have_no_token() {
        for ufrag in [&b""[..], b"abcd", b"AAAAAAAAAAA", b"AAAAAAAAAAAAA", b"A-AAAAAAAAAA", b"//////AAAAAA"] {
            assert_eq!(decode_ufrag(ufrag), None);
        }
        assert_eq!(decode_ufrag(b"D/////AAAAAA"), Some(u32::MAX));
        assert_eq!(decode_ufrag(b"AAAAABxxxxxx"), Some(1));
    }

    #[test]
    fn consecutive_ids_of_a_leg_share_nothing_visible() {
        let mut random = SeededRandom::new(1);
        let ids = TransactionIds::from_random(&mut random);
        let first = ids.make(7, 1);
        let second = ids.make(7, 2);
        assert_ne!(first[..4], second[..4]);
        let others = TransactionIds::from_random(&mut random);
        assert_ne!(others.make(7, 1), first);
    }

    proptest! {
        #[test]
        fn tokens_come_back(token: u32, seed: u64) {
            let mut random = SeededRandom::new(seed);
            let ufrag = new_ufrag(token, &mut random);
            prop_assert!(ufrag.iter().all(|&octet| is_ice_char(octet)));
            prop_assert!(new_password(&mut random).iter().all(|&octet| is_ice_char(octet)));
            prop_assert_eq!(decode_ufrag(&ufrag), Some(token));
            let ids = TransactionIds::from_random(&mut random);
            prop_assert_eq!(ids.token(&ids.make(token, random.next_u64())), token);
        }

        #[test]
        fn any_octets_decode_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..20)) {
            decode_ufrag(&octets);
            local_part(&octets);
        }
    }
}
