//! The engine inside this process, on cores of its own: the packet path without the gateway around it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bifrons_engine::media::{
    DtlsRole, IceCredentials, MediaKind, Output, PayloadType, RtpOpen, RtpRemote, RtpShared, SdesKeys,
    StreamConfig, StreamRef, WebRtcOpen, WebRtcRemote,
};
use bifrons_engine::{DriverChoice, Engine, EngineConfig, LegId, LocalAddress, Media};
use bifrons_rtc::ice::AddressPolicy;
use bifrons_rtc::srtp::{MasterKey, Profile};

use crate::calls::{Calls, Scenario};
use crate::client::Remote;
use crate::codec::Codec;
use crate::media::{Command, End, Sending, VIDEO_PAYLOAD_TYPE};
use crate::netns::{self, Netns};
use crate::sdes::{self, Srtp};
use crate::{DriverName, Load};

/// Whether a thread of this process is the engine's (names are cut at 15 bytes).
pub fn is_engine_thread(name: &str) -> bool {
    name.starts_with("bifrons-worker") || name.starts_with("bifrons-handsha")
}

/// The engine.
#[derive(Clone)]
pub struct InProcess {
    engine: Arc<Mutex<Engine>>,
    profile: Profile,
    /// RTP legs share ports.
    shared: bool,
    /// Where its sockets are, if not here.
    netns: Option<Arc<Netns>>,
    /// The source and the outputs of the fan-out scenario.
    fan: Arc<Mutex<(Option<StreamRef>, Vec<StreamRef>)>>,
}

impl InProcess {
    /// Starts a worker on each of the engine's cores, with its sockets in `netns`.
    ///
    /// # Errors
    /// The engine says why.
    pub fn start(arguments: &Load, netns: Option<Arc<Netns>>, profile: Profile) -> Result<Self, String> {
        let Load { shared_ports, engine_driver, engine_coalesce_us, .. } = *arguments;
        let cores = arguments.engine_cores.clone();
        let config = EngineConfig {
            workers: cores.len(),
            cores,
            driver: match engine_driver {
                DriverName::Uring => DriverChoice::Uring,
                DriverName::Mmsg => DriverChoice::Mmsg,
                DriverName::Xdp => DriverChoice::Xdp,
            },
            shared_ports: Some(shared_ports).filter(|count| *count > 0).into_iter().collect(),
            xdp_interfaces: arguments.engine_interface.clone().into_iter().collect(),
            addresses: vec![LocalAddress { address: arguments.server.ip(), advertised: None }],
            ice_addresses: AddressPolicy { loopback: true, private: true },
            rtp_port_range: (10_000, 31_999),
            srtp_profiles: vec![profile],
            coalesce_us: engine_coalesce_us,
            ..EngineConfig::default()
        };
        let started = netns::within(netns.as_deref(), || Engine::start(config))?;
        let (engine, report) = started.map_err(|error| error.to_string())?;
        for line in report.lines {
            eprintln!("engine: {line}");
        }
        let engine = Self {
            engine: Arc::new(Mutex::new(engine)),
            profile,
            shared: shared_ports > 0,
            netns,
            fan: Arc::default(),
        };
        let notices = engine.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                while notices.lock().poll_notice().is_some() {}
            }
        });
        Ok(engine)
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the workers counted, besides zeros.
    pub fn counted(&self) -> Vec<(&'static str, u64)> {
        let engine = self.lock();
        let counters = engine.counters();
        let all = counters.iter().flat_map(|counters| counters.all());
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// Sets up one call.
    ///
    /// # Errors
    /// The engine refuses, or ICE or DTLS fails.
    pub async fn place(&self, calls: &Calls, call: u32) -> Result<(), String> {
        let number = calls.sending.payload_type;
        let ends = match calls.scenario {
            Scenario::EngineFanout => return self.place_viewer(calls, call).await,
            Scenario::EngineRtp => {
                let (a, first) = self.plain(calls, call, None)?;
                let (b, second) = self.plain(calls, call, Some(a.leg))?;
                self.route(a, &[b], number)?;
                self.route(b, &[a], number)?;
                vec![first, second]
            }
            Scenario::EngineSdes | Scenario::EngineBridge => {
                let (web, first) = match calls.scenario {
                    Scenario::EngineSdes => self.sdes(calls, call)?,
                    _ => self.web(calls, call, payload_type(calls.codec))?,
                };
                let (rtp, second) = self.plain(calls, call, Some(web.leg))?;
                self.route(web, &[rtp], number)?;
                self.route(rtp, &[web], number)?;
                vec![first, second]
            }
            _ => {
                let (web, end) = self.web(calls, call, payload_type(calls.codec))?;
                self.route(web, &[web], number)?;
                vec![end]
            }
        };
        calls.media.add(call, ends, calls.sending).await
    }

    /// The first viewer comes with the one whom all look at, as call 0.
    async fn place_viewer(&self, calls: &Calls, call: u32) -> Result<(), String> {
        if call == 0 {
            let (source, end) = self.web(calls, 0, video())?;
            calls.media.add(0, vec![end], calls.sending).await?;
            self.fan.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(source);
        }
        let (viewer, end) = self.web(calls, call + 1, video())?;
        calls.media.add(call + 1, vec![end], Sending::NOTHING).await?;
        self.fan.lock().unwrap_or_else(PoisonError::into_inner).1.push(viewer);
        Ok(())
    }

    /// What is left to do when all calls of a step are up.
    ///
    /// # Errors
    /// The engine refuses.
    pub fn ramped(&self, calls: &Calls) -> Result<(), String> {
        let fan = self.fan.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(source), viewers) = &*fan else { return Ok(()) };
        self.route(*source, viewers, VIDEO_PAYLOAD_TYPE)?;
        calls.media.tell(Command::Copies(0, viewers.len() as u32));
        Ok(())
    }

    fn route(&self, from: StreamRef, to: &[StreamRef], payload_type: u8) -> Result<(), String> {
        let output = |to: &StreamRef| Output {
            to: *to,
            open: true,
            payload_types: vec![(payload_type, payload_type)],
        };
        let outputs = to.iter().map(output).collect();
        self.lock().set_route(from, outputs).map_err(|error| error.to_string())
    }

    /// An RTP leg with SDES keys, and its other end on a socket of its own.
    fn sdes(&self, calls: &Calls, call: u32) -> Result<(StreamRef, End), String> {
        let key = || MasterKey::generate(self.profile).map_err(|error| error.to_string());
        let (ours, theirs) = (key()?, key()?);
        let socket = UdpSocket::bind(SocketAddr::new(calls.ends.address(call), 0))
            .map_err(|error| error.to_string())?;
        socket.set_nonblocking(true).map_err(|error| error.to_string())?;
        let address = socket.local_addr().map_err(|error| error.to_string())?;
        let keys = SdesKeys {
            suite: sdes::suite(self.profile)?.to_owned(),
            local: theirs.expose().to_vec(),
            remote: ours.expose().to_vec(),
        };
        let (stream, local) = self.rtp_leg(calls, address, None, Some(keys))?;
        Ok((stream, End::Srtp(Box::new(Srtp::new(&ours, &theirs, local)?), socket)))
    }

    fn rtp_leg(
        &self,
        calls: &Calls,
        remote: SocketAddr,
        near: Option<LegId>,
        sdes: Option<SdesKeys>,
    ) -> Result<(StreamRef, SocketAddr), String> {
        let mut engine = self.lock();
        let fail = |error: bifrons_engine::media::MediaError| error.to_string();
        let remote = RtpRemote { rtp: remote, rtcp: None, rtcp_mux: false, sdes };
        let shared = RtpShared { group: 0, remote: Some(remote.clone()), not: Vec::new() };
        let open = RtpOpen { near, shared: self.shared.then_some(shared), ..RtpOpen::default() };
        let local = netns::within(self.netns.as_deref(), || engine.open_rtp_leg(open))?.map_err(fail)?;
        engine.set_rtp_remote(local.leg, remote).map_err(fail)?;
        engine
            .set_streams(local.leg, vec![stream("", local.leg, payload_type(calls.codec))])
            .map_err(fail)?;
        Ok((StreamRef { leg: local.leg, mline: 0 }, local.rtp))
    }

    fn plain(&self, calls: &Calls, call: u32, near: Option<LegId>) -> Result<(StreamRef, End), String> {
        let (number, address) = calls.ends.plain(call, usize::from(near.is_some()));
        let (stream, local) = self.rtp_leg(calls, address, near, None)?;
        Ok((stream, End::Plain(number, local)))
    }

    fn web(&self, calls: &Calls, call: u32, payload_type: PayloadType) -> Result<(StreamRef, End), String> {
        let (mut client, socket, _) = calls.client(call)?;
        let mut engine = self.lock();
        let fail = |error: bifrons_engine::media::MediaError| error.to_string();
        let local = engine.open_webrtc_leg(WebRtcOpen { near: None, offerer: false }).map_err(fail)?;
        let (ufrag, pwd) = client.credentials();
        let fingerprint = client.fingerprint()?;
        let (hash, value) = fingerprint.split_once(' ').ok_or("fingerprint without a value")?;
        let remote = WebRtcRemote {
            ice: IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() },
            ice_lite: false,
            fingerprint: (hash.to_owned(), value.to_owned()),
            role: DtlsRole::Client,
            candidates: client.candidates(),
            end_of_candidates: true,
        };
        engine.set_webrtc_remote(local.leg, remote).map_err(fail)?;
        engine.set_streams(local.leg, vec![stream("0", local.leg, payload_type)]).map_err(fail)?;
        client.set_remote(&Remote {
            ufrag: local.ice.ufrag,
            pwd: local.ice.pwd,
            fingerprint: format!("sha-256 {}", local.fingerprint),
            active: true,
            lite: local.ice_lite,
            candidates: local.candidates.iter().map(|text| format!("candidate:{text}")).collect(),
        })?;
        Ok((StreamRef { leg: local.leg, mline: 0 }, End::WebRtc(Box::new(client), socket)))
    }
}

fn payload_type(codec: Codec) -> PayloadType {
    let (encoding, clock_hz) = codec.encoding();
    PayloadType::new(codec.sending().payload_type, encoding, clock_hz)
}

fn video() -> PayloadType {
    PayloadType::new(VIDEO_PAYLOAD_TYPE, "h264", 90_000)
}

fn stream(mid: &str, leg: LegId, payload_type: PayloadType) -> StreamConfig {
    let kind = if payload_type.encoding == "h264" { MediaKind::Video } else { MediaKind::Audio };
    let ssrc = 0x1000_0000 + leg.slot();
    StreamConfig { mid: mid.to_owned(), ..StreamConfig::new(kind, ssrc, vec![payload_type]) }
}
