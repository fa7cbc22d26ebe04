//! What control's text must be before the library sees it, so that nothing it takes for granted can fail.

use crate::scan::{Scan, header_lines, is_token};

/// Headers of an answer that the stack writes.
const STACK_HEADERS: &[&str] = &[
    "Via",
    "v",
    "From",
    "f",
    "To",
    "t",
    "Call-ID",
    "i",
    "CSeq",
    "Content-Length",
    "l",
    "Record-Route",
    "RSeq",
    "Timestamp",
];
/// Headers of a request of which there is exactly one.
const SINGLE_HEADERS: &[(&str, u8)] = &[("From", b'f'), ("To", b't'), ("Call-ID", b'i'), ("CSeq", 0)];

/// A request's method.
///
/// # Errors
/// What is wrong.
pub(crate) fn request(text: &[u8]) -> Result<&[u8], &'static str> {
    let scan = Scan::new(text).ok_or("the request has no end of headers")?;
    let method = scan.method().ok_or("request line")?;
    if !scan.start_line.ends_with(b" SIP/2.0") || scan.start_line.split(|byte| *byte == b' ').count() != 3 {
        return Err("request line");
    }
    let uri = scan.start_line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if !uri.contains(&b':') || !uri.iter().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(byte)) {
        return Err("Request-URI");
    }
    if text[..scan.body_at].contains(&0) {
        return Err("NUL in the headers");
    }
    if scan.headers().any(|header| header.name.is_empty()) {
        return Err("a header without a name");
    }
    for (name, compact) in SINGLE_HEADERS {
        let mut values = scan.values(name, Some(*compact));
        if values.next().is_none_or(<[u8]>::is_empty) || values.next().is_some() {
            return Err("not exactly one From, To, Call-ID and CSeq");
        }
    }
    if scan.values("Via", Some(b'v')).next().is_some() {
        return Err("Via is the stack's");
    }
    let cseq = scan.values("CSeq", None).next().unwrap_or_default();
    let cseq: Vec<_> = cseq.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if cseq.len() != 2 || cseq[1] != method || !cseq[0].iter().all(u8::is_ascii_digit) {
        return Err("CSeq");
    }
    let mut lengths = scan.values("Content-Length", Some(b'l'));
    if lengths.any(|value| value != scan.body.len().to_string().as_bytes()) {
        return Err("Content-Length");
    }
    Ok(method)
}

/// Header lines for an answer or a CANCEL.
///
/// # Errors
/// What is wrong.
pub(crate) fn headers(text: &[u8]) -> Result<(), &'static str> {
    if text.contains(&0) {
        return Err("NUL in the headers");
    }
    if text.is_empty() {
        return Ok(());
    }
    if !text.ends_with(b"\r\n") || text.starts_with(b"\r\n") || text.windows(4).any(|end| end == b"\r\n\r\n")
    {
        return Err("header lines end in CR LF, none is empty");
    }
    for header in header_lines(text) {
        if header.name.is_empty() {
            return Err("a header without a name");
        }
        if STACK_HEADERS.iter().any(|name| header.name.eq_ignore_ascii_case(name.as_bytes())) {
            return Err("a header that the stack writes");
        }
    }
    let bare = |at: usize| text[at] == b'\n' && text.get(at.wrapping_sub(1)) != Some(&b'\r');
    if (0..text.len()).any(bare) {
        return Err("header lines end in CR LF, none is empty");
    }
    Ok(())
}

/// A tag or a branch: a token.
pub(crate) fn token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && text.bytes().all(is_token)
}

/// A reason phrase: one line.
pub(crate) fn reason(text: &str) -> bool {
    text.len() <= 255 && !text.bytes().any(|byte| byte < b' ' || byte == 127)
}

/// A host for Via: a name or an address, IPv6 in brackets.
pub(crate) fn host(text: &str) -> bool {
    text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]_".contains(&byte))
}

/// A URI to send to: no white space, control characters or brackets around it.
pub(crate) fn next_hop(text: &str) -> bool {
    let scheme = |scheme: &str| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.len() > scheme.len()
    };
    text.is_empty()
        || ((scheme("sip:") || scheme("sips:"))
            && text.len() <= 1024
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYE: &str = "BYE sip:a@b SIP/2.0\r\nFrom: <sip:c>;tag=1\r\nTo: <sip:a>;tag=2\r\nCall-ID: x\r\n\
        CSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn a_request_is_whole() {
        assert_eq!(request(BYE.as_bytes()), Ok(&b"BYE"[..]));
        for (from, to) in [
            ("SIP/2.0\r\n", "SIP/1.0\r\n"),
            ("BYE sip", "BYE  sip"),
            ("sip:a@b", "<sip:a@b>"),
            ("sip:a@b", "nothing"),
            ("CSeq: 2 BYE", "CSeq: 2 INVITE"),
            ("CSeq: 2 BYE", "CSeq: BYE"),
            ("Call-ID: x\r\n", ""),
            ("Call-ID: x\r\n", "Call-ID: x\r\ni: y\r\n"),
            ("Call-ID: x\r\n", "Call-ID: x\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n"),
            ("Call-ID: x\r\n", "Call-ID: x\0\r\n"),
            ("Call-ID: x\r\n", "Call-ID: x\r\nno colon\r\n"),
            ("Length: 0", "Length: 1"),
            ("\r\n\r\n", "\r\n"),
        ] {
            assert!(
                request(BYE.replacen(from, to, 1).as_bytes()).is_err(),
                "{from:?} as {to:?} was accepted"
            );
        }
    }

    #[test]
    fn header_lines_are_lines() {
        assert_eq!(headers(b""), Ok(()));
        assert_eq!(headers(b"Contact: <sip:a>\r\nX: y\r\n z\r\n"), Ok(()));
        for bad in [
            "X: y",
            "X: y\n",
            "\r\nX: y\r\n",
            "X: y\r\n\r\n",
            "X: y\r\n\r\nv=0\r\n",
            "X y\r\n",
            "Via: x\r\n",
            "l: 0\r\n",
            "X: \0\r\n",
            "X: y\nZ: a\r\n",
            "cSeq: 1 BYE\r\n",
        ] {
            assert!(headers(bad.as_bytes()).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn small_pieces() {
        assert!(token("z9hG4bK-1") && !token("") && !token("a b") && !token("a;b"));
        assert!(reason("Busy Here") && reason("") && !reason("a\r\nb"));
        assert!(host("[2001:db8::1]") && host("") && !host("a;b"));
        assert!(next_hop("") && next_hop("sip:10.0.0.1;transport=tcp") && next_hop("SIPS:a"));
        assert!(!next_hop("sip:") && !next_hop("tel:1") && !next_hop("sip:a b") && !next_hop("<sip:a>"));
    }
}
