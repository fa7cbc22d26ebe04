//! Accounts and their registrations (RFC 3261 §10).

use bifrons_sip_protocol::{FlowId, Transport};

use super::account::{Account, AccountState, REALMS_MAX};
use super::agent::{Answered, Purpose, UserAgent, Wake};
use super::arena::AccountId;
use super::auth::Authorization;
use super::config::AccountConfig;
use super::error::UaError;
use super::event::UaEvent;
use super::request::{OutRequest, add_to_request};
use crate::message::{Headers, Method, NameAddr, Params, ParseError, SipUri, Uri};

/// Longest Expires that a registrar can make us ask for with 423, in seconds.
pub const EXPIRES_S_MAX: u32 = 604_800;
/// First and longest wait before a lost registration is tried again, in milliseconds (RFC 5626 §4.5).
const RETRY_MS: (u64, u64) = (30_000, 1_800_000);

impl UserAgent {
    /// Adds an account, and registers it if it is to be. [`UaEvent::Registered`] or
    /// [`UaEvent::RegistrationFailed`] follow; an account that does not register is usable at once.
    ///
    /// # Errors
    /// [`UaError::Limit`], [`UaError::Malformed`] or [`UaError::NoListener`]: nothing was added.
    pub fn register(&mut self, now_ms: u64, config: AccountConfig) -> Result<AccountId, UaError> {
        let expires_s = config.expires_s.clamp(1, EXPIRES_S_MAX);
        let account = Account {
            token: self.random.token(12),
            call_id: self.random.token(16),
            from_tag: self.random.token(8),
            cseq: 0,
            state: if config.register {
                AccountState::Registering { renewal: false }
            } else {
                AccountState::Disabled
            },
            expires_s,
            failures: 0,
            auth: Vec::new(),
            trusted_sources: Vec::new(),
            trusted_realms: Vec::new(),
            service_route: Vec::new(),
            flow: None,
            client: None,
            calls: 0,
            paced: false,
            wake_at: None,
            remove: false,
            config,
        };
        self.check_account(&account)?;
        let registers = account.config.register;
        let id = self.accounts.insert(account).map_err(|_| {
            self.counters.limits += 1;
            UaError::Limit("accounts")
        })?;
        if let Some(account) = self.accounts.get(id) {
            self.directory.insert(id, account);
        }
        if registers && let Err(error) = self.send_register(now_ms, id, expires_s) {
            self.drop_account(id);
            return Err(error);
        }
        Ok(id)
    }

    /// Changes an account in place and, if it registers, registers it again at once: same Call-ID, same Contact.
    ///
    /// # Errors
    /// As [`UserAgent::register`]; the account then stays as it was.
    pub fn update_account(
        &mut self,
        now_ms: u64,
        id: AccountId,
        config: AccountConfig,
    ) -> Result<(), UaError> {
        let old = self.accounts.get(id).ok_or(UaError::NoAccount)?;
        if old.state == AccountState::Unregistering {
            return Err(UaError::State("unregistering"));
        }
        let mut new = old.clone();
        if new.config.secret != config.secret || new.config.auth_user != config.auth_user {
            new.auth.clear();
        }
        new.expires_s = config.expires_s.clamp(1, EXPIRES_S_MAX);
        new.failures = 0;
        new.config = config;
        self.check_account(&new)?;
        let (registers, expires_s) = (new.config.register, new.expires_s);
        let renewal =
            matches!(new.state, AccountState::Registered | AccountState::Registering { renewal: true });
        new.state = if registers { AccountState::Registering { renewal } } else { AccountState::Disabled };
        if let Some(account) = self.accounts.get_mut(id) {
            self.directory.remove(id, account);
            self.directory.insert(id, &new);
            *account = new;
        }
        self.account_timer(id, None);
        if registers { self.send_register(now_ms, id, expires_s) } else { Ok(()) }
    }

    /// Takes a registration back (`Expires: 0`); [`UaEvent::Unregistered`] follows. The account stays.
    ///
    /// # Errors
    /// [`UaError::State`] if it is not registered.
    pub fn unregister(&mut self, now_ms: u64, id: AccountId) -> Result<(), UaError> {
        let account = self.accounts.get_mut(id).ok_or(UaError::NoAccount)?;
        match account.state {
            AccountState::Registered | AccountState::Registering { .. } => {}
            _ => return Err(UaError::State("not registered")),
        }
        account.state = AccountState::Unregistering;
        self.account_timer(id, None);
        self.send_register(now_ms, id, 0)
    }

    /// Ends an account: its calls are hung up, its registration is taken back, then it is forgotten. Nothing is
    /// heard of it any more but the ends of its calls.
    pub fn remove_account(&mut self, now_ms: u64, id: AccountId) {
        let calls: Vec<_> =
            self.calls.iter().filter(|(_, call)| call.account == id).map(|(id, _)| id).collect();
        for call in calls {
            let _ = self.hangup(now_ms, call, &[]);
        }
        let Some(account) = self.accounts.get_mut(id) else { return };
        account.remove = true;
        let state = account.state;
        match state {
            AccountState::Unregistering => {}
            AccountState::Registered | AccountState::Registering { .. }
                if self.unregister(now_ms, id).is_ok() => {}
            _ => self.drop_account_when_free(id),
        }
    }

    /// An account's address of record, and whether it holds a registration.
    pub fn account(&self, id: AccountId) -> Option<(&AccountConfig, bool)> {
        let account = self.accounts.get(id)?;
        let registered =
            matches!(account.state, AccountState::Registered | AccountState::Registering { renewal: true });
        Some((&account.config, registered))
    }

    fn check_account(&self, account: &Account) -> Result<(), UaError> {
        let mut headers = Headers::default();
        add_to_request(&mut headers, &account.config.headers)?;
        self.contact(account, &account.registrar(), &account.token)?;
        Ok(())
    }

    /// Ident and Contact for requests to `target`.
    pub(super) fn contact(
        &self,
        account: &Account,
        target: &SipUri,
        user: &str,
    ) -> Result<(String, NameAddr), UaError> {
        self.contact_over(account, account.transport(target), user)
    }

    /// Ident and Contact for a transport.
    pub(super) fn contact_over(
        &self,
        account: &Account,
        transport: Transport,
        user: &str,
    ) -> Result<(String, NameAddr), UaError> {
        let (ident, shown) = self.local_address(&account.config.ident, transport)?;
        let mut params = Params::default();
        for (name, value) in &account.config.contact_params {
            params.set(name, (!value.is_empty()).then_some(value));
        }
        params.set("transport", Some(transport.name()));
        // Parsed again, so that an application's parameters cannot change the address.
        let uri = Uri::parse(&format!("sip:{user}@{shown}{params}"))
            .map_err(|kind| UaError::Malformed(ParseError::new("Contact", kind)))?;
        Ok((ident, NameAddr::new(uri).with_display(account.config.display_name.as_deref())))
    }

    /// A request outside a dialog.
    pub(super) fn new_request(
        &mut self,
        id: AccountId,
        method: Method,
        target: &Uri,
        call_id: Option<String>,
    ) -> Result<OutRequest, UaError> {
        let (from_tag, new_call_id, user) =
            (self.random.token(8), self.random.token(16), self.random.token(8));
        let account = self.accounts.get(id).ok_or(UaError::NoAccount)?;
        let malformed =
            |name: &str| UaError::Malformed(ParseError::new(name, crate::message::ErrorKind::Syntax));
        if call_id
            .as_ref()
            .is_some_and(|id| id.is_empty() || id.len() > 256 || id.bytes().any(|b| b <= b' ' || b >= 0x7f))
        {
            return Err(malformed("Call-ID"));
        }
        let registrar = account.registrar();
        let (uri, to) = match target {
            // Headers of a URI are no part of a Request-URI or an address (RFC 3261 §19.1.1).
            Uri::Sip(uri) => {
                let uri = SipUri { headers: None, ..uri.clone() };
                (uri.clone(), Uri::Sip(uri))
            }
            Uri::Tel { .. } => (registrar.clone(), target.clone()),
            Uri::Other(_) => return Err(malformed("Request-URI")),
        };
        let transport = account.transport(&uri);
        let (ident, contact) = self.contact(account, &uri, &user)?;
        let with_transport = |uri: &SipUri, loose: bool| {
            let mut uri = uri.clone();
            if transport != Transport::Udp && uri.transport().is_none() {
                uri.params.set("transport", Some(transport.name()));
            }
            if loose && !uri.is_loose_route() {
                uri.params.set("lr", None);
            }
            uri
        };
        let mut routes = Vec::new();
        if let Some(proxy) = &account.config.outbound_proxy {
            routes.push(NameAddr::new(with_transport(proxy, true)).to_string());
        }
        if method != Method::Register {
            routes.extend(account.service_route.iter().cloned());
            // Registrars like to name the outbound proxy once more.
            let host = |route: &String| {
                NameAddr::parse(route).ok().and_then(|r| r.uri.as_sip().map(|u| u.host.clone()))
            };
            if let [first, second, ..] = routes.as_slice()
                && host(first).is_some()
                && host(first) == host(second)
            {
                routes.remove(0);
            }
        }
        let next_hop =
            if routes.is_empty() { with_transport(&uri, false).to_string() } else { String::new() };
        let request_uri = if matches!(to, Uri::Tel { .. }) { to.to_string() } else { uri.to_string() };
        Ok(OutRequest {
            method,
            next_hop: if next_hop == request_uri { String::new() } else { next_hop },
            uri: request_uri,
            from: account.from(),
            from_tag,
            to: NameAddr::new(to).to_string(),
            to_tag: None,
            call_id: call_id.unwrap_or(new_call_id),
            cseq: 1,
            routes,
            contact: Some(contact.to_string()),
            headers: Headers::default(),
            auth: Vec::new(),
            body: Vec::new(),
            user_agent: self.user_agent_of(id),
            ident,
            flow: None,
        })
    }

    pub(super) fn user_agent_of(&self, id: AccountId) -> String {
        let own = self.accounts.get(id).and_then(|account| account.config.user_agent.clone());
        own.unwrap_or_else(|| self.config.user_agent.clone()).replace(['\r', '\n', '\0'], " ")
    }

    fn send_register(&mut self, now_ms: u64, id: AccountId, expires_s: u32) -> Result<(), UaError> {
        let account = self.accounts.get(id).ok_or(UaError::NoAccount)?;
        let (registrar, aor) = (account.registrar(), account.config.aor.clone());
        let (_, contact) = self.contact(account, &registrar, &account.token)?;
        let mut request = self.new_request(id, Method::Register, &Uri::Sip(registrar), None)?;
        let account = self.accounts.get_mut(id).ok_or(UaError::NoAccount)?;
        account.cseq += 1;
        request.cseq = account.cseq;
        request.call_id = account.call_id.clone();
        request.from_tag = account.from_tag.clone();
        request.to = NameAddr::new(aor).to_string();
        request.contact = Some(contact.to_string());
        request.headers.push("Expires", expires_s.to_string());
        request.headers.push("Allow", super::ALLOW);
        request.headers.push("Supported", "replaces, path");
        add_to_request(&mut request.headers, &account.config.headers)?;
        self.authorize_ahead(id, &mut request);
        // Paced as well, so that a burst of the application delays refreshes instead of adding to them.
        self.next_register_us = self.next_register_us.max(now_ms * 1_000) + self.register_interval_us();
        self.counters.registers += 1;
        let client = self.send(Purpose::Register(id), request)?;
        if let Some(account) = self.accounts.get_mut(id) {
            account.client = Some(client);
        }
        Ok(())
    }

    fn register_interval_us(&self) -> u64 {
        1_000_000 / u64::from(self.config.registrations_per_s.max(1))
    }

    pub(super) fn register_answered(&mut self, now_ms: u64, id: AccountId, mut answered: Answered) {
        if answered.status < 200 {
            return;
        }
        let Some(account) = self.accounts.get_mut(id).filter(|account| account.client == Some(answered.id))
        else {
            self.release(answered.id);
            return;
        };
        let unregistering = account.state == AccountState::Unregistering;
        let mut wrong = false;
        match answered.status {
            401 | 407 => match self.authorize(id, &answered) {
                Authorization::Again(client) => {
                    if let Some(account) = self.accounts.get_mut(id) {
                        account.client = Some(client);
                    }
                    return;
                }
                Authorization::Wrong => wrong = true,
                Authorization::NotOurs => {}
            },
            423 if !unregistering => {
                let min = answered.message.as_ref().and_then(|m| m.number("Min-Expires").ok().flatten());
                if let Some(min) = min.filter(|min| *min > account.expires_s && *min <= EXPIRES_S_MAX) {
                    account.expires_s = min;
                    self.release(answered.id);
                    if self.send_register(now_ms, id, min).is_ok() {
                        return;
                    }
                }
            }
            _ => {}
        }
        self.release(answered.id);
        if unregistering {
            self.unregistered(id, answered);
        } else if answered.status < 300 {
            self.registered(now_ms, id, answered);
        } else {
            let retry_after = answered.message.as_ref().and_then(|m| m.number("Retry-After").ok().flatten());
            let code = if wrong { 904 } else { answered.status };
            let reason = if wrong { super::NO_MATCHING_CHALLENGE.to_owned() } else { answered.reason() };
            let retry_in_ms = self.registration_failed(now_ms, id, answered.status, retry_after);
            let (detail_code, details) = (answered.status, answered.details());
            self.events.push_back(UaEvent::RegistrationFailed {
                account: id,
                code,
                reason,
                detail_code,
                retry_in_ms,
                details,
            });
        }
    }

    fn registered(&mut self, now_ms: u64, id: AccountId, mut answered: Answered) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        let mut granted = account.expires_s;
        if let Some(message) = &answered.message {
            let header = message.number("Expires").ok().flatten();
            let contacts = message.contacts().unwrap_or_default();
            let ours = contacts
                .iter()
                .find(|c| c.uri.as_sip().and_then(|u| u.user.as_ref()) == Some(&account.token));
            let param = ours.and_then(|c| c.params.get("expires")).and_then(|text| text.parse().ok());
            granted = param.or(header).unwrap_or(granted);
            let routes = message.addresses("Service-Route").unwrap_or_default();
            account.service_route = routes.iter().take(REALMS_MAX).map(NameAddr::to_string).collect();
        }
        if let Some(origin) = &answered.origin {
            let source = origin.source.ip();
            if account.trust_source(source) {
                self.directory.trust(id, account, source);
            }
            account.flow = origin.flow;
        }
        account.state = AccountState::Registered;
        account.failures = 0;
        let granted = granted.clamp(1, EXPIRES_S_MAX);
        // Well before the end, and not all at once (RFC 3261 §10.2.4 leaves it open).
        let whole_ms = u64::from(granted) * 1_000;
        let delay = if granted < 20 { whole_ms / 2 } else { whole_ms * (80 + self.random.below(11)) / 100 };
        self.account_timer(id, Some(now_ms + delay));
        let details = answered.details();
        self.events.push_back(UaEvent::Registered { account: id, expires_s: granted, details });
    }

    fn unregistered(&mut self, id: AccountId, mut answered: Answered) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        account.state = AccountState::Unregistered;
        if account.remove {
            self.drop_account_when_free(id);
        } else {
            let details = answered.details();
            self.events.push_back(UaEvent::Unregistered { account: id, details });
        }
    }

    /// Notes a failure; gives the time until the next try, if there is one.
    fn registration_failed(
        &mut self,
        now_ms: u64,
        id: AccountId,
        status: u16,
        retry_after_s: Option<u32>,
    ) -> Option<u64> {
        let account = self.accounts.get_mut(id)?;
        let was_registered = matches!(account.state, AccountState::Registering { renewal: true });
        account.state = AccountState::Failed;
        account.failures = account.failures.saturating_add(1);
        let transient = matches!(status, 408 | 480 | 500..=599);
        if !was_registered || !transient || !account.config.retry {
            self.account_timer(id, None);
            return None;
        }
        let (first, longest) = RETRY_MS;
        let base = (first << (account.failures - 1).min(8)).min(longest);
        let wait = match retry_after_s {
            Some(seconds) => (u64::from(seconds) * 1_000).clamp(1_000, longest),
            None => base / 2 + self.random.below(base / 2 + 1),
        };
        self.account_timer(id, Some(now_ms + wait));
        Some(wait)
    }

    pub(super) fn account_timer(&mut self, id: AccountId, at: Option<u64>) {
        if let Some(account) = self.accounts.get_mut(id) {
            let before = std::mem::replace(&mut account.wake_at, at);
            account.paced = false;
            self.set_timer(Wake::Account(id), before, at);
        }
    }

    pub(super) fn account_timeout(&mut self, now_ms: u64, id: AccountId) {
        let interval = self.register_interval_us();
        let Some(account) = self.accounts.get_mut(id) else { return };
        account.wake_at = None;
        // Each takes its place in the queue once.
        if !std::mem::replace(&mut account.paced, true) && self.next_register_us > now_ms * 1_000 {
            let slot = self.next_register_us.div_ceil(1_000);
            self.next_register_us += interval;
            account.wake_at = Some(slot);
            self.set_timer(Wake::Account(id), None, Some(slot));
            return;
        }
        account.paced = false;
        let expires_s = match account.state {
            AccountState::Registered | AccountState::Failed => {
                account.state = AccountState::Registering { renewal: true };
                account.expires_s
            }
            AccountState::Registering { .. } => account.expires_s,
            AccountState::Unregistering => 0,
            AccountState::Disabled | AccountState::Unregistered => return,
        };
        if self.send_register(now_ms, id, expires_s).is_err() {
            // The table of transactions is full: later.
            self.account_timer(id, Some(now_ms + 5_000));
        }
    }

    /// A connection is gone: what was registered over it cannot be reached any more (RFC 5626 §4.4).
    pub(super) fn flow_down(&mut self, now_ms: u64, flow: FlowId) {
        let lost: Vec<AccountId> = self
            .accounts
            .iter()
            .filter(|(_, a)| a.flow == Some(flow) && a.state == AccountState::Registered)
            .map(|(id, _)| id)
            .collect();
        for id in lost {
            if let Some(account) = self.accounts.get_mut(id) {
                account.flow = None;
            }
            self.account_timer(id, Some(now_ms));
        }
    }

    /// Forgets an account as soon as no call of it lives.
    pub(super) fn drop_account_when_free(&mut self, id: AccountId) {
        let Some(account) = self.accounts.get(id) else { return };
        let done = matches!(
            account.state,
            AccountState::Disabled | AccountState::Failed | AccountState::Unregistered
        );
        if account.remove && account.calls == 0 && done {
            self.drop_account(id);
        }
    }

    fn drop_account(&mut self, id: AccountId) {
        self.account_timer(id, None);
        if let Some(account) = self.accounts.remove(id) {
            self.directory.remove(id, &account);
        }
    }
}
