use std::net::SocketAddr;
use std::time::Duration;

use bifrons_wire::stun::{BINDING, Class, Fingerprint, Message};

use super::candidate::{self, AddressPolicy, Candidate, Ignored, Kind, RemoteCandidate};
use super::consent::Path;
use super::pair::Pair;
use super::{Counters, LocalCredentials, Random, RemoteCredentials, TransactionIds};
use crate::Time;

/// The most local candidates of an agent.
pub const LOCAL_CANDIDATES_MAX: usize = 4;
/// The most remote candidates, learned ones included.
pub const REMOTE_CANDIDATES_MAX: usize = 16;
/// The most of them that are peer-reflexive.
pub const PEER_REFLEXIVE_MAX: usize = 8;
/// The most pairs being tried.
pub const PAIRS_MAX: usize = 32;

/// Who nominates (RFC 8445 §6.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nominates: the offerer, and always the full agent towards a lite one.
    Controlling,
    /// Follows.
    Controlled,
}

impl Role {
    /// The peer's role.
    pub fn other(self) -> Role {
        match self {
            Role::Controlling => Role::Controlled,
            Role::Controlled => Role::Controlling,
        }
    }
}

/// What happens when consent has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConsentLoss {
    /// The path is given up, as RFC 7675 demands: nothing may be sent any more.
    #[default]
    Fail,
    /// The state stays [`State::Disconnected`] and checks go on. For peers known to answer no checks
    /// once connected; whoever chooses it sends without consent.
    Report,
}

/// All times an agent goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Pace of checks, retransmissions included (Ta, RFC 8445 §14.2).
    pub ta: Duration,
    /// The least retransmission timeout (RFC 8445 §14.3).
    pub rto_min: Duration,
    /// How long a controlling agent waits for a pair of higher priority after the first valid one.
    pub nomination_wait: Duration,
    /// Mean time between consent checks; each interval is this × 0.8–1.2 (RFC 7675 §5.1).
    pub consent_interval: Duration,
    /// Consent ends this long after the last valid response (RFC 7675 §5.1).
    pub consent_expiry: Duration,
    /// With the end of candidates known, no failure is declared before (RFC 8863 §4).
    pub patience: Duration,
    /// Without a selected pair the agent fails at the latest now, counted from the remote credentials.
    pub give_up: Duration,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            ta: Duration::from_millis(50),
            rto_min: Duration::from_millis(500),
            nomination_wait: Duration::from_millis(200),
            consent_interval: Duration::from_secs(5),
            consent_expiry: Duration::from_secs(30),
            patience: Duration::from_millis(39_500),
            give_up: Duration::from_secs(60),
        }
    }
}

/// A local host candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalCandidate {
    /// The driver's number of the socket, given back with each datagram.
    pub socket: u8,
    /// The address that the socket is bound to (the base).
    pub address: SocketAddr,
    /// What the peer is told instead, behind a 1:1 NAT.
    pub advertised: Option<SocketAddr>,
}

/// What an agent is made from.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The role by offer and answer; a conflict is settled by the tie-breakers.
    pub role: Role,
    /// Whether this side is lite: answers, sends no checks, is always controlled.
    pub lite: bool,
    /// The engine's slot and generation of the leg.
    pub token: u32,
    /// A random number that settles role conflicts.
    pub tie_breaker: u64,
    /// Up to [`LOCAL_CANDIDATES_MAX`], the preferred first; further ones are dropped.
    pub local: Vec<LocalCandidate>,
    /// The worker's.
    pub transaction_ids: TransactionIds,
    /// Which remote addresses may be checked or learned.
    pub policy: AddressPolicy,
    /// What happens when consent has expired.
    pub consent_loss: ConsentLoss,
    /// All times.
    pub timers: Timers,
}

/// Takes the datagrams of an agent at once; they are gone when the call returns.
pub trait Sink {
    /// Sends `datagram` from the socket with this number.
    fn send(&mut self, socket: u8, destination: SocketAddr, datagram: &[u8]);
}

impl<F: FnMut(u8, SocketAddr, &[u8])> Sink for F {
    fn send(&mut self, socket: u8, destination: SocketAddr, datagram: &[u8]) {
        self(socket, destination, datagram);
    }
}

/// What became of a message given to [`Agent::handle_stun`]. The reasons are in [`Counters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A request with right integrity; a response was sent, success or error.
    Answered,
    /// A response with right integrity to a check in flight.
    Accepted,
    /// Nothing was sent and nothing has changed.
    Dropped,
}

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No pair is selected: nothing but STUN may be sent.
    Checking,
    /// A pair is selected.
    Connected,
    /// A pair is selected, two consent checks in a row were not answered.
    Disconnected,
    /// Checks or consent have failed: nothing may be sent. Only a restart helps.
    Failed,
}

/// The pair that media uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectedPair {
    /// The driver's number of the local socket.
    pub socket: u8,
    /// Its address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Whether a check of ours to it was answered. False only as lite agent: then nothing but STUN
    /// and DTLS may go there until DTLS is through.
    pub validated: bool,
}

/// What [`Agent::poll_event`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A check of ours to this address was answered for the first time: packets from there are the
    /// peer's.
    Validated {
        /// The driver's number of the local socket.
        socket: u8,
        /// The peer's address.
        remote: SocketAddr,
    },
    /// Media goes over this pair from now on.
    Selected(SelectedPair),
    /// The state is another one.
    State(State),
}

/// Credentials and selected pair between two restarts.
#[derive(Debug)]
pub(super) struct Generation {
    pub local: LocalCredentials,
    pub remote: Option<RemoteCredentials>,
    pub path: Option<Path>,
}

/// The ICE agent of one leg.
#[derive(Debug)]
pub struct Agent {
    pub(super) role: Role,
    pub(super) lite: bool,
    pub(super) remote_lite: bool,
    pub(super) token: u32,
    pub(super) tie_breaker: u64,
    pub(super) ids: TransactionIds,
    pub(super) policy: AddressPolicy,
    pub(super) consent_loss: ConsentLoss,
    pub(super) timers: Timers,
    pub(super) local: Vec<LocalCandidate>,
    pub(super) current: Generation,
    /// Answers, and keeps consent and media, until the current one has a path.
    pub(super) previous: Option<Generation>,
    pub(super) remote_candidates: Vec<RemoteCandidate>,
    pub(super) pairs: Vec<Pair>,
    pub(super) no_more_candidates: bool,
    /// No check leaves before (Ta).
    pub(super) next_send_at: Time,
    /// When checks of this generation began.
    pub(super) started_at: Option<Time>,
    pub(super) first_valid_at: Option<Time>,
    pub(super) failed: bool,
    pub(super) selection_announced: bool,
    pub(super) state_announced: State,
    pub(super) counters: Counters,
}

/// There are no more pairs than candidates on one side by candidates on the other: most agents have one address,
/// and need half of what two would.
fn pairs_max(local_count: usize) -> usize {
    PAIRS_MAX.min(local_count * REMOTE_CANDIDATES_MAX)
}

impl Agent {
    /// An agent with fresh credentials. Allocates all that it will ever need.
    pub fn new(config: AgentConfig, random: &mut impl Random) -> Agent {
        let mut local = config.local;
        local.truncate(LOCAL_CANDIDATES_MAX);
        let local_count = local.len();
        Agent {
            role: if config.lite { Role::Controlled } else { config.role },
            lite: config.lite,
            remote_lite: false,
            token: config.token,
            tie_breaker: config.tie_breaker,
            ids: config.transaction_ids,
            policy: config.policy,
            consent_loss: config.consent_loss,
            timers: config.timers,
            local,
            current: Generation {
                local: LocalCredentials::new(config.token, random),
                remote: None,
                path: None,
            },
            previous: None,
            remote_candidates: Vec::with_capacity(REMOTE_CANDIDATES_MAX),
            pairs: Vec::with_capacity(pairs_max(local_count)),
            no_more_candidates: false,
            next_send_at: Time::ZERO,
            started_at: None,
            first_valid_at: None,
            failed: false,
            selection_announced: true,
            state_announced: State::Checking,
            counters: Counters::default(),
        }
    }

    /// Our ufrag and password of the current generation.
    pub fn local_credentials(&self) -> &LocalCredentials {
        &self.current.local
    }

    /// Our candidates as the peer is told them.
    pub fn local_candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.local.iter().enumerate().map(|(index, local)| {
            let address = local.advertised.unwrap_or(local.address);
            Candidate::host(address, local_preference(index), (index + 1).to_string())
        })
    }

    /// The same, with the private address of each that has a public one after it: for peers on our own
    /// side of a 1:1 NAT. To the agent both are one, since they arrive on one socket.
    pub fn local_candidates_with_private(&self) -> impl Iterator<Item = Candidate> + '_ {
        let both = self.local.iter().flat_map(|local| {
            let public = local.advertised.filter(|public| *public != local.address);
            public.into_iter().chain([local.address])
        });
        let number =
            |(index, address)| Candidate::host(address, local_preference(index), (index + 1).to_string());
        both.enumerate().map(number)
    }

    /// Our role now.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Sets the role by a new offer and answer. A lite agent stays controlled.
    pub fn set_role(&mut self, role: Role) {
        if !self.lite {
            self.role = role;
            self.prioritize();
        }
    }

    /// The peer's `a=ice-lite`: then this side controls, and nominates the first answered pair.
    pub fn set_remote_lite(&mut self, lite: bool) {
        self.remote_lite = lite;
        if lite {
            self.set_role(Role::Controlling);
        }
    }

    /// The peer's credentials of the current generation; checks may begin.
    pub fn set_remote_credentials(&mut self, remote: RemoteCredentials) {
        self.current.remote = Some(remote);
    }

    /// The peer's credentials of the current generation, once set.
    pub fn remote_credentials(&self) -> Option<&RemoteCredentials> {
        self.current.remote.as_ref()
    }

    /// Adds a candidate from signalling, at any time; [`Ignored`] says why it is not checked, and is
    /// no error.
    pub fn add_remote_candidate(&mut self, candidate: RemoteCandidate) -> Result<(), Ignored> {
        let result = self.try_add(candidate);
        if result.is_err() {
            self.counters.candidates_ignored += 1;
        }
        result
    }

    fn try_add(&mut self, candidate: RemoteCandidate) -> Result<(), Ignored> {
        if self.lite {
            return Err(Ignored::Lite);
        }
        if self.current.path.is_some() {
            return Err(Ignored::Selected);
        }
        self.check_address(candidate.address)?;
        if let Some(known) =
            self.remote_candidates.iter_mut().find(|known| known.address == candidate.address)
        {
            if known.kind != Kind::PeerReflexive {
                return Err(Ignored::Duplicate);
            }
            // Learned before it was signalled (RFC 8838): its proper priority is known now.
            *known = candidate;
            for pair in self.pairs.iter_mut().filter(|pair| pair.remote == candidate.address) {
                pair.remote_priority = candidate.priority;
            }
            self.prioritize();
            return Ok(());
        }
        if self.remote_candidates.len() >= REMOTE_CANDIDATES_MAX {
            return Err(Ignored::Full);
        }
        self.remote_candidates.push(candidate);
        for local in 0..self.local.len() as u8 {
            self.add_pair(local, candidate.address, candidate.priority, false);
        }
        Ok(())
    }

    /// Whether an address may be checked: the policy, and rules that depend on our own addresses.
    pub(super) fn check_address(&self, address: SocketAddr) -> Result<(), Ignored> {
        self.policy.check(address)?;
        if self.local.iter().any(|local| local.address == address || local.advertised == Some(address)) {
            return Err(Ignored::Own);
        }
        if !self.local.iter().any(|local| local.address.is_ipv4() == address.is_ipv4()) {
            return Err(Ignored::Family);
        }
        Ok(())
    }

    /// The peer has no more candidates (RFC 8838).
    pub fn end_of_candidates(&mut self) {
        self.no_more_candidates = true;
    }

    /// Begins a new generation with fresh credentials (RFC 8445 §9). The old one answers, and keeps
    /// consent and media, until a pair of the new one is selected.
    pub fn restart(&mut self, random: &mut impl Random) {
        let local = LocalCredentials::new(self.token, random);
        let old = std::mem::replace(&mut self.current, Generation { local, remote: None, path: None });
        if old.path.is_some() || self.previous.as_ref().is_none_or(|previous| previous.path.is_none()) {
            self.previous = Some(old);
        }
        self.forget_pairs();
        self.no_more_candidates = false;
        self.remote_lite = false;
        self.started_at = None;
        self.failed = false;
        self.counters.restarts += 1;
    }

    /// Takes a STUN message that came from `source` on the socket with this number. A response to a
    /// request is sent before this returns.
    pub fn handle_stun(
        &mut self,
        now: Time,
        socket: u8,
        source: SocketAddr,
        message: &Message<'_>,
        out: &mut impl Sink,
    ) -> Outcome {
        let local = self.local.iter().position(|local| local.socket == socket);
        let (Some(local), BINDING) = (local, message.method()) else {
            self.counters.malformed += 1;
            return Outcome::Dropped;
        };
        if message.fingerprint() == Fingerprint::Wrong {
            self.counters.wrong_fingerprint += 1;
            return Outcome::Dropped;
        }
        let local = local as u8;
        match message.class() {
            Class::Request => self.handle_request(now, local, source, message, out),
            Class::Success | Class::Error => self.handle_response(now, local, source, message),
            Class::Indication => {
                self.counters.indications += 1;
                Outcome::Dropped
            }
        }
    }

    /// Does what is due: consent, one check, giving up. Early calls do no harm; late calls send no
    /// more than one check.
    pub fn on_timeout(&mut self, now: Time, random: &mut impl Random, out: &mut impl Sink) {
        self.keep_consent(now, random, out);
        self.run_checks(now, random, out);
    }

    /// When [`on_timeout`](Agent::on_timeout) is wanted; a time in the past means at once.
    pub fn next_timeout(&self) -> Option<Time> {
        let paths =
            [self.previous.as_ref().and_then(|previous| previous.path.as_ref()), self.current.path.as_ref()];
        let consent = paths.into_iter().flatten().map(|path| path.due_at(self.lite, &self.timers)).min();
        [consent, self.checks_due_at()].into_iter().flatten().min()
    }

    /// What has happened, oldest kind first; call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        let path = self.current.path.as_mut().filter(|path| path.validated && !path.announced);
        let news = match path {
            Some(path) => Some((&mut path.announced, path.local, path.remote)),
            None => self
                .pairs
                .iter_mut()
                .find(|pair| pair.valid && !pair.announced)
                .map(|pair| (&mut pair.announced, pair.local, pair.remote)),
        };
        if let Some((announced, local, remote)) = news {
            *announced = true;
            if let Some(local) = self.local.get(usize::from(local)) {
                return Some(Event::Validated { socket: local.socket, remote });
            }
        }
        if !self.selection_announced {
            self.selection_announced = true;
            if let Some(selected) = self.selected() {
                return Some(Event::Selected(selected));
            }
        }
        let state = self.state();
        if state != self.state_announced {
            self.state_announced = state;
            return Some(Event::State(state));
        }
        None
    }

    /// The path of the current generation, else of the one before.
    fn path(&self) -> Option<&Path> {
        let previous = self.previous.as_ref();
        self.current.path.as_ref().or_else(|| previous.and_then(|previous| previous.path.as_ref()))
    }

    /// Names the memory that [`Agent::selected`] needs, so that it can be asked for before.
    #[inline]
    pub fn hot_lines(&self, mut line: impl FnMut(*const u8)) {
        line((&raw const self.current.path).cast());
        line((&raw const self.previous).cast());
        line((&raw const self.local).cast());
    }

    /// The pair to send over, while there is one. Nothing may be sent without.
    pub fn selected(&self) -> Option<SelectedPair> {
        let path = self.path()?;
        let local = self.local.get(usize::from(path.local))?;
        Some(SelectedPair {
            socket: local.socket,
            local: local.address,
            remote: path.remote,
            validated: path.validated,
        })
    }

    /// Where the agent stands.
    pub fn state(&self) -> State {
        match self.path() {
            Some(path) if path.is_disconnected() => State::Disconnected,
            Some(_) => State::Connected,
            None if self.failed => State::Failed,
            None => State::Checking,
        }
    }

    /// What the agent has seen and done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Makes a pair the selected one of the current generation. All others are forgotten, the old
    /// generation as well: from now on requests from elsewhere are answered, no more.
    pub(super) fn select(
        &mut self,
        now: Time,
        local: u8,
        remote: SocketAddr,
        validated: bool,
        announced: bool,
    ) {
        self.forget_pairs();
        self.previous = None;
        match &mut self.current.path {
            Some(path) if path.is(local, remote) => path.grant(now),
            path => {
                *path = Some(Path::new(local, remote, validated, announced, now));
                self.selection_announced = false;
                self.counters.selections += 1;
            }
        }
    }

    pub(super) fn forget_pairs(&mut self) {
        self.pairs.clear();
        self.remote_candidates.clear();
        self.first_valid_at = None;
    }

    /// Makes a pair where families fit and gives its index. When all places are taken the failed, else
    /// the lowest waiting pair goes; `force` (a request came from there) wins over priority.
    pub(super) fn add_pair(
        &mut self,
        local: u8,
        remote: SocketAddr,
        remote_priority: u32,
        force: bool,
    ) -> Option<usize> {
        let base = self.local.get(usize::from(local))?.address;
        if base.is_ipv4() != remote.is_ipv4() {
            return None;
        }
        let mut pair = Pair::new(local, remote, remote_priority);
        pair.set_priority(self.role, candidate::priority(Kind::Host, local_preference(local.into())));
        if self.pairs.len() < pairs_max(self.local.len()) {
            self.pairs.push(pair);
            return Some(self.pairs.len() - 1);
        }
        self.counters.pairs_refused += 1;
        let replaceable = self
            .pairs
            .iter()
            .enumerate()
            .filter(|(_, old)| old.failed || (old.is_waiting() && !old.triggered));
        let (index, place) = replaceable.min_by_key(|(_, old)| (!old.failed, old.priority))?;
        if !place.failed && !force && place.priority >= pair.priority {
            return None;
        }
        *self.pairs.get_mut(index)? = pair;
        Some(index)
    }

    /// Computes all priorities anew, after a change of role or of a remote priority.
    pub(super) fn prioritize(&mut self) {
        for pair in &mut self.pairs {
            let local_priority = candidate::priority(Kind::Host, local_preference(pair.local.into()));
            pair.set_priority(self.role, local_priority);
        }
    }
}

/// The first local candidate is the preferred one.
pub(super) fn local_preference(index: usize) -> u16 {
    u16::MAX - index as u16
}
