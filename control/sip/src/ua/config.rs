use std::net::{IpAddr, SocketAddr};

use bifrons_sip_protocol::{GateRules, Settings, Transport};

use crate::digest::Secret;
use crate::message::SipUri;

/// Configuration of a [`super::UserAgent`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Settings of every `bifrons-sip` process.
    pub sip: Settings,
    /// What its gate lets through, before anything is parsed.
    pub gate: GateRules,
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// User-Agent and Server of accounts that have none of their own.
    pub user_agent: String,
    /// Most accounts.
    pub accounts_max: usize,
    /// Most calls.
    pub calls_max: usize,
    /// Most calls of one account.
    pub account_calls_max: usize,
    /// Most open client transactions; what would exceed it is refused.
    pub clients_max: usize,
    /// Most received REFERs whose progress is being reported.
    pub refers_max: usize,
    /// Most events that wait to be polled; while there are more, requests that would make another are answered 503.
    pub queue_max: usize,
    /// REGISTER requests a second that are started by timers and restarts.
    pub registrations_per_s: u32,
    /// How long an INVITE may ring before it is given up, either way, in milliseconds.
    pub ring_ms_max: u64,
    /// Addresses that may send requests outside a dialog for the user of any account, and are told by OPTIONS that
    /// we are there.
    pub trunks: Vec<Source>,
    /// Seed of all tokens and tags; `None` takes it from the system. For simulations.
    pub seed: Option<[u8; 32]>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sip: Settings::default(),
            gate: GateRules::default(),
            listeners: Vec::new(),
            user_agent: String::from("Bifrons"),
            accounts_max: 20_000,
            calls_max: 20_000,
            account_calls_max: 1_000,
            clients_max: 50_000,
            refers_max: 5_000,
            queue_max: 20_000,
            registrations_per_s: 500,
            ring_ms_max: 300_000,
            trunks: Vec::new(),
            seed: None,
        }
    }
}

/// One listener of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name that accounts use to choose it; several transports share an ident.
    pub ident: String,
    /// Transport.
    pub transport: Transport,
    /// Address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// Host in Via and Contact instead of the address (behind a NAT, for a floating address).
    pub public_host: Option<String>,
}

/// Addresses that may send requests for an account or trunk without knowing its Contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Network address.
    pub address: IpAddr,
    /// Its length in bits.
    pub prefix: u8,
}

impl Source {
    /// Exactly one address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// True if `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        fn bits(address: IpAddr) -> (u128, u32) {
            match address.to_canonical() {
                IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
                IpAddr::V6(v6) => (v6.to_bits(), 128),
            }
        }
        let ((net, width), (address, address_width)) = (bits(self.address), bits(address));
        let host_bits = width.saturating_sub(u32::from(self.prefix));
        width == address_width && net.checked_shr(host_bits) == address.checked_shr(host_bits)
    }
}

/// An account or a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountConfig {
    /// Address of record.
    pub aor: SipUri,
    /// REGISTER it; false for guests, trunks and accounts that only keep credentials.
    pub register: bool,
    /// Request-URI of REGISTER; `None`: the address of record's domain.
    pub registrar: Option<SipUri>,
    /// Route for every request outside a dialog.
    pub outbound_proxy: Option<SipUri>,
    /// Display name in From and Contact.
    pub display_name: Option<String>,
    /// User-Agent; `None`: the agent's.
    pub user_agent: Option<String>,
    /// Digest user name; `None`: the user part.
    pub auth_user: Option<String>,
    /// Digest secret; without it challenges fail.
    pub secret: Option<Secret>,
    /// Realms whose challenges are answered; empty: those that the registrar or proxy itself names.
    pub realms: Vec<String>,
    /// Expires to ask for, in seconds.
    pub expires_s: u32,
    /// Headers on REGISTER.
    pub headers: Vec<(String, String)>,
    /// Parameters inside the Contact URI.
    pub contact_params: Vec<(String, String)>,
    /// Ident of the listeners to use; empty: the first listener's.
    pub ident: String,
    /// Transport; `None`: as the URI that requests go to says, else UDP.
    pub transport: Option<Transport>,
    /// Addresses that may call the address of record's user directly.
    pub sources: Vec<Source>,
    /// Requests from `sources` for any user come to this account (a trunk).
    pub any_user: bool,
    /// Offer `Supported: 100rel` and use it with peers that do (RFC 3262); what a peer requires is done anyway.
    pub reliable: bool,
    /// Try again by itself after a registration was lost.
    pub retry: bool,
}

impl AccountConfig {
    /// An account with defaults for everything but its address.
    pub fn new(aor: SipUri) -> Self {
        Self {
            aor,
            register: true,
            registrar: None,
            outbound_proxy: None,
            display_name: None,
            user_agent: None,
            auth_user: None,
            secret: None,
            realms: Vec::new(),
            expires_s: 3600,
            headers: Vec::new(),
            contact_params: Vec::new(),
            ident: String::new(),
            transport: None,
            sources: Vec::new(),
            any_user: false,
            reliable: false,
            retry: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_networks() {
        let net = Source { address: "10.1.0.0".parse().expect("an address"), prefix: 16 };
        assert!(net.contains("10.1.255.1".parse().expect("an address")));
        assert!(net.contains("::ffff:10.1.2.3".parse().expect("an address")));
        assert!(!net.contains("10.2.0.1".parse().expect("an address")));
        assert!(!net.contains("::1".parse().expect("an address")));
        let all = Source { address: "::".parse().expect("an address"), prefix: 0 };
        assert!(all.contains("2001:db8::1".parse().expect("an address")));
        assert!(!all.contains("10.0.0.1".parse().expect("an address")));
    }
}
