//! What audio the calls carry. The payload is the generator's stamp and filling; only sizes, payload types
//! and clocks are the codec's.

use crate::media::{PACKET_MS, Sending};

/// A codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Codec {
    /// G.711 μ-law, 64 kbit/s.
    Pcmu,
    /// Opus at 32 kbit/s.
    Opus,
}

impl Codec {
    /// 20 ms a packet.
    pub fn sending(self) -> Sending {
        let (payload_bytes, payload_type, timestamp_step) = match self {
            Self::Pcmu => (160, 0, 160),
            Self::Opus => (80, 111, 960),
        };
        Sending { packets: 1, period_ms: PACKET_MS, payload_bytes, payload_type, timestamp_step }
    }

    /// Encoding name in lower case and RTP clock, Hz.
    pub fn encoding(self) -> (&'static str, u32) {
        match self {
            Self::Pcmu => ("pcmu", 8_000),
            Self::Opus => ("opus", 48_000),
        }
    }

    /// The value of its `a=rtpmap` (RFC 3551 §6, RFC 7587 §7).
    pub fn rtpmap(self) -> &'static str {
        match self {
            Self::Pcmu => "0 PCMU/8000",
            Self::Opus => "111 opus/48000/2",
        }
    }
}
