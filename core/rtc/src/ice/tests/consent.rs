//! Consent freshness (RFC 7675) and giving up.

use super::world::*;
use crate::Time;
use crate::ice::*;
use crate::sim::Link;

#[test]
fn checks_come_at_jittered_intervals_on_one_pair_only() {
    let mut world = World::pair(1, Link::CLEAN, |_, _| {});
    world.connect();
    world.run_for(secs(5000));
    for peer in &world.peers {
        let sent = peer.agent.counters().consent_sent;
        assert!((950..1050).contains(&sent), "{sent}");
        assert_eq!(peer.agent.counters().consent_missed, 0);
        assert_eq!(peer.states(), [State::Connected]);
        assert!(peer.agent.counters().checks_sent <= 3);
    }
}

#[test]
fn survives_a_fifth_of_all_datagrams_lost() {
    let mut world = World::pair(2, Link::BAD, |_, _| {});
    world.connect();
    // 36 % of consent checks go unanswered; six in a row would end it, so keep to five minutes.
    world.run_for(secs(300));
    assert!(world.peers.iter().all(|peer| peer.agent.selected().is_some()));
}

#[test]
fn disconnected_after_two_misses_failed_after_thirty_seconds() {
    let mut world = World::pair(3, Link::CLEAN, |_, _| {});
    world.connect();
    world.run_for(secs(60));
    world.network.set_link(Link { loss_per_mille: 1000, ..Link::CLEAN });
    let cut = world.now;
    world.run_for(secs(40));
    for peer in &world.peers {
        assert_eq!(peer.states(), [State::Connected, State::Disconnected, State::Failed]);
        let at = |wanted| peer.events.iter().find(|(_, event)| *event == Event::State(wanted)).unwrap().0;
        let disconnected = at(State::Disconnected) - cut;
        assert!(disconnected > secs(8) && disconnected <= secs(18), "{disconnected:?}");
        let failed = at(State::Failed) - cut;
        // A response may have been under way.
        assert!(failed > secs(24) && failed <= millis(30_020), "{failed:?}");
        assert_eq!(peer.agent.selected(), None);
        assert_eq!(peer.agent.next_timeout(), None, "nothing is sent any more");
    }
}

#[test]
fn recovers_from_disconnected() {
    let mut world = World::pair(4, Link::CLEAN, |_, _| {});
    world.connect();
    world.network.set_link(Link { loss_per_mille: 1000, ..Link::CLEAN });
    world.run_for(secs(20));
    world.network.set_link(Link::CLEAN);
    world.run_for(secs(20));
    for peer in &world.peers {
        assert_eq!(peer.states(), [State::Connected, State::Disconnected, State::Connected]);
    }
}

#[test]
fn a_moved_controlled_peer_is_found_again() {
    // A NAT gives the controlled peer another address; it cannot nominate, we can.
    let mut world = World::pair(5, Link::CLEAN, |_, _| {});
    world.connect();
    world.peers[1].sockets[0] = "192.0.2.99:999".parse().unwrap();
    world.run_for(secs(25));
    assert_eq!(world.peers[0].remote(), Some("192.0.2.99:999".parse().unwrap()));
    assert_eq!(world.peers[0].states(), [State::Connected, State::Disconnected, State::Connected]);
}

#[test]
fn reporting_only_never_ends_the_path() {
    for lite in [false, true] {
        let mut world = World::pair(6, Link::CLEAN, |_, two| {
            two.consent_loss = ConsentLoss::Report;
            two.lite = lite;
        });
        world.connect();
        world.network.set_link(Link { loss_per_mille: 1000, ..Link::CLEAN });
        world.run_for(secs(200));
        assert_eq!(world.peers[1].states(), [State::Connected, State::Disconnected]);
        assert!(world.peers[1].agent.selected().is_some());
    }
}

#[test]
fn lite_fails_thirty_seconds_after_the_last_request() {
    let mut world = World::pair(7, Link::CLEAN, |_, two| two.lite = true);
    world.connect();
    world.run_for(secs(60));
    assert_eq!(world.peers[1].agent.state(), State::Connected);
    world.network.set_link(Link { loss_per_mille: 1000, ..Link::CLEAN });
    let cut = world.now;
    world.run_for(secs(40));
    assert_eq!(world.peers[1].states(), [State::Connected, State::Failed]);
    let failed = world.peers[1].events.last().unwrap().0 - cut;
    assert!(failed > secs(23) && failed <= millis(30_020), "{failed:?}");
}

#[test]
fn a_failed_agent_can_restart() {
    let mut world = World::pair(8, Link::CLEAN, |_, _| {});
    world.connect();
    world.network.set_link(Link { loss_per_mille: 1000, ..Link::CLEAN });
    world.run_for(secs(40));
    world.network.set_link(Link::CLEAN);
    for peer in &mut world.peers {
        peer.agent.restart(&mut peer.random);
    }
    world.signal(0, 1);
    world.signal(1, 0);
    world.connect();
    assert!(world.peers.iter().all(|peer| peer.agent.state() == State::Connected));
}

#[test]
fn old_consent_ends_during_a_restart() {
    let mut world = World::pair(9, Link::CLEAN, |_, _| {});
    world.connect();
    world.peers[0].agent.restart(&mut SeededRandom::new(1));
    world.network.set_link(Link { loss_per_mille: 1000, ..Link::CLEAN });
    world.run_for(secs(31));
    assert_eq!(world.peers[0].states(), [State::Connected, State::Disconnected, State::Checking]);
    assert_eq!(world.peers[0].agent.selected(), None);
}

#[test]
fn gives_up_in_bounded_time() {
    let mut world = World::pair(10, Link { loss_per_mille: 1000, ..Link::CLEAN }, |_, _| {});
    world.run_for(secs(100));
    for peer in &world.peers {
        // RFC 8863 §4: not before 39.5 s.
        let (at, event) = peer.events[0];
        assert_eq!(event, Event::State(State::Failed));
        assert!(at >= Time::from_millis(39_500) && at < Time::from_millis(40_100), "{at:?}");
        assert_eq!(peer.agent.next_timeout(), None);
        assert_eq!(peer.agent.counters().checks_retransmitted, 17);
    }
    // Without an end of candidates: as late as the limit.
    let mut world = World::new(
        1,
        Link::CLEAN,
        vec![
            Peer::new(1, Role::Controlling, &["192.0.2.1:1000"], |_| {}),
            Peer::new(2, Role::Controlled, &["192.0.2.2:2000"], |_| {}),
        ],
    );
    world.signal_credentials(0, 1);
    world.run_for(secs(100));
    assert_eq!(world.peers[1].events, [(Time::from_millis(60_000), Event::State(State::Failed))]);
}
