//! `server_info`, the answer to `info`.

use serde_json::{Map, Value, json};

use crate::auth::Auth;
use crate::config::{ApiConfig, ModuleInfo};
use crate::plugin::PluginInfo;

/// The version of the Janus API that clients are told.
pub const API_VERSION: u32 = 1402;
/// The same as text.
pub const API_VERSION_STRING: &str = "1.4.2";

/// Builds the reply; `accepting` is whether `create` is served now.
pub fn server_info(
    config: &ApiConfig,
    auth: &Auth,
    accepting: bool,
    plugins: &[PluginInfo],
    transaction: &str,
) -> Value {
    let info = &config.info;
    let mut m = Map::new();
    let mut put = |name: &str, value: Value| {
        m.insert(name.to_owned(), value);
    };
    put("janus", "server_info".into());
    put("transaction", transaction.into());
    // Clients compare the name; the server behind it is told by `dependencies` and `author`.
    put("name", "Janus WebRTC Server".into());
    put("version", API_VERSION.into());
    put("version_string", API_VERSION_STRING.into());
    put("author", info.author.as_str().into());
    put("commit-hash", info.commit_hash.as_str().into());
    put("compile-time", info.compile_time.as_str().into());
    put("log-to-stdout", info.log_to_stdout.into());
    put("log-to-file", info.log_path.is_some().into());
    if let Some(path) = &info.log_path {
        put("log-path", path.as_str().into());
    }
    put("data_channels", info.data_channels.into());
    put("accepting-new-sessions", accepting.into());
    put("session-timeout", config.session_timeout_s.into());
    put("reclaim-session-timeout", config.reclaim_session_timeout_s.into());
    put("candidates-timeout", config.candidates_timeout_s.into());
    put("server-name", config.server_name.as_str().into());
    put("local-ip", info.local_ip.as_str().into());
    if let Some(first) = info.public_ips.first() {
        put("public-ip", first.as_str().into());
    }
    if info.public_ips.len() >= 2 {
        put("public-ips", info.public_ips.clone().into());
    }
    put("ipv6", info.ipv6.into());
    if info.ipv6 {
        put("ipv6-link-local", info.ipv6_link_local.into());
    }
    put("ice-lite", info.ice_lite.into());
    put("ice-tcp", info.ice_tcp.into());
    put("ice-nomination", info.ice_nomination.as_str().into());
    put("ice-consent-freshness", info.ice_consent_freshness.into());
    put("ice-keepalive-conncheck", info.ice_keepalive_conncheck.into());
    put("hangup-on-failed", config.hangup_on_failed.into());
    put("full-trickle", config.full_trickle.into());
    put("mdns-enabled", info.mdns_enabled.into());
    put("min-nack-queue", info.min_nack_queue_ms.into());
    put("nack-optimizations", info.nack_optimizations.into());
    put("twcc-period", info.twcc_period_ms.into());
    if info.dscp > 0 {
        put("dscp", info.dscp.into());
    }
    put("dtls-mtu", info.dtls_mtu.into());
    if let Some(server) = &info.stun_server {
        put("stun-server", server.as_str().into());
    }
    if let Some(server) = &info.turn_server {
        put("turn-server", server.as_str().into());
    }
    put("static-event-loops", info.static_event_loops.into());
    put("api_secret", auth.has_secret().into());
    put("auth_token", auth.has_tokens().into());
    put("event_handlers", info.event_handlers.into());
    put("opaqueid_in_api", config.opaqueid_in_api.into());
    if let Some(dependencies) = &info.dependencies {
        put("dependencies", dependencies.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect());
    }
    put("transports", modules(&info.transports));
    put("events", modules(&info.events));
    put("loggers", modules(&info.loggers));
    put(
        "plugins",
        plugins
            .iter()
            .map(|p| {
                let about = json!({"name": p.name, "author": p.author, "description": p.description,
                    "version_string": p.version_string, "version": p.version});
                (p.package.to_owned(), about)
            })
            .collect(),
    );
    Value::Object(m)
}

fn modules(list: &[ModuleInfo]) -> Value {
    list.iter()
        .map(|m| {
            let about = json!({"name": m.name, "author": m.author, "description": m.description,
                "version_string": m.version_string, "version": m.version});
            (m.package.clone(), about)
        })
        .collect()
}
