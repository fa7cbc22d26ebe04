//! URIs of the RTP header extensions that are known by name.

use bifrons_engine::media::Extension;

pub(crate) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
pub(crate) const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
/// Never negotiated: payload that the server could not read (RFC 6904).
pub(crate) const ENCRYPTED: &str = "urn:ietf:params:rtp-hdrext:encrypt";

/// The extension that the engine knows by this URI.
pub(crate) fn extension(uri: &str) -> Option<Extension> {
    Some(match uri {
        "urn:ietf:params:rtp-hdrext:sdes:mid" => Extension::Mid,
        RID => Extension::Rid,
        REPAIRED_RID => Extension::RepairedRid,
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level" => Extension::AudioLevel,
        "urn:3gpp:video-orientation" => Extension::VideoOrientation,
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01" => Extension::TransportCc,
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time" => Extension::AbsSendTime,
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time" => Extension::AbsCaptureTime,
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay" => Extension::PlayoutDelay,
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension" => {
            Extension::DependencyDescriptor
        }
        _ => return None,
    })
}
