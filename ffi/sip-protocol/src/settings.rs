//! What control configures: timers, limits, TLS, the gate.

use std::net::IpAddr;

use crate::TEXT_BYTES_MAX;
use crate::codec::{code, lists, record};

record! {
    /// How the SIP process works for one generation.
    pub struct Settings {
        /// T1 of RFC 3261 §17 in milliseconds.
        pub t1_ms: u32,
        /// T2 of RFC 3261 §17 in milliseconds.
        pub t2_ms: u32,
        /// T4 of RFC 3261 §17 in milliseconds.
        pub t4_ms: u32,
        /// Client transactions that may live at once.
        pub client_transactions_max: u32,
        /// Server transactions that may live at once; a new request above it is answered 503.
        pub server_transactions_max: u32,
        /// Messages that may wait for control; while they do, new requests are answered 503.
        pub queue_max: u32,
        /// TCP and TLS connections that may live at once; one more is closed.
        pub flows_max: u32,
        /// Of these, from one address; one more is closed.
        pub flows_per_source_max: u32,
        /// A TCP or TLS connection without traffic is closed after this, in milliseconds. 0: never.
        pub flow_idle_ms: u32,
        /// Largest SIP message that is received, in bytes; at most `TEXT_BYTES_MAX`.
        pub message_bytes_max: u32,
        /// Largest `multipart/` body that is taken apart, in bytes; larger is answered 413.
        pub multipart_bytes_max: u32,
        /// Most parts in it, at most 16; more is answered 400.
        pub multipart_parts_max: u32,
        /// Retry-After in seconds of the 503 that the process sends by itself. 0: none.
        pub retry_after_s: u32,
        /// TLS for listeners that bring none of their own.
        pub tls: Option<TlsSettings>,
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            t1_ms: 500,
            t2_ms: 4_000,
            t4_ms: 5_000,
            client_transactions_max: 100_000,
            server_transactions_max: 100_000,
            queue_max: 8_192,
            flows_max: 10_000,
            flows_per_source_max: 1_000,
            flow_idle_ms: 1_800_000,
            message_bytes_max: TEXT_BYTES_MAX as u32,
            multipart_bytes_max: 32_768,
            multipart_parts_max: 8,
            retry_after_s: 5,
            tls: None,
        }
    }
}

record! {
    /// Certificates and policy of a TLS listener and of the connections made from it.
    pub struct TlsSettings {
        /// Directory with `agent.pem` (private key and certificate chain) and `cafile.pem` (authorities).
        pub directory: String,
        /// Who must show a valid certificate.
        pub verify: TlsVerify,
    }
}

code! {
    /// Peer verification. The lowest version is TLS 1.2 in any case.
    pub enum TlsVerify {
        /// Nobody; what is shown is reported.
        None = 0,
        /// Servers to which we connect, including that the certificate names the host.
        Outgoing = 1,
        /// Clients that connect to us.
        Incoming = 2,
        /// Both.
        Both = 3,
    }
}

record! {
    /// What the gate lets through to the stack. Refused datagrams are dropped without answer and counted.
    pub struct GateRules {
        /// Sources that are dropped, connections closed.
        pub blocked: Vec<Network>,
        /// Sources without a rate limit, and that `blocked` does not concern.
        pub allowed: Vec<Network>,
        /// Only `allowed` sources get through.
        pub only_allowed: bool,
        /// UDP messages a second from one source address. 0: no limit.
        pub source_rate_per_s: u32,
        /// How many may come at once after a pause.
        pub source_burst: u32,
        /// Largest datagram from a source that is not in `allowed`, in bytes. 0: no limit of its own.
        pub datagram_bytes_max: u32,
    }
}

impl Default for GateRules {
    /// Everything gets through.
    fn default() -> Self {
        GateRules {
            blocked: Vec::new(),
            allowed: Vec::new(),
            only_allowed: false,
            source_rate_per_s: 0,
            source_burst: 0,
            datagram_bytes_max: 0,
        }
    }
}

record! {
    /// A network: an address and how many of its leading bits count.
    pub struct Network {
        /// Any address in it.
        pub address: IpAddr,
        /// Prefix length; more than the address has means all of it.
        pub prefix: u8,
    }
}
lists!(Network);

impl Network {
    /// Whether the address is in it. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let drop = 32 - u32::from(self.prefix.min(32));
                (u64::from(network.to_bits()) >> drop) == (u64::from(address.to_bits()) >> drop)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let drop = 128 - u32::from(self.prefix.min(128));
                let prefix = |bits: u128| bits.checked_shr(drop).unwrap_or(0);
                prefix(network.to_bits()) == prefix(address.to_bits())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_by_prefix() {
        let network = |address: &str, prefix| Network { address: address.parse().unwrap(), prefix };
        let is_in = |network: &Network, address: &str| network.contains(address.parse().unwrap());
        assert!(is_in(&network("127.0.0.9", 8), "127.200.0.1"));
        assert!(!is_in(&network("127.0.0.9", 32), "127.0.0.8"));
        assert!(is_in(&network("10.0.0.0", 0), "192.0.2.1"));
        assert!(!is_in(&network("::", 0), "192.0.2.1"));
        assert!(is_in(&network("::", 0), "2001:db8::1"));
        assert!(is_in(&network("2001:db8::", 32), "2001:db8:1::1"));
        assert!(is_in(&network("192.0.2.1", 255), "::ffff:192.0.2.1"));
    }
}
