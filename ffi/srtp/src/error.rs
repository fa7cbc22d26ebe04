//! libsrtp's status codes, as far as callers tell them apart.

use srtp2_sys as sys;

/// Why libsrtp refused a call or a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A length, key or packet header that cannot be right.
    BadParameter,
    /// The buffer has no room for tag and index, or the packet is longer than
    /// [`PACKET_LEN_MAX`](crate::PACKET_LEN_MAX).
    NoRoom,
    /// The tag is wrong.
    Authentication,
    /// This index came before, or is about to be used for a second packet.
    Replayed,
    /// The index is older than the replay window.
    TooOld,
    /// An SRTCP packet without the E bit, where encryption is required.
    Unencrypted,
    /// The master key has protected as many packets as it may.
    KeyExpired,
    /// Out of memory.
    Allocation,
    /// Anything else.
    Failed,
}

impl Error {
    pub(crate) fn check(status: sys::srtp_err_status_t) -> Result<(), Self> {
        Err(match status {
            sys::srtp_err_status_t_srtp_err_status_ok => return Ok(()),
            sys::srtp_err_status_t_srtp_err_status_bad_param
            | sys::srtp_err_status_t_srtp_err_status_parse_err => Self::BadParameter,
            sys::srtp_err_status_t_srtp_err_status_auth_fail => Self::Authentication,
            sys::srtp_err_status_t_srtp_err_status_replay_fail => Self::Replayed,
            sys::srtp_err_status_t_srtp_err_status_replay_old
            | sys::srtp_err_status_t_srtp_err_status_pkt_idx_old => Self::TooOld,
            sys::srtp_err_status_t_srtp_err_status_cant_check => Self::Unencrypted,
            sys::srtp_err_status_t_srtp_err_status_key_expired => Self::KeyExpired,
            sys::srtp_err_status_t_srtp_err_status_alloc_fail => Self::Allocation,
            _ => Self::Failed,
        })
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BadParameter => "libsrtp: bad parameter or malformed packet",
            Self::NoRoom => "libsrtp: no room for the tag, or the packet is too long",
            Self::Authentication => "libsrtp: authentication failed",
            Self::Replayed => "libsrtp: index seen before",
            Self::TooOld => "libsrtp: index older than the replay window",
            Self::Unencrypted => "libsrtp: SRTCP packet is not encrypted",
            Self::KeyExpired => "libsrtp: master key used up",
            Self::Allocation => "libsrtp: out of memory",
            Self::Failed => "libsrtp: failed",
        })
    }
}

impl std::error::Error for Error {}
