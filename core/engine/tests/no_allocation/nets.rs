//! The simulated network, and real sockets on loopback with either driver.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bifrons_engine::driver::sim::{Link, Network};
use bifrons_engine::driver::{Clock, Driver};
use bifrons_engine::{Assembled, Engine, EngineConfig, Handshaker, LocalAddress, Media, SimEngine, Worker};
use bifrons_rtc::Time;
use bifrons_rtc::dtls::Certificate;
use bifrons_rtc::ice::AddressPolicy;

use crate::allocator::watch;
use crate::calls::Net;
use crate::netns::{self, Cable};

/// Whether the worker is watched, told from the test's thread.
#[derive(Clone, Default)]
pub struct Watch(Arc<Flags>);

#[derive(Default)]
struct Flags {
    watched: AtomicBool,
    planted: AtomicBool,
}

impl Watch {
    /// From the worker's next turn on.
    pub fn set(&self, watched: bool) {
        self.0.watched.store(watched, Ordering::SeqCst);
    }

    /// Has the worker's thread allocate once, as soon as it is watched.
    pub fn plant(&self) {
        self.0.planted.store(true, Ordering::SeqCst);
    }

    /// Does something on the worker's thread, watched or not.
    fn during<T>(&self, turn: impl FnOnce() -> T) -> T {
        let watched = self.0.watched.load(Ordering::SeqCst);
        watch(watched);
        if watched && self.0.planted.swap(false, Ordering::SeqCst) {
            drop(std::hint::black_box(Box::new(1u64)));
        }
        let result = turn();
        watch(false);
        result
    }
}

fn config(address: &str) -> EngineConfig {
    let mut config = EngineConfig {
        addresses: vec![LocalAddress { address: address.parse().unwrap(), advertised: None }],
        ice_addresses: AddressPolicy { loopback: true, private: true },
        ..EngineConfig::default()
    };
    config.limits.legs = 256;
    // As fast as packets come back.
    config.limits.budgets.audio_packets_per_s = 0;
    config.limits.budgets.video_packets_per_s = 0;
    config
}

/// One thread, virtual time: only the worker's turns are watched.
pub struct SimNet {
    network: Network,
    sim: SimEngine,
    watch: Watch,
    hosts: Vec<(usize, SocketAddr)>,
}

impl SimNet {
    pub fn new() -> (Self, Watch) {
        let network = Network::new(1, Link::default(), Time::from_millis(1_000));
        let config = EngineConfig { webrtc_port: Some(5_000), ..config("10.0.0.1") };
        let sim = SimEngine::new(config, &Certificate::generate().unwrap(), &network, 1, 512).unwrap();
        let watch = Watch::default();
        (Self { network, sim, watch: watch.clone(), hosts: Vec::new() }, watch)
    }

    fn run(&mut self, time: Duration) {
        self.network.advance(self.network.now() + time);
        let now = self.network.now();
        let worker = &mut self.sim.workers[0];
        while self.watch.during(|| worker.turn_at(now)) {}
        // The handshakes, which no worker does.
        self.sim.turn();
    }
}

impl Net for SimNet {
    fn add(&mut self) -> (usize, SocketAddr) {
        let index = self.hosts.len();
        let address = SocketAddr::new([10, 0, 1, index as u8].into(), 4_000);
        let host = self.network.add_host();
        assert!(self.network.bind(host, address));
        self.hosts.push((host, address));
        (index, address)
    }

    fn send(&mut self, socket: usize, to: SocketAddr, datagram: &[u8]) {
        self.network.send(self.hosts[socket].1, to, datagram);
    }

    fn receive(&mut self, socket: usize, datagram: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let (source, _, bytes) = self.network.take(self.hosts[socket].0)?;
        datagram[..bytes.len()].copy_from_slice(&bytes);
        Some((bytes.len(), source))
    }

    fn step(&mut self) {
        self.run(Duration::from_millis(1));
    }

    fn pass(&mut self) {
        for _ in 0..3 {
            self.run(Duration::from_millis(6));
        }
    }

    fn now(&self) -> Time {
        self.network.now()
    }

    fn engine(&mut self) -> &mut dyn Media {
        &mut self.sim.engine
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters = self.sim.engine.counters();
        counters[0].all().into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// A worker on a thread of its own, the handshakes on the test's.
pub struct RealNet {
    engine: Engine,
    handshaker: Handshaker,
    clock: Clock,
    sockets: Vec<UdpSocket>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// The clients are at its other end.
    cable: Option<Cable>,
}

impl RealNet {
    pub fn new<D>(driver: impl FnOnce(Clock) -> D + Send + 'static) -> (Self, Watch)
    where
        D: Driver<Socket = UdpSocket>,
    {
        Self::at("127.0.0.1", None, driver)
    }

    /// The engine at one end of a cable, where the calling thread goes, and the clients at the other.
    pub fn over<D>(cable: Cable, driver: impl FnOnce(Clock) -> D + Send + 'static) -> (Self, Watch)
    where
        D: Driver<Socket = UdpSocket>,
    {
        cable.enter(0);
        Self::at(&netns::address(0, false).to_string(), Some(cable), driver)
    }

    fn at<D>(
        address: &str,
        cable: Option<Cable>,
        driver: impl FnOnce(Clock) -> D + Send + 'static,
    ) -> (Self, Watch)
    where
        D: Driver<Socket = UdpSocket>,
    {
        let Assembled { engine, mut workers, handshaker, clock, .. } =
            Engine::assemble(config(address), &Certificate::generate().unwrap()).unwrap();
        let parts = workers.remove(0);
        let (stop, watch) = (Arc::new(AtomicBool::new(false)), Watch::default());
        let (stopped, watched) = (stop.clone(), watch.clone());
        let thread = std::thread::spawn(move || {
            let mut worker = Worker::new(driver(clock), parts);
            while !stopped.load(Ordering::Relaxed) {
                watched.during(|| worker.turn());
            }
        });
        let net = Self { engine, handshaker, clock, sockets: Vec::new(), stop, thread: Some(thread), cable };
        (net, watch)
    }
}

impl Net for RealNet {
    fn add(&mut self) -> (usize, SocketAddr) {
        let socket = match &self.cable {
            Some(cable) => cable.within(1, || UdpSocket::bind((netns::address(1, false), 0))),
            None => UdpSocket::bind("127.0.0.1:0"),
        };
        let socket = socket.unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        self.sockets.push(socket);
        (self.sockets.len() - 1, address)
    }

    fn send(&mut self, socket: usize, to: SocketAddr, datagram: &[u8]) {
        assert_eq!(self.sockets[socket].send_to(datagram, to).unwrap(), datagram.len());
    }

    fn receive(&mut self, socket: usize, datagram: &mut [u8]) -> Option<(usize, SocketAddr)> {
        self.sockets[socket].recv_from(datagram).ok()
    }

    fn step(&mut self) {
        self.handshaker.turn(self.clock.now());
        std::thread::yield_now();
    }

    fn pass(&mut self) {}

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn engine(&mut self) -> &mut dyn Media {
        &mut self.engine
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters = self.engine.counters();
        counters[0].all().into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

impl Drop for RealNet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the worker's thread panicked");
        }
    }
}
