//! `call`, `progress`, `accept`, `decline`, `hangup`, `send_ringing`.

use bifrons_api::plugin::{HandleKey, Jsep, JsepType, PluginCx};
use bifrons_sip_ua::message::Uri;
use bifrons_sip_ua::ua::RequestOptions;
use serde_json::{Map, Value, json};

use super::handle::{Call, Status};
use super::register::{address, new_secret};
use super::{
    INVALID_ELEMENT, MISSING_SDP, Reply, Sip, UNAVAILABLE, WRONG_STATE, call_in, check, headers, now_ms,
    of_plain, of_ua,
};
use crate::params::{self, Kind, Param, PluginError, optional, required};
use crate::plain::sdes;
use crate::plain::{PlainError, PlainSide};

const CALL: [Param; 10] = [
    required("uri", Kind::Text),
    optional("call_id", Kind::Text),
    optional("headers", Kind::Object),
    optional("srtp", Kind::Text),
    optional("srtp_profile", Kind::Text),
    optional("autoaccept_reinvites", Kind::Boolean),
    optional("refer_id", Kind::Positive),
    optional("secret", Kind::Text),
    optional("ha1_secret", Kind::Text),
    optional("authuser", Kind::Text),
];

const ANSWER: [Param; 4] = [
    optional("srtp", Kind::Text),
    optional("srtp_profile", Kind::Text),
    optional("headers", Kind::Object),
    optional("autoaccept_reinvites", Kind::Boolean),
];

const DECLINE: [Param; 3] = [
    optional("code", Kind::Integer),
    optional("headers", Kind::Object),
    optional("refer_id", Kind::Positive),
];

/// A description that is there and not end-to-end encrypted.
pub(super) fn usable(jsep: Option<&Jsep>) -> Result<&Jsep, PluginError> {
    let jsep = jsep.ok_or_else(|| PluginError::new(MISSING_SDP, "Missing SDP"))?;
    if jsep.e2ee {
        return Err(PluginError::new(INVALID_ELEMENT, "Media encryption unsupported by this plugin"));
    }
    Ok(jsep)
}

impl Sip {
    pub(super) fn call(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        transaction: &str,
        body: &Map<String, Value>,
        jsep: Option<&Jsep>,
    ) -> Reply {
        let account = self.usable_account(key)?;
        if let Some(call) = self.handles.get(&key).and_then(|handle| handle.call.as_ref()) {
            let text = format!("Wrong state (already in a call? status={})", call.status.word());
            return Err(PluginError::new(WRONG_STATE, text));
        }
        check(body, &CALL)?;
        if body.contains_key("refer_id") {
            let text = "Answering a transfer is not available in this version (refer_id)";
            return Err(PluginError::new(UNAVAILABLE, text));
        }
        let secret = new_secret(body)?;
        let (policy, suite) = sdes::requested(body, INVALID_ELEMENT)?;
        let uri = params::text(body, "uri").unwrap_or("");
        address(uri, "user", &["sip"])?;
        let offer = usable(jsep)?;
        if offer.kind != JsepType::Offer {
            return Err(PluginError::new(MISSING_SDP, "Missing SDP (an offer is wanted)"));
        }
        if secret.is_some() || body.contains_key("authuser") {
            self.replace_credentials(cx, key, body, secret)?;
        }

        let mut plain = PlainSide::new(self.plain.clone());
        let proxy = self.ua.account(account).and_then(|(config, _)| config.outbound_proxy.clone());
        let hop = proxy.or_else(|| Uri::parse(uri).ok()?.as_sip().cloned());
        plain.share(|peer| hop.as_ref().is_some_and(|hop| peer.is_hop(hop)));
        if let Some(pc) = cx.peer_connection(key) {
            plain.near(pc.leg);
        }
        let sdp = match plain.local_offer(cx, &offer.sdp, policy, &suite) {
            Ok(sdp) => sdp,
            Err(error) => {
                plain.close(cx);
                return Err(of_plain(error));
            }
        };
        for (_, leg) in plain.legs() {
            cx.own_leg(leg, key);
        }
        let options = RequestOptions {
            call_id: params::text(body, "call_id").map(str::to_owned),
            headers: headers::custom(body),
            from: None,
        };
        let id = match self.ua.invite(now_ms(cx), account, uri, Some(sdp.clone().into_bytes()), options) {
            Ok(id) => id,
            Err(error) => {
                plain.close(cx);
                return Err(of_ua(error));
            }
        };
        let call_id = self.ua.call_id(id).unwrap_or("").to_owned();
        let mut call = Call::new(id, call_id.clone(), Status::Inviting, uri.to_owned(), self.plain.clone());
        call.plain = plain;
        (call.policy, call.suite) = (policy, suite);
        call.transaction = Some(transaction.to_owned());
        call.autoaccept = params::flag(body, "autoaccept_reinvites").unwrap_or(true);
        self.calls.insert(id, key);
        if let Some(handle) = self.handles.get_mut(&key) {
            handle.last_callee = Some(uri.to_owned());
            handle.call = Some(call);
        }
        let told = json!({"event": "calling", "callee": uri, "call-id": call_id, "sdp": sdp});
        cx.notify_event(Some(key), told);
        Ok((json!({"event": "calling", "call_id": call_id}), None))
    }

    /// Credentials of a `call` stay with the account.
    fn replace_credentials(
        &mut self,
        cx: &PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
        secret: Option<bifrons_sip_ua::digest::Secret>,
    ) -> Result<(), PluginError> {
        let account = self.usable_account(key)?;
        let Some((config, _)) = self.ua.account(account) else { return Ok(()) };
        let mut config = config.clone();
        if secret.is_some() {
            config.secret = secret;
        }
        if let Some(user) = params::text(body, "authuser") {
            config.auth_user = Some(user.to_owned());
        }
        self.ua.update_account(now_ms(cx), account, config).map_err(of_ua)
    }

    /// `accept`, or `progress` where `early`.
    pub(super) fn answer(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        transaction: &str,
        body: &Map<String, Value>,
        jsep: Option<&Jsep>,
        early: bool,
    ) -> Reply {
        let word = self.handles.get(&key).map_or("idle", |handle| handle.status_word());
        let call = self.handles.get_mut(&key).and_then(|handle| handle.call.as_mut());
        let call =
            call.filter(|call| call.status == Status::Invited || (!early && call.status == Status::Progress));
        let Some(call) = call else {
            let what = if early { "not invited?" } else { "not invited or progress?" };
            return Err(PluginError::new(WRONG_STATE, format!("Wrong state ({what} status={word})")));
        };
        check(body, &ANSWER)?;
        let (policy, suite) = sdes::requested(body, INVALID_ELEMENT)?;
        let jsep = usable(jsep)?;
        let wanted = if call.offerless { JsepType::Offer } else { JsepType::Answer };
        if jsep.kind != wanted {
            let text =
                "Wrong SDP type: an answer to the caller's offer is wanted, or an offer where there was none";
            return Err(PluginError::new(MISSING_SDP, text));
        }
        if early && call.offerless {
            let text =
                "Wrong state (early media without the caller's offer are not available in this version)";
            return Err(PluginError::new(WRONG_STATE, text));
        }
        if let Some(pc) = cx.peer_connection(key) {
            call.plain.near(pc.leg);
        }
        let sdp = match wanted {
            JsepType::Offer => call.plain.local_offer(cx, &jsep.sdp, policy, &suite),
            JsepType::Answer => call.plain.local_answer(cx, &jsep.sdp, policy),
        };
        let sdp = match sdp {
            Ok(sdp) => sdp,
            Err(error) => {
                if matches!(error, PlainError::NoCommonCodec { .. } | PlainError::NoMedia) {
                    self.end_call(cx, key, Some((488, error.to_string())));
                }
                return Err(of_plain(error));
            }
        };
        let (id, offerless) = (call.id, call.offerless);
        let custom = headers::custom(body);
        let sent = match early {
            true => self.ua.progress(now_ms(cx), id, sdp.into_bytes(), &custom),
            false => self.ua.accept(now_ms(cx), id, sdp.into_bytes(), &custom),
        };
        sent.map_err(of_ua)?;
        (call.policy, call.suite) = (policy, suite);
        call.autoaccept = params::flag(body, "autoaccept_reinvites").unwrap_or(true);
        call.status = if early { Status::Progress } else { Status::Incall };
        call.answered = true;
        if offerless {
            call.transaction = Some(transaction.to_owned());
        }
        let legs: Vec<_> = call.plain.legs().map(|(_, leg)| leg).collect();
        let call_id = call.call_id.clone();
        legs.into_iter().for_each(|leg| cx.own_leg(leg, key));
        self.connect(cx, key);
        let event = match (early, offerless) {
            (true, _) => "progressed",
            (false, true) => "accepting",
            (false, false) => "accepted",
        };
        cx.notify_event(Some(key), json!({"event": event, "call-id": call_id}));
        Ok((json!({"event": event}), None))
    }

    pub(super) fn decline(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
    ) -> Reply {
        check(body, &DECLINE)?;
        if body.contains_key("refer_id") {
            return Err(PluginError::new(WRONG_STATE, "Wrong state (no transfer?)"));
        }
        let word = self.handles.get(&key).map_or("idle", |handle| handle.status_word());
        let call = self.handles.get_mut(&key).and_then(|handle| handle.call.as_mut());
        let Some(call) = call.filter(|call| matches!(call.status, Status::Invited | Status::Progress)) else {
            let text = format!("Wrong state (not invited? status={word})");
            return Err(PluginError::new(WRONG_STATE, text));
        };
        let code = match params::number(body, "code").unwrap_or(603) {
            code @ 400..=699 => code as u16,
            ..=399 => 486,
            _ => {
                return Err(PluginError::new(
                    INVALID_ELEMENT,
                    "Invalid element (code should be at most 699)",
                ));
            }
        };
        let (id, call_id) = (call.id, call.call_id.clone());
        self.ua.reject(now_ms(cx), id, code, "", &headers::custom(body)).map_err(of_ua)?;
        call.status = Status::Closing;
        cx.notify_event(
            Some(key),
            json!({"event": "declined", "callee": call.peer, "call-id": call_id, "code": code}),
        );
        Ok((json!({"event": "declining", "code": code, "call_id": call_id}), None))
    }

    pub(super) fn hangup(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
    ) -> Reply {
        check(body, &[optional("headers", Kind::Object)])?;
        let call = call_in(&mut self.handles, key, |status| status != Status::Closing)?;
        self.ua.hangup(now_ms(cx), call.id, &headers::custom(body)).map_err(of_ua)?;
        call.status = Status::Closing;
        Ok((json!({"event": "hangingup"}), None))
    }

    pub(super) fn send_ringing(&mut self, cx: &mut PluginCx<'_>, key: HandleKey) -> Reply {
        let unanswered = |status| matches!(status, Status::Invited | Status::Progress);
        let call = call_in(&mut self.handles, key, unanswered)?;
        self.ua.ring(now_ms(cx), call.id, &[]).map_err(of_ua)?;
        Ok((Value::Null, None))
    }
}
