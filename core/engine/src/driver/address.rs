//! Socket addresses as the kernel writes them into a buffer.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes that are kept for a name; the kernel writes at most 28 (`sockaddr_in6`).
pub(super) const NAME_BYTES: usize = 80;

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
            for short in 0..bytes.len() - 4 {
                let _ = read(&bytes[..short]);
            }
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0; 28]), None);
    }
}
