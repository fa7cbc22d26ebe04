//! Addresses of this machine.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The address that a text means: an address itself, or the first one of the interface of that
/// name (IPv4 before IPv6).
pub fn address_of(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let interfaces = if_addrs::get_if_addrs().ok()?;
    let mut addresses: Vec<IpAddr> = interfaces
        .into_iter()
        .filter(|interface| interface.name == text)
        .map(|interface| interface.ip())
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.first().copied()
}

/// The address that the default route would send from, else 127.0.0.1. Nothing is sent.
pub fn default_address() -> IpAddr {
    let probe = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        // Any address that is not ours: connecting a UDP socket only asks the routing table.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
    };
    probe().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        assert_eq!(address_of("127.0.0.7"), Some([127, 0, 0, 7].into()));
        assert_eq!(address_of("lo"), Some([127, 0, 0, 1].into()));
        assert_eq!(address_of("no-such-interface"), None);
        assert!(!default_address().is_unspecified());
    }
}
