//! SIP messages.

use bifrons_sip_ua::message::{
    MESSAGE_BYTES_MAX, Message, RAck, Reason, Replaces, SessionExpires, SubscriptionState,
};
use bifrons_wire::sdp::Sdp;

/// A SIP message from a telephone or a carrier.
pub fn sip(data: &[u8]) {
    let message = match Message::parse(data) {
        Ok(message) => message,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    assert!(message.body.len() <= data.len());
    let _ = (message.status(), message.reason_phrase().len(), message.request_uri());
    let _ = (message.contacts(), message.contact_is_star(), message.content_type());
    for name in ["Route", "Record-Route", "Path", "Service-Route", "P-Asserted-Identity"] {
        let _ = message.addresses(name);
    }
    for name in ["Refer-To", "Referred-By"] {
        let _ = message.address(name);
    }
    for name in ["WWW-Authenticate", "Proxy-Authenticate", "Authorization", "Proxy-Authorization"] {
        let _ = message.auth(name);
    }
    for name in ["Expires", "Min-Expires", "Retry-After", "Max-Forwards", "RSeq"] {
        let _ = message.number(name);
    }
    let _ = message.typed("RAck", RAck::parse);
    let _ = message.typed("Reason", Reason::parse);
    let _ = message.typed("Replaces", Replaces::parse);
    let _ = message.typed("Session-Expires", SessionExpires::parse);
    let _ = message.typed("Subscription-State", SubscriptionState::parse);
    let _ = Sdp::parse_bytes(&message.body);

    // What we write of it is the same message again, unless writing made it longer than one may be.
    let written = message.to_bytes();
    match Message::parse(&written) {
        Ok(again) => {
            assert_eq!(again.body, message.body);
            assert_eq!((&again.call_id, &again.cseq), (&message.call_id, &message.cseq));
            assert_eq!((&again.from, &again.to, &again.via), (&message.from, &message.to, &message.via));
        }
        Err(error) => assert!(written.len() > MESSAGE_BYTES_MAX, "{error}"),
    }
}
