//! `o=`, `c=` and `b=`.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use super::AttributeError;

/// Originator and session identifier (RFC 8866 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// User name, `-` for none.
    pub username: String,
    /// Session id.
    pub id: u64,
    /// Session version; rises with each change.
    pub version: u64,
    /// `IN`.
    pub net_type: String,
    /// `IP4` or `IP6`.
    pub address_type: String,
    /// Address or name of the originator's host.
    pub address: String,
}

impl Origin {
    /// `- id version IN IP4|IP6 address`.
    pub fn new(id: u64, version: u64, address: IpAddr) -> Self {
        let connection = Connection::new(address);
        Origin {
            username: "-".to_owned(),
            id,
            version,
            net_type: connection.net_type,
            address_type: connection.address_type,
            address: connection.address,
        }
    }
}

impl FromStr for Origin {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let words: Vec<&str> = text.split_ascii_whitespace().take(7).collect();
        let error =
            || AttributeError::new("o=", text, "username, numeric id and version, IN, IP4 or IP6, address");
        let [username, id, version, net_type, address_type, address] = words[..] else { return Err(error()) };
        Ok(Origin {
            username: username.to_owned(),
            id: id.parse().map_err(|_| error())?,
            version: version.parse().map_err(|_| error())?,
            net_type: net_type.to_owned(),
            address_type: address_type.to_owned(),
            address: address.to_owned(),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { username, id, version, net_type, address_type, address } = self;
        write!(f, "{username} {id} {version} {net_type} {address_type} {address}")
    }
}

/// Connection data (RFC 8866 §5.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `IN`.
    pub net_type: String,
    /// `IP4` or `IP6`.
    pub address_type: String,
    /// Address or name; for multicast with `/ttl` and `/count`.
    pub address: String,
}

impl Connection {
    /// `IN IP4|IP6 address`.
    pub fn new(address: IpAddr) -> Self {
        let address_type = if address.is_ipv4() { "IP4" } else { "IP6" };
        Connection {
            net_type: "IN".to_owned(),
            address_type: address_type.to_owned(),
            address: address.to_string(),
        }
    }

    /// The address, if it is one and not a name or a multicast range.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }

    /// The old way to say "hold" (RFC 3264 §8.4): the unspecified address.
    pub fn is_hold(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }
}

impl FromStr for Connection {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let words: Vec<&str> = text.split_ascii_whitespace().take(4).collect();
        let [net_type, address_type, address] = words[..] else {
            return Err(AttributeError::new("c=", text, "IN, IP4 or IP6, address"));
        };
        let [net_type, address_type, address] = [net_type, address_type, address].map(str::to_owned);
        Ok(Connection { net_type, address_type, address })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.net_type, self.address_type, self.address)
    }
}

/// A bandwidth (RFC 8866 §5.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bandwidth {
    /// `AS` (kbit/s), `TIAS` (bit/s, RFC 3890), `RS`, `RR` (RFC 3556), `CT` …
    pub kind: String,
    /// In the kind's unit.
    pub value: u64,
}

impl FromStr for Bandwidth {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let parsed = text.split_once(':').and_then(|(kind, value)| {
            Some(Bandwidth { kind: kind.to_owned(), value: value.trim().parse().ok()? })
        });
        parsed.ok_or_else(|| AttributeError::new("b=", text, "type, colon and a number"))
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refusals() {
        let origin = "alice 2890844526 18446744073709551615 IN IP6 2001:db8::1";
        assert_eq!(origin.parse::<Origin>().unwrap().to_string(), origin);
        for bad in [
            "",
            "- 1 1 IN IP4",
            "- x 1 IN IP4 1.1.1.1",
            "- 1 18446744073709551616 IN IP4 a",
            "- 1 1 IN IP4 a b",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
        let connection: Connection = "IN IP4 0.0.0.0".parse().unwrap();
        assert!(connection.is_hold());
        let multicast: Connection = "IN IP4 224.2.36.42/127/3".parse().unwrap();
        assert_eq!((multicast.ip(), multicast.to_string().as_str()), (None, "IN IP4 224.2.36.42/127/3"));
        assert!("IN IP4".parse::<Connection>().is_err());
        assert_eq!("TIAS:64000".parse(), Ok(Bandwidth { kind: "TIAS".into(), value: 64_000 }));
        for bad in ["AS", "AS:", "AS:-1", "AS:99999999999999999999"] {
            assert!(bad.parse::<Bandwidth>().is_err(), "{bad}");
        }
    }
}
