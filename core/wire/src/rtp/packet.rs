//! A packet: a checked header beside its bytes.

use core::ops::Range;

use super::{Extension, Extensions, FIXED_HEADER_LEN, Header, RtpError};
use crate::bytes::{put, u8_at, u32_at};

/// An RTP packet over borrowed (or any other) bytes; with `&mut [u8]` its fields can be set in place.
///
/// ```
/// use bifrons_wire::rtp::Packet;
/// let mut bytes = [0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7, 0xff, 0xff];
/// let mut packet = Packet::parse(&mut bytes[..])?;
/// packet.set_sequence(2);
/// assert_eq!((packet.header().sequence, packet.payload().len()), (2, 2));
/// # Ok::<(), bifrons_wire::rtp::RtpError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Packet<B> {
    bytes: B,
    header: Header,
    payload_end: usize,
}

impl<'a> Packet<&'a [u8]> {
    /// The packet at `range` in `buffer`, checked.
    pub fn at(buffer: &'a [u8], range: Range<usize>) -> Result<Self, RtpError> {
        Packet::parse(buffer.get(range).ok_or(RtpError::TooShort)?)
    }
}

impl<B: AsRef<[u8]>> Packet<B> {
    /// Checks header and padding of a decrypted packet.
    pub fn parse(bytes: B) -> Result<Self, RtpError> {
        let header = Header::parse(bytes.as_ref())?;
        let payload_end = header.payload(bytes.as_ref())?.end;
        Ok(Packet { bytes, header, payload_end })
    }

    /// Fields and offsets of the header, as they stand now.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The whole packet.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// Contributing sources.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + '_ {
        let bytes = self.bytes();
        (0..usize::from(self.header.csrc_count)).map(move |i| u32_at(bytes, FIXED_HEADER_LEN + 4 * i))
    }

    /// Header extensions of either form (RFC 8285); empty for a block of another profile.
    pub fn extensions(&self) -> Extensions<'_> {
        let profile = self.header.extension_profile.unwrap_or(0);
        let elements = self.bytes().get(self.header.extension_range()).unwrap_or(&[]);
        Extensions::new(profile, elements)
    }

    /// Value of the first header extension with this id.
    pub fn extension(&self, id: u8) -> Option<&[u8]> {
        self.extensions().find(|extension| extension.id == id).map(|Extension { value, .. }| value)
    }

    /// Where the payload stands, padding left out.
    pub fn payload_range(&self) -> Range<usize> {
        self.header.len()..self.payload_end
    }

    /// The payload without padding.
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(self.payload_range()).unwrap_or(&[])
    }

    /// Bytes of padding, its count byte included.
    pub fn padding_len(&self) -> usize {
        self.bytes().len().saturating_sub(self.payload_end)
    }

    /// Gives the bytes back.
    pub fn into_inner(self) -> B {
        self.bytes
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Packet<B> {
    /// Sets the marker bit.
    pub fn set_marker(&mut self, marker: bool) {
        self.header.marker = marker;
        self.put_second();
    }

    /// Sets the payload type; only its low seven bits count.
    pub fn set_payload_type(&mut self, payload_type: u8) {
        self.header.payload_type = payload_type & 0x7f;
        self.put_second();
    }

    /// Sets the sequence number.
    pub fn set_sequence(&mut self, sequence: u16) {
        self.header.sequence = sequence;
        put(self.bytes.as_mut(), 2, &sequence.to_be_bytes());
    }

    /// Sets the timestamp.
    pub fn set_timestamp(&mut self, timestamp: u32) {
        self.header.timestamp = timestamp;
        put(self.bytes.as_mut(), 4, &timestamp.to_be_bytes());
    }

    /// Sets the synchronization source.
    pub fn set_ssrc(&mut self, ssrc: u32) {
        self.header.ssrc = ssrc;
        put(self.bytes.as_mut(), 8, &ssrc.to_be_bytes());
    }

    /// The payload without padding, to be changed in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = self.payload_range();
        self.bytes.as_mut().get_mut(range).unwrap_or(&mut [])
    }

    /// Value of the first header extension with this id, to be changed in place at its length.
    pub fn extension_mut(&mut self, id: u8) -> Option<&mut [u8]> {
        let range = self.extensions().find(|extension| extension.id == id)?.range;
        let start = self.header.extension_range().start;
        self.bytes.as_mut().get_mut(start + range.start..start + range.end)
    }

    fn put_second(&mut self) {
        let second = u8::from(self.header.marker) << 7 | self.header.payload_type;
        debug_assert!(u8_at(self.bytes.as_ref(), 0) >> 6 == super::VERSION);
        put(self.bytes.as_mut(), 1, &[second]);
    }
}

/// Gives a packet that goes on its new payload type, sequence number, timestamp and SSRC, all of the fixed header but
/// the marker bit, without a look at the rest. `false`: there are fewer bytes than a fixed header has.
#[must_use]
pub fn set_identity(packet: &mut [u8], payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) -> bool {
    let Some(fixed) = packet.first_chunk_mut::<FIXED_HEADER_LEN>() else { return false };
    let [_, second, rest @ ..] = fixed;
    *second = *second & 0x80 | payload_type & 0x7f;
    put(rest, 0, &sequence.to_be_bytes());
    put(rest, 2, &timestamp.to_be_bytes());
    put(rest, 6, &ssrc.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        let mut p = vec![0xb2, 0x80 | 111, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef];
        p.extend([0, 0, 0, 1, 0, 0, 0, 2]);
        p.extend([0xbe, 0xde, 0, 2, 0x10, 0xaa, 0x21, 0xbb, 0xcc, 0, 0, 0]);
        p.extend([1, 2, 3, 4, 5, 0, 0, 3]);
        p
    }

    #[test]
    fn all_fields() {
        let bytes = packet();
        let p = Packet::parse(&bytes[..]).unwrap();
        let h = p.header();
        assert_eq!((h.marker, h.payload_type, h.sequence, h.timestamp), (true, 111, 0x1234, 160));
        assert_eq!((h.ssrc, h.csrc_count, h.padding), (0xdead_beef, 2, true));
        assert_eq!(p.csrcs().collect::<Vec<_>>(), [1, 2]);
        assert_eq!((p.extension(1), p.extension(2)), (Some(&[0xaa][..]), Some(&[0xbb, 0xcc][..])));
        assert_eq!((p.payload(), p.padding_len()), (&[1, 2, 3, 4, 5][..], 3));
    }

    #[test]
    fn set_in_place() {
        let mut bytes = packet();
        let mut p = Packet::parse(&mut bytes[..]).unwrap();
        p.set_marker(false);
        p.set_payload_type(0xff);
        p.set_sequence(7);
        p.set_timestamp(8);
        p.set_ssrc(9);
        p.payload_mut()[0] = 0x55;
        p.extension_mut(2).unwrap()[1] = 0x77;
        let header = *p.header();
        let again = Packet::parse(&bytes[..]).unwrap();
        assert_eq!(*again.header(), header);
        assert_eq!((again.payload()[0], again.extension(2).unwrap()[1]), (0x55, 0x77));
        assert_eq!((header.payload_type, header.marker), (127, false));
    }

    #[test]
    fn a_new_identity_is_what_the_setters_set() {
        for len in [12, packet().len()] {
            let (mut a, mut b) = (packet()[..len].to_vec(), packet()[..len].to_vec());
            (a[0], b[0]) = (0x80, 0x80);
            let mut p = Packet::parse(&mut a[..]).unwrap();
            p.set_payload_type(0xff);
            p.set_sequence(7);
            p.set_timestamp(8);
            p.set_ssrc(9);
            assert!(set_identity(&mut b, 0xff, 7, 8, 9));
            assert_eq!(a, b);
        }
        assert!(!set_identity(&mut [0; 11], 1, 2, 3, 4));
    }

    #[test]
    fn hostile() {
        let whole = packet();
        assert_eq!(Packet::parse(&whole[..11]).unwrap_err(), RtpError::TooShort);
        assert_eq!(Packet::parse(&whole[..15]).unwrap_err(), RtpError::ExtensionTooLong);
        assert_eq!(Packet::parse(&whole[..27]).unwrap_err(), RtpError::ExtensionTooLong);
        let mut bad = whole.clone();
        bad[0] = 0x40;
        assert_eq!(Packet::parse(&bad[..]).unwrap_err(), RtpError::Version(1));
        for (count, len) in [(0, whole.len()), (9, whole.len()), (255, whole.len())] {
            let mut bad = whole.clone();
            bad[len - 1] = count;
            assert_eq!(Packet::parse(&bad[..]).unwrap_err(), RtpError::Padding);
        }
        let mut csrc = [0u8; 14];
        csrc[0] = 0x8f;
        assert_eq!(Packet::parse(&csrc[..]).unwrap_err(), RtpError::CsrcTooLong);
        let mut long = vec![0u8; 65507];
        long[0] = 0x90;
        long[14] = 0xff;
        assert_eq!(Packet::parse(&long[..]).unwrap_err(), RtpError::ExtensionTooLong);
        for len in 0..whole.len() {
            let _ = Packet::parse(&whole[..len]);
        }
    }
}
