//! What the generator writes into a payload, to know it again on the other side.

const MAGIC: [u8; 4] = *b"BfLd";
const STAMP_BYTES: usize = 24;

/// Call, way, number and time of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the call.
    pub call: u32,
    /// Which end of the call sent it: 0 or 1.
    pub way: u8,
    /// Counts the packets of this way, from 0.
    pub number: u32,
    /// When it was sent, nanoseconds on the generator's clock.
    pub sent_ns: u64,
}

impl Stamp {
    /// Writes the stamp at the beginning of a payload of at least 24 bytes; the rest is μ-law silence.
    pub fn write(&self, payload: &mut [u8]) {
        payload.fill(0xff);
        payload[..4].copy_from_slice(&MAGIC);
        payload[4..8].copy_from_slice(&self.call.to_be_bytes());
        payload[8..12].copy_from_slice(&self.number.to_be_bytes());
        payload[12..20].copy_from_slice(&self.sent_ns.to_be_bytes());
        payload[20] = self.way;
    }

    /// Reads a stamp; `None` where the payload is not the generator's.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP_BYTES] = payload.first_chunk()?;
        if bytes[..4] != MAGIC {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Self {
            call: word(4),
            number: word(8),
            sent_ns: u64::from(word(12)) << 32 | u64::from(word(16)),
            way: bytes[20],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp { call: 4_000, way: 1, number: 77, sent_ns: 0x0123_4567_89ab_cdef };
        let mut payload = [0; 160];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        payload[0] = 0;
        assert_eq!(Stamp::read(&payload), None);
        assert_eq!(Stamp::read(&payload[..10]), None);
    }
}
