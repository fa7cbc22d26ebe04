//! ICE candidates as text (RFC 8839 §5.1).

use core::fmt;
use core::str::FromStr;

use super::{ATTRIBUTE_LIST_MAX, Attribute, AttributeError};

/// Longest foundation, characters (RFC 8839 §5.1).
const FOUNDATION_LEN_MAX: usize = 32;

/// A candidate. Parsing takes the bare value and the forms `candidate:…` (as in a trickle message) and
/// `a=candidate:…`; writing gives the bare value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Foundation, 1 to 32 characters.
    pub foundation: String,
    /// Component: 1 RTP, 2 RTCP.
    pub component: u16,
    /// Transport, `udp` or `tcp`, as it was written.
    pub transport: String,
    /// Priority.
    pub priority: u32,
    /// Address or (mDNS) name.
    pub address: String,
    /// Port.
    pub port: u16,
    /// `host`, `srflx`, `prflx` or `relay`.
    pub kind: String,
    /// Related address and port.
    pub related: Option<(String, u16)>,
    /// What follows, name and value: `tcptype`, `generation`, `ufrag`, `network-cost` …
    pub extensions: Vec<(String, String)>,
}

impl Candidate {
    /// Value of an extension, e.g. `tcptype`.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

impl Attribute for Candidate {
    const NAME: &'static str = "candidate";
}

impl FromStr for Candidate {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        parse(text).ok_or_else(|| {
            let expected = "foundation component transport priority address port typ type";
            AttributeError::new(Self::NAME, text, expected)
        })
    }
}

fn parse(text: &str) -> Option<Candidate> {
    let value = text.trim();
    let value = value.strip_prefix("a=").unwrap_or(value);
    let value = value.strip_prefix("candidate:").unwrap_or(value);
    let mut words = value.split_ascii_whitespace();
    let foundation = words.next().filter(|word| word.len() <= FOUNDATION_LEN_MAX)?.to_owned();
    let component = words.next()?.parse().ok()?;
    let transport = words.next()?.to_owned();
    let priority = words.next()?.parse().ok()?;
    let address = words.next()?.to_owned();
    let port = words.next()?.parse().ok()?;
    words.next().filter(|word| *word == "typ")?;
    let kind = words.next()?.to_owned();
    let mut candidate = Candidate {
        foundation,
        component,
        transport,
        priority,
        address,
        port,
        kind,
        related: None,
        extensions: Vec::new(),
    };
    let mut related_port = None;
    // A name without a value at the end is left out: some stacks write one.
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name {
            "raddr" if candidate.related.is_none() => candidate.related = Some((value.to_owned(), 0)),
            "rport" if candidate.related.is_some() && related_port.is_none() => {
                related_port = Some(value.parse().ok()?);
            }
            _ if candidate.extensions.len() == ATTRIBUTE_LIST_MAX => return None,
            _ => candidate.extensions.push((name.to_owned(), value.to_owned())),
        }
    }
    if let (Some((_, port)), Some(given)) = (&mut candidate.related, related_port) {
        *port = given;
    }
    Some(candidate)
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate { foundation, component, transport, priority, address, port, kind, .. } = self;
        write!(f, "{foundation} {component} {transport} {priority} {address} {port} typ {kind}")?;
        if let Some((address, port)) = &self.related {
            write!(f, " raddr {address} rport {port}")?;
        }
        self.extensions.iter().try_for_each(|(name, value)| write!(f, " {name} {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for value in [
            "1 1 udp 2015363327 192.0.2.1 40000 typ host",
            "842163049 1 udp 1677729535 198.51.100.7 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag x",
            "4 1 TCP 1518214911 2001:db8::1 9 typ host tcptype active",
            "1 2 udp 1 d2c3-a.local 9 typ relay raddr 10.0.0.1 rport 4000",
        ] {
            assert_eq!(Candidate::from_value(value).unwrap().to_string(), value);
            assert_eq!(format!("candidate:{value}").parse(), Candidate::from_value(value));
            assert_eq!(format!("a=candidate:{value}").parse(), Candidate::from_value(value));
        }
        let tcp = Candidate::from_value("4 1 tcp 1 ::1 9 typ host tcptype so trailing").unwrap();
        assert_eq!((tcp.extension("tcptype"), tcp.extensions.len()), (Some("so"), 1));
    }

    #[test]
    fn malformed_values_are_refused() {
        let long_foundation = format!("{} 1 udp 1 a 1 typ host", "x".repeat(33));
        let extensions = format!("1 1 udp 1 a 1 typ host{}", " a b".repeat(65));
        for bad in [
            "",
            "1 1 udp 1 a 1 typ",
            "1 1 udp 1 a 1 host",
            "1 x udp 1 a 1 typ host",
            "1 1 udp 4294967296 a 1 typ host",
            "1 1 udp 1 a 65536 typ host",
            "1 1 udp 1 a 1 typ srflx raddr b rport x",
            &long_foundation,
            &extensions,
        ] {
            assert!(Candidate::from_value(bad).is_err(), "{bad}");
        }
    }
}
