//! SDES keys (RFC 4568): `a=crypto` lines and the SRTP that follows from them.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bifrons_rtc::srtp::{Backend, Inbound, MasterKey, Outbound, Profile};

/// One end of an SRTP stream whose keys came by SDP.
pub struct Srtp {
    /// What comes in.
    pub inbound: Inbound,
    /// What goes out.
    pub outbound: Outbound,
    /// Where to.
    pub remote: SocketAddr,
}

impl Srtp {
    /// From our key and theirs.
    ///
    /// # Errors
    /// A key cannot be used.
    pub fn new(ours: &MasterKey, theirs: &MasterKey, remote: SocketAddr) -> Result<Self, String> {
        let fail = |error: bifrons_rtc::srtp::SrtpError| error.to_string();
        let inbound = Inbound::new(Backend::Native, theirs).map_err(fail)?;
        let outbound = Outbound::new(Backend::Native, ours).map_err(fail)?;
        Ok(Self { inbound, outbound, remote })
    }
}

/// A key that was offered.
pub struct Offered<'a> {
    /// Its tag.
    pub tag: &'a str,
    /// The key.
    pub key: MasterKey,
}

/// The suite's name (RFC 4568 §6.2, RFC 7714 §14.2).
pub fn suite(profile: Profile) -> Result<&'static str, String> {
    ["AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80"]
        .into_iter()
        .find(|name| Profile::from_sdes_name(name) == Some(profile))
        .ok_or_else(|| format!("{profile:?} is not one of the generator's profiles"))
}

/// The `a=crypto` line of a description that offers this profile.
///
/// # Errors
/// There is none, or its key is not of the right length.
pub fn of_suite(sdp: &str, profile: Profile) -> Result<Offered<'_>, String> {
    let name = suite(profile)?;
    for line in sdp.lines() {
        let Some(rest) = line.trim_end().strip_prefix("a=crypto:") else { continue };
        let mut words = rest.split(' ');
        let (Some(tag), Some(suite), Some(params)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if suite != name {
            continue;
        }
        let key = params.strip_prefix("inline:").and_then(|key| key.split('|').next());
        let key = key
            .and_then(|key| STANDARD_NO_PAD.decode(key.trim_end_matches('=')).ok())
            .ok_or_else(|| format!("a=crypto {tag}: no key"))?;
        let key = MasterKey::from_bytes(profile, &key).map_err(|error| format!("a=crypto {tag}: {error}"))?;
        return Ok(Offered { tag, key });
    }
    Err(format!("the description offers no {name}"))
}

/// Our `a=crypto` line. Padding of the key is optional in practice: rtpengine writes none.
///
/// # Errors
/// The profile has no suite.
pub fn line(tag: &str, key: &MasterKey) -> Result<String, String> {
    Ok(format!(
        "a=crypto:{tag} {} inline:{}\r\n",
        suite(key.profile())?,
        STANDARD_NO_PAD.encode(key.expose())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_again() {
        let profile = Profile::AeadAes128Gcm;
        let key = MasterKey::generate(profile).unwrap();
        let sdp =
            format!("v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n{}", line("7", &key).unwrap());
        let offered = of_suite(&sdp, profile).unwrap();
        assert_eq!((offered.tag, offered.key.expose()), ("7", key.expose()));
        assert!(of_suite(&sdp, Profile::AesCm128HmacSha1_80).err().unwrap().contains("a=crypto 1"));
        assert!(of_suite("v=0\r\n", profile).err().unwrap().contains("AEAD_AES_128_GCM"));
    }
}
