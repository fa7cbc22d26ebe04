//! A first look at a SIP message's text: where headers and body are. Used on bytes of the network (by the
//! gate) and on text of control (before the stack's parser sees it), so it takes any bytes.

/// A message cut into start line, header lines and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    /// Without the line end.
    pub start_line: &'a [u8],
    headers: &'a [u8],
    /// Offset of the header lines in the message.
    pub headers_at: usize,
    /// Offset of the empty line's end in the message.
    pub body_at: usize,
    /// What follows the empty line.
    pub body: &'a [u8],
}

/// A header line, folds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// As written.
    pub name: &'a [u8],
    /// Without surrounding white space; folds stay in it.
    pub value: &'a [u8],
    /// The whole line with its end, relative to the first header.
    pub line: (usize, usize),
}

impl<'a> Scan<'a> {
    /// None without an empty line after the headers. Lines may end in CR LF or LF, leading empty ones are
    /// skipped (RFC 3261 §7.5).
    pub fn new(message: &'a [u8]) -> Option<Scan<'a>> {
        let start = message.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
        let (start_line, headers_at) = line(message, start)?;
        let mut at = headers_at;
        loop {
            let (text, next) = line(message, at)?;
            if text.is_empty() {
                let headers = message.get(headers_at..at)?;
                let body = message.get(next..)?;
                return Some(Scan { start_line, headers, headers_at, body_at: next, body });
            }
            at = next;
        }
    }

    /// The header lines in order. A line without a name and colon has an empty name.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        header_lines(self.headers)
    }

    /// Values of the headers with this name or one-letter form.
    pub fn values(
        &self,
        name: &'static str,
        compact: Option<u8>,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers()
            .filter(move |header| {
                header.name.eq_ignore_ascii_case(name.as_bytes())
                    || matches!((header.name, compact), ([letter], Some(compact))
                        if letter.eq_ignore_ascii_case(&compact))
            })
            .map(|header| header.value)
    }

    /// Of a request.
    pub fn method(&self) -> Option<&'a [u8]> {
        let method = self.start_line.split(|byte| *byte == b' ').next()?;
        let is_request = !method.is_empty() && method.iter().all(|byte| is_token(*byte));
        is_request.then_some(method)
    }

    /// Whether the To header has a tag: the message belongs to a dialog.
    pub fn has_to_tag(&self) -> bool {
        self.values("To", Some(b't')).any(|value| parameter(value, b"tag").is_some())
    }
}

/// Value of `;name=value` behind an address or media type, quotes removed; the address' own parameters in
/// angle brackets do not count.
pub fn parameter<'a>(value: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (mut quoted, mut escaped, mut angle, mut start) = (false, false, false, None);
    let mut found = None;
    let mut take = |from: Option<usize>, to: usize| {
        let piece = from.and_then(|from| value.get(from..to)).unwrap_or_default();
        let mut halves = piece.splitn(2, |byte| *byte == b'=');
        if let (Some(key), Some(content), None) = (halves.next(), halves.next(), found)
            && key.trim_ascii().eq_ignore_ascii_case(name)
        {
            let content = content.trim_ascii();
            found = Some(match content {
                [b'"', inner @ .., b'"'] => inner,
                plain => plain,
            });
        }
    };
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'<' => angle = true,
            b'>' => angle = false,
            b';' if !angle => {
                take(start, at);
                start = Some(at + 1);
            }
            _ => {}
        }
    }
    take(start, value.len());
    found
}

/// Lines of a header block, folded ones as one.
pub fn header_lines(block: &[u8]) -> impl Iterator<Item = Header<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = at;
        if first >= block.len() {
            return None;
        }
        at = line_end(block, first);
        while matches!(block.get(at), Some(b' ' | b'\t')) {
            at = line_end(block, at);
        }
        let text = block.get(first..at).unwrap_or_default();
        let colon = text.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(colon) => (text[..colon].trim_ascii_end(), text[colon + 1..].trim_ascii()),
            None => (&text[..0], text.trim_ascii()),
        };
        let name = if name.iter().all(|byte| is_token(*byte)) { name } else { &name[..0] };
        Some(Header { name, value, line: (first, at) })
    })
}

/// A character of RFC 3261's `token`.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

fn line(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = text.get(at..)?;
    let len = rest.iter().position(|byte| *byte == b'\n')?;
    let line = &rest[..len];
    Some((line.strip_suffix(b"\r").unwrap_or(line), at + len + 1))
}

fn line_end(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().position(|byte| *byte == b'\n').map_or(text.len(), |len| at + len + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INVITE: &[u8] =
        b"\r\nINVITE sip:a@b;x=1 SIP/2.0\r\nTo: \"x;tag=no\" <sip:a@b;tag=no>\r\n ;tag=yes\r\n\
        c: application/sdp\r\nf:<sip:c@d>\nbroken\r\n\r\nv=0\r\n\r\n";

    #[test]
    fn finds_headers_folds_and_body() {
        let scan = Scan::new(INVITE).unwrap();
        assert_eq!(scan.start_line, b"INVITE sip:a@b;x=1 SIP/2.0");
        assert_eq!(scan.method(), Some(&b"INVITE"[..]));
        assert_eq!(scan.body, b"v=0\r\n\r\n");
        assert_eq!(&INVITE[scan.body_at..], scan.body);
        assert!(scan.has_to_tag());
        let types: Vec<_> = scan.values("Content-Type", Some(b'c')).collect();
        assert_eq!(types, [b"application/sdp"]);
        assert_eq!(scan.values("From", Some(b'f')).next(), Some(&b"<sip:c@d>"[..]));
        assert_eq!(scan.headers().last().unwrap().name, b"");
        assert!(Scan::new(b"INVITE sip:a SIP/2.0\r\nTo: x\r\n").is_none());
        assert!(Scan::new(b"\r\n\r\n").is_none());
    }

    #[test]
    fn parameters_know_quotes_and_brackets() {
        assert_eq!(parameter(b"multipart/mixed; boundary=\"a;b\" ;x=y", b"boundary"), Some(&b"a;b"[..]));
        assert_eq!(parameter(b"<sip:a;tag=1>;Tag=2", b"tag"), Some(&b"2"[..]));
        assert_eq!(parameter(b"\"\\\";tag=1\" <sip:a>", b"tag"), None);
        assert_eq!(parameter(b"a/b;boundary", b"boundary"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned(bytes: Vec<u8>) {
            if let Some(scan) = Scan::new(&bytes) {
                prop_assert_eq!(&bytes[scan.body_at..], scan.body);
                let _ = scan.headers().count();
                let _ = (scan.method(), scan.has_to_tag());
            }
            let _ = parameter(&bytes, b"tag");
        }
    }
}
