//! A datagram network in memory for tests: loss, duplication, delay and with it reordering, from a
//! seed, so that a run repeats exactly. It has no clock: `now` is a parameter here as well.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Time;
use crate::ice::{Random, SeededRandom};

/// What happens to datagrams under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Of a thousand datagrams so many are lost.
    pub loss_per_mille: u16,
    /// Of a thousand datagrams so many arrive twice.
    pub duplicate_per_mille: u16,
    /// The least time under way.
    pub delay: Duration,
    /// Up to so much more, drawn for each datagram: later ones overtake earlier ones.
    pub jitter: Duration,
}

impl Link {
    /// Loses nothing, 10 ms one way.
    pub const CLEAN: Link = Link {
        loss_per_mille: 0,
        duplicate_per_mille: 0,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
    };

    /// 20 % loss, 5 % duplicates, 20–80 ms one way.
    pub const BAD: Link = Link {
        loss_per_mille: 200,
        duplicate_per_mille: 50,
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(60),
    };
}

/// A datagram that has arrived.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The network.
#[derive(Debug)]
pub struct Network {
    random: SeededRandom,
    link: Link,
    blocked: Vec<(SocketAddr, SocketAddr)>,
    /// By time of arrival, then by order of sending.
    under_way: BinaryHeap<Reverse<(Time, u64, Datagram)>>,
    sent: u64,
}

impl Network {
    /// A network where every link is `link`.
    pub fn new(seed: u64, link: Link) -> Network {
        Network {
            random: SeededRandom::new(seed),
            link,
            blocked: Vec::new(),
            under_way: BinaryHeap::new(),
            sent: 0,
        }
    }

    /// Changes every link from now on.
    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// Loses all that is sent from `source` to `destination` from now on.
    pub fn block(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.blocked.push((source, destination));
    }

    /// Takes back every [`block`](Network::block).
    pub fn unblock(&mut self) {
        self.blocked.clear();
    }

    /// Puts a datagram under way, or loses it.
    pub fn send(&mut self, now: Time, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        self.sent += 1;
        if self.blocked.contains(&(source, destination)) || self.chance(self.link.loss_per_mille) {
            return;
        }
        let copies = 1 + u32::from(self.chance(self.link.duplicate_per_mille));
        for _ in 0..copies {
            let jitter_ns = self.link.jitter.as_nanos() as u64;
            let extra = Duration::from_nanos(self.random.next_u64() % (jitter_ns + 1));
            let datagram = Datagram { source, destination, bytes: bytes.to_vec() };
            let order = self.under_way.len() as u64 + (self.sent << 16);
            self.under_way.push(Reverse((now + self.link.delay + extra, order, datagram)));
        }
    }

    /// When the next datagram arrives.
    pub fn next_at(&self) -> Option<Time> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next datagram that has arrived by `now`.
    pub fn receive(&mut self, now: Time) -> Option<Datagram> {
        if self.next_at()? > now {
            return None;
        }
        self.under_way.pop().map(|Reverse((_, _, datagram))| datagram)
    }

    /// How many datagrams were sent, lost ones included.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    fn chance(&mut self, per_mille: u16) -> bool {
        self.random.next_u64() % 1000 < u64::from(per_mille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, link: Link) -> Vec<(Time, Vec<u8>)> {
        let mut network = Network::new(seed, link);
        let (a, b) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        for number in 0..200u8 {
            network.send(Time::from_millis(number.into()), a, b, &[number]);
        }
        let mut arrived = vec![];
        while let Some(at) = network.next_at() {
            arrived.push((at, network.receive(at).unwrap().bytes));
        }
        arrived
    }

    #[test]
    fn a_seed_repeats() {
        assert_eq!(run(1, Link::BAD), run(1, Link::BAD));
        assert_ne!(run(1, Link::BAD), run(2, Link::BAD));
    }

    #[test]
    fn clean_keeps_all_in_order_and_bad_does_not() {
        let clean: Vec<u8> = run(3, Link::CLEAN).into_iter().map(|(_, bytes)| bytes[0]).collect();
        assert_eq!(clean, (0..200).collect::<Vec<u8>>());
        let bad: Vec<u8> = run(3, Link::BAD).into_iter().map(|(_, bytes)| bytes[0]).collect();
        let mut unique = bad.clone();
        unique.sort_unstable();
        unique.dedup();
        assert!(unique.len() < 190 && unique.len() > 120, "about 20 % lost");
        assert!(bad.len() > unique.len(), "some twice");
        assert!(!bad.is_sorted(), "some overtaken");
    }

    #[test]
    fn blocked_is_one_way() {
        let mut network = Network::new(1, Link::CLEAN);
        let (a, b) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        network.block(a, b);
        network.send(Time::ZERO, a, b, b"lost");
        network.send(Time::ZERO, b, a, b"kept");
        assert_eq!(network.receive(Time::from_millis(9)), None);
        assert_eq!(network.receive(Time::from_millis(10)).unwrap().bytes, b"kept");
        assert_eq!(network.receive(Time::from_millis(10)), None);
    }
}
