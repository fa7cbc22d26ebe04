//! A WebRTC client: ICE, DTLS and SRTP on one socket, from the same protocols as the gateway's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bifrons_rtc::Time;
use bifrons_rtc::dtls::{DtlsContext, Event as DtlsEvent, Fingerprint, Hash, Role as Side, Session};
use bifrons_rtc::ice::{
    AddressPolicy, Agent, AgentConfig, Candidate, ConsentLoss, LocalCandidate, OsRandom, RemoteCredentials,
    Role, State, Timers, TransactionIds,
};
use bifrons_rtc::srtp::{Backend, Inbound, Outbound};
use bifrons_wire::demux::{Kind, classify};
use bifrons_wire::stun::Message;

/// The shortest pace of checks that RFC 8445 §14.2 allows. A client has one pair, and with the usual 50 ms its
/// nomination alone would wait that long: set-up times would say nothing of the server.
const TA: Duration = Duration::from_millis(5);

/// What the other side's description says.
#[derive(Clone, Debug)]
pub struct Remote {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub pwd: String,
    /// `a=fingerprint`, hash and value.
    pub fingerprint: String,
    /// It is the DTLS client (`a=setup:active`).
    pub active: bool,
    /// `a=ice-lite`
    pub lite: bool,
    /// Candidates, the text after `a=`.
    pub candidates: Vec<String>,
}

/// One client.
pub struct Client {
    agent: Agent,
    random: OsRandom,
    context: Arc<DtlsContext>,
    dtls: Option<Session>,
    side: Side,
    fingerprint: Option<Fingerprint>,
    /// Once DTLS is done.
    pub keys: Option<(Inbound, Outbound)>,
    /// Where media go, once ICE has selected.
    pub remote: Option<SocketAddr>,
    /// Why it cannot go on.
    pub failed: Option<String>,
    /// Packets that could not be decrypted.
    pub undecryptable: u64,
    out: Vec<(SocketAddr, Vec<u8>)>,
}

impl Client {
    /// A client on a socket with this address. It will make the offer.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(address: SocketAddr, call: u32, context: Arc<DtlsContext>) -> Result<Self, String> {
        let mut random = OsRandom::new().map_err(|error| error.to_string())?;
        let config = AgentConfig {
            role: Role::Controlling,
            lite: false,
            token: call,
            tie_breaker: u64::from(call) << 32 | 0x5bd1_e995,
            local: vec![LocalCandidate { socket: 0, address, advertised: None }],
            transaction_ids: TransactionIds::from_random(&mut random),
            policy: AddressPolicy { loopback: true, private: true },
            consent_loss: ConsentLoss::Fail,
            timers: Timers { ta: TA, nomination_wait: Duration::ZERO, ..Timers::default() },
        };
        let agent = Agent::new(config, &mut random);
        Ok(Self {
            agent,
            random,
            context,
            dtls: None,
            side: Side::Client,
            fingerprint: None,
            keys: None,
            remote: None,
            failed: None,
            undecryptable: 0,
            out: Vec::new(),
        })
    }

    /// ICE user fragment and password.
    pub fn credentials(&self) -> (&str, &str) {
        let credentials = self.agent.local_credentials();
        (credentials.ufrag(), credentials.password())
    }

    /// The candidates, the text after `candidate:`.
    pub fn candidates(&self) -> Vec<String> {
        self.agent.local_candidates().map(|candidate| candidate.to_string()).collect()
    }

    /// `a=fingerprint`: hash and value.
    ///
    /// # Errors
    /// OpenSSL fails.
    pub fn fingerprint(&self) -> Result<String, String> {
        Ok(self.context.fingerprint(Hash::Sha256).map_err(|error| error.to_string())?.to_string())
    }

    /// Takes the answer; checks begin with the next [`Client::timeout`].
    ///
    /// # Errors
    /// The answer cannot be used; the text says why.
    pub fn set_remote(&mut self, remote: &Remote) -> Result<(), String> {
        let credentials =
            RemoteCredentials::new(&remote.ufrag, &remote.pwd).map_err(|error| error.to_string())?;
        self.agent.set_remote_credentials(credentials);
        self.agent.set_remote_lite(remote.lite);
        let mut usable = 0;
        for text in &remote.candidates {
            let candidate: Candidate = text.parse().map_err(|error| format!("{text}: {error}"))?;
            // TCP candidates and addresses of the other family are nothing to complain of.
            let added = candidate.to_remote().and_then(|remote| self.agent.add_remote_candidate(remote));
            usable += usize::from(added.is_ok());
        }
        if usable == 0 {
            return Err(format!("no usable candidate in the answer: {:?}", remote.candidates));
        }
        self.agent.end_of_candidates();
        let fingerprint = remote.fingerprint.parse().map_err(|error| format!("fingerprint: {error}"))?;
        self.fingerprint = Some(fingerprint);
        self.side = if remote.active { Side::Server } else { Side::Client };
        Ok(())
    }

    /// Takes a datagram; gives the RTP packet in it, if it is one.
    pub fn handle<'a>(&mut self, now: Time, source: SocketAddr, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        match classify(datagram) {
            Kind::Rtp => {
                let (inbound, _) = self.keys.as_mut()?;
                match inbound.unprotect_rtp(now, datagram) {
                    Ok(len) => return datagram.get(..len),
                    Err(_) => self.undecryptable += 1,
                }
            }
            Kind::Stun => {
                let Ok(message) = Message::parse(datagram) else { return None };
                let out = &mut self.out;
                self.agent.handle_stun(now, 0, source, &message, &mut |_, to, bytes: &[u8]| {
                    out.push((to, bytes.to_vec()));
                });
                self.after(now);
            }
            Kind::Dtls => {
                if self.dtls.is_none() {
                    self.begin_dtls(now);
                }
                if let Some(dtls) = &mut self.dtls {
                    dtls.handle_datagram(now, datagram);
                }
                self.after(now);
            }
            Kind::Rtcp | Kind::Other => {}
        }
        None
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Time) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let dtls = due(self.dtls.as_ref().and_then(Session::next_timeout));
        if !dtls && !due(self.agent.next_timeout()) {
            return;
        }
        let out = &mut self.out;
        self.agent
            .on_timeout(now, &mut self.random, &mut |_, to, bytes: &[u8]| out.push((to, bytes.to_vec())));
        if let Some(session) = self.dtls.as_mut().filter(|_| dtls) {
            session.on_timeout(now);
        }
        self.after(now);
    }

    /// STUN and DTLS datagrams to be sent.
    pub fn transmits(&mut self) -> impl Iterator<Item = (SocketAddr, Vec<u8>)> + '_ {
        self.out.drain(..)
    }

    fn begin_dtls(&mut self, now: Time) {
        let Some(fingerprint) = self.fingerprint.clone() else { return };
        match Session::new(&self.context, self.side, now, &[fingerprint]) {
            Ok(session) => self.dtls = Some(session),
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    fn after(&mut self, now: Time) {
        while let Some(event) = self.agent.poll_event() {
            if event == bifrons_rtc::ice::Event::State(State::Failed) {
                self.failed = Some("ICE failed".to_owned());
            }
        }
        let Some(pair) = self.agent.selected() else { return };
        self.remote = Some(pair.remote);
        if self.dtls.is_none() && self.side == Side::Client {
            self.begin_dtls(now);
        }
        let Some(dtls) = &mut self.dtls else { return };
        while let Some(event) = dtls.poll_event() {
            match event {
                DtlsEvent::Connected(connected) => {
                    let Some(keys) = connected.srtp else { continue };
                    let inbound = Inbound::new(Backend::Native, &keys.remote);
                    let outbound = Outbound::new(Backend::Native, &keys.local);
                    match (inbound, outbound) {
                        (Ok(inbound), Ok(outbound)) => self.keys = Some((inbound, outbound)),
                        _ => self.failed = Some("the SRTP keys cannot be used".to_owned()),
                    }
                }
                DtlsEvent::Failed(why) => self.failed = Some(why.to_string()),
                DtlsEvent::Closed => self.failed = Some("close_notify from the server".to_owned()),
            }
        }
        while let Some(datagram) = dtls.poll_transmit() {
            self.out.push((pair.remote, datagram));
        }
    }
}
