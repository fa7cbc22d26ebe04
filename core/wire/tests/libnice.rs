//! Our STUN messages before libnice's STUN code, and its before ours.

use bifrons_nice::{Nice, StunOracle};
use bifrons_wire::stun::*;

const PASSWORD: &str = "passwordpasswordpassword";

fn oracle() -> Option<StunOracle> {
    match Nice::load() {
        Ok(nice) => Some(StunOracle::new(nice, PASSWORD)),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn request(password: &str) -> Vec<u8> {
    let mut buffer = [0; 200];
    let len = Writer::new(&mut buffer, Class::Request, BINDING, [0x5a; 12])
        .username(&[b"left", b":", b"right"])
        .priority(77)
        .ice_controlling(0x0123_4567_89ab_cdef)
        .use_candidate()
        .integrity(&IntegrityKey::short_term(password.as_bytes()))
        .fingerprint()
        .finish()
        .unwrap();
    buffer[..len].to_vec()
}

#[test]
fn our_requests_are_taken_and_answered() {
    let Some(mut oracle) = oracle() else { return };
    assert!(oracle.accepts(&request(PASSWORD)));
    assert!(!oracle.accepts(&request("anotheranotheranother...")));
    let mut damaged = request(PASSWORD);
    damaged[30] ^= 1;
    assert!(!oracle.accepts(&damaged));

    let source = "192.0.2.7:4321".parse().unwrap();
    let answer = oracle.answer(&request(PASSWORD), source).unwrap();
    let message = Message::parse(&answer).unwrap();
    assert_eq!((message.class(), message.transaction_id()), (Class::Success, [0x5a; 12]));
    assert_eq!(message.fingerprint(), Fingerprint::Valid);
    assert!(message.verify_integrity(&IntegrityKey::short_term(PASSWORD.as_bytes())));
    let mapped = message.attributes().find_map(|attribute| match attribute.unwrap() {
        Attribute::XorMappedAddress(address) => Some(address),
        _ => None,
    });
    assert_eq!(mapped, Some(source.into()));
}

#[test]
fn its_checks_are_read_and_our_answers_taken() {
    let Some(mut oracle) = oracle() else { return };
    let key = IntegrityKey::short_term(PASSWORD.as_bytes());
    let check = oracle.check("left:right", true, true, 1234, 0xfeed);
    let message = Message::parse(&check).unwrap();
    assert_eq!(message.fingerprint(), Fingerprint::Valid);
    assert!(message.verify_integrity(&key));
    let attributes: Vec<_> = message.attributes().map(Result::unwrap).collect();
    for expected in [
        Attribute::Username(b"left:right"),
        Attribute::Priority(1234),
        Attribute::UseCandidate,
        Attribute::IceControlling(0xfeed),
    ] {
        assert!(attributes.contains(&expected), "{expected:?} in {attributes:?}");
    }

    let answer = |id: TransactionId| {
        let mut buffer = [0; 100];
        let len = Writer::new(&mut buffer, Class::Success, BINDING, id)
            .xor_mapped_address("[2001:db8::1]:9".parse().unwrap())
            .integrity(&key)
            .fingerprint()
            .finish()
            .unwrap();
        buffer[..len].to_vec()
    };
    assert!(!oracle.accepts(&answer([1; 12])), "answers nothing");
    assert!(oracle.accepts(&answer(message.transaction_id())));
}
