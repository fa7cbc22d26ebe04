//! What receivers hear and are told when sources change, and when receivers come later than sources.

mod common;

use bifrons_engine::Media;
use bifrons_engine::counter::Drop;
use bifrons_engine::driver::sim::Link;
use bifrons_wire::rtcp::{Compound, NtpTime, Packet as Rtcp, SenderInfo, Writer};
use bifrons_wire::rtp::Packet;
use common::phone::Phone;
use common::world::World;
use common::{audio, output, rtp};

/// A telephone whose leg sends with this SSRC.
fn phone(world: &mut World, number: u16, near: Option<&Phone>, ssrc: u32) -> Phone {
    Phone::open(world, number, near.map(|phone| phone.leg), audio("", ssrc, 0, "pcmu")).unwrap()
}

fn route(world: &mut World, from: &Phone, to: &[&Phone]) {
    let outputs = to.iter().map(|phone| output(phone.stream(), &[0])).collect();
    world.sim.engine.set_route(from.stream(), outputs).unwrap();
}

/// Packet `n` of a source; its payload tells which it is.
fn packet(ssrc: u32, n: u16) -> Vec<u8> {
    rtp(0, n, 160 * u32::from(n), ssrc, None, &[ssrc as u8, n as u8, 0, 0])
}

/// (outgoing sequence number, source, number) of all packets that came to a telephone.
fn heard(world: &World, phone: &Phone) -> Vec<(u16, u8, u8)> {
    let mine = world.plain.iter().filter(|(to, _, bytes)| *to == phone.address && bytes[1] < 72);
    let packets = mine.map(|(_, _, bytes)| Packet::parse(&bytes[..]).unwrap());
    packets.map(|p| (p.header().sequence, p.payload()[0], p.payload()[1])).collect()
}

/// The sender reports that came to a telephone.
fn sender_reports(world: &World, phone: &Phone) -> Vec<SenderInfo> {
    let mine = world.plain.iter().filter(|(to, ..)| *to == phone.address);
    let compounds =
        mine.filter(|(_, _, bytes)| bytes[1] >= 200).flat_map(|(_, _, bytes)| Compound::new(bytes));
    let report = |packet| match packet {
        Ok(Rtcp::SenderReport(report)) => Some(report.info),
        _ => None,
    };
    compounds.filter_map(report).collect()
}

fn lost(world: &World, phone: &Phone) -> i64 {
    world.sim.engine.leg_stats(phone.leg).unwrap().streams[0].in_lost
}

/// A telephone that was transferred: the last packets of the old source are overtaken by the first of the new.
#[test]
fn a_late_packet_of_the_source_before_is_no_change_of_source() {
    let mut world = World::new(1, Link::default(), 1);
    let a = phone(&mut world, 1, None, 1_001);
    let b = phone(&mut world, 2, Some(&a), 1_002);
    route(&mut world, &a, &[&b]);
    world.settle();
    let bring = |world: &mut World, ssrc: u32, numbers: &[u16]| {
        for n in numbers {
            a.send(world, &packet(ssrc, *n));
            world.run(20);
        }
    };
    bring(&mut world, 5, &[100, 101, 103]);
    // Packet 3 of the new source is lost, 102 of the old one comes late.
    bring(&mut world, 6, &[1, 2, 4]);
    assert_eq!(lost(&world, &a), 1);
    bring(&mut world, 5, &[102]);
    assert_eq!(lost(&world, &a), 1, "what is known of the new source stays");
    bring(&mut world, 6, &[5]);
    assert_eq!(lost(&world, &a), 1);
    let first = heard(&world, &b)[0].0;
    let heard_by_b: Vec<_> = heard(&world, &b).iter().map(|(seq, s, n)| (seq - first, *s, *n)).collect();
    let expected =
        [(0, 5, 100), (1, 5, 101), (3, 5, 103), (4, 6, 1), (5, 6, 2), (7, 6, 4), (2, 5, 102), (8, 6, 5)];
    assert_eq!(heard_by_b, expected, "{:?}", world.drops());

    // Long after the change it is not late but somebody else's.
    for n in 6..40 {
        bring(&mut world, 6, &[n]);
    }
    let before = heard(&world, &b).len();
    bring(&mut world, 5, &[104, 105]);
    assert_eq!((heard(&world, &b).len(), world.dropped(Drop::NoStream)), (before, 2));
    assert_eq!(lost(&world, &a), 1);
    // When the new source has fallen silent the old one is the source again.
    world.run(600);
    bring(&mut world, 5, &[106, 107]);
    assert_eq!(heard(&world, &b).len(), before + 2, "{:?}", world.drops());
    assert_eq!(lost(&world, &a), 0);
}

/// Who joins a source that flows has its clock within half a second, whichever worker it is on: a receiver
/// needs it before it can play two sources in time.
#[test]
fn who_joins_late_is_told_the_clock_soon() {
    for workers in [1, 2] {
        let mut world = World::new(2, Link::default(), workers);
        let a = phone(&mut world, 1, None, 1_001);
        let early = phone(&mut world, 2, Some(&a), 1_002);
        let late = phone(&mut world, 3, None, 1_003);
        let muted = phone(&mut world, 4, None, 1_004);
        assert_eq!(a.leg.worker() == late.leg.worker(), workers == 1);
        route(&mut world, &a, &[&early]);
        // The source's own clock says another time than ours.
        let second = 1 << 32;
        let mut buffer = [0; 100];
        let mut writer = Writer::new(&mut buffer);
        let info = SenderInfo { ntp: NtpTime(1_000 * second), rtp_timestamp: 77_000, ..Default::default() };
        writer.sender_report(5, &info, &[]).unwrap();
        let len = writer.len();
        for n in 0..500 {
            a.send(&world, &packet(5, n));
            if n == 10 {
                a.send(&world, &buffer[..len]);
            }
            world.run(20);
        }
        // They have nothing to report and look seldom.
        assert!(sender_reports(&world, &late).is_empty() && sender_reports(&world, &muted).is_empty());
        let mut closed = output(muted.stream(), &[0]);
        closed.open = false;
        let outputs = vec![output(early.stream(), &[0]), output(late.stream(), &[0]), closed];
        world.sim.engine.set_route(a.stream(), outputs).unwrap();
        for n in 500..530 {
            a.send(&world, &packet(5, n));
            world.run(20);
        }
        assert!(!sender_reports(&world, &late).is_empty(), "{workers} workers");
        assert!(sender_reports(&world, &muted).is_empty());
        world.run(10_000);
        world.sim.engine.set_gate(a.stream(), muted.stream(), true).unwrap();
        for n in 530..560 {
            a.send(&world, &packet(5, n));
            world.run(20);
        }
        assert!(!sender_reports(&world, &muted).is_empty(), "{workers} workers");
        // And it is the source's clock: all outputs' reports say the same instant of it.
        let instants: Vec<u32> = [&early, &late, &muted]
            .into_iter()
            .map(|phone| {
                let report = *sender_reports(&world, phone).last().unwrap();
                let offset = world_offset(&world, phone);
                let since = ((u128::from(report.ntp.0) * 8_000) >> 32) as u32;
                report.rtp_timestamp.wrapping_sub(offset).wrapping_sub(since)
            })
            .collect();
        assert!(instants.iter().all(|at| at.wrapping_sub(instants[0]).wrapping_add(8) <= 16), "{instants:?}");
    }
}

/// What an output's timestamps are ahead of the source's.
fn world_offset(world: &World, phone: &Phone) -> u32 {
    let mine = world.plain.iter().rev().find(|(to, _, bytes)| *to == phone.address && bytes[1] < 72);
    let packet = Packet::parse(&mine.unwrap().2[..]).unwrap();
    // The last packet that the source sent.
    packet.header().timestamp.wrapping_sub(160 * 559)
}
