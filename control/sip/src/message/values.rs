//! Headers with a small grammar of their own.

use std::fmt;

use super::text::{self, is_token, trim};
use super::{ErrorKind, Method, Params};

/// CSeq (RFC 3261 §20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2^31 in requests we write; any 32-bit number is read.
    pub number: u32,
    /// The request's method.
    pub method: Method,
}

impl CSeq {
    /// Parses a value.
    pub fn parse(value: &str) -> Result<Self, ErrorKind> {
        let (number, method) = trim(value).split_once([' ', '\t']).ok_or(ErrorKind::Syntax)?;
        Ok(Self {
            number: text::number(number)?,
            method: Method::parse(trim(method)).ok_or(ErrorKind::Syntax)?,
        })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// RAck of a PRACK (RFC 3262 §7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// RSeq of the provisional response.
    pub rseq: u32,
    /// CSeq of the request it answered.
    pub cseq: CSeq,
}

impl RAck {
    /// Parses a value.
    pub fn parse(value: &str) -> Result<Self, ErrorKind> {
        let (rseq, cseq) = trim(value).split_once([' ', '\t']).ok_or(ErrorKind::Syntax)?;
        Ok(Self { rseq: text::number(rseq)?, cseq: CSeq::parse(cseq)? })
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rseq, self.cseq)
    }
}

/// One value of Reason (RFC 3326).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reason {
    /// `SIP`, `Q.850` …
    pub protocol: String,
    /// `cause`, as written.
    pub cause: Option<String>,
    /// `text` without its quotes.
    pub text: Option<String>,
}

impl Reason {
    /// Parses one value.
    pub fn parse(value: &str) -> Result<Self, ErrorKind> {
        let (protocol, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
        let protocol = trim(protocol);
        if !is_token(protocol) {
            return Err(ErrorKind::Syntax);
        }
        let params = Params::parse_generic(rest)?;
        Ok(Self {
            protocol: protocol.to_owned(),
            cause: params.get("cause").map(text::unquote),
            text: params.get("text").map(text::unquote),
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let Some(cause) = &self.cause {
            write!(f, ";cause={cause}")?;
        }
        self.text.as_ref().map_or(Ok(()), |text| write!(f, ";text={}", text::quote(text)))
    }
}

/// Session-Expires (RFC 4028 §4); Min-SE has the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// Interval in seconds.
    pub interval_s: u32,
    /// Who refreshes: `Some(true)` the caller (uac), `Some(false)` the callee (uas).
    pub refresher_is_uac: Option<bool>,
}

impl SessionExpires {
    /// Parses a value.
    pub fn parse(value: &str) -> Result<Self, ErrorKind> {
        let (seconds, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
        let params = Params::parse_generic(rest)?;
        let refresher_is_uac = match params.get("refresher") {
            None => None,
            Some(who) if who.eq_ignore_ascii_case("uac") => Some(true),
            Some(who) if who.eq_ignore_ascii_case("uas") => Some(false),
            Some(_) => return Err(ErrorKind::Syntax),
        };
        Ok(Self { interval_s: text::number(trim(seconds))?, refresher_is_uac })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.interval_s)?;
        match self.refresher_is_uac {
            None => Ok(()),
            Some(true) => f.write_str(";refresher=uac"),
            Some(false) => f.write_str(";refresher=uas"),
        }
    }
}

/// Replaces (RFC 3891 §6.1), also as a header of a Refer-To URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// Call-ID of the dialog to replace.
    pub call_id: String,
    /// Its to-tag: the local tag of whoever gets the request.
    pub to_tag: String,
    /// Its from-tag.
    pub from_tag: String,
    /// True if only an early dialog may be replaced.
    pub early_only: bool,
}

impl Replaces {
    /// Parses a value.
    pub fn parse(value: &str) -> Result<Self, ErrorKind> {
        let (call_id, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
        let params = Params::parse_generic(rest)?;
        let tag =
            |name| params.get(name).filter(|tag| !tag.is_empty()).map(str::to_owned).ok_or(ErrorKind::Syntax);
        let call_id = trim(call_id);
        if call_id.is_empty() {
            return Err(ErrorKind::Syntax);
        }
        Ok(Self {
            call_id: call_id.to_owned(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.has("early-only"),
        })
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)?;
        if self.early_only { f.write_str(";early-only") } else { Ok(()) }
    }
}

/// Subscription-State (RFC 6665 §8.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionState {
    /// `active`, `pending`, `terminated` or an extension.
    pub state: String,
    /// Seconds left, if told.
    pub expires_s: Option<u32>,
    /// `deactivated`, `noresource` … if told.
    pub reason: Option<String>,
}

impl SubscriptionState {
    /// Parses a value.
    pub fn parse(value: &str) -> Result<Self, ErrorKind> {
        let (state, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
        let state = trim(state);
        if !is_token(state) {
            return Err(ErrorKind::Syntax);
        }
        let params = Params::parse_generic(rest)?;
        Ok(Self {
            state: state.to_ascii_lowercase(),
            expires_s: params.get("expires").map(text::number).transpose()?,
            reason: params.get("reason").map(text::unquote),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written() {
        let reason = Reason::parse(r#"Q.850 ;cause=16 ;text="Normal \"call\"""#).expect("a reason");
        assert_eq!(reason.to_string(), r#"Q.850;cause=16;text="Normal \"call\"""#);
        let session = SessionExpires::parse("1800 ; Refresher=UAS").expect("an interval");
        assert_eq!(session, SessionExpires { interval_s: 1800, refresher_is_uac: Some(false) });
        assert_eq!(RAck::parse("776656 1 INVITE").map(|r| r.to_string()), Ok("776656 1 INVITE".into()));
        let replaces = Replaces::parse("a@b;to-tag=1;from-tag=2;early-only").expect("a dialog");
        assert_eq!(replaces.to_string(), "a@b;to-tag=1;from-tag=2;early-only");
        let state = SubscriptionState::parse("Terminated;reason=noresource").expect("a state");
        assert_eq!((state.state.as_str(), state.reason.as_deref()), ("terminated", Some("noresource")));
    }

    #[test]
    fn odd_ones_are_refused() {
        assert!(CSeq::parse("4294967296 INVITE").is_err() && CSeq::parse("-1 INVITE").is_err());
        assert!(CSeq::parse("1").is_err() && RAck::parse("1 2").is_err());
        assert!(SessionExpires::parse("90;refresher=me").is_err() && SessionExpires::parse("").is_err());
        assert!(Replaces::parse("a;to-tag=1").is_err() && Reason::parse(";cause=1").is_err());
    }
}
