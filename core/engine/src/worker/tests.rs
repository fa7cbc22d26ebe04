use std::net::SocketAddr;

use bifrons_rtc::Time;
use bifrons_rtc::dtls::Certificate;
use bifrons_wire::stun::{BINDING, Class, IntegrityKey, Writer};

use super::SLEEP_MAX;
use crate::counter::Drop;
use crate::driver::sim::{Link, Network};
use crate::driver::{Driver, Wait};
use crate::media::{
    Latching, LegEnd, Media, MediaKind, Notice, Output, PayloadType, RtpOpen, RtpRemote, StreamConfig,
    StreamRef, WebRtcOpen,
};
use crate::message::Command;
use crate::{EngineConfig, LegId, LocalAddress, SimEngine};

const BUFFERS: u32 = 64;

fn engine() -> (Network, SimEngine) {
    let network = Network::new(1, Link::default(), Time::from_millis(5_000));
    let mut config = EngineConfig {
        addresses: vec![LocalAddress { address: "10.0.0.1".parse().unwrap(), advertised: None }],
        webrtc_port: Some(5_000),
        rtp_port_range: (20_000, 20_099),
        ..EngineConfig::default()
    };
    config.limits.legs = 16;
    config.limits.commands = 16;
    let certificate = Certificate::generate().unwrap();
    let sim = SimEngine::new(config, &certificate, &network, 1, BUFFERS).unwrap();
    (network, sim)
}

fn open(sim: &mut SimEngine) -> LegId {
    sim.engine.open_rtp_leg(RtpOpen::default()).unwrap().leg
}

fn panic_in(sim: &mut SimEngine, leg: LegId) {
    sim.engine.command(0, Command::Panic { leg }).unwrap();
    sim.turn();
}

fn notices(sim: &mut SimEngine) -> Vec<Notice> {
    std::iter::from_fn(|| sim.engine.poll_notice()).collect()
}

#[test]
fn a_panic_ends_its_leg_only() {
    let (_network, mut sim) = engine();
    let (bad, good) = (open(&mut sim), open(&mut sim));
    panic_in(&mut sim, bad);
    assert_eq!(notices(&mut sim), [Notice::Ended { leg: bad, why: LegEnd::WorkerLost }]);
    assert_eq!(sim.engine.counters()[0].dropped(Drop::Panic), 1);
    assert_eq!(sim.engine.counters()[0].work(crate::counter::Work::Legs), 2);
    sim.engine.close_leg(bad);
    sim.engine.close_leg(good);
    sim.turn();
    notices(&mut sim);
    assert_eq!(sim.engine.counters()[0].work(crate::counter::Work::Legs), 0);
}

/// A leg with one audio m-line whose remote address is this, and the address that it receives at.
fn talk(sim: &mut SimEngine, remote: SocketAddr) -> (LegId, SocketAddr) {
    speak(sim, remote, MediaKind::Audio)
}

fn speak(sim: &mut SimEngine, remote: SocketAddr, kind: MediaKind) -> (LegId, SocketAddr) {
    let open = RtpOpen { latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
    let local = sim.engine.open_rtp_leg(open).unwrap();
    sim.engine.set_rtp_remote(local.leg, RtpRemote::muxed(remote)).unwrap();
    let line = StreamConfig::new(kind, 7, vec![PayloadType::new(0, "pcmu", 8_000)]);
    sim.engine.set_streams(local.leg, vec![line]).unwrap();
    (local.leg, local.rtp)
}

#[test]
fn a_panic_loses_no_buffer_wherever_it_strikes() {
    let (network, mut sim) = engine();
    let host = network.add_host();
    let phones: Vec<SocketAddr> = (0..3).map(|n| SocketAddr::from(([10, 0, 0, 2], 4_000 + 2 * n))).collect();
    assert!(phones.iter().all(|phone| network.bind(host, *phone)));
    let hearers: Vec<StreamRef> =
        phones[1..].iter().map(|phone| StreamRef { leg: talk(&mut sim, *phone).0, mline: 0 }).collect();
    // Each from another source, so that the hearers have not had it.
    let packet = |ssrc: u8| [&[0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, ssrc, 5][..], &[7; 160]].concat();
    // The fault strikes at the first touch of a buffer, then at the second, and so on, until the packet gets
    // through; then at the first again.
    let (mut fault, mut panics, mut passed) = (0, 0, 0);
    while panics < 3 * BUFFERS {
        let (leg, local) = talk(&mut sim, phones[0]);
        let to = hearers.iter().map(|to| Output { to: *to, open: true, payload_types: vec![(0, 0)] });
        sim.engine.set_route(StreamRef { leg, mline: 0 }, to.collect()).unwrap();
        sim.turn();
        let before = sim.engine.counters()[0].dropped(Drop::Panic);
        network.send(phones[0], local, &packet(panics as u8));
        network.advance(network.now() + std::time::Duration::from_millis(5));
        while network.take(host).is_some() {}
        sim.workers[0].driver.fault_in = Some(fault);
        sim.turn();
        sim.workers[0].driver.fault_in = None;
        if sim.engine.counters()[0].dropped(Drop::Panic) > before {
            panics += 1;
            let ended = notices(&mut sim).contains(&Notice::Ended { leg, why: LegEnd::WorkerLost });
            assert_eq!(ended, fault > 0, "at the first touch it is not known yet whose packet it is");
            fault += 1;
        } else {
            assert!(fault > 5, "a packet for two hearers touches buffers more often than {fault} times");
            passed += 1;
            fault = 0;
        }
        assert_eq!(sim.workers[0].driver().lent(), 0);
        sim.engine.close_leg(leg);
        // Far enough that ports have rested, and that three panics are not one fault.
        network.advance(network.now() + std::time::Duration::from_secs(20));
        sim.turn();
        notices(&mut sim);
    }
    assert!(passed > 3, "{passed}");
    assert_eq!(sim.engine.counters()[0].work(crate::counter::Work::Restarts), 0);
    assert_eq!(sim.workers[0].driver().counters().no_buffers, 0);
    // And still the worker receives.
    let (leg, local) = talk(&mut sim, phones[0]);
    let to = hearers.iter().map(|to| Output { to: *to, open: true, payload_types: vec![(0, 0)] });
    sim.engine.set_route(StreamRef { leg, mline: 0 }, to.collect()).unwrap();
    sim.turn();
    while network.take(host).is_some() {}
    network.send(phones[0], local, &packet(u8::MAX));
    for _ in 0..2 {
        network.advance(network.now() + std::time::Duration::from_millis(5));
        sim.turn();
    }
    network.advance(network.now() + std::time::Duration::from_millis(5));
    let heard = std::iter::from_fn(|| network.take(host)).filter(|(_, _, bytes)| bytes[1] == 0);
    assert_eq!(heard.count(), 2);
}

#[test]
fn a_panic_in_the_middle_of_a_frame_loses_no_buffer() {
    frame_with_panics(0);
}

/// With so many shut gates before them three of the nine hearers are in the first part of the frame.
#[test]
fn a_panic_in_a_later_part_of_a_frame_loses_no_buffer() {
    frame_with_panics(super::frames::SLICE_PACKETS / 3 - 2);
}

/// A frame of three packets to nine hearers, behind so many outputs that are shut. The fault strikes at the first touch
/// of a buffer, then at the second, and so on, until all get through.
fn frame_with_panics(shut: usize) {
    let (network, mut sim) = engine();
    let host = network.add_host();
    let phones: Vec<SocketAddr> = (0..10).map(|n| SocketAddr::from(([10, 0, 0, 2], 4_000 + 2 * n))).collect();
    assert!(phones.iter().all(|phone| network.bind(host, *phone)));
    let video = MediaKind::Video;
    let mut hearer = |phone: &SocketAddr| {
        sim.turn();
        StreamRef { leg: speak(&mut sim, *phone, video).0, mline: 0 }
    };
    let hearers: Vec<StreamRef> = phones[1..].iter().map(&mut hearer).collect();
    sim.turn();
    let mut panics = 0;
    loop {
        let (leg, local) = speak(&mut sim, phones[0], video);
        let output = |to, open| Output { to, open, payload_types: vec![(0, 0)] };
        let to = std::iter::repeat_n(output(hearers[0], false), shut);
        let to = to.chain(hearers.iter().map(|to| output(*to, true))).collect();
        sim.engine.set_route(StreamRef { leg, mline: 0 }, to).unwrap();
        sim.turn();
        let before = sim.engine.counters()[0].dropped(Drop::Panic);
        for n in 0..3 {
            let header = [0x80, if n == 2 { 0x80 } else { 0 }, 0, n, 0, 0, 0, 1, 0, 0, panics, 5];
            network.send(phones[0], local, &[&header[..], &[7; 160]].concat());
        }
        network.advance(network.now() + std::time::Duration::from_millis(5));
        while network.take(host).is_some() {}
        sim.workers[0].driver.fault_in = Some(u32::from(panics));
        sim.turn();
        sim.workers[0].driver.fault_in = None;
        let worker = &sim.workers[0];
        assert_eq!(worker.driver().lent(), worker.held(), "after {panics} touches");
        if sim.engine.counters()[0].dropped(Drop::Panic) == before {
            break;
        }
        panics += 1;
        network.advance(network.now() + std::time::Duration::from_secs(20));
        sim.turn();
        assert_eq!((sim.workers[0].driver().lent(), sim.workers[0].held()), (0, 0));
        sim.engine.close_leg(leg);
        sim.turn();
        notices(&mut sim);
    }
    assert!(panics > 27 * 3, "three packets to nine touch buffers more often than {panics} times");
    assert_eq!(sim.engine.counters()[0].work(crate::counter::Work::Restarts), 0);
    assert_eq!(sim.engine.counters()[0].work(crate::counter::Work::FramesSliced) > 0, shut > 0);
}

#[test]
fn three_panics_in_a_second_start_the_worker_over() {
    let (network, mut sim) = engine();
    let legs = [open(&mut sim), open(&mut sim), open(&mut sim), open(&mut sim)];
    sim.turn();
    for leg in &legs[..3] {
        panic_in(&mut sim, *leg);
    }
    let ended: Vec<LegId> = notices(&mut sim).iter().map(Notice::leg).collect();
    assert!(ended.contains(&legs[3]), "the leg without a panic is lost with the worker, and told so");
    assert_eq!(sim.engine.counters()[0].work(crate::counter::Work::Restarts), 1);
    for leg in legs {
        sim.engine.close_leg(leg);
    }
    // The new worker works: all slots are free again, and the shared socket still answers.
    network.advance(Time::from_millis(30_000));
    sim.turn();
    notices(&mut sim);
    let again: Vec<LegId> = (0..13).map(|_| open(&mut sim)).collect();
    assert!(again.iter().all(|leg| !legs.contains(leg)));
    sim.turn();
    let host = network.add_host();
    let stranger: SocketAddr = "10.0.0.9:1".parse().unwrap();
    network.bind(host, stranger);
    let before = sim.engine.counters()[0].dropped(Drop::StunMalformed);
    network.send(stranger, "10.0.0.1:5000".parse().unwrap(), &[0; 20]);
    network.advance(Time::from_millis(30_100));
    sim.turn();
    assert_eq!(sim.engine.counters()[0].dropped(Drop::StunMalformed), before + 1);
}

/// How the worker would wait now.
fn wait(sim: &mut SimEngine) -> Wait {
    let now = sim.workers[0].now();
    sim.workers[0].choose_wait(now)
}

#[test]
fn without_a_call_nothing_is_waited_for() {
    let (network, mut sim) = engine();
    for _ in 0..3 {
        network.advance(network.now() + std::time::Duration::from_secs(2));
        sim.turn();
        let deadline = network.now() + SLEEP_MAX;
        assert_eq!(wait(&mut sim), Wait::Until { deadline, coalesce_us: 0 });
    }
}

#[test]
fn a_worker_naps_while_nothing_comes_that_is_in_a_hurry() {
    let (network, mut sim) = engine();
    let host = network.add_host();
    let phone = SocketAddr::from(([10, 0, 0, 2], 4_000));
    assert!(network.bind(host, phone));
    let (_, rtp) = talk(&mut sim, phone);
    let shared: SocketAddr = "10.0.0.1:5000".parse().unwrap();
    // Five seconds with two thousand packets a second that nobody hears.
    let naps = |sim: &mut SimEngine, before: &mut dyn FnMut(&mut SimEngine, u64)| {
        let mut naps = Vec::new();
        for ms in (0..5_000).step_by(20) {
            before(sim, ms);
            (0..40).for_each(|_| network.send(phone, shared, &[0; 20]));
            network.advance(network.now() + std::time::Duration::from_millis(20));
            sim.turn();
            while network.take(host).is_some() {}
            match wait(sim) {
                Wait::Nap { nap_us, deadline } => {
                    assert_eq!(nap_us, 2_000);
                    assert!(deadline >= network.now() + std::time::Duration::from_millis(2));
                    naps.push(ms);
                }
                Wait::Until { coalesce_us, .. } => assert!(coalesce_us <= 500),
                Wait::Poll => panic!("a worker that sleeps at all does not poll here"),
            }
        }
        naps
    };
    let quiet = naps(&mut sim, &mut |_, _| {});
    assert_eq!(quiet.first(), Some(&1_000), "a second after the leg was opened");
    assert_eq!(quiet.len(), 200);
    // One packet of media or one command: for a second packets are waited for no longer than usual.
    let mut sequence = 0;
    let media = naps(&mut sim, &mut |_, ms| {
        if ms == 2_000 {
            sequence += 1;
            network.send(
                phone,
                rtp,
                &[&[0x80, 0, 0, sequence, 0, 0, 0, 1, 0, 0, 9, 5][..], &[7; 160]].concat(),
            );
        }
    });
    let command = naps(&mut sim, &mut |sim, ms| {
        if ms == 2_000 {
            open(sim);
        }
    });
    // A check of a leg that is not up yet.
    let offer = WebRtcOpen { near: None, offerer: false };
    let ice = sim.engine.open_webrtc_leg(offer).unwrap().ice;
    let mut check = [0; 200];
    let mut writer = Writer::new(&mut check, Class::Request, BINDING, [7; 12]);
    writer
        .username(&[ice.ufrag.as_bytes(), b":peer"])
        .integrity(&IntegrityKey::short_term(ice.pwd.as_bytes()));
    let len = writer.fingerprint().finish().unwrap();
    let opened = naps(&mut sim, &mut |_, _| {});
    assert_eq!(opened.first(), Some(&1_000), "a second after it was opened");
    let checked = naps(&mut sim, &mut |_, ms| {
        if ms == 2_000 {
            network.send(phone, shared, check.get(..len).unwrap());
        }
    });
    let expected: Vec<u64> = (0..2_000).chain(3_000..5_000).step_by(20).collect();
    assert_eq!([media, command, checked], [&expected[..]; 3]);
}

#[test]
fn timers_that_a_panic_leaves_undone_are_done_afterwards() {
    let (network, mut sim) = engine();
    let host = network.add_host();
    let phones: Vec<SocketAddr> = (0..4).map(|n| SocketAddr::from(([10, 0, 0, 2], 4_000 + 2 * n))).collect();
    assert!(phones.iter().all(|phone| network.bind(host, *phone)));
    let legs: Vec<(LegId, SocketAddr)> = phones.iter().map(|phone| talk(&mut sim, *phone)).collect();
    sim.turn();
    // Each has heard something, so each will send a report.
    for (phone, (_, local)) in phones.iter().zip(&legs) {
        network.send(*phone, *local, &[&[0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 9, 5][..], &[7; 160]].concat());
    }
    network.advance(network.now() + std::time::Duration::from_millis(5));
    sim.turn();
    // Time passes; the first of the reports that are due together strikes the fault.
    network.advance(network.now() + std::time::Duration::from_millis(1_000));
    sim.workers[0].driver.fault_in = Some(0);
    sim.turn();
    assert_eq!(sim.workers[0].driver.fault_in, None, "a buffer was touched");
    assert_eq!(sim.engine.counters()[0].dropped(Drop::Panic), 1);
    for _ in 0..2 {
        network.advance(network.now() + std::time::Duration::from_millis(5));
        sim.turn();
    }
    let mut reported: Vec<SocketAddr> = std::iter::from_fn(|| network.take(host))
        .filter(|(_, _, bytes)| bytes[1] == 201)
        .map(|(_, to, _)| to)
        .collect();
    reported.sort_unstable();
    reported.dedup();
    assert_eq!(reported.len(), 3, "all but the leg that was ended");
}

#[test]
fn a_full_command_ring_is_said_and_a_close_is_not_lost() {
    let (_network, mut sim) = engine();
    let leg = open(&mut sim);
    sim.turn();
    let stream = StreamRef { leg, mline: 0 };
    let mut refused = 0;
    for _ in 0..20 {
        refused += u32::from(sim.engine.request_keyframe(stream).is_err());
    }
    assert_eq!(refused, 4);
    sim.engine.close_leg(leg);
    for _ in 0..3 {
        sim.turn();
        notices(&mut sim);
    }
    assert_eq!(sim.engine.counters()[0].work(crate::counter::Work::Legs), 0);
}

#[test]
fn stale_ids_find_nothing() {
    let (network, mut sim) = engine();
    let first = open(&mut sim);
    sim.engine.close_leg(first);
    sim.turn();
    notices(&mut sim);
    // Slots are given out in turn; take all of them, so that the first comes again.
    network.advance(Time::from_millis(20_000));
    sim.turn();
    let mut last = first;
    for _ in 0..16 {
        last = open(&mut sim);
        sim.turn();
        sim.engine.close_leg(last);
        sim.turn();
        notices(&mut sim);
        network.advance(network.now() + std::time::Duration::from_secs(20));
        sim.turn();
    }
    assert_eq!((last.slot(), last.generation()), (first.slot(), first.generation() + 1));
    assert!(sim.engine.leg_stats(first).is_none());
    assert!(sim.engine.restart_ice(first).is_err());
    sim.engine.close_leg(first);
}
