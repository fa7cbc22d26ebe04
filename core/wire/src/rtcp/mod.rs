//! RTCP: a bounded walk over compound packets, a view and a writer for each packet type.
//!
//! [`Compound`] yields [`Packet`]s over the received bytes; [`Writer`] appends packets to a caller's buffer
//! and never writes half a packet. SR, RR, SDES, BYE, APP (RFC 3550 §6); generic NACK and PLI (RFC 4585 §6);
//! FIR (RFC 5104 §4.3.1); REMB (draft-alvestrand-rmcat-remb-03); transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1); XR (RFC 3611).

mod compound;
mod describe;
mod feedback;
mod remb;
mod report;
mod twcc;
mod writer;
mod xr;

pub use compound::{COMPOUND_PACKETS_MAX, Compound, Packet, RtcpError};
pub use describe::{App, Bye, SDES_CNAME, Sdes, SdesChunk, SdesItems};
pub use feedback::{Fir, FirEntries, FirEntry, Nack, NackSequences, Pli};
pub use remb::Remb;
pub use report::{NtpTime, ReceiverReport, ReportBlock, ReportBlocks, SenderInfo, SenderReport};
pub use twcc::{Twcc, TwccStatuses};
pub use writer::{Full, Writer};
pub use xr::{DelaySinceLastRr, VoipMetrics, Xr, XrBlock, XrBlocks};

/// Sender report (RFC 3550 §6.4.1).
pub const TYPE_SR: u8 = 200;
/// Receiver report (RFC 3550 §6.4.2).
pub const TYPE_RR: u8 = 201;
/// Source description (RFC 3550 §6.5).
pub const TYPE_SDES: u8 = 202;
/// Goodbye (RFC 3550 §6.6).
pub const TYPE_BYE: u8 = 203;
/// Application-defined (RFC 3550 §6.7).
pub const TYPE_APP: u8 = 204;
/// Transport layer feedback (RFC 4585 §6.2): NACK, transport-wide feedback.
pub const TYPE_RTPFB: u8 = 205;
/// Payload-specific feedback (RFC 4585 §6.3): PLI, FIR, REMB.
pub const TYPE_PSFB: u8 = 206;
/// Extended report (RFC 3611 §2).
pub const TYPE_XR: u8 = 207;

const FMT_NACK: u8 = 1;
const FMT_TWCC: u8 = 15;
const FMT_PLI: u8 = 1;
const FMT_FIR: u8 = 4;
const FMT_AFB: u8 = 15;
