//! Rate limits: a token bucket for each key, in a bounded table.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Times a second in the long run.
    pub per_s: f64,
    /// Times at once after a pause.
    pub burst: f64,
}

/// Buckets by key.
#[derive(Debug)]
pub struct RateLimiter<K> {
    rate: Option<Rate>,
    keys_max: usize,
    buckets: HashMap<K, Bucket>,
    /// Shared by the keys that the table has no room for.
    rest: Bucket,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    spent: f64,
    at: Duration,
}

impl Bucket {
    fn spent_at(&self, rate: Rate, now: Duration) -> f64 {
        (self.spent - rate.per_s * now.saturating_sub(self.at).as_secs_f64()).max(0.0)
    }
}

impl<K: Hash + Eq> RateLimiter<K> {
    /// A limiter; without a rate everything passes.
    pub fn new(rate: Option<Rate>, keys_max: usize) -> Self {
        Self { rate, keys_max, buckets: HashMap::new(), rest: Bucket::default() }
    }

    /// Takes one from the key's bucket. False: it is empty, and nothing was taken.
    pub fn take(&mut self, key: K, now: Duration) -> bool {
        let Some(rate) = self.rate else { return true };
        let bucket = self.bucket(key, rate, now);
        let spent = bucket.spent_at(rate, now);
        if spent + 1.0 > rate.burst {
            return false;
        }
        *bucket = Bucket { spent: spent + 1.0, at: now };
        true
    }

    /// Is the key's bucket empty?
    pub fn is_exhausted(&self, key: &K, now: Duration) -> bool {
        let Some(rate) = self.rate else { return false };
        let full = self.buckets.len() >= self.keys_max;
        let bucket = self.buckets.get(key).or(full.then_some(&self.rest));
        bucket.is_some_and(|bucket| bucket.spent_at(rate, now) + 1.0 > rate.burst)
    }

    fn bucket(&mut self, key: K, rate: Rate, now: Duration) -> &mut Bucket {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= self.keys_max {
            self.forget_idle(rate, now);
            if self.buckets.len() >= self.keys_max {
                return &mut self.rest;
            }
        }
        self.buckets.entry(key).or_default()
    }

    /// No key has spent anything that [`RateLimiter::tidy`] has not seen come back.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Drops what has nothing spent; called now and then, and when the table is full.
    pub fn tidy(&mut self, now: Duration) {
        if let Some(rate) = self.rate {
            self.forget_idle(rate, now);
        }
    }

    fn forget_idle(&mut self, rate: Rate, now: Duration) {
        self.buckets.retain(|_, bucket| bucket.spent_at(rate, now) > 0.0);
    }
}

/// The key of an address: itself, or its /64 for IPv6, which is what one subscriber has.
pub fn source_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn bursts_then_refills() {
        let mut limiter = RateLimiter::new(Some(Rate { per_s: 2.0, burst: 3.0 }), 10);
        assert_eq!((0..5).filter(|_| limiter.take(1, S(10))).count(), 3);
        assert!(limiter.is_exhausted(&1, S(10)) && !limiter.is_exhausted(&2, S(10)));
        assert_eq!((0..5).filter(|_| limiter.take(1, S(11))).count(), 2);
        assert_eq!((0..5).filter(|_| limiter.take(1, S(100))).count(), 3);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_idle() {
        let mut limiter = RateLimiter::new(Some(Rate { per_s: 1.0, burst: 2.0 }), 4);
        let passed = (0..100).filter(|key| limiter.take(*key, S(1))).count();
        assert_eq!(passed, 4 + 2);
        assert_eq!(limiter.buckets.len(), 4);
        assert!(limiter.take(1000, S(100)));
        assert_eq!(limiter.buckets.len(), 1);
    }

    #[test]
    fn a_subscriber_is_a_key() {
        let key = |ip: &str| source_key(ip.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3::1"), key("2001:db8:1:2:ffff::"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:127.0.0.1"), key("127.0.0.1"));
    }
}
