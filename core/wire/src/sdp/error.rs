//! Why a text is not SDP.

use core::fmt;

use super::{FORMATS_MAX, LINE_LEN_MAX, LINES_MAX, MEDIA_MAX, SDP_LEN_MAX};

/// How much of a line an error quotes, characters.
const QUOTE_MAX: usize = 200;

/// A refused SDP: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpError {
    /// What is wrong.
    pub kind: SdpErrorKind,
    /// Number of the line, from 1; 0 where the whole text is meant.
    pub line: usize,
    /// The line, cut after 200 characters; keys and passwords are left out.
    pub text: String,
}

/// What is wrong with an SDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SdpErrorKind {
    /// The first line is not `v=`.
    Version,
    /// A line is not a letter, `=` and a value.
    Line,
    /// A line contains NUL or a carriage return that does not end it.
    Character,
    /// An m-line is not type, port, protocol and at least one format.
    Media,
    /// More than [`SDP_LEN_MAX`] bytes.
    TooLong,
    /// More than [`LINES_MAX`] lines.
    TooManyLines,
    /// A line of more than [`LINE_LEN_MAX`] bytes.
    LineTooLong,
    /// More than [`MEDIA_MAX`] m-lines.
    TooManyMedia,
    /// More than [`FORMATS_MAX`] formats in an m-line.
    TooManyFormats,
}

impl SdpError {
    pub(super) fn new(kind: SdpErrorKind, line: usize, text: &str) -> Self {
        SdpError { kind, line, text: quote(text) }
    }
}

/// The start of a line, without what must not stand in a log.
pub(super) fn quote(text: &str) -> String {
    for secret in ["a=crypto:", "a=ice-pwd:", "k="] {
        if text.get(..secret.len()).is_some_and(|start| start.eq_ignore_ascii_case(secret)) {
            return format!("{secret}...");
        }
    }
    text.chars().take(QUOTE_MAX).collect()
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            SdpErrorKind::Version => f.write_str("Invalid SDP (doesn't start with v=)")?,
            SdpErrorKind::Line => f.write_str("Invalid line: not a letter, '=' and a value")?,
            SdpErrorKind::Character => f.write_str("Invalid line: NUL or carriage return in it")?,
            SdpErrorKind::Media => f.write_str("Invalid m= line")?,
            SdpErrorKind::TooLong => write!(f, "Invalid SDP (more than {SDP_LEN_MAX} bytes)")?,
            SdpErrorKind::TooManyLines => write!(f, "Invalid SDP (more than {LINES_MAX} lines)")?,
            SdpErrorKind::LineTooLong => write!(f, "Invalid line: more than {LINE_LEN_MAX} bytes")?,
            SdpErrorKind::TooManyMedia => write!(f, "Invalid SDP (more than {MEDIA_MAX} m= lines)")?,
            SdpErrorKind::TooManyFormats => write!(f, "Invalid m= line: more than {FORMATS_MAX} formats")?,
        }
        if self.line > 0 { write!(f, " (line {}: {})", self.line, self.text) } else { Ok(()) }
    }
}

impl core::error::Error for SdpError {}
