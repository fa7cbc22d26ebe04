//! Messages a second from one source.

use std::collections::HashMap;
use std::net::IpAddr;

/// Sources remembered at once. When they are full and none is idle, newcomers share one bucket, so that a
/// flood from forged addresses takes no more memory and known sources keep theirs.
const SOURCES_MAX: usize = 65_536;

/// A token bucket a source. Time is any steady clock in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    buckets: HashMap<IpAddr, Bucket>,
    shared: Option<Bucket>,
    swept_ms: u64,
}

#[derive(Debug)]
struct Bucket {
    /// In thousandths of a message.
    filled: u64,
    at_ms: u64,
}

impl Rates {
    /// Whether one more message fits.
    pub(crate) fn admit(&mut self, source: IpAddr, per_s: u32, burst: u32, now_ms: u64) -> bool {
        let full = u64::from(burst) * 1000;
        let source = source.to_canonical();
        if self.buckets.len() >= SOURCES_MAX && !self.buckets.contains_key(&source) {
            let idle_ms = full / u64::from(per_s.max(1)) + 1;
            // At most once a second: a sweep looks at every source.
            if now_ms.saturating_sub(self.swept_ms) >= 1000 {
                self.swept_ms = now_ms;
                self.buckets.retain(|_, bucket| now_ms.saturating_sub(bucket.at_ms) < idle_ms);
            }
            if self.buckets.len() >= SOURCES_MAX {
                let bucket = self.shared.get_or_insert(Bucket { filled: full, at_ms: now_ms });
                return bucket.admit(per_s, full, now_ms);
            }
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket { filled: full, at_ms: now_ms });
        bucket.admit(per_s, full, now_ms)
    }
}

impl Bucket {
    fn admit(&mut self, per_s: u32, full: u64, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        self.filled = self.filled.saturating_add(passed_ms.saturating_mul(u64::from(per_s))).min(full);
        self.at_ms = now_ms;
        let fits = self.filled >= 1000;
        if fits {
            self.filled -= 1000;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_flood_of_sources_takes_bounded_memory_and_spares_known_ones() {
        let mut rates = Rates::default();
        let known = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(rates.admit(known, 10, 10, 0));
        let mut admitted = 0;
        for forged in 0..200_000u32 {
            admitted += u32::from(rates.admit(Ipv4Addr::from(forged).into(), 10, 10, 1));
        }
        assert!(rates.buckets.len() <= SOURCES_MAX);
        assert!(admitted as usize <= SOURCES_MAX + 10);
        assert!(rates.admit(known, 10, 10, 1));
        assert!(rates.admit(Ipv4Addr::from(u32::MAX).into(), 10, 10, 10_000), "idle sources make room");
    }
}
