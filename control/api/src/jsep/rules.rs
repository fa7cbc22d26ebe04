//! The rules that a client's SDP must keep before anything else is read in it.
//!
//! The parser below takes any SDP; JSEP is stricter, and the texts of the refusals are what clients of
//! this API have seen for years.

use bifrons_wire::sdp::{Sdp, SdpError, SdpErrorKind};

use crate::error::{ApiError, Code};

/// Longest mid that an RTP header extension can carry with one byte of header (RFC 8285 §4.2).
pub(crate) const MID_BYTES_MAX: usize = 16;
/// Most lines of one m-line: many times what browsers send. Work grows with the product of lines and payload
/// types, and it is done on the control thread.
const LINES_PER_MLINE_MAX: usize = 512;
/// Longest m-line.
const MLINE_BYTES_MAX: usize = 200;

/// Parses and checks an SDP.
pub(crate) fn parse(text: &str, bytes_max: usize, mlines_max: usize) -> Result<Sdp, ApiError> {
    if text.len() > bytes_max {
        return Err(invalid(format!("Invalid SDP (longer than {bytes_max} bytes)")));
    }
    let sdp = Sdp::parse(text).map_err(|error| invalid(describe(&error)))?;
    if sdp.media.len() > mlines_max {
        return Err(invalid(format!("Invalid SDP (more than {mlines_max} m= lines)")));
    }
    session_lines(&sdp)?;
    for (index, media) in sdp.media.iter().enumerate() {
        if media.section.lines.len() > LINES_PER_MLINE_MAX {
            return Err(invalid(format!("m-line {index} has more than {LINES_PER_MLINE_MAX} lines")));
        }
        let line = media.line.to_string();
        if !matches!(media.line.kind.as_str(), "audio" | "video" | "application")
            || line.len() > MLINE_BYTES_MAX
        {
            return Err(invalid(format!("Invalid m= line: m={line}")));
        }
        let mut connections = 0;
        for line in &media.section.lines {
            match line.kind {
                'c' => {
                    connections += 1;
                    if connections > 1 {
                        return Err(invalid(format!("Multiple c= lines: {line}")));
                    }
                    let connection = line.value.parse::<bifrons_wire::sdp::Connection>();
                    if !connection.is_ok_and(|c| matches!(c.address_type.as_str(), "IP4" | "IP6")) {
                        return Err(invalid(format!("Invalid c= line: {line}")));
                    }
                }
                'b' if !line.value.contains(':') => {
                    return Err(invalid(format!("Invalid b= line: {}", line.value)));
                }
                'a' => match line.name_value() {
                    Some((_, Some(""))) => return Err(invalid(format!("Invalid a= line: {}", line.value))),
                    Some(("mid", Some(mid)))
                        if mid.len() > MID_BYTES_MAX && media.line.kind != "application" =>
                    {
                        return Err(invalid(format!("mid of more than {MID_BYTES_MAX} characters: {mid}")));
                    }
                    Some(("setup", None)) => return Err(invalid("Invalid a= line: setup".into())),
                    _ => {}
                },
                _ => {}
            }
        }
    }
    Ok(sdp)
}

fn session_lines(sdp: &Sdp) -> Result<(), ApiError> {
    let has = |kind| sdp.session.lines.iter().any(|line| line.kind == kind);
    for kind in ['o', 's', 'c'] {
        // An o= or s= after an m-line is a second one, too.
        let media = sdp.media.iter().filter(|_| kind != 'c').flat_map(|media| &media.section.lines);
        let mut lines = sdp.session.lines.iter().chain(media).filter(|line| line.kind == kind);
        let first = lines.next();
        if let Some(second) = lines.next() {
            return Err(invalid(format!("Multiple {kind}= lines: {second}")));
        }
        if let (Some(line), 'o') = (first, kind)
            && line.value.parse::<bifrons_wire::sdp::Origin>().is_err()
        {
            return Err(invalid(format!("Invalid o= line: {line}")));
        }
    }
    if !has('o') || !has('s') || sdp.media.is_empty() {
        return Err(invalid("Missing mandatory lines (o=, s= or m=)".into()));
    }
    Ok(())
}

fn describe(error: &SdpError) -> String {
    let line = &error.text;
    match error.kind {
        SdpErrorKind::Version => "Invalid SDP (doesn't start with v=)".into(),
        SdpErrorKind::Line => format!("Invalid line ({} bytes): {line}", line.len()),
        SdpErrorKind::Media if line.split_ascii_whitespace().count() == 3 => {
            format!("Invalid m= line (no payload types/formats): {line}")
        }
        SdpErrorKind::Media => format!("Invalid m= line: {line}"),
        _ => error.to_string(),
    }
}

fn invalid(reason: String) -> ApiError {
    ApiError::new(Code::JsepInvalidSdp, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        let error = parse(text, 4096, 4).unwrap_err();
        assert_eq!(error.code, Code::JsepInvalidSdp);
        error.reason
    }

    /// The texts are those that Janus 1.1.2 gave for the same input.
    #[test]
    fn refusals() {
        let head = "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\n";
        let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n";
        assert!(parse(&format!("{head}{audio}"), 4096, 4).is_ok());
        for (text, expected) in [
            ("x".to_owned(), "Invalid SDP (doesn't start with v=)"),
            ("v=0\r\n".into(), "Missing mandatory lines (o=, s= or m=)"),
            (format!("v=0\r\ns=-\r\n{audio}"), "Missing mandatory lines (o=, s= or m=)"),
            (
                format!("{head}m=text 9 UDP/TLS/RTP/SAVPF 0\r\n"),
                "Invalid m= line: m=text 9 UDP/TLS/RTP/SAVPF 0",
            ),
            (format!("{head}{audio}x\r\n"), "Invalid line (1 bytes): x"),
            (
                format!("{head}m=audio 9 UDP/TLS/RTP/SAVPF\r\n"),
                "Invalid m= line (no payload types/formats): m=audio 9 UDP/TLS/RTP/SAVPF",
            ),
            (format!("{head}m=audio x RTP/AVP 0\r\n"), "Invalid m= line: m=audio x RTP/AVP 0"),
            (format!("{head}{audio}a=mid:\r\n"), "Invalid a= line: mid:"),
            (format!("{head}{audio}c=foo\r\n"), "Invalid c= line: c=foo"),
            (format!("{head}{audio}b=foo\r\n"), "Invalid b= line: foo"),
            (format!("{head}o=x\r\n{audio}"), "Multiple o= lines: o=x"),
            (format!("v=0\r\no=x\r\ns=-\r\n{audio}"), "Invalid o= line: o=x"),
        ] {
            assert_eq!(reason(&text), expected);
        }
        assert!(reason(&format!("{head}{audio}a=mid:12345678901234567\r\n")).contains("mid of more than 16"));
        assert!(reason(&format!("{head}{}", audio.repeat(5))).contains("more than 4 m= lines"));
        assert!(reason(&format!("{head}{}", "a=x\r\n".repeat(1000))).contains("longer than 4096"));
    }
}
