//! The user agent and the registrar over real `bifrons-sip` processes on loopback: what the simulated network
//! says about transactions is true.
//!
//! `cargo build -p bifrons-sip` makes the program; without it the tests are skipped.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bifrons_sip_link::SipProcess;
use bifrons_sip_protocol::{FRAME_BYTES_MAX, FromSip, Generation, ToSip, Transport};
use bifrons_sip_ua::digest::Secret;
use bifrons_sip_ua::message::Uri;
use bifrons_sip_ua::registrar::{Registrar, RegistrarConfig, RegistrarEvent, User};
use bifrons_sip_ua::ua::{
    AccountConfig, AccountId, CallId, Config, Listener, RequestOptions, UaEvent, UserAgent,
};

const OFFER: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// What is driven: a user agent or the registrar.
enum Agent {
    Ua(Box<UserAgent>),
    Registrar(Box<Registrar>),
}

struct Node {
    agent: Agent,
    process: SipProcess,
    generation: Generation,
    start: Instant,
    port: u16,
    /// The application's events.
    events: Vec<UaEvent>,
    told: Vec<RegistrarEvent>,
}

/// The program next to the tests' own directory.
fn program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.parent()?.join("bifrons-sip");
    if path.is_file() {
        return Some(path);
    }
    println!("skipped: {} is not built", path.display());
    None
}

fn config() -> Config {
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener { ident: "main".into(), transport: Transport::Udp, address, public_host: None };
    Config { listeners: vec![listener], ..Config::default() }
}

impl Node {
    fn new(program: &std::path::Path, agent: Agent) -> Self {
        let process = SipProcess::spawn(program).expect("a process");
        let mut node = Self {
            agent,
            process,
            generation: Generation(1),
            start: Instant::now(),
            port: 0,
            events: Vec::new(),
            told: Vec::new(),
        };
        wait(&mut [&mut node], |nodes| nodes[0].port != 0);
        node
    }

    fn ua(program: &std::path::Path) -> Self {
        Self::new(program, Agent::Ua(Box::new(UserAgent::new(config()).expect("a user agent"))))
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn agent(&mut self) -> &mut UserAgent {
        match &mut self.agent {
            Agent::Ua(ua) => ua,
            Agent::Registrar(_) => panic!("not a user agent"),
        }
    }

    fn turn(&mut self) {
        let now = self.now();
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        while let Ok(received) = self.process.link().recv(&mut buffer) {
            assert_ne!(received.len, 0, "the SIP process has died");
            let (generation, message) = FromSip::decode(&buffer[..received.len]).expect("a message");
            if generation != self.generation {
                continue;
            }
            if let FromSip::Listening { address, .. } = &message {
                self.port = address.port();
            }
            if let FromSip::Refused { detail, reason, .. } = &message {
                println!("refused: {reason:?} {detail}");
            }
            match &mut self.agent {
                Agent::Ua(ua) => ua.handle(now, message),
                Agent::Registrar(registrar) => registrar.handle(now, message),
            }
        }
        loop {
            let message: Option<ToSip> = match &mut self.agent {
                Agent::Ua(ua) => {
                    ua.on_timeout(now);
                    self.events.extend(std::iter::from_fn(|| ua.poll_event()));
                    ua.poll_output()
                }
                Agent::Registrar(registrar) => {
                    registrar.on_timeout(now);
                    self.told.extend(std::iter::from_fn(|| registrar.poll_event()));
                    registrar.poll_output()
                }
            };
            let Some(message) = message else { break };
            let mut frame = Vec::new();
            message.encode(self.generation, &mut frame).expect("a frame");
            self.process.link().send(&frame).expect("sent");
        }
    }

    /// Kills the SIP process and starts another.
    fn replace_process(&mut self, program: &std::path::Path) {
        self.process = SipProcess::spawn(program).expect("a process");
        self.generation.0 += 1;
        let now = self.now();
        match &mut self.agent {
            Agent::Ua(ua) => ua.process_restarted(now),
            Agent::Registrar(registrar) => registrar.process_restarted(now),
        }
        self.port = 0;
    }
}

fn wait(nodes: &mut [&mut Node], mut done: impl FnMut(&mut [&mut Node]) -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        nodes.iter_mut().for_each(|node| node.turn());
        if done(nodes) {
            return;
        }
        assert!(
            Instant::now() < end,
            "nothing happens any more: {:#?}",
            nodes.iter().map(|node| (&node.events, &node.told)).collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a node has an event, and takes it and those before it.
fn event<T>(nodes: &mut [&mut Node], at: usize, mut find: impl FnMut(&UaEvent) -> Option<T>) -> T {
    let mut found = None;
    wait(nodes, |nodes| {
        let index = nodes[at].events.iter().position(|event| {
            found = find(event);
            found.is_some()
        });
        if let Some(index) = index {
            nodes[at].events.drain(..=index);
        }
        index.is_some()
    });
    found.expect("just found")
}

/// A registrar and two registered users.
fn start(program: &std::path::Path) -> (Node, Node, Node, AccountId) {
    let user = |name: &str| User { name: name.into(), secret: Secret::Password("secret".into()) };
    let registrar = Registrar::new(
        0,
        RegistrarConfig {
            domain: "127.0.0.1".into(),
            users: vec![user("alice"), user("bob")],
            echo: "echo".into(),
            callback: "callback".into(),
            agent: config(),
        },
    );
    let mut registrar = Node::new(program, Agent::Registrar(Box::new(registrar.expect("a registrar"))));
    let (mut alice, mut bob) = (Node::ua(program), Node::ua(program));
    let mut account = None;
    for (name, node) in [("bob", &mut bob), ("alice", &mut alice)] {
        let uri = Uri::parse(&format!("sip:{name}@127.0.0.1:{}", registrar.port)).expect("a URI");
        let mut config = AccountConfig::new(uri.as_sip().expect("a SIP URI").clone());
        config.secret = Some(Secret::Password("secret".into()));
        let now = node.now();
        account = Some(node.agent().register(now, config).expect("an account"));
        event(&mut [&mut registrar, node], 1, |event| match event {
            UaEvent::Registered { expires_s: 3600, .. } => Some(()),
            UaEvent::RegistrationFailed { .. } => panic!("{event:?}"),
            _ => None,
        });
    }
    (registrar, alice, bob, account.expect("Alice's"))
}

fn ended(event: &UaEvent) -> Option<(u16, String)> {
    match event {
        UaEvent::Ended { code, reason, .. } => Some((*code, reason.clone())),
        _ => None,
    }
}

fn incoming(event: &UaEvent) -> Option<CallId> {
    match event {
        UaEvent::Incoming { call, .. } => Some(*call),
        _ => None,
    }
}

#[test]
fn users_call_each_other_and_outlive_the_sip_process() {
    let Some(program) = program() else { return };
    let (mut registrar, mut alice, mut bob, account) = start(&program);
    let target = format!("sip:bob@127.0.0.1:{}", registrar.port);
    let now = alice.now();
    let a = alice.agent().invite(now, account, &target, Some(OFFER.to_vec()), RequestOptions::default());
    let a = a.expect("a call");
    let nodes = &mut [&mut registrar, &mut alice, &mut bob];
    let b = event(nodes, 2, incoming);
    let now = nodes[2].now();
    nodes[2].agent().ring(now, b, &[]).expect("rings");
    event(nodes, 1, |event| matches!(event, UaEvent::Provisional { code: 180, .. }).then_some(()));
    nodes[2].agent().accept(now, b, OFFER.to_vec(), &[]).expect("accepted");
    event(nodes, 1, |event| matches!(event, UaEvent::Accepted { sdp: Some(_), .. }).then_some(()));
    event(nodes, 2, |event| matches!(event, UaEvent::Acknowledged { .. }).then_some(()));

    nodes.iter_mut().for_each(|node| node.replace_process(&program));
    wait(nodes, |nodes| nodes.iter().all(|node| node.port != 0));
    let now = nodes[1].now();
    nodes[1].agent().reinvite(now, a, Some(OFFER.to_vec()), &[]).expect("sent");
    event(nodes, 2, |event| matches!(event, UaEvent::ReinviteReceived { .. }).then_some(()));
    let now = nodes[2].now();
    nodes[2].agent().answer_reinvite(now, b, OFFER.to_vec(), &[]).expect("answered");
    event(nodes, 1, |event| matches!(event, UaEvent::ReinviteAccepted { .. }).then_some(()));
    nodes[2].agent().hangup(now, b, &[]).expect("hung up");
    assert_eq!(event(nodes, 1, ended), (200, "Session Terminated".into()));
    assert_eq!(event(nodes, 2, ended), (200, "to BYE".into()));
}

#[test]
fn a_cancel_and_a_refusal_pass_real_transactions() {
    let Some(program) = program() else { return };
    let (mut registrar, mut alice, mut bob, account) = start(&program);
    let target = format!("sip:bob@127.0.0.1:{}", registrar.port);
    let nodes = &mut [&mut registrar, &mut alice, &mut bob];
    for cancel in [true, false] {
        let now = nodes[1].now();
        let sdp = Some(OFFER.to_vec());
        let a =
            nodes[1].agent().invite(now, account, &target, sdp, RequestOptions::default()).expect("a call");
        let b = event(nodes, 2, incoming);
        let now = nodes[2].now();
        nodes[2].agent().ring(now, b, &[]).expect("rings");
        event(nodes, 1, |event| matches!(event, UaEvent::Provisional { code: 180, .. }).then_some(()));
        if cancel {
            nodes[1].agent().hangup(now, a, &[]).expect("cancelled");
            assert_eq!(event(nodes, 2, ended), (487, "Request Terminated".into()));
            assert_eq!(event(nodes, 1, ended), (487, "Request Terminated".into()));
        } else {
            nodes[2].agent().reject(now, b, 486, "", &[]).expect("refused");
            assert_eq!(event(nodes, 1, ended), (486, "Busy Here".into()));
        }
    }
}
