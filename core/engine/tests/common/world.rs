//! A simulated network with one engine and some clients on it.

use std::net::SocketAddr;
use std::time::Duration;

use bifrons_engine::driver::sim::{Link, Network};
use bifrons_engine::media::Notice;
use bifrons_engine::{EngineConfig, LocalAddress, Media, SimEngine};
use bifrons_rtc::Time;
use bifrons_rtc::dtls::Certificate;
use bifrons_rtc::ice::AddressPolicy;

use super::client::Client;

/// The engine's address.
pub const ENGINE: &str = "10.0.0.1";

/// Everything, at one virtual time.
pub struct World {
    pub network: Network,
    pub sim: SimEngine,
    pub clients: Vec<Client>,
    hosts: Vec<usize>,
    pub notices: Vec<Notice>,
    /// Datagrams that came to plain addresses: to, from, bytes.
    pub plain: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    plain_host: usize,
}

impl World {
    /// An engine with so many workers.
    pub fn new(seed: u64, link: Link, workers: usize) -> Self {
        Self::with(seed, link, |config| config.workers = workers)
    }

    /// An engine whose configuration is changed first.
    pub fn with(seed: u64, link: Link, change: impl FnOnce(&mut EngineConfig)) -> Self {
        let network = Network::new(seed, link, Time::from_millis(1_000));
        let mut config = EngineConfig {
            addresses: vec![LocalAddress { address: ENGINE.parse().unwrap(), advertised: None }],
            webrtc_port: Some(5_000),
            rtp_port_range: (20_000, 20_099),
            ice_addresses: AddressPolicy { loopback: true, private: true },
            ..EngineConfig::default()
        };
        config.limits.legs = 64;
        change(&mut config);
        let certificate = Certificate::generate().unwrap();
        let sim = SimEngine::new(config, &certificate, &network, seed, 512).unwrap();
        let plain_host = network.add_host();
        Self {
            network,
            sim,
            clients: Vec::new(),
            hosts: Vec::new(),
            notices: Vec::new(),
            plain: Vec::new(),
            plain_host,
        }
    }

    /// Puts a client on the network.
    pub fn add(&mut self, client: Client) -> usize {
        let host = self.network.add_host();
        assert!(self.network.bind(host, client.address));
        self.hosts.push(host);
        self.clients.push(client);
        self.clients.len() - 1
    }

    /// Puts a client beside another one, at its address: two sessions of a peer that has one port.
    pub fn add_beside(&mut self, client: Client, other: usize) -> usize {
        assert_eq!(client.address, self.clients[other].address);
        self.hosts.push(self.hosts[other]);
        self.clients.push(client);
        self.clients.len() - 1
    }

    /// All clients go.
    pub fn clear_clients(&mut self) {
        self.clients.drain(..).for_each(|client| self.network.unbind(client.address));
        self.hosts.clear();
    }

    /// Takes an address for plain datagrams.
    pub fn bind_plain(&mut self, address: SocketAddr) {
        assert!(self.network.bind(self.plain_host, address));
    }

    pub fn now(&self) -> Time {
        self.network.now()
    }

    /// Lets everything happen that is due at this instant.
    pub fn settle(&mut self) {
        let now = self.now();
        for (index, host) in self.hosts.iter().enumerate() {
            while let Some((from, _, bytes)) = self.network.take(*host) {
                // All sessions at one address are handed each datagram, but for handshakes, which the peer
                // begins one after the other.
                let hello =
                    bytes.first().is_some_and(|first| (20..64).contains(first)) && bytes[3..5] == [0, 0];
                let mut beside: Vec<_> =
                    (index..self.hosts.len()).filter(|i| self.hosts[*i] == *host).collect();
                if hello && beside.len() > 1 {
                    beside.retain(|i| !self.clients[*i].is_up());
                }
                for i in beside {
                    self.clients[i].handle(now, from, &mut bytes.clone());
                }
            }
        }
        for client in &mut self.clients {
            client.timeout(now);
            for (to, bytes) in client.out.drain(..) {
                self.network.send(client.address, to, &bytes);
            }
        }
        while let Some((from, to, bytes)) = self.network.take(self.plain_host) {
            self.plain.push((to, from, bytes));
        }
        self.sim.turn();
        while let Some(notice) = self.sim.engine.poll_notice() {
            self.notices.push(notice);
        }
        for worker in &self.sim.workers {
            assert_eq!(worker.driver().lent(), worker.held(), "a buffer was neither sent nor released");
        }
    }

    /// Runs until a time.
    pub fn run_until(&mut self, end: Time) {
        loop {
            self.settle();
            let clients = self.clients.iter().filter_map(Client::next_timeout);
            let next = clients.chain(self.sim.next_timeout()).chain(self.network.next_arrival()).min();
            let next = next.unwrap_or(end).max(self.now() + Duration::from_micros(100));
            if next >= end {
                self.network.advance(end);
                self.settle();
                return;
            }
            self.network.advance(next);
        }
    }

    /// Runs for so long.
    pub fn run(&mut self, millis: u64) {
        let end = self.now() + Duration::from_millis(millis);
        self.run_until(end);
    }

    /// Runs until `done`, at most `millis`; whether it came.
    pub fn run_while(&mut self, millis: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now() + Duration::from_millis(millis);
        while self.now() < end {
            if done(self) {
                return true;
            }
            self.run(10);
        }
        done(self)
    }

    /// What the workers dropped for this reason.
    pub fn dropped(&self, why: bifrons_engine::counter::Drop) -> u64 {
        self.sim.engine.counters().iter().map(|counters| counters.dropped(why)).sum()
    }

    /// All drops that are not zero, for messages.
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        let counters = self.sim.engine.counters();
        let all = counters.iter().flat_map(|counters| counters.all());
        all.filter(|(_, count)| *count > 0).collect()
    }
}
