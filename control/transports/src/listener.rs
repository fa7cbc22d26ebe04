//! Accepts connections, within limits, and serves them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bifrons_api::rate::source_key;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::{Endpoint, Protocol, Settings};
use crate::gateway::Gateway;
use crate::http::{self, empty, header_text};
use crate::websocket;

/// What the transports count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // A field counts what its name says.
pub struct TransportCounters {
    pub connections: u64,
    /// Refused: too many, or too many of one address.
    pub connections_refused: u64,
    /// Refused: address not allowed.
    pub addresses_refused: u64,
    pub origins_refused: u64,
    /// Requests or messages over the size limit.
    pub bodies_refused: u64,
    pub polls_refused: u64,
    /// Clients that took too long.
    pub timeouts: u64,
    pub tls_failures: u64,
}

/// What all connections share.
pub(crate) struct Shared {
    pub gateway: Gateway,
    pub settings: Settings,
    pub stop: watch::Receiver<bool>,
    counters: Cell<TransportCounters>,
    open: Rc<Open>,
}

/// Connections that are open, by source.
#[derive(Default)]
struct Open {
    all: Cell<usize>,
    by_source: RefCell<HashMap<IpAddr, usize>>,
}

/// A connection's place; given back when it is dropped.
pub(crate) struct Permit(Rc<Open>, Option<IpAddr>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.all.set(self.0.all.get().saturating_sub(1));
        let Some(source) = self.1 else { return };
        let mut by_source = self.0.by_source.borrow_mut();
        if let Some(count) = by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                by_source.remove(&source);
            }
        }
    }
}

impl Shared {
    pub(crate) fn count(&self, f: impl FnOnce(&mut TransportCounters)) {
        let mut counters = self.counters.get();
        f(&mut counters);
        self.counters.set(counters);
    }

    fn permit(&self, source: IpAddr) -> Option<Permit> {
        let limits = &self.settings.limits;
        let count = self.open.by_source.borrow().get(&source).copied().unwrap_or(0);
        let full =
            self.open.all.get() >= limits.connections_max || count >= limits.connections_per_source_max;
        (!full).then(|| self.hold(Some(source)))
    }

    /// A place without a question: for what was let in already.
    pub(crate) fn hold(&self, source: Option<IpAddr>) -> Permit {
        self.open.all.set(self.open.all.get() + 1);
        if let Some(source) = source {
            *self.open.by_source.borrow_mut().entry(source).or_default() += 1;
        }
        Permit(self.open.clone(), source)
    }
}

/// Endpoints that are bound and not served yet.
pub struct Bound {
    listeners: Vec<(TcpListener, Protocol, Option<TlsAcceptor>)>,
}

/// An endpoint cannot be opened.
#[derive(Debug)]
pub struct BindError {
    /// Which.
    pub listen: SocketAddr,
    /// Why.
    pub reason: String,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.listen, self.reason)
    }
}

impl std::error::Error for BindError {}

/// Opens endpoints. In a tokio runtime.
pub async fn bind(endpoints: &[Endpoint]) -> Result<Bound, BindError> {
    let mut listeners = Vec::new();
    for Endpoint { protocol, listen, tls } in endpoints {
        let fail = |reason: String| BindError { listen: *listen, reason };
        let acceptor =
            tls.as_ref().map(|tls| tls.acceptor()).transpose().map_err(|error| fail(error.to_string()))?;
        let listener = TcpListener::bind(listen).await.map_err(|error| fail(error.to_string()))?;
        listeners.push((listener, *protocol, acceptor));
    }
    Ok(Bound { listeners })
}

impl Bound {
    /// Where clients connect, in the order of the endpoints.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(|(listener, ..)| listener.local_addr()).collect()
    }

    /// Serves the endpoints until `stop` turns true, then lets connections end. Must run in a
    /// [`tokio::task::LocalSet`]. Gives what was counted.
    pub async fn serve(
        self,
        gateway: Gateway,
        settings: Settings,
        stop: watch::Receiver<bool>,
    ) -> TransportCounters {
        let shared = Rc::new(Shared {
            gateway,
            settings,
            stop: stop.clone(),
            counters: Cell::default(),
            open: Rc::default(),
        });
        let accepting = self.listeners.into_iter().map(|(listener, protocol, tls)| {
            tokio::task::spawn_local(accept(shared.clone(), listener, protocol, tls))
        });
        for task in accepting.collect::<Vec<_>>() {
            let _ = task.await;
        }
        let deadline = tokio::time::Instant::now() + shared.settings.limits.stop_timeout;
        while shared.open.all.get() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        shared.counters.get()
    }
}

async fn accept(shared: Rc<Shared>, listener: TcpListener, protocol: Protocol, tls: Option<TlsAcceptor>) {
    let mut stop = shared.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, usually: waiting is all that helps.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Behind a trusted proxy many clients share an address: there the proxy counts.
        let proxied =
            shared.settings.access.trusted_proxies.iter().any(|network| network.contains(peer.ip()));
        let permit = if proxied { Some(shared.hold(None)) } else { shared.permit(source_key(peer.ip())) };
        let Some(permit) = permit else {
            shared.count(|counters| counters.connections_refused += 1);
            continue;
        };
        shared.count(|counters| counters.connections += 1);
        let (shared, tls) = (shared.clone(), tls.clone());
        tokio::task::spawn_local(async move {
            let _permit = permit;
            connection(shared, stream, peer.ip(), protocol, tls).await;
        });
    }
}

async fn connection(
    shared: Rc<Shared>,
    stream: TcpStream,
    peer: IpAddr,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => talk(shared, stream, peer, protocol).await,
        Some(acceptor) => {
            match tokio::time::timeout(shared.settings.limits.tls_timeout, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => talk(shared, stream, peer, protocol).await,
                _ => shared.count(|counters| counters.tls_failures += 1),
            }
        }
    }
}

async fn talk<S>(shared: Rc<Shared>, stream: S, peer: IpAddr, protocol: Protocol)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.settings.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes_max.max(8192))
        .max_headers(64)
        .half_close(false);
    let inner = shared.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = inner.clone();
        async move { Ok::<_, Infallible>(answer(shared, peer, protocol, request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let mut stop = shared.stop.clone();
    let result = tokio::select! {
        result = &mut connection => result,
        _ = stop.wait_for(|stop| *stop) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.stop_timeout, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result
        && error.is_timeout()
    {
        shared.count(|counters| counters.timeouts += 1);
    }
}

async fn answer(
    shared: Rc<Shared>,
    peer: IpAddr,
    protocol: Protocol,
    request: Request<Incoming>,
) -> http::Reply {
    const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let access = &shared.settings.access;
    let ip = access.client_ip(peer, header_text(request.headers(), &FORWARDED_FOR));
    if !access.allows(ip) {
        shared.count(|counters| counters.addresses_refused += 1);
        return empty(hyper::StatusCode::FORBIDDEN);
    }
    match protocol {
        Protocol::Http => http::serve(shared, ip, request).await,
        Protocol::WebSocket => websocket::handshake(shared, ip, request),
    }
}
