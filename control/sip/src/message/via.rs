use std::fmt;

use super::text::{is_token, trim};
use super::uri::host_port;
use super::{ErrorKind, Params};

/// One Via value (RFC 3261 §20.42).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// Transport token: `UDP`, `TCP`, `TLS`, `WS` …
    pub transport: String,
    /// Host of sent-by.
    pub host: String,
    /// Port of sent-by, if written.
    pub port: Option<u16>,
    /// `branch`, `received`, `rport` …
    pub params: Params,
}

impl Via {
    /// Parses one value; white space around `/`, `:` and `;` is legal.
    pub fn parse(value: &str) -> Result<Self, ErrorKind> {
        let (protocol, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
        let mut parts = protocol.splitn(3, '/').map(trim);
        let (name, version) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        if !name.eq_ignore_ascii_case("SIP") {
            return Err(ErrorKind::Syntax);
        }
        if version != "2.0" {
            return Err(ErrorKind::Version);
        }
        let (transport, sent_by) =
            parts.next().and_then(|rest| rest.split_once([' ', '\t'])).ok_or(ErrorKind::Syntax)?;
        if !is_token(transport) {
            return Err(ErrorKind::Syntax);
        }
        let sent_by: String = sent_by.chars().filter(|c| !matches!(c, ' ' | '\t')).collect();
        let (host, port) = host_port(&sent_by)?;
        Ok(Self {
            transport: transport.to_owned(),
            host: host.to_owned(),
            port,
            params: Params::parse_generic(rest)?,
        })
    }

    /// The `branch` parameter.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch").filter(|branch| !branch.is_empty())
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)
    }
}
