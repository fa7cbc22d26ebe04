//! What was agreed, in the engine's words.

use bifrons_engine::media::{MediaKind, PayloadType, StreamConfig};
use bifrons_wire::sdp::{Direction, Extmap, Sdp};

use super::merge::{CNAME, LocalMline};
use super::remote::RemoteDescription;
use super::uri;

/// The m-lines after an offer and its answer. `answered`: the answer is ours.
pub(crate) fn derive(
    local: &Sdp,
    remote: &RemoteDescription,
    answered: bool,
    mlines: &[LocalMline],
) -> Vec<StreamConfig> {
    let (answer, offer) = if answered { (local, &remote.sdp) } else { (&remote.sdp, local) };
    let mut configs = Vec::new();
    for (index, (answered_media, offered)) in answer.media.iter().zip(&offer.media).enumerate() {
        let kind = if answered_media.line.kind == "video" { MediaKind::Video } else { MediaKind::Audio };
        let mid = local.media.get(index).and_then(|m| m.section.mid()).unwrap_or("").to_owned();
        let ids = mlines.get(index).copied().unwrap_or(LocalMline { ssrc: 0, rtx_ssrc: 0 });
        let mut config = StreamConfig {
            mid,
            send: false,
            recv: false,
            cname: CNAME.into(),
            ..StreamConfig::new(kind, ids.ssrc, Vec::new())
        };
        if answered_media.line.is_rtp() && answered_media.line.port != 0 && offered.line.port != 0 {
            let ours = local.media.get(index).map_or(Direction::Inactive, |media| local.direction(media));
            let theirs = remote.direction(index);
            config.send = ours.sends() && theirs.receives();
            config.recv = ours.receives() && theirs.sends();
            let offered_types = offered.payload_types();
            for number in answered_media.payload_types().into_iter().filter(|pt| offered_types.contains(pt)) {
                let Some(map) = answered_media.rtpmap(number).or_else(|| offered.rtpmap(number)) else {
                    continue;
                };
                let repairs = answered_media
                    .fmtp(number)
                    .or_else(|| offered.fmtp(number))
                    .and_then(|fmtp| fmtp.parameter("apt")?.parse().ok());
                let encoding = map.encoding.to_ascii_lowercase();
                let repairs = if encoding == "rtx" { repairs } else { None };
                config.payload_types.push(PayloadType {
                    number,
                    encoding,
                    clock_hz: map.clock_rate,
                    repairs,
                });
                for value in answered_media.rtcp_fb(number) {
                    match value.as_str() {
                        "nack" => config.feedback.nack = true,
                        "nack pli" => config.feedback.pli = true,
                        "ccm fir" => config.feedback.fir = true,
                        "goog-remb" => config.feedback.remb = true,
                        "transport-cc" => config.feedback.transport_cc = true,
                        _ => {}
                    }
                }
            }
            let offered_uris: Vec<String> = offered.section.valid::<Extmap>().map(|e| e.uri).collect();
            config.extensions = answered_media
                .section
                .valid::<Extmap>()
                .filter(|extmap| offered_uris.contains(&extmap.uri))
                .filter_map(|extmap| Some((u8::try_from(extmap.id).ok()?, uri::extension(&extmap.uri)?)))
                .collect();
            let rtx = config.payload_types.iter().any(|pt| pt.repairs.is_some());
            if let Some(mline) = remote.mlines.get(index) {
                // Layers are not selected yet: the first announced source is the stream.
                config.remote_ssrcs = mline.ssrcs.first().copied().into_iter().collect();
                config.remote_rtx_ssrc = mline.rtx_ssrc.filter(|_| rtx);
            }
            config.local_rtx_ssrc = rtx.then_some(ids.rtx_ssrc);
        }
        configs.push(config);
    }
    configs
}
