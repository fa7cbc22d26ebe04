//! One engine thread: a [`Worker`] owns its driver, its legs and its timers, and shares nothing.
//!
//! [`Worker::turn`] is the whole of it: commands, packets in order of arrival, timers, notices, then
//! one wait. A host with an event loop of its own calls [`Worker::turn_ready`] whenever
//! [`Worker::wake_fd`] is readable or the time has come that it returned.

mod coalesce;
mod command;
mod cross;
mod feedback;
mod forward;
mod frames;
mod handshake;
mod ice;
mod in_hand;
mod notice;
mod receive;
mod report;
mod shared;
mod shared_rtp;
mod timer;
mod warm;

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bifrons_rtc::Time;
use bifrons_rtc::ice::TransactionIds;
use bifrons_rtc::stream::HistorySlab;
use bifrons_wire::rtcp::NtpTime;
use rtrb::{Consumer, Producer};

use crate::budget::Rate;
use crate::config::Budgets;
use crate::counter::{Counters, Drop, Work};
use crate::driver::eventfd::duplicate;
use crate::driver::{Driver, Received, SocketKey, Wait};
use crate::flow::FlowTable;
use crate::handshake::{ToHandshake, WorkerLink};
use crate::id::LegId;
use crate::leg::{LegTable, Rooms};
use crate::load::LoadMeter;
use crate::media::{LegEnd, Notice, StreamRef};
use crate::message::{Command, Cross, Garbage, Replica, Report, SocketTag};
use crate::random::EngineRandom;
use crate::signal::Signal;

use crate::timer::Wheel;
use crate::wake::WakerCell;
use crate::worker_set::{SharedWorkerSet, WorkerSet};

use coalesce::Coalescing;
use frames::Frames;
use in_hand::InHand;
use shared::SharedFlows;
use shared_rtp::SharedRtp;

pub(crate) use ice::ice_token;

/// Packets that are processed before timers get their turn.
const BATCH: usize = 256;
/// Early SRTP packets that a leg may hold back while its keys are on the way.
pub(crate) const HELD_LEG_MAX: usize = 32;
/// Early SRTP packets that a worker may hold back: each keeps a receive buffer.
pub(crate) const HELD_MAX: usize = 96;
/// Longest sleep of a worker without a timer. Packets, commands and handshakes wake it, so this is only a
/// number that every driver can wait for.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);
/// Turns that a host waits for at most.
const READY_TURNS_MAX: usize = 16;
/// How soon reports that found their ring full are tried again.
const REPORT_RETRY: Duration = Duration::from_millis(1);
/// Panics within a second that end a worker.
const PANICS_MAX: usize = 3;

/// What a worker is told once.
#[derive(Clone, Debug)]
pub(crate) struct WorkerSettings {
    pub index: u8,
    pub legs: usize,
    pub flows: usize,
    /// Whether there are groups of shared RTP ports.
    pub shared_ports: bool,
    pub replicas: usize,
    pub history_bytes: usize,
    pub coalesce_us: u32,
    pub busy_poll: bool,
    pub slowlink_threshold: u32,
    pub budgets: Budgets,
    /// Unix time at [`Time::ZERO`], nanoseconds.
    pub unix_nanos: u64,
}

/// A worker's ends of everything that joins it to other threads.
pub struct WorkerParts<S> {
    pub(crate) settings: WorkerSettings,
    pub(crate) commands: Consumer<Command<S>>,
    pub(crate) reports: Producer<Report<S>>,
    pub(crate) notify: Arc<Signal>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shared_sockets: Vec<S>,
    pub(crate) transaction_ids: TransactionIds,
    pub(crate) random: EngineRandom,
    pub(crate) handshake: WorkerLink,
    pub(crate) cross: CrossEnds,
    /// Told the worker's waker once the driver is there.
    pub(crate) waker: Arc<WakerCell>,
}

/// Rings to and from the other workers, by their number. A ring is made when a route first needs it.
#[derive(Default)]
pub(crate) struct CrossEnds {
    pub to: Vec<Option<Producer<Cross>>>,
    pub from: Vec<Option<Consumer<Cross>>>,
    pub wakers: Vec<Arc<WakerCell>>,
    /// By worker: who has something for it.
    pub flags: Arc<[SharedWorkerSet]>,
    /// Whose rings are to be looked at.
    pub pending: WorkerSet,
    /// Who is looked at first in the next turn.
    pub first: u8,
    /// Who got something this turn.
    pub told: WorkerSet,
}

/// A packet that came before the keys.
struct Held {
    leg: LegId,
    received: Received,
}

/// One engine thread's state.
pub struct Worker<D: Driver> {
    driver: InHand<D>,
    settings: WorkerSettings,
    stun_rate: Rate,
    legs: LegTable,
    flows: FlowTable,
    shared: SharedFlows,
    shared_rtp: SharedRtp,
    /// Two keys a leg (`timer.rs`).
    wheel: Wheel,
    /// Keys that have expired and are being worked on.
    due: Vec<u32>,
    commands: Consumer<Command<D::Socket>>,
    reports: Producer<Report<D::Socket>>,
    /// Reports that found the ring full.
    outbox: VecDeque<Report<D::Socket>>,
    /// Slots of legs with pending notices.
    dirty: VecDeque<u32>,
    notify: Arc<Signal>,
    counters: Arc<Counters>,
    locals: Vec<SocketKey>,
    transaction_ids: TransactionIds,
    random: EngineRandom,
    handshake: WorkerLink,
    cross: CrossEnds,
    load: LoadMeter,
    replicas: HashMap<StreamRef, Box<Replica>>,
    slab: HistorySlab,
    rooms: Rooms,
    batch: Vec<Received>,
    held: Vec<Held>,
    frames: Frames,
    /// The leg that is being worked on, for when it panics.
    current: Option<LegId>,
    panics: [Time; PANICS_MAX],
    failed: bool,
    busy: bool,
    turned_at: Time,
    coalescing: Coalescing,
}

impl<D: Driver> Worker<D> {
    /// Puts a worker together on the thread that will turn it.
    pub fn new(mut driver: D, parts: WorkerParts<D::Socket>) -> Self {
        let WorkerParts { settings, shared_sockets, .. } = parts;
        let now = driver.now();
        let mut locals = Vec::with_capacity(shared_sockets.len());
        for (number, socket) in shared_sockets.into_iter().enumerate() {
            if let Ok(key) = driver.add_socket(socket, SocketTag::Shared(number as u8).encode()) {
                locals.push(key);
            }
        }
        parts.waker.set(driver.waker());
        Self {
            legs: LegTable::new(settings.legs),
            flows: FlowTable::new(settings.flows),
            shared: SharedFlows::new(),
            shared_rtp: SharedRtp::new(settings.shared_ports, settings.legs),
            wheel: Wheel::new(2 * settings.legs, now),
            due: Vec::with_capacity(timer::GROUP),
            commands: parts.commands,
            reports: parts.reports,
            outbox: VecDeque::with_capacity(1_024),
            dirty: VecDeque::with_capacity(settings.legs),
            notify: parts.notify,
            counters: parts.counters,
            locals,
            transaction_ids: parts.transaction_ids,
            random: parts.random,
            handshake: parts.handshake,
            cross: parts.cross,
            load: LoadMeter::new(now),
            replicas: HashMap::with_capacity(settings.replicas * 2),
            slab: HistorySlab::new(settings.history_bytes),
            rooms: Rooms::new(),
            batch: Vec::with_capacity(BATCH),
            held: Vec::with_capacity(HELD_MAX),
            frames: Frames::new(settings.coalesce_us),
            current: None,
            panics: [Time::ZERO; PANICS_MAX],
            failed: false,
            busy: false,
            turned_at: now,
            stun_rate: Rate::new(settings.budgets.stun_per_s, settings.budgets.stun_burst),
            coalescing: Coalescing::new(settings.coalesce_us, now),
            driver: InHand::new(driver),
            settings,
        }
    }

    /// One turn by the driver's clock, with its wait at the end.
    pub fn turn(&mut self) {
        let now = self.driver.now();
        let busy = self.turn_at(now);
        // The watchdog: a turn that takes long delays every packet behind it.
        let took_us = (self.driver.now() - now).as_micros() as u64;
        if !busy && !self.settings.busy_poll {
            self.load.add(Duration::from_micros(took_us));
        }
        if took_us > self.counters.work(Work::TurnMaxUs) {
            self.counters.set(Work::TurnMaxUs, took_us);
        }
        let wait = if busy || self.settings.busy_poll { Wait::Poll } else { self.choose_wait(now) };
        self.driver.wait(wait);
    }

    /// The wait after a turn that found nothing to do.
    fn choose_wait(&mut self, now: Time) -> Wait {
        let latest = now + SLEEP_MAX;
        let timer = self.next_timeout().map_or(latest, |at| at.min(latest));
        let counted = self.driver.counters();
        self.coalescing.wait(now, counted.received.max(counted.sent), timer)
    }

    /// One turn at a given time, without waiting. Returns whether there was something to do, so that
    /// another turn should follow soon.
    pub fn turn_at(&mut self, now: Time) -> bool {
        self.turned_at = now;
        self.busy = false;
        self.load.turn_begins(now);
        // Nothing that a caught panic leaves half done is read again before it is made anew: the leg
        // that was worked on is ended.
        if catch_unwind(AssertUnwindSafe(|| self.turn_inner(now))).is_err() {
            self.after_panic(now);
        }
        if std::mem::take(&mut self.failed) {
            self.restart(now);
        }
        self.flush_reports();
        self.counters.add(Work::Turns, 1);
        self.counters.set(Work::Legs, self.legs.len() as u64);
        self.counters.set(Work::Flows, (self.flows.len() + self.shared_rtp.len()) as u64);
        self.counters.set(Work::FramesCrowded, self.frames.crowded);
        let counted = self.driver.counters();
        self.counters.set_driver(&counted);
        if self.busy {
            self.load.turn_worked(now);
        }
        self.load.publish(now, counted.received + counted.sent, &self.counters);
        self.busy
    }

    fn turn_inner(&mut self, now: Time) {
        self.take_commands(now);
        self.take_handshakes(now);
        self.take_cross(now);
        if self.batch.is_empty() {
            self.driver.receive(&mut self.batch);
            // Taken from the end below, so that a panic leaves the rest in place.
            self.batch.reverse();
        }
        self.busy |= !self.batch.is_empty();
        let mut warm = 0;
        while self.frames.has_room()
            && let Some(received) = {
                if warm == 0 {
                    warm = self.warm();
                }
                self.batch.pop()
            }
        {
            warm -= 1;
            self.current = None;
            self.driver.take(&received.buffer);
            self.receive(now, received);
        }
        while self.frames.has_room()
            && let Some(source) = self.frames.due(now)
        {
            self.busy = true;
            self.current = Some(source.leg);
            self.forward_frame(now, source);
        }
        if self.frames.any_under_way() {
            self.busy = true;
            self.forward_next_slice(now);
        }
        self.run_timers(now);
        self.flush_cross();
        if self.rooms.ask() {
            self.report(Report::RoomsLow);
        }
        while let Some((socket, tag)) = self.driver.next_removed() {
            self.report(Report::Socket(socket, tag));
        }
        self.current = None;
    }

    /// When a turn is wanted even if nothing arrives.
    pub fn next_timeout(&self) -> Option<Time> {
        // What found the report ring full is tried again soon: the control side makes no noise.
        let waiting = !self.outbox.is_empty() || !self.dirty.is_empty();
        let retry = waiting.then(|| self.turned_at + REPORT_RETRY);
        let others = [retry, self.load.next_timeout(), self.frames.next_timeout()];
        self.wheel.next().into_iter().chain(others.into_iter().flatten()).min()
    }

    /// A descriptor of the host's own that is readable when a turn is wanted; `None` on a simulated
    /// network.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn wake_fd(&self) -> std::io::Result<Option<OwnedFd>> {
        self.driver.wake_fd().map(duplicate).transpose()
    }

    /// The driver's clock.
    pub fn now(&mut self) -> Time {
        self.driver.now()
    }

    /// For hosts with an event loop of their own: turns until nothing is left to do, without sleeping,
    /// and says when it wants to be called again although [`Worker::wake_fd`] is not readable.
    pub fn turn_ready(&mut self) -> Option<Time> {
        for _ in 0..READY_TURNS_MAX {
            self.driver.wait(Wait::Poll);
            let now = self.driver.now();
            let fired = self.counters.work(Work::Timers);
            let busy = self.turn_at(now);
            // A turn that fired timers may have left sends in the queue: the next one hands them over.
            if !busy && self.counters.work(Work::Timers) == fired {
                return self.next_timeout();
            }
        }
        // The host's other work gets its turn.
        Some(self.driver.now())
    }

    /// The driver, for its own counters and, in simulations, its buffers.
    pub fn driver(&self) -> &D {
        self.driver.driver()
    }

    /// Buffers that are kept from turn to turn: early packets of legs whose keys are on the way, and packets
    /// that wait for the rest of their frame or are on their way to many outputs.
    pub fn held(&self) -> usize {
        self.held.len() + self.frames.len()
    }

    /// Ends the leg that was worked on, and gives back the buffers that were in hand.
    fn after_panic(&mut self, now: Time) {
        self.counters.count(Drop::Panic);
        self.driver.release_all();
        self.release_going();
        self.put_back_due(now);
        if let Some(leg) = self.current.take() {
            self.end_leg(leg, LegEnd::WorkerLost);
        }
        self.panics.rotate_left(1);
        if let Some(last) = self.panics.last_mut() {
            *last = now;
        }
        let first = self.panics.first().copied().unwrap_or_default();
        self.failed = first > Time::ZERO && now - first < Duration::from_secs(1);
    }

    /// Starts over after panics that one leg alone does not explain: all legs are lost and told so, all
    /// state is made anew. Driver, buffers and shared sockets stay.
    fn restart(&mut self, now: Time) {
        self.counters.add(Work::Restarts, 1);
        self.panics = [Time::ZERO; PANICS_MAX];
        while let Some(received) = self.batch.pop() {
            self.driver.release(received.buffer);
        }
        while self.frames.due(Time::MAX).is_some() || self.frames.go_on().is_some() {
            self.release_going();
        }
        let legs: Vec<LegId> = self.legs.iter().map(|leg| leg.id).collect();
        for leg in legs {
            // Without close_notify for the handshake thread: its session times out with the peer's.
            let _ = self.handshake.to.push(ToHandshake::Close { leg });
            self.report(Report::Notice(Notice::Ended { leg, why: LegEnd::WorkerLost }));
            self.remove_leg(leg);
        }
        (self.handshake.wake)();
        self.dirty.clear();
        self.legs = LegTable::new(self.settings.legs);
        self.flows = FlowTable::new(self.settings.flows);
        self.shared = SharedFlows::new();
        self.shared_rtp.forget_sources();
        self.wheel = Wheel::new(2 * self.settings.legs, now);
        for (_, replica) in std::mem::take(&mut self.replicas) {
            self.free(Garbage::Replica(replica));
        }
    }

    fn ntp(&self, now: Time) -> NtpTime {
        NtpTime::from_unix_nanos(self.settings.unix_nanos.saturating_add(now.as_nanos()))
    }
}

#[cfg(test)]
mod tests;
