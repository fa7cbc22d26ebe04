//! A leg's two deadlines, and what is done when they have come.
//!
//! That of its transport (ICE) stands in the wheel under the leg's slot, that of its media (keys, reports,
//! feedback, silence) under a key of its own: a consent check every few seconds, on each of ten thousand silent
//! legs, does not bring all that a leg has into the cache.

use std::time::Duration;

use bifrons_rtc::Time;

use super::Worker;
use super::ice::IceSink;
use crate::counter::Work;
use crate::driver::Driver;
use crate::leg::{Crypto, Leg, Transport};
use crate::media::StreamRef;
use crate::message::Garbage;

/// Timers that go together, so that the misses of their legs are waited for at once.
pub(super) const GROUP: usize = 16;
/// How soon a start of DTLS that found the ring full is tried again, and an address that another leg had.
const START_RETRY: Duration = Duration::from_millis(20);

impl<D: Driver> Worker<D> {
    pub(super) fn run_timers(&mut self, now: Time) {
        loop {
            while self.due.len() < GROUP
                && let Some(key) = self.wheel.expired(now)
            {
                self.due.push(key);
            }
            if self.due.is_empty() {
                return;
            }
            self.warm_timers();
            while let Some(key) = self.due.pop() {
                self.counters.add(Work::Timers, 1);
                self.leg_timer(now, key);
            }
        }
    }

    /// Timers that a caught panic has left undone are due again.
    pub(super) fn put_back_due(&mut self, now: Time) {
        while let Some(key) = self.due.pop() {
            self.wheel.set(key, Some(now));
        }
    }

    /// Under which key a leg's media stand in the wheel.
    pub(super) fn media_key(&self, slot: u32) -> u32 {
        slot.saturating_add(self.settings.legs as u32)
    }

    fn leg_timer(&mut self, now: Time, key: u32) {
        let media = key.checked_sub(self.media_key(0));
        let slot = media.unwrap_or(key);
        let Some(leg) = self.legs.at_mut(slot) else { return };
        let id = leg.id;
        self.current = Some(id);
        if leg.closing.is_some_and(|at| at <= now) {
            return self.remove_leg(id);
        }
        if leg.ended {
            return;
        }
        if media.is_some() {
            return self.media_timer(now, slot);
        }
        if let Transport::WebRtc(webrtc) = &mut leg.transport {
            let mut sink =
                IceSink { driver: &mut self.driver, locals: &self.locals, counters: &self.counters };
            webrtc.agent.on_timeout(now, &mut self.random, &mut sink);
            self.retry_flow(now, id);
            self.start_dtls(id);
            self.after_ice(now, id);
        }
    }

    fn media_timer(&mut self, now: Time, slot: u32) {
        let Some(leg) = self.legs.at_mut(slot) else { return };
        let id = leg.id;
        let mut expired = None;
        if let Crypto::Srtp(keys) = &mut leg.crypto {
            expired = keys.expire(now);
        }
        if leg.report_at <= now {
            self.send_reports(now, id);
        }
        if let Some(keys) = expired {
            self.free(Garbage::Keys(keys));
        }
        let lines = self.legs.get(id).map_or(0, |leg| leg.streams.len());
        for mline in 0..lines {
            let source = StreamRef { leg: id, mline: mline as u8 };
            self.stream_timer(now, source);
        }
        self.rearm_media(slot);
    }

    fn stream_timer(&mut self, now: Time, source: StreamRef) {
        let Some(stream) = self.stream_mut(source) else { return };
        let input = &mut stream.input;
        let silent = input.activity.on_timeout(now);
        let dtmf = input.dtmf.on_timeout(now);
        let keyframe = input.keyframes.due(now);
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let feedback = due(input.nack.as_ref().and_then(|nack| nack.deadline()))
            || due(input.twcc.as_ref().and_then(|twcc| twcc.deadline()))
            || due(input.cap.deadline());
        if let Some(silent) = silent {
            stream.silent_s = silent.silence.as_secs() as u32;
            self.tell(source.leg, |pending| pending.receiving |= 1 << source.mline);
        }
        if let Some(event) = dtmf {
            self.tell_dtmf(source.leg, source.mline, event.event, event.duration);
        }
        if keyframe {
            self.send_keyframe_request(source);
        }
        if feedback {
            self.send_feedback(now, source);
        }
    }

    /// Sets a leg's deadlines to the earliest of all that it waits for.
    pub(super) fn rearm(&mut self, slot: u32, now: Time) {
        self.rearm_transport(slot, now);
        self.rearm_media(slot);
    }

    /// Sets the deadline of a leg's transport, or that of its end.
    pub(super) fn rearm_transport(&mut self, slot: u32, now: Time) {
        let Some(leg) = self.legs.at(slot) else { return };
        self.wheel.set(slot, transport_deadline(leg, now));
    }

    fn rearm_media(&mut self, slot: u32) {
        let Some(leg) = self.legs.at(slot) else { return };
        self.wheel.set(self.media_key(slot), media_deadline(leg));
    }

    /// A leg that is gone has no deadlines.
    pub(super) fn disarm(&mut self, slot: u32) {
        self.wheel.set(slot, None);
        self.wheel.set(self.media_key(slot), None);
    }
}

fn transport_deadline(leg: &Leg, now: Time) -> Option<Time> {
    if leg.closing.is_some() || leg.ended {
        return leg.closing;
    }
    match &leg.transport {
        Transport::WebRtc(webrtc) => {
            let waits = webrtc.start.is_some() && webrtc.dtls_path().is_some() || webrtc.wanted.is_some();
            let retry = waits.then(|| now + START_RETRY);
            webrtc.agent.next_timeout().into_iter().chain(retry).min()
        }
        Transport::Rtp(_) => None,
    }
}

fn media_deadline(leg: &Leg) -> Option<Time> {
    if leg.closing.is_some() || leg.ended {
        return None;
    }
    let keys = match &leg.crypto {
        Crypto::Srtp(keys) => keys.next_timeout(),
        _ => None,
    };
    let streams = leg.streams.iter().flat_map(|stream| {
        let input = &stream.input;
        // The cap can be told only once there is an SSRC to name.
        let cap = input.ssrc.filter(|_| stream.feedback.remb && leg.up).and_then(|_| input.cap.deadline());
        [
            input.activity.deadline(),
            input.dtmf.deadline(),
            input.keyframes.deadline(),
            cap,
            input.nack.as_ref().and_then(|nack| nack.deadline()),
            input.twcc.as_ref().and_then(|twcc| twcc.deadline()),
        ]
    });
    let report = leg.up.then_some(leg.report_at).filter(|at| *at != Time::MAX);
    [keys, report].into_iter().chain(streams).flatten().min()
}
