//! The native back end: SRTP's framing over AES-GCM (aws-lc) and AES-CTR with HMAC-SHA1
//! (RustCrypto), in place. Indices come from the caller; nothing here has state but keys.

use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use bifrons_aws_lc::{GcmKey, NONCE_LEN, TAG_LEN as GCM_TAG_LEN};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use hmac::{Hmac, Mac};

use super::key::{Protocol, SessionKeys};
use super::packet::{RTCP_HEADER_LEN, RtpHeader};
use super::{MasterKey, Profile, SrtpError};

/// The session keys of one master key, ready for use.
#[repr(C)] // what an SRTP packet needs is in front
pub(super) struct Keys {
    rtp: Cipher,
    rtcp: Cipher,
}

/// Bytes of a cache line.
const LINE: usize = 64;
/// Length of the SRTCP word with E bit and index.
const RTCP_INDEX_LEN: usize = 4;
/// The E bit: the packet is encrypted (RFC 3711 §3.4).
const E_BIT: u32 = 1 << 31;

impl Keys {
    pub fn new(master: &MasterKey) -> Result<Self, SrtpError> {
        Ok(Self {
            rtp: Cipher::new(&SessionKeys::derive(master, Protocol::Srtp), master.profile().rtp_overhead())?,
            rtcp: Cipher::new(
                &SessionKeys::derive(master, Protocol::Srtcp),
                master.profile().rtcp_overhead() - RTCP_INDEX_LEN,
            )?,
        })
    }

    /// Names the memory that an SRTP packet needs of the keys at this address. Nothing is read there, so the kind
    /// of cipher is not known: it is the whole place of one.
    #[inline]
    pub fn hot_lines(at: *const u8, mut line: impl FnMut(*const u8)) {
        for offset in (0..size_of::<Cipher>()).step_by(LINE) {
            line(at.wrapping_add(offset));
        }
        line(at.wrapping_add(size_of::<Cipher>() - 1));
    }

    /// Encrypts `buf[..len]` and appends the tag. The caller has checked that there is room.
    #[inline]
    pub fn protect_rtp(
        &self,
        buf: &mut [u8],
        len: usize,
        header: &RtpHeader,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let (packet, tail) = buf.split_at_mut_checked(len).ok_or(SrtpError::NoTailroom)?;
        let (clear, payload) = packet.split_at_mut_checked(header.len).ok_or(SrtpError::Malformed)?;
        match &self.rtp {
            Cipher::Gcm(gcm) => {
                let tag = tail.first_chunk_mut::<GCM_TAG_LEN>().ok_or(SrtpError::NoTailroom)?;
                gcm.seal(gcm.rtp_nonce(header.ssrc, index), clear, payload, tag)?;
                Ok(len + GCM_TAG_LEN)
            }
            Cipher::Cm(cm) => {
                let tag = tail.get_mut(..cm.tag_len).ok_or(SrtpError::NoTailroom)?;
                cm.crypt(header.ssrc, index, payload);
                // The rollover counter is authenticated, not sent (RFC 3711 §4.2).
                let mac = cm.mac(packet, &rollover_counter(index));
                tag.copy_from_slice(mac.finalize().as_bytes().get(..cm.tag_len).unwrap_or_default());
                Ok(len + cm.tag_len)
            }
        }
    }

    /// Authenticates and decrypts a whole SRTP packet and gives the length of the RTP packet.
    #[inline]
    pub fn unprotect_rtp(
        &self,
        packet: &mut [u8],
        header: &RtpHeader,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let len = packet.len().checked_sub(self.rtp.tag_len()).ok_or(SrtpError::Malformed)?;
        let (packet, tag) = packet.split_at_mut_checked(len).ok_or(SrtpError::Malformed)?;
        let (clear, payload) = packet.split_at_mut_checked(header.len).ok_or(SrtpError::Malformed)?;
        match &self.rtp {
            Cipher::Gcm(gcm) => gcm.open(gcm.rtp_nonce(header.ssrc, index), clear, payload, tag)?,
            Cipher::Cm(cm) => {
                cm.verify(packet, &rollover_counter(index), tag)?;
                let payload = packet.get_mut(header.len..).ok_or(SrtpError::Malformed)?;
                cm.crypt(header.ssrc, index, payload);
            }
        }
        Ok(len)
    }

    /// Encrypts the compound `buf[..len]` and appends tag and index in the profile's order: AEAD
    /// has the tag first (RFC 7714 §9.1), HMAC the index (RFC 3711 §3.4).
    pub fn protect_rtcp(
        &self,
        buf: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let (packet, tail) = buf.split_at_mut_checked(len).ok_or(SrtpError::NoTailroom)?;
        let (clear, body) = packet.split_at_mut_checked(RTCP_HEADER_LEN).ok_or(SrtpError::Malformed)?;
        let word = (E_BIT | index).to_be_bytes();
        match &self.rtcp {
            Cipher::Gcm(gcm) => {
                let (tag, tail) = tail.split_first_chunk_mut::<GCM_TAG_LEN>().ok_or(SrtpError::NoTailroom)?;
                *tail.first_chunk_mut().ok_or(SrtpError::NoTailroom)? = word;
                gcm.seal(gcm.rtcp_nonce(ssrc, index), &rtcp_aad(clear, word), body, tag)?;
                Ok(len + GCM_TAG_LEN + RTCP_INDEX_LEN)
            }
            Cipher::Cm(cm) => {
                let (word_out, tail) =
                    tail.split_first_chunk_mut::<RTCP_INDEX_LEN>().ok_or(SrtpError::NoTailroom)?;
                *word_out = word;
                let tag = tail.get_mut(..cm.tag_len).ok_or(SrtpError::NoTailroom)?;
                cm.crypt(ssrc, index.into(), body);
                let mac = cm.mac(packet, &word);
                tag.copy_from_slice(mac.finalize().as_bytes().get(..cm.tag_len).unwrap_or_default());
                Ok(len + RTCP_INDEX_LEN + cm.tag_len)
            }
        }
    }

    /// Authenticates and decrypts a whole SRTCP packet with the index that it claims, and gives
    /// the length of the RTCP compound.
    pub fn unprotect_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, SrtpError> {
        let overhead = self.rtcp.tag_len() + RTCP_INDEX_LEN;
        let len = packet.len().checked_sub(overhead).ok_or(SrtpError::Malformed)?;
        let (packet, tail) = packet.split_at_mut_checked(len).ok_or(SrtpError::Malformed)?;
        let (clear, body) = packet.split_at_mut_checked(RTCP_HEADER_LEN).ok_or(SrtpError::Malformed)?;
        let word = (E_BIT | index).to_be_bytes();
        match &self.rtcp {
            Cipher::Gcm(gcm) => {
                let tag = tail.get(..GCM_TAG_LEN).ok_or(SrtpError::Malformed)?;
                gcm.open(gcm.rtcp_nonce(ssrc, index), &rtcp_aad(clear, word), body, tag)?;
            }
            Cipher::Cm(cm) => {
                let tag = tail.get(RTCP_INDEX_LEN..).ok_or(SrtpError::Malformed)?;
                cm.verify(packet, &word, tag)?;
                let body = packet.get_mut(RTCP_HEADER_LEN..).ok_or(SrtpError::Malformed)?;
                cm.crypt(ssrc, index.into(), body);
            }
        }
        Ok(len)
    }
}

/// The index that an SRTCP packet claims; not authenticated yet.
pub(super) fn rtcp_index(profile: Profile, packet: &[u8]) -> Result<u32, SrtpError> {
    let tag_after_index = match profile {
        Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 0,
        _ => profile.rtcp_overhead() - RTCP_INDEX_LEN,
    };
    if packet.len() < RTCP_HEADER_LEN + profile.rtcp_overhead() {
        return Err(SrtpError::Malformed);
    }
    let word = packet
        .get(..packet.len() - tag_after_index)
        .and_then(<[u8]>::last_chunk)
        .ok_or(SrtpError::Malformed)?;
    let word = u32::from_be_bytes(*word);
    if word & E_BIT == 0 {
        return Err(SrtpError::Unencrypted);
    }
    Ok(word & !E_BIT)
}

enum Cipher {
    Gcm(Gcm),
    Cm(Cm),
}

impl Cipher {
    fn new(keys: &SessionKeys, tag_len: usize) -> Result<Self, SrtpError> {
        Ok(match keys.profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm(Gcm::new(keys)?),
            Profile::AesCm128HmacSha1_80 | Profile::AesCm128HmacSha1_32 => Self::Cm(Cm::new(keys, tag_len)?),
        })
    }

    fn tag_len(&self) -> usize {
        match self {
            Self::Gcm(_) => GCM_TAG_LEN,
            Self::Cm(cm) => cm.tag_len,
        }
    }
}

/// AES-GCM (RFC 7714).
struct Gcm {
    key: GcmKey,
    salt: [u8; NONCE_LEN],
}

impl Gcm {
    fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        let key = GcmKey::new(keys.cipher()).map_err(|_| SrtpError::Library)?;
        let mut salt = [0; NONCE_LEN];
        salt.copy_from_slice(&keys.salt[..NONCE_LEN]);
        Ok(Self { key, salt })
    }

    /// Two zero bytes, SSRC, rollover counter, sequence number, XOR salt (RFC 7714 §8.1).
    #[inline]
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> [u8; NONCE_LEN] {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index))
    }

    /// Two zero bytes, SSRC, two zero bytes, a zero bit, index, XOR salt (RFC 7714 §9.1).
    #[inline]
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> [u8; NONCE_LEN] {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index))
    }

    #[inline]
    fn nonce(&self, low_96_bits: u128) -> [u8; NONCE_LEN] {
        let mut nonce = self.salt;
        for (byte, other) in nonce.iter_mut().zip(&low_96_bits.to_be_bytes()[4..]) {
            *byte ^= other;
        }
        nonce
    }

    #[inline]
    fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        payload: &mut [u8],
        tag: &mut [u8; GCM_TAG_LEN],
    ) -> Result<(), SrtpError> {
        self.key.seal(&nonce, aad, payload, tag).map_err(|_| SrtpError::Library)
    }

    #[inline]
    fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        payload: &mut [u8],
        tag: &[u8],
    ) -> Result<(), SrtpError> {
        let tag = tag.try_into().map_err(|_| SrtpError::Malformed)?;
        self.key.open(&nonce, aad, payload, tag).map_err(|_| SrtpError::Authentication)
    }
}

/// AES in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1).
struct Cm {
    aes: aes::Aes128,
    /// Keyed once; each packet starts from a copy, which saves two of its SHA-1 blocks.
    hmac: Hmac<sha1::Sha1>,
    salt: [u8; 14],
    tag_len: usize,
}

impl Cm {
    fn new(keys: &SessionKeys, tag_len: usize) -> Result<Self, SrtpError> {
        Ok(Self {
            aes: aes::Aes128::new_from_slice(keys.cipher()).map_err(|_| SrtpError::Library)?,
            hmac: Hmac::new_from_slice(&keys.auth).map_err(|_| SrtpError::Library)?,
            salt: keys.salt,
            tag_len,
        })
    }

    /// Encrypts or decrypts with the key stream of this index: the counter block starts as
    /// (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16).
    #[inline]
    fn crypt(&self, ssrc: u32, index: u64, payload: &mut [u8]) {
        let mut iv = (u128::from(ssrc) << 64 | u128::from(index) << 16).to_be_bytes();
        for (byte, salt) in iv.iter_mut().zip(&self.salt) {
            *byte ^= salt;
        }
        CtrCore::<_, Ctr128BE>::inner_iv_init(&self.aes, &iv.into()).apply_keystream_partial(payload.into());
    }

    #[inline]
    fn mac(&self, packet: &[u8], trailer: &[u8; 4]) -> Hmac<sha1::Sha1> {
        let mut mac = self.hmac.clone();
        mac.update(packet);
        mac.update(trailer);
        mac
    }

    /// Compares in constant time.
    #[inline]
    fn verify(&self, packet: &[u8], trailer: &[u8; 4], tag: &[u8]) -> Result<(), SrtpError> {
        self.mac(packet, trailer).verify_truncated_left(tag).map_err(|_| SrtpError::Authentication)
    }
}

#[inline]
fn rollover_counter(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// The associated data of an encrypted SRTCP packet: its clear header, then the word with the
/// index (RFC 7714 §9.2).
fn rtcp_aad(clear: &[u8], word: [u8; 4]) -> [u8; RTCP_HEADER_LEN + RTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_HEADER_LEN + RTCP_INDEX_LEN];
    let (header, last) = aad.split_at_mut(RTCP_HEADER_LEN);
    for (out, byte) in header.iter_mut().zip(clear) {
        *out = *byte;
    }
    last.copy_from_slice(&word);
    aad
}

#[cfg(test)]
mod tests {
    use super::super::testing::unhex;
    use super::*;

    /// RFC 3711 appendix B.2: the key stream, through a packet of zeros.
    #[test]
    fn rfc3711_appendix_b2() {
        let keys = SessionKeys::given(
            Profile::AesCm128HmacSha1_80,
            &unhex("2B7E151628AED2A6ABF7158809CF4F3C"),
            &unhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"),
        );
        let cm = Cm::new(&keys, 10).unwrap();
        let mut stream = vec![0u8; 0xff02 * 16];
        cm.crypt(0, 0, &mut stream);
        assert_eq!(
            stream[..48],
            unhex(
                "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB\
                 41E95B3BB0A2E8DD477901E4FCA894C0"
            )
        );
        assert_eq!(
            stream[0xfeff * 16..],
            unhex(
                "EC8CDF7398607CB0F2D21675EA9EA1E4362B7C3C6773516318A077D7FC5073AE\
                 6A2CC3787889374FBEB4C81B17BA6C44"
            )
        );
    }

    const RTP: &str = "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120\
                       696e207061727465732074726573";
    const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
                        deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
    /// RFC 7714 §16.1.1, §16.2.1 and §17.1, §17.2.
    const VECTORS: [(Profile, &str, &str, &str); 2] = [
        (
            Profile::AeadAes128Gcm,
            "000102030405060708090a0b0c0d0e0f",
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f\
             42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1\
             730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        ),
        (
            Profile::AeadAes256Gcm,
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3\
             b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1\
             110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
        ),
    ];

    #[test]
    fn what_a_packet_needs_of_the_keys_is_named() {
        for profile in Profile::ALL {
            let key =
                MasterKey::from_bytes(profile, &vec![1; profile.key_len() + profile.salt_len()]).unwrap();
            let keys = Keys::new(&key).unwrap();
            let mut named = std::collections::BTreeSet::new();
            Keys::hot_lines((&raw const keys).cast(), |line| _ = named.insert(line as usize / LINE));
            let (start, len) = match &keys.rtp {
                Cipher::Gcm(gcm) => ((&raw const *gcm) as usize, size_of::<Gcm>()),
                Cipher::Cm(cm) => ((&raw const *cm) as usize, size_of::<Cm>()),
            };
            assert!((start..start + len).all(|byte| named.contains(&(byte / LINE))), "{profile}");
        }
    }

    #[test]
    fn rfc7714_sections_16_and_17() {
        for (profile, key, srtp, srtcp) in VECTORS {
            let session = SessionKeys::given(profile, &unhex(key), &unhex("517569642070726f2071756f"));
            let cipher = || Cipher::new(&session, GCM_TAG_LEN).unwrap();
            let keys = Keys { rtp: cipher(), rtcp: cipher() };

            let (clear, sealed) = (unhex(RTP), unhex(srtp));
            let header = RtpHeader::parse(&clear).unwrap();
            let mut buf = clear.clone();
            buf.resize(clear.len() + 16, 0);
            assert_eq!(keys.protect_rtp(&mut buf, clear.len(), &header, 0xf17b), Ok(sealed.len()));
            assert_eq!(buf, sealed);
            assert_eq!(keys.unprotect_rtp(&mut buf, &header, 0xf17b), Ok(clear.len()));
            assert_eq!(buf[..clear.len()], clear);

            let (clear, sealed) = (unhex(RTCP), unhex(srtcp));
            let mut buf = clear.clone();
            buf.resize(clear.len() + 20, 0);
            assert_eq!(keys.protect_rtcp(&mut buf, clear.len(), 0x4d61_7273, 0x5d4), Ok(sealed.len()));
            assert_eq!(buf, sealed);
            assert_eq!(rtcp_index(profile, &buf), Ok(0x5d4));
            assert_eq!(keys.unprotect_rtcp(&mut buf, 0x4d61_7273, 0x5d4), Ok(clear.len()));
            assert_eq!(buf[..clear.len()], clear);
        }
    }
}
