use std::net::SocketAddr;

use bifrons_wire::stun::{Attribute, Class, Message, error_code};

use super::agent::{Agent, Outcome, Role};
use super::pair::Check;
use crate::Time;

/// Which check a response answers.
#[derive(Clone, Copy)]
enum Answered {
    Pair(usize),
    CurrentPath,
    PreviousPath,
}

impl Agent {
    /// RFC 8445 §7.2.5. A response counts when its id is in flight, its integrity is right, and it
    /// came from where the check went to the socket that sent it; and it counts once.
    pub(super) fn handle_response(
        &mut self,
        now: Time,
        local: u8,
        source: SocketAddr,
        message: &Message<'_>,
    ) -> Outcome {
        let Some((answered, check, remote)) = self.in_flight(message) else {
            self.counters.responses_unknown += 1;
            return Outcome::Dropped;
        };
        let generation = match (answered, &self.previous) {
            (Answered::PreviousPath, Some(previous)) => previous,
            _ => &self.current,
        };
        if !generation.remote.as_ref().is_some_and(|theirs| message.verify_integrity(&theirs.key)) {
            self.counters.responses_wrong_integrity += 1;
            return Outcome::Dropped;
        }
        if source != remote || local != check.local {
            self.counters.responses_wrong_address += 1;
            return Outcome::Dropped;
        }
        let Some(result) = Reply::read(message) else {
            self.counters.malformed += 1;
            return Outcome::Dropped;
        };
        match answered {
            Answered::Pair(index) => self.check_answered(now, index, &check, result),
            Answered::CurrentPath | Answered::PreviousPath => self.consent_answered(now, answered, result),
        }
        Outcome::Accepted
    }

    fn in_flight(&self, message: &Message<'_>) -> Option<(Answered, Check, SocketAddr)> {
        let id = message.transaction_id();
        let previous = self.previous.as_ref().and_then(|previous| previous.path.as_ref());
        let paths = [(Answered::CurrentPath, self.current.path.as_ref()), (Answered::PreviousPath, previous)];
        let paths = paths.into_iter().filter_map(|(answered, path)| {
            let path = path?;
            Some((answered, path.check?, path.remote))
        });
        let pairs = self.pairs.iter().enumerate();
        let pairs = pairs.filter_map(|(index, pair)| Some((Answered::Pair(index), pair.check?, pair.remote)));
        paths.chain(pairs).find(|(_, check, _)| check.id == id)
    }

    fn check_answered(&mut self, now: Time, index: usize, check: &Check, reply: Reply) {
        let Some(pair) = self.pairs.get_mut(index) else { return };
        pair.check = None;
        match reply {
            Reply::Success => {
                self.counters.responses_accepted += 1;
                pair.valid = true;
                pair.failed = false;
                pair.triggered = false;
                self.first_valid_at.get_or_insert(now);
                let nominated = check.use_candidate || (pair.nominated && self.role == Role::Controlled);
                if nominated {
                    let (local, remote, announced) = (pair.local, pair.remote, pair.announced);
                    self.select(now, local, remote, true, announced);
                }
            }
            Reply::RoleConflict => {
                self.counters.responses_role_conflict += 1;
                pair.triggered = true;
                // The role may have changed since, by a request (RFC 8445 §7.2.5.1).
                if check.role == self.role {
                    self.set_role(check.role.other());
                }
            }
            Reply::Error => {
                self.counters.responses_error += 1;
                pair.valid = false;
                pair.failed = true;
            }
        }
    }

    fn consent_answered(&mut self, now: Time, answered: Answered, reply: Reply) {
        let path = match answered {
            Answered::PreviousPath => self.previous.as_mut().and_then(|previous| previous.path.as_mut()),
            _ => self.current.path.as_mut(),
        };
        let Some(path) = path else { return };
        // An error grants nothing; the next check follows in its time.
        match reply {
            Reply::Success => {
                self.counters.responses_accepted += 1;
                let recovered = path.is_disconnected();
                path.grant(now);
                if recovered && matches!(answered, Answered::CurrentPath) {
                    self.forget_pairs();
                }
            }
            Reply::RoleConflict => {
                self.counters.responses_role_conflict += 1;
                if path.check.take().is_some_and(|check| check.role == self.role) {
                    self.set_role(self.role.other());
                }
            }
            Reply::Error => {
                self.counters.responses_error += 1;
                path.misses = path.misses.saturating_add(1);
                path.check = None;
            }
        }
    }
}

/// What a response says.
enum Reply {
    Success,
    RoleConflict,
    Error,
}

impl Reply {
    /// `None` where an attribute is malformed, is not understood and must be, or is absent.
    fn read(message: &Message<'_>) -> Option<Reply> {
        let (mut mapped, mut code) = (false, None);
        for attribute in message.attributes() {
            let attribute = attribute.ok()?;
            match attribute {
                Attribute::XorMappedAddress(_) | Attribute::MappedAddress(_) => mapped = true,
                Attribute::ErrorCode(error) => code = code.or(Some(error.code)),
                _ if attribute.is_unknown_required().is_some() => return None,
                _ => {}
            }
        }
        match (message.class(), code) {
            (Class::Success, _) if mapped => Some(Reply::Success),
            (Class::Error, Some(error_code::ROLE_CONFLICT)) => Some(Reply::RoleConflict),
            (Class::Error, Some(_)) => Some(Reply::Error),
            _ => None,
        }
    }
}
