//! How things end: PeerConnections, handles, sessions; and the effects that plugins asked for.

use std::time::Duration;

use bifrons_engine::Media;
use bifrons_engine::media::{LegEnd, MediaKind, Notice};
use serde_json::{Value, json};

use crate::Api;
use crate::output::SessionEnd;
use crate::plugin::HandleKey;
use crate::state::Effect;

impl Api {
    /// Does what plugins asked for, in order, until nothing is left.
    pub(crate) fn run_effects(&mut self, media: &mut dyn Media) {
        while let Some(effect) = self.core.effects.pop_front() {
            match effect {
                Effect::PushEvent { handle, transaction, data, jsep } => {
                    self.push_event(media, handle, transaction.as_deref(), data, jsep.map(|jsep| *jsep));
                }
                Effect::ClosePc(handle) => self.hang_up(media, handle, "Close PC"),
                Effect::EndHandle(handle) => self.end_handle(media, handle),
                Effect::Negotiated(handle) => {
                    let negotiated = self.core.handles.get(&handle).filter(|handle| handle.pc.is_some());
                    if let Some(plugin) = negotiated.map(|handle| handle.plugin) {
                        self.call(media, plugin, |plugin, cx| plugin.negotiated(cx, handle));
                    }
                }
            }
        }
    }

    /// Closes a handle's PeerConnection and tells the plugin. False: there was none.
    pub(crate) fn close_pc(&mut self, media: &mut dyn Media, key: HandleKey) -> bool {
        let Some(handle) = self.core.handles.get_mut(&key) else { return false };
        handle.candidates.clear();
        let Some(pc) = handle.pc.take() else { return false };
        let plugin = handle.plugin;
        self.core.legs.remove(&pc.leg);
        media.close_leg(pc.leg);
        self.call(media, plugin, |plugin, cx| plugin.hangup_media(cx, key));
        true
    }

    /// Closes a handle's PeerConnection and tells the client why, after what the plugin has to say.
    pub(crate) fn hang_up(&mut self, media: &mut dyn Media, key: HandleKey, reason: &str) {
        if self.close_pc(media, key) {
            self.run_effects(media);
            self.core.handle_event(key, "hangup", &[("reason", reason.into())]);
        }
    }

    /// Detaches a handle; `detached` goes to the client last.
    pub(crate) fn end_handle(&mut self, media: &mut dyn Media, key: HandleKey) {
        let Some(plugin) = self.core.handles.get(&key).map(|handle| handle.plugin) else { return };
        self.close_pc(media, key);
        self.run_effects(media);
        self.call(media, plugin, |plugin, cx| plugin.detach(cx, key));
        self.core.handle_event(key, "detached", &[]);
        self.forget_handle(media, key);
    }

    /// Takes a handle out of the tables; legs that its plugin left open are closed.
    pub(crate) fn forget_handle(&mut self, media: &mut dyn Media, key: HandleKey) {
        let Some(handle) = self.core.handles.remove(&key) else { return };
        for leg in handle.own_legs {
            self.core.legs.remove(&leg);
            media.close_leg(leg);
        }
        if let Some(session) = self.core.sessions.get_mut(&handle.session) {
            session.handles.remove(&handle.id);
        }
    }

    /// Ends a session: it leaves the table first, so nothing of what follows reaches the client.
    pub(crate) fn end_session(&mut self, media: &mut dyn Media, id: u64, why: SessionEnd) {
        if why == SessionEnd::TimedOut {
            self.core.event(id, &json!({"janus": "timeout", "session_id": id as i64}));
        }
        let Some(session) = self.core.sessions.remove(&id) else { return };
        if let Some(owner) = session.owner {
            self.core.forget_owner(owner, id, why);
        }
        for key in session.handles.into_values() {
            self.end_handle(media, key);
        }
    }

    /// The watchdog's round.
    pub(crate) fn end_idle_sessions(&mut self, media: &mut dyn Media) {
        let core = &self.core;
        let timeout = Duration::from_secs(core.config.session_timeout_s);
        let reclaim = Duration::from_secs(core.config.reclaim_session_timeout_s);
        let mut idle: Vec<u64> = core
            .sessions
            .iter()
            .filter(|(_, session)| {
                let idle = core.now.saturating_sub(session.last_activity);
                (!timeout.is_zero() && idle >= timeout) || (session.owner.is_none() && idle >= reclaim)
            })
            .map(|(&id, _)| id)
            .collect();
        idle.sort_unstable();
        for id in idle {
            self.core.counters.sessions_timed_out += 1;
            self.end_session(media, id, SessionEnd::TimedOut);
            self.run_effects(media);
        }
    }

    /// Something happened to a leg.
    pub(crate) fn notice(&mut self, media: &mut dyn Media, notice: &Notice) {
        let leg = match notice {
            Notice::IceSelected { leg, .. }
            | Notice::IceDisconnected { leg }
            | Notice::Up { leg }
            | Notice::Ended { leg, .. }
            | Notice::Latched { leg, .. } => *leg,
            Notice::Receiving { stream, .. }
            | Notice::SlowLink { stream, .. }
            | Notice::Dtmf { stream, .. } => stream.leg,
        };
        let Some(&key) = self.core.legs.get(&leg) else { return };
        let Some(handle) = self.core.handles.get_mut(&key) else { return };
        let plugin = handle.plugin;
        let mut end = None;
        if let Some(pc) = handle.pc.as_mut().filter(|pc| pc.leg == leg) {
            let mline =
                |index: u8| pc.streams.get(usize::from(index)).map(|s| (s.mid.clone(), kind_name(s.kind)));
            match notice {
                Notice::Up { .. } if !pc.up => {
                    pc.up = true;
                    self.core.handle_event(key, "webrtcup", &[]);
                    self.call(media, plugin, |plugin, cx| plugin.webrtc_up(cx, key));
                }
                Notice::IceSelected { .. } => pc.ice_failed = false,
                Notice::IceDisconnected { .. } if pc.up && !pc.ice_failed => {
                    // The engine goes on until consent expires (RFC 7675): that is the time in which the
                    // client can restart ICE.
                    pc.ice_failed = true;
                    self.core.handle_event(key, "ice-failed", &[]);
                    if self.core.config.hangup_on_failed {
                        end = Some("ICE failed");
                    }
                }
                Notice::Receiving { stream, receiving, silent_s } => {
                    if let Some((mid, kind)) = mline(stream.mline) {
                        let mut members = vec![
                            ("mid", mid.into()),
                            ("type", kind.into()),
                            ("receiving", Value::Bool(*receiving)),
                        ];
                        if !receiving && self.core.config.no_media_timer_s > 1 {
                            members.push(("seconds", (*silent_s).into()));
                        }
                        self.core.handle_event(key, "media", &members);
                    }
                }
                Notice::SlowLink { stream, uplink, lost } => {
                    if let Some((mid, kind)) = mline(stream.mline) {
                        let members = [
                            ("mid", mid.into()),
                            ("media", kind.into()),
                            ("uplink", Value::Bool(*uplink)),
                            ("lost", (*lost).into()),
                        ];
                        self.core.handle_event(key, "slowlink", &members);
                    }
                }
                Notice::Ended { why, .. } => end = Some(reason(*why)),
                _ => {}
            }
        }
        self.call(media, plugin, |plugin, cx| plugin.media_notice(cx, key, notice));
        if let Some(reason) = end {
            self.hang_up(media, key, reason);
        }
    }
}

fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

/// The `reason` of a `hangup` event.
fn reason(why: LegEnd) -> &'static str {
    match why {
        LegEnd::IceFailed | LegEnd::ConsentExpired => "ICE failed",
        LegEnd::DtlsAlert => "DTLS alert",
        LegEnd::DtlsTimeout => "DTLS timeout",
        LegEnd::DtlsError => "DTLS error",
        LegEnd::WorkerLost => "Worker lost",
    }
}
