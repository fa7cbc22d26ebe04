//! Any number of agents, a network, and a clock that jumps from event to event.

use std::net::SocketAddr;
use std::time::Duration;

use bifrons_wire::stun::Message;

use crate::Time;
use crate::ice::*;
use crate::sim::{Link, Network};

pub const ALL: AddressPolicy = AddressPolicy { loopback: true, private: true };

/// An agent with its sockets.
pub struct Peer {
    pub agent: Agent,
    pub random: SeededRandom,
    pub sockets: Vec<SocketAddr>,
    pub ids: TransactionIds,
    pub token: u32,
    pub events: Vec<(Time, Event)>,
}

impl Peer {
    pub fn new(seed: u64, role: Role, addresses: &[&str], change: impl FnOnce(&mut AgentConfig)) -> Peer {
        let mut random = SeededRandom::new(seed);
        let ids = TransactionIds::from_random(&mut random);
        let sockets: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let local = sockets.iter().enumerate();
        let local = local.map(|(index, &address)| LocalCandidate {
            socket: index as u8 + 10,
            address,
            advertised: None,
        });
        let token = random.next_u64() as u32;
        let mut config = AgentConfig {
            role,
            lite: false,
            token,
            tie_breaker: random.next_u64(),
            local: local.collect(),
            transaction_ids: ids,
            policy: ALL,
            consent_loss: ConsentLoss::Fail,
            timers: Timers::default(),
        };
        change(&mut config);
        let agent = Agent::new(config, &mut random);
        Peer { agent, random, sockets, ids, token, events: vec![] }
    }

    pub fn poll(&mut self, now: Time) {
        while let Some(event) = self.agent.poll_event() {
            self.events.push((now, event));
        }
    }

    pub fn states(&self) -> Vec<State> {
        let states = self.events.iter().filter_map(|(_, event)| match event {
            Event::State(state) => Some(*state),
            _ => None,
        });
        states.collect()
    }

    pub fn remote(&self) -> Option<SocketAddr> {
        self.agent.selected().map(|pair| pair.remote)
    }

    pub fn timeout(&mut self, now: Time, network: &mut Network) {
        let sockets = &self.sockets;
        let mut out = |socket: u8, to: SocketAddr, bytes: &[u8]| {
            network.send(now, sockets[usize::from(socket) - 10], to, bytes);
        };
        self.agent.on_timeout(now, &mut self.random, &mut out);
        self.poll(now);
    }

    /// Whether a datagram for one of our sockets was for this agent, found the way the engine does.
    pub fn receive(
        &mut self,
        now: Time,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: &[u8],
        network: &mut Network,
    ) -> bool {
        let Some(index) = self.sockets.iter().position(|socket| *socket == destination) else { return false };
        let Ok(message) = Message::parse(bytes) else { return true };
        if id::leg_token(&message, &self.ids) == Some(self.token) {
            let sockets = &self.sockets;
            let mut out = |socket: u8, to: SocketAddr, bytes: &[u8]| {
                network.send(now, sockets[usize::from(socket) - 10], to, bytes);
            };
            self.agent.handle_stun(now, index as u8 + 10, source, &message, &mut out);
            self.poll(now);
        }
        true
    }
}

pub struct World {
    pub now: Time,
    pub network: Network,
    pub peers: Vec<Peer>,
}

impl World {
    pub fn new(seed: u64, link: Link, peers: Vec<Peer>) -> World {
        World { now: Time::ZERO, network: Network::new(seed, link), peers }
    }

    /// Two agents with one address each that know everything of each other.
    pub fn pair(seed: u64, link: Link, change: impl FnOnce(&mut AgentConfig, &mut AgentConfig)) -> World {
        let mut two: Option<AgentConfig> = None;
        let second = Peer::new(seed * 2 + 2, Role::Controlled, &["192.0.2.2:2000"], |config| {
            two = Some(config.clone())
        });
        let mut two = two.unwrap();
        let first = Peer::new(seed * 2 + 1, Role::Controlling, &["192.0.2.1:1000"], |config| {
            change(config, &mut two)
        });
        let mut random = second.random.clone();
        let second = Peer { agent: Agent::new(two, &mut random), random, ..second };
        let mut world = World::new(seed, link, vec![first, second]);
        world.signal(0, 1);
        world.signal(1, 0);
        world
    }

    /// Tells `to` the credentials and candidates of `from`.
    pub fn signal(&mut self, from: usize, to: usize) {
        self.signal_credentials(from, to);
        self.signal_candidates(from, to);
        self.peers[to].agent.end_of_candidates();
    }

    pub fn signal_credentials(&mut self, from: usize, to: usize) {
        let local = self.peers[from].agent.local_credentials();
        let remote = RemoteCredentials::new(local.ufrag(), local.password()).unwrap();
        let lite = self.peers[from].agent.lite;
        self.peers[to].agent.set_remote_lite(lite);
        self.peers[to].agent.set_remote_credentials(remote);
    }

    pub fn signal_candidates(&mut self, from: usize, to: usize) {
        let lines: Vec<String> =
            self.peers[from].agent.local_candidates().map(|line| line.to_string()).collect();
        for line in lines {
            let candidate: Candidate = line.parse().unwrap();
            let _ = self.peers[to].agent.add_remote_candidate(candidate.to_remote().unwrap());
        }
    }

    /// Goes to the next event not after `end`; false when there is none.
    pub fn step(&mut self, end: Time) -> bool {
        let timeouts = self.peers.iter().filter_map(|peer| peer.agent.next_timeout());
        let Some(at) = timeouts.chain(self.network.next_at()).min().filter(|&at| at <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(at);
        let now = self.now;
        while let Some(datagram) = self.network.receive(now) {
            for peer in &mut self.peers {
                if peer.receive(
                    now,
                    datagram.source,
                    datagram.destination,
                    &datagram.bytes,
                    &mut self.network,
                ) {
                    break;
                }
            }
        }
        for peer in &mut self.peers {
            if peer.agent.next_timeout().is_some_and(|at| at <= now) {
                peer.timeout(now, &mut self.network);
            }
        }
        true
    }

    /// Runs until `done` or for `limit`; whether `done` came true. More than a step a microsecond on
    /// average means a timer that is never satisfied.
    pub fn run(&mut self, limit: Duration, mut done: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + limit;
        let (mut steps, mut instant) = (0, self.now);
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return done(self);
            }
            steps = if self.now == instant { steps + 1 } else { 0 };
            instant = self.now;
            assert!(steps < 100, "stuck at {instant:?}");
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run(time, |_| false);
    }

    pub fn all_connected(&self) -> bool {
        self.peers.iter().all(|peer| peer.agent.current.path.is_some())
    }

    pub fn connect(&mut self) {
        let connected = self.run(Duration::from_secs(59), World::all_connected);
        let counters: Vec<_> = self.peers.iter().map(|peer| peer.agent.counters()).collect();
        assert!(connected, "not connected: {counters:#?}");
    }
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
