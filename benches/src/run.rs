//! One run: threads, steps, printing.

use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use bifrons_engine::driver::mmsg::{Mmsg, MmsgConfig};
use bifrons_engine::driver::uring::{Uring, UringConfig};
use bifrons_engine::driver::xdp::{Interface, Xdp, XdpConfig};
use bifrons_engine::driver::{Clock, Driver, thread};
use bifrons_rtc::dtls::{Certificate, DtlsConfig, DtlsContext};
use bifrons_rtc::srtp;
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

use crate::calls::{Calls, MediaLink, Scenario, Stage};
use crate::codec::Codec;
use crate::engine::{InProcess, is_engine_thread};
use crate::histogram::Histogram;
use crate::janus::{Handle, Janus};
use crate::media::{Command, Commands, Event, Media, Sending, Window};
use crate::netns::{self, Netns};
use crate::place::{Placer, Ramp, Server};
use crate::plain::{self, Ends, PlainSockets};
use crate::proc::{Snapshot, is_napi_thread};
use crate::report::{Parts, Step, Storm};
use crate::rtpengine::Rtpengine;
use crate::{DriverName, Load, Profile, floor, uas};

/// Descriptors that a run needs besides a socket a call.
const SOCKETS_SPARE: usize = 64;
/// Packets that the media thread hands to the kernel at once, by what a packet costs it.
const SOCKETS_SEND_BATCH: usize = 8;
const XDP_SEND_BATCH: usize = 32;
/// Packets on their way when the window ends may still come.
const LINGER: Duration = Duration::from_millis(500);
/// A server that loses so many packets is over its limit; more calls would say nothing more.
const LOSS_SHARE_MAX: f64 = 0.05;

/// Does what the command line says.
///
/// # Errors
/// Says what could not be started or reached.
pub fn run(arguments: &Load) -> Result<(), String> {
    thread::pin_to_core(arguments.core).map_err(|error| format!("core {}: {error}", arguments.core))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(Run::all(arguments))
}

struct Run<'a> {
    arguments: &'a Load,
    placer: Arc<Placer>,
    /// Calls that are up.
    up: Vec<u32>,
    _handles: Vec<Option<Handle>>,
    /// Open as long as the run lasts.
    _rtcp: Vec<UdpSocket>,
    broken: Arc<Mutex<Vec<(u32, String)>>>,
    failed: usize,
    /// The last ramp was given up.
    given_up: bool,
    /// Number of the next call.
    next: u32,
    floor_us: f64,
    /// Where the server is, if not here.
    netns: Option<Arc<Netns>>,
}

impl<'a> Run<'a> {
    async fn all(arguments: &'a Load) -> Result<(), String> {
        let mut run = Self::start(arguments).await?;
        let pid = run.measured_pid()?;
        let (idle, _) = run.look(pid)?;
        let mut rows = Vec::new();
        let result = run.steps(pid, &idle, &mut rows).await;
        println!("{}", Step::HEADING);
        rows.iter().for_each(|row| println!("{row}"));
        run.placer.finish(&run.up).await;
        result
    }

    async fn steps(&mut self, pid: u32, idle: &Snapshot, rows: &mut Vec<String>) -> Result<(), String> {
        self.floor_us = {
            let Load { address, server, server_threads, engine_cores, .. } = self.arguments;
            let core = engine_cores.first().copied().unwrap_or_default();
            floor::measure(*address, server.ip(), self.netns.as_deref(), server_threads, core)?
        };
        for target in &self.arguments.calls {
            let step = self.step(*target, pid, idle).await?;
            for warning in &step.warnings {
                eprintln!("  note: {warning}");
            }
            let line = serde_json::to_string(&step).map_err(|error| error.to_string())?;
            println!("{line}");
            if let Some(path) = &self.arguments.json {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
                file.and_then(|mut file| writeln!(file, "{line}"))
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
            rows.push(step.row());
            if step.lost_share() > LOSS_SHARE_MAX || step.calls == 0 || self.given_up {
                eprintln!("  over its limit: no more calls");
                break;
            }
        }
        Ok(())
    }

    async fn start(arguments: &'a Load) -> Result<Self, String> {
        let profile = match arguments.profile {
            Profile::Gcm => srtp::Profile::AeadAes128Gcm,
            Profile::Cm => srtp::Profile::AesCm128HmacSha1_80,
        };
        let certificate = Certificate::generate().map_err(|error| error.to_string())?;
        let config = DtlsConfig { profiles: vec![profile], ..DtlsConfig::default() };
        let dtls = DtlsContext::new(&certificate, config).map_err(|error| error.to_string())?;

        let Load { address, timed_address, timed_every, plain_sockets, .. } = *arguments;
        let every = if timed_address.is_some() { timed_every } else { 1 };
        let (ends, PlainSockets { rtp, rtcp }) =
            plain::bind(address, timed_address.unwrap_or(address), every, plain_sockets)?;
        let netns = arguments.server_netns.as_deref().map(|name| {
            Netns::open(name).map(Arc::new).map_err(|error| format!("network namespace {name}: {error}"))
        });
        let netns = netns.transpose()?;
        if arguments.engine_cores.len() > 1 {
            number_queues(arguments, netns.as_deref())?;
        }
        let (events, mut heard) = tokio_mpsc::unbounded_channel();
        let media = spawn_media(arguments, rtp, ends.clone(), events)?;
        let broken: Arc<Mutex<Vec<(u32, String)>>> = Arc::default();
        let (link, broke) = (media.clone(), broken.clone());
        tokio::spawn(async move {
            while let Some(event) = heard.recv().await {
                if let Some(call) = link.hear(event) {
                    broke.lock().unwrap_or_else(PoisonError::into_inner).push(call);
                }
            }
        });
        let scenario = arguments.scenario;
        let phone = match scenario {
            Scenario::Sip | Scenario::Registrations => {
                Some(uas::start(arguments.address, ends.clone(), arguments.codec).await?)
            }
            _ => None,
        };
        let server = match scenario.stage() {
            Stage::Janus => Server::Janus(Janus::connect(arguments.server).await?),
            Stage::Rtpengine => Server::Rtpengine(Rtpengine::connect(arguments.server).await?),
            Stage::Engine => Server::Engine(InProcess::start(arguments, netns.clone(), profile)?),
        };
        let codec = arguments.codec;
        let sending = match scenario {
            Scenario::Idle => Sending::NOTHING,
            Scenario::EngineFanout => Sending::video(arguments.frame_packets, arguments.frames_per_s),
            _ => codec.sending(),
        };
        let calls = Calls { scenario, ends, dtls: Arc::new(dtls), media, codec, sending, phone };
        let handles_per_session = arguments.handles_per_session;
        Ok(Self {
            arguments,
            placer: Arc::new(Placer {
                server,
                calls,
                profile,
                handles_per_session,
                sessions: Default::default(),
            }),
            up: Vec::new(),
            _handles: Vec::new(),
            _rtcp: rtcp,
            broken,
            failed: 0,
            given_up: false,
            next: 0,
            floor_us: 0.0,
            netns,
        })
    }

    fn measured_pid(&self) -> Result<u32, String> {
        match (&self.placer.server, self.arguments.pid) {
            (Server::Engine(_), _) => Ok(std::process::id()),
            (_, Some(pid)) => Ok(pid),
            (_, None) => Err("--pid: which process is the server?".to_owned()),
        }
    }

    async fn step(&mut self, target: u32, pid: u32, idle: &Snapshot) -> Result<Step, String> {
        let arguments = self.arguments;
        let due = target.saturating_sub(self.up.len() as u32);
        let ramp =
            self.placer.ramp(self.next, self.next + due, arguments.rate, arguments.concurrency).await?;
        self.next += due;
        let Ramp { up, failed, given_up, setups, seconds } = ramp;
        self.given_up = given_up;
        let setups_per_s = up.len() as f64 / seconds;
        for (call, handle) in up {
            self.up.push(call);
            self._handles.push(handle);
        }
        self.failed = failed;
        eprintln!("{} calls up; measuring for {} × {} s", self.up.len(), arguments.windows, arguments.window);
        tokio::time::sleep(Duration::from_secs(arguments.settle)).await;
        let mut quietest = self.measure(pid).await?;
        for _ in 1..arguments.windows {
            let next = self.measure(pid).await?;
            if next.others_ns() < quietest.others_ns() {
                quietest = next;
            }
        }
        let storm = match arguments.storm {
            0 => None,
            length_s => Some(self.storm(Duration::from_secs(length_s), pid).await?),
        };
        let mut broken: Vec<_> =
            std::mem::take(&mut *self.broken.lock().unwrap_or_else(PoisonError::into_inner));
        broken.retain(|(call, _)| self.up.contains(call)); // those of a storm were ended on purpose
        for (call, why) in broken.iter().take(5) {
            eprintln!("  call {call} broke: {why}");
        }
        self.up.retain(|call| broken.iter().all(|(other, _)| other != call));
        self.failed += broken.len();
        Ok(self.figures(&quietest, idle, setups_per_s, &setups, storm))
    }

    fn figures(
        &self,
        measured: &Measured,
        idle: &Snapshot,
        setups_per_s: f64,
        setups: &Histogram,
        storm: Option<Storm>,
    ) -> Step {
        let Measured { counted, before, after, own_before, own_after } = measured;
        let arguments = self.arguments;
        let profile = match arguments.codec {
            Codec::Pcmu => format!("{:?}", arguments.profile),
            codec => format!("{:?} {codec:?}", arguments.profile),
        };
        let engine = matches!(self.placer.server, Server::Engine(_));
        let mut label = match engine {
            true => format!("engine, {:?}", arguments.engine_driver).to_lowercase(),
            false => arguments.label.clone(),
        };
        if arguments.shared_ports > 0 {
            label += ", shared ports";
        }
        if engine && arguments.engine_cores.len() > 1 {
            label += &format!(", {} workers", arguments.engine_cores.len());
        }
        Step::new(Parts {
            names: [&label, &arguments.scenario.name(), &profile.to_lowercase()],
            calls: (self.up.len(), self.failed),
            floor_us: self.floor_us,
            setups_per_s,
            setups,
            window: counted,
            usage: after.since(before, |name| !engine || is_engine_thread(name) || is_napi_thread(name)),
            server: (idle, after),
            scheduling: after.scheduling(|name| !engine || is_engine_thread(name) || is_napi_thread(name)),
            own: own_after.since(own_before, |name| !engine || !is_engine_thread(name)),
            storm,
        })
    }

    /// A look at the server and one at the generator.
    fn look(&self, pid: u32) -> Result<(Snapshot, Snapshot), String> {
        let Load { server_threads, own_threads, .. } = self.arguments;
        Ok((Snapshot::take(pid, server_threads)?, Snapshot::take(std::process::id(), own_threads)?))
    }

    /// One window, and the processes before and after it.
    async fn measure(&self, pid: u32) -> Result<Measured, String> {
        let window = Duration::from_secs(self.arguments.window);
        let (before, own_before) = self.look(pid)?;
        self.placer.calls.media.tell(Command::Open(window));
        tokio::time::sleep(window).await;
        let (after, own_after) = self.look(pid)?;
        Ok(Measured { counted: self.close().await?, before, after, own_before, own_after })
    }

    async fn close(&self) -> Result<Window, String> {
        tokio::time::sleep(LINGER).await;
        let (reply, answer) = oneshot::channel();
        self.placer.calls.media.tell(Command::Close(reply));
        answer.await.map_err(|_| "the media thread is gone".to_owned())
    }

    /// Calls come and go as fast as they can, while those that are up go on.
    async fn storm(&mut self, length: Duration, pid: u32) -> Result<Storm, String> {
        let concurrency = self.arguments.storm_concurrency;
        eprintln!("storm for {} s, {concurrency} at once", length.as_secs());
        let (before, own_before) = self.look(pid)?;
        self.placer.calls.media.tell(Command::Open(length));
        let (ramp, next) = self.placer.storm(self.next, length, concurrency).await?;
        let (after, own_after) = self.look(pid)?;
        self.next = next;
        let (usage, own) = (after.since(&before, |_| true), own_after.since(&own_before, |_| true));
        Ok(Storm::new(&ramp, &self.close().await?, &usage, &own, after.rss_kib))
    }
}

/// One window.
struct Measured {
    counted: Window,
    before: Snapshot,
    after: Snapshot,
    own_before: Snapshot,
    own_after: Snapshot,
}

impl Measured {
    /// What other programs used. In the engine scenarios the server is counted twice, in every window.
    fn others_ns(&self) -> i64 {
        let server = self.after.since(&self.before, |_| true);
        let own = self.own_after.since(&self.own_before, |_| true);
        server.machine_ns as i64 - server.cpu_ns as i64 - own.cpu_ns as i64
    }
}

/// Attaches a program to both ends of the veth pair and takes it away. Linux 6.18 numbers the queues of an end only
/// when it gets a program. Before that all of them wake the other end's first queue, and another that was full once
/// sends nothing any more.
fn number_queues(arguments: &Load, netns: Option<&Netns>) -> Result<(), String> {
    let numbered = |interface: &Option<String>, address: IpAddr| match interface {
        Some(name) => Interface::open(name, &[address], 1).map(drop),
        None => Ok(()),
    };
    numbered(&arguments.interface, arguments.address)?;
    // The gateway's driver has a program there already.
    match arguments.engine_driver {
        DriverName::Xdp => Ok(()),
        _ => netns::within(netns, || numbered(&arguments.engine_interface, arguments.server.ip()))?,
    }
}

fn spawn_media(
    arguments: &Load,
    plain: Vec<UdpSocket>,
    ends: Ends,
    events: tokio_mpsc::UnboundedSender<Event>,
) -> Result<MediaLink, String> {
    let most = arguments.calls.iter().copied().max().unwrap_or(0) as usize;
    // Sockets of a storm's calls leave a little later than the calls.
    let sockets_max =
        most + plain.len() + SOCKETS_SPARE + 8 * arguments.concurrency.max(arguments.storm_concurrency);
    let commands = Commands::default();
    let told = commands.clone();
    let (started, has_started) = mpsc::channel();
    let Load { driver, core, address, .. } = *arguments;
    let interface = arguments.interface.clone();
    let body = move || {
        // Other programs on the generator's core would be taken for latency of the server.
        let prepared = thread::pin_to_core(core).and_then(|()| thread::schedule_fifo(1));
        if let Err(error) = prepared {
            eprintln!("the media thread has ordinary priority: {error}");
        }
        let clock = Clock::start();
        match driver {
            DriverName::Uring => {
                let driver = Uring::new(UringConfig { sockets_max, hosted: false }, clock);
                let driver = driver.map(Uring::with_timestamps).map_err(|error| error.to_string());
                turn((driver, SOCKETS_SEND_BATCH), plain, ends, told, events, &started);
            }
            DriverName::Mmsg => {
                let driver = Mmsg::new(MmsgConfig { sockets_max }, clock);
                let driver = driver.map(Mmsg::with_timestamps).map_err(|error| error.to_string());
                turn((driver, SOCKETS_SEND_BATCH), plain, ends, told, events, &started);
            }
            DriverName::Xdp => {
                let interface =
                    interface.ok_or_else(|| "--interface: which one, for --driver xdp?".to_owned());
                let interface = interface.and_then(|name| Interface::open(&name, &[address], 1));
                let driver = interface.and_then(|interface| {
                    let interfaces = vec![Arc::new(interface)];
                    Xdp::new(XdpConfig { sockets_max, worker: 0, interfaces }, clock)
                });
                let driver = driver.map(Xdp::with_timestamps);
                turn((driver, XDP_SEND_BATCH), plain, ends, told, events, &started);
            }
        }
    };
    let thread = std::thread::Builder::new().name("load-media".to_owned()).spawn(body);
    thread.map_err(|error| error.to_string())?;
    has_started.recv().map_err(|_| "the media thread ended at once")??;
    Ok(MediaLink::new(commands))
}

fn turn<D: Driver<Socket = UdpSocket>>(
    (driver, send_batch): (Result<D, String>, usize),
    plain: Vec<UdpSocket>,
    ends: Ends,
    commands: Commands,
    events: tokio_mpsc::UnboundedSender<Event>,
    started: &mpsc::Sender<Result<(), String>>,
) {
    let made = driver.and_then(|driver| Media::new((driver, send_batch), plain, ends, commands, events));
    match made {
        Ok(media) => {
            let _ = started.send(Ok(()));
            media.run();
        }
        Err(error) => drop(started.send(Err(error))),
    }
}
