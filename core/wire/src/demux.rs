//! What a datagram on a multiplexed port is: by its first byte (RFC 7983 §7, RFC 9443), and for RTP
//! and RTCP by the second (RFC 5761 §4).

/// The protocol of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// First byte 0–3 and a whole header.
    Stun,
    /// First byte 20–63 and a whole record header.
    Dtls,
    /// First byte 128–191 and a whole header.
    Rtp,
    /// As RTP, with packet type 192–223.
    Rtcp,
    /// ZRTP, TURN channels, QUIC, unassigned values, and everything too short.
    Other,
}

/// Says what a datagram is. Looks at two bytes and the length only.
pub fn classify(datagram: &[u8]) -> Kind {
    let &[first, second, ..] = datagram else { return Kind::Other };
    let (kind, header_len) = match first {
        0..=3 => (Kind::Stun, 20),
        20..=63 => (Kind::Dtls, DTLS_HEADER_LEN),
        128..=191 if (192..=223).contains(&second) => (Kind::Rtcp, 8),
        128..=191 => (Kind::Rtp, 12),
        _ => return Kind::Other,
    };
    if datagram.len() < header_len { Kind::Other } else { kind }
}

/// Octets of a DTLS 1.0–1.2 record before its fragment.
pub const DTLS_HEADER_LEN: usize = 13;

/// One DTLS 1.0–1.2 record (RFC 6347 §4.1), as far as it is readable without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtlsRecord<'a> {
    /// 20 change_cipher_spec, 21 alert, 22 handshake, 23 application_data.
    pub content_type: u8,
    /// 0xFEFF is DTLS 1.0, 0xFEFD is DTLS 1.2.
    pub version: u16,
    /// 0 is in the clear, 1 and above encrypted.
    pub epoch: u16,
    /// 48 bits.
    pub sequence: u64,
    /// What the record carries.
    pub fragment: &'a [u8],
}

impl DtlsRecord<'_> {
    /// The handshake message's type, where it is in the clear: 1 client_hello, 2 server_hello,
    /// 3 hello_verify_request.
    pub fn handshake_type(&self) -> Option<u8> {
        if self.content_type != 22 || self.epoch != 0 {
            return None;
        }
        self.fragment.first().copied()
    }

    /// Whether this is a ClientHello in the clear.
    pub fn is_client_hello(&self) -> bool {
        self.handshake_type() == Some(1)
    }
}

/// The DTLS records of a datagram, in order. Ends early where a record is not whole; what is left
/// over then is in [`rest`](DtlsRecords::rest).
#[derive(Clone, Debug)]
pub struct DtlsRecords<'a> {
    rest: &'a [u8],
}

/// Iterates the DTLS records of a datagram.
pub fn dtls_records(datagram: &[u8]) -> DtlsRecords<'_> {
    DtlsRecords { rest: datagram }
}

impl<'a> DtlsRecords<'a> {
    /// The octets not yet understood: empty at the end of a well-formed datagram.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for DtlsRecords<'a> {
    type Item = DtlsRecord<'a>;

    fn next(&mut self) -> Option<DtlsRecord<'a>> {
        let (header, rest) = self.rest.split_first_chunk::<DTLS_HEADER_LEN>()?;
        let &[content_type, v0, v1, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1] = header;
        if !(20..=63).contains(&content_type) {
            return None;
        }
        let (fragment, rest) = rest.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
        self.rest = rest;
        Some(DtlsRecord {
            content_type,
            version: u16::from_be_bytes([v0, v1]),
            epoch: u16::from_be_bytes([e0, e1]),
            sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            fragment,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_byte_ranges() {
        for first in 0..=255u8 {
            let mut datagram = [0u8; 32];
            datagram[0] = first;
            let expected = match first {
                0..=3 => Kind::Stun,
                20..=63 => Kind::Dtls,
                128..=191 => Kind::Rtp,
                _ => Kind::Other,
            };
            assert_eq!(classify(&datagram), expected, "first byte {first}");
        }
    }

    #[test]
    fn rtcp_by_packet_type() {
        for second in 0..=255u8 {
            let datagram = [0x80, second, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let rtcp = (192..=223).contains(&second);
            assert_eq!(
                classify(&datagram),
                if rtcp { Kind::Rtcp } else { Kind::Rtp },
                "second byte {second}"
            );
        }
    }

    #[test]
    fn too_short_is_other() {
        for (first, second, header_len) in [(0, 1, 20), (22, 254, 13), (128, 0, 12), (128, 200, 8)] {
            let mut datagram = vec![0u8; header_len];
            (datagram[0], datagram[1]) = (first, second);
            assert_ne!(classify(&datagram), Kind::Other);
            assert_eq!(classify(&datagram[..header_len - 1]), Kind::Other);
        }
        assert_eq!(classify(&[]), Kind::Other);
        assert_eq!(classify(&[22]), Kind::Other);
    }

    #[test]
    fn records_of_a_flight() {
        let mut datagram = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 5, 0, 2, 1, 0xaa];
        datagram.extend([21, 0xfe, 0xfd, 0, 1, 1, 2, 3, 4, 5, 6, 0, 0]);
        datagram.extend([22, 0xfe]);
        let mut records = dtls_records(&datagram);
        let first = records.next().unwrap();
        assert!(first.is_client_hello());
        assert_eq!((first.version, first.epoch, first.sequence), (0xfefd, 0, 5));
        assert_eq!(first.fragment, [1, 0xaa]);
        let second = records.next().unwrap();
        assert_eq!((second.content_type, second.epoch, second.sequence), (21, 1, 0x0102_0304_0506));
        assert_eq!(second.handshake_type(), None);
        assert_eq!(records.next(), None);
        assert_eq!(records.rest(), [22, 0xfe]);
    }

    proptest! {
        #[test]
        fn records_never_read_past_the_end(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            classify(&datagram);
            let mut records = dtls_records(&datagram);
            let mut len = 0;
            for record in records.by_ref() {
                len += DTLS_HEADER_LEN + record.fragment.len();
            }
            prop_assert_eq!(len + records.rest().len(), datagram.len());
        }
    }
}
