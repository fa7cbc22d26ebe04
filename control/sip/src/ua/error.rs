use std::fmt;

use crate::message::ParseError;

/// Why the user agent did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UaError {
    /// No such account (any more).
    NoAccount,
    /// No such call (any more).
    NoCall,
    /// No such REFER (any more).
    NoRefer,
    /// The call's or account's state does not allow it; the text names the state.
    State(&'static str),
    /// A limit is reached; the text names it.
    Limit(&'static str),
    /// A header, a URI or a token given cannot be written.
    Malformed(ParseError),
    /// No listener has this ident and transport.
    NoListener(String),
    /// Not done by this version.
    Unsupported(&'static str),
    /// The system gives no random numbers.
    Random,
}

impl fmt::Display for UaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAccount => f.write_str("no such account"),
            Self::NoCall => f.write_str("no such call"),
            Self::NoRefer => f.write_str("no such transfer"),
            Self::State(state) => write!(f, "wrong state ({state})"),
            Self::Limit(limit) => write!(f, "limit reached ({limit})"),
            Self::Malformed(error) => error.fmt(f),
            Self::NoListener(ident) => write!(f, "no listener ({ident})"),
            Self::Unsupported(what) => write!(f, "not supported yet ({what})"),
            Self::Random => f.write_str("no random numbers"),
        }
    }
}

impl std::error::Error for UaError {}

impl From<ParseError> for UaError {
    fn from(error: ParseError) -> Self {
        Self::Malformed(error)
    }
}
