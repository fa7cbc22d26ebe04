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

/// Names of the network interfaces, those without an address too.
pub fn interfaces() -> Vec<String> {
    names(&std::fs::read_to_string("/proc/net/dev").unwrap_or_default())
}

/// The names in `/proc/net/dev`: two lines of headings, then a line for each, which begins with its name.
fn names(table: &str) -> Vec<String> {
    let lines = table.lines().skip(2);
    lines.filter_map(|line| Some(line.rsplit_once(':')?.0.trim().to_owned())).collect()
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

    #[test]
    fn names_of_interfaces() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes    packets|bytes    packets\n    lo: 1 2\neth0:1 2\neth0:1:  3 4\n";
        assert_eq!(names(table), ["lo", "eth0", "eth0:1"]);
        assert!(interfaces().contains(&"lo".to_owned()));
    }
}
