//! The control side: [`Engine`] and how it is started.
//!
//! It allocates what a worker will use and frees what comes back; it decides slots, ports and routes.
//! Nothing here blocks.

mod admission;
mod legs;
mod media;
mod routes;
mod shared;
pub(crate) mod slots;
mod start;

pub use admission::{AdmissionCount, AdmissionCounters};
pub use start::{Assembled, SimEngine, StartReport};

use std::collections::{BTreeSet, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bifrons_rtc::Time;
use bifrons_rtc::ice::TransactionIds;
use rtrb::{Consumer, Producer};

use crate::config::EngineConfig;
use crate::counter::Counters;
use crate::driver::Clock;
use crate::id::LegId;
use crate::leg::Rooms;
use crate::media::{MediaError, Notice};
use crate::message::{Command, Report, SocketTag};
use crate::ports::Ports;
use crate::random::EngineRandom;
use crate::signal::Signal;
use crate::wake::WakerCell;
use admission::Expected;
use legs::Entry;

/// A bound socket as the control side sees it.
pub trait BoundSocket: Send + Sized + 'static {
    /// Where it is bound.
    ///
    /// # Errors
    /// What the kernel says.
    fn address(&self) -> std::io::Result<SocketAddr>;
}

impl BoundSocket for UdpSocket {
    fn address(&self) -> std::io::Result<SocketAddr> {
        self.local_addr()
    }
}

impl BoundSocket for crate::driver::sim::SimSocket {
    fn address(&self) -> std::io::Result<SocketAddr> {
        Ok(self.0)
    }
}

/// The media engine, as the control side holds it. [`crate::Media`] is what it does.
///
/// `S` is the driver's kind of socket; leave it out for real networks.
pub struct Engine<S: BoundSocket = UdpSocket> {
    config: EngineConfig,
    clock: EngineClock,
    workers: Vec<WorkerHandle<S>>,
    /// Port pools, in the order of the configured addresses.
    ports: Vec<Ports>,
    bind: Binder<S>,
    random: EngineRandom,
    fingerprint: String,
    signal: Arc<Signal>,
    /// Rings between workers that are there: from, to.
    rings: BTreeSet<(u8, u8)>,
    admission: Arc<AdmissionCounters>,
    /// The worker whose reports are looked at next.
    turn: usize,
    threads: Option<start::Threads>,
    handshakes: Arc<crate::HandshakeCounters>,
    /// Set to the handshake thread once it runs.
    handshake_wake: Option<Arc<std::sync::OnceLock<std::thread::Thread>>>,
}

/// Binds a socket for RTP; the second argument is the size of its buffers, in bytes.
pub(crate) type Binder<S> = Box<dyn FnMut(SocketAddr, usize) -> std::io::Result<S> + Send>;

/// Real time, or the time of a simulation.
#[derive(Clone)]
pub(crate) enum EngineClock {
    Real(Clock),
    Virtual(Arc<AtomicU64>),
}

impl EngineClock {
    fn now(&self) -> Time {
        match self {
            Self::Real(clock) => clock.now(),
            Self::Virtual(nanos) => Time::from_nanos(nanos.load(Ordering::Relaxed)),
        }
    }
}

/// One worker, seen from here.
struct WorkerHandle<S> {
    commands: Producer<Command<S>>,
    reports: Consumer<Report<S>>,
    counters: Arc<Counters>,
    waker: Arc<WakerCell>,
    transaction_ids: TransactionIds,
    /// Where its WebRTC sockets are bound, in the order of the configured addresses.
    webrtc: Vec<SocketAddr>,
    entries: Vec<Entry>,
    slots: slots::Slots,
    shared: shared::SharedPorts,
    /// Closes that found the ring full: a close cannot fail.
    closes: VecDeque<LegId>,
    /// The worker has asked for rooms for SSRCs and not got them yet.
    rooms_wanted: bool,
    expected: Expected,
}

impl<S: BoundSocket> Engine<S> {
    /// A descriptor that becomes readable when [`crate::Media::poll_notice`] has something.
    pub fn notice_fd(&self) -> RawFd {
        self.signal.fd()
    }

    /// The same as a descriptor of one's own, for event loops that borrow what they wait for.
    ///
    /// # Errors
    /// Too many descriptors are open.
    pub fn notice_handle(&self) -> std::io::Result<OwnedFd> {
        self.signal.duplicate()
    }

    /// Counters of each worker.
    pub fn counters(&self) -> Vec<Arc<Counters>> {
        self.workers.iter().map(|worker| worker.counters.clone()).collect()
    }

    /// Counters of the handshakes.
    pub fn handshake_counters(&self) -> Arc<crate::HandshakeCounters> {
        self.handshakes.clone()
    }

    /// Counters of legs that were opened and refused.
    pub fn admission_counters(&self) -> Arc<AdmissionCounters> {
        self.admission.clone()
    }

    /// Names the thread that turns the [`crate::Handshaker`]: it is unparked when a worker has something
    /// for it. Only for hosts of an assembled engine, and once.
    pub fn set_handshake_thread(&mut self, thread: std::thread::Thread) {
        if let Some(wake) = self.handshake_wake.take() {
            let _ = wake.set(thread);
        }
    }

    /// The engine's clock: what all its times count from.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// SHA-256 fingerprint of the certificate, upper-case hex with colons.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Where the WebRTC sockets of a worker are bound.
    pub fn webrtc_addresses(&self, worker: usize) -> &[SocketAddr] {
        self.workers.get(worker).map_or(&[], |worker| &worker.webrtc)
    }

    /// Hands a command to a leg's worker.
    pub(crate) fn command(&mut self, worker: u8, command: Command<S>) -> Result<(), MediaError> {
        let worker = self.workers.get_mut(usize::from(worker)).ok_or(MediaError::NoSuchLeg)?;
        worker.commands.push(command).map_err(|_| MediaError::Full("the worker's command ring"))?;
        worker.waker.wake();
        Ok(())
    }

    /// Fails before anything is changed if `count` commands would not fit.
    fn room(&self, worker: u8, count: usize) -> Result<(), MediaError> {
        let worker = self.workers.get(usize::from(worker)).ok_or(MediaError::NoSuchLeg)?;
        if worker.commands.slots() < count {
            return Err(MediaError::Full("the worker's command ring"));
        }
        Ok(())
    }

    fn next_report(&mut self) -> Option<(u8, Report<S>)> {
        let count = self.workers.len();
        for _ in 0..count {
            let index = self.turn % count;
            if let Some(worker) = self.workers.get_mut(index)
                && let Ok(report) = worker.reports.pop()
            {
                return Some((index as u8, report));
            }
            self.turn = (self.turn + 1) % count;
        }
        None
    }

    fn poll(&mut self) -> Option<Notice> {
        self.signal.clear();
        for worker in 0..self.workers.len() {
            self.retry_closes(worker as u8);
            self.bring_rooms(worker as u8);
        }
        loop {
            let (worker, report) = self.next_report()?;
            match report {
                Report::Notice(notice) if self.entry(notice.leg()).is_some() => {
                    // Others may follow: the descriptor stays readable for whoever polls one at a time.
                    self.signal.note();
                    self.signal.fire();
                    return Some(notice);
                }
                Report::Notice(_) => {}
                Report::LegGone(leg) => {
                    self.shared_leg_gone(leg.id, leg.streams.first().and_then(|stream| stream.input.ssrc));
                    self.slot_free(worker, leg.id);
                }
                Report::Socket(socket, tag) => self.socket_back(worker, socket, tag),
                Report::RoomsLow => {
                    if let Some(handle) = self.workers.get_mut(usize::from(worker)) {
                        handle.rooms_wanted = true;
                    }
                    self.bring_rooms(worker);
                }
                Report::Free(garbage) => drop(garbage),
            }
        }
    }

    fn retry_closes(&mut self, worker: u8) {
        while let Some(leg) =
            self.workers.get(usize::from(worker)).and_then(|worker| worker.closes.front().copied())
        {
            if self.command(worker, Command::Close { leg }).is_err() {
                return;
            }
            if let Some(worker) = self.workers.get_mut(usize::from(worker)) {
                worker.closes.pop_front();
            }
        }
    }

    /// Loads a worker's store of rooms for SSRCs, if it has asked for that and the command ring takes it.
    fn bring_rooms(&mut self, worker: u8) {
        if self.workers.get(usize::from(worker)).is_none_or(|worker| !worker.rooms_wanted)
            || self.command(worker, Command::Rooms(Rooms::load())).is_err()
        {
            return;
        }
        if let Some(worker) = self.workers.get_mut(usize::from(worker)) {
            worker.rooms_wanted = false;
        }
    }

    /// A socket that the driver has let go of is closed here, and its pair rests.
    fn socket_back(&mut self, worker: u8, socket: S, tag: u64) {
        let Ok(address) = socket.address() else { return };
        drop(socket);
        match SocketTag::decode(tag) {
            SocketTag::Rtp(_) => {}
            SocketTag::SharedRtp(number) if number.is_multiple_of(2) => {
                if let Some(handle) = self.workers.get_mut(usize::from(worker)) {
                    handle.shared.lost(number);
                }
            }
            _ => return,
        }
        let until = self.clock.now() + std::time::Duration::from_millis(self.config.rtp_port_rest_ms);
        let position = self.config.addresses.iter().position(|local| local.address == address.ip());
        if let Some(ports) = position.and_then(|position| self.ports.get_mut(position)) {
            ports.rest(address.port(), until);
        }
    }
}

impl<S: BoundSocket> Drop for Engine<S> {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.stop(self.workers.iter().map(|worker| &*worker.waker));
        }
    }
}
