use std::net::IpAddr;

use bifrons_sip_protocol::{ClientId, FlowId, Transport};

use super::config::AccountConfig;
use crate::digest::ClientAuth;
use crate::message::{NameAddr, SipUri};

/// Most realms, trusted addresses and routes kept of one account.
pub(super) const REALMS_MAX: usize = 8;

/// One account as plain data.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub config: AccountConfig,
    /// User part of its Contact: random, stable, its own.
    pub token: String,
    pub call_id: String,
    pub from_tag: String,
    pub cseq: u32,
    pub state: AccountState,
    /// Expires that we ask for now: grows with 423.
    pub expires_s: u32,
    /// Failures in a row.
    pub failures: u32,
    /// Challenges in use, by realm.
    pub auth: Vec<ClientAuth>,
    /// Where answers to requests for the registrar or proxy came from.
    pub trusted_sources: Vec<IpAddr>,
    /// Realms that they named.
    pub trusted_realms: Vec<String>,
    /// Service-Route of the registrar (RFC 3608).
    pub service_route: Vec<String>,
    /// Connection that carried the REGISTER.
    pub flow: Option<FlowId>,
    /// The REGISTER under way: an older one's answer tells nothing any more.
    pub client: Option<ClientId>,
    pub calls: usize,
    /// Its next REGISTER has its place in the queue.
    pub paced: bool,
    pub wake_at: Option<u64>,
    /// Forget it when it is unregistered.
    pub remove: bool,
}

/// Where the registration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccountState {
    /// It does not register.
    Disabled,
    /// A REGISTER is under way or due; `renewal` if one succeeded before.
    Registering {
        renewal: bool,
    },
    Registered,
    /// It failed; with a wake-up it is tried again.
    Failed,
    Unregistering,
    Unregistered,
}

impl Account {
    /// From, without tag.
    pub fn from(&self) -> String {
        NameAddr::new(self.config.aor.clone()).with_display(self.config.display_name.as_deref()).to_string()
    }

    /// The digest user.
    pub fn auth_user(&self) -> String {
        let user = || crate::message::Uri::Sip(self.config.aor.clone()).user();
        self.config.auth_user.clone().or_else(user).unwrap_or_default()
    }

    /// Where requests outside a dialog go first.
    pub fn first_hop<'a>(&'a self, target: &'a SipUri) -> &'a SipUri {
        self.config.outbound_proxy.as_ref().unwrap_or(target)
    }

    /// The transport for requests to `target`.
    pub fn transport(&self, target: &SipUri) -> Transport {
        let hop = self.first_hop(target);
        if let Some(transport) = self.config.transport {
            return transport;
        }
        match hop.transport() {
            Some(name) if name.eq_ignore_ascii_case("tcp") && !hop.secure => Transport::Tcp,
            Some(name) if name.eq_ignore_ascii_case("tls") => Transport::Tls,
            _ if hop.secure => Transport::Tls,
            _ => Transport::Udp,
        }
    }

    /// The Request-URI of its REGISTER.
    pub fn registrar(&self) -> SipUri {
        self.config.registrar.clone().unwrap_or_else(|| SipUri {
            secure: self.config.aor.secure,
            params: self.config.aor.params.clone(),
            ..SipUri::from_host(self.config.aor.host.clone(), self.config.aor.port)
        })
    }

    /// Remembers who answers for the registrar or proxy. Whether that is news, which the directory is to hear.
    pub fn trust_source(&mut self, source: IpAddr) -> bool {
        let new = !self.trusted_sources.contains(&source) && self.trusted_sources.len() < REALMS_MAX;
        if new {
            self.trusted_sources.push(source);
        }
        new
    }
}
