//! Accounts by what a request outside a dialog names, so that finding one does not depend on how many there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::account::Account;
use super::arena::AccountId;
use crate::message::{SipUri, Uri};

/// The accounts that one name stands for.
#[derive(Debug, Default)]
pub(super) struct Named {
    all: BTreeSet<AccountId>,
    /// Those that name sources or take any user.
    wide: BTreeSet<AccountId>,
    /// By who has spoken for the registrar or proxy.
    trusted: BTreeMap<IpAddr, BTreeSet<AccountId>>,
}

/// One user: in whatever domain, and by domain.
#[derive(Debug, Default)]
struct OfUser {
    any: Named,
    domains: HashMap<String, Named>,
}

/// The index of all accounts.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Contact user to account.
    tokens: HashMap<String, AccountId>,
    /// User of the address of record, escapes resolved, to its accounts; domains in small letters.
    users: HashMap<String, OfUser>,
    /// Accounts that name sources or take any user: few, and to be looked at one by one.
    wide: BTreeSet<AccountId>,
}

impl Directory {
    pub fn insert(&mut self, id: AccountId, account: &Account) {
        self.tokens.insert(account.token.clone(), id);
        let (user, domain) = key(&account.config.aor);
        let of_user = self.users.entry(user).or_default();
        of_user.any.insert(id, account);
        of_user.domains.entry(domain).or_default().insert(id, account);
        if is_wide(account) {
            self.wide.insert(id);
        }
    }

    /// This source has spoken for the account's registrar or proxy.
    pub fn trust(&mut self, id: AccountId, account: &Account, source: IpAddr) {
        let (user, domain) = key(&account.config.aor);
        let Some(of_user) = self.users.get_mut(&user) else { return };
        of_user.any.trusted.entry(source).or_default().insert(id);
        if let Some(named) = of_user.domains.get_mut(&domain) {
            named.trusted.entry(source).or_default().insert(id);
        }
    }

    /// Takes out what [`Directory::insert`] put in for this state of the account.
    pub fn remove(&mut self, id: AccountId, account: &Account) {
        self.tokens.remove(&account.token);
        self.wide.remove(&id);
        let (user, domain) = key(&account.config.aor);
        let Some(of_user) = self.users.get_mut(&user) else { return };
        of_user.any.remove(id, account);
        if let Some(named) = of_user.domains.get_mut(&domain) {
            named.remove(id, account);
            if named.all.is_empty() {
                of_user.domains.remove(&domain);
            }
        }
        if of_user.any.all.is_empty() {
            self.users.remove(&user);
        }
    }

    /// The account whose Contact has this user.
    pub fn by_token(&self, token: &str) -> Option<AccountId> {
        self.tokens.get(token).copied()
    }

    /// The accounts with exactly this address of record.
    pub fn by_address(&self, uri: &Uri) -> Option<&Named> {
        let (user, domain) = key(uri.as_sip()?);
        self.users.get(&user)?.domains.get(&domain)
    }

    /// The accounts with this user in whatever domain.
    pub fn by_user(&self, user: &str) -> Option<&Named> {
        Some(&self.users.get(user)?.any)
    }

    /// Accounts that name sources or take any user.
    pub fn wide(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.wide.iter().copied()
    }
}

impl Named {
    fn insert(&mut self, id: AccountId, account: &Account) {
        self.all.insert(id);
        if is_wide(account) {
            self.wide.insert(id);
        }
        for source in &account.trusted_sources {
            self.trusted.entry(*source).or_default().insert(id);
        }
    }

    fn remove(&mut self, id: AccountId, account: &Account) {
        self.all.remove(&id);
        self.wide.remove(&id);
        for source in &account.trusted_sources {
            if let Some(ids) = self.trusted.get_mut(source) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.trusted.remove(source);
                }
            }
        }
    }

    /// The accounts that a request of this source may be for, the likeliest first: those for whose registrar or
    /// proxy it has spoken, then the oldest. One that is no trunk is heard only by accounts that name sources.
    pub fn for_source(&self, source: IpAddr, is_trunk: bool) -> impl Iterator<Item = AccountId> + '_ {
        let trusted = self.trusted.get(&source).into_iter().flatten();
        let rest = if is_trunk { &self.all } else { &self.wide };
        trusted.chain(rest).copied()
    }
}

fn is_wide(account: &Account) -> bool {
    account.config.any_user || !account.config.sources.is_empty()
}

fn key(aor: &SipUri) -> (String, String) {
    (Uri::Sip(aor.clone()).user().unwrap_or_default(), aor.host.to_ascii_lowercase())
}
