//! An existing Janus configuration folder as ours, so that a carrier can swap the binary.
//!
//! Addresses, ports, secrets, certificates, ranges and NAT settings are honoured. A key for a part
//! that does not exist here is named in one line of warnings; it never stops the start. A key that
//! exists and has a value that cannot be used does.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::jcfg::{self, Group, Value};
use super::schema::{PortRange, SipListen, SipTransport};
use super::{Config, ConfigError, check};

/// Keys that change nothing here and need no word: ways of running that an operator of ours sets
/// elsewhere, or that are the default anyway.
const SILENT: &[&str] = &[
    "configs_folder",
    "plugins_folder",
    "transports_folder",
    "events_folder",
    "loggers_folder",
    "debug_timestamps",
    "debug_colors",
    "debug_locks",
    "log_to_stdout",
    "daemonize",
    "pid_file",
    "json",
    "hide_dependencies",
    "exit_on_dl_error",
    "nice_debug",
    "mhd_debug",
    "ws_logging",
    "event_loops",
    "task_pool_size",
    "allow_loop_indication",
    "ice_nomination",
    "ice_consent_freshness",
    "ice_keepalive_conncheck",
    "dtls_ciphers",
    "dtls_accept_selfsigned",
    "ignore_mdns",
    "events",
    "ciphers",
    "dtls_timeout",
    "ignore_unreachable_ice_server",
    "mhd_connection_limit",
];

/// A folder of `.jcfg` files, read.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The same in our words.
    pub config: Config,
    /// Keys for parts that do not exist here, as `file: section.key`.
    pub ignored: Vec<String>,
}

impl Converted {
    /// The one line of warnings, if there is something to warn of.
    pub fn warning(&self) -> Option<String> {
        let list = self.ignored.join(", ");
        (!self.ignored.is_empty()).then(|| format!("these Janus settings have no effect here: {list}"))
    }
}

/// Reads `janus.jcfg`, the transports' and the plugins' files of a folder. A file that is not there
/// means its defaults, as in Janus.
///
/// # Errors
/// The folder does not exist, a file is not libconfig, or a value cannot be used.
pub fn load(folder: &Path) -> Result<Converted, ConfigError> {
    if !folder.is_dir() {
        return Err(ConfigError::new(folder, "", "is not a folder"));
    }
    let mut config = Config::default();
    // Janus' own defaults where they differ from ours.
    config.http.listen.clear();
    config.websocket.listen.clear();
    config.media.rtp_port_range = PortRange { first: 10_000, last: 60_000 };
    let mut ignored = BTreeSet::new();

    let mut general = File::open(folder, "janus.jcfg")?;
    core(&mut general, &mut config)?;
    general.leftovers(&mut ignored);
    let mut http = File::open(folder, "janus.transport.http.jcfg")?;
    self::http(&mut http, &mut config)?;
    http.leftovers(&mut ignored);
    let mut websocket = File::open(folder, "janus.transport.websockets.jcfg")?;
    self::websocket(&mut websocket, &mut config)?;
    websocket.leftovers(&mut ignored);
    let mut sip = File::open(folder, "janus.plugin.sip.jcfg")?;
    self::sip(&mut sip, &mut config)?;
    sip.leftovers(&mut ignored);
    let mut nosip = File::open(folder, "janus.plugin.nosip.jcfg")?;
    self::nosip(&mut nosip, &mut config)?;
    nosip.leftovers(&mut ignored);
    others(folder, &mut ignored);

    check::check(&config, &folder.join("janus.jcfg"))?;
    Ok(Converted { config, ignored: ignored.into_iter().collect() })
}

/// Files of plugins, transports and event handlers that do not exist here.
fn others(folder: &Path, ignored: &mut BTreeSet<String>) {
    const KNOWN: [&str; 6] = [
        "janus.jcfg",
        "janus.transport.http.jcfg",
        "janus.transport.websockets.jcfg",
        "janus.plugin.sip.jcfg",
        "janus.plugin.nosip.jcfg",
        "janus.plugin.echotest.jcfg",
    ];
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".jcfg") && !KNOWN.contains(&name.as_str()) {
            ignored.insert(format!("{name} (whole file)"));
        }
    }
}

/// A file with a note of what was asked for.
struct File {
    path: PathBuf,
    root: Group,
    used: BTreeSet<(String, String)>,
}

impl File {
    fn open(folder: &Path, name: &str) -> Result<Self, ConfigError> {
        let path = folder.join(name);
        let root = match std::fs::read_to_string(&path) {
            Ok(text) => jcfg::parse(&text).map_err(|error| ConfigError::new(&path, "", error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Group::default(),
            Err(error) => return Err(ConfigError::new(&path, "", format!("cannot be read: {error}"))),
        };
        Ok(Self { path, root, used: BTreeSet::new() })
    }

    fn text(&mut self, section: &str, key: &str) -> Option<String> {
        self.used.insert((section.to_owned(), key.to_owned()));
        self.root.group(section)?.text(key).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// True is `yes`, `true` or `1` in any case; all else is false.
    fn flag(&mut self, section: &str, key: &str) -> Option<bool> {
        let text = self.text(section, key)?.to_ascii_lowercase();
        Some(matches!(text.as_str(), "yes" | "true" | "1"))
    }

    fn parsed<T: std::str::FromStr>(
        &mut self,
        section: &str,
        key: &str,
        what: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(section, key) else { return Ok(None) };
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => self.wrong(section, key, format!("`{text}` is not {what}")),
        }
    }

    fn list(&mut self, section: &str, key: &str) -> Vec<String> {
        let text = self.text(section, key).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn wrong<T>(&self, section: &str, key: &str, reason: String) -> Result<T, ConfigError> {
        Err(ConfigError::new(&self.path, format!("{section}.{key}"), reason))
    }

    /// `a-b`, swapped if reversed; an upper end of 0 means 65535.
    fn range(&mut self, section: &str, key: &str) -> Result<Option<PortRange>, ConfigError> {
        let Some(text) = self.text(section, key) else { return Ok(None) };
        let range = PortRange::try_from(text).or_else(|reason| self.wrong(section, key, reason))?;
        let last = if range.last == 0 { u16::MAX } else { range.last };
        Ok(Some(PortRange { first: range.first.min(last), last: range.first.max(last) }))
    }

    /// A listening address from an `…ip` and an `…interface` key. Interface names are looked up.
    fn address(&mut self, section: &str, prefix: &str, port: u16) -> Result<SocketAddr, ConfigError> {
        for key in [format!("{prefix}ip"), format!("{prefix}interface")] {
            if let Some(text) = self.text(section, &key) {
                match crate::net::address_of(&text) {
                    Some(ip) => return Ok((ip, port).into()),
                    None => {
                        return self.wrong(
                            section,
                            &key,
                            format!("`{text}` is neither an address nor an interface with one"),
                        );
                    }
                }
            }
        }
        Ok((Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// Settings that nobody asked for.
    fn leftovers(&self, ignored: &mut BTreeSet<String>) {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        for section in &self.root.0 {
            let Value::Group(group) = &section.value else {
                ignored.insert(format!("{file}: {}", section.name));
                continue;
            };
            for setting in &group.0 {
                let known = self.used.contains(&(section.name.clone(), setting.name.clone()))
                    || SILENT.contains(&setting.name.as_str());
                let says_no = matches!(&setting.value, Value::Text(text) if matches!(text.as_str(), "" | "false" | "no" | "0"));
                if !known && !says_no {
                    ignored.insert(format!("{file}: {}.{}", section.name, setting.name));
                }
            }
        }
    }
}

fn core(file: &mut File, config: &mut Config) -> Result<(), ConfigError> {
    let g = "general";
    config.server.log = match file.parsed::<i64>(g, "debug_level", "a number")?.unwrap_or(4) {
        ..=2 => "error",
        3 => "warn",
        4 => "info",
        5 | 6 => "debug",
        _ => "trace",
    }
    .into();
    config.server.log_file = file.text(g, "log_to_file").map(PathBuf::from);
    config.auth.api_secret = file.text(g, "api_secret");
    let tokens = file.flag(g, "token_auth").unwrap_or(false);
    let secret = file.text(g, "token_auth_secret");
    if tokens {
        if secret.is_none() {
            return file.wrong(g, "token_auth", "stored tokens are managed by the Admin API, which does not exist here yet; list them under [auth.tokens] of a TOML file, or set token_auth_secret".into());
        }
        config.auth.signed_token_secret = secret;
    }
    if let Some(name) = file.text(g, "server_name") {
        config.server.name = name;
    }
    if let Some(seconds) = file.parsed(g, "session_timeout", "a number of seconds")? {
        config.server.session_timeout_s = seconds;
    }
    if let Some(seconds) = file.parsed(g, "reclaim_session_timeout", "a number of seconds")? {
        config.server.reclaim_session_timeout_s = seconds;
    }
    if let Some(seconds) = file.parsed(g, "candidates_timeout", "a number of seconds")? {
        config.server.candidates_timeout_s = seconds;
    }
    config.server.opaque_id_in_api = file.flag(g, "opaqueid_in_api").unwrap_or(false);
    if let Some(text) = file.text(g, "interface") {
        match crate::net::address_of(&text) {
            Some(ip) => config.media.addresses = vec![ip],
            None => {
                return file.wrong(
                    g,
                    "interface",
                    format!("`{text}` is neither an address nor an interface with one"),
                );
            }
        }
    }

    config.webrtc.dtls_certificate = file.text("certificates", "cert_pem").map(PathBuf::from);
    config.webrtc.dtls_key =
        file.text("certificates", "cert_key").map(PathBuf::from).or(config.webrtc.dtls_certificate.clone());
    config.webrtc.dtls_key_password = file.text("certificates", "cert_pwd");

    let m = "media";
    // Janus' range is for its ICE sockets; here all WebRTC legs of a worker share one port of it.
    if let Some(range) = file.range(m, "rtp_port_range")? {
        config.media.webrtc_port = range.first;
    }
    if let Some(mtu) = file.parsed(m, "dtls_mtu", "a number of bytes")? {
        config.webrtc.dtls_mtu = mtu;
    }
    if let Some(seconds) = file.parsed(m, "no_media_timer", "a number of seconds")? {
        config.media.no_media_timer_s = seconds;
    }
    if let Some(packets) = file.parsed(m, "slowlink_threshold", "a number of packets")? {
        config.media.slowlink_threshold = packets;
    }

    let n = "nat";
    for text in file.list(n, "nat_1_1_mapping") {
        match text.parse::<IpAddr>() {
            Ok(ip) => config.media.advertised.push(ip),
            Err(_) => return file.wrong(n, "nat_1_1_mapping", format!("`{text}` is not an address")),
        }
    }
    config.media.advertise_private_too = file.flag(n, "keep_private_host").unwrap_or(false);
    config.webrtc.ice_lite = file.flag(n, "ice_lite").unwrap_or(false);
    config.webrtc.full_trickle = file.flag(n, "full_trickle").unwrap_or(false);
    for library in file.list("plugins", "disable") {
        // libjanus_sip.so is janus.plugin.sip
        let name = library.trim_start_matches("libjanus_").trim_end_matches(".so");
        config.plugins.disable.push(format!("janus.plugin.{name}"));
    }
    file.list("transports", "disable");
    Ok(())
}

fn disabled(folder: &Path, library: &str) -> Result<bool, ConfigError> {
    Ok(File::open(folder, "janus.jcfg")?.list("transports", "disable").iter().any(|name| name == library))
}

fn folder_of(file: &File) -> PathBuf {
    file.path.parent().unwrap_or(Path::new(".")).to_owned()
}

fn certificates(file: &mut File, config: &mut Config, key_in_pem: bool) {
    let section = "certificates";
    let (pem, key) = (file.text(section, "cert_pem"), file.text(section, "cert_key"));
    let key = if key_in_pem { key.or(pem.clone()) } else { key };
    if let (Some(pem), Some(key)) = (pem, key) {
        (config.tls.certificate, config.tls.key) = (Some(pem.into()), Some(key.into()));
    }
}

fn access(file: &mut File, config: &mut Config, acl: &str) {
    config.access.allow.extend(file.list("general", acl));
    config.access.allow.sort();
    config.access.allow.dedup();
    if let Some(origin) = file.text("cors", "allow_origin") {
        config.access.allow_origin = Some(origin);
        config.access.enforce_origin |= file.flag("cors", "enforce_cors").unwrap_or(false);
    }
}

fn http(file: &mut File, config: &mut Config) -> Result<(), ConfigError> {
    let g = "general";
    if disabled(&folder_of(file), "libjanus_http.so")? {
        return Ok(());
    }
    if let Some(path) = file.text(g, "base_path") {
        let path = if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path };
        config.http.base_path = path;
    }
    if file.flag(g, "http").unwrap_or(false) {
        let port = file.parsed(g, "port", "a port")?.unwrap_or(8088);
        config.http.listen = vec![file.address(g, "", port)?];
    }
    certificates(file, config, false);
    if file.flag(g, "https").unwrap_or(false) {
        let port = file.parsed(g, "secure_port", "a port")?.unwrap_or(8089);
        config.http.listen_tls = vec![file.address(g, "secure_", port)?];
    }
    access(file, config, "acl");
    Ok(())
}

fn websocket(file: &mut File, config: &mut Config) -> Result<(), ConfigError> {
    let g = "general";
    if disabled(&folder_of(file), "libjanus_websockets.so")? {
        return Ok(());
    }
    if file.flag(g, "ws").unwrap_or(false) {
        let port = file.parsed(g, "ws_port", "a port")?.unwrap_or(8188);
        config.websocket.listen = vec![file.address(g, "ws_", port)?];
    }
    certificates(file, config, true);
    if file.flag(g, "wss").unwrap_or(false) {
        let port = file.parsed(g, "wss_port", "a port")?.unwrap_or(8989);
        config.websocket.listen_tls = vec![file.address(g, "wss_", port)?];
    }
    let (after, timeout): (Option<u64>, Option<u64>) = (
        file.parsed(g, "pingpong_trigger", "a number of seconds")?,
        file.parsed(g, "pingpong_timeout", "a number of seconds")?,
    );
    if let (Some(after @ 1..), Some(timeout @ 1..)) = (after, timeout) {
        (config.websocket.ping_after_s, config.websocket.pong_timeout_s) = (after, timeout);
    }
    access(file, config, "ws_acl");
    Ok(())
}

fn sip(file: &mut File, config: &mut Config) -> Result<(), ConfigError> {
    let g = "general";
    let mut signalling = None;
    if let Some(text) = file.text(g, "local_ip") {
        match crate::net::address_of(&text) {
            Some(ip) => signalling = Some(ip),
            None => {
                return file.wrong(
                    g,
                    "local_ip",
                    format!("`{text}` is neither an address nor an interface with one"),
                );
            }
        }
    }
    if let Some(ip) = signalling {
        // One agent serves all accounts; Janus had an ephemeral port an account.
        let point =
            |transport, port| SipListen { ident: "sip".into(), transport, address: (ip, port).into() };
        config.sip.listen = vec![point(SipTransport::Udp, 5060), point(SipTransport::Tcp, 5060)];
    }
    if let Some(ip) =
        file.parsed::<IpAddr>(g, "local_media_ip", "an address")?.filter(|ip| !ip.is_unspecified())
        && !config.media.addresses.contains(&ip)
    {
        config.media.addresses.push(ip);
    }
    config.sip.sdp_address = file.parsed(g, "sdp_ip", "an address")?;
    if let Some(agent) = file.text(g, "user_agent") {
        config.sip.user_agent = agent;
    }
    if let Some(seconds) = file.parsed::<u32>(g, "register_ttl", "a number of seconds")? {
        config.sip.register_ttl_s = if seconds == 0 { 3_600 } else { seconds };
    }
    if let Some(range) = file.range(g, "rtp_port_range")? {
        config.media.rtp_port_range = range;
    }
    config.sip.tls_directory = file.text(g, "sips_certs_dir").map(PathBuf::from);
    if let (Some(_), Some(ip)) = (&config.sip.tls_directory, signalling) {
        let address = (ip, 5061).into();
        config.sip.listen.push(SipListen { ident: "sip".into(), transport: SipTransport::Tls, address });
    }
    if let Some(ms) = file.parsed(g, "sip_timer_t1x64", "a number of milliseconds")? {
        config.sip.timer_t1x64_ms = ms;
    }
    Ok(())
}

fn nosip(file: &mut File, config: &mut Config) -> Result<(), ConfigError> {
    let g = "general";
    config.nosip.sdp_address =
        file.parsed(g, "sdp_ip", "an address")?.or(file.parsed(g, "local_ip", "an address")?);
    if let Some(range) = file.range(g, "rtp_port_range")? {
        // Both plugins take their ports from one range: the wider of the two.
        let own = &mut config.media.rtp_port_range;
        *own = PortRange { first: own.first.min(range.first), last: own.last.max(range.last) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("bifrons-jcfg-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_is_honoured() {
        let folder = folder(
            "full",
            &[
                (
                    "janus.jcfg",
                    "general: { api_secret = \"s\"; session_timeout = 30; interface = \"127.0.0.3\"; token_auth = true; token_auth_secret = \"k\"; debug_level = 5; debug_locks = false }\n\
                     certificates: { cert_pem = \"/c.pem\" cert_key = \"/k.pem\" }\n\
                     media: { rtp_port_range = \"40000-20000\" ipv6 = true }\n\
                     nat: { nat_1_1_mapping = \"192.0.2.9\"; keep_private_host = true; stun_server = \"stun.example\"; ice_lite = true }\n\
                     plugins: { disable = \"libjanus_nosip.so,libjanus_echotest.so\" }",
                ),
                (
                    "janus.transport.http.jcfg",
                    "general: { http = true; port = 9088; ip = \"127.0.0.1\"; base_path = \"/gw/\"; https = true; secure_port = 9089; acl = \"127.,192.168.0.\" }\n\
                     certificates: { cert_pem = \"/h.pem\"; cert_key = \"/hk.pem\" }\n\
                     admin: { admin_http = true; admin_port = 7088 }\n\
                     cors: { allow_origin = \"https://a.example\"; enforce_cors = true }",
                ),
                (
                    "janus.transport.websockets.jcfg",
                    "general: { ws = \"yes\"; ws_port = \"9188\"; ws_interface = \"lo\"; pingpong_trigger = 30; pingpong_timeout = 10 }",
                ),
                (
                    "janus.plugin.sip.jcfg",
                    "general: { local_ip = \"127.0.0.2\"; sdp_ip = \"192.0.2.7\"; rtp_port_range = \"20000-40000\"; user_agent = \"X\"; keepalive_interval = -1; register_ttl = 600 }",
                ),
                ("janus.plugin.videoroom.jcfg", "room-1: { x = 1 }"),
            ],
        );
        let converted = load(&folder).unwrap();
        let config = &converted.config;
        assert_eq!(config.auth.api_secret.as_deref(), Some("s"));
        assert_eq!(config.auth.signed_token_secret.as_deref(), Some("k"));
        assert_eq!(config.server.session_timeout_s, 30);
        assert_eq!(config.server.log, "debug");
        assert_eq!(config.media.addresses, ["127.0.0.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(config.media.advertised, ["192.0.2.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(config.media.webrtc_port, 20_000);
        assert!(config.media.advertise_private_too && config.webrtc.ice_lite);
        assert_eq!(config.http.listen, ["127.0.0.1:9088".parse().unwrap()]);
        assert_eq!(config.http.listen_tls, ["0.0.0.0:9089".parse().unwrap()]);
        assert_eq!(config.http.base_path, "/gw");
        assert_eq!(config.websocket.listen, ["127.0.0.1:9188".parse().unwrap()]);
        assert_eq!(config.websocket.ping_after_s, 30);
        assert_eq!(config.access.allow, ["127.", "192.168.0."]);
        assert!(config.access.enforce_origin);
        assert_eq!(config.sip.listen[0].address, "127.0.0.2:5060".parse().unwrap());
        assert_eq!(config.sip.register_ttl_s, 600);
        assert_eq!(config.media.rtp_port_range, PortRange { first: 20_000, last: 40_000 });
        assert_eq!(config.plugins.disable, ["janus.plugin.nosip", "janus.plugin.echotest"]);
        let warning = converted.warning().unwrap();
        for part in [
            "media.ipv6",
            "nat.stun_server",
            "general.keepalive_interval",
            "admin.admin_http",
            "janus.plugin.videoroom.jcfg (whole file)",
        ] {
            assert!(warning.contains(part), "{part} is not in {warning}");
        }
        assert!(!warning.contains("debug_locks") && !warning.contains('\n'), "{warning}");
        // What is printed as TOML is the same configuration.
        let text = toml::to_string(config).unwrap();
        assert_eq!(&super::super::parse(&text, Path::new("x")).unwrap(), config);
    }

    #[test]
    fn what_cannot_be_used_names_file_and_key() {
        for (name, file, text, expected) in [
            (
                "port",
                "janus.transport.http.jcfg",
                "general: { http = true; port = \"x\" }",
                "janus.transport.http.jcfg: general.port: `x` is not a port",
            ),
            (
                "nat",
                "janus.jcfg",
                "nat: { nat_1_1_mapping = \"gw\" }",
                "janus.jcfg: nat.nat_1_1_mapping: `gw` is not an address",
            ),
            (
                "syntax",
                "janus.plugin.sip.jcfg",
                "general: {",
                "janus.plugin.sip.jcfg: line 1: group is not closed",
            ),
            (
                "iface",
                "janus.jcfg",
                "general: { interface = \"nosuch9\" }",
                "janus.jcfg: general.interface: `nosuch9` is neither",
            ),
            ("none", "x", "", "janus.jcfg: http.listen: no transport is left"),
        ] {
            let folder = folder(name, &[(file, text)]);
            let error = load(&folder).unwrap_err().to_string();
            let path = folder.to_string_lossy().into_owned() + "/";
            assert!(error.replace(&path, "").starts_with(expected), "{error}");
        }
    }
}
