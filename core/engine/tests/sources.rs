//! What receivers hear when sources change.

mod common;

use bifrons_engine::Media;
use bifrons_engine::counter::Drop;
use bifrons_engine::driver::sim::Link;
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
