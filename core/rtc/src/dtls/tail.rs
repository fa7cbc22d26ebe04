//! What is left of a connection when its SSL is gone: enough for `close_notify`, and for a peer that
//! missed the last flight.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use hmac::digest::block_api::EagerHash;
use hmac::{Hmac, KeyInit, Mac};
use openssl::nid::Nid;
use openssl::ssl::SslRef;
use zeroize::Zeroizing;

use super::Role;
use super::datagrams::{CONTENT_ALERT, CONTENT_HANDSHAKE, LastSent, RECORD_HEADER_LEN, Record, records};

/// The keys, the sending sequence number and the last flight of an established DTLS 1.2 connection.
pub struct Tail {
    local: Direction,
    remote: Direction,
    next_sequence_number: u64,
    next_explicit_nonce: u64,
    /// The datagrams that ended the handshake, as they were sent. Only a server has to repeat them: its
    /// flight is the last (RFC 6347 §4.2.4). The same bytes again are the same record with the same
    /// nonce, so nothing new is encrypted, and a peer that had it takes it for a replay.
    last_flight: Vec<Vec<u8>>,
    repeats_left: u8,
    /// The peer's repeated Finished that was answered last: an older one is a replay.
    answered: Option<u64>,
    is_over: bool,
}

/// What a peer says to a [`Tail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailEvent {
    /// It sent `close_notify`.
    Closed,
    /// It sent a fatal alert with this description.
    Alert(u8),
    /// It has missed our [`last_flight`](Tail::last_flight): send that again.
    Repeat,
}

/// Keys as bytes: a prepared key is ten times as large, and there is one of these a call.
struct Direction {
    algorithm: &'static Algorithm,
    key: Zeroizing<[u8; KEY_LEN_MAX]>,
    implicit_nonce: [u8; IMPLICIT_NONCE_LEN],
}

/// How often the last flight is sent again. A peer whose first wait is 50 ms, which doubles to 60 s,
/// has given up by then.
const REPEATS_MAX: u8 = 16;
const KEY_LEN_MAX: usize = 32;

const IMPLICIT_NONCE_LEN: usize = 4;
const EXPLICIT_NONCE_LEN: usize = 8;
const TAG_LEN: usize = 16;
const EPOCH: u16 = 1;
const ALERT_LEN: usize = 2;
/// Handshake header and verify_data (RFC 6347 §4.2.2, RFC 5246 §7.4.9).
const FINISHED_LEN: usize = 12 + 12;
const FINISHED: u8 = 20;
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

impl Tail {
    /// Derives the record keys as RFC 5246 §6.3 has it.
    pub(super) fn from_ssl(
        ssl: &SslRef,
        role: Role,
        last_sent: LastSent,
        last_flight: Vec<Vec<u8>>,
    ) -> Option<Self> {
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
        let algorithm: &'static Algorithm = match cipher.cipher_nid()? {
            Nid::AES_128_GCM => &AES_128_GCM,
            Nid::AES_256_GCM => &AES_256_GCM,
            _ => return None,
        };
        let key_len = algorithm.key_len();
        let mut block = Zeroizing::new(vec![0u8; 2 * (key_len + IMPLICIT_NONCE_LEN)]);
        match cipher.handshake_digest()?.type_() {
            Nid::SHA256 => prf::<sha2::Sha256>(&*master, b"key expansion", &seed, &mut block),
            Nid::SHA384 => prf::<sha2::Sha384>(&*master, b"key expansion", &seed, &mut block),
            _ => return None,
        }
        // Client key, server key, client nonce, server nonce.
        let (keys, nonces) = block.split_at(2 * key_len);
        let direction = |n: usize| {
            let mut key = Zeroizing::new([0; KEY_LEN_MAX]);
            key.get_mut(..key_len)?.copy_from_slice(keys.chunks_exact(key_len).nth(n)?);
            let implicit_nonce = *nonces.as_chunks().0.get(n)?;
            Some(Direction { algorithm, key, implicit_nonce })
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
            repeats_left: if last_flight.is_empty() { 0 } else { REPEATS_MAX },
            last_flight,
            answered: None,
            is_over: false,
        })
    }

    /// Takes a datagram from the peer. Everything but an authentic alert or Finished is passed over.
    pub fn handle_datagram(&mut self, datagram: &[u8]) -> Option<TailEvent> {
        if self.is_over {
            return None;
        }
        let event =
            records(datagram).filter(|record| record.epoch == EPOCH).find_map(|record| {
                match record.content_type {
                    CONTENT_ALERT => match self.remote.open(&record)? {
                        [_, CLOSE_NOTIFY] => Some(TailEvent::Closed),
                        [FATAL, description] => Some(TailEvent::Alert(description)),
                        _ => None,
                    },
                    CONTENT_HANDSHAKE => self.asks_again(&record).then_some(TailEvent::Repeat),
                    _ => None,
                }
            })?;
        self.is_over = event != TailEvent::Repeat;
        Some(event)
    }

    /// Whether this is the peer's Finished in a new record: it waits for ours.
    fn asks_again(&mut self, record: &Record<'_>) -> bool {
        if self.repeats_left == 0 || self.answered.is_some_and(|last| record.sequence_number <= last) {
            return false;
        }
        if !matches!(self.remote.open::<FINISHED_LEN>(record), Some([FINISHED, ..])) {
            return false;
        }
        self.repeats_left -= 1;
        self.answered = Some(record.sequence_number);
        true
    }

    /// The datagrams that ended the handshake; none where the peer's did.
    pub fn last_flight(&self) -> &[Vec<u8>] {
        &self.last_flight
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

    fn prepared(&self) -> Option<LessSafeKey> {
        let key = self.key.get(..self.algorithm.key_len())?;
        Some(LessSafeKey::new(UnboundKey::new(self.algorithm, key).ok()?))
    }

    /// The content of an authentic record that is `LEN` long.
    fn open<const LEN: usize>(&self, record: &Record<'_>) -> Option<[u8; LEN]> {
        let (explicit, sealed) = record.fragment.split_first_chunk()?;
        if sealed.len() != LEN + TAG_LEN {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let aad = aad(record.header, LEN);
        let key = self.prepared()?;
        let content = key.open_in_place(self.nonce(*explicit), Aad::from(aad), &mut sealed).ok()?;
        <[u8; LEN]>::try_from(&*content).ok()
    }

    fn seal_alert(&self, alert: [u8; ALERT_LEN], sequence_number: u64, explicit: u64) -> Option<Vec<u8>> {
        let fragment_len = (EXPLICIT_NONCE_LEN + ALERT_LEN + TAG_LEN) as u16;
        let mut header = [0; RECORD_HEADER_LEN];
        header[..3].copy_from_slice(&[CONTENT_ALERT, 0xfe, 0xfd]);
        header[3..11].copy_from_slice(&(u64::from(EPOCH) << 48 | sequence_number).to_be_bytes());
        header[11..].copy_from_slice(&fragment_len.to_be_bytes());
        let explicit = explicit.to_be_bytes();
        let mut sealed = alert.to_vec();
        let aad = Aad::from(aad(&header, ALERT_LEN));
        self.prepared()?.seal_in_place_append_tag(self.nonce(explicit), aad, &mut sealed).ok()?;
        Some([&header[..], &explicit, &sealed].concat())
    }
}

/// Epoch and sequence number, type, version, length of the plaintext (RFC 5246 §6.2.3.3).
fn aad(header: &[u8; RECORD_HEADER_LEN], content_len: usize) -> [u8; RECORD_HEADER_LEN] {
    let mut aad = [0; RECORD_HEADER_LEN];
    aad[..8].copy_from_slice(&header[3..11]);
    aad[8..11].copy_from_slice(&header[..3]);
    aad[11..].copy_from_slice(&(content_len as u16).to_be_bytes());
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
