//! The lexical layer: tokens, white space, quoted strings, lists.

/// True for the characters of a `token` (RFC 3261 §25.1).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// True if `text` is a non-empty `token`.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Strips the white space that may stand around separators.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// `text` as a quoted-string, with its special characters escaped. Line ends and NUL become spaces.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\r' | '\n' | '\0' => quoted.push(' '),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The content of a quoted-string with its escapes resolved; text without quotes is returned as it is.
pub fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    plain
}

/// Length of the quoted-string at the start of `text`, quotes included; `None` if it does not end.
pub(super) fn quoted_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Splits `text` at `separator` outside quoted strings, angle brackets and comments are left alone.
/// `None` if a quoted string or a bracket does not end. Pieces are trimmed and may be empty.
pub(super) fn split(text: &str, separator: u8) -> Option<Vec<&str>> {
    let bytes = text.as_bytes();
    let (mut pieces, mut start, mut at, mut in_angle) = (Vec::new(), 0, 0, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' if !in_angle => {
                at += quoted_len(text.get(at..)?)?;
                continue;
            }
            b'<' if !in_angle => in_angle = true,
            b'>' => in_angle = false,
            byte if *byte == separator && !in_angle => {
                pieces.push(trim(text.get(start..at)?));
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    pieces.push(trim(text.get(start..)?));
    (!in_angle).then_some(pieces)
}

/// Parses an unsigned number of ASCII digits only (no sign, no spaces).
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, super::ErrorKind> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(super::ErrorKind::Syntax);
    }
    text.parse().map_err(|_| super::ErrorKind::Range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_split_outside_quotes_and_brackets() {
        assert_eq!(split(r#""a,\",b" <sip:x,y> , c"#, b','), Some(vec![r#""a,\",b" <sip:x,y>"#, "c"]));
        assert_eq!(split("a,,b", b','), Some(vec!["a", "", "b"]));
        assert_eq!(split("\"open", b','), None);
        assert_eq!(split("<open", b','), None);
    }

    #[test]
    fn quoting_is_reversible() {
        let text = r#"a "b" \c"#;
        assert_eq!(unquote(&quote(text)), text);
        assert_eq!(unquote("token"), "token");
        assert_eq!(unquote("\""), "\"");
    }
}
