//! Two legs whose peer has one address and port for both.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bifrons_engine::Media;
use bifrons_engine::counter::{Drop, Work};
use bifrons_engine::driver::sim::Link;
use bifrons_engine::id::LegId;
use bifrons_engine::media::*;
use bifrons_rtc::dtls::{Event, Role as DtlsSide};
use bifrons_rtc::ice::Role;
use bifrons_rtc::srtp::{Backend, MasterKey, Outbound, Profile};
use bifrons_wire::rtcp::{Compound, Packet as Rtcp, Writer};
use bifrons_wire::rtp::Packet;
use common::client::Client;
use common::world::World;
use common::{audio, rtp};

const SHARED: &str = "10.0.0.1:5000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn peer() -> SocketAddr {
    at("10.0.0.2:6000")
}

/// A session of the peer with an echo. It sends SSRC `5 + seed`, announced or not, and hears `77 + seed`.
fn join(world: &mut World, seed: u32, side: DtlsSide, announced: bool) -> LegId {
    let client = Client::new(peer(), seed.into(), side, Role::Controlling);
    let local = world.sim.engine.open_webrtc_leg(WebRtcOpen::default()).unwrap();
    world.sim.engine.set_webrtc_remote(local.leg, client.description()).unwrap();
    let mut line = audio("0", 77 + seed, 111, "opus");
    line.remote_ssrcs = if announced { vec![5 + seed] } else { vec![] };
    world.sim.engine.set_streams(local.leg, vec![line]).unwrap();
    let stream = StreamRef { leg: local.leg, mline: 0 };
    let echo = Output { to: stream, open: true, payload_types: vec![(111, 111)] };
    world.sim.engine.set_route(stream, vec![echo]).unwrap();
    let index = if world.clients.is_empty() { world.add(client) } else { world.add_beside(client, 0) };
    world.clients[index].set_remote(&local);
    local.leg
}

fn comes_up(world: &mut World, index: usize, leg: LegId) -> bool {
    world.run_while(10_000, |w| w.clients[index].is_up() && w.notices.contains(&Notice::Up { leg }))
}

fn packet(ssrc: u32, n: u16) -> Vec<u8> {
    rtp(111, n, 960 * u32::from(n), ssrc, Some("0"), &[ssrc as u8; 40])
}

/// The payloads of what came back from SSRC `77 + seed` to this client.
fn heard(world: &World, client: usize, seed: u32) -> Vec<u8> {
    let packets = world.clients[client].rtp.iter().map(|bytes| Packet::parse(&bytes[..]).unwrap());
    packets.filter(|packet| packet.header().ssrc == 77 + seed).map(|packet| packet.payload()[0]).collect()
}

/// Both sessions send packets `first` to `first + 20`.
fn talk(world: &mut World, first: u16, seeds: [u32; 2]) {
    for n in first..first + 20 {
        for (index, seed) in seeds.into_iter().enumerate() {
            world.clients[index].send_rtp(&packet(5 + seed, n));
        }
        world.run(20);
    }
    world.run(100);
}

fn two_sessions(world: &mut World, side: DtlsSide) -> (LegId, LegId) {
    let a = join(world, 1, side, true);
    assert!(comes_up(world, 0, a));
    world.clients[0].send_rtp(&packet(6, 0));
    world.run(100);
    let b = join(world, 2, side, true);
    assert!(comes_up(world, 1, b), "{:?} {:?}", world.notices, world.drops());
    (a, b)
}

#[test]
fn two_sessions_are_told_apart() {
    for side in [DtlsSide::Client, DtlsSide::Server] {
        let mut world = World::new(1, Link::default(), 1);
        let (a, b) = two_sessions(&mut world, side);
        talk(&mut world, 1, [1, 2]);
        assert_eq!(heard(&world, 0, 1), [6; 21], "{:?}", world.drops());
        assert_eq!(heard(&world, 1, 2), [7; 20], "{:?}", world.drops());
        let counters = &world.sim.engine.counters()[0];
        assert_eq!((counters.work(Work::AddressShared), counters.work(Work::Flows)), (1, 1));
        assert_eq!((world.dropped(Drop::SrtpAuth), world.dropped(Drop::AddressTaken)), (0, 0));

        // Reports reach their leg, also from an SSRC that no SDP has announced.
        for (index, ssrc) in [(0, 6), (1, 999)] {
            let mut buffer = [0; 100];
            let mut writer = Writer::new(&mut buffer);
            let block = bifrons_wire::rtcp::ReportBlock {
                ssrc: [78, 79][index],
                cumulative_lost: 3,
                ..Default::default()
            };
            writer.receiver_report(ssrc, &[block]).unwrap();
            let len = writer.len();
            world.clients[index].send_rtcp(&buffer[..len]);
            world.run(50);
        }
        for leg in [a, b] {
            assert_eq!(world.sim.engine.leg_stats(leg).unwrap().streams[0].out_lost, 3);
        }
        // And ours theirs: each client gets reports about its own SSRC under its own key.
        world.run(6_000);
        for (index, ssrc) in [(0, 6), (1, 7)] {
            let reports = world.clients[index].rtcp.iter().flat_map(|bytes| Compound::new(bytes));
            let blocks = reports.filter_map(|report| match report.unwrap() {
                Rtcp::SenderReport(report) => report.blocks.clone().next(),
                Rtcp::ReceiverReport(report) => report.blocks.clone().next(),
                _ => None,
            });
            let reported: Vec<u32> = blocks.map(|block| block.ssrc).collect();
            assert!(
                !reported.is_empty() && reported.iter().all(|reported| *reported == ssrc),
                "{reported:?}"
            );
        }

        // One says goodbye: only its own leg hears of it, and the other goes on alone.
        world.clients[1].close();
        let ended = |leg| {
            move |w: &World| w.notices.iter().any(|n| matches!(n, Notice::Ended { leg: l, .. } if *l == leg))
        };
        assert!(world.run_while(1_000, |w| ended(b)(w)), "{:?}", world.drops());
        world.sim.engine.close_leg(b);
        world.run(1_000);
        assert!(!ended(a)(&world));
        talk(&mut world, 21, [1, 2]);
        assert_eq!(heard(&world, 0, 1), [6; 41], "{:?}", world.drops());
        world.sim.engine.close_leg(a);
        world.run(1_000);
        assert_eq!(world.clients[0].dtls_ended, Some(Event::Closed));
        assert_eq!(world.sim.engine.counters()[0].work(Work::Flows), 0);
    }
}

#[test]
fn two_sessions_come_up_over_bad_networks() {
    for seed in 0..8 {
        let bad = Link {
            loss_permille: [0, 50, 150][seed as usize % 3],
            duplicate_permille: 100,
            reorder_permille: 100,
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis([0, 60][seed as usize % 2]),
        };
        let side = if seed < 4 { DtlsSide::Client } else { DtlsSide::Server };
        let mut world = World::new(seed, bad, 1);
        let a = join(&mut world, 1, side, true);
        assert!(comes_up(&mut world, 0, a), "seed {seed}: {:?}", world.drops());
        // Both at a time: the second session begins while the first may still repeat its last flight.
        let b = join(&mut world, 2, side, true);
        for n in 0..1_000 {
            world.clients[0].send_rtp(&packet(6, n));
            world.run(20);
        }
        assert!(comes_up(&mut world, 1, b), "seed {seed}: {:?}", world.drops());
        world.network.set_default_link(Link::default());
        world.run(1_000);
        let before = [heard(&world, 0, 1).len(), heard(&world, 1, 2).len()];
        talk(&mut world, 2_000, [1, 2]);
        let after = [heard(&world, 0, 1), heard(&world, 1, 2)];
        assert_eq!(
            after.each_ref().map(Vec::len),
            before.map(|n| n + 20),
            "seed {seed}: {:?}",
            world.drops()
        );
        assert!(after[0].iter().all(|n| *n == 6) && after[1].iter().all(|n| *n == 7));
    }
}

#[test]
fn the_first_may_leave_before_the_second() {
    let mut world = World::new(2, Link::default(), 1);
    let (a, _) = two_sessions(&mut world, DtlsSide::Client);
    world.sim.engine.close_leg(a);
    world.run(1_000);
    talk(&mut world, 1, [1, 2]);
    assert_eq!((heard(&world, 0, 1).len(), heard(&world, 1, 2)), (1, vec![7; 20]), "{:?}", world.drops());
}

#[test]
fn a_second_session_waits_until_the_first_handshake_is_over() {
    let mut world = World::new(3, Link::default(), 1);
    let a = join(&mut world, 1, DtlsSide::Client, true);
    assert!(comes_up(&mut world, 0, a));
    // The peer of the first has not used its keys yet: it may still repeat its last flight.
    let b = join(&mut world, 2, DtlsSide::Client, true);
    world.run(2_000);
    assert!(!world.clients[1].is_up() && !world.notices.contains(&Notice::Up { leg: b }));
    assert_eq!(world.dropped(Drop::AddressTaken), 1);
    world.clients[0].send_rtp(&packet(6, 0));
    assert!(comes_up(&mut world, 1, b), "{:?}", world.drops());
    talk(&mut world, 1, [1, 2]);
    assert_eq!((heard(&world, 0, 1).len(), heard(&world, 1, 2).len()), (21, 20), "{:?}", world.drops());
}

#[test]
fn an_address_goes_to_who_waits_for_it_when_its_leg_ends() {
    let mut world = World::new(4, Link::default(), 1);
    // Without announced SSRCs the two cannot be told apart, whichever of them has none.
    for announced in [[false, true], [true, false]] {
        let mut world = World::new(4, Link::default(), 1);
        let a = join(&mut world, 1, DtlsSide::Client, announced[0]);
        assert!(comes_up(&mut world, 0, a));
        world.clients[0].send_rtp(&packet(6, 0));
        world.run(100);
        let b = join(&mut world, 2, DtlsSide::Client, announced[1]);
        world.run(2_000);
        assert!(!world.notices.contains(&Notice::Up { leg: b }));
        assert_eq!(world.dropped(Drop::AddressTaken), 1);
        talk(&mut world, 1, [1, 2]);
        assert_eq!(heard(&world, 0, 1), [6; 21], "{:?}", world.drops());
        world.sim.engine.close_leg(a);
        assert!(comes_up(&mut world, 1, b), "{:?}", world.drops());
        talk(&mut world, 21, [1, 2]);
        assert_eq!(heard(&world, 1, 2), [7; 20], "{:?}", world.drops());
    }
    // One that waits in vain ends.
    let a = join(&mut world, 1, DtlsSide::Client, false);
    assert!(comes_up(&mut world, 0, a));
    let b = join(&mut world, 2, DtlsSide::Client, true);
    let ended = |w: &mut World| w.notices.iter().any(|n| matches!(n, Notice::Ended { leg, .. } if *leg == b));
    assert!(world.run_while(60_000, ended), "{:?}", world.drops());
    assert!(!world.notices.iter().any(|n| matches!(n, Notice::Ended { leg, .. } if *leg == a)));
}

#[test]
fn the_number_of_sessions_at_an_address_is_bounded() {
    let mut world = World::new(5, Link::default(), 1);
    let mut legs = Vec::new();
    for seed in 1..=9u32 {
        let leg = join(&mut world, seed, DtlsSide::Client, true);
        let index = seed as usize - 1;
        assert_eq!(comes_up(&mut world, index, leg), seed < 9, "{seed}: {:?}", world.drops());
        world.clients[index].send_rtp(&packet(5 + seed, 0));
        world.run(100);
        legs.push(leg);
    }
    assert_eq!(world.dropped(Drop::AddressTaken), 1);
    for (index, seed) in (1..9).enumerate() {
        world.clients[index].send_rtp(&packet(5 + seed, 1));
        world.run(50);
        assert_eq!(heard(&world, index, seed), [5 + seed as u8; 2], "{:?}", world.drops());
    }
}

/// A session is the peer's who has its keys. Whoever sends from the shared address, or has another session
/// there, gets nothing by the SSRCs of the others.
#[test]
fn nobody_gets_or_brings_the_packets_of_another() {
    let mut world = World::new(6, Link::default(), 1);
    let (a, b) = two_sessions(&mut world, DtlsSide::Client);
    // The second session sends with the SSRC of the first, which its own SDP does not announce.
    let before = (world.dropped(Drop::SrtpAuth), heard(&world, 1, 2).len());
    for n in 100..110 {
        world.clients[1].send_rtp(&packet(6, n));
    }
    // A stranger sends plain packets and garbage with both SSRCs and an unknown one.
    for ssrc in [6, 7, 1234] {
        for n in 0..10 {
            world.network.send(peer(), at(SHARED), &packet(ssrc, 200 + n));
        }
    }
    world.run(100);
    assert_eq!(world.dropped(Drop::SrtpAuth) - before.0, 30, "{:?}", world.drops());
    assert_eq!(world.dropped(Drop::SharedSsrc), 10);
    // An unknown SSRC under a right key is not learnt here.
    world.clients[1].send_rtp(&packet(4321, 1));
    world.run(50);
    assert_eq!((world.dropped(Drop::SharedSsrc), heard(&world, 1, 2).len()), (11, before.1));

    // The second leg's SDP now claims the SSRC of the first: the first goes on to get its own packets, the
    // second what has its key.
    let mut line = audio("0", 79, 111, "opus");
    line.remote_ssrcs = vec![6, 7];
    world.sim.engine.set_streams(b, vec![line.clone()]).unwrap();
    talk(&mut world, 1, [1, 2]);
    assert_eq!(heard(&world, 0, 1), [6; 21], "{:?}", world.drops());
    assert_eq!(heard(&world, 1, 2), [7; 20], "{:?}", world.drops());
    // The other way round, the first to have come has no precedence either.
    line.local_ssrc = 78;
    world.sim.engine.set_streams(a, vec![line]).unwrap();
    talk(&mut world, 21, [1, 2]);
    assert_eq!((heard(&world, 0, 1).len(), heard(&world, 1, 2).len()), (41, 40), "{:?}", world.drops());

    // DTLS of a handshake that nobody awaits, an alert in clear, and records of nobody's epoch.
    let ended = world.notices.len();
    for datagram in [
        [&[22, 0xfe, 0xfd, 0, 0][..], &[0, 0, 0, 0, 0, 9, 0, 2, 1, 0]].concat(),
        [&[21, 0xfe, 0xfd, 0, 0][..], &[0, 0, 0, 0, 0, 9, 0, 2, 2, 0]].concat(),
        [&[21, 0xfe, 0xfd, 0, 1][..], &[0, 0, 0, 0, 0, 9, 0, 26], &[3; 26]].concat(),
        vec![22, 0xfe, 0xfd],
    ] {
        world.network.send(peer(), at(SHARED), &datagram);
        world.run(50);
    }
    assert_eq!(world.dropped(Drop::DtlsUndecided), 2, "{:?}", world.drops());
    assert!(!world.notices[ended..].iter().any(|n| matches!(n, Notice::Ended { .. })));
    // RTCP that no key opens.
    let key = MasterKey::from_bytes(Profile::AeadAes128Gcm, &[9; 28]).unwrap();
    let mut stranger = Outbound::new(Backend::Native, &key).unwrap();
    let mut buffer = [0; 100];
    let mut writer = Writer::new(&mut buffer);
    writer.receiver_report(7, &[]).unwrap();
    let len = writer.len();
    let len = stranger.protect_rtcp(&mut buffer, len).unwrap();
    let before = world.dropped(Drop::SrtpAuth);
    world.network.send(peer(), at(SHARED), &buffer[..len]);
    world.run(50);
    assert_eq!(world.dropped(Drop::SrtpAuth), before + 1);
    talk(&mut world, 41, [1, 2]);
    assert_eq!((heard(&world, 0, 1).len(), heard(&world, 1, 2).len()), (61, 60), "{:?}", world.drops());
    assert_eq!(world.dropped(Drop::Panic), 0);
}

#[test]
fn a_new_dtls_session_beside_another_leg() {
    let mut world = World::new(7, Link::default(), 1);
    let (a, _) = two_sessions(&mut world, DtlsSide::Client);
    world.clients[1].send_rtp(&packet(7, 0));
    world.run(50);
    world.clients[0].new_certificate();
    world.clients[0].restart_ice();
    let ice = world.sim.engine.restart_ice(a).unwrap();
    let description = world.clients[0].description();
    world.sim.engine.set_webrtc_remote(a, description).unwrap();
    world.clients[0].set_remote_credentials(&ice, at(SHARED));
    assert!(world.run_while(5_000, |w| w.clients[0].is_up()), "{:?} {:?}", world.notices, world.drops());
    world.run(100);
    talk(&mut world, 1, [1, 2]);
    assert_eq!((heard(&world, 0, 1), heard(&world, 1, 2)), (vec![6; 21], vec![7; 21]), "{:?}", world.drops());
}

/// A leg that has its part in an address keeps it, whatever a later SDP of it leaves out: what it then sends
/// with an SSRC that nobody has announced is known by its key, and from then on by its SSRC.
#[test]
fn a_renegotiation_that_announces_no_ssrc_loses_nothing() {
    let mut world = World::new(8, Link::default(), 1);
    let (_, b) = two_sessions(&mut world, DtlsSide::Client);
    talk(&mut world, 1, [1, 2]);
    let line = audio("0", 79, 111, "opus");
    world.sim.engine.set_streams(b, vec![line.clone()]).unwrap();
    talk(&mut world, 21, [1, 2]);
    assert_eq!((heard(&world, 0, 1).len(), heard(&world, 1, 2).len()), (41, 40), "{:?}", world.drops());
    // The peer's m-line comes from another source now, say another camera. The old one has stopped.
    world.run(600);
    for n in 0..20 {
        world.clients[0].send_rtp(&packet(6, 41 + n));
        world.clients[1].send_rtp(&packet(4321, n));
        world.run(20);
    }
    world.run(100);
    assert_eq!((heard(&world, 0, 1).len(), heard(&world, 1, 2).len()), (61, 60), "{:?}", world.drops());
    assert_eq!((world.dropped(Drop::SharedSsrc), world.dropped(Drop::SrtpAuth)), (0, 0));
    // The other leg announces as before: with its key nothing can be brought that is not announced.
    world.clients[0].send_rtp(&packet(999, 1));
    world.run(50);
    assert_eq!(world.dropped(Drop::SrtpAuth), 1, "{:?}", world.drops());
    assert_eq!(heard(&world, 0, 1).len(), 61);
    // Announced again, it is as it was.
    world.sim.engine.set_streams(b, vec![StreamConfig { remote_ssrcs: vec![4321], ..line }]).unwrap();
    world.clients[1].send_rtp(&packet(4321, 20));
    world.clients[0].send_rtp(&packet(999, 2));
    world.run(50);
    assert_eq!((world.dropped(Drop::SharedSsrc), heard(&world, 1, 2).len()), (1, 61), "{:?}", world.drops());
}
