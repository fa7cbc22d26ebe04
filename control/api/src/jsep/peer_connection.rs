//! One handle's PeerConnection: its leg, and the state of offers and answers (RFC 3264, RFC 9429).

use std::net::IpAddr;

use bifrons_engine::media::{
    DtlsRole, IceCredentials, MediaError, StreamConfig, WebRtcLocal, WebRtcOpen, WebRtcRemote,
};
use bifrons_engine::{LegId, Media};
use bifrons_wire::sdp::{Sdp, Setup};

use super::merge::{self, LocalMline, RtxMap, Transport};
use super::remote::RemoteDescription;
use super::streams;
use crate::ids::random_ssrc;
use crate::trickle::Candidate;

/// A PeerConnection, from the first description on.
#[derive(Debug)]
pub(crate) struct PeerConnection {
    /// Its leg.
    pub leg: LegId,
    /// DTLS is done.
    pub up: bool,
    /// `ice-failed` was told and no pair selected since.
    pub ice_failed: bool,
    /// The client has end-to-end encryption; kept until the end.
    pub e2ee: bool,
    /// The m-lines in force.
    pub streams: Vec<StreamConfig>,
    local: WebRtcLocal,
    role: Option<DtlsRole>,
    /// The peer's description in force.
    remote: Option<RemoteDescription>,
    /// The client's offer that no answer was given to yet.
    offer_in: Option<RemoteDescription>,
    /// Our offer that no answer came to yet.
    offer_out: Option<Sdp>,
    mlines: Vec<LocalMline>,
    rtx: RtxMap,
}

/// What a description needs beside the PeerConnection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    pub ip: IpAddr,
    pub unix_us: u64,
    pub full_trickle: bool,
}

impl PeerConnection {
    /// Opens a leg for it.
    pub(crate) fn open(
        media: &mut dyn Media,
        near: Option<LegId>,
        offerer: bool,
    ) -> Result<Self, MediaError> {
        let local = media.open_webrtc_leg(WebRtcOpen { near, offerer })?;
        Ok(Self {
            leg: local.leg,
            up: false,
            ice_failed: false,
            e2ee: false,
            streams: Vec::new(),
            local,
            role: None,
            remote: None,
            offer_in: None,
            offer_out: None,
            mlines: Vec::new(),
            rtx: RtxMap::new(),
        })
    }

    /// An offer and its answer were seen.
    pub(crate) fn is_negotiated(&self) -> bool {
        self.remote.is_some()
    }

    /// Candidates can be given to the engine now.
    pub(crate) fn takes_candidates(&self) -> bool {
        self.remote.is_some() && self.offer_in.is_none()
    }

    /// Our candidates, the mid of the bundle: for `trickle` events.
    pub(crate) fn local_candidates(&self) -> (&[String], &str) {
        (&self.local.candidates, self.streams.first().map_or("0", |stream| stream.mid.as_str()))
    }

    /// The mid of the first m-line of our offer or of the streams.
    pub(crate) fn bundle_mid(&self) -> String {
        let offered = self.offer_out.as_ref().and_then(|sdp| sdp.media.first()).and_then(|m| m.section.mid());
        offered.unwrap_or(self.local_candidates().1).to_owned()
    }

    /// Notes the client's offer until a plugin answers it. An offer of ours that crossed it is dropped
    /// (RFC 9429 §4.1.10.2: the polite side rolls back).
    pub(crate) fn client_offers(&mut self, offer: RemoteDescription) {
        self.offer_out = None;
        self.offer_in = Some(offer);
    }

    /// The client's answer to our offer. `Ok(false)`: there was no offer. The answer in force may come
    /// again, as with the SIP plugin's `progress` and then `accept`: nothing changes.
    pub(crate) fn client_answers(
        &mut self,
        media: &mut dyn Media,
        answer: RemoteDescription,
    ) -> Result<bool, String> {
        let Some(offer) = &self.offer_out else {
            let again = |now: &RemoteDescription| {
                now.ice == answer.ice && now.fingerprint == answer.fingerprint && self.offer_in.is_none()
            };
            return Ok(self.remote.as_ref().is_some_and(again));
        };
        if answer.sdp.media.len() != offer.media.len() {
            return Err(format!(
                "{} m-lines answer our offer of {}",
                answer.sdp.media.len(),
                offer.media.len()
            ));
        }
        let offer = self.offer_out.take().unwrap_or_default();
        self.role.get_or_insert(answer.role);
        self.agree(media, &offer, answer, false)?;
        Ok(true)
    }

    /// A plugin's answer to the client's offer. Gives the SDP for the client.
    pub(crate) fn plugin_answers(
        &mut self,
        media: &mut dyn Media,
        sdp: Sdp,
        around: Surroundings,
    ) -> Result<String, String> {
        let offer = self.offer_in.take().ok_or("an answer, but the client has made no offer")?;
        if self.remote.as_ref().is_some_and(|remote| remote.ice != offer.ice) {
            self.restart(media)?;
        }
        self.reserve_ssrcs(offer.sdp.media.len())?;
        let role = *self.role.get_or_insert(offer.role);
        let setup = setup_of(role);
        let profile = offer.profile.clone();
        let transport = self.transport(setup, profile.as_deref(), around);
        let (merged, rtx) = merge::answer(sdp, &offer.sdp, &transport)?;
        self.rtx.extend(rtx);
        let text = merged.to_string();
        self.agree(media, &merged, offer, true)?;
        Ok(text)
    }

    /// A plugin's offer. Gives the SDP for the client.
    pub(crate) fn plugin_offers(
        &mut self,
        media: &mut dyn Media,
        sdp: Sdp,
        restart: bool,
        around: Surroundings,
    ) -> Result<String, String> {
        if restart && self.is_negotiated() {
            self.restart(media)?;
        }
        self.reserve_ssrcs(sdp.media.len())?;
        let remote = self.remote.take();
        let profile = remote.as_ref().and_then(|remote| remote.profile.as_deref());
        let peer_knows_rtx = remote.as_ref().is_none_or(|remote| {
            let mut video = remote.sdp.media.iter().filter(|m| m.line.kind == "video").peekable();
            video.peek().is_none() || video.any(|m| !m.payload_types_of(&["rtx"]).is_empty())
        });
        let mut rtx = std::mem::take(&mut self.rtx);
        let transport = self.transport(Setup::Actpass, profile, around);
        let map = peer_knows_rtx.then_some(&mut rtx);
        let merged = merge::offer(sdp, remote.as_ref().map(|remote| &remote.sdp), map, &transport);
        self.rtx = rtx;
        self.remote = remote;
        let merged = merged?;
        let text = merged.to_string();
        self.offer_in = None;
        self.offer_out = Some(merged);
        Ok(text)
    }

    /// Hands one candidate to the engine. False: it was dropped.
    pub(crate) fn add_candidate(&self, media: &mut dyn Media, candidate: &Candidate) -> bool {
        match candidate {
            Candidate::Completed => media.end_of_candidates(self.leg).is_ok(),
            Candidate::Line { mid, index, text } => {
                let first = match (mid, index) {
                    (Some(mid), _) => self.streams.first().is_some_and(|stream| stream.mid == *mid),
                    (None, index) => *index == Some(0),
                };
                // Everything is bundled: what the first m-line has, all have.
                first
                    && !text.is_empty()
                    && text.len() <= Candidate::BYTES_MAX
                    && media.add_remote_candidate(self.leg, text).is_ok()
            }
        }
    }

    fn agree(
        &mut self,
        media: &mut dyn Media,
        local: &Sdp,
        remote: RemoteDescription,
        answered: bool,
    ) -> Result<(), String> {
        let streams = streams::derive(local, &remote, answered, &self.mlines);
        let known = self.remote.as_ref();
        let new_transport =
            known.is_none_or(|known| known.ice != remote.ice || known.fingerprint != remote.fingerprint);
        let told = |error: MediaError| format!("The media engine refused: {error}");
        media.set_streams(self.leg, streams.clone()).map_err(told)?;
        if new_transport {
            let to = WebRtcRemote {
                ice: remote.ice.clone(),
                ice_lite: remote.ice_lite,
                fingerprint: remote.fingerprint.clone(),
                role: self.role.unwrap_or(remote.role),
                candidates: remote.candidates.clone(),
                end_of_candidates: remote.end_of_candidates,
            };
            media.set_webrtc_remote(self.leg, to).map_err(told)?;
        } else {
            let before = known.map(|known| known.candidates.as_slice()).unwrap_or_default();
            for candidate in remote.candidates.iter().filter(|candidate| !before.contains(candidate)) {
                media.add_remote_candidate(self.leg, candidate).map_err(told)?;
            }
        }
        self.streams = streams;
        self.remote = Some(remote);
        Ok(())
    }

    fn restart(&mut self, media: &mut dyn Media) -> Result<(), String> {
        let ice: IceCredentials =
            media.restart_ice(self.leg).map_err(|error| format!("ICE cannot be restarted: {error}"))?;
        self.local.ice = ice;
        Ok(())
    }

    fn reserve_ssrcs(&mut self, mlines: usize) -> Result<(), String> {
        while self.mlines.len() < mlines {
            let taken = |ssrc| self.mlines.iter().any(|m| m.ssrc == ssrc || m.rtx_ssrc == ssrc);
            let no_randomness = |_| "the system has no random numbers".to_owned();
            let ssrc = random_ssrc(taken).map_err(no_randomness)?;
            let rtx_ssrc = random_ssrc(|other| other == ssrc || taken(other)).map_err(no_randomness)?;
            self.mlines.push(LocalMline { ssrc, rtx_ssrc });
        }
        Ok(())
    }

    fn transport<'a>(
        &'a self,
        setup: Setup,
        profile: Option<&'a str>,
        around: Surroundings,
    ) -> Transport<'a> {
        Transport {
            local: &self.local,
            ip: around.ip,
            unix_us: around.unix_us,
            setup,
            profile,
            mlines: &self.mlines,
            candidates: !around.full_trickle,
        }
    }
}

fn setup_of(role: DtlsRole) -> Setup {
    match role {
        DtlsRole::Client => Setup::Active,
        DtlsRole::Server => Setup::Passive,
    }
}
