use std::net::SocketAddr;
use std::time::Duration;

use bifrons_wire::stun::TransactionId;

use super::agent::Role;
use crate::Time;

/// Transmissions of one check, the first included. With [`RTOS_MAX`] they take as long as the 7 of
/// RFC 8489 §6.2.1 (Rc).
const SENDS_MAX: u8 = 18;
/// The longest wait between two transmissions, in first RTOs. RFC 8489 §6.2.1 doubles without end, which on a
/// path that loses a fifth of all datagrams leaves one call in a hundred waiting for 17 s or for good.
const RTOS_MAX: u32 = 4;
/// How many times the first RTO to wait after the last transmission (Rm, RFC 8489 §6.2.1).
const LAST_WAIT_RTOS: u32 = 16;

/// A check in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub id: TransactionId,
    /// Index of the local candidate that it goes from.
    pub local: u8,
    /// Our role when it was made: a retransmission repeats it, a 487 is about it.
    pub role: Role,
    pub use_candidate: bool,
    pub rto: Duration,
    pub sends: u8,
    /// When to send again, or to give up after [`SENDS_MAX`].
    pub next_at: Time,
}

impl Check {
    pub fn new(id: TransactionId, local: u8, role: Role, use_candidate: bool, rto: Duration) -> Check {
        Check { id, local, role, use_candidate, rto, sends: 0, next_at: Time::ZERO }
    }

    pub fn is_exhausted(&self) -> bool {
        self.sends >= SENDS_MAX
    }

    /// Notes a transmission and sets the time of the next one.
    pub fn sent(&mut self, now: Time) {
        self.sends += 1;
        let rtos =
            if self.is_exhausted() { LAST_WAIT_RTOS } else { RTOS_MAX.min(1 << (self.sends - 1).min(7)) };
        self.next_at = now + self.rto * rtos;
    }
}

/// A candidate pair that is being tried (RFC 8445 §6.1.2). The selected pair is not one of these any
/// more: it is the generation's `Path`.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Index of the local candidate.
    pub local: u8,
    pub remote: SocketAddr,
    /// RFC 8445 §6.1.2.3.
    pub priority: u64,
    /// The remote candidate's, to compute `priority` anew when roles change.
    pub remote_priority: u32,
    /// A check of ours was answered.
    pub valid: bool,
    /// The event was polled.
    pub announced: bool,
    /// Our check failed or timed out; another request from there revives the pair.
    pub failed: bool,
    /// The controlling peer nominated it (RFC 8445 §7.3.1.5).
    pub nominated: bool,
    /// A request came from there: to be checked before others (RFC 8445 §7.3.1.4).
    pub triggered: bool,
    pub check: Option<Check>,
}

impl Pair {
    pub fn new(local: u8, remote: SocketAddr, remote_priority: u32) -> Pair {
        Pair {
            local,
            remote,
            priority: 0,
            remote_priority,
            valid: false,
            announced: false,
            failed: false,
            nominated: false,
            triggered: false,
            check: None,
        }
    }

    /// Nothing was tried yet.
    pub fn is_waiting(&self) -> bool {
        !self.valid && !self.failed && self.check.is_none()
    }

    /// Whether its fate is still open.
    pub fn is_pending(&self) -> bool {
        self.is_waiting() || self.check.is_some()
    }

    pub fn set_priority(&mut self, role: Role, local_priority: u32) {
        let (controlling, controlled) = match role {
            Role::Controlling => (local_priority, self.remote_priority),
            Role::Controlled => (self.remote_priority, local_priority),
        };
        let (low, high) = (controlling.min(controlled), controlling.max(controlled));
        self.priority = u64::from(low) << 32 | u64::from(high) << 1 | u64::from(controlling > controlled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_compute_the_same_priority() {
        let remote = "192.0.2.1:1".parse().unwrap();
        let mut ours = Pair::new(0, remote, 100);
        ours.set_priority(Role::Controlling, 7);
        let mut theirs = Pair::new(0, remote, 7);
        theirs.set_priority(Role::Controlled, 100);
        assert_eq!(ours.priority, theirs.priority);
        // 2^32 * min + 2 * max + (controlling > controlled)
        assert_eq!(ours.priority, (7 << 32) + 200);
        ours.set_priority(Role::Controlled, 7);
        assert_eq!(ours.priority, (7 << 32) + 201);
    }

    #[test]
    fn transmissions_within_the_time_of_rfc_8489() {
        let mut check = Check::new([0; 12], 0, Role::Controlled, false, Duration::from_millis(500));
        let mut now = Time::ZERO;
        let mut at_ms = vec![];
        while !check.is_exhausted() {
            at_ms.push(now.as_millis());
            check.sent(now);
            now = check.next_at;
        }
        assert_eq!(at_ms[..6], [0, 500, 1_500, 3_500, 5_500, 7_500]);
        assert_eq!((at_ms.len(), at_ms.last()), (18, Some(&31_500)));
        assert_eq!(now, Time::from_millis(39_500));
    }
}
