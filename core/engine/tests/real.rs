//! The same calls over real sockets, with each driver: on loopback, and with xdp between two network
//! namespaces.

mod common;
#[path = "common/netns.rs"]
mod netns;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bifrons_engine::counter::Work;
use bifrons_engine::driver::{Clock, thread};
use bifrons_engine::media::*;
use bifrons_engine::{DriverChoice, Engine, EngineConfig, LocalAddress, Media};
use bifrons_rtc::dtls::Role as DtlsSide;
use bifrons_rtc::ice::{AddressPolicy, Random, Role, SeededRandom};
use bifrons_wire::rtp::Packet;
use common::client::Client;
use common::{audio, output, rtp};
use netns::{Cable, INTERFACE};

const WORKERS: usize = 2;
/// Longest wait for anything; reached only when something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    engine: Engine,
    place: Place,
    clock: Clock,
    clients: Vec<(Client, UdpSocket)>,
    /// By client: datagrams that come late, to it and from it.
    late: Vec<[Vec<Datagram>; 2]>,
    notices: Vec<Notice>,
    /// Where phones get reports; nobody reads them.
    reports: Vec<UdpSocket>,
    road: Road,
}

/// A bad road between clients and engine, in thousandths and from a seed.
struct Road {
    random: SeededRandom,
    loss: u64,
    duplicate: u64,
    /// A datagram that comes one step later than it should.
    reorder: u64,
}

type Datagram = (SocketAddr, Vec<u8>);

impl Road {
    fn new(seed: u64, loss: u64, duplicate: u64, reorder: u64) -> Self {
        Self { random: SeededRandom::new(seed), loss, duplicate, reorder }
    }

    fn happens(&mut self, permille: u64) -> bool {
        self.random.next_u64() % 1_000 < permille
    }

    /// What comes out of `datagrams`, behind it what was `late` before.
    fn pass(&mut self, datagrams: Vec<Datagram>, late: &mut Vec<Datagram>) -> Vec<Datagram> {
        let before = std::mem::take(late);
        let mut out = Vec::new();
        for datagram in datagrams {
            if self.happens(self.loss) {
                continue;
            }
            if self.happens(self.duplicate) {
                out.push(datagram.clone());
            }
            if self.happens(self.reorder) {
                late.push(datagram);
            } else {
                out.push(datagram);
            }
        }
        out.extend(before);
        out
    }
}

/// Where engine and clients are: on one host, or on two with a cable between.
struct Place {
    cable: Option<Cable>,
    /// By port of the engine's: whose it is.
    workers: BTreeMap<u16, u8>,
    /// Packets come by the queue of another worker.
    astray: bool,
}

impl Place {
    /// A place for a driver, where this machine has it. The calling thread goes to the engine's side.
    fn new(driver: DriverChoice) -> Option<Self> {
        let cable = match driver {
            DriverChoice::Xdp if std::thread::available_parallelism().map_or(1, usize::from) < WORKERS => {
                println!("skipped: {WORKERS} processors are needed");
                return None;
            }
            DriverChoice::Xdp => Some(Cable::new(WORKERS)?),
            _ => None,
        };
        if let Some(cable) = &cable {
            // The processor that sends decides about the queue, here and there (transmit packet steering).
            for queue in 0..WORKERS {
                let file = format!("/sys/class/net/{INTERFACE}/queues/tx-{queue}/xps_cpus");
                netns::run(cable.name(1), &format!("echo {:x} >{file}", 1 << queue));
            }
            // A packet that waits for its neighbour's address is sent by the processor that hears of it, so by any
            // queue.
            let (near, far) = (netns::address(0, false), netns::address(1, false));
            cable.within(1, || UdpSocket::bind((far, 0)).unwrap().send_to(&[], (near, 9)).unwrap());
            let known = format!("grep -q '^{near} .* 0x2 ' /proc/net/arp");
            netns::run(
                cable.name(1),
                &format!("for _ in $(seq 500); do {known} && exit; sleep 0.01; done; exit 1"),
            );
            cable.enter(0);
        }
        Some(Self { cable, workers: BTreeMap::new(), astray: false })
    }

    fn address(&self) -> IpAddr {
        self.cable.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), |_| netns::address(0, false))
    }

    /// A client's socket.
    fn bind(&self) -> UdpSocket {
        let socket = match &self.cable {
            None => UdpSocket::bind("127.0.0.1:0").unwrap(),
            Some(cable) => cable.within(1, || UdpSocket::bind((netns::address(1, false), 0)).unwrap()),
        };
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Sends from a client's socket, on a cable by the queue of the worker whose port it is.
    fn send(&self, socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) {
        if let (Some(_), Some(worker)) = (&self.cable, self.workers.get(&to.port())) {
            let queue = usize::from(*worker) + usize::from(self.astray);
            thread::pin_to_core(queue % WORKERS).unwrap();
        }
        socket.send_to(bytes, to).unwrap();
    }
}

fn config(driver: DriverChoice) -> EngineConfig {
    let mut config = EngineConfig {
        workers: WORKERS,
        driver,
        addresses: vec![LocalAddress { address: "127.0.0.1".parse().unwrap(), advertised: None }],
        rtp_port_range: (40_000, 49_999),
        shared_ports: vec![1],
        ice_addresses: AddressPolicy { loopback: true, private: true },
        realtime: false,
        ..EngineConfig::default()
    };
    config.limits.legs = 64;
    config
}

/// An engine, unless this machine has no such driver.
fn start(driver: DriverChoice) -> Option<Bench> {
    let place = Place::new(driver)?;
    let mut config = config(driver);
    config.addresses[0].address = place.address();
    config.xdp_interfaces = place.cable.iter().map(|_| INTERFACE.to_owned()).collect();
    match Engine::start(config) {
        Ok((engine, report)) => {
            println!("{}", report.lines.join("\n"));
            let road = Road::new(1, 0, 0, 0);
            Some(Bench {
                engine,
                place,
                clock: Clock::start(),
                clients: Vec::new(),
                late: Vec::new(),
                notices: Vec::new(),
                reports: Vec::new(),
                road,
            })
        }
        Err(error) if driver == DriverChoice::Uring || netns::is_not_granted(&error.to_string()) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

impl Bench {
    fn join(
        &mut self,
        streams: Vec<StreamConfig>,
        seed: u64,
        near: Option<bifrons_engine::LegId>,
    ) -> bifrons_engine::LegId {
        let socket = self.place.bind();
        let address = socket.local_addr().unwrap();
        let mut client = Client::new(address, seed, DtlsSide::Client, Role::Controlling);
        let local = self.engine.open_webrtc_leg(WebRtcOpen { near, offerer: false }).unwrap();
        self.engine.set_webrtc_remote(local.leg, client.description()).unwrap();
        self.engine.set_streams(local.leg, streams).unwrap();
        client.set_remote(&local);
        // The sixth word of a candidate is its port (RFC 8839 §5.1).
        let port = |candidate: &String| candidate.split(' ').nth(5).and_then(|port| port.parse().ok());
        let ports = local.candidates.iter().filter_map(port);
        self.place.workers.extend(ports.map(|port| (port, local.leg.worker())));
        self.clients.push((client, socket));
        self.late.push(Default::default());
        local.leg
    }

    fn step(&mut self) {
        let now = self.clock.now();
        let mut buffer = [0; 2_048];
        for ((client, socket), [late_in, late_out]) in self.clients.iter_mut().zip(&mut self.late) {
            let mut came = Vec::new();
            while let Ok((len, source)) = socket.recv_from(&mut buffer) {
                came.push((source, buffer[..len].to_vec()));
            }
            for (source, mut bytes) in self.road.pass(came, late_in) {
                client.handle(now, source, &mut bytes);
            }
            if client.next_timeout().is_some_and(|at| at <= now) {
                client.timeout(now);
            }
            for (to, bytes) in self.road.pass(std::mem::take(&mut client.out), late_out) {
                self.place.send(socket, to, &bytes);
            }
        }
        while let Some(notice) = self.engine.poll_notice() {
            self.notices.push(notice);
        }
        std::thread::sleep(Duration::from_micros(500));
    }

    fn run_while(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.step();
            if done(self) {
                return true;
            }
        }
        false
    }

    /// An RTP leg.
    fn open(&mut self, open: RtpOpen) -> RtpLocal {
        let local = self.engine.open_rtp_leg(open).unwrap();
        let ports = [local.rtp, local.rtcp];
        self.place.workers.extend(ports.map(|address| (address.port(), local.leg.worker())));
        local
    }

    /// With xdp each worker has had packets by its rings, if they came by its queue, and has sent some.
    fn check_rings(&self) {
        let xdp = self.place.cable.is_some();
        for (worker, counters) in self.engine.counters().iter().enumerate() {
            let count = |name| counters.all().into_iter().find(|(own, _)| *own == name).map(|(_, n)| n);
            let ways = ["xdp_received", "xdp_sent"].map(|name| count(name).unwrap_or_default() > 0);
            assert_eq!(ways, [xdp && !self.place.astray, xdp], "worker {worker}: {:?}", counters.all());
        }
    }

    fn counted(&self) -> Vec<(&'static str, u64)> {
        let all = self.engine.counters();
        all.iter().flat_map(|counters| counters.all()).filter(|(_, count)| *count > 0).collect()
    }
}

/// A browser's echo, and a call with a phone. Both are up. Gives the call's legs and the phone.
fn calls(bench: &mut Bench) -> (bifrons_engine::LegId, RtpLocal, UdpSocket) {
    let echo = bench.join(vec![audio("0", 77, 0, "pcmu")], 3, None);
    let web = bench.join(vec![audio("0", 79, 0, "pcmu")], 5, None);
    assert_ne!(echo.worker(), web.worker(), "legs are spread over the workers");
    let own = StreamRef { leg: echo, mline: 0 };
    bench.engine.set_route(own, vec![output(own, &[0])]).unwrap();

    let phone = bench.place.bind();
    let local = bench.open(RtpOpen { near: Some(web), ..RtpOpen::default() });
    // A port of its own for its reports: the one above the phone's may be that of another test.
    let reports = bench.place.bind();
    let (rtp, rtcp) = (phone.local_addr().unwrap(), reports.local_addr().unwrap());
    let remote = RtpRemote { rtp, rtcp: Some(rtcp), rtcp_mux: false, sdes: None };
    bench.engine.set_rtp_remote(local.leg, remote).unwrap();
    bench.reports.push(reports);
    bench.engine.set_streams(local.leg, vec![audio("", 99, 0, "pcmu")]).unwrap();
    let (a, b) = (StreamRef { leg: web, mline: 0 }, StreamRef { leg: local.leg, mline: 0 });
    bench.engine.set_route(a, vec![output(b, &[0])]).unwrap();
    bench.engine.set_route(b, vec![output(a, &[0])]).unwrap();

    let up = bench.run_while(|bench| {
        [echo, web].iter().all(|leg| bench.notices.contains(&Notice::Up { leg: *leg }))
            && bench.clients.iter().all(|(client, _)| client.is_up())
    });
    assert!(up, "{:?} {:?}", bench.notices, bench.counted());
    (web, local, phone)
}

/// On a bad road calls come up, and each packet goes on at most once.
fn on_a_bad_road(driver: DriverChoice) {
    for (seed, loss) in [(1, 0), (2, 100), (3, 200)] {
        let Some(mut bench) = start(driver) else { return };
        bench.road = Road::new(seed, loss, 100, 100);
        let (_, local, phone) = calls(&mut bench);
        let early: Vec<usize> = bench.clients.iter().map(|(client, _)| client.undecryptable).collect();
        let (mut sent, mut heard, mut phone_late) = (0u16, Vec::new(), Vec::new());
        let mut buffer = [0; 2_048];
        let done = bench.run_while(|bench| {
            let mut spoken = Vec::new();
            if sent < 200 {
                let number = sent.to_be_bytes();
                for (client, _) in &mut bench.clients {
                    client.send_rtp(&rtp(0, sent, 160 * u32::from(sent), 5, Some("0"), &number));
                }
                spoken.push((local.rtp, rtp(0, sent, 160 * u32::from(sent), 6, None, &number)));
                sent += 1;
            }
            for (to, bytes) in bench.road.pass(spoken, &mut phone_late) {
                bench.place.send(&phone, to, &bytes);
            }
            while let Ok((len, _)) = phone.recv_from(&mut buffer) {
                heard.push(buffer[..len].to_vec());
            }
            // At the worst four fifths come one way, and four fifths of them back.
            sent == 200 && heard.len() > 120 && bench.clients.iter().all(|(client, _)| client.rtp.len() > 80)
        });
        let got: Vec<usize> = bench.clients.iter().map(|(client, _)| client.rtp.len()).collect();
        assert!(done, "seed {seed}: {} {got:?} {:?}", heard.len(), bench.counted());
        let late: Vec<usize> = bench.clients.iter().map(|(client, _)| client.undecryptable).collect();
        assert_eq!(late, early, "seed {seed}");
        for came in bench.clients.iter().map(|(client, _)| &client.rtp).chain([&heard]) {
            let packets: Vec<_> = came.iter().map(|bytes| Packet::parse(&bytes[..]).unwrap()).collect();
            let offset = |packet: &Packet<&[u8]>| {
                let number = u16::from_be_bytes(packet.payload().try_into().unwrap());
                packet.header().sequence.wrapping_sub(number)
            };
            assert!(packets.iter().all(|packet| offset(packet) == offset(&packets[0])), "seed {seed}");
            let distinct: BTreeSet<u16> = packets.iter().map(|packet| packet.header().sequence).collect();
            assert_eq!(distinct.len(), packets.len(), "seed {seed}: a packet came twice");
        }
    }
}

#[test]
fn calls_on_a_bad_road_over_io_uring() {
    on_a_bad_road(DriverChoice::Uring);
}

#[test]
fn calls_on_a_bad_road_over_mmsg() {
    on_a_bad_road(DriverChoice::Mmsg);
}

#[test]
fn calls_on_a_bad_road_over_xdp() {
    on_a_bad_road(DriverChoice::Xdp);
}

/// All that is sent arrives where nothing is lost, and a call leaves nothing behind.
fn scenario(driver: DriverChoice) {
    if let Some(bench) = start(driver) {
        all_arrives(bench);
    }
}

fn all_arrives(mut bench: Bench) {
    assert!(bench.engine.notice_fd().as_raw_fd() >= 0);
    let (web, local, phone) = calls(&mut bench);
    let (mut sent, mut heard) = (0u16, 0);
    let mut buffer = [0; 2_048];
    let done = bench.run_while(|bench| {
        if sent < 100 {
            for (client, _) in &mut bench.clients {
                client.send_rtp(&rtp(0, sent, 160 * u32::from(sent), 5, Some("0"), &[1; 160]));
            }
            bench.place.send(&phone, local.rtp, &rtp(0, sent, 160 * u32::from(sent), 6, None, &[2; 160]));
            sent += 1;
        }
        while let Ok((len, from)) = phone.recv_from(&mut buffer) {
            assert_eq!(from, local.rtp);
            assert_eq!(Packet::parse(&buffer[..len]).unwrap().payload(), [1; 160]);
            heard += 1;
        }
        heard == 100 && bench.clients.iter().all(|(client, _)| client.rtp.len() == 100)
    });
    let got: Vec<usize> = bench.clients.iter().map(|(client, _)| client.rtp.len()).collect();
    assert!(done, "{heard} {got:?} {:?}", bench.counted());

    bench.engine.close_leg(web);
    bench.engine.close_leg(local.leg);
    let closed = bench.run_while(|bench| bench.clients[1].0.dtls_ended.is_some());
    assert!(closed, "no close_notify: {:?}", bench.counted());
    // The port can be had again by others.
    let free = bench
        .run_while(|bench| UdpSocket::bind(SocketAddr::new(bench.place.address(), local.rtp.port())).is_ok());
    assert!(free, "the socket of a closed leg is still open");
    bench.check_rings();
}

#[test]
fn calls_over_io_uring() {
    scenario(DriverChoice::Uring);
}

#[test]
fn calls_over_mmsg() {
    scenario(DriverChoice::Mmsg);
}

#[test]
fn calls_over_xdp() {
    scenario(DriverChoice::Xdp);
}

/// What the interface gives to another queue than the worker's comes through the socket.
#[test]
fn calls_over_xdp_by_the_queues_of_other_workers() {
    if let Some(mut bench) = start(DriverChoice::Xdp) {
        bench.place.astray = true;
        all_arrives(bench);
    }
}

/// Two phones on legs of two workers: each packet crosses once, in order, and comes once.
fn across_workers(driver: DriverChoice) {
    let Some(mut bench) = start(driver) else { return };
    let mut phones = Vec::new();
    for ssrc in [91, 92] {
        let phone = bench.place.bind();
        let local = bench.open(RtpOpen { rtcp_mux: true, ..RtpOpen::default() });
        let rtp = phone.local_addr().unwrap();
        bench.engine.set_rtp_remote(local.leg, RtpRemote::muxed(rtp)).unwrap();
        bench.engine.set_streams(local.leg, vec![audio("", ssrc, 0, "pcmu")]).unwrap();
        phones.push((phone, local));
    }
    let [a, b] = [0, 1].map(|n: usize| StreamRef { leg: phones[n].1.leg, mline: 0 });
    assert_ne!(a.leg.worker(), b.leg.worker(), "legs are spread over the workers");
    bench.engine.set_route(a, vec![output(b, &[0])]).unwrap();
    bench.engine.set_route(b, vec![output(a, &[0])]).unwrap();
    let mut heard = [Vec::new(), Vec::new()];
    let (mut sent, mut buffer) = (0u16, [0; 2_048]);
    let done = bench.run_while(|bench| {
        // No more under way than a ring holds, and no faster than a leg may be.
        let behind = heard.iter().map(Vec::len).min().unwrap();
        if sent < 150 && usize::from(sent) < behind + 20 {
            for (phone, local) in &phones {
                let packet = rtp(0, sent, 160 * u32::from(sent), 5, None, &sent.to_be_bytes());
                bench.place.send(phone, local.rtp, &packet);
            }
            sent += 1;
        }
        for ((phone, _), heard) in phones.iter().zip(&mut heard) {
            while let Ok((len, _)) = phone.recv_from(&mut buffer) {
                if buffer[1] < 72 {
                    let packet = Packet::parse(&buffer[..len]).unwrap();
                    heard.push(u16::from_be_bytes(packet.payload().try_into().unwrap()));
                }
            }
        }
        heard.iter().all(|heard| heard.len() >= 150)
    });
    assert!(done, "{sent} {:?} {:?}", heard.each_ref().map(Vec::len), bench.counted());
    let all: Vec<u16> = (0..150).collect();
    assert_eq!(heard, [all.clone(), all]);
    let counters = bench.engine.counters();
    let crossed = counters.iter().map(|counters| counters.work(Work::Replicated));
    assert_eq!(crossed.collect::<Vec<_>>(), [150, 150]);
    bench.check_rings();
}

#[test]
fn routes_across_workers_over_io_uring() {
    across_workers(DriverChoice::Uring);
}

#[test]
fn routes_across_workers_over_mmsg() {
    across_workers(DriverChoice::Mmsg);
}

/// Phones on one shared port a worker: each hears itself, also when calls come and go.
fn on_shared_ports(driver: DriverChoice) {
    let Some(mut bench) = start(driver) else { return };
    let mut ports = BTreeSet::new();
    for round in 0..2u8 {
        let mut phones = Vec::new();
        for n in 0..8u32 {
            let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
            phone.set_nonblocking(true).unwrap();
            let rtp = phone.local_addr().unwrap();
            let remote = RtpRemote { rtp, rtcp: None, rtcp_mux: true, sdes: None };
            let shared = Some(RtpShared { group: 0, remote: Some(remote.clone()), not: vec![] });
            let open = RtpOpen { near: None, ipv6: false, latching: Latching::Off, rtcp_mux: false, shared };
            let local = bench.engine.open_rtp_leg(open).unwrap();
            bench.engine.set_rtp_remote(local.leg, remote).unwrap();
            bench.engine.set_streams(local.leg, vec![audio("", 90 + n, 0, "pcmu")]).unwrap();
            let own = StreamRef { leg: local.leg, mline: 0 };
            bench.engine.set_route(own, vec![output(own, &[0])]).unwrap();
            ports.insert((local.leg.worker(), local.rtp));
            phones.push((phone, local, 0));
        }
        let (mut sent, mut buffer) = (0u16, [0; 2_048]);
        let done = bench.run_while(|_| {
            if sent < 50 {
                for (n, (phone, local, _)) in (0..).zip(&phones) {
                    let packet = rtp(0, sent, 160 * u32::from(sent), 5, None, &[round, n, 7]);
                    phone.send_to(&packet, local.rtp).unwrap();
                }
                sent += 1;
            }
            for (n, (phone, local, heard)) in (0..).zip(&mut phones) {
                while let Ok((len, from)) = phone.recv_from(&mut buffer) {
                    assert_eq!(from, local.rtp);
                    let packet = Packet::parse(&buffer[..len]).unwrap();
                    if packet.header().payload_type == 0 {
                        assert_eq!(packet.payload(), [round, n, 7]);
                        *heard += 1;
                    }
                }
            }
            // The first packets may have come before the legs were there.
            sent == 50 && phones.iter().all(|(.., heard)| *heard >= 40)
        });
        let heard: Vec<i32> = phones.iter().map(|(.., heard)| *heard).collect();
        assert!(done, "{heard:?} {:?}", bench.counted());
        phones.iter().for_each(|(_, local, _)| bench.engine.close_leg(local.leg));
    }
    assert_eq!(ports.len(), 2, "one port a worker: {ports:?}");
}

#[test]
fn shared_ports_over_io_uring() {
    on_shared_ports(DriverChoice::Uring);
}

#[test]
fn shared_ports_over_mmsg() {
    on_shared_ports(DriverChoice::Mmsg);
}

#[test]
fn routes_across_workers_over_xdp() {
    across_workers(DriverChoice::Xdp);
}

#[test]
fn a_taken_port_is_said() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut config = config(DriverChoice::Mmsg);
    config.webrtc_port = Some(taken.local_addr().unwrap().port());
    let error = Engine::start(config).map(drop).unwrap_err().to_string();
    assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
}

#[test]
fn an_unusable_configuration_is_said() {
    let refused = |change: fn(&mut EngineConfig)| {
        let mut config = config(DriverChoice::Mmsg);
        change(&mut config);
        Engine::start(config).map(drop).unwrap_err().to_string()
    };
    assert!(refused(|config| config.workers = 0).starts_with("workers"));
    assert!(refused(|config| config.addresses.clear()).starts_with("addresses"));
    assert!(refused(|config| config.addresses[0].address = "0.0.0.0".parse().unwrap()).contains("wildcard"));
    assert!(refused(|config| config.rtp_port_range = (5, 4)).starts_with("rtp_port_range"));
    assert!(refused(|config| config.shared_ports = vec![30, 3]).starts_with("shared_ports"));
    assert!(refused(|config| config.limits.legs = 0).starts_with("limits.legs"));
    assert!(refused(|config| config.coalesce_us = 5_000).starts_with("coalesce_us"));
    assert!(refused(|config| config.dtls_mtu = 1_453).starts_with("dtls_mtu"));
    assert!(refused(|config| config.dtls_retransmit_ms = 0).starts_with("dtls_retransmit_ms"));
    assert!(refused(|config| config.dtls_timeout_ms = 0).starts_with("dtls_timeout_ms"));
}
