//! A simulated WebRTC client, made from the same protocols as the engine: ICE, DTLS, SRTP on one port.

use std::net::SocketAddr;

use bifrons_engine::media::{DtlsRole, IceCredentials, WebRtcLocal, WebRtcRemote};
use bifrons_rtc::Time;
use bifrons_rtc::dtls::{
    Certificate, DtlsConfig, DtlsContext, Event as DtlsEvent, Fingerprint, Hash, Role as DtlsSide, Session,
};
use bifrons_rtc::ice::{
    AddressPolicy, Agent, AgentConfig, Candidate, ConsentLoss, LocalCandidate, RemoteCredentials, Role,
    SeededRandom, Timers, TransactionIds,
};
use bifrons_rtc::srtp::{Backend, Inbound, Outbound, Room, SrtpError};
use bifrons_wire::demux::{Kind, classify};
use bifrons_wire::stun::Message;

/// One client. What it wants to send is in `out`.
pub struct Client {
    pub address: SocketAddr,
    pub agent: Agent,
    random: SeededRandom,
    context: DtlsContext,
    dtls: Option<Session>,
    side: DtlsSide,
    remote_fingerprint: Option<Fingerprint>,
    pub keys: Option<(Inbound, Outbound)>,
    pub out: Vec<(SocketAddr, Vec<u8>)>,
    /// Decrypted RTP that came.
    pub rtp: Vec<Vec<u8>>,
    /// The same as it came.
    pub srtp: Vec<Vec<u8>>,
    /// Decrypted RTCP that came.
    pub rtcp: Vec<Vec<u8>>,
    /// SRTP that came and could not be decrypted.
    pub undecryptable: usize,
    pub dtls_ended: Option<DtlsEvent>,
    /// Bytes of the longest DTLS datagram that came.
    pub dtls_longest: usize,
    /// Begins DTLS on the first valid pair, before one is nominated, as browsers do.
    pub eager: bool,
    eager_path: Option<SocketAddr>,
    /// Sends its ClientHello and never goes on.
    pub mute_dtls: bool,
    /// Answers no STUN any more.
    pub mute_stun: bool,
}

impl Client {
    /// A client at `address` that takes the DTLS side and ICE role given.
    pub fn new(address: SocketAddr, seed: u64, side: DtlsSide, role: Role) -> Self {
        let certificate = Certificate::generate().unwrap();
        let context = DtlsContext::new(&certificate, DtlsConfig::default()).unwrap();
        let mut random = SeededRandom::new(seed);
        let config = AgentConfig {
            role,
            lite: false,
            token: 1,
            tie_breaker: seed,
            local: vec![LocalCandidate { socket: 0, address, advertised: None }],
            transaction_ids: TransactionIds::new([seed, seed ^ 1]),
            policy: AddressPolicy { loopback: true, private: true },
            consent_loss: ConsentLoss::Fail,
            timers: Timers::default(),
        };
        let agent = Agent::new(config, &mut random);
        Self {
            address,
            agent,
            random,
            context,
            dtls: None,
            side,
            remote_fingerprint: None,
            keys: None,
            out: Vec::new(),
            rtp: Vec::new(),
            srtp: Vec::new(),
            rtcp: Vec::new(),
            undecryptable: 0,
            dtls_ended: None,
            dtls_longest: 0,
            eager: false,
            eager_path: None,
            mute_dtls: false,
            mute_stun: false,
        }
    }

    /// What the engine is told about this client.
    pub fn description(&self) -> WebRtcRemote {
        let credentials = self.agent.local_credentials();
        let fingerprint = self.context.fingerprint(Hash::Sha256).unwrap().to_string();
        let (hash, value) = fingerprint.split_once(' ').unwrap();
        WebRtcRemote {
            ice: IceCredentials {
                ufrag: credentials.ufrag().to_owned(),
                pwd: credentials.password().to_owned(),
            },
            ice_lite: false,
            fingerprint: (hash.to_owned(), value.to_owned()),
            role: match self.side {
                DtlsSide::Client => DtlsRole::Server,
                DtlsSide::Server => DtlsRole::Client,
            },
            candidates: self.agent.local_candidates().map(|candidate| candidate.to_string()).collect(),
            end_of_candidates: true,
        }
    }

    /// What this client is told about the engine.
    pub fn set_remote(&mut self, local: &WebRtcLocal) {
        self.agent.set_remote_credentials(RemoteCredentials::new(&local.ice.ufrag, &local.ice.pwd).unwrap());
        for candidate in &local.candidates {
            let candidate: Candidate = format!("candidate:{candidate}").parse().unwrap();
            self.agent.add_remote_candidate(candidate.to_remote().unwrap()).unwrap();
        }
        self.agent.end_of_candidates();
        self.remote_fingerprint = Some(format!("sha-256 {}", local.fingerprint).parse().unwrap());
    }

    /// Begins an ICE restart.
    pub fn restart_ice(&mut self) {
        self.agent.restart(&mut self.random);
    }

    /// Takes the engine's credentials after a restart; candidates are as before.
    pub fn set_remote_credentials(&mut self, ice: &IceCredentials, address: SocketAddr) {
        self.agent.set_remote_credentials(RemoteCredentials::new(&ice.ufrag, &ice.pwd).unwrap());
        let line = format!("candidate:1 1 udp 1 {} {} typ host", address.ip(), address.port());
        let candidate: Candidate = line.parse().unwrap();
        self.agent.add_remote_candidate(candidate.to_remote().unwrap()).unwrap();
    }

    /// Starts DTLS over with another certificate, as a page that was taken over by another does.
    pub fn new_certificate(&mut self) {
        let certificate = Certificate::generate().unwrap();
        self.context = DtlsContext::new(&certificate, DtlsConfig::default()).unwrap();
        self.dtls = None;
        self.keys = None;
    }

    /// Takes a datagram.
    pub fn handle(&mut self, now: Time, source: SocketAddr, datagram: &mut [u8]) {
        match classify(datagram) {
            Kind::Stun if self.mute_stun => {}
            Kind::Stun => {
                let Ok(message) = Message::parse(datagram) else { return };
                let out = &mut self.out;
                self.agent.handle_stun(now, 0, source, &message, &mut |_, to, bytes: &[u8]| {
                    out.push((to, bytes.to_vec()));
                });
                self.after(now);
            }
            Kind::Dtls if self.mute_dtls => {}
            Kind::Dtls => {
                self.dtls_longest = self.dtls_longest.max(datagram.len());
                if self.dtls.is_none() {
                    self.begin_dtls(now);
                }
                if let Some(dtls) = &mut self.dtls {
                    dtls.handle_datagram(now, datagram);
                }
                self.after(now);
            }
            // As an agent does: what does not come over its pair is not its peer's (RFC 8445 §12.1). Somebody else's
            // RTCP comes here when he had this port before, or believes it to be his peer's.
            Kind::Rtp | Kind::Rtcp if self.path() != Some(source) => {}
            kind @ (Kind::Rtp | Kind::Rtcp) => {
                let Some((inbound, _)) = &mut self.keys else {
                    self.undecryptable += 1;
                    return;
                };
                if kind == Kind::Rtp {
                    self.srtp.push(datagram.to_vec());
                }
                let mut unprotect = |inbound: &mut Inbound| match kind {
                    Kind::Rtp => inbound.unprotect_rtp(now, datagram),
                    _ => inbound.unprotect_rtcp(now, datagram),
                };
                let mut result = unprotect(inbound);
                if result == Err(SrtpError::SsrcRoom) {
                    inbound.add_room(Room::new()).unwrap();
                    result = unprotect(inbound);
                }
                match (result, kind) {
                    (Ok(len), Kind::Rtp) => self.rtp.push(datagram[..len].to_vec()),
                    (Ok(len), _) => self.rtcp.push(datagram[..len].to_vec()),
                    (Err(SrtpError::Replayed), _) => {}
                    (Err(_), _) => self.undecryptable += 1,
                }
            }
            Kind::Other => {}
        }
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Time) {
        let out = &mut self.out;
        self.agent
            .on_timeout(now, &mut self.random, &mut |_, to, bytes: &[u8]| out.push((to, bytes.to_vec())));
        if let Some(dtls) = &mut self.dtls {
            dtls.on_timeout(now);
        }
        self.after(now);
    }

    /// When [`Client::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Time> {
        let dtls = self.dtls.as_ref().and_then(Session::next_timeout);
        self.agent.next_timeout().into_iter().chain(dtls).min()
    }

    /// Media may flow.
    pub fn is_up(&self) -> bool {
        self.keys.is_some()
    }

    /// Sends an RTP packet.
    pub fn send_rtp(&mut self, packet: &[u8]) {
        let (Some((_, outbound)), Some(pair)) = (&mut self.keys, self.agent.selected()) else { return };
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 64, 0);
        let len = with_room(outbound, |outbound| outbound.protect_rtp(&mut buffer, packet.len()));
        buffer.truncate(len);
        self.out.push((pair.remote, buffer));
    }

    /// Sends an RTCP compound.
    pub fn send_rtcp(&mut self, compound: &[u8]) {
        let (Some((_, outbound)), Some(pair)) = (&mut self.keys, self.agent.selected()) else { return };
        let mut buffer = compound.to_vec();
        buffer.resize(compound.len() + 64, 0);
        let len = with_room(outbound, |outbound| outbound.protect_rtcp(&mut buffer, compound.len()));
        buffer.truncate(len);
        self.out.push((pair.remote, buffer));
    }

    /// Closes DTLS.
    pub fn close(&mut self) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close();
        }
        self.flush_dtls();
    }

    fn begin_dtls(&mut self, now: Time) {
        let Some(fingerprint) = self.remote_fingerprint.clone() else { return };
        self.dtls = Some(Session::new(&self.context, self.side, now, &[fingerprint]).unwrap());
    }

    fn after(&mut self, now: Time) {
        while let Some(event) = self.agent.poll_event() {
            if let bifrons_rtc::ice::Event::Validated { remote, .. } = event
                && self.eager
            {
                self.eager_path = Some(remote);
            }
        }
        if self.dtls.is_none() && self.side == DtlsSide::Client && self.path().is_some() {
            self.begin_dtls(now);
        }
        let Some(dtls) = &mut self.dtls else { return };
        while let Some(event) = dtls.poll_event() {
            match event {
                DtlsEvent::Connected(connected) => {
                    let keys = connected.srtp.unwrap();
                    self.keys = Some((
                        Inbound::new(Backend::Native, &keys.remote).unwrap(),
                        Outbound::new(Backend::Native, &keys.local).unwrap(),
                    ));
                }
                ended => self.dtls_ended = Some(ended),
            }
        }
        self.flush_dtls();
    }

    fn flush_dtls(&mut self) {
        let Some(path) = self.path() else { return };
        let Some(dtls) = &mut self.dtls else { return };
        while let Some(datagram) = dtls.poll_transmit() {
            self.out.push((path, datagram));
        }
    }

    fn path(&self) -> Option<SocketAddr> {
        self.agent.selected().map(|pair| pair.remote).or(self.eager_path)
    }
}

/// Gives a context room for more SSRCs where it asks for it.
fn with_room(
    outbound: &mut Outbound,
    mut protect: impl FnMut(&mut Outbound) -> Result<usize, SrtpError>,
) -> usize {
    let mut result = protect(outbound);
    if result == Err(SrtpError::SsrcRoom) {
        outbound.add_room(Room::new()).unwrap();
        result = protect(outbound);
    }
    result.unwrap()
}
