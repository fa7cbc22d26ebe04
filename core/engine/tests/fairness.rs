//! A flood on one leg, port or ring costs that one its packets and nobody else's.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bifrons_engine::counter::Drop;
use bifrons_engine::driver::sim::Link;
use bifrons_engine::media::*;
use bifrons_engine::{LegId, Media};
use bifrons_rtc::dtls::Role as DtlsSide;
use bifrons_rtc::ice::Role;
use bifrons_wire::rtp::Packet;
use bifrons_wire::stun::{BINDING, Class, IntegrityKey, Writer};
use common::client::Client;
use common::world::World;
use common::{audio, output, rtp, video};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A telephone on a plain RTP leg that echoes; its port at the engine.
fn phone(world: &mut World, address: &str, latching: Latching, config: StreamConfig) -> (LegId, SocketAddr) {
    world.bind_plain(at(address));
    let open = RtpOpen { latching, rtcp_mux: true, ..RtpOpen::default() };
    let local = world.sim.engine.open_rtp_leg(open).unwrap();
    world.sim.engine.set_rtp_remote(local.leg, RtpRemote::muxed(at(address))).unwrap();
    let types: Vec<u8> = config.payload_types.iter().map(|payload| payload.number).collect();
    world.sim.engine.set_streams(local.leg, vec![config]).unwrap();
    let stream = StreamRef { leg: local.leg, mline: 0 };
    world.sim.engine.set_route(stream, vec![output(stream, &types)]).unwrap();
    world.settle();
    (local.leg, local.rtp)
}

/// RTP that came back to an address.
fn echoed(world: &World, address: &str) -> usize {
    let mine = world.plain.iter().filter(|(to, _, bytes)| *to == at(address) && bytes[1] & 0x7f < 64);
    mine.count()
}

fn over_budget(world: &World, leg: LegId) -> u64 {
    world.sim.engine.leg_stats(leg).unwrap().streams[0].over_budget
}

/// Packet `n` of a stream of 20 ms PCMU.
fn pcmu(n: u16, ssrc: u32) -> Vec<u8> {
    rtp(0, n, 160 * u32::from(n), ssrc, None, &[0x55; 160])
}

#[test]
fn a_flood_on_one_leg_is_cut_to_its_budget_and_no_other_packet_is_lost() {
    let mut world = World::new(1, Link::default(), 1);
    let flooding = "10.0.0.9:7000";
    let (bad, bad_port) = phone(&mut world, flooding, Latching::SameIp, audio("", 9, 0, "pcmu"));
    let others: Vec<String> = (0..8).map(|n| format!("10.0.0.3:{}", 7_000 + 2 * n)).collect();
    let legs: Vec<_> = others
        .iter()
        .map(|address| phone(&mut world, address, Latching::SameIp, audio("", 3, 0, "pcmu")))
        .collect();
    // Two seconds at 50 packets a second each; the flooder sends sixty at the same instant, 3,000 a second.
    let mut sent = 0;
    for n in 0..100u16 {
        for _ in 0..60 {
            world.network.send(at(flooding), bad_port, &pcmu(sent, 5));
            sent += 1;
        }
        for (address, (_, port)) in others.iter().zip(&legs) {
            world.network.send(at(address), *port, &pcmu(n, 6));
        }
        world.run(20);
    }
    world.run(10);
    for (address, (leg, _)) in others.iter().zip(&legs) {
        assert_eq!(echoed(&world, address), 100, "{:?}", world.drops());
        assert_eq!(over_budget(&world, *leg), 0);
    }
    // A burst of 200, then 400 a second.
    let passed = echoed(&world, flooding);
    assert!((900..=1_000).contains(&passed), "{passed} passed: {:?}", world.drops());
    assert_eq!(over_budget(&world, bad), 6_000 - passed as u64);
    assert_eq!(world.dropped(Drop::LegOverBudget), 6_000 - passed as u64);
    // When the flood is over, so is its effect.
    world.run(1_000);
    let before = echoed(&world, flooding);
    for n in 0..20u16 {
        world.network.send(at(flooding), bad_port, &pcmu(sent + n, 5));
        world.run(20);
    }
    assert_eq!(echoed(&world, flooding) - before, 20);
}

#[test]
fn all_packets_of_others_pass_in_the_turns_of_the_flood_itself() {
    let mut world = World::new(2, Link::default(), 1);
    let (_, bad_port) = phone(&mut world, "10.0.0.9:7000", Latching::SameIp, audio("", 9, 0, "pcmu"));
    let (_, good_port) = phone(&mut world, "10.0.0.3:7000", Latching::SameIp, audio("", 3, 0, "pcmu"));
    // Both learn their peers first.
    world.network.send(at("10.0.0.9:7000"), bad_port, &pcmu(0, 5));
    world.network.send(at("10.0.0.3:7000"), good_port, &pcmu(0, 6));
    world.run(2_000);
    let (before, at_once) = (echoed(&world, "10.0.0.3:7000"), world.now() + Duration::from_millis(1));
    for n in 0..3_000u16 {
        world.network.send(at("10.0.0.9:7000"), bad_port, &pcmu(1 + n, 5));
        if n % 100 == 99 {
            world.network.send(at("10.0.0.3:7000"), good_port, &pcmu(1 + n / 100, 6));
        }
    }
    world.run_until(at_once);
    // At the instant at which the flood arrives, without a moment more: the answers are on their way.
    world.run(1);
    assert_eq!(echoed(&world, "10.0.0.3:7000") - before, 30, "{:?}", world.drops());
    assert_eq!(echoed(&world, "10.0.0.9:7000"), 1 + 200);
    assert_eq!(world.dropped(Drop::LegOverBudget), 2_800);
}

#[test]
fn a_key_frame_is_no_flood() {
    let mut world = World::new(3, Link::default(), 1);
    let (leg, port) = phone(&mut world, "10.0.0.3:7000", Latching::SameIp, video("", 3));
    let mut sequence = 0u16;
    // 30 frames a second; each second one of 200 packets at once, the others of 12.
    for frame in 0..90u32 {
        for _ in 0..if frame % 30 == 0 { 200 } else { 12 } {
            let packet = rtp(96, sequence, frame * 3_000, 5, None, &[0x10; 1_000]);
            world.network.send(at("10.0.0.3:7000"), port, &packet);
            sequence += 1;
        }
        world.run(33);
    }
    world.run(10);
    let echoed = world.plain.iter().filter(|(_, _, bytes)| bytes[1] & 0x7f == 96).count();
    assert_eq!(echoed, usize::from(sequence), "{:?}", world.drops());
    assert_eq!(over_budget(&world, leg), 0);
}

#[test]
fn strangers_on_an_rtp_port_spend_nothing_of_the_leg() {
    let mut world = World::new(4, Link::default(), 1);
    let (leg, port) = phone(&mut world, "10.0.0.3:7000", Latching::SameIp, audio("", 3, 0, "pcmu"));
    let (_, other_port) = phone(&mut world, "10.0.0.4:7000", Latching::SameIp, audio("", 4, 0, "pcmu"));
    world.network.send(at("10.0.0.3:7000"), port, &pcmu(0, 5));
    world.run(20);
    // From another host, and from another port of the same one.
    for n in 0..100u16 {
        for k in 0..60 {
            world.network.send(at("10.0.0.66:7000"), port, &pcmu(n * 60 + k, 7));
            world.network.send(at("10.0.0.3:9000"), port, &pcmu(n * 60 + k, 8));
        }
        world.network.send(at("10.0.0.3:7000"), port, &pcmu(1 + n, 5));
        world.network.send(at("10.0.0.4:7000"), other_port, &pcmu(n, 6));
        world.run(20);
    }
    world.run(10);
    assert_eq!(echoed(&world, "10.0.0.3:7000"), 101, "{:?}", world.drops());
    assert_eq!(echoed(&world, "10.0.0.4:7000"), 100);
    assert_eq!((over_budget(&world, leg), world.dropped(Drop::SourceRefused)), (0, 12_000));
}

/// A binding request (RFC 8489) for this user name.
fn binding_request(ufrag: &str, password: &str) -> Vec<u8> {
    let mut buffer = [0; 400];
    let mut writer = Writer::new(&mut buffer, Class::Request, BINDING, [7; 12]);
    writer.username(&[ufrag.as_bytes(), b":peer"]).priority(1_845_501_695);
    let key = IntegrityKey::short_term(password.as_bytes());
    let len = writer.integrity(&key).fingerprint().finish().unwrap();
    buffer[..len].to_vec()
}

/// A browser whose call echoes; its stream, and the leg's user name.
fn browser(world: &mut World, address: &str, seed: u64) -> (usize, StreamRef, String) {
    let client = Client::new(at(address), seed, DtlsSide::Client, Role::Controlling);
    let local = world.sim.engine.open_webrtc_leg(WebRtcOpen::default()).unwrap();
    let stream = StreamRef { leg: local.leg, mline: 0 };
    world.sim.engine.set_webrtc_remote(local.leg, client.description()).unwrap();
    world.sim.engine.set_streams(local.leg, vec![audio("0", 77, 111, "opus")]).unwrap();
    world.sim.engine.set_route(stream, vec![output(stream, &[111, 101])]).unwrap();
    let index = world.add(client);
    world.clients[index].set_remote(&local);
    assert!(world.run_while(5_000, |w| w.clients[index].is_up()), "{:?}", world.drops());
    (index, stream, local.ice.ufrag)
}

#[test]
fn a_flood_on_the_shared_port_costs_no_call_a_packet() {
    let mut world = World::new(5, Link::default(), 1);
    let (client, stream, _) = browser(&mut world, "10.0.0.2:6000", 7);
    let shared = at("10.0.0.1:5000");
    let binding = binding_request("nobody", "no password of anybody");
    let unauthentic = {
        let mut packet = rtp(111, 9, 9, 5, Some("0"), &[1; 60]);
        packet.extend([0; 16]);
        packet
    };
    // The clients' answers to our consent checks go on meanwhile, and so does the call.
    for n in 0..500u16 {
        for k in 0..20u16 {
            let stranger = SocketAddr::new("10.0.0.66".parse().unwrap(), 1_000 + k);
            world.network.send(stranger, shared, &unauthentic);
            world.network.send(stranger, shared, &binding);
            // The client's own address, forged: it opens no packet.
            world.network.send(at("10.0.0.2:6000"), shared, &unauthentic);
        }
        let packet = rtp(111, n, 960 * u32::from(n), 5, Some("0"), &[n as u8; 40]);
        world.clients[client].send_rtp(&packet);
        world.run(20);
    }
    world.run(20);
    let got = world.clients[client].rtp.iter().filter(|bytes| Packet::parse(&bytes[..]).is_ok()).count();
    assert_eq!(got, 500, "{:?}", world.drops());
    assert_eq!(over_budget(&world, stream.leg), 0);
    assert_eq!(world.dropped(Drop::UnknownSource), 10_000);
    // The same one again and again: it is too old once the call has gone on.
    assert_eq!(world.dropped(Drop::SrtpAuth) + world.dropped(Drop::SrtpReplay), 10_000);
    assert!(!world.notices.iter().any(|notice| matches!(notice, Notice::Ended { .. })));
}

#[test]
fn stun_for_one_leg_is_bounded_and_its_consent_lives_through_a_flood_of_strangers() {
    let mut world = World::new(6, Link::default(), 1);
    let (_, stream, ufrag) = browser(&mut world, "10.0.0.2:6000", 7);
    let shared = at("10.0.0.1:5000");
    let forged = binding_request(&ufrag, "a password that is not the leg's");
    let before = world.dropped(Drop::StunRefused);
    for n in 0..2_000u16 {
        for k in 0..10u16 {
            let stranger = SocketAddr::new("10.0.0.66".parse().unwrap(), 1_000 + (n + k) % 5_000);
            world.network.send(stranger, shared, &forged);
        }
        world.run(20);
    }
    // 40 seconds: longer than consent lasts (RFC 7675 §5.1).
    assert!(
        !world.notices.iter().any(|notice| matches!(notice, Notice::Ended { .. })),
        "{:?}",
        world.drops()
    );
    assert!(!world.notices.contains(&Notice::IceDisconnected { leg: stream.leg }));
    let judged = world.dropped(Drop::StunRefused) - before;
    assert!((8_000..=8_200).contains(&judged), "{judged} of 20,000 were judged");
    assert_eq!(world.dropped(Drop::StunOverBudget), 20_000 - judged);
}

#[test]
fn who_asks_for_packets_again_pays_for_each() {
    let mut world = World::new(7, Link::default(), 1);
    let (leg, port) = phone(&mut world, "10.0.0.3:7000", Latching::SameIp, video("", 3));
    for n in 0..300u16 {
        world.network.send(at("10.0.0.3:7000"), port, &rtp(96, n, 3_000, 5, None, &[0x10; 900]));
    }
    world.run(1_000);
    let first = world
        .plain
        .iter()
        .rfind(|(_, _, bytes)| bytes[1] & 0x7f == 96)
        .map(|(_, _, bytes)| u16::from_be_bytes([bytes[2], bytes[3]]));
    let last = first.unwrap();
    // Each of these asks for 119 packets: 100 of them for 11,900 in a tenth of a second.
    for n in 0..100u16 {
        let mut nack = vec![0x81, 205, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3];
        for block in 0..7u16 {
            nack.extend((last - 130 + 17 * block).to_be_bytes());
            nack.extend([0xff; 2]);
        }
        let words = (nack.len() / 4 - 1) as u16;
        nack[2..4].copy_from_slice(&words.to_be_bytes());
        world.network.send(at("10.0.0.3:7000"), port, &nack);
        world.run(1 + u64::from(n % 2) * 40);
    }
    let stats = world.sim.engine.leg_stats(leg).unwrap().streams[0];
    assert!(stats.retransmitted > 100, "{stats:?}");
    let seconds = 3;
    assert!(stats.retransmitted <= 800 + 4_000 * seconds, "{stats:?} {:?}", world.drops());
}
