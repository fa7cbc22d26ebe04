//! Values of the header extensions that the media plane reads or writes.

/// Longest mid that fits the one-byte extension form, bytes (RFC 8285 §4.2, RFC 9143 §15.1).
pub const MID_LEN_MAX: usize = 16;

/// Client-to-mixer audio level (RFC 6464 §3), `urn:ietf:params:rtp-hdrext:ssrc-audio-level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// The encoder believes that this is speech.
    pub voice: bool,
    /// −dBov, 0 (loudest) to 127 (silence).
    pub level: u8,
}

impl AudioLevel {
    /// Reads the extension's value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let first = *value.first()?;
        Some(AudioLevel { voice: first & 0x80 != 0, level: first & 0x7f })
    }

    /// The extension's value.
    pub fn to_bytes(self) -> [u8; 1] {
        [u8::from(self.voice) << 7 | self.level & 0x7f]
    }
}

/// Absolute send time: seconds modulo 64 as 6.18 fixed point
/// (`http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsSendTime(pub u32);

impl AbsSendTime {
    /// From nanoseconds of any steady clock; only differences mean something.
    pub fn from_nanos(nanos: u64) -> Self {
        // The value starts over each 64 s; what is left of them fits, shifted, in 64 bits.
        let fixed = ((nanos % 64_000_000_000) << 18) / 1_000_000_000;
        AbsSendTime(fixed as u32)
    }

    /// Reads the extension's value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let [a, b, c] = *value.first_chunk::<3>()?;
        Some(AbsSendTime(u32::from_be_bytes([0, a, b, c])))
    }

    /// The extension's value.
    pub fn to_bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

/// Value of the mid extension (RFC 9143 §15.1): UTF-8 of at most [`MID_LEN_MAX`] bytes.
pub fn mid(value: &[u8]) -> Option<&str> {
    if value.is_empty() || value.len() > MID_LEN_MAX {
        return None;
    }
    core::str::from_utf8(value).ok()
}

/// Value of the transport-wide sequence number extension
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
pub fn transport_sequence(value: &[u8]) -> Option<u16> {
    value.first_chunk::<2>().copied().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_level() {
        assert_eq!(AudioLevel::parse(&[0x85]), Some(AudioLevel { voice: true, level: 5 }));
        assert_eq!(AudioLevel { voice: false, level: 127 }.to_bytes(), [127]);
        assert_eq!(AudioLevel::parse(&[]), None);
    }

    #[test]
    fn abs_send_time_wraps_after_64_s() {
        assert_eq!(AbsSendTime::from_nanos(1_000_000_000), AbsSendTime(1 << 18));
        assert_eq!(AbsSendTime::from_nanos(64_000_000_000), AbsSendTime(0));
        for nanos in [0, 3_814, 3_815, 63_999_999_999, 64_000_003_815, u64::MAX - 1, u64::MAX] {
            let exact = (u128::from(nanos) << 18) / 1_000_000_000 % (1 << 24);
            assert_eq!(u128::from(AbsSendTime::from_nanos(nanos).0), exact, "{nanos}");
        }
        assert_eq!(AbsSendTime::parse(&AbsSendTime(0x01_02_03).to_bytes()), Some(AbsSendTime(0x01_02_03)));
    }

    #[test]
    fn mids() {
        assert_eq!(mid(b"audio"), Some("audio"));
        assert_eq!((mid(&[]), mid(&[b'a'; 17]), mid(&[0xff])), (None, None, None));
        assert_eq!((transport_sequence(&[1, 2]), transport_sequence(&[1])), (Some(258), None));
    }
}
