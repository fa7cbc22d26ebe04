//! State of single RTP streams: what a leg keeps of each source it receives and each it sends.
//!
//! Receiving: [`ExtendedSequence`] counts past 16 bits, [`ReceiveStatistics`] makes report blocks,
//! [`NackGenerator`] asks for what is missing, [`TwccReceiver`] reports arrivals, [`Activity`] tells whether
//! media flow, [`DtmfDetector`] finds keys pressed. Sending: [`Rewriter`] joins sources into one outgoing
//! stream whose index never repeats, [`SendStatistics`] makes sender reports, [`History`] and
//! [`NackResponder`] answer for lost packets, [`KeyframeThrottle`] and [`BitrateCap`] pace requests to the
//! source.
//!
//! Everything has a fixed size. What needs more than a few hundred bytes takes it when it is made, on the
//! control side; nothing here allocates while packets flow.

mod activity;
mod dtmf;
mod history;
mod nack;
mod pacing;
mod receive;
mod rewriter;
mod send;
mod sequence;
mod twcc;

pub use activity::{Activity, ActivityChange};
pub use dtmf::{DtmfDetector, DtmfEvent};
pub use history::{History, HistorySlab, NackResponder};
pub use nack::{MISSING_MAX, NackGenerator, NackOutcome};
pub use pacing::{BitrateCap, KeyframeThrottle};
pub use receive::{ReceiveStatistics, Received, SenderClock, SrMapping};
pub use rewriter::{Incoming, Original, Outgoing, Refused, Rewriter, SWITCH_GRACE};
pub use send::{SendStatistics, round_trip};
pub use sequence::{Arrival, DROPOUT_MAX, ExtendedSequence, MISORDER_MAX};
pub use twcc::{TWCC_STATUSES_MAX, TwccReceiver};
