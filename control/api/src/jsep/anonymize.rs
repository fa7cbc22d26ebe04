//! The description without its transport: what a plugin sees of a client's SDP, and what a plugin's SDP is
//! reduced to before it gets ours (`merge`).

use bifrons_wire::sdp::{Connection, Media, Sdp};

use super::uri;

const SESSION: &[&str] = &[
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "fingerprint",
    "group",
    "msid-semantic",
    "extmap-allow-mixed",
    "rtcp-rsize",
    "ice-lite",
];
const MEDIA: &[&str] = &[
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "crypto",
    "fingerprint",
    "setup",
    "connection",
    "group",
    "msid-semantic",
    "rid",
    "simulcast",
    "rtcp",
    "rtcp-mux",
    "rtcp-mux-only",
    "rtcp-rsize",
    "candidate",
    "end-of-candidates",
    "ssrc",
    "ssrc-group",
    "sctpmap",
    "sctp-port",
    "max-message-size",
    "bundle-only",
];
/// Encodings that the core adds and removes itself.
const REPAIR: &[&str] = &["red", "ulpfec", "flexfec-03", "rtx"];

/// Takes everything out that is the core's business.
pub(crate) fn anonymize(sdp: &mut Sdp) {
    let anywhere =
        Connection { net_type: "IN".into(), address_type: "IP4".into(), address: "1.1.1.1".into() };
    sdp.session.remove_attributes(SESSION);
    sdp.session.remove_lines('c');
    if let Some(mut origin) = sdp.origin() {
        origin.address_type = anywhere.address_type.clone();
        origin.address = anywhere.address.clone();
        sdp.set_origin(&origin);
    }
    let mut data_channels = false;
    for media in &mut sdp.media {
        media.section.remove_attributes(MEDIA);
        media
            .section
            .retain_attributes(|_, value| !value.is_some_and(|value| value.contains(uri::ENCRYPTED)));
        media.section.set_connection(&anywhere);
        if media.line.port != 0 {
            media.line.port = 9;
        }
        media.line.port_count = None;
        if media.line.is_rtp() {
            remove_repair(media);
        } else if data_channels || !is_data_channel(media) {
            media.line.port = 0;
        } else {
            data_channels = media.line.port != 0;
        }
    }
}

/// RED is an audio format at 48 kHz, and only at 90 kHz a repair format.
fn remove_repair(media: &mut Media) {
    let gone: Vec<u8> = media
        .payload_types()
        .into_iter()
        .filter(|&pt| {
            media.rtpmap(pt).is_some_and(|map| {
                map.clock_rate == 90_000 && REPAIR.iter().any(|name| map.encoding.eq_ignore_ascii_case(name))
            })
        })
        .collect();
    media.remove_payload_types(|pt| gone.contains(&pt));
    if media.line.formats.is_empty() {
        // An m-line needs a format (RFC 8866 §5.14); without one there is nothing to negotiate.
        media.line.port = 0;
        media.line.formats.push("0".into());
    }
}

/// An SCTP association over DTLS, in today's or the draft's form.
pub(crate) fn is_data_channel(media: &Media) -> bool {
    media.line.kind == "application" && media.line.protocol.to_ascii_uppercase().ends_with("DTLS/SCTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_media_remain() {
        let mut sdp = Sdp::parse(
            "v=0\r\no=- 5 2 IN IP6 ::1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=setup:actpass\r\n\
             a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\na=fingerprint:sha-256 AA\r\n\
             m=audio 4000 UDP/TLS/RTP/SAVPF 111 63\r\nc=IN IP4 10.0.0.1\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:u\r\n\
             a=ice-pwd:p\r\na=mid:0\r\na=sendrecv\r\na=msid:s t\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
             a=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10\r\na=rtpmap:63 red/48000/2\r\na=ssrc:1 cname:c\r\n\
             a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:5 urn:ietf:params:rtp-hdrext:encrypt x\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
             a=rtpmap:98 red/90000\r\na=rtcp-fb:96 nack\r\na=simulcast:send h;l\r\na=rid:h send\r\na=mid:1\r\n\
             m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\na=mid:2\r\n\
             m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:3\r\n",
        )
        .unwrap();
        anonymize(&mut sdp);
        assert_eq!(
            sdp.to_string(),
            "v=0\r\no=- 5 2 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\na=setup:actpass\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\nc=IN IP4 1.1.1.1\r\na=mid:0\r\na=sendrecv\r\na=msid:s t\r\n\
             a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10\r\na=rtpmap:63 red/48000/2\r\n\
             a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 1.1.1.1\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=mid:1\r\n\
             m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 1.1.1.1\r\na=mid:2\r\n\
             m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 1.1.1.1\r\na=mid:3\r\n"
        );
    }
}
