//! Answering challenges, and whose (a stranger who challenges our BYE must not get a digest of our password).

use bifrons_sip_protocol::ClientId;

use super::account::REALMS_MAX;
use super::agent::{Answered, Client, Purpose, UserAgent};
use super::arena::AccountId;
use super::request::OutRequest;
use crate::digest::{Challenge, ClientAuth, Credentials};
use crate::message::Uri;

/// What to do about a 401 or 407.
#[derive(Debug)]
pub(super) enum Authorization {
    /// The request was sent again in this transaction.
    Again(ClientId),
    /// The credentials were refused.
    Wrong,
    /// There is nothing to answer, or nobody whom we would.
    NotOurs,
}

impl UserAgent {
    /// Sends a challenged request again with credentials, if they are for whoever challenged.
    pub(super) fn authorize(&mut self, account_id: AccountId, answered: &Answered) -> Authorization {
        let proxy = answered.status == 407;
        let header = match answered.status {
            401 => "WWW-Authenticate",
            407 => "Proxy-Authenticate",
            _ => return Authorization::NotOurs,
        };
        let (Some(client), Some(message), Some(origin), Some(account)) = (
            self.clients.get(&answered.id),
            &answered.message,
            &answered.origin,
            self.accounts.get_mut(account_id),
        ) else {
            return Authorization::NotOurs;
        };
        let Some(secret) = account.config.secret.clone() else { return Authorization::NotOurs };
        let is_server_host = |host: &str| {
            let config = &account.config;
            let hosts = [Some(&config.aor), config.registrar.as_ref(), config.outbound_proxy.as_ref()];
            hosts.into_iter().flatten().any(|uri| uri.host.eq_ignore_ascii_case(host))
        };
        let request_host = match Uri::parse(&client.request.uri) {
            Ok(Uri::Sip(uri)) => uri.host,
            _ => String::new(),
        };
        let in_dialog = client.request.to_tag.is_some();
        // Whoever answers what we sent to the registrar or proxy is the registrar or proxy, or lets the answer
        // pass. Inside a dialog anyone can be at the other end.
        let to_server = matches!(client.purpose, Purpose::Register(_))
            || !in_dialog && (account.config.outbound_proxy.is_some() || is_server_host(&request_host));
        let target_address = request_host.trim_matches(['[', ']']).parse().ok();
        let peer_is_server = is_server_host(&request_host)
            || target_address.is_some_and(|address| account.trusted_sources.contains(&address));
        let source_trusted = to_server
            || account.trusted_sources.contains(&origin.source.ip())
                && (proxy || !in_dialog || peer_is_server);
        let mut chosen: Vec<Challenge> = Vec::new();
        for challenge in message.headers.all(header).filter_map(|line| {
            crate::message::AuthValue::parse(line).ok().and_then(|value| Challenge::from_header(&value))
        }) {
            let config = &account.config;
            let realm_trusted = if config.realms.is_empty() {
                to_server || account.trusted_realms.contains(&challenge.realm)
            } else {
                config.realms.contains(&challenge.realm)
            };
            if !source_trusted || !realm_trusted {
                self.counters.refused_challenges += 1;
                continue;
            }
            // Of one realm the topmost that we know (RFC 8760 §2.4).
            if chosen.len() < REALMS_MAX && chosen.iter().all(|c| c.realm != challenge.realm) {
                chosen.push(challenge);
            }
        }
        if chosen.is_empty() {
            return Authorization::NotOurs;
        }
        if chosen.iter().any(|c| client.realms.contains(&c.realm) && !c.stale)
            || client.realms.len() + chosen.len() > REALMS_MAX
        {
            return Authorization::Wrong;
        }
        let mut realms = client.realms.clone();
        if to_server && account.trust_source(origin.source.ip()) {
            self.directory.trust(account_id, account, origin.source.ip());
        }
        for challenge in chosen {
            if to_server
                && !account.trusted_realms.contains(&challenge.realm)
                && account.trusted_realms.len() < REALMS_MAX
            {
                account.trusted_realms.push(challenge.realm.clone());
            }
            realms.push(challenge.realm.clone());
            let same = |auth: &ClientAuth| auth.challenge.realm == challenge.realm && auth.proxy == proxy;
            let before =
                account.auth.iter().find(|auth| same(auth) && auth.challenge.nonce == challenge.nonce);
            let nonce_count = before.map_or(0, |auth| auth.nonce_count);
            account.auth.retain(|auth| !same(auth));
            if account.auth.len() >= REALMS_MAX {
                account.auth.remove(0);
            }
            account.auth.push(ClientAuth { challenge, proxy, nonce_count });
        }
        let credentials = Credentials { user: account.auth_user(), secret };
        let (mut request, purpose) = (client.request.clone(), client.purpose);
        let cnonce = self.random.token(16);
        request.auth.clear();
        for auth in account.auth.iter_mut().filter(|auth| realms.contains(&auth.challenge.realm)) {
            let line =
                auth.authorize(&credentials, &cnonce, request.method.as_str(), &request.uri, &request.body);
            request.auth.extend(line.map(|line| (auth.header(), line)));
        }
        if request.auth.is_empty() {
            return Authorization::NotOurs;
        }
        request.cseq = self.next_cseq(purpose, request.cseq);
        let old = answered.id;
        self.release(old);
        match self.send(purpose, request) {
            Ok(id) => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.realms = realms;
                }
                Authorization::Again(id)
            }
            Err(_) => Authorization::NotOurs,
        }
    }

    /// Credentials for a request that goes to the registrar, from the last challenge, to save a round trip.
    pub(super) fn authorize_ahead(&mut self, account: AccountId, request: &mut OutRequest) {
        let Some(account) = self.accounts.get_mut(account) else { return };
        let Some(secret) = account.config.secret.clone() else { return };
        let credentials = Credentials { user: account.auth_user(), secret };
        let cnonce = self.random.token(16);
        for auth in &mut account.auth {
            let line =
                auth.authorize(&credentials, &cnonce, request.method.as_str(), &request.uri, &request.body);
            request.auth.extend(line.map(|line| (auth.header(), line)));
        }
    }

    /// The CSeq for another try of a request.
    fn next_cseq(&mut self, purpose: Purpose, last: u32) -> u32 {
        let counter = match purpose {
            Purpose::Register(id) => self.accounts.get_mut(id).map(|account| &mut account.cseq),
            Purpose::Invite(id)
            | Purpose::Reinvite(id)
            | Purpose::Bye(id)
            | Purpose::Prack(id)
            | Purpose::Application { call: Some(id), .. } => {
                self.calls.get_mut(id).map(|call| &mut call.dialog.local_cseq)
            }
            Purpose::Progress(id) => return self.refer_cseq(id).unwrap_or(last + 1),
            Purpose::Application { call: None, .. } | Purpose::Nobody => None,
        };
        match counter {
            Some(counter) => {
                *counter = (*counter).max(last) + 1;
                *counter
            }
            None => last + 1,
        }
    }
}

impl Client {
    /// True if the answer to a request in a dialog says that the dialog is gone (RFC 3261 §12.2.1.2).
    pub(super) fn ends_dialog(status: u16) -> bool {
        matches!(status, 408 | 481)
    }
}
