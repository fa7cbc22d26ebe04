//! UDP in IPv4 or IPv6 in Ethernet: what stands before a datagram on the wire, read and written in place.
//!
//! For a driver that takes frames from a network device past the kernel's own stack. What is not plain (a
//! VLAN tag, IP options, a fragment, an IPv6 extension header) is not read here; the kernel has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;
/// Length of an IPv4 header without options (RFC 791 §3.1).
pub const IPV4_BYTES: usize = 20;
/// Length of the fixed IPv6 header (RFC 8200 §3).
pub const IPV6_BYTES: usize = 40;
/// Length of a UDP header (RFC 768).
pub const UDP_BYTES: usize = 8;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Protocol number of UDP.
const UDP: u8 = 17;
/// Version 4 and a header of five words.
const VERSION_4_PLAIN: u8 = 0x45;
/// Reserved bit, more fragments, and the offset: all zero in a datagram that is whole. The bit between them is
/// "don't fragment".
const FRAGMENT: u16 = 0xbfff;
const DO_NOT_FRAGMENT: u16 = 0x4000;
/// Default of hosts (RFC 1700, "IP time to live").
const HOP_LIMIT: u8 = 64;

/// Where the datagram in a frame lies, whose it is and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// First byte of the UDP payload, counted as `start` was.
    pub start: usize,
    /// Length of the UDP payload.
    pub len: usize,
    /// Sender. An IPv6 address has no scope: the frame does not say which interface it came to.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
}

/// The two ends of one hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who shall take the frame: the receiver or a router.
    pub destination_mac: [u8; 6],
    /// Our interface.
    pub source_mac: [u8; 6],
}

/// The UDP datagram in the frame `bytes[start..start + len]`, which may be padded at its end.
///
/// `None` for everything else: not UDP, not whole, not plain, a length that is not there, a wrong checksum.
/// The checksum of UDP may be right; absent, with IPv4 (RFC 768; RFC 8200 §8.1 forbids it); or the sum of the
/// pseudo header alone, which a sender on the same machine leaves for a device that would have completed it.
#[inline]
pub fn parse(bytes: &[u8], start: usize, len: usize) -> Option<Parsed> {
    let frame = bytes.get(start..start.checked_add(len)?)?;
    let (ethernet, packet) = frame.split_first_chunk::<ETHERNET_BYTES>()?;
    let [.., t0, t1] = *ethernet;
    match [t0, t1] {
        ETHERTYPE_IPV4 => {
            let (header, rest) = packet.split_first_chunk::<IPV4_BYTES>()?;
            let [version, _, l0, l1, _, _, f0, f1, _, protocol, _, _, addresses @ ..] = *header;
            let total = usize::from(u16::from_be_bytes([l0, l1]));
            let plain = version == VERSION_4_PLAIN && protocol == UDP;
            if !plain || u16::from_be_bytes([f0, f1]) & FRAGMENT != 0 || fold(sum(header)) != 0xffff {
                return None;
            }
            let rest = rest.get(..total.checked_sub(IPV4_BYTES)?)?;
            let [a, b, c, d, e, f, g, h] = addresses;
            let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
            let at = start + ETHERNET_BYTES + IPV4_BYTES;
            datagram(rest, at, &addresses, source.into(), destination.into())
        }
        ETHERTYPE_IPV6 => {
            let (header, rest) = packet.split_first_chunk::<IPV6_BYTES>()?;
            let [version, _, _, _, l0, l1, next, _, addresses @ ..] = header;
            if version >> 4 != 6 || *next != UDP {
                return None;
            }
            let rest = rest.get(..usize::from(u16::from_be_bytes([*l0, *l1])))?;
            let (source, destination) = addresses.split_first_chunk::<16>()?;
            let source = Ipv6Addr::from(*source);
            let destination = Ipv6Addr::from(*destination.first_chunk::<16>()?);
            let at = start + ETHERNET_BYTES + IPV6_BYTES;
            datagram(rest, at, addresses, source.into(), destination.into())
        }
        _ => None,
    }
}

/// The UDP part of [`parse`]; `udp` begins at `at`, `addresses` are those of the IP header.
#[inline]
fn datagram(udp: &[u8], at: usize, addresses: &[u8], source: IpAddr, destination: IpAddr) -> Option<Parsed> {
    let [s0, s1, d0, d1, l0, l1, c0, c1] = *udp.first_chunk::<UDP_BYTES>()?;
    let len = u16::from_be_bytes([l0, l1]);
    let udp = udp.get(..usize::from(len))?;
    let pseudo = pseudo(addresses, len);
    let checksum = u16::from_ne_bytes([c0, c1]);
    let valid = match checksum {
        0 => source.is_ipv4(),
        _ => fold(pseudo + sum(udp)) == 0xffff || checksum == fold(pseudo),
    };
    let payload = usize::from(len).checked_sub(UDP_BYTES)?;
    valid.then(|| Parsed {
        start: at + UDP_BYTES,
        len: payload,
        source: SocketAddr::new(source, u16::from_be_bytes([s0, s1])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([d0, d1])),
    })
}

/// Writes the headers of a datagram in front of its payload `bytes[start..start + len]`, and gives the frame's
/// first byte; the frame ends where the payload ends.
///
/// `None`, and nothing is written: there is no room before the payload, it is too long for the length fields,
/// or the addresses are of two families. An IPv4 datagram may not be fragmented on its way, and so needs no
/// identification (RFC 6864 §4.1).
#[inline]
pub fn head(
    bytes: &mut [u8],
    start: usize,
    len: usize,
    link: &Link,
    source: SocketAddr,
    destination: SocketAddr,
) -> Option<usize> {
    let end = start.checked_add(len)?;
    let udp_len = u16::try_from(len.checked_add(UDP_BYTES)?).ok()?;
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = udp_len.checked_add(IPV4_BYTES as u16)?;
            let at = start.checked_sub(ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES)?;
            let (ethernet, packet) = bytes.get_mut(at..end)?.split_first_chunk_mut::<ETHERNET_BYTES>()?;
            let (header, udp) = packet.split_first_chunk_mut::<IPV4_BYTES>()?;
            *ethernet = ethernet_header(link, ETHERTYPE_IPV4);
            let ([a, b, c, d], [e, f, g, h]) = (from.octets(), to.octets());
            let ([l0, l1], [f0, f1]) = (total.to_be_bytes(), DO_NOT_FRAGMENT.to_be_bytes());
            *header =
                [VERSION_4_PLAIN, 0, l0, l1, 0, 0, f0, f1, HOP_LIMIT, UDP, 0, 0, a, b, c, d, e, f, g, h];
            let [c0, c1] = (!fold(sum(header))).to_ne_bytes();
            (header[10], header[11]) = (c0, c1);
            udp_header(udp, udp_len, pseudo(&header[12..], udp_len), source.port(), destination.port())?;
            Some(at)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let at = start.checked_sub(ETHERNET_BYTES + IPV6_BYTES + UDP_BYTES)?;
            let (ethernet, packet) = bytes.get_mut(at..end)?.split_first_chunk_mut::<ETHERNET_BYTES>()?;
            let (header, udp) = packet.split_first_chunk_mut::<IPV6_BYTES>()?;
            *ethernet = ethernet_header(link, ETHERTYPE_IPV6);
            let [l0, l1] = udp_len.to_be_bytes();
            header[..8].copy_from_slice(&[0x60, 0, 0, 0, l0, l1, UDP, HOP_LIMIT]);
            header[8..24].copy_from_slice(&from.octets());
            header[24..].copy_from_slice(&to.octets());
            udp_header(udp, udp_len, pseudo(&header[8..], udp_len), source.port(), destination.port())?;
            Some(at)
        }
        _ => None,
    }
}

#[inline]
fn ethernet_header(link: &Link, ethertype: [u8; 2]) -> [u8; ETHERNET_BYTES] {
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (link.destination_mac, link.source_mac);
    let [t0, t1] = ethertype;
    [a, b, c, d, e, f, g, h, i, j, k, l, t0, t1]
}

#[inline]
fn udp_header(udp: &mut [u8], len: u16, pseudo: u64, source: u16, destination: u16) -> Option<()> {
    let ([s0, s1], [d0, d1], [l0, l1]) = (source.to_be_bytes(), destination.to_be_bytes(), len.to_be_bytes());
    *udp.first_chunk_mut::<UDP_BYTES>()? = [s0, s1, d0, d1, l0, l1, 0, 0];
    // Zero would say that there is none; all ones is the same sum (RFC 768).
    let checksum = match !fold(pseudo + sum(udp)) {
        0 => u16::MAX,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_ne_bytes());
    Some(())
}

/// Sum of the pseudo header (RFC 768, RFC 8200 §8.1). The addresses stand next to each other in both headers.
#[inline]
fn pseudo(addresses: &[u8], len: u16) -> u64 {
    sum(addresses) + u64::from(len.to_be()) + u64::from(u16::from(UDP).to_be())
}

/// A ones'-complement sum, not folded. It is the same in either byte order but for the order of the result's
/// bytes, and in words of any even size (RFC 1071 §2), so it is taken in this machine's order, four bytes at a
/// time: 2^32 of them fit.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let words: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    words + u64::from(u32::from_ne_bytes(last))
}

/// Brings a sum down to 16 bits. Zero only for zero.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINK: Link = Link { destination_mac: [2, 0, 0, 0, 0, 9], source_mac: [2, 0, 0, 0, 0, 7] };

    /// RFC 1071 §1: the complement of the sum of big-endian 16-bit words, one at a time.
    fn checksum(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn octets(ip: IpAddr) -> Vec<u8> {
        match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        }
    }

    fn pseudo_header(source: IpAddr, destination: IpAddr, len: u16) -> Vec<u8> {
        let len = len.to_be_bytes();
        match source {
            IpAddr::V4(_) => [octets(source), octets(destination), vec![0, 17, len[0], len[1]]].concat(),
            IpAddr::V6(_) => {
                [octets(source), octets(destination), vec![0, 0, len[0], len[1], 0, 0, 0, 17]].concat()
            }
        }
    }

    /// A frame, written field by field as the standards list them.
    fn model_frame(payload: &[u8], link: &Link, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let len = (payload.len() + 8) as u16;
        let mut udp = Vec::new();
        for field in [source.port(), destination.port(), len, 0] {
            udp.extend(field.to_be_bytes());
        }
        udp.extend(payload);
        let covered = [pseudo_header(source.ip(), destination.ip(), len), udp.clone()].concat();
        let sum = Some(checksum(&covered)).filter(|sum| *sum != 0).unwrap_or(0xffff);
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        let mut frame = [link.destination_mac, link.source_mac].concat();
        if source.is_ipv4() {
            let mut ip = vec![0x45, 0];
            ip.extend((len + 20).to_be_bytes());
            ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
            ip.extend(octets(source.ip()));
            ip.extend(octets(destination.ip()));
            let sum = checksum(&ip).to_be_bytes();
            ip[10..12].copy_from_slice(&sum);
            frame.extend([8, 0]);
            frame.extend(ip);
        } else {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([17, 64]);
            frame.extend(octets(source.ip()));
            frame.extend(octets(destination.ip()));
        }
        frame.extend(udp);
        frame
    }

    /// What a frame says, read as slowly as may be.
    fn model_parse(frame: &[u8]) -> Option<Parsed> {
        let be16 = |at: usize| frame.get(at..at + 2).map(|two| u16::from(two[0]) << 8 | u16::from(two[1]));
        let (source, destination, udp_at, end) = match be16(12)? {
            0x0800 => {
                let header = frame.get(14..34)?;
                let fragmented =
                    be16(20)? & 0x8000 != 0 || be16(20)? & 0x2000 != 0 || be16(20)? & 0x1fff != 0;
                if header[0] != 0x45 || header[9] != 17 || fragmented || checksum(header) != 0 {
                    return None;
                }
                let address = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap();
                let end = 14 + usize::from(be16(16)?);
                (IpAddr::from(address(26)), IpAddr::from(address(30)), 34, end)
            }
            0x86dd => {
                let header = frame.get(14..54)?;
                if header[0] & 0xf0 != 0x60 || header[6] != 17 {
                    return None;
                }
                let address = |at: usize| <[u8; 16]>::try_from(&frame[at..at + 16]).unwrap();
                let end = 54 + usize::from(be16(18)?);
                (IpAddr::from(address(22)), IpAddr::from(address(38)), 54, end)
            }
            _ => return None,
        };
        let len = be16(udp_at + 4)?;
        let udp_end = udp_at + usize::from(len);
        if end > frame.len() || udp_end > end || len < 8 {
            return None;
        }
        let udp = &frame[udp_at..udp_end];
        let pseudo = pseudo_header(source, destination, len);
        let valid = match be16(udp_at + 6)? {
            0 => source.is_ipv4(),
            sum => checksum(&[&pseudo[..], udp].concat()) == 0 || sum == !checksum(&pseudo),
        };
        valid.then(|| Parsed {
            start: udp_at + 8,
            len: udp.len() - 8,
            source: SocketAddr::new(source, be16(udp_at).unwrap()),
            destination: SocketAddr::new(destination, be16(udp_at + 2).unwrap()),
        })
    }

    fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let v4 = any::<([u8; 4], u16, [u8; 4], u16)>()
            .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
        let v6 = any::<([u8; 16], u16, [u8; 16], u16)>()
            .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
        prop_oneof![v4, v6]
    }

    #[test]
    fn rfc_1071_numbers() {
        // §3, "Numerical Examples".
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)).to_ne_bytes(), [0xdd, 0xf2]);
        assert_eq!(checksum(&bytes), !0xddf2);
        // RFC 1624 §4: a header whose sum is 0xcd7a without one of its words, 0x5555.
        assert_eq!(fold(u64::from(0xcd7au16.to_be()) + sum(&[0x55, 0x55])).to_ne_bytes(), [0x22, 0xd0]);
        assert_eq!(fold(u64::MAX), u16::MAX);
        assert_eq!((fold(0), fold(0xffff), fold(0x1_0000)), (0, 0xffff, 1));
    }

    /// As a Linux host sent it: 192.168.0.1 to 192.168.0.199, an example known from textbooks for its IPv4
    /// header checksum b861.
    #[test]
    fn a_known_header_checksum() {
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(fold(sum(&header)), 0xffff);
        let mut bytes = [0; 42 + 87];
        let ends = ("192.168.0.1:5004".parse().unwrap(), "192.168.0.199:5006".parse().unwrap());
        assert_eq!(head(&mut bytes, 42, 87, &LINK, ends.0, ends.1), Some(0));
        assert_eq!(bytes[14..34], header);
        header[8] -= 1;
        assert_ne!(fold(sum(&header)), 0xffff);
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_all_ones() {
        let (source, destination) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let mut bytes = [0; 44];
        head(&mut bytes, 42, 2, &LINK, source, destination).unwrap();
        // A payload equal to the checksum of all else makes the whole sum all ones.
        let sum: [u8; 2] = bytes[40..42].try_into().unwrap();
        bytes[42..].copy_from_slice(&sum);
        head(&mut bytes, 42, 2, &LINK, source, destination).unwrap();
        assert_eq!(bytes[40..42], [0xff, 0xff]);
        assert_eq!(parse(&bytes, 0, 44), model_parse(&bytes));
        assert_eq!(parse(&bytes, 0, 44).unwrap().len, 2);
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_kernel() {
        let v4 = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let v6 = ("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap());
        let good4 = model_frame(b"abc", &LINK, v4.0, v4.1);
        let good6 = model_frame(b"abc", &LINK, v6.0, v6.1);
        let reads = |frame: &[u8]| parse(frame, 0, frame.len()).is_some();
        assert!(reads(&good4) && reads(&good6));
        let with = |frame: &[u8], at: usize, value: u8| {
            let mut frame = frame.to_vec();
            frame[at] = value;
            if frame[12..14] == [8, 0] {
                frame[24..26].fill(0);
                let sum = checksum(&frame[14..34]).to_be_bytes();
                frame[24..26].copy_from_slice(&sum);
            }
            frame
        };
        assert!(reads(&with(&good4, 15, 0xb8)), "a traffic class");
        assert!(reads(&with(&good4, 20, 0)), "may be fragmented");
        assert!(!reads(&with(&good4, 12, 0x81)), "a VLAN tag");
        assert!(!reads(&with(&good4, 14, 0x46)), "options");
        assert!(!reads(&with(&good4, 14, 0x65)), "another version");
        assert!(!reads(&with(&good4, 20, 0x20)), "a first fragment");
        assert!(!reads(&with(&good4, 21, 1)), "a later fragment");
        assert!(!reads(&with(&good4, 23, 6)), "TCP");
        assert!(!reads(&with(&good6, 20, 0)), "hop-by-hop options");
        assert!(!reads(&with(&good6, 14, 0x40)), "another version");
        // No checksum: with IPv4 only.
        let without = |frame: &[u8], at: usize| with(&with(frame, at, 0), at + 1, 0);
        assert!(reads(&without(&good4, 40)));
        assert!(!reads(&without(&good6, 60)));
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let (source, destination) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let (source6, destination6) = ("[::1]:1".parse().unwrap(), "[::2]:2".parse().unwrap());
        let mut bytes = vec![7; 70_000];
        assert_eq!(head(&mut bytes, 41, 10, &LINK, source, destination), None);
        assert_eq!(head(&mut bytes, 61, 10, &LINK, source6, destination6), None);
        assert_eq!(head(&mut bytes, 96, 65_508, &LINK, source, destination), None);
        assert_eq!(head(&mut bytes, 96, 65_528, &LINK, source6, destination6), None);
        assert_eq!(head(&mut bytes, 69_999, 2, &LINK, source, destination), None);
        assert_eq!(head(&mut bytes, usize::MAX, 1, &LINK, source, destination), None);
        assert_eq!(head(&mut bytes, 96, 10, &LINK, source, destination6), None);
        assert!(bytes.iter().all(|byte| *byte == 7));
        assert_eq!(head(&mut bytes, 42, 65_507, &LINK, source, destination), Some(0));
        assert_eq!(head(&mut bytes, 62, 65_527, &LINK, source6, destination6), Some(0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_the_models_frame_and_is_read_back(
            (source, destination) in ends(),
            payload in prop::collection::vec(any::<u8>(), 0..1_500),
            before in 62usize..130,
            padding in 0usize..30,
        ) {
            let mut bytes = vec![0xa5; before];
            bytes.extend(&payload);
            bytes.extend(vec![0x5a; padding]);
            let at = head(&mut bytes, before, payload.len(), &LINK, source, destination).unwrap();
            let end = before + payload.len();
            prop_assert_eq!(&bytes[at..end], &model_frame(&payload, &LINK, source, destination)[..]);
            prop_assert!(bytes[..at].iter().all(|byte| *byte == 0xa5));
            prop_assert!(bytes[end..].iter().all(|byte| *byte == 0x5a));
            // A device may pad a short frame (IEEE 802.3: 60 bytes at least).
            let expected = Parsed { start: before, len: payload.len(), source, destination };
            prop_assert_eq!(parse(&bytes, at, end - at + padding), Some(expected));
            for cut in at..end {
                prop_assert_eq!(parse(&bytes, at, cut - at), None);
            }
        }

        #[test]
        fn a_sender_that_leaves_the_checksum_to_its_device_is_heard(
            (source, destination) in ends(),
            payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut frame = model_frame(&payload, &LINK, source, destination);
            let partial = !checksum(&pseudo_header(source.ip(), destination.ip(), payload.len() as u16 + 8));
            let at = frame.len() - payload.len() - 2;
            frame[at..at + 2].copy_from_slice(&partial.to_be_bytes());
            let parsed = parse(&frame, 0, frame.len());
            prop_assert_eq!(parsed.map(|parsed| parsed.len), Some(payload.len()));
            prop_assert_eq!(parsed, model_parse(&frame));
        }

        /// Whatever is changed in a frame, it is read as the model reads it.
        #[test]
        fn a_damaged_frame_is_read_as_the_model_reads_it(
            (source, destination) in ends(),
            payload in prop::collection::vec(any::<u8>(), 0..80),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            mend in any::<bool>(),
            cut in 0usize..20,
            more in 0usize..20,
        ) {
            let mut frame = model_frame(&payload, &LINK, source, destination);
            for (at, value) in changes {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            if mend && source.is_ipv4() {
                frame[24..26].fill(0);
                let sum = checksum(&frame[14..34]).to_be_bytes();
                frame[24..26].copy_from_slice(&sum);
            }
            frame.truncate(frame.len() - cut.min(frame.len()));
            frame.extend(vec![0; more]);
            prop_assert_eq!(parse(&frame, 0, frame.len()), model_parse(&frame));
        }

        #[test]
        fn any_bytes_any_place(
            bytes in prop::collection::vec(any::<u8>(), 0..120),
            start in any::<usize>(),
            len in any::<usize>(),
            near in 0usize..130,
        ) {
            prop_assert_eq!(parse(&bytes, start, len), None);
            prop_assert_eq!(parse(&bytes, 0, bytes.len()), model_parse(&bytes));
            let _ = parse(&bytes, near, len % 130);
        }
    }
}
