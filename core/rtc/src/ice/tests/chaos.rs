//! Anything in any order: restarts, cuts, moves and late signalling, from a seed. Whatever has
//! happened, a restart of both sides over a working network connects them.

use super::world::*;
use crate::ice::*;
use crate::sim::Link;

const SEEDS: u64 = 150;
const STEPS: usize = 25;

fn check_bounds(world: &World) {
    for peer in &world.peers {
        let agent = &peer.agent;
        assert!(agent.pairs.len() <= PAIRS_MAX);
        assert!(agent.remote_candidates.len() <= REMOTE_CANDIDATES_MAX);
        assert_eq!(agent.state() == State::Failed, agent.failed && agent.selected().is_none());
        assert!(!agent.lite || (agent.role() == Role::Controlled && agent.counters().checks_sent == 0));
        // Only an answered check, or on a lite agent a nomination, makes a path.
        assert!(agent.selected().is_none_or(|pair| pair.validated != agent.lite));
        let validated = |remote| {
            let wanted = |event: &Event| matches!(event, Event::Validated { remote: r, .. } if *r == remote);
            peer.events.iter().any(|(_, event)| wanted(event))
        };
        assert!(agent.selected().is_none_or(|pair| agent.lite || validated(pair.remote)));
    }
}

#[test]
fn always_connects_again() {
    for seed in 0..SEEDS {
        let mut random = SeededRandom::new(seed ^ 0xc0ffee);
        let mut world = World::pair(seed, Link::BAD, |one, two| {
            two.lite = seed % 5 == 4;
            one.role = if seed % 3 == 0 { Role::Controlled } else { Role::Controlling };
        });
        for _ in 0..STEPS {
            let who = (random.next_u64() % 2) as usize;
            match random.next_u64() % 10 {
                0 | 1 => {
                    let peer = &mut world.peers[who];
                    peer.agent.restart(&mut peer.random);
                }
                2 | 3 => world.signal_credentials(who, 1 - who),
                4 => world.signal_candidates(who, 1 - who),
                5 => {
                    let port = 1000 + (random.next_u64() % 60_000) as u16;
                    world.peers[who].sockets[0].set_port(port);
                }
                6 => world.network.set_link(Link { loss_per_mille: 1000, ..Link::CLEAN }),
                7 => world.network.set_link(Link::BAD),
                8 => {
                    let role = world.peers[who].agent.role().other();
                    world.peers[who].agent.set_role(role);
                }
                _ => world.signal(who, 1 - who),
            }
            world.run_for(millis(random.next_u64() % 12_000));
            check_bounds(&world);
        }
        world.network.set_link(Link::CLEAN);
        for peer in &mut world.peers {
            // Where both have moved neither knows the other's address.
            peer.sockets[0] = peer.agent.local[0].address;
            peer.agent.restart(&mut peer.random);
        }
        world.signal(0, 1);
        world.signal(1, 0);
        let connected = world.run(secs(10), World::all_connected);
        let counters: Vec<_> = world.peers.iter().map(|peer| peer.agent.counters()).collect();
        assert!(connected, "seed {seed}: {counters:#?}");
        world.run_for(secs(60));
        check_bounds(&world);
        for peer in &world.peers {
            assert_eq!(peer.agent.state(), State::Connected, "seed {seed}");
        }
        let [one, two] = [0, 1].map(|index| world.peers[index].agent.selected().unwrap());
        assert_eq!((one.remote, two.remote), (world.peers[1].sockets[0], world.peers[0].sockets[0]));
    }
}
