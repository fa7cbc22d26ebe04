use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::hash::{Algorithm, Input, hex, response, same_secret};
use crate::message::{AuthScheme, AuthValue, quote};

/// Nonces whose counts are remembered at once; beyond it the oldest is answered as stale.
pub const NONCES_MAX: usize = 10_000;

/// Challenges and checks requests (RFC 7616 §3.3, §3.4). A nonce is a time, a number and their HMAC, so that only nonces
/// that were used are kept, to refuse repeated counts.
#[derive(Debug, Clone)]
pub struct Verifier {
    realm: String,
    key: [u8; 32],
    nonce_lifetime_ms: u64,
    issued: u32,
    counts: HashMap<String, u32>,
}

/// What credentials are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right.
    Valid,
    /// Right or not, the nonce is too old, used up or not ours: challenge again with `stale`.
    Stale,
    /// Wrong or not understood.
    Invalid,
}

impl Verifier {
    /// For one realm; `key` is a random secret, `nonce_lifetime_ms` how long a nonce may be used.
    pub fn new(realm: impl Into<String>, key: [u8; 32], nonce_lifetime_ms: u64) -> Self {
        Self { realm: realm.into(), key, nonce_lifetime_ms, issued: 0, counts: HashMap::new() }
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The challenges for a request, the preferred first (RFC 8760 §2.3): SHA-256, then MD5.
    pub fn challenges(&mut self, now_ms: u64, stale: bool) -> [String; 2] {
        // Numbered, so that two clients of one millisecond do not use up each other's counts.
        self.issued = self.issued.wrapping_add(1);
        let issued = format!("{now_ms:016x}{:08x}", self.issued);
        let nonce = format!("{issued}{}", self.proof(&issued));
        let stale = if stale { ", stale=true" } else { "" };
        [Algorithm::Sha256, Algorithm::Md5].map(|algorithm| {
            format!(
                "Digest realm={}, nonce=\"{nonce}\", algorithm={}, qop=\"auth,auth-int\"{stale}",
                quote(&self.realm),
                algorithm.name()
            )
        })
    }

    /// Checks credentials. `ha1_of` gives a user's HA1 for an algorithm (see [`super::ha1`]), `None` for an unknown user.
    pub fn verify(
        &mut self,
        now_ms: u64,
        credentials: &AuthValue,
        method: &str,
        body: &[u8],
        ha1_of: impl FnOnce(&str, Algorithm) -> Option<String>,
    ) -> Verdict {
        let text = |name: &str| credentials.param(name);
        let (Some(user), Some(realm), Some(nonce), Some(uri), Some(answer)) =
            (text("username"), text("realm"), text("nonce"), text("uri"), text("response"))
        else {
            return Verdict::Invalid;
        };
        let Some(algorithm) = Algorithm::parse(text("algorithm").as_deref()) else { return Verdict::Invalid };
        let (Some(qop), Some(nc), Some(cnonce)) = (text("qop"), text("nc"), text("cnonce")) else {
            return Verdict::Invalid;
        };
        let Ok(count) = u32::from_str_radix(&nc, 16) else { return Verdict::Invalid };
        if credentials.scheme != AuthScheme::Digest
            || realm != self.realm
            || !matches!(qop.as_str(), "auth" | "auth-int")
        {
            return Verdict::Invalid;
        }
        let Some(ha1) = ha1_of(&user, algorithm) else { return Verdict::Invalid };
        let qop = Some((nc.as_str(), qop.as_str()));
        let right = response(
            &ha1,
            &Input { algorithm, nonce: &nonce, cnonce: &cnonce, qop, method, uri: &uri, body },
        );
        if !same_secret(right.as_bytes(), answer.to_ascii_lowercase().as_bytes()) {
            return Verdict::Invalid;
        }
        if !self.is_fresh(now_ms, &nonce) {
            self.counts.remove(&nonce);
            return Verdict::Stale;
        }
        if !self.counts.contains_key(&nonce) && self.counts.len() >= NONCES_MAX {
            let fresh: Vec<String> =
                self.counts.keys().filter(|n| self.is_fresh(now_ms, n)).cloned().collect();
            self.counts.retain(|nonce, _| fresh.contains(nonce));
            if self.counts.len() >= NONCES_MAX {
                return Verdict::Stale;
            }
        }
        let last = self.counts.entry(nonce).or_insert(0);
        if count <= *last {
            return Verdict::Stale;
        }
        *last = count;
        Verdict::Valid
    }

    fn is_fresh(&self, now_ms: u64, nonce: &str) -> bool {
        let Some((issue, proof)) = nonce.split_at_checked(24) else { return false };
        let issued = issue.get(..16).and_then(|time| u64::from_str_radix(time, 16).ok()).unwrap_or(u64::MAX);
        same_secret(proof.as_bytes(), self.proof(issue).as_bytes())
            && now_ms.checked_sub(issued).is_some_and(|age| age <= self.nonce_lifetime_ms)
    }

    fn proof(&self, issue: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return String::new(); // HMAC takes keys of every length.
        };
        mac.update(issue.as_bytes());
        hex(mac.finalize().into_bytes().as_slice().get(..16).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Challenge, ClientAuth, Credentials, Secret, ha1};
    use super::*;

    fn answer(challenge: &str, secret: Secret, count: u32, body: &[u8]) -> AuthValue {
        let value = AuthValue::parse(challenge).expect("a challenge");
        let challenge = Challenge::from_header(&value).expect("one we can answer");
        let mut auth = ClientAuth { challenge, proxy: false, nonce_count: count };
        let credentials = Credentials { user: "al\"ice".into(), secret };
        let line =
            auth.authorize(&credentials, "c,1", "REGISTER", "sip:example.com", body).expect("an answer");
        AuthValue::parse(&line).expect("credentials")
    }

    #[test]
    fn both_sides_agree_on_every_form() {
        let long = "p".repeat(300);
        let mut verifier = Verifier::new("ex, \"ample\"", [7; 32], 1_000);
        let known = |user: &str, algorithm| {
            (user == "al\"ice").then(|| ha1(algorithm, user, "ex, \"ample\"", &"p".repeat(300)))
        };
        let mut now = 5;
        for challenge in verifier.challenges(now, false) {
            for form in ["auth,auth-int", "auth", "auth-int"] {
                for session in ["", "-sess"] {
                    now += 1;
                    let fresh = verifier.challenges(now, false)[0].clone();
                    let nonce = fresh
                        .split("nonce=\"")
                        .nth(1)
                        .and_then(|r| r.split('"').next())
                        .expect("nonce")
                        .to_owned();
                    let old = challenge
                        .split("nonce=\"")
                        .nth(1)
                        .and_then(|r| r.split('"').next())
                        .expect("nonce")
                        .to_owned();
                    let challenge = challenge.replace("auth,auth-int", form).replace(&old, &nonce);
                    let challenge = challenge
                        .replace("SHA-256", &format!("SHA-256{session}"))
                        .replace("=MD5", &format!("=MD5{session}"));
                    let good = answer(&challenge, Secret::Password(long.clone()), 0, b"body");
                    assert_eq!(
                        verifier.verify(now, &good, "REGISTER", b"body", known),
                        Verdict::Valid,
                        "{challenge}"
                    );
                    assert_eq!(
                        verifier.verify(now, &good, "REGISTER", b"body", known),
                        Verdict::Stale,
                        "repeated"
                    );
                    assert_eq!(
                        verifier.verify(now, &good, "INVITE", b"body", known),
                        Verdict::Invalid,
                        "other method"
                    );
                    let bad = answer(&challenge, Secret::Password("x".into()), 1, b"body");
                    assert_eq!(verifier.verify(now, &bad, "REGISTER", b"body", known), Verdict::Invalid);
                    let changed = verifier.verify(
                        now,
                        &answer(&challenge, Secret::Password(long.clone()), 1, b"body"),
                        "REGISTER",
                        b"other",
                        known,
                    );
                    assert_eq!(changed, if form == "auth-int" { Verdict::Invalid } else { Verdict::Valid });
                }
            }
        }
    }

    #[test]
    fn nonces_grow_old_and_cannot_be_forged() {
        let mut verifier = Verifier::new("r", [1; 32], 1_000);
        let known = |user: &str, algorithm| Some(ha1(algorithm, user, "r", "p"));
        let [_, md5] = verifier.challenges(10, false);
        let secret = Secret::Ha1(ha1(Algorithm::Md5, "al\"ice", "r", "p"));
        let good = answer(&md5, secret.clone(), 0, b"");
        assert_eq!(verifier.verify(1_011, &good, "REGISTER", b"", known), Verdict::Stale);
        assert_eq!(verifier.verify(1_010, &good, "REGISTER", b"", known), Verdict::Valid);
        let [_, foreign] = Verifier::new("r", [2; 32], 1_000).challenges(10, false);
        assert_eq!(
            verifier.verify(10, &answer(&foreign, secret, 0, b""), "REGISTER", b"", known),
            Verdict::Stale
        );
    }
}
