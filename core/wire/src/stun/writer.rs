use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::attribute::xor;
use super::fingerprint::{FINGERPRINT_XOR, crc32};
use super::{Class, HEADER_LEN, IntegrityKey, MAGIC_COOKIE, TransactionId, kind};

/// The caller's buffer was too small for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is too small for the STUN message")
    }
}

impl std::error::Error for Full {}

/// Writes one message into a caller's buffer. Attributes are appended in the order of the calls;
/// an attribute that does not fit makes [`finish`](Writer::finish) fail, so calls need no checks in
/// between.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
    full: bool,
    id: TransactionId,
}

impl<'a> Writer<'a> {
    /// Begins a message.
    pub fn new(buffer: &'a mut [u8], class: Class, method: u16, id: TransactionId) -> Writer<'a> {
        let class_bits = match class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let message_type =
            class_bits | (method & 0x000f) | ((method & 0x0070) << 1) | ((method & 0x0f80) << 2);
        let mut writer = Writer { buffer, len: 0, full: false, id };
        writer.put(&message_type.to_be_bytes());
        writer.put(&[0, 0]);
        writer.put(&MAGIC_COOKIE.to_be_bytes());
        writer.put(&id);
        writer
    }

    /// USERNAME from its parts, joined as they are.
    pub fn username(&mut self, parts: &[&[u8]]) -> &mut Self {
        self.attribute(kind::USERNAME, parts)
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> &mut Self {
        let xored = xor(address, &self.id);
        let port = xored.port().to_be_bytes();
        match xored.ip() {
            IpAddr::V4(ip) => self.attribute(kind::XOR_MAPPED_ADDRESS, &[&[0, 1], &port, &ip.octets()]),
            IpAddr::V6(ip) => self.attribute(kind::XOR_MAPPED_ADDRESS, &[&[0, 2], &port, &ip.octets()]),
        }
    }

    /// PRIORITY.
    pub fn priority(&mut self, priority: u32) -> &mut Self {
        self.attribute(kind::PRIORITY, &[&priority.to_be_bytes()])
    }

    /// USE-CANDIDATE.
    pub fn use_candidate(&mut self) -> &mut Self {
        self.attribute(kind::USE_CANDIDATE, &[])
    }

    /// ICE-CONTROLLED with the tie-breaker.
    pub fn ice_controlled(&mut self, tie_breaker: u64) -> &mut Self {
        self.attribute(kind::ICE_CONTROLLED, &[&tie_breaker.to_be_bytes()])
    }

    /// ICE-CONTROLLING with the tie-breaker.
    pub fn ice_controlling(&mut self, tie_breaker: u64) -> &mut Self {
        self.attribute(kind::ICE_CONTROLLING, &[&tie_breaker.to_be_bytes()])
    }

    /// ERROR-CODE; `code` is 300–699.
    pub fn error_code(&mut self, code: u16, reason: &str) -> &mut Self {
        let value = [0, 0, (code / 100 % 8) as u8, (code % 100) as u8];
        self.attribute(kind::ERROR_CODE, &[&value, reason.as_bytes()])
    }

    /// UNKNOWN-ATTRIBUTES.
    pub fn unknown_attributes(&mut self, kinds: &[u16]) -> &mut Self {
        let at = self.len;
        self.attribute(kind::UNKNOWN_ATTRIBUTES, &[]);
        for kind in kinds {
            self.put(&kind.to_be_bytes());
        }
        let value_len = (kinds.len() * 2) as u16;
        self.overwrite(at + 2, &value_len.to_be_bytes());
        self.pad();
        self
    }

    /// SOFTWARE.
    pub fn software(&mut self, name: &str) -> &mut Self {
        self.attribute(kind::SOFTWARE, &[name.as_bytes()])
    }

    /// Any attribute, its value joined from parts and padded with zeros.
    pub fn attribute(&mut self, kind: u16, parts: &[&[u8]]) -> &mut Self {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(len) = u16::try_from(len) else {
            self.full = true;
            return self;
        };
        self.put(&kind.to_be_bytes());
        self.put(&len.to_be_bytes());
        for part in parts {
            self.put(part);
        }
        self.pad();
        self
    }

    /// MESSAGE-INTEGRITY over what was written so far. Only FINGERPRINT may follow.
    pub fn integrity(&mut self, key: &IntegrityKey) -> &mut Self {
        self.set_length(24);
        let tag = key.sign(&[self.buffer.get(..self.len).unwrap_or_default()]);
        self.attribute(kind::MESSAGE_INTEGRITY, &[&tag])
    }

    /// FINGERPRINT over what was written so far. Nothing may follow.
    pub fn fingerprint(&mut self) -> &mut Self {
        self.set_length(8);
        let crc = crc32(&[self.buffer.get(..self.len).unwrap_or_default()]) ^ FINGERPRINT_XOR;
        self.attribute(kind::FINGERPRINT, &[&crc.to_be_bytes()])
    }

    /// Ends the message and gives its length in the buffer.
    pub fn finish(&mut self) -> Result<usize, Full> {
        self.set_length(0);
        if self.full { Err(Full) } else { Ok(self.len) }
    }

    fn put(&mut self, octets: &[u8]) {
        let end = self.len + octets.len();
        match self.buffer.get_mut(self.len..end) {
            Some(room) if !self.full => {
                room.copy_from_slice(octets);
                self.len = end;
            }
            _ => self.full = true,
        }
    }

    fn pad(&mut self) {
        let padding = self.len.next_multiple_of(4) - self.len;
        self.put([0u8; 3].get(..padding).unwrap_or_default());
    }

    /// Sets the header's length to what stands there and `more` octets.
    fn set_length(&mut self, more: usize) {
        match u16::try_from((self.len + more).saturating_sub(HEADER_LEN)) {
            Ok(length) => self.overwrite(2, &length.to_be_bytes()),
            Err(_) => self.full = true,
        }
    }

    fn overwrite(&mut self, at: usize, octets: &[u8; 2]) {
        if self.full {
            return;
        }
        match self.buffer.get_mut(at..at + 2) {
            Some(room) => room.copy_from_slice(octets),
            None => self.full = true,
        }
    }
}
