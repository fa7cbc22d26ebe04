//! `bifrons-sip`: Sofia-SIP's transactions (`nta`), transports and parser in a program of their own.
//!
//! It keeps no call: registrations, dialogs and digest are control's, which speaks with it in the messages of
//! `bifrons-sip-protocol` over descriptor 3. So it can die and be replaced in milliseconds, with nothing to
//! rebuild.
//!
//! - [`gate`], [`multipart`], [`scan`]: what reaches Sofia's parser.
//! - `sys`, `tags`: Sofia's C interface.
//! - `event`: its callbacks, as values. `agent`, `flow`: its objects, as handles.
//! - `check`: what control's text must be.
//! - `program`, `reports`, `outbox`, `run`: the program itself.

mod agent;
mod check;
mod clock;
mod counters;
mod event;
mod flow;
pub mod gate;
mod log;
pub mod multipart;
mod outbox;
mod program;
mod reports;
mod run;
pub mod scan;
mod sys;
mod tags;

pub use run::run;
