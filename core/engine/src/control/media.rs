//! [`Media`] on the real engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bifrons_rtc::dtls::{Fingerprint, Role as DtlsSide};
use bifrons_rtc::ice::{
    Agent, AgentConfig, Candidate, LocalCandidate, Random, RemoteCredentials, Role, Timers, id,
};
use bifrons_rtc::srtp::{Inbound, MasterKey, Outbound, Profile};

use super::legs::LegKind;
use super::start::RTP_BUFFER_BYTES;
use super::{BoundSocket, Engine};
use crate::handshake::Start;
use crate::id::LegId;
use crate::leg::{KeyPlan, Keys, Leg, RemotePlan, RtpPlan, RtpTransport, Stream, Transport, WebRtcTransport};
use crate::media::{
    DtlsRole, IceCredentials, LegStats, Media, MediaError, Notice, Output, RtpLocal, RtpOpen, RtpRemote,
    SdesKeys, StreamConfig, StreamRef, WebRtcLocal, WebRtcOpen, WebRtcRemote,
};
use crate::message::{Command, RESTART_RANDOM_BYTES};
use crate::random::Replay;
use crate::worker::ice_token;

/// Keys that we protect with in the life of one RTP leg.
const LOCAL_KEYS_MAX: usize = 64;

impl<S: BoundSocket> Media for Engine<S> {
    fn admission(&mut self) -> Result<(), MediaError> {
        self.place(None).map(|_| ())
    }

    fn open_webrtc_leg(&mut self, open: WebRtcOpen) -> Result<WebRtcLocal, MediaError> {
        let worker = self.place(open.near)?;
        self.room(worker, 1)?;
        let id = self.take_slot(worker, LegKind::WebRtc { credentials: None, fingerprint: None })?;
        let Some(handle) = self.workers.get(usize::from(worker)) else { return Err(MediaError::NoSuchLeg) };
        let bound = handle.webrtc.iter().zip(&self.config.addresses).enumerate();
        let local = bound
            .map(|(socket, (address, configured))| LocalCandidate {
                socket: socket as u8,
                address: *address,
                advertised: configured.advertised.map(|ip| SocketAddr::new(ip, address.port())),
            })
            .collect();
        let config = AgentConfig {
            role: if open.offerer { Role::Controlling } else { Role::Controlled },
            lite: self.config.ice_lite,
            token: ice_token(id),
            tie_breaker: self.random.next_u64(),
            local,
            transaction_ids: handle.transaction_ids,
            policy: self.config.ice_addresses,
            consent_loss: self.config.consent_loss,
            timers: Timers::default(),
        };
        let agent = Agent::new(config, &mut self.random);
        let ice = IceCredentials {
            ufrag: agent.local_credentials().ufrag().to_owned(),
            pwd: agent.local_credentials().password().to_owned(),
        };
        let candidates = match self.config.advertise_private_too {
            true => agent.local_candidates_with_private().map(text_after_prefix).collect(),
            false => agent.local_candidates().map(text_after_prefix).collect(),
        };
        let transport = Transport::WebRtc(Box::new(WebRtcTransport::new(agent)));
        let leg = Box::new(Leg::new(id, transport));
        self.command(worker, Command::Open { leg, rtp: None, rtcp: None })?;
        Ok(WebRtcLocal {
            leg: id,
            ice,
            candidates,
            fingerprint: self.fingerprint.clone(),
            ice_lite: self.config.ice_lite,
        })
    }

    fn set_webrtc_remote(&mut self, leg: LegId, remote: WebRtcRemote) -> Result<(), MediaError> {
        self.room(leg.worker(), 1)?;
        let invalid = |text: String| MediaError::Invalid(text);
        let (hash, value) = &remote.fingerprint;
        let fingerprint: Fingerprint =
            format!("{hash} {value}").parse().map_err(|error| invalid(format!("fingerprint: {error}")))?;
        let credentials = RemoteCredentials::new(&remote.ice.ufrag, &remote.ice.pwd)
            .map_err(|error| invalid(error.to_string()))?;
        let entry = self.entry_mut(leg)?;
        let LegKind::WebRtc { credentials: known, fingerprint: known_fingerprint } = &mut entry.kind else {
            return Err(invalid("the leg is an RTP leg".to_owned()));
        };
        let given = Some((remote.ice.ufrag, remote.ice.pwd));
        let credentials = (*known != given).then_some(credentials);
        *known = given;
        let role = match remote.role {
            DtlsRole::Client => DtlsSide::Client,
            DtlsRole::Server => DtlsSide::Server,
        };
        let start = (known_fingerprint.as_ref() != Some(&fingerprint))
            .then(|| Box::new(Start { leg, role, fingerprint: fingerprint.clone() }));
        *known_fingerprint = Some(fingerprint);
        let candidates = remote.candidates.iter();
        // What cannot be used is passed over, as Janus does (RFC 8839 §5.1).
        let candidates = candidates.filter_map(|line| parse_candidate(line)?.to_remote().ok());
        let plan = Box::new(RemotePlan {
            credentials,
            ice_lite: remote.ice_lite,
            candidates: candidates.take(bifrons_rtc::ice::REMOTE_CANDIDATES_MAX).collect(),
            end_of_candidates: remote.end_of_candidates,
            start,
        });
        self.command(leg.worker(), Command::WebRtcRemote { leg, plan })
    }

    fn add_remote_candidate(&mut self, leg: LegId, candidate: &str) -> Result<(), MediaError> {
        let entry = self.entry(leg).ok_or(MediaError::NoSuchLeg)?;
        let Some(parsed) = parse_candidate(candidate) else { return Ok(()) };
        // One of before an ICE restart, on its way since (RFC 8838): its port may be somebody else's now.
        if let (Some(ufrag), LegKind::WebRtc { credentials: Some((present, _)), .. }) =
            (&parsed.ufrag, &entry.kind)
            && ufrag != present
        {
            return Ok(());
        }
        let Ok(candidate) = parsed.to_remote() else { return Ok(()) };
        self.command(leg.worker(), Command::Candidate { leg, candidate })
    }

    fn end_of_candidates(&mut self, leg: LegId) -> Result<(), MediaError> {
        self.entry(leg).ok_or(MediaError::NoSuchLeg)?;
        self.command(leg.worker(), Command::EndOfCandidates { leg })
    }

    fn restart_ice(&mut self, leg: LegId) -> Result<IceCredentials, MediaError> {
        if !matches!(self.entry(leg).ok_or(MediaError::NoSuchLeg)?.kind, LegKind::WebRtc { .. }) {
            return Err(MediaError::Invalid("the leg is an RTP leg".to_owned()));
        }
        let mut random = Box::new([0; RESTART_RANDOM_BYTES]);
        self.random.fill(&mut random[..]);
        // The worker's agent makes the same of the same octets.
        let mut replay = Replay(&random[..]);
        let ufrag = id::new_ufrag(ice_token(leg), &mut replay);
        let password = id::new_password(&mut replay);
        self.command(leg.worker(), Command::RestartIce { leg, random })?;
        Ok(IceCredentials {
            ufrag: String::from_utf8_lossy(&ufrag).into_owned(),
            pwd: String::from_utf8_lossy(&password).into_owned(),
        })
    }

    fn open_rtp_leg(&mut self, open: RtpOpen) -> Result<RtpLocal, MediaError> {
        let worker = self.place(open.near)?;
        self.room(worker, 1)?;
        let position = self.config.addresses.iter().position(|local| local.address.is_ipv6() == open.ipv6);
        let position = position.ok_or(MediaError::NoAddress)?;
        let local = self.config.addresses.get(position).copied().ok_or(MediaError::NoAddress)?;
        // The slot first: it is given back without a trace, which bound sockets are not.
        let free = self.workers.get(usize::from(worker)).is_some_and(|handle| handle.slots.free() > 0);
        if !free {
            return Err(MediaError::Full("the worker's leg table"));
        }
        if let Some(shared) = &open.shared {
            return self.open_shared_rtp_leg(worker, position, &open, shared);
        }
        let (port, rtp, rtcp) = self.bind_pair(worker, position, !open.rtcp_mux, RTP_BUFFER_BYTES)?;
        let kind = LegKind::Rtp { keys: None, used: Vec::new(), shared: None };
        let leg = self.take_slot(worker, kind)?;
        let transport = Transport::Rtp(RtpTransport::new(open.latching, open.rtcp_mux));
        let boxed = Box::new(Leg::new(leg, transport));
        self.command(worker, Command::Open { leg: boxed, rtp: Some(rtp), rtcp })?;
        let told = local.advertised.unwrap_or(local.address);
        let rtcp_port = if open.rtcp_mux { port } else { port + 1 };
        Ok(RtpLocal { leg, rtp: SocketAddr::new(told, port), rtcp: SocketAddr::new(told, rtcp_port) })
    }

    fn set_rtp_remote(&mut self, leg: LegId, mut remote: RtpRemote) -> Result<(), MediaError> {
        self.room(leg.worker(), 1)?;
        let backend = self.config.srtp_backend;
        self.check_shared(leg, &remote)?;
        let entry = self.entry_mut(leg)?;
        let LegKind::Rtp { keys, used, .. } = &mut entry.kind else {
            return Err(MediaError::Invalid("the leg is a WebRTC leg".to_owned()));
        };
        let given = remote.sdes.take().map(|sdes| (sdes.suite, sdes.local, sdes.remote));
        let plan = if *keys == given {
            KeyPlan::Keep
        } else {
            let plan = match &given {
                None => KeyPlan::Plain,
                Some((suite, local, theirs)) => {
                    let sdes =
                        SdesKeys { suite: suite.clone(), local: local.clone(), remote: theirs.clone() };
                    let (suite_before, local_before, theirs_before) = keys.clone().unwrap_or_default();
                    let same_outbound = suite_before == *suite && local_before == *local;
                    let same_inbound = suite_before == *suite && theirs_before == *theirs;
                    if !same_outbound && (used.contains(local) || used.len() >= LOCAL_KEYS_MAX) {
                        return Err(MediaError::Invalid(
                            "sdes: this local key has been used before".to_owned(),
                        ));
                    }
                    let (inbound, outbound) = contexts(backend, &sdes)?;
                    if !same_outbound {
                        used.push(local.clone());
                    }
                    KeyPlan::New { keys: Box::new(Keys::new(inbound, outbound)), same_inbound, same_outbound }
                }
            };
            *keys = given;
            plan
        };
        let late = self.claim_shared(leg, &remote)?;
        let (rtp, rtcp) = destinations(&remote);
        let plan = Box::new(RtpPlan { rtp, rtcp, mux: remote.rtcp_mux, late, keys: plan });
        self.command(leg.worker(), Command::RtpRemote { leg, plan })
    }

    fn set_streams(&mut self, leg: LegId, streams: Vec<StreamConfig>) -> Result<(), MediaError> {
        self.room(leg.worker(), 1)?;
        if streams.len() > self.config.limits.streams {
            return Err(MediaError::Full("the m-lines of a leg"));
        }
        let silence = Duration::from_secs(self.config.no_media_timer_s.into());
        let entry = self.entry(leg).ok_or(MediaError::NoSuchLeg)?;
        if matches!(entry.kind, LegKind::Rtp { .. }) && streams.len() != 1 {
            return Err(MediaError::Invalid("streams: an RTP leg has exactly one".to_owned()));
        }
        let mut shared = entry.shared.clone();
        shared.resize_with(streams.len().max(shared.len()), Arc::default);
        let mut compiled = Vec::with_capacity(streams.len());
        for (config, shared) in streams.iter().zip(&shared) {
            compiled.push(Stream::new(config, silence, shared.clone(), &mut self.random)?);
        }
        let entry = self.entry_mut(leg)?;
        entry.shared = shared;
        entry.streams = streams;
        self.command(leg.worker(), Command::Streams { leg, streams: compiled.into() })?;
        self.recompile(leg)
    }

    fn set_route(&mut self, source: StreamRef, outputs: Vec<Output>) -> Result<(), MediaError> {
        self.set_outputs(source, outputs)
    }

    fn set_gate(&mut self, source: StreamRef, to: StreamRef, open: bool) -> Result<(), MediaError> {
        self.room(to.leg.worker(), 1)?;
        let entry = self.entry_mut(source.leg)?;
        let outputs = entry.routes.get_mut(&source.mline).map(|outputs| &mut outputs[..]).unwrap_or_default();
        let output = outputs.iter_mut().find(|output| output.to == to);
        let output = output.ok_or_else(|| MediaError::Invalid("to: no output of this route".to_owned()))?;
        output.open = open;
        self.command(to.leg.worker(), Command::Gate { source, to, open })
    }

    fn set_bitrate_cap(&mut self, source: StreamRef, bitrate_bps: Option<u64>) -> Result<(), MediaError> {
        self.entry(source.leg).ok_or(MediaError::NoSuchLeg)?;
        self.command(source.leg.worker(), Command::BitrateCap { source, bitrate_bps })
    }

    fn request_keyframe(&mut self, source: StreamRef) -> Result<(), MediaError> {
        self.entry(source.leg).ok_or(MediaError::NoSuchLeg)?;
        self.command(source.leg.worker(), Command::Keyframe { source })
    }

    fn close_leg(&mut self, leg: LegId) {
        let Some(closed) = self.close_slot(leg) else { return };
        let lost = closed.lost;
        self.forget_routes(leg, closed);
        if lost {
            return;
        }
        if self.command(leg.worker(), Command::Close { leg }).is_err()
            && let Some(worker) = self.workers.get_mut(usize::from(leg.worker()))
        {
            worker.closes.push_back(leg);
        }
    }

    fn leg_stats(&self, leg: LegId) -> Option<LegStats> {
        let entry = self.entry(leg)?;
        let streams = entry.shared.iter().take(entry.streams.len()).map(|shared| shared.read()).collect();
        Some(LegStats { streams })
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        self.poll()
    }
}

/// Where RTP and RTCP go; the same address with rtcp-mux, and nowhere for an address that cannot be sent to.
pub(super) fn destinations(remote: &RtpRemote) -> (Option<SocketAddr>, Option<SocketAddr>) {
    let sendable = |address: &SocketAddr| address.port() != 0 && !address.ip().is_unspecified();
    let rtp = Some(remote.rtp).filter(sendable);
    let next = remote.rtp.port().checked_add(1).map(|port| SocketAddr::new(remote.rtp.ip(), port));
    let rtcp = match remote.rtcp_mux {
        true => rtp,
        false => remote.rtcp.or(next).filter(|address| rtp.is_some() && sendable(address)),
    };
    (rtp, rtcp)
}

/// The contexts of an SDES leg (RFC 4568).
fn contexts(backend: bifrons_rtc::srtp::Backend, sdes: &SdesKeys) -> Result<(Inbound, Outbound), MediaError> {
    let invalid = |error: &dyn std::fmt::Display| MediaError::Invalid(format!("sdes: {error}"));
    let profile = Profile::from_sdes_name(&sdes.suite)
        .ok_or_else(|| MediaError::Invalid(format!("sdes: the suite {:?} is not supported", sdes.suite)))?;
    let local = MasterKey::from_bytes(profile, &sdes.local).map_err(|error| invalid(&error))?;
    let remote = MasterKey::from_bytes(profile, &sdes.remote).map_err(|error| invalid(&error))?;
    let inbound = Inbound::new(backend, &remote).map_err(|error| invalid(&error))?;
    let outbound = Outbound::new(backend, &local).map_err(|error| invalid(&error))?;
    Ok((inbound, outbound))
}

/// A candidate as the trait's callers write it: with or without the prefix.
fn parse_candidate(text: &str) -> Option<Candidate> {
    let text = text.trim();
    let text = text.strip_prefix("a=").unwrap_or(text);
    let text = text.strip_prefix("candidate:").unwrap_or(text);
    format!("candidate:{text}").parse().ok()
}

fn text_after_prefix(candidate: Candidate) -> String {
    let text = candidate.to_string();
    text.strip_prefix("candidate:").unwrap_or(&text).to_owned()
}
