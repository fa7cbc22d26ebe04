//! `message` and `trickle`: what goes to a plugin, and descriptions both ways.

use std::time::Duration;

use bifrons_engine::Media;
use serde_json::{Map, Value, json};

use crate::Api;
use crate::error::{ApiError, Code};
use crate::jsep::{self, PeerConnection, RemoteDescription, Surroundings};
use crate::plugin::{HandleKey, Jsep, JsepType, MessageResult};
use crate::state::Effect;
use crate::trickle::Candidate;
use crate::verbs::{Kind, Request, check};

impl Api {
    pub(crate) fn message(
        &mut self,
        media: &mut dyn Media,
        request: &Request<'_>,
        key: HandleKey,
    ) -> Result<(), ApiError> {
        check(request.members, &[("body", Kind::Object, true)], "")?;
        self.limit(request, "message", |core| {
            (&mut core.limiters.message, &mut core.counters.message_limited)
        })?;
        let jsep = match request.members.get("jsep") {
            None => None,
            Some(Value::Object(jsep)) => Some(self.client_jsep(media, key, jsep).inspect_err(|_| {
                self.core.counters.sdp_rejected += 1;
            })?),
            Some(_) => return Err(ApiError::new(Code::InvalidJsonObject, "Invalid jsep object")),
        };
        let answered = jsep.as_ref().is_some_and(|jsep| jsep.kind == JsepType::Answer);
        let body = request.members.get("body").and_then(Value::as_object).cloned().unwrap_or_default();
        let Some(plugin) = self.core.handles.get(&key).map(|handle| handle.plugin) else {
            return Err(ApiError::new(Code::PluginMessage, "No plugin to handle this message"));
        };
        let result =
            self.call(media, plugin, |plugin, cx| plugin.message(cx, key, request.transaction, body, jsep));
        if answered {
            // After what the plugin asked for during the call.
            self.core.effects.push_back(Effect::Negotiated(key));
        }
        match result {
            MessageResult::Success(data) if data.is_object() => {
                let Some(handle) = self.core.handles.get(&key) else { return Ok(()) };
                let mut reply = self.core.envelope(handle, "success", Some(request.transaction));
                reply.insert("plugindata".into(), self.plugindata(plugin, data));
                self.core.reply(request.source.transport, &Value::Object(reply));
            }
            MessageResult::Success(_) => {
                let reason = "Plugin didn't provide any content for this synchronous response";
                return Err(ApiError::new(Code::PluginMessage, reason));
            }
            MessageResult::Ack(hint) => {
                let mut reply = request.reply("ack");
                if let Some(hint) = hint {
                    reply.insert("hint".into(), hint.into());
                }
                self.core.reply(request.source.transport, &Value::Object(reply));
            }
            MessageResult::Error(reason) => return Err(ApiError::new(Code::PluginMessage, reason)),
        }
        Ok(())
    }

    fn plugindata(&self, plugin: usize, data: Value) -> Value {
        let package = self.plugins.get(plugin).map_or("", |plugin| plugin.info().package);
        json!({ "plugin": package, "data": data })
    }

    /// A client's description: checked, noted, and made ready for the plugin.
    fn client_jsep(
        &mut self,
        media: &mut dyn Media,
        key: HandleKey,
        members: &Map<String, Value>,
    ) -> Result<Jsep, ApiError> {
        let table = [
            ("type", Kind::Text, true),
            ("sdp", Kind::Text, true),
            ("trickle", Kind::Bool, false),
            ("rid_order", Kind::Text, false),
            ("force_relay", Kind::Bool, false),
            ("e2ee", Kind::Bool, false),
        ];
        check(members, &table, "JSEP error: ")?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or("");
        let flag = |name: &str| members.get(name).and_then(Value::as_bool);
        let kind = match text("type").to_ascii_lowercase().as_str() {
            "offer" => JsepType::Offer,
            "answer" => JsepType::Answer,
            _ => {
                let reason = format!("JSEP error: unknown message type '{}'", text("type"));
                return Err(ApiError::new(Code::JsepUnknownType, reason));
            }
        };
        let limits = &self.core.config.limits;
        let sdp = jsep::rules::parse(text("sdp"), limits.sdp_bytes_max, limits.mlines_max)?;
        let Some(handle) = self.core.handles.get_mut(&key) else {
            return Err(ApiError::new(Code::PluginMessage, "No plugin to handle this message"));
        };
        let update = handle.pc.as_ref().is_some_and(PeerConnection::is_negotiated);
        let unexpected = || ApiError::new(Code::UnexpectedAnswer, "Unexpected ANSWER (did we offer?)");
        if kind == JsepType::Answer && handle.pc.is_none() {
            return Err(unexpected());
        }
        let cannot = |detail: String| {
            let code = if update { Code::UnexpectedAnswer } else { Code::JsepInvalidSdp };
            tracing::debug!(detail, "description refused");
            ApiError::new(code, "Error processing SDP")
        };
        let mut remote = RemoteDescription::read(sdp.clone()).map_err(cannot)?;
        if flag("trickle") == Some(false) {
            remote.end_of_candidates = true;
        }
        let simulcast = remote.simulcast(text("rid_order") == "lmh");
        match kind {
            JsepType::Offer => {
                if handle.pc.is_none() {
                    let pc = PeerConnection::open(media, None, false).map_err(|error| {
                        self.core.counters.media_errors += 1;
                        ApiError::new(Code::Unknown, format!("Error setting ICE locally: {error}"))
                    })?;
                    self.core.counters.peer_connections += 1;
                    self.core.legs.insert(pc.leg, key);
                    handle.pc = Some(pc);
                }
                if let Some(pc) = handle.pc.as_mut() {
                    pc.client_offers(remote);
                }
            }
            JsepType::Answer => {
                let answered = handle.pc.as_mut().map(|pc| pc.client_answers(media, remote));
                match answered {
                    Some(Ok(true)) => self.flush_candidates(media, key),
                    Some(Err(detail)) => return Err(cannot(detail)),
                    _ => return Err(unexpected()),
                }
            }
        }
        let mut jsep = Jsep::new(kind, "");
        if let Some(pc) = self.core.handles.get_mut(&key).and_then(|handle| handle.pc.as_mut()) {
            pc.e2ee |= flag("e2ee") == Some(true);
            jsep.e2ee = pc.e2ee;
        }
        let mut sdp = sdp;
        jsep::anonymize(&mut sdp);
        jsep.sdp = sdp.to_string();
        jsep.update = update;
        jsep.simulcast = simulcast;
        Ok(jsep)
    }

    /// An event of a plugin goes to the client, its description with our transport in it.
    pub(crate) fn push_event(
        &mut self,
        media: &mut dyn Media,
        key: HandleKey,
        transaction: Option<&str>,
        data: Value,
        jsep: Option<Jsep>,
    ) {
        if !self.core.handles.contains_key(&key) {
            return;
        }
        let merged = jsep.map(|jsep| (jsep.kind, self.plugin_jsep(media, key, jsep)));
        let Some(handle) = self.core.handles.get(&key) else { return };
        let (session, plugin) = (handle.session, handle.plugin);
        let mut event = self.core.envelope(handle, "event", transaction);
        event.insert("plugindata".into(), self.plugindata(plugin, data));
        if let Some((_, Ok(jsep))) = &merged {
            event.insert("jsep".into(), jsep.clone());
        }
        self.core.event(session, &Value::Object(event));
        match merged {
            Some((kind, Ok(_))) => {
                if self.core.config.full_trickle {
                    self.tell_candidates(key);
                }
                if kind == JsepType::Answer {
                    self.flush_candidates(media, key);
                    self.core.effects.push_back(Effect::Negotiated(key));
                }
            }
            Some((_, Err(detail))) => {
                self.core.counters.media_errors += 1;
                tracing::warn!(session, detail, "a plugin's description cannot be used");
                let pc = self.core.handles.get(&key).and_then(|handle| handle.pc.as_ref());
                // What is up and running stays up.
                if pc.is_none_or(|pc| !pc.is_negotiated()) {
                    self.hang_up(media, key, "Gathering error");
                }
            }
            None => {}
        }
    }

    fn plugin_jsep(&mut self, media: &mut dyn Media, key: HandleKey, jsep: Jsep) -> Result<Value, String> {
        let around = Surroundings {
            ip: self.core.config.advertised_ip,
            unix_us: self.core.unix_us(),
            full_trickle: self.core.config.full_trickle,
        };
        let sdp = bifrons_wire::sdp::Sdp::parse(&jsep.sdp).map_err(|error| error.to_string())?;
        let handle = self.core.handles.get_mut(&key).ok_or("the handle is gone")?;
        let (kind, text) = match jsep.kind {
            JsepType::Answer => {
                let pc = handle.pc.as_mut().ok_or("an answer, but there is no PeerConnection")?;
                ("answer", pc.plugin_answers(media, sdp, around)?)
            }
            JsepType::Offer => {
                if handle.pc.is_none() {
                    let pc =
                        PeerConnection::open(media, jsep.near, true).map_err(|error| error.to_string())?;
                    self.core.counters.peer_connections += 1;
                    self.core.legs.insert(pc.leg, key);
                    handle.pc = Some(pc);
                }
                let pc = handle.pc.as_mut().ok_or("there is no PeerConnection")?;
                ("offer", pc.plugin_offers(media, sdp, jsep.restart, around)?)
            }
        };
        let mut value = json!({ "type": kind, "sdp": text });
        if jsep.e2ee {
            value["e2ee"] = true.into();
        }
        Ok(value)
    }

    /// `trickle` events with our candidates, all of which are known at once.
    fn tell_candidates(&mut self, key: HandleKey) {
        let Some(pc) = self.core.handles.get(&key).and_then(|handle| handle.pc.as_ref()) else { return };
        let (candidates, mid) = (pc.local_candidates().0.to_vec(), pc.bundle_mid());
        for candidate in candidates {
            let candidate =
                json!({"sdpMid": mid, "sdpMLineIndex": 0, "candidate": format!("candidate:{candidate}")});
            self.core.handle_event(key, "trickle", &[("candidate", candidate)]);
        }
        self.core.handle_event(key, "trickle", &[("candidate", json!({"completed": true}))]);
    }

    pub(crate) fn trickle(
        &mut self,
        media: &mut dyn Media,
        request: &Request<'_>,
        key: HandleKey,
    ) -> Result<(), ApiError> {
        let members = request.members;
        let one = members.get("candidate");
        let many = members.get("candidates");
        match (one, many) {
            (None, None) => {
                let reason = "Missing mandatory element (candidate|candidates)";
                return Err(ApiError::new(Code::MissingMandatoryElement, reason));
            }
            (Some(_), Some(_)) => {
                return Err(ApiError::new(Code::InvalidJson, "Can't have both candidate and candidates"));
            }
            (Some(candidate), None) => {
                // The check's outcome is told only where the candidate is used at once.
                match (Candidate::parse(candidate), self.takes_candidates(key)) {
                    (Ok(candidate), _) => self.candidate(media, key, candidate),
                    (Err(error), true) => return Err(error),
                    (Err(_), false) => self.core.counters.candidates_dropped += 1,
                }
            }
            (None, Some(Value::Array(candidates))) => {
                for candidate in candidates {
                    match Candidate::parse(candidate) {
                        Ok(candidate) => self.candidate(media, key, candidate),
                        Err(_) => self.core.counters.candidates_dropped += 1,
                    }
                }
            }
            (None, Some(_)) if self.takes_candidates(key) => {
                return Err(ApiError::new(Code::InvalidElementType, "candidates is not an array"));
            }
            (None, Some(_)) => self.core.counters.candidates_dropped += 1,
        }
        self.core.reply(request.source.transport, &Value::Object(request.reply("ack")));
        Ok(())
    }

    fn takes_candidates(&self, key: HandleKey) -> bool {
        let pc = self.core.handles.get(&key).and_then(|handle| handle.pc.as_ref());
        pc.is_some_and(PeerConnection::takes_candidates)
    }

    fn candidate(&mut self, media: &mut dyn Media, key: HandleKey, candidate: Candidate) {
        let max = self.core.config.limits.candidates_queued_max;
        let Some(handle) = self.core.handles.get_mut(&key) else { return };
        let kept = match handle.pc.as_ref() {
            Some(pc) if pc.takes_candidates() => pc.add_candidate(media, &candidate),
            _ => handle.candidates.push(self.core.now, candidate, max),
        };
        if !kept {
            self.core.counters.candidates_dropped += 1;
        }
    }

    fn flush_candidates(&mut self, media: &mut dyn Media, key: HandleKey) {
        let timeout = Duration::from_secs(self.core.config.candidates_timeout_s);
        let now = self.core.now;
        let Some(handle) = self.core.handles.get_mut(&key) else { return };
        for candidate in handle.candidates.take(now, timeout) {
            self.candidate(media, key, candidate);
        }
    }
}
