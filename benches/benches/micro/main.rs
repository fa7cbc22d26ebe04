//! What single steps cost: parsing, SRTP, an answer to a STUN check, a timer, a whole turn of a worker.
//!
//! ```sh
//! cargo bench -p bifrons-benches --bench micro            # all
//! cargo bench -p bifrons-benches --bench micro -- srtp    # one group
//! ```
//!
//! Each file is a group. Criterion compares with the run before, so that a change shows what it costs.
#![forbid(unsafe_code)]

mod engine;
mod srtp;
mod text;
mod wire;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// Short measurements, so that all of them end in a minute and a half.
fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
}

criterion_group! {
    name = benches;
    config = short();
    targets = wire::benches, srtp::benches, engine::benches, text::benches
}
criterion_main!(benches);
