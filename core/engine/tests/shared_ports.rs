//! RTP legs that share ports: each peer hears its own call and no other, whatever the others do.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::net::SocketAddr;

use bifrons_engine::counter::{Drop, Work};
use bifrons_engine::driver::sim::Link;
use bifrons_engine::media::{
    Latching, MediaError, Notice, RtpLocal, RtpOpen, RtpRemote, RtpShared, SdesKeys, StreamRef,
};
use bifrons_engine::{AdmissionCount, Media};
use bifrons_rtc::srtp::{Backend, Inbound, MasterKey, Outbound, Profile};
use bifrons_wire::rtp::Packet;
use common::world::World;
use common::{audio, output, rtp};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The trunk's media address.
fn trunk(port: u16) -> SocketAddr {
    SocketAddr::new(at("10.0.0.7:1").ip(), port)
}

/// An engine with so many ports for the trunk.
fn world(seed: u64, ports: u8) -> World {
    World::with(seed, Link::default(), |config| config.shared_ports = vec![ports])
}

fn remote(port: u16) -> RtpRemote {
    RtpRemote { rtp: trunk(port), rtcp: None, rtcp_mux: false, sdes: None }
}

fn open(world: &mut World, remote: Option<RtpRemote>) -> Result<RtpLocal, MediaError> {
    let shared = Some(RtpShared { group: 0, remote, not: vec![] });
    let open = RtpOpen { near: None, ipv6: false, latching: Latching::AnyFirst, rtcp_mux: false, shared };
    world.sim.engine.open_rtp_leg(open)
}

/// The peer hears what it says.
fn echo(world: &mut World, local: &RtpLocal, ssrc: u32) {
    let own = StreamRef { leg: local.leg, mline: 0 };
    world.sim.engine.set_streams(local.leg, vec![audio("", ssrc, 0, "pcmu")]).unwrap();
    world.sim.engine.set_route(own, vec![output(own, &[0, 101])]).unwrap();
}

/// A call with the peer's address known.
fn call(world: &mut World, port: u16) -> RtpLocal {
    let local = open(world, Some(remote(port))).unwrap();
    world.sim.engine.set_rtp_remote(local.leg, remote(port)).unwrap();
    echo(world, &local, u32::from(port));
    local
}

/// Sends a packet with this one byte and SSRC.
fn say(world: &mut World, from: SocketAddr, to: SocketAddr, n: u16, ssrc: u32, word: u8) {
    world.network.send(from, to, &rtp(0, n, 160 * u32::from(n), ssrc, None, &[word; 160]));
}

/// What came to an address since the last time, RTP only: from where, and the byte.
fn heard(world: &mut World, to: SocketAddr) -> Vec<(SocketAddr, u8)> {
    let (mine, others) = std::mem::take(&mut world.plain).into_iter().partition(|(at, ..)| *at == to);
    world.plain = others;
    let mine: Vec<(SocketAddr, SocketAddr, Vec<u8>)> = mine;
    let rtp = mine.into_iter().filter(|(_, _, bytes)| bytes[1] & 0x7f == 0);
    rtp.map(|(_, from, bytes)| (from, Packet::parse(&bytes[..]).unwrap().payload()[0])).collect()
}

fn bind(world: &mut World, ports: &[u16]) {
    ports.iter().for_each(|port| world.bind_plain(trunk(*port)));
}

#[test]
fn calls_on_one_port_are_told_apart_by_the_peers_port() {
    let mut world = world(1, 1);
    let ports = [4_000, 4_002, 4_004];
    bind(&mut world, &ports);
    let calls = ports.map(|port| call(&mut world, port));
    assert!(calls.iter().all(|local| local.rtp == calls[0].rtp), "{calls:?}");
    assert_eq!(world.sim.engine.admission_counters().get(AdmissionCount::SharedPorts), 1);
    for n in 0..50 {
        for (port, local) in ports.iter().zip(&calls) {
            say(&mut world, trunk(*port), local.rtp, n, 9, *port as u8);
        }
        world.run(20);
    }
    for (port, local) in ports.iter().zip(&calls) {
        assert_eq!(
            heard(&mut world, trunk(*port)),
            vec![(local.rtp, *port as u8); 50],
            "{:?}",
            world.drops()
        );
        let stats = world.sim.engine.leg_stats(local.leg).unwrap().streams[0];
        assert_eq!((stats.in_packets, stats.out_packets), (50, 50));
        let stream = StreamRef { leg: local.leg, mline: 0 };
        assert!(world.notices.contains(&Notice::Receiving { stream, receiving: true, silent_s: 0 }));
    }
    assert!(!world.notices.iter().any(|notice| matches!(notice, Notice::Latched { .. })));
    assert_eq!(world.sim.engine.counters()[0].work(Work::Flows), 6, "RTP and RTCP of three calls");

    // One ends, the others do not notice; what still comes for it reaches nobody.
    world.sim.engine.close_leg(calls[1].leg);
    world.run(10);
    for (port, local) in ports.iter().zip(&calls) {
        say(&mut world, trunk(*port), local.rtp, 60, 9, *port as u8);
    }
    world.run(20);
    let counts = ports.map(|port| heard(&mut world, trunk(port)).len());
    assert_eq!((counts, world.dropped(Drop::UnknownSource)), ([1, 0, 1], 1));
}

#[test]
fn strangers_are_dropped_and_cost_a_call_nothing() {
    let mut world = world(2, 1);
    bind(&mut world, &[4_000]);
    let local = call(&mut world, 4_000);
    for n in 0..40u16 {
        for k in 0..50u16 {
            // Another port of the same host, another host with the same port, and no RTP at all.
            say(&mut world, trunk(5_000 + k), local.rtp, n, 9, 3);
            say(&mut world, SocketAddr::new(at("10.9.9.9:1").ip(), 4_000), local.rtp, n, 9, 3);
            world.network.send(trunk(4_000), local.rtcp, &[0; 20]);
        }
        say(&mut world, trunk(4_000), local.rtp, n, 9, 1);
        world.run(20);
    }
    assert_eq!(heard(&mut world, trunk(4_000)), vec![(local.rtp, 1); 40], "{:?}", world.drops());
    assert_eq!((world.dropped(Drop::UnknownSource), world.dropped(Drop::NotMedia)), (4_000, 2_000));
    assert_eq!(world.dropped(Drop::LegOverBudget), 0);
    let stats = world.sim.engine.leg_stats(local.leg).unwrap().streams[0];
    assert_eq!((stats.in_packets, stats.over_budget), (40, 0));
}

#[test]
fn where_the_peer_is_known_a_port_is_taken_on_which_it_is_not() {
    let mut world = world(3, 2);
    bind(&mut world, &[4_000]);
    let first = call(&mut world, 4_000);
    let second = call(&mut world, 4_000);
    assert_ne!(first.rtp, second.rtp);
    for n in 0..5 {
        say(&mut world, trunk(4_000), first.rtp, n, 9, 1);
        say(&mut world, trunk(4_000), second.rtp, n, 9, 2);
        world.run(20);
    }
    let heard = heard(&mut world, trunk(4_000));
    assert!(heard.iter().all(|heard| *heard == (first.rtp, 1) || *heard == (second.rtp, 2)), "{heard:?}");
    assert_eq!(heard.len(), 10);
    // No port is left for it; for others there is.
    let refused = open(&mut world, Some(remote(4_000))).unwrap_err();
    assert_eq!(refused, MediaError::AddressTaken(trunk(4_000)));
    assert!(refused.to_string().contains("10.0.0.7:4000"), "{refused}");
    let clash = RtpRemote { rtcp: Some(trunk(4_001)), ..remote(6_000) };
    assert_eq!(
        open(&mut world, Some(clash)).unwrap_err(),
        MediaError::AddressTaken(trunk(6_000)),
        "its RTCP"
    );
    open(&mut world, Some(remote(4_010))).unwrap();
    assert_eq!(world.sim.engine.admission_counters().get(AdmissionCount::AddressTaken), 2);
}

#[test]
fn an_answer_with_the_address_of_another_call_is_refused_and_changes_nothing() {
    let mut world = world(4, 1);
    bind(&mut world, &[4_000, 4_002]);
    let first = call(&mut world, 4_000);
    // We offer: nothing is routed before the answer.
    let second = open(&mut world, None).unwrap();
    echo(&mut world, &second, 8);
    say(&mut world, trunk(4_002), second.rtp, 0, 9, 2);
    world.run(20);
    assert_eq!(world.dropped(Drop::UnknownSource), 1);
    let refused = world.sim.engine.set_rtp_remote(second.leg, remote(4_000));
    assert_eq!(refused, Err(MediaError::AddressTaken(trunk(4_000))));
    for n in 0..5 {
        say(&mut world, trunk(4_000), first.rtp, n, 9, 1);
        world.run(20);
    }
    assert_eq!(heard(&mut world, trunk(4_000)), vec![(first.rtp, 1); 5]);
    // The peer may do better, as in another answer.
    world.sim.engine.set_rtp_remote(second.leg, remote(4_002)).unwrap();
    world.run(5);
    say(&mut world, trunk(4_002), second.rtp, 1, 9, 2);
    world.run(20);
    assert_eq!(heard(&mut world, trunk(4_002)), [(second.rtp, 2)]);
    assert_eq!(world.dropped(Drop::AddressTaken), 0, "the worker never hears of it");
}

#[test]
fn a_reinvite_moves_the_call_and_a_hold_leaves_it() {
    let mut world = world(5, 1);
    bind(&mut world, &[4_000, 4_002, 4_100]);
    let (first, second) = (call(&mut world, 4_000), call(&mut world, 4_002));
    let mut n = 0;
    let mut round = |world: &mut World, from: u16| {
        n += 1;
        say(world, trunk(from), first.rtp, n, 9, 1);
        say(world, trunk(4_002), second.rtp, n, 9, 2);
        world.run(20);
        let other = heard(world, trunk(4_002));
        assert_eq!(other, [(second.rtp, 2)], "the other call goes on");
        heard(world, trunk(from)).len()
    };
    assert_eq!(round(&mut world, 4_000), 1);
    // To the other call's address: refused, and all is as before.
    let refused = world.sim.engine.set_rtp_remote(first.leg, remote(4_002));
    assert_eq!(refused, Err(MediaError::AddressTaken(trunk(4_002))));
    assert_eq!(round(&mut world, 4_000), 1);
    world.sim.engine.set_rtp_remote(first.leg, remote(4_100)).unwrap();
    world.run(5);
    assert_eq!((round(&mut world, 4_000), round(&mut world, 4_100)), (0, 1));
    // A hold without an address: nothing goes out, and the address stays the call's.
    let hold = RtpRemote { rtp: at("0.0.0.0:4100"), rtcp: None, rtcp_mux: false, sdes: None };
    world.sim.engine.set_rtp_remote(first.leg, hold).unwrap();
    world.run(5);
    assert_eq!(round(&mut world, 4_100), 0);
    assert_eq!(open(&mut world, Some(remote(4_100))).unwrap_err(), MediaError::AddressTaken(trunk(4_100)));
    world.sim.engine.set_rtp_remote(first.leg, remote(4_100)).unwrap();
    world.run(5);
    assert_eq!(round(&mut world, 4_100), 1);
    assert_eq!(world.sim.engine.counters()[0].work(Work::Flows), 4);
    assert_eq!(world.dropped(Drop::AddressTaken), 0);
}

#[test]
fn late_packets_of_an_ended_call_reach_no_new_one() {
    let mut world = world(6, 2);
    bind(&mut world, &[4_000]);
    let old = call(&mut world, 4_000);
    say(&mut world, trunk(4_000), old.rtp, 1, 0xaaaa, 1);
    world.run(20);
    world.sim.engine.close_leg(old.leg);
    world.run(20);
    heard(&mut world, trunk(4_000));
    // We answer: the port on which the address rests is passed over.
    let next = call(&mut world, 4_000);
    assert_ne!(next.rtp, old.rtp);
    world.sim.engine.close_leg(next.leg);
    world.run(20);
    // We offer, and the answer has an address that rests: late packets are known by their SSRC.
    let offered = [(); 2].map(|()| open(&mut world, None).unwrap());
    let new = offered.into_iter().find(|local| local.rtp == old.rtp).unwrap();
    world.sim.engine.set_rtp_remote(new.leg, remote(4_000)).unwrap();
    echo(&mut world, &new, 8);
    world.run(5);
    say(&mut world, trunk(4_000), new.rtp, 2, 0xaaaa, 1);
    say(&mut world, trunk(4_000), new.rtp, 2, 0xbbbb, 2);
    world.run(20);
    assert_eq!(heard(&mut world, trunk(4_000)), [(new.rtp, 2)]);
    assert_eq!(world.dropped(Drop::LateSsrc), 1);
    // A renegotiation does not end that, time does.
    world.sim.engine.set_rtp_remote(new.leg, remote(4_000)).unwrap();
    say(&mut world, trunk(4_000), new.rtp, 3, 0xaaaa, 1);
    world.run(2_500);
    assert_eq!(world.dropped(Drop::LateSsrc), 2);
    say(&mut world, trunk(4_000), new.rtp, 4, 0xaaaa, 1);
    world.run(20);
    assert_eq!(heard(&mut world, trunk(4_000)), [(new.rtp, 1)]);
}

#[test]
fn rtcp_finds_its_call_with_and_without_mux() {
    let mut world = world(7, 1);
    bind(&mut world, &[4_000, 4_001, 4_002, 4_003, 4_004, 4_777]);
    let plain = call(&mut world, 4_000);
    let elsewhere = RtpRemote { rtcp: Some(trunk(4_777)), ..remote(4_002) };
    let named = open(&mut world, Some(elsewhere.clone())).unwrap();
    world.sim.engine.set_rtp_remote(named.leg, elsewhere).unwrap();
    echo(&mut world, &named, 2);
    let mux = open(&mut world, None).unwrap();
    world.sim.engine.set_rtp_remote(mux.leg, RtpRemote { rtcp_mux: true, ..remote(4_004) }).unwrap();
    echo(&mut world, &mux, 3);
    assert_eq!((plain.rtp, plain.rtcp.port()), (mux.rtp, mux.rtp.port() + 1));
    world.run(5);
    let bye = |ssrc: u32| [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes()].concat();
    let before = world.sim.engine.counters()[0].work(Work::Rtcp);
    for (from, to) in [(4_001, plain.rtcp), (4_777, named.rtcp), (4_004, mux.rtp)] {
        world.network.send(trunk(from), to, &bye(from.into()));
    }
    world.run(5);
    assert_eq!(world.sim.engine.counters()[0].work(Work::Rtcp) - before, 3, "{:?}", world.drops());
    // RTCP of a call from where its RTCP does not come, and RTP from where RTCP does.
    for (from, to) in [(4_000, plain.rtp), (4_003, named.rtcp), (4_005, mux.rtcp), (4_004, mux.rtcp)] {
        world.network.send(trunk(from), to, &bye(from.into()));
    }
    say(&mut world, trunk(4_001), plain.rtcp, 1, 9, 1);
    world.run(5);
    assert_eq!(world.sim.engine.counters()[0].work(Work::Rtcp) - before, 3);
    assert_eq!((world.dropped(Drop::SourceRefused), world.dropped(Drop::UnknownSource)), (2, 3));
    // Our own reports go to each from the right port.
    for n in 0..200 {
        for (from, to) in [(4_000, plain.rtp), (4_002, named.rtp), (4_004, mux.rtp)] {
            say(&mut world, trunk(from), to, n, 9, 1);
        }
        world.run(20);
    }
    let reports = |to: u16, from: SocketAddr| {
        let mut all = world.plain.iter().filter(|(at, ..)| *at == trunk(to));
        all.any(|(_, source, bytes)| *source == from && (200..=201).contains(&bytes[1]))
    };
    assert!(reports(4_001, plain.rtcp) && reports(4_777, named.rtcp) && reports(4_004, mux.rtp));
    assert!(!reports(4_003, named.rtcp));
}

#[test]
fn sdes_on_a_shared_port() {
    let mut world = world(8, 1);
    bind(&mut world, &[4_000, 4_002]);
    let suite = "AES_CM_128_HMAC_SHA1_80".to_owned();
    let key = |bytes: &[u8]| MasterKey::from_bytes(Profile::AesCm128HmacSha1_80, bytes).unwrap();
    let mut calls = Vec::new();
    for (port, byte) in [(4_000, 1), (4_002, 3)] {
        let keys = SdesKeys { suite: suite.clone(), local: vec![byte; 30], remote: vec![byte + 1; 30] };
        let inbound = Inbound::new(Backend::Native, &key(&keys.local)).unwrap();
        let outbound = Outbound::new(Backend::Native, &key(&keys.remote)).unwrap();
        let remote = RtpRemote { sdes: Some(keys), ..remote(port) };
        let local = open(&mut world, Some(remote.clone())).unwrap();
        world.sim.engine.set_rtp_remote(local.leg, remote).unwrap();
        echo(&mut world, &local, 7);
        calls.push((port, local, inbound, outbound));
    }
    for n in 0..20u16 {
        for (port, local, _, outbound) in &mut calls {
            let mut packet = rtp(0, n, 160 * u32::from(n), 9, None, &[*port as u8; 160]);
            let len = packet.len();
            packet.resize(len + 16, 0);
            let len = outbound.protect_rtp(&mut packet, len).unwrap();
            world.network.send(trunk(*port), local.rtp, &packet[..len]);
        }
        world.run(20);
    }
    let now = world.now();
    for (port, _, inbound, _) in &mut calls {
        let mut echoed = 0;
        for (_, _, bytes) in world.plain.iter_mut().filter(|(to, ..)| *to == trunk(*port)) {
            let len = inbound.unprotect_rtp(now, bytes).unwrap();
            assert_eq!(Packet::parse(&bytes[..len]).unwrap().payload(), [*port as u8; 160]);
            echoed += 1;
        }
        assert_eq!(echoed, 20, "{:?}", world.drops());
    }
}

#[test]
fn each_worker_has_its_own_and_m_lines_of_a_call_differ() {
    let mut world = World::with(9, Link::default(), |config| {
        config.workers = 2;
        config.shared_ports = vec![2, 1];
    });
    bind(&mut world, &[4_000]);
    let (first, second) = (call(&mut world, 4_000), call(&mut world, 4_000));
    assert_ne!(first.leg.worker(), second.leg.worker());
    assert_ne!(first.rtp, second.rtp, "the same address of a peer on two workers");
    for (local, word) in [(&first, 1), (&second, 2)] {
        say(&mut world, trunk(4_000), local.rtp, 1, 9, word);
    }
    world.run(20);
    let mut got = heard(&mut world, trunk(4_000));
    got.sort_by_key(|(_, word)| *word);
    assert_eq!(got, [(first.rtp, 1), (second.rtp, 2)]);

    let mut line = |near: &RtpLocal, group, not: &[u16]| {
        let shared = Some(RtpShared { group, remote: None, not: not.to_vec() });
        let near = Some(near.leg);
        let open = RtpOpen { near, ipv6: false, latching: Latching::Off, rtcp_mux: false, shared };
        world.sim.engine.open_rtp_leg(open)
    };
    let video = line(&first, 0, &[first.rtp.port()]).unwrap();
    assert_ne!(video.rtp, first.rtp);
    let third = line(&first, 0, &[first.rtp.port(), video.rtp.port()]).unwrap_err();
    assert_eq!(third, MediaError::Full("the group of shared RTP ports"));
    let other = line(&first, 1, &[]).unwrap();
    assert!(other.rtp != first.rtp && other.rtp != video.rtp, "another group has other ports");
    assert!(matches!(line(&first, 2, &[]), Err(MediaError::Invalid(_))));
}

#[test]
fn thousands_of_calls_come_and_go_on_two_ports() {
    let mut world = World::with(10, Link::default(), |config| {
        config.shared_ports = vec![2];
        config.limits.legs = 512;
        config.rtp_port_range = (20_000, 20_005);
    });
    for round in 0..20u16 {
        let calls: Vec<_> = (0..200u16).map(|n| call(&mut world, 4_000 + round % 7 * 400 + n * 2)).collect();
        world.run(5);
        for (n, local) in (0..).zip(&calls) {
            say(&mut world, trunk(4_000 + round % 7 * 400 + n * 2), local.rtp, 1, 100 + u32::from(round), 1);
        }
        world.run(5);
        assert_eq!(world.sim.engine.counters()[0].work(Work::Flows), 400);
        let got = |local: &RtpLocal| world.sim.engine.leg_stats(local.leg).unwrap().streams[0].in_packets;
        assert!(calls.iter().all(|local| got(local) == 1), "{:?}", world.drops());
        calls.iter().for_each(|local| world.sim.engine.close_leg(local.leg));
        world.run(20);
    }
    let counters = &world.sim.engine.counters()[0];
    assert_eq!((counters.work(Work::Legs), counters.work(Work::Flows)), (0, 0));
    assert_eq!(world.sim.engine.admission_counters().get(AdmissionCount::SharedPorts), 2);
    assert_eq!(world.dropped(Drop::AddressTaken), 0);
}
