//! The messages between the control thread and `bifrons-sip`, versioned.
//!
//! The two processes share a Unix `SOCK_SEQPACKET` pair; one [`ToSip`] or [`FromSip`] is one datagram of at
//! most [`FRAME_BYTES_MAX`] bytes: a fixed little-endian head (version, type, generation, id), then the
//! fields in order, strings and byte strings with a length in front. `PROTOCOL.md` documents every message.
//!
//! - [`ToSip`]: what control asks for. Client transactions, reliable responses and listeners are numbered
//!   by control.
//! - [`FromSip`]: what the SIP process reports. Server transactions and flows are numbered by it.
//! - [`Generation`]: which life of the SIP process a message belongs to. Ids mean nothing across
//!   generations; a message of another generation is dropped and counted.
//!
//! Nothing here does I/O, and decoding accepts any bytes: it returns a [`ProtocolError`], never panics.
#![forbid(unsafe_code)]

mod codec;
mod from_sip;
mod ids;
mod settings;
mod to_sip;
mod types;

pub use codec::{FRAME_BYTES_MAX, ProtocolError, TEXT_BYTES_MAX, VERSION};
pub use from_sip::FromSip;
pub use ids::{ClientId, FlowId, Generation, ListenId, ReliableId, ServerId};
pub use settings::{GateRules, Network, Settings, TlsSettings, TlsVerify};
pub use to_sip::{FlowAction, RequestFlags, ToSip, TransactionId};
pub use types::{
    DownCause, ExpiredCause, Origin, Part, PrackOutcome, RefusedReason, TlsPeer, TraceDirection, Transport,
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_message_comes_back(rng in Just(()).prop_perturb(|(), rng| rng), number: u32) {
            let (mut rng, generation) = (rng, Generation(number));
            for message in ToSip::sample_all(&mut rng) {
                let mut frame = Vec::new();
                message.encode(generation, &mut frame).unwrap();
                prop_assert_eq!(ToSip::decode(&frame), Ok((generation, message)));
            }
            for message in FromSip::sample_all(&mut rng) {
                let mut frame = Vec::new();
                message.encode(generation, &mut frame).unwrap();
                prop_assert_eq!(FromSip::decode(&frame), Ok((generation, message)));
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes: Vec<u8>, kind in 0u8..20) {
            let _ = ToSip::decode(&bytes);
            let _ = FromSip::decode(&bytes);
            let mut frame = vec![VERSION, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            frame.append(&mut bytes);
            let _ = ToSip::decode(&frame);
            let _ = FromSip::decode(&frame);
        }

        #[test]
        fn a_changed_or_cut_message_is_decoded_or_refused(
            rng in Just(()).prop_perturb(|(), rng| rng), at: prop::sample::Index, value: u8,
        ) {
            let mut rng = rng;
            for message in FromSip::sample_all(&mut rng) {
                let mut frame = Vec::new();
                message.encode(Generation(7), &mut frame).unwrap();
                let at = at.index(frame.len());
                prop_assert!(FromSip::decode(&frame[..at]).is_err(), "a cut {} was accepted", message.name());
                frame[at] = value;
                let _ = FromSip::decode(&frame);
            }
            for message in ToSip::sample_all(&mut rng) {
                let mut frame = Vec::new();
                message.encode(Generation(7), &mut frame).unwrap();
                let at = at.index(frame.len());
                prop_assert!(ToSip::decode(&frame[..at]).is_err(), "a cut {} was accepted", message.name());
                frame[at] = value;
                let _ = ToSip::decode(&frame);
            }
        }
    }

    #[test]
    fn the_head_stands_where_the_documentation_says() {
        let mut frame = Vec::new();
        ToSip::Unlisten { id: ListenId(0x0102) }.encode(Generation(3), &mut frame).unwrap();
        assert_eq!(frame, [VERSION, 3, 0, 0, 3, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        frame[0] = VERSION + 1;
        assert_eq!(ToSip::decode(&frame), Err(ProtocolError::Version { found: VERSION + 1 }));
    }

    #[test]
    fn a_frame_is_bounded() {
        let ack = |bytes| FromSip::Ack { id: ServerId(1), text: vec![b'x'; bytes], parts: Vec::new() };
        let mut out = vec![1, 2, 3];
        let room = FRAME_BYTES_MAX - 16 - 4 - 2;
        let too_large = Err(ProtocolError::TooLarge { bytes: FRAME_BYTES_MAX + 1 });
        assert_eq!(ack(room + 1).encode(Generation(1), &mut out), too_large);
        assert_eq!(out, [1, 2, 3]);
        ack(room).encode(Generation(1), &mut out).unwrap();
        assert_eq!(out.len(), 3 + FRAME_BYTES_MAX);
        assert!(FromSip::decode(&vec![0; FRAME_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn undefined_options_are_refused() {
        let message = ToSip::Request {
            id: ClientId(1),
            next_hop: String::new(),
            ident: String::new(),
            flow: None,
            flags: RequestFlags::NONE.with(RequestFlags::REPORT_100),
            text: Vec::new(),
        };
        let mut frame = Vec::new();
        message.encode(Generation(1), &mut frame).unwrap();
        let flags = 16 + 4 + 4 + 1;
        assert_eq!(frame[flags], 1);
        frame[flags] = 2;
        assert_eq!(ToSip::decode(&frame), Err(ProtocolError::Value { field: "RequestFlags" }));
    }
}
