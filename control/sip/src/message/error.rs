use std::fmt;

/// Why a message or a header value was refused, and in which header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The header's name as in the RFC (`Via`, `CSeq`), or `start line`, `Request-URI`, `message`.
    pub header: String,
    /// What is wrong with it.
    pub kind: ErrorKind,
}

/// What is wrong with a header or a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A header that every message needs is not there.
    Missing,
    /// A header that may stand once stands twice.
    Repeated,
    /// The text does not follow the grammar.
    Syntax,
    /// A number does not fit its range.
    Range,
    /// A limit of this module is exceeded.
    TooLong,
    /// The SIP version is not 2.0.
    Version,
    /// The method of CSeq and the request's differ.
    Mismatch,
    /// The body is shorter than Content-Length says.
    Truncated,
}

impl ParseError {
    /// An error in the header `header`.
    pub fn new(header: impl Into<String>, kind: ErrorKind) -> Self {
        Self { header: header.into(), kind }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::Missing => "is missing",
            ErrorKind::Repeated => "stands more than once",
            ErrorKind::Syntax => "does not follow the grammar",
            ErrorKind::Range => "is out of range",
            ErrorKind::TooLong => "exceeds a limit",
            ErrorKind::Version => "names an unsupported SIP version",
            ErrorKind::Mismatch => "does not match the request's method",
            ErrorKind::Truncated => "promises more bytes than there are",
        };
        write!(f, "{} {what}", self.header)
    }
}

impl std::error::Error for ParseError {}
