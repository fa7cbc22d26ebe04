//! What pages may ask of the SIP side: whom to call, by which proxy, with which headers.

use std::fmt;
use std::str::FromStr;

use bifrons_sip_ua::message::{SipUri, Uri};
use serde_json::{Map, Value};

use super::FORBIDDEN;
use crate::params::{self, PluginError};

/// Allow lists. An empty one allows everything, as pages of Janus are used to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Whom `call`, `message` and `transfer` may name.
    pub targets: Vec<Pattern>,
    /// Registrars and proxies of `register`: `proxy`, `outbound_proxy`, and the domain of `username`, to which
    /// requests go where there is no `proxy`.
    pub proxies: Vec<Pattern>,
    /// Names of custom headers, any case; `*` stands for any characters.
    pub headers: Vec<String>,
}

/// Requests that were refused, by what they named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// A target.
    pub targets: u64,
    /// A registrar or proxy.
    pub proxies: u64,
    /// A header.
    pub headers: u64,
}

impl Refused {
    /// All, by name.
    pub fn all(&self) -> [(&'static str, u64); 3] {
        [
            ("forbidden_targets", self.targets),
            ("forbidden_proxies", self.proxies),
            ("forbidden_headers", self.headers),
        ]
    }
}

/// `domain`, or `user@domain`; `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    user: Option<String>,
    domain: String,
}

/// A text that is no [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPattern(String);

impl fmt::Display for NoPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is neither a domain nor user@domain (`*` stands for any characters)", self.0)
    }
}

impl std::error::Error for NoPattern {}

impl FromStr for Pattern {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Self, NoPattern> {
        let (user, domain) = match text.rsplit_once('@') {
            Some((user, domain)) => (Some(user.to_owned()), domain),
            None => (None, text),
        };
        // A scheme or a port would never match anything.
        let is_name = |text: &str| {
            !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "/;<>@".contains(c))
        };
        let has_port = !domain.ends_with(']') && domain.contains(':');
        if !is_name(domain)
            || has_port
            || user.as_deref().is_some_and(|user| !is_name(user) || user.contains(':'))
        {
            return Err(NoPattern(text.to_owned()));
        }
        Ok(Self { user, domain: domain.to_ascii_lowercase() })
    }
}

impl Pattern {
    /// Whether an address is what it says.
    pub fn fits(&self, uri: &SipUri) -> bool {
        let user = || Uri::Sip(uri.clone()).user().unwrap_or_default();
        matches(&self.domain, &uri.host.to_ascii_lowercase())
            && self.user.as_ref().is_none_or(|pattern| matches(pattern, &user()))
    }
}

/// Whether a text is what a pattern says, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or("")) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or("");
    }
    rest.ends_with(last)
}

impl Policy {
    /// Looks at a request before anything is done about it. What is malformed passes here: the request itself
    /// refuses that.
    ///
    /// # Errors
    /// Something that is not allowed; it is counted, and the text names it.
    pub fn check(
        &self,
        request: &str,
        body: &Map<String, Value>,
        refused: &mut Refused,
    ) -> Result<(), PluginError> {
        let parsed = |member: &str| {
            let text = params::text(body, member)?;
            let uri = Uri::parse(text).ok()?.as_sip()?.clone();
            Some((text, uri))
        };
        let forbidden =
            |what: &str, text: &str| PluginError::new(FORBIDDEN, format!("Forbidden {what} ({text})"));
        if matches!(request, "call" | "message" | "transfer")
            && let Some((text, uri)) = parsed("uri")
            && !allows(&self.targets, &uri)
        {
            refused.targets += 1;
            return Err(forbidden("target", text));
        }
        if request == "register" {
            let registrar = if params::text(body, "proxy").is_some() { "proxy" } else { "username" };
            for member in [registrar, "outbound_proxy"] {
                if let Some((text, uri)) = parsed(member)
                    && !allows(&self.proxies, &uri)
                {
                    refused.proxies += 1;
                    return Err(forbidden(member, text));
                }
            }
        }
        let headers = body.get("headers").and_then(Value::as_object).into_iter().flatten();
        for (name, _) in headers {
            let lower = name.to_ascii_lowercase();
            let allowed = |pattern: &String| matches(&pattern.to_ascii_lowercase(), &lower);
            if !self.headers.is_empty() && !self.headers.iter().any(allowed) {
                refused.headers += 1;
                return Err(forbidden("header", name));
            }
        }
        Ok(())
    }
}

/// Whether a list allows an address. `maddr` and headers inside a URI would lead somewhere else than its domain
/// says, or bring headers past their list (RFC 3261 §19.1.1); so they are refused where there is a list.
fn allows(list: &[Pattern], uri: &SipUri) -> bool {
    list.is_empty()
        || (uri.params.get("maddr").is_none()
            && uri.headers.is_none()
            && list.iter().any(|pattern| pattern.fits(uri)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patterns(list: &[&str]) -> Vec<Pattern> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn refusal(policy: &Policy, request: &str, body: Value) -> Option<String> {
        let mut refused = Refused::default();
        let result = policy.check(request, body.as_object().unwrap(), &mut refused);
        let counted = refused.targets + refused.proxies + refused.headers;
        assert_eq!(counted, u64::from(result.is_err()), "each refusal is counted once");
        result.err().map(|error| {
            assert_eq!(error.code, 403);
            error.text
        })
    }

    #[test]
    fn nothing_is_refused_without_lists() {
        let policy = Policy::default();
        let body =
            json!({"uri": "sip:+1900555@x;maddr=10.0.0.1?P-A=1", "headers": {"P-Asserted-Identity": "x"}});
        assert_eq!(refusal(&policy, "call", body), None);
        assert_eq!(
            refusal(&policy, "register", json!({"username": "sip:a@b", "proxy": "sip:10.0.0.1"})),
            None
        );
    }

    #[test]
    fn targets_are_users_and_domains() {
        let policy =
            Policy { targets: patterns(&["+49*@Example.com", "office.example"]), ..Policy::default() };
        for allowed in [
            "sip:+4930@example.COM",
            "sip:%2B4930@example.com:5070",
            "sip:x@office.example",
            "sip:office.example",
        ] {
            for request in ["call", "message", "transfer"] {
                assert_eq!(refusal(&policy, request, json!({"uri": allowed})), None, "{allowed}");
            }
        }
        for forbidden in [
            "sip:+1900@example.com",
            "sip:x@sub.office.example",
            "sip:x@10.0.0.1",
            "sip:+49@example.com.evil.org",
            "sip:x@office.example;maddr=10.0.0.1",
            "sip:x@office.example?Route=%3Csip:10.0.0.1%3E",
        ] {
            let text = refusal(&policy, "transfer", json!({"uri": forbidden}));
            assert_eq!(text, Some(format!("Forbidden target ({forbidden})")));
        }
        // In a call, a message names nobody; what is malformed is refused by the request itself.
        assert_eq!(refusal(&policy, "message", json!({"content": "x"})), None);
        assert_eq!(refusal(&policy, "call", json!({"uri": "nonsense"})), None);
    }

    #[test]
    fn registrars_and_proxies_are_hosts() {
        let policy = Policy { proxies: patterns(&["*.example.com"]), ..Policy::default() };
        let body = |proxy: Value, outbound: Value| json!({"username": "sip:a@b.org", "proxy": proxy, "outbound_proxy": outbound});
        assert_eq!(refusal(&policy, "register", body(json!("sip:r.example.com"), Value::Null)), None);
        assert_eq!(
            refusal(&policy, "register", body(Value::Null, Value::Null)).unwrap(),
            "Forbidden username (sip:a@b.org)"
        );
        assert_eq!(
            refusal(&policy, "register", body(json!("sip:10.0.0.1"), Value::Null)).unwrap(),
            "Forbidden proxy (sip:10.0.0.1)"
        );
        let text = refusal(&policy, "register", body(json!("sip:r.example.com"), json!("sips:127.0.0.1:22")));
        assert_eq!(text.unwrap(), "Forbidden outbound_proxy (sips:127.0.0.1:22)");
    }

    #[test]
    fn headers_are_names() {
        let policy = Policy { headers: vec!["X-*".into(), "Reason".into()], ..Policy::default() };
        for request in ["call", "accept", "hangup", "info", "register"] {
            assert_eq!(refusal(&policy, request, json!({"headers": {"x-a": "1", "REASON": "2"}})), None);
            let text = refusal(
                &policy,
                request,
                json!({"headers": {"X-A": "1", "P-Asserted-Identity": "sip:ceo@x"}}),
            );
            assert_eq!(text.unwrap(), "Forbidden header (P-Asserted-Identity)");
        }
    }

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("*", "", true),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("*b*", "abc", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("ab", "abc", false),
            ("*.x", "y.x.z", false),
            ("**", "é", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn what_could_never_match_is_no_pattern() {
        for text in ["", "@", "a@", "@b", "sip:a@b", "b:5060", "a b", "b;x=y", "http://x"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        assert!("[2001:db8::1]".parse::<Pattern>().is_ok());
    }
}
