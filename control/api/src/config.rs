//! What the server program tells the core: settings, limits, and the facts that `info` shows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::json::JsonLimits;
use crate::rate::Rate;

/// Settings of the core. The names are those of `janus.jcfg`.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// `server_name`
    pub server_name: String,
    /// Seconds without a request after which a session ends; 0: never.
    pub session_timeout_s: u64,
    /// Seconds (since its last request) that a session waits for a `claim` after its transport has gone;
    /// 0: it ends with the transport.
    pub reclaim_session_timeout_s: u64,
    /// Seconds that a trickled candidate is kept while offer and answer are not both there.
    pub candidates_timeout_s: u64,
    /// `api_secret`
    pub api_secret: Option<String>,
    /// `token_auth` and `token_auth_secret`
    pub tokens: Tokens,
    /// Show `opaque_id` in events.
    pub opaqueid_in_api: bool,
    /// `create` is served; false: 472.
    pub accept_new_sessions: bool,
    /// Send our candidates one by one after the description instead of in it.
    pub full_trickle: bool,
    /// Do not wait for a second pair when ICE fails after it was up.
    pub hangup_on_failed: bool,
    /// Seconds of silence that a `media` event tells; it has `seconds` when more than 1.
    pub no_media_timer_s: u32,
    /// The addresses for `o=` and `c=`: first public IP of the 1:1 mapping, or the local one.
    pub advertised_ip: IpAddr,
    /// Limits.
    pub limits: Limits,
    /// What `info` shows beside.
    pub info: InfoConfig,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            server_name: "MyJanusInstance".into(),
            session_timeout_s: 60,
            reclaim_session_timeout_s: 0,
            candidates_timeout_s: 45,
            api_secret: None,
            tokens: Tokens::Off,
            opaqueid_in_api: false,
            accept_new_sessions: true,
            full_trickle: false,
            hangup_on_failed: false,
            no_media_timer_s: 1,
            advertised_ip: IpAddr::from([127, 0, 0, 1]),
            limits: Limits::default(),
            info: InfoConfig::default(),
        }
    }
}

/// How requests prove that they may be made, beside the secret.
#[derive(Clone, Debug, Default)]
pub enum Tokens {
    /// `token_auth` off.
    #[default]
    Off,
    /// A table: token → plugins that it may attach to.
    Stored(BTreeMap<String, AllowedPlugins>),
    /// Tokens signed with HMAC-SHA1 under this secret.
    Signed(String),
}

/// The plugins that a stored token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedPlugins {
    /// Every plugin.
    All,
    /// These packages.
    Only(Vec<String>),
}

impl AllowedPlugins {
    /// May the bearer attach to `package`?
    pub fn contains(&self, package: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(packages) => packages.iter().any(|p| p == package),
        }
    }
}

/// Everything that is bounded in the core, and how far. What is refused is counted in
/// [`crate::Counters`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions at one time; more: 472.
    pub sessions_max: usize,
    /// Handles of one session; more: 461.
    pub handles_per_session_max: usize,
    /// Handles of all sessions; more: 461.
    pub handles_max: usize,
    /// JSON texts.
    pub json: JsonLimits,
    /// Longest transaction, opaque id or plugin name, in bytes.
    pub name_bytes_max: usize,
    /// Longest SDP from a client, in bytes; longer: 465.
    pub sdp_bytes_max: usize,
    /// Most m-lines of a PeerConnection; more: 465.
    pub mlines_max: usize,
    /// Candidates that wait for an answer, a handle; more are dropped and counted.
    pub candidates_queued_max: usize,
    /// Events kept for a session that waits for a `claim`; the oldest go first.
    pub events_kept_max: usize,
    /// `create` requests of one source address (an IPv6 /64 counts as one).
    pub create_per_source: Option<Rate>,
    /// `create` requests of one token.
    pub create_per_token: Option<Rate>,
    /// `attach` requests of one source address.
    pub attach_per_source: Option<Rate>,
    /// `attach` requests of one token.
    pub attach_per_token: Option<Rate>,
    /// `message` requests of one source address.
    pub message_per_source: Option<Rate>,
    /// `message` requests of one token.
    pub message_per_token: Option<Rate>,
    /// Requests of one source address for sessions that do not exist. Above it the source reaches only
    /// sessions that it made or claimed itself, so that ids cannot be found by trying.
    pub unknown_session_per_source: Option<Rate>,
    /// Addresses and tokens that each of these limits remembers; those beyond share one allowance.
    pub rate_keys_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 100_000,
            handles_per_session_max: 256,
            handles_max: 200_000,
            json: JsonLimits::default(),
            name_bytes_max: 1024,
            sdp_bytes_max: 64 * 1024,
            mlines_max: 32,
            candidates_queued_max: 64,
            events_kept_max: 256,
            create_per_source: None,
            create_per_token: None,
            attach_per_source: None,
            attach_per_token: None,
            message_per_source: None,
            message_per_token: None,
            unknown_session_per_source: Some(Rate { per_s: 10.0, burst: 100.0 }),
            rate_keys_max: 65_536,
        }
    }
}

/// A module as `info` lists it.
#[derive(Clone, Debug)]
pub struct ModuleInfo {
    /// `janus.transport.…`
    pub package: String,
    /// Human name.
    pub name: String,
    /// Who made it.
    pub author: String,
    /// One sentence.
    pub description: String,
    /// Version as text.
    pub version_string: String,
    /// Version as number.
    pub version: i64,
}

/// Facts that `info` shows and the core does not use itself.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // One field a member of `server_info`, of the same name.
pub struct InfoConfig {
    pub author: String,
    pub commit_hash: String,
    pub compile_time: String,
    pub log_to_stdout: bool,
    pub log_path: Option<String>,
    pub data_channels: bool,
    pub local_ip: String,
    pub public_ips: Vec<String>,
    pub ipv6: bool,
    pub ipv6_link_local: bool,
    pub ice_lite: bool,
    pub ice_tcp: bool,
    pub ice_nomination: String,
    pub ice_consent_freshness: bool,
    pub ice_keepalive_conncheck: bool,
    pub mdns_enabled: bool,
    pub min_nack_queue_ms: u32,
    pub nack_optimizations: bool,
    pub twcc_period_ms: u32,
    pub dtls_mtu: u32,
    pub dscp: u32,
    pub stun_server: Option<String>,
    pub turn_server: Option<String>,
    pub static_event_loops: u32,
    pub event_handlers: bool,
    /// `None`: hidden (`hide_dependencies`).
    pub dependencies: Option<Vec<(String, String)>>,
    pub transports: Vec<ModuleInfo>,
    pub events: Vec<ModuleInfo>,
    pub loggers: Vec<ModuleInfo>,
}

impl Default for InfoConfig {
    fn default() -> Self {
        Self {
            author: "Bifrons".into(),
            commit_hash: option_env!("BIFRONS_COMMIT").unwrap_or("unknown").into(),
            compile_time: option_env!("BIFRONS_BUILT").unwrap_or("unknown").into(),
            log_to_stdout: true,
            log_path: None,
            data_channels: false,
            local_ip: "127.0.0.1".into(),
            public_ips: Vec::new(),
            ipv6: false,
            ipv6_link_local: false,
            ice_lite: false,
            ice_tcp: false,
            ice_nomination: "aggressive".into(),
            ice_consent_freshness: true,
            ice_keepalive_conncheck: true,
            mdns_enabled: false,
            min_nack_queue_ms: 200,
            nack_optimizations: false,
            twcc_period_ms: 200,
            dtls_mtu: 1200,
            dscp: 0,
            stun_server: None,
            turn_server: None,
            static_event_loops: 0,
            event_handlers: false,
            dependencies: None,
            transports: Vec::new(),
            events: Vec::new(),
            loggers: Vec::new(),
        }
    }
}
