//! Where an engine's random numbers come from.

use bifrons_rtc::ice::{OsRandom, Random, SeededRandom};

/// The system's generator, or a seed in simulations.
pub(crate) enum EngineRandom {
    System(OsRandom),
    Seeded(SeededRandom),
}

impl EngineRandom {
    /// The system's.
    pub(crate) fn system() -> std::io::Result<Self> {
        OsRandom::new().map(Self::System).map_err(|error| std::io::Error::other(error.to_string()))
    }
}

impl Random for EngineRandom {
    fn fill(&mut self, out: &mut [u8]) {
        match self {
            Self::System(random) => random.fill(out),
            Self::Seeded(random) => random.fill(out),
        }
    }
}

/// Gives out octets that were drawn elsewhere: an ICE restart draws them on the control side, which
/// must tell the new credentials at once, and makes the same credentials of them on the worker.
pub(crate) struct Replay<'a>(pub &'a [u8]);

impl Random for Replay<'_> {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            if let Some((first, rest)) = self.0.split_first() {
                *octet = *first;
                self.0 = rest;
            }
        }
    }
}
