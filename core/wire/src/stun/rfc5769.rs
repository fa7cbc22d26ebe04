//! The vectors of RFC 5769 §2.1–2.3, and properties that they do not reach.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const ID: TransactionId = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

const REQUEST: &[u8] = b"\
    \x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x10STUN test client\
    \x00\x24\x00\x04\x6e\x00\x01\xff\
    \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
    \x00\x06\x00\x09evtj:h6vY   \
    \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
    \x80\x28\x00\x04\xe5\x7a\x3b\xcf";

const RESPONSE_V4: &[u8] = b"\
    \x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0btest vector \
    \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
    \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
    \x80\x28\x00\x04\xc0\x7d\x4c\x96";

const RESPONSE_V6: &[u8] = b"\
    \x01\x01\x00\x48\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0btest vector \
    \x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9\
    \x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41\
    \x80\x28\x00\x04\xc8\xfb\x0b\x4c";

#[test]
fn sample_request() {
    let message = Message::parse(REQUEST).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, BINDING));
    assert_eq!(message.transaction_id(), ID);
    assert_eq!(message.fingerprint(), Fingerprint::Valid);
    assert!(message.verify_integrity(&IntegrityKey::short_term(PASSWORD)));
    assert!(!message.verify_integrity(&IntegrityKey::short_term(b"VOkJxbRl1RmTxUk/WvJxBT")));
    assert_eq!(message.username(), Some(&b"evtj:h6vY"[..]));
    let attributes: Vec<_> = message.attributes().map(Result::unwrap).collect();
    assert_eq!(
        attributes,
        [
            Attribute::Software(b"STUN test client"),
            Attribute::Priority(0x6e00_01ff),
            Attribute::IceControlled(0x932f_f9b1_5126_3b36),
            Attribute::Username(b"evtj:h6vY"),
        ]
    );
}

#[test]
fn sample_responses() {
    for (bytes, address) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let address: SocketAddr = address.parse().unwrap();
        let message = Message::parse(bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.fingerprint(), Fingerprint::Valid);
        assert!(message.verify_integrity(&IntegrityKey::short_term(PASSWORD)));
        let attributes: Vec<_> = message.attributes().map(Result::unwrap).collect();
        assert_eq!(attributes, [Attribute::Software(b"test vector"), Attribute::XorMappedAddress(address)]);
    }
}

/// The vectors pad with spaces, we with zeros; the reader takes both.
#[test]
fn written_request_differs_from_the_sample_in_padding_only() {
    let mut buffer = [0; 200];
    let key = IntegrityKey::short_term(PASSWORD);
    let len = Writer::new(&mut buffer, Class::Request, BINDING, ID)
        .software("STUN test client")
        .priority(0x6e00_01ff)
        .ice_controlled(0x932f_f9b1_5126_3b36)
        .username(&[b"evtj", b":", b"h6vY"])
        .integrity(&key)
        .fingerprint()
        .finish()
        .unwrap();
    assert_eq!(len, REQUEST.len());
    let padding = REQUEST.len() - 24 - 8 - 3;
    assert_eq!(buffer[..padding], REQUEST[..padding]);
    let message = Message::parse(&buffer[..len]).unwrap();
    assert!(message.verify_integrity(&key));
    assert_eq!(message.fingerprint(), Fingerprint::Valid);
}

#[test]
fn what_follows_integrity_is_not_seen() {
    let key = IntegrityKey::short_term(PASSWORD);
    let mut buffer = [0; 200];
    let mut writer = Writer::new(&mut buffer, Class::Request, BINDING, ID);
    writer.priority(1).integrity(&key).use_candidate();
    let len = writer.fingerprint().finish().unwrap();
    let message = Message::parse(&buffer[..len]).unwrap();
    assert!(message.verify_integrity(&key));
    assert_eq!(message.attributes().map(Result::unwrap).collect::<Vec<_>>(), [Attribute::Priority(1)]);
}

#[test]
fn errors_name_what_is_wrong() {
    let parse = |bytes: &[u8]| Message::parse(bytes).unwrap_err();
    assert_eq!(parse(&REQUEST[..19]), StunError::Short);
    assert_eq!(parse(&REQUEST[..REQUEST.len() - 1]), StunError::Length);
    let change = |at: usize, to: u8| {
        let mut bytes = REQUEST.to_vec();
        bytes[at] = to;
        Message::parse(&bytes).unwrap_err()
    };
    assert_eq!(change(0, 0x40), StunError::NotStun);
    assert_eq!(change(4, 0x22), StunError::NotStun);
    assert_eq!(change(3, 0x57), StunError::Length);
    assert_eq!(change(22, 1), StunError::AttributeLength { kind: kind::SOFTWARE });
    assert_eq!(change(REQUEST.len() - 5, 0), StunError::Order);

    let mut buffer = [0; 400];
    let mut writer = Writer::new(&mut buffer, Class::Request, BINDING, ID);
    for _ in 0..=ATTRIBUTES_MAX {
        writer.use_candidate();
    }
    let len = writer.finish().unwrap();
    assert_eq!(parse(&buffer[..len]), StunError::TooManyAttributes);

    let mut writer = Writer::new(&mut buffer, Class::Request, BINDING, ID);
    let len = writer.fingerprint().use_candidate().finish().unwrap();
    assert_eq!(parse(&buffer[..len]), StunError::Order);
}

#[test]
fn attribute_values_are_checked() {
    for (kind, value) in [
        (kind::PRIORITY, &[0u8; 3][..]),
        (kind::USE_CANDIDATE, &[0; 4]),
        (kind::ICE_CONTROLLED, &[0; 4]),
        (kind::ICE_CONTROLLING, &[0; 12]),
        (kind::XOR_MAPPED_ADDRESS, &[0, 1, 0, 0, 0, 0, 0]),
        (kind::XOR_MAPPED_ADDRESS, &[0, 3, 0, 0, 0, 0, 0, 0]),
        (kind::MAPPED_ADDRESS, &[0, 2, 0, 0, 0, 0, 0, 0]),
        (kind::ERROR_CODE, &[0, 0, 7, 0]),
        (kind::ERROR_CODE, &[0, 0, 4]),
        (kind::USERNAME, &[b'a'; 514]),
    ] {
        let mut buffer = [0; 600];
        let mut writer = Writer::new(&mut buffer, Class::Success, BINDING, ID);
        let len = writer.attribute(kind, &[value]).finish().unwrap();
        let message = Message::parse(&buffer[..len]).unwrap();
        let error = message.attributes().next().unwrap().unwrap_err();
        assert_eq!(error, StunError::MalformedAttribute { kind }, "{value:?}");
    }
}

#[test]
fn error_response_round_trip() {
    let mut buffer = [0; 100];
    let len = Writer::new(&mut buffer, Class::Error, BINDING, ID)
        .error_code(error_code::UNKNOWN_ATTRIBUTE, "Unknown Attribute")
        .unknown_attributes(&[0x7777, 0x0002, 0x0003])
        .finish()
        .unwrap();
    let message = Message::parse(&buffer[..len]).unwrap();
    assert_eq!(message.class(), Class::Error);
    let mut attributes = message.attributes().map(Result::unwrap);
    let expected = ErrorCode { code: 420, reason: b"Unknown Attribute" };
    assert_eq!(attributes.next(), Some(Attribute::ErrorCode(expected)));
    let Some(Attribute::UnknownAttributes(kinds)) = attributes.next() else {
        panic!("no UNKNOWN-ATTRIBUTES")
    };
    assert_eq!(kinds.collect::<Vec<_>>(), [0x7777, 2, 3]);
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
    ]
}

proptest! {
    #[test]
    fn any_octets_are_read_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), framed: bool) {
        if framed && bytes.len() >= HEADER_LEN {
            bytes.truncate(bytes.len() / 4 * 4);
            let length = (bytes.len() - HEADER_LEN) as u16;
            bytes[0] &= 0x3f;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        }
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert!(message.attributes().count() <= ATTRIBUTES_MAX);
            message.username();
            message.fingerprint();
            let valid = message.verify_integrity(&IntegrityKey::short_term(b"x"));
            prop_assert!(!valid);
        }
    }

    #[test]
    fn one_changed_octet_is_noticed(at in 0..REQUEST.len(), by in 1..=255u8) {
        let mut bytes = REQUEST.to_vec();
        bytes[at] ^= by;
        let accepted = Message::parse(&bytes).is_ok_and(|message| {
            message.fingerprint() != Fingerprint::Wrong
                && message.verify_integrity(&IntegrityKey::short_term(PASSWORD))
        });
        // Only the change that turns FINGERPRINT itself into another attribute passes.
        prop_assert!(!accepted || (REQUEST.len() - 8..REQUEST.len() - 6).contains(&at));
    }

    #[test]
    fn written_is_read(
        id: TransactionId,
        class in 0..4u8,
        method in 0..0x1000u16,
        username in proptest::collection::vec(any::<u8>(), 0..513),
        priority: u32,
        tie_breaker: u64,
        mapped in address(),
        password in proptest::collection::vec(any::<u8>(), 0..256),
    ) {
        let class = [Class::Request, Class::Indication, Class::Success, Class::Error][usize::from(class)];
        let key = IntegrityKey::short_term(&password);
        let mut buffer = [0xff; 700];
        let len = Writer::new(&mut buffer, class, method, id)
            .username(&[&username])
            .priority(priority)
            .ice_controlling(tie_breaker)
            .use_candidate()
            .xor_mapped_address(mapped)
            .integrity(&key)
            .fingerprint()
            .finish()
            .unwrap();
        let message = Message::parse(&buffer[..len]).unwrap();
        prop_assert_eq!((message.class(), message.method(), message.transaction_id()), (class, method, id));
        prop_assert!(message.verify_integrity(&key));
        prop_assert_eq!(message.fingerprint(), Fingerprint::Valid);
        let attributes: Vec<_> = message.attributes().map(Result::unwrap).collect();
        prop_assert_eq!(&attributes[..], &[
            Attribute::Username(&username),
            Attribute::Priority(priority),
            Attribute::IceControlling(tie_breaker),
            Attribute::UseCandidate,
            Attribute::XorMappedAddress(mapped),
        ][..]);
    }

    #[test]
    fn a_small_buffer_is_an_error(size in 0usize..100) {
        let mut buffer = vec![0; size];
        let result = Writer::new(&mut buffer, Class::Request, BINDING, ID)
            .username(&[b"evtj:h6vY"])
            .priority(7)
            .unknown_attributes(&[1])
            .integrity(&IntegrityKey::short_term(PASSWORD))
            .fingerprint()
            .finish();
        let needed = 20 + 16 + 8 + 8 + 24 + 8;
        prop_assert_eq!(result, if size < needed { Err(Full) } else { Ok(needed) });
    }
}
