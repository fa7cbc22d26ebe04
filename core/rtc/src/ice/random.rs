/// Where ufrags, passwords, transaction ids and jitter come from.
///
/// A parameter of the protocols, so that a simulation repeats from its seed.
pub trait Random {
    /// Fills `out` with random octets.
    fn fill(&mut self, out: &mut [u8]);

    /// 64 random bits.
    fn next_u64(&mut self) -> u64 {
        let mut word = [0; 8];
        self.fill(&mut word);
        u64::from_ne_bytes(word)
    }
}

/// Octets drawn from the system at once: a check takes eight, so one system call serves 128 checks.
const BUFFER_LEN: usize = 1024;

/// The system's generator behind a buffer. Each octet is given out once and wiped.
pub struct OsRandom {
    buffer: Box<[u8; BUFFER_LEN]>,
    used: usize,
}

impl OsRandom {
    /// Draws the first buffer; an error means that the system has no generator.
    pub fn new() -> Result<OsRandom, getrandom::Error> {
        let mut buffer = Box::new([0; BUFFER_LEN]);
        getrandom::fill(&mut buffer[..])?;
        Ok(OsRandom { buffer, used: 0 })
    }

    fn refill(&mut self) {
        // The first draw worked, so the kernel's pool is ready and this cannot fail. If it ever
        // does, ending here is right: guessable ids and passwords would be worse.
        getrandom::fill(&mut self.buffer[..]).expect("the system's random generator answered before");
        self.used = 0;
    }
}

impl Random for OsRandom {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            if self.used == BUFFER_LEN {
                self.refill();
            }
            if let Some(next) = self.buffer.get_mut(self.used) {
                *octet = std::mem::take(next);
            }
            self.used += 1;
        }
    }
}

impl std::fmt::Debug for OsRandom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OsRandom(..)")
    }
}

/// A predictable generator (SplitMix64) for simulations and tests. Never for a real leg.
#[derive(Clone, Debug)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom(seed)
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next_u64().to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_octets_are_given_once() {
        let mut random = OsRandom::new().unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 * BUFFER_LEN / 8 {
            assert!(seen.insert(random.next_u64()));
        }
        let mut two = OsRandom::new().unwrap();
        assert_ne!(two.next_u64(), OsRandom::new().unwrap().next_u64());
    }

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let draw = |seed| {
            let mut octets = [0; 19];
            SeededRandom::new(seed).fill(&mut octets);
            octets
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
