//! Video to many: the packets of a frame wait for its end, for a bounded time and in bounded number, and go to
//! each output as one.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bifrons_engine::Media;
use bifrons_engine::counter::Work;
use bifrons_engine::driver::sim::Link;
use bifrons_engine::id::LegId;
use bifrons_engine::media::*;
use common::world::{ENGINE, World};
use common::{audio, output, rtp, video};

/// The longest wait, as `coalesce_us` has it.
const WAIT: Duration = Duration::from_micros(500);

fn phone(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 6_000 + 2 * number as u16))
}

/// A plain leg to this phone and the address that it receives at.
fn leg(world: &mut World, number: usize, near: Option<LegId>, line: StreamConfig) -> (StreamRef, SocketAddr) {
    world.bind_plain(phone(number));
    let open = RtpOpen { near, latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
    let engine = &mut world.sim.engine;
    let local = engine.open_rtp_leg(open).unwrap();
    engine.set_rtp_remote(local.leg, RtpRemote::muxed(phone(number))).unwrap();
    engine.set_streams(local.leg, vec![line]).unwrap();
    (StreamRef { leg: local.leg, mline: 0 }, local.rtp)
}

fn picture(ssrc: u32) -> StreamConfig {
    StreamConfig { mid: String::new(), extensions: vec![], ..video("", ssrc) }
}

/// One who sends and so many who see it.
struct Show {
    world: World,
    source: StreamRef,
    local: SocketAddr,
    viewers: Vec<StreamRef>,
}

impl Show {
    fn new(viewers: usize) -> Self {
        Self::with(World::new(1, Link::default(), 1), viewers, true, picture)
    }

    fn with(mut world: World, viewers: usize, near: bool, line: impl Fn(u32) -> StreamConfig) -> Self {
        let (source, local) = leg(&mut world, 0, None, line(70));
        let near = near.then_some(source.leg);
        let viewers: Vec<_> =
            (1..=viewers).map(|number| leg(&mut world, number, near, line(100 + number as u32)).0).collect();
        let to = viewers.iter().map(|to| output(*to, &[0, 96])).collect();
        world.sim.engine.set_route(source, to).unwrap();
        world.run(5);
        Self { world, source, local, viewers }
    }

    /// Nine who see it on another worker, behind so many outputs that are shut.
    fn across(shut: usize) -> Self {
        let mut world = World::new(1, Link::default(), 2);
        let (source, local) = leg(&mut world, 0, None, picture(70));
        // The other worker carries nothing yet, so the first viewer is placed there.
        let (first, _) = leg(&mut world, 1, None, picture(101));
        assert_ne!(source.leg.worker(), first.leg.worker());
        let mut viewers = vec![first];
        viewers.extend((2..=9).map(|n| leg(&mut world, n, Some(first.leg), picture(100 + n as u32)).0));
        let shut = std::iter::repeat_n(Output { open: false, ..output(first, &[96]) }, shut);
        let to = shut.chain(viewers.iter().map(|to| output(*to, &[96]))).collect();
        world.sim.engine.set_route(source, to).unwrap();
        world.run(5);
        Self { world, source, local, viewers }
    }

    /// Packet `n` of frame `frame`, the last one or not.
    fn send(&mut self, n: u16, frame: u32, marker: bool) {
        let packet = rtp(if marker { 96 | 0x80 } else { 96 }, n, frame * 3_000, 5, None, &n.to_be_bytes());
        self.world.network.send(phone(0), self.local, &packet);
    }

    /// So many whole frames at the same instant.
    fn send_frames(&mut self, frames: u16) {
        for n in 0..frames * FRAME {
            self.send(n, 0, n % FRAME == FRAME - 1);
        }
    }

    /// What was sent arrives, and the first worker turns once. Whether it wants another turn.
    fn turn_once(&mut self) -> bool {
        let now = self.world.now() + WAY;
        self.world.network.advance(now);
        self.world.sim.workers[0].turn_at(now)
    }

    /// Who got which packets, in order of arrival.
    fn seen(&mut self) -> Vec<(u16, u16)> {
        let media = self.world.plain.drain(..).filter(|(_, _, bytes)| bytes[1] & 0x7f == 96);
        media
            .map(|(to, _, bytes)| ((to.port() - 6_000) / 2, u16::from_be_bytes([bytes[12], bytes[13]])))
            .collect()
    }

    fn held(&self) -> usize {
        self.world.sim.workers.iter().map(|worker| worker.held()).sum()
    }

    fn work(&self, work: Work) -> u64 {
        self.world.sim.engine.counters().iter().map(|counters| counters.work(work)).sum()
    }

    fn wait(&mut self, time: Duration) {
        let end = self.world.now() + time;
        self.world.run_until(end);
    }
}

/// What goes out of the engine takes a millisecond, as what comes in does.
const WAY: Duration = Duration::from_millis(1);

#[test]
fn a_frame_goes_to_each_viewer_as_one() {
    let mut show = Show::new(9);
    for n in 0..3 {
        show.send(n, 0, false);
        show.wait(Duration::from_micros(100));
    }
    show.wait(WAY + WAIT);
    show.send(3, 0, true);
    assert_eq!((show.held(), show.work(Work::Forwarded)), (0, 27), "the wait was over");
    show.wait(WAY + WAY);
    assert_eq!(show.seen().len(), 4 * 9);

    for n in 4..8 {
        show.send(n, 1, n == 7);
        show.wait(Duration::from_micros(100));
    }
    show.wait(WAY - Duration::from_micros(400) + Duration::from_micros(250));
    assert_eq!((show.held(), show.work(Work::Forwarded)), (3, 4 * 9), "they wait for the marker");
    show.wait(WAY + WAY);
    let expected: Vec<(u16, u16)> = (1..=9).flat_map(|to| (4..8).map(move |n| (to, n))).collect();
    assert_eq!((show.seen(), show.held(), show.work(Work::Frames)), (expected, 0, 2));
}

#[test]
fn without_a_marker_or_an_end_packets_go_when_their_time_is_over() {
    let mut show = Show::new(9);
    for n in 0..40 {
        show.send(n, u32::from(n) / 3, false);
        show.wait(Duration::from_micros(200));
        assert!(show.held() <= 4, "{}", show.held());
    }
    // The stream has stopped in the middle of a frame.
    show.wait(WAY + WAIT);
    assert_eq!((show.held(), show.work(Work::Forwarded)), (0, 40 * 9));
    show.wait(WAY);
    let mut by_viewer: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    show.seen().into_iter().for_each(|(to, n)| by_viewer.entry(to).or_default().push(n));
    assert_eq!(by_viewer.len(), 9);
    assert!(by_viewer.values().all(|seen| *seen == Vec::from_iter(0..40)), "{by_viewer:?}");
}

#[test]
fn a_frame_of_any_length_holds_few_buffers() {
    let mut show = Show::new(8);
    for n in 0..100 {
        show.send(n, 0, n == 99);
    }
    show.wait(WAY);
    assert_eq!((show.held(), show.work(Work::Forwarded)), (0, 800));
    assert_eq!(show.work(Work::Frames), 100 / 16 + 1, "in parts");
    show.wait(WAY);
    for viewer in 1..=8 {
        let seen: Vec<u16> = show
            .world
            .plain
            .iter()
            .filter(|(to, ..)| *to == phone(viewer))
            .map(|(.., b)| b[13].into())
            .collect();
        assert_eq!(seen, Vec::from_iter(0..100));
    }
}

#[test]
fn over_a_bad_network_each_packet_goes_once_and_in_the_order_of_arrival() {
    for seed in 1..6 {
        let mut show = Show::with(World::new(seed, Link::default(), 1), 9, true, picture);
        let link = Link {
            loss_permille: 100,
            duplicate_permille: 50,
            reorder_permille: 50,
            jitter: Duration::from_millis(3),
            ..Link::default()
        };
        let engine = ENGINE.parse().unwrap();
        show.world.network.set_link(phone(0).ip(), engine, link);
        show.world.network.watch(engine);
        for n in 0..600 {
            show.send(n, u32::from(n / 5), n % 5 == 4);
            show.wait(Duration::from_micros(u64::from(n % 3) * 400));
        }
        show.wait(Duration::from_millis(100));
        let mut once = BTreeSet::new();
        let arrived: Vec<u16> = show
            .world
            .network
            .watched()
            .into_iter()
            .map(|(.., bytes)| u16::from_be_bytes([bytes[12], bytes[13]]))
            .filter(|n| once.insert(*n))
            .collect();
        assert!(arrived.len() > 450 && !arrived.is_sorted(), "{} packets", arrived.len());
        let seen = show.seen();
        for viewer in 1..=9 {
            let of: Vec<u16> = seen.iter().filter(|(to, _)| *to == viewer).map(|(_, n)| *n).collect();
            assert_eq!(of, arrived, "seed {seed}, viewer {viewer}: {:?}", show.world.drops());
        }
        assert!(show.work(Work::Frames) > 20 && show.held() == 0);
    }
}

#[test]
fn audio_and_few_viewers_do_not_wait() {
    let mut few = Show::new(7);
    few.send(0, 0, false);
    few.wait(WAY);
    assert_eq!((few.held(), few.work(Work::Forwarded)), (0, 7));

    let world = World::new(1, Link::default(), 1);
    let mut talk = Show::with(world, 9, true, |ssrc| audio("", ssrc, 0, "pcmu"));
    talk.world.network.send(phone(0), talk.local, &rtp(0, 1, 160, 5, None, &[7; 160]));
    talk.wait(WAY);
    assert_eq!((talk.held(), talk.work(Work::Forwarded)), (0, 9));

    let world = World::with(1, Link::default(), |config| config.coalesce_us = 0);
    let mut at_once = Show::with(world, 9, true, picture);
    at_once.send(0, 0, false);
    at_once.wait(WAY);
    assert_eq!((at_once.held(), at_once.work(Work::Forwarded)), (0, 9));
}

#[test]
fn who_goes_while_packets_wait_takes_none_with_him() {
    let mut show = Show::new(9);
    show.send(0, 0, false);
    show.wait(WAY);
    assert_eq!(show.held(), 1);
    show.world.sim.engine.close_leg(show.viewers[8].leg);
    show.wait(WAIT);
    assert_eq!((show.held(), show.work(Work::Forwarded)), (0, 8));

    // Fewer than eight outputs now: what waits goes first.
    show.send(1, 1, false);
    show.wait(WAY);
    let to = show.viewers[..7].iter().map(|to| output(*to, &[96])).collect();
    show.world.sim.engine.set_route(show.source, to).unwrap();
    show.send(2, 1, false);
    show.wait(Duration::from_micros(100));
    assert_eq!(show.held(), 1);
    show.wait(WAY);
    assert_eq!((show.held(), show.work(Work::Forwarded)), (0, 8 + 14));
    show.wait(WAY);
    let of_first: Vec<u16> = show.seen().into_iter().filter(|(to, _)| *to == 1).map(|(_, n)| n).collect();
    assert_eq!(of_first, [0, 1, 2]);

    let to = show.viewers[..8].iter().map(|to| output(*to, &[96])).collect();
    show.world.sim.engine.set_route(show.source, to).unwrap();
    show.wait(WAY);
    show.send(3, 2, false);
    show.wait(WAY);
    assert_eq!(show.held(), 1);
    show.world.sim.engine.close_leg(show.source.leg);
    show.wait(WAIT + WAY);
    assert_eq!((show.held(), show.work(Work::Forwarded)), (0, 8 + 14));
}

#[test]
fn more_streams_than_may_wait_are_not_held() {
    let mut show = Show::new(8);
    let mut sources = vec![show.local];
    for number in 10..19 {
        let (source, local) = leg(&mut show.world, number, Some(show.source.leg), picture(number as u32));
        let to = show.viewers.iter().map(|to| output(*to, &[96])).collect();
        show.world.sim.engine.set_route(source, to).unwrap();
        sources.push(local);
    }
    show.world.run(5);
    for (number, local) in sources.iter().enumerate() {
        let from = if number == 0 { phone(0) } else { phone(9 + number) };
        show.world.network.send(from, *local, &rtp(96, 1, 0, number as u32, None, &[0, 1]));
    }
    show.wait(WAY);
    assert_eq!((show.held(), show.work(Work::FramesCrowded), show.work(Work::Forwarded)), (8, 2, 16));
    show.wait(WAIT + WAY);
    assert_eq!((show.held(), show.work(Work::Forwarded)), (0, 80));
}

#[test]
fn viewers_on_another_worker_get_whole_frames() {
    let mut show = Show::across(0);
    for n in 0..4 {
        show.send(n, 0, n == 3);
        show.wait(Duration::from_micros(100));
    }
    show.wait(WAY + WAY);
    let expected: Vec<(u16, u16)> = (1..=9).flat_map(|to| (0..4).map(move |n| (to, n))).collect();
    assert_eq!((show.seen(), show.held(), show.work(Work::Frames)), (expected, 0, 1));
}

/// So many see it, with a frame of as many packets as go together: more than goes in one turn.
const MANY: u16 = 45;
const FRAME: u16 = 16;
const COPIES: usize = MANY as usize * FRAME as usize;

fn all_of(frames: std::ops::Range<u16>) -> BTreeSet<(u16, u16)> {
    let packets = frames.start * FRAME..frames.end * FRAME;
    (1..=MANY).flat_map(|to| packets.clone().map(move |n| (to, n))).collect()
}

#[test]
fn a_frame_to_many_lets_others_pass() {
    let mut show = Show::new(MANY.into());
    let call = leg(&mut show.world, 100, Some(show.source.leg), audio("", 9, 0, "pcmu"));
    show.world.sim.engine.set_route(call.0, vec![output(call.0, &[0])]).unwrap();
    show.world.run(5);
    show.send_frames(2);
    show.world.network.send(phone(100), call.1, &rtp(0, 1, 160, 6, None, &[0x55; 160]));
    show.wait(WAY + WAY);
    let heard = show.world.plain.iter().position(|(to, _, _)| *to == phone(100));
    assert_eq!(heard, Some(512), "after the first part of the first frame");
    let seen = show.seen();
    assert_eq!(seen.len(), 2 * COPIES);
    assert!(BTreeSet::from_iter(seen.iter().copied()) == all_of(0..2));
    for to in 1..=MANY {
        assert!(seen.iter().filter(|(at, _)| *at == to).map(|(_, n)| *n).eq(0..2 * FRAME), "in order");
    }
    assert_eq!((show.held(), show.work(Work::Frames), show.work(Work::FramesSliced)), (0, 2, 2));
}

#[test]
fn a_route_that_changes_leaves_what_is_under_way_as_it_was() {
    let mut show = Show::new(MANY.into());
    show.send_frames(3);
    assert!(show.turn_once(), "another turn is wanted");
    // The first frame has gone in two parts; two more wait behind it.
    assert_eq!((show.held(), show.work(Work::Forwarded)), (2 * usize::from(FRAME), COPIES as u64));
    let last = *show.viewers.last().unwrap();
    show.world.sim.engine.set_route(show.source, vec![output(last, &[96])]).unwrap();
    show.send(3 * FRAME, 1, true);
    show.wait(WAY + WAY);
    let mut expected = all_of(0..3);
    expected.insert((MANY, 3 * FRAME));
    let seen = show.seen();
    assert_eq!((seen.len(), show.held()), (3 * COPIES + 1, 0));
    assert!(BTreeSet::from_iter(seen) == expected);
}

#[test]
fn a_source_that_leaves_loses_what_is_under_way() {
    let mut show = Show::new(MANY.into());
    show.send_frames(3);
    show.turn_once();
    show.world.sim.engine.close_leg(show.source.leg);
    show.wait(WAY + WAY);
    assert_eq!((show.held(), show.seen().len()), (0, COPIES));
    assert_eq!(show.world.dropped(bifrons_engine::counter::Drop::NoRoute), 2 * u64::from(FRAME));
}

/// More frames at once than may be under way: all arrive. (A simulated host has room for 4,096 datagrams.)
#[test]
fn frames_that_find_no_room_wait_in_their_queue() {
    let mut show = Show::new(MANY.into());
    show.send_frames(5);
    show.turn_once();
    assert_eq!((show.work(Work::Forwarded), show.work(Work::FramesSliced)), (COPIES as u64, 4));
    show.wait(WAY + WAY);
    let seen = show.seen();
    assert_eq!((seen.len(), show.held()), (5 * COPIES, 0));
    assert!(BTreeSet::from_iter(seen) == all_of(0..5));
}

/// Viewers on another worker, behind so many shut gates that a frame goes to them in parts.
#[test]
fn a_frame_goes_in_parts_on_another_worker_too() {
    let mut show = Show::across(40);
    show.send_frames(6);
    show.wait(WAY + WAY + WAY);
    let seen = show.seen();
    for to in 1..=9 {
        assert!(seen.iter().filter(|(at, _)| *at == to).map(|(_, n)| *n).eq(0..6 * FRAME), "{to}");
    }
    assert_eq!((show.held(), show.work(Work::Frames), show.work(Work::FramesSliced)), (0, 6, 6));
}
