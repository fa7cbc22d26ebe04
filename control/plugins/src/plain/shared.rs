//! Peers whose calls share RTP ports (RFC 4961): who they are.

use std::net::IpAddr;

use bifrons_sip_ua::message::SipUri;
use bifrons_sip_ua::ua::Source;

use crate::sip::policy::Pattern;

/// A peer, usually a trunk, that sends media from the address and port of its SDPs.
#[derive(Clone, Debug)]
pub struct SharedPeer {
    /// Its name, in errors and where a request names it.
    pub name: String,
    /// The engine's ports for it: an index of `EngineConfig::shared_ports`.
    pub group: u8,
    /// Addresses of its media.
    pub media: Vec<Source>,
    /// Where our SIP calls to it go: the account's outbound proxy, else the URI that is called.
    pub hops: Vec<Pattern>,
    /// Offer and accept rtcp-mux (RFC 5761).
    pub rtcp_mux: bool,
}

impl SharedPeer {
    /// Whether media with this address in their SDP are its.
    pub fn has_media(&self, address: IpAddr) -> bool {
        self.media.iter().any(|source| source.contains(address))
    }

    /// Whether a call by way of this address goes to it.
    pub fn is_hop(&self, hop: &SipUri) -> bool {
        self.hops.iter().any(|pattern| pattern.fits(hop))
    }

    /// All its media have IPv6 addresses.
    pub fn ipv6(&self) -> bool {
        !self.media.is_empty() && self.media.iter().all(|source| source.address.is_ipv6())
    }
}
