//! Telephone events, DTMF above all (RFC 4733 §2.3).

use core::fmt;

use crate::bytes::{u8_at, u16_at};

/// Length of one event payload, bytes.
pub const EVENT_LEN: usize = 4;

/// Payload of a `telephone-event` packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Event code: 0..=9 digits, 10 `*`, 11 `#`, 12..=15 `A`..`D`, 16 flash (RFC 4733 §3.2).
    pub event: u8,
    /// The event has ended.
    pub end: bool,
    /// Power of the tone, −dBm0, 0..=63.
    pub volume: u8,
    /// Duration so far, units of the timestamp.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads the payload of a packet. Bytes after the first event are not looked at: some senders pad.
    pub fn parse(payload: &[u8]) -> Result<Self, EventError> {
        if payload.len() < EVENT_LEN {
            return Err(EventError::TooShort);
        }
        let second = u8_at(payload, 1);
        Ok(TelephoneEvent {
            event: u8_at(payload, 0),
            end: second & 0x80 != 0,
            volume: second & 0x3f,
            duration: u16_at(payload, 2),
        })
    }

    /// The payload; the reserved bit is zero.
    pub fn to_bytes(self) -> [u8; EVENT_LEN] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, u8::from(self.end) << 7 | self.volume & 0x3f, high, low]
    }

    /// The key of a telephone that makes this event: `0`..`9`, `*`, `#`, `A`..`D`.
    pub fn digit(&self) -> Option<char> {
        b"0123456789*#ABCD".get(usize::from(self.event)).copied().map(char::from)
    }

    /// The event code of a telephone's key; lower case letters too.
    pub fn code(digit: char) -> Option<u8> {
        let position = "0123456789*#ABCD".find(digit.to_ascii_uppercase())?;
        u8::try_from(position).ok()
    }
}

/// Why a payload is not a telephone event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventError {
    /// Fewer than [`EVENT_LEN`] bytes.
    TooShort,
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("telephone-event payload shorter than four bytes")
    }
}

impl core::error::Error for EventError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4733_example() {
        // RFC 4733 §5, figure 4: digit 1, end, volume 20, duration 1760.
        let bytes = [1, 0x80 | 20, 0x06, 0xe0];
        let event = TelephoneEvent::parse(&bytes).unwrap();
        assert_eq!(event, TelephoneEvent { event: 1, end: true, volume: 20, duration: 1760 });
        assert_eq!(event.to_bytes(), bytes);
        assert_eq!(event.digit(), Some('1'));
    }

    #[test]
    fn digits() {
        for (code, digit) in "0123456789*#ABCD".chars().enumerate() {
            assert_eq!(TelephoneEvent::code(digit), Some(code as u8));
            let event = TelephoneEvent { event: code as u8, end: false, volume: 0, duration: 0 };
            assert_eq!(event.digit(), Some(digit));
        }
        assert_eq!((TelephoneEvent::code('d'), TelephoneEvent::code('E')), (Some(15), None));
        assert_eq!(TelephoneEvent { event: 16, end: false, volume: 0, duration: 0 }.digit(), None);
        assert_eq!(TelephoneEvent::parse(&[1, 2, 3]), Err(EventError::TooShort));
    }
}
