//! The same calls over real sockets on loopback, with each driver.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bifrons_engine::driver::Clock;
use bifrons_engine::media::*;
use bifrons_engine::{DriverChoice, Engine, EngineConfig, LocalAddress, Media};
use bifrons_rtc::dtls::Role as DtlsSide;
use bifrons_rtc::ice::{AddressPolicy, Role};
use bifrons_wire::rtp::Packet;
use common::client::Client;
use common::{audio, output, rtp};

/// Longest wait for anything; reached only when something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    engine: Engine,
    clock: Clock,
    clients: Vec<(Client, UdpSocket)>,
    notices: Vec<Notice>,
}

fn config(driver: DriverChoice) -> EngineConfig {
    let mut config = EngineConfig {
        workers: 2,
        driver,
        addresses: vec![LocalAddress { address: "127.0.0.1".parse().unwrap(), advertised: None }],
        rtp_port_range: (40_000, 49_999),
        ice_addresses: AddressPolicy { loopback: true, private: true },
        realtime: false,
        ..EngineConfig::default()
    };
    config.limits.legs = 64;
    config
}

/// An engine, unless this kernel has no such driver.
fn start(driver: DriverChoice) -> Option<Bench> {
    match Engine::start(config(driver)) {
        Ok((engine, report)) => {
            println!("{}", report.lines.join("\n"));
            Some(Bench { engine, clock: Clock::start(), clients: Vec::new(), notices: Vec::new() })
        }
        Err(error) if driver == DriverChoice::Uring => {
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
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let mut client = Client::new(address, seed, DtlsSide::Client, Role::Controlling);
        let local = self.engine.open_webrtc_leg(WebRtcOpen { near, offerer: false }).unwrap();
        self.engine.set_webrtc_remote(local.leg, client.description()).unwrap();
        self.engine.set_streams(local.leg, streams).unwrap();
        client.set_remote(&local);
        self.clients.push((client, socket));
        local.leg
    }

    fn step(&mut self) {
        let now = self.clock.now();
        let mut buffer = [0; 2_048];
        for (client, socket) in &mut self.clients {
            while let Ok((len, source)) = socket.recv_from(&mut buffer) {
                client.handle(now, source, &mut buffer[..len]);
            }
            if client.next_timeout().is_some_and(|at| at <= now) {
                client.timeout(now);
            }
            for (to, bytes) in client.out.drain(..) {
                socket.send_to(&bytes, to).unwrap();
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

    fn counted(&self) -> Vec<(&'static str, u64)> {
        let all = self.engine.counters();
        all.iter().flat_map(|counters| counters.all()).filter(|(_, count)| *count > 0).collect()
    }
}

/// A browser's echo, and a call with a phone.
fn scenario(driver: DriverChoice) {
    let Some(mut bench) = start(driver) else { return };
    assert!(bench.engine.notice_fd().as_raw_fd() >= 0);
    let echo = bench.join(vec![audio("0", 77, 0, "pcmu")], 3, None);
    let web = bench.join(vec![audio("0", 79, 0, "pcmu")], 5, None);
    assert_ne!(echo.worker(), web.worker(), "legs are spread over the workers");
    let own = StreamRef { leg: echo, mline: 0 };
    bench.engine.set_route(own, vec![output(own, &[0])]).unwrap();

    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_nonblocking(true).unwrap();
    let open = RtpOpen { near: Some(web), ipv6: false, latching: Latching::SameIp, rtcp_mux: false };
    let local = bench.engine.open_rtp_leg(open).unwrap();
    let remote = RtpRemote { rtp: phone.local_addr().unwrap(), rtcp: None, rtcp_mux: false, sdes: None };
    bench.engine.set_rtp_remote(local.leg, remote).unwrap();
    bench.engine.set_streams(local.leg, vec![audio("", 99, 0, "pcmu")]).unwrap();
    let (a, b) = (StreamRef { leg: web, mline: 0 }, StreamRef { leg: local.leg, mline: 0 });
    bench.engine.set_route(a, vec![output(b, &[0])]).unwrap();
    bench.engine.set_route(b, vec![output(a, &[0])]).unwrap();

    let up = bench.run_while(|bench| {
        [echo, web].iter().all(|leg| bench.notices.contains(&Notice::Up { leg: *leg }))
            && bench.clients.iter().all(|(client, _)| client.is_up())
    });
    assert!(up, "{:?} {:?}", bench.notices, bench.counted());

    let (mut sent, mut heard) = (0u16, 0);
    let mut buffer = [0; 2_048];
    let done = bench.run_while(|bench| {
        if sent < 100 {
            for (client, _) in &mut bench.clients {
                client.send_rtp(&rtp(0, sent, 160 * u32::from(sent), 5, Some("0"), &[1; 160]));
            }
            phone.send_to(&rtp(0, sent, 160 * u32::from(sent), 6, None, &[2; 160]), local.rtp).unwrap();
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
    let free = bench.run_while(|_| {
        UdpSocket::bind(SocketAddr::new("127.0.0.1".parse().unwrap(), local.rtp.port())).is_ok()
    });
    assert!(free, "the socket of a closed leg is still open");
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
    assert!(refused(|config| config.limits.legs = 0).starts_with("limits.legs"));
    assert!(refused(|config| config.coalesce_us = 5_000).starts_with("coalesce_us"));
    assert!(refused(|config| config.dtls_mtu = 1_453).starts_with("dtls_mtu"));
    assert!(refused(|config| config.dtls_retransmit_ms = 0).starts_with("dtls_retransmit_ms"));
    assert!(refused(|config| config.dtls_timeout_ms = 0).starts_with("dtls_timeout_ms"));
}
