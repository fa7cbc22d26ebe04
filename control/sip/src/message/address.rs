use std::fmt;

use super::text::{self, quoted_len, trim};
use super::{ErrorKind, Params, Uri};

/// A `name-addr` or `addr-spec` with its header parameters: From, To, Contact, Route, Refer-To …
/// (RFC 3261 §20.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// Display name as written, with its quotes; `None` if there is none.
    pub display: Option<String>,
    /// The address.
    pub uri: Uri,
    /// Header parameters (`tag`, `expires`, `q`).
    pub params: Params,
}

impl NameAddr {
    /// An address without display name and parameters.
    pub fn new(uri: impl Into<Uri>) -> Self {
        Self { display: None, uri: uri.into(), params: Params::default() }
    }

    /// Parses one value.
    pub fn parse(value: &str) -> Result<Self, ErrorKind> {
        let value = trim(value);
        let (display, rest) = if value.starts_with('"') {
            let (display, rest) = value.split_at(quoted_len(value).ok_or(ErrorKind::Syntax)?);
            (Some(display), trim(rest))
        } else if let Some(angle) = value.find('<') {
            // Tokens by the grammar; dots, umlauts and apostrophes stand there unquoted in practice.
            let (display, rest) = value.split_at(angle);
            let display = trim(display);
            if display.bytes().any(|b| b.is_ascii_control() || b"\",;>:@".contains(&b)) {
                return Err(ErrorKind::Syntax);
            }
            ((!display.is_empty()).then_some(display), rest)
        } else {
            (None, value)
        };
        let (uri, params) = match rest.strip_prefix('<') {
            Some(inner) => inner.split_once('>').ok_or(ErrorKind::Syntax)?,
            None if display.is_some() => return Err(ErrorKind::Syntax),
            // Without brackets, parameters belong to the header, and a `?` or `,` may not stand there
            // (RFC 3261 §20.10).
            None => {
                let (uri, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
                if uri.contains(['?', ',']) {
                    return Err(ErrorKind::Syntax);
                }
                (trim(uri), params)
            }
        };
        Ok(Self {
            display: display.map(str::to_owned),
            uri: Uri::parse(uri)?,
            params: Params::parse_generic(params)?,
        })
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{display} ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

impl NameAddr {
    /// Sets the display name from plain text, quoting it.
    #[must_use]
    pub fn with_display(mut self, name: Option<&str>) -> Self {
        self.display = name.map(|name| {
            let quoted = name.len() >= 2 && quoted_len(name) == Some(name.len());
            if quoted { name.to_owned() } else { text::quote(name) }
        });
        self
    }

    /// Adds or replaces a header parameter.
    #[must_use]
    pub fn with_param(mut self, name: &str, value: &str) -> Self {
        self.params.set(name, Some(value));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let long = NameAddr::parse(r#""A \"x\" B" <sip:a@b;lr>;tag=1;x"#).expect("an address");
        assert_eq!(long.display.as_deref(), Some(r#""A \"x\" B""#));
        assert_eq!((long.tag(), long.params.has("x")), (Some("1"), true));
        assert_eq!(long.to_string(), r#""A \"x\" B" <sip:a@b;lr>;tag=1;x"#);
        let short = NameAddr::parse("sip:a@b;tag=2").expect("an address");
        assert_eq!((short.tag(), short.to_string().as_str()), (Some("2"), "<sip:a@b>;tag=2"));
        assert_eq!(
            NameAddr::parse("José O'Neil<sip:a@b>").map(|a| a.display),
            Ok(Some("José O'Neil".into()))
        );
    }

    #[test]
    fn odd_ones_are_refused() {
        for text in [
            "",
            "<sip:a@b",
            "\"x <sip:a@b>",
            "Bell, A <sip:a@b>",
            "< sip:a@b >",
            "sip:a@b?x=y",
            "\"x\" sip:a@b",
        ] {
            assert!(NameAddr::parse(text).is_err(), "{text}");
        }
    }
}
