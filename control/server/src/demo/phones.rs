//! The other side of the demo: a registrar and an echo phone on a `bifrons-sip` of their own.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bifrons_sip_protocol::Transport;
use bifrons_sip_ua::digest::Secret;
use bifrons_sip_ua::registrar::{Registrar, RegistrarConfig, RegistrarEvent, User};
use bifrons_sip_ua::ua::{CallId, Config, Listener};
use bifrons_transports::Gateway;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep_until, timeout};

use super::echo::{Echo, EchoError};
use crate::run::RunError;
use crate::sip::Listening;
use crate::sip_process::{LinkEvent, Outbox, Supervisor};

/// Calls of the echo phone at one time.
const CALLS_MAX: usize = 64;
/// The breath that the echo phone takes before it calls back.
const CALL_BACK_AFTER: Duration = Duration::from_secs(1);
/// Longest sleep.
const SLEEP: Duration = Duration::from_secs(60);
/// Time in which the listeners must stand.
const START: Duration = Duration::from_secs(10);
/// User that echoes, and user that calls back.
pub const ECHO: &str = "echo";
/// See [`ECHO`].
pub const CALLBACK: &str = "callback";

type Inbox = Rc<RefCell<VecDeque<LinkEvent>>>;

/// Registrar and echo phone while they run.
pub struct Phones {
    stop: watch::Sender<bool>,
    program: JoinHandle<()>,
    phones: JoinHandle<()>,
}

struct State {
    registrar: Registrar,
    echoes: HashMap<CallId, Echo>,
    call_backs: VecDeque<(Instant, String)>,
    gateway: Gateway,
    inbox: Inbox,
    outbox: Outbox,
    start: Instant,
    ipv6: bool,
}

impl Phones {
    /// Starts them; comes back when calls can be made.
    ///
    /// # Errors
    /// The program cannot be started, or an address is taken.
    pub async fn start(
        program: &Path,
        listen: SocketAddr,
        users: Vec<(String, String)>,
        gateway: Gateway,
    ) -> Result<Self, RunError> {
        let fail = |error: &dyn std::fmt::Display| RunError::Start(format!("the demo's registrar: {error}"));
        let listener =
            |transport| Listener { ident: "sip".into(), transport, address: listen, public_host: None };
        let listeners = vec![listener(Transport::Udp), listener(Transport::Tcp)];
        let count = listeners.len();
        let user = |(name, secret): (String, String)| User { name, secret: Secret::Password(secret) };
        let registrar = Registrar::new(
            0,
            RegistrarConfig {
                domain: listen.ip().to_string(),
                users: users.into_iter().map(user).collect(),
                echo: ECHO.into(),
                callback: CALLBACK.into(),
                agent: Config { listeners, user_agent: "Bifrons demo".into(), ..Config::default() },
            },
        )
        .map_err(|error| fail(&error))?;
        let outbox = Outbox::default();
        let supervisor =
            Supervisor::start(program, "demo phones", outbox.clone()).map_err(|error| fail(&error))?;
        let (stop, stopped) = watch::channel(false);
        let (inbox, arrived) = (Inbox::default(), Rc::new(Notify::new()));
        let (listening, outcome) = Listening::new(count);
        let (into, notify) = (inbox.clone(), arrived.clone());
        let deliver = move |event: LinkEvent| {
            listening.see("demo registrar", &event);
            into.borrow_mut().push_back(event);
            notify.notify_one();
        };
        let program = spawn_local(supervisor.run(deliver, stopped.clone()));
        let state = State {
            registrar,
            echoes: HashMap::new(),
            call_backs: VecDeque::new(),
            gateway,
            inbox,
            outbox,
            start: Instant::now(),
            ipv6: listen.is_ipv6(),
        };
        let phones = spawn_local(state.run(arrived, stopped));
        match timeout(START, outcome).await {
            Ok(Ok(Ok(()))) => Ok(Self { stop, program, phones }),
            Ok(Ok(Err((_, detail)))) => Err(fail(&format!("{listen}: {detail}"))),
            _ => Err(fail(&"it does not come up")),
        }
    }

    /// Ends them.
    pub async fn end(self) {
        let _ = self.stop.send(true);
        let _ = self.phones.await;
        let _ = self.program.await;
    }
}

impl State {
    async fn run(mut self, arrived: Rc<Notify>, mut stop: watch::Receiver<bool>) {
        loop {
            self.turn();
            let timer = self.registrar.next_timeout().map(|ms| self.start + Duration::from_millis(ms));
            let call_back = self.call_backs.front().map(|(at, _)| *at);
            let next = timer.into_iter().chain(call_back).min().unwrap_or_else(|| Instant::now() + SLEEP);
            tokio::select! {
                () = sleep_until(next) => {}
                () = arrived.notified() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        for (_, echo) in self.echoes {
            self.gateway.with(|_, media, _| echo.close(media));
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn turn(&mut self) {
        loop {
            let event = self.inbox.borrow_mut().pop_front();
            match event {
                Some(LinkEvent::Started) => self.registrar.process_restarted(self.now_ms()),
                Some(LinkEvent::Message(message)) => self.registrar.handle(self.now_ms(), message),
                None => break,
            }
        }
        if self.registrar.next_timeout().is_some_and(|at| at <= self.now_ms()) {
            self.registrar.on_timeout(self.now_ms());
        }
        while self.call_backs.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            if let Some((_, user)) = self.call_backs.pop_front() {
                self.call_back(&user);
            }
        }
        while let Some(event) = self.registrar.poll_event() {
            self.event(event);
        }
        while let Some(message) = self.registrar.poll_output() {
            self.outbox.push(message);
        }
    }

    fn event(&mut self, event: RegistrarEvent) {
        match event {
            RegistrarEvent::EchoOffer { call, sdp } | RegistrarEvent::EchoReoffer { call, sdp } => {
                if let Err(error) = self.answer(call, sdp.as_deref()) {
                    tracing::warn!(%error, "the echo phone cannot take a call");
                    let _ = self.registrar.echo_hangup(self.now_ms(), call);
                }
            }
            RegistrarEvent::EchoAnswered { call, sdp } => {
                let Some(echo) = self.echoes.get_mut(&call) else { return };
                if let Err(error) = self.gateway.with(|_, media, _| echo.answered(media, &sdp)) {
                    tracing::warn!(%error, "the echo phone cannot take an answer");
                    let _ = self.registrar.echo_hangup(self.now_ms(), call);
                }
            }
            RegistrarEvent::EchoEnded { call } => {
                if let Some(echo) = self.echoes.remove(&call) {
                    self.gateway.with(|_, media, _| echo.close(media));
                }
            }
            RegistrarEvent::CallBackWanted { user } if self.call_backs.len() < CALLS_MAX => {
                self.call_backs.push_back((Instant::now() + CALL_BACK_AFTER, user));
            }
            RegistrarEvent::CallBackWanted { user } => tracing::warn!(user, "too many wait to be called"),
            RegistrarEvent::Registered { user, reachable } => tracing::info!(user, reachable, "registered"),
        }
    }

    fn open(&mut self) -> Result<Echo, EchoError> {
        if self.echoes.len() >= CALLS_MAX {
            return Err(EchoError::Sdp(format!("{CALLS_MAX} calls are echoed already")));
        }
        self.gateway.with(|_, media, _| Echo::open(media, self.ipv6))
    }

    fn answer(&mut self, call: CallId, offer: Option<&[u8]>) -> Result<(), EchoError> {
        if !self.echoes.contains_key(&call) {
            let echo = self.open()?;
            self.echoes.insert(call, echo);
        }
        let Some(echo) = self.echoes.get_mut(&call) else { return Ok(()) };
        let sdp = match offer {
            Some(offer) => self.gateway.with(|_, media, _| echo.answer(media, offer))?,
            None => echo.offer(),
        };
        let now_ms = self.now_ms();
        self.registrar.echo_answer(now_ms, call, sdp).map_err(|error| EchoError::Sdp(error.to_string()))
    }

    fn call_back(&mut self, user: &str) {
        let called = self.open().and_then(|mut echo| {
            let offer = echo.offer();
            match self.registrar.call_back(self.now_ms(), user, offer) {
                Ok(call) => {
                    self.echoes.insert(call, echo);
                    Ok(())
                }
                Err(error) => {
                    self.gateway.with(|_, media, _| echo.close(media));
                    Err(EchoError::Sdp(error.to_string()))
                }
            }
        });
        if let Err(error) = called {
            tracing::warn!(%error, user, "the echo phone cannot call back");
        }
    }
}
