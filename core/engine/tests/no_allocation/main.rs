//! A worker neither allocates nor frees while a hundred calls run, with each driver.
//!
//! A third of the calls are a browser's echo, a third join a browser with a phone, a third two phones; each
//! has 10,000 packets. Reports, NACKs and the packets they ask for, consent checks, statistics, telephone
//! events, gate commands and notices come in between.

mod allocator;
mod calls;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/netns.rs"]
mod netns;
mod nets;

use allocator::{Counted, alone, take_counted};
use bifrons_engine::driver::mmsg::{Mmsg, MmsgConfig};
use bifrons_engine::driver::uring::{self, Uring, UringConfig};
use bifrons_engine::driver::xdp::{Interface, Xdp, XdpConfig};
use calls::{Calls, Net, ROUND_PACKETS};
use nets::{RealNet, SimNet, Watch};

const CALLS: usize = 100;
const CALL_PACKETS: u64 = 10_000;
/// Rounds before a worker is watched: what is made once has been made.
const WARM_ROUNDS: u64 = 200;
const SOCKETS_MAX: usize = 256;

/// What a worker allocates in `rounds` rounds of `count` calls.
fn counted<N: calls::Net>(net: &mut N, watch: Watch, count: usize, rounds: u64) -> Counted {
    let _alone = alone();
    let _ = take_counted();
    let mut calls = Calls::new(net, count);
    calls.talk(0..WARM_ROUNDS);
    let before = calls.seen();
    watch.set(true);
    let mut round = WARM_ROUNDS;
    calls.talk(round..round + rounds);
    round += rounds;
    // What belongs to every call is waited for, however fast the machine.
    while rounds > 100 && {
        let seen = calls.seen();
        seen.stun == before.stun || seen.rtcp == before.rtcp || seen.rtx == before.rtx
    } {
        calls.talk(round..round + 1);
        round += 1;
    }
    watch.set(false);
    let seen = calls.seen();
    let packets = seen.packets - before.packets;
    println!("{packets} packets, {seen:?}, {:?}", calls.net().counters());
    assert!(packets >= count as u64 * rounds * ROUND_PACKETS);
    let (counted, first) = take_counted();
    if let Some(first) = first {
        println!("the first was here:\n{first}");
    }
    counted
}

fn nothing_is_allocated<N: calls::Net>(net: &mut N, watch: Watch) {
    let counted = counted(net, watch, CALLS, CALL_PACKETS / ROUND_PACKETS);
    assert_eq!(counted, Counted::default(), "the worker allocated or freed while media flowed");
}

/// The proof could fail: what is allocated on the worker's thread is seen, and what others allocate is not.
fn a_planted_allocation_is_seen<N: calls::Net>(net: &mut N, watch: Watch) {
    watch.plant();
    let counted = counted(net, watch, 3, 10);
    assert_eq!(counted, Counted { allocations: 1, frees: 1 });
}

fn mmsg() -> (RealNet, Watch) {
    RealNet::new(|clock| Mmsg::new(MmsgConfig { sockets_max: SOCKETS_MAX }, clock).unwrap())
}

fn io_uring() -> Option<(RealNet, Watch)> {
    if let Err(why) = uring::probe() {
        println!("skipped: {why}");
        return None;
    }
    let config = UringConfig { sockets_max: SOCKETS_MAX, hosted: false };
    Some(RealNet::new(move |clock| Uring::new(config, clock).unwrap()))
}

fn xdp() -> Option<(RealNet, Watch)> {
    let cable = netns::Cable::new(1)?;
    let open = || Interface::open(netns::INTERFACE, &[netns::address(0, false)], 1);
    let interface = match cable.within(0, open) {
        Ok(interface) => interface,
        Err(why) if netns::is_not_granted(&why) => {
            println!("skipped: {why}");
            return None;
        }
        Err(why) => panic!("{why}"),
    };
    Some(RealNet::over(cable, |clock| {
        let interfaces = vec![interface.into()];
        Xdp::new(XdpConfig { sockets_max: SOCKETS_MAX, worker: 0, interfaces }, clock).unwrap()
    }))
}

#[test]
fn nothing_is_allocated_on_the_simulated_network() {
    let (mut net, watch) = SimNet::new();
    nothing_is_allocated(&mut net, watch);
}

#[test]
fn nothing_is_allocated_over_mmsg() {
    let (mut net, watch) = mmsg();
    nothing_is_allocated(&mut net, watch);
}

#[test]
fn nothing_is_allocated_over_io_uring() {
    if let Some((mut net, watch)) = io_uring() {
        nothing_is_allocated(&mut net, watch);
    }
}

#[test]
fn nothing_is_allocated_over_xdp() {
    if let Some((mut net, watch)) = xdp() {
        nothing_is_allocated(&mut net, watch);
        let counters = net.counters();
        let counted = |name| counters.iter().find(|counter| counter.0 == name).map_or(0, |counter| counter.1);
        let (received, sent) = (counted("xdp_received"), counted("xdp_sent"));
        assert!(received * 10 > counted("received") * 9, "{counters:?}");
        assert!(sent * 10 > counted("sent") * 9, "{counters:?}");
    }
}

#[test]
fn a_planted_allocation_is_seen_on_the_simulated_network() {
    let (mut net, watch) = SimNet::new();
    a_planted_allocation_is_seen(&mut net, watch);
}

#[test]
fn a_planted_allocation_is_seen_over_mmsg() {
    let (mut net, watch) = mmsg();
    a_planted_allocation_is_seen(&mut net, watch);
}

#[test]
fn a_planted_allocation_is_seen_over_io_uring() {
    if let Some((mut net, watch)) = io_uring() {
        a_planted_allocation_is_seen(&mut net, watch);
    }
}

#[test]
fn a_planted_allocation_is_seen_over_xdp() {
    if let Some((mut net, watch)) = xdp() {
        a_planted_allocation_is_seen(&mut net, watch);
    }
}
