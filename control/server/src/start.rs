//! The configuration in the words of the parts that it is for. Nothing is opened here.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bifrons_api::config::{AllowedPlugins, InfoConfig, ModuleInfo, Tokens};
use bifrons_api::rate::Rate;
use bifrons_api::{ApiConfig, config::Limits as ApiLimits};
use bifrons_engine::media::Latching;
use bifrons_engine::{Admission, Budgets, DriverChoice, EngineConfig, LocalAddress};
use bifrons_plugins::nosip::NoSipConfig;
use bifrons_plugins::plain::PlainConfig;
use bifrons_rtc::ice::{AddressPolicy, ConsentLoss};
use bifrons_rtc::srtp::{Backend, Profile};
use bifrons_transports::access::{Access, Network};
use bifrons_transports::{Settings, StaticFiles, TransportLimits};

use crate::config::schema;
use crate::config::{Config, ConfigError};
use crate::{net, sip};

/// Where the configuration came from: the file or folder that errors name.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its path.
    pub file: PathBuf,
}

impl Origin {
    /// An error about a key of it.
    pub fn error(&self, key: &str, reason: impl std::fmt::Display) -> ConfigError {
        ConfigError::new(&self.file, key, reason.to_string())
    }
}

/// Refuses what this version cannot do: better no start than one that passes over a wish.
///
/// # Errors
/// The first such key.
pub fn check_available(config: &Config, origin: &Origin) -> Result<(), ConfigError> {
    if config.sip.keepalive_s != 0 {
        return Err(origin.error("sip.keepalive_s", "is not available in this version: leave it 0"));
    }
    Ok(())
}

/// Refuses network interfaces that this machine does not have.
///
/// # Errors
/// The first such one, with those that there are.
pub fn check_interfaces(config: &Config, origin: &Origin) -> Result<(), ConfigError> {
    if config.media.driver != schema::DriverChoice::Xdp {
        return Ok(());
    }
    let known = net::interfaces();
    match config.media.xdp_interfaces.iter().find(|name| !known.contains(name)) {
        Some(name) => {
            let reason = format!("no network interface `{name}`; there are {}", known.join(", "));
            Err(origin.error("media.xdp_interfaces", reason))
        }
        None => Ok(()),
    }
}

/// The local addresses of media.
pub fn media_addresses(config: &Config) -> Vec<IpAddr> {
    match config.media.addresses.as_slice() {
        [] => vec![net::default_address()],
        addresses => addresses.to_vec(),
    }
}

/// What `o=` and `c=` say: the first public address, else the first local one.
fn advertised_address(config: &Config) -> IpAddr {
    let local = media_addresses(config).first().copied().unwrap_or([127, 0, 0, 1].into());
    config.media.advertised.first().copied().unwrap_or(local)
}

/// For the engine.
///
/// # Errors
/// An SRTP profile that the engine does not know.
pub fn engine(config: &Config, origin: &Origin) -> Result<EngineConfig, ConfigError> {
    let media = &config.media;
    let workers = match media.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let addresses = media_addresses(config);
    let mut profiles = Vec::new();
    for name in &config.webrtc.srtp_profiles {
        let profile = Profile::ALL.into_iter().find(|profile| profile.sdes_name() == name);
        profiles.push(
            profile.ok_or_else(|| origin.error("webrtc.srtp_profiles", format!("`{name}` is unknown")))?,
        );
    }
    let mut engine = EngineConfig {
        workers: workers.min(bifrons_engine::LegId::WORKERS_MAX),
        driver: match media.driver {
            schema::DriverChoice::Auto => DriverChoice::Auto,
            schema::DriverChoice::Uring => DriverChoice::Uring,
            schema::DriverChoice::Mmsg => DriverChoice::Mmsg,
            schema::DriverChoice::Xdp => DriverChoice::Xdp,
        },
        xdp_interfaces: media.xdp_interfaces.clone(),
        addresses: addresses.iter().map(|address| local_address(*address, &addresses, media)).collect(),
        advertise_private_too: media.advertise_private_too,
        webrtc_port: (media.webrtc_port != 0).then_some(media.webrtc_port),
        rtp_port_range: (media.rtp_port_range.first, media.rtp_port_range.last),
        rtp_port_rest_ms: media.rtp_port_rest_ms,
        shared_ports: shared_ports(config),
        ice_lite: config.webrtc.ice_lite,
        // Who serves on loopback serves clients of this machine, and only they have such candidates.
        ice_addresses: AddressPolicy {
            loopback: addresses.iter().any(IpAddr::is_loopback),
            ..AddressPolicy::default()
        },
        consent_loss: match config.webrtc.hangup_on_consent_loss {
            true => ConsentLoss::Fail,
            false => ConsentLoss::Report,
        },
        srtp_profiles: profiles,
        dtls_mtu: config.webrtc.dtls_mtu,
        srtp_backend: match config.webrtc.srtp_backend {
            schema::SrtpBackend::Native => Backend::Native,
            schema::SrtpBackend::Libsrtp => Backend::Libsrtp,
        },
        coalesce_us: media.coalesce_us,
        no_media_timer_s: media.no_media_timer_s,
        slowlink_threshold: media.slowlink_threshold,
        realtime: media.realtime,
        ..EngineConfig::default()
    };
    engine.limits.legs = media.legs_per_worker_max;
    engine.limits.flows = media.legs_per_worker_max.saturating_mul(4);
    let limits = &config.limits;
    engine.limits.admission = Admission {
        worker_busy_percent_max: limits.worker_busy_percent_max,
        worker_packets_per_s_max: limits.worker_packets_per_s_max,
    };
    engine.limits.budgets = Budgets {
        audio_packets_per_s: limits.leg_audio_packets_per_s_max,
        audio_burst_packets: limits.leg_audio_burst_packets_max,
        video_packets_per_s: limits.leg_video_packets_per_s_max,
        video_burst_packets: limits.leg_video_burst_packets_max,
        stun_per_s: limits.leg_stun_per_s_max,
        stun_burst: limits.leg_stun_per_s_max.div_ceil(2),
    };
    Ok(engine)
}

/// A local address with its public one: the n-th of a family has the n-th of that family, and where
/// there are fewer public ones, the last.
pub fn local_address(address: IpAddr, locals: &[IpAddr], media: &schema::Media) -> LocalAddress {
    let same = |other: &&IpAddr| other.is_ipv4() == address.is_ipv4();
    let position = locals.iter().filter(same).position(|other| *other == address).unwrap_or(0);
    let public: Vec<&IpAddr> = media.advertised.iter().filter(same).collect();
    let advertised = public.get(position).or(public.last()).map(|public| **public);
    LocalAddress { address, advertised }
}

/// For the core. `driver` and `workers` are what came of the engine's start.
pub fn api(config: &Config, engine: &EngineConfig) -> ApiConfig {
    let server = &config.server;
    let limits = &config.limits;
    let rate = |per_s: u32| (per_s != 0).then(|| Rate { per_s: f64::from(per_s), burst: f64::from(per_s) });
    let mut api_limits = ApiLimits {
        sessions_max: limits.sessions_max,
        handles_per_session_max: limits.handles_per_session_max,
        events_kept_max: limits.events_queued_max,
        create_per_source: rate(limits.create_per_s),
        create_per_token: rate(limits.create_per_s),
        attach_per_source: rate(limits.attach_per_s),
        attach_per_token: rate(limits.attach_per_s),
        message_per_source: rate(limits.message_per_s),
        message_per_token: rate(limits.message_per_s),
        ..ApiLimits::default()
    };
    api_limits.json.bytes_max = limits.request_bytes_max;
    ApiConfig {
        server_name: server.name.clone(),
        session_timeout_s: server.session_timeout_s,
        reclaim_session_timeout_s: server.reclaim_session_timeout_s,
        candidates_timeout_s: server.candidates_timeout_s,
        api_secret: config.auth.api_secret.clone(),
        tokens: tokens(&config.auth),
        opaqueid_in_api: server.opaque_id_in_api,
        accept_new_sessions: true,
        full_trickle: config.webrtc.full_trickle,
        hangup_on_failed: false,
        no_media_timer_s: config.media.no_media_timer_s,
        advertised_ip: advertised_address(config),
        limits: api_limits,
        info: info(config, engine),
    }
}

fn tokens(auth: &schema::Auth) -> Tokens {
    if let Some(secret) = &auth.signed_token_secret {
        return Tokens::Signed(secret.clone());
    }
    if auth.tokens.is_empty() {
        return Tokens::Off;
    }
    let allowed = |plugins: &Vec<String>| match plugins.as_slice() {
        [] => AllowedPlugins::All,
        plugins => AllowedPlugins::Only(plugins.to_vec()),
    };
    Tokens::Stored(auth.tokens.iter().map(|(token, plugins)| (token.clone(), allowed(plugins))).collect())
}

fn info(config: &Config, engine: &EngineConfig) -> InfoConfig {
    let addresses = media_addresses(config);
    let transport = |package: &str, name: &str, description: &str| ModuleInfo {
        package: package.into(),
        name: name.into(),
        author: "Bifrons".into(),
        description: description.into(),
        version_string: env!("CARGO_PKG_VERSION").into(),
        version: 1,
    };
    let mut transports = Vec::new();
    if !(config.http.listen.is_empty() && config.http.listen_tls.is_empty()) {
        transports.push(transport("janus.transport.http", "HTTP", "The API over HTTP(S) with long polls"));
    }
    if !(config.websocket.listen.is_empty() && config.websocket.listen_tls.is_empty()) {
        transports.push(transport(
            "janus.transport.websockets",
            "WebSocket",
            "The API over WebSocket(S), subprotocol janus-protocol",
        ));
    }
    InfoConfig {
        log_to_stdout: true,
        log_path: config.server.log_file.as_ref().map(|path| path.display().to_string()),
        local_ip: addresses.first().map(IpAddr::to_string).unwrap_or_default(),
        public_ips: config.media.advertised.iter().map(IpAddr::to_string).collect(),
        ipv6: addresses.iter().any(IpAddr::is_ipv6),
        ice_lite: config.webrtc.ice_lite,
        dtls_mtu: u32::from(config.webrtc.dtls_mtu),
        static_event_loops: u32::try_from(engine.workers).unwrap_or(u32::MAX),
        dependencies: Some(vec![("bifrons".into(), env!("CARGO_PKG_VERSION").into())]),
        transports,
        ..InfoConfig::default()
    }
}

/// For the transports.
///
/// # Errors
/// An entry of `access.allow` or `access.trusted_proxies` is no network.
pub fn transports(config: &Config, origin: &Origin, files: StaticFiles) -> Result<Settings, ConfigError> {
    let networks = |key: &str, list: &[String]| -> Result<Vec<Network>, ConfigError> {
        list.iter().map(|text| text.parse().map_err(|bad| origin.error(key, bad))).collect()
    };
    let ping = config.websocket.ping_after_s;
    Ok(Settings {
        base_path: config.http.base_path.clone(),
        access: Access {
            allow: networks("access.allow", &config.access.allow)?,
            trusted_proxies: networks("access.trusted_proxies", &config.access.trusted_proxies)?,
            allow_origins: config.access.allow_origin.clone().into_iter().collect(),
            enforce_origin: config.access.enforce_origin,
        },
        limits: TransportLimits {
            connections_max: config.limits.connections_max,
            connections_per_source_max: config.limits.connections_per_source_max,
            body_bytes_max: config.limits.request_bytes_max,
            ..TransportLimits::default()
        },
        ping_after: (ping != 0).then(|| Duration::from_secs(ping)),
        pong_timeout: (ping != 0).then(|| Duration::from_secs(config.websocket.pong_timeout_s)),
        files,
    })
}

/// Groups of shared RTP ports: those of the SIP side, then those of NoSIP.
fn shared_ports(config: &Config) -> Vec<u8> {
    let peers = config.sip.shared_rtp.iter().chain(&config.nosip.shared_rtp);
    peers.map(|peer| peer.ports_per_worker).collect()
}

/// For the NoSIP plugin.
///
/// # Errors
/// An entry of a list that is no network.
pub fn nosip(config: &Config, origin: &Origin) -> Result<NoSipConfig, ConfigError> {
    let first = config.sip.shared_rtp.len();
    let shared = sip::shared_peers(&origin.file, "nosip.shared_rtp", &config.nosip.shared_rtp, first)?;
    let plain = PlainConfig {
        sdp_address: config.nosip.sdp_address,
        latching: latching(config.nosip.latching),
        shared: shared.into(),
        ..PlainConfig::default()
    };
    Ok(NoSipConfig { plain })
}

/// Symmetric RTP in the engine's words.
pub fn latching(latching: schema::Latching) -> Latching {
    match latching {
        schema::Latching::Off => Latching::Off,
        schema::Latching::SameIp => Latching::SameIp,
        schema::Latching::AnyFirst => Latching::AnyFirst,
    }
}

/// The DTLS certificate that is configured, if one is.
///
/// # Errors
/// A file that cannot be read or used.
pub fn dtls_certificate(
    config: &Config,
    origin: &Origin,
) -> Result<Option<bifrons_rtc::dtls::Certificate>, ConfigError> {
    let (Some(certificate), Some(key)) = (&config.webrtc.dtls_certificate, &config.webrtc.dtls_key) else {
        return Ok(None);
    };
    let read = |name: &str, path: &Path| {
        std::fs::read(path).map_err(|error| origin.error(name, format!("{}: {error}", path.display())))
    };
    let pem = (read("webrtc.dtls_certificate", certificate)?, read("webrtc.dtls_key", key)?);
    let password = config.webrtc.dtls_key_password.as_deref();
    bifrons_rtc::dtls::Certificate::from_pem(&pem.0, &pem.1, password).map(Some).map_err(|error| {
        let files = format!("{}, {}", certificate.display(), key.display());
        origin.error("webrtc.dtls_certificate", format!("{files}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { file: "b.toml".into() }
    }

    #[test]
    fn public_addresses_go_to_locals_of_their_family() {
        let mut config = Config::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        config.media.addresses = vec![ip("10.0.0.1"), ip("fd00::1"), ip("10.0.0.2"), ip("10.0.0.3")];
        config.media.advertised = vec![ip("192.0.2.1"), ip("192.0.2.2")];
        let engine = engine(&config, &origin()).unwrap();
        let public: Vec<_> = engine.addresses.iter().map(|local| local.advertised).collect();
        let (first, second) = (Some(ip("192.0.2.1")), Some(ip("192.0.2.2")));
        assert_eq!(public, [first, None, second, second]);
        assert!(!engine.ice_addresses.loopback);
        assert_eq!(api(&config, &engine).advertised_ip, ip("192.0.2.1"));
    }

    #[test]
    fn the_defaults_are_the_engines_own() {
        let limits = engine(&Config::default(), &origin()).unwrap().limits;
        assert_eq!(limits.budgets, Budgets::default());
        let admission = Admission { worker_busy_percent_max: 90, worker_packets_per_s_max: 0 };
        assert_eq!(limits.admission, admission);
    }

    #[test]
    fn interfaces_that_are_not_there_are_named() {
        let mut config = Config::default();
        config.media.xdp_interfaces = vec!["lo".into(), "nothing0".into()];
        assert_eq!(check_interfaces(&config, &origin()), Ok(()), "another driver has no use for them");
        config.media.driver = schema::DriverChoice::Xdp;
        let error = check_interfaces(&config, &origin()).unwrap_err().to_string();
        assert!(
            error.starts_with("b.toml: media.xdp_interfaces: no network interface `nothing0`; "),
            "{error}"
        );
        assert!(error.contains("lo"), "{error}");
        let engine = engine(&config, &origin()).unwrap();
        assert_eq!((engine.driver, engine.xdp_interfaces.len()), (DriverChoice::Xdp, 2));
    }

    #[test]
    fn loopback_serves_loopback() {
        let mut config = Config::default();
        config.media.addresses = vec![[127, 0, 0, 1].into()];
        assert!(engine(&config, &origin()).unwrap().ice_addresses.loopback);
    }

    #[test]
    fn tokens_with_and_without_plugins() {
        let mut config = Config::default();
        assert!(matches!(tokens(&config.auth), Tokens::Off));
        config.auth.tokens.insert("all".into(), vec![]);
        config.auth.tokens.insert("one".into(), vec!["janus.plugin.sip".into()]);
        let Tokens::Stored(table) = tokens(&config.auth) else { panic!("not stored") };
        assert_eq!(table["all"], AllowedPlugins::All);
        assert!(table["one"].contains("janus.plugin.sip") && !table["one"].contains("janus.plugin.nosip"));
        config.auth.signed_token_secret = Some("key".into());
        assert!(matches!(tokens(&config.auth), Tokens::Signed(_)));
    }

    #[test]
    fn networks_that_are_none_name_their_key() {
        let mut config = Config::default();
        config.access.allow = vec!["here".into()];
        let error = transports(&config, &origin(), StaticFiles::default()).unwrap_err().to_string();
        assert!(error.starts_with("b.toml: access.allow: `here`"), "{error}");
        config.access.allow = vec!["10.0.".into()];
        config.access.trusted_proxies = vec!["127.0.0.0/64".into()];
        let error = transports(&config, &origin(), StaticFiles::default()).unwrap_err().to_string();
        assert!(error.starts_with("b.toml: access.trusted_proxies: "), "{error}");
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        let mut config = Config::default();
        config.webrtc.dtls_certificate = Some("/nonexistent/c.pem".into());
        config.webrtc.dtls_key = Some("/nonexistent/k.pem".into());
        let error = dtls_certificate(&config, &origin()).err().unwrap().to_string();
        assert!(error.starts_with("b.toml: webrtc.dtls_certificate: /nonexistent/c.pem: "), "{error}");
    }
}
