use std::net::SocketAddr;
use std::time::Duration;

use super::agent::{Agent, ConsentLoss, Generation, Sink};
use super::pair::Check;
use super::{Random, Timers};
use crate::Time;

/// Unanswered consent checks after which a path counts as disconnected.
const MISSES_DISCONNECTED: u8 = 2;

/// A generation's selected pair and the consent to send over it (RFC 7675).
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// Index of the local candidate.
    pub local: u8,
    pub remote: SocketAddr,
    /// A check of ours was answered; false only as lite agent.
    pub validated: bool,
    /// The `Validated` event was polled.
    pub announced: bool,
    /// When the peer last consented: the last valid response, for a lite agent the last request.
    pub granted_at: Time,
    /// When the next consent check is due; `None` until its jitter was drawn.
    pub next_check_at: Option<Time>,
    pub check: Option<Check>,
    pub misses: u8,
}

impl Path {
    pub fn new(local: u8, remote: SocketAddr, validated: bool, announced: bool, now: Time) -> Path {
        Path {
            local,
            remote,
            validated,
            announced,
            granted_at: now,
            next_check_at: None,
            check: None,
            misses: 0,
        }
    }

    pub fn is(&self, local: u8, remote: SocketAddr) -> bool {
        self.local == local && self.remote == remote
    }

    pub fn is_disconnected(&self) -> bool {
        self.misses >= MISSES_DISCONNECTED
    }

    /// A valid response, or for a lite agent a valid request.
    pub fn grant(&mut self, now: Time) {
        self.granted_at = now;
        self.misses = 0;
        self.check = None;
    }

    /// When something is to be done. Before the jitter was drawn: at once.
    pub fn due_at(&self, lite: bool, timers: &Timers) -> Time {
        let expires_at = self.granted_at + timers.consent_expiry;
        if lite { expires_at } else { expires_at.min(self.next_check_at.unwrap_or(Time::ZERO)) }
    }
}

impl Agent {
    /// Sends the consent checks that are due and ends what has expired, for both generations.
    pub(super) fn keep_consent(&mut self, now: Time, random: &mut impl Random, out: &mut impl Sink) {
        if let Some(mut path) = self.previous.as_mut().and_then(|previous| previous.path.take()) {
            let lives = self.keep_path(&mut path, now);
            if let Some(previous) = &self.previous
                && lives
            {
                let sent = self.send_consent(previous, &mut path, now, random, out);
                self.counters.consent_sent += u64::from(sent);
            }
            if let Some(previous) = &mut self.previous {
                previous.path = lives.then_some(path);
            }
        }
        if let Some(mut path) = self.current.path.take() {
            if self.keep_path(&mut path, now) {
                let sent = self.send_consent(&self.current, &mut path, now, random, out);
                self.counters.consent_sent += u64::from(sent);
                self.current.path = Some(path);
            } else {
                self.failed = true;
                self.forget_pairs();
            }
        }
    }

    /// Whether there is still consent; notes a check that was not answered in time.
    fn keep_path(&mut self, path: &mut Path, now: Time) -> bool {
        let expired = now >= path.granted_at + self.timers.consent_expiry;
        if expired {
            if self.consent_loss == ConsentLoss::Fail {
                return false;
            }
            path.misses = path.misses.max(MISSES_DISCONNECTED);
            path.granted_at = now;
        }
        if path.next_check_at.is_some_and(|at| at <= now) && path.check.take().is_some() {
            path.misses = path.misses.saturating_add(1);
            self.counters.consent_missed += 1;
        }
        true
    }

    /// Each consent check is a transaction of its own and is not repeated: the next one does that
    /// (RFC 7675 §5.1). A lite agent sends none.
    fn send_consent(
        &self,
        generation: &Generation,
        path: &mut Path,
        now: Time,
        random: &mut impl Random,
        out: &mut impl Sink,
    ) -> bool {
        if self.lite || path.next_check_at.is_some_and(|at| at > now) {
            return false;
        }
        let due = path.next_check_at.is_some();
        path.next_check_at = Some(now + self.consent_interval(random));
        if due {
            let id = self.ids.make(self.token, random.next_u64());
            let check = path.check.insert(Check::new(id, path.local, self.role, false, Duration::ZERO));
            self.send_check(generation, path.remote, check, out);
        }
        due
    }

    /// The interval × 0.8–1.2 (RFC 7675 §5.1).
    fn consent_interval(&self, random: &mut impl Random) -> Duration {
        let per_mille = 800 + (random.next_u64() >> 32) % 401;
        self.timers.consent_interval * per_mille as u32 / 1000
    }
}
