//! loom models: every order in which the threads can run, and every value that they may read by then.
//!
//! ```sh
//! cargo test -p bifrons-engine --lib --features loom models
//! ```
//!
//! The rings between the threads are rtrb's, which has its own tests; here a [`Ring`] stands for one. What is
//! modelled is ours: who wakes whom, and who may use a slot. A wake-up that is lost leaves a thread asleep
//! for ever, and loom reports a deadlock.

mod signal;
mod slots;
mod stats;
mod worker;

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};

/// A ring that counts its messages only: what is written before `push` is seen after the `taken` that finds
/// it, and no more than that is promised, as with rtrb (a store with release, a load with acquire).
#[derive(Clone)]
struct Ring(Arc<AtomicUsize>);

impl Ring {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    fn push(&self) {
        // One producer, as in all our rings.
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Messages so far.
    fn taken(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// Tries all orders in which no thread is preempted more than `preemptions` times.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
