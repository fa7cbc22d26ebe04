//! Offers and answers for plugins.
//!
//! A plugin gets a client's description without its transport and makes an answer with one codec a line, or
//! makes an offer; the core adds the transport. What comes out has the shape that clients of this API know.

use bifrons_wire::sdp::{
    Connection, Direction, Extmap, Fmtp, Media, MediaLine, Msid, Origin, RtcpFb, Rtpmap, Sdp,
};

/// URIs of the RTP header extensions that plugins ask for.
pub mod extension {
    #![allow(missing_docs)] // The URI says it.
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    pub const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
    pub const TRANSPORT_CC: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    pub const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
    pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
    pub const DEPENDENCY_DESCRIPTOR: &str =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
    pub const VIDEO_LAYERS: &str = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00";
}

/// A codec by the name that plugin requests use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// `opus`, `pcma`, `vp8` …
    pub name: &'static str,
    /// `audio` or `video`.
    pub kind: &'static str,
    /// Encoding name as in `a=rtpmap`.
    pub encoding: &'static str,
    /// Hz.
    pub clock_hz: u32,
    /// Channels, where the rtpmap says them.
    pub channels: Option<u16>,
    /// Payload type in our own offers.
    pub payload_type: u8,
}

const fn codec(
    name: &'static str,
    kind: &'static str,
    encoding: &'static str,
    clock_hz: u32,
    channels: Option<u16>,
    payload_type: u8,
) -> Codec {
    Codec { name, kind, encoding, clock_hz, channels, payload_type }
}

/// All codecs, in order of preference within their kind.
pub const CODECS: &[Codec] = &[
    codec("opus", "audio", "opus", 48_000, Some(2), 111),
    codec("pcmu", "audio", "PCMU", 8000, None, 0),
    codec("pcma", "audio", "PCMA", 8000, None, 8),
    codec("g722", "audio", "G722", 8000, None, 9),
    codec("isac32", "audio", "ISAC", 32_000, None, 104),
    codec("isac16", "audio", "ISAC", 16_000, None, 103),
    codec("multiopus", "audio", "multiopus", 48_000, Some(6), 111),
    codec("l16-48", "audio", "L16", 48_000, None, 105),
    codec("l16", "audio", "L16", 16_000, None, 106),
    codec("vp8", "video", "VP8", 90_000, None, 96),
    codec("vp9", "video", "VP9", 90_000, None, 101),
    codec("h264", "video", "H264", 90_000, None, 107),
    codec("av1", "video", "AV1", 90_000, None, 98),
    codec("h265", "video", "H265", 90_000, None, 100),
];

impl Codec {
    /// The codec of this name.
    pub fn named(name: &str) -> Option<&'static Codec> {
        CODECS.iter().find(|codec| codec.name.eq_ignore_ascii_case(name))
    }

    /// The codec that an `a=rtpmap` is.
    pub fn of(map: &Rtpmap) -> Option<&'static Codec> {
        CODECS.iter().find(|codec| {
            codec.encoding.eq_ignore_ascii_case(&map.encoding)
                && codec.clock_hz == map.clock_rate
                && (codec.channels.is_none() || codec.channels == map.channels)
        })
    }

    /// Its `a=rtpmap`.
    pub fn rtpmap(&self, payload_type: u8) -> Rtpmap {
        Rtpmap {
            payload_type,
            encoding: self.encoding.to_owned(),
            clock_rate: self.clock_hz,
            channels: self.channels,
        }
    }

    /// The payload type that an m-line gives it. `profile`: VP9's `profile-id` or H.264's
    /// `profile-level-id` that is wanted.
    pub fn payload_type_in(&self, media: &Media, profile: Option<&str>) -> Option<u8> {
        media.payload_types().into_iter().find(|&pt| {
            if !media.rtpmap(pt).is_some_and(|map| Codec::of(&map) == Some(self)) {
                return false;
            }
            let fmtp = media.fmtp(pt);
            let parameter = |name: &str| fmtp.as_ref().and_then(|fmtp| fmtp.parameter(name));
            match (self.name, profile) {
                ("vp9", Some(profile)) => parameter("profile-id") == Some(profile),
                ("h264", Some(profile)) => {
                    parameter("profile-level-id").is_some_and(|own| own.eq_ignore_ascii_case(profile))
                        && parameter("packetization-mode") != Some("0")
                }
                _ => true,
            }
        })
    }
}

/// The codec of an m-line that would be answered with: the first one wanted that is offered. `wanted` empty:
/// in order of our preference.
pub fn choose_codec(media: &Media, wanted: &[&str], profile: Option<&str>) -> Option<(&'static Codec, u8)> {
    let all = CODECS.iter().filter(|codec| codec.kind == media.line.kind);
    let choices: Vec<&'static Codec> = if wanted.is_empty() {
        all.collect()
    } else {
        wanted.iter().filter_map(|name| Codec::named(name)).collect()
    };
    choices
        .into_iter()
        .filter(|codec| codec.kind == media.line.kind)
        .find_map(|codec| Some((codec, codec.payload_type_in(media, profile)?)))
}

/// How an offered m-line is to be answered.
#[derive(Clone, Debug)]
pub struct AnswerLine<'a> {
    /// What we want where the offer is `sendrecv`.
    pub direction: Direction,
    /// Codec names, best first; empty: our preference.
    pub codecs: &'a [&'a str],
    /// VP9 or H.264 profile that is wanted.
    pub profile: Option<&'a str>,
    /// Accept `telephone-event/8000`.
    pub dtmf: bool,
    /// Accept RED for Opus.
    pub red: bool,
    /// Parameters of our own for the codec, instead of the offered ones.
    pub fmtp: Option<String>,
    /// Header extensions to accept, by URI.
    pub extensions: &'a [&'a str],
    /// `a=msid`.
    pub msid: Option<Msid>,
}

impl Default for AnswerLine<'_> {
    fn default() -> Self {
        Self {
            direction: Direction::SendRecv,
            codecs: &[],
            profile: None,
            dtmf: false,
            red: false,
            fmtp: None,
            extensions: &[],
            msid: None,
        }
    }
}

/// Answers an offer. `line` says for each m-line (by index) how; `None` rejects it.
pub fn answer<'a>(offer: &Sdp, mut line: impl FnMut(usize, &Media) -> Option<AnswerLine<'a>>) -> Sdp {
    let anywhere = std::net::IpAddr::from([1, 1, 1, 1]);
    let origin = offer.origin().unwrap_or_else(|| Origin::new(0, 0, anywhere));
    let mut answer = Sdp::new(&origin, offer.session_name().unwrap_or("-"));
    for (index, offered) in offer.media.iter().enumerate() {
        let wish = if offered.line.port == 0 { None } else { line(index, offered) };
        let accepted = wish.and_then(|wish| accept(offer, offered, &wish));
        answer.media.push(accepted.unwrap_or_else(|| reject(offered)));
    }
    answer
}

/// An m-line that refuses the offered one.
pub fn reject(offered: &Media) -> Media {
    let mut line = offered.line.clone();
    (line.port, line.port_count) = (0, None);
    if line.is_rtp() {
        line.formats = vec!["0".into()];
    }
    let mut media = Media { line, section: Default::default() };
    push_mid(&mut media, offered);
    media.section.set_direction(Direction::Inactive);
    media
}

fn push_mid(media: &mut Media, offered: &Media) {
    if let Some(mid) = offered.section.mid() {
        media.section.push_attribute("mid", mid);
    }
}

fn accept(offer: &Sdp, offered: &Media, wish: &AnswerLine<'_>) -> Option<Media> {
    let MediaLine { kind, protocol, .. } = &offered.line;
    if !offered.line.is_rtp() {
        let mut media = Media::new(kind, 9, protocol, offered.line.formats.iter().map(String::as_str));
        push_mid(&mut media, offered);
        return Some(media);
    }
    let (codec, pt) = choose_codec(offered, wish.codecs, wish.profile)?;
    let red = offered.payload_types_of(&["red"]).into_iter().find(|&red| {
        wish.red && codec.name == "opus" && offered.rtpmap(red).is_some_and(|m| m.clock_rate == 48_000)
    });
    let dtmf = offered.payload_types_of(&["telephone-event"]).into_iter().find(|&pt| {
        wish.dtmf && kind == "audio" && offered.rtpmap(pt).is_some_and(|map| map.clock_rate == 8000)
    });
    let formats: Vec<String> = red.into_iter().chain([pt]).chain(dtmf).map(|pt| pt.to_string()).collect();
    let mut media = Media::new(kind, 9, protocol, formats.iter().map(String::as_str));
    let direction = match offer.direction(offered) {
        Direction::SendRecv => wish.direction,
        Direction::SendOnly if wish.direction.receives() => Direction::RecvOnly,
        Direction::RecvOnly if wish.direction.sends() => Direction::SendOnly,
        _ => Direction::Inactive,
    };
    push_mid(&mut media, offered);
    let section = &mut media.section;
    section.set_direction(direction);
    if let Some(msid) = &wish.msid {
        section.push(msid);
    }
    if let Some(red) = red {
        section.push(&Rtpmap { channels: Some(2), ..Rtpmap::new(red, "red", 48_000) });
    }
    section.push(&codec.rtpmap(pt));
    if let Some(dtmf) = dtmf {
        section.push(&Rtpmap::new(dtmf, "telephone-event", 8000));
    }
    if let Some(red) = red {
        section.push(&Fmtp { format: red.to_string(), parameters: format!("{pt}/{pt}") });
    }
    if let Some(parameters) = &wish.fmtp {
        section.push(&Fmtp { format: pt.to_string(), parameters: parameters.clone() });
    } else if kind == "video"
        && let Some(fmtp) = offered.fmtp(pt)
    {
        section.push(&fmtp);
    }
    let accepts = |uri: &str| {
        // Layers without a descriptor for them mean nothing.
        wish.extensions.contains(&uri)
            && (uri != extension::DEPENDENCY_DESCRIPTOR || matches!(codec.name, "av1" | "vp9"))
    };
    let extmaps: Vec<Extmap> = offered.section.valid::<Extmap>().filter(|e| accepts(&e.uri)).collect();
    let transport_cc = extmaps.iter().any(|extmap| extmap.uri == extension::TRANSPORT_CC);
    push_feedback(&mut media, kind == "video", pt, transport_cc);
    for mut extmap in extmaps {
        extmap.direction = extmap.direction.map(Direction::reversed);
        media.section.push(&extmap);
    }
    Some(media)
}

fn push_feedback(media: &mut Media, video: bool, pt: u8, transport_cc: bool) {
    let kinds: &[&str] = if video { &["ccm fir", "nack", "nack pli", "goog-remb"] } else { &[] };
    for value in kinds.iter().copied().chain(transport_cc.then_some("transport-cc")) {
        media.section.push(&RtcpFb { payload_type: Some(pt), value: value.into() });
    }
}

/// One m-line of an offer of ours.
#[derive(Clone, Debug)]
pub struct OfferLine<'a> {
    /// The codec.
    pub codec: &'static Codec,
    /// Its payload type; `None`: the codec's usual one.
    pub payload_type: Option<u8>,
    /// `a=mid`; `None`: the core gives the index.
    pub mid: Option<&'a str>,
    /// Our direction.
    pub direction: Direction,
    /// Payload type of `telephone-event/8000`, usually 126.
    pub dtmf: Option<u8>,
    /// Parameters of the codec.
    pub fmtp: Option<&'a str>,
    /// Header extensions, ids from 1 in this order.
    pub extensions: &'a [&'a str],
    /// `a=msid`.
    pub msid: Option<Msid>,
}

impl OfferLine<'_> {
    /// A line that sends and receives this codec.
    pub fn new(codec: &'static Codec) -> Self {
        Self {
            codec,
            payload_type: None,
            mid: None,
            direction: Direction::SendRecv,
            dtmf: None,
            fmtp: None,
            extensions: &[],
            msid: None,
        }
    }
}

/// Makes an offer. `id` is for `o=`: 0 lets the core take the time.
pub fn offer(session_name: &str, id: u64, version: u64, lines: &[OfferLine<'_>]) -> Sdp {
    let anywhere = std::net::IpAddr::from([1, 1, 1, 1]);
    let mut sdp = Sdp::new(&Origin::new(id, version, anywhere), session_name);
    let mut ids: Vec<&str> = Vec::new();
    for line in lines {
        let pt = line.payload_type.unwrap_or(line.codec.payload_type);
        let formats: Vec<String> = [pt].into_iter().chain(line.dtmf).map(|pt| pt.to_string()).collect();
        let mut media =
            Media::new(line.codec.kind, 9, "UDP/TLS/RTP/SAVPF", formats.iter().map(String::as_str));
        let section = &mut media.section;
        section.set_connection(&Connection::new(anywhere));
        section.set_direction(line.direction);
        if let Some(mid) = line.mid {
            section.push_attribute("mid", mid);
        }
        if let Some(msid) = &line.msid {
            section.push(msid);
        }
        section.push(&line.codec.rtpmap(pt));
        if let Some(dtmf) = line.dtmf {
            section.push(&Rtpmap::new(dtmf, "telephone-event", 8000));
        }
        if let Some(parameters) = line.fmtp {
            section.push(&Fmtp { format: pt.to_string(), parameters: parameters.into() });
        }
        let transport_cc = line.extensions.contains(&extension::TRANSPORT_CC);
        push_feedback(&mut media, line.codec.kind == "video", pt, transport_cc);
        for uri in line.extensions {
            // One id for an extension in all m-lines of a bundle (RFC 9143 §9.3).
            let at = ids.iter().position(|known| known == uri).unwrap_or_else(|| {
                ids.push(uri);
                ids.len() - 1
            });
            let id = u16::try_from(at + 1).unwrap_or(u16::MAX);
            media.section.push(&Extmap { id, direction: None, uri: (*uri).to_owned(), attributes: None });
        }
        sdp.media.push(media);
    }
    sdp
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 77 2 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 110 126\r\na=mid:a\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\n\
        a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n\
        a=rtpmap:126 telephone-event/8000\r\na=extmap:14 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 98 100 102 103\r\na=mid:v\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\n\
        a=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=0\r\na=rtpmap:100 VP9/90000\r\na=fmtp:100 profile-id=2\r\n\
        a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=0;profile-level-id=42E01F\r\n\
        a=rtpmap:103 H264/90000\r\na=fmtp:103 packetization-mode=1;profile-level-id=42E01F\r\n\
        a=extmap:12/recvonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n";

    fn offer_sdp() -> Sdp {
        Sdp::parse(OFFER).unwrap()
    }

    #[test]
    fn one_codec_a_line() {
        let extensions = [extension::AUDIO_LEVEL, extension::PLAYOUT_DELAY];
        let text = answer(&offer_sdp(), |_, media| {
            (media.line.kind != "application").then(|| AnswerLine {
                dtmf: true,
                red: true,
                extensions: &extensions,
                ..AnswerLine::default()
            })
        })
        .to_string();
        assert_eq!(
            text,
            "v=0\r\no=- 77 2 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 63 111 126\r\na=mid:a\r\na=sendrecv\r\na=rtpmap:63 red/48000/2\r\n\
             a=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\na=fmtp:63 111/111\r\n\
             a=extmap:14 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=recvonly\r\na=rtpmap:96 VP8/90000\r\n\
             a=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 goog-remb\r\n\
             a=extmap:12/sendonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\r\n\
             m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\na=inactive\r\n"
        );
    }

    #[test]
    fn wishes() {
        let offer = offer_sdp();
        let video = &offer.media[1];
        let choose = |wanted: &[&str], profile| {
            choose_codec(video, wanted, profile).map(|(codec, pt)| (codec.name, pt))
        };
        assert_eq!(choose(&["h265", "vp9"], Some("2")), Some(("vp9", 100)));
        assert_eq!(choose(&["h264"], Some("42e01f")), Some(("h264", 103)));
        assert_eq!(choose(&["h264"], None), Some(("h264", 102)));
        assert_eq!(choose(&["av1"], None), None);
        assert_eq!(choose_codec(&offer.media[0], &["pcma"], None).unwrap().1, 8);
        let refused =
            answer(&offer, |_, _| Some(AnswerLine { codecs: &["av1", "g722"], ..AnswerLine::default() }));
        assert_eq!(refused.media[1].line.to_string(), "video 0 UDP/TLS/RTP/SAVPF 0");
        assert_eq!(refused.media[0].line.to_string(), "audio 9 UDP/TLS/RTP/SAVPF 9");
        assert_eq!(refused.media[2].line.port, 9);
    }

    #[test]
    fn offers() {
        let mut audio = OfferLine::new(Codec::named("opus").unwrap());
        audio.dtmf = Some(126);
        let extensions = [extension::MID, extension::TRANSPORT_CC];
        audio.extensions = &extensions[..1];
        let mut video = OfferLine::new(Codec::named("vp8").unwrap());
        video.extensions = &extensions;
        video.direction = Direction::SendOnly;
        let text = offer("call", 5, 1, &[audio, video]).to_string();
        assert_eq!(
            text,
            "v=0\r\no=- 5 1 IN IP4 1.1.1.1\r\ns=call\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 126\r\n\
             c=IN IP4 1.1.1.1\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\n\
             a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 1.1.1.1\r\n\
             a=sendonly\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 nack\r\n\
             a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\n\
             a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
             a=extmap:2 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
        );
    }
}
