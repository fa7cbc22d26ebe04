//! Faults seen in other agents; each has a test that ours does not have it.

use std::collections::HashSet;

use bifrons_wire::stun::{Attribute, Class, Message};

use super::forge::*;
use super::world::*;
use crate::Time;
use crate::ice::*;
use crate::sim::Link;

const PEER: &str = "192.0.2.2:2000";

fn code_of(answer: &[u8]) -> Option<u16> {
    let message = Message::parse(answer).unwrap();
    message.attributes().find_map(|attribute| match attribute.unwrap() {
        Attribute::ErrorCode(error) => Some(error.code),
        _ => None,
    })
}

#[test]
fn defect_01_a_remote_ufrag_of_256_characters_is_written_into_checks() {
    let mut peer = Peer::new(1, Role::Controlling, &["192.0.2.1:1000"], |_| {});
    let ufrag = "u".repeat(256);
    peer.agent.set_remote_credentials(RemoteCredentials::new(&ufrag, &"p".repeat(256)).unwrap());
    add(&mut peer, "candidate:1 1 udp 1 192.0.2.2 2000 typ host").unwrap();
    let sent = tick(&mut peer, Time::ZERO);
    let message = Message::parse(&sent[0].2).unwrap();
    let expected = format!("{ufrag}:{}", peer.agent.local_credentials().ufrag());
    assert_eq!(message.username(), Some(expected.as_bytes()));
}

#[test]
fn defect_02_secrets_come_from_the_system_and_never_repeat() {
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let mut random = OsRandom::new().unwrap();
        let ids = TransactionIds::from_random(&mut random);
        let config = AgentConfig {
            role: Role::Controlling,
            lite: false,
            token: 1,
            tie_breaker: 1,
            local: vec![],
            transaction_ids: ids,
            policy: AddressPolicy::default(),
            consent_loss: ConsentLoss::Fail,
            timers: Timers::default(),
        };
        let mut agent = Agent::new(config, &mut random);
        for _ in 0..2 {
            assert!(seen.insert(agent.local_credentials().ufrag().to_owned()));
            assert!(seen.insert(agent.local_credentials().password().to_owned()));
            agent.restart(&mut random);
        }
        assert!(seen.insert(format!("{:?}", ids.make(1, random.next_u64()))));
    }
}

#[test]
fn defect_03_a_response_from_elsewhere_is_refused() {
    let mut peer = agent(Role::Controlling);
    add(&mut peer, "candidate:1 1 udp 1 192.0.2.2 2000 typ host").unwrap();
    let check = tick(&mut peer, Time::ZERO).remove(0).2;
    let answer = response(&check, address("192.0.2.1:1000"));
    let now = Time::from_millis(10);
    for source in ["192.0.2.2:2001", "192.0.2.3:2000"] {
        assert_eq!(give(&mut peer, now, address(source), &answer).0, Outcome::Dropped);
    }
    assert_eq!(peer.agent.counters().responses_wrong_address, 2);
    assert_eq!(give_at(&mut peer, now, 11, address(PEER), &answer).0, Outcome::Dropped);
    assert!(peer.events.is_empty());
    // The right one still counts, and once only.
    assert_eq!(give(&mut peer, now, address(PEER), &answer).0, Outcome::Accepted);
    assert_eq!(give(&mut peer, now, address(PEER), &answer).0, Outcome::Dropped);
    assert_eq!(peer.agent.counters().responses_unknown, 1);
}

#[test]
fn defect_04_learned_state_is_bounded() {
    let mut peer = agent(Role::Controlled);
    for number in 0..2000 {
        let line = format!("candidate:1 1 udp 1 192.0.2.2 {} typ host", 2000 + number % 2);
        let _ = add(&mut peer, &line);
        assert_eq!(
            add(&mut peer, "candidate:1 1 tcp 1 192.0.2.2 9 typ host tcptype active"),
            Err(Ignored::Transport)
        );
    }
    assert_eq!(peer.agent.remote_candidates.len(), 2);
    assert_eq!(peer.agent.counters().candidates_ignored, 1998);
    let (pairs, candidates) = (peer.agent.pairs.capacity(), peer.agent.remote_candidates.capacity());
    for number in 0..20_000u32 {
        let source = format!("10.{}.{}.{}:999", number >> 16, number >> 8 & 255, number & 255);
        let request = request(&peer.agent, [1; 12], |writer| {
            writer.ice_controlling(1);
        });
        assert_eq!(give(&mut peer, Time::ZERO, address(&source), &request).0, Outcome::Answered);
    }
    assert_eq!(peer.agent.remote_candidates.len(), 2 + PEER_REFLEXIVE_MAX);
    assert!(peer.agent.pairs.len() <= PAIRS_MAX);
    assert_eq!(peer.agent.counters().sources_not_learned, 20_000 - PEER_REFLEXIVE_MAX as u64);
    assert_eq!(pairs, peer.agent.pairs.capacity(), "nothing was allocated");
    assert_eq!(candidates, peer.agent.remote_candidates.capacity(), "nothing was allocated");
    // One id answered again and again with other mapped addresses adds nothing.
    let check = tick(&mut peer, Time::ZERO).remove(0);
    let local = peer.agent.local.len();
    for port in 1..1000 {
        give(&mut peer, Time::ZERO, check.1, &response(&check.2, address(&format!("192.0.2.9:{port}"))));
    }
    assert_eq!(peer.agent.counters().responses_accepted, 1);
    assert_eq!(peer.agent.local.len(), local);
}

#[test]
fn defect_04_signalled_candidates_and_pairs_are_bounded() {
    let addresses = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.1:4"];
    let mut peer = Peer::new(1, Role::Controlled, &addresses, |_| {});
    let mut full = 0;
    for port in 1..100 {
        let line = format!("candidate:1 1 udp {port} 198.51.100.2 {port} typ host");
        full += u32::from(add(&mut peer, &line) == Err(Ignored::Full));
    }
    assert_eq!(full as usize, 99 - REMOTE_CANDIDATES_MAX);
    assert_eq!(peer.agent.pairs.len(), PAIRS_MAX);
    // Of 64 the best 32 are left: those of the eight best candidates.
    assert!(peer.agent.pairs.iter().all(|pair| pair.remote_priority > 8));
}

#[test]
fn defect_05_requests_do_not_renew_consent() {
    let mut peer = agent(Role::Controlled);
    select(&mut peer, Time::ZERO, address(PEER));
    let mut sent = vec![];
    for second in 1..40 {
        let now = Time::from_millis(second * 1000);
        let request = request(&peer.agent, [second as u8; 12], |writer| {
            writer.ice_controlling(1).use_candidate();
        });
        give(&mut peer, now, address(PEER), &request);
        sent.extend(tick(&mut peer, now));
        assert_eq!(peer.agent.selected().is_some(), second < 30, "second {second}");
    }
    assert_eq!(peer.states(), [State::Connected, State::Disconnected, State::Failed]);
    assert!((4..=8).contains(&sent.len()), "{}", sent.len());
}

#[test]
fn defect_06_a_later_nomination_of_a_lower_pair_wins() {
    let mut peer = agent(Role::Controlled);
    add(&mut peer, "candidate:1 1 udp 2130706431 192.0.2.2 2000 typ host").unwrap();
    select(&mut peer, Time::ZERO, address(PEER));
    let second = Time::from_millis(1000);
    select(&mut peer, second, address("192.0.2.3:3000"));
    assert_eq!(peer.agent.counters().selections, 2);
    // And back again.
    select(&mut peer, second + secs(1), address(PEER));
}

#[test]
fn defect_07_nomination_takes_effect_at_once_and_checks_are_paced() {
    // Lite: with the request.
    let mut lite = Peer::new(1, Role::Controlled, &["192.0.2.1:1000"], |config| config.lite = true);
    let nominate = request(&lite.agent, [1; 12], |writer| {
        writer.ice_controlling(1).use_candidate();
    });
    give(&mut lite, Time::ZERO, address(PEER), &nominate);
    assert_eq!(lite.remote(), Some(address(PEER)));

    // Controlled: a valid pair with the request, another with the response (in `select`).
    let mut peer = agent(Role::Controlled);
    add(&mut peer, "candidate:1 1 udp 1 192.0.2.2 2000 typ host").unwrap();
    let check = tick(&mut peer, Time::ZERO).remove(0).2;
    give(&mut peer, Time::ZERO, address(PEER), &response(&check, address("192.0.2.1:1000")));
    assert_eq!(peer.remote(), None);
    let nominate = request(&peer.agent, [1; 12], |writer| {
        writer.ice_controlling(1).use_candidate();
    });
    give(&mut peer, Time::ZERO, address(PEER), &nominate);
    assert_eq!(peer.remote(), Some(address(PEER)));

    // Pace: however often the driver calls.
    let mut peer = agent(Role::Controlling);
    for port in 1..=10 {
        add(&mut peer, &format!("candidate:1 1 udp 1 192.0.2.2 {port} typ host")).unwrap();
    }
    let mut sent = 0;
    for _ in 0..60 {
        sent += tick(&mut peer, Time::ZERO).len();
    }
    assert_eq!(sent, 1);
    assert_eq!(peer.agent.next_timeout(), Some(Time::from_millis(50)));
    for at_ms in 0..500 {
        sent += tick(&mut peer, Time::from_millis(at_ms)).len();
    }
    assert_eq!(sent, 10);
}

#[test]
fn defect_08_the_old_generation_answers_and_keeps_consent() {
    let mut peer = agent(Role::Controlled);
    select(&mut peer, Time::ZERO, address(PEER));
    let local = peer.agent.local_credentials().clone();
    peer.agent.restart(&mut SeededRandom::new(5));
    let old = signed(local.ufrag(), local.password(), [1; 12], |writer| {
        writer.ice_controlling(1);
    });
    assert_eq!(give(&mut peer, Time::ZERO, address(PEER), &old).0, Outcome::Answered);
    let mut checks = 0;
    for second in 0..60 {
        let now = Time::from_millis(second * 1000);
        for (_, to, check) in tick(&mut peer, now) {
            checks += 1;
            let expected = format!("{THEIR_UFRAG}:{}", local.ufrag());
            assert_eq!(Message::parse(&check).unwrap().username(), Some(expected.as_bytes()));
            assert_eq!(give(&mut peer, now, to, &response(&check, to)).0, Outcome::Accepted);
        }
    }
    assert!(checks >= 9);
    assert_eq!(peer.remote(), Some(address(PEER)));
    // With the new generation's path the old credentials end.
    peer.agent.set_remote_credentials(RemoteCredentials::new(THEIR_UFRAG, THEIR_PASSWORD).unwrap());
    select(&mut peer, Time::from_millis(60_000), address("192.0.2.3:3000"));
    assert_eq!(give(&mut peer, Time::from_millis(60_000), address(PEER), &old).0, Outcome::Dropped);
    assert_eq!(peer.agent.counters().requests_unknown_username, 1);
}

#[test]
fn defect_09_fingerprint_unknown_attributes_and_double_roles_are_noticed() {
    let mut peer = agent(Role::Controlled);
    let mut wrong = request(&peer.agent, [1; 12], |_| {});
    *wrong.last_mut().unwrap() ^= 1;
    let (outcome, sent) = give(&mut peer, Time::ZERO, address(PEER), &wrong);
    assert_eq!((outcome, sent.len()), (Outcome::Dropped, 0));
    assert_eq!(peer.agent.counters().wrong_fingerprint, 1);

    let unknown = request(&peer.agent, [1; 12], |writer| {
        writer.attribute(0x7777, &[b"what"]).attribute(0xc057, &[b"okay"]);
    });
    let sent = give(&mut peer, Time::ZERO, address(PEER), &unknown).1;
    assert_eq!(code_of(&sent[0].2), Some(420));
    let answer = Message::parse(&sent[0].2).unwrap();
    let listed = answer.attributes().find_map(|attribute| match attribute.unwrap() {
        Attribute::UnknownAttributes(kinds) => Some(kinds.collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(listed, Some(vec![0x7777]));

    let both = request(&peer.agent, [1; 12], |writer| {
        writer.ice_controlling(1).ice_controlled(2);
    });
    let sent = give(&mut peer, Time::ZERO, address(PEER), &both).1;
    assert_eq!(code_of(&sent[0].2), Some(400));
    assert_eq!(peer.agent.role(), Role::Controlled);

    // 420 only for those who know the password.
    let local = peer.agent.local_credentials().clone();
    let stranger = signed(local.ufrag(), "wrongwrongwrongwrongwrong", [1; 12], |writer| {
        writer.attribute(0x7777, &[b"what"]);
    });
    assert_eq!(give(&mut peer, Time::ZERO, address(PEER), &stranger).1.len(), 0);
    assert!(peer.agent.pairs.is_empty());
}

#[test]
fn defect_10_requests_before_the_remote_credentials_are_answered() {
    let mut peer = Peer::new(1, Role::Controlled, &["192.0.2.1:1000"], |_| {});
    let early = request(&peer.agent, [7; 12], |writer| {
        writer.ice_controlling(1);
    });
    let (outcome, sent) = give(&mut peer, Time::ZERO, address(PEER), &early);
    assert_eq!(outcome, Outcome::Answered);
    let answer = Message::parse(&sent[0].2).unwrap();
    assert_eq!((answer.class(), answer.transaction_id()), (Class::Success, [7; 12]));
    let key =
        bifrons_wire::stun::IntegrityKey::short_term(peer.agent.local_credentials().password().as_bytes());
    assert!(answer.verify_integrity(&key));
    assert_eq!(answer.attributes().next(), Some(Ok(Attribute::XorMappedAddress(address(PEER)))));
    assert_eq!(peer.agent.next_timeout(), None);
    // What it taught is checked once the credentials are there.
    peer.agent.set_remote_credentials(RemoteCredentials::new(THEIR_UFRAG, THEIR_PASSWORD).unwrap());
    assert_eq!(tick(&mut peer, Time::ZERO)[0].1, address(PEER));
}

#[test]
fn defect_11_no_checks_to_addresses_that_cannot_be() {
    let mut peer = agent(Role::Controlling);
    peer.agent.policy = AddressPolicy::default();
    for (line, reason) in [
        ("candidate:1 1 udp 1 255.255.255.255 9 typ host", Ignored::Address),
        ("candidate:1 1 udp 1 224.0.0.1 9 typ host", Ignored::Address),
        ("candidate:1 1 udp 1 0.0.0.0 0 typ host", Ignored::Address),
        ("candidate:1 1 udp 1 192.0.2.2 0 typ host", Ignored::Address),
        ("candidate:1 1 udp 1 127.0.0.1 9 typ host", Ignored::Loopback),
        ("candidate:1 1 udp 1 192.0.2.1 1000 typ host", Ignored::Own),
        ("candidate:1 1 udp 1 2001:db8::1 9 typ host", Ignored::Family),
        ("candidate:1 2 udp 1 192.0.2.2 9 typ host", Ignored::Component),
        ("candidate:1 1 udp 1 0b5d.local 9 typ host", Ignored::Name),
    ] {
        assert_eq!(add(&mut peer, line), Err(reason), "{line}");
    }
    assert!(tick(&mut peer, Time::ZERO).is_empty());
    // Nor are such sources learned.
    let request = request(&peer.agent, [1; 12], |writer| {
        writer.ice_controlled(0);
    });
    give(&mut peer, Time::ZERO, address("127.0.0.1:9"), &request);
    assert_eq!(peer.agent.counters().sources_not_learned, 1);
    assert!(tick(&mut peer, Time::ZERO).is_empty());
}

#[test]
fn defect_12_the_end_of_candidates_leads_to_failure() {
    let mut world = World::pair(12, Link { loss_per_mille: 1000, ..Link::CLEAN }, |_, _| {});
    assert!(world.run(secs(41), |world| world.peers.iter().all(|peer| peer.agent.state() == State::Failed)));
    assert!(world.peers.iter().all(|peer| peer.states() == [State::Failed]));
}
