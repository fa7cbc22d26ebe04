//! Keeps a `bifrons-sip` running and carries messages to and from it.
//!
//! The process is replaceable: when it dies it is started again at once, with a pause that grows only
//! when it keeps dying. Whoever speaks with it hears [`LinkEvent::Started`] for each new one and tells
//! it everything anew: it holds transactions and sockets only, and no state of a call.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use bifrons_sip_link::SipProcess;
use bifrons_sip_protocol::{FRAME_BYTES_MAX, FromSip, Generation, ToSip, TransactionId};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

/// Messages that may wait for the process. One that lets so many wait does not work any more, and is
/// replaced.
const OUT_MAX: usize = 65_536;
/// Messages taken from the process before others get their turn.
const IN_AT_ONCE: usize = 256;
/// A process that lived so long died by accident; one that lived shorter, perhaps of its surroundings.
const STABLE: Duration = Duration::from_secs(10);
/// Pauses before a start: none after the first death, then from the first to the last of these.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A process that says nothing is asked after so long, and replaced after so long again.
const SILENCE: Duration = Duration::from_secs(15);
/// Time in which an orderly end happens.
const STOP: Duration = Duration::from_secs(1);
/// Longest line of the process' log that is passed on, bytes.
const LOG_LINE_MAX: usize = 4_096;

/// What the link brings.
#[allow(clippy::large_enum_variant)] // One at a time, moved once.
#[derive(Debug)]
pub enum LinkEvent {
    /// A new process stands ready to be told everything.
    Started,
    /// It says something.
    Message(FromSip),
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // A field counts what its name says.
pub struct LinkCounters {
    pub starts: u64,
    pub sent: u64,
    pub received: u64,
    /// Messages for a process that was gone.
    pub unsent: u64,
    /// Messages of an earlier life, or that were none.
    pub refused: u64,
}

impl LinkCounters {
    /// All, by name.
    pub fn all(&self) -> [(&'static str, u64); 5] {
        let Self { starts, sent, received, unsent, refused } = *self;
        [("starts", starts), ("sent", sent), ("received", received), ("unsent", unsent), ("refused", refused)]
    }
}

/// Messages on their way to the process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Outbox(Rc<Out>);

#[derive(Default)]
struct Out {
    queue: RefCell<VecDeque<ToSip>>,
    /// Client transactions that have not been released: what an end waits for.
    open: RefCell<HashSet<u64>>,
    running: Cell<bool>,
    /// Retry-After of refused calls, once there is a drain.
    draining_s: Cell<Option<u32>>,
    overflowed: Cell<bool>,
    counters: Cell<LinkCounters>,
    notify: Notify,
}

impl Outbox {
    /// Hands a message over. Without a process it is counted and forgotten: the next one starts anew.
    pub fn push(&self, message: ToSip) {
        let mut queue = self.0.queue.borrow_mut();
        if !self.0.running.get() || queue.len() >= OUT_MAX {
            self.0.overflowed.set(self.0.running.get());
            self.count(|counters| counters.unsent += 1);
        } else {
            queue.push_back(message);
        }
        self.0.notify.notify_one();
    }

    /// Has new calls refused with 503 and this Retry-After, by this process and by any after it.
    pub fn drain(&self, retry_after_s: u32) {
        self.0.draining_s.set(Some(retry_after_s));
        self.push(ToSip::Drain { retry_after_s });
    }

    /// What was counted.
    pub fn counters(&self) -> LinkCounters {
        self.0.counters.get()
    }

    /// Waits until everything was sent and every request has its answer, but not longer than `limit`.
    pub async fn settled(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let open =
            || self.0.running.get() && !(self.0.queue.borrow().is_empty() && self.0.open.borrow().is_empty());
        while open() && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn count(&self, f: impl FnOnce(&mut LinkCounters)) {
        let mut counters = self.0.counters.get();
        f(&mut counters);
        self.0.counters.set(counters);
    }

    fn begin(&self) {
        self.0.queue.borrow_mut().clear();
        self.0.open.borrow_mut().clear();
        self.0.overflowed.set(false);
        self.0.running.set(true);
        self.count(|counters| counters.starts += 1);
    }

    fn end(&self) {
        self.0.running.set(false);
        let lost = std::mem::take(&mut *self.0.queue.borrow_mut()).len();
        self.count(|counters| counters.unsent += lost as u64);
    }

    /// The next message, encoded.
    fn next_frame(&self, generation: Generation) -> Option<Vec<u8>> {
        loop {
            let message = self.0.queue.borrow_mut().pop_front()?;
            match &message {
                ToSip::Hello { .. } => {
                    if let Some(retry_after_s) = self.0.draining_s.get() {
                        self.0.queue.borrow_mut().push_front(ToSip::Drain { retry_after_s });
                    }
                }
                ToSip::Request { id, .. } => drop(self.0.open.borrow_mut().insert(id.0)),
                ToSip::Release { transaction: TransactionId::Client(id) } => {
                    self.0.open.borrow_mut().remove(&id.0);
                }
                _ => {}
            }
            let mut frame = Vec::new();
            match message.encode(generation, &mut frame) {
                Ok(()) => return Some(frame),
                // Longer than the protocol allows; its sender hears nothing and times out.
                Err(error) => {
                    tracing::error!(%error, message = message.name(), "not sent to bifrons-sip");
                    self.count(|counters| counters.unsent += 1);
                }
            }
        }
    }
}

/// Why a process is no longer spoken with.
enum End {
    /// It was asked to end.
    Stopped,
    /// It has ended, or must.
    Lost(String),
}

/// A `bifrons-sip` that is kept running.
pub struct Supervisor {
    program: PathBuf,
    /// Name in the log, where there are several.
    label: &'static str,
    outbox: Outbox,
    first: Option<SipProcess>,
    generation: u32,
}

impl Supervisor {
    /// Starts the program for the first time. In a tokio runtime, on the thread that lives as long as
    /// the program shall.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, label: &'static str, outbox: Outbox) -> io::Result<Self> {
        let first = Some(spawn(program, label)?);
        Ok(Self { program: program.to_owned(), label, outbox, first, generation: 0 })
    }

    /// Runs it until `stop` turns true. `deliver` takes what it says.
    pub async fn run(mut self, mut deliver: impl FnMut(LinkEvent), mut stop: watch::Receiver<bool>) {
        let mut deaths = 0u32;
        loop {
            let since = Instant::now();
            let process = match self.first.take() {
                Some(process) => Ok(process),
                None => spawn(&self.program, self.label),
            };
            match process {
                Err(error) => tracing::error!("{} cannot be started: {error}", self.label),
                Ok(mut process) => {
                    self.generation = self.generation.wrapping_add(1);
                    self.outbox.begin();
                    deliver(LinkEvent::Started);
                    let end = self.carry(&process, &mut deliver, &mut stop).await;
                    self.outbox.end();
                    let End::Lost(why) = end else { return };
                    let status = status(&mut process).await;
                    tracing::warn!("{} {}: {why}; a new one is started", self.label, status);
                }
            }
            deaths = if since.elapsed() >= STABLE { 1 } else { deaths.saturating_add(1) };
            let pause = match deaths {
                1 => Duration::ZERO,
                n => PAUSE.0.saturating_mul(1 << (n - 2).min(8)).min(PAUSE.1),
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn carry(
        &self,
        process: &SipProcess,
        deliver: &mut impl FnMut(LinkEvent),
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let generation = Generation(self.generation);
        let link = process.link();
        // Only its readiness is used; what passes, passes by the link.
        let ready =
            link.as_fd().try_clone_to_owned().and_then(|fd| UnixDatagram::from_std(StdDatagram::from(fd)));
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => return End::Lost(format!("the link cannot be waited for: {error}")),
        };
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        let mut frame: Option<Vec<u8>> = None;
        let mut stop_at: Option<Instant> = None;
        let mut ask_at = Instant::now() + SILENCE;
        let mut asked = false;
        loop {
            // Out.
            let blocked = loop {
                if frame.is_none() {
                    frame = self.outbox.next_frame(generation);
                }
                let Some(bytes) = &frame else { break false };
                match ready.try_io(Interest::WRITABLE, || link.send(bytes)) {
                    Ok(()) => {
                        self.outbox.count(|counters| counters.sent += 1);
                        frame = None;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                    Err(error) => return lost(error, stop_at),
                }
            };
            if self.outbox.0.overflowed.get() {
                return End::Lost(format!("{OUT_MAX} messages wait for it"));
            }
            let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            tokio::select! {
                _ = ready.ready(interest) => {}
                () = self.outbox.0.notify.notified() => {}
                _ = stop.wait_for(|stop| *stop), if stop_at.is_none() => {
                    stop_at = Some(Instant::now() + STOP);
                    self.outbox.push(ToSip::Stop {});
                }
                () = sleep_until(stop_at.unwrap_or(ask_at)) => {
                    if stop_at.is_some() {
                        return End::Stopped;
                    }
                    if asked {
                        return End::Lost(format!("silent for {} s", 2 * SILENCE.as_secs()));
                    }
                    asked = true;
                    ask_at = Instant::now() + SILENCE;
                    self.outbox.push(ToSip::Stats {});
                }
            }
            // In.
            for _ in 0..IN_AT_ONCE {
                let received = match ready.try_io(Interest::READABLE, || link.recv(&mut buffer)) {
                    Ok(received) => received,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::InvalidData => {
                        self.outbox.count(|counters| counters.refused += 1);
                        continue;
                    }
                    Err(error) => return lost(error, stop_at),
                };
                let Some(bytes) = buffer.get(..received.len).filter(|bytes| !bytes.is_empty()) else {
                    return if stop_at.is_some() {
                        End::Stopped
                    } else {
                        End::Lost("the link is closed".into())
                    };
                };
                (asked, ask_at) = (false, Instant::now() + SILENCE);
                match FromSip::decode(bytes) {
                    Ok((of, message)) if of == generation => {
                        self.outbox.count(|counters| counters.received += 1);
                        deliver(LinkEvent::Message(message));
                    }
                    Ok(_) => self.outbox.count(|counters| counters.refused += 1),
                    Err(error) => {
                        tracing::warn!(%error, "a message of {} that is none", self.label);
                        self.outbox.count(|counters| counters.refused += 1);
                    }
                }
            }
            // Whoever was delivered to gets its turn.
            tokio::task::yield_now().await;
        }
    }
}

fn lost(error: io::Error, stop_at: Option<Instant>) -> End {
    match stop_at {
        Some(_) => End::Stopped,
        None => End::Lost(error.to_string()),
    }
}

/// How a process ended; one that did not is killed by its drop.
async fn status(process: &mut SipProcess) -> String {
    for _ in 0..20 {
        if let Ok(Some(status)) = process.try_wait() {
            return format!("has ended ({status})");
        }
        sleep(Duration::from_millis(1)).await;
    }
    "is given up".into()
}

fn spawn(program: &Path, label: &'static str) -> io::Result<SipProcess> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.stderr(writer);
    let process = SipProcess::spawn_command(command)?;
    tracing::info!(pid = process.id(), "{label} started");
    let reader = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    spawn_local(pass_on(reader, label));
    Ok(process)
}

/// Lines of the process' standard error go to the log, until it ends.
async fn pass_on(reader: Receiver, label: &'static str) {
    let mut line = Vec::new();
    let mut chunk = [0; 1_024];
    while reader.readable().await.is_ok() {
        match reader.try_read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                for &byte in &chunk[..count] {
                    if byte == b'\n' {
                        let text = String::from_utf8_lossy(&line);
                        tracing::info!(target: "bifrons_sip", "{label}: {}", text.trim_start_matches("bifrons-sip: "));
                        line.clear();
                    } else if line.len() < LOG_LINE_MAX {
                        line.push(byte);
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    // What it said last has often no line end.
    if !line.is_empty() {
        let text = String::from_utf8_lossy(&line);
        tracing::info!(target: "bifrons_sip", "{label}: {}", text.trim_start_matches("bifrons-sip: "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bifrons_sip_protocol::{ClientId, RequestFlags, Settings};

    fn request(id: u64) -> ToSip {
        ToSip::Request {
            id: ClientId(id),
            next_hop: String::new(),
            ident: String::new(),
            flow: None,
            flags: RequestFlags::NONE,
            text: Vec::new(),
        }
    }

    fn names(outbox: &Outbox) -> Vec<&'static str> {
        std::iter::from_fn(|| outbox.next_frame(Generation(1)))
            .map(|frame| ToSip::decode(&frame).unwrap().1.name())
            .collect()
    }

    #[test]
    fn a_process_that_is_gone_is_told_nothing() {
        let outbox = Outbox::default();
        outbox.push(ToSip::Stats {});
        assert_eq!((names(&outbox).len(), outbox.counters().unsent), (0, 1));
        outbox.begin();
        outbox.push(ToSip::Stats {});
        outbox.end();
        outbox.begin();
        assert_eq!((names(&outbox).len(), outbox.counters().unsent), (0, 2));
    }

    #[test]
    fn too_much_that_waits_is_seen() {
        let outbox = Outbox::default();
        outbox.begin();
        (0..OUT_MAX).for_each(|_| outbox.push(ToSip::Stats {}));
        assert!(!outbox.0.overflowed.get());
        outbox.push(ToSip::Stats {});
        assert!(outbox.0.overflowed.get());
        outbox.begin();
        assert!(!outbox.0.overflowed.get() && names(&outbox).is_empty());
    }

    #[test]
    fn a_new_process_drains_as_the_old_one_did() {
        let outbox = Outbox::default();
        outbox.begin();
        outbox.drain(30);
        outbox.end();
        outbox.begin();
        outbox.push(ToSip::Hello { settings: Settings::default() });
        outbox.push(ToSip::Stats {});
        assert_eq!(names(&outbox), ["Hello", "Drain", "Stats"]);
    }

    #[tokio::test]
    async fn settled_when_every_request_was_released() {
        let outbox = Outbox::default();
        outbox.begin();
        outbox.push(request(1));
        outbox.push(request(2));
        assert_eq!(names(&outbox).len(), 2);
        let release = |id| ToSip::Release { transaction: TransactionId::Client(ClientId(id)) };
        outbox.push(release(1));
        assert_eq!(names(&outbox), ["Release"]);
        assert_eq!(outbox.0.open.borrow().len(), 1);
        outbox.push(release(2));
        assert_eq!(names(&outbox), ["Release"]);
        outbox.settled(Duration::from_secs(60)).await;
        assert!(outbox.0.open.borrow().is_empty());
    }
}
