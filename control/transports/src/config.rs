//! Settings of the transports.

use std::net::SocketAddr;
use std::time::Duration;

use crate::access::Access;
use crate::static_files::StaticFiles;
use crate::tls::Certificates;

/// Where clients connect, and to what.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// HTTP or WebSocket.
    pub protocol: Protocol,
    /// Address and port; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// HTTPS or WSS with these.
    pub tls: Option<Certificates>,
}

/// What is spoken at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Requests and long polls.
    Http,
    /// `janus-protocol`.
    WebSocket,
}

/// Settings of all endpoints.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Path of the API over HTTP; begins with `/`, does not end with one (except `/` itself).
    pub base_path: String,
    /// Who may connect.
    pub access: Access,
    /// Limits.
    pub limits: TransportLimits,
    /// Silence after which a WebSocket client gets a ping; with `pong_timeout` only.
    pub ping_after: Option<Duration>,
    /// Silence after the ping that closes the connection.
    pub pong_timeout: Option<Duration>,
    /// Files beside the API.
    pub files: StaticFiles,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_path: "/janus".into(),
            access: Access::default(),
            limits: TransportLimits::default(),
            ping_after: None,
            pong_timeout: None,
            files: StaticFiles::default(),
        }
    }
}

/// Bounds of what clients can cost. What is refused is counted in [`crate::TransportCounters`].
#[derive(Clone, Debug)]
pub struct TransportLimits {
    /// Connections at one time, all endpoints together.
    pub connections_max: usize,
    /// Connections of one address (an IPv6 /64 counts as one).
    pub connections_per_source_max: usize,
    /// Longest request body or WebSocket message.
    pub body_bytes_max: usize,
    /// Longest request head.
    pub head_bytes_max: usize,
    /// Time for a request head, and between two requests of a connection.
    pub head_timeout: Duration,
    /// Time for a request body.
    pub body_timeout: Duration,
    /// Time for a TLS handshake.
    pub tls_timeout: Duration,
    /// Time in which a client must take what is sent to it.
    pub write_timeout: Duration,
    /// How long a long poll waits.
    pub poll_timeout: Duration,
    /// Time that connections get to end when the server stops.
    pub stop_timeout: Duration,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_source_max: 10_000,
            body_bytes_max: 256 * 1024,
            head_bytes_max: 16 * 1024,
            head_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(10),
            tls_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            poll_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(3),
        }
    }
}
