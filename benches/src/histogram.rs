//! Times by logarithmic buckets: 32 a power of two, so a quantile is at most 3 % off.

/// Buckets a power of two.
const STEPS: u64 = 32;
/// 2^40 ns is 18 minutes; longer times count as that.
const BUCKETS: usize = 36 * STEPS as usize;

/// A histogram of nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts a time.
    pub fn add(&mut self, ns: u64) {
        let bucket = bucket_of(ns).min(BUCKETS - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Counts all that another has counted.
    pub fn join(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time that a share (0 to 1) of all does not exceed, milliseconds; 0 where there is none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return floor_of(bucket + 1).min(self.max_ns) as f64 / 1e6;
            }
        }
        0.0
    }

    /// The longest time, milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.max_ns as f64 / 1e6
    }
}

fn bucket_of(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let power = u64::from(ns.ilog2()) - u64::from(STEPS.ilog2());
    (power * STEPS + (ns >> power)) as usize
}

fn floor_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    (bucket - power * STEPS) << power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another() {
        for ns in (0..100_000).chain([1 << 30, (1 << 30) + 12_345_678]) {
            let bucket = bucket_of(ns);
            assert!(floor_of(bucket) <= ns && ns < floor_of(bucket + 1), "{ns}");
        }
    }

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|us| histogram.add(us * 1_000));
        assert!((histogram.quantile_ms(0.5) - 0.5).abs() < 0.02);
        assert!((histogram.quantile_ms(0.99) - 0.99).abs() < 0.03);
        assert_eq!(histogram.quantile_ms(1.0), 1.0);
        let mut both = histogram.clone();
        both.join(&histogram);
        assert_eq!((both.count(), both.quantile_ms(0.5)), (2_000, histogram.quantile_ms(0.5)));
        histogram.add(u64::MAX);
        assert!(histogram.max_ms() > 1e9);
    }
}
