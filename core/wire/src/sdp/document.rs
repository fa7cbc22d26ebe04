//! A whole session description.

use core::fmt;
use core::str::FromStr;

use super::error::{SdpError, SdpErrorKind};
use super::*;

/// A session description: the session section, then the media sections, all in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sdp {
    /// Lines before the first m-line.
    pub session: Section,
    /// The m-lines with what belongs to them.
    pub media: Vec<Media>,
}

impl Sdp {
    /// A description without media: `v=`, `o=`, `s=`, `t=0 0`.
    pub fn new(origin: &Origin, session_name: &str) -> Self {
        let mut session = Section::default();
        session.lines.push(Line::new('v', "0"));
        session.lines.push(Line::new('o', &origin.to_string()));
        session.lines.push(Line::new('s', session_name));
        session.lines.push(Line::new('t', "0 0"));
        Sdp { session, media: Vec::new() }
    }

    /// Parses a text; every limit of this module applies.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > SDP_LEN_MAX {
            return Err(SdpError::new(SdpErrorKind::TooLong, 0, ""));
        }
        let mut sdp = Sdp::default();
        let mut lines_seen = 0;
        for (index, text) in text.split('\n').enumerate() {
            let number = index + 1;
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                continue;
            }
            let fail = |kind| SdpError::new(kind, number, text);
            lines_seen += 1;
            if lines_seen == 1 && !text.starts_with("v=") {
                return Err(fail(SdpErrorKind::Version));
            }
            if lines_seen > LINES_MAX {
                return Err(fail(SdpErrorKind::TooManyLines));
            }
            if text.len() > LINE_LEN_MAX {
                return Err(fail(SdpErrorKind::LineTooLong));
            }
            if text.contains(['\0', '\r']) {
                return Err(fail(SdpErrorKind::Character));
            }
            let (kind, value) = match (text.chars().next(), text.get(1..2), text.get(2..)) {
                (Some(kind), Some("="), Some(value)) if kind.is_ascii_alphabetic() => (kind, value),
                _ => return Err(fail(SdpErrorKind::Line)),
            };
            if kind == 'm' {
                if sdp.media.len() == MEDIA_MAX {
                    return Err(fail(SdpErrorKind::TooManyMedia));
                }
                let line = MediaLine::parse(value).map_err(fail)?;
                sdp.media.push(Media { line, section: Section::default() });
            } else {
                let section = sdp.media.last_mut().map_or(&mut sdp.session, |media| &mut media.section);
                section.lines.push(Line::new(kind, value));
            }
        }
        if lines_seen == 0 {
            return Err(SdpError::new(SdpErrorKind::Version, 0, ""));
        }
        Ok(sdp)
    }

    /// Parses bytes; what is not UTF-8 (RFC 8866 §5 demands it) becomes U+FFFD.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > SDP_LEN_MAX {
            return Err(SdpError::new(SdpErrorKind::TooLong, 0, ""));
        }
        Self::parse(&String::from_utf8_lossy(bytes))
    }

    /// Originator and session identifier, if there is a well-formed `o=`.
    pub fn origin(&self) -> Option<Origin> {
        self.session.line('o')?.parse().ok()
    }

    /// Replaces `o=`.
    pub fn set_origin(&mut self, origin: &Origin) {
        self.session.set_line('o', &origin.to_string());
    }

    /// The session's name.
    pub fn session_name(&self) -> Option<&str> {
        self.session.line('s')
    }

    /// Connection data of an m-line: its own, else the session's (RFC 8866 §5.7).
    pub fn connection(&self, media: &Media) -> Option<Connection> {
        media.section.connection().or_else(|| self.session.connection())
    }

    /// Direction of an m-line: its own, else the session's, else `sendrecv` (RFC 8866 §6.7).
    pub fn direction(&self, media: &Media) -> Direction {
        media.section.direction().or_else(|| self.session.direction()).unwrap_or(Direction::SendRecv)
    }

    /// First value of an attribute of an m-line: its own, else the session's.
    pub fn attribute<'a>(&'a self, media: &'a Media, name: &str) -> Option<&'a str> {
        media.section.attribute(name).or_else(|| self.session.attribute(name))
    }

    /// Typed attribute of an m-line: its own, else the session's.
    pub fn get<T: Attribute>(&self, media: &Media) -> Option<Result<T, AttributeError>> {
        media.section.get().or_else(|| self.session.get())
    }

    /// Position of the m-line with this mid.
    pub fn media_index(&self, mid: &str) -> Option<usize> {
        self.media.iter().position(|media| media.section.mid() == Some(mid))
    }

    /// The session section and every media section.
    pub fn sections_mut(&mut self) -> impl Iterator<Item = &mut Section> {
        core::iter::once(&mut self.session).chain(self.media.iter_mut().map(|media| &mut media.section))
    }
}

impl FromStr for Sdp {
    type Err = SdpError;

    fn from_str(text: &str) -> Result<Self, SdpError> {
        Self::parse(text)
    }
}

/// Every line ends with CRLF.
impl fmt::Display for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.session)?;
        self.media.iter().try_for_each(|media| write!(f, "m={}\r\n{}", media.line, media.section))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(text: &str) -> SdpErrorKind {
        Sdp::parse(text).unwrap_err().kind
    }

    #[test]
    fn errors_name_the_line() {
        let error = Sdp::parse("v=0\r\n\r\nm=audio nine RTP/AVP 0\r\n").unwrap_err();
        assert_eq!((error.kind, error.line), (SdpErrorKind::Media, 3));
        assert_eq!(error.to_string(), "Invalid m= line (line 3: m=audio nine RTP/AVP 0)");
        assert_eq!(kind(""), SdpErrorKind::Version);
        assert_eq!(kind("o=- 1 1 IN IP4 1.1.1.1\r\nv=0\r\n"), SdpErrorKind::Version);
        assert_eq!(kind("v=0\r\nbroken\r\n"), SdpErrorKind::Line);
        assert_eq!(kind("v=0\r\n=\r\n"), SdpErrorKind::Line);
        assert_eq!(kind("v=0\r\n\u{e9}=x\r\n"), SdpErrorKind::Line);
        assert_eq!(kind("v=0\r\na=\0\r\n"), SdpErrorKind::Character);
        assert_eq!(kind("v=0\ro=x\rm=audio 9 RTP/AVP 0\r"), SdpErrorKind::Character);
    }

    #[test]
    fn errors_do_not_quote_keys() {
        let line = format!("v=0\r\na=crypto:1 AES inline:SECRET{}\r\n", "x".repeat(LINE_LEN_MAX));
        assert!(!Sdp::parse(&line).unwrap_err().to_string().contains("SECRET"));
    }

    #[test]
    fn every_limit() {
        let at_most = format!("v=0\r\na={}\r\n", "x".repeat(LINE_LEN_MAX - 2));
        assert!(Sdp::parse(&at_most).is_ok());
        assert_eq!(
            kind(&format!("v=0\r\na={}\r\n", "x".repeat(LINE_LEN_MAX - 1))),
            SdpErrorKind::LineTooLong
        );
        assert!(Sdp::parse(&format!("v=0\n{}", "a=x\n".repeat(LINES_MAX - 1))).is_ok());
        assert_eq!(kind(&format!("v=0\n{}", "a=x\n".repeat(LINES_MAX))), SdpErrorKind::TooManyLines);
        assert_eq!(kind(&format!("v=0\n{}", "a=x\n".repeat(100_000))), SdpErrorKind::TooLong);
        let media = "m=audio 9 RTP/AVP 0\n";
        assert_eq!(Sdp::parse(&format!("v=0\n{}", media.repeat(MEDIA_MAX))).unwrap().media.len(), MEDIA_MAX);
        assert_eq!(kind(&format!("v=0\n{}", media.repeat(1000))), SdpErrorKind::TooManyMedia);
        let formats = |n| format!("v=0\nm=audio 9 RTP/AVP{}\n", " 0".repeat(n));
        assert!(Sdp::parse(&formats(FORMATS_MAX)).is_ok());
        assert_eq!(kind(&formats(FORMATS_MAX + 1)), SdpErrorKind::TooManyFormats);
        assert!(Sdp::parse_bytes(&vec![b'v'; SDP_LEN_MAX + 1]).is_err());
    }

    #[test]
    fn inherits_from_the_session() {
        let sdp = Sdp::parse(
            "v=0\r\no=- 1 2 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\na=sendonly\r\n\
             a=setup:active\r\nm=audio 4 RTP/AVP 0\r\nm=image 6 udptl t38\r\nc=IN IP6 ::1\r\na=inactive\r\n",
        )
        .unwrap();
        let [audio, image] = &sdp.media[..] else { panic!("two m-lines") };
        assert_eq!(sdp.connection(audio).unwrap().address, "10.0.0.2");
        assert_eq!(sdp.connection(image).unwrap().address, "::1");
        assert_eq!((sdp.direction(audio), sdp.direction(image)), (Direction::SendOnly, Direction::Inactive));
        assert_eq!(sdp.get::<Setup>(image), Some(Ok(Setup::Active)));
        assert_eq!(sdp.origin().unwrap().version, 2);
    }

    #[test]
    fn built_from_nothing() {
        let origin = Origin::new(7, 1, "1.1.1.1".parse().unwrap());
        let mut sdp = Sdp::new(&origin, "call");
        let mut audio = Media::new("audio", 9, "RTP/AVP", ["8"]);
        audio.section.push(&Rtpmap::new(8, "PCMA", 8000));
        audio.section.set_direction(Direction::SendOnly);
        audio.section.set_connection(&Connection::new("1.1.1.2".parse().unwrap()));
        sdp.media.push(audio);
        let text = "v=0\r\no=- 7 1 IN IP4 1.1.1.1\r\ns=call\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\n\
                    c=IN IP4 1.1.1.2\r\na=rtpmap:8 PCMA/8000\r\na=sendonly\r\n";
        assert_eq!(sdp.to_string(), text);
        assert_eq!(Sdp::parse(text).unwrap(), sdp);
    }

    proptest! {
        #[test]
        fn well_formed_text_round_trips(
            session in prop::collection::vec(("[b-ln-z]", "[ -~]{0,40}"), 0..8),
            media in prop::collection::vec(
                ("[a-z]{1,8}", 0u16.., "[A-Z/]{1,10}", prop::collection::vec("[a-z0-9*-]{1,8}", 1..6),
                 prop::collection::vec("[ -~]{1,40}", 0..6)), 0..6),
        ) {
            let mut text = String::from("v=0\r\n");
            for (kind, value) in session {
                text += &format!("{kind}={value}\r\n");
            }
            for (kind, port, protocol, formats, attributes) in media {
                text += &format!("m={kind} {port} {protocol} {}\r\n", formats.join(" "));
                for attribute in attributes {
                    text += &format!("a={attribute}\r\n");
                }
            }
            prop_assert_eq!(Sdp::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn any_text_ends_in_a_result(text in "(v=0\r\n)?([abcmostv]=[ -~\u{e9}]{0,30}(\r\n|\n|\r)){0,20}") {
            if let Ok(sdp) = Sdp::parse(&text) {
                let written = sdp.to_string();
                prop_assert_eq!(Sdp::parse(&written).unwrap(), sdp);
            }
        }
    }
}
