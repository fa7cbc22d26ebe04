//! STUN, the demultiplexer in front of it, and the DTLS record walk behind that.

use bifrons_wire::demux::{classify, dtls_records};
use bifrons_wire::stun::{Attribute, IntegrityKey, Message};

/// A datagram at an ICE port.
pub fn stun(data: &[u8]) {
    let _ = classify(data);
    let mut records = dtls_records(data);
    let covered: usize = records.by_ref().map(|record| record.fragment.len() + 13).sum();
    assert_eq!(covered + records.rest().len(), data.len());

    let Ok(message) = Message::parse(data) else { return };
    let _ = (message.class(), message.method(), message.transaction_id(), message.fingerprint());
    let key = IntegrityKey::short_term(b"VOkJxbRl1RmTxUk/WvJxBt");
    assert!(!message.verify_integrity(&key) || message.has_integrity());
    for attribute in message.attributes().flatten() {
        let _ = attribute.is_unknown_required();
        if let Attribute::Username(username) = attribute {
            assert!(username.len() <= data.len());
        }
    }
}
