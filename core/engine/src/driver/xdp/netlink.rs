//! Routing netlink (netlink(7), rtnetlink(7)): questions that the kernel answers within the call that asks
//! them, and what it tells of its own accord. Nothing waits and nothing is allocated after the start.

use std::io::{self, Read};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

/// Room for a datagram of messages; the kernel's are one page or less.
const DATAGRAM_BYTES: usize = 8 << 10;
/// Room for a question: two headers and four addresses.
const REQUEST_BYTES: usize = 128;
/// struct nlmsghdr.
const HEADER_BYTES: usize = 16;
/// Datagrams that may lie before an answer.
const STRAY_MAX: usize = 8;

/// A netlink socket.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    datagram: Box<[u8; DATAGRAM_BYTES]>,
}

impl Netlink {
    /// A socket in the calling thread's network namespace that hears these groups (`RTNLGRP_…`).
    pub(super) fn new(groups: &[libc::c_uint]) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking().cloexec();
        let protocol = Protocol::from(libc::NETLINK_ROUTE);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), kind, Some(protocol))?;
        // SAFETY: an all-zero sockaddr_nl is valid; it outlives the call and its size is given.
        let bound = unsafe {
            let mut address: libc::sockaddr_nl = std::mem::zeroed();
            address.nl_family = libc::AF_NETLINK as u16;
            let len = size_of_val(&address) as libc::socklen_t;
            libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len)
        };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        for group in groups {
            let len = size_of_val(group) as libc::socklen_t;
            // SAFETY: the option's value is the integer at `group`, which outlives the call.
            let joined = unsafe {
                let (level, option) = (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP);
                libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *group).cast(), len)
            };
            if joined != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self { socket, sequence: 0, datagram: Box::new([0; DATAGRAM_BYTES]) })
    }

    /// Asks, and gives the message of kind `kind` that answers; `None` when the kernel refuses.
    pub(super) fn ask(&mut self, request: &Request, kind: u16) -> Option<&[u8]> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = request.bytes;
        let message = bytes.get_mut(..request.len)?;
        message.get_mut(..4)?.copy_from_slice(&(request.len as u32).to_ne_bytes());
        message.get_mut(8..12)?.copy_from_slice(&self.sequence.to_ne_bytes());
        self.socket.send(message).ok().filter(|sent| *sent == message.len())?;
        for _ in 0..STRAY_MAX {
            let len = self.socket.read(&mut self.datagram[..]).ok()?;
            let Some(first) = Messages(self.datagram.get(..len)?).next() else { continue };
            if first.sequence == self.sequence {
                // Borrowed anew, for the borrow checker cannot see that only this way out keeps it.
                return Messages(self.datagram.get(..len)?)
                    .next()
                    .filter(|first| first.kind == kind)
                    .map(|first| first.body);
            }
        }
        None
    }

    /// What the kernel has told; `None`: nothing more.
    ///
    /// # Errors
    /// Something was lost.
    pub(super) fn told(&mut self) -> io::Result<Option<Messages<'_>>> {
        match self.socket.read(&mut self.datagram[..]) {
            Ok(len) => Ok(self.datagram.get(..len).map(Messages)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A question.
pub(super) struct Request {
    bytes: [u8; REQUEST_BYTES],
    len: usize,
}

impl Request {
    /// A message of this kind whose body begins with `body`.
    pub(super) fn new(kind: u16, body: &[u8]) -> Self {
        let mut request = Self { bytes: [0; REQUEST_BYTES], len: HEADER_BYTES };
        request.bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        request.bytes[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request.put(body);
        request
    }

    /// Adds an attribute.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let [l0, l1] = ((value.len() + 4) as u16).to_ne_bytes();
        let [k0, k1] = kind.to_ne_bytes();
        self.put(&[l0, l1, k0, k1]);
        self.put(value);
        self
    }

    /// Bodies and values are those of this folder: few and short, so they fit.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        debug_assert!(end <= REQUEST_BYTES);
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
            self.len = end.next_multiple_of(4);
        }
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// `RTM_…`.
    pub kind: u16,
    /// That of the question; of no meaning in what the kernel tells.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages of a datagram.
pub(super) struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = u32_at(self.0, 0)? as usize;
        let message = self.0.get(..len)?;
        let (kind, sequence) = (u16_at(message, 4)?, u32_at(message, 8)?);
        let body = message.get(HEADER_BYTES..)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, sequence, body })
    }
}

/// Attributes: kind and value.
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those behind the first `skip` bytes.
    pub(super) fn behind(body: &'a [u8], skip: usize) -> Self {
        Self(body.get(skip..).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let len = usize::from(u16_at(self.0, 0)?);
        let attribute = self.0.get(..len)?;
        // The two highest bits are flags (nested, byte order).
        let kind = u16_at(attribute, 2)? & 0x3fff;
        let value = attribute.get(4..)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A number of the machine's byte order.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_ne_bytes(*two))
}

/// A number of the machine's byte order.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_reads_as_it_was_written() {
        let request = Request::new(7, &[1, 2, 3, 4]).attribute(1, &[9; 16]).attribute(2, &[5]);
        let mut bytes = request.bytes[..request.len].to_vec();
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        let messages: Vec<Message<'_>> = Messages(&bytes).collect();
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].kind, &messages[0].body[..4]), (7, &[1, 2, 3, 4][..]));
        let attributes: Vec<(u16, &[u8])> = Attributes::behind(messages[0].body, 4).collect();
        assert_eq!(attributes, [(1, &[9; 16][..]), (2, &[5][..])]);
    }

    #[test]
    fn the_kernel_answers_within_the_call() {
        let mut netlink = Netlink::new(&[libc::RTNLGRP_LINK]).unwrap();
        // struct ifinfomsg for interface 1, which is `lo` in every namespace.
        let mut body = [0; 16];
        body[4..8].copy_from_slice(&1u32.to_ne_bytes());
        for _ in 0..3 {
            let answer = netlink.ask(&Request::new(libc::RTM_GETLINK, &body), libc::RTM_NEWLINK).unwrap();
            assert_eq!(u32_at(answer, 4), Some(1));
            let name = Attributes::behind(answer, 16).find(|(kind, _)| *kind == libc::IFLA_IFNAME);
            assert_eq!(name.map(|(_, value)| value), Some(&b"lo\0"[..]));
        }
        // An interface that cannot be there.
        body[4..8].copy_from_slice(&0x7fff_fff0u32.to_ne_bytes());
        assert_eq!(netlink.ask(&Request::new(libc::RTM_GETLINK, &body), libc::RTM_NEWLINK), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bodies = 0;
            for message in Messages(&bytes) {
                bodies += message.body.len();
            }
            let attributes = Attributes::behind(&bytes, 0).count();
            prop_assert!(bodies <= bytes.len() && attributes <= bytes.len());
        }
    }
}
