//! The transport of an RTP leg: where packets go, and whose are heard.

use std::net::SocketAddr;
use std::time::Duration;

use bifrons_rtc::Time;

use super::Keys;
use crate::driver::{SocketKey, prefetch};
use crate::media::Latching;

/// How long after a new remote description a source may be learnt that the SDP does not name.
pub(crate) const LATCH_WINDOW: Duration = Duration::from_secs(10);
/// How many packets of the first source are heard before it is taken for good: until then a packet
/// from the SDP's own address wins over it.
pub(crate) const LATCH_PACKETS: u32 = 50;

/// An RTP leg's sockets and addresses. What each packet needs comes first.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RtpTransport {
    /// The source that media come from.
    learnt: Option<SocketAddr>,
    heard: u32,
    latching: Latching,
    /// RTP and RTCP share a port.
    pub mux: bool,
    pub rtp_socket: Option<SocketKey>,
    /// The SDP's address.
    signalled: Option<SocketAddr>,
    pub shared: Option<SharedFlows>,
    pub rtcp_socket: Option<SocketKey>,
    signalled_rtcp: Option<SocketAddr>,
    learnt_rtcp: Option<SocketAddr>,
    /// Until when a source may be learnt.
    armed_until: Option<Time>,
}

/// What a leg has of shared ports.
#[derive(Debug)]
pub(crate) struct SharedFlows {
    /// The number of the RTP socket; the RTCP socket has the next.
    pub number: u8,
    /// Its sources in the flow table, by socket.
    pub sources: [Option<SocketAddr>; 2],
    /// An SSRC of a call that had the source before, and how long its late packets are dropped for.
    late: Option<(u32, Time)>,
}

impl SharedFlows {
    pub(crate) fn new(number: u8, late: Option<(u32, Time)>) -> Self {
        Self { number, sources: [None; 2], late }
    }
}

/// What a remote description becomes once it is checked.
pub(crate) struct RtpPlan {
    /// Where RTP goes; `None`: nowhere.
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
    pub mux: bool,
    /// On a shared port: see [`SharedFlows::late`].
    pub late: Option<(u32, Time)>,
    pub keys: KeyPlan,
}

/// What becomes of the keys of an RTP leg.
pub(crate) enum KeyPlan {
    /// They are as before, and so are all indices.
    Keep,
    /// Plain RTP.
    Plain,
    /// SDES keys. A direction whose key has not changed keeps its context: with a fresh one its
    /// indices would be used twice.
    New { keys: Box<Keys>, same_inbound: bool, same_outbound: bool },
}

/// Whether a source is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceVerdict {
    /// It is the peer.
    Heard,
    /// It is the peer, and media go there from now on.
    Latched,
    /// It is a stranger.
    Refused,
}

impl RtpTransport {
    pub(crate) fn new(latching: Latching, mux: bool) -> Self {
        Self {
            rtp_socket: None,
            rtcp_socket: None,
            mux,
            shared: None,
            latching,
            signalled: None,
            signalled_rtcp: None,
            learnt: None,
            learnt_rtcp: None,
            armed_until: None,
            heard: 0,
        }
    }

    /// Asks the processor for what a packet needs.
    #[inline(always)]
    pub(crate) fn ask(&self) {
        prefetch::part(self, std::mem::offset_of!(Self, rtcp_socket));
    }

    /// A new remote description: the only thing that arms latching again.
    pub(crate) fn set_remote(&mut self, now: Time, plan: &RtpPlan) {
        self.mux = plan.mux;
        if plan.rtp != self.signalled && plan.rtp.is_some() {
            self.learnt = None;
            self.learnt_rtcp = None;
        }
        if plan.rtp.is_some() {
            self.armed_until = Some(now + LATCH_WINDOW);
            self.heard = 0;
        }
        self.signalled = plan.rtp;
        self.signalled_rtcp = plan.rtcp;
        if let Some(shared) = &mut self.shared {
            shared.late = plan.late.or(shared.late);
        }
    }

    /// A late packet of the call that had this leg's shared port and source before.
    pub(crate) fn is_late(&self, now: Time, ssrc: u32) -> bool {
        let late = self.shared.as_ref().and_then(|shared| shared.late);
        late.is_some_and(|(late, until)| late == ssrc && now < until)
    }

    /// Where RTP goes: from the start to the SDP's address, then to the learnt one.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        let signalled = self.signalled?;
        Some(self.learnt.unwrap_or(signalled))
    }

    /// Where RTCP goes.
    pub(crate) fn rtcp_destination(&self) -> Option<SocketAddr> {
        if self.mux {
            return self.destination();
        }
        let signalled = self.signalled_rtcp?;
        Some(self.learnt_rtcp.unwrap_or(signalled))
    }

    /// Judges the source of an RTP packet. On an SRTP leg ask only after it authenticated.
    pub(crate) fn hear(&mut self, now: Time, source: SocketAddr) -> SourceVerdict {
        if self.learnt == Some(source) {
            self.heard = self.heard.saturating_add(1);
            return SourceVerdict::Heard;
        }
        let Some(signalled) = self.signalled else { return SourceVerdict::Refused };
        let armed = self.armed_until.is_some_and(|until| now < until) && self.heard < LATCH_PACKETS;
        if source == signalled {
            // The SDP's own address: heard unless another source has been taken for good.
            return match self.learnt {
                None => {
                    self.learnt = Some(source);
                    self.heard = LATCH_PACKETS;
                    SourceVerdict::Heard
                }
                Some(_) if armed => {
                    self.learnt = Some(source);
                    self.heard = LATCH_PACKETS;
                    SourceVerdict::Latched
                }
                Some(_) => SourceVerdict::Refused,
            };
        }
        let allowed = match self.latching {
            Latching::Off => false,
            Latching::SameIp => source.ip() == signalled.ip(),
            Latching::AnyFirst => true,
        };
        if !allowed || !armed || self.learnt.is_some() {
            return SourceVerdict::Refused;
        }
        self.learnt = Some(source);
        self.heard = 1;
        SourceVerdict::Latched
    }

    /// Judges the source of an RTCP packet on a port of its own: the SDP's, else one from the address
    /// that media come from.
    pub(crate) fn hear_rtcp(&mut self, source: SocketAddr) -> SourceVerdict {
        if self.mux {
            let known = self.learnt.or(self.signalled);
            return if known == Some(source) { SourceVerdict::Heard } else { SourceVerdict::Refused };
        }
        if self.learnt_rtcp == Some(source) || self.signalled_rtcp == Some(source) {
            return SourceVerdict::Heard;
        }
        let media_ip = self.learnt.map(|learnt| learnt.ip());
        if self.latching == Latching::Off || self.learnt_rtcp.is_some() || media_ip != Some(source.ip()) {
            return SourceVerdict::Refused;
        }
        self.learnt_rtcp = Some(source);
        SourceVerdict::Heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "10.0.0.1:4000";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn leg(latching: Latching) -> RtpTransport {
        let mut rtp = RtpTransport::new(latching, false);
        let plan = RtpPlan {
            rtp: Some(at(SDP)),
            rtcp: Some(at("10.0.0.1:4001")),
            mux: false,
            late: None,
            keys: KeyPlan::Keep,
        };
        rtp.set_remote(Time::ZERO, &plan);
        rtp
    }

    #[test]
    fn nobody_is_heard_before_a_remote_description() {
        let mut rtp = RtpTransport::new(Latching::AnyFirst, false);
        assert_eq!(rtp.hear(Time::ZERO, at(SDP)), SourceVerdict::Refused);
        assert_eq!(rtp.destination(), None);
    }

    #[test]
    fn off_hears_the_sdp_address_only() {
        let mut rtp = leg(Latching::Off);
        assert_eq!(rtp.destination(), Some(at(SDP)));
        assert_eq!(rtp.hear(Time::ZERO, at("10.0.0.1:4002")), SourceVerdict::Refused);
        assert_eq!(rtp.hear(Time::ZERO, at(SDP)), SourceVerdict::Heard);
    }

    #[test]
    fn same_ip_takes_one_port_and_then_no_other() {
        let mut rtp = leg(Latching::SameIp);
        assert_eq!(rtp.hear(Time::ZERO, at("10.0.0.9:4000")), SourceVerdict::Refused);
        assert_eq!(rtp.hear(Time::ZERO, at("10.0.0.1:5000")), SourceVerdict::Latched);
        assert_eq!(rtp.destination(), Some(at("10.0.0.1:5000")));
        assert_eq!(rtp.hear(Time::ZERO, at("10.0.0.1:5002")), SourceVerdict::Refused);
        assert_eq!(rtp.hear_rtcp(at("10.0.0.1:5001")), SourceVerdict::Heard);
        assert_eq!(rtp.rtcp_destination(), Some(at("10.0.0.1:5001")));
        assert_eq!(rtp.hear_rtcp(at("10.0.0.1:5003")), SourceVerdict::Refused);
    }

    #[test]
    fn any_first_is_bounded_in_time_and_gives_way_to_the_sdp_address() {
        let late = Time::ZERO + LATCH_WINDOW;
        let mut rtp = leg(Latching::AnyFirst);
        assert_eq!(rtp.hear(late, at("10.0.0.9:9")), SourceVerdict::Refused);
        let mut rtp = leg(Latching::AnyFirst);
        assert_eq!(rtp.hear(Time::ZERO, at("10.0.0.9:9")), SourceVerdict::Latched);
        assert_eq!(rtp.hear(Time::ZERO, at("10.0.0.8:9")), SourceVerdict::Refused);
        assert_eq!(rtp.hear(Time::ZERO, at(SDP)), SourceVerdict::Latched);
        assert_eq!(rtp.hear(Time::ZERO, at("10.0.0.9:9")), SourceVerdict::Refused);
        assert_eq!(rtp.destination(), Some(at(SDP)));
    }

    #[test]
    fn a_source_that_has_sent_enough_stays() {
        let mut rtp = leg(Latching::AnyFirst);
        for _ in 0..LATCH_PACKETS {
            assert_ne!(rtp.hear(Time::ZERO, at("10.0.0.9:9")), SourceVerdict::Refused);
        }
        assert_eq!(rtp.hear(Time::ZERO, at(SDP)), SourceVerdict::Refused);
    }

    #[test]
    fn hold_sends_nothing_and_forgets_nobody() {
        let mut rtp = leg(Latching::SameIp);
        rtp.hear(Time::ZERO, at("10.0.0.1:5000"));
        let hold = RtpPlan { rtp: None, rtcp: None, mux: false, late: None, keys: KeyPlan::Keep };
        rtp.set_remote(Time::ZERO, &hold);
        assert_eq!(rtp.destination(), None);
        assert_eq!(rtp.hear(Time::ZERO, at("10.0.0.1:5000")), SourceVerdict::Heard);
    }
}
