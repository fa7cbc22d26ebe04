//! RTP (RFC 3550): views over received bytes, edits in place, header extensions (RFC 8285), retransmission
//! (RFC 4588) and telephone events (RFC 4733).
//!
//! A packet is never unpacked into a structure of its own. [`Header`] is the small table of offsets that one
//! check yields; [`Packet`] is that table beside the bytes, over `&[u8]` for reading and `&mut [u8]` for
//! setting fields in place. Everything that makes a header longer or shorter ([`edit_extensions`],
//! [`rtx_wrap`], [`rtx_unwrap`]) moves the *header* within its buffer and leaves the payload where it is, so
//! an added extension costs a copy of a few dozen bytes and no allocation.

mod edit;
mod event;
mod extension;
mod header;
mod packet;
mod rtx;
mod values;

pub use edit::{EXTENSION_BLOCK_LEN_MAX, EditError, ExtensionMap, edit_extensions};
pub use event::{EVENT_LEN, EventError, TelephoneEvent};
pub use extension::{EXTENSIONS_MAX, Extension, Extensions};
pub use header::{Header, RtpError};
pub use packet::{Packet, set_identity};
pub use rtx::{RtxError, rtx_unwrap, rtx_wrap};
pub use values::{AbsSendTime, AudioLevel, MID_LEN_MAX, mid, transport_sequence};

/// Length of the fixed header, bytes (RFC 3550 §5.1).
pub const FIXED_HEADER_LEN: usize = 12;
/// The only version there is (RFC 3550 §5.1).
pub const VERSION: u8 = 2;
/// `defined by profile` of a one-byte extension block (RFC 8285 §4.2).
pub const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// `defined by profile` of a two-byte extension block; the low four bits are `appbits` (RFC 8285 §4.3).
pub const TWO_BYTE_PROFILE: u16 = 0x1000;
