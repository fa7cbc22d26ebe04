//! The keys of `bifrons.toml`, their meaning and defaults. `bifrons.sample.toml` says the same in
//! the words of an operator; a test holds the two together.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Sessions, logging, drain.
    pub server: Server,
    /// Who may use the API.
    pub auth: Auth,
    /// Bounds on what clients can make the server hold and do.
    pub limits: Limits,
    /// HTTP and HTTPS.
    pub http: Http,
    /// WebSocket and secure WebSocket.
    pub websocket: WebSocket,
    /// Certificate of HTTPS and WSS.
    pub tls: Tls,
    /// Which pages and addresses may speak to the API.
    pub access: Access,
    /// Workers, addresses, ports.
    pub media: Media,
    /// ICE, DTLS, SRTP.
    pub webrtc: WebRtc,
    /// Which plugins exist.
    pub plugins: Plugins,
    /// The SIP side.
    pub sip: Sip,
    /// The NoSIP plugin.
    pub nosip: NoSip,
}

/// Sessions, logging, drain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// `server-name` of `info`.
    pub name: String,
    /// Log filter: `error`, `warn`, `info`, `debug`, `trace`, or `module=level` pairs.
    pub log: String,
    /// Log to this file too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_file: Option<PathBuf>,
    /// A session that says nothing for so long ends; 0: never.
    pub session_timeout_s: u64,
    /// A session whose connection is gone waits so long to be claimed; 0: it ends at once.
    pub reclaim_session_timeout_s: u64,
    /// Trickled candidates wait so long for their answer.
    pub candidates_timeout_s: u64,
    /// After SIGTERM, running calls may go on for so long.
    pub drain_timeout_s: u64,
    /// Show `opaque_id` in events.
    pub opaque_id_in_api: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            name: "MyJanusInstance".into(),
            log: "info".into(),
            log_file: None,
            session_timeout_s: 60,
            reclaim_session_timeout_s: 0,
            candidates_timeout_s: 45,
            drain_timeout_s: 60,
            opaque_id_in_api: false,
        }
    }
}

/// Who may use the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Every request carries this as `apisecret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_secret: Option<String>,
    /// Requests may carry a signed `token` (HMAC-SHA1 with this key).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_token_secret: Option<String>,
    /// Stored tokens, each with the plugins that it may attach to; empty list: all.
    pub tokens: BTreeMap<String, Vec<String>>,
}

/// Bounds on what clients can make the server hold and do. Rates are a second, with a burst of as
/// many; 0: no limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions in all.
    pub sessions_max: usize,
    /// Handles a session.
    pub handles_per_session_max: usize,
    /// `create` from one address or token.
    pub create_per_s: u32,
    /// `attach` from one address or token.
    pub attach_per_s: u32,
    /// `message` from one address or token.
    pub message_per_s: u32,
    /// Longest request, bytes.
    pub request_bytes_max: usize,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections from one address.
    pub connections_per_source_max: usize,
    /// Events that wait for a client that does not fetch them.
    pub events_queued_max: usize,
    /// Percent of its time that each worker may be busy before new calls are refused; 0: no limit.
    pub worker_busy_percent_max: u32,
    /// Packets a second, received and sent, that each worker may have before new calls are refused.
    pub worker_packets_per_s_max: u32,
    /// Packets a second that a leg may bring for each audio m-line.
    pub leg_audio_packets_per_s_max: u32,
    /// As many at once.
    pub leg_audio_burst_packets_max: u32,
    /// Packets a second that a leg may bring for each video m-line.
    pub leg_video_packets_per_s_max: u32,
    /// As many at once.
    pub leg_video_burst_packets_max: u32,
    /// STUN messages a second for a leg from its peer, and as many from strangers.
    pub leg_stun_per_s_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 100_000,
            handles_per_session_max: 100,
            create_per_s: 0,
            attach_per_s: 0,
            message_per_s: 0,
            request_bytes_max: 256 * 1024,
            connections_max: 20_000,
            connections_per_source_max: 5_000,
            events_queued_max: 1_000,
            worker_busy_percent_max: 90,
            worker_packets_per_s_max: 0,
            leg_audio_packets_per_s_max: 400,
            leg_audio_burst_packets_max: 200,
            leg_video_packets_per_s_max: 4_000,
            leg_video_burst_packets_max: 800,
            leg_stun_per_s_max: 200,
        }
    }
}

/// HTTP and HTTPS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Plain HTTP is listened on here; empty: nowhere.
    pub listen: Vec<SocketAddr>,
    /// HTTPS is listened on here; needs `tls`.
    pub listen_tls: Vec<SocketAddr>,
    /// First part of every path.
    pub base_path: String,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: vec![([127, 0, 0, 1], 8088).into()], listen_tls: vec![], base_path: "/janus".into() }
    }
}

/// WebSocket and secure WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSocket {
    /// Plain WebSocket is listened on here; empty: nowhere.
    pub listen: Vec<SocketAddr>,
    /// Secure WebSocket is listened on here; needs `tls`.
    pub listen_tls: Vec<SocketAddr>,
    /// A ping is sent after so long without a word; 0: none.
    pub ping_after_s: u64,
    /// A peer that does not answer a ping for so long is cut off.
    pub pong_timeout_s: u64,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            listen: vec![([127, 0, 0, 1], 8188).into()],
            listen_tls: vec![],
            ping_after_s: 0,
            pong_timeout_s: 10,
        }
    }
}

/// Certificate of HTTPS and WSS; reloaded at SIGHUP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// Which pages and addresses may speak to the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// `Access-Control-Allow-Origin`; none: `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_origin: Option<String>,
    /// Refuse requests whose `Origin` is another.
    pub enforce_origin: bool,
    /// Networks (`10.0.0.0/8`), addresses, or prefixes as in Janus (`10.0.`); empty: all.
    pub allow: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
}

/// Workers, addresses, ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Engine threads; 0: one a core.
    pub workers: usize,
    /// `auto`, `uring`, `mmsg` or `xdp`.
    pub driver: DriverChoice,
    /// Network interfaces of the driver `xdp`; up to four.
    pub xdp_interfaces: Vec<String>,
    /// Local addresses; empty: the one that the default route uses, else 127.0.0.1.
    pub addresses: Vec<IpAddr>,
    /// Public addresses of a 1:1 NAT, told to peers in place of `addresses`.
    pub advertised: Vec<IpAddr>,
    /// Tell peers the private addresses as well.
    pub advertise_private_too: bool,
    /// First UDP port of WebRTC; worker n has port + n. 0: any.
    pub webrtc_port: u16,
    /// Ports of RTP legs, `first-last`.
    pub rtp_port_range: PortRange,
    /// A port pair that was used rests so long.
    pub rtp_port_rest_ms: u64,
    /// Legs a worker.
    pub legs_per_worker_max: usize,
    /// Longest delay that gathering packets may add, microseconds; 0 to 2,000. Four times as long, at most 2,000,
    /// while for a second nothing has come but consent checks and RTCP.
    pub coalesce_us: u32,
    /// Workers run with real-time priority where the kernel allows it.
    pub realtime: bool,
    /// `media` event after so much silence; 0: off.
    pub no_media_timer_s: u32,
    /// `slowlink` event above so many packets lost a second; 0: off.
    pub slowlink_threshold: u32,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            workers: 0,
            driver: DriverChoice::Auto,
            xdp_interfaces: vec![],
            addresses: vec![],
            advertised: vec![],
            advertise_private_too: false,
            webrtc_port: 0,
            rtp_port_range: PortRange { first: 10_000, last: 29_999 },
            rtp_port_rest_ms: 10_000,
            legs_per_worker_max: 4_096,
            coalesce_us: 500,
            realtime: true,
            no_media_timer_s: 1,
            slowlink_threshold: 0,
        }
    }
}

/// Which driver moves datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverChoice {
    /// io_uring where the kernel grants it, else `mmsg`.
    #[default]
    Auto,
    /// io_uring or no start.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
    /// AF_XDP on `xdp_interfaces`, and `mmsg` for what does not come or go there.
    Xdp,
}

/// A range of UDP ports, both ends included; written `first-last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// Lowest.
    pub first: u16,
    /// Highest.
    pub last: u16,
}

impl TryFrom<String> for PortRange {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a port range; write first-last, as in 20000-40000");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        Ok(Self { first: port(first)?, last: port(last)? })
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        format!("{}-{}", range.first, range.last)
    }
}

/// ICE, DTLS, SRTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebRtc {
    /// Run ICE lite (RFC 8445 §2.5).
    pub ice_lite: bool,
    /// Send the answer at once and candidates after it.
    pub full_trickle: bool,
    /// End a leg when consent expires (RFC 7675); otherwise only media stop.
    pub hangup_on_consent_loss: bool,
    /// PEM file with the DTLS certificate; none: made at start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtls_certificate: Option<PathBuf>,
    /// PEM file with its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtls_key: Option<PathBuf>,
    /// Password of that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtls_key_password: Option<String>,
    /// Longest DTLS datagram, bytes.
    pub dtls_mtu: u16,
    /// SRTP profiles in order of preference.
    pub srtp_profiles: Vec<String>,
    /// `native` or `libsrtp`.
    pub srtp_backend: SrtpBackend,
}

impl Default for WebRtc {
    fn default() -> Self {
        Self {
            ice_lite: false,
            full_trickle: false,
            hangup_on_consent_loss: true,
            dtls_certificate: None,
            dtls_key: None,
            dtls_key_password: None,
            dtls_mtu: 1200,
            srtp_profiles: [
                "AEAD_AES_128_GCM",
                "AEAD_AES_256_GCM",
                "AES_CM_128_HMAC_SHA1_80",
                "AES_CM_128_HMAC_SHA1_32",
            ]
            .map(str::to_owned)
            .to_vec(),
            srtp_backend: SrtpBackend::Native,
        }
    }
}

/// Who protects packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SrtpBackend {
    /// Our own framing.
    #[default]
    Native,
    /// libsrtp.
    Libsrtp,
}

/// Which plugins exist.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    /// Package names that are not loaded.
    pub disable: Vec<String>,
}

/// Where media may come from when not from the SDP's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latching {
    /// Nowhere else.
    Off,
    /// Another port of the same IP address.
    #[default]
    SameIp,
    /// The first source after an SDP.
    AnyFirst,
}

/// A peer whose calls share RTP ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedRtp {
    /// Its name.
    pub name: String,
    /// Addresses or networks of its media, as its SDPs name them; it sends from there.
    pub media: Vec<String>,
    /// Where SIP calls to it go: `domain` or `user@domain`, with `*`; of the account's outbound proxy, else of
    /// the URI that is called.
    #[serde(default)]
    pub hops: Vec<String>,
    /// Port pairs that its calls share, a worker.
    #[serde(default = "shared_ports_per_worker")]
    pub ports_per_worker: u8,
    /// Offer and accept rtcp-mux.
    #[serde(default)]
    pub rtcp_mux: bool,
}

/// Enough that a call rarely meets the resting address of another, and that audio and video of a call have
/// ports of their own.
fn shared_ports_per_worker() -> u8 {
    4
}

/// One listening point of SIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SipListen {
    /// Name by which accounts and trunks choose it; the transports of one network share theirs.
    pub ident: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: SipTransport,
    /// Address and port.
    pub address: SocketAddr,
}

/// Transport of a SIP listening point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SipTransport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// The SIP side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Where SIP is listened on; empty: UDP and TCP 5060 on the first media address.
    pub listen: Vec<SipListen>,
    /// The `bifrons-sip` program; none: beside `bifrons`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// Folder with `agent.pem` and `cafile.pem` for SIP over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_directory: Option<PathBuf>,
    /// Check the certificates of SIP peers.
    pub tls_verify: bool,
    /// Address in SDPs towards SIP; none: the leg's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdp_address: Option<IpAddr>,
    /// `User-Agent` header.
    pub user_agent: String,
    /// Registration time asked for.
    pub register_ttl_s: u32,
    /// OPTIONS to registrars so often; 0: never.
    pub keepalive_s: u32,
    /// Symmetric RTP.
    pub latching: Latching,
    /// Peers whose calls share RTP ports.
    pub shared_rtp: Vec<SharedRtp>,
    /// Timer B, F and H (RFC 3261 §17), milliseconds.
    pub timer_t1x64_ms: u32,
    /// Accounts at most.
    pub accounts_max: usize,
    /// Calls at most.
    pub calls_max: usize,
    /// Peers that may send requests outside a dialog without a registration: addresses or networks.
    pub trunks: Vec<String>,
    /// UDP messages a second from one source, answers included; 0: no limit.
    pub gate_rate_per_s: u32,
    /// How many of them may come at once after a pause; 0: as many as a second.
    pub gate_burst: u32,
    /// Longest UDP message of a source that is not in `gate_allowed`, bytes; 0: no limit of its own.
    pub gate_datagram_bytes_max: u32,
    /// Sources that are not heard: addresses or networks.
    pub gate_blocked: Vec<String>,
    /// Sources without a rate, and that `gate_blocked` does not concern: addresses or networks.
    pub gate_allowed: Vec<String>,
    /// Nobody but `gate_allowed` is heard.
    pub gate_only_allowed: bool,
    /// Whom pages may call, write to and name in transfers: `domain` or `user@domain`, with `*`; empty: all.
    pub allowed_targets: Vec<String>,
    /// Registrars and proxies that pages may use: domains, with `*`; empty: all.
    pub allowed_proxies: Vec<String>,
    /// Headers that pages may send: names, with `*`; empty: all.
    pub allowed_headers: Vec<String>,
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            listen: vec![],
            program: None,
            tls_directory: None,
            tls_verify: false,
            sdp_address: None,
            user_agent: concat!("Bifrons ", env!("CARGO_PKG_VERSION")).into(),
            register_ttl_s: 3_600,
            keepalive_s: 0,
            latching: Latching::SameIp,
            shared_rtp: vec![],
            timer_t1x64_ms: 32_000,
            accounts_max: 50_000,
            calls_max: 20_000,
            trunks: vec![],
            gate_rate_per_s: 0,
            gate_burst: 0,
            gate_datagram_bytes_max: 0,
            gate_blocked: vec![],
            gate_allowed: vec![],
            gate_only_allowed: false,
            allowed_targets: vec![],
            allowed_proxies: vec![],
            allowed_headers: vec![],
        }
    }
}

/// The NoSIP plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoSip {
    /// Address in plain SDPs; none: the leg's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdp_address: Option<IpAddr>,
    /// Symmetric RTP.
    pub latching: Latching,
    /// Peers whose calls share RTP ports.
    pub shared_rtp: Vec<SharedRtp>,
}

#[cfg(test)]
impl Config {
    /// A value with every optional key set, to find keys that a text forgets.
    pub fn with_every_key() -> Self {
        let mut config = Self::default();
        config.server.log_file = Some("bifrons.log".into());
        config.auth.api_secret = Some("secret".into());
        config.auth.signed_token_secret = Some("key".into());
        config.tls.certificate = Some("cert.pem".into());
        config.tls.key = Some("key.pem".into());
        config.access.allow_origin = Some("https://example.com".into());
        config.webrtc.dtls_certificate = Some("dtls.pem".into());
        config.webrtc.dtls_key = Some("dtls-key.pem".into());
        config.webrtc.dtls_key_password = Some("password".into());
        config.sip.program = Some("bifrons-sip".into());
        config.sip.tls_directory = Some("tls".into());
        config.sip.sdp_address = Some([192, 0, 2, 1].into());
        config.nosip.sdp_address = Some([192, 0, 2, 1].into());
        config
    }
}
