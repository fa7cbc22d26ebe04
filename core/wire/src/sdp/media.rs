//! An m-line and its payload types.

use core::fmt;

use super::error::SdpErrorKind;
use super::{Attribute, FORMATS_MAX, Fmtp, RtcpFb, Rtpmap, Section};

/// The m-line itself (RFC 8866 §5.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaLine {
    /// `audio`, `video`, `application`, `image`, `text`, `message` …
    pub kind: String,
    /// Port; 0 rejects the medium.
    pub port: u16,
    /// Number of ports, if said.
    pub port_count: Option<u16>,
    /// Transport protocol, e.g. `UDP/TLS/RTP/SAVPF`, `RTP/AVP`, `udptl`.
    pub protocol: String,
    /// Formats: for RTP protocols the payload types, best first.
    pub formats: Vec<String>,
}

impl MediaLine {
    pub(super) fn parse(value: &str) -> Result<Self, SdpErrorKind> {
        let mut words = value.split_ascii_whitespace();
        let mut word = || words.next().ok_or(SdpErrorKind::Media);
        let (kind, ports, protocol) = (word()?, word()?, word()?);
        let (port, port_count) = match ports.split_once('/') {
            Some((port, count)) => (port, Some(count.parse().map_err(|_| SdpErrorKind::Media)?)),
            None => (ports, None),
        };
        let port = port.parse().map_err(|_| SdpErrorKind::Media)?;
        let formats: Vec<String> = words.by_ref().take(FORMATS_MAX + 1).map(str::to_owned).collect();
        match formats.len() {
            0 => Err(SdpErrorKind::Media),
            1..=FORMATS_MAX => Ok(MediaLine {
                kind: kind.to_owned(),
                port,
                port_count,
                protocol: protocol.to_owned(),
                formats,
            }),
            _ => Err(SdpErrorKind::TooManyFormats),
        }
    }

    /// The protocol carries RTP, so formats are payload types.
    pub fn is_rtp(&self) -> bool {
        self.protocol.split('/').any(|part| part.eq_ignore_ascii_case("RTP"))
    }
}

impl fmt::Display for MediaLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.port)?;
        if let Some(count) = self.port_count {
            write!(f, "/{count}")?;
        }
        write!(f, " {} {}", self.protocol, self.formats.join(" "))
    }
}

/// An m-line with the lines that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The m-line.
    pub line: MediaLine,
    /// What follows it.
    pub section: Section,
}

impl Media {
    /// An m-line without further lines.
    pub fn new<'a>(
        kind: &str,
        port: u16,
        protocol: &str,
        formats: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let formats = formats.into_iter().map(str::to_owned).collect();
        let line = MediaLine {
            kind: kind.to_owned(),
            port,
            port_count: None,
            protocol: protocol.to_owned(),
            formats,
        };
        Media { line, section: Section::default() }
    }

    /// Payload types in the m-line's order. Formats that are none (over 127, or not numbers) and repeated ones
    /// are left out.
    pub fn payload_types(&self) -> Vec<u8> {
        let mut seen = [false; 128];
        let parsed = self.line.formats.iter().filter_map(|format| format.parse::<u8>().ok());
        parsed
            .filter(|payload_type| {
                let slot = seen.get_mut(usize::from(*payload_type));
                slot.is_some_and(|seen| !core::mem::replace(seen, true))
            })
            .collect()
    }

    /// What a payload type stands for: its `rtpmap`, else the static assignment of RFC 3551 §6.
    pub fn rtpmap(&self, payload_type: u8) -> Option<Rtpmap> {
        self.about::<Rtpmap>(payload_type).next().or_else(|| Rtpmap::of_static(payload_type))
    }

    /// Format parameters of a payload type, the first `fmtp` of it.
    pub fn fmtp(&self, payload_type: u8) -> Option<Fmtp> {
        self.about::<Fmtp>(payload_type).next()
    }

    /// Well-formed attributes of this type that name a payload type. The number is compared first: with
    /// thousands of lines, parsing all of them for each payload type would be felt.
    fn about<T: Attribute>(&self, payload_type: u8) -> impl Iterator<Item = T> {
        let names =
            move |value: &&str| value.split(' ').next().and_then(|pt| pt.parse().ok()) == Some(payload_type);
        self.section.values(T::NAME).filter(names).filter_map(|value| T::from_value(value).ok())
    }

    /// Feedback values that apply to a payload type, those for `*` too (RFC 4585 §4.2).
    pub fn rtcp_fb(&self, payload_type: u8) -> Vec<String> {
        let applies = |fb: &RtcpFb| fb.payload_type.is_none_or(|own| own == payload_type);
        self.section.valid::<RtcpFb>().filter(applies).map(|fb| fb.value).collect()
    }

    /// Payload types whose encoding name is one of `names` (without case), in the m-line's order.
    pub fn payload_types_of(&self, names: &[&str]) -> Vec<u8> {
        let named = |pt: &u8| {
            self.rtpmap(*pt)
                .is_some_and(|map| names.iter().any(|name| map.encoding.eq_ignore_ascii_case(name)))
        };
        self.payload_types().into_iter().filter(named).collect()
    }

    /// Removes payload types from the m-line, and their `rtpmap`, `fmtp` and `rtcp-fb`.
    pub fn remove_payload_types(&mut self, mut remove: impl FnMut(u8) -> bool) {
        let mut gone = |format: &str| format.parse().is_ok_and(&mut remove);
        self.line.formats.retain(|format| !gone(format));
        self.section.retain_attributes(|name, value| !payload_format(name, value).is_some_and(&mut gone));
    }

    /// Gives the m-line these payload types in this order; `rtpmap`, `fmtp` and `rtcp-fb` of others go.
    pub fn set_payload_types(&mut self, payload_types: &[u8]) {
        self.remove_payload_types(|payload_type| !payload_types.contains(&payload_type));
        self.line.formats = payload_types.iter().map(u8::to_string).collect();
    }

    /// Renumbers payload types everywhere: m-line, `rtpmap`, `fmtp` with its `apt`, `rtcp-fb`.
    pub fn renumber_payload_types(&mut self, mut new: impl FnMut(u8) -> u8) {
        let mut renumber = |format: &str| match format.parse() {
            Ok(payload_type) => new(payload_type).to_string(),
            Err(_) => format.to_owned(),
        };
        for format in &mut self.line.formats {
            *format = renumber(format);
        }
        for line in &mut self.section.lines {
            let Some((name, Some(value))) = line.name_value() else { continue };
            let Some(format) = payload_format(name, Some(value)) else { continue };
            let rest = value.get(format.len()..).unwrap_or("");
            let rest = match rest.trim_start().strip_prefix("apt=") {
                Some(apt) if name.eq_ignore_ascii_case(Fmtp::NAME) => {
                    let digits = apt.find(|c: char| !c.is_ascii_digit()).unwrap_or(apt.len());
                    let (apt, tail) = apt.split_at(digits);
                    format!(" apt={}{tail}", renumber(apt))
                }
                _ => rest.to_owned(),
            };
            line.value = format!("{name}:{}{rest}", renumber(format));
        }
    }
}

/// The format that an `rtpmap`, `fmtp` or `rtcp-fb` is about.
fn payload_format<'a>(name: &str, value: Option<&'a str>) -> Option<&'a str> {
    let about = [Rtpmap::NAME, Fmtp::NAME, RtcpFb::NAME];
    let is_one = about.iter().any(|other| name.eq_ignore_ascii_case(other));
    if is_one { value?.split(' ').next() } else { None }
}

#[cfg(test)]
mod tests {
    use crate::sdp::Sdp;

    const VIDEO: &str = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97 98 200 96\r\na=rtpmap:96 VP8/90000\r\n\
        a=rtcp-fb:96 nack pli\r\na=rtcp-fb:* ccm fir\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96;rtx-time=9\r\n\
        a=rtpmap:98 H264/90000\r\na=fmtp:98 packetization-mode=1;profile-level-id=42e01f\r\na=mid:0\r\n";

    #[test]
    fn payload_types_of_an_m_line() {
        let sdp = Sdp::parse(VIDEO).unwrap();
        let video = &sdp.media[0];
        assert_eq!(video.payload_types(), [96, 97, 98]);
        assert_eq!(video.payload_types_of(&["RTX", "h264"]), [97, 98]);
        assert_eq!(video.rtcp_fb(96), ["nack pli", "ccm fir"]);
        assert_eq!(video.fmtp(98).unwrap().parameter("profile-level-id"), Some("42e01f"));
        assert_eq!(video.fmtp(97).unwrap().parameter("apt"), Some("96"));
        assert!(video.line.is_rtp());
    }

    #[test]
    fn remove_set_and_renumber() {
        let mut sdp = Sdp::parse(VIDEO).unwrap();
        let video = &mut sdp.media[0];
        video.renumber_payload_types(|pt| if pt == 96 { 100 } else { pt });
        let text = video.section.to_string();
        assert!(text.contains("a=fmtp:97 apt=100;rtx-time=9\r\n"), "{text}");
        assert!(text.contains("a=rtpmap:100 VP8/90000\r\na=rtcp-fb:100 nack pli\r\na=rtcp-fb:* "), "{text}");
        video.remove_payload_types(|pt| pt == 97);
        assert_eq!(video.payload_types(), [100, 98]);
        assert!(!video.section.to_string().contains("97"));
        video.set_payload_types(&[98]);
        assert_eq!(video.line.to_string(), "video 9 UDP/TLS/RTP/SAVPF 98");
        let text = "a=rtcp-fb:* ccm fir\r\na=rtpmap:98 H264/90000\r\n\
                    a=fmtp:98 packetization-mode=1;profile-level-id=42e01f\r\na=mid:0\r\n";
        assert_eq!(video.section.to_string(), text);
    }

    #[test]
    fn telephony_m_lines() {
        let text = "v=0\r\nm=image 49170 udptl t38\r\na=T38FaxVersion:0\r\nm=audio 49172/2 RTP/AVP 0 8 101\r\n\
                    m=application 5070 TCP/BFCP *\r\nm=message 7394 TCP/MSRP *\r\nm=text 11000 RTP/AVP 98\r\n";
        let sdp = Sdp::parse(text).unwrap();
        assert_eq!(sdp.to_string(), text);
        assert_eq!((sdp.media[1].line.port_count, sdp.media[1].payload_types()), (Some(2), vec![0, 8, 101]));
        assert_eq!(sdp.media[1].rtpmap(8).unwrap().encoding, "PCMA");
        assert_eq!(sdp.media[2].payload_types(), []);
    }
}
