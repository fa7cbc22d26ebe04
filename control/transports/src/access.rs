//! Who may connect: address lists, trusted proxies, origins.

use std::net::IpAddr;

/// A network in CIDR notation, or a prefix of an address as older configurations have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A list entry is not an address or network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadNetwork(pub String);

impl std::fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` is not an address, a network (10.0.0.0/8) or a prefix that ends at a dot (10.0.)",
            self.0
        )
    }
}

impl std::error::Error for BadNetwork {}

impl std::str::FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let text = text.trim();
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| bad())?;
            let bits: u8 = bits.parse().map_err(|_| bad())?;
            return if bits <= bits_max(address) { Ok(Self { address, bits }) } else { Err(bad()) };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { address, bits: bits_max(address) });
        }
        // "192.168." names whole bytes; "192.168.1" would also match 192.168.100.1 as text, and is refused.
        let bytes: Vec<u8> = text
            .strip_suffix('.')
            .ok_or_else(bad)?
            .split('.')
            .map(|b| b.parse().map_err(|_| bad()))
            .collect::<Result<_, _>>()?;
        if bytes.is_empty() || bytes.len() > 3 {
            return Err(bad());
        }
        let mut whole = [0; 4];
        whole.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        Ok(Self { address: whole.into(), bits: 8 * bytes.len() as u8 })
    }
}

fn bits_max(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Network {
    /// Is the address in it? IPv4 in IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let high = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
            IpAddr::V6(v6) => (u128::from(v6), false),
        };
        let ((ours, v4), (theirs, their_v4)) = (high(self.address), high(address));
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        v4 == their_v4 && (ours ^ theirs) & mask == 0
    }
}

/// The rules of access.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Clients that may connect; empty: all.
    pub allow: Vec<Network>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins of web pages that may use the API; empty: all.
    pub allow_origins: Vec<String>,
    /// Refuse requests of other pages (403), instead of leaving that to the browser.
    pub enforce_origin: bool,
}

impl Access {
    /// Whose request it is: the peer, or what trusted proxies say before it.
    pub fn client_ip(&self, peer: IpAddr, forwarded_for: Option<&str>) -> IpAddr {
        let trusted = |ip: IpAddr| self.trusted_proxies.iter().any(|network| network.contains(ip));
        let mut ip = peer.to_canonical();
        for entry in forwarded_for.unwrap_or("").rsplit(',') {
            if !trusted(ip) {
                break;
            }
            let Ok(before) = entry.trim().parse::<IpAddr>() else { break };
            ip = before.to_canonical();
        }
        ip
    }

    /// May this client connect?
    pub fn allows(&self, ip: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|network| network.contains(ip))
    }

    /// May this page use the API? Requests without an origin are no page's.
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        !self.enforce_origin
            || self.allow_origins.is_empty()
            || origin.is_some_and(|origin| self.is_listed(origin))
    }

    /// `Access-Control-Allow-Origin` for a request, and whether it depends on the origin.
    pub fn origin_header(&self, origin: Option<&str>) -> (String, bool) {
        match (self.allow_origins.first(), origin) {
            (None, _) => ("*".into(), false),
            (Some(_), Some(origin)) if self.is_listed(origin) => (origin.to_owned(), true),
            (Some(first), _) => (first.clone(), true),
        }
    }

    fn is_listed(&self, origin: &str) -> bool {
        self.allow_origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.1"),
            ("127.", "127.9.9.9", "128.0.0.1"),
            ("192.168.1.", "192.168.1.7", "192.168.10.7"),
            ("192.168.1.1", "::ffff:192.168.1.1", "192.168.1.10"),
            ("2001:db8::/32", "2001:db8:5::1", "2001:db9::1"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("::1", "::1", "0.0.0.1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(ip(inside)) && !network.contains(ip(outside)), "{network:?}");
        }
        for bad in ["127", "192.168.1", "10.0.0.0/33", "x", "", ".", "1.2.3.4.5.", "300."] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn forwarded_for_is_believed_from_proxies_only() {
        let access = Access { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Access::default() };
        let client = |peer: &str, header| access.client_ip(ip(peer), header).to_string();
        assert_eq!(client("1.1.1.1", Some("9.9.9.9")), "1.1.1.1");
        assert_eq!(client("10.0.0.1", Some("9.9.9.9")), "9.9.9.9");
        assert_eq!(client("10.0.0.1", Some("6.6.6.6, 9.9.9.9, 10.0.0.2")), "9.9.9.9");
        assert_eq!(client("10.0.0.1", Some("nonsense")), "10.0.0.1");
        assert_eq!(client("10.0.0.1", None), "10.0.0.1");
    }

    #[test]
    fn origins() {
        let open = Access::default();
        assert!(open.allows_origin(None) && open.origin_header(Some("https://a")) == ("*".into(), false));
        let strict = Access {
            allow_origins: vec!["https://a".into(), "https://b".into()],
            enforce_origin: true,
            ..open
        };
        assert!(strict.allows_origin(Some("https://b")));
        assert!(!strict.allows_origin(Some("https://a.evil")) && !strict.allows_origin(None));
        assert_eq!(strict.origin_header(Some("https://b")).0, "https://b");
        assert_eq!(strict.origin_header(Some("https://c")).0, "https://a");
    }
}
