use std::net::SocketAddr;

use bifrons_wire::stun::{Attribute, BINDING, Class, IntegrityKey, Message, Writer, error_code};

use super::agent::{Agent, Outcome, PEER_REFLEXIVE_MAX, REMOTE_CANDIDATES_MAX, Role, Sink};
use super::candidate::{Kind, RemoteCandidate};
use super::id::local_part;
use crate::Time;

/// Room for a response: the longest is 420 with all its attributes.
const RESPONSE_LEN_MAX: usize = 160;
/// The most unknown attributes that a 420 lists.
const UNKNOWN_MAX: usize = 8;

/// What an agent reads from a request.
#[derive(Clone, Copy, Debug, Default)]
struct Request<'a> {
    username: Option<&'a [u8]>,
    priority: Option<u32>,
    use_candidate: bool,
    /// The tie-breakers of ICE-CONTROLLING and ICE-CONTROLLED.
    controlling: Option<u64>,
    controlled: Option<u64>,
    unknown: [u16; UNKNOWN_MAX],
    unknown_len: usize,
}

impl<'a> Request<'a> {
    /// `None` where an attribute's value cannot be.
    fn read(message: &Message<'a>) -> Option<Request<'a>> {
        let mut request = Request::default();
        for attribute in message.attributes() {
            let attribute = attribute.ok()?;
            match attribute {
                // The first of a kind counts (RFC 8489 §14).
                Attribute::Username(value) => request.username = request.username.or(Some(value)),
                Attribute::Priority(value) => request.priority = request.priority.or(Some(value)),
                Attribute::UseCandidate => request.use_candidate = true,
                Attribute::IceControlling(value) => request.controlling = request.controlling.or(Some(value)),
                Attribute::IceControlled(value) => request.controlled = request.controlled.or(Some(value)),
                _ => {}
            }
            if let Some(kind) = attribute.is_unknown_required()
                && let Some(place) = request.unknown.get_mut(request.unknown_len)
            {
                *place = kind;
                request.unknown_len += 1;
            }
        }
        Some(request)
    }

    fn unknown(&self) -> &[u16] {
        self.unknown.get(..self.unknown_len).unwrap_or_default()
    }
}

/// Which credentials a request was made with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Current,
    Previous,
}

impl Agent {
    /// RFC 8445 §7.3. Nothing is said to a stranger: without the right integrity there is silence.
    pub(super) fn handle_request(
        &mut self,
        now: Time,
        local: u8,
        source: SocketAddr,
        message: &Message<'_>,
        out: &mut impl Sink,
    ) -> Outcome {
        let Some(request) = Request::read(message) else {
            self.counters.malformed += 1;
            return Outcome::Dropped;
        };
        let Some(ufrag) = request.username.and_then(local_part).filter(|_| message.has_integrity()) else {
            self.counters.requests_unsigned += 1;
            return Outcome::Dropped;
        };
        let Some(which) = self.generation_of(ufrag) else {
            self.counters.requests_unknown_username += 1;
            return Outcome::Dropped;
        };
        let key = match (which, &self.previous) {
            (Which::Previous, Some(previous)) => &previous.local.key,
            _ => &self.current.local.key,
        };
        if !message.verify_integrity(key) {
            self.counters.requests_wrong_integrity += 1;
            return Outcome::Dropped;
        }

        let Some(socket) = self.local.get(usize::from(local)).map(|local| local.socket) else {
            return Outcome::Dropped;
        };
        let mut buffer = [0; RESPONSE_LEN_MAX];
        let mut respond = |key: &IntegrityKey, class: Class, write: &dyn Fn(&mut Writer<'_>)| {
            let mut writer = Writer::new(&mut buffer, class, BINDING, message.transaction_id());
            write(&mut writer);
            if let Ok(len) = writer.integrity(key).fingerprint().finish()
                && let Some(datagram) = buffer.get(..len)
            {
                out.send(socket, source, datagram);
            }
            Outcome::Answered
        };

        if !request.unknown().is_empty() {
            self.counters.requests_unknown_attribute += 1;
            return respond(key, Class::Error, &|writer| {
                writer.error_code(error_code::UNKNOWN_ATTRIBUTE, "Unknown Attribute");
                writer.unknown_attributes(request.unknown());
            });
        }
        if request.controlling.is_some() && request.controlled.is_some() {
            self.counters.requests_bad += 1;
            return respond(key, Class::Error, &|writer| {
                writer.error_code(error_code::BAD_REQUEST, "Bad Request");
            });
        }
        let switch_to = match self.role_conflict(&request) {
            // The old generation's roles are settled.
            Some(_) if which == Which::Previous => None,
            Some(Conflict::Refuse) => {
                self.counters.requests_role_conflict += 1;
                return respond(key, Class::Error, &|writer| {
                    writer.error_code(error_code::ROLE_CONFLICT, "Role Conflict");
                });
            }
            Some(Conflict::Become(role)) => Some(role),
            None => None,
        };
        self.counters.requests_answered += 1;
        respond(key, Class::Success, &|writer| {
            writer.xor_mapped_address(source);
        });
        if let Some(role) = switch_to {
            self.set_role(role);
        }
        match which {
            Which::Current => self.learn(now, local, source, &request),
            Which::Previous => {
                if let Some(path) = self.previous.as_mut().and_then(|previous| previous.path.as_mut())
                    && self.lite
                    && path.is(local, source)
                {
                    path.grant(now);
                }
            }
        }
        Outcome::Answered
    }

    fn generation_of(&self, ufrag: &[u8]) -> Option<Which> {
        if self.current.local.ufrag().as_bytes() == ufrag {
            return Some(Which::Current);
        }
        let previous = self.previous.as_ref()?;
        (previous.local.ufrag().as_bytes() == ufrag).then_some(Which::Previous)
    }

    /// RFC 8445 §7.3.1.1. A lite agent never controls.
    fn role_conflict(&self, request: &Request<'_>) -> Option<Conflict> {
        match (self.role, request.controlling, request.controlled) {
            (Role::Controlling, Some(theirs), _) if self.tie_breaker < theirs => {
                Some(Conflict::Become(Role::Controlled))
            }
            (Role::Controlling, Some(_), _) => Some(Conflict::Refuse),
            (Role::Controlled, _, Some(theirs)) if self.tie_breaker >= theirs && !self.lite => {
                Some(Conflict::Become(Role::Controlling))
            }
            (Role::Controlled, _, Some(_)) => Some(Conflict::Refuse),
            _ => None,
        }
    }

    /// Peer-reflexive candidate, triggered check and nomination (RFC 8445 §7.3.1.3–7.3.1.5).
    fn learn(&mut self, now: Time, local: u8, source: SocketAddr, request: &Request<'_>) {
        if self.failed {
            return;
        }
        let nominated = request.use_candidate && self.role == Role::Controlled;
        if self.lite {
            match &mut self.current.path {
                Some(path) if path.is(local, source) => path.grant(now),
                _ if nominated && self.policy.check(source).is_ok() => {
                    self.select(now, local, source, false, false);
                }
                _ => {}
            }
            return;
        }
        if let Some(path) = &self.current.path {
            // After the selection others are answered only, unless the peer moves the selection, or
            // the path has gone silent.
            if path.is(local, source) || !(nominated || path.is_disconnected()) {
                return;
            }
        }
        let known = self.pairs.iter().position(|pair| pair.local == local && pair.remote == source);
        let Some(index) = known.or_else(|| self.learn_pair(local, source, request.priority)) else { return };
        let Some(pair) = self.pairs.get_mut(index) else { return };
        if pair.valid {
            if nominated {
                let announced = pair.announced;
                self.select(now, local, source, true, announced);
            } else {
                // The peer still checks, so it may have missed a nomination: say it again.
                pair.triggered = pair.check.is_some();
            }
            return;
        }
        pair.nominated |= nominated;
        pair.triggered = true;
    }

    /// The pair of a source that signalling has not named, or not yet.
    fn learn_pair(&mut self, local: u8, source: SocketAddr, priority: Option<u32>) -> Option<usize> {
        let signalled = self.remote_candidates.iter().find(|known| known.address == source);
        let priority = match signalled {
            Some(known) => known.priority,
            None => {
                let priority = priority?;
                let learned = |known: &&RemoteCandidate| known.kind == Kind::PeerReflexive;
                let full = self.remote_candidates.len() >= REMOTE_CANDIDATES_MAX
                    || self.remote_candidates.iter().filter(learned).count() >= PEER_REFLEXIVE_MAX;
                if full || self.check_address(source).is_err() {
                    self.counters.sources_not_learned += 1;
                    return None;
                }
                let kind = Kind::PeerReflexive;
                self.remote_candidates.push(RemoteCandidate { address: source, priority, kind });
                priority
            }
        };
        self.add_pair(local, source, priority, true)
    }
}

/// How a role conflict ends.
enum Conflict {
    Become(Role),
    Refuse,
}
