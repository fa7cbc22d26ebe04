//! Joining two calls, and the echo phone's.

use super::server::{Registrar, RegistrarEvent};
use crate::message::{Reason, Uri};
use crate::ua::{CallId, RequestOptions, UaEvent};

impl Registrar {
    /// Does what the agent has heard of.
    pub(super) fn hear(&mut self, now_ms: u64) {
        while let Some(event) = self.agent.poll_event() {
            self.on_event(now_ms, event);
        }
    }

    fn on_event(&mut self, now_ms: u64, event: UaEvent) {
        match event {
            UaEvent::Incoming { call, request_uri, from, sdp, .. } => {
                let user = Uri::parse(&request_uri).ok().and_then(|uri| uri.user()).unwrap_or_default();
                if user == self.echo {
                    self.echoes.insert(call, ());
                    self.events.push_back(RegistrarEvent::EchoOffer { call, sdp });
                    return;
                }
                if user == self.callback {
                    let user = from.uri.user().unwrap_or_default();
                    self.events.push_back(RegistrarEvent::CallBackWanted { user });
                    let _ = self.agent.reject(now_ms, call, 480, "", &[]);
                    return;
                }
                let Some(target) = self.bindings.target(now_ms, &user) else {
                    let code = if self.has_user(&user) { 480 } else { 404 };
                    let _ = self.agent.reject(now_ms, call, code, "", &[]);
                    return;
                };
                let options = RequestOptions { from: Some(from), ..RequestOptions::default() };
                match self.agent.invite(now_ms, self.account, &target, sdp, options) {
                    Ok(other) => {
                        self.bridges.insert(call, other);
                        self.bridges.insert(other, call);
                    }
                    Err(_) => drop(self.agent.reject(now_ms, call, 503, "", &[])),
                }
            }
            UaEvent::Ended { call, code, reason_header, .. } => {
                if self.echoes.remove(&call).is_some() {
                    self.events.push_back(RegistrarEvent::EchoEnded { call });
                }
                if let Some(other) = self.bridges.remove(&call) {
                    self.bridges.remove(&other);
                    self.end_other(now_ms, other, code, reason_header);
                }
            }
            UaEvent::Message { call: None, request_uri, from, content_type, content, .. } => {
                let user = Uri::parse(&request_uri).ok().and_then(|uri| uri.user()).unwrap_or_default();
                if user == self.echo {
                    let user = from.uri.user().unwrap_or_default();
                    self.events.push_back(RegistrarEvent::CallBackWanted { user });
                } else if let Some(target) = self.bindings.target(now_ms, &user) {
                    let options = RequestOptions { from: Some(from), ..RequestOptions::default() };
                    let account = self.account;
                    let _ = self.agent.message_to(account, &target, &content_type, content, options);
                }
            }
            // Transfers go between the users' own agents, not through here.
            UaEvent::Refer { refer, .. } => drop(self.agent.refer_progress(now_ms, refer, 501, "")),
            other => self.on_session_event(now_ms, other),
        }
    }

    fn end_other(&mut self, now_ms: u64, other: CallId, code: u16, reason: Option<Reason>) {
        let headers: Vec<(String, String)> =
            reason.into_iter().map(|reason| (String::from("Reason"), reason.to_string())).collect();
        let code = if (300..700).contains(&code) { code } else { 480 };
        if self.agent.reject(now_ms, other, code, "", &headers).is_err() {
            let _ = self.agent.hangup(now_ms, other, &headers);
        }
    }

    /// What happens inside a call goes to the other one, or to the echo phone's owner.
    fn on_session_event(&mut self, now_ms: u64, event: UaEvent) {
        let call = match &event {
            UaEvent::Provisional { call, .. }
            | UaEvent::Accepted { call, .. }
            | UaEvent::Acknowledged { call, .. }
            | UaEvent::ReinviteReceived { call, .. }
            | UaEvent::ReinviteAccepted { call, .. }
            | UaEvent::ReinviteFailed { call, .. }
            | UaEvent::Info { call, .. }
            | UaEvent::Message { call: Some(call), .. } => *call,
            _ => return,
        };
        if self.echoes.contains_key(&call) {
            match event {
                UaEvent::Accepted { sdp: Some(sdp), .. } | UaEvent::Acknowledged { sdp: Some(sdp), .. } => {
                    self.events.push_back(RegistrarEvent::EchoAnswered { call, sdp });
                }
                // Without an answer there is nothing to echo.
                UaEvent::Accepted { sdp: None, .. } => drop(self.agent.hangup(now_ms, call, &[])),
                UaEvent::ReinviteReceived { sdp, .. } => {
                    self.events.push_back(RegistrarEvent::EchoReoffer { call, sdp });
                }
                _ => {}
            }
            return;
        }
        let Some(other) = self.bridges.get(&call).copied() else { return };
        let agent = &mut self.agent;
        let done = match event {
            UaEvent::Provisional { sdp: Some(sdp), .. } => agent.progress(now_ms, other, sdp, &[]),
            UaEvent::Provisional { code: 180, .. } => agent.ring(now_ms, other, &[]),
            UaEvent::Provisional { .. } => Ok(()),
            UaEvent::Accepted { sdp, .. } => agent.accept(now_ms, other, sdp.unwrap_or_default(), &[]),
            // The answer to an offer that went through in a 200.
            UaEvent::Acknowledged { sdp: Some(sdp), .. } => agent.answer(now_ms, other, sdp),
            UaEvent::ReinviteReceived { sdp, .. } => agent
                .reinvite(now_ms, other, sdp, &[])
                .or_else(|_| agent.reject_reinvite(now_ms, call, 491, &[])),
            UaEvent::ReinviteAccepted { sdp, .. } => {
                agent.answer_reinvite(now_ms, other, sdp.unwrap_or_default(), &[])
            }
            UaEvent::ReinviteFailed { code, .. } => agent.reject_reinvite(now_ms, other, code, &[]),
            UaEvent::Info { content_type, content, .. } => {
                agent.info(other, &content_type, content, &[]).map(|_| ())
            }
            UaEvent::Message { content_type, content, .. } => {
                agent.message(other, &content_type, content, &[]).map(|_| ())
            }
            _ => Ok(()),
        };
        // What one half cannot take any more, its own end will tell the other.
        let _ = done;
    }
}
