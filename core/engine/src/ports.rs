//! Ports of RTP legs: taken in turn, rested after use.

use std::collections::VecDeque;
use std::io::ErrorKind;

use bifrons_rtc::Time;

/// The pool of one local address. Gives out even ports, each standing for itself and the next one
/// (RFC 3550 §11), round robin, so that a port is used again as late as possible.
#[derive(Debug)]
pub(crate) struct Ports {
    first: u16,
    pairs: u16,
    next: u16,
    taken: Vec<bool>,
    resting: VecDeque<(Time, u16)>,
}

impl Ports {
    /// The pool of all pairs within first..=last.
    pub(crate) fn new(first: u16, last: u16) -> Self {
        let even = first.saturating_add(first % 2);
        let count = (u32::from(last) + 1).saturating_sub(u32::from(even)) / 2;
        let pairs = u16::try_from(count).unwrap_or(u16::MAX);
        Self { first: even, pairs, next: 0, taken: vec![false; pairs.into()], resting: VecDeque::new() }
    }

    /// Takes the next free pair for which `bind` succeeds, and gives what it gave. A pair that another
    /// program has is passed over. `None`: all were tried.
    ///
    /// # Errors
    /// `bind` failed for a reason that has nothing to do with the port.
    pub(crate) fn take<T>(
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

    /// Gives a pair back; nobody gets it before `until`.
    pub(crate) fn rest(&mut self, port: u16, until: Time) {
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
        let mut ports = Ports::new(10_001, 10_007);
        let mut take =
            |now: u64| ports.take(Time::from_millis(now), |_| Ok(())).unwrap().map(|(port, ())| port);
        assert_eq!([take(0), take(0), take(0), take(0)], [Some(10_002), Some(10_004), Some(10_006), None]);
        ports.rest(10_004, Time::from_millis(10_000));
        let mut take =
            |now: u64| ports.take(Time::from_millis(now), |_| Ok(())).unwrap().map(|(port, ())| port);
        assert_eq!(take(9_999), None);
        assert_eq!(take(10_000), Some(10_004));
    }

    #[test]
    fn a_port_of_another_program_is_passed_over() {
        let mut ports = Ports::new(10_000, 10_005);
        let bind = |port| if port == 10_000 { Err(ErrorKind::AddrInUse.into()) } else { Ok(port) };
        assert_eq!(ports.take(Time::ZERO, bind).unwrap(), Some((10_002, 10_002)));
        assert_eq!(ports.take(Time::ZERO, bind).unwrap(), Some((10_004, 10_004)));
        assert_eq!(ports.take(Time::ZERO, bind).unwrap(), None);
    }

    #[test]
    fn what_is_not_the_ports_fault_is_told_and_keeps_the_pair() {
        let mut ports = Ports::new(10_000, 10_001);
        assert!(ports.take(Time::ZERO, |_| Err::<(), _>(std::io::Error::other("no descriptor"))).is_err());
        assert_eq!(ports.take(Time::ZERO, Ok).unwrap(), Some((10_000, 10_000)));
    }

    #[test]
    fn a_range_without_a_pair_gives_none() {
        assert_eq!(Ports::new(10_001, 10_002).take(Time::ZERO, |_| Ok(())).unwrap(), None);
        assert_eq!(Ports::new(65_535, 65_535).take(Time::ZERO, |_| Ok(())).unwrap(), None);
    }
}
