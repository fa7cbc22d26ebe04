//! Why a packet was not protected or not accepted.

/// Why a packet was refused. Every refusal but [`SsrcRoom`](Self::SsrcRoom) is counted by the context that made
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpError {
    /// Not an RTP or RTCP packet, or too short for what its header says.
    Malformed,
    /// The packet, tag included, is longer than [`PACKET_LEN_MAX`](super::PACKET_LEN_MAX).
    TooLong,
    /// The caller's buffer has no room for the tag.
    NoTailroom,
    /// The tag is wrong.
    Authentication,
    /// Inbound: this index was accepted before (RFC 3711 §3.3.2).
    Replayed,
    /// The index is below the window, so whether it was used cannot be known.
    TooOld,
    /// Outbound: this index has protected a packet already.
    IndexUsed,
    /// An SRTCP packet whose E bit is clear.
    Unencrypted,
    /// There are as many SSRCs as a context holds.
    SsrcTableFull,
    /// There is no place for another SSRC until a [`Room`](super::Room) is added. Nothing was read or changed, and
    /// nothing is counted: the same packet can be tried again.
    SsrcRoom,
    /// The key has protected as many packets as it may, or the rollover counter is at its end.
    KeyExhausted,
    /// Key or salt do not have the profile's length, both in bytes.
    KeyLength {
        /// What the profile needs, key and salt together.
        needed: usize,
        /// What was given.
        given: usize,
    },
    /// The library below failed for a reason of its own (memory).
    Library,
}

impl std::fmt::Display for SrtpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed => f.write_str("SRTP: malformed packet"),
            Self::TooLong => write!(f, "SRTP: packet longer than {} bytes", super::PACKET_LEN_MAX),
            Self::NoTailroom => f.write_str("SRTP: no room for the tag in the buffer"),
            Self::Authentication => f.write_str("SRTP: authentication failed"),
            Self::Replayed => f.write_str("SRTP: replayed packet"),
            Self::TooOld => f.write_str("SRTP: packet older than the replay window"),
            Self::IndexUsed => f.write_str("SRTP: index already used for another packet"),
            Self::Unencrypted => f.write_str("SRTCP: packet is not encrypted"),
            Self::SsrcTableFull => f.write_str("SRTP: too many SSRCs"),
            Self::SsrcRoom => f.write_str("SRTP: no room yet for another SSRC"),
            Self::KeyExhausted => f.write_str("SRTP: master key used up"),
            Self::KeyLength { needed, given } => {
                write!(f, "SRTP: key and salt have {given} bytes, the profile needs {needed}")
            }
            Self::Library => f.write_str("SRTP: the cryptographic library failed"),
        }
    }
}

impl std::error::Error for SrtpError {}

impl From<bifrons_libsrtp::Error> for SrtpError {
    fn from(error: bifrons_libsrtp::Error) -> Self {
        use bifrons_libsrtp::Error;
        match error {
            Error::BadParameter => Self::Malformed,
            Error::NoRoom => Self::NoTailroom,
            Error::Authentication => Self::Authentication,
            Error::Replayed => Self::Replayed,
            Error::TooOld => Self::TooOld,
            Error::Unencrypted => Self::Unencrypted,
            Error::KeyExpired => Self::KeyExhausted,
            Error::Allocation | Error::Failed => Self::Library,
        }
    }
}
