//! Session and handle ids: 53 random bits, so that JavaScript holds them exactly.

/// Largest id that we give out.
pub const ID_MAX: u64 = (1 << 53) - 1;

/// The system has no randomness for us. Never answered with a weaker generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandomness;

/// A random id for which `taken` is false; never 0.
pub fn random_id(taken: impl Fn(u64) -> bool) -> Result<u64, NoRandomness> {
    loop {
        let id = random_u64()? & ID_MAX;
        if id != 0 && !taken(id) {
            return Ok(id);
        }
    }
}

/// 64 random bits.
pub fn random_u64() -> Result<u64, NoRandomness> {
    getrandom::u64().map_err(|_| NoRandomness)
}

/// A random SSRC for which `taken` is false; never 0.
pub fn random_ssrc(taken: impl Fn(u32) -> bool) -> Result<u32, NoRandomness> {
    loop {
        let ssrc = getrandom::u32().map_err(|_| NoRandomness)?;
        if ssrc != 0 && !taken(ssrc) {
            return Ok(ssrc);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_javascript_and_are_never_taken_ones() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let id = random_id(|id| seen.contains(&id)).unwrap();
            assert!((1..=ID_MAX).contains(&id));
            assert!(seen.insert(id));
        }
    }
}
