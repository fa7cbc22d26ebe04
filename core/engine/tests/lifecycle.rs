//! What happens to a leg besides media: restarts, roles, faults of the peer.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bifrons_engine::counter::{Drop, Work};
use bifrons_engine::driver::sim::Link;
use bifrons_engine::id::LegId;
use bifrons_engine::media::*;
use bifrons_engine::{HandshakeCount, Media};
use bifrons_rtc::dtls::Role as DtlsSide;
use bifrons_rtc::ice::{Candidate, Role};
use bifrons_rtc::stream::ReceiveStatistics;
use bifrons_wire::rtcp::Writer;
use bifrons_wire::rtp::Packet;
use bifrons_wire::stun::{BINDING, Class, IntegrityKey, Writer as StunWriter};
use common::client::Client;
use common::world::World;
use common::{audio, output, rtp};

const SHARED: &str = "10.0.0.1:5000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A client with an echo; it is not up yet.
fn join(world: &mut World, client: Client) -> (usize, LegId, WebRtcLocal) {
    let offerer = client.agent.role() == Role::Controlled;
    let local = world.sim.engine.open_webrtc_leg(WebRtcOpen { near: None, offerer }).unwrap();
    let leg = local.leg;
    world.sim.engine.set_webrtc_remote(leg, client.description()).unwrap();
    world.sim.engine.set_streams(leg, vec![audio("0", 77, 111, "opus")]).unwrap();
    let stream = StreamRef { leg, mline: 0 };
    world.sim.engine.set_route(stream, vec![output(stream, &[111])]).unwrap();
    let index = world.add(client);
    world.clients[index].set_remote(&local);
    (index, leg, local)
}

fn up(world: &mut World, leg: LegId) {
    let up = world.run_while(30_000, |w| w.notices.contains(&Notice::Up { leg }) && w.clients[0].is_up());
    assert!(up, "{:?} {:?}", world.notices, world.drops());
}

/// Sends packets first..last and gives how many came back.
fn echo(world: &mut World, numbers: std::ops::Range<u16>) -> usize {
    let before = world.clients[0].rtp.len();
    for n in numbers {
        world.clients[0].send_rtp(&rtp(111, n, 960 * u32::from(n), 5, Some("0"), &[1; 40]));
        world.run(20);
    }
    world.run(100);
    world.clients[0].rtp.len() - before
}

fn browser(seed: u64) -> Client {
    Client::new(at("10.0.0.2:6000"), seed, DtlsSide::Client, Role::Controlling)
}

#[test]
fn ice_restarts_without_a_gap() {
    let mut world = World::new(1, Link::default(), 1);
    let (_, leg, local) = join(&mut world, browser(7));
    up(&mut world, leg);
    assert_eq!(echo(&mut world, 0..20), 20);
    let ice = world.sim.engine.restart_ice(leg).unwrap();
    assert_ne!(ice, local.ice);
    world.clients[0].restart_ice();
    let selections = |w: &World| w.notices.iter().filter(|n| matches!(n, Notice::IceSelected { .. })).count();
    let before = selections(&world);
    // Until the answer is here the old generation carries media.
    assert_eq!(echo(&mut world, 20..40), 20);
    let description = world.clients[0].description();
    world.sim.engine.set_webrtc_remote(leg, description).unwrap();
    world.clients[0].set_remote_credentials(&ice, at(SHARED));
    assert_eq!(echo(&mut world, 40..80), 40);
    assert!(selections(&world) > before, "{:?}", world.notices);
    let ups = world.notices.iter().filter(|n| matches!(n, Notice::Up { .. })).count();
    assert_eq!(ups, 1, "an ICE restart starts no DTLS session");
}

#[test]
fn another_fingerprint_starts_another_dtls_session() {
    let mut world = World::new(2, Link::default(), 1);
    let (_, leg, local) = join(&mut world, browser(7));
    up(&mut world, leg);
    assert_eq!(echo(&mut world, 0..20), 20);
    world.clients[0].new_certificate();
    world.clients[0].restart_ice();
    let ice = world.sim.engine.restart_ice(leg).unwrap();
    let description = world.clients[0].description();
    world.sim.engine.set_webrtc_remote(leg, description).unwrap();
    world.clients[0].set_remote(&WebRtcLocal { ice, ..local });
    assert!(world.run_while(5_000, |w| w.clients[0].is_up()), "{:?} {:?}", world.notices, world.drops());
    world.run(100);
    assert_eq!(echo(&mut world, 20..40), 20, "{:?}", world.drops());
    assert_eq!(world.clients[0].undecryptable, 0);
    assert_eq!(world.sim.engine.handshake_counters().get(HandshakeCount::Connected), 2);
}

#[test]
fn a_lite_engine_serves_a_full_client() {
    let mut world = World::with(3, Link::default(), |config| config.ice_lite = true);
    let (_, leg, local) = join(&mut world, browser(7));
    assert!(local.ice_lite);
    world.clients[0].agent.set_remote_lite(true);
    up(&mut world, leg);
    assert_eq!(echo(&mut world, 0..20), 20);
}

#[test]
fn every_pair_of_roles_comes_up() {
    for (seed, side, role) in [
        (1, DtlsSide::Client, Role::Controlling),
        (2, DtlsSide::Server, Role::Controlling),
        (3, DtlsSide::Client, Role::Controlled),
        (4, DtlsSide::Server, Role::Controlled),
    ] {
        let mut world = World::new(seed, Link::default(), 1);
        let (_, leg, _) = join(&mut world, Client::new(at("10.0.0.2:6000"), seed, side, role));
        up(&mut world, leg);
        assert_eq!(echo(&mut world, 0..10), 10);
    }
}

#[test]
fn dtls_may_begin_before_a_pair_is_nominated() {
    let mut times = Vec::new();
    for eager in [false, true] {
        let link = Link { delay: Duration::from_millis(20), ..Link::default() };
        let mut world = World::new(14, link, 1);
        let mut client = browser(7);
        client.eager = eager;
        let (_, leg, _) = join(&mut world, client);
        let began = world.now();
        up(&mut world, leg);
        times.push(world.now() - began);
        assert_eq!(world.dropped(Drop::DtlsNotSelected), 0);
        assert_eq!(echo(&mut world, 0..20), 20, "{:?}", world.drops());
    }
    assert!(times[1] < times[0], "{times:?}");
}

#[test]
fn packets_that_overtake_the_last_flight_are_held() {
    let mut held = 0;
    for seed in 0..10 {
        let link = Link { jitter: Duration::from_millis(60), ..Link::default() };
        let mut world = World::new(seed, link, 1);
        // Who is the DTLS server has its keys before we have ours.
        let client = Client::new(at("10.0.0.2:6000"), seed, DtlsSide::Server, Role::Controlling);
        let (_, leg, _) = join(&mut world, client);
        assert!(world.run_while(10_000, |w| w.clients[0].is_up()));
        // The very first packets, at once.
        for n in 0..20u16 {
            world.clients[0].send_rtp(&rtp(111, n, 960 * u32::from(n), 5, Some("0"), &[1; 40]));
        }
        up(&mut world, leg);
        world.run(1_000);
        let counters = &world.sim.engine.counters()[0];
        held += counters.work(Work::Held);
        assert_eq!(counters.dropped(Drop::NoKeys), 0);
        let refused = counters.dropped(Drop::RewriteRefused);
        assert_eq!(world.clients[0].rtp.len() as u64 + refused, 20, "{:?}", world.drops());
    }
    assert!(held > 0, "no packet was ever early: the test tests nothing");
}

#[test]
fn an_address_in_use_does_not_move() {
    let mut world = World::new(4, Link::default(), 1);
    let (_, leg, _) = join(&mut world, browser(7));
    up(&mut world, leg);
    // Another leg whose peer is at the same address: as seen from here, behind one NAT binding.
    let twin = Client::new(at("10.0.0.2:6000"), 9, DtlsSide::Client, Role::Controlling);
    let local = world.sim.engine.open_webrtc_leg(WebRtcOpen::default()).unwrap();
    world.sim.engine.set_webrtc_remote(local.leg, twin.description()).unwrap();
    let mut twin = twin;
    twin.set_remote(&local);
    let first = std::mem::replace(&mut world.clients[0], twin);
    world.run(3_000);
    assert!(world.dropped(Drop::AddressTaken) > 0, "{:?}", world.drops());
    assert!(!world.notices.contains(&Notice::Up { leg: local.leg }));
    world.clients[0] = first;
    assert_eq!(echo(&mut world, 0..20), 20, "{:?}", world.drops());
}

#[test]
fn checks_with_the_wrong_password_are_met_with_silence() {
    let mut world = World::new(5, Link::default(), 1);
    let (_, leg, local) = join(&mut world, browser(7));
    up(&mut world, leg);
    let stranger = at("10.0.0.66:1");
    world.bind_plain(stranger);
    let theirs = world.clients[0].agent.local_credentials().ufrag().to_owned();
    for n in 0..500u32 {
        let mut buffer = [0; 300];
        let mut id = [0; 12];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let mut writer = StunWriter::new(&mut buffer, Class::Request, BINDING, id);
        writer.username(&[local.ice.ufrag.as_bytes(), b":", theirs.as_bytes()]).priority(1).use_candidate();
        writer.ice_controlling(u64::MAX);
        let key = IntegrityKey::short_term(b"not the password at all!");
        let len = match n % 3 {
            0 => writer.fingerprint().finish().unwrap(),
            _ => writer.integrity(&key).fingerprint().finish().unwrap(),
        };
        world.network.send(stranger, at(SHARED), &buffer[..len]);
        // Within what a leg may be sent by strangers.
        world.run(if n % 50 == 49 { 500 } else { 0 });
    }
    world.run(100);
    assert_eq!(world.dropped(Drop::StunRefused), 500, "{:?}", world.drops());
    assert!(world.plain.is_empty(), "a stranger was answered");
    assert_eq!(echo(&mut world, 0..10), 10);
}

#[test]
fn a_peer_that_floods_dtls_delays_nobody() {
    let mut times = Vec::new();
    for flood in [false, true] {
        let mut world = World::with(12, Link::default(), |config| config.limits.handshake_ring = 64);
        let (_, first, _) = join(&mut world, browser(7));
        up(&mut world, first);
        let other = Client::new(at("10.0.0.3:6000"), 9, DtlsSide::Client, Role::Controlling);
        let (index, second, _) = join(&mut world, other);
        let began = world.now();
        let up = world.run_while(10_000, |w| {
            // A handshake record of an epoch that never was, over and over, from a validated address.
            let mut record = [0u8; 200];
            record[..13].copy_from_slice(&[22, 0xfe, 0xfd, 0, 9, 0, 0, 0, 0, 0, 1, 0, 187]);
            for _ in 0..if flood { 300 } else { 0 } {
                w.network.send(at("10.0.0.2:6000"), at(SHARED), &record);
            }
            w.notices.contains(&Notice::Up { leg: second }) && w.clients[index].is_up()
        });
        assert!(up, "{:?}", world.drops());
        times.push(world.now() - began);
        if flood {
            assert!(world.dropped(Drop::DtlsQueueFull) > 1_000, "{:?}", world.drops());
        }
    }
    assert_eq!(times[0], times[1]);
}

#[test]
fn a_renegotiation_goes_on_where_the_stream_was() {
    let mut world = World::new(13, Link::default(), 1);
    let (_, leg, _) = join(&mut world, browser(7));
    up(&mut world, leg);
    assert_eq!(echo(&mut world, 0..10), 10);
    // A second m-line comes, and the first one's codec changes its name and clock.
    let streams = vec![audio("0", 77, 111, "pcmu"), common::video("1", 90)];
    world.sim.engine.set_streams(leg, streams).unwrap();
    assert_eq!(echo(&mut world, 10..20), 10, "{:?}", world.drops());
    let sequences: Vec<u16> = world.clients[0]
        .rtp
        .iter()
        .map(|bytes| Packet::parse(&bytes[..]).unwrap().header().sequence)
        .collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{sequences:?}");
    assert_eq!(world.sim.engine.leg_stats(leg).unwrap().streams.len(), 2);
    // What cannot be is refused, with the member's name, and changes nothing.
    let mut bad = audio("0", 77, 111, "opus");
    bad.payload_types[0].number = 200;
    let refused = world.sim.engine.set_streams(leg, vec![bad]);
    assert!(matches!(refused, Err(MediaError::Invalid(text)) if text.starts_with("payload_types")));
    assert_eq!(echo(&mut world, 20..30), 10);
}

#[test]
fn losses_are_told_on_both_sides() {
    let mut world = World::new(6, Link::default(), 1);
    let (_, leg, _) = join(&mut world, browser(7));
    up(&mut world, leg);
    let mut statistics = ReceiveStatistics::new(48_000);
    let mut read = 0;
    for n in 0..200u16 {
        // One packet in five never leaves, and one in five is lost on the way back.
        if n % 5 != 2 {
            world.clients[0].send_rtp(&rtp(111, n, 960 * u32::from(n), 5, Some("0"), &[1; 40]));
        }
        world.run(20);
        for bytes in &world.clients[0].rtp[read..] {
            let header = *Packet::parse(&bytes[..]).unwrap().header();
            if header.sequence % 5 != 0 {
                statistics.on_packet(header.sequence, header.timestamp, 40, world.network.now());
            }
        }
        read = world.clients[0].rtp.len();
        if n % 50 == 49 {
            let mut buffer = [0; 100];
            let mut writer = Writer::new(&mut buffer);
            writer.receiver_report(5, &[statistics.report_block(77, world.network.now())]).unwrap();
            let len = writer.len();
            world.clients[0].send_rtcp(&buffer[..len]);
        }
    }
    world.run(2_000);
    let stream = StreamRef { leg, mline: 0 };
    for side in [true, false] {
        let told = world.notices.iter().any(|notice| {
            matches!(notice, Notice::SlowLink { stream: of, uplink, lost } if *of == stream && *uplink == side && *lost >= 4)
        });
        assert!(told, "uplink {side}: {:?}", world.notices);
    }
    let stats = world.sim.engine.leg_stats(leg).unwrap().streams[0];
    assert!((38..=41).contains(&stats.in_lost) && stats.out_lost > 30, "{stats:?}");
}

#[test]
fn a_peer_that_closes_ends_its_leg() {
    let mut world = World::new(7, Link::default(), 1);
    let (_, leg, _) = join(&mut world, browser(7));
    up(&mut world, leg);
    world.clients[0].close();
    let ended = Notice::Ended { leg, why: LegEnd::DtlsAlert };
    assert!(world.run_while(1_000, |w| w.notices.contains(&ended)), "{:?}", world.notices);
    // And again after the SSL is gone and only its tail is left.
    let mut world = World::new(8, Link::default(), 1);
    let (_, leg, _) = join(&mut world, browser(7));
    up(&mut world, leg);
    world.run(120_000);
    assert!(!world.notices.iter().any(|n| matches!(n, Notice::Ended { .. })), "{:?}", world.notices);
    world.clients[0].close();
    let ended = Notice::Ended { leg, why: LegEnd::DtlsAlert };
    assert!(
        world.run_while(1_000, |w| w.notices.contains(&ended)),
        "{:?} {:?}",
        world.notices,
        world.drops()
    );
    // Our own close after that is heard too.
    let mut world = World::new(9, Link::default(), 1);
    let (_, leg, _) = join(&mut world, browser(7));
    up(&mut world, leg);
    world.run(120_000);
    world.sim.engine.close_leg(leg);
    assert!(world.run_while(1_000, |w| w.clients[0].dtls_ended.is_some()));
}

#[test]
fn a_peer_that_never_comes_fails() {
    let mut world = World::new(10, Link::default(), 1);
    let (_, leg, _) = join(&mut world, browser(7));
    world.clients[0].mute_stun = true;
    let nowhere = Link { loss_permille: 1_000, ..Link::default() };
    world.network.set_default_link(nowhere);
    let ended = Notice::Ended { leg, why: LegEnd::IceFailed };
    assert!(world.run_while(90_000, |w| w.notices.contains(&ended)), "{:?}", world.notices);
    // No media, no flow, and the slot comes back.
    world.sim.engine.close_leg(leg);
    world.run(1_000);
    let counters = &world.sim.engine.counters()[0];
    assert_eq!((counters.work(Work::Legs), counters.work(Work::Flows)), (0, 0));
}

#[test]
fn legs_come_and_go_and_leave_nothing() {
    let mut world = World::new(11, Link::default(), 2);
    let mut came_up = 0;
    for round in 0..30u64 {
        world.clear_clients();
        let client = Client::new(
            SocketAddr::new(at("10.0.0.2:1").ip(), 7_000 + round as u16),
            round,
            DtlsSide::Client,
            Role::Controlling,
        );
        let local = world.sim.engine.open_webrtc_leg(WebRtcOpen::default()).unwrap();
        world.sim.engine.set_webrtc_remote(local.leg, client.description()).unwrap();
        world.sim.engine.set_streams(local.leg, vec![audio("0", 77, 111, "opus")]).unwrap();
        world.add(client);
        // Closed at any moment of its life.
        world.clients[0].set_remote(&local);
        world.run(round * 7);
        came_up += usize::from(world.clients[0].is_up());
        world.sim.engine.close_leg(local.leg);
        world.run(700);
    }
    assert!((1..30).contains(&came_up), "{came_up}");
    for counters in world.sim.engine.counters() {
        assert_eq!((counters.work(Work::Legs), counters.work(Work::Flows)), (0, 0));
    }
    assert_eq!(world.sim.engine.handshake_counters().get(HandshakeCount::InProgress), 0);
}

#[test]
fn a_full_report_ring_loses_no_notice() {
    let mut world = World::with(15, Link::default(), |config| config.limits.reports = 4);
    let mut legs = Vec::new();
    for n in 0..20u16 {
        let open = RtpOpen { rtcp_mux: true, ..RtpOpen::default() };
        let local = world.sim.engine.open_rtp_leg(open).unwrap();
        let rtp = SocketAddr::new(at("10.0.0.4:1").ip(), 4_000 + n);
        let remote = RtpRemote { rtp, rtcp: None, rtcp_mux: true, sdes: None };
        world.sim.engine.set_rtp_remote(local.leg, remote).unwrap();
        world.sim.engine.set_streams(local.leg, vec![audio("", 99, 0, "pcmu")]).unwrap();
        legs.push(local);
    }
    world.run(10);
    for local in &legs {
        world.network.send(at("10.0.0.4:9000"), local.rtp, &rtp(0, 1, 160, 9, None, &[2; 160]));
    }
    // Nobody looks for a while; then the silence is told as well.
    world.run(3_000);
    for local in &legs {
        let leg = local.leg;
        let stream = StreamRef { leg, mline: 0 };
        let of = |notice: &Notice| notice.leg() == leg;
        let told: Vec<_> = world.notices.iter().filter(|notice| of(notice)).cloned().collect();
        let latched = Notice::Latched { leg, remote: at("10.0.0.4:9000") };
        let silent = Notice::Receiving { stream, receiving: false, silent_s: 1 };
        assert!(told.contains(&latched) && told.contains(&silent), "{told:?}");
        world.sim.engine.close_leg(leg);
    }
    world.run(1_000);
    assert_eq!(world.sim.engine.counters()[0].work(Work::Legs), 0);
    // All slots and ports have come back.
    world.run(11_000);
    for _ in 0..50 {
        let open = RtpOpen { latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
        world.sim.engine.open_rtp_leg(open).unwrap();
    }
    let open = RtpOpen { latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
    let refused = world.sim.engine.open_rtp_leg(open.clone());
    assert_eq!(refused.unwrap_err(), MediaError::NoPorts { first: 20_000, last: 20_099 });
    let refused = world.sim.engine.open_rtp_leg(RtpOpen { ipv6: true, ..open });
    assert_eq!(refused.unwrap_err(), MediaError::NoAddress);
}

#[test]
fn a_storm_of_calls_comes_up() {
    let link = Link { loss_permille: 20, delay: Duration::from_millis(10), ..Link::default() };
    let mut world = World::with(16, link, |config| {
        config.limits.legs = 128;
        config.limits.handshakes = 8;
        config.limits.handshake_ring = 32;
        config.limits.commands = 64;
    });
    let mut legs = Vec::new();
    for n in 0..100u16 {
        let address = SocketAddr::new(at("10.0.0.2:1").ip(), 6_000 + n);
        let client = Client::new(address, 100 + u64::from(n), DtlsSide::Client, Role::Controlling);
        if n % 10 == 0 {
            // The command ring is short: the worker must get its turns.
            world.sim.turn();
        }
        let (_, leg, _) = join(&mut world, client);
        legs.push(leg);
    }
    let all_up = world.run_while(30_000, |w| {
        w.clients.iter().all(Client::is_up)
            && legs.iter().all(|leg| w.notices.contains(&Notice::Up { leg: *leg }))
    });
    assert!(all_up, "{:?} {:?}", world.drops(), world.sim.engine.handshake_counters().all());
    let handshakes = world.sim.engine.handshake_counters();
    assert_eq!(handshakes.get(HandshakeCount::Connected), 100);
    assert_eq!((handshakes.get(HandshakeCount::InProgress), handshakes.get(HandshakeCount::Waiting)), (0, 0));
    for leg in legs {
        // A close is never refused, however short the ring.
        world.sim.engine.close_leg(leg);
    }
    world.run(2_000);
    assert_eq!(world.sim.engine.counters()[0].work(Work::Legs), 0, "{:?}", world.drops());
}

#[test]
fn peers_that_begin_and_do_not_go_on_keep_nobody_waiting() {
    let mut world = World::with(17, Link::default(), |config| config.limits.handshakes = 4);
    for n in 0..20u16 {
        let address = SocketAddr::new(at("10.0.0.66:1").ip(), 6_000 + n);
        let mut client = Client::new(address, 100 + u64::from(n), DtlsSide::Client, Role::Controlling);
        client.mute_dtls = true;
        join(&mut world, client);
        // One that never even says hello.
        let local = world.sim.engine.open_webrtc_leg(WebRtcOpen::default()).unwrap();
        let silent = browser(n.into());
        world.sim.engine.set_webrtc_remote(local.leg, silent.description()).unwrap();
    }
    world.run(2_000);
    let (honest, leg, _) = join(&mut world, browser(7));
    let came =
        world.run_while(10_000, |w| w.clients[honest].is_up() && w.notices.contains(&Notice::Up { leg }));
    assert!(came, "{:?}", world.sim.engine.handshake_counters().all());
    // They are told when their time is over, each of them.
    world.run(60_000);
    let late = world.notices.iter().filter(|n| matches!(n, Notice::Ended { why: LegEnd::DtlsTimeout, .. }));
    assert_eq!(late.count(), 20);
    let handshakes = world.sim.engine.handshake_counters();
    assert_eq!((handshakes.get(HandshakeCount::InProgress), handshakes.get(HandshakeCount::Waiting)), (0, 0));
}

#[test]
fn behind_a_nat_both_addresses_are_told_the_public_one_first() {
    for (private_too, told) in [(false, &["198.51.100.7"][..]), (true, &["198.51.100.7", "10.0.0.1"])] {
        let mut world = World::with(18, Link::default(), |config| {
            config.addresses[0].advertised = Some("198.51.100.7".parse().unwrap());
            config.advertise_private_too = private_too;
        });
        let local = world.sim.engine.open_webrtc_leg(WebRtcOpen::default()).unwrap();
        let candidates: Vec<Candidate> =
            local.candidates.iter().map(|text| format!("candidate:{text}").parse().unwrap()).collect();
        let addresses: Vec<String> = candidates
            .iter()
            .map(|candidate| candidate.to_remote().unwrap().address.ip().to_string())
            .collect();
        assert_eq!(addresses, told);
        for pair in candidates.windows(2) {
            assert!(pair[0].priority > pair[1].priority && pair[0].foundation != pair[1].foundation);
        }
        // Who is on our side of the NAT reaches the private address and no other, and nobody reaches it.
        let client = browser(7);
        let remote = WebRtcRemote { candidates: Vec::new(), ..client.description() };
        world.sim.engine.set_webrtc_remote(local.leg, remote).unwrap();
        let index = world.add(client);
        world.clients[index].set_remote(&local);
        assert_eq!(world.run_while(5_000, |w| w.clients[index].is_up()), private_too, "{:?}", world.drops());
    }
}

#[test]
fn dtls_datagrams_are_as_short_as_configured() {
    for (dtls_mtu, longest) in [(576, 1..=576), (1_452, 577..=1_452)] {
        let mut world = World::with(19, Link::default(), |config| config.dtls_mtu = dtls_mtu);
        let (index, ..) = join(&mut world, browser(7));
        assert!(world.run_while(5_000, |w| w.clients[index].is_up()), "{:?}", world.drops());
        let bytes = world.clients[index].dtls_longest;
        assert!(longest.contains(&bytes), "{bytes} with {dtls_mtu}");
    }
}

#[test]
fn a_handshake_has_its_time() {
    let mut world = World::with(20, Link::default(), |config| config.dtls_timeout_ms = 2_000);
    let mut client = browser(7);
    client.mute_dtls = true;
    join(&mut world, client);
    world.run(1_500);
    let timed_out = |n: &Notice| matches!(n, Notice::Ended { why: LegEnd::DtlsTimeout, .. });
    assert!(!world.notices.iter().any(timed_out), "{:?}", world.notices);
    world.run(2_500);
    assert!(world.notices.iter().any(timed_out), "{:?}", world.notices);
}

/// Ten minutes without media: consent and, seldom, a look at what there is to report. When media begin, both
/// ends hear of them as soon as ever.
#[test]
fn a_silent_leg_has_few_timers_and_reports_at_once_when_media_begin() {
    let mut world = World::new(31, Link::default(), 1);
    let (_, leg, _) = join(&mut world, browser(7));
    up(&mut world, leg);
    world.run(10_000);
    let timers = |w: &World| w.sim.engine.counters()[0].work(Work::Timers);
    let before = timers(&world);
    world.run(600_000);
    let fired = timers(&world) - before;
    // A consent check and a look each 5 s at the mean, 0.8 of it at the least.
    assert!(fired <= 2 * 600 / 4, "{fired}");
    assert!(world.clients[0].rtcp.is_empty(), "nothing was to be reported");
    // 700 ms of media: the first report is due within half a second of the first packet.
    assert_eq!(echo(&mut world, 0..30), 30);
    assert!(!world.clients[0].rtcp.is_empty());
}
