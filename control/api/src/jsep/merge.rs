//! A plugin's description with our transport in it: what the peer gets.
//!
//! The lines and their order are those that clients of this API have always seen; some of them compare text.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bifrons_engine::media::WebRtcLocal;
use bifrons_wire::sdp::{
    Attribute, Connection, Direction, Extmap, Fmtp, Line, Media, Origin, Rtpmap, Sdp, Section, Setup, Ssrc,
    SsrcGroup,
};

use super::anonymize::anonymize;
use super::uri;

/// The protocol of RTP m-lines, unless the peer wrote another form of it.
const PROFILE: &str = "UDP/TLS/RTP/SAVPF";
/// Canonical name of all our sources (RFC 3550 §6.5.1).
pub(crate) const CNAME: &str = "janus";

/// What an m-line of ours keeps through all negotiations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalMline {
    pub ssrc: u32,
    pub rtx_ssrc: u32,
}

/// RTX payload types by m-line and payload type that they repair (RFC 4588 §8.6).
pub(crate) type RtxMap = BTreeMap<(usize, u8), u8>;

/// What goes into a description.
pub(crate) struct Transport<'a> {
    pub local: &'a WebRtcLocal,
    /// For `o=` and `c=`.
    pub ip: IpAddr,
    /// Microseconds since 1970, for descriptions without an id of their own.
    pub unix_us: u64,
    /// Value of `a=setup`.
    pub setup: Setup,
    /// The peer's RTP protocol.
    pub profile: Option<&'a str>,
    pub mlines: &'a [LocalMline],
    /// Candidates stand in the description.
    pub candidates: bool,
}

/// Merges a plugin's answer; `offer` is the peer's.
pub(crate) fn answer(mut sdp: Sdp, offer: &Sdp, transport: &Transport<'_>) -> Result<(Sdp, RtxMap), String> {
    anonymize(&mut sdp);
    if sdp.media.len() > offer.media.len() {
        return Err(format!("{} m-lines answer an offer of {}", sdp.media.len(), offer.media.len()));
    }
    for (index, offered) in offer.media.iter().enumerate() {
        match sdp.media.get(index) {
            Some(media) if media.line.kind != offered.line.kind => {
                return Err(format!(
                    "m-line {index} is {} in the answer, {} in the offer",
                    media.line.kind, offered.line.kind
                ));
            }
            Some(_) => {}
            // An answer has a line for each one of the offer (RFC 3264 §6).
            None => {
                let formats = offered.line.formats.iter().map(String::as_str);
                sdp.media.push(Media::new(&offered.line.kind, 0, &offered.line.protocol, formats));
            }
        }
    }
    let mids = mids(&sdp, Some(offer));
    let mut rtx = RtxMap::new();
    for (index, (media, offered)) in sdp.media.iter_mut().zip(&offer.media).enumerate() {
        if media.line.kind != "video" || media.line.port == 0 {
            continue;
        }
        for pt in with_nack(media) {
            if let Some(repair) = rtx_of(offered, pt) {
                rtx.insert((index, pt), repair);
            }
        }
    }
    Ok((merge(sdp, &mids, transport, &rtx), rtx))
}

/// Merges a plugin's offer. `rtx` has the mappings of before and gets new ones; `None`: the peer does not
/// know RTX. `taken` are payload types of the peer's description.
pub(crate) fn offer(
    mut sdp: Sdp,
    previous: Option<&Sdp>,
    mut rtx: Option<&mut RtxMap>,
    transport: &Transport<'_>,
) -> Result<Sdp, String> {
    anonymize(&mut sdp);
    if previous.is_some_and(|previous| sdp.media.len() < previous.media.len()) {
        return Err("the new offer has fewer m-lines than the last one".into());
    }
    let mids = mids(&sdp, previous);
    let mut taken: BTreeSet<u8> = sdp
        .media
        .iter()
        .chain(previous.into_iter().flat_map(|p| &p.media))
        .flat_map(Media::payload_types)
        .collect();
    let mut used = RtxMap::new();
    if let Some(map) = rtx.as_deref_mut() {
        taken.extend(map.values());
    }
    for (index, media) in sdp.media.iter_mut().enumerate() {
        media.section.retain_attributes(|name, value| {
            !(name == Extmap::NAME
                && value.is_some_and(|v| v.contains(uri::RID) || v.contains(uri::REPAIRED_RID)))
        });
        let Some(map) = rtx.as_deref_mut() else { continue };
        if media.line.kind != "video" || media.line.port == 0 {
            continue;
        }
        for pt in with_nack(media) {
            let known = map.get(&(index, pt)).copied();
            let Some(repair) = known.or_else(|| free_payload_type(pt, &taken)) else { continue };
            taken.insert(repair);
            map.insert((index, pt), repair);
            used.insert((index, pt), repair);
        }
    }
    Ok(merge(sdp, &mids, transport, &used))
}

/// Payload types with generic NACK: those that RTX serves.
fn with_nack(media: &Media) -> Vec<u8> {
    media.payload_types().into_iter().filter(|&pt| media.rtcp_fb(pt).iter().any(|fb| fb == "nack")).collect()
}

fn rtx_of(media: &Media, pt: u8) -> Option<u8> {
    media.payload_types_of(&["rtx"]).into_iter().find(|&rtx| {
        let apt = media.fmtp(rtx).and_then(|fmtp| fmtp.parameter("apt")?.parse::<u8>().ok());
        apt == Some(pt)
    })
}

/// The next dynamic payload type after `pt` that nothing uses.
fn free_payload_type(pt: u8, taken: &BTreeSet<u8>) -> Option<u8> {
    let after = (pt.saturating_add(1)..=127).chain(96..=127);
    after.filter(|pt| *pt >= 96).find(|pt| !taken.contains(pt))
}

/// The peer's mid for each m-line, else the plugin's, else the index.
fn mids(sdp: &Sdp, other: Option<&Sdp>) -> Vec<String> {
    let mid = |sdp: &Sdp, index: usize| sdp.media.get(index).and_then(|m| m.section.mid()).map(str::to_owned);
    (0..sdp.media.len())
        .map(|index| {
            other
                .and_then(|other| mid(other, index))
                .or_else(|| mid(sdp, index))
                .unwrap_or_else(|| index.to_string())
        })
        .collect()
}

fn merge(sdp: Sdp, mids: &[String], transport: &Transport<'_>, rtx: &RtxMap) -> Sdp {
    let mut session = Section::default();
    let mut line = |kind, value: &str| session.lines.push(Line::new(kind, value));
    let connection = Connection::new(transport.ip);
    let mut origin = sdp.origin().unwrap_or_else(|| Origin::new(0, 0, transport.ip));
    if origin.id == 0 || origin.version == 0 {
        (origin.id, origin.version) = (transport.unix_us, 1);
    }
    origin.address_type = connection.address_type.clone();
    origin.address = connection.address.clone();
    line('v', "0");
    line('o', &origin.to_string());
    line('s', sdp.session_name().filter(|name| !name.trim().is_empty()).unwrap_or("Meetecho Janus"));
    line('t', sdp.session.line('t').unwrap_or("0 0"));
    let accepted = |media: &Media| media.line.port != 0 && media.line.is_rtp();
    let bundle: Vec<&str> = sdp
        .media
        .iter()
        .zip(mids)
        .filter(|(media, _)| accepted(media))
        .map(|(_, mid)| mid.as_str())
        .collect();
    session.push_attribute("group", &["BUNDLE"].into_iter().chain(bundle).collect::<Vec<_>>().join(" "));
    session.push_attribute("ice-options", "trickle");
    session.push_attribute("fingerprint", &format!("sha-256 {}", transport.local.fingerprint));
    session.push_flag("extmap-allow-mixed");
    session.push_attribute("msid-semantic", " WMS *");
    if transport.local.ice_lite {
        session.push_flag("ice-lite");
    }
    let own = sdp.session.lines.iter().filter(|line| line.kind == 'a' && !is_direction(line));
    session.lines.extend(own.cloned());

    let media = sdp.media.iter().zip(mids).enumerate().map(|(index, (media, mid))| {
        if accepted(media) {
            active(&sdp, media, index, mid, transport, rtx)
        } else {
            rejected(media, mid, transport)
        }
    });
    Sdp { session, media: media.collect() }
}

fn rejected(media: &Media, mid: &str, transport: &Transport<'_>) -> Media {
    let mut line = media.line.clone();
    line.port = 0;
    if line.is_rtp() {
        line.protocol = transport.profile.unwrap_or(PROFILE).to_owned();
        line.formats = vec!["0".into()];
    }
    let mut section = Section::default();
    section.lines.push(Line::new('c', &Connection::new(transport.ip).to_string()));
    section.push_flag(Direction::Inactive.as_str());
    section.push_attribute("mid", mid);
    Media { line, section }
}

fn active(
    sdp: &Sdp,
    media: &Media,
    index: usize,
    mid: &str,
    transport: &Transport<'_>,
    rtx: &RtxMap,
) -> Media {
    let mut line = media.line.clone();
    line.port = 9;
    line.protocol = transport.profile.unwrap_or(PROFILE).to_owned();
    let direction = sdp.direction(media);
    let mut s = Section::default();
    s.lines.push(Line::new('c', &Connection::new(transport.ip).to_string()));
    let bandwidth =
        media.section.lines.iter().find(|line| {
            line.kind == 'b' && (line.value.starts_with("AS:") || line.value.starts_with("TIAS:"))
        });
    s.lines.extend(bandwidth.cloned());
    s.push_flag(direction.as_str());
    s.push_attribute("mid", mid);
    s.push_flag("rtcp-mux");
    s.push_attribute("ice-ufrag", &transport.local.ice.ufrag);
    s.push_attribute("ice-pwd", &transport.local.ice.pwd);
    s.push_attribute("ice-options", "trickle");
    s.push(&transport.setup);
    let own = media.section.lines.iter().filter(|line| {
        let core = line.name_value().is_none_or(|(name, _)| matches!(name, "mid" | "msid"));
        !core && !is_direction(line)
    });
    s.lines.extend(own.cloned());
    let mut has_rtx = false;
    for pt in media.payload_types() {
        if let Some(&repair) = rtx.get(&(index, pt)) {
            has_rtx = true;
            line.formats.push(repair.to_string());
            s.push(&Rtpmap::new(repair, "rtx", 90_000));
            s.push(&Fmtp { format: repair.to_string(), parameters: format!("apt={pt}") });
        }
    }
    if let Some(local) = transport.mlines.get(index) {
        let repairs = has_rtx && direction.sends();
        if repairs {
            s.push(&SsrcGroup { semantics: "FID".into(), ssrcs: vec![local.ssrc, local.rtx_ssrc] });
        }
        if direction != Direction::Inactive {
            let default = format!("janus janus{mid}");
            s.push_attribute("msid", media.section.attribute("msid").unwrap_or(&default));
        }
        s.push(&Ssrc::new(local.ssrc, "cname", CNAME));
        if repairs {
            s.push(&Ssrc::new(local.rtx_ssrc, "cname", CNAME));
        }
    }
    if transport.candidates {
        for candidate in transport.local.candidates.iter().filter(|c| !c.contains(" typ prflx")) {
            s.push_attribute("candidate", candidate);
        }
        s.push_flag("end-of-candidates");
    }
    Media { line, section: s }
}

fn is_direction(line: &Line) -> bool {
    line.kind == 'a' && line.value.parse::<Direction>().is_ok()
}
