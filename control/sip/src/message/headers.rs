use super::text;
use super::{ErrorKind, HEADERS_MAX, LINE_BYTES_MAX, LIST_VALUES_MAX, ParseError};

/// One header line: its name in the long form where that is known, and its unfolded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name; compares without case.
    pub name: String,
    /// Value without surrounding white space.
    pub value: String,
}

impl Header {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for part in [self.name.as_bytes(), b": ", self.value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

/// The headers of a message in their order, unknown ones included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

/// Compact forms (IANA "SIP Parameters", header fields).
const COMPACT: [(&str, &str); 19] = [
    ("a", "Accept-Contact"),
    ("b", "Referred-By"),
    ("c", "Content-Type"),
    ("d", "Request-Disposition"),
    ("e", "Content-Encoding"),
    ("f", "From"),
    ("i", "Call-ID"),
    ("j", "Reject-Contact"),
    ("k", "Supported"),
    ("l", "Content-Length"),
    ("m", "Contact"),
    ("n", "Identity-Info"),
    ("o", "Event"),
    ("r", "Refer-To"),
    ("s", "Subject"),
    ("t", "To"),
    ("u", "Allow-Events"),
    ("v", "Via"),
    ("x", "Session-Expires"),
];

impl Headers {
    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The value of a header that may stand once only.
    pub fn single(&self, name: &str) -> Result<Option<&str>, ParseError> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(ParseError::new(name, ErrorKind::Repeated));
        }
        Ok(first)
    }

    /// Every line of a header.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str())
    }

    /// The comma-separated values of a list header over all its lines. Empty elements are skipped
    /// (RFC 3261 §7.3.1 forbids them, but `Supported:` may be empty).
    pub fn list(&self, name: &str) -> Result<Vec<&str>, ParseError> {
        let mut values = Vec::new();
        for line in self.all(name) {
            let pieces = text::split(line, b',').ok_or_else(|| ParseError::new(name, ErrorKind::Syntax))?;
            values.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
            if values.len() > LIST_VALUES_MAX {
                return Err(ParseError::new(name, ErrorKind::TooLong));
            }
        }
        Ok(values)
    }

    /// True if a list header of tokens (Supported, Require, Allow) has this one; tokens compare without case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|line| line.split(',')).any(|t| text::trim(t).eq_ignore_ascii_case(token))
    }

    /// Adds a header at the end. A line end or NUL in the value becomes a space, so that no value can start a
    /// header of its own; [`Headers::try_push`] refuses such values instead.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let mut value = value.into();
        if value.contains(['\r', '\n', '\0']) {
            value = value.replace(['\r', '\n', '\0'], " ");
        }
        self.0.push(Header { name: name.into(), value });
    }

    /// Adds a header that came from an application: the name must be a token, the value must have neither line
    /// ends nor NUL, and both must keep the limits.
    pub fn try_push(&mut self, name: &str, value: &str) -> Result<(), ParseError> {
        if !text::is_token(name) || value.contains(['\r', '\n', '\0']) {
            return Err(ParseError::new(name, ErrorKind::Syntax));
        }
        if self.0.len() >= HEADERS_MAX || value.len() > LINE_BYTES_MAX {
            return Err(ParseError::new(name, ErrorKind::TooLong));
        }
        self.push(long_name(name), text::trim(value));
        Ok(())
    }

    /// Removes every line of a header.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|h| !h.name.eq_ignore_ascii_case(name));
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// Number of header lines.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the header lines as they go on the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|header| header.write(out));
    }

    /// Takes one unfolded line.
    pub(super) fn parse_line(&mut self, line: &str) -> Result<(), ParseError> {
        let (name, value) =
            line.split_once(':').ok_or_else(|| ParseError::new(clip(line), ErrorKind::Syntax))?;
        let name = name.trim_end_matches([' ', '\t']);
        if !text::is_token(name) {
            return Err(ParseError::new(clip(name), ErrorKind::Syntax));
        }
        if value.len() > LINE_BYTES_MAX || self.0.len() >= HEADERS_MAX {
            return Err(ParseError::new(clip(name), ErrorKind::TooLong));
        }
        self.0.push(Header { name: long_name(name).to_owned(), value: text::trim(value).to_owned() });
        Ok(())
    }
}

fn long_name(name: &str) -> &str {
    COMPACT.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)).map_or(name, |(_, long)| long)
}

/// The beginning of a text that goes into an error.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_run_over_lines_and_compact_names() {
        let mut headers = Headers::default();
        for line in ["k: timer,  100rel", "X-Odd: 1", "Supported:", "SUPPORTED: replaces"] {
            headers.parse_line(line).expect("a header");
        }
        assert_eq!(headers.list("Supported"), Ok(vec!["timer", "100rel", "replaces"]));
        assert!(headers.has_token("supported", "100REL") && !headers.has_token("Supported", "path"));
        assert_eq!(headers.get("x-odd"), Some("1"));
        assert_eq!(headers.single("Supported"), Err(ParseError::new("Supported", ErrorKind::Repeated)));
    }

    #[test]
    fn a_value_cannot_start_a_header() {
        let mut headers = Headers::default();
        for (name, value) in [("X-A", "1\r\nX-B: 2"), ("X A", "1"), ("X-A:", "1"), ("", "1"), ("X-A", "\0")] {
            assert!(headers.try_push(name, value).is_err(), "{name}: {value}");
        }
        headers.push("X-A", "1\r\nX-B: 2");
        let mut out = Vec::new();
        headers.write(&mut out);
        assert_eq!(out, b"X-A: 1  X-B: 2\r\n");
    }
}
