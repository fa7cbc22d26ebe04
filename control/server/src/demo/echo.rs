//! The echo phone's media: an RTP leg of the engine whose packets go back where they came from.

use std::net::SocketAddr;

use bifrons_engine::Media as Engine;
use bifrons_engine::media::{
    MediaError, MediaKind, Output, PayloadType, RtpLocal, RtpOpen, RtpRemote, StreamConfig, StreamRef,
};
use bifrons_wire::sdp::{Connection, Media, Origin, Sdp};

/// What the echo phone offers when it calls: what every telephone knows.
const OFFER: &str = "a=rtpmap:111 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
                     a=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-15\r\n";

/// Why a call cannot be echoed.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// The description.
    #[error("{0}")]
    Sdp(String),
    /// The engine.
    #[error(transparent)]
    Media(#[from] MediaError),
}

/// One call of the echo phone.
#[derive(Debug)]
pub struct Echo {
    local: RtpLocal,
    ssrc: u32,
    version: u64,
}

impl Echo {
    /// Opens the leg.
    ///
    /// # Errors
    /// The engine has no port, or no address of the family.
    pub fn open(engine: &mut dyn Engine, ipv6: bool) -> Result<Self, EchoError> {
        let open = RtpOpen { ipv6, ..RtpOpen::default() };
        let local = engine.open_rtp_leg(open)?;
        let ssrc = getrandom::u32().map_err(|error| EchoError::Sdp(error.to_string()))?;
        Ok(Self { local, ssrc, version: 0 })
    }

    /// The offer of a call that the echo phone makes.
    pub fn offer(&mut self) -> Vec<u8> {
        let header = self.header();
        format!("{header}m=audio {} RTP/AVP 111 0 8 126\r\n{OFFER}", self.local.rtp.port()).into_bytes()
    }

    /// Takes an offer, echoes what it brings, and answers: the first audio m-line with all its codecs in
    /// the offer's order.
    ///
    /// # Errors
    /// There is no plain audio in it, or the engine refuses.
    pub fn answer(&mut self, engine: &mut dyn Engine, offer: &[u8]) -> Result<Vec<u8>, EchoError> {
        let sdp = parse(offer)?;
        let index = audio(&sdp)?;
        let mut answer = self.header();
        for (i, media) in sdp.media.iter().enumerate() {
            if i != index {
                let line = &media.line;
                answer += &format!("m={} 0 {} {}\r\n", line.kind, line.protocol, line.formats.join(" "));
                continue;
            }
            let types = media.payload_types();
            let formats: Vec<String> = types.iter().map(u8::to_string).collect();
            answer += &format!(
                "m=audio {} {} {}\r\n",
                self.local.rtp.port(),
                media.line.protocol,
                formats.join(" ")
            );
            for (name, value) in media.section.attributes() {
                if let (true, Some(value)) = (matches!(name, "rtpmap" | "fmtp" | "ptime"), value) {
                    answer += &format!("a={name}:{value}\r\n");
                }
            }
            answer += &format!("a={}\r\n", sdp.direction(media).reversed().as_str());
        }
        self.connect(engine, &sdp, index)?;
        Ok(answer.into_bytes())
    }

    /// Takes the answer to [`Self::offer`].
    ///
    /// # Errors
    /// As for [`Self::answer`].
    pub fn answered(&mut self, engine: &mut dyn Engine, answer: &[u8]) -> Result<(), EchoError> {
        let sdp = parse(answer)?;
        let index = audio(&sdp)?;
        self.connect(engine, &sdp, index)
    }

    /// Ends it.
    pub fn close(self, engine: &mut dyn Engine) {
        engine.close_leg(self.local.leg);
    }

    fn header(&mut self) -> String {
        self.version += 1;
        let ip = self.local.rtp.ip();
        let (origin, connection) = (Origin::new(u64::from(self.ssrc), self.version, ip), Connection::new(ip));
        format!("v=0\r\no={origin}\r\ns=echo\r\nc={connection}\r\nt=0 0\r\n")
    }

    fn connect(&mut self, engine: &mut dyn Engine, sdp: &Sdp, index: usize) -> Result<(), EchoError> {
        let media = sdp.media.get(index).ok_or_else(|| EchoError::Sdp("no audio".into()))?;
        let peer = sdp
            .connection(media)
            .and_then(|connection| connection.ip())
            .ok_or_else(|| EchoError::Sdp("no c= line with an address".into()))?;
        let leg = self.local.leg;
        let own = StreamRef { leg, mline: 0 };
        let payload_types = payload_types(media);
        let same = payload_types.iter().map(|pt| (pt.number, pt.number)).collect();
        // Held: nothing is said to who does not want to hear.
        let open = sdp.direction(media).receives() && !peer.is_unspecified();
        engine.set_streams(leg, vec![StreamConfig::new(MediaKind::Audio, self.ssrc, payload_types)])?;
        engine.set_rtp_remote(
            leg,
            RtpRemote {
                rtp: SocketAddr::new(peer, media.line.port),
                rtcp: None,
                rtcp_mux: false,
                sdes: None,
            },
        )?;
        engine.set_route(own, vec![Output { to: own, open, payload_types: same }])?;
        Ok(())
    }
}

fn parse(text: &[u8]) -> Result<Sdp, EchoError> {
    Sdp::parse_bytes(text).map_err(|error| EchoError::Sdp(error.to_string()))
}

/// The first m-line that can be echoed.
fn audio(sdp: &Sdp) -> Result<usize, EchoError> {
    let plain = |media: &Media| {
        media.line.kind == "audio"
            && media.line.port != 0
            && matches!(media.line.protocol.as_str(), "RTP/AVP" | "RTP/AVPF")
    };
    sdp.media.iter().position(plain).ok_or_else(|| EchoError::Sdp("no plain audio is offered".into()))
}

fn payload_types(media: &Media) -> Vec<PayloadType> {
    let map = |number: u8| {
        let map = media.rtpmap(number)?;
        Some(PayloadType::new(number, &map.encoding.to_ascii_lowercase(), map.clock_rate))
    };
    media.payload_types().into_iter().filter_map(map).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn video_and_secured_audio_are_not_echoed() {
        let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
        let sdp = parse(
            format!(
                "{head}m=video 4000 RTP/AVP 96\r\nm=audio 4002 RTP/SAVP 0\r\nm=audio 4004 RTP/AVP 8 0\r\n"
            )
            .as_bytes(),
        )
        .unwrap();
        let index = audio(&sdp).unwrap();
        assert_eq!(index, 2);
        let types: Vec<_> = payload_types(&sdp.media[index]).into_iter().map(|pt| pt.encoding).collect();
        assert_eq!(types, ["pcma", "pcmu"]);
        assert!(audio(&parse(format!("{head}m=video 4000 RTP/AVP 96\r\n").as_bytes()).unwrap()).is_err());
        assert!(parse(b"v=0\r\nnonsense").is_err());
    }
}
