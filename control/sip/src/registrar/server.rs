use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bifrons_sip_protocol::{FromSip, ServerId, ToSip};

use super::bindings::{Bindings, EXPIRES_S, Refused};
use crate::digest::{Secret, Verdict, Verifier, ha1};
use crate::message::{AuthValue, Headers, Message, Method, SipUri, Uri};
use crate::ua::random::Random;
use crate::ua::status;
use crate::ua::{AccountConfig, AccountId, CallId, Config, RequestOptions, Source, UaError, UserAgent};

/// How long a nonce may be used, in milliseconds.
const NONCE_MS: u64 = 600_000;

/// A user of the registrar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name: user part of its address and digest user.
    pub name: String,
    /// Its password, or its HA1 for MD5 (then SHA-256 does not work).
    pub secret: Secret,
}

/// Configuration of a [`Registrar`].
#[derive(Debug, Clone)]
pub struct RegistrarConfig {
    /// Domain: realm, and host of its users' addresses.
    pub domain: String,
    /// Users.
    pub users: Vec<User>,
    /// User name of the echo phone.
    pub echo: String,
    /// User name that refuses every call and has its owner call back ([`RegistrarEvent::CallBackWanted`]).
    pub callback: String,
    /// Its user agent: listeners, limits. One ident.
    pub agent: Config,
}

/// What the owner of a [`Registrar`] hears of.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistrarEvent {
    /// Somebody calls the echo phone: answer with [`Registrar::echo_answer`].
    EchoOffer {
        /// The call.
        call: CallId,
        /// Its offer; `None`: the answer has to be an offer.
        sdp: Option<Vec<u8>>,
    },
    /// A new offer in a call of the echo phone: answer with [`Registrar::echo_answer`] as well.
    EchoReoffer {
        /// The call.
        call: CallId,
        /// Its offer; `None`: the answer has to be an offer.
        sdp: Option<Vec<u8>>,
    },
    /// The answer to an offer of the echo phone.
    EchoAnswered {
        /// The call.
        call: CallId,
        /// The answer.
        sdp: Vec<u8>,
    },
    /// A call of the echo phone is over: free its media.
    EchoEnded {
        /// The call.
        call: CallId,
    },
    /// A user has sent the echo phone a MESSAGE, or called the user for that: it wants to be called by
    /// [`Registrar::call_back`].
    CallBackWanted {
        /// The user.
        user: String,
    },
    /// A user's registration has changed.
    Registered {
        /// The user.
        user: String,
        /// It can be reached.
        reachable: bool,
    },
}

/// The registrar.
pub struct Registrar {
    pub(super) agent: UserAgent,
    pub(super) account: AccountId,
    pub(super) domain: String,
    pub(super) echo: String,
    pub(super) callback: String,
    users: HashMap<String, Secret>,
    pub(super) bindings: Bindings,
    verifier: Verifier,
    random: Random,
    out: Vec<ToSip>,
    pub(super) events: std::collections::VecDeque<RegistrarEvent>,
    /// Joined calls, each under both of its halves.
    pub(super) bridges: HashMap<CallId, CallId>,
    /// Calls of the echo phone.
    pub(super) echoes: HashMap<CallId, ()>,
}

impl Registrar {
    /// A registrar; its agent asks for its listeners.
    ///
    /// # Errors
    /// As [`UserAgent::new`], or [`UaError::NoListener`] without listeners.
    pub fn new(now_ms: u64, config: RegistrarConfig) -> Result<Self, UaError> {
        let mut random = match config.agent.seed {
            Some(seed) => Random::new(seed.map(|byte| !byte)),
            None => Random::from_system().map_err(|_| UaError::Random)?,
        };
        let key = random.bytes();
        let mut agent = UserAgent::new(config.agent)?;
        // Everyone may ask; who it is, the digest says.
        let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let aor = SipUri { user: Some("registrar".into()), ..SipUri::from_host(config.domain.clone(), None) };
        let account = agent.register(
            now_ms,
            AccountConfig {
                register: false,
                any_user: true,
                sources: everywhere.map(|address| Source { address, prefix: 0 }).to_vec(),
                ..AccountConfig::new(aor)
            },
        )?;
        Ok(Self {
            agent,
            account,
            verifier: Verifier::new(config.domain.clone(), key, NONCE_MS),
            domain: config.domain,
            echo: config.echo,
            callback: config.callback,
            users: config.users.into_iter().map(|user| (user.name, user.secret)).collect(),
            bindings: Bindings::default(),
            random,
            out: Vec::new(),
            events: std::collections::VecDeque::new(),
            bridges: HashMap::new(),
            echoes: HashMap::new(),
        })
    }

    /// As [`UserAgent::poll_output`].
    pub fn poll_output(&mut self) -> Option<ToSip> {
        if self.out.is_empty() { self.agent.poll_output() } else { Some(self.out.remove(0)) }
    }

    /// The next event for its owner.
    pub fn poll_event(&mut self) -> Option<RegistrarEvent> {
        self.events.pop_front()
    }

    /// As [`UserAgent::next_timeout`].
    pub fn next_timeout(&self) -> Option<u64> {
        self.agent.next_timeout()
    }

    /// As [`UserAgent::on_timeout`].
    pub fn on_timeout(&mut self, now_ms: u64) {
        self.agent.on_timeout(now_ms);
        self.hear(now_ms);
    }

    /// As [`UserAgent::process_restarted`].
    pub fn process_restarted(&mut self, now_ms: u64) {
        self.out.clear();
        self.agent.process_restarted(now_ms);
        self.hear(now_ms);
    }

    /// As [`UserAgent::handle`].
    pub fn handle(&mut self, now_ms: u64, message: FromSip) {
        if let FromSip::Request { id, text, .. } = &message
            && let Ok(request) = Message::parse(text)
            && request.to.tag().is_none()
        {
            let id = *id;
            match request.cseq.method {
                Method::Register => {
                    self.register(now_ms, id, &request);
                    return;
                }
                Method::Invite | Method::Message if !self.is_user(now_ms, id, &request) => return,
                Method::Refer | Method::Notify | Method::Publish => {
                    self.respond(id, 405, Headers::default());
                    return;
                }
                _ => {}
            }
        }
        self.agent.handle(now_ms, message);
        self.hear(now_ms);
    }

    /// Answers an offer to the echo phone ([`RegistrarEvent::EchoOffer`], [`RegistrarEvent::EchoReoffer`]).
    ///
    /// # Errors
    /// [`UaError`] if the call is over.
    pub fn echo_answer(&mut self, now_ms: u64, call: CallId, sdp: Vec<u8>) -> Result<(), UaError> {
        match self.agent.accept(now_ms, call, sdp.clone(), &[]) {
            Err(UaError::State(_)) => self.agent.answer_reinvite(now_ms, call, sdp, &[]),
            other => other,
        }
    }

    /// The echo phone calls a user with an offer; [`RegistrarEvent::EchoAnswered`] or
    /// [`RegistrarEvent::EchoEnded`] follows.
    ///
    /// # Errors
    /// [`UaError::State`] if the user is not registered.
    pub fn call_back(&mut self, now_ms: u64, user: &str, sdp: Vec<u8>) -> Result<CallId, UaError> {
        let target = self.bindings.target(now_ms, user).ok_or(UaError::State("not registered"))?;
        let from = self.address(&self.echo.clone());
        let options = RequestOptions { from, ..RequestOptions::default() };
        let call = self.agent.invite(now_ms, self.account, &target, Some(sdp), options)?;
        self.echoes.insert(call, ());
        Ok(call)
    }

    /// Ends a call of the echo phone.
    ///
    /// # Errors
    /// [`UaError::NoCall`] if it is over.
    pub fn echo_hangup(&mut self, now_ms: u64, call: CallId) -> Result<(), UaError> {
        self.agent.hangup(now_ms, call, &[])
    }

    /// True if the registrar has this user (registered or not).
    pub fn has_user(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    pub(super) fn address(&self, user: &str) -> Option<crate::message::NameAddr> {
        let uri = Uri::parse(&format!("sip:{user}@{}", self.domain)).ok()?;
        Some(crate::message::NameAddr::new(uri))
    }

    fn respond(&mut self, id: ServerId, code: u16, headers: Headers) {
        let mut lines = Vec::new();
        headers.write(&mut lines);
        self.out.push(ToSip::Respond {
            id,
            status: code,
            reason: status::phrase(code).to_owned(),
            to_tag: self.random.token(8),
            headers: lines,
            body: Vec::new(),
            reliable: None,
        });
    }

    /// Checks the credentials of `user`; challenges where they are missing, old or wrong.
    fn authenticate(
        &mut self,
        now_ms: u64,
        id: ServerId,
        request: &Message,
        user: &str,
        proxy: bool,
    ) -> bool {
        let (from, to, code) = if proxy {
            ("Proxy-Authorization", "Proxy-Authenticate", 407)
        } else {
            ("Authorization", "WWW-Authenticate", 401)
        };
        let ours = request.headers.all(from).filter_map(|line| AuthValue::parse(line).ok());
        let ours =
            ours.into_iter().find(|value| value.param("realm").as_deref() == Some(self.verifier.realm()));
        let mut verdict = Verdict::Invalid;
        if let Some(value) = ours.filter(|value| value.param("username").as_deref() == Some(user)) {
            let (users, domain) = (&self.users, self.domain.clone());
            verdict = self.verifier.verify(
                now_ms,
                &value,
                request.cseq.method.as_str(),
                &request.body,
                |user, algorithm| match users.get(user)? {
                    Secret::Password(password) => Some(ha1(algorithm, user, &domain, password)),
                    Secret::Ha1(ha1) => Some(ha1.to_ascii_lowercase()),
                },
            );
        }
        if verdict == Verdict::Valid {
            return true;
        }
        let mut headers = Headers::default();
        for challenge in self.verifier.challenges(now_ms, verdict == Verdict::Stale) {
            headers.push(to, challenge);
        }
        self.respond(id, code, headers);
        false
    }

    /// True if an INVITE or MESSAGE comes from the user whose address it shows.
    fn is_user(&mut self, now_ms: u64, id: ServerId, request: &Message) -> bool {
        let user = request.from.uri.user().unwrap_or_default();
        self.authenticate(now_ms, id, request, &user, true)
    }

    fn register(&mut self, now_ms: u64, id: ServerId, request: &Message) {
        let user = request.to.uri.user().unwrap_or_default();
        if !self.authenticate(now_ms, id, request, &user, false) {
            return;
        }
        let mut headers = Headers::default();
        let code = match self.bindings.register(now_ms, &user, request) {
            Ok(()) => {
                let contacts = self.bindings.contacts(now_ms, &user);
                self.events.push_back(RegistrarEvent::Registered { user, reachable: !contacts.is_empty() });
                contacts.into_iter().for_each(|contact| headers.push("Contact", contact));
                200
            }
            Err(Refused::TooBrief) => {
                headers.push("Min-Expires", EXPIRES_S.0.to_string());
                423
            }
            Err(Refused::Malformed) => 400,
            Err(Refused::OutOfOrder) => 500,
            Err(Refused::Limit) => 403,
        };
        self.respond(id, code, headers);
    }
}
