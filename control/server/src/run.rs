//! The gateway from its start to its end, on this thread.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bifrons_api::Api;
use bifrons_api::plugin::Plugin;
use bifrons_engine::{Engine, EngineConfig};
use bifrons_plugins::echotest::EchoTest;
use bifrons_plugins::nosip::NoSip;
use bifrons_transports::{Bound, Certificates, Endpoint, Gateway, Protocol, StaticFiles, Wakers, bind};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use crate::config::{Config, ConfigError};
use crate::counted::Counted;
use crate::demo::Demo;
use crate::demo::phones::Phones;
use crate::doctor::{self, Verdict};
use crate::signals::{Signals, Wish};
use crate::sip::SipSide;
use crate::sip_program;
use crate::start::{self, Origin};

/// How often a drain looks whether calls are left.
const DRAIN_LOOK: Duration = Duration::from_millis(100);
/// Time that the workers get to tell peers of closed legs (DTLS close_notify, RTCP BYE).
const CLOSING: Duration = Duration::from_millis(100);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A key of the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that no key is to blame for.
    #[error("{0}")]
    Start(String),
}

/// Runs a gateway until a signal ends it; with a demo, that too.
///
/// # Errors
/// It cannot start.
pub fn run(config: &Config, origin: &Origin, demo: Option<&Demo>) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Start(format!("no event loop: {error}")))?;
    LocalSet::new().block_on(&runtime, gateway(config, origin, demo))
}

async fn gateway(config: &Config, origin: &Origin, demo: Option<&Demo>) -> Result<(), RunError> {
    let mut signals = Signals::catch().map_err(|error| RunError::Start(format!("signals: {error}")))?;
    look(config, origin)?;
    let files = demo.map_or_else(StaticFiles::default, |demo| demo.files.clone());
    let settings = start::transports(config, origin, files)?;
    let certificates = certificates(config, origin)?;
    let endpoints = endpoints(config, certificates.as_ref());
    let bound = bind(&endpoints).await.map_err(|error| {
        let key = endpoint_key(config, error.listen);
        origin.error(key, format!("{}: {}", error.listen, error.reason))
    })?;

    let engine_config = start::engine(config, origin)?;
    let api_config = start::api(config, &engine_config);
    let engine = engine(config, origin, engine_config)?;

    let counted = Counted::of(&engine);

    let wakers = Wakers::new();
    let notices = engine.notice_handle().and_then(|fd| Gateway::watch_notices(&wakers, fd));
    notices.map_err(|error| RunError::Start(format!("the engine's notices: {error}")))?;
    let mut plugins: Vec<Box<dyn Plugin>> = Vec::new();
    let mut add = |plugin: Box<dyn Plugin>| {
        if !config.plugins.disable.iter().any(|package| package == plugin.info().package) {
            plugins.push(plugin);
        }
    };
    add(Box::new(EchoTest::new()));
    add(Box::new(NoSip::new(start::nosip(config, origin)?)));
    let mut sip = None;
    if !config.plugins.disable.iter().any(|package| package == "janus.plugin.sip") {
        let program = sip_program::find(config).map_err(|reason| origin.error("sip.program", reason))?;
        let (side, plugin) = SipSide::start(config, origin, &program, wakers.plugin(plugins.len()))?;
        plugins.push(Box::new(plugin));
        sip = Some(side);
    }

    let events_max = config.limits.events_queued_max;
    let api = Api::new(api_config, plugins);
    let gateway = Gateway::new(api, Box::new(engine), wakers, Instant::now(), events_max);
    let control = gateway.clone();
    spawn_local(async move { control.run(None).await });
    if let Some(sip) = &mut sip {
        sip.listening(origin).await?;
    }
    tell_addresses(&endpoints, &bound, &settings.base_path);
    let (stop, stopped) = watch::channel(false);
    let serving = spawn_local(bound.serve(gateway.clone(), settings, stopped));

    let mut phones = None;
    if let Some(demo) = demo {
        if let Some(registrar) = &demo.registrar {
            let program = sip_program::find(config).map_err(RunError::Start)?;
            let (listen, users) = (registrar.listen, registrar.users.clone());
            phones = Some(Phones::start(&program, listen, users, gateway.clone()).await?);
        }
        println!("{}", demo.greeting);
    }

    loop {
        match signals.next().await {
            Wish::Reload => reload(certificates.as_ref()),
            Wish::Count => {
                gateway.with(|api, _, _| counted.tell(api));
                if let Some(sip) = &sip {
                    sip.tell_counters();
                }
            }
            Wish::End => break,
        }
    }
    if let Some(sip) = &sip {
        sip.drain();
    }
    drain(&gateway, Duration::from_secs(config.server.drain_timeout_s), &mut signals).await;
    let calls = gateway.with(|api, media, now| {
        let calls = api.peer_connection_count();
        api.end_all(now, media);
        calls
    });
    if calls > 0 {
        tokio::time::sleep(CLOSING).await;
    }
    if let Some(sip) = sip {
        sip.end().await;
    }
    // After the gateway's farewells, which go to them.
    if let Some(phones) = phones {
        phones.end().await;
    }
    let _ = stop.send(true);
    let counters = serving.await.unwrap_or_default();
    tracing::info!(?counters, "ended");
    Ok(())
}

/// Tells what the machine does not grant, and refuses what cannot work.
fn look(config: &Config, origin: &Origin) -> Result<(), RunError> {
    start::check_available(config, origin)?;
    start::check_interfaces(config, origin)?;
    for finding in doctor::examine(config) {
        let mend = match finding.remedy.as_str() {
            "" => String::new(),
            remedy => format!("; to mend: {remedy}"),
        };
        match finding.verdict {
            Verdict::Good => {}
            Verdict::Short => tracing::warn!("{}: {}{mend}", finding.what, finding.found),
            Verdict::Bad => {
                return Err(RunError::Start(format!("{}: {}{mend}", finding.what, finding.found)));
            }
        }
    }
    Ok(())
}

/// Starts the engine, and tells what came of it: driver, addresses, scheduling.
fn engine(config: &Config, origin: &Origin, engine: EngineConfig) -> Result<Engine, ConfigError> {
    let certificate = start::dtls_certificate(config, origin)?;
    let started = match &certificate {
        Some(certificate) => Engine::start_with_certificate(engine, certificate),
        None => Engine::start(engine),
    };
    let (engine, report) = started.map_err(|error| origin.error("media", error))?;
    report.lines.iter().for_each(|line| tracing::info!("{line}"));
    Ok(engine)
}

fn tell_addresses(endpoints: &[Endpoint], bound: &Bound, base_path: &str) {
    for (endpoint, address) in endpoints.iter().zip(bound.addresses().unwrap_or_default()) {
        let secure = if endpoint.tls.is_some() { "s" } else { "" };
        match endpoint.protocol {
            Protocol::Http => tracing::info!("API at http{secure}://{address}{base_path}"),
            Protocol::WebSocket => tracing::info!("API at ws{secure}://{address}"),
        }
    }
}

fn certificates(config: &Config, origin: &Origin) -> Result<Option<Certificates>, ConfigError> {
    let (Some(chain), Some(key)) = (&config.tls.certificate, &config.tls.key) else { return Ok(None) };
    let loaded = Certificates::load(chain, key).map_err(|error| {
        let name = if error.file == *key { "tls.key" } else { "tls.certificate" };
        origin.error(name, error)
    })?;
    Ok(Some(loaded))
}

fn endpoints(config: &Config, tls: Option<&Certificates>) -> Vec<Endpoint> {
    let lists = [
        (Protocol::Http, &config.http.listen, None),
        (Protocol::Http, &config.http.listen_tls, tls),
        (Protocol::WebSocket, &config.websocket.listen, None),
        (Protocol::WebSocket, &config.websocket.listen_tls, tls),
    ];
    let mut endpoints = Vec::new();
    for (protocol, list, tls) in lists {
        for &listen in list {
            endpoints.push(Endpoint { protocol, listen, tls: tls.cloned() });
        }
    }
    endpoints
}

/// The key that an address stands under.
fn endpoint_key(config: &Config, listen: SocketAddr) -> &'static str {
    let keys = [
        ("http.listen", &config.http.listen),
        ("http.listen_tls", &config.http.listen_tls),
        ("websocket.listen", &config.websocket.listen),
        ("websocket.listen_tls", &config.websocket.listen_tls),
    ];
    keys.into_iter().find(|(_, list)| list.contains(&listen)).map_or("http.listen", |(key, _)| key)
}

fn reload(certificates: Option<&Certificates>) {
    match certificates.map(Certificates::reload) {
        Some(Ok(())) => tracing::info!("certificates read again"),
        Some(Err(error)) => tracing::error!("{error}; the old certificate stays"),
        None => tracing::info!("SIGHUP: there is no certificate to read again"),
    }
}

/// Takes no new sessions, and lets calls go on until they have ended, time is over, or a second signal
/// comes.
async fn drain(gateway: &Gateway, timeout: Duration, signals: &mut Signals) {
    let calls = || gateway.with(|api, _, _| api.peer_connection_count());
    gateway.with(|api, _, _| api.set_accepting(false));
    tracing::info!("draining: {} calls", calls());
    let end = tokio::time::Instant::now() + timeout;
    while calls() > 0 {
        let look = (tokio::time::Instant::now() + DRAIN_LOOK).min(end);
        tokio::select! {
            () = tokio::time::sleep_until(look) => {}
            () = signals.end() => {
                tracing::info!("a second signal: {} calls are ended", calls());
                return;
            }
        }
        if look >= end {
            tracing::info!("the drain is over: {} calls are ended", calls());
            return;
        }
    }
}
