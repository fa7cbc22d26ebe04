//! Streams and routes for the engine, from the descriptions of both faces.

use bifrons_api::plugin::{PeerConnectionView, PluginCx};
use bifrons_engine::media::{Extension, Feedback, MediaKind, Output, PayloadType, StreamConfig, StreamRef};
use bifrons_wire::sdp::{Direction, Extmap, Media, Ssrc};

use super::{Line, PlainError, PlainSide, text};

impl PlainSide {
    /// Tells the engine the streams of the RTP legs and routes both ways. May be called again after
    /// every negotiation; without a PeerConnection or a peer it does what it can.
    ///
    /// # Errors
    /// The engine refuses a stream or a route.
    pub fn connect(&mut self, cx: &mut PluginCx<'_>, pc: &PeerConnectionView) -> Result<(), PlainError> {
        let (Some(local), Some(remote)) = (&self.local, &self.remote) else { return Ok(()) };
        for line in &self.lines {
            let Some(leg) = &line.leg else { continue };
            let (Some(own), Some(peer)) = (local.media.get(line.plain), remote.media.get(line.plain)) else {
                continue;
            };
            let Some(stream) = pc.streams.get(line.browser) else { continue };
            cx.media.set_streams(leg.leg, vec![stream_config(line.kind, own, peer, stream.local_ssrc)])?;
            let browser = StreamRef { leg: pc.leg, mline: line.browser as u8 };
            let telephone = StreamRef { leg: leg.leg, mline: 0 };
            let (out_open, in_open) = self.gates(line);
            let known = |pt: &&PayloadType| pt.repairs.is_none();
            let outward = stream
                .payload_types
                .iter()
                .filter(known)
                .filter_map(|pt| Some((pt.number, text::counterpart(own, pt.number, peer)?)))
                .collect();
            let inward = own
                .payload_types()
                .into_iter()
                .filter(|number| stream.payload_types.iter().any(|pt| pt.number == *number))
                .map(|number| (number, number))
                .collect();
            cx.media
                .set_route(browser, vec![Output { to: telephone, open: out_open, payload_types: outward }])?;
            cx.media
                .set_route(telephone, vec![Output { to: browser, open: in_open, payload_types: inward }])?;
        }
        Ok(())
    }

    /// Opens and shuts the routes as directions and hold now want it.
    ///
    /// # Errors
    /// The engine has no such leg any more.
    pub fn apply_gates(&self, cx: &mut PluginCx<'_>, pc: &PeerConnectionView) -> Result<(), PlainError> {
        for line in &self.lines {
            let Some(leg) = &line.leg else { continue };
            let browser = StreamRef { leg: pc.leg, mline: line.browser as u8 };
            let telephone = StreamRef { leg: leg.leg, mline: 0 };
            let (out_open, in_open) = self.gates(line);
            cx.media.set_gate(browser, telephone, out_open)?;
            cx.media.set_gate(telephone, browser, in_open)?;
        }
        Ok(())
    }

    /// (browser to telephone, telephone to browser): what the peer's direction and our hold leave.
    fn gates(&self, line: &Line) -> (bool, bool) {
        let hold = self.hold.unwrap_or(Direction::from_flags(true, true));
        (line.peer.receives() && hold.sends(), line.peer.sends() && hold.receives())
    }
}

/// The stream of an RTP leg: our numbers for what comes in, the peer's for what goes out.
fn stream_config(kind: MediaKind, own: &Media, peer: &Media, seed: u32) -> StreamConfig {
    let mut payload_types: Vec<PayloadType> = Vec::new();
    for media in [own, peer] {
        for number in media.payload_types() {
            if payload_types.iter().any(|known| known.number == number) {
                continue;
            }
            if let Some(map) = media.rtpmap(number) {
                let encoding = map.encoding.to_ascii_lowercase();
                payload_types.push(PayloadType::new(number, &encoding, map.clock_rate));
            }
        }
    }
    let mut remote_ssrcs: Vec<u32> = peer.section.valid::<Ssrc>().map(|ssrc| ssrc.ssrc).collect();
    remote_ssrcs.dedup();
    let extensions = peer.section.valid::<Extmap>().filter_map(|map| {
        let kind = match map.uri.as_str() {
            uri if uri.contains("ssrc-audio-level") => Extension::AudioLevel,
            uri if uri.contains("video-orientation") => Extension::VideoOrientation,
            _ => return None,
        };
        Some((u8::try_from(map.id).ok()?, kind))
    });
    let pli = peer.payload_types().into_iter().any(|pt| peer.rtcp_fb(pt).iter().any(|fb| fb.contains("pli")));
    // Another one than the browser's side sends with; the engine only needs it to differ.
    let local_ssrc = seed.rotate_left(16) ^ 0x5bf0_3635;
    StreamConfig {
        remote_ssrcs,
        extensions: extensions.collect(),
        feedback: Feedback { pli, ..Feedback::default() },
        ..StreamConfig::new(kind, local_ssrc, payload_types)
    }
}
