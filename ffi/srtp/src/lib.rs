//! libsrtp behind a safe face: the second SRTP back end and the oracle in tests.
//!
//! One [`Session`] is one `srtp_t`: one direction, one master key, every SSRC. It is built with
//! OpenSSL (libsrtp's own AES is ten times slower, and Debian's NSS build slower still with many
//! sessions). Packets are transformed in place.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use openssl_sys as _;
use srtp2_sys as sys;

mod error;

pub use error::Error;

/// The longest packet, trailer included, that [`Session`] takes, in bytes.
pub const PACKET_LEN_MAX: usize = 2048;

/// A protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// AES-128 in counter mode, HMAC-SHA1 with a tag of 80 bits.
    AesCm128HmacSha1_80,
    /// AES-128 in counter mode, HMAC-SHA1 with a tag of 32 bits (80 in SRTCP).
    AesCm128HmacSha1_32,
    /// AES-128-GCM with a tag of 16 bytes.
    AeadAes128Gcm,
    /// AES-256-GCM with a tag of 16 bytes.
    AeadAes256Gcm,
}

impl Profile {
    /// Bytes of master key followed by master salt.
    pub fn key_and_salt_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16 + 14,
            Self::AeadAes128Gcm => 16 + 12,
            Self::AeadAes256Gcm => 32 + 12,
        }
    }

    /// Bytes that protecting an RTP packet adds.
    fn rtp_trailer_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes that protecting an RTCP packet adds: the tag and the E bit with the index.
    fn rtcp_trailer_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10 + 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16 + 4,
        }
    }

    fn to_sys(self) -> sys::srtp_profile_t {
        match self {
            Self::AesCm128HmacSha1_80 => sys::srtp_profile_t_srtp_profile_aes128_cm_sha1_80,
            Self::AesCm128HmacSha1_32 => sys::srtp_profile_t_srtp_profile_aes128_cm_sha1_32,
            Self::AeadAes128Gcm => sys::srtp_profile_t_srtp_profile_aead_aes_128_gcm,
            Self::AeadAes256Gcm => sys::srtp_profile_t_srtp_profile_aead_aes_256_gcm,
        }
    }
}

/// What a [`Session`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `unprotect` of whatever SSRC authenticates.
    Inbound,
    /// `protect` of every SSRC.
    Outbound,
}

/// One direction of SRTP and SRTCP under one master key.
pub struct Session {
    ctx: sys::srtp_t,
    profile: Profile,
    direction: Direction,
}

// SAFETY: an srtp_t has no thread affinity: it is heap memory that only calls with it touch, and
// OpenSSL's cipher contexts may move between threads. `Session` is the only owner and is not Sync.
unsafe impl Send for Session {}

impl Session {
    /// Makes a session; `key_and_salt` is the master key followed by the master salt, which
    /// libsrtp copies. `window_len` is the replay window in packets (RFC 3711 §3.3.2: at least 64).
    pub fn new(
        profile: Profile,
        direction: Direction,
        key_and_salt: &[u8],
        window_len: u16,
    ) -> Result<Self, Error> {
        if key_and_salt.len() != profile.key_and_salt_len() {
            return Err(Error::BadParameter);
        }
        init()?;
        // SAFETY: srtp_policy_t is a C structure of integers and pointers, for which zero is the
        // documented starting value.
        let mut policy: sys::srtp_policy_t = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to fields of `policy`, valid for writes during the calls.
        unsafe {
            Error::check(sys::srtp_crypto_policy_set_from_profile_for_rtp(
                &raw mut policy.rtp,
                profile.to_sys(),
            ))?;
            Error::check(sys::srtp_crypto_policy_set_from_profile_for_rtcp(
                &raw mut policy.rtcp,
                profile.to_sys(),
            ))?;
        }
        policy.ssrc.type_ = match direction {
            Direction::Inbound => sys::srtp_ssrc_type_t_ssrc_any_inbound,
            Direction::Outbound => sys::srtp_ssrc_type_t_ssrc_any_outbound,
        };
        policy.key = key_and_salt.as_ptr().cast_mut();
        policy.window_size = window_len.into();
        let mut ctx: sys::srtp_t = std::ptr::null_mut();
        // SAFETY: `policy` is complete; its key points to as many bytes as the profile needs
        // (checked above) and srtp_create only reads them, during the call. `next` is null.
        Error::check(unsafe { sys::srtp_create(&raw mut ctx, &raw const policy) })?;
        Ok(Self { ctx, profile, direction })
    }

    /// Protects the RTP packet `buf[..len]` in place and gives its new length.
    pub fn protect_rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, Error> {
        self.transform(Direction::Outbound, sys::srtp_protect, buf, len, self.profile.rtp_trailer_len())
    }

    /// Protects the compound RTCP packet `buf[..len]` in place and gives its new length.
    pub fn protect_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, Error> {
        if len < 8 {
            return Err(Error::BadParameter); // srtp_protect_rtcp reads the SSRC without asking
        }
        self.transform(Direction::Outbound, sys::srtp_protect_rtcp, buf, len, self.profile.rtcp_trailer_len())
    }

    /// Authenticates and decrypts the SRTP packet in `buf` and gives its new length.
    ///
    /// After an error the bytes of `buf` are not to be used: an AEAD may have written there.
    pub fn unprotect_rtp(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        if buf.len() < 12 + self.profile.rtp_trailer_len() {
            return Err(Error::BadParameter); // before libsrtp subtracts the tag from the length
        }
        let len = buf.len();
        self.transform(Direction::Inbound, sys::srtp_unprotect, buf, len, 0)
    }

    /// Authenticates and decrypts the SRTCP packet in `buf` and gives its new length.
    pub fn unprotect_rtcp(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        if buf.len() < 8 + self.profile.rtcp_trailer_len() {
            return Err(Error::BadParameter);
        }
        let len = buf.len();
        self.transform(Direction::Inbound, sys::srtp_unprotect_rtcp, buf, len, 0)
    }

    /// Runs one of libsrtp's in-place functions. They read the header through pointers to 32-bit
    /// words, so a packet that does not start on such a boundary goes through an aligned copy.
    fn transform(
        &mut self,
        needs: Direction,
        function: Transform,
        buf: &mut [u8],
        len: usize,
        trailer_len: usize,
    ) -> Result<usize, Error> {
        if self.direction != needs || len > buf.len() {
            return Err(Error::BadParameter);
        }
        let room = len + trailer_len;
        if room > buf.len() || room > PACKET_LEN_MAX {
            return Err(Error::NoRoom);
        }
        let mut octets = len as c_int;
        if buf.as_ptr().addr().is_multiple_of(4) {
            // SAFETY: `buf` is aligned for u32 and has room for the packet and the trailer of this
            // profile; `octets` is its length; the context lives as long as `self`.
            Error::check(unsafe { function(self.ctx, buf.as_mut_ptr().cast(), &raw mut octets) })?;
        } else {
            let mut aligned = Aligned([0; PACKET_LEN_MAX]);
            aligned.0[..len].copy_from_slice(&buf[..len]);
            // SAFETY: as above, with a buffer that has PACKET_LEN_MAX bytes, at least `room`.
            Error::check(unsafe { function(self.ctx, aligned.0.as_mut_ptr().cast(), &raw mut octets) })?;
            let new_len = (octets.max(0) as usize).min(room);
            buf[..new_len].copy_from_slice(&aligned.0[..new_len]);
        }
        usize::try_from(octets).ok().filter(|n| *n <= room).ok_or(Error::Failed)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: `ctx` came from srtp_create and is freed once. It wipes its keys.
        unsafe { sys::srtp_dealloc(self.ctx) };
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("profile", &self.profile).finish_non_exhaustive()
    }
}

type Transform = unsafe extern "C" fn(sys::srtp_t, *mut c_void, *mut c_int) -> sys::srtp_err_status_t;

#[repr(align(16))]
struct Aligned([u8; PACKET_LEN_MAX]);

/// `srtp_init` once a process; later calls give the first result.
fn init() -> Result<(), Error> {
    static RESULT: OnceLock<Result<(), Error>> = OnceLock::new();
    // SAFETY: srtp_init has no precondition but not to run twice at once, which OnceLock ensures.
    *RESULT.get_or_init(|| Error::check(unsafe { sys::srtp_init() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Profile; 4] = [
        Profile::AesCm128HmacSha1_80,
        Profile::AesCm128HmacSha1_32,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
    ];

    fn packet() -> Vec<u8> {
        let mut p = vec![0x80, 0, 0, 7, 0, 0, 0, 160, 1, 2, 3, 4];
        p.extend((0..160).map(|i| i as u8));
        p
    }

    #[test]
    fn round_trip_aligned_and_not() {
        for profile in ALL {
            for shift in 0..4 {
                let key = vec![7u8; profile.key_and_salt_len()];
                let mut out = Session::new(profile, Direction::Outbound, &key, 128).unwrap();
                let mut inn = Session::new(profile, Direction::Inbound, &key, 128).unwrap();
                let clear = packet();
                let mut buf = vec![0u8; 512];
                let buf = &mut buf[shift..];
                buf[..clear.len()].copy_from_slice(&clear);
                let len = out.protect_rtp(buf, clear.len()).unwrap();
                assert_ne!(&buf[12..clear.len()], &clear[12..]);
                let len = inn.unprotect_rtp(&mut buf[..len]).unwrap();
                assert_eq!(&buf[..len], &clear[..]);
            }
        }
    }

    #[test]
    fn bad_calls_are_errors() {
        let profile = Profile::AeadAes128Gcm;
        assert_eq!(
            Session::new(profile, Direction::Outbound, &[0; 30], 128).unwrap_err(),
            Error::BadParameter
        );
        let key = [1u8; 28];
        let mut out = Session::new(profile, Direction::Outbound, &key, 128).unwrap();
        let mut clear = packet();
        let len = clear.len();
        assert_eq!(out.protect_rtp(&mut clear, len), Err(Error::NoRoom));
        assert_eq!(out.protect_rtp(&mut clear, len + 1), Err(Error::BadParameter));
        assert_eq!(out.unprotect_rtp(&mut clear), Err(Error::BadParameter));
        assert_eq!(out.protect_rtcp(&mut clear, 4), Err(Error::BadParameter));
        for len in 0..40 {
            let mut inn = Session::new(profile, Direction::Inbound, &key, 128).unwrap();
            assert!(inn.unprotect_rtp(&mut vec![0x90; len]).is_err());
            assert!(inn.unprotect_rtcp(&mut vec![0x90; len]).is_err());
        }
    }

    #[test]
    fn replay_and_tampering_have_their_own_errors() {
        for profile in ALL {
            let key = vec![3u8; profile.key_and_salt_len()];
            let mut out = Session::new(profile, Direction::Outbound, &key, 128).unwrap();
            let mut inn = Session::new(profile, Direction::Inbound, &key, 128).unwrap();
            let mut buf = packet();
            let clear_len = buf.len();
            buf.resize(clear_len + 32, 0);
            let len = out.protect_rtp(&mut buf, clear_len).unwrap();
            buf.truncate(len);
            let mut bad = buf.clone();
            bad[20] ^= 1;
            assert_eq!(inn.unprotect_rtp(&mut bad), Err(Error::Authentication));
            inn.unprotect_rtp(&mut buf.clone()).unwrap();
            assert_eq!(inn.unprotect_rtp(&mut buf), Err(Error::Replayed));
        }
    }

    #[test]
    fn no_system_openssl_is_loaded() {
        Session::new(Profile::AeadAes128Gcm, Direction::Outbound, &[0; 28], 128).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        for library in ["libssl", "libcrypto", "libsrtp", "libnss"] {
            assert!(!maps.contains(&format!("{library}.so")), "{library} is mapped");
        }
    }
}
