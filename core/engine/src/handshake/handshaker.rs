use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bifrons_rtc::Time;
use bifrons_rtc::dtls::{Connected, DtlsContext, Event, FailReason, Role, Session, Tail, TailEvent};
use bifrons_rtc::srtp::{Backend, Inbound, Outbound};

use super::HandshakeCount::{self, Refused};
use super::{FromHandshake, HandshakeCounters, HandshakerLink, Start, ToHandshake};
use crate::id::LegId;
use crate::leg::Keys;
use crate::media::LegEnd;
use crate::message::Inline;

/// Messages that wait for a full ring at most, a worker. More are dropped: DTLS sends again.
const BACKLOG_MAX: usize = 4_096;
/// How long a leg waits for the peer's hello.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a handshake counts as in progress. It goes on afterwards; but peers that begin and do not go on,
/// silent or saying the same again and again, would keep all others waiting.
const TURN: Duration = Duration::from_secs(1);
/// Datagrams of one leg that wait until its handshake begins.
const EARLY_MAX: usize = 16;

/// The DTLS sessions of some workers' legs, sans-IO: [`Handshaker::turn`] does all there is to do.
pub struct Handshaker {
    context: DtlsContext,
    backend: Backend,
    links: Vec<HandshakerLink>,
    backlog: Vec<VecDeque<FromHandshake>>,
    sessions: HashMap<LegId, Entry>,
    deadlines: BTreeSet<(Time, LegId)>,
    /// Legs that could begin, were it not for the bound of handshakes in progress.
    waiting: VecDeque<LegId>,
    in_progress: usize,
    in_progress_max: usize,
    counters: Arc<HandshakeCounters>,
}

/// Where a leg's DTLS stands.
struct Entry {
    link: usize,
    state: State,
    early: Vec<Inline>,
    /// Its place in [`Handshaker::deadlines`].
    deadline: Option<Time>,
}

enum State {
    /// Waits for its turn, as server first of all for the peer's hello.
    Waiting {
        start: Box<Start>,
        queued: bool,
        until: Time,
    },
    Active {
        session: Box<Session>,
        /// Until when it counts among the handshakes in progress.
        turn_ends: Option<Time>,
    },
    Tail(Box<Tail>),
    Over,
}

impl Handshaker {
    pub(crate) fn new(
        context: DtlsContext,
        backend: Backend,
        links: Vec<HandshakerLink>,
        in_progress_max: usize,
    ) -> Self {
        Self {
            context,
            backend,
            backlog: links.iter().map(|_| VecDeque::new()).collect(),
            links,
            sessions: HashMap::new(),
            deadlines: BTreeSet::new(),
            waiting: VecDeque::new(),
            in_progress: 0,
            in_progress_max,
            counters: Arc::default(),
        }
    }

    /// Takes what the workers sent, does what is due, and gives the answers back. Returns when it
    /// wants to be called again although nothing arrives.
    pub fn turn(&mut self, now: Time) -> Option<Time> {
        for link in 0..self.links.len() {
            while let Some(message) = self.links.get_mut(link).and_then(|link| link.from.pop().ok()) {
                self.take(now, link, message);
                self.deliver(link);
            }
        }
        self.run_timers(now);
        self.begin_waiting(now);
        let next = self.deadlines.first().map(|(at, _)| *at);
        for link in 0..self.links.len() {
            self.deliver(link);
        }
        self.counters.set(HandshakeCount::InProgress, self.in_progress as u64);
        self.counters.set(HandshakeCount::Waiting, self.waiting.len() as u64);
        let backlog = self.backlog.iter().any(|backlog| !backlog.is_empty());
        let soon = backlog.then(|| now + Duration::from_millis(1));
        next.into_iter().chain(soon).min()
    }

    /// Gives a worker what there is for it. A flight leaves when it is made and not when the turn ends: the
    /// others' flights of a turn cost 0.1 ms each, and peers whose answers wait for them would have nothing to
    /// do meanwhile and then all at once.
    fn deliver(&mut self, link: usize) {
        let (Some(link), Some(backlog)) = (self.links.get_mut(link), self.backlog.get_mut(link)) else {
            return;
        };
        let mut any = false;
        while let Some(message) = backlog.pop_front() {
            if let Err(rtrb::PushError::Full(message)) = link.to.push(message) {
                backlog.push_front(message);
                break;
            }
            any = true;
        }
        if any {
            link.waker.wake();
        }
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<HandshakeCounters> {
        self.counters.clone()
    }

    fn take(&mut self, now: Time, link: usize, message: ToHandshake) {
        match message {
            ToHandshake::Start(start) => {
                if let Some(entry) = self.sessions.remove(&start.leg) {
                    self.forget(start.leg, entry);
                }
                let leg = start.leg;
                let queued = start.role == Role::Client;
                let state = State::Waiting { start, queued, until: now + PATIENCE };
                self.sessions.insert(leg, Entry { link, state, early: Vec::new(), deadline: None });
                if queued {
                    self.waiting.push_back(leg);
                }
                self.schedule(leg);
            }
            ToHandshake::Datagram { leg, datagram } => {
                let Some(entry) = self.sessions.get_mut(&leg) else { return };
                match &mut entry.state {
                    State::Waiting { .. } if entry.early.len() >= EARLY_MAX => self.counters.add(Refused),
                    State::Waiting { queued, .. } => {
                        entry.early.push(datagram);
                        if !std::mem::replace(queued, true) {
                            self.waiting.push_back(leg);
                        }
                    }
                    State::Active { session, .. } => {
                        session.handle_datagram(now, datagram.bytes());
                        self.after(leg);
                    }
                    State::Tail(tail) => match tail.handle_datagram(datagram.bytes()) {
                        Some(TailEvent::Closed) => {
                            let answer = tail.close();
                            self.over(leg, answer);
                        }
                        Some(TailEvent::Alert(_)) => self.over(leg, None),
                        Some(TailEvent::Repeat) => {
                            let flight: Vec<_> = tail
                                .last_flight()
                                .iter()
                                .filter_map(|datagram| Inline::new(datagram))
                                .collect();
                            for datagram in flight {
                                self.send(link, FromHandshake::Datagram { leg, datagram });
                            }
                        }
                        None => {}
                    },
                    State::Over => {}
                }
            }
            ToHandshake::Close { leg } => {
                let entry = self.sessions.remove(&leg);
                if let Some(mut entry) = entry {
                    match &mut entry.state {
                        State::Active { session, .. } => {
                            session.close();
                            while let Some(datagram) = session.poll_transmit() {
                                self.transmit(link, leg, &datagram);
                            }
                        }
                        State::Tail(tail) => {
                            if let Some(datagram) = tail.close() {
                                self.transmit(link, leg, &datagram);
                            }
                        }
                        State::Waiting { .. } | State::Over => {}
                    }
                    self.forget(leg, entry);
                }
                self.send(link, FromHandshake::Closed { leg });
            }
        }
    }

    fn begin_waiting(&mut self, now: Time) {
        while self.in_progress < self.in_progress_max {
            let Some(leg) = self.waiting.pop_front() else { break };
            // Closed, or started anew, while it waited.
            let Some(entry) = self.sessions.get_mut(&leg) else { continue };
            let State::Waiting { start, queued: true, .. } = &entry.state else { continue };
            let session =
                Session::new(&self.context, start.role, now, std::slice::from_ref(&start.fingerprint));
            let Ok(mut session) = session else {
                entry.state = State::Over;
                let link = entry.link;
                self.send(link, FromHandshake::Ended { leg, why: LegEnd::DtlsError });
                continue;
            };
            for datagram in entry.early.drain(..) {
                session.handle_datagram(now, datagram.bytes());
            }
            entry.state = State::Active { session: Box::new(session), turn_ends: Some(now + TURN) };
            self.in_progress += 1;
            self.counters.add(HandshakeCount::Started);
            let link = entry.link;
            self.after(leg);
            self.deliver(link);
        }
    }

    fn run_timers(&mut self, now: Time) {
        while let Some((at, leg)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, leg));
            let Some(entry) = self.sessions.get_mut(&leg) else { continue };
            entry.deadline = None;
            match &mut entry.state {
                State::Waiting { until, .. } if *until <= now => {
                    entry.state = State::Over;
                    self.counters.add(HandshakeCount::TimedOut);
                    let link = entry.link;
                    self.send(link, FromHandshake::Ended { leg, why: LegEnd::DtlsTimeout });
                }
                State::Active { session, turn_ends } => {
                    if turn_ends.take_if(|at| *at <= now).is_some() {
                        self.in_progress -= 1;
                    }
                    session.on_timeout(now);
                    self.after(leg);
                }
                State::Waiting { .. } | State::Tail(_) | State::Over => {}
            }
        }
    }

    /// Notes when a session wants to be looked at again.
    fn schedule(&mut self, leg: LegId) {
        let Some(entry) = self.sessions.get_mut(&leg) else { return };
        let next = match &entry.state {
            State::Waiting { until, .. } => Some(*until),
            State::Active { session, turn_ends } => {
                [session.next_timeout(), *turn_ends].into_iter().flatten().min()
            }
            State::Tail(_) | State::Over => None,
        };
        if next == entry.deadline {
            return;
        }
        if let Some(old) = std::mem::replace(&mut entry.deadline, next) {
            self.deadlines.remove(&(old, leg));
        }
        if let Some(next) = next {
            self.deadlines.insert((next, leg));
        }
    }

    /// After anything that a session did: keys first, then what it sends, then its end.
    fn after(&mut self, leg: LegId) {
        let Some(entry) = self.sessions.get_mut(&leg) else { return };
        let link = entry.link;
        let State::Active { session, turn_ends } = &mut entry.state else { return };
        let mut datagrams = Vec::new();
        while let Some(datagram) = session.poll_transmit() {
            datagrams.push(datagram);
        }
        let mut connected = None;
        let mut ended = None;
        while let Some(event) = session.poll_event() {
            match event {
                Event::Connected(done) => match keys(self.backend, &done) {
                    Some(keys) => connected = Some(FromHandshake::Keys { leg, keys: Box::new(keys) }),
                    None => ended = Some(LegEnd::DtlsError),
                },
                Event::Failed(FailReason::Timeout) => ended = Some(LegEnd::DtlsTimeout),
                Event::Failed(FailReason::Alert(_)) | Event::Closed => ended = Some(LegEnd::DtlsAlert),
                Event::Failed(_) => ended = Some(LegEnd::DtlsError),
            }
        }
        let over = connected.is_some() || ended.is_some();
        if over {
            // It was in progress until now.
            self.in_progress -= usize::from(turn_ends.is_some());
            let state = std::mem::replace(&mut entry.state, State::Over);
            // No data channel needs the SSL: it goes, its tail stays.
            if let State::Active { session, .. } = state
                && ended.is_none()
                && let Some(tail) = session.into_tail()
            {
                entry.state = State::Tail(Box::new(tail));
            }
        }
        if connected.is_some() {
            self.counters.add(HandshakeCount::Connected);
        }
        if let Some(why) = ended {
            self.counters.add(match why {
                LegEnd::DtlsTimeout => HandshakeCount::TimedOut,
                LegEnd::DtlsAlert if connected.is_some() => HandshakeCount::ClosedByPeer,
                _ => HandshakeCount::Failed,
            });
        }
        if let Some(keys) = connected {
            self.send(link, keys);
        }
        for datagram in datagrams {
            self.transmit(link, leg, &datagram);
        }
        if let Some(why) = ended {
            self.send(link, FromHandshake::Ended { leg, why });
        }
        self.schedule(leg);
    }

    /// The peer has closed a connection of which only the tail was left.
    fn over(&mut self, leg: LegId, answer: Option<Vec<u8>>) {
        let Some(entry) = self.sessions.get_mut(&leg) else { return };
        entry.state = State::Over;
        self.counters.add(HandshakeCount::ClosedByPeer);
        let link = entry.link;
        if let Some(answer) = answer {
            self.transmit(link, leg, &answer);
        }
        self.send(link, FromHandshake::Ended { leg, why: LegEnd::DtlsAlert });
    }

    fn forget(&mut self, leg: LegId, entry: Entry) {
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, leg));
        }
        if matches!(entry.state, State::Active { turn_ends: Some(_), .. }) {
            self.in_progress -= 1;
        }
    }

    fn transmit(&mut self, link: usize, leg: LegId, datagram: &[u8]) {
        match Inline::new(datagram) {
            Some(datagram) => self.send(link, FromHandshake::Datagram { leg, datagram }),
            None => self.counters.add(Refused),
        }
    }

    fn send(&mut self, link: usize, message: FromHandshake) {
        match self.backlog.get_mut(link) {
            // What is not a datagram is never dropped; there are few a leg.
            Some(backlog)
                if backlog.len() < BACKLOG_MAX || !matches!(message, FromHandshake::Datagram { .. }) =>
            {
                backlog.push_back(message);
            }
            _ => self.counters.add(Refused),
        }
    }
}

/// The contexts of both directions, made here so that a worker allocates nothing.
fn keys(backend: Backend, done: &Connected) -> Option<Keys> {
    let srtp = done.srtp.as_ref()?;
    let inbound = Inbound::new(backend, &srtp.remote).ok()?;
    let outbound = Outbound::new(backend, &srtp.local).ok()?;
    Some(Keys::new(inbound, outbound))
}
