//! What can be wrong between a browser's SDP and a telephone's.

use std::fmt;

use bifrons_engine::media::MediaError;

/// Why a description cannot be carried to the other face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainError {
    /// It is not SDP; the parser's text names the line.
    Parse(String),
    /// It has data channels, which have no counterpart.
    DataChannels,
    /// No audio and no video is left.
    NoMedia,
    /// No m-line has an IP address to send to (a host name in `c=` is not resolved).
    NoRemoteAddress,
    /// No codec that both sides know: ours, theirs.
    NoCommonCodec {
        /// What the browser offered or can do.
        ours: String,
        /// What the peer offered or answered.
        theirs: String,
    },
    /// SRTP is mandatory on one side and missing on the other.
    SrtpRequired,
    /// The answer's `a=crypto` is none of those that were offered.
    SrtpMismatch,
    /// The peer's calls share RTP ports, and this media address is none of those that it was said to have.
    NotItsMedia {
        /// Its name in the configuration.
        peer: String,
        /// The address in its SDP.
        address: std::net::IpAddr,
    },
    /// An answer without an offer before it.
    NoOffer,
    /// The engine refused a leg.
    Media(MediaError),
}

impl fmt::Display for PlainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(text) => write!(f, "{text}"),
            Self::DataChannels => write!(f, "data channels have no counterpart in plain RTP"),
            Self::NoMedia => write!(f, "No audio and no video being negotiated"),
            Self::NoRemoteAddress => write!(f, "No remote IP addresses"),
            Self::NoCommonCodec { ours, theirs } => {
                write!(f, "No common codec: ours {ours}; theirs {theirs}")
            }
            Self::SrtpRequired => write!(f, "SDES-SRTP required, but not offered by the peer"),
            Self::SrtpMismatch => write!(f, "The peer's a=crypto answers none that was offered"),
            Self::NotItsMedia { peer, address } => {
                write!(
                    f,
                    "The media address {address} is not in shared_rtp `{peer}`, whose ports were offered"
                )
            }
            Self::NoOffer => write!(f, "An answer without an offer"),
            Self::Media(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PlainError {}

impl From<MediaError> for PlainError {
    fn from(error: MediaError) -> Self {
        Self::Media(error)
    }
}
