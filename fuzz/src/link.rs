//! The messages between `bifrons` and `bifrons-sip`: the SIP process eats bytes from the network in C, so
//! what comes from it is not to be trusted either.

use bifrons_sip_protocol::{FromSip, ToSip};

/// A frame from the other end of the link.
pub fn link(data: &[u8]) {
    if let Ok((generation, message)) = ToSip::decode(data) {
        let mut frame = Vec::new();
        assert_eq!(message.encode(generation, &mut frame), Ok(()));
        assert_eq!(ToSip::decode(&frame), Ok((generation, message)));
    }
    if let Ok((generation, message)) = FromSip::decode(data) {
        let mut frame = Vec::new();
        assert_eq!(message.encode(generation, &mut frame), Ok(()));
        assert_eq!(FromSip::decode(&frame), Ok((generation, message)));
    }
}
