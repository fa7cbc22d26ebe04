//! Requests: the envelope, the level, the verbs of sessions and handles.

use serde_json::{Map, Value, json};

use crate::Api;
use crate::error::{ApiError, Code};
use crate::ids::random_id;
use crate::info::server_info;
use crate::output::{RequestSource, SessionEnd};
use crate::plugin::{HandleKey, PluginInfo};
use crate::rate::source_key;
use crate::session::{Handle, Session};

use bifrons_engine::Media;

/// A request whose envelope is right.
pub(crate) struct Request<'a> {
    pub source: RequestSource,
    pub verb: &'a str,
    pub transaction: &'a str,
    pub session_id: u64,
    pub members: &'a Map<String, Value>,
}

impl Request<'_> {
    /// `{"janus":NAME,"session_id":S,"transaction":T}`; session 0 is left out.
    pub(crate) fn reply(&self, name: &str) -> Map<String, Value> {
        let mut reply = Map::new();
        reply.insert("janus".into(), name.into());
        if self.session_id != 0 {
            reply.insert("session_id".into(), (self.session_id as i64).into());
        }
        reply.insert("transaction".into(), self.transaction.into());
        reply
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }
}

/// The kinds of members, in the words of the errors.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Positive,
    Bool,
    Object,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Positive => value.is_u64(),
            Self::Bool => value.is_boolean(),
            Self::Object => value.is_object(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Positive => "a positive integer",
            Self::Bool => "a boolean",
            Self::Object => "an object",
        }
    }
}

/// Checks members in the order of the table; `true`: mandatory. `prefix` begins each error.
pub(crate) fn check(
    members: &Map<String, Value>,
    table: &[(&str, Kind, bool)],
    prefix: &str,
) -> Result<(), ApiError> {
    let word = |text: &str| {
        if prefix.is_empty() { text.to_owned() } else { format!("{prefix}{}", text.to_lowercase()) }
    };
    for (name, kind, mandatory) in table {
        match members.get(*name) {
            None if *mandatory => {
                let reason = format!("{} ({name})", word("Missing mandatory element"));
                return Err(ApiError::new(Code::MissingMandatoryElement, reason));
            }
            Some(value) if !kind.fits(value) => {
                let reason = format!("{} ({name} should be {})", word("Invalid element type"), kind.name());
                return Err(ApiError::new(Code::InvalidElementType, reason));
            }
            _ => {}
        }
    }
    Ok(())
}

/// An id member: absent or no integer counts as not there.
fn id_of(members: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = members.get(name)?;
    value.as_u64().or_else(|| value.as_i64().map(|id| id as u64))
}

impl Api {
    /// Serves one request.
    pub(crate) fn dispatch(&mut self, media: &mut dyn Media, source: RequestSource, request: &Value) {
        let empty = Map::new();
        let members = request.as_object().unwrap_or(&empty);
        let session_id = id_of(members, "session_id").unwrap_or(0);
        let envelope =
            [("transaction", Kind::Text, true), ("janus", Kind::Text, true), ("id", Kind::Positive, false)];
        if let Err(error) = check(members, &envelope, "") {
            return self.error(source, Some(session_id), None, &error);
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or("");
        let request =
            Request { source, verb: text("janus"), transaction: text("transaction"), session_id, members };
        if request.transaction.len() > self.core.config.limits.name_bytes_max {
            let max = self.core.config.limits.name_bytes_max;
            let error = ApiError::new(
                Code::InvalidElementType,
                format!("Invalid element type (transaction should be at most {max} bytes)"),
            );
            return self.error(source, Some(session_id), None, &error);
        }
        let outcome = match (session_id, id_of(members, "handle_id")) {
            (0, None | Some(0)) => self.server_request(&request),
            (0, Some(_)) => Err(Code::SessionNotFound.into()),
            (_, handle) => self.session_request(media, &request, handle),
        };
        if let Err(error) = outcome {
            // `create` names the id that is in use.
            let id =
                if error.code == Code::SessionConflict { id_of(members, "id") } else { Some(session_id) };
            self.error(source, id, Some(request.transaction), &error);
        }
    }

    fn error(
        &mut self,
        source: RequestSource,
        session: Option<u64>,
        transaction: Option<&str>,
        error: &ApiError,
    ) {
        self.core.counters.errors += 1;
        self.core.reply(source.transport, &error.to_value(session, transaction));
    }

    fn authorize(&mut self, request: &Request<'_>) -> Result<(), ApiError> {
        let unix_s = self.core.unix_us() / 1_000_000;
        if self.core.auth.allows(request.text("apisecret"), request.text("token"), unix_s) {
            return Ok(());
        }
        self.core.counters.unauthorized += 1;
        Err(Code::Unauthorized.into())
    }

    fn server_request(&mut self, request: &Request<'_>) -> Result<(), ApiError> {
        match request.verb.to_ascii_lowercase().as_str() {
            "info" => {
                let infos: Vec<PluginInfo> = self.plugins.iter().map(|plugin| plugin.info()).collect();
                let core = &self.core;
                let info = server_info(&core.config, &core.auth, core.accepting, &infos, request.transaction);
                self.core.reply(request.source.transport, &info);
                Ok(())
            }
            "ping" => {
                self.core.reply(request.source.transport, &Value::Object(request.reply("pong")));
                Ok(())
            }
            "create" => self.create(request),
            _ => Err(unhandled(request.verb)),
        }
    }

    fn create(&mut self, request: &Request<'_>) -> Result<(), ApiError> {
        if !self.core.accepting {
            return Err(Code::NotAcceptingSessions.into());
        }
        self.authorize(request)?;
        self.limit(request, "create", |core| (&mut core.limiters.create, &mut core.counters.create_limited))?;
        if self.core.sessions.len() >= self.core.config.limits.sessions_max {
            self.core.counters.sessions_full += 1;
            return Err(ApiError::new(Code::NotAcceptingSessions, "Too many sessions"));
        }
        let id = match request.members.get("id").and_then(Value::as_u64).filter(|&id| id != 0) {
            Some(id) if self.core.sessions.contains_key(&id) => return Err(Code::SessionConflict.into()),
            Some(id) if i64::try_from(id).is_ok() => id,
            Some(_) => {
                let reason = "Invalid element type (id should be a positive integer)";
                return Err(ApiError::new(Code::InvalidElementType, reason));
            }
            None => random_id(|id| self.core.sessions.contains_key(&id)).map_err(|_| no_randomness())?,
        };
        let transport = request.source.transport;
        let mut session = Session::new(transport, self.core.now);
        session.owner = None;
        session.add_source(request.source.ip.map(source_key));
        self.core.sessions.insert(id, session);
        self.core.counters.sessions_created += 1;
        self.core.give(id, transport);
        let mut reply = request.reply("success");
        reply.insert("data".into(), json!({ "id": id }));
        self.core.reply(transport, &Value::Object(reply));
        Ok(())
    }

    fn session_request(
        &mut self,
        media: &mut dyn Media,
        request: &Request<'_>,
        handle: Option<u64>,
    ) -> Result<(), ApiError> {
        if handle == Some(0) {
            return Err(Code::HandleNotFound.into());
        }
        self.authorize(request)?;
        let id = request.session_id;
        self.find_session(request.source, id)
            .map_err(|()| ApiError::new(Code::SessionNotFound, format!("No such session {id}")))?;
        let key = match handle {
            None => None,
            Some(handle_id) => {
                let session = self.core.sessions.get(&id);
                let key = session.and_then(|session| session.handles.get(&handle_id)).copied();
                Some(key.ok_or_else(|| {
                    ApiError::new(Code::HandleNotFound, format!("No such handle {handle_id} in session {id}"))
                })?)
            }
        };
        let verb = request.verb.to_ascii_lowercase();
        match (verb.as_str(), key) {
            ("keepalive", _) => {
                self.core.reply(request.source.transport, &Value::Object(request.reply("ack")));
                Ok(())
            }
            ("claim", _) => {
                let source = request.source;
                if let Some(session) = self.core.sessions.get_mut(&id) {
                    session.add_source(source.ip.map(source_key));
                }
                self.core.reply(source.transport, &Value::Object(request.reply("success")));
                self.core.give(id, source.transport);
                Ok(())
            }
            ("attach", None) => self.attach(media, request),
            ("destroy", None) => {
                self.core.reply(request.source.transport, &Value::Object(request.reply("success")));
                self.end_session(media, id, SessionEnd::Destroyed);
                Ok(())
            }
            ("message", Some(key)) => self.message(media, request, key),
            ("trickle", Some(key)) => self.trickle(media, request, key),
            ("hangup", Some(key)) => {
                let had = self.close_pc(media, key);
                self.run_effects(media);
                self.core.reply(request.source.transport, &Value::Object(request.reply("success")));
                if had {
                    self.core.handle_event(key, "hangup", &[("reason", "Janus API".into())]);
                }
                Ok(())
            }
            ("detach", Some(key)) => {
                self.core.reply(request.source.transport, &Value::Object(request.reply("success")));
                self.end_handle(media, key);
                Ok(())
            }
            ("message" | "trickle" | "hangup" | "detach", None) | ("attach" | "destroy", Some(_)) => {
                Err(unhandled(request.verb))
            }
            _ => Err(ApiError::new(Code::UnknownRequest, format!("Unknown request '{}'", request.verb))),
        }
    }

    /// Finds a session and notes that it is used. Whoever asked for too many unknown ones finds only what
    /// is his own.
    pub(crate) fn find_session(&mut self, source: RequestSource, id: u64) -> Result<(), ()> {
        let core = &mut self.core;
        let ip = source.ip.map(source_key);
        let exhausted = ip.is_some_and(|ip| core.limiters.unknown.is_exhausted(&ip, core.now));
        match core.sessions.get_mut(&id) {
            Some(session) => {
                let own = session.owner == Some(source.transport)
                    || ip.is_some_and(|ip| session.sources.contains(&ip));
                if exhausted && !own {
                    core.counters.guesses_refused += 1;
                    return Err(());
                }
                session.last_activity = core.now;
                Ok(())
            }
            None => {
                core.counters.unknown_sessions += 1;
                if let Some(ip) = ip
                    && !core.limiters.unknown.take(ip, core.now)
                {
                    core.counters.guesses_refused += 1;
                }
                Err(())
            }
        }
    }

    /// Takes one from the request's allowance, by source, then by token.
    pub(crate) fn limit(
        &mut self,
        request: &Request<'_>,
        name: &str,
        which: impl FnOnce(&mut crate::state::Core) -> LimitOf<'_>,
    ) -> Result<(), ApiError> {
        let now = self.core.now;
        let token = request.text("token").map(str::to_owned);
        let ((by_source, by_token), counter) = which(&mut self.core);
        let refused = if request.source.ip.is_some_and(|ip| !by_source.take(source_key(ip), now)) {
            "source"
        } else if token.is_some_and(|token| !by_token.take(token, now)) {
            "token"
        } else {
            return Ok(());
        };
        *counter += 1;
        Err(ApiError::new(Code::RateLimited, format!("Too many requests ({name} per {refused})")))
    }

    fn attach(&mut self, media: &mut dyn Media, request: &Request<'_>) -> Result<(), ApiError> {
        check(
            request.members,
            &[
                ("plugin", Kind::Text, true),
                ("opaque_id", Kind::Text, false),
                ("loop_index", Kind::Positive, false),
            ],
            "",
        )?;
        self.limit(request, "attach", |core| (&mut core.limiters.attach, &mut core.counters.attach_limited))?;
        let package = request.text("plugin").unwrap_or("");
        let plugin = self
            .plugins
            .iter()
            .position(|plugin| plugin.info().package == package)
            .ok_or_else(|| ApiError::new(Code::PluginNotFound, format!("No such plugin '{package}'")))?;
        let unix_s = self.core.unix_us() / 1_000_000;
        if !self.core.auth.allows_plugin(request.text("token"), package, unix_s) {
            let reason = format!("Provided token can't access plugin '{package}'");
            return Err(ApiError::new(Code::UnauthorizedPlugin, reason));
        }
        let limits = &self.core.config.limits;
        let opaque_id = request.text("opaque_id");
        if opaque_id.is_some_and(|id| id.len() > limits.name_bytes_max) {
            let reason =
                format!("Invalid element type (opaque_id should be at most {} bytes)", limits.name_bytes_max);
            return Err(ApiError::new(Code::InvalidElementType, reason));
        }
        let handles = self.core.sessions.get(&request.session_id).map_or(0, |session| session.handles.len());
        if handles >= limits.handles_per_session_max || self.core.handles.len() >= limits.handles_max {
            self.core.counters.handles_full += 1;
            return Err(ApiError::new(Code::PluginAttach, "Couldn't attach to plugin: too many handles"));
        }
        let session = self.core.sessions.get(&request.session_id);
        let id = random_id(|id| session.is_some_and(|session| session.handles.contains_key(&id)))
            .map_err(|_| no_randomness())?;
        let key = HandleKey(self.core.next_key);
        self.core.next_key += 1;
        let handle = Handle {
            id,
            session: request.session_id,
            plugin,
            opaque_id: opaque_id.map(str::to_owned),
            pc: None,
            candidates: Default::default(),
            own_legs: Vec::new(),
        };
        self.core.handles.insert(key, handle);
        if let Some(session) = self.core.sessions.get_mut(&request.session_id) {
            session.handles.insert(id, key);
        }
        if let Err(number) = self.call(media, plugin, |plugin, cx| plugin.attach(cx, key)) {
            self.forget_handle(media, key);
            let reason = format!("Couldn't attach to plugin: error '{number}'");
            return Err(ApiError::new(Code::PluginAttach, reason));
        }
        self.core.counters.handles_attached += 1;
        let mut reply = request.reply("success");
        reply.insert("data".into(), json!({ "id": id }));
        self.core.reply(request.source.transport, &Value::Object(reply));
        Ok(())
    }
}

type LimitOf<'a> =
    (&'a mut (crate::rate::RateLimiter<std::net::IpAddr>, crate::rate::RateLimiter<String>), &'a mut u64);

fn unhandled(verb: &str) -> ApiError {
    ApiError::new(Code::InvalidRequestPath, format!("Unhandled request '{verb}' at this path"))
}

fn no_randomness() -> ApiError {
    ApiError::new(Code::Unknown, "The system has no random numbers")
}
