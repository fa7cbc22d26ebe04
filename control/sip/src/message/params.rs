use std::fmt;

use super::text::{self, quoted_len, trim};
use super::{ErrorKind, PARAMS_MAX};

/// The parameters of a value or a URI, in their order; names compare without case (RFC 3261 §7.3.1).
///
/// Values are kept as written: quotes and escapes included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(pub(super) Vec<(String, Option<String>)>);

impl Params {
    /// The raw value of a parameter: `Some("")` for one without a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_deref().unwrap_or(""))
    }

    /// True if the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets or replaces a parameter.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.remove(name);
        self.0.push((name.to_owned(), value.map(str::to_owned)));
    }

    /// Removes a parameter.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses `;a;b=c` of a header value; empty text gives no parameters, a stray `;` at the end is taken.
    pub(super) fn parse_generic(text: &str) -> Result<Self, ErrorKind> {
        let text = trim(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        let rest = text.strip_prefix(';').ok_or(ErrorKind::Syntax)?;
        let pieces = text::split(rest, b';').ok_or(ErrorKind::Syntax)?;
        let mut params = Self::default();
        for piece in &pieces {
            let (name, value) = match piece.split_once('=') {
                Some((name, value)) => (trim(name), Some(trim(value))),
                None => (*piece, None),
            };
            if !text::is_token(name) || value.is_some_and(|value| !is_generic_value(value)) {
                return Err(ErrorKind::Syntax);
            }
            params.add(name, value)?;
        }
        Ok(params)
    }

    /// Parses `;a;b=c` of a URI: no white space, no quotes, escapes kept (RFC 3261 §19.1.1).
    pub(super) fn parse_uri(text: &str) -> Result<Self, ErrorKind> {
        let mut params = Self::default();
        if text.is_empty() {
            return Ok(params);
        }
        let rest = text.strip_prefix(';').ok_or(ErrorKind::Syntax)?;
        for piece in rest.split(';') {
            let (name, value) = match piece.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (piece, None),
            };
            let part = |text: &str| {
                !text.is_empty()
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!~*'()%[]/:&+$".contains(&b))
            };
            if !part(name) || value.is_some_and(|value| !part(value)) {
                return Err(ErrorKind::Syntax);
            }
            params.add(name, value)?;
        }
        Ok(params)
    }

    fn add(&mut self, name: &str, value: Option<&str>) -> Result<(), ErrorKind> {
        if self.0.len() >= PARAMS_MAX {
            return Err(ErrorKind::TooLong);
        }
        self.0.push((name.to_owned(), value.map(str::to_owned)));
        Ok(())
    }
}

/// `gen-value = token / host / quoted-string`; taken a little wider (`:` and brackets of IPv6, `/`, `@` of
/// unquoted Call-IDs) since peers write such values without quotes.
fn is_generic_value(value: &str) -> bool {
    if value.starts_with('"') {
        return quoted_len(value) == Some(value.len());
    }
    !value.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || b"\",;<>".contains(&b))
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}
