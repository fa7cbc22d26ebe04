//! Candidates: the `candidate` line of SDP (RFC 8839 §5.1), priorities (RFC 8445 §5.1.2), and which
//! remote ones are worth a check.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest candidate line that is read, in octets.
pub const LINE_LEN_MAX: usize = 512;

/// A candidate's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `host`.
    Host,
    /// `srflx`.
    ServerReflexive,
    /// `prflx`.
    PeerReflexive,
    /// `relay`.
    Relayed,
}

impl Kind {
    /// The recommended type preference (RFC 8445 §5.1.2.2).
    const fn preference(self) -> u32 {
        match self {
            Kind::Host => 126,
            Kind::PeerReflexive => 110,
            Kind::ServerReflexive => 100,
            Kind::Relayed => 0,
        }
    }

    fn token(self) -> &'static str {
        match self {
            Kind::Host => "host",
            Kind::ServerReflexive => "srflx",
            Kind::PeerReflexive => "prflx",
            Kind::Relayed => "relay",
        }
    }
}

/// A candidate's priority (RFC 8445 §5.1.2.1) for component 1.
pub const fn priority(kind: Kind, local_preference: u16) -> u32 {
    kind.preference() << 24 | (local_preference as u32) << 8 | 255
}

/// A candidate's transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `UDP`.
    Udp,
    /// `TCP` (RFC 6544): read, never checked.
    Tcp,
    /// Anything else: read, never checked.
    Other,
}

/// A candidate's connection address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A host name, in practice the mDNS name of a browser: read, never resolved.
    Name(String),
}

/// One `candidate` line. Parsed with or without `a=` in front; printed without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// 1–32 ICE characters, equal for candidates of one kind, base and server.
    pub foundation: String,
    /// 1 is RTP; 2 was RTCP before `rtcp-mux`.
    pub component: u16,
    /// UDP in WebRTC.
    pub transport: Transport,
    /// 1–2³¹−1.
    pub priority: u32,
    /// Where checks go.
    pub address: Address,
    /// Where checks go.
    pub port: u16,
    /// Its type.
    pub kind: Kind,
    /// `raddr` and `rport`, for diagnosis only.
    pub related: Option<(IpAddr, u16)>,
    /// The `ufrag` extension of trickled candidates (RFC 8838): the generation that the candidate
    /// belongs to. Whoever signals compares it with the peer's present ufrag, so that a candidate of
    /// before a restart is not added to the agent after it.
    pub ufrag: Option<String>,
}

impl Candidate {
    /// A host candidate over UDP, component 1.
    pub fn host(address: SocketAddr, local_preference: u16, foundation: String) -> Candidate {
        Candidate {
            foundation,
            component: 1,
            transport: Transport::Udp,
            priority: priority(Kind::Host, local_preference),
            address: Address::Ip(address.ip()),
            port: address.port(),
            kind: Kind::Host,
            related: None,
            ufrag: None,
        }
    }

    /// What an agent needs of it, or why it is of no use.
    pub fn to_remote(&self) -> Result<RemoteCandidate, Ignored> {
        if self.transport != Transport::Udp {
            return Err(Ignored::Transport);
        }
        if self.component != 1 {
            return Err(Ignored::Component);
        }
        let Address::Ip(ip) = self.address else { return Err(Ignored::Name) };
        Ok(RemoteCandidate {
            address: SocketAddr::new(ip.to_canonical(), self.port),
            priority: self.priority,
            kind: self.kind,
        })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Other => "x-unknown",
        };
        write!(f, "candidate:{} {} {transport} {} ", self.foundation, self.component, self.priority)?;
        match &self.address {
            Address::Ip(ip) => write!(f, "{ip}")?,
            Address::Name(name) => f.write_str(name)?,
        }
        write!(f, " {} typ {}", self.port, self.kind.token())?;
        if let Some((ip, port)) = self.related {
            write!(f, " raddr {ip} rport {port}")?;
        }
        if let Some(ufrag) = &self.ufrag {
            write!(f, " ufrag {ufrag}")?;
        }
        Ok(())
    }
}

/// Which part of a candidate line is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateError {
    /// Longer than [`LINE_LEN_MAX`].
    TooLong,
    /// Does not begin with `candidate:` or `a=candidate:`.
    Prefix,
    /// The named field is absent or cannot be.
    Field(&'static str),
}

impl fmt::Display for CandidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CandidateError::TooLong => {
                write!(f, "candidate line is longer than {LINE_LEN_MAX} octets")
            }
            CandidateError::Prefix => f.write_str("candidate line does not begin with candidate:"),
            CandidateError::Field(name) => write!(f, "candidate line has no valid {name}"),
        }
    }
}

impl std::error::Error for CandidateError {}

impl FromStr for Candidate {
    type Err = CandidateError;

    fn from_str(line: &str) -> Result<Candidate, CandidateError> {
        use CandidateError::Field;
        if line.len() > LINE_LEN_MAX {
            return Err(CandidateError::TooLong);
        }
        let line = line.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let line = line.strip_prefix("candidate:").ok_or(CandidateError::Prefix)?;
        let mut words = line.split_ascii_whitespace();

        let foundation = words.next().ok_or(Field("foundation"))?;
        if foundation.len() > 32 || !foundation.bytes().all(super::id::is_ice_char) {
            return Err(Field("foundation"));
        }
        let component = number(words.next()).filter(|id| (1..=256).contains(id)).ok_or(Field("component"))?;
        let transport = match words.next().ok_or(Field("transport"))? {
            word if word.eq_ignore_ascii_case("udp") => Transport::Udp,
            word if word.eq_ignore_ascii_case("tcp") => Transport::Tcp,
            _ => Transport::Other,
        };
        let priority = number(words.next()).ok_or(Field("priority"))?;
        let address = words.next().ok_or(Field("connection-address"))?;
        let address = match address.parse() {
            Ok(ip) => Address::Ip(ip),
            Err(_) if is_host_name(address) => Address::Name(address.to_owned()),
            Err(_) => return Err(Field("connection-address")),
        };
        let port = number(words.next()).ok_or(Field("port"))?;
        if words.next() != Some("typ") {
            return Err(Field("typ"));
        }
        let kind = match words.next() {
            Some("host") => Kind::Host,
            Some("srflx") => Kind::ServerReflexive,
            Some("prflx") => Kind::PeerReflexive,
            Some("relay") => Kind::Relayed,
            _ => return Err(Field("candidate type")),
        };

        let (mut raddr, mut rport, mut ufrag) = (None, None, None);
        while let Some(name) = words.next() {
            // An extension is a name and a value (RFC 8839 §5.1); unknown ones are skipped. A name
            // alone at the end harms nobody.
            let Some(value) = words.next() else { break };
            match name {
                // Browsers hide it as 0.0.0.0, or as a name; then there is nothing to tell.
                "raddr" => raddr = value.parse().ok(),
                "rport" => rport = value.parse().ok(),
                "ufrag" => ufrag = Some(value.to_owned()),
                _ => {}
            }
        }
        let related = raddr.zip(rport);
        let foundation = foundation.to_owned();
        Ok(Candidate { foundation, component, transport, priority, address, port, kind, related, ufrag })
    }
}

fn number<T: FromStr>(word: Option<&str>) -> Option<T> {
    // `parse` would take a sign.
    word.filter(|word| word.bytes().all(|octet| octet.is_ascii_digit()))?.parse().ok()
}

fn is_host_name(word: &str) -> bool {
    word.len() <= 255
        && word.bytes().any(|octet| octet.is_ascii_alphabetic())
        && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'.')
}

/// What an agent keeps of a remote candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteCandidate {
    /// Where checks go.
    pub address: SocketAddr,
    /// As signalled, or from the PRIORITY of the check that revealed it.
    pub priority: u32,
    /// Its type.
    pub kind: Kind,
}

/// Why a remote candidate is not checked. None of these is an error of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Not UDP.
    Transport,
    /// Not component 1 (`rtcp-mux` is required).
    Component,
    /// A name instead of an address (mDNS): the peer's own check will reveal the address.
    Name,
    /// Port 0, unspecified, multicast or broadcast.
    Address,
    /// One of our own addresses.
    Own,
    /// Loopback, and the policy does not allow it.
    Loopback,
    /// Private or link-local, and the policy does not allow it.
    Private,
    /// We have no local address of its family.
    Family,
    /// Known already.
    Duplicate,
    /// As many as an agent keeps.
    Full,
    /// A pair is selected already, the candidate is not needed.
    Selected,
    /// The agent is lite and sends no checks.
    Lite,
}

/// Which remote addresses are checked at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Loopback addresses; off by default, since a page could point us at our own services.
    pub loopback: bool,
    /// Private (RFC 1918), shared (RFC 6598), unique local and link-local addresses; on by default.
    pub private: bool,
}

impl Default for AddressPolicy {
    fn default() -> AddressPolicy {
        AddressPolicy { loopback: false, private: true }
    }
}

impl AddressPolicy {
    /// Whether checks may go to `address`.
    pub fn check(&self, address: SocketAddr) -> Result<(), Ignored> {
        let ip = address.ip().to_canonical();
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0);
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast {
            return Err(Ignored::Address);
        }
        if !self.loopback && ip.is_loopback() {
            return Err(Ignored::Loopback);
        }
        let private = match ip {
            IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || is_shared(v4),
            IpAddr::V6(v6) => v6.is_unique_local() || is_link_local(v6),
        };
        if !self.private && private { Err(Ignored::Private) } else { Ok(()) }
    }
}

/// 100.64.0.0/10 (RFC 6598).
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}

/// fe80::/10.
fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHROME: &str = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 192.168.1.2 \
                          rport 46154 generation 0 ufrag abCd network-id 1 network-cost 10";

    #[test]
    fn both_prefixes_are_read() {
        let candidate: Candidate = CHROME.parse().unwrap();
        assert_eq!(format!("a={CHROME}\r\n").parse(), Ok(candidate.clone()));
        assert_eq!(candidate.kind, Kind::ServerReflexive);
        assert_eq!(candidate.related, Some(("192.168.1.2".parse().unwrap(), 46154)));
        assert_eq!(candidate.ufrag.as_deref(), Some("abCd"));
        let remote = candidate.to_remote().unwrap();
        assert_eq!(remote.address, "203.0.113.7:46154".parse().unwrap());
        assert_eq!(remote.priority, 1_677_729_535);
    }

    #[test]
    fn of_no_use() {
        let ignored = |line: &str| line.parse::<Candidate>().unwrap().to_remote().unwrap_err();
        assert_eq!(ignored("candidate:1 1 TCP 1 192.0.2.1 9 typ host tcptype active"), Ignored::Transport);
        assert_eq!(ignored("candidate:1 2 UDP 1 192.0.2.1 9000 typ host"), Ignored::Component);
        assert_eq!(ignored("candidate:1 1 UDP 1 5f0d2f1e-1b1a.local 9000 typ host"), Ignored::Name);
    }

    #[test]
    fn errors_name_the_field() {
        for (line, error) in [
            ("", CandidateError::Prefix),
            ("candidate", CandidateError::Prefix),
            ("candidate:", CandidateError::Field("foundation")),
            ("candidate:a-b 1 udp 1 192.0.2.1 1 typ host", CandidateError::Field("foundation")),
            ("candidate:1 0 udp 1 192.0.2.1 1 typ host", CandidateError::Field("component")),
            ("candidate:1 999 udp 1 192.0.2.1 1 typ host", CandidateError::Field("component")),
            ("candidate:1 1 udp -1 192.0.2.1 1 typ host", CandidateError::Field("priority")),
            ("candidate:1 1 udp 4294967296 192.0.2.1 1 typ host", CandidateError::Field("priority")),
            ("candidate:1 1 udp 1 300.0.2.1 1 typ host", CandidateError::Field("connection-address")),
            ("candidate:1 1 udp 1 192.0.2.1 65536 typ host", CandidateError::Field("port")),
            ("candidate:1 1 udp 1 192.0.2.1 1 host", CandidateError::Field("typ")),
            ("candidate:1 1 udp 1 192.0.2.1 1 typ local", CandidateError::Field("candidate type")),
        ] {
            assert_eq!(line.parse::<Candidate>(), Err(error), "{line}");
        }
        assert_eq!("a".repeat(513).parse::<Candidate>(), Err(CandidateError::TooLong));
    }

    #[test]
    fn recommended_priorities() {
        assert_eq!(priority(Kind::Host, 65535), 2_130_706_431);
        assert_eq!(priority(Kind::ServerReflexive, 65535), 1_694_498_815);
        assert_eq!(priority(Kind::Relayed, 65535), 16_777_215);
    }

    #[test]
    fn addresses_that_are_never_checked() {
        let default = AddressPolicy::default();
        let public_only = AddressPolicy { loopback: false, private: false };
        let check = |policy: AddressPolicy, address: &str| policy.check(address.parse().unwrap());
        for address in [
            "255.255.255.255:9",
            "224.0.0.1:9",
            "0.0.0.0:9",
            "0.1.2.3:9",
            "192.0.2.1:0",
            "[::]:9",
            "[ff02::1]:9",
            "[::ffff:224.0.0.1]:9",
        ] {
            assert_eq!(check(default, address), Err(Ignored::Address), "{address}");
        }
        for address in ["127.0.0.1:9", "127.9.9.9:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            assert_eq!(check(default, address), Err(Ignored::Loopback), "{address}");
        }
        for address in [
            "10.0.0.1:9",
            "172.16.0.1:9",
            "192.168.0.1:9",
            "169.254.0.1:9",
            "100.64.0.1:9",
            "[fd00::1]:9",
            "[fe80::1]:9",
        ] {
            assert_eq!(check(default, address), Ok(()), "{address}");
            assert_eq!(check(public_only, address), Err(Ignored::Private), "{address}");
        }
        for address in ["192.0.2.1:9", "[2001:db8::1]:9"] {
            assert_eq!(check(public_only, address), Ok(()), "{address}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(a=)?(candidate:)?[ -~\u{80}-\u{ff}]{0,80}") {
            let _ = text.parse::<Candidate>();
        }

        #[test]
        fn written_is_read(
            foundation in "[A-Za-z0-9+/]{1,32}",
            component in 1..=256u16,
            priority: u32,
            ip: [u8; 16],
            v4: bool,
            port: u16,
            related: Option<([u8; 4], u16)>,
            ufrag in proptest::option::of("[A-Za-z0-9+/]{4,256}"),
        ) {
            let ip = if v4 { IpAddr::from([ip[0], ip[1], ip[2], ip[3]]) } else { IpAddr::from(ip) };
            let candidate = Candidate {
                foundation,
                component,
                transport: Transport::Udp,
                priority,
                address: Address::Ip(ip),
                port,
                kind: Kind::Relayed,
                related: related.map(|(ip, port)| (ip.into(), port)),
                ufrag,
            };
            prop_assert_eq!(candidate.to_string().parse(), Ok(candidate));
        }
    }
}
