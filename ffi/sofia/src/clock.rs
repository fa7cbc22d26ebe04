//! The two clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    static START: Instant = Instant::now();
}

/// Milliseconds since the program started.
pub(crate) fn steady_ms() -> u64 {
    START.with(|start| start.elapsed().as_millis() as u64)
}

/// Microseconds since 1970-01-01 00:00 UTC.
pub(crate) fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
