//! The walk over a compound packet (RFC 3550 §6.1) or a reduced-size one (RFC 5506).

use core::fmt;

use super::*;
use crate::bytes::{u8_at, u16_at, u32_at};

/// Packets one walk gives at most. Browsers send fewer than ten; a datagram of 65,507 bytes could hold
/// 16,000 empty ones.
pub const COMPOUND_PACKETS_MAX: usize = 64;

/// One RTCP packet of a compound.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Packet<'a> {
    /// Sender report.
    SenderReport(SenderReport<'a>),
    /// Receiver report.
    ReceiverReport(ReceiverReport<'a>),
    /// Source description.
    Sdes(Sdes<'a>),
    /// Goodbye.
    Bye(Bye<'a>),
    /// Application-defined.
    App(App<'a>),
    /// Generic negative acknowledgement.
    Nack(Nack<'a>),
    /// Picture loss indication.
    Pli(Pli),
    /// Full intra request.
    Fir(Fir<'a>),
    /// Receiver estimated maximum bitrate.
    Remb(Remb<'a>),
    /// Transport-wide congestion control feedback.
    Twcc(Twcc<'a>),
    /// Extended report.
    Xr(Xr<'a>),
    /// A packet type or feedback format that this crate does not read.
    Other {
        /// RTCP packet type.
        packet_type: u8,
        /// Report count, feedback format or subtype: the five bits after version and padding.
        count: u8,
        /// Everything after the four-byte head, padding left out.
        body: &'a [u8],
    },
}

/// Walk over the packets of a (decrypted) compound.
///
/// An error in one packet's content does not end the walk, since its length is still known; an error in the
/// framing does.
#[derive(Debug, Clone)]
pub struct Compound<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Compound<'a> {
    /// A walk over `bytes`, one datagram.
    pub fn new(bytes: &'a [u8]) -> Self {
        Compound { rest: bytes, left: COMPOUND_PACKETS_MAX }
    }

    fn frame(&mut self) -> Result<(u8, u8, &'a [u8]), RtcpError> {
        if self.left == 0 {
            return Err(RtcpError::TooManyPackets);
        }
        let head: [u8; 4] = *self.rest.first_chunk().ok_or(RtcpError::TooShort)?;
        if head[0] >> 6 != 2 {
            return Err(RtcpError::Version(head[0] >> 6));
        }
        let len = 4 + 4 * usize::from(u16_at(&head, 2));
        let (packet, rest) = self.rest.split_at_checked(len).ok_or(RtcpError::Length)?;
        let mut body = packet.get(4..).unwrap_or(&[]);
        if head[0] & 0x20 != 0 {
            // Only the last packet may be padded (RFC 3550 §6.4.1); its last byte counts the padding.
            let padding_len = usize::from(u8_at(body, body.len().saturating_sub(1)));
            let end = body.len().checked_sub(padding_len).filter(|_| padding_len > 0 && rest.is_empty());
            body = end.and_then(|end| body.get(..end)).ok_or(RtcpError::Padding)?;
        }
        self.rest = rest;
        self.left -= 1;
        Ok((head[1], head[0] & 0x1f, body))
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.frame() {
            Ok((packet_type, count, body)) => {
                Some(Packet::parse(packet_type, count, body).ok_or(RtcpError::Content { packet_type, count }))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl<'a> Packet<'a> {
    fn parse(packet_type: u8, count: u8, body: &'a [u8]) -> Option<Self> {
        Some(match (packet_type, count) {
            (TYPE_SR, _) => Packet::SenderReport(SenderReport::parse(count, body)?),
            (TYPE_RR, _) => Packet::ReceiverReport(ReceiverReport::parse(count, body)?),
            (TYPE_SDES, _) => Packet::Sdes(Sdes::parse(count, body)),
            (TYPE_BYE, _) => Packet::Bye(Bye::parse(count, body)?),
            (TYPE_APP, _) => Packet::App(App::parse(count, body)?),
            (TYPE_RTPFB, FMT_NACK) => Packet::Nack(Nack::parse(body)?),
            (TYPE_RTPFB, FMT_TWCC) => Packet::Twcc(Twcc::parse(body)?),
            (TYPE_PSFB, FMT_PLI) => Packet::Pli(Pli::parse(body)?),
            (TYPE_PSFB, FMT_FIR) => Packet::Fir(Fir::parse(body)?),
            (TYPE_PSFB, FMT_AFB) if u32_at(body, 8) == remb::IDENTIFIER => Packet::Remb(Remb::parse(body)?),
            (TYPE_XR, _) => Packet::Xr(Xr::parse(body)?),
            _ => Packet::Other { packet_type, count, body },
        })
    }
}

/// Why bytes are not an RTCP compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpError {
    /// Fewer than four bytes are left for the next packet.
    TooShort,
    /// The version field is not 2.
    Version(u8),
    /// A packet announces more bytes than there are.
    Length,
    /// The padding count is zero, longer than the packet, or padding is not in the last packet.
    Padding,
    /// More than [`COMPOUND_PACKETS_MAX`] packets.
    TooManyPackets,
    /// A packet is shorter than its type and count demand.
    Content {
        /// RTCP packet type.
        packet_type: u8,
        /// Report count, feedback format or subtype.
        count: u8,
    },
}

impl fmt::Display for RtcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RtcpError::TooShort => f.write_str("RTCP packet shorter than its head"),
            RtcpError::Version(version) => write!(f, "RTCP version {version} instead of 2"),
            RtcpError::Length => f.write_str("RTCP packet longer than its datagram"),
            RtcpError::Padding => f.write_str("RTCP padding in a wrong place or of a wrong length"),
            RtcpError::TooManyPackets => write!(f, "more than {COMPOUND_PACKETS_MAX} RTCP packets"),
            RtcpError::Content { packet_type, count } => {
                write!(f, "RTCP packet type {packet_type}, count or format {count}: content too short")
            }
        }
    }
}

impl core::error::Error for RtcpError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_framing() {
        let walk = |bytes: &[u8]| Compound::new(bytes).map(|p| p.err()).collect::<Vec<_>>();
        assert_eq!(walk(&[]), []);
        assert_eq!(walk(&[0x80, 201, 0]), [Some(RtcpError::TooShort)]);
        assert_eq!(walk(&[0x40, 201, 0, 0]), [Some(RtcpError::Version(1))]);
        assert_eq!(walk(&[0x80, 201, 0xff, 0xff, 0, 0, 0, 1]), [Some(RtcpError::Length)]);
        assert_eq!(walk(&[0xa0, 201, 0, 1, 0, 0, 0, 9]), [Some(RtcpError::Padding)]);
        assert_eq!(walk(&[0xa0, 201, 0, 0]), [Some(RtcpError::Padding)]);
        // Padding in a packet that is not the last.
        let mut two = vec![0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
        two.extend([0x80, 201, 0, 1, 0, 0, 0, 1]);
        assert_eq!(walk(&two), [Some(RtcpError::Padding)]);
        // A report without room for its blocks is skipped, the next packet still read.
        let mut bad = vec![0x81, 201, 0, 1, 0, 0, 0, 1];
        bad.extend([0x80, 201, 0, 1, 0, 0, 0, 1]);
        assert_eq!(walk(&bad), [Some(RtcpError::Content { packet_type: 201, count: 1 }), None]);
    }

    #[test]
    fn walk_is_bounded() {
        let flood = [0x80, 195, 0, 0].repeat(16_000);
        let packets: Vec<_> = Compound::new(&flood).collect();
        assert_eq!(packets.len(), COMPOUND_PACKETS_MAX + 1);
        assert!(matches!(packets.last(), Some(Err(RtcpError::TooManyPackets))));
    }

    #[test]
    fn padding_of_the_last_packet_is_left_out() {
        let padded = [0xa0, 195, 0, 2, 1, 2, 3, 4, 0, 0, 0, 4];
        let packet = Compound::new(&padded).next().unwrap().unwrap();
        assert!(matches!(packet, Packet::Other { packet_type: 195, count: 0, body: [1, 2, 3, 4] }));
    }
}
