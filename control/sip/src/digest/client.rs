use std::fmt;

use super::hash::{Algorithm, Input, ha1, response};
use crate::message::{AuthScheme, AuthValue, quote};

/// A user's secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password.
    Password(String),
    /// `HA1` in hexadecimal digits: 32 answer MD5 challenges, 64 answer SHA-256.
    Ha1(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// User name and secret; neither has a length limit of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Digest user name.
    pub user: String,
    /// Its secret.
    pub secret: Secret,
}

/// A digest challenge that we can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Realm.
    pub realm: String,
    /// Nonce.
    pub nonce: String,
    /// To be repeated.
    pub opaque: Option<String>,
    /// Algorithm; `None` in the challenge means MD5 and is not repeated.
    pub algorithm: Algorithm,
    /// Whether `algorithm` was written.
    pub algorithm_written: bool,
    /// The qop that we use of those offered; `None` if the challenge has none (RFC 2069).
    pub qop: Option<&'static str>,
    /// The credentials were right, only the nonce is too old.
    pub stale: bool,
}

impl Challenge {
    /// Takes a challenge apart; `None` if it is not Digest, its algorithm is unknown, or none of its qop values is.
    pub fn from_header(value: &AuthValue) -> Option<Self> {
        if value.scheme != AuthScheme::Digest {
            return None;
        }
        let algorithm = value.param("algorithm");
        let qop = match value.param("qop") {
            None => None,
            Some(offered) => {
                let has = |qop: &str| offered.split(',').any(|o| o.trim().eq_ignore_ascii_case(qop));
                // `auth` first: proxies may touch bodies.
                Some(["auth", "auth-int"].into_iter().find(|qop| has(qop))?)
            }
        };
        Some(Self {
            realm: value.param("realm")?,
            nonce: value.param("nonce")?,
            opaque: value.param("opaque"),
            algorithm: Algorithm::parse(algorithm.as_deref())?,
            algorithm_written: algorithm.is_some(),
            qop,
            stale: value.param("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

/// A challenge in use: counts the requests that were answered with its nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// The challenge.
    pub challenge: Challenge,
    /// True if it came as 407: answers go into Proxy-Authorization.
    pub proxy: bool,
    /// Requests answered with this nonce so far.
    pub nonce_count: u32,
}

impl ClientAuth {
    /// The next request's (Proxy-)Authorization; `None` if the secret is an HA1 of another algorithm.
    pub fn authorize(
        &mut self,
        credentials: &Credentials,
        cnonce: &str,
        method: &str,
        uri: &str,
        body: &[u8],
    ) -> Option<String> {
        let challenge = &self.challenge;
        let computed;
        let ha1 = match &credentials.secret {
            Secret::Password(password) => {
                computed = ha1(challenge.algorithm, &credentials.user, &challenge.realm, password);
                &computed
            }
            Secret::Ha1(ha1) if ha1.len() == challenge.algorithm.hex_len() => ha1,
            Secret::Ha1(_) => return None,
        };
        self.nonce_count = self.nonce_count.saturating_add(1);
        let nc = format!("{:08x}", self.nonce_count);
        let answer = response(
            &ha1.to_ascii_lowercase(),
            &Input {
                algorithm: challenge.algorithm,
                nonce: &challenge.nonce,
                cnonce,
                qop: challenge.qop.map(|qop| (nc.as_str(), qop)),
                method,
                uri,
                body,
            },
        );
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{answer}\"",
            quote(&credentials.user),
            quote(&challenge.realm),
            quote(&challenge.nonce),
            quote(uri),
        );
        if challenge.algorithm_written {
            value.push_str(&format!(", algorithm={}", challenge.algorithm.name()));
        }
        if let Some(qop) = challenge.qop {
            value.push_str(&format!(", qop={qop}, nc={nc}"));
        }
        if challenge.qop.is_some() || challenge.algorithm.is_session() {
            value.push_str(&format!(", cnonce={}", quote(cnonce)));
        }
        if let Some(opaque) = &challenge.opaque {
            value.push_str(&format!(", opaque={}", quote(opaque)));
        }
        Some(value)
    }

    /// The header that answers go into.
    pub fn header(&self) -> &'static str {
        if self.proxy { "Proxy-Authorization" } else { "Authorization" }
    }
}
