use sha2::{Digest, Sha256};

/// Unguessable tokens from one seed: SHA-256 over seed and counter. A simulation gives its own seed and is
/// repeated exactly.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    seed: [u8; 32],
    counter: u64,
}

impl Random {
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    pub fn from_system() -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self::new(seed))
    }

    /// 32 random bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        self.counter += 1;
        Sha256::new_with_prefix(self.seed).chain_update(self.counter.to_le_bytes()).finalize().into()
    }

    /// A token of `bytes` (at most 32) random bytes in hexadecimal digits.
    pub fn token(&mut self, bytes: usize) -> String {
        let block = self.bytes();
        block.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
    }

    /// A number below `bound` (0 if that is 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).checked_rem(bound).unwrap_or(0)
    }
}
