//! The SIP side: the plugin's configuration, and its `bifrons-sip`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bifrons_api::Waker;
use bifrons_plugins::plain::{PlainConfig, SharedPeer};
use bifrons_plugins::sip::policy::{NoPattern, Pattern, Policy};
use bifrons_plugins::sip::{Inbound, Inbox, Sip, SipConfig};
use bifrons_sip_protocol::{FromSip, GateRules, Network, Settings, TlsSettings, TlsVerify, ToSip, Transport};
use bifrons_sip_ua::ua;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use crate::config::schema::{SharedRtp, SipListen, SipTransport};
use crate::config::{Config, ConfigError};
use crate::counted::line;
use crate::run::RunError;
use crate::sip_process::{LinkEvent, Outbox, Supervisor};
use crate::start::{self, Origin};

/// Time in which all listeners must stand.
const START: Duration = Duration::from_secs(10);
/// Retry-After of the 503 while draining, seconds.
const DRAIN_RETRY_S: u32 = 30;
/// Time that BYE and the end of registrations get at the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// The type of `ToSip::Listen`, as a refusal names it.
const LISTEN: u8 = 2;

/// Where SIP is listened on: as configured, or the usual ports of the first media address.
pub fn listeners(config: &Config) -> Vec<SipListen> {
    if !config.sip.listen.is_empty() {
        return config.sip.listen.clone();
    }
    let address = start::media_addresses(config).first().copied().unwrap_or([127, 0, 0, 1].into());
    let point = |transport, port| SipListen {
        ident: "sip".into(),
        transport,
        address: SocketAddr::new(address, port),
    };
    let mut listen = vec![point(SipTransport::Udp, 5060), point(SipTransport::Tcp, 5060)];
    if config.sip.tls_directory.is_some() {
        listen.push(point(SipTransport::Tls, 5061));
    }
    listen
}

/// The plugin's configuration.
///
/// # Errors
/// As [`rules`].
pub fn plugin_config(config: &Config, origin: &Origin) -> Result<SipConfig, ConfigError> {
    let sip = &config.sip;
    // RFC 3261 names T1; Janus configures 64 times it.
    let settings =
        Settings { t1_ms: sip.timer_t1x64_ms.div_ceil(64), tls: tls(config), ..Settings::default() };
    let locals = start::media_addresses(config);
    let public = |address: IpAddr| {
        let local = start::local_address(address, &locals, &config.media);
        local.advertised.filter(|_| locals.contains(&address)).map(host)
    };
    let listeners = listeners(config).into_iter().map(|listen| ua::Listener {
        public_host: public(listen.address.ip()),
        ident: listen.ident,
        transport: match listen.transport {
            SipTransport::Udp => Transport::Udp,
            SipTransport::Tcp => Transport::Tcp,
            SipTransport::Tls => Transport::Tls,
        },
        address: listen.address,
    });
    let Rules { trunks, gate, policy, shared } = rules(config, &origin.file)?;
    Ok(SipConfig {
        ua: ua::Config {
            sip: settings,
            listeners: listeners.collect(),
            user_agent: sip.user_agent.clone(),
            accounts_max: sip.accounts_max,
            calls_max: sip.calls_max,
            trunks,
            gate,
            ..ua::Config::default()
        },
        plain: PlainConfig {
            sdp_address: sip.sdp_address,
            latching: start::latching(sip.latching),
            shared: shared.into(),
            ..PlainConfig::default()
        },
        register_ttl_s: sip.register_ttl_s,
        policy,
    })
}

/// Lists of the configuration that have to be parsed.
pub struct Rules {
    trunks: Vec<ua::Source>,
    gate: GateRules,
    policy: Policy,
    shared: Vec<SharedPeer>,
}

/// Who is heard, and what pages may ask for.
///
/// # Errors
/// An entry of a list that is no network, or no pattern.
pub fn rules(config: &Config, file: &Path) -> Result<Rules, ConfigError> {
    let sip = &config.sip;
    let networks = |key: &str, list: &[String]| networks(file, key, list);
    let patterns = |key: &str, list: &[String]| patterns(file, key, list);
    let for_gate = |list: Vec<ua::Source>| {
        list.into_iter().map(|source| Network { address: source.address, prefix: source.prefix }).collect()
    };
    Ok(Rules {
        trunks: networks("sip.trunks", &sip.trunks)?,
        gate: GateRules {
            blocked: for_gate(networks("sip.gate_blocked", &sip.gate_blocked)?),
            allowed: for_gate(networks("sip.gate_allowed", &sip.gate_allowed)?),
            only_allowed: sip.gate_only_allowed,
            source_rate_per_s: sip.gate_rate_per_s,
            source_burst: if sip.gate_burst == 0 { sip.gate_rate_per_s } else { sip.gate_burst },
            datagram_bytes_max: sip.gate_datagram_bytes_max,
        },
        policy: Policy {
            targets: patterns("sip.allowed_targets", &sip.allowed_targets)?,
            proxies: patterns("sip.allowed_proxies", &sip.allowed_proxies)?,
            headers: sip.allowed_headers.clone(),
        },
        shared: shared_peers(file, "sip.shared_rtp", &sip.shared_rtp, 0)?,
    })
}

/// Peers whose calls share RTP ports. Their groups of ports count from `first`.
///
/// # Errors
/// An entry of a list that is no network, or no pattern.
pub fn shared_peers(
    file: &Path,
    key: &str,
    peers: &[SharedRtp],
    first: usize,
) -> Result<Vec<SharedPeer>, ConfigError> {
    let peer = |(index, peer): (usize, &SharedRtp)| {
        Ok(SharedPeer {
            name: peer.name.clone(),
            // Their number is bounded by that of the ports.
            group: u8::try_from(first + index).unwrap_or(u8::MAX),
            media: networks(file, key, &peer.media)?,
            hops: patterns(file, key, &peer.hops)?,
            rtcp_mux: peer.rtcp_mux,
        })
    };
    peers.iter().enumerate().map(peer).collect()
}

fn networks(file: &Path, key: &str, list: &[String]) -> Result<Vec<ua::Source>, ConfigError> {
    let parsed = list.iter().map(|text| {
        let reason = || format!("`{text}` is neither an address nor a network (10.0.0.0/8)");
        network(text).ok_or_else(|| ConfigError::new(file, key, reason()))
    });
    parsed.collect()
}

fn patterns(file: &Path, key: &str, list: &[String]) -> Result<Vec<Pattern>, ConfigError> {
    let parsed = list
        .iter()
        .map(|text| text.parse().map_err(|error: NoPattern| ConfigError::new(file, key, error.to_string())));
    parsed.collect()
}

fn tls(config: &Config) -> Option<TlsSettings> {
    let directory = config.sip.tls_directory.as_ref()?.display().to_string();
    let verify = if config.sip.tls_verify { TlsVerify::Both } else { TlsVerify::None };
    Some(TlsSettings { directory, verify })
}

/// An address as the host of a URI.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

fn network(text: &str) -> Option<ua::Source> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address = address.trim().parse().ok()?;
    let host = ua::Source::host(address);
    match prefix {
        None => Some(host),
        Some(prefix) => {
            let prefix = prefix.trim().parse().ok().filter(|prefix| *prefix <= host.prefix)?;
            Some(ua::Source { address, prefix })
        }
    }
}

/// All listeners stand; or the id of one that does not, and why.
pub type Outcome = Result<(), (u64, String)>;

/// Listeners that a SIP process has to open before it is of use.
pub struct Listening {
    /// What is missing, by id; ids count from 1 in the order of the configuration.
    missing: Cell<usize>,
    done: RefCell<Option<oneshot::Sender<Outcome>>>,
    /// The counters that come next are for the log.
    counters_wanted: Cell<bool>,
}

impl Listening {
    /// Waits for `count` listeners.
    pub fn new(count: usize) -> (Rc<Self>, oneshot::Receiver<Outcome>) {
        let (done, outcome) = oneshot::channel();
        let done = RefCell::new(Some(done));
        (Rc::new(Self { missing: Cell::new(count), done, counters_wanted: Cell::new(false) }), outcome)
    }

    /// Looks at a message before it is delivered.
    pub fn see(&self, label: &str, event: &LinkEvent) {
        match event {
            LinkEvent::Message(FromSip::Listening { address, .. }) => {
                tracing::info!("{label} listens at {address}");
                self.missing.set(self.missing.get().saturating_sub(1));
                if self.missing.get() == 0 {
                    self.tell(Ok(()));
                }
            }
            LinkEvent::Message(FromSip::Refused { kind: LISTEN, about, detail, .. }) => {
                tracing::error!("{label} cannot listen: {detail}");
                self.tell(Err((*about, detail.clone())));
            }
            // It is asked now and then as well, whether it lives.
            LinkEvent::Message(FromSip::Counters { counters }) if self.counters_wanted.take() => {
                tracing::info!("{label} process: {}", line(counters.iter().map(|(name, n)| (name, *n))));
            }
            LinkEvent::Message(FromSip::Error { detail }) => tracing::warn!("{label}: {detail}"),
            _ => {}
        }
    }

    fn tell(&self, outcome: Outcome) {
        if let Some(done) = self.done.borrow_mut().take() {
            let _ = done.send(outcome);
        }
    }
}

/// The SIP side while it runs.
pub struct SipSide {
    outbox: Outbox,
    listening: Rc<Listening>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    outcome: Option<oneshot::Receiver<Outcome>>,
    listeners: Vec<SipListen>,
}

impl SipSide {
    /// Starts the program and makes the plugin that speaks with it. The plugin must be in the core, and
    /// the control loop must run, before [`Self::listening`] is awaited.
    ///
    /// # Errors
    /// The configuration, or the program cannot be started.
    pub fn start(
        config: &Config,
        origin: &Origin,
        program: &Path,
        waker: Waker,
    ) -> Result<(Self, Sip), RunError> {
        let plugin_config = plugin_config(config, origin)?;
        let listeners = listeners(config);
        let outbox = Outbox::default();
        let inbox: Inbox = Rc::new(RefCell::new(VecDeque::new()));
        let out = outbox.clone();
        let sip = Sip::new(plugin_config, inbox.clone(), Box::new(move |message: ToSip| out.push(message)))
            .map_err(|error| origin.error("sip", error))?;
        let (listening, outcome) = Listening::new(listeners.len());
        let supervisor = Supervisor::start(program, "bifrons-sip", outbox.clone())
            .map_err(|error| origin.error("sip.program", format!("{}: {error}", program.display())))?;
        let (stop, stopped) = watch::channel(false);
        let watched = listening.clone();
        let deliver = move |event: LinkEvent| {
            watched.see("SIP", &event);
            inbox.borrow_mut().push_back(match event {
                LinkEvent::Started => Inbound::Started,
                LinkEvent::Message(message) => Inbound::Message(message),
            });
            waker.wake();
        };
        let task = spawn_local(supervisor.run(deliver, stopped));
        Ok((Self { outbox, listening, stop, task, outcome: Some(outcome), listeners }, sip))
    }

    /// Waits until every listener stands.
    ///
    /// # Errors
    /// One does not, with the address and the reason.
    pub async fn listening(&mut self, origin: &Origin) -> Result<(), ConfigError> {
        let Some(outcome) = self.outcome.take() else { return Ok(()) };
        match timeout(START, outcome).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err((id, detail)))) => {
                let index = usize::try_from(id.saturating_sub(1)).unwrap_or(usize::MAX);
                let what = self.listeners.get(index).map_or(String::new(), |listen| {
                    format!("{:?} {}: ", listen.transport, listen.address).to_lowercase()
                });
                Err(origin.error("sip.listen", format!("{what}{detail}")))
            }
            _ => Err(origin.error("sip.program", "bifrons-sip does not come up; its log says why")),
        }
    }

    /// Writes to the log what the link has counted, and what the process says that it has.
    pub fn tell_counters(&self) {
        tracing::info!("SIP link: {}", line(self.outbox.counters().all()));
        self.listening.counters_wanted.set(true);
        self.outbox.push(ToSip::Stats {});
    }

    /// New calls are refused from now on (503).
    pub fn drain(&self) {
        self.outbox.drain(DRAIN_RETRY_S);
    }

    /// Lets what was said last go out, then ends the program.
    pub async fn end(self) {
        self.outbox.settled(FAREWELL).await;
        let _ = self.stop.send(true);
        let _ = self.task.await;
        tracing::info!(counters = ?self.outbox.counters(), "SIP ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { file: "b.toml".into() }
    }

    #[test]
    fn the_usual_ports_on_the_first_address() {
        let mut config = Config::default();
        config.media.addresses = vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let all = |config: &Config| -> Vec<String> {
            let list = listeners(config);
            assert!(list.iter().all(|listen| listen.ident == "sip"));
            list.iter().map(|listen| format!("{:?} {}", listen.transport, listen.address)).collect()
        };
        assert_eq!(all(&config), ["Udp 192.0.2.1:5060", "Tcp 192.0.2.1:5060"]);
        config.sip.tls_directory = Some("tls".into());
        assert_eq!(all(&config).last().unwrap(), "Tls 192.0.2.1:5061");
    }

    #[test]
    fn behind_a_nat_the_public_address_stands_in_contacts() {
        let mut config = Config::default();
        config.media.addresses = vec![[10, 0, 0, 1].into()];
        config.media.advertised = vec![[192, 0, 2, 1].into()];
        let plugin = plugin_config(&config, &origin()).unwrap();
        assert_eq!(plugin.ua.listeners[0].public_host.as_deref(), Some("192.0.2.1"));
        assert_eq!(plugin.ua.sip.t1_ms, 500);
        config.sip.listen = listeners(&Config::default());
        config.sip.listen[0].address.set_ip([10, 9, 9, 9].into());
        let plugin = plugin_config(&config, &origin()).unwrap();
        assert_eq!(plugin.ua.listeners[0].public_host, None, "another network");
    }

    #[test]
    fn trunks_are_networks() {
        let mut config = Config::default();
        config.sip.trunks = vec!["192.0.2.0/24".into(), "2001:db8::1".into()];
        let prefixes: Vec<u8> =
            plugin_config(&config, &origin()).unwrap().ua.trunks.iter().map(|trunk| trunk.prefix).collect();
        assert_eq!(prefixes, [24, 128]);
        config.sip.trunks = vec!["192.0.2.0/33".into()];
        let error = plugin_config(&config, &origin()).unwrap_err().to_string();
        assert!(error.starts_with("b.toml: sip.trunks: `192.0.2.0/33` is neither"), "{error}");
    }

    #[test]
    fn the_gate_has_its_rules() {
        let mut config = Config::default();
        let gate = |config: &Config| plugin_config(config, &origin()).unwrap().ua.gate;
        assert_eq!(gate(&config), GateRules::default());
        config.sip.gate_rate_per_s = 50;
        config.sip.gate_blocked = vec!["192.0.2.0/24".into()];
        let rules = gate(&config);
        assert_eq!((rules.source_rate_per_s, rules.source_burst), (50, 50));
        assert_eq!(rules.blocked, [Network { address: [192, 0, 2, 0].into(), prefix: 24 }]);
        config.sip.gate_burst = 200;
        assert_eq!(gate(&config).source_burst, 200);
    }
}
