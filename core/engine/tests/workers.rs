//! Many workers: where legs go, what crosses between them, and when no more calls are taken.

mod common;

use std::collections::BTreeSet;

use bifrons_engine::counter::{Drop, Work};
use bifrons_engine::driver::sim::Link;
use bifrons_engine::media::*;
use bifrons_engine::{AdmissionCount, Media};
use bifrons_wire::rtp::Packet;
use common::phone::Phone;
use common::world::World;
use common::{audio, output, rtp, video};

const WORKERS: usize = 64;

fn pcmu(ssrc: u32) -> StreamConfig {
    audio("", ssrc, 0, "pcmu")
}

/// The payloads that came to a phone since `from`, in order; their sequence numbers have no gap.
fn heard(world: &World, phone: &Phone, from: usize) -> Vec<Vec<u8>> {
    let mine = world.plain[from..].iter().filter(|(to, _, bytes)| *to == phone.address && bytes[1] < 72);
    let packets: Vec<_> = mine.map(|(_, _, bytes)| Packet::parse(&bytes[..]).unwrap()).collect();
    for pair in packets.windows(2) {
        assert_eq!(pair[1].header().sequence, pair[0].header().sequence.wrapping_add(1));
    }
    packets.iter().map(|packet| packet.payload().to_vec()).collect()
}

fn work(world: &World, what: Work) -> u64 {
    world.sim.engine.counters().iter().map(|counters| counters.work(what)).sum()
}

#[test]
fn sixty_four_workers_carry_each_packet_once_to_every_other() {
    let mut world = World::with(1, Link::default(), |config| {
        config.workers = WORKERS;
        config.rtp_port_range = (20_000, 21_000);
        config.limits.replica_ring = 32;
    });
    let phones: Vec<Phone> = (0..2 * WORKERS as u16)
        .map(|n| Phone::open(&mut world, n, None, pcmu(1_000 + u32::from(n))).unwrap())
        .collect();
    for worker in 0..WORKERS {
        let legs = phones.iter().filter(|phone| usize::from(phone.leg.worker()) == worker).count();
        assert_eq!(legs, 2, "worker {worker}");
    }
    let mut number = 0u16;
    // Each phone hears the one so many places on, and that is on another worker.
    for shift in [1, 2, 31, 32, 63] {
        let target = |n: usize| (n + shift) % phones.len();
        for (n, phone) in phones.iter().enumerate() {
            let route = vec![output(phones[target(n)].stream(), &[0])];
            world.sim.engine.set_route(phone.stream(), route).unwrap();
        }
        world.run(5);
        let (from, crossed) = (world.plain.len(), work(&world, Work::Replicated));
        for _ in 0..10 {
            for (n, phone) in phones.iter().enumerate() {
                let payload = [n as u8, number as u8];
                phone.send(&world, &rtp(0, number, 160 * u32::from(number), n as u32, None, &payload));
            }
            number += 1;
            world.run(20);
        }
        world.run(5);
        for (n, phone) in phones.iter().enumerate() {
            let expected: Vec<Vec<u8>> = (number - 10..number).map(|k| vec![n as u8, k as u8]).collect();
            assert_eq!(heard(&world, &phones[target(n)], from), expected, "{:?}", phone.leg);
        }
        assert_eq!(work(&world, Work::Replicated) - crossed, 10 * phones.len() as u64);
    }

    // One to all: a packet crosses once to each worker, however many hear it there.
    let all = phones[1..].iter().map(|phone| output(phone.stream(), &[0])).collect();
    for phone in &phones[1..] {
        world.sim.engine.set_route(phone.stream(), vec![]).unwrap();
    }
    world.sim.engine.set_route(phones[0].stream(), all).unwrap();
    // So soon after a switch packets of a source before it would be late ones.
    world.run(600);
    let (from, crossed) = (world.plain.len(), work(&world, Work::Replicated));
    for _ in 0..10 {
        let packet = rtp(0, number, 160 * u32::from(number), 0, None, &[number as u8]);
        phones[0].send(&world, &packet);
        number += 1;
        world.run(20);
    }
    world.run(5);
    let expected: Vec<Vec<u8>> = (number - 10..number).map(|k| vec![k as u8]).collect();
    for phone in &phones[1..] {
        assert_eq!(heard(&world, phone, from), expected, "{:?}", phone.leg);
    }
    assert_eq!(work(&world, Work::Replicated) - crossed, 10 * (WORKERS as u64 - 1));
    for why in [Drop::ReplicaFull, Drop::ReplicaGone, Drop::NoBuffer, Drop::Panic] {
        assert_eq!(world.dropped(why), 0, "{why:?}");
    }
    // All of it goes away again.
    for phone in &phones {
        world.sim.engine.close_leg(phone.leg);
    }
    world.run(100);
    assert_eq!(work(&world, Work::Legs), 0);
}

#[test]
fn a_flood_across_workers_costs_its_own_route_only() {
    let mut world = World::with(2, Link::default(), |config| {
        config.workers = 3;
        config.limits.replica_ring = 64;
        config.limits.budgets.audio_packets_per_s = 0;
    });
    let phones: Vec<Phone> = (0..6).map(|n| Phone::open(&mut world, n, None, pcmu(1_000)).unwrap()).collect();
    let of =
        |worker: u8, nth: usize| phones.iter().filter(|phone| phone.leg.worker() == worker).nth(nth).unwrap();
    // 0 → 2 is flooded; 1 → 2 is a call.
    for (from, to) in [(of(0, 0), of(2, 0)), (of(1, 0), of(2, 1))] {
        world.sim.engine.set_route(from.stream(), vec![output(to.stream(), &[0])]).unwrap();
    }
    world.run(5);
    let from = world.plain.len();
    for n in 0..50u16 {
        for k in 0..500u16 {
            of(0, 0).send(&world, &rtp(0, n * 500 + k, 160 * u32::from(n), 5, None, &[1]));
        }
        of(1, 0).send(&world, &rtp(0, n, 160 * u32::from(n), 6, None, &[n as u8]));
        world.run(20);
    }
    assert_eq!(heard(&world, of(2, 1), from).len(), 50, "{:?}", world.drops());
    let full = world.dropped(Drop::ReplicaFull);
    assert!(full > 0, "the ring was never full");
    assert_eq!(heard_any(&world, of(2, 0), from) as u64 + full, 25_000);
}

fn heard_any(world: &World, phone: &Phone, from: usize) -> usize {
    world.plain[from..].iter().filter(|(to, _, bytes)| *to == phone.address && bytes[1] < 72).count()
}

#[test]
fn rings_between_workers_are_bounded_and_a_refusal_changes_nothing() {
    let mut world = World::with(3, Link::default(), |config| {
        config.workers = 3;
        config.limits.replica_rings = 2;
    });
    let phones: Vec<Phone> = (0..3).map(|n| Phone::open(&mut world, n, None, pcmu(1_000)).unwrap()).collect();
    let to = |n: usize| vec![output(phones[n].stream(), &[0])];
    world.sim.engine.set_route(phones[0].stream(), to(1)).unwrap();
    let refused = world.sim.engine.set_route(phones[0].stream(), to(2)).unwrap_err();
    assert_eq!(refused.to_string(), "the table of rings between workers is full");
    // The ring that is there serves both ways, and any number of routes.
    world.sim.engine.set_route(phones[1].stream(), to(0)).unwrap();
    world.run(5);
    let from = world.plain.len();
    phones[0].send(&world, &rtp(0, 1, 160, 5, None, &[1]));
    phones[1].send(&world, &rtp(0, 1, 160, 6, None, &[2]));
    world.run(20);
    assert_eq!(heard(&world, &phones[1], from), [[1]]);
    assert_eq!(heard(&world, &phones[0], from), [[2]]);
}

#[test]
fn a_new_call_goes_to_the_worker_that_carries_least_and_its_legs_stay_together() {
    let mut world = World::new(4, Link::default(), 2);
    let busy = Phone::open(&mut world, 0, None, video("", 5)).unwrap();
    let stream = busy.stream();
    world.sim.engine.set_route(stream, vec![output(stream, &[96])]).unwrap();
    // 1,000 packets a second on its worker, there and back.
    let mut sequence = 0u16;
    for frame in 0..250u32 {
        for _ in 0..10 {
            busy.send(&world, &rtp(96, sequence, frame * 1_800, 5, None, &[0; 500]));
            sequence += 1;
        }
        world.run(20);
    }
    let counters = &world.sim.engine.counters()[usize::from(busy.leg.worker())];
    let measured = counters.work(Work::PacketsPerS);
    assert!((950..1_100).contains(&measured), "{measured}");
    // Nine calls of one leg each weigh less than that.
    for n in 0..9 {
        let phone = Phone::open(&mut world, 1 + n, None, pcmu(6)).unwrap();
        assert_ne!(phone.leg.worker(), busy.leg.worker());
    }
    let workers: BTreeSet<u8> =
        (0..4).map(|n| Phone::open(&mut world, 10 + n, None, pcmu(6)).unwrap().leg.worker()).collect();
    assert_eq!(workers.len(), 2, "then both get some");
    let near = Phone::open(&mut world, 20, Some(busy.leg), pcmu(6)).unwrap();
    assert_eq!(near.leg.worker(), busy.leg.worker());
}

#[test]
fn beyond_the_ceiling_new_calls_are_refused_and_taken_again_when_the_load_is_gone() {
    let mut world = World::with(5, Link::default(), |config| {
        config.workers = 2;
        config.limits.admission.worker_packets_per_s_max = 1_000;
    });
    let mut phones = Vec::new();
    // What has just been opened counts before it has sent anything.
    let refused = loop {
        match Phone::open(&mut world, phones.len() as u16, None, pcmu(5)) {
            Ok(phone) => phones.push(phone),
            Err(refused) => break refused,
        }
    };
    assert_eq!(phones.len(), 20);
    let text = "the server is busy: worker_packets_per_s_max is 1000, and the least loaded worker has 1000";
    assert_eq!(refused.to_string(), text);
    assert!(matches!(refused, MediaError::Busy { .. }));
    assert_eq!(world.sim.engine.admission(), Err(refused));
    assert!(world.sim.engine.open_webrtc_leg(WebRtcOpen::default()).is_err());
    // A call that was taken gets its second leg.
    let second = Phone::open(&mut world, 30, Some(phones[0].leg), pcmu(5)).unwrap();
    let counters = world.sim.engine.admission_counters();
    assert_eq!(counters.get(AdmissionCount::RefusedBusy), 3);
    assert_eq!(counters.get(AdmissionCount::Opened), 21);
    world.sim.engine.close_leg(second.leg);

    // They carry media: it stays so.
    for phone in &phones {
        let stream = phone.stream();
        world.sim.engine.set_route(stream, vec![output(stream, &[0])]).unwrap();
    }
    for n in 0..200u16 {
        phones
            .iter()
            .for_each(|phone| phone.send(&world, &rtp(0, n, 160 * u32::from(n), 5, None, &[1; 160])));
        world.run(20);
    }
    assert!(world.sim.engine.admission().is_err());
    // They fall silent.
    world.run(4_000);
    assert_eq!(world.sim.engine.admission(), Ok(()));
    Phone::open(&mut world, 40, None, pcmu(5)).unwrap();
}
