//! Video: what is lost is repaired, and requests find their source, on one worker and across two.

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bifrons_engine::Media;
use bifrons_engine::counter::{Drop, Work};
use bifrons_engine::driver::sim::Link;
use bifrons_engine::id::LegId;
use bifrons_engine::media::*;
use bifrons_rtc::dtls::Role as DtlsSide;
use bifrons_rtc::ice::Role;
use bifrons_wire::rtcp::{Compound, Packet as Rtcp, Writer};
use bifrons_wire::rtp::Packet;
use common::client::Client;
use common::world::World;
use common::{output, rtp, video};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A sender (client 0, SSRC 5) and a receiver (client 1, from SSRC 80, RTX 81).
fn call(world: &mut World, near: bool) -> (StreamRef, StreamRef) {
    call_with(world, near, |_| {})
}

/// As [`call`], with m-lines that are changed first.
fn call_with(world: &mut World, near: bool, change: impl Fn(&mut StreamConfig)) -> (StreamRef, StreamRef) {
    let mut join = |address: &str, seed: u64, ssrc: u32, near: Option<LegId>| {
        let client = Client::new(at(address), seed, DtlsSide::Client, Role::Controlling);
        let local = world.sim.engine.open_webrtc_leg(WebRtcOpen { near, offerer: false }).unwrap();
        world.sim.engine.set_webrtc_remote(local.leg, client.description()).unwrap();
        let mut line = video("v", ssrc);
        change(&mut line);
        world.sim.engine.set_streams(local.leg, vec![line]).unwrap();
        let index = world.add(client);
        world.clients[index].set_remote(&local);
        local.leg
    };
    let a = join("10.0.0.2:6000", 3, 70, None);
    let b = join("10.0.0.3:6000", 5, 80, near.then_some(a));
    assert_eq!(a.worker() == b.worker(), near);
    let (from, to) = (StreamRef { leg: a, mline: 0 }, StreamRef { leg: b, mline: 0 });
    world.sim.engine.set_route(from, vec![output(to, &[96])]).unwrap();
    let up = |w: &mut World| [a, b].iter().all(|leg| w.notices.contains(&Notice::Up { leg: *leg }));
    assert!(world.run_while(5_000, up), "{:?}", world.drops());
    assert!(world.run_while(1_000, |w| w.clients.iter().all(Client::is_up)));
    (from, to)
}

fn sent_to(client: &Client) -> impl Iterator<Item = Rtcp<'_>> {
    client.rtcp.iter().flat_map(|bytes| Compound::new(bytes)).map(Result::unwrap)
}

/// Packet `n` of the sender.
fn picture(n: u16) -> Vec<u8> {
    rtp(96, n, 3_000 * u32::from(n), 5, Some("v"), &[n.to_be_bytes()[0], n.to_be_bytes()[1], 7, 7])
}

fn lost_packets_are_sent_again(near: bool) {
    let mut world = World::new(1, Link::default(), 2);
    call(&mut world, near);
    let engine: std::net::IpAddr = common::world::ENGINE.parse().unwrap();
    let lossy = Link { loss_permille: 200, ..Link::default() };
    world.network.set_link(engine, at("10.0.0.3:1").ip(), lossy);
    let mut seen = BTreeSet::new();
    let mut rtx = 0;
    let mut highest = None;
    let mut read = 0;
    for n in 0..400u16 {
        world.clients[0].send_rtp(&picture(n));
        world.run(10);
        // The receiver asks for what it misses.
        let mut missing = Vec::new();
        for bytes in &world.clients[1].rtp[read..] {
            let packet = Packet::parse(&bytes[..]).unwrap();
            let mut payload = packet.payload().to_vec();
            let sequence = if packet.header().ssrc == 81 {
                assert_eq!(packet.header().payload_type, 97);
                let original = [payload.remove(0), payload.remove(0)];
                rtx += 1;
                u16::from_be_bytes(original)
            } else {
                assert_eq!((packet.header().ssrc, packet.header().payload_type), (80, 96));
                if let Some(highest) = highest {
                    let gap = packet.header().sequence.wrapping_sub(highest);
                    missing.extend((1..gap).map(|step| highest.wrapping_add(step)));
                }
                highest = Some(packet.header().sequence);
                packet.header().sequence
            };
            assert!(packet.extension(5).is_some() && packet.extension(4) == Some(b"v"));
            seen.insert((u16::from_be_bytes([payload[0], payload[1]]), sequence));
        }
        read = world.clients[1].rtp.len();
        if !missing.is_empty() {
            let mut buffer = [0; 500];
            let mut writer = Writer::new(&mut buffer);
            writer.receiver_report(1, &[]).unwrap();
            writer.nack(1, 80, missing).unwrap();
            let len = writer.len();
            world.clients[1].send_rtcp(&buffer[..len]);
        }
    }
    // Each is asked for once here, so a fifth of the fifth stays lost.
    assert!(seen.len() > 370, "{} of 400, {rtx} again: {:?}", seen.len(), world.drops());
    assert!(rtx > 40, "{rtx}");
    let offset: BTreeSet<u16> = seen.iter().map(|(n, sequence)| sequence.wrapping_sub(*n)).collect();
    assert_eq!(offset.len(), 1, "a retransmission names another packet than the one that was lost");
    assert_eq!(world.clients[1].undecryptable, 0);
    if !near {
        let replicated: u64 = world.sim.engine.counters().iter().map(|c| c.work(Work::Replicated)).sum();
        assert_eq!(replicated, 400);
    }
}

#[test]
fn lost_packets_are_sent_again_on_one_worker() {
    lost_packets_are_sent_again(true);
}

#[test]
fn lost_packets_are_sent_again_across_workers() {
    lost_packets_are_sent_again(false);
}

/// The receiver asks for packets of the stream that it gets.
fn ask(client: &mut Client, missing: &[u16]) {
    let mut buffer = [0; 500];
    let mut writer = Writer::new(&mut buffer);
    writer.receiver_report(1, &[]).unwrap();
    writer.nack(1, 80, missing.iter().copied()).unwrap();
    let len = writer.len();
    client.send_rtcp(&buffer[..len]);
}

fn without_rtx(line: &mut StreamConfig) {
    line.payload_types.retain(|payload| payload.repairs.is_none());
    line.local_rtx_ssrc = None;
}

#[test]
fn without_rtx_the_same_bytes_are_sent_again() {
    for near in [true, false] {
        let mut world = World::new(7, Link::default(), 2);
        let (_, to) = call_with(&mut world, near, without_rtx);
        let engine: std::net::IpAddr = common::world::ENGINE.parse().unwrap();
        let lossy = Link { loss_permille: 200, ..Link::default() };
        world.network.set_link(engine, at("10.0.0.3:1").ip(), lossy);
        let sequence_of = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
        let (mut read, mut highest, mut asked) = (0, None, 0);
        for n in 0..400u16 {
            world.clients[0].send_rtp(&picture(n));
            world.run(10);
            let mut missing = Vec::new();
            for bytes in &world.clients[1].rtp[read..] {
                let sequence = sequence_of(bytes);
                let gap = sequence.wrapping_sub(highest.unwrap_or(sequence));
                if gap < 1_000 {
                    missing.extend((1..gap).map(|step| highest.unwrap().wrapping_add(step)));
                    highest = Some(sequence);
                }
            }
            read = world.clients[1].rtp.len();
            if !missing.is_empty() {
                asked += missing.len();
                ask(&mut world.clients[1], &missing);
            }
        }
        world.run(100);
        let receiver = &world.clients[1];
        // Each is asked for once, so a fifth of the fifth stays lost.
        assert!(
            asked > 40 && receiver.rtp.len() > 370,
            "{asked} {}: {:?}",
            receiver.rtp.len(),
            world.drops()
        );
        for bytes in &receiver.rtp {
            let packet = Packet::parse(&bytes[..]).unwrap();
            assert_eq!((packet.header().ssrc, packet.header().payload_type), (80, 96));
        }
        // What has been received is asked for as well, often: it comes again once a round trip, as it was.
        let known: Vec<u16> =
            receiver.rtp[receiver.rtp.len() - 20..].iter().map(|b| sequence_of(b)).collect();
        world.network.set_link(engine, at("10.0.0.3:1").ip(), Link::default());
        let before = world.sim.engine.leg_stats(to.leg).unwrap().streams[0].retransmitted;
        let arrived = world.clients[1].srtp.len();
        for _ in 0..10 {
            ask(&mut world.clients[1], &known);
        }
        world.run(50);
        let more = world.sim.engine.leg_stats(to.leg).unwrap().streams[0].retransmitted - before;
        assert_eq!(
            (more, world.clients[1].srtp.len() - arrived),
            (20, 20),
            "near {near}: {:?}",
            world.drops()
        );
        let mut sent = std::collections::BTreeMap::new();
        for bytes in &world.clients[1].srtp {
            let first = sent.entry(sequence_of(bytes)).or_insert(bytes);
            assert_eq!(*first, bytes, "one SRTP index protects two packets");
        }
        assert!(sent.len() < world.clients[1].srtp.len(), "nothing came twice");
        assert_eq!((world.clients[1].undecryptable, world.dropped(Drop::SrtpProtect)), (0, 0));
        // What was never sent is not invented.
        let misses = world.dropped(Drop::NackMiss);
        ask(&mut world.clients[1], &[highest.unwrap().wrapping_add(100)]);
        world.run(20);
        assert_eq!(world.dropped(Drop::NackMiss), misses + 1);
    }
}

/// A packet that the old key protected is of no use to a peer that has a new one, and must not be protected
/// again: after a re-key it is gone.
#[test]
fn a_new_key_forgets_what_the_old_one_protected() {
    let mut world = World::new(8, Link::default(), 1);
    let (_, to) = call_with(&mut world, true, without_rtx);
    let send = |world: &mut World, numbers: std::ops::Range<u16>| {
        let arrived = world.clients[1].rtp.len();
        for n in numbers {
            world.clients[0].send_rtp(&picture(n));
            world.run(10);
        }
        let packets = &world.clients[1].rtp[arrived..];
        packets.iter().map(|b| u16::from_be_bytes([b[2], b[3]])).collect::<Vec<u16>>()
    };
    let old = send(&mut world, 0..20);
    assert_eq!(old.len(), 20);
    ask(&mut world.clients[1], &old);
    world.run(50);
    assert_eq!(world.clients[1].srtp.len(), 40, "what was sent is there: {:?}", world.drops());

    world.clients[1].new_certificate();
    world.clients[1].restart_ice();
    let ice = world.sim.engine.restart_ice(to.leg).unwrap();
    let description = world.clients[1].description();
    world.sim.engine.set_webrtc_remote(to.leg, description).unwrap();
    world.clients[1].set_remote_credentials(&ice, at("10.0.0.1:5000"));
    assert!(world.run_while(5_000, |w| w.clients[1].is_up()), "{:?}", world.drops());
    world.run(100);
    let (misses, arrived) = (world.dropped(Drop::NackMiss), world.clients[1].srtp.len());
    ask(&mut world.clients[1], &old);
    world.run(50);
    assert_eq!((world.dropped(Drop::NackMiss) - misses, world.clients[1].srtp.len()), (20, arrived));

    // The stream goes on, and what the new key protects is sent again as before.
    let new = send(&mut world, 20..40);
    assert_eq!((new.len(), new[0]), (20, old[19].wrapping_add(1)));
    ask(&mut world.clients[1], &new);
    world.run(50);
    let again = &world.clients[1].srtp[arrived..];
    assert_eq!((again.len(), &again[..20]), (40, &again[20..]));
    assert_eq!((world.clients[1].undecryptable, world.dropped(Drop::SrtpProtect)), (0, 0));
}

/// The same with keys from SDP. A key that has not changed is the same context: its packets are kept.
#[test]
fn an_sdes_key_that_stays_keeps_what_it_protected() {
    use bifrons_rtc::srtp::{Backend, Inbound, MasterKey, Outbound, Profile};
    let mut world = World::new(9, Link::default(), 1);
    let (from, to) = call_with(&mut world, true, without_rtx);
    let open =
        RtpOpen { near: Some(to.leg), ipv6: false, latching: Latching::Off, rtcp_mux: true, shared: None };
    let local = world.sim.engine.open_rtp_leg(open).unwrap();
    let phone = at("10.0.0.4:4000");
    world.bind_plain(phone);
    let mut line = video("", 80);
    without_rtx(&mut line);
    world.sim.engine.set_streams(local.leg, vec![line]).unwrap();
    world.sim.engine.set_route(from, vec![output(StreamRef { leg: local.leg, mline: 0 }, &[96])]).unwrap();
    let key = |bytes: &[u8]| MasterKey::from_bytes(Profile::AesCm128HmacSha1_80, bytes).unwrap();
    let is_media = |(to, _, bytes): &(SocketAddr, SocketAddr, Vec<u8>)| *to == phone && bytes[1] & 0x7f == 96;
    let mut n = 0;
    let mut before: Vec<Vec<u8>> = Vec::new();
    // The first keys; then only the phone's is another, then only ours.
    for (ours, theirs, kept) in [(1, 2, 0), (1, 3, 20), (4, 3, 0)] {
        let (ours, theirs) = (vec![ours; 30], vec![theirs; 30]);
        let sdes = SdesKeys {
            suite: "AES_CM_128_HMAC_SHA1_80".to_owned(),
            local: ours.clone(),
            remote: theirs.clone(),
        };
        let remote = RtpRemote { rtp: phone, rtcp: None, rtcp_mux: true, sdes: Some(sdes) };
        world.sim.engine.set_rtp_remote(local.leg, remote).unwrap();
        world.run(20);
        let mut outbound = Outbound::new(Backend::Native, &key(&theirs)).unwrap();
        let mut ask = |world: &mut World, packets: &[Vec<u8>]| {
            let mut buffer = [0; 500];
            let mut writer = Writer::new(&mut buffer);
            writer.receiver_report(9, &[]).unwrap();
            writer.nack(9, 80, packets.iter().map(|b| u16::from_be_bytes([b[2], b[3]]))).unwrap();
            let len = writer.len();
            let len = outbound.protect_rtcp(&mut buffer, len).unwrap();
            world.plain.clear();
            world.network.send(phone, local.rtp, &buffer[..len]);
            world.run(50);
            let media = world.plain.iter().filter(|datagram| is_media(datagram));
            media.map(|(_, _, bytes)| bytes.clone()).collect::<Vec<_>>()
        };
        if !before.is_empty() {
            assert_eq!(ask(&mut world, &before), before[..kept], "{:?}", world.drops());
        }
        world.plain.clear();
        for _ in 0..20 {
            world.clients[0].send_rtp(&picture(n));
            world.run(10);
            n += 1;
        }
        let mut inbound = Inbound::new(Backend::Native, &key(&ours)).unwrap();
        before = world.plain.iter().filter(|d| is_media(d)).map(|(_, _, bytes)| bytes.clone()).collect();
        assert_eq!(before.len(), 20, "{:?}", world.drops());
        before.iter().for_each(|bytes| {
            inbound.unprotect_rtp(world.now(), &mut bytes.clone()).unwrap();
        });
        assert_eq!(ask(&mut world, &before), before);
    }
    assert_eq!(world.dropped(Drop::NackMiss), 20);
}

#[test]
fn what_we_miss_is_asked_for_and_reported() {
    let mut world = World::new(2, Link::default(), 1);
    let (from, _) = call(&mut world, true);
    world.sim.engine.set_bitrate_cap(from, Some(300_000)).unwrap();
    for n in 0..100u16 {
        if n % 10 != 5 {
            let mut packet = picture(n);
            // Transport-wide sequence number beside the mid.
            packet.splice(12..20, [0xbe, 0xde, 0, 2, 0x40, b'v', 0x51, (n >> 8) as u8, n as u8, 0, 0, 0]);
            world.clients[0].send_rtp(&packet);
        }
        world.run(10);
    }
    world.run(300);
    let mut asked = BTreeSet::new();
    let (mut twcc, mut remb) = (0, None);
    for packet in sent_to(&world.clients[0]) {
        match packet {
            Rtcp::Nack(nack) => {
                assert_eq!(nack.media_ssrc, 5);
                asked.extend(nack.sequences());
            }
            Rtcp::Twcc(feedback) => twcc += feedback.statuses().count(),
            Rtcp::Remb(said) => remb = Some(said.bitrate_bps),
            _ => {}
        }
    }
    assert_eq!(asked, (0..10).map(|n| n * 10 + 5).collect());
    assert!(twcc >= 95, "{twcc}");
    assert!(remb.is_some_and(|bps| (295_000..=300_000).contains(&bps)), "{remb:?}");
    // A browser answers by RTX: the packet comes out in its place.
    let before = world.clients[1].rtp.len();
    let mut payload = 95u16.to_be_bytes().to_vec();
    payload.extend([0, 95, 7, 7]);
    let again = rtp(97, 1, 3_000 * 95, 6, Some("v"), &payload);
    world.clients[0].send_rtp(&again);
    world.run(20);
    assert_eq!(world.clients[1].rtp.len(), before + 1, "{:?}", world.drops());
    let packet = Packet::parse(&world.clients[1].rtp[before][..]).unwrap();
    assert_eq!((packet.header().payload_type, packet.payload()), (96, &[0, 95, 7, 7][..]));
}

fn keyframe_requests_reach_the_source(near: bool) {
    let mut world = World::new(3, Link::default(), 2);
    let (from, _) = call(&mut world, near);
    world.clients[0].send_rtp(&picture(0));
    world.run(50);
    let mut buffer = [0; 100];
    let mut writer = Writer::new(&mut buffer);
    writer.receiver_report(1, &[]).unwrap();
    writer.pli(1, 80).unwrap();
    let len = writer.len();
    for _ in 0..20 {
        world.clients[1].send_rtcp(&buffer[..len]);
        world.run(10);
    }
    let plis = |world: &World| {
        sent_to(&world.clients[0]).filter(|p| matches!(p, Rtcp::Pli(pli) if pli.media_ssrc == 5)).count()
    };
    assert_eq!(plis(&world), 1, "{:?}", world.drops());
    // The ones that came too soon are asked together, once.
    world.run(2_000);
    assert_eq!(plis(&world), 2);
    world.sim.engine.request_keyframe(from).unwrap();
    world.run(50);
    assert_eq!(plis(&world), 3);
}

#[test]
fn keyframe_requests_reach_the_source_on_one_worker() {
    keyframe_requests_reach_the_source(true);
}

#[test]
fn keyframe_requests_reach_the_source_across_workers() {
    keyframe_requests_reach_the_source(false);
}

#[test]
fn lip_sync_survives() {
    // The source's sender reports decide what ours say, whatever the packets' delay.
    for near in [true, false] {
        let mut world = World::new(4, Link::default(), 2);
        call(&mut world, near);
        let unix = 1_767_225_600_000_000_000u64;
        for n in 0..400u16 {
            world.clients[0].send_rtp(&picture(n));
            if n % 50 == 0 {
                let now = world.now().as_nanos();
                // Its clock is 10 s behind, and its pictures left half a second after they were taken.
                let ntp = bifrons_wire::rtcp::NtpTime::from_unix_nanos(unix + now - 10_000_000_000);
                let rtp_timestamp = (3_000 * u32::from(n)).wrapping_add(45_000);
                let info =
                    bifrons_wire::rtcp::SenderInfo { ntp, rtp_timestamp, packet_count: 1, octet_count: 1 };
                let mut buffer = [0; 100];
                let mut writer = Writer::new(&mut buffer);
                writer.sender_report(5, &info, &[]).unwrap();
                let len = writer.len();
                world.clients[0].send_rtcp(&buffer[..len]);
            }
            world.run_until(world.now() + Duration::from_nanos(33_333_333));
        }
        let first = Packet::parse(&world.clients[1].rtp[0][..]).unwrap().header().timestamp;
        let mut reports = 0;
        let mut last = None;
        for packet in sent_to(&world.clients[1]) {
            if let Rtcp::SenderReport(report) = packet {
                assert_eq!(report.ssrc, 80);
                last = Some(report.info);
                reports += 1;
            }
        }
        assert!(reports > 8);
        // At the report's instant the picture of that instant (by the source's clock) has this timestamp.
        let info = last.unwrap();
        let since_start = info.ntp.to_unix_nanos() - unix;
        let n = (since_start as f64 - world.now().as_nanos() as f64) / 33_333_333.0 + 400.0;
        let expected = n * 3_000.0 + 45_000.0;
        let got = f64::from(info.rtp_timestamp.wrapping_sub(first));
        assert!((got - expected).abs() < 900.0, "{got} instead of {expected}, near {near}");
    }
}

#[test]
fn a_full_ring_drops_and_counts() {
    let mut world = World::with(5, Link::default(), |config| {
        config.workers = 2;
        config.limits.replica_ring = 8;
    });
    call(&mut world, false);
    for n in 0..100u16 {
        world.clients[0].send_rtp(&picture(n));
    }
    world.run(100);
    let replicated: u64 = world.sim.engine.counters().iter().map(|c| c.work(Work::Replicated)).sum();
    assert_eq!(replicated + world.dropped(Drop::ReplicaFull), 100);
    assert!(world.dropped(Drop::ReplicaFull) > 0);
    assert_eq!(world.clients[1].rtp.len() as u64, replicated);
}

#[test]
fn one_source_many_outputs() {
    let mut world = World::new(6, Link::default(), 2);
    let (from, to) = call(&mut world, true);
    let mut outputs = vec![output(to, &[96])];
    for n in 0..8u16 {
        let client = Client::new(
            SocketAddr::new(at("10.0.0.9:1").ip(), 6_000 + n),
            100 + u64::from(n),
            DtlsSide::Server,
            Role::Controlled,
        );
        let offerer = true;
        let local = world.sim.engine.open_webrtc_leg(WebRtcOpen { near: None, offerer }).unwrap();
        world.sim.engine.set_webrtc_remote(local.leg, client.description()).unwrap();
        world.sim.engine.set_streams(local.leg, vec![video("v", 200 + u32::from(n) * 2)]).unwrap();
        let index = world.add(client);
        world.clients[index].set_remote(&local);
        outputs.push(output(StreamRef { leg: local.leg, mline: 0 }, &[96]));
    }
    world.sim.engine.set_route(from, outputs).unwrap();
    assert!(world.run_while(5_000, |w| w.clients.iter().all(Client::is_up)), "{:?}", world.drops());
    world.run(200);
    for n in 0..50u16 {
        world.clients[0].send_rtp(&picture(n));
        world.run(10);
    }
    world.run(50);
    for (index, client) in world.clients.iter().enumerate().skip(1) {
        assert_eq!((client.rtp.len(), client.undecryptable), (50, 0), "client {index}: {:?}", world.drops());
        let ssrcs: BTreeSet<u32> =
            client.rtp.iter().map(|b| Packet::parse(&b[..]).unwrap().header().ssrc).collect();
        assert_eq!(ssrcs.len(), 1);
    }
    // A leg that goes is taken out of the route.
    world.sim.engine.close_leg(to.leg);
    world.run(700);
    let before = world.dropped(Drop::OutputGone);
    world.clients[0].send_rtp(&picture(50));
    world.run(50);
    assert_eq!(world.dropped(Drop::OutputGone), before);
    assert_eq!(world.clients[2].rtp.len(), 51);
}
