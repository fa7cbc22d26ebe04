//! A media plane and a host that write down what they are told, for tests of plugins.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bifrons_api::plugin::{HandleKey, Jsep, PeerConnectionView, PluginCx, PluginHost, TimerKey};
use bifrons_engine::LegId;
use bifrons_engine::media::{
    IceCredentials, LegStats, Media, MediaError, MediaKind, Notice, Output, PayloadType, RtpLocal, RtpOpen,
    RtpRemote, StreamConfig, StreamRef, WebRtcLocal, WebRtcOpen, WebRtcRemote,
};
use serde_json::Value;

/// The engine's part: legs that exist, and what they were last told.
#[derive(Default)]
pub struct Told {
    pub opened: Vec<LegId>,
    /// How each of them was opened.
    pub opens: Vec<RtpOpen>,
    pub closed: Vec<LegId>,
    pub remotes: HashMap<LegId, RtpRemote>,
    pub streams: HashMap<LegId, Vec<StreamConfig>>,
    pub routes: HashMap<StreamRef, Vec<Output>>,
    pub gates: HashMap<(StreamRef, StreamRef), bool>,
    pub ports_max: Option<usize>,
}

impl Media for Told {
    fn open_webrtc_leg(&mut self, _: WebRtcOpen) -> Result<WebRtcLocal, MediaError> {
        Err(MediaError::Invalid("plugins open no WebRTC legs".into()))
    }
    fn set_webrtc_remote(&mut self, _: LegId, _: WebRtcRemote) -> Result<(), MediaError> {
        Err(MediaError::NoSuchLeg)
    }
    fn add_remote_candidate(&mut self, _: LegId, _: &str) -> Result<(), MediaError> {
        Err(MediaError::NoSuchLeg)
    }
    fn end_of_candidates(&mut self, _: LegId) -> Result<(), MediaError> {
        Err(MediaError::NoSuchLeg)
    }
    fn restart_ice(&mut self, _: LegId) -> Result<IceCredentials, MediaError> {
        Err(MediaError::NoSuchLeg)
    }
    fn open_rtp_leg(&mut self, open: RtpOpen) -> Result<RtpLocal, MediaError> {
        let n = self.opened.len();
        if self.ports_max == Some(n) {
            return Err(MediaError::NoPorts { first: 10_000, last: 10_001 });
        }
        let leg = LegId::new(0, n as u32, 1);
        self.opened.push(leg);
        self.opens.push(open);
        let port = 10_000 + 2 * n as u16;
        let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
        Ok(RtpLocal { leg, rtp: at(port), rtcp: at(port + 1) })
    }
    fn set_rtp_remote(&mut self, leg: LegId, remote: RtpRemote) -> Result<(), MediaError> {
        self.remotes.insert(leg, remote);
        Ok(())
    }
    fn set_streams(&mut self, leg: LegId, streams: Vec<StreamConfig>) -> Result<(), MediaError> {
        self.streams.insert(leg, streams);
        Ok(())
    }
    fn set_route(&mut self, source: StreamRef, outputs: Vec<Output>) -> Result<(), MediaError> {
        outputs.iter().for_each(|output| {
            self.gates.insert((source, output.to), output.open);
        });
        self.routes.insert(source, outputs);
        Ok(())
    }
    fn set_gate(&mut self, source: StreamRef, to: StreamRef, open: bool) -> Result<(), MediaError> {
        self.gates.insert((source, to), open);
        Ok(())
    }
    fn set_bitrate_cap(&mut self, _: StreamRef, _: Option<u64>) -> Result<(), MediaError> {
        Ok(())
    }
    fn request_keyframe(&mut self, _: StreamRef) -> Result<(), MediaError> {
        Ok(())
    }
    fn close_leg(&mut self, leg: LegId) {
        self.closed.push(leg);
    }
    fn leg_stats(&self, _: LegId) -> Option<LegStats> {
        None
    }
    fn poll_notice(&mut self) -> Option<Notice> {
        None
    }
}

/// The core's part: events that were pushed, PeerConnections that are there.
#[derive(Default)]
pub struct Host {
    pub now: Duration,
    pub events: Vec<(HandleKey, Option<String>, Value, Option<Jsep>)>,
    pub closed: Vec<HandleKey>,
    pub pc: Option<PeerConnectionView>,
    pub timers: HashMap<TimerKey, Duration>,
}

impl PluginHost for Host {
    fn now(&self) -> Duration {
        self.now
    }
    fn push_event(
        &mut self,
        handle: HandleKey,
        transaction: Option<String>,
        data: Value,
        jsep: Option<Jsep>,
    ) {
        self.events.push((handle, transaction, data, jsep));
    }
    fn close_pc(&mut self, handle: HandleKey) {
        self.closed.push(handle);
    }
    fn end_handle(&mut self, _: HandleKey) {}
    fn peer_connection(&self, _: HandleKey) -> Option<PeerConnectionView> {
        self.pc.clone()
    }
    fn own_leg(&mut self, _: LegId, _: HandleKey) {}
    fn disown_leg(&mut self, _: LegId) {}
    fn set_timer(&mut self, timer: TimerKey, after: Duration) {
        self.timers.insert(timer, after);
    }
    fn cancel_timer(&mut self, timer: TimerKey) {
        self.timers.remove(&timer);
    }
    fn identity(&self, _: HandleKey) -> Option<(u64, u64, Option<String>)> {
        Some((1, 2, None))
    }
    fn notify_event(&mut self, _: Option<HandleKey>, _: Value) {}
}

/// Both parts.
#[derive(Default)]
pub struct World {
    pub told: Told,
    pub host: Host,
}

impl World {
    /// The context of a call of the core.
    pub fn cx(&mut self) -> PluginCx<'_> {
        PluginCx::new(&mut self.told, &mut self.host)
    }
}

/// A PeerConnection with these (payload type, encoding, clock) of audio.
pub fn audio_pc(codecs: &[(u8, &str, u32)]) -> PeerConnectionView {
    let payload_types = codecs
        .iter()
        .map(|&(number, encoding, clock_hz)| PayloadType::new(number, encoding, clock_hz))
        .collect();
    let stream = StreamConfig { mid: "0".into(), ..StreamConfig::new(MediaKind::Audio, 7, payload_types) };
    PeerConnectionView { leg: LegId::new(0, 1_000, 1), streams: vec![stream], up: true }
}
