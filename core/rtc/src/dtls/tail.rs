//! What is left of a connection when its SSL is gone: enough for `close_notify`.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hmac::digest::block_api::EagerHash;
use hmac::{Hmac, KeyInit, Mac};
use openssl::nid::Nid;
use openssl::ssl::SslRef;
use zeroize::Zeroizing;

use super::Role;
use super::datagrams::{CONTENT_ALERT, LastSent, RECORD_HEADER_LEN, Record, records};

/// The keys and the sending sequence number of an established DTLS 1.2 connection.
pub struct Tail {
    local: Direction,
    remote: Direction,
    next_sequence_number: u64,
    next_explicit_nonce: u64,
    is_over: bool,
}

/// What a peer says to a [`Tail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailEvent {
    /// It sent `close_notify`.
    Closed,
    /// It sent a fatal alert with this description.
    Alert(u8),
}

struct Direction {
    key: LessSafeKey,
    implicit_nonce: [u8; IMPLICIT_NONCE_LEN],
}

const IMPLICIT_NONCE_LEN: usize = 4;
const EXPLICIT_NONCE_LEN: usize = 8;
const TAG_LEN: usize = 16;
const EPOCH: u16 = 1;
const ALERT_LEN: usize = 2;
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

impl Tail {
    /// Derives the record keys as RFC 5246 §6.3 has it.
    pub(super) fn from_ssl(ssl: &SslRef, role: Role, last_sent: LastSent) -> Option<Self> {
        let mut master = Zeroizing::new([0u8; 48]);
        if ssl.session()?.master_key(&mut *master) != master.len() {
            return None;
        }
        let (mut client_random, mut server_random) = ([0u8; 32], [0u8; 32]);
        if ssl.client_random(&mut client_random) != 32 || ssl.server_random(&mut server_random) != 32 {
            return None;
        }
        let seed = [server_random, client_random].concat();

        let cipher = ssl.current_cipher()?;
        let (algorithm, key_len) = match cipher.cipher_nid()? {
            Nid::AES_128_GCM => (&AES_128_GCM, 16),
            Nid::AES_256_GCM => (&AES_256_GCM, 32),
            _ => return None,
        };
        let mut block = Zeroizing::new(vec![0u8; 2 * (key_len + IMPLICIT_NONCE_LEN)]);
        match cipher.handshake_digest()?.type_() {
            Nid::SHA256 => prf::<sha2::Sha256>(&*master, b"key expansion", &seed, &mut block),
            Nid::SHA384 => prf::<sha2::Sha384>(&*master, b"key expansion", &seed, &mut block),
            _ => return None,
        }
        // Client key, server key, client nonce, server nonce.
        let (keys, nonces) = block.split_at(2 * key_len);
        let direction = |n: usize| {
            let key = UnboundKey::new(algorithm, keys.chunks_exact(key_len).nth(n)?).ok()?;
            let implicit_nonce = *nonces.as_chunks().0.get(n)?;
            Some(Direction { key: LessSafeKey::new(key), implicit_nonce })
        };
        let (client, server) = (direction(0)?, direction(1)?);
        let (local, remote) = match role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };
        Some(Self {
            local,
            remote,
            next_sequence_number: last_sent.sequence_number + 1,
            // OpenSSL counts up from a random number; going on counts as it would have.
            next_explicit_nonce: last_sent.explicit_nonce.wrapping_add(1),
            is_over: false,
        })
    }

    /// Takes a datagram from the peer. Everything but an authentic alert is passed over.
    pub fn handle_datagram(&mut self, datagram: &[u8]) -> Option<TailEvent> {
        if self.is_over {
            return None;
        }
        let event = records(datagram)
            .filter(|r| r.content_type == CONTENT_ALERT && r.epoch == EPOCH)
            .find_map(|record| match self.remote.open_alert(&record)? {
                [_, CLOSE_NOTIFY] => Some(TailEvent::Closed),
                [FATAL, description] => Some(TailEvent::Alert(description)),
                _ => None,
            })?;
        self.is_over = true;
        Some(event)
    }

    /// Our `close_notify`, once; the answer to the peer's, or the end from our side.
    pub fn close(&mut self) -> Option<Vec<u8>> {
        self.is_over = true;
        if self.next_sequence_number >= 1 << 48 {
            return None;
        }
        let datagram = self.local.seal_alert(
            [WARNING, CLOSE_NOTIFY],
            self.next_sequence_number,
            self.next_explicit_nonce,
        );
        // Never again with this nonce.
        self.next_sequence_number = 1 << 48;
        datagram
    }
}

impl Direction {
    fn nonce(&self, explicit: [u8; EXPLICIT_NONCE_LEN]) -> Nonce {
        let mut nonce = [0; IMPLICIT_NONCE_LEN + EXPLICIT_NONCE_LEN];
        nonce[..IMPLICIT_NONCE_LEN].copy_from_slice(&self.implicit_nonce);
        nonce[IMPLICIT_NONCE_LEN..].copy_from_slice(&explicit);
        Nonce::assume_unique_for_key(nonce)
    }

    fn open_alert(&self, record: &Record<'_>) -> Option<[u8; ALERT_LEN]> {
        let (explicit, sealed) = record.fragment.split_first_chunk()?;
        if sealed.len() != ALERT_LEN + TAG_LEN {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let aad = aad(record.header);
        let alert = self.key.open_in_place(self.nonce(*explicit), Aad::from(aad), &mut sealed).ok()?;
        <[u8; ALERT_LEN]>::try_from(&*alert).ok()
    }

    fn seal_alert(&self, alert: [u8; ALERT_LEN], sequence_number: u64, explicit: u64) -> Option<Vec<u8>> {
        let fragment_len = (EXPLICIT_NONCE_LEN + ALERT_LEN + TAG_LEN) as u16;
        let mut header = [0; RECORD_HEADER_LEN];
        header[..3].copy_from_slice(&[CONTENT_ALERT, 0xfe, 0xfd]);
        header[3..11].copy_from_slice(&(u64::from(EPOCH) << 48 | sequence_number).to_be_bytes());
        header[11..].copy_from_slice(&fragment_len.to_be_bytes());
        let explicit = explicit.to_be_bytes();
        let mut sealed = alert.to_vec();
        self.key.seal_in_place_append_tag(self.nonce(explicit), Aad::from(aad(&header)), &mut sealed).ok()?;
        Some([&header[..], &explicit, &sealed].concat())
    }
}

/// Epoch and sequence number, type, version, length of the plaintext (RFC 5246 §6.2.3.3).
fn aad(header: &[u8; RECORD_HEADER_LEN]) -> [u8; RECORD_HEADER_LEN] {
    let mut aad = [0; RECORD_HEADER_LEN];
    aad[..8].copy_from_slice(&header[3..11]);
    aad[8..11].copy_from_slice(&header[..3]);
    aad[11..].copy_from_slice(&(ALERT_LEN as u16).to_be_bytes());
    aad
}

/// The pseudorandom function of TLS 1.2 (RFC 5246 §5).
fn prf<D: EagerHash>(secret: &[u8], label: &[u8], seed: &[u8], out: &mut [u8])
where
    Hmac<D>: Mac + KeyInit,
{
    let hmac = |parts: &[&[u8]]| {
        // HMAC takes keys of any length.
        let mut mac = <Hmac<D> as KeyInit>::new_from_slice(secret).expect("any length");
        parts.iter().for_each(|part| mac.update(part));
        Zeroizing::new(mac.finalize().into_bytes().to_vec())
    };
    let mut a = hmac(&[label, seed]);
    for chunk in out.chunks_mut(a.len()) {
        chunk.copy_from_slice(&hmac(&[&a, label, seed])[..chunk.len()]);
        a = hmac(&[&a]);
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The widely used vector for P_SHA256 with a label.
    #[test]
    fn prf_sha256() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
        };
        let mut out = [0; 100];
        prf::<sha2::Sha256>(
            &hex("9bbe436ba940f017b17652849a71db35"),
            b"test label",
            &hex("a0ba9f936cda311827a6f796ffd5198c"),
            &mut out,
        );
        assert_eq!(
            out[..],
            hex("e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a\
                 6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab\
                 4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701\
                 87347b66")
        );
    }
}
