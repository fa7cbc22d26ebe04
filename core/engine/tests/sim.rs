//! Whole calls on a simulated network, from a seed.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bifrons_engine::Media;
use bifrons_engine::counter::Drop;
use bifrons_engine::driver::sim::Link;
use bifrons_engine::id::LegId;
use bifrons_engine::media::*;
use bifrons_rtc::dtls::Role as DtlsSide;
use bifrons_rtc::ice::Role;
use bifrons_wire::demux::{Kind, classify};
use bifrons_wire::rtp::Packet;
use common::client::Client;
use common::world::World;
use common::{audio, output, rtp, video};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A client joins: leg, descriptions, streams.
fn join(
    world: &mut World,
    client: Client,
    streams: Vec<StreamConfig>,
    near: Option<LegId>,
) -> (usize, LegId) {
    let offerer = client.agent.role() == Role::Controlled;
    let local = world.sim.engine.open_webrtc_leg(WebRtcOpen { near, offerer }).unwrap();
    let leg = local.leg;
    world.sim.engine.set_webrtc_remote(leg, client.description()).unwrap();
    world.sim.engine.set_streams(leg, streams).unwrap();
    let index = world.add(client);
    world.clients[index].set_remote(&local);
    (index, leg)
}

fn browser(address: &str, seed: u64) -> Client {
    Client::new(at(address), seed, DtlsSide::Client, Role::Controlling)
}

#[test]
fn echo() {
    let mut world = World::new(1, Link::default(), 1);
    let (client, leg) =
        join(&mut world, browser("10.0.0.2:6000", 7), vec![audio("0", 77, 111, "opus")], None);
    let stream = StreamRef { leg, mline: 0 };
    world.sim.engine.set_route(stream, vec![output(stream, &[111, 101])]).unwrap();
    assert!(
        world.run_while(3_000, |w| w.clients[0].is_up() && w.notices.contains(&Notice::Up { leg })),
        "{:?}",
        world.drops()
    );
    for n in 0..50u16 {
        let packet = rtp(111, 1_000 + n, 960 * u32::from(n), 5, Some("0"), &[n as u8; 40]);
        world.clients[client].send_rtp(&packet);
        world.run(20);
    }
    world.run(100);
    let got: Vec<_> =
        world.clients[client].rtp.iter().map(|bytes| Packet::parse(&bytes[..]).unwrap()).collect();
    assert_eq!(got.len(), 50, "{:?}", world.drops());
    for pair in got.windows(2) {
        assert_eq!(pair[1].header().sequence, pair[0].header().sequence.wrapping_add(1));
        assert_eq!(pair[1].header().timestamp, pair[0].header().timestamp.wrapping_add(960));
    }
    for (n, packet) in got.iter().enumerate() {
        assert_eq!((packet.header().ssrc, packet.header().payload_type), (77, 111));
        assert_eq!(packet.extension(4), Some(&b"0"[..]));
        assert_eq!(packet.payload(), [n as u8; 40]);
    }
    assert!(!world.clients[client].rtcp.is_empty(), "no report came");
    let stats = world.sim.engine.leg_stats(leg).unwrap().streams[0];
    assert_eq!((stats.in_packets, stats.out_packets, stats.in_lost), (50, 50, 0));
    assert!(world.notices.contains(&Notice::Receiving { stream, receiving: true, silent_s: 0 }));
    world.sim.engine.close_leg(leg);
    world.run(1_000);
    assert_eq!(world.clients[client].dtls_ended, Some(bifrons_rtc::dtls::Event::Closed));
}

#[test]
fn taps_hear_each_packet_once_whatever_the_gate_says_and_hold_nothing_up() {
    let link = Link { duplicate_permille: 200, ..Link::default() };
    let mut world = World::new(4, link, 1);
    let (client, leg) =
        join(&mut world, browser("10.0.0.2:6000", 7), vec![audio("0", 77, 111, "opus")], None);
    let stream = StreamRef { leg, mline: 0 };
    world.sim.engine.set_route(stream, vec![output(stream, &[111, 101])]).unwrap();
    assert!(world.run_while(5_000, |w| w.clients[0].is_up() && w.notices.contains(&Notice::Up { leg })));
    let mut whole = world.sim.engine.open_tap(stream, 100).unwrap();
    let mut short = world.sim.engine.open_tap(stream, 3).unwrap();
    assert!(world.sim.engine.open_tap(StreamRef { leg, mline: 1 }, 3).is_err());
    world.run(20);
    for n in 0..40u16 {
        if n == 20 {
            world.sim.engine.set_gate(stream, stream, false).unwrap();
            // A renegotiation keeps its taps.
            world.sim.engine.set_streams(leg, vec![audio("0", 77, 111, "opus")]).unwrap();
        }
        // Across the wrap of the sequence number.
        let sequence = 65_520_u16.wrapping_add(n);
        let packet = rtp(111, sequence, 960 * u32::from(n), 5, Some("0"), &[n as u8; 40]);
        world.clients[client].send_rtp(&packet);
        world.run(20);
    }
    let mut heard = Vec::new();
    while let Some(packet) = whole.next_packet() {
        let view = Packet::parse(packet.bytes()).unwrap();
        assert_eq!(view.payload(), [heard.len() as u8; 40]);
        heard.push(packet.index);
    }
    assert_eq!(heard.len(), 40, "{:?}", world.drops());
    assert!(heard.windows(2).all(|pair| pair[1] == pair[0] + 1), "the index does not wrap: {heard:?}");
    assert_eq!(std::iter::from_fn(|| short.next_packet()).count(), 3);
    assert_eq!(world.dropped(Drop::TapFull), 37);
    assert_eq!(world.clients[client].rtp.len(), 20, "the echo stops at the gate, the taps do not");
    drop(short);
    world.sim.engine.close_leg(leg);
    world.run(1_000);
    assert!(whole.is_closed());
}

/// Two browsers, each hearing the other.
fn call(world: &mut World, seed: u64) -> (LegId, LegId) {
    let (_, a) = join(world, browser("10.0.0.2:6000", seed), vec![audio("0", 77, 111, "opus")], None);
    let callee = Client::new(at("10.0.0.3:6000"), seed + 1, DtlsSide::Server, Role::Controlled);
    let (_, b) = join(world, callee, vec![audio("a", 78, 109, "opus")], Some(a));
    let (from, to) = (StreamRef { leg: a, mline: 0 }, StreamRef { leg: b, mline: 0 });
    let there = Output { to, open: true, payload_types: vec![(111, 109)] };
    let back = Output { to: from, open: true, payload_types: vec![(109, 111)] };
    world.sim.engine.set_route(from, vec![there]).unwrap();
    world.sim.engine.set_route(to, vec![back]).unwrap();
    (a, b)
}

/// A browser and a SIP peer on plain RTP.
fn sip_call(world: &mut World, latching: Latching, sdes: Option<SdesKeys>) -> (LegId, LegId, RtpLocal) {
    let (_, web) = join(world, browser("10.0.0.2:6000", 3), vec![audio("0", 77, 0, "pcmu")], None);
    let open = RtpOpen { near: Some(web), ipv6: false, latching, rtcp_mux: false, shared: None };
    let local = world.sim.engine.open_rtp_leg(open).unwrap();
    let remote = RtpRemote { rtp: at("10.0.0.4:4000"), rtcp: None, rtcp_mux: false, sdes };
    world.sim.engine.set_rtp_remote(local.leg, remote).unwrap();
    world.sim.engine.set_streams(local.leg, vec![audio("", 99, 0, "pcmu")]).unwrap();
    let (a, b) = (StreamRef { leg: web, mline: 0 }, StreamRef { leg: local.leg, mline: 0 });
    world.sim.engine.set_route(a, vec![output(b, &[0, 101])]).unwrap();
    world.sim.engine.set_route(b, vec![output(a, &[0, 101])]).unwrap();
    world.bind_plain(at("10.0.0.4:4000"));
    world.bind_plain(at("10.0.0.4:4001"));
    assert!(world.run_while(3_000, |w| w.notices.contains(&Notice::Up { leg: web })), "{:?}", world.drops());
    (web, local.leg, local)
}

#[test]
fn a_browser_talks_to_a_sip_phone() {
    let mut world = World::new(5, Link::default(), 1);
    let (web, leg, local) = sip_call(&mut world, Latching::SameIp, None);
    for n in 0..100u16 {
        world.clients[0].send_rtp(&rtp(0, n, 160 * u32::from(n), 5, Some("0"), &[1; 160]));
        let from_phone = rtp(0, 500 + n, 160 * u32::from(n), 9, None, &[2; 160]);
        world.network.send(at("10.0.0.4:4000"), local.rtp, &from_phone);
        world.run(20);
    }
    // A key is pressed on the phone.
    for (n, duration, end) in
        [(0u16, 160u16, 0u8), (1, 320, 0), (2, 480, 0x80), (3, 480, 0x80), (4, 480, 0x80)]
    {
        let payload = [5, end | 10, (duration >> 8) as u8, duration as u8];
        let packet = rtp(101, 600 + n, 16_000, 9, None, &payload);
        world.network.send(at("10.0.0.4:4000"), local.rtp, &packet);
        world.run(20);
    }
    world.run(1_500);
    let (media, reports): (Vec<_>, Vec<_>) =
        world.plain.iter().partition(|(to, ..)| *to == at("10.0.0.4:4000"));
    assert_eq!(media.len(), 100, "{:?}", world.drops());
    for (_, from, bytes) in &media {
        let packet = Packet::parse(&bytes[..]).unwrap();
        assert_eq!((*from, packet.header().ssrc, packet.header().extension_profile), (local.rtp, 99, None));
    }
    assert!(reports.iter().any(|(to, from, _)| *to == at("10.0.0.4:4001") && *from == local.rtcp));
    assert_eq!(world.clients[0].rtp.len(), 105, "{:?}", world.drops());
    let stream = StreamRef { leg, mline: 0 };
    let keys: Vec<_> = world.notices.iter().filter(|n| matches!(n, Notice::Dtmf { .. })).collect();
    assert_eq!(keys, [&Notice::Dtmf { stream, event: 5, duration: 480 }]);
    assert!(world.notices.contains(&Notice::Receiving { stream, receiving: false, silent_s: 1 }));
    assert!(!world.notices.iter().any(|notice| matches!(notice, Notice::Latched { .. })));
    let stats = world.sim.engine.leg_stats(leg).unwrap().streams[0];
    assert_eq!((stats.in_packets, stats.out_packets), (105, 100));

    // The browser's reports tell how the packets arrived.
    world.sim.engine.set_gate(stream, StreamRef { leg: web, mline: 0 }, false).unwrap();
    let before = world.clients[0].rtp.len();
    world.network.send(at("10.0.0.4:4000"), local.rtp, &rtp(0, 700, 0, 9, None, &[2; 160]));
    world.run(50);
    assert_eq!((world.clients[0].rtp.len(), world.dropped(Drop::GateShut)), (before, 1));

    // Ports rest after a call.
    world.sim.engine.close_leg(leg);
    world.run(100);
    let next = world
        .sim
        .engine
        .open_rtp_leg(RtpOpen { latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() })
        .unwrap();
    assert_ne!(next.rtp.port(), local.rtp.port());
    world.network.send(at("10.0.0.4:4000"), local.rtp, &rtp(0, 701, 0, 9, None, &[2; 160]));
    world.run(50);
    assert_eq!(
        world.network.undelivered(),
        0,
        "the old port is bound to nobody, and that is the driver's to drop"
    );
}

#[test]
fn sdes_protects_both_ways_and_keys_are_kept() {
    let mut world = World::new(6, Link::default(), 1);
    let suite = "AES_CM_128_HMAC_SHA1_80".to_owned();
    let keys = SdesKeys { suite, local: vec![1; 30], remote: vec![2; 30] };
    let (_, leg, local) = sip_call(&mut world, Latching::SameIp, Some(keys.clone()));
    use bifrons_rtc::srtp::{Backend, Inbound, MasterKey, Outbound, Profile};
    let key = |bytes: &[u8]| MasterKey::from_bytes(Profile::AesCm128HmacSha1_80, bytes).unwrap();
    let mut inbound = Inbound::new(Backend::Native, &key(&keys.local)).unwrap();
    let mut outbound = Outbound::new(Backend::Native, &key(&keys.remote)).unwrap();
    let mut heard = 0;
    for n in 0..20u16 {
        if n == 10 {
            // A re-INVITE with the same keys, to another port.
            let rtp = at("10.0.0.4:4100");
            let sdes = Some(keys.clone());
            world.bind_plain(rtp);
            let remote = RtpRemote { rtp, rtcp: None, rtcp_mux: false, sdes };
            world.sim.engine.set_rtp_remote(leg, remote).unwrap();
        }
        let phone = at(if n < 10 { "10.0.0.4:4000" } else { "10.0.0.4:4100" });
        world.clients[0].send_rtp(&rtp(0, n, 160 * u32::from(n), 5, Some("0"), &[1; 160]));
        let mut packet = rtp(0, n, 160 * u32::from(n), 9, None, &[2; 160]);
        let len = packet.len();
        packet.resize(len + 16, 0);
        let len = outbound.protect_rtp(&mut packet, len).unwrap();
        world.network.send(phone, local.rtp, &packet[..len]);
        // A stranger who knows everything but the key, and one who replays.
        world.network.send(phone, local.rtp, &rtp(0, n + 100, 0, 9, None, &[3; 170]));
        world.network.send(at("10.0.0.9:1"), local.rtp, &packet[..len]);
        world.run(20);
        for (_, _, mut bytes) in std::mem::take(&mut world.plain) {
            if bytes[1] & 0x7f == 0 {
                inbound.unprotect_rtp(world.now(), &mut bytes).unwrap();
                heard += 1;
            }
        }
    }
    assert_eq!((heard, world.clients[0].rtp.len()), (20, 20), "{:?}", world.drops());
    assert_eq!((world.dropped(Drop::SrtpAuth), world.dropped(Drop::SrtpReplay)), (20, 20));
    // Plain RTP again is the control side's to allow; a key that was used is refused.
    let remote = |sdes| RtpRemote { rtp: at("10.0.0.4:4000"), rtcp: None, rtcp_mux: false, sdes };
    world.sim.engine.set_rtp_remote(leg, remote(None)).unwrap();
    assert!(matches!(world.sim.engine.set_rtp_remote(leg, remote(Some(keys))), Err(MediaError::Invalid(_))));
}

#[test]
fn a_phone_behind_nat_is_followed_once() {
    let mut world = World::new(7, Link::default(), 1);
    let (_, leg, local) = sip_call(&mut world, Latching::SameIp, None);
    let nat = at("10.0.0.4:9999");
    world.bind_plain(nat);
    world.network.send(nat, local.rtp, &rtp(0, 1, 160, 9, None, &[2; 160]));
    world.run(20);
    assert!(world.notices.contains(&Notice::Latched { leg, remote: nat }));
    world.clients[0].send_rtp(&rtp(0, 1, 160, 5, Some("0"), &[1; 160]));
    world.run(20);
    assert_eq!(world.plain.iter().filter(|(to, ..)| *to == nat).count(), 1);
    // Row 4, RTP bleed: nobody else gets or brings a byte.
    let before = world.clients[0].rtp.len();
    for port in 1..2_000u16 {
        for ip in ["10.0.0.4", "10.0.0.66"] {
            let stranger = SocketAddr::new(ip.parse().unwrap(), port);
            world.network.send(stranger, local.rtp, &rtp(0, 2, 320, 9, None, &[3; 160]));
        }
        if port % 100 == 0 {
            world.run(2);
        }
    }
    world.run(100);
    world.clients[0].send_rtp(&rtp(0, 2, 320, 5, Some("0"), &[1; 160]));
    world.run(20);
    assert_eq!(world.clients[0].rtp.len(), before);
    assert_eq!(world.dropped(Drop::SourceRefused), 2 * 1_999);
    assert_eq!(world.plain.iter().filter(|(to, ..)| *to == nat).count(), 2);
}

#[test]
fn a_clienthello_from_a_stranger_changes_nothing() {
    // Row 1: a spray of hellos from another address before and during the real handshake.
    let certificate = bifrons_rtc::dtls::Certificate::generate().unwrap();
    let context = bifrons_rtc::dtls::DtlsContext::new(&certificate, Default::default()).unwrap();
    let mut attacker =
        bifrons_rtc::dtls::Session::new(&context, DtlsSide::Client, bifrons_rtc::Time::ZERO, &[]).unwrap();
    let hello = attacker.poll_transmit().unwrap();
    let mut times = Vec::new();
    for spray in [false, true] {
        let mut world = World::new(8, Link::default(), 1);
        let (_, leg) = join(&mut world, browser("10.0.0.2:6000", 7), vec![audio("0", 77, 111, "opus")], None);
        let began = world.now();
        let up = world.run_while(5_000, |w| {
            if spray {
                for port in 1..20 {
                    let stranger = SocketAddr::new("10.0.0.66".parse().unwrap(), port);
                    w.network.send(stranger, at("10.0.0.1:5000"), &hello);
                }
            }
            w.notices.contains(&Notice::Up { leg })
        });
        assert!(up, "{:?}", world.drops());
        times.push(world.now() - began);
        if spray {
            assert!(world.dropped(Drop::UnknownSource) > 100);
        }
        assert_eq!(world.clients[0].dtls_ended, None);
        assert_eq!(world.network.undelivered(), 0, "something was sent to a stranger");
    }
    assert_eq!(times[0], times[1]);
}

#[test]
fn a_certificate_that_is_not_the_sdps_gives_no_media() {
    let mut world = World::new(9, Link::default(), 1);
    let client = browser("10.0.0.2:6000", 7);
    let mut description = client.description();
    description.fingerprint.1 = description.fingerprint.1.replace(['A', '0'], "B");
    let local = world.sim.engine.open_webrtc_leg(WebRtcOpen::default()).unwrap();
    world.sim.engine.set_webrtc_remote(local.leg, description).unwrap();
    world.sim.engine.set_streams(local.leg, vec![audio("0", 77, 111, "opus")]).unwrap();
    let index = world.add(client);
    world.clients[index].set_remote(&local);
    let ended = Notice::Ended { leg: local.leg, why: LegEnd::DtlsError };
    assert!(world.run_while(5_000, |w| w.notices.contains(&ended)), "{:?}", world.notices);
    assert!(!world.notices.contains(&Notice::Up { leg: local.leg }));
}

#[test]
fn media_stop_when_consent_is_lost() {
    // Row 20.
    let mut world = World::new(10, Link::default(), 1);
    let (_, leg, local) = sip_call(&mut world, Latching::SameIp, None);
    let web = world.notices.iter().find_map(|n| if let Notice::Up { leg } = n { Some(*leg) } else { None });
    world.clients[0].mute_stun = true;
    let mut last = 0;
    let began = world.now();
    for n in 0..2_000u16 {
        let before = world.clients[0].rtp.len();
        world.network.send(
            at("10.0.0.4:4000"),
            local.rtp,
            &rtp(0, n, 160 * u32::from(n), 9, None, &[2; 160]),
        );
        world.run(20);
        if world.clients[0].rtp.len() > before {
            last = (world.now() - began).as_millis() as u64;
        }
    }
    assert!((10_000..36_000).contains(&last), "last packet after {last} ms");
    let ended = Notice::Ended { leg: web.unwrap(), why: LegEnd::ConsentExpired };
    assert!(world.notices.contains(&Notice::IceDisconnected { leg: web.unwrap() }));
    assert!(world.notices.contains(&ended), "{:?}", world.notices);
    let _ = leg;
}

#[test]
fn garbage_on_every_port_is_counted_and_harms_nobody() {
    let mut world = World::new(11, Link::default(), 1);
    let (_, _, local) = sip_call(&mut world, Latching::SameIp, None);
    let mut random = bifrons_rtc::ice::SeededRandom::new(3);
    use bifrons_rtc::ice::Random;
    let mut sent = 0;
    let before: u64 =
        world.sim.engine.counters()[0].all().iter().filter(|(n, _)| *n == "received").map(|(_, c)| c).sum();
    for n in 0..4_000u32 {
        let len = (random.next_u64() % 1_400) as usize;
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        if n % 3 == 0 && len > 2 {
            bytes[0] = [0, 20, 22, 0x80, 0x90, 0xbf][random.next_u64() as usize % 6];
        }
        // From strangers, from the browser's own address and from the phone's.
        let from = ["10.0.0.66:1", "10.0.0.2:6000", "10.0.0.4:4000", "10.0.0.4:4001"][n as usize % 4];
        let to = [at("10.0.0.1:5000"), local.rtp, local.rtcp][random.next_u64() as usize % 3];
        world.network.send(at(from), to, &bytes);
        sent += 1;
        if n % 64 == 0 {
            world.run(2);
        }
    }
    world.run(100);
    assert_eq!(world.dropped(Drop::Panic), 0);
    let received: u64 =
        world.sim.engine.counters()[0].all().iter().filter(|(n, _)| *n == "received").map(|(_, c)| c).sum();
    assert!(received - before >= sent, "{:?}", world.drops());
    // The call goes on.
    let heard = world.clients[0].rtp.len();
    world.network.send(at("10.0.0.4:4000"), local.rtp, &rtp(0, 1, 160, 9, None, &[2; 160]));
    world.network.send(at("10.0.0.4:4000"), local.rtp, &rtp(0, 2, 320, 9, None, &[2; 160]));
    world.run(700);
    world.network.send(at("10.0.0.4:4000"), local.rtp, &rtp(0, 3, 480, 9, None, &[2; 160]));
    world.network.send(at("10.0.0.4:4000"), local.rtp, &rtp(0, 4, 640, 9, None, &[2; 160]));
    world.run(100);
    assert!(world.clients[0].rtp.len() > heard, "{:?}", world.drops());
}

/// A link of a seed: loss up to 20 %, repetitions or another order, up to 300 ms of jitter.
fn bad_link(seed: u64) -> Link {
    Link {
        loss_permille: [0, 50, 200][seed as usize % 3],
        duplicate_permille: [0, 100][seed as usize % 2],
        reorder_permille: [100, 0][seed as usize % 2],
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis([0, 30, 300][seed as usize / 4]),
    }
}

/// Packet `n` of a sender, which tells `n`. They pass the end of the sequence numbers and of the timestamps.
fn numbered(pt: u8, n: u16, clock_step: u32, mid: Option<&str>) -> Vec<u8> {
    let timestamp = (u32::MAX - 9_000).wrapping_add(clock_step * u32::from(n));
    rtp(pt, FIRST_SEQUENCE.wrapping_add(n), timestamp, 5, mid, &n.to_be_bytes())
}

const FIRST_SEQUENCE: u16 = 65_400;

/// Numbers of the [`numbered`] packets that the network brought to the engine from `source`.
fn brought(arrived: &[(SocketAddr, SocketAddr, Vec<u8>)], source: SocketAddr) -> BTreeSet<u16> {
    let media = arrived.iter().filter(|(from, _, bytes)| *from == source && classify(bytes) == Kind::Rtp);
    let sequence = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
    media.map(|(_, _, bytes)| sequence(bytes).wrapping_sub(FIRST_SEQUENCE)).collect()
}

/// Each packet that the network brought went out, once, and they are as far apart as they were sent.
fn assert_once(seed: u64, what: &str, got: &[Vec<u8>], brought: &BTreeSet<u16>, clock_step: i32) {
    assert!(brought.len() > 180, "seed {seed}, {what}: {}", brought.len());
    let got: Vec<(u16, u16, u32)> = got
        .iter()
        .map(|bytes| {
            let packet = Packet::parse(&bytes[..]).unwrap();
            let n = u16::from_be_bytes(packet.payload().try_into().unwrap());
            (n, packet.header().sequence, packet.header().timestamp)
        })
        .collect();
    let distinct: BTreeSet<u16> = got.iter().map(|(n, ..)| *n).collect();
    assert_eq!(distinct, *brought, "seed {seed}, {what}");
    assert_eq!(distinct.len(), got.len(), "seed {seed}, {what}");
    let (n0, sequence0, timestamp0) = got[0];
    for (n, sequence, timestamp) in got {
        let step = n.wrapping_sub(n0);
        let ticks = (i32::from(step as i16) * clock_step) as u32;
        assert_eq!(sequence.wrapping_sub(sequence0), step, "seed {seed}, {what}");
        assert_eq!(timestamp.wrapping_sub(timestamp0), ticks, "seed {seed}, {what}");
    }
}

fn engine() -> IpAddr {
    common::world::ENGINE.parse().unwrap()
}

/// An echo of a stream of `count` packets.
fn echo_over_bad_networks(seed: u64, line: StreamConfig, clock_step: u32, pace_ms: u64, count: u16) {
    let (mid, pt) = (line.mid.clone(), line.payload_types[0].number);
    let mut world = World::new(seed, bad_link(seed), 1);
    let (client, leg) = join(&mut world, browser("10.0.0.2:6000", seed + 1), vec![line], None);
    let stream = StreamRef { leg, mline: 0 };
    world.sim.engine.set_route(stream, vec![output(stream, &[pt])]).unwrap();
    let up = |w: &mut World| w.clients[0].is_up() && w.notices.contains(&Notice::Up { leg });
    assert!(world.run_while(30_000, up), "seed {seed}: {:?} {:?}", world.notices, world.drops());
    // From here on only the way into the engine is bad, so that all that it sends is seen.
    world.network.set_link(engine(), at("10.0.0.2:1").ip(), Link::default());
    world.run(1_000);
    world.network.watch(engine());
    for n in 0..count {
        world.clients[client].send_rtp(&numbered(pt, n, clock_step, Some(&mid)));
        world.run(pace_ms);
    }
    world.run(1_000);
    let brought = brought(&world.network.watched(), at("10.0.0.2:6000"));
    assert_once(seed, "echo", &world.clients[client].rtp, &brought, clock_step as i32);
    let client = &world.clients[client];
    let refused = world.dropped(Drop::RewriteRefused) + world.dropped(Drop::SrtpProtect);
    assert_eq!((refused, client.undecryptable), (0, 0), "seed {seed}: {:?}", world.drops());
}

#[test]
fn an_echo_over_bad_networks_returns_each_packet_once() {
    for seed in 0..12 {
        echo_over_bad_networks(seed, audio("0", 77, 111, "opus"), 960, 20, 300);
    }
}

/// 500 packets a second, so that one may be overtaken by 300 others.
#[test]
fn video_over_bad_networks_returns_each_packet_once() {
    for seed in 8..12 {
        echo_over_bad_networks(seed, video("v", 77), 180, 2, 1_500);
    }
}

/// What bad luck on a bad road may cost a caller: every single call comes up.
#[test]
fn a_fifth_of_all_datagrams_lost_ends_no_call_before_it_began() {
    let link = Link {
        loss_permille: 200,
        duplicate_permille: 100,
        reorder_permille: 100,
        delay: Duration::from_millis(1),
        jitter: Duration::ZERO,
    };
    for seed in 0..300 {
        let mut world = World::new(seed, link, 1);
        call(&mut world, seed * 2 + 1);
        let up = world.run_while(20_000, |w| w.clients.iter().all(Client::is_up));
        assert!(up, "seed {seed}: {:?} {:?}", world.notices, world.drops());
    }
}

#[test]
fn a_call_over_bad_networks_comes_up_and_carries_each_packet_once() {
    for seed in 0..12 {
        let mut world = World::new(seed, bad_link(seed), 1 + seed as usize % 2);
        let (a, b) = call(&mut world, seed * 2 + 1);
        let up = world.run_while(30_000, |w| {
            w.clients.iter().all(Client::is_up)
                && [a, b].iter().all(|leg| w.notices.contains(&Notice::Up { leg: *leg }))
        });
        assert!(up, "seed {seed}: {:?} {:?}", world.notices, world.drops());
        world.network.set_link(engine(), at("10.0.0.3:1").ip(), Link::default());
        world.run(1_000);
        assert_eq!(world.sim.engine.leg_stats(a).unwrap().streams[0].in_packets, 0);
        world.network.watch(engine());
        for n in 0..300 {
            world.clients[0].send_rtp(&numbered(111, n, 960, Some("0")));
            world.run(20);
        }
        world.run(1_000);
        let brought = brought(&world.network.watched(), at("10.0.0.2:6000"));
        assert_once(seed, "call", &world.clients[1].rtp, &brought, 960);
        for bytes in &world.clients[1].rtp {
            let packet = Packet::parse(&bytes[..]).unwrap();
            assert_eq!((packet.header().payload_type, packet.header().ssrc), (109, 78));
            assert_eq!(packet.extension(4), Some(&b"a"[..]));
        }
        let refused = world.dropped(Drop::RewriteRefused) + world.dropped(Drop::SrtpProtect);
        assert_eq!((refused, world.clients[1].undecryptable), (0, 0), "seed {seed}: {:?}", world.drops());
    }
}

#[test]
fn a_phone_call_over_bad_networks_carries_each_packet_once_both_ways() {
    for seed in 0..12 {
        let mut world = World::new(seed, Link::default(), 1);
        let (_, _, local) = sip_call(&mut world, Latching::SameIp, None);
        // Only the ways into the engine are bad, so that all that it sends is seen.
        for source in ["10.0.0.2:1", "10.0.0.4:1"] {
            world.network.set_link(at(source).ip(), engine(), bad_link(seed));
        }
        world.network.watch(engine());
        for n in 0..300 {
            world.clients[0].send_rtp(&numbered(0, n, 160, Some("0")));
            world.network.send(at("10.0.0.4:4000"), local.rtp, &numbered(0, n, 160, None));
            world.run(20);
        }
        world.run(1_000);
        let arrived = world.network.watched();
        let to_phone = world.plain.iter().filter(|(to, ..)| *to == at("10.0.0.4:4000"));
        let to_phone: Vec<Vec<u8>> = to_phone.map(|(_, _, bytes)| bytes.clone()).collect();
        assert_once(seed, "to the phone", &to_phone, &brought(&arrived, at("10.0.0.2:6000")), 160);
        let spoken = brought(&arrived, at("10.0.0.4:4000"));
        assert_once(seed, "to the browser", &world.clients[0].rtp, &spoken, 160);
        assert_eq!(world.dropped(Drop::RewriteRefused), 0, "seed {seed}: {:?}", world.drops());
    }
}
