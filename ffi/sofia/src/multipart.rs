//! Takes `multipart/` bodies apart (RFC 2046 §5.1, RFC 5621) before the stack sees them: the session
//! description goes on as the message's only body, the other parts go to control beside it.
//!
//! Carriers send such bodies (SIP-I, PIDF-LO, SIPREC), so they cannot simply be refused; Sofia's own parser
//! of them reads out of bounds (CVE-2026-110658), so it never gets one.

use bifrons_sip_protocol::Part;

use crate::scan::{Scan, header_lines, parameter};

/// Longest boundary that RFC 2046 §5.1.1 allows, in bytes.
const BOUNDARY_BYTES_MAX: usize = 70;
/// Most parts, whatever is configured.
const PARTS_MAX: usize = 16;

/// Why a multipart body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The body is larger than configured.
    TooLarge,
    /// No boundary, one that is too long or longer than the body, no delimiter, no end, no SDP where the
    /// parts are malformed, or too many parts.
    Malformed,
}

/// Limits of this process.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body in bytes.
    pub bytes_max: usize,
    /// Most parts.
    pub parts_max: usize,
}

/// A message whose multipart body was taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// The message with the session description as its body, or none.
    pub message: Vec<u8>,
    /// The other parts in order.
    pub parts: Vec<Part>,
}

/// Takes a message apart. None if its body is not `multipart/`. `extra` are header lines to add.
///
/// # Errors
/// [`Refusal`] if it is one and not well-formed within the limits.
pub fn take_apart(message: &[u8], limits: Limits, extra: &[u8]) -> Result<Option<Apart>, Refusal> {
    let Some(scan) = Scan::new(message) else { return Ok(None) };
    let mut types = scan.values("Content-Type", Some(b'c'));
    let Some(content_type) = types.find(|value| is_multipart(value)) else { return Ok(None) };
    if scan.body.len() > limits.bytes_max {
        return Err(Refusal::TooLarge);
    }
    let boundary = parameter(content_type, b"boundary").ok_or(Refusal::Malformed)?;
    let mut sdp = None;
    let mut parts = Vec::new();
    for part in split(scan.body, boundary, limits.parts_max.min(PARTS_MAX))? {
        let part = cut(part)?;
        let is_sdp = header_lines(&part.headers).any(|header| {
            header.name.eq_ignore_ascii_case(b"Content-Type") && is_type(header.value, b"application/sdp")
        });
        // The first session description is the offer or answer; another would be an alternative of it.
        if is_sdp && sdp.is_none() {
            sdp = Some(part.body);
        } else {
            parts.push(part);
        }
    }
    Ok(Some(Apart { message: rebuild(message, &scan, sdp.as_deref(), extra), parts }))
}

fn is_multipart(value: &[u8]) -> bool {
    value.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
}

fn is_type(value: &[u8], media_type: &[u8]) -> bool {
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    value[..end].trim_ascii().eq_ignore_ascii_case(media_type)
}

/// The bytes between the delimiter lines. A delimiter is CR LF, two dashes and the boundary; the one that
/// ends the body has two more dashes.
fn split<'a>(body: &'a [u8], boundary: &[u8], parts_max: usize) -> Result<Vec<&'a [u8]>, Refusal> {
    let bad_boundary = boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX;
    if bad_boundary || boundary.len() + 4 > body.len() {
        return Err(Refusal::Malformed);
    }
    let mut parts = Vec::new();
    let mut from = None;
    let mut at = 0;
    while at < body.len() {
        let end = body[at..].iter().position(|byte| *byte == b'\n').map_or(body.len(), |len| at + len + 1);
        let line = body[at..end].trim_ascii_end();
        if let Some(rest) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary)) {
            let is_last = rest == b"--";
            if is_last || rest.is_empty() {
                if let Some(from) = from {
                    if parts.len() == parts_max {
                        return Err(Refusal::Malformed);
                    }
                    let part = body.get(from..at).unwrap_or_default();
                    let part = part.strip_suffix(b"\n").unwrap_or(part);
                    parts.push(part.strip_suffix(b"\r").unwrap_or(part));
                }
                if is_last {
                    return if parts.is_empty() { Err(Refusal::Malformed) } else { Ok(parts) };
                }
                from = Some(end);
            }
        }
        at = end;
    }
    Err(Refusal::Malformed)
}

/// Cuts a part into headers and content; a part may have no headers, then it starts with an empty line.
fn cut(part: &[u8]) -> Result<Part, Refusal> {
    let mut at = 0;
    while at < part.len() {
        let end = part[at..].iter().position(|byte| *byte == b'\n').map(|len| at + len + 1);
        let Some(end) = end else { break };
        if part[at..end].trim_ascii().is_empty() {
            return Ok(Part { headers: part[..at].to_vec(), body: part[end..].to_vec() });
        }
        at = end;
    }
    Err(Refusal::Malformed)
}

/// The message with other content: its Content-* and MIME headers replaced, everything else byte for byte.
fn rebuild(message: &[u8], scan: &Scan<'_>, sdp: Option<&[u8]>, extra: &[u8]) -> Vec<u8> {
    let body = sdp.unwrap_or_default();
    let mut out = Vec::with_capacity(message.len());
    out.extend_from_slice(scan.start_line);
    out.extend_from_slice(b"\r\n");
    for header in scan.headers() {
        let name = header.name;
        let is_content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"Content-"))
            || name.eq_ignore_ascii_case(b"MIME-Version")
            || matches!(name, [letter] if b"cle".contains(&letter.to_ascii_lowercase()));
        if !is_content {
            let (from, to) = header.line;
            out.extend_from_slice(&message[scan.headers_at + from..scan.headers_at + to]);
        }
    }
    out.extend_from_slice(extra);
    if sdp.is_some() {
        out.extend_from_slice(b"Content-Type: application/sdp\r\n");
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { bytes_max: 4096, parts_max: 4 };

    fn message(content_type: &str, body: &str) -> Vec<u8> {
        let len = body.len();
        format!(
            "INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\nContent-Type: {content_type}\r\nMIME-Version: 1.0\r\n\
             Content-Length: {len}\r\nX: y\r\n\r\n{body}"
        )
        .into_bytes()
    }

    const BODY: &str = "preamble\r\n--cut\r\nContent-Type: application/isup\r\nContent-Disposition: signal\r\n\r\n\
        \u{1}\u{2}\r\n--cutter is no delimiter\r\n--cut  \r\ncontent-type: Application/SDP; x=y\r\n\r\nv=0\r\n\
        s=-\r\n\r\n--cut--\r\nepilogue";

    #[test]
    fn the_session_description_stays_alone() {
        let apart = take_apart(&message("multipart/mixed;boundary=cut", BODY), LIMITS, b"K: v\r\n");
        let apart = apart.unwrap().unwrap();
        assert_eq!(
            String::from_utf8(apart.message).unwrap(),
            "INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\nX: y\r\nK: v\r\nContent-Type: application/sdp\r\n\
             Content-Length: 10\r\n\r\nv=0\r\ns=-\r\n"
        );
        assert_eq!(apart.parts.len(), 1);
        assert_eq!(apart.parts[0].body, b"\x01\x02\r\n--cutter is no delimiter");
        assert!(apart.parts[0].headers.ends_with(b"Content-Disposition: signal\r\n"));
    }

    #[test]
    fn other_bodies_are_left_alone() {
        assert_eq!(take_apart(&message("application/sdp", "v=0\r\n"), LIMITS, b""), Ok(None));
        assert_eq!(take_apart(b"garbage", LIMITS, b""), Ok(None));
    }

    #[test]
    fn without_a_session_description_no_body_is_left() {
        let body = "--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--";
        let apart = take_apart(&message("Multipart/Related; boundary=\"b\"", body), LIMITS, b"");
        let apart = apart.unwrap().unwrap();
        assert!(apart.message.ends_with(b"Content-Length: 0\r\n\r\n"));
        assert_eq!(apart.parts[0].body, b"hello");
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let refused = |content_type: &str, body: &str| {
            take_apart(&message(content_type, body), LIMITS, b"").expect_err("accepted")
        };
        let long = "x".repeat(71);
        assert_eq!(refused("multipart/mixed", BODY), Refusal::Malformed);
        assert_eq!(refused("multipart/mixed;boundary=", BODY), Refusal::Malformed);
        assert_eq!(refused(&format!("multipart/mixed;boundary={long}"), BODY), Refusal::Malformed);
        assert_eq!(refused("multipart/mixed;boundary=longerthanthebody", "--x--"), Refusal::Malformed);
        assert_eq!(refused("multipart/mixed;boundary=cut", "--cut\r\n\r\nnever ends"), Refusal::Malformed);
        assert_eq!(
            refused("multipart/mixed;boundary=cut", "--cut\r\nno: body\r\n--cut--"),
            Refusal::Malformed
        );
        assert_eq!(refused("multipart/mixed;boundary=cut", "--cut--\r\n"), Refusal::Malformed);
        let five = "--cut\r\n\r\nx\r\n".repeat(5) + "--cut--";
        assert_eq!(refused("multipart/mixed;boundary=cut", &five), Refusal::Malformed);
        assert_eq!(refused("multipart/mixed;boundary=cut", &"x".repeat(4097)), Refusal::TooLarge);
    }

    proptest! {
        #[test]
        fn any_body_is_taken_apart_or_refused(body in "(--b(--)?|\r\n|\n|Content-Type: application/sdp|x|:){0,40}") {
            let message = message("multipart/mixed;boundary=b", &body);
            if let Ok(Some(apart)) = take_apart(&message, LIMITS, b"") {
                let again = Scan::new(&apart.message).expect("a message");
                prop_assert!(again.body.len() <= body.len());
                prop_assert_eq!(take_apart(&apart.message, LIMITS, b""), Ok(None));
            }
        }
    }
}
