//! What is counted, for whoever operates the program: `SIGUSR1` writes it to the log.

use std::sync::Arc;

use bifrons_engine::counter::Counters;
use bifrons_engine::{AdmissionCounters, Engine, HandshakeCounters};

/// The engine's counters. They are read where they stand, without asking a worker.
pub struct Counted {
    workers: Vec<Arc<Counters>>,
    handshakes: Arc<HandshakeCounters>,
    admission: Arc<AdmissionCounters>,
}

impl Counted {
    /// Those of an engine.
    pub fn of(engine: &Engine) -> Self {
        Self {
            workers: engine.counters(),
            handshakes: engine.handshake_counters(),
            admission: engine.admission_counters(),
        }
    }

    /// Writes them to the log: a line a worker, one for what all workers have in common, one for the API, one
    /// a plugin that counts.
    pub fn tell(&self, api: &bifrons_api::Api) {
        for (index, worker) in self.workers.iter().enumerate() {
            tracing::info!("worker {index}: {}", line(worker.all()));
        }
        let rest = self.admission.all().into_iter().chain(self.handshakes.all());
        tracing::info!("engine: {}", line(rest));
        tracing::info!("api: {:?}", api.counters());
        for (package, counters) in api.plugin_counters() {
            tracing::info!("{package}: {}", line(counters));
        }
    }
}

/// What is not zero, as `name=value`.
pub fn line<N: std::fmt::Display>(all: impl IntoIterator<Item = (N, u64)>) -> String {
    let counted = all.into_iter().filter(|(_, value)| *value > 0);
    let words: Vec<String> = counted.map(|(name, value)| format!("{name}={value}")).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_is_not_zero() {
        assert_eq!(line([("turns", 7), ("panic", 0), ("no_route", 1)]), "turns=7 no_route=1");
    }
}
