//! What a peer's description says: transport, m-lines, sources.

use bifrons_engine::media::{DtlsRole, IceCredentials};
use bifrons_wire::sdp::{Direction, Fingerprint, Media, Msid, Sdp, Setup, Ssrc, SsrcGroup};
use serde_json::{Map, Value, json};

use super::uri;

/// Layers of a simulcast m-line.
const LAYERS_MAX: usize = 3;

/// A peer's description that passed the rules.
#[derive(Clone, Debug)]
pub(crate) struct RemoteDescription {
    pub ice: IceCredentials,
    pub ice_lite: bool,
    /// Hash function and value.
    pub fingerprint: (String, String),
    /// The DTLS role that we take.
    pub role: DtlsRole,
    /// Text after `candidate:`.
    pub candidates: Vec<String>,
    pub end_of_candidates: bool,
    /// RTP protocol of the first RTP m-line.
    pub profile: Option<String>,
    /// The description.
    pub sdp: Sdp,
    pub mlines: Vec<RemoteMline>,
}

/// What is read of an m-line beside its SDP.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemoteMline {
    /// Announced SSRCs, main one first.
    pub ssrcs: Vec<u32>,
    /// RTX SSRC of the main one.
    pub rtx_ssrc: Option<u32>,
    /// Names of the layers, as offered.
    pub rids: Vec<String>,
}

impl RemoteDescription {
    /// Reads a description; the error says what is missing. What counts for the bundle stands at m-line 0.
    pub(crate) fn read(mut sdp: Sdp) -> Result<Self, String> {
        for (index, media) in sdp.media.iter_mut().enumerate() {
            if media.line.port == 0 && (index == 0 || media.section.has("bundle-only")) {
                media.line.port = 9;
            }
        }
        let first = sdp.media.first().ok_or("no m-line")?;
        let ufrag = sdp.attribute(first, "ice-ufrag").filter(|v| !v.is_empty()).ok_or("no ice-ufrag")?;
        let pwd = sdp.attribute(first, "ice-pwd").filter(|v| !v.is_empty()).ok_or("no ice-pwd")?;
        let ice = IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() };
        let fingerprint = fingerprint(&sdp, first).ok_or("no sha-256 or sha-1 fingerprint")?;
        let setup =
            sdp.session.get::<Setup>().or_else(|| sdp.media.iter().find_map(|m| m.section.get::<Setup>()));
        let role = match setup {
            Some(Ok(Setup::Active)) => DtlsRole::Server,
            Some(Err(error)) => return Err(error.to_string()),
            // Nothing said: RFC 5763 §5 leaves the answerer active.
            _ => DtlsRole::Client,
        };
        for media in &sdp.media {
            if let Some(msid) = media.section.attribute("msid")
                && (msid.split_ascii_whitespace().count() != 2
                    || msid.split_ascii_whitespace().any(|word| word.len() > 64)
                    || msid.parse::<Msid>().is_err())
            {
                return Err(format!("msid is not two words of at most 64 characters: {msid}"));
            }
        }
        let bundled = || sdp.media.iter().take(2);
        let candidates = bundled().flat_map(|m| m.section.values("candidate")).map(str::to_owned).collect();
        let end_of_candidates =
            sdp.session.has("end-of-candidates") || bundled().any(|m| m.section.has("end-of-candidates"));
        let profile = sdp.media.iter().find(|m| m.line.is_rtp()).map(|m| m.line.protocol.clone());
        let mlines = sdp.media.iter().map(RemoteMline::read).collect();
        let ice_lite = sdp.session.has("ice-lite");
        Ok(Self { ice, ice_lite, fingerprint, role, candidates, end_of_candidates, profile, mlines, sdp })
    }

    /// Id of a header extension; there is one a PeerConnection.
    pub(crate) fn extension_id(&self, uri: &str) -> Option<u16> {
        let extmaps = self.sdp.media.iter().flat_map(|m| m.section.valid::<bifrons_wire::sdp::Extmap>());
        extmaps.into_iter().find(|extmap| extmap.uri == uri).map(|extmap| extmap.id)
    }

    /// The `simulcast` member that plugins get, if an m-line has layers.
    pub(crate) fn simulcast(&self, low_first: bool) -> Option<Value> {
        let mut list = Vec::new();
        for (mindex, (media, mline)) in self.sdp.media.iter().zip(&self.mlines).enumerate() {
            if media.line.kind != "video" || media.line.port == 0 {
                continue;
            }
            let mut entry = Map::new();
            entry.insert("mindex".into(), mindex.into());
            entry.insert("mid".into(), media.section.mid().unwrap_or("").into());
            if mline.rids.len() > 1 {
                // Shown as the layers are stored, the highest one in slot 2.
                let mut rids = mline.rids.clone();
                if low_first {
                    rids.reverse();
                }
                entry.insert("rids".into(), json!(rids));
                if let Some(id) = self.extension_id(uri::RID) {
                    entry.insert("rid-ext".into(), id.into());
                }
            } else if mline.ssrcs.len() > 1 {
                entry.insert("ssrcs".into(), json!(mline.ssrcs));
            } else {
                continue;
            }
            list.push(Value::Object(entry));
        }
        (!list.is_empty()).then_some(Value::Array(list))
    }

    /// Direction of an m-line as the peer wrote it; a rejected one is inactive.
    pub(crate) fn direction(&self, index: usize) -> Direction {
        match self.sdp.media.get(index) {
            Some(media) if media.line.port != 0 => self.sdp.direction(media),
            _ => Direction::Inactive,
        }
    }
}

/// The first fingerprint with a hash that every peer knows; the m-line's before the session's.
fn fingerprint(sdp: &Sdp, media: &Media) -> Option<(String, String)> {
    let known = |f: &Fingerprint| matches!(f.hash.as_str(), "sha-256" | "sha-1");
    let of = |section: &bifrons_wire::sdp::Section| {
        let mut all: Vec<Fingerprint> = section.valid().filter(known).collect();
        all.sort_by_key(|f| f.hash != "sha-256");
        all.into_iter().next()
    };
    let fingerprint = of(&media.section).or_else(|| of(&sdp.session))?;
    let text = fingerprint.to_string();
    let (hash, value) = text.split_once(' ')?;
    Some((hash.to_owned(), value.to_owned()))
}

impl RemoteMline {
    fn read(media: &Media) -> Self {
        let mut mline = Self::default();
        let section = &media.section;
        if !media.line.is_rtp() {
            return mline;
        }
        let ssrcs: Vec<u32> = section.valid::<Ssrc>().map(|s| s.ssrc).filter(|&ssrc| ssrc != 0).collect();
        if media.line.kind == "video" {
            // The word after the id is not checked: some senders leave it out.
            let rids = section.values("rid").filter_map(|rid| rid.split(' ').next());
            let rids = rids.filter(|rid| !rid.is_empty() && rid.len() <= 15);
            mline.rids = rids.take(LAYERS_MAX).map(str::to_owned).collect();
            let groups: Vec<SsrcGroup> = section.valid().collect();
            let group =
                |name: &'static str| groups.iter().filter(move |g| g.semantics.eq_ignore_ascii_case(name));
            if mline.rids.is_empty()
                && let Some(sim) = group("SIM").next()
            {
                mline.ssrcs = sim.ssrcs.iter().copied().take(LAYERS_MAX).collect();
            }
            let main = mline.ssrcs.first().or(ssrcs.first()).copied();
            mline.rtx_ssrc = group("FID")
                .find_map(|g| (g.ssrcs.first().copied() == main).then(|| g.ssrcs.get(1).copied()).flatten());
        }
        if mline.ssrcs.is_empty() {
            mline.ssrcs = ssrcs.first().copied().into_iter().collect();
        }
        mline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<RemoteDescription, String> {
        let head = "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\n";
        RemoteDescription::read(Sdp::parse(&format!("{head}{body}")).unwrap())
    }

    const SHA1: &str = "a=fingerprint:sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33\r\n";

    #[test]
    fn what_counts_stands_at_the_first_mline() {
        let ice = "a=ice-ufrag:uuuu\r\na=ice-pwd:pppppppppppppppppppppp\r\n";
        let audio = "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n";
        let remote = read(&format!("{ice}{SHA1}a=setup:active\r\n{audio}a=ice-ufrag:mmmm\r\na=candidate:1 1 udp 1 1.1.1.1 9 typ host\r\n")).unwrap();
        assert_eq!((remote.ice.ufrag.as_str(), remote.role), ("mmmm", DtlsRole::Server));
        assert_eq!(remote.candidates.len(), 1);
        assert_eq!(remote.direction(0), Direction::SendRecv, "port 0 of the first m-line counts as 9");
        assert!(read(&format!("{ice}{audio}")).unwrap_err().contains("fingerprint"));
        assert!(read(&format!("{SHA1}{audio}")).unwrap_err().contains("ice-ufrag"));
        let second = format!("{audio}{SHA1}a=ice-ufrag:u\r\n{audio}a=ice-pwd:p\r\n");
        assert!(read(&second).unwrap_err().contains("ice-pwd"));
        assert!(read(&format!("{ice}{SHA1}{audio}a=msid:one\r\n")).unwrap_err().contains("msid"));
    }

    #[test]
    fn sources_and_layers() {
        let head = format!("a=ice-ufrag:uuuu\r\na=ice-pwd:pppp\r\n{SHA1}");
        let remote = read(&format!(
            "{head}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=ssrc:7 cname:x\r\na=ssrc:7 msid:a b\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ssrc-group:SIM 10 20 30\r\na=ssrc-group:FID 10 11\r\n\
             a=ssrc:10 cname:x\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=extmap:4 {}\r\na=rid:h send\r\n\
             a=rid:m send\r\na=rid:l send\r\na=simulcast:send h;m;l\r\n",
            uri::RID
        ))
        .unwrap();
        assert_eq!(remote.mlines[0].ssrcs, [7]);
        assert_eq!((&remote.mlines[1].ssrcs[..], remote.mlines[1].rtx_ssrc), (&[10, 20, 30][..], Some(11)));
        assert_eq!(
            remote.simulcast(false).unwrap().to_string(),
            r#"[{"mindex":1,"mid":"","ssrcs":[10,20,30]},{"mindex":2,"mid":"2","rids":["h","m","l"],"rid-ext":4}]"#
        );
    }
}
