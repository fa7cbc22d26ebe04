//! `update`, `hold`, `unhold`, `info`, `dtmf_info`, `message`, `transfer`, `keyframe`.

use bifrons_api::plugin::{HandleKey, Jsep, JsepType, PluginCx};
use bifrons_engine::media::MediaKind;
use bifrons_sip_ua::ua::RequestOptions;
use bifrons_wire::sdp::Direction;
use serde_json::{Map, Value, json};

use super::calls::usable;
use super::handle::{Call, Reinvite, Status};
use super::register::address;
use super::{
    INVALID_ELEMENT, MISSING_SDP, Reply, Sip, call_in, check, headers, not_in_a_call, now_ms, of_plain, of_ua,
};
use crate::params::{self, Kind, Param, PluginError, optional, required};

const HOLD: [Param; 2] = [optional("direction", Kind::Text), HEADERS];
const INFO: [Param; 3] = [required("type", Kind::Text), required("content", Kind::Text), HEADERS];
const DTMF_INFO: [Param; 3] = [required("digit", Kind::Text), optional("duration", Kind::Integer), HEADERS];
const MESSAGE: [Param; 5] = [
    required("content", Kind::Text),
    optional("content_type", Kind::Text),
    optional("uri", Kind::Text),
    optional("call_id", Kind::Text),
    HEADERS,
];
const TRANSFER: [Param; 3] = [required("uri", Kind::Text), optional("replace", Kind::Text), HEADERS];
const KEYFRAME: [Param; 2] = [optional("user", Kind::Boolean), optional("peer", Kind::Boolean)];
const HEADERS: Param = optional("headers", Kind::Object);

/// DTMF by INFO: milliseconds where the client names none, and the most it may name.
const DTMF_MS: i64 = 160;
const DTMF_MS_MAX: i64 = 5_000;
/// INFO and MESSAGE whose final answer a client waits for.
const REQUESTS_MAX: usize = 10_000;

impl Sip {
    fn established(&mut self, key: HandleKey) -> Result<&mut Call, PluginError> {
        call_in(&mut self.handles, key, Status::is_incall)
    }

    pub(super) fn update(&mut self, cx: &mut PluginCx<'_>, key: HandleKey, jsep: Option<&Jsep>) -> Reply {
        let settled = |status| matches!(status, Status::Incall | Status::Reinvited);
        let call = call_in(&mut self.handles, key, settled)?;
        let jsep = usable(jsep)?;
        if !jsep.update {
            return Err(PluginError::new(MISSING_SDP, "Missing SDP update"));
        }
        let (id, policy) = (call.id, call.policy);
        let reinvited = call.status == Status::Reinvited;
        let answers = jsep.kind == JsepType::Answer;
        if answers && !reinvited {
            return Err(PluginError::new(MISSING_SDP, "Missing SDP update (an offer is wanted)"));
        }
        let sdp = match jsep.kind {
            JsepType::Answer => call.plain.local_answer(cx, &jsep.sdp, policy),
            JsepType::Offer => call.plain.local_offer(cx, &jsep.sdp, policy, &call.suite),
        };
        let sdp = sdp.map_err(of_plain)?.into_bytes();
        let updating = json!({"event": "updating"});
        if reinvited {
            self.ua.answer_reinvite(now_ms(cx), id, sdp, &[]).map_err(of_ua)?;
            call.status = Status::Incall;
            if !answers {
                return Ok((updating, None));
            }
            self.connect(cx, key);
            return Ok((json!({"event": "updated"}), None));
        }
        if call.plain.is_unchanged() {
            // An ICE restart is between the browser and us: the peer need not hear of it.
            call.repeated = Some(call.plain.repeat_answer(cx, policy).map_err(of_plain)?);
            return Ok((updating, None));
        }
        self.ua.reinvite(now_ms(cx), id, Some(sdp), &[]).map_err(of_ua)?;
        call.status = Status::Reinviting;
        call.reinvite = Some(Reinvite::Update);
        call.plain.legs().for_each(|(_, leg)| cx.own_leg(leg, key));
        Ok((updating, None))
    }

    pub(super) fn hold(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
        hold: bool,
    ) -> Reply {
        let call = call_in(&mut self.handles, key, |status| status == Status::Incall)?;
        check(body, &HOLD)?;
        let direction = match params::text(body, "direction").filter(|_| hold).unwrap_or("sendonly") {
            "sendonly" => Direction::from_flags(true, false),
            "recvonly" => Direction::from_flags(false, true),
            "inactive" => Direction::from_flags(false, false),
            _ => {
                let text = "Invalid direction (can only be sendonly, recvonly or inactive)";
                return Err(PluginError::new(INVALID_ELEMENT, text));
            }
        };
        let reply = json!({"event": if hold { "holding" } else { "resuming" }});
        let (before, wanted) = (call.plain.hold(), hold.then_some(direction));
        if before == wanted {
            return Ok((reply, None));
        }
        call.plain.set_hold(wanted);
        let Some(sdp) = call.plain.reoffer() else { return Err(not_in_a_call()) };
        if let Err(error) =
            self.ua.reinvite(now_ms(cx), call.id, Some(sdp.into_bytes()), &headers::custom(body))
        {
            call.plain.set_hold(before);
            return Err(of_ua(error));
        }
        call.status = Status::Reinviting;
        call.reinvite = Some(Reinvite::Hold(before));
        self.apply_gates(cx, key);
        Ok((reply, None))
    }

    /// Opens and shuts the routes of a call.
    pub(super) fn apply_gates(&mut self, cx: &mut PluginCx<'_>, key: HandleKey) {
        let Some(pc) = cx.peer_connection(key) else { return };
        let Some(call) = self.handles.get(&key).and_then(|handle| handle.call.as_ref()) else { return };
        if let Err(error) = call.plain.apply_gates(cx, &pc) {
            // A leg that is gone has said so by a notice of its own.
            tracing::debug!(%error, "a gate of a leg that is gone");
        }
    }

    pub(super) fn info_request(&mut self, key: HandleKey, body: &Map<String, Value>) -> Reply {
        self.established(key)?;
        check(body, &INFO)?;
        let text = |name| params::text(body, name).unwrap_or("");
        self.send_info(key, text("type"), text("content"), body)?;
        Ok((json!({"event": "infosent"}), None))
    }

    pub(super) fn dtmf_info(&mut self, key: HandleKey, body: &Map<String, Value>) -> Reply {
        self.established(key)?;
        check(body, &DTMF_INFO)?;
        let digit = params::text(body, "digit").unwrap_or("");
        if digit.chars().count() != 1 || digit.contains(char::is_control) {
            return Err(PluginError::new(INVALID_ELEMENT, "Invalid element (digit should be one character)"));
        }
        let duration =
            params::number(body, "duration").filter(|ms| (1..=DTMF_MS_MAX).contains(ms)).unwrap_or(DTMF_MS);
        let content = format!("Signal={digit}\r\nDuration={duration}");
        self.send_info(key, "application/dtmf-relay", &content, body)?;
        Ok((json!({"event": "dtmfsent"}), None))
    }

    fn send_info(
        &mut self,
        key: HandleKey,
        kind: &str,
        content: &str,
        body: &Map<String, Value>,
    ) -> Result<(), PluginError> {
        let id = self.established(key)?.id;
        let content = content.as_bytes().to_vec();
        let request = self.ua.info(id, kind, content, &headers::custom(body)).map_err(of_ua)?;
        self.await_answer(request, key);
        Ok(())
    }

    fn await_answer(&mut self, request: u64, key: HandleKey) {
        if self.requests.len() < REQUESTS_MAX {
            self.requests.insert(request, key);
        }
    }

    pub(super) fn message_request(&mut self, key: HandleKey, body: &Map<String, Value>) -> Reply {
        check(body, &MESSAGE)?;
        let content = params::text(body, "content").unwrap_or("").as_bytes().to_vec();
        let kind = params::text(body, "content_type").unwrap_or("text/plain");
        let custom = headers::custom(body);
        let (request, call_id) = match params::text(body, "uri") {
            Some(uri) => {
                let account = self.usable_account(key)?;
                address(uri, "user", &["sip"])?;
                let call_id = params::text(body, "call_id").map(str::to_owned);
                let options = RequestOptions { call_id, headers: custom, from: None };
                self.ua.message_to(account, uri, kind, content, options).map_err(of_ua)?
            }
            None => {
                let call = self.established(key)?;
                let (id, call_id) = (call.id, call.call_id.clone());
                (self.ua.message(id, kind, content, &custom).map_err(of_ua)?, call_id)
            }
        };
        self.await_answer(request, key);
        Ok((json!({"event": "messagesent", "call_id": call_id}), None))
    }

    pub(super) fn transfer(&mut self, key: HandleKey, body: &Map<String, Value>) -> Reply {
        let id = self.established(key)?.id;
        check(body, &TRANSFER)?;
        let uri = params::text(body, "uri").unwrap_or("");
        address(uri, "user", &["sip"])?;
        let replaces = match params::text(body, "replace") {
            Some(call_id) => {
                let account = self.usable_account(key)?;
                let other = self.ua.call_by_call_id(account, call_id);
                Some(other.ok_or_else(|| PluginError::new(454, format!("No such call-ID {call_id}")))?)
            }
            None => None,
        };
        let request = self.ua.refer(id, uri, replaces, &headers::custom(body)).map_err(of_ua)?;
        self.await_answer(request, key);
        Ok((json!({"event": "transferring"}), None))
    }

    pub(super) fn keyframe(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
    ) -> Reply {
        self.established(key)?;
        check(body, &KEYFRAME)?;
        let [browser, telephone] = self.streams(cx, key, MediaKind::Video);
        for (wanted, stream) in [("user", browser), ("peer", telephone)] {
            if let Some(stream) = stream.filter(|_| params::flag(body, wanted) == Some(true)) {
                // Where the peer takes no PLI the engine has nothing to send.
                let _ = cx.media.request_keyframe(stream);
            }
        }
        Ok((json!({"event": "keyframesent"}), None))
    }
}
