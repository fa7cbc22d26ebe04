//! A set of deadlines, each under a key.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// Deadlines by key. A key has at most one.
#[derive(Debug)]
pub struct Timers<K> {
    by_time: BTreeSet<(Duration, K)>,
    by_key: HashMap<K, Duration>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_key: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> Timers<K> {
    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: K, at: Duration) {
        if let Some(old) = self.by_key.insert(key, at) {
            self.by_time.remove(&(old, key));
        }
        self.by_time.insert((at, key));
    }

    /// Takes a deadline away.
    pub fn cancel(&mut self, key: K) {
        if let Some(old) = self.by_key.remove(&key) {
            self.by_time.remove(&(old, key));
        }
    }

    /// Whether there is a deadline.
    pub fn is_set(&self, key: K) -> bool {
        self.by_key.contains_key(&key)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out the earliest key whose deadline is not after `now`.
    pub fn pop(&mut self, now: Duration) -> Option<K> {
        let &(at, key) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_moved_and_cancelled() {
        let s = Duration::from_secs;
        let mut timers = Timers::default();
        timers.set('a', s(3));
        timers.set('b', s(1));
        timers.set('a', s(2));
        timers.set('c', s(9));
        timers.cancel('c');
        assert_eq!((timers.next(), timers.is_set('a'), timers.is_set('c')), (Some(s(1)), true, false));
        assert_eq!(timers.pop(s(0)), None);
        assert_eq!(timers.pop(s(5)), Some('b'));
        assert_eq!(timers.pop(s(5)), Some('a'));
        assert!(timers.pop(s(99)).is_none() && timers.next().is_none());
    }
}
