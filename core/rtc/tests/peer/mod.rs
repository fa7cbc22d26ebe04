//! One of our agents on a real socket of the loopback interface.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bifrons_rtc::Time;
use bifrons_rtc::ice::*;
use bifrons_wire::demux::{Kind, classify};
use bifrons_wire::stun::Message;

pub struct Peer {
    pub agent: Agent,
    random: OsRandom,
    socket: UdpSocket,
    epoch: Instant,
    pub received: Vec<Vec<u8>>,
}

impl Peer {
    pub fn new(role: Role, lite: bool) -> Peer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut random = OsRandom::new().unwrap();
        let config = AgentConfig {
            role,
            lite,
            token: 42,
            tie_breaker: random.next_u64(),
            local: vec![LocalCandidate {
                socket: 0,
                address: socket.local_addr().unwrap(),
                advertised: None,
            }],
            transaction_ids: TransactionIds::from_random(&mut random),
            policy: AddressPolicy { loopback: true, private: true },
            consent_loss: ConsentLoss::Fail,
            timers: Timers::default(),
        };
        let agent = Agent::new(config, &mut random);
        Peer { agent, random, socket, epoch: Instant::now(), received: vec![] }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }

    /// Takes what has arrived and does what is due.
    pub fn turn(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((len, source)) = self.socket.recv_from(&mut buffer) {
            let (now, datagram) = (self.now(), &buffer[..len]);
            if classify(datagram) != Kind::Stun {
                self.received.push(datagram.to_vec());
                continue;
            }
            let message = Message::parse(datagram).unwrap();
            let mut out = |_: u8, to: SocketAddr, bytes: &[u8]| _ = self.socket.send_to(bytes, to);
            self.agent.handle_stun(now, 0, source, &message, &mut out);
        }
        let now = self.now();
        if self.agent.next_timeout().is_some_and(|at| at <= now) {
            let mut out = |_: u8, to: SocketAddr, bytes: &[u8]| _ = self.socket.send_to(bytes, to);
            self.agent.on_timeout(now, &mut self.random, &mut out);
        }
    }

    pub fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.agent.selected().unwrap().remote).unwrap();
    }

    pub fn restart(&mut self) {
        self.agent.restart(&mut self.random);
    }

    pub fn candidates(&self) -> Vec<String> {
        self.agent.local_candidates().map(|candidate| candidate.to_string()).collect()
    }

    /// Whether the current generation (not one before it) has a path.
    pub fn is_connected(&self, selections: u64) -> bool {
        self.agent.counters().selections == selections && self.agent.state() == State::Connected
    }

    /// Gives the agent what an SDP says.
    pub fn set_remote(&mut self, ufrag: &str, password: &str, lite: bool, candidates: &[String]) {
        self.agent.set_remote_lite(lite);
        self.agent.set_remote_credentials(RemoteCredentials::new(ufrag, password).unwrap());
        for line in candidates {
            if let Ok(candidate) = line.parse::<Candidate>().unwrap().to_remote() {
                let _ = self.agent.add_remote_candidate(candidate);
            }
        }
    }
}

/// Calls `turn` until it says so; a generous bound keeps a broken peer from hanging the test.
pub fn until(what: &str, mut turn: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !turn() {
        assert!(Instant::now() < end, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(1));
    }
}
