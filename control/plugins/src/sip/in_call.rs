//! `update`, `hold`, `unhold`, `info`, `dtmf_info`, `message`, `transfer`, `keyframe`.

use bifrons_api::plugin::{HandleKey, Jsep, JsepType, PluginCx};
use bifrons_engine::media::MediaKind;
use bifrons_sip_ua::ua::{CallId, RequestOptions};
use bifrons_wire::sdp::Direction;
use serde_json::{Map, Value, json};

use super::calls::usable;
use super::handle::{Call, Reinvite, Status};
use super::register::address;
use super::{
    INVALID_ELEMENT, MISSING_ELEMENT, MISSING_SDP, Reply, Sip, WRONG_STATE, headers, now_ms, of_plain, of_ua,
};
use crate::params::{self, Kind, PluginError, optional, required};

/// DTMF by INFO: milliseconds where the client names none, and the most it may name.
const DTMF_MS: i64 = 160;
const DTMF_MS_MAX: i64 = 5_000;
/// INFO and MESSAGE whose final answer a client waits for.
const REQUESTS_MAX: usize = 10_000;

fn not_in_a_call() -> PluginError {
    PluginError::new(WRONG_STATE, "Wrong state (not in a call?)")
}

impl Sip {
    fn established(&mut self, key: HandleKey) -> Result<&mut Call, PluginError> {
        let call = self.handles.get_mut(&key).and_then(|handle| handle.call.as_mut());
        call.filter(|call| call.status.is_incall()).ok_or_else(not_in_a_call)
    }

    pub(super) fn update(&mut self, cx: &mut PluginCx<'_>, key: HandleKey, jsep: Option<&Jsep>) -> Reply {
        let call = self.handles.get_mut(&key).and_then(|handle| handle.call.as_mut());
        let call = call
            .filter(|call| matches!(call.status, Status::Incall | Status::Reinvited))
            .ok_or_else(not_in_a_call)?;
        let jsep = usable(jsep)?;
        if !jsep.update {
            return Err(PluginError::new(MISSING_SDP, "Missing SDP update"));
        }
        let (id, policy, suite) = (call.id, call.policy, call.suite.clone());
        match (jsep.kind, call.status) {
            (JsepType::Answer, Status::Reinvited) => {
                let sdp = call.plain.local_answer(cx, &jsep.sdp, policy).map_err(of_plain)?;
                self.ua.answer_reinvite(now_ms(cx), id, sdp.into_bytes(), &[]).map_err(of_ua)?;
                call.status = Status::Incall;
                self.connect(cx, key);
                Ok((json!({"event": "updated"}), None))
            }
            (JsepType::Offer, Status::Reinvited) => {
                let sdp = call.plain.local_offer(cx, &jsep.sdp, policy, &suite).map_err(of_plain)?;
                self.ua.answer_reinvite(now_ms(cx), id, sdp.into_bytes(), &[]).map_err(of_ua)?;
                call.status = Status::Incall;
                Ok((json!({"event": "updating"}), None))
            }
            (JsepType::Offer, _) => {
                let sdp = call.plain.local_offer(cx, &jsep.sdp, policy, &suite).map_err(of_plain)?;
                let legs: Vec<_> = call.plain.legs().map(|(_, leg)| leg).collect();
                if call.plain.is_unchanged() {
                    // An ICE restart is between the browser and us: the peer need not hear of it.
                    let answer = call.plain.repeat_answer(cx, policy).map_err(of_plain)?;
                    call.repeated = Some(answer);
                    return Ok((json!({"event": "updating"}), None));
                }
                self.ua.reinvite(now_ms(cx), id, Some(sdp.into_bytes()), &[]).map_err(of_ua)?;
                call.status = Status::Reinviting;
                call.reinvite = Some(Reinvite::Update);
                legs.into_iter().for_each(|leg| cx.own_leg(leg, key));
                Ok((json!({"event": "updating"}), None))
            }
            (JsepType::Answer, _) => {
                Err(PluginError::new(MISSING_SDP, "Missing SDP update (an offer is wanted)"))
            }
        }
    }

    pub(super) fn hold(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
        hold: bool,
    ) -> Reply {
        let fields = [optional("direction", Kind::Text), optional("headers", Kind::Object)];
        let call = self.handles.get_mut(&key).and_then(|handle| handle.call.as_mut());
        let call = call.filter(|call| call.status == Status::Incall).ok_or_else(not_in_a_call)?;
        params::check(body, &fields, MISSING_ELEMENT, INVALID_ELEMENT)?;
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

    pub(super) fn info_request(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
    ) -> Reply {
        let id = self.established(key)?.id;
        let fields = [
            required("type", Kind::Text),
            required("content", Kind::Text),
            optional("headers", Kind::Object),
        ];
        params::check(body, &fields, MISSING_ELEMENT, INVALID_ELEMENT)?;
        let (kind, content) =
            (params::text(body, "type").unwrap_or(""), params::text(body, "content").unwrap_or(""));
        self.send_info(cx, key, id, kind, content, body)?;
        Ok((json!({"event": "infosent"}), None))
    }

    pub(super) fn dtmf_info(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
    ) -> Reply {
        let id = self.established(key)?.id;
        let fields = [
            required("digit", Kind::Text),
            optional("duration", Kind::Integer),
            optional("headers", Kind::Object),
        ];
        params::check(body, &fields, MISSING_ELEMENT, INVALID_ELEMENT)?;
        let digit = params::text(body, "digit").unwrap_or("");
        if digit.chars().count() != 1 || digit.contains(char::is_control) {
            return Err(PluginError::new(INVALID_ELEMENT, "Invalid element (digit should be one character)"));
        }
        let duration =
            params::number(body, "duration").filter(|ms| (1..=DTMF_MS_MAX).contains(ms)).unwrap_or(DTMF_MS);
        let content = format!("Signal={digit}\r\nDuration={duration}");
        self.send_info(cx, key, id, "application/dtmf-relay", &content, body)?;
        Ok((json!({"event": "dtmfsent"}), None))
    }

    fn send_info(
        &mut self,
        cx: &PluginCx<'_>,
        key: HandleKey,
        id: CallId,
        kind: &str,
        content: &str,
        body: &Map<String, Value>,
    ) -> Result<(), PluginError> {
        let custom = headers::custom(body);
        let request =
            self.ua.info(now_ms(cx), id, kind, content.as_bytes().to_vec(), &custom).map_err(of_ua)?;
        self.await_answer(request, key);
        Ok(())
    }

    fn await_answer(&mut self, request: u64, key: HandleKey) {
        if self.requests.len() < REQUESTS_MAX {
            self.requests.insert(request, key);
        }
    }

    pub(super) fn message_request(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
    ) -> Reply {
        let fields = [
            required("content", Kind::Text),
            optional("content_type", Kind::Text),
            optional("uri", Kind::Text),
            optional("call_id", Kind::Text),
            optional("headers", Kind::Object),
        ];
        params::check(body, &fields, MISSING_ELEMENT, INVALID_ELEMENT)?;
        let content = params::text(body, "content").unwrap_or("").as_bytes().to_vec();
        let kind = params::text(body, "content_type").unwrap_or("text/plain");
        let custom = headers::custom(body);
        let now = now_ms(cx);
        let (request, call_id) = match params::text(body, "uri") {
            Some(uri) => {
                let account = self.usable_account(key)?;
                address(uri, "user", &["sip"])?;
                let call_id = params::text(body, "call_id").map(str::to_owned);
                let options = RequestOptions { call_id, headers: custom, from: None };
                self.ua.message_to(now, account, uri, kind, content, options).map_err(of_ua)?
            }
            None => {
                let call = self.established(key)?;
                let (id, call_id) = (call.id, call.call_id.clone());
                (self.ua.message(now, id, kind, content, &custom).map_err(of_ua)?, call_id)
            }
        };
        self.await_answer(request, key);
        Ok((json!({"event": "messagesent", "call_id": call_id}), None))
    }

    pub(super) fn transfer(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
    ) -> Reply {
        let id = self.established(key)?.id;
        let fields =
            [required("uri", Kind::Text), optional("replace", Kind::Text), optional("headers", Kind::Object)];
        params::check(body, &fields, MISSING_ELEMENT, INVALID_ELEMENT)?;
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
        let request = self.ua.refer(now_ms(cx), id, uri, replaces, &headers::custom(body)).map_err(of_ua)?;
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
        let fields = [optional("user", Kind::Boolean), optional("peer", Kind::Boolean)];
        params::check(body, &fields, MISSING_ELEMENT, INVALID_ELEMENT)?;
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
