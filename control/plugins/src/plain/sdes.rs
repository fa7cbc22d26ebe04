//! SDES keys of one m-line (RFC 4568): what is offered, what is chosen, what both sides use.

use bifrons_engine::media::SdesKeys;
use bifrons_wire::sdp::{Crypto, Media, Suite};

use serde_json::{Map, Value};

use super::error::PlainError;
use crate::params::{self, PluginError};

/// What an application asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrtpPolicy {
    /// Plain RTP, unless the peer offers SRTP.
    #[default]
    Follow,
    /// `sdes_optional`: RTP/AVP with `a=crypto`.
    Optional,
    /// `sdes_mandatory`: RTP/SAVP with `a=crypto`.
    Mandatory,
}

/// Suites that the engine runs.
const SUITES: [Suite; 4] =
    [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm];

/// What the members `srtp` and `srtp_profile` of a request ask for.
///
/// # Errors
/// With the plugin's code for an invalid element: a word that is none of the contract's.
pub fn requested(body: &Map<String, Value>, invalid: u32) -> Result<(SrtpPolicy, Suite), PluginError> {
    let policy = match params::text(body, "srtp") {
        None => SrtpPolicy::Follow,
        Some(word) if word.eq_ignore_ascii_case("sdes_optional") => SrtpPolicy::Optional,
        Some(word) if word.eq_ignore_ascii_case("sdes_mandatory") => SrtpPolicy::Mandatory,
        Some(_) => {
            let text = "Invalid element (srtp can only be sdes_optional or sdes_mandatory)";
            return Err(PluginError::new(invalid, text));
        }
    };
    let suite = match params::text(body, "srtp_profile") {
        None => Suite::AesCm128HmacSha1_80,
        Some(profile) => suite_of_profile(profile)
            .ok_or_else(|| PluginError::new(invalid, "Invalid element (unsupported SRTP profile)"))?,
    };
    Ok((policy, suite))
}

/// The suite of an API `srtp_profile`.
fn suite_of_profile(profile: &str) -> Option<Suite> {
    SUITES.into_iter().find(|suite| suite.as_str() == profile)
}

/// The keys of one m-line.
#[derive(Clone, Debug, Default)]
pub struct Sdes {
    /// What we protect with; made once a call.
    local: Option<Crypto>,
    /// What the peer protects with, with the tag that an answer repeats.
    remote: Option<Crypto>,
}

impl Sdes {
    /// Our line of an offer. The key is made once and then kept.
    pub fn offer(&mut self, suite: &Suite) -> &Crypto {
        if self.local.as_ref().is_some_and(|local| local.suite != *suite) {
            self.local = None;
        }
        self.local.get_or_insert_with(|| fresh(1, suite.clone()))
    }

    /// Takes the first line of an offer that the engine can run. `false`: none.
    pub fn take_offer(&mut self, media: &Media) -> bool {
        self.remote = media.section.valid::<Crypto>().find(usable);
        self.remote.is_some()
    }

    /// Our line of the answer to what [`Sdes::take_offer`] took.
    pub fn answer(&mut self) -> Option<&Crypto> {
        let remote = self.remote.as_ref()?;
        let (tag, suite) = (remote.tag, remote.suite.clone());
        if self.local.as_ref().is_none_or(|local| local.suite != suite) {
            self.local = Some(fresh(tag, suite));
        }
        let local = self.local.as_mut()?;
        local.tag = tag;
        Some(local)
    }

    /// Takes the answer to our offer. An answer without `a=crypto` falls back to plain RTP.
    ///
    /// # Errors
    /// It answers a line that was not offered.
    pub fn take_answer(&mut self, media: &Media) -> Result<bool, PlainError> {
        let mut lines = media.section.valid::<Crypto>().peekable();
        if lines.peek().is_none() {
            self.remote = None;
            return Ok(false);
        }
        let offered = self.local.as_ref();
        let fits = |line: &Crypto| {
            usable(line) && offered.is_some_and(|offer| offer.tag == line.tag && offer.suite == line.suite)
        };
        self.remote = lines.find(fits);
        if self.remote.is_some() { Ok(true) } else { Err(PlainError::SrtpMismatch) }
    }

    /// Both keys, once both sides have agreed.
    pub fn keys(&self) -> Option<SdesKeys> {
        let (local, remote) = (self.local.as_ref()?, self.remote.as_ref()?);
        Some(SdesKeys {
            suite: local.suite.as_str().to_owned(),
            local: local.keys.first()?.key_salt.clone(),
            remote: remote.keys.first()?.key_salt.clone(),
        })
    }

    /// The peer protects what it sends.
    pub fn remote_active(&self) -> bool {
        self.remote.is_some()
    }

    /// We protect what we send.
    pub fn local_active(&self) -> bool {
        self.local.is_some() && self.remote.is_some()
    }
}

/// A line that the engine can run: a known suite, one key of its length, no MKI, no session parameter
/// (RFC 4568 §6.3.7: one that is not understood makes the line unusable).
fn usable(line: &Crypto) -> bool {
    SUITES.contains(&line.suite)
        && line.session_parameters.is_empty()
        && line
            .keys
            .first()
            .is_some_and(|key| key.mki.is_none() && Some(key.key_salt.len()) == line.suite.key_salt_len())
}

fn fresh(tag: u32, suite: Suite) -> Crypto {
    let mut key_salt = vec![0; suite.key_salt_len().unwrap_or(30)];
    // The system's generator never fails on Linux once it is seeded; a guessable key is no choice.
    getrandom::fill(&mut key_salt).expect("the system has random bytes");
    Crypto::new(tag, suite, &key_salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(crypto: &[&str]) -> Media {
        let mut media = Media::new("audio", 4000, "RTP/SAVP", ["0"]);
        crypto.iter().for_each(|text| media.section.push_attribute("crypto", text));
        media
    }

    const KEY: &str = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn an_offer_is_answered_with_its_tag() {
        let mut sdes = Sdes::default();
        let offer = line(&[
            &format!("1 AES_256_CM_HMAC_SHA1_80 {KEY}"),
            &format!("2 AES_CM_128_HMAC_SHA1_80 {KEY}|2^20|1:4"),
            &format!("3 AES_CM_128_HMAC_SHA1_32 {KEY} UNENCRYPTED_SRTCP"),
            &format!("7 AES_CM_128_HMAC_SHA1_32 {KEY}|2^31"),
        ]);
        assert!(sdes.take_offer(&offer));
        let answer = sdes.answer().unwrap().clone();
        assert_eq!((answer.tag, answer.suite.as_str()), (7, "AES_CM_128_HMAC_SHA1_32"));
        let keys = sdes.keys().unwrap();
        assert_eq!((keys.local.len(), keys.remote.len()), (30, 30));
        // A re-INVITE with another tag keeps our key.
        assert!(sdes.take_offer(&line(&[&format!("1 AES_CM_128_HMAC_SHA1_32 {KEY}")])));
        assert_eq!(sdes.answer().unwrap().keys, answer.keys);
        assert!(!sdes.take_offer(&line(&[])));
        assert!(sdes.keys().is_none());
    }

    #[test]
    fn an_answer_must_fit_the_offer_or_be_plain() {
        let mut sdes = Sdes::default();
        sdes.offer(&Suite::AesCm128HmacSha1_80);
        assert_eq!(sdes.take_answer(&line(&[&format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}")])), Ok(true));
        assert!(sdes.keys().is_some());
        let wrong = line(&[&format!("2 AES_CM_128_HMAC_SHA1_80 {KEY}")]);
        assert_eq!(sdes.take_answer(&wrong), Err(PlainError::SrtpMismatch));
        assert_eq!(sdes.take_answer(&line(&[])), Ok(false));
        assert!(sdes.keys().is_none() && !sdes.local_active());
    }

    #[test]
    fn profiles_are_the_four_of_the_contract() {
        assert!(suite_of_profile("AEAD_AES_256_GCM").is_some());
        assert!(suite_of_profile("AES_256_CM_HMAC_SHA1_80").is_none());
        assert!(suite_of_profile("").is_none());
    }
}
