//! Whether media flow.

use core::time::Duration;

use crate::Time;

/// Media began or ceased to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivityChange {
    /// Media come.
    pub receiving: bool,
    /// For how long they had not, or (when they cease) the limit that has passed.
    pub silence: Duration,
}

/// Tells once when a stream begins and once when it has been silent for a while.
#[derive(Debug, Clone, Copy)]
pub struct Activity {
    limit: Duration,
    last: Option<Time>,
    receiving: bool,
}

impl Activity {
    /// A stream counts as silent after `limit` without a packet; a limit of zero means that it never does.
    pub fn new(limit: Duration) -> Self {
        Activity { limit, last: None, receiving: false }
    }

    /// A packet has come.
    pub fn on_packet(&mut self, now: Time) -> Option<ActivityChange> {
        let silence = self.last.replace(now).map_or(Duration::ZERO, |last| now - last);
        let began = !core::mem::replace(&mut self.receiving, true);
        began.then_some(ActivityChange { receiving: true, silence })
    }

    /// Looks at the clock.
    pub fn on_timeout(&mut self, now: Time) -> Option<ActivityChange> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        self.receiving = false;
        Some(ActivityChange { receiving: false, silence: self.limit })
    }

    /// When [`Activity::on_timeout`] is to be called.
    pub fn deadline(&self) -> Option<Time> {
        let last = self.last.filter(|_| self.receiving && !self.limit.is_zero())?;
        Some(last + self.limit)
    }

    /// Media come at the moment.
    pub fn is_receiving(&self) -> bool {
        self.receiving
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_each_change_once() {
        let second = Duration::from_secs(1);
        let mut a = Activity::new(second);
        let ms = Time::from_millis;
        assert_eq!((a.deadline(), a.on_timeout(ms(9000))), (None, None));
        assert_eq!(a.on_packet(ms(100)), Some(ActivityChange { receiving: true, silence: Duration::ZERO }));
        assert_eq!(a.on_packet(ms(200)), None);
        assert_eq!((a.deadline(), a.on_timeout(ms(1199))), (Some(ms(1200)), None));
        assert_eq!(a.on_timeout(ms(1200)), Some(ActivityChange { receiving: false, silence: second }));
        assert_eq!((a.on_timeout(ms(1300)), a.is_receiving()), (None, false));
        let silence = Duration::from_millis(2800);
        assert_eq!(a.on_packet(ms(3000)), Some(ActivityChange { receiving: true, silence }));
        let mut never = Activity::new(Duration::ZERO);
        never.on_packet(ms(0));
        assert_eq!(never.deadline(), None);
    }
}
