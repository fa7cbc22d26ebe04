//! From one face's SDP to the other's: what is dropped, what is rewritten.

use std::net::IpAddr;

use bifrons_engine::media::MediaKind;
use bifrons_wire::sdp::{Connection, Direction, Extmap, Media, RtcpFb, Rtpmap, Sdp};

/// Audio or video, if an m-line is one of them over RTP.
pub fn kind_of(media: &Media) -> Option<MediaKind> {
    match media.line.kind.as_str() {
        "audio" if media.line.is_rtp() => Some(MediaKind::Audio),
        "video" if media.line.is_rtp() => Some(MediaKind::Video),
        _ => None,
    }
}

/// Attributes that mean nothing to a telephone.
const BROWSER_ONLY: [&str; 4] = ["mid", "msid", "bundle-only", "crypto"];

/// Takes a browser's m-line apart to what a telephone understands: no BUNDLE, no feedback but PLI,
/// no header extension but audio level and video orientation.
pub fn strip_for_plain(media: &mut Media) {
    media.section.retain_attributes(|name, value| {
        let value = value.unwrap_or("");
        if BROWSER_ONLY.iter().any(|gone| name.eq_ignore_ascii_case(gone)) {
            return false;
        }
        match name {
            "rtcp-fb" => value.parse().is_ok_and(|fb: RtcpFb| fb.value.starts_with("nack pli")),
            "extmap" => value.parse().is_ok_and(|map: Extmap| {
                map.uri.contains("ssrc-audio-level") || map.uri.contains("video-orientation")
            }),
            _ => true,
        }
    });
}

/// Puts address, port and protocol of our RTP leg into an m-line.
pub fn place(media: &mut Media, address: IpAddr, port: u16, protocol: &str) {
    media.line.port = port;
    media.line.port_count = None;
    media.line.protocol = protocol.to_owned();
    media.section.set_connection(&Connection::new(address));
}

/// Says where RTCP is received when it is not the next port.
pub fn place_rtcp(media: &mut Media, rtp: u16, rtcp: u16) {
    media.section.remove_attributes(&["rtcp"]);
    if rtcp != rtp && rtp.checked_add(1) != Some(rtcp) {
        media.section.push_attribute("rtcp", &rtcp.to_string());
    }
}

/// Says that RTCP may come to the RTP port (RFC 5761 §5.1.1), or does not.
pub fn set_rtcp_mux(media: &mut Media, mux: bool) {
    media.section.remove_attributes(&["rtcp-mux"]);
    if mux {
        media.section.push_flag("rtcp-mux");
    }
}

/// A rejected m-line (RFC 3264 §6): port 0, formats kept, nothing else.
pub fn rejected(media: &Media) -> Media {
    let mut media = Media { line: media.line.clone(), section: Default::default() };
    media.line.port = 0;
    media.line.port_count = None;
    media
}

/// Sets a direction. `sendrecv`, the default, is written only where `keep_default`.
pub fn set_direction(media: &mut Media, direction: Direction, keep_default: bool) {
    media.section.remove_attributes(&["sendrecv", "sendonly", "recvonly", "inactive"]);
    if keep_default || direction != Direction::from_flags(true, true) {
        media.section.push_flag(direction.as_str());
    }
}

/// The codec of a payload type; `None` where the m-line does not say.
pub fn codec(media: &Media, payload_type: u8) -> Option<Rtpmap> {
    media.rtpmap(payload_type)
}

/// Encoding names of an m-line, for a message: `opus/48000 PCMU/8000`.
pub fn codec_list(media: &Media) -> String {
    let names = media.payload_types().into_iter().map(|pt| match codec(media, pt) {
        Some(map) => format!("{}/{}", map.encoding, map.clock_rate),
        None => pt.to_string(),
    });
    let list = names.collect::<Vec<_>>().join(" ");
    if list.is_empty() { "none".into() } else { list }
}

/// The number that `to` has for the codec which `from` calls `payload_type`: the same one where it
/// means the same, else the first that does.
pub fn counterpart(from: &Media, payload_type: u8, to: &Media) -> Option<u8> {
    let wanted = codec(from, payload_type)?;
    let same = |&pt: &u8| codec(to, pt).is_some_and(|map| map.same_codec(&wanted));
    let numbers = to.payload_types();
    numbers
        .iter()
        .copied()
        .find(|&pt| pt == payload_type && same(&pt))
        .or_else(|| numbers.into_iter().find(same))
}

/// Is there a codec, other than events and comfort noise, in both?
pub fn has_common_codec(a: &Media, b: &Media) -> bool {
    let helper = |map: &Rtpmap| {
        ["telephone-event", "cn", "red", "rtx", "ulpfec"]
            .iter()
            .any(|name| map.encoding.eq_ignore_ascii_case(name))
    };
    a.payload_types()
        .into_iter()
        .any(|pt| codec(a, pt).is_some_and(|map| !helper(&map)) && counterpart(a, pt, b).is_some())
}

/// Leaves in an answer only payload types that the offer has, numbered as the offer numbers them, so
/// that the offerer finds what it knows. A codec that stands twice stays once.
pub fn align_answer(answer: &mut Media, offer: &Media) {
    let pairs: Vec<(u8, u8)> = answer
        .payload_types()
        .into_iter()
        .filter_map(|pt| Some((pt, counterpart(answer, pt, offer)?)))
        .collect();
    let mut kept: Vec<(u8, u8)> = Vec::new();
    for pair in pairs {
        if !kept.iter().any(|(_, new)| *new == pair.1) {
            kept.push(pair);
        }
    }
    answer.remove_payload_types(|pt| !kept.iter().any(|(old, _)| *old == pt));
    answer.renumber_payload_types(|pt| kept.iter().find(|(old, _)| *old == pt).map_or(pt, |(_, new)| *new));
}

/// In an answer only the first payload type of each identical codec stays.
pub fn prune_duplicates(media: &mut Media) {
    let mut seen: Vec<String> = Vec::new();
    let mut gone = Vec::new();
    for pt in media.payload_types() {
        let Some(map) = codec(media, pt) else { continue };
        let text =
            map.to_string().split_once(' ').map(|(_, rest)| rest.to_ascii_lowercase()).unwrap_or_default();
        if seen.contains(&text) {
            gone.push(pt);
        } else {
            seen.push(text);
        }
    }
    media.remove_payload_types(|pt| gone.contains(&pt));
}

/// A direction of the peer that takes the old sign of hold, `c=0.0.0.0` (RFC 2543), as what it meant:
/// do not send to me.
pub fn direction_with_hold(sdp: &Sdp, media: &Media) -> Direction {
    let direction = sdp.direction(media);
    if sdp.connection(media).is_some_and(|connection| connection.is_hold()) {
        return Direction::from_flags(direction.sends(), false);
    }
    direction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(text: &str) -> Media {
        let sdp = Sdp::parse(&format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{text}")).unwrap();
        sdp.media.into_iter().next().unwrap()
    }

    #[test]
    fn a_browser_line_becomes_plain() {
        let mut line = media(
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 0 126\r\nc=IN IP4 1.1.1.1\r\na=mid:0\r\na=msid:a b\r\na=sendrecv\r\n\
             a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=rtcp-fb:111 transport-cc\r\n\
             a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
             a=rtpmap:126 telephone-event/8000\r\na=ptime:20\r\n",
        );
        strip_for_plain(&mut line);
        place(&mut line, [192, 0, 2, 1].into(), 4000, "RTP/AVP");
        set_direction(&mut line, Direction::from_flags(true, true), false);
        let mut text = String::new();
        for part in [format!("m={}\r\n", line.line), line.section.to_string()] {
            text += &part;
        }
        assert_eq!(
            text,
            "m=audio 4000 RTP/AVP 111 0 126\r\nc=IN IP4 192.0.2.1\r\na=rtpmap:111 opus/48000/2\r\n\
             a=fmtp:111 useinbandfec=1\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
             a=rtpmap:126 telephone-event/8000\r\na=ptime:20\r\n"
        );
    }

    #[test]
    fn an_answer_is_numbered_as_its_offer() {
        let offer = media(
            "m=audio 9 RTP/AVP 111 0 101\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n",
        );
        let mut answer = media(
            "m=audio 9 RTP/AVP 96 0 99 3\r\na=rtpmap:96 OPUS/48000/2\r\na=fmtp:96 stereo=1\r\na=rtpmap:99 telephone-event/8000\r\n",
        );
        align_answer(&mut answer, &offer);
        assert_eq!(answer.payload_types(), [111, 0, 101]);
        assert_eq!(answer.fmtp(111).unwrap().parameter("stereo"), Some("1"));
        assert_eq!(counterpart(&offer, 0, &answer), Some(0));
        assert!(has_common_codec(&offer, &answer));
        let events = media("m=audio 9 RTP/AVP 3 101\r\na=rtpmap:101 telephone-event/8000\r\n");
        assert!(!has_common_codec(&offer, &events), "events alone are no conversation");
        assert_eq!(codec_list(&events), "GSM/8000 telephone-event/8000");
    }

    #[test]
    fn twins_are_pruned() {
        let mut line = media(
            "m=audio 9 RTP/AVP 111 112 8\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:112 OPUS/48000/2\r\n",
        );
        prune_duplicates(&mut line);
        assert_eq!(line.payload_types(), [111, 8]);
    }

    #[test]
    fn the_old_hold_is_understood() {
        let sdp = Sdp::parse(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4 RTP/AVP 0\r\n",
        )
        .unwrap();
        let direction = direction_with_hold(&sdp, &sdp.media[0]);
        assert!(direction.sends() && !direction.receives());
    }
}
