//! One run: threads, steps, printing.

use std::io::Write;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use bifrons_engine::DriverChoice;
use bifrons_engine::driver::mmsg::{Mmsg, MmsgConfig};
use bifrons_engine::driver::uring::{Uring, UringConfig};
use bifrons_engine::driver::{Clock, Driver, DriverWaker, thread};
use bifrons_rtc::dtls::{Certificate, DtlsConfig, DtlsContext};
use bifrons_rtc::srtp;
use tokio::sync::{Semaphore, mpsc as tokio_mpsc, oneshot};
use tokio::task::JoinSet;

use crate::calls::{Calls, MediaLink, Scenario};
use crate::engine::{InProcess, PlainSockets, is_engine_thread, plain_sockets};
use crate::histogram::Histogram;
use crate::janus::{Handle, Janus};
use crate::media::{Command, Event, Media, Reading, Window};
use crate::proc::Snapshot;
use crate::report::{Parts, Step};
use crate::{Arguments, DriverName, Profile, floor, uas};

/// Descriptors that a run needs besides a socket a call.
const SOCKETS_SPARE: usize = 64;
/// Packets on their way when the window ends may still come.
const LINGER: Duration = Duration::from_millis(500);

/// Does what the command line says.
///
/// # Errors
/// Says what could not be started or reached.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    thread::pin_to_core(arguments.core).map_err(|error| format!("core {}: {error}", arguments.core))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(Run::steps(arguments))
}

enum Server {
    Janus(Janus),
    Engine(InProcess),
}

struct Run<'a> {
    arguments: &'a Arguments,
    server: Arc<Server>,
    calls: Arc<Calls>,
    sessions: Arc<tokio::sync::Mutex<Vec<u64>>>,
    handles: Vec<Handle>,
    /// Open as long as the run lasts.
    _rtcp: Vec<UdpSocket>,
    broken: Arc<Mutex<Vec<(u32, String)>>>,
    up: usize,
    failed: usize,
    floor_us: f64,
}

impl<'a> Run<'a> {
    async fn steps(arguments: &'a Arguments) -> Result<(), String> {
        let most = arguments.calls.iter().copied().max().unwrap_or(0);
        let mut run = Self::start(arguments, most as usize).await?;
        let pid = run.measured_pid()?;
        let idle = Snapshot::take(pid)?;
        let mut steps = Vec::new();
        run.floor_us = floor::measure(arguments.address, arguments.engine_core)?;
        let mut next = 0;
        for target in &arguments.calls {
            let step = run.step(&mut next, *target, pid, &idle).await?;
            for warning in &step.warnings {
                eprintln!("  note: {warning}");
            }
            println!("{}", serde_json::to_string(&step).map_err(|error| error.to_string())?);
            if let Some(path) = &arguments.json {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
                let line = serde_json::to_string(&step).map_err(|error| error.to_string())?;
                file.and_then(|mut file| writeln!(file, "{line}"))
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
            steps.push(step);
        }
        println!("{}", Step::HEADING);
        steps.iter().for_each(|step| println!("{}", step.row()));
        run.end().await;
        Ok(())
    }

    async fn start(arguments: &'a Arguments, most: usize) -> Result<Self, String> {
        let profile = match arguments.profile {
            Profile::Gcm => srtp::Profile::AeadAes128Gcm,
            Profile::Cm => srtp::Profile::AesCm128HmacSha1_80,
        };
        let certificate = Certificate::generate().map_err(|error| error.to_string())?;
        let config = DtlsConfig { profiles: vec![profile], ..DtlsConfig::default() };
        let dtls = DtlsContext::new(&certificate, config).map_err(|error| error.to_string())?;

        let PlainSockets { rtp, addresses: plain, rtcp } =
            plain_sockets(arguments.address, arguments.plain_sockets.max(2))?;
        let (events, mut heard) = tokio_mpsc::unbounded_channel();
        let media = spawn_media(arguments, rtp, most, events)?;
        let broken: Arc<Mutex<Vec<(u32, String)>>> = Arc::default();
        let (link, broke) = (media.clone(), broken.clone());
        tokio::spawn(async move {
            while let Some(event) = heard.recv().await {
                if let Some(call) = link.hear(event) {
                    broke.lock().unwrap_or_else(PoisonError::into_inner).push(call);
                }
            }
        });
        let phone = match arguments.scenario {
            Scenario::Sip => Some(uas::start(arguments.address, plain.clone()).await?),
            _ => None,
        };
        let server = match arguments.scenario {
            Scenario::Echotest | Scenario::Nosip | Scenario::Sip => {
                Server::Janus(Janus::connect(arguments.server).await?)
            }
            Scenario::EngineEcho | Scenario::EngineBridge | Scenario::EngineRtp => {
                let driver = match arguments.engine_driver {
                    DriverName::Uring => DriverChoice::Uring,
                    DriverName::Mmsg => DriverChoice::Mmsg,
                };
                let (core, coalesce_us) = (arguments.engine_core, arguments.engine_coalesce_us);
                Server::Engine(InProcess::start(arguments.address, core, driver, profile, coalesce_us)?)
            }
        };
        let calls = Calls {
            scenario: arguments.scenario,
            ip: arguments.address,
            dtls: Arc::new(dtls),
            media,
            plain,
            phone,
        };
        Ok(Self {
            arguments,
            server: Arc::new(server),
            calls: Arc::new(calls),
            sessions: Arc::default(),
            handles: Vec::new(),
            _rtcp: rtcp,
            broken,
            up: 0,
            failed: 0,
            floor_us: 0.0,
        })
    }

    fn measured_pid(&self) -> Result<u32, String> {
        match (&*self.server, self.arguments.pid) {
            (Server::Engine(_), _) => Ok(std::process::id()),
            (Server::Janus(_), Some(pid)) => Ok(pid),
            (Server::Janus(_), None) => Err("--pid: which process is the server?".to_owned()),
        }
    }

    async fn step(&mut self, next: &mut u32, target: u32, pid: u32, idle: &Snapshot) -> Result<Step, String> {
        let mut setups = Histogram::default();
        let setups_per_s = self.ramp(next, target, &mut setups).await?;
        tokio::time::sleep(Duration::from_secs(self.arguments.settle)).await;
        let mut quietest = self.measure(pid, Reading::AtTicks).await?;
        for _ in 1..self.arguments.windows {
            let next = self.measure(pid, Reading::AtTicks).await?;
            if next.others_ns() < quietest.others_ns() {
                quietest = next;
            }
        }
        let Measured { counted, before, after, own_before, own_after } = quietest;
        let timed = self.measure(pid, Reading::AtOnce).await?.counted;
        let engine = matches!(&*self.server, Server::Engine(_));
        let broken: Vec<_> = std::mem::take(&mut *self.broken.lock().unwrap_or_else(PoisonError::into_inner));
        for (call, why) in broken.iter().take(5) {
            eprintln!("  call {call} broke: {why}");
        }
        self.up -= broken.len().min(self.up);
        self.failed += broken.len();
        let scenario = format!("{:?}", self.arguments.scenario).to_lowercase();
        let label = match engine {
            true => format!("engine, {:?}", self.arguments.engine_driver).to_lowercase(),
            false => self.arguments.label.clone(),
        };
        Ok(Step::new(Parts {
            names: [&label, &scenario, &format!("{:?}", self.arguments.profile).to_lowercase()],
            calls: (self.up, self.failed),
            floor_us: self.floor_us,
            setups_per_s,
            setups: &setups,
            window: &counted,
            timed: &timed,
            usage: after.since(&before, |name| !engine || is_engine_thread(name)),
            server: (idle, &after),
            own: own_after.since(&own_before, |name| !engine || !is_engine_thread(name)),
        }))
    }

    /// One window, and the processes before and after it.
    async fn measure(&self, pid: u32, reading: Reading) -> Result<Measured, String> {
        let media = &self.calls.media;
        let window = Duration::from_secs(self.arguments.window);
        let own_pid = std::process::id();
        let (before, own_before) = (Snapshot::take(pid)?, Snapshot::take(own_pid)?);
        media.tell(Command::Open(window, reading));
        tokio::time::sleep(window).await;
        let (after, own_after) = (Snapshot::take(pid)?, Snapshot::take(own_pid)?);
        tokio::time::sleep(LINGER).await;
        let (reply, answer) = oneshot::channel();
        media.tell(Command::Close(reply));
        let counted = answer.await.map_err(|_| "the media thread is gone")?;
        Ok(Measured { counted, before, after, own_before, own_after })
    }

    /// Sets calls up until there are `target`; gives how many a second.
    async fn ramp(&mut self, next: &mut u32, target: u32, setups: &mut Histogram) -> Result<f64, String> {
        let start = Instant::now();
        let limit = Arc::new(Semaphore::new(self.arguments.concurrency.max(1)));
        let mut tasks = JoinSet::new();
        let (first, mut done) = (*next, 0);
        let mut shown = Instant::now();
        let mut complaints = 0;
        while done < target.saturating_sub(first) {
            while *next < target && tasks.len() < 4 * self.arguments.concurrency.max(1) {
                let call = *next;
                let due = match self.arguments.rate {
                    0 => start,
                    rate => start + Duration::from_secs_f64(f64::from(call - first) / f64::from(rate)),
                };
                let (server, calls, limit) = (self.server.clone(), self.calls.clone(), limit.clone());
                let sessions = self.sessions.clone();
                let session = (call / self.arguments.handles_per_session.max(1)) as usize;
                tasks.spawn(async move {
                    tokio::time::sleep_until(due.into()).await;
                    let _permit = limit.acquire().await;
                    let began = Instant::now();
                    let handle = match &*server {
                        Server::Engine(engine) => engine.place(&calls, call).await.map(|()| None),
                        Server::Janus(janus) => {
                            let session = session_of(janus, &sessions, session).await?;
                            calls.place(janus, session, call).await.map(Some)
                        }
                    };
                    handle
                        .map(|handle| (handle, began.elapsed()))
                        .map_err(|why| format!("call {call}: {why}"))
                });
                *next += 1;
            }
            match tasks.join_next().await {
                Some(Ok(Ok((handle, took)))) => {
                    setups.add(took.as_nanos() as u64);
                    self.handles.extend(handle);
                    self.up += 1;
                }
                Some(Ok(Err(why))) => {
                    self.failed += 1;
                    complaints += 1;
                    if complaints <= 5 {
                        eprintln!("  {why}");
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => break,
            }
            done += 1;
            if shown.elapsed() > Duration::from_secs(2) {
                shown = Instant::now();
                eprintln!("  {} of {target} calls up, {} failed", self.up, self.failed);
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("{} calls up; measuring for {} s", self.up, self.arguments.window);
        Ok(f64::from(done) / seconds)
    }

    async fn end(&self) {
        match &*self.server {
            Server::Janus(janus) => {
                for session in self.sessions.lock().await.iter() {
                    // The server ends what is left when the connection closes.
                    let _ = janus.destroy(*session).await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await; // the phone answers every BYE
            }
            Server::Engine(engine) => eprintln!("engine counters: {:?}", engine.counted()),
        }
        self.calls.media.tell(Command::Stop);
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
        server.cores.0 as i64 - server.cpu_ns as i64 - own.cpu_ns as i64
    }
}

async fn session_of(
    janus: &Janus,
    sessions: &tokio::sync::Mutex<Vec<u64>>,
    number: usize,
) -> Result<u64, String> {
    let mut sessions = sessions.lock().await;
    while sessions.len() <= number {
        sessions.push(janus.create().await?);
    }
    Ok(sessions[number])
}

fn spawn_media(
    arguments: &Arguments,
    plain: Vec<UdpSocket>,
    most: usize,
    events: tokio_mpsc::UnboundedSender<Event>,
) -> Result<MediaLink, String> {
    let sockets_max = most + plain.len() + SOCKETS_SPARE;
    let (commands, told) = mpsc::channel();
    let (started, has_started) = mpsc::channel::<Result<DriverWaker, String>>();
    let (driver, core) = (arguments.driver, arguments.core);
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
                turn(driver, plain, told, events, &started);
            }
            DriverName::Mmsg => {
                turn(Mmsg::new(MmsgConfig { sockets_max }, clock), plain, told, events, &started);
            }
        }
    };
    let thread = std::thread::Builder::new().name("load-media".to_owned()).spawn(body);
    thread.map_err(|error| error.to_string())?;
    let waker = has_started.recv().map_err(|_| "the media thread ended at once")??;
    Ok(MediaLink::new(commands, waker))
}

fn turn<D: Driver<Socket = UdpSocket>>(
    driver: std::io::Result<D>,
    plain: Vec<UdpSocket>,
    commands: mpsc::Receiver<Command>,
    events: tokio_mpsc::UnboundedSender<Event>,
    started: &mpsc::Sender<Result<DriverWaker, String>>,
) {
    let made = driver.map_err(|error| error.to_string()).and_then(|driver| {
        let waker = driver.waker();
        Media::new(driver, plain, commands, events).map(|media| (media, waker))
    });
    match made {
        Ok((media, waker)) => {
            let _ = started.send(Ok(waker));
            media.run();
        }
        Err(error) => drop(started.send(Err(error))),
    }
}
