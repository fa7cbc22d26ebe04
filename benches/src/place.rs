//! Calls on whatever the scenario is played on: at a rate, up to a number, or in a storm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bifrons_rtc::srtp::Profile;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::calls::Calls;
use crate::engine::InProcess;
use crate::histogram::Histogram;
use crate::janus::{Handle, Janus};
use crate::media::{Command, Sending};
use crate::rtpengine::Rtpengine;

/// Failures of a ramp that are told one by one; the rest is counted.
const COMPLAINTS_MAX: u32 = 5;
/// Failures that end a ramp: the server is over its limit, and each one waits for its patience.
const FAILURES_MAX: usize = 20;
/// How long a ramp may last beyond what its rate asks for; then it is given up.
const RAMP_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for a server to end its calls; then it is left to whoever started it.
const FINISH_PATIENCE: Duration = Duration::from_secs(5);
const PROGRESS: Duration = Duration::from_secs(2);

/// What the calls are made on.
pub enum Server {
    /// A server with the Janus API.
    Janus(Janus),
    /// rtpengine.
    Rtpengine(Rtpengine),
    /// The engine in this process.
    Engine(InProcess),
}

/// Makes calls.
pub struct Placer {
    /// What they are made on.
    pub server: Server,
    /// What they share.
    pub calls: Calls,
    /// What their clients offer.
    pub profile: Profile,
    /// Handles a session.
    pub handles_per_session: u32,
    /// Sessions so far.
    pub sessions: Mutex<Vec<u64>>,
}

/// How a ramp went.
#[derive(Default)]
pub struct Ramp {
    /// Calls that are up, with their handles where the server has such.
    pub up: Vec<(u32, Option<Handle>)>,
    /// Calls that could not be set up.
    pub failed: usize,
    /// It was given up: too many failed, or it took too long.
    pub given_up: bool,
    /// Set-up times.
    pub setups: Histogram,
    /// Length, seconds.
    pub seconds: f64,
}

impl Placer {
    async fn place(&self, call: u32, sending: Sending) -> Result<Option<Handle>, String> {
        let placed = match &self.server {
            Server::Engine(engine) => engine.place(&self.calls, call).await.map(|()| None),
            Server::Rtpengine(rtpengine) => {
                rtpengine.place(&self.calls, call, self.profile).await.map(|()| None)
            }
            Server::Janus(janus) => {
                let session = self.session(janus, call / self.handles_per_session.max(1)).await?;
                self.calls.place(janus, session, call, sending).await.map(Some)
            }
        };
        placed.map_err(|why| format!("call {call}: {why}"))
    }

    async fn session(&self, janus: &Janus, number: u32) -> Result<u64, String> {
        let mut sessions = self.sessions.lock().await;
        while sessions.len() <= number as usize {
            sessions.push(janus.create().await?);
        }
        Ok(sessions[number as usize])
    }

    /// Sets up the calls `first..target`: `rate` a second (0: as fast as it goes), at most
    /// `concurrency` at once.
    ///
    /// # Errors
    /// A task panicked.
    pub async fn ramp(
        self: &Arc<Self>,
        first: u32,
        target: u32,
        rate: u32,
        concurrency: usize,
    ) -> Result<Ramp, String> {
        let start = Instant::now();
        let asked = Duration::from_secs(u64::from((target - first).checked_div(rate).unwrap_or(0)));
        let deadline = start + asked + RAMP_PATIENCE;
        let limit = Arc::new(Semaphore::new(concurrency.max(1)));
        let (mut ramp, mut tasks, mut next) = (Ramp::default(), JoinSet::new(), first);
        let (mut shown, mut complaints) = (Instant::now(), 0);
        loop {
            while next < target && tasks.len() < 4 * concurrency.max(1) {
                let call = next;
                let due = match rate {
                    0 => start,
                    rate => start + Duration::from_secs_f64(f64::from(call - first) / f64::from(rate)),
                };
                let (placer, limit) = (self.clone(), limit.clone());
                tasks.spawn(async move {
                    tokio::time::sleep_until(due.into()).await;
                    let _permit = limit.acquire().await;
                    let began = Instant::now();
                    let handle = placer.place(call, placer.calls.sending).await?;
                    Ok::<_, String>((call, handle, began.elapsed()))
                });
                next += 1;
            }
            let Ok(done) = tokio::time::timeout_at(deadline.into(), tasks.join_next()).await else {
                eprintln!("  {} of {target} calls up and no time left", first as usize + ramp.up.len());
                tasks.abort_all();
                ramp.given_up = true;
                break;
            };
            let Some(done) = done else { break };
            match done.map_err(|error| error.to_string())? {
                Ok((call, handle, took)) => {
                    ramp.setups.add(took.as_nanos() as u64);
                    ramp.up.push((call, handle));
                }
                Err(why) => {
                    ramp.failed += 1;
                    complaints += 1;
                    if complaints <= COMPLAINTS_MAX {
                        eprintln!("  {why}");
                    }
                    if ramp.failed >= FAILURES_MAX {
                        eprintln!("  {} calls failed: no more are tried", ramp.failed);
                        tasks.abort_all();
                        ramp.given_up = true;
                        break;
                    }
                }
            }
            if shown.elapsed() > PROGRESS {
                shown = Instant::now();
                eprintln!(
                    "  {} of {target} calls up, {} failed",
                    first as usize + ramp.up.len(),
                    ramp.failed
                );
            }
        }
        if let Server::Engine(engine) = &self.server {
            engine.ramped(&self.calls)?;
        }
        ramp.seconds = start.elapsed().as_secs_f64();
        Ok(ramp)
    }

    /// For so long: `concurrency` times at once, sets up a call that stays silent, ends it, and again.
    /// Gives how it went (nothing is up afterwards) and the number after the last call's.
    ///
    /// # Errors
    /// A task panicked.
    pub async fn storm(
        self: &Arc<Self>,
        first: u32,
        length: Duration,
        concurrency: usize,
    ) -> Result<(Ramp, u32), String> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        let step = concurrency.max(1) as u32;
        for lane in 0..step {
            let placer = self.clone();
            tasks.spawn(async move {
                let (mut ramp, mut call) = (Ramp::default(), first + lane);
                while start.elapsed() < length {
                    let began = Instant::now();
                    match placer.place(call, Sending::NOTHING).await {
                        Ok(handle) => {
                            ramp.setups.add(began.elapsed().as_nanos() as u64);
                            placer.end(handle, call).await;
                        }
                        Err(why) => {
                            ramp.failed += 1;
                            if ramp.failed == 1 && lane < COMPLAINTS_MAX {
                                eprintln!("  {why}");
                            }
                            placer.calls.media.tell(Command::Remove(call));
                        }
                    }
                    call += step;
                }
                (ramp, call)
            });
        }
        let (mut all, mut next) = (Ramp::default(), first);
        while let Some(done) = tasks.join_next().await {
            let (ramp, call) = done.map_err(|error| error.to_string())?;
            all.failed += ramp.failed;
            all.setups.join(&ramp.setups);
            next = next.max(call);
        }
        all.seconds = start.elapsed().as_secs_f64();
        Ok((all, next))
    }

    /// Ends one call. What the server does not let go of ends with the connection.
    async fn end(&self, handle: Option<Handle>, call: u32) {
        if let Some(handle) = handle {
            let _ = self.calls.end(handle, call).await;
        }
    }

    /// Ends everything.
    pub async fn finish(&self, up: &[u32]) {
        // What is left ends with the server.
        let _ = tokio::time::timeout(FINISH_PATIENCE, self.end_all(up)).await;
        self.calls.media.tell(Command::Stop);
    }

    async fn end_all(&self, up: &[u32]) {
        match &self.server {
            Server::Janus(janus) => {
                for session in self.sessions.lock().await.iter() {
                    // The server ends what is left when the connection closes.
                    let _ = janus.destroy(*session).await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await; // the phone answers every BYE
            }
            Server::Rtpengine(rtpengine) => {
                for call in up {
                    if rtpengine.end(*call).await.is_err() {
                        break; // it is gone, and its calls with it
                    }
                }
            }
            Server::Engine(engine) => eprintln!("engine counters: {:?}", engine.counted()),
        }
    }
}
