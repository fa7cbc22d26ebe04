//! Starting: sockets, rings, threads.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bifrons_rtc::Time;
use bifrons_rtc::dtls::{Certificate, DtlsConfig, DtlsContext, Hash};
use bifrons_rtc::ice::{Random, SeededRandom, TransactionIds};
use rtrb::RingBuffer;

use super::admission::Expected;
use super::legs::Entry;
use super::shared::SharedPorts;
use super::slots::Slots;
use super::{Binder, BoundSocket, Engine, EngineClock, WorkerHandle};
use crate::config::{DriverChoice, EngineConfig, StartError};
use crate::counter::Counters;
use crate::driver::mmsg::{Mmsg, MmsgConfig};
use crate::driver::sim::{Network, SimDriver, SimSocket};
use crate::driver::uring::{self, Uring, UringConfig};
use crate::driver::xdp::{Interface, Xdp, XdpConfig};
use crate::driver::{Clock, Driver, thread};
use crate::handshake::{Handshaker, HandshakerLink, WorkerLink};
use crate::ports::Ports;
use crate::random::EngineRandom;
use crate::signal::Signal;
use crate::wake::WakerCell;
use crate::worker::{CrossEnds, Worker, WorkerParts, WorkerSettings};
use crate::worker_set::SharedWorkerSet;

/// How long a start goes on trying a port that a process before us may not have let go of yet.
const BIND_PATIENCE: Duration = Duration::from_millis(1_500);
/// Receive buffer and send buffer of a shared socket, bytes; what the kernel grants of them. What is sent counts
/// until the network card is done with it: a frame to 200 viewers is 4 MiB to the kernel.
pub(super) const SHARED_BUFFER_BYTES: usize = 4 << 20;
/// The same of an RTP leg's socket.
pub(super) const RTP_BUFFER_BYTES: usize = 256 << 10;
/// Bytes of video history a worker.
const HISTORY_BYTES: usize = 16 << 20;
/// SCHED_FIFO priority of workers where it is allowed, else their nice value.
const FIFO_PRIORITY: i32 = 1;
const NICE: i32 = -10;

/// What came of a start, in words: the engine has no log of its own.
#[derive(Clone, Debug, Default)]
pub struct StartReport {
    /// One line a fact.
    pub lines: Vec<String>,
}

/// An engine in parts, for hosts that turn workers and handshakes in loops of their own.
pub struct Assembled<S: BoundSocket> {
    /// The control side.
    pub engine: Engine<S>,
    /// For [`Worker::new`], on the threads that will turn them.
    pub workers: Vec<WorkerParts<S>>,
    /// All handshakes.
    pub handshaker: Handshaker,
    /// The clock that drivers are made with.
    pub clock: Clock,
    /// What came of it.
    pub report: StartReport,
}

impl Engine {
    /// Starts an engine with threads of its own and a certificate made now.
    ///
    /// # Errors
    /// The configuration is not usable, a port is taken, or the kernel refuses.
    pub fn start(config: EngineConfig) -> Result<(Self, StartReport), StartError> {
        let certificate = Certificate::generate().map_err(|error| StartError::Io(error.to_string()))?;
        Self::start_with_certificate(config, &certificate)
    }

    /// As [`Engine::start`], with a certificate of one's own.
    ///
    /// # Errors
    /// As there.
    pub fn start_with_certificate(
        config: EngineConfig,
        certificate: &Certificate,
    ) -> Result<(Self, StartReport), StartError> {
        let settings = config.clone();
        let Assembled { mut engine, workers, handshaker, clock, mut report } =
            Self::assemble(config, certificate)?;
        let plan = Plan::make(&settings, &mut report)?;
        let shared: usize = settings.shared_ports.iter().map(|count| usize::from(*count)).sum();
        // A pair in both address families.
        let wanted = settings.limits.legs * 2 + settings.addresses.len() + shared * 4;
        let allowed = thread::raise_descriptor_limit().map_err(|error| StartError::Io(error.to_string()))?;
        let sockets_max = wanted.min(usize::try_from(allowed).unwrap_or(usize::MAX));
        if allowed < (wanted * settings.workers) as u64 {
            report.lines.push(format!(
                "descriptors: {allowed} allowed; {} would be needed for all legs to be RTP legs",
                wanted * settings.workers
            ));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Threads { stop: stop.clone(), workers: Vec::new(), handshaker: None };
        let handshaker = spawn_handshaker(handshaker, clock, stop.clone())?;
        engine.set_handshake_thread(handshaker.thread().clone());
        threads.handshaker = Some(handshaker);
        for (index, parts) in workers.into_iter().enumerate() {
            let (tell, told) = mpsc::channel();
            let core = settings.cores.get(index).copied();
            let (stop, realtime) = (stop.clone(), settings.realtime);
            let plan = plan.clone();
            let run = move || {
                let mut lines = prepare_thread(index, core, realtime);
                // Made on the thread that turns it.
                let failed = |why: String| drop(tell.send(Err(why)));
                match plan {
                    Plan::Uring => match Uring::new(UringConfig { sockets_max, hosted: false }, clock) {
                        Ok(driver) => run_worker(driver, parts, &tell, lines, &stop),
                        Err(error) => failed(error.to_string()),
                    },
                    Plan::Mmsg => match Mmsg::new(MmsgConfig { sockets_max }, clock) {
                        Ok(driver) => run_worker(driver, parts, &tell, lines, &stop),
                        Err(error) => failed(error.to_string()),
                    },
                    Plan::Xdp(interfaces) => {
                        let config = XdpConfig { sockets_max, worker: index as u8, interfaces };
                        match Xdp::new(config, clock) {
                            Ok(driver) => {
                                lines.push(format!("worker {index}: {}", driver.describe()));
                                run_worker(driver, parts, &tell, lines, &stop);
                            }
                            Err(error) => failed(error),
                        }
                    }
                }
            };
            let handle = std::thread::Builder::new().name(format!("bifrons-worker-{index}")).spawn(run);
            threads.workers.push(handle.map_err(|error| StartError::Io(error.to_string()))?);
            let started = told.recv().unwrap_or_else(|_| Err("the thread ended at once".to_owned()));
            match started {
                Ok(lines) => report.lines.extend(lines),
                Err(why) => {
                    threads.stop(engine.workers.iter().map(|worker| &*worker.waker));
                    return Err(StartError::Io(format!("worker {index}: {why}")));
                }
            }
        }
        engine.threads = Some(threads);
        Ok((engine, report))
    }

    /// Makes all parts of an engine and no thread.
    ///
    /// # Errors
    /// The configuration is not usable, or a port is taken.
    pub fn assemble(
        config: EngineConfig,
        certificate: &Certificate,
    ) -> Result<Assembled<UdpSocket>, StartError> {
        let clock = Clock::start();
        let unix_nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        let mut random = || EngineRandom::system().map_err(|error| StartError::Io(error.to_string()));
        let bind: Binder<UdpSocket> = Box::new(bind_udp);
        let shared = |address: SocketAddr| bind_patiently(address);
        let (mut engine, workers, handshaker) =
            assemble(config, certificate, EngineClock::Real(clock), unix_nanos, &mut random, bind, shared)?;
        let mut report = StartReport::default();
        for (index, worker) in engine.workers.iter_mut().enumerate() {
            let addresses: Vec<String> = worker.webrtc.iter().map(SocketAddr::to_string).collect();
            report.lines.push(format!("worker {index}: WebRTC on {}", addresses.join(", ")));
        }
        Ok(Assembled { engine, workers, handshaker, clock, report })
    }
}

/// An engine on a simulated network, turned by hand: the same code, one thread, virtual time.
pub struct SimEngine {
    /// The control side.
    pub engine: Engine<SimSocket>,
    /// Its workers.
    pub workers: Vec<Worker<SimDriver>>,
    /// Its handshakes.
    pub handshaker: Handshaker,
    network: Network,
    clock: Arc<AtomicU64>,
    handshake_at: Option<Time>,
}

impl SimEngine {
    /// An engine whose random numbers come from `seed`.
    ///
    /// # Errors
    /// The configuration is not usable. `webrtc_port` must be given: nobody else chooses one.
    pub fn new(
        config: EngineConfig,
        certificate: &Certificate,
        network: &Network,
        seed: u64,
        buffers: u32,
    ) -> Result<Self, StartError> {
        if config.webrtc_port.is_none() {
            return Err(StartError::Config("webrtc_port: a simulation needs one".to_owned()));
        }
        let clock = Arc::new(AtomicU64::new(network.now().as_nanos()));
        let mut seeds = SeededRandom::new(seed);
        let mut random = || Ok(EngineRandom::Seeded(SeededRandom::new(seeds.next_u64())));
        let bind: Binder<SimSocket> = Box::new(|address, _| Ok(SimSocket(address)));
        let shared = |address| Ok(SimSocket(address));
        let time = EngineClock::Virtual(clock.clone());
        // 2026-01-01, so that NTP times look like themselves.
        let unix_nanos = 1_767_225_600_000_000_000;
        let (engine, parts, handshaker) =
            assemble(config, certificate, time, unix_nanos, &mut random, bind, shared)?;
        let workers = parts.into_iter().map(|parts| Worker::new(SimDriver::new(network, buffers), parts));
        let workers = workers.collect();
        Ok(Self { engine, workers, handshaker, network: network.clone(), clock, handshake_at: None })
    }

    /// Turns everything at the network's time until nothing is left to do at that instant.
    pub fn turn(&mut self) {
        let now = self.network.now();
        self.clock.store(now.as_nanos(), Ordering::Relaxed);
        // Bounded, so that a mistake that never settles is seen and not waited for.
        for _ in 0..1_000 {
            let mut busy = false;
            for worker in &mut self.workers {
                busy |= worker.turn_at(now);
            }
            self.handshake_at = self.handshaker.turn(now);
            if !busy {
                return;
            }
        }
    }

    /// When a turn is wanted though nothing arrives.
    pub fn next_timeout(&self) -> Option<Time> {
        let workers = self.workers.iter().filter_map(Worker::next_timeout);
        workers.chain(self.handshake_at).min()
    }
}

type Parts<S> = (Engine<S>, Vec<WorkerParts<S>>, Handshaker);

/// What real and simulated engines have in common.
fn assemble<S: BoundSocket>(
    config: EngineConfig,
    certificate: &Certificate,
    clock: EngineClock,
    unix_nanos: u64,
    random: &mut dyn FnMut() -> Result<EngineRandom, StartError>,
    bind: Binder<S>,
    shared: impl Fn(SocketAddr) -> Result<S, StartError>,
) -> Result<Parts<S>, StartError> {
    config.check()?;
    let io = |error: &dyn std::fmt::Display| StartError::Io(error.to_string());
    let dtls = DtlsConfig {
        profiles: config.srtp_profiles.clone(),
        mtu_bytes: config.dtls_mtu,
        retransmit_initial: Duration::from_millis(config.dtls_retransmit_ms.into()),
        handshake_timeout: Duration::from_millis(config.dtls_timeout_ms.into()),
        ..DtlsConfig::default()
    };
    let context = DtlsContext::new(certificate, dtls).map_err(|error| io(&error))?;
    let fingerprint = context.fingerprint(Hash::Sha256).map_err(|error| io(&error))?.to_string();
    let fingerprint = fingerprint.split_once(' ').map_or("", |(_, value)| value).to_owned();
    let signal = Arc::new(Signal::new().map_err(|error| io(&error))?);
    let handshake_wake: Arc<OnceLock<std::thread::Thread>> = Arc::new(OnceLock::new());
    let limits = config.limits;
    let wakers: Vec<Arc<WakerCell>> = (0..config.workers).map(|_| Arc::default()).collect();
    let flags: Arc<[SharedWorkerSet]> = (0..config.workers).map(|_| SharedWorkerSet::default()).collect();
    let cross: Vec<CrossEnds> = (0..config.workers)
        .map(|_| CrossEnds {
            to: (0..config.workers).map(|_| None).collect(),
            from: (0..config.workers).map(|_| None).collect(),
            wakers: wakers.clone(),
            flags: flags.clone(),
            ..CrossEnds::default()
        })
        .collect();
    let mut handles = Vec::new();
    let mut parts = Vec::new();
    let mut links = Vec::new();
    for (index, (cross, waker)) in cross.into_iter().zip(wakers).enumerate() {
        let port = match config.webrtc_port {
            Some(first) => first
                .checked_add(index as u16)
                .ok_or_else(|| StartError::Config("webrtc_port: beyond 65535".to_owned()))?,
            None => 0,
        };
        let mut sockets = Vec::new();
        let mut webrtc = Vec::new();
        for local in &config.addresses {
            let socket = shared(SocketAddr::new(local.address, port))?;
            webrtc.push(socket.address().map_err(|error| io(&error))?);
            sockets.push(socket);
        }
        let (command_in, command_out) = RingBuffer::new(limits.commands);
        let (report_in, report_out) = RingBuffer::new(limits.reports);
        let (to_handshake, from_worker) = RingBuffer::new(limits.handshake_ring);
        let (to_worker, from_handshake) = RingBuffer::new(limits.handshake_ring);
        let counters = Arc::new(Counters::default());
        let mut own_random = random()?;
        let transaction_ids = TransactionIds::from_random(&mut own_random);
        let wake = handshake_wake.clone();
        links.push(HandshakerLink { to: to_worker, from: from_worker, waker: waker.clone() });
        parts.push(WorkerParts {
            settings: WorkerSettings {
                index: index as u8,
                legs: limits.legs,
                flows: limits.flows,
                shared_ports: !config.shared_ports.is_empty(),
                replicas: limits.replicas,
                history_bytes: HISTORY_BYTES,
                coalesce_us: config.coalesce_us,
                busy_poll: config.busy_poll,
                slowlink_threshold: config.slowlink_threshold,
                budgets: limits.budgets,
                unix_nanos,
            },
            commands: command_out,
            reports: report_in,
            notify: signal.clone(),
            counters: counters.clone(),
            shared_sockets: sockets,
            transaction_ids,
            random: own_random,
            handshake: WorkerLink {
                to: to_handshake,
                from: from_handshake,
                wake: Arc::new(move || {
                    if let Some(thread) = wake.get() {
                        thread.unpark();
                    }
                }),
            },
            cross,
            waker: waker.clone(),
        });
        handles.push(WorkerHandle {
            commands: command_in,
            reports: report_out,
            counters,
            waker,
            transaction_ids,
            webrtc,
            entries: (0..limits.legs).map(|_| Entry::default()).collect(),
            slots: Slots::new(index as u8, limits.legs),
            shared: SharedPorts::default(),
            closes: Default::default(),
            rooms_wanted: false,
            expected: Expected::default(),
        });
    }
    let handshaker = Handshaker::new(context, config.srtp_backend, links, limits.handshakes);
    let (first, last) = config.rtp_port_range;
    let engine = Engine {
        ports: config.addresses.iter().map(|_| Ports::new(first, last, config.workers)).collect(),
        config,
        clock,
        workers: handles,
        bind,
        random: random()?,
        fingerprint,
        signal,
        rings: BTreeSet::new(),
        admission: Arc::default(),
        turn: 0,
        threads: None,
        handshakes: handshaker.counters(),
        handshake_wake: Some(handshake_wake),
    };
    Ok((engine, parts, handshaker))
}

/// The driver that was chosen.
#[derive(Clone)]
enum Plan {
    Uring,
    Mmsg,
    Xdp(Vec<Arc<Interface>>),
}

impl Plan {
    fn make(config: &EngineConfig, report: &mut StartReport) -> Result<Self, StartError> {
        let plan = match config.driver {
            DriverChoice::Mmsg => Self::Mmsg,
            DriverChoice::Uring => uring::probe().map(|()| Self::Uring).map_err(StartError::Io)?,
            DriverChoice::Auto => match uring::probe() {
                Ok(()) => Self::Uring,
                Err(why) => {
                    report.lines.push(why);
                    Self::Mmsg
                }
            },
            DriverChoice::Xdp => {
                let addresses: Vec<IpAddr> = config.addresses.iter().map(|local| local.address).collect();
                let open = |name: &String| Interface::open(name, &addresses, config.workers).map(Arc::new);
                let interfaces: Result<Vec<_>, _> = config.xdp_interfaces.iter().map(open).collect();
                Self::Xdp(interfaces.map_err(StartError::Io)?)
            }
        };
        match &plan {
            Self::Uring => report.lines.push("driver: io_uring".to_owned()),
            Self::Mmsg => report.lines.push("driver: mmsg".to_owned()),
            Self::Xdp(interfaces) => {
                report.lines.push("driver: xdp".to_owned());
                report.lines.extend(interfaces.iter().map(|interface| interface.describe()));
            }
        }
        Ok(plan)
    }
}

/// The threads of an engine that has its own.
pub(super) struct Threads {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    handshaker: Option<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn stop<'a>(self, wakers: impl Iterator<Item = &'a WakerCell>) {
        self.stop.store(true, Ordering::Release);
        wakers.for_each(WakerCell::wake);
        if let Some(handshaker) = &self.handshaker {
            handshaker.thread().unpark();
        }
        for thread in self.workers.into_iter().chain(self.handshaker) {
            // A thread that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

fn run_worker<D: Driver>(
    driver: D,
    parts: WorkerParts<D::Socket>,
    tell: &mpsc::Sender<Result<Vec<String>, String>>,
    lines: Vec<String>,
    stop: &AtomicBool,
) {
    let mut worker = Worker::new(driver, parts);
    let _ = tell.send(Ok(lines));
    while !stop.load(Ordering::Acquire) {
        worker.turn();
    }
}

fn spawn_handshaker(
    mut handshaker: Handshaker,
    clock: Clock,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, StartError> {
    let run = move || {
        while !stop.load(Ordering::Acquire) {
            let now = clock.now();
            match handshaker.turn(now) {
                Some(at) => std::thread::park_timeout(at - now),
                // Who has something for it unparks it.
                None => std::thread::park(),
            }
        }
    };
    let thread = std::thread::Builder::new().name("bifrons-handshake".to_owned()).spawn(run);
    thread.map_err(|error| StartError::Io(error.to_string()))
}

/// Core and scheduling class of a worker; what was refused is told, not fatal.
fn prepare_thread(index: usize, core: Option<usize>, realtime: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(core) = core {
        lines.push(match thread::pin_to_core(core) {
            Ok(()) => format!("worker {index}: on core {core}"),
            Err(error) => format!("worker {index}: not pinned to core {core}: {error}"),
        });
    }
    if realtime {
        lines.push(match (thread::schedule_fifo(FIFO_PRIORITY), thread::set_nice(NICE)) {
            (Ok(()), _) => format!("worker {index}: SCHED_FIFO {FIFO_PRIORITY}"),
            (Err(_), Ok(())) => format!("worker {index}: nice {NICE} (SCHED_FIFO is not allowed)"),
            (Err(fifo), Err(_)) => format!("worker {index}: ordinary priority ({fifo})"),
        });
    }
    lines
}

fn bind_udp(address: SocketAddr, buffer_bytes: usize) -> std::io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel gives what its limit allows.
    let _ = socket.set_recv_buffer_size(buffer_bytes);
    let _ = socket.set_send_buffer_size(buffer_bytes);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// After a process with a ring ends, its ports stay taken for a moment.
fn bind_patiently(address: SocketAddr) -> Result<UdpSocket, StartError> {
    let until = std::time::Instant::now() + BIND_PATIENCE;
    loop {
        match bind_udp(address, SHARED_BUFFER_BYTES) {
            Ok(socket) => return Ok(socket),
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse && std::time::Instant::now() < until =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(StartError::Bind { address, error }),
        }
    }
}
