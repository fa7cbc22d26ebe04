//! `janus.plugin.nosip`: a PeerConnection bridged to plain RTP or SDES-SRTP; the signalling is the
//! application's.
//!
//! Left for later, each with a clear error: `recording`, `keyframe`, `rtp_forward`,
//! `stop_rtp_forward`, `listforwarders`.

use std::collections::HashMap;

use bifrons_api::plugin::{HandleKey, Jsep, JsepType, MessageResult, Plugin, PluginCx, PluginInfo};
use bifrons_engine::media::{MediaError, MediaKind, Notice};
use serde_json::{Map, Value, json};

use crate::params::{self, Kind, PluginError, optional, required};
use crate::plain::sdes;
use crate::plain::{PlainConfig, PlainError, PlainSide, SrtpPolicy};
use crate::unique::unique_id;

const UNKNOWN_REQUEST: u32 = 442;
const MISSING_ELEMENT: u32 = 443;
const INVALID_ELEMENT: u32 = 444;
const MISSING_SDP: u32 = 446;
const INVALID_SDP: u32 = 447;
const IO_ERROR: u32 = 448;
const TOO_STRICT: u32 = 450;
const UNAVAILABLE: u32 = 499;

/// How the plugin is set up.
#[derive(Clone, Debug, Default)]
pub struct NoSipConfig {
    /// Addresses and latching; the plugin sets what is its own.
    pub plain: PlainConfig,
}

struct Handle {
    unique_id: String,
    plain: PlainSide,
    /// What `generate` or `process` last asked for.
    required: bool,
    /// A description was handled: the query shows SRTP flags.
    seen_sdp: bool,
    /// Media run: what follows is an update.
    established: bool,
}

/// The plugin.
pub struct NoSip {
    config: PlainConfig,
    handles: HashMap<HandleKey, Handle>,
}

impl NoSip {
    /// A plugin without handles.
    pub fn new(config: NoSipConfig) -> Self {
        let plain =
            PlainConfig { own_origin: false, keep_sendrecv: true, prune_duplicates: false, ..config.plain };
        Self { config: plain, handles: HashMap::new() }
    }

    fn request(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
        jsep: Option<&Jsep>,
    ) -> Result<(Value, Option<Jsep>), PluginError> {
        params::check(body, &[required("request", Kind::Text)], MISSING_ELEMENT, INVALID_ELEMENT)?;
        let name = params::text(body, "request").unwrap_or("");
        let config = &self.config;
        let handle = self.handles.entry(key).or_insert_with(|| Handle::new(config.clone()));
        match name.to_ascii_lowercase().as_str() {
            "generate" => generate(cx, key, handle, body, jsep),
            "process" => process(cx, key, handle, body),
            "hangup" => {
                cx.close_pc(key);
                Ok((json!({"event": "hangingup"}), None))
            }
            "recording" | "keyframe" | "rtp_forward" | "stop_rtp_forward" | "listforwarders" => {
                Err(PluginError::new(UNAVAILABLE, format!("{name} is not available in this version")))
            }
            _ => Err(PluginError::new(UNKNOWN_REQUEST, format!("Unknown request ({name})"))),
        }
    }
}

impl Handle {
    fn new(config: PlainConfig) -> Self {
        Self {
            unique_id: unique_id(),
            plain: PlainSide::new(config),
            required: false,
            seen_sdp: false,
            established: false,
        }
    }
}

/// A browser's description as a plain one.
fn generate(
    cx: &mut PluginCx<'_>,
    key: HandleKey,
    handle: &mut Handle,
    body: &Map<String, Value>,
    jsep: Option<&Jsep>,
) -> Result<(Value, Option<Jsep>), PluginError> {
    let fields = [
        optional("info", Kind::Text),
        optional("srtp", Kind::Text),
        optional("srtp_profile", Kind::Text),
        optional("shared_rtp", Kind::Text),
        optional("update", Kind::Boolean),
    ];
    params::check(body, &fields, MISSING_ELEMENT, INVALID_ELEMENT)?;
    let jsep = jsep.ok_or_else(|| PluginError::new(MISSING_SDP, "Missing SDP"))?;
    if jsep.e2ee {
        return Err(PluginError::new(INVALID_ELEMENT, "Media encryption unsupported by this plugin"));
    }
    let (policy, suite) = sdes::requested(body, INVALID_ELEMENT)?;
    if let Some(name) = params::text(body, "shared_rtp")
        && !handle.plain.share(|peer| peer.name == name)
    {
        let text = format!("Invalid element (no shared_rtp `{name}` is configured)");
        return Err(PluginError::new(INVALID_ELEMENT, text));
    }
    let pc = cx.peer_connection(key);
    if let Some(pc) = &pc {
        handle.plain.near(pc.leg);
    }
    let (kind, sdp) = match jsep.kind {
        JsepType::Offer => ("offer", handle.plain.local_offer(cx, &jsep.sdp, policy, &suite)),
        JsepType::Answer => ("answer", handle.plain.local_answer(cx, &jsep.sdp, policy)),
    };
    let sdp = sdp.map_err(|error| match error {
        PlainError::SrtpRequired => PluginError::new(
            TOO_STRICT,
            "Can't generate answer: SDES-SRTP required, but caller didn't offer it",
        ),
        other => of_plain(other),
    })?;
    handle.required = policy == SrtpPolicy::Mandatory;
    handle.seen_sdp = true;
    if jsep.kind == JsepType::Answer {
        handle.established = true;
        connect(cx, key, handle);
    }
    let mut result = json!({"event": "generated", "type": kind, "sdp": sdp});
    if jsep.update {
        result["update"] = true.into();
    } else {
        let data = json!({"event": "generated", "type": kind, "sdp": sdp, "unique_id": handle.unique_id});
        cx.notify_event(Some(key), data);
    }
    result["unique_id"] = handle.unique_id.clone().into();
    Ok((result, None))
}

/// A plain description as the browser's.
fn process(
    cx: &mut PluginCx<'_>,
    key: HandleKey,
    handle: &mut Handle,
    body: &Map<String, Value>,
) -> Result<(Value, Option<Jsep>), PluginError> {
    let fields = [
        required("type", Kind::Text),
        required("sdp", Kind::Text),
        optional("info", Kind::Text),
        optional("srtp", Kind::Text),
        optional("srtp_profile", Kind::Text),
        optional("update", Kind::Boolean),
    ];
    params::check(body, &fields, MISSING_ELEMENT, INVALID_ELEMENT)?;
    let (policy, _) = sdes::requested(body, INVALID_ELEMENT)?;
    let sdp = params::text(body, "sdp").unwrap_or("").as_bytes();
    let strict = |error| match error {
        PlainError::SrtpRequired => PluginError::new(
            TOO_STRICT,
            "Can't process request: SDES-SRTP required, but caller didn't offer it",
        ),
        other => of_plain(other),
    };
    let kind = match params::text(body, "type").unwrap_or("") {
        word if word.eq_ignore_ascii_case("offer") => JsepType::Offer,
        word if word.eq_ignore_ascii_case("answer") => JsepType::Answer,
        _ => return Err(PluginError::new(MISSING_SDP, "Missing or invalid SDP type")),
    };
    let (browser, srtp) = match kind {
        JsepType::Offer => {
            let offer = handle.plain.remote_offer(sdp).map_err(strict)?;
            if policy == SrtpPolicy::Mandatory && offer.srtp == SrtpPolicy::Follow {
                return Err(strict(PlainError::SrtpRequired));
            }
            (offer.browser, offer.srtp)
        }
        JsepType::Answer => {
            let answer = handle.plain.remote_answer(cx, sdp, policy).map_err(strict)?;
            let secured = [MediaKind::Audio, MediaKind::Video].iter().any(|kind| handle.plain.srtp(*kind).1);
            let mandatory = String::from_utf8_lossy(sdp).contains("RTP/SAVP");
            let srtp = match (secured, mandatory) {
                (true, true) => SrtpPolicy::Mandatory,
                (true, false) => SrtpPolicy::Optional,
                (false, _) => SrtpPolicy::Follow,
            };
            (answer, srtp)
        }
    };
    handle.required = policy == SrtpPolicy::Mandatory;
    handle.seen_sdp = true;
    let update = handle.established || params::flag(body, "update") == Some(true);
    handle.established |= kind == JsepType::Answer;
    let mut result = json!({"event": "processed"});
    match srtp {
        SrtpPolicy::Follow => {}
        SrtpPolicy::Optional => result["srtp"] = "sdes_optional".into(),
        SrtpPolicy::Mandatory => result["srtp"] = "sdes_mandatory".into(),
    }
    if update {
        result["update"] = true.into();
    } else {
        let name = if kind == JsepType::Offer { "offer" } else { "answer" };
        let text = String::from_utf8_lossy(sdp);
        let data = json!({"event": "processed", "type": name, "sdp": text, "unique_id": handle.unique_id});
        cx.notify_event(Some(key), data);
    }
    result["unique_id"] = handle.unique_id.clone().into();
    let mut jsep = Jsep::new(kind, browser);
    jsep.update = update;
    jsep.near = handle.plain.legs().next().map(|(_, leg)| leg);
    Ok((result, Some(jsep)))
}

fn connect(cx: &mut PluginCx<'_>, key: HandleKey, handle: &mut Handle) {
    if let Some(pc) = cx.peer_connection(key).filter(|pc| !pc.streams.is_empty())
        && let Err(error) = handle.plain.connect(cx, &pc)
    {
        tracing::warn!(%error, "the engine refused the routes of a NoSIP call");
        cx.close_pc(key);
    }
}

/// A plain-side error in the codes of this plugin.
fn of_plain(error: PlainError) -> PluginError {
    let code = match &error {
        PlainError::Parse(text) => {
            return PluginError::new(MISSING_SDP, format!("Error parsing SDP: {text}"));
        }
        PlainError::DataChannels => {
            return PluginError::new(MISSING_SDP, "The NoSIP plugin does not support DataChannels");
        }
        PlainError::NoMedia
        | PlainError::NoRemoteAddress
        | PlainError::NoCommonCodec { .. }
        | PlainError::NotItsMedia { .. }
        | PlainError::NoOffer => INVALID_SDP,
        PlainError::SrtpRequired | PlainError::SrtpMismatch => TOO_STRICT,
        PlainError::Media(error @ MediaError::AddressTaken(_)) => {
            return PluginError::new(IO_ERROR, error.to_string());
        }
        PlainError::Media(error) => {
            return PluginError::new(IO_ERROR, format!("Could not allocate RTP/RTCP ports: {error}"));
        }
    };
    PluginError::new(code, error.to_string())
}

impl Plugin for NoSip {
    fn info(&self) -> PluginInfo {
        PluginInfo {
            package: "janus.plugin.nosip",
            name: "JANUS NoSIP plugin",
            description: "This is a simple RTP bridging plugin that leaves signalling details (e.g., SIP) up to the application.",
            author: "Bifrons",
            version: 2,
            version_string: "0.0.2",
        }
    }

    fn attach(&mut self, _cx: &mut PluginCx<'_>, handle: HandleKey) -> Result<(), i32> {
        self.handles.insert(handle, Handle::new(self.config.clone()));
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
        let (data, jsep) = match self.request(cx, handle, &body, jsep.as_ref()) {
            Ok((result, jsep)) => (json!({"nosip": "event", "result": result}), jsep),
            Err(error) => (json!({"nosip": "event", "error_code": error.code, "error": error.text}), None),
        };
        cx.push_event(handle, Some(transaction), data, jsep);
        MessageResult::Ack(None)
    }

    fn webrtc_up(&mut self, _cx: &mut PluginCx<'_>, _handle: HandleKey) {}

    fn negotiated(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        if let Some(own) = self.handles.get_mut(&handle) {
            connect(cx, handle, own);
        }
    }

    fn hangup_media(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        if let Some(own) = self.handles.get_mut(&handle) {
            own.plain.close(cx);
            own.established = false;
        }
    }

    fn detach(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        if let Some(mut own) = self.handles.remove(&handle) {
            own.plain.close(cx);
        }
    }

    fn media_notice(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey, notice: &Notice) {
        // An RTP leg ends by itself only when its worker was lost: the call is over.
        if let Notice::Ended { leg, .. } = notice
            && self.handles.get(&handle).is_some_and(|own| own.plain.owns(*leg))
        {
            cx.close_pc(handle);
        }
    }

    fn query(&self, handle: HandleKey) -> Value {
        let Some(own) = self.handles.get(&handle) else { return json!({}) };
        let mut info = json!({"unique_id": own.unique_id});
        if own.seen_sdp {
            let yes_no = |flag: bool| if flag { "yes" } else { "no" };
            let (local, remote) = own.plain.srtp(MediaKind::Audio);
            info["srtp-required"] = yes_no(own.required).into();
            info["sdes-local"] = yes_no(local).into();
            info["sdes-remote"] = yes_no(remote).into();
        }
        info["hangingup"] = 0.into();
        info["destroyed"] = 0.into();
        info
    }
}
