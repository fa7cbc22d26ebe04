use std::fmt;

use super::text::{self, is_token, trim};
use super::{ErrorKind, PARAMS_MAX, Params};

/// The scheme of a challenge or of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthScheme {
    /// `Digest` (RFC 7616).
    Digest,
    /// Any other token.
    Other(String),
}

/// One WWW-Authenticate, Proxy-Authenticate, Authorization or Proxy-Authorization line, or an
/// Authentication-Info line (which has no scheme). One challenge a line (RFC 3261 §20.44 forbids lists).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthValue {
    /// The scheme.
    pub scheme: AuthScheme,
    /// Parameters as written, with their quotes.
    pub params: Params,
}

impl AuthValue {
    /// Parses one header line.
    pub fn parse(value: &str) -> Result<Self, ErrorKind> {
        let (scheme, rest) = trim(value).split_once([' ', '\t']).ok_or(ErrorKind::Syntax)?;
        if !is_token(scheme) {
            return Err(ErrorKind::Syntax);
        }
        let scheme = if scheme.eq_ignore_ascii_case("Digest") {
            AuthScheme::Digest
        } else {
            AuthScheme::Other(scheme.to_owned())
        };
        let mut params = Vec::new();
        for piece in text::split(rest, b',').ok_or(ErrorKind::Syntax)? {
            if piece.is_empty() {
                continue;
            }
            // Another scheme's credentials need not be pairs (`Basic dXNlcg==`).
            let Some((name, value)) = piece.split_once('=') else {
                if scheme == AuthScheme::Digest {
                    return Err(ErrorKind::Syntax);
                }
                continue;
            };
            if params.len() >= PARAMS_MAX {
                return Err(ErrorKind::TooLong);
            }
            params.push((trim(name).to_owned(), Some(trim(value).to_owned())));
        }
        Ok(Self { scheme, params: Params(params) })
    }

    /// A parameter without its quotes.
    pub fn param(&self, name: &str) -> Option<String> {
        self.params.get(name).map(text::unquote)
    }
}

impl fmt::Display for AuthValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scheme {
            AuthScheme::Digest => f.write_str("Digest")?,
            AuthScheme::Other(scheme) => f.write_str(scheme)?,
        }
        for (index, (name, value)) in self.params.iter().enumerate() {
            let separator = if index == 0 { " " } else { ", " };
            write!(f, "{separator}{name}={}", value.unwrap_or(""))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read() {
        let text =
            r#"Digest realm="a, \"b\"", nonce="1=,2", algorithm=SHA-256, qop="auth,auth-int", stale=TRUE"#;
        let value = AuthValue::parse(text).expect("a challenge");
        assert_eq!(value.param("realm").as_deref(), Some("a, \"b\""));
        assert_eq!(value.param("NONCE").as_deref(), Some("1=,2"));
        assert_eq!(value.to_string(), text);
        assert!(AuthValue::parse("Digest").is_err());
        assert!(AuthValue::parse("Digest realm=\"x").is_err());
        assert!(AuthValue::parse("Basic dXNlcjpwYXNz").is_ok());
    }
}
