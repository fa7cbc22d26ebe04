//! What an engine is started with. Every limit has its default and its name here.

use std::net::IpAddr;

use bifrons_rtc::ice::{AddressPolicy, ConsentLoss};
use bifrons_rtc::srtp::{Backend, Profile};

use crate::driver::xdp::INTERFACES_MAX;
use crate::id::LegId;

/// Shared RTP port pairs of a worker and address family, over all groups.
pub const SHARED_PORTS_MAX: usize = 32;

/// Configuration of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Worker threads, 1–[`LegId::WORKERS_MAX`].
    pub workers: usize,
    /// Cores that the workers are pinned to, in order; empty: not pinned.
    pub cores: Vec<usize>,
    /// What moves the datagrams.
    pub driver: DriverChoice,
    /// Network interfaces of [`DriverChoice::Xdp`], 1–4. Each needs a receive queue for each worker.
    pub xdp_interfaces: Vec<String>,
    /// Local addresses, the preferred first; never a wildcard. IPv4 and IPv6 apart.
    pub addresses: Vec<LocalAddress>,
    /// WebRTC peers are told the address itself as well, after the one that is advertised instead of it:
    /// for peers on our side of the NAT.
    pub advertise_private_too: bool,
    /// UDP port of the first worker's WebRTC sockets; worker *n* has this port + *n*. `None`: the
    /// kernel chooses.
    pub webrtc_port: Option<u16>,
    /// First and last port for RTP legs, both included.
    pub rtp_port_range: (u16, u16),
    /// How long the ports of a closed RTP leg stay unused, milliseconds: late packets of the old call
    /// do not reach the new one.
    pub rtp_port_rest_ms: u64,
    /// Groups of RTP ports that legs share ([`crate::media::RtpShared`]): how many port pairs each may have,
    /// a worker and address family. They are opened when they are first needed, from `rtp_port_range`, and
    /// stay. [`SHARED_PORTS_MAX`] in all.
    pub shared_ports: Vec<u8>,
    /// WebRTC legs are ICE lite.
    pub ice_lite: bool,
    /// Which remote addresses ICE may check.
    pub ice_addresses: AddressPolicy,
    /// What happens when a peer's consent has expired.
    pub consent_loss: ConsentLoss,
    /// Longest DTLS datagram, bytes, 576–1,452.
    pub dtls_mtu: u16,
    /// When an unanswered DTLS flight is first sent again, milliseconds, 50–1,000; doubles each time.
    pub dtls_retransmit_ms: u32,
    /// How long a DTLS handshake may take from its first flight on, milliseconds, 1,000–120,000.
    pub dtls_timeout_ms: u32,
    /// SRTP profiles for DTLS, the preferred first.
    pub srtp_profiles: Vec<Profile>,
    /// Which library protects packets.
    pub srtp_backend: Backend,
    /// Longest delay that coalescing of receives may add to a packet, microseconds, 0–2,000. The delay is
    /// chosen by the load: as long as it takes for 128 packets, and none where hardly two would come. Four times
    /// as long, at most 2,000, while for a second nothing has come but consent checks and RTCP.
    pub coalesce_us: u32,
    /// Never sleep. For dedicated cores.
    pub busy_poll: bool,
    /// Silence after which [`crate::media::Notice::Receiving`] tells `false`, seconds; 0: never.
    pub no_media_timer_s: u32,
    /// Packets lost in a second from which on [`crate::media::Notice::SlowLink`] is given; 0: never.
    pub slowlink_threshold: u32,
    /// Try SCHED_FIFO and nice for the workers. What came of it stands in the start report.
    pub realtime: bool,
    /// Bounds.
    pub limits: Limits,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            cores: Vec::new(),
            driver: DriverChoice::Auto,
            xdp_interfaces: Vec::new(),
            addresses: Vec::new(),
            advertise_private_too: false,
            webrtc_port: None,
            rtp_port_range: (10_000, 59_999),
            rtp_port_rest_ms: 10_000,
            shared_ports: Vec::new(),
            ice_lite: false,
            ice_addresses: AddressPolicy::default(),
            consent_loss: ConsentLoss::default(),
            dtls_mtu: 1_200,
            dtls_retransmit_ms: 250,
            dtls_timeout_ms: 30_000,
            srtp_profiles: vec![Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80],
            srtp_backend: Backend::default(),
            coalesce_us: 500,
            busy_poll: false,
            no_media_timer_s: 1,
            slowlink_threshold: 4,
            realtime: true,
            limits: Limits::default(),
        }
    }
}

/// Bounds of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Legs a worker, at most [`LegId::SLOTS_MAX`].
    pub legs: usize,
    /// M-lines a leg, at most 64.
    pub streams: usize,
    /// Outputs of one route.
    pub outputs: usize,
    /// Validated addresses a worker.
    pub flows: usize,
    /// Commands that may wait for a worker.
    pub commands: usize,
    /// Reports that may wait for the control side, a worker.
    pub reports: usize,
    /// Datagrams that may wait between a worker and its handshake thread, each way.
    pub handshake_ring: usize,
    /// DTLS handshakes in progress a handshake thread; more wait for their turn.
    pub handshakes: usize,
    /// Packets that may wait between two workers, each way.
    pub replica_ring: usize,
    /// Streams of other workers that a worker has outputs for.
    pub replicas: usize,
    /// Rings between workers, a ring a direction; they are made when a route first needs them.
    pub replica_rings: usize,
    /// Packets that a leg may bring.
    pub budgets: Budgets,
    /// When no new calls are taken.
    pub admission: Admission,
}

/// The load from which on a worker gets no new call. When all workers have it, new calls are refused
/// ([`crate::media::MediaError::Busy`]); legs of calls that are there are not. 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Percent of a worker's time in which it has work, over the last two seconds or so.
    pub worker_busy_percent_max: u32,
    /// Packets that a worker receives and sends a second: those of the last second, and what legs that
    /// have just been opened will bring.
    pub worker_packets_per_s_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            legs: 8_192,
            streams: 32,
            outputs: 2_048,
            flows: 32_768,
            commands: 4_096,
            reports: 4_096,
            handshake_ring: 256,
            handshakes: 64,
            replica_ring: 256,
            replicas: 1_024,
            // All pairs of 64 workers.
            replica_rings: 4_096,
            budgets: Budgets::default(),
            admission: Admission::default(),
        }
    }
}

/// What one leg may have worked on, so that a flood on it costs no other leg its time. What is beyond is
/// dropped and counted ([`crate::counter::Drop::LegOverBudget`], [`crate::counter::Drop::StunOverBudget`]).
///
/// Only packets that are the peer's are charged: authentic on an SRTP leg, from the source that is heard
/// on a plain one. A stranger cannot spend a leg's budget. Rates of 0 are no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// RTP and RTCP packets a second, for each audio m-line of the leg.
    pub audio_packets_per_s: u32,
    /// As many at once, for a leg with audio only.
    pub audio_burst_packets: u32,
    /// RTP and RTCP packets a second, for each video m-line of the leg.
    pub video_packets_per_s: u32,
    /// As many at once, for a leg with video.
    pub video_burst_packets: u32,
    /// STUN messages a second for a leg from its validated addresses, and as many from all others.
    pub stun_per_s: u32,
    /// As many at once.
    pub stun_burst: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            // The shortest frame of Opus is 2.5 ms (RFC 6716 §2.1.4).
            audio_packets_per_s: 400,
            // What gathers at 20 ms a packet while a network stands still for four seconds.
            audio_burst_packets: 200,
            // 38 Mbit/s in packets of 1,200 bytes, retransmissions included.
            video_packets_per_s: 4_000,
            // A key frame of nearly a megabyte; 2 ms of a worker's time.
            video_burst_packets: 800,
            // A browser sends a check every 20 to 50 ms while it looks for a pair.
            stun_per_s: 200,
            stun_burst: 100,
        }
    }
}

/// Which driver moves the datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring where the kernel allows it, else mmsg.
    #[default]
    Auto,
    /// io_uring, or no start.
    Uring,
    /// recvmmsg, sendmmsg and epoll.
    Mmsg,
    /// AF_XDP on [`EngineConfig::xdp_interfaces`], with the sockets of `Mmsg` for what does not go that way.
    Xdp,
}

/// A local address and what peers are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// Where sockets are bound.
    pub address: IpAddr,
    /// What stands in SDP instead, behind a 1:1 NAT.
    pub advertised: Option<IpAddr>,
}

/// Why an engine did not start.
#[derive(Debug)]
pub enum StartError {
    /// A member of the configuration is not usable; the text names it.
    Config(String),
    /// A socket could not be bound.
    Bind {
        /// Where.
        address: std::net::SocketAddr,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The driver or a thread could not be made.
    Io(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(text) | Self::Io(text) => f.write_str(text),
            Self::Bind { address, error } => write!(f, "cannot bind UDP {address}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl EngineConfig {
    /// Checks the members that have bounds.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let fail = |text: String| Err(StartError::Config(text));
        if !(1..=LegId::WORKERS_MAX).contains(&self.workers) {
            return fail(format!("workers: {} is not 1 to {}", self.workers, LegId::WORKERS_MAX));
        }
        if self.addresses.is_empty() || self.addresses.len() > bifrons_rtc::ice::LOCAL_CANDIDATES_MAX {
            return fail(format!(
                "addresses: {} given, 1 to {} needed",
                self.addresses.len(),
                bifrons_rtc::ice::LOCAL_CANDIDATES_MAX
            ));
        }
        if let Some(bad) = self.addresses.iter().find(|a| a.address.is_unspecified()) {
            return fail(format!("addresses: {} is a wildcard; name the address itself", bad.address));
        }
        if self.driver == DriverChoice::Xdp && !(1..=INTERFACES_MAX).contains(&self.xdp_interfaces.len()) {
            let given = self.xdp_interfaces.len();
            return fail(format!("xdp_interfaces: {given} given, 1 to {INTERFACES_MAX} needed"));
        }
        let (first, last) = self.rtp_port_range;
        if first == 0 || first > last {
            return fail(format!("rtp_port_range: {first}-{last} is not a range of ports"));
        }
        let shared: usize = self.shared_ports.iter().map(|count| usize::from(*count)).sum();
        if shared > SHARED_PORTS_MAX || self.shared_ports.contains(&0) {
            return fail(format!(
                "shared_ports: {:?} must be 1 or more each, and {SHARED_PORTS_MAX} at most together",
                self.shared_ports
            ));
        }
        if self.srtp_profiles.is_empty() {
            return fail("srtp_profiles: none given".to_owned());
        }
        if !(576..=1_452).contains(&self.dtls_mtu) {
            return fail(format!("dtls_mtu: {} is not 576 to 1452", self.dtls_mtu));
        }
        if !(50..=1_000).contains(&self.dtls_retransmit_ms) {
            return fail(format!("dtls_retransmit_ms: {} is not 50 to 1000", self.dtls_retransmit_ms));
        }
        if !(1_000..=120_000).contains(&self.dtls_timeout_ms) {
            return fail(format!("dtls_timeout_ms: {} is not 1000 to 120000", self.dtls_timeout_ms));
        }
        if self.coalesce_us > 2_000 {
            return fail(format!("coalesce_us: {} is over 2000", self.coalesce_us));
        }
        let limits = &self.limits;
        if !(1..=LegId::SLOTS_MAX).contains(&limits.legs) {
            return fail(format!("limits.legs: {} is not 1 to {}", limits.legs, LegId::SLOTS_MAX));
        }
        if !(1..=64).contains(&limits.streams) {
            return fail(format!("limits.streams: {} is not 1 to 64", limits.streams));
        }
        let rings = [limits.outputs, limits.flows, limits.commands, limits.reports, limits.handshake_ring];
        if rings.contains(&0)
            || [limits.handshakes, limits.replica_ring, limits.replica_rings, limits.replicas].contains(&0)
        {
            return fail("limits: a limit of 0 leaves nothing to work with".to_owned());
        }
        Ok(())
    }
}
