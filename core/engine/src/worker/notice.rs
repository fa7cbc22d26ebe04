//! What a worker tells the control side: notices as dirty state of a leg, memory and sockets in an
//! outbox, both bounded by what the control side itself has opened.

use crate::counter::Work;
use crate::driver::Driver;
use crate::id::LegId;
use crate::leg::{Leg, Pending, Transport};
use crate::media::{LegEnd, Notice, StreamRef};
use crate::message::{Garbage, Report};

use super::Worker;

impl<D: Driver> Worker<D> {
    /// Changes what is pending of a leg and notes the leg as dirty.
    pub(super) fn tell(&mut self, id: LegId, change: impl FnOnce(&mut Pending)) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        change(&mut leg.pending);
        if !std::mem::replace(&mut leg.pending.queued, true) {
            self.dirty.push_back(id.slot());
        }
    }

    /// Ends a leg on our side: nothing is sent from now on, and the control side is told why.
    pub(super) fn end_leg(&mut self, id: LegId, why: LegEnd) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.up = false;
        if std::mem::replace(&mut leg.ended, true) {
            return;
        }
        self.tell(id, |pending| pending.ended = Some(why));
    }

    /// Gives memory back to the control side.
    pub(super) fn free(&mut self, garbage: Garbage) {
        self.report(Report::Free(garbage));
    }

    pub(super) fn report(&mut self, report: Report<D::Socket>) {
        let report = if self.outbox.is_empty() {
            match self.reports.push(report) {
                Ok(()) => {
                    self.notify.note();
                    return;
                }
                Err(rtrb::PushError::Full(report)) => report,
            }
        } else {
            report
        };
        self.outbox.push_back(report);
    }

    /// Moves as much as the ring takes, and wakes the control side if there is anything.
    pub(super) fn flush_reports(&mut self) {
        while let Some(report) = self.outbox.pop_front() {
            if let Err(rtrb::PushError::Full(report)) = self.reports.push(report) {
                self.outbox.push_front(report);
                break;
            }
            self.notify.note();
        }
        while let Some(slot) = self.dirty.front().copied() {
            let Some(leg) = self.legs.at_mut(slot) else {
                self.dirty.pop_front();
                continue;
            };
            while let Some(notice) = next_notice(leg, self.reports.is_full()) {
                if self.reports.push(Report::Notice(notice)).is_ok() {
                    self.notify.note();
                    self.counters.add(Work::Notices, 1);
                }
            }
            if self.reports.is_full() {
                break;
            }
            leg.pending.queued = false;
            self.dirty.pop_front();
        }
        self.notify.fire();
    }
}

/// Takes the next pending notice of a leg; none where the ring has no room.
fn next_notice(leg: &mut Leg, full: bool) -> Option<Notice> {
    if full {
        return None;
    }
    let id = leg.id;
    let pending = &mut leg.pending;
    if let Some(remote) = pending.latched.take() {
        return Some(Notice::Latched { leg: id, remote });
    }
    if let Some((local, remote)) = pending.selected.take() {
        return Some(Notice::IceSelected { leg: id, local, remote });
    }
    if std::mem::take(&mut pending.up) {
        return Some(Notice::Up { leg: id });
    }
    while pending.receiving != 0 {
        let mline = pending.receiving.trailing_zeros() as u8;
        pending.receiving &= pending.receiving - 1;
        // An m-line that has gone since has nothing to say.
        let Some(line) = leg.streams.get(usize::from(mline)) else { continue };
        let receiving = line.input.activity.is_receiving();
        let stream = StreamRef { leg: id, mline };
        return Some(Notice::Receiving { stream, receiving, silent_s: line.silent_s });
    }
    for ((direction, bits), uplink) in pending.slow.iter_mut().enumerate().zip([true, false]) {
        while *bits != 0 {
            let mline = bits.trailing_zeros() as u8;
            *bits &= *bits - 1;
            let Some(line) = leg.streams.get(usize::from(mline)) else { continue };
            let lost = line.slow.get(direction).copied().unwrap_or(0);
            return Some(Notice::SlowLink { stream: StreamRef { leg: id, mline }, uplink, lost });
        }
    }
    if pending.dtmf_len > 0 {
        let [(mline, event, duration), ..] = pending.dtmf;
        pending.dtmf.rotate_left(1);
        pending.dtmf_len -= 1;
        return Some(Notice::Dtmf { stream: StreamRef { leg: id, mline }, event, duration });
    }
    if std::mem::take(&mut pending.disconnected) {
        return Some(Notice::IceDisconnected { leg: id });
    }
    pending.ended.take().map(|why| Notice::Ended { leg: id, why })
}

impl Leg {
    /// The local addresses are known to the agent only.
    pub(crate) fn selected_path(&self) -> Option<crate::message::Path> {
        match &self.transport {
            Transport::WebRtc(webrtc) => webrtc.agent.selected().map(|pair| (pair.local, pair.remote)),
            Transport::Rtp(_) => None,
        }
    }
}
