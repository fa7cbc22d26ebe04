use std::fmt;

use super::text;
use super::{ErrorKind, LINE_BYTES_MAX, Params};

/// A URI as it stands in a request line or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uri {
    /// `sip:` or `sips:`.
    Sip(SipUri),
    /// `tel:` (RFC 3966): the subscriber number as written, and its parameters.
    Tel {
        /// Digits and visual separators, `+` in front of a global number.
        number: String,
        /// `phone-context`, `ext`, `isub` and others.
        params: Params,
    },
    /// Any other scheme, kept as text.
    Other(String),
}

/// A `sip:` or `sips:` URI (RFC 3261 §19.1). User, password and headers keep their escapes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SipUri {
    /// True for `sips:`.
    pub secure: bool,
    /// User part as written, escapes included.
    pub user: Option<String>,
    /// Password as written (deprecated, kept so that the URI can be repeated).
    pub password: Option<String>,
    /// Host name, IPv4 address or IPv6 reference with its brackets.
    pub host: String,
    /// Port, if written.
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params,
    /// Text behind `?`, as written.
    pub headers: Option<String>,
}

impl Uri {
    /// Parses a URI that stands alone.
    pub fn parse(uri: &str) -> Result<Self, ErrorKind> {
        if uri.len() > LINE_BYTES_MAX {
            return Err(ErrorKind::TooLong);
        }
        if uri.bytes().any(|b| b <= b' ' || b == 0x7f || b"<>\"".contains(&b)) {
            return Err(ErrorKind::Syntax);
        }
        let (scheme, rest) = uri.split_once(':').ok_or(ErrorKind::Syntax)?;
        let starts_with_letter = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if !starts_with_letter || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return Err(ErrorKind::Syntax);
        }
        if scheme.eq_ignore_ascii_case("sip") {
            return SipUri::parse_rest(rest, false).map(Self::Sip);
        }
        if scheme.eq_ignore_ascii_case("sips") {
            return SipUri::parse_rest(rest, true).map(Self::Sip);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            let (number, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
            let is_number = number.bytes().any(|b| b.is_ascii_hexdigit() || b"*#".contains(&b))
                && number.bytes().all(|b| b.is_ascii_hexdigit() || b"+-.()*#".contains(&b));
            if !is_number {
                return Err(ErrorKind::Syntax);
            }
            return Ok(Self::Tel { number: number.to_owned(), params: Params::parse_uri(params)? });
        }
        if rest.is_empty() { Err(ErrorKind::Syntax) } else { Ok(Self::Other(uri.to_owned())) }
    }

    /// The SIP URI, if it is one.
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(uri) => Some(uri),
            _ => None,
        }
    }

    /// The user part with its escapes resolved; of a `tel:` URI the number.
    pub fn user(&self) -> Option<String> {
        match self {
            Self::Sip(uri) => uri.user.as_deref().map(unescape),
            Self::Tel { number, .. } => Some(number.clone()),
            Self::Other(_) => None,
        }
    }
}

impl SipUri {
    fn parse_rest(rest: &str, secure: bool) -> Result<Self, ErrorKind> {
        // The user part may hold `;`, `?` and `/` (RFC 3261 §25.1 user-unreserved), a host holds no `@`, and
        // peers forget to escape the `@` of a Call-ID in `?Replaces=`: the last `@` in front of the first `?`
        // ends the user part, else the last one at all.
        let before_headers = rest.split('?').next().unwrap_or(rest);
        let at = before_headers.rfind('@').or_else(|| rest.rfind('@'));
        let (userinfo, hostpart) = match at.and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?))) {
            Some((userinfo, hostpart)) => (Some(userinfo), hostpart),
            None => (None, rest),
        };
        let (user, password) = match userinfo {
            None => (None, None),
            Some(userinfo) => {
                let (user, password) = match userinfo.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (userinfo, None),
                };
                let valid = |part: &str, extra: &[u8]| {
                    escapes_are_whole(part)
                        && part.bytes().all(|b| {
                            b.is_ascii_alphanumeric()
                                || b >= 0x80
                                || b"-_.!~*'()%&=+$,".contains(&b)
                                || extra.contains(&b)
                        })
                };
                // `#` is no user character by the grammar, but feature codes are dialled with it everywhere.
                if user.is_empty() || !valid(user, b";?/#") || !password.is_none_or(|p| valid(p, b"")) {
                    return Err(ErrorKind::Syntax);
                }
                (Some(user.to_owned()), password.map(str::to_owned))
            }
        };
        let (hostpart, headers) = match hostpart.split_once('?') {
            Some((hostpart, headers)) => (hostpart, Some(headers)),
            None => (hostpart, None),
        };
        if headers.is_some_and(|headers| headers.is_empty() || !escapes_are_whole(headers)) {
            return Err(ErrorKind::Syntax);
        }
        let (hostport, params) = hostpart.split_at(hostpart.find(';').unwrap_or(hostpart.len()));
        let (host, port) = host_port(hostport)?;
        Ok(Self {
            secure,
            user,
            password,
            host: host.to_owned(),
            port,
            params: Params::parse_uri(params)?,
            headers: headers.map(str::to_owned),
        })
    }

    /// `sip:host` or `sip:host:port`.
    pub fn from_host(host: impl Into<String>, port: Option<u16>) -> Self {
        Self { host: host.into(), port, ..Self::default() }
    }

    /// The `transport` parameter.
    pub fn transport(&self) -> Option<&str> {
        self.params.get("transport")
    }

    /// True if the route of this URI is loose (RFC 3261 §16.12).
    pub fn is_loose_route(&self) -> bool {
        self.params.has("lr")
    }

    /// A header of the URI (`Replaces` of a Refer-To) with its escapes resolved; names compare without case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.as_deref()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            unescape(key).eq_ignore_ascii_case(name).then(|| unescape(value))
        })
    }

    /// True if both name the same user at the same host and port (the parts that say who is meant).
    pub fn same_address(&self, other: &Self) -> bool {
        self.user.as_deref().map(unescape) == other.user.as_deref().map(unescape)
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
    }
}

/// Splits `host[:port]`, IPv6 references in brackets included.
pub(super) fn host_port(text: &str) -> Result<(&str, Option<u16>), ErrorKind> {
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or(ErrorKind::Syntax)? + 1;
        let (host, rest) = text.split_at(end);
        let address = host.trim_matches(['[', ']']);
        address.parse::<std::net::Ipv6Addr>().map_err(|_| ErrorKind::Syntax)?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(ErrorKind::Syntax),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    // `_` is in no host name by the RFC, but stands in names of real networks (containers, SRV records).
    let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if !host.starts_with('[') && !is_name {
        return Err(ErrorKind::Syntax);
    }
    Ok((host, port.map(text::number).transpose()?))
}

/// True if every `%` starts a `%HH` escape.
fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let mut bytes = after.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_hexdigit())
            && bytes.next().is_some_and(|b| b.is_ascii_hexdigit())
    })
}

/// Resolves `%HH`; bytes that do not make UTF-8 become replacement characters.
pub(super) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// `text` with everything escaped that may not stand in a URI's headers or user part.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(uri) => uri.fmt(f),
            Self::Tel { number, params } => write!(f, "tel:{number}{params}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)?;
        self.headers.as_ref().map_or(Ok(()), |headers| write!(f, "?{headers}"))
    }
}

impl From<SipUri> for Uri {
    fn from(uri: SipUri) -> Self {
        Self::Sip(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(text: &str) -> SipUri {
        match Uri::parse(text) {
            Ok(Uri::Sip(uri)) => uri,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn uris_are_written_as_they_were_read() {
        for text in [
            "sip:alice@atlanta.example.com",
            "sips:alice:secret@atlanta.example.com:5061;transport=tls;lr?Subject=a%20b&x=y",
            "sip:[2001:db8::1]:5060",
            "sip:user;par=u%40example.net@example.com",
            "sip:*21#@pbx.example.com",
            "tel:+1-201-555-0123;phone-context=example.com",
            "urn:service:sos",
        ] {
            assert_eq!(Uri::parse(text).map(|uri| uri.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn parts_are_found() {
        let uri = sip("sip:%61lice@Example.COM:5070;lr?Replaces=a@b%3Bto-tag%3D1&y=z");
        assert_eq!((uri.port, uri.is_loose_route()), (Some(5070), true));
        assert_eq!(uri.header("replaces"), Some("a@b;to-tag=1".to_owned()));
        assert!(sip("sip:alice@example.com:5070").same_address(&uri));
        assert!(!sip("sip:alice@example.com").same_address(&uri));
        assert_eq!(unescape(&escape("a@b;to-tag=1 %")), "a@b;to-tag=1 %");
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            "sip:",
            "sip:@host",
            "sip:user@",
            "sip:a b@c",
            "<sip:a@b>",
            "sip:a@b:99999",
            "sip:a@b:x",
            "sip:a%4@b",
            "sip:a@[::1",
            "sip:a@b;",
            "sip:a@b;=x",
            "host",
            ":x",
            "tel:",
            "tel:abcxyz",
            "sip:a@b?",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }
}
