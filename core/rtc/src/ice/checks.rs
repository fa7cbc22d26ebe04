use std::net::SocketAddr;
use std::time::Duration;

use bifrons_wire::stun::{BINDING, Class, Writer};

use super::Random;
use super::agent::{Agent, Generation, Role, Sink, local_preference};
use super::candidate::{self, Kind};
use super::pair::{Check, Pair};
use crate::Time;

/// Room for a check with the longest user name: 20 + 4 + 272 + 8 + 12 + 4 + 24 + 8 octets.
const CHECK_LEN_MAX: usize = 384;

/// The next thing that a checking agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// A new check that nominates the pair.
    Nominate(usize),
    /// The same check again, early because a request came from there, or because its time is up.
    Repeat(usize),
    /// A new check.
    Begin(usize),
}

impl Agent {
    /// Sends at most one check, and gives up where it is time (RFC 8445 §6.1.4.2, §8.1.1).
    pub(super) fn run_checks(&mut self, now: Time, random: &mut impl Random, out: &mut impl Sink) {
        if self.failed || self.current.remote.is_none() {
            return;
        }
        if !self.lite {
            self.end_unanswered(now);
            if now >= self.next_send_at
                && let Some((at, task)) = self.next_task()
                && at <= now
            {
                self.run_task(task, now, random, out);
                self.next_send_at = now + self.timers.ta;
            }
        }
        let started_at = *self.started_at.get_or_insert(now);
        if self.current.path.is_none() && now >= self.fails_at(started_at) {
            self.failed = true;
            self.forget_pairs();
        }
    }

    /// When checks are due, or the decision to give up.
    pub(super) fn checks_due_at(&self) -> Option<Time> {
        if self.failed || self.current.remote.is_none() {
            return None;
        }
        let Some(started_at) = self.started_at else { return Some(Time::ZERO) };
        let fails_at = self.current.path.is_none().then(|| self.fails_at(started_at));
        if self.lite {
            return fails_at;
        }
        // Not before Ta has passed.
        let task = self.next_task().map(|(at, _)| at.max(self.next_send_at));
        let unanswered = self.pairs.iter().filter_map(|pair| pair.check.as_ref());
        let unanswered = unanswered.filter(|check| check.is_exhausted()).map(|check| check.next_at).min();
        [task, unanswered, fails_at].into_iter().flatten().min()
    }

    fn fails_at(&self, started_at: Time) -> Time {
        let over = self.no_more_candidates && self.pairs.iter().all(|pair| pair.failed);
        started_at + if over { self.timers.patience.min(self.timers.give_up) } else { self.timers.give_up }
    }

    fn end_unanswered(&mut self, now: Time) {
        for pair in &mut self.pairs {
            if pair.check.as_ref().is_some_and(|check| check.is_exhausted() && check.next_at <= now) {
                pair.check = None;
                pair.failed = true;
                pair.valid = false;
                self.counters.checks_timed_out += 1;
            }
        }
    }

    /// The most urgent task and when it may be done: nominations, then triggered checks, repetitions,
    /// ordinary checks by priority.
    fn next_task(&self) -> Option<(Time, Task)> {
        if let Some((at, index)) = self.nominee()
            && at == Time::ZERO
        {
            return Some((at, Task::Nominate(index)));
        }
        let best = |wanted: fn(&Pair) -> bool| {
            let fitting = self.pairs.iter().enumerate().filter(|(_, pair)| wanted(pair));
            fitting.max_by_key(|(_, pair)| pair.priority).map(|(index, _)| index)
        };
        if let Some(index) = best(|pair| pair.triggered) {
            let begun = self.pairs.get(index).is_some_and(|pair| pair.check.is_some());
            return Some((Time::ZERO, if begun { Task::Repeat(index) } else { Task::Begin(index) }));
        }
        let checks =
            self.pairs.iter().enumerate().filter_map(|(index, pair)| Some((index, pair.check.as_ref()?)));
        let repeat = checks
            .filter(|(_, check)| !check.is_exhausted())
            .map(|(index, check)| (check.next_at, Task::Repeat(index)))
            .min_by_key(|&(at, _)| at);
        let begin = best(Pair::is_waiting).map(|index| (Time::ZERO, Task::Begin(index)));
        // Among those that are due a new check goes first: waiting pairs are few and begin once.
        let nominate = self.nominee().map(|(at, index)| (at, Task::Nominate(index)));
        [begin, nominate, repeat].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// The pair to nominate and when (RFC 8445 §8.1.1): at once when no pair of higher priority is
    /// still open, towards a lite peer, and when the selected pair has gone silent.
    fn nominee(&self) -> Option<(Time, usize)> {
        let silent = self.current.path.as_ref().is_some_and(|path| path.is_disconnected());
        let wanted = self.role == Role::Controlling && (self.current.path.is_none() || silent);
        let nominating = |check: &Check| check.use_candidate;
        if !wanted || self.pairs.iter().any(|pair| pair.check.as_ref().is_some_and(nominating)) {
            return None;
        }
        let valid = self.pairs.iter().enumerate().filter(|(_, pair)| pair.valid);
        let (index, best) = valid.max_by_key(|(_, pair)| pair.priority)?;
        let better = |pair: &Pair| pair.priority > best.priority && pair.is_pending();
        if self.remote_lite || silent || !self.pairs.iter().any(better) {
            return Some((Time::ZERO, index));
        }
        Some((self.first_valid_at? + self.timers.nomination_wait, index))
    }

    fn run_task(&mut self, task: Task, now: Time, random: &mut impl Random, out: &mut impl Sink) {
        let (Task::Nominate(index) | Task::Begin(index) | Task::Repeat(index)) = task;
        let rto = self.rto();
        let Some(pair) = self.pairs.get_mut(index) else { return };
        pair.triggered = false;
        let in_flight =
            pair.check.take().filter(|check| task == Task::Repeat(index) && !check.is_exhausted());
        let mut check = match in_flight {
            Some(check) => {
                self.counters.checks_retransmitted += 1;
                check
            }
            None => {
                pair.failed = false;
                let use_candidate = matches!(task, Task::Nominate(_));
                self.counters.checks_sent += 1;
                self.counters.nominations_sent += u64::from(use_candidate);
                let id = self.ids.make(self.token, random.next_u64());
                Check::new(id, pair.local, self.role, use_candidate, rto)
            }
        };
        check.sent(now);
        pair.check = Some(check);
        let remote = pair.remote;
        self.send_check(&self.current, remote, &check, out);
    }

    /// RFC 8445 §14.3: so long that a round of all open pairs fits in.
    fn rto(&self) -> Duration {
        let open = self.pairs.iter().filter(|pair| pair.is_pending()).count();
        self.timers.rto_min.max(self.timers.ta * open as u32)
    }

    /// Writes and sends a check with a generation's credentials (RFC 8445 §7.2.2).
    pub(super) fn send_check(
        &self,
        generation: &Generation,
        destination: SocketAddr,
        check: &Check,
        out: &mut impl Sink,
    ) {
        let (Some(local), Some(remote)) = (self.local.get(usize::from(check.local)), &generation.remote)
        else {
            return;
        };
        let mut buffer = [0; CHECK_LEN_MAX];
        let mut writer = Writer::new(&mut buffer, Class::Request, BINDING, check.id);
        writer.username(&[remote.ufrag().as_bytes(), b":", generation.local.ufrag().as_bytes()]);
        writer.priority(candidate::priority(Kind::PeerReflexive, local_preference(check.local.into())));
        match check.role {
            Role::Controlling => writer.ice_controlling(self.tie_breaker),
            Role::Controlled => writer.ice_controlled(self.tie_breaker),
        };
        if check.use_candidate {
            writer.use_candidate();
        }
        if let Ok(len) = writer.integrity(&remote.key).fingerprint().finish()
            && let Some(datagram) = buffer.get(..len)
        {
            out.send(local.socket, destination, datagram);
        }
    }
}
