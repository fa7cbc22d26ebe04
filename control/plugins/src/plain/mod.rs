//! The plain side of a call: RTP legs, SDES keys and SDP towards a telephone, and the routes between
//! them and the browser's PeerConnection. The SIP and NoSIP plugins share it.
//!
//! | module | gives |
//! | --- | --- |
//! | [`text`] | from one face's SDP to the other's |
//! | [`sdes`] | the keys of an m-line |
//! | [`shared`] | peers whose calls share RTP ports |
//! | [`routes`] | streams and routes for the engine |
//! | [`error`] | what can be wrong |
//!
//! A call is a list of lines, one for each audio or video m-line that both faces carry. Each has an
//! RTP leg of its own. Descriptions come in any of the four orders (browser or telephone, offer or
//! answer), and again for every renegotiation.

pub mod error;
pub mod routes;
pub mod sdes;
pub mod shared;
#[cfg(test)]
mod tests;
pub mod text;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bifrons_api::plugin::PluginCx;
use bifrons_engine::LegId;
use bifrons_engine::media::{Latching, MediaKind, RtpLocal, RtpOpen, RtpRemote, RtpShared};
use bifrons_wire::sdp::{Connection, Direction, Media, Origin, Rtcp, Sdp, Suite};

pub use error::PlainError;
pub use sdes::{Sdes, SrtpPolicy};
pub use shared::SharedPeer;

/// How a plugin wants its plain SDP.
#[derive(Clone, Debug, Default)]
pub struct PlainConfig {
    /// Address in `c=`; without one the leg's own.
    pub sdp_address: Option<IpAddr>,
    /// Symmetric RTP.
    pub latching: Latching,
    /// Our own `o=` with the version rising (SIP), not the browser's (NoSIP).
    pub own_origin: bool,
    /// `a=sendrecv` is written (NoSIP) or left out (SIP).
    pub keep_sendrecv: bool,
    /// Codecs that an answer names twice stay once (SIP).
    pub prune_duplicates: bool,
    /// Peers whose calls share RTP ports.
    pub shared: Arc<[SharedPeer]>,
}

/// An m-line that both faces carry.
#[derive(Debug)]
struct Line {
    kind: MediaKind,
    /// Its place in plain descriptions.
    plain: usize,
    /// Its place in the browser's descriptions.
    browser: usize,
    leg: Option<RtpLocal>,
    sdes: Sdes,
    remote: Option<RtpRemote>,
    /// What the peer does: it sends, it receives.
    peer: Direction,
    /// The profile that the peer offered; the answer repeats it.
    offered_protocol: Option<String>,
    /// The leg is on shared ports of this peer: its place in [`PlainConfig::shared`].
    shared: Option<usize>,
}

/// The plain side of one call.
#[derive(Debug)]
pub struct PlainSide {
    config: PlainConfig,
    lines: Vec<Line>,
    /// The last plain description that we sent, and the last one that came.
    local: Option<Sdp>,
    /// What [`PlainSide::local`] was before.
    before: Option<Sdp>,
    remote: Option<Sdp>,
    origin: Option<Origin>,
    /// The direction that a hold of ours asks for.
    hold: Option<Direction>,
    near: Option<LegId>,
    /// Whom an offer of ours goes to, if its calls share ports: its place in [`PlainConfig::shared`].
    shared: Option<usize>,
}

/// An offer of a telephone, for the browser.
#[derive(Debug)]
pub struct RemoteOffer {
    /// The SDP for [`PluginCx::push_event`].
    pub browser: String,
    /// What the peer wants: `None`, or `sdes_optional` / `sdes_mandatory`.
    pub srtp: SrtpPolicy,
}

impl PlainSide {
    /// Nothing negotiated yet.
    pub fn new(config: PlainConfig) -> Self {
        Self {
            config,
            lines: Vec::new(),
            local: None,
            remote: None,
            origin: None,
            hold: None,
            near: None,
            shared: None,
            before: None,
        }
    }

    /// Puts the RTP legs on the worker of this leg, the browser's.
    pub fn near(&mut self, leg: LegId) {
        self.near = Some(leg);
    }

    /// The call goes to a peer whose calls share ports, if one `fits`. Only an offer of ours needs to be told:
    /// an offer of the peer is known by its address.
    pub fn share(&mut self, fits: impl Fn(&SharedPeer) -> bool) -> bool {
        self.shared = self.config.shared.iter().position(fits);
        self.shared.is_some()
    }

    /// A browser's offer as a plain one. A second call (renegotiation) keeps legs and keys.
    ///
    /// # Errors
    /// See [`PlainError`]; legs that were opened stay until [`PlainSide::close`].
    pub fn local_offer(
        &mut self,
        cx: &mut PluginCx<'_>,
        offer: &str,
        policy: SrtpPolicy,
        suite: &Suite,
    ) -> Result<String, PlainError> {
        let browser = parse(offer)?;
        refuse_data(&browser)?;
        for (index, media) in browser.media.iter().enumerate() {
            if let Some(kind) = active_kind(media)
                && !self.lines.iter().any(|line| line.browser == index)
            {
                self.lines.push(Line::new(kind, index, index));
            }
        }
        self.open_legs(cx, |line| {
            browser.media.get(line.browser).is_some_and(|media| active_kind(media).is_some())
        })?;
        if self.lines.iter().all(|line| line.leg.is_none()) {
            return Err(PlainError::NoMedia);
        }
        let protocol = if policy == SrtpPolicy::Mandatory { "RTP/SAVP" } else { "RTP/AVP" };
        let mut plain = self.header(&browser);
        for (index, media) in browser.media.iter().enumerate() {
            let line = self.lines.iter_mut().find(|line| line.browser == index);
            let Some((line, local)) = line.and_then(|line| line.leg.clone().map(|leg| (line, leg))) else {
                plain.media.push(text::rejected(media));
                continue;
            };
            let direction = browser.direction(media);
            let crypto = (policy != SrtpPolicy::Follow).then(|| line.sdes.offer(suite).clone());
            let mut media = self.config.dress(media, &local, protocol, direction);
            text::set_rtcp_mux(&mut media, self.config.takes_mux(line.shared));
            crypto.iter().for_each(|crypto| media.section.push(crypto));
            plain.media.push(media);
        }
        Ok(self.keep_local(plain))
    }

    /// A telephone's answer to [`PlainSide::local_offer`] as the browser's answer.
    ///
    /// # Errors
    /// See [`PlainError`]. `policy` mandatory and no `a=crypto` in the answer is one.
    pub fn remote_answer(
        &mut self,
        cx: &mut PluginCx<'_>,
        answer: &[u8],
        policy: SrtpPolicy,
    ) -> Result<String, PlainError> {
        let mut sdp = parse_bytes(answer)?;
        let offer = self.local.clone().ok_or(PlainError::NoOffer)?;
        self.check_common(&offer, &sdp)?;
        for line in &mut self.lines {
            let Some(media) = sdp.media.get(line.plain) else { continue };
            let secured = line.sdes.take_answer(media)?;
            if policy == SrtpPolicy::Mandatory && !secured && media.line.port != 0 {
                return Err(PlainError::SrtpRequired);
            }
        }
        self.take_remote(cx, &sdp)?;
        for (media, offered) in sdp.media.iter_mut().zip(&offer.media) {
            text::align_answer(media, offered);
        }
        self.for_browser(&mut sdp);
        Ok(sdp.to_string())
    }

    /// A telephone's offer as the browser's. Lines that no browser knows (fax, text), and further ones
    /// of a kind that is there already, are left out; the answer rejects them.
    ///
    /// # Errors
    /// See [`PlainError`].
    pub fn remote_offer(&mut self, offer: &[u8]) -> Result<RemoteOffer, PlainError> {
        let sdp = parse_bytes(offer)?;
        if self.lines.is_empty() {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                if let Some(plain) = best_line(&sdp, kind) {
                    self.lines.push(Line::new(kind, plain, 0));
                }
            }
            self.lines.sort_by_key(|line| line.plain);
            self.lines.iter_mut().enumerate().for_each(|(index, line)| line.browser = index);
        }
        if self.lines.is_empty() {
            return Err(PlainError::NoMedia);
        }
        let srtp = self.take_offer(&sdp)?;
        let mut browser = Sdp { session: sdp.session.clone(), media: Vec::new() };
        for line in &self.lines {
            browser.media.extend(sdp.media.get(line.plain).cloned());
        }
        self.for_browser(&mut browser);
        self.remote = Some(sdp);
        Ok(RemoteOffer { browser: browser.to_string(), srtp })
    }

    /// The browser's answer to [`PlainSide::remote_offer`] as the plain one.
    ///
    /// # Errors
    /// See [`PlainError`]. `policy` mandatory and no `a=crypto` in the offer is one; it does not stick.
    pub fn local_answer(
        &mut self,
        cx: &mut PluginCx<'_>,
        answer: &str,
        policy: SrtpPolicy,
    ) -> Result<String, PlainError> {
        let browser = parse(answer)?;
        refuse_data(&browser)?;
        let offer = self.remote.clone().ok_or(PlainError::NoOffer)?;
        if policy == SrtpPolicy::Mandatory && self.lines.iter().any(|line| !line.sdes.remote_active()) {
            return Err(PlainError::SrtpRequired);
        }
        let accepted =
            |line: &Line| browser.media.get(line.browser).is_some_and(|media| active_kind(media).is_some());
        if !self.lines.iter().any(accepted) {
            return Err(PlainError::NoMedia);
        }
        self.open_legs(cx, accepted)?;
        let mut plain = self.header(&browser);
        for (index, offered) in offer.media.iter().enumerate() {
            let line = self.lines.iter_mut().find(|line| line.plain == index);
            let own = line
                .as_ref()
                .and_then(|line| browser.media.get(line.browser))
                .filter(|own| active_kind(own).is_some());
            let (Some(line), Some(own)) = (line, own) else {
                plain.media.push(text::rejected(offered));
                continue;
            };
            let Some(local) = line.leg.clone() else { continue };
            let protocol = line.offered_protocol.clone().unwrap_or_else(|| "RTP/AVP".into());
            let mut own_line = own.clone();
            text::align_answer(&mut own_line, offered);
            let mut media = self.config.dress(&own_line, &local, &protocol, browser.direction(own));
            let mux = self.config.takes_mux(line.shared) && offered.section.has("rtcp-mux");
            text::set_rtcp_mux(&mut media, mux);
            if self.config.prune_duplicates {
                text::prune_duplicates(&mut media);
            }
            if let Some(crypto) = line.sdes.answer() {
                media.section.push(crypto);
            }
            plain.media.push(media);
        }
        let text = self.keep_local(plain);
        self.take_remote(cx, &offer)?;
        Ok(text)
    }

    /// Answers a re-offer of the telephone without asking the browser: addresses, direction and keys
    /// change, codecs stay within what was negotiated.
    ///
    /// # Errors
    /// See [`PlainError`]; nothing has changed then.
    pub fn answer_reoffer(&mut self, cx: &mut PluginCx<'_>, offer: &[u8]) -> Result<String, PlainError> {
        let sdp = parse_bytes(offer)?;
        let last = self.local.clone().ok_or(PlainError::NoOffer)?;
        self.check_common(&last, &sdp)?;
        for line in &self.lines {
            let Some(media) = sdp.media.get(line.plain).filter(|media| media.line.port != 0) else {
                continue;
            };
            // A call that was secured stays secured.
            if line.sdes.local_active() && !Sdes::default().take_offer(media) {
                return Err(PlainError::SrtpRequired);
            }
        }
        self.take_offer(&sdp)?;
        let mut plain = self.header(&last);
        for (index, offered) in sdp.media.iter().enumerate() {
            let line = self.lines.iter_mut().find(|line| line.plain == index);
            let own = last.media.get(index).filter(|own| own.line.port != 0 && offered.line.port != 0);
            let (Some(line), Some(own)) = (line, own) else {
                plain.media.push(text::rejected(offered));
                continue;
            };
            let Some(local) = line.leg.clone() else { continue };
            let peer = text::direction_with_hold(&sdp, offered);
            let wish = self.hold.unwrap_or(Direction::from_flags(true, true));
            let direction =
                Direction::from_flags(wish.sends() && peer.receives(), wish.receives() && peer.sends());
            let protocol = line.offered_protocol.clone().unwrap_or_else(|| own.line.protocol.clone());
            let mut own = own.clone();
            text::align_answer(&mut own, offered);
            let mut media = self.config.dress(&own, &local, &protocol, direction);
            let mux = self.config.takes_mux(line.shared) && offered.section.has("rtcp-mux");
            text::set_rtcp_mux(&mut media, mux);
            if let Some(crypto) = line.sdes.answer() {
                media.section.push(crypto);
            }
            plain.media.push(media);
        }
        let text = self.keep_local(plain);
        self.take_remote(cx, &sdp)?;
        self.remote = Some(sdp);
        Ok(text)
    }

    /// The answer to a re-offer of ours that the browser does not hear of (hold, unhold, refresh).
    ///
    /// # Errors
    /// See [`PlainError`].
    pub fn remote_reanswer(&mut self, cx: &mut PluginCx<'_>, answer: &[u8]) -> Result<(), PlainError> {
        let sdp = parse_bytes(answer)?;
        for line in &mut self.lines {
            let Some(media) = sdp.media.get(line.plain).filter(|media| media.line.port != 0) else {
                continue;
            };
            if line.sdes.local_active() && !line.sdes.take_answer(media)? {
                return Err(PlainError::SrtpRequired);
            }
        }
        self.take_remote(cx, &sdp)
    }

    /// Our last description again, as an offer: for an offerless re-INVITE, a hold or its end.
    pub fn reoffer(&mut self) -> Option<String> {
        let last = self.local.clone()?;
        let mut plain = self.header(&last);
        for (index, media) in last.media.iter().enumerate() {
            let mut media = media.clone();
            if media.line.port != 0 && self.lines.iter().any(|line| line.plain == index) {
                let direction = self.hold.unwrap_or(Direction::from_flags(true, true));
                text::set_direction(&mut media, direction, self.config.keep_sendrecv);
            }
            plain.media.push(media);
        }
        Some(self.keep_local(plain))
    }

    /// The last description that we made says what the one before it said: nothing that the peer has to
    /// hear of.
    pub fn is_unchanged(&self) -> bool {
        let content = |sdp: &Sdp| {
            let mut sdp = sdp.clone();
            sdp.session.remove_lines('o');
            // A browser does not offer extensions again that were not taken.
            for media in &mut sdp.media {
                media.section.remove_attributes(&["extmap"]);
            }
            sdp
        };
        match (&self.local, &self.before) {
            (Some(now), Some(before)) => content(now) == content(before),
            _ => false,
        }
    }

    /// The browser's answer from the last description of the peer, once more.
    ///
    /// # Errors
    /// See [`PlainError`].
    pub fn repeat_answer(&mut self, cx: &mut PluginCx<'_>, policy: SrtpPolicy) -> Result<String, PlainError> {
        let remote = self.remote.as_ref().ok_or(PlainError::NoOffer)?.to_string();
        self.remote_answer(cx, remote.as_bytes(), policy)
    }

    /// Sets or ends a hold of ours; [`PlainSide::reoffer`] then says so to the peer. Gates follow with
    /// [`PlainSide::apply_gates`].
    pub fn set_hold(&mut self, hold: Option<Direction>) {
        self.hold = hold;
    }

    /// The hold of ours.
    pub fn hold(&self) -> Option<Direction> {
        self.hold
    }

    /// The last plain description that the peer sent names a kind of medium that is active.
    pub fn has(&self, kind: MediaKind) -> bool {
        self.lines.iter().any(|line| line.kind == kind && line.leg.is_some())
    }

    /// Whether we protect what we send, and the peer what it sends, for a kind of medium.
    pub fn srtp(&self, kind: MediaKind) -> (bool, bool) {
        let line = self.lines.iter().find(|line| line.kind == kind);
        line.map_or((false, false), |line| (line.sdes.local_active(), line.sdes.remote_active()))
    }

    /// The RTP legs, with their kinds.
    pub fn legs(&self) -> impl Iterator<Item = (MediaKind, LegId)> {
        self.lines.iter().filter_map(|line| line.leg.as_ref().map(|leg| (line.kind, leg.leg)))
    }

    /// Whether a leg is one of ours.
    pub fn owns(&self, leg: LegId) -> bool {
        self.legs().any(|(_, own)| own == leg)
    }

    /// Closes all legs and forgets everything.
    pub fn close(&mut self, cx: &mut PluginCx<'_>) {
        for line in self.lines.drain(..) {
            if let Some(leg) = line.leg {
                cx.close_leg(leg.leg);
            }
        }
        *self = Self::new(self.config.clone());
    }

    /// Opens a leg for each line that wants one and has none.
    fn open_legs(&mut self, cx: &mut PluginCx<'_>, wanted: impl Fn(&Line) -> bool) -> Result<(), PlainError> {
        let config = &self.config;
        let to = self.shared.and_then(|index| config.shared.get(index));
        let ipv6 = config.sdp_address.is_some_and(|address| address.is_ipv6())
            || self.remote.as_ref().is_some_and(|sdp| first_address(sdp).is_some_and(|ip| ip.is_ipv6()))
            || to.is_some_and(SharedPeer::ipv6);
        // Where the call has a leg on shared ports its other m-lines are with them, each with its own.
        let mut not: Vec<u16> =
            self.lines.iter().filter_map(|line| line.leg.as_ref()).map(|leg| leg.rtp.port()).collect();
        for line in self.lines.iter_mut().filter(|line| line.leg.is_none()) {
            if !wanted(line) {
                continue;
            }
            let remote = self.remote.as_ref().and_then(|sdp| {
                let media = sdp.media.get(line.plain)?;
                remote_of(sdp, media, media.section.has("rtcp-mux"))
            });
            line.shared = match &remote {
                Some(remote) => config.shared.iter().position(|peer| peer.has_media(remote.rtp.ip())),
                None => self.shared,
            };
            let peer = line.shared.and_then(|index| config.shared.get(index));
            let shared = peer.map(|peer| RtpShared {
                group: peer.group,
                remote: remote
                    .map(|remote| RtpRemote { rtcp_mux: remote.rtcp_mux && peer.rtcp_mux, ..remote }),
                not: not.clone(),
            });
            let open = RtpOpen { near: self.near, ipv6, latching: config.latching, rtcp_mux: false, shared };
            let leg = cx.media.open_rtp_leg(open)?;
            not.push(leg.rtp.port());
            line.leg = Some(leg);
            self.shared = self.shared.or(line.shared);
        }
        Ok(())
    }

    /// Takes directions, profiles and keys of a peer's offer; nothing is told to the engine yet.
    fn take_offer(&mut self, sdp: &Sdp) -> Result<SrtpPolicy, PlainError> {
        // A peer that holds in the old way (0.0.0.0) has told its address before.
        let reachable = |line: &Line| {
            sdp.media.get(line.plain).is_some_and(|media| {
                let holds = sdp.connection(media).is_some_and(|connection| connection.is_hold());
                remote_of(sdp, media, false).is_some() || (holds && line.remote.is_some())
            })
        };
        if !self.lines.iter().any(reachable) {
            return Err(PlainError::NoRemoteAddress);
        }
        let mut policy = SrtpPolicy::Follow;
        for line in &mut self.lines {
            let Some(media) = sdp.media.get(line.plain) else { continue };
            let secured = line.sdes.take_offer(media);
            let mandatory = media.line.protocol.contains("SAVP");
            if mandatory && !secured && media.line.port != 0 {
                return Err(PlainError::SrtpMismatch);
            }
            line.offered_protocol = Some(media.line.protocol.clone());
            policy = match (policy, secured, mandatory) {
                (_, true, true) => SrtpPolicy::Mandatory,
                (SrtpPolicy::Follow, true, false) => SrtpPolicy::Optional,
                (policy, ..) => policy,
            };
        }
        Ok(policy)
    }

    /// Tells the engine where the peer is.
    fn take_remote(&mut self, cx: &mut PluginCx<'_>, sdp: &Sdp) -> Result<(), PlainError> {
        let mut any = false;
        for line in &mut self.lines {
            let (Some(media), Some(local)) = (sdp.media.get(line.plain), &line.leg) else { continue };
            line.peer = text::direction_with_hold(sdp, media);
            let takes_mux = local.rtp == local.rtcp || self.config.takes_mux(line.shared);
            let mux = takes_mux && media.section.has("rtcp-mux");
            let mut remote = match remote_of(sdp, media, mux) {
                Some(remote) => remote,
                // Rejected, or held in the old way: stay where we are, send nothing.
                None => {
                    line.peer = Direction::from_flags(line.peer.sends() && media.line.port != 0, false);
                    any |= media.line.port != 0;
                    continue;
                }
            };
            remote.sdes = line.sdes.keys();
            if let Some(peer) = line.shared.and_then(|index| self.config.shared.get(index))
                && !peer.has_media(remote.rtp.ip())
            {
                return Err(PlainError::NotItsMedia { peer: peer.name.clone(), address: remote.rtp.ip() });
            }
            cx.media.set_rtp_remote(local.leg, remote.clone())?;
            line.remote = Some(remote);
            any = true;
        }
        if !any {
            return Err(PlainError::NoRemoteAddress);
        }
        self.remote = Some(sdp.clone());
        Ok(())
    }

    fn check_common(&self, ours: &Sdp, theirs: &Sdp) -> Result<(), PlainError> {
        let mut first = None;
        for line in &self.lines {
            let (Some(own), Some(peer)) = (ours.media.get(line.plain), theirs.media.get(line.plain)) else {
                continue;
            };
            if own.line.port == 0 || peer.line.port == 0 {
                continue;
            }
            if text::has_common_codec(own, peer) {
                return Ok(());
            }
            first.get_or_insert((own, peer));
        }
        Err(first.map_or(PlainError::NoMedia, |(own, peer)| PlainError::NoCommonCodec {
            ours: text::codec_list(own),
            theirs: text::codec_list(peer),
        }))
    }

    /// The session part of a plain description.
    fn header(&mut self, like: &Sdp) -> Sdp {
        let mut plain = Sdp { session: like.session.clone(), media: Vec::new() };
        plain.session.remove_attributes(&[
            "group",
            "msid-semantic",
            "ice-options",
            "extmap-allow-mixed",
            "setup",
            "fingerprint",
        ]);
        let address = self
            .config
            .sdp_address
            .or_else(|| self.lines.iter().find_map(|line| line.leg.as_ref()).map(|leg| leg.rtp.ip()));
        if let Some(address) = address {
            if plain.session.connection().is_some() {
                plain.session.set_connection(&Connection::new(address));
            }
            if self.config.own_origin {
                let mut origin = match self.origin.take() {
                    Some(mut origin) => {
                        origin.version += 1;
                        origin
                    }
                    None => Origin::new(random_id(), 1, address),
                };
                origin.username = "-".into();
                plain.set_origin(&origin);
                self.origin = Some(origin);
            }
        }
        plain
    }

    fn keep_local(&mut self, plain: Sdp) -> String {
        let text = plain.to_string();
        self.before = self.local.replace(plain);
        text
    }

    /// What a browser must not see of a telephone's description.
    fn for_browser(&self, sdp: &mut Sdp) {
        for media in &mut sdp.media {
            media.section.remove_attributes(&["crypto", "rtcp"]);
        }
    }
}

impl Line {
    fn new(kind: MediaKind, plain: usize, browser: usize) -> Self {
        let peer = Direction::from_flags(true, true);
        Self {
            kind,
            plain,
            browser,
            leg: None,
            sdes: Sdes::default(),
            remote: None,
            peer,
            offered_protocol: None,
            shared: None,
        }
    }
}

impl PlainConfig {
    /// Whether a leg that is on ports of this peer may have RTCP on its RTP port.
    fn takes_mux(&self, shared: Option<usize>) -> bool {
        shared.and_then(|index| self.shared.get(index)).is_some_and(|peer| peer.rtcp_mux)
    }

    /// A browser's m-line with our leg's address.
    fn dress(&self, media: &Media, local: &RtpLocal, protocol: &str, direction: Direction) -> Media {
        let mut media = media.clone();
        text::strip_for_plain(&mut media);
        text::place(&mut media, self.sdp_address.unwrap_or(local.rtp.ip()), local.rtp.port(), protocol);
        text::place_rtcp(&mut media, local.rtp.port(), local.rtcp.port());
        text::set_direction(&mut media, direction, self.keep_sendrecv);
        media
    }
}

fn parse(text: &str) -> Result<Sdp, PlainError> {
    Sdp::parse(text).map_err(|error| PlainError::Parse(error.to_string()))
}

fn parse_bytes(bytes: &[u8]) -> Result<Sdp, PlainError> {
    Sdp::parse_bytes(bytes).map_err(|error| PlainError::Parse(error.to_string()))
}

fn refuse_data(sdp: &Sdp) -> Result<(), PlainError> {
    let data = sdp.media.iter().any(|media| media.line.kind == "application");
    if data { Err(PlainError::DataChannels) } else { Ok(()) }
}

/// Audio or video that is not rejected.
fn active_kind(media: &Media) -> Option<MediaKind> {
    text::kind_of(media).filter(|_| media.line.port != 0)
}

/// The line of a kind that serves best: a secured one before a plain one, else the first.
fn best_line(sdp: &Sdp, kind: MediaKind) -> Option<usize> {
    let lines = || sdp.media.iter().enumerate().filter(|(_, media)| active_kind(media) == Some(kind));
    let secured = lines().find(|(_, media)| Sdes::default().take_offer(media)).map(|(index, _)| index);
    secured.or_else(|| lines().next().map(|(index, _)| index))
}

fn first_address(sdp: &Sdp) -> Option<IpAddr> {
    sdp.media.iter().find_map(|media| sdp.connection(media)?.ip())
}

/// Where a peer's m-line wants its packets; `None`: nowhere (rejected, held by `0.0.0.0`, a host name).
fn remote_of(sdp: &Sdp, media: &Media, mux: bool) -> Option<RtpRemote> {
    let connection = sdp.connection(media)?;
    let ip = connection.ip().filter(|ip| !ip.is_unspecified())?;
    if media.line.port == 0 {
        return None;
    }
    let rtcp = media.section.get::<Rtcp>().and_then(Result::ok).map(|rtcp| {
        let ip = rtcp.connection.as_ref().and_then(Connection::ip).unwrap_or(ip);
        SocketAddr::new(ip, rtcp.port)
    });
    Some(RtpRemote { rtp: SocketAddr::new(ip, media.line.port), rtcp, rtcp_mux: mux, sdes: None })
}

fn random_id() -> u64 {
    let mut bytes = [0; 8];
    // An `o=` id has to differ between sessions, no more; zero is as legal as any.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes) >> 2
}
