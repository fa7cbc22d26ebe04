//! Our agent against libnice's, over loopback sockets.

mod peer;

use bifrons_nice::{ComponentState, Nice, NiceAgent, Options};
use bifrons_rtc::ice::Role;
use peer::{Peer, until};

fn exchange(ours: &mut Peer, nice: &mut NiceAgent, nice_lite: bool, told: bool) {
    let local = ours.agent.local_credentials();
    let (ufrag, password) = (local.ufrag().to_owned(), local.password().to_owned());
    assert!(nice.set_remote(&ufrag, &password, &ours.candidates()));
    let sdp = nice.local_sdp();
    let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let candidates = sdp.lines().filter(|line| told && line.starts_with("a=candidate:")).map(str::to_owned);
    let candidates: Vec<String> = candidates.collect();
    assert_eq!(candidates.is_empty(), !told, "{sdp}");
    ours.set_remote(&value("a=ice-ufrag:"), &value("a=ice-pwd:"), nice_lite, &candidates);
}

/// Connects, sends both ways, restarts, connects and sends again.
fn run(role: Role, lite: bool, told: bool, options: Options) {
    let nice = match Nice::load() {
        Ok(nice) => nice,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let mut ours = Peer::new(role, lite);
    let mut theirs = NiceAgent::new(nice, options).unwrap();
    for generation in 1..=2 {
        if generation == 2 {
            ours.restart();
            assert!(theirs.restart());
        }
        exchange(&mut ours, &mut theirs, options.lite, told);
        until("connected", || {
            ours.turn();
            theirs.turn();
            ours.is_connected(generation) && theirs.state() == ComponentState::Ready
        });
        ours.send(b"\x80 from us");
        assert!(theirs.send(b"\x80 from libnice"));
        until("from libnice", || {
            ours.turn();
            theirs.turn();
            ours.received.pop().is_some_and(|datagram| datagram == b"\x80 from libnice")
        });
        until("from us", || {
            theirs.turn();
            theirs.take_received().iter().any(|datagram| datagram == b"\x80 from us")
        });
    }
}

#[test]
fn we_follow_aggressive_nomination() {
    run(Role::Controlled, false, true, Options { controlling: true, ..Options::default() });
}

#[test]
fn we_follow_regular_nomination() {
    run(
        Role::Controlled,
        false,
        true,
        Options { controlling: true, regular: true, consent: true, ..Options::default() },
    );
}

#[test]
fn we_nominate() {
    run(Role::Controlling, false, true, Options::default());
    run(Role::Controlling, false, true, Options { consent: true, ..Options::default() });
}

#[test]
fn we_are_lite() {
    run(Role::Controlled, true, true, Options { controlling: true, regular: true, ..Options::default() });
}

#[test]
fn libnice_is_lite() {
    run(Role::Controlling, false, true, Options { lite: true, ..Options::default() });
}

#[test]
fn peer_reflexive_only() {
    run(Role::Controlling, false, false, Options::default());
    run(Role::Controlled, false, false, Options { controlling: true, ..Options::default() });
}

#[test]
fn roles_in_conflict() {
    run(Role::Controlling, false, true, Options { controlling: true, regular: true, ..Options::default() });
    run(Role::Controlled, false, true, Options { regular: true, ..Options::default() });
}
