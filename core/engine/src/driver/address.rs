//! Socket addresses as the kernel writes them into a buffer, and as it reads them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes that are kept for a name; the kernel writes at most 28 (`sockaddr_in6`).
pub(super) const NAME_BYTES: usize = 80;

/// A `sockaddr_in` or `sockaddr_in6`: what a send names its destination with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(4))]
pub(super) struct Name {
    bytes: [u8; 28],
    len: u8,
}

impl Name {
    /// For the kernel to read, [`Name::len`] bytes.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// The address that it names.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        read(self.bytes.get(..usize::from(self.len))?)
    }

    /// Bytes that count.
    pub(super) fn len(&self) -> u32 {
        self.len.into()
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let mut bytes = [0; 28];
        let [p0, p1] = address.port().to_be_bytes();
        let len = match address {
            SocketAddr::V4(v4) => {
                let [f0, f1] = (libc::AF_INET as u16).to_ne_bytes();
                let [a, b, c, d] = v4.ip().octets();
                bytes[..8].copy_from_slice(&[f0, f1, p0, p1, a, b, c, d]);
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let [f0, f1] = (libc::AF_INET6 as u16).to_ne_bytes();
                bytes[..4].copy_from_slice(&[f0, f1, p0, p1]);
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                size_of::<libc::sockaddr_in6>()
            }
        };
        Self { bytes, len: len as u8 }
    }
}

/// Reads a `sockaddr_in` or `sockaddr_in6` from the bytes that the kernel wrote.
pub(super) fn read(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port)))
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(name.get(24..28)?.try_into().ok()?);
            Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_system_writes() {
        for text in ["127.0.0.9:5004", "[::1]:65535", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            let system = socket2::SockAddr::from(address);
            // SAFETY: `SockAddr` owns at least `len()` initialised bytes at `as_ptr()`.
            let bytes =
                unsafe { std::slice::from_raw_parts(system.as_ptr().cast::<u8>(), system.len() as usize) };
            assert_eq!(read(bytes), Some(address));
            let name = Name::from(address);
            assert_eq!(&name.bytes[..usize::from(name.len)], bytes);
            assert_eq!(name.address(), Some(address));
            for short in 0..bytes.len() - 4 {
                let _ = read(&bytes[..short]);
            }
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0; 28]), None);
    }
}
