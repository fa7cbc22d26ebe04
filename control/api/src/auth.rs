//! Who may make a request: the API secret, stored tokens, signed tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::config::Tokens;

/// The realm of tokens for the core.
pub const REALM: &str = "janus";

/// The check of one server.
#[derive(Clone, Debug)]
pub struct Auth {
    secret: Option<String>,
    /// The tokens; the Admin API may edit stored ones.
    pub tokens: Tokens,
}

impl Auth {
    /// A check of what is configured.
    pub fn new(secret: Option<String>, tokens: Tokens) -> Self {
        Self { secret, tokens }
    }

    /// A secret is configured.
    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Tokens are configured.
    pub fn has_tokens(&self) -> bool {
        !matches!(self.tokens, Tokens::Off)
    }

    /// May a request with this secret and token be made? Either suffices.
    pub fn allows(&self, secret: Option<&str>, token: Option<&str>, unix_s: u64) -> bool {
        if !self.has_secret() && !self.has_tokens() {
            return true;
        }
        let by_secret = match (&self.secret, secret) {
            (Some(ours), Some(theirs)) => same_secret(ours, theirs),
            _ => false,
        };
        by_secret || token.is_some_and(|token| self.token_is_valid(token, unix_s))
    }

    /// May the bearer of `token` attach to `package`? Without a token the secret has decided already.
    pub fn allows_plugin(&self, token: Option<&str>, package: &str, unix_s: u64) -> bool {
        let Some(token) = token else { return true };
        match &self.tokens {
            Tokens::Off => true,
            Tokens::Stored(table) => table.get(token).is_some_and(|plugins| plugins.contains(package)),
            Tokens::Signed(key) => SignedToken::check(token, key, REALM, unix_s)
                .is_some_and(|token| token.descriptors().any(|descriptor| descriptor == package)),
        }
    }

    fn token_is_valid(&self, token: &str, unix_s: u64) -> bool {
        match &self.tokens {
            Tokens::Off => false,
            Tokens::Stored(table) => table.contains_key(token),
            Tokens::Signed(key) => SignedToken::check(token, key, REALM, unix_s).is_some(),
        }
    }
}

/// Compares in a time that tells neither content nor length.
pub fn same_secret(ours: &str, theirs: &str) -> bool {
    mac(ours, b"secret").verify_slice(&mac(theirs, b"secret").finalize().into_bytes()).is_ok()
}

fn mac(key: &str, data: &[u8]) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(data);
    mac
}

/// A token `expiry,realm[,descriptor…]:signature` whose signature, realm and expiry are right.
#[derive(Clone, Copy, Debug)]
pub struct SignedToken<'a> {
    rest: &'a str,
}

impl<'a> SignedToken<'a> {
    /// Checks a token against the key.
    pub fn check(token: &'a str, key: &str, realm: &str, unix_s: u64) -> Option<Self> {
        let (data, signature) = token.split_once(':')?;
        let signature = STANDARD.decode(signature).ok()?;
        mac(key, data.as_bytes()).verify_slice(&signature).ok()?;
        let mut parts = data.splitn(3, ',');
        let expiry: u64 = parts.next()?.parse().ok()?;
        if expiry < unix_s || parts.next()? != realm {
            return None;
        }
        Some(Self { rest: parts.next().unwrap_or("") })
    }

    /// What it opens: plugin packages for the core's realm.
    pub fn descriptors(&self) -> impl Iterator<Item = &'a str> {
        self.rest.split(',').filter(|descriptor| !descriptor.is_empty())
    }
}

/// Makes a signed token (tests, tools).
pub fn sign_token(key: &str, data: &str) -> String {
    format!("{data}:{}", STANDARD.encode(mac(key, data.as_bytes()).finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::AllowedPlugins;

    fn stored() -> Tokens {
        Tokens::Stored(BTreeMap::from([
            ("all".into(), AllowedPlugins::All),
            ("echo".into(), AllowedPlugins::Only(vec!["janus.plugin.echotest".into()])),
        ]))
    }

    #[test]
    fn either_of_two_suffices() {
        let open = Auth::new(None, Tokens::Off);
        assert!(open.allows(None, None, 0));
        let secret = Auth::new(Some("s3".into()), Tokens::Off);
        assert!(secret.allows(Some("s3"), None, 0));
        assert!(!secret.allows(Some("s"), None, 0) && !secret.allows(None, Some("s3"), 0));
        let both = Auth::new(Some("s3".into()), stored());
        assert!(both.allows(Some("s3"), None, 0) && both.allows(None, Some("all"), 0));
        assert!(!both.allows(None, Some("none"), 0) && !both.allows(None, None, 0));
        let tokens = Auth::new(None, stored());
        assert!(tokens.allows(None, Some("echo"), 0) && !tokens.allows(Some(""), None, 0));
    }

    #[test]
    fn stored_tokens_open_their_plugins() {
        let auth = Auth::new(Some("s3".into()), stored());
        assert!(auth.allows_plugin(Some("echo"), "janus.plugin.echotest", 0));
        assert!(!auth.allows_plugin(Some("echo"), "janus.plugin.sip", 0));
        assert!(auth.allows_plugin(None, "janus.plugin.sip", 0));
        assert!(!auth.allows_plugin(Some("unknown"), "janus.plugin.sip", 0));
    }

    /// RFC 2202 §3, case 2.
    #[test]
    fn hmac_sha1_vector() {
        let signed = sign_token("Jefe", "what do ya want for nothing?");
        assert_eq!(signed.split_once(':').unwrap().1, "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    }

    #[test]
    fn signed_tokens() {
        let token = sign_token("key", "2000,janus,janus.plugin.sip,janus.plugin.echotest");
        let auth = Auth::new(None, Tokens::Signed("key".into()));
        assert!(auth.allows(None, Some(&token), 2000));
        assert!(!auth.allows(None, Some(&token), 2001));
        assert!(auth.allows_plugin(Some(&token), "janus.plugin.sip", 0));
        assert!(!auth.allows_plugin(Some(&token), "janus.plugin", 0));
        for wrong in [
            sign_token("other", "2000,janus"),
            sign_token("key", "2000,janus.plugin.sip"),
            sign_token("key", "-1,janus"),
            sign_token("key", "2000"),
            token.replace("sip", "nosip"),
            "2000,janus".into(),
            "2000,janus:".into(),
            String::new(),
        ] {
            assert!(!auth.allows(None, Some(&wrong), 0), "{wrong}");
        }
        assert!(auth.allows(None, Some(&sign_token("key", "2000,janus")), 0));
    }
}
