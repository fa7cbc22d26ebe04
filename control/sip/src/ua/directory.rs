//! Accounts by what a request outside a dialog names, so that finding one does not depend on how many there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::account::Account;
use super::arena::AccountId;
use crate::message::{SipUri, Uri};

/// Domains of one user, each with its accounts.
type Domains = BTreeMap<String, BTreeSet<AccountId>>;

/// The index of all accounts.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Contact user to account.
    tokens: HashMap<String, AccountId>,
    /// User of the address of record, escapes resolved, to its domains in small letters.
    users: HashMap<String, Domains>,
    /// Accounts that name sources or take any user: few, and to be looked at one by one.
    wide: BTreeSet<AccountId>,
}

impl Directory {
    pub fn insert(&mut self, id: AccountId, account: &Account) {
        self.tokens.insert(account.token.clone(), id);
        let (user, domain) = key(&account.config.aor);
        self.users.entry(user).or_default().entry(domain).or_default().insert(id);
        if account.config.any_user || !account.config.sources.is_empty() {
            self.wide.insert(id);
        }
    }

    /// Takes out what [`Directory::insert`] put in for this state of the account.
    pub fn remove(&mut self, id: AccountId, account: &Account) {
        self.tokens.remove(&account.token);
        self.wide.remove(&id);
        let (user, domain) = key(&account.config.aor);
        let Some(domains) = self.users.get_mut(&user) else { return };
        if let Some(ids) = domains.get_mut(&domain) {
            ids.remove(&id);
            if ids.is_empty() {
                domains.remove(&domain);
            }
        }
        if domains.is_empty() {
            self.users.remove(&user);
        }
    }

    /// The account whose Contact has this user.
    pub fn by_token(&self, token: &str) -> Option<AccountId> {
        self.tokens.get(token).copied()
    }

    /// The accounts with exactly this address of record.
    pub fn by_address(&self, uri: &Uri) -> impl Iterator<Item = AccountId> + '_ {
        let found = uri.as_sip().and_then(|uri| {
            let (user, domain) = key(uri);
            self.users.get(&user)?.get(&domain)
        });
        found.into_iter().flatten().copied()
    }

    /// The accounts with this user in whatever domain.
    pub fn by_user(&self, user: &str) -> impl Iterator<Item = AccountId> + '_ {
        self.users.get(user).into_iter().flat_map(BTreeMap::values).flatten().copied()
    }

    /// Accounts that name sources or take any user.
    pub fn wide(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.wide.iter().copied()
    }
}

fn key(aor: &SipUri) -> (String, String) {
    (Uri::Sip(aor.clone()).user().unwrap_or_default(), aor.host.to_ascii_lowercase())
}
