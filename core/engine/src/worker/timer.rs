//! A leg's one deadline, and what is done when it has come.

use std::time::Duration;

use bifrons_rtc::Time;

use super::Worker;
use super::ice::IceSink;
use crate::counter::Work;
use crate::driver::Driver;
use crate::leg::{Crypto, Leg, Transport};
use crate::media::StreamRef;
use crate::message::Garbage;

/// How soon a start of DTLS that found the ring full is tried again, and an address that another leg had.
const START_RETRY: Duration = Duration::from_millis(20);

impl<D: Driver> Worker<D> {
    pub(super) fn run_timers(&mut self, now: Time) {
        while let Some(slot) = self.wheel.expired(now) {
            self.counters.add(Work::Timers, 1);
            self.leg_timer(now, slot);
        }
    }

    fn leg_timer(&mut self, now: Time, slot: u32) {
        let Some(leg) = self.legs.at_mut(slot) else { return };
        let id = leg.id;
        self.current = Some(id);
        if leg.closing.is_some_and(|at| at <= now) {
            return self.remove_leg(id);
        }
        if leg.ended {
            return;
        }
        let mut expired = None;
        if let Crypto::Srtp(keys) = &mut leg.crypto {
            expired = keys.expire(now);
        }
        let reports = leg.report_at <= now;
        if let Transport::WebRtc(webrtc) = &mut leg.transport {
            let mut sink =
                IceSink { driver: &mut self.driver, locals: &self.locals, counters: &self.counters };
            webrtc.agent.on_timeout(now, &mut self.random, &mut sink);
            self.retry_flow(now, id);
            self.start_dtls(id);
            self.after_ice(now, id);
        }
        if reports {
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
        self.rearm(slot, now);
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

    /// Sets a leg's deadline to the earliest of all that it waits for.
    pub(super) fn rearm(&mut self, slot: u32, now: Time) {
        let Some(leg) = self.legs.at(slot) else { return };
        self.wheel.set(slot, deadline(leg, now));
    }
}

fn deadline(leg: &Leg, now: Time) -> Option<Time> {
    if leg.closing.is_some() || leg.ended {
        return leg.closing;
    }
    let transport = match &leg.transport {
        Transport::WebRtc(webrtc) => {
            let waits = webrtc.start.is_some() && webrtc.dtls_path().is_some() || webrtc.wanted.is_some();
            let retry = waits.then(|| now + START_RETRY);
            webrtc.agent.next_timeout().into_iter().chain(retry).min()
        }
        Transport::Rtp(_) => None,
    };
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
    [transport, keys, report].into_iter().chain(streams).flatten().min()
}
