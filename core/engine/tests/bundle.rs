//! What belongs to a whole leg, not to one of its streams.

mod common;

use std::net::SocketAddr;

use bifrons_engine::Media;
use bifrons_engine::counter::Drop;
use bifrons_engine::driver::sim::Link;
use bifrons_engine::media::*;
use bifrons_rtc::dtls::Role as DtlsSide;
use bifrons_rtc::ice::Role;
use bifrons_wire::rtcp::{Compound, Packet as Rtcp};
use bifrons_wire::rtp::{ExtensionMap, Header, edit_extensions};
use common::client::Client;
use common::world::World;
use common::{audio, output, rtp, video};

/// Audio and video share one row of transport sequence numbers: each is reported as received, once.
#[test]
fn transport_wide_feedback_is_one_for_all_streams() {
    let mut world = World::new(1, Link::default(), 1);
    let address: SocketAddr = "10.0.0.2:6000".parse().unwrap();
    let client = Client::new(address, 7, DtlsSide::Client, Role::Controlling);
    let local = world.sim.engine.open_webrtc_leg(WebRtcOpen { near: None, offerer: false }).unwrap();
    let leg = local.leg;
    world.sim.engine.set_webrtc_remote(leg, client.description()).unwrap();
    let mut voice = audio("a", 70, 111, "opus");
    voice.extensions.push((5, Extension::TransportCc));
    voice.feedback.transport_cc = true;
    world.sim.engine.set_streams(leg, vec![voice, video("v", 80)]).unwrap();
    let client = world.add(client);
    world.clients[client].set_remote(&local);
    assert!(
        world.run_while(3_000, |w| w.clients[0].is_up() && w.notices.contains(&Notice::Up { leg })),
        "{:?}",
        world.drops()
    );
    for sequence in 0..100u16 {
        let packet = match sequence % 3 {
            0 => rtp(111, sequence / 3, 960 * u32::from(sequence), 5, Some("a"), &[1; 40]),
            _ => rtp(96, sequence, 3_000 * u32::from(sequence), 6, Some("v"), &[2; 40]),
        };
        let mut buffer = vec![0; 32];
        let header = Header::parse(&packet).unwrap();
        buffer.extend(packet);
        let at = 32..buffer.len();
        let set = [(5, &sequence.to_be_bytes()[..])];
        let at = edit_extensions(&mut buffer, at, &header, &ExtensionMap::KEEP, &set).unwrap();
        world.clients[client].send_rtp(&buffer[at]);
        world.run(7);
    }
    world.run(500);
    let mut reported = Vec::new();
    for bytes in &world.clients[client].rtcp {
        for packet in Compound::new(bytes) {
            if let Rtcp::Twcc(twcc) = packet.unwrap() {
                assert!([5, 6].contains(&twcc.media_ssrc), "{}", twcc.media_ssrc);
                reported.extend(twcc.statuses().map(|(sequence, delta)| (sequence, delta.is_some())));
            }
        }
    }
    assert_eq!(reported, (0..100).map(|sequence| (sequence, true)).collect::<Vec<_>>());
}

/// Legs with more SSRCs than have their places from the start, and more such legs than the worker has rooms for:
/// nothing is lost.
#[test]
fn many_ssrcs_on_many_legs() {
    const LEGS: u8 = 40;
    const LINES: u32 = 6;
    let mut world = World::new(1, Link::default(), 1);
    let mut legs = Vec::new();
    for number in 0..LEGS {
        let address = SocketAddr::from(([10, 0, 1, number], 6_000));
        let client = Client::new(address, number.into(), DtlsSide::Client, Role::Controlling);
        let local = world.sim.engine.open_webrtc_leg(WebRtcOpen { near: None, offerer: false }).unwrap();
        let leg = local.leg;
        world.sim.engine.set_webrtc_remote(leg, client.description()).unwrap();
        let lines = (0..LINES).map(|line| audio(&line.to_string(), 70 + line, 111, "opus"));
        world.sim.engine.set_streams(leg, lines.collect()).unwrap();
        for mline in 0..LINES as u8 {
            let stream = StreamRef { leg, mline };
            world.sim.engine.set_route(stream, vec![output(stream, &[111])]).unwrap();
        }
        let client = world.add(client);
        world.clients[client].set_remote(&local);
        legs.push(leg);
        world.run(50);
    }
    let up = |w: &mut World| w.clients.iter().all(Client::is_up);
    assert!(world.run_while(5_000, up), "{:?}", world.drops());
    world.run(100);
    for sequence in 0..5u16 {
        for client in 0..legs.len() {
            for line in 0..LINES {
                let packet = rtp(111, sequence, 960, 5 + line, Some(&line.to_string()), &[1; 40]);
                world.clients[client].send_rtp(&packet);
            }
            world.run(2);
        }
    }
    world.run(100);
    assert_eq!(world.dropped(Drop::SrtpRoom), 0);
    for client in &world.clients {
        assert_eq!((client.rtp.len(), client.undecryptable), (5 * LINES as usize, 0), "{:?}", world.drops());
    }
}
