//! Ports of RTP legs: taken in turn, rested after use.

use std::collections::VecDeque;
use std::io::ErrorKind;

use bifrons_rtc::Time;

/// The pool of one local address, with a block of equal size for each worker, in their order. So a network card
/// can be told by port where a packet's worker is (`docs/operating.md`, XDP).
#[derive(Debug)]
pub(crate) struct Ports(Vec<Block>);

impl Ports {
    /// The pool of all pairs within first..=last.
    pub(crate) fn new(first: u16, last: u16, workers: usize) -> Self {
        let even = u32::from(first).next_multiple_of(2);
        let pairs = (u32::from(last) + 1).saturating_sub(even) / 2;
        let workers = workers.max(1) as u32;
        // The end of the worker's block, in pairs.
        let end = |worker: u32| u64::from(pairs) * u64::from(worker) / u64::from(workers);
        let block =
            |worker| Block::new(even as u16 + 2 * end(worker) as u16, (end(worker + 1) - end(worker)) as u16);
        Self((0..workers).map(block).collect())
    }

    /// Takes the next free pair of the worker's block for which `bind` succeeds, and gives what it gave. A pair
    /// that another program has is passed over. When the block is exhausted the others help out.
    /// `None`: all were tried.
    ///
    /// # Errors
    /// `bind` failed for a reason that has nothing to do with the port.
    pub(crate) fn take<T>(
        &mut self,
        worker: u8,
        now: Time,
        mut bind: impl FnMut(u16) -> std::io::Result<T>,
    ) -> std::io::Result<Option<(u16, T)>> {
        let own = usize::from(worker).min(self.0.len());
        let (before, from) = self.0.split_at_mut(own);
        for block in from.iter_mut().chain(before) {
            if let Some(taken) = block.take(now, &mut bind)? {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    /// Gives a pair back; nobody gets it before `until`.
    pub(crate) fn rest(&mut self, port: u16, until: Time) {
        self.0.iter_mut().for_each(|block| block.rest(port, until));
    }
}

/// Gives out even ports, each standing for itself and the next one (RFC 3550 §11), round robin, so that a port is
/// used again as late as possible.
#[derive(Debug)]
struct Block {
    first: u16,
    pairs: u16,
    next: u16,
    taken: Vec<bool>,
    resting: VecDeque<(Time, u16)>,
}

impl Block {
    fn new(first: u16, pairs: u16) -> Self {
        Self { first, pairs, next: 0, taken: vec![false; pairs.into()], resting: VecDeque::new() }
    }

    fn take<T>(
        &mut self,
        now: Time,
        mut bind: impl FnMut(u16) -> std::io::Result<T>,
    ) -> std::io::Result<Option<(u16, T)>> {
        while let Some((_, pair)) = self.resting.front().copied().filter(|(until, _)| *until <= now) {
            self.resting.pop_front();
            if let Some(taken) = self.taken.get_mut(usize::from(pair)) {
                *taken = false;
            }
        }
        for _ in 0..self.pairs {
            let pair = self.next;
            self.next = (self.next + 1) % self.pairs;
            let Some(taken) = self.taken.get_mut(usize::from(pair)) else { continue };
            if *taken {
                continue;
            }
            let port = self.first + pair * 2;
            match bind(port) {
                Ok(bound) => {
                    *taken = true;
                    return Ok(Some((port, bound)));
                }
                Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn rest(&mut self, port: u16, until: Time) {
        if let Some(pair) = port.checked_sub(self.first).map(|offset| offset / 2)
            && self.taken.get(usize::from(pair)) == Some(&true)
        {
            self.resting.push_back((until, pair));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_rest_and_exhaustion() {
        let mut ports = Ports::new(10_001, 10_007, 1);
        let mut take =
            |now: u64| ports.take(0, Time::from_millis(now), |_| Ok(())).unwrap().map(|(port, ())| port);
        assert_eq!([take(0), take(0), take(0), take(0)], [Some(10_002), Some(10_004), Some(10_006), None]);
        ports.rest(10_004, Time::from_millis(10_000));
        let mut take =
            |now: u64| ports.take(0, Time::from_millis(now), |_| Ok(())).unwrap().map(|(port, ())| port);
        assert_eq!(take(9_999), None);
        assert_eq!(take(10_000), Some(10_004));
    }

    #[test]
    fn each_worker_has_a_block_and_the_others_help_out() {
        let mut ports = Ports::new(16_384, 16_399, 2);
        let mut take = |worker| ports.take(worker, Time::ZERO, |_| Ok(())).unwrap().map(|(port, ())| port);
        assert_eq!([take(0), take(1), take(0), take(1)], [16_384, 16_392, 16_386, 16_394].map(Some));
        assert_eq!([take(1), take(1), take(1), take(1)], [16_396, 16_398, 16_388, 16_390].map(Some));
        assert_eq!([take(0), take(1)], [None, None]);
        ports.rest(16_388, Time::ZERO);
        assert_eq!(ports.take(1, Time::ZERO, Ok).unwrap(), Some((16_388, 16_388)));
    }

    #[test]
    fn blocks_cover_the_range_and_do_not_overlap() {
        for (first, last, workers) in
            [(10_001, 10_099, 4), (10_000, 10_003, 7), (0, 65_535, 3), (1, 65_535, 64)]
        {
            let mut ports = Ports::new(first, last, workers);
            let mut all: Vec<u16> =
                std::iter::from_fn(|| ports.take(0, Time::ZERO, Ok).unwrap().map(|(port, _)| port)).collect();
            all.sort_unstable();
            let even = first + first % 2;
            assert_eq!(all, (even..last).step_by(2).collect::<Vec<_>>(), "{first}-{last}, {workers}");
        }
    }

    #[test]
    fn a_port_of_another_program_is_passed_over() {
        let mut ports = Ports::new(10_000, 10_005, 1);
        let bind = |port| if port == 10_000 { Err(ErrorKind::AddrInUse.into()) } else { Ok(port) };
        assert_eq!(ports.take(0, Time::ZERO, bind).unwrap(), Some((10_002, 10_002)));
        assert_eq!(ports.take(0, Time::ZERO, bind).unwrap(), Some((10_004, 10_004)));
        assert_eq!(ports.take(0, Time::ZERO, bind).unwrap(), None);
    }

    #[test]
    fn what_is_not_the_ports_fault_is_told_and_keeps_the_pair() {
        let mut ports = Ports::new(10_000, 10_001, 1);
        assert!(ports.take(0, Time::ZERO, |_| Err::<(), _>(std::io::Error::other("no descriptor"))).is_err());
        assert_eq!(ports.take(0, Time::ZERO, Ok).unwrap(), Some((10_000, 10_000)));
    }

    #[test]
    fn a_range_without_a_pair_gives_none() {
        assert_eq!(Ports::new(10_001, 10_002, 1).take(0, Time::ZERO, |_| Ok(())).unwrap(), None);
        assert_eq!(Ports::new(65_535, 65_535, 1).take(0, Time::ZERO, |_| Ok(())).unwrap(), None);
    }
}
