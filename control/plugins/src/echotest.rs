//! `janus.plugin.echotest`: what a page sends comes back.
//!
//! Left for later, each with a clear error when it is asked for: recording, playout delay. Data
//! channels are rejected in the answer.

use std::collections::HashMap;

use bifrons_api::plugin::{
    HandleKey, Jsep, JsepType, MessageResult, PeerConnectionView, Plugin, PluginCx, PluginInfo,
};
use bifrons_api::sdp_tools::{self, AnswerLine, Codec, extension};
use bifrons_engine::media::{MediaKind, Notice, Output, StreamRef};
use bifrons_wire::sdp::{Direction, Media, Sdp};
use serde_json::{Map, Value, json};

use crate::params::{self, Kind, Param, PluginError, optional};

const INVALID_ELEMENT: u32 = 413;
const INVALID_SDP: u32 = 414;

const PARAMS: [Param; 17] = [
    optional("audio", Kind::Boolean),
    optional("video", Kind::Boolean),
    optional("bitrate", Kind::Positive),
    optional("substream", Kind::Positive),
    optional("temporal", Kind::Positive),
    optional("fallback", Kind::Positive),
    optional("svc", Kind::Boolean),
    optional("spatial_layer", Kind::Positive),
    optional("temporal_layer", Kind::Positive),
    optional("record", Kind::Boolean),
    optional("filename", Kind::Text),
    optional("audiocodec", Kind::Text),
    optional("videocodec", Kind::Text),
    optional("videoprofile", Kind::Text),
    optional("opusred", Kind::Boolean),
    optional("min_delay", Kind::Integer),
    optional("max_delay", Kind::Integer),
];

/// Members of which at least one has to be there, or a description.
const MEANINGFUL: [&str; 14] = [
    "audio",
    "video",
    "videocodec",
    "videoprofile",
    "opusred",
    "bitrate",
    "substream",
    "temporal",
    "fallback",
    "spatial_layer",
    "temporal_layer",
    "record",
    "min_delay",
    "max_delay",
];

/// REMB that stands for "no cap", bits a second.
const NO_CAP_BPS: u64 = 10_000_000;

/// Header extensions that the answer accepts.
const EXTENSIONS: [&str; 8] = [
    extension::MID,
    extension::RID,
    extension::REPAIRED_RID,
    extension::AUDIO_LEVEL,
    extension::VIDEO_ORIENTATION,
    extension::TRANSPORT_CC,
    extension::ABS_SEND_TIME,
    extension::ABS_CAPTURE_TIME,
];

/// The settings of a handle; they last as long as its PeerConnection.
#[derive(Clone, Debug)]
struct Handle {
    audio: bool,
    video: bool,
    bitrate_bps: u64,
    slow_links: u64,
    codecs: (Option<&'static str>, Option<&'static str>),
    red: bool,
    e2ee: bool,
}

impl Default for Handle {
    fn default() -> Self {
        Self {
            audio: true,
            video: true,
            bitrate_bps: 0,
            slow_links: 0,
            codecs: (None, None),
            red: false,
            e2ee: false,
        }
    }
}

impl Handle {
    fn open(&self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        }
    }

    fn cap_bps(&self) -> u64 {
        if self.bitrate_bps == 0 { NO_CAP_BPS } else { self.bitrate_bps }
    }
}

/// The plugin.
#[derive(Default)]
pub struct EchoTest {
    handles: HashMap<HandleKey, Handle>,
}

impl EchoTest {
    /// A plugin without handles.
    pub fn new() -> Self {
        Self::default()
    }

    fn request(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
        jsep: Option<&Jsep>,
    ) -> Result<Option<Jsep>, PluginError> {
        params::check(body, &PARAMS, INVALID_ELEMENT, INVALID_ELEMENT)?;
        for name in ["substream", "temporal", "spatial_layer", "temporal_layer"] {
            if params::number(body, name).is_some_and(|layer| layer > 2) {
                let text = format!("Invalid value ({name} should be 0, 1 or 2)");
                return Err(PluginError::new(INVALID_ELEMENT, text));
            }
        }
        if jsep.is_none() && !MEANINGFUL.iter().any(|name| body.contains_key(*name)) {
            let text = "Message error: no supported attributes found";
            return Err(PluginError::new(INVALID_ELEMENT, text));
        }
        if params::flag(body, "record") == Some(true) {
            let text = "Recording is not available in this version (record)";
            return Err(PluginError::new(INVALID_ELEMENT, text));
        }
        for name in ["min_delay", "max_delay"] {
            if params::number(body, name).is_some_and(|delay| delay >= 0) {
                let text = format!("Playout delay is not available in this version ({name})");
                return Err(PluginError::new(INVALID_ELEMENT, text));
            }
        }
        let pc = cx.peer_connection(key);
        let handle = self.handles.entry(key).or_default();
        apply(cx, handle, body, pc.as_ref());
        let Some(jsep) = jsep else { return Ok(None) };
        let offer = Sdp::parse(&jsep.sdp)
            .map_err(|error| PluginError::new(INVALID_SDP, format!("Error parsing offer: {error}")))?;
        if jsep.kind == JsepType::Answer {
            return Err(PluginError::new(INVALID_SDP, "Error parsing offer: this plugin makes no offers"));
        }
        handle.e2ee = jsep.e2ee;
        let answer = answer(handle, &offer, body);
        let mut reply = Jsep::new(JsepType::Answer, answer.to_string());
        reply.e2ee = jsep.e2ee;
        Ok(Some(reply))
    }
}

/// Applies settings; on a PeerConnection that is there they take effect at once.
fn apply(
    cx: &mut PluginCx<'_>,
    handle: &mut Handle,
    body: &Map<String, Value>,
    pc: Option<&PeerConnectionView>,
) {
    if let Some(audio) = params::flag(body, "audio") {
        handle.audio = audio;
    }
    let video = params::flag(body, "video");
    if let Some(video) = video {
        handle.video = video;
    }
    let bitrate = params::number(body, "bitrate");
    if let Some(bitrate) = bitrate {
        handle.bitrate_bps = u64::try_from(bitrate).unwrap_or(0);
    }
    let Some(pc) = pc else { return };
    for (mline, stream) in pc.streams.iter().enumerate() {
        let own = StreamRef { leg: pc.leg, mline: mline as u8 };
        // An m-line without a route, or a leg that just ended, has no gate: nothing to do.
        let _ = cx.media.set_gate(own, own, handle.open(stream.kind));
        if stream.kind == MediaKind::Video {
            if video == Some(true) {
                let _ = cx.media.request_keyframe(own);
            }
            if bitrate.is_some() {
                let _ = cx.media.set_bitrate_cap(own, Some(handle.cap_bps()));
            }
        }
    }
}

/// The answer: one codec a line, the offerer's first unless the request names one.
fn answer(handle: &mut Handle, offer: &Sdp, body: &Map<String, Value>) -> Sdp {
    let red = params::flag(body, "opusred").unwrap_or(handle.red);
    handle.red = red;
    let mut chosen = (None, None);
    let profile = params::text(body, "videoprofile");
    let mut answer = sdp_tools::answer(offer, |_, media| {
        let is_video = media.line.kind == "video";
        if !is_video && media.line.kind != "audio" {
            return None; // data channels come later
        }
        let wish = params::text(body, if is_video { "videocodec" } else { "audiocodec" });
        let codec = wish.and_then(Codec::named).or_else(|| first_codec(media))?;
        let slot = if is_video { &mut chosen.1 } else { &mut chosen.0 };
        slot.get_or_insert(codec.name);
        let fmtp = (codec.name == "opus").then(|| mirrored_opus(media)).flatten();
        let both = Direction::from_flags(true, true);
        let codecs = names_of(codec);
        let profile = profile.filter(|_| is_video);
        Some(AnswerLine {
            direction: both,
            codecs,
            profile,
            dtmf: false,
            red,
            fmtp,
            extensions: &EXTENSIONS,
            msid: None,
        })
    });
    // An echo has nothing to send to a line that sends nothing.
    for media in &mut answer.media {
        if media.section.direction() == Some(Direction::from_flags(true, false)) {
            media.section.set_direction(Direction::from_flags(false, false));
        }
    }
    handle.codecs = chosen;
    answer
}

/// The list with only this codec.
fn names_of(codec: &'static Codec) -> &'static [&'static str] {
    std::slice::from_ref(&codec.name)
}

fn first_codec(media: &Media) -> Option<&'static Codec> {
    media.payload_types().into_iter().find_map(|pt| Codec::of(&media.rtpmap(pt)?))
}

/// `useinbandfec`, `usedtx` and `stereo` where the offer has them.
fn mirrored_opus(media: &Media) -> Option<String> {
    let pt = media.payload_types_of(&["opus"]).into_iter().next()?;
    let fmtp = media.fmtp(pt)?;
    let wanted =
        ["useinbandfec", "usedtx", "stereo"].into_iter().filter(|name| fmtp.parameter(name) == Some("1"));
    let text = wanted.map(|name| format!("{name}=1")).collect::<Vec<_>>().join(";");
    (!text.is_empty()).then_some(text)
}

impl Plugin for EchoTest {
    fn info(&self) -> PluginInfo {
        PluginInfo {
            package: "janus.plugin.echotest",
            name: "JANUS EchoTest plugin",
            description: "This is a trivial EchoTest plugin for Janus, just used to showcase the plugin interface.",
            author: "Bifrons",
            version: 7,
            version_string: "0.0.7",
        }
    }

    fn attach(&mut self, _cx: &mut PluginCx<'_>, handle: HandleKey) -> Result<(), i32> {
        self.handles.insert(handle, Handle::default());
        Ok(())
    }

    fn message(
        &mut self,
        cx: &mut PluginCx<'_>,
        handle: HandleKey,
        transaction: &str,
        body: Map<String, Value>,
        jsep: Option<Jsep>,
    ) -> MessageResult {
        match self.request(cx, handle, &body, jsep.as_ref()) {
            Ok(answer) => {
                cx.push_event(
                    handle,
                    Some(transaction),
                    json!({"echotest": "event", "result": "ok"}),
                    answer,
                );
                if let Some(own) = self.handles.get(&handle) {
                    let (audio, video, bitrate) = (own.audio, own.video, own.bitrate_bps);
                    let data = json!({"audio_active": audio, "video_active": video, "bitrate": bitrate});
                    cx.notify_event(Some(handle), data);
                }
            }
            Err(error) => {
                let data = json!({"echotest": "event", "error_code": error.code, "error": error.text});
                cx.push_event(handle, Some(transaction), data, None);
            }
        }
        MessageResult::Ack(Some("I'm taking my time!"))
    }

    fn webrtc_up(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        let (Some(pc), Some(own)) = (cx.peer_connection(handle), self.handles.get(&handle)) else { return };
        for (mline, _) in pc.streams.iter().enumerate().filter(|(_, stream)| stream.kind == MediaKind::Video)
        {
            let stream = StreamRef { leg: pc.leg, mline: mline as u8 };
            let _ = cx.media.set_bitrate_cap(stream, Some(own.cap_bps()));
            let _ = cx.media.request_keyframe(stream);
        }
    }

    fn negotiated(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        let (Some(pc), Some(own)) = (cx.peer_connection(handle), self.handles.get(&handle)) else { return };
        for (mline, stream) in pc.streams.iter().enumerate() {
            let own_stream = StreamRef { leg: pc.leg, mline: mline as u8 };
            let payload_types = stream
                .payload_types
                .iter()
                .filter(|pt| pt.repairs.is_none())
                .map(|pt| (pt.number, pt.number))
                .collect();
            let output = Output { to: own_stream, open: own.open(stream.kind), payload_types };
            let outputs = if stream.send && stream.recv { vec![output] } else { vec![] };
            // A leg that ended meanwhile has told so by a notice of its own.
            let _ = cx.media.set_route(own_stream, outputs);
        }
    }

    fn hangup_media(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        if let Some(own) = self.handles.get_mut(&handle) {
            *own = Handle::default();
            cx.push_event(handle, None, json!({"echotest": "event", "result": "done"}), None);
        }
    }

    fn detach(&mut self, _cx: &mut PluginCx<'_>, handle: HandleKey) {
        self.handles.remove(&handle);
    }

    fn media_notice(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey, notice: &Notice) {
        let Notice::SlowLink { stream, uplink: true, .. } = notice else { return };
        let (Some(pc), Some(own)) = (cx.peer_connection(handle), self.handles.get_mut(&handle)) else {
            return;
        };
        own.slow_links += 1;
        let event = match pc.streams.get(usize::from(stream.mline)).map(|stream| stream.kind) {
            Some(MediaKind::Video) => {
                json!({"echotest": "event", "event": "slow_link", "media": "video", "current-bitrate": own.bitrate_bps})
            }
            _ => json!({"echotest": "event", "event": "slow_link", "media": "audio"}),
        };
        cx.push_event(handle, None, event, None);
    }

    fn query(&self, handle: HandleKey) -> Value {
        let Some(own) = self.handles.get(&handle) else { return json!({}) };
        let mut info = json!({"audio_active": own.audio, "video_active": own.video});
        if let Some(codec) = own.codecs.0 {
            info["audio_codec"] = codec.into();
        }
        if own.red {
            info["audio_red"] = true.into();
        }
        if let Some(codec) = own.codecs.1 {
            info["video_codec"] = codec.into();
        }
        info["bitrate"] = own.bitrate_bps.into();
        if own.e2ee {
            info["e2ee"] = true.into();
        }
        info["slowlink_count"] = own.slow_links.into();
        info["hangingup"] = 0.into();
        info["destroyed"] = 0.into();
        info
    }
}
