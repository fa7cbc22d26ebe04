//! What cannot be said in a type.

use std::net::SocketAddr;
use std::path::Path;

use bifrons_engine::SHARED_PORTS_MAX;
use bifrons_engine::driver::xdp::INTERFACES_MAX;

use super::{Config, ConfigError};
use crate::config::schema::{DriverChoice, SipTransport};

/// SRTP profiles by their names (RFC 4568 §6.2, RFC 7714 §14.2).
const PROFILES: [&str; 4] =
    ["AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"];

/// Longest name of a network interface (IFNAMSIZ of Linux, without the zero at its end).
const INTERFACE_NAME_BYTES_MAX: usize = 15;

/// Refuses values that contradict each other or cannot work.
///
/// # Errors
/// The first key that is wrong, with what would be right.
pub fn check(config: &Config, file: &Path) -> Result<(), ConfigError> {
    let wrong = |key: &str, reason: String| Err(ConfigError::new(file, key, reason));

    if config.http.listen.is_empty()
        && config.http.listen_tls.is_empty()
        && config.websocket.listen.is_empty()
        && config.websocket.listen_tls.is_empty()
    {
        return wrong("http.listen", "no transport is left: give http or websocket an address".into());
    }
    let base = &config.http.base_path;
    if !base.starts_with('/') || (base.len() > 1 && base.ends_with('/')) {
        return wrong("http.base_path", format!("`{base}` must begin with / and not end with one"));
    }
    for (key, listen) in
        [("http.listen_tls", &config.http.listen_tls), ("websocket.listen_tls", &config.websocket.listen_tls)]
    {
        if !listen.is_empty() && (config.tls.certificate.is_none() || config.tls.key.is_none()) {
            return wrong(key, "needs tls.certificate and tls.key".into());
        }
    }
    let mut listeners: Vec<(&str, SocketAddr)> = Vec::new();
    for (key, list) in [
        ("http.listen", &config.http.listen),
        ("http.listen_tls", &config.http.listen_tls),
        ("websocket.listen", &config.websocket.listen),
        ("websocket.listen_tls", &config.websocket.listen_tls),
    ] {
        for &address in list {
            if let Some((other, _)) =
                listeners.iter().find(|(_, used)| *used == address && address.port() != 0)
            {
                return wrong(key, format!("{address} is taken by {other}"));
            }
            listeners.push((key, address));
        }
    }
    if config.access.enforce_origin && config.access.allow_origin.is_none() {
        return wrong("access.enforce_origin", "needs access.allow_origin".into());
    }
    if config.server.candidates_timeout_s == 0 {
        return wrong("server.candidates_timeout_s", "must be more than 0".into());
    }

    let limits = &config.limits;
    if limits.worker_busy_percent_max > 100 {
        let percent = limits.worker_busy_percent_max;
        return wrong("limits.worker_busy_percent_max", format!("{percent} is more than 100"));
    }
    for (key, burst) in [
        ("limits.leg_audio_burst_packets_max", limits.leg_audio_burst_packets_max),
        ("limits.leg_video_burst_packets_max", limits.leg_video_burst_packets_max),
    ] {
        if burst == 0 {
            return wrong(key, "must be more than 0".into());
        }
    }

    let media = &config.media;
    if media.rtp_port_range.first == 0 || media.rtp_port_range.first >= media.rtp_port_range.last {
        let range = String::from(media.rtp_port_range);
        return wrong("media.rtp_port_range", format!("`{range}` has no room for a pair of ports"));
    }
    if media.coalesce_us > 2_000 {
        return wrong("media.coalesce_us", format!("{} is more than 2000", media.coalesce_us));
    }
    let interfaces = &media.xdp_interfaces;
    if media.driver == DriverChoice::Xdp && interfaces.is_empty() {
        return wrong("media.xdp_interfaces", "driver = \"xdp\" needs one network interface at least".into());
    }
    if interfaces.len() > INTERFACES_MAX {
        return wrong(
            "media.xdp_interfaces",
            format!("{} are given, {INTERFACES_MAX} may be", interfaces.len()),
        );
    }
    for (i, name) in interfaces.iter().enumerate() {
        if name.is_empty() || name.len() > INTERFACE_NAME_BYTES_MAX || name.contains(['/', ' ', '\0']) {
            return wrong("media.xdp_interfaces", format!("`{name}` is no name of a network interface"));
        }
        if interfaces[..i].contains(name) {
            return wrong("media.xdp_interfaces", format!("`{name}` is listed twice"));
        }
    }
    if media.workers > 256 {
        return wrong("media.workers", format!("{} is more than 256", media.workers));
    }
    if media.legs_per_worker_max == 0 || media.legs_per_worker_max > 1 << 20 {
        return wrong("media.legs_per_worker_max", "must be 1 to 1048576".into());
    }
    if usize::from(media.webrtc_port) + media.workers > 65_536 {
        return wrong("media.webrtc_port", "has no room for a port a worker".into());
    }
    if let Some(address) = media.addresses.iter().find(|a| a.is_unspecified() || a.is_multicast()) {
        return wrong(
            "media.addresses",
            format!("{address} is not an address that packets can be sent from"),
        );
    }
    for public in &media.advertised {
        let families = || media.addresses.iter().any(|local| local.is_ipv4() == public.is_ipv4());
        if !media.addresses.is_empty() && !families() {
            return wrong("media.advertised", format!("{public}: media.addresses has none of its family"));
        }
    }

    let webrtc = &config.webrtc;
    if webrtc.dtls_certificate.is_some() != webrtc.dtls_key.is_some() {
        return wrong("webrtc.dtls_certificate", "needs webrtc.dtls_key, and the other way round".into());
    }
    if !(576..=1452).contains(&webrtc.dtls_mtu) {
        return wrong("webrtc.dtls_mtu", format!("{} is not between 576 and 1452", webrtc.dtls_mtu));
    }
    if webrtc.srtp_profiles.is_empty() {
        return wrong("webrtc.srtp_profiles", "at least one is needed".into());
    }
    for profile in &webrtc.srtp_profiles {
        if !PROFILES.contains(&profile.as_str()) {
            let known = PROFILES.join(", ");
            return wrong("webrtc.srtp_profiles", format!("`{profile}` is unknown; known are {known}"));
        }
    }

    for (i, listen) in config.sip.listen.iter().enumerate() {
        if listen.ident.is_empty()
            || !listen.ident.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            return wrong(
                "sip.listen",
                format!("ident `{}` may have letters, digits, - _ . only", listen.ident),
            );
        }
        let twin = |other: &&super::schema::SipListen| {
            other.address == listen.address
                && (other.transport == SipTransport::Udp) == (listen.transport == SipTransport::Udp)
        };
        if config.sip.listen[..i].iter().any(|other| twin(&other)) {
            return wrong("sip.listen", format!("{} is listed twice", listen.address));
        }
        if listen.transport == SipTransport::Tls && config.sip.tls_directory.is_none() {
            return wrong("sip.listen", format!("{} is tls and needs sip.tls_directory", listen.address));
        }
    }
    shared_rtp(config, file)?;
    crate::sip::shared_peers(file, "nosip.shared_rtp", &config.nosip.shared_rtp, 0)?;
    if config.sip.register_ttl_s == 0 {
        return wrong("sip.register_ttl_s", "must be more than 0".into());
    }
    if config.sip.gate_only_allowed && config.sip.gate_allowed.is_empty() {
        return wrong("sip.gate_only_allowed", "needs sip.gate_allowed, or nobody is heard".into());
    }
    if config.sip.gate_burst > 0 && config.sip.gate_rate_per_s == 0 {
        return wrong("sip.gate_burst", "needs sip.gate_rate_per_s".into());
    }
    let headers = &config.sip.allowed_headers;
    let is_name = |name: &&String| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
    };
    if let Some(name) = headers.iter().find(|name| !is_name(name)) {
        return wrong("sip.allowed_headers", format!("`{name}` is not the name of a header"));
    }
    crate::sip::rules(config, file)?;
    if !(1_000..=600_000).contains(&config.sip.timer_t1x64_ms) {
        return wrong("sip.timer_t1x64_ms", "must be 1000 to 600000".into());
    }
    Ok(())
}

/// Peers whose calls share RTP ports.
fn shared_rtp(config: &Config, file: &Path) -> Result<(), ConfigError> {
    let mut ports = 0;
    for (key, peers) in
        [("sip.shared_rtp", &config.sip.shared_rtp), ("nosip.shared_rtp", &config.nosip.shared_rtp)]
    {
        for (index, peer) in peers.iter().enumerate() {
            let wrong = |reason: &str| Err(ConfigError::new(file, key, format!("`{}`: {reason}", peer.name)));
            if peer.name.is_empty() {
                return wrong("a name is needed");
            }
            if peers.iter().take(index).any(|other| other.name == peer.name) {
                return wrong("is there twice");
            }
            if peer.media.is_empty() {
                return wrong("`media` is needed: the addresses or networks of its media");
            }
            if key == "nosip.shared_rtp" && !peer.hops.is_empty() {
                return wrong("`hops` is for SIP only; a `generate` request names the peer");
            }
            if peer.ports_per_worker == 0 {
                return wrong("`ports_per_worker` must be 1 or more");
            }
            ports += usize::from(peer.ports_per_worker);
            if ports > SHARED_PORTS_MAX {
                return wrong(&format!(
                    "`ports_per_worker` of all peers together must be {SHARED_PORTS_MAX} at most"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_contradiction_is_named() {
        let cases = [
            ("[http]\nlisten = []\n[websocket]\nlisten = []", "http.listen: no transport"),
            ("[http]\nbase_path = \"janus\"", "http.base_path: `janus` must begin"),
            ("[http]\nlisten_tls = [\"127.0.0.1:8089\"]", "http.listen_tls: needs tls.certificate"),
            (
                "[websocket]\nlisten = [\"127.0.0.1:8088\"]",
                "websocket.listen: 127.0.0.1:8088 is taken by http.listen",
            ),
            ("[access]\nenforce_origin = true", "access.enforce_origin: needs"),
            ("[media]\nrtp_port_range = \"5000-5000\"", "media.rtp_port_range: `5000-5000` has no room"),
            ("[limits]\nworker_busy_percent_max = 101", "limits.worker_busy_percent_max: 101 is more"),
            (
                "[limits]\nleg_video_burst_packets_max = 0",
                "limits.leg_video_burst_packets_max: must be more than 0",
            ),
            ("[media]\ncoalesce_us = 3000", "media.coalesce_us: 3000 is more"),
            ("[media]\naddresses = [\"0.0.0.0\"]", "media.addresses: 0.0.0.0 is not"),
            ("[media]\ndriver = \"xdp\"", "media.xdp_interfaces: driver = \"xdp\" needs one"),
            (
                "[media]\nxdp_interfaces = [\"a\", \"b\", \"c\", \"d\", \"e\"]",
                "media.xdp_interfaces: 5 are given, 4 may be",
            ),
            (
                "[media]\nxdp_interfaces = [\"eth0\", \"eth1\", \"eth0\"]",
                "media.xdp_interfaces: `eth0` is listed twice",
            ),
            (
                "[media]\nxdp_interfaces = [\"192.0.2.1/24\"]",
                "media.xdp_interfaces: `192.0.2.1/24` is no name",
            ),
            (
                "[media]\naddresses = [\"127.0.0.1\"]\nadvertised = [\"2001:db8::1\"]",
                "media.advertised: 2001:db8::1",
            ),
            ("[webrtc]\ndtls_key = \"k\"", "webrtc.dtls_certificate: needs"),
            ("[webrtc]\nsrtp_profiles = [\"ROT13\"]", "webrtc.srtp_profiles: `ROT13` is unknown"),
            (
                "[[sip.listen]]\nident = \"a\"\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"",
                "sip.listen: 127.0.0.1:5061 is tls and needs sip.tls_directory",
            ),
            (
                "[[sip.listen]]\nident = \"a b\"\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"",
                "sip.listen: ident `a b`",
            ),
            ("[sip]\ngate_only_allowed = true", "sip.gate_only_allowed: needs sip.gate_allowed"),
            ("[sip]\ngate_burst = 5", "sip.gate_burst: needs sip.gate_rate_per_s"),
            ("[sip]\ntrunks = [\"10.0.0.0/33\"]", "sip.trunks: `10.0.0.0/33` is neither"),
            ("[sip]\ngate_blocked = [\"example.com\"]", "sip.gate_blocked: `example.com` is neither"),
            ("[sip]\ngate_allowed = [\"10.\"]", "sip.gate_allowed: `10.` is neither"),
            ("[sip]\nallowed_targets = [\"sip:a@b\"]", "sip.allowed_targets: `sip:a@b` is neither"),
            ("[sip]\nallowed_proxies = [\"b:5060\"]", "sip.allowed_proxies: `b:5060` is neither"),
            ("[[sip.shared_rtp]]\nname = \"a\"\nmedia = []", "sip.shared_rtp: `a`: `media` is needed"),
            (
                "[[sip.shared_rtp]]\nname = \"a\"\nmedia = [\"sbc.example.com\"]",
                "sip.shared_rtp: `sbc.example.com` is neither",
            ),
            (
                "[[sip.shared_rtp]]\nname = \"a\"\nmedia = [\"10.0.0.1\"]\nports_per_worker = 30\n\
                 [[nosip.shared_rtp]]\nname = \"b\"\nmedia = [\"10.0.0.1\"]",
                "nosip.shared_rtp: `b`: `ports_per_worker` of all peers together must be 32",
            ),
            (
                "[[sip.shared_rtp]]\nname = \"a\"\nmedia = [\"10.0.0.1\"]\nhops = [\"sip:b\"]",
                "sip.shared_rtp: `sip:b` is neither a domain",
            ),
            (
                "[[nosip.shared_rtp]]\nname = \"a\"\nmedia = [\"10.0.0.1\"]\nhops = [\"b\"]",
                "nosip.shared_rtp: `a`: `hops` is for SIP only",
            ),
            ("[sip]\nallowed_headers = [\"X A\"]", "sip.allowed_headers: `X A` is not the name"),
        ];
        for (text, expected) in cases {
            let file = Path::new("b.toml");
            let config = super::super::parse(text, file).unwrap();
            let error = check(&config, file).unwrap_err().to_string();
            assert!(error.starts_with(&format!("b.toml: {expected}")), "{text}\n{error}");
        }
    }
}
