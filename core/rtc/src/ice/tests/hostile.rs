//! Whatever arrives: no panic, bounds kept, and nobody without the password moves anything.

use bifrons_wire::stun::{BINDING, Class, Message, Writer};
use proptest::prelude::*;

use super::forge::*;
use super::world::*;
use crate::Time;
use crate::ice::*;

const PEER: &str = "192.0.2.2:2000";

fn connected() -> Peer {
    let mut peer = agent(Role::Controlled);
    select(&mut peer, Time::ZERO, address(PEER));
    peer
}

/// A request and a response that the agent would take, from where it would take them.
fn good_messages(peer: &mut Peer) -> [Vec<u8>; 2] {
    let mut check = vec![];
    for second in 1..10 {
        if let Some((_, _, consent)) = tick(peer, Time::from_millis(second * 1000)).pop() {
            check = consent;
            break;
        }
    }
    let nominate = request(&peer.agent, [1; 12], |writer| {
        writer.ice_controlling(1).use_candidate();
    });
    [nominate, response(&check, address("192.0.2.1:1000"))]
}

fn offer(peer: &mut Peer, source: &str, bytes: &[u8]) {
    if let Ok(message) = Message::parse(bytes) {
        let now = Time::from_millis(10_000);
        peer.agent.handle_stun(now, 10, address(source), &message, &mut |_: u8, _, _: &[u8]| {});
        peer.poll(now);
    }
}

#[test]
fn strangers_get_no_word_and_move_nothing() {
    let mut peer = connected();
    let ufrag = peer.agent.local_credentials().ufrag().to_owned();
    let password = peer.agent.local_credentials().password().to_owned();
    let nominate = |writer: &mut Writer<'_>| {
        writer.ice_controlling(u64::MAX).use_candidate();
    };
    let mut unsigned = [0; 100];
    let mut writer = Writer::new(&mut unsigned, Class::Request, BINDING, [1; 12]);
    writer.username(&[ufrag.as_bytes(), b":x"]).priority(1).use_candidate();
    let len = writer.fingerprint().finish().unwrap();
    let nameless = {
        let mut buffer = [0; 100];
        let mut writer = Writer::new(&mut buffer, Class::Request, BINDING, [1; 12]);
        writer.use_candidate();
        let len = finish(&mut writer, &password);
        buffer[..len].to_vec()
    };
    let messages = [
        unsigned[..len].to_vec(),
        nameless,
        signed(&ufrag, "wrongwrongwrongwrongwrong", [1; 12], nominate),
        signed("AAAAAAAAAAAA", &password, [1; 12], nominate),
        signed(&ufrag[..11], &password, [1; 12], nominate),
        signed(&"u".repeat(250), &password, [1; 12], nominate),
    ];
    for message in &messages {
        let (outcome, sent) = give(&mut peer, Time::ZERO, address("203.0.113.66:666"), message);
        assert_eq!((outcome, sent.len()), (Outcome::Dropped, 0));
    }
    assert_eq!(peer.remote(), Some(address(PEER)));
    assert!(peer.agent.pairs.is_empty());
    let counters = peer.agent.counters();
    assert_eq!((counters.requests_unsigned, counters.requests_wrong_integrity), (2, 1));
    assert_eq!(counters.requests_unknown_username, 3);
}

#[test]
fn answers_are_not_longer_than_requests() {
    let mut peer = agent(Role::Controlled);
    for write in [
        (|_: &mut Writer<'_>| {}) as fn(&mut Writer<'_>),
        |writer| {
            writer.ice_controlled(0);
        },
        |writer| {
            writer.ice_controlled(u64::MAX);
        },
        |writer| {
            writer.ice_controlled(0).ice_controlling(0);
        },
        |writer| {
            for _ in 0..12 {
                writer.attribute(0x7000, &[]);
            }
        },
    ] {
        let request = request(&peer.agent, [1; 12], write);
        let (_, sent) = give(&mut peer, Time::ZERO, address(PEER), &request);
        assert_eq!(sent.len(), 1);
        assert!(sent[0].2.len() <= request.len(), "{} > {}", sent[0].2.len(), request.len());
    }
}

proptest! {
    /// Octets changed, cut off or added without knowing the password.
    #[test]
    fn damaged_messages_change_nothing(
        which in 0usize..2,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 0..4),
        cut in any::<prop::sample::Index>(),
        fix_length: bool,
        append in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut peer = connected();
        let mut bytes = good_messages(&mut peer)[which].clone();
        let original = bytes.clone();
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend(append);
        for (at, by) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= by;
            }
        }
        if fix_length && bytes.len() >= 20 {
            bytes.truncate(bytes.len() / 4 * 4);
            let length = (bytes.len() - 20) as u16;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
        }
        if bytes != original {
            offer(&mut peer, "203.0.113.66:666", &bytes);
            prop_assert_eq!(peer.remote(), Some(address(PEER)));
            prop_assert_eq!(peer.agent.role(), Role::Controlled);
            prop_assert_eq!(peer.agent.counters().selections, 1);
        }
    }

    /// A peer that knows the password and writes nonsense: bounds hold.
    #[test]
    fn signed_nonsense_keeps_the_bounds(
        messages in proptest::collection::vec(
            (
                0..4u8,
                any::<bool>(),
                proptest::collection::vec((any::<u16>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..6),
                proptest::collection::vec(0..9u8, 0..5),
                any::<u8>(),
                any::<bool>(),
            ),
            1..40,
        ),
        lite: bool,
    ) {
        let mut peer = Peer::new(1, Role::Controlled, &["192.0.2.1:1000", "192.0.2.1:1001"], |config| config.lite = lite);
        peer.agent.set_remote_credentials(RemoteCredentials::new(THEIR_UFRAG, THEIR_PASSWORD).unwrap());
        let ufrag = peer.agent.local_credentials().ufrag().to_owned();
        let password = peer.agent.local_credentials().password().to_owned();
        let mut checks = Sent::new();
        for (step, (class, known_id, odd, usual, port, tick_too)) in messages.into_iter().enumerate() {
            let now = Time::from_millis(step as u64 * 400);
            let class = [Class::Request, Class::Request, Class::Success, Class::Error][usize::from(class)];
            let last = checks.last().filter(|_| known_id);
            let id = last.map_or([3; 12], |(_, _, check)| Message::parse(check).unwrap().transaction_id());
            let source = match last {
                Some((_, to, _)) => *to,
                None => address(&format!("192.0.2.2:{}", 1 + u16::from(port))),
            };
            let mut buffer = [0; 1000];
            let mut writer = Writer::new(&mut buffer, class, BINDING, id);
            writer.username(&[ufrag.as_bytes(), b":x"]);
            for attribute in usual {
                match attribute {
                    0 => writer.use_candidate(),
                    1 => writer.ice_controlling(step as u64),
                    2 => writer.ice_controlled(step as u64),
                    3 => writer.ice_controlled(u64::MAX),
                    4 => writer.priority(port.into()),
                    5 => writer.error_code(487, "Role Conflict"),
                    6 => writer.error_code(500, "?"),
                    _ => writer.xor_mapped_address(source),
                };
            }
            for (kind, value) in &odd {
                writer.attribute(*kind, &[value]);
            }
            let own = matches!(class, Class::Request);
            let len = finish(&mut writer, if own { &password } else { THEIR_PASSWORD });
            if let Ok(message) = Message::parse(&buffer[..len]) {
                let mut out = |_: u8, _, _: &[u8]| {};
                peer.agent.handle_stun(now, 10 + port % 2, source, &message, &mut out);
                peer.poll(now);
            }
            if tick_too {
                checks.extend(tick(&mut peer, now));
            }
            prop_assert!(peer.agent.pairs.len() <= PAIRS_MAX);
            prop_assert!(peer.agent.remote_candidates.len() <= REMOTE_CANDIDATES_MAX);
            prop_assert!(!lite || (checks.is_empty() && peer.agent.role() == Role::Controlled));
        }
    }
}
