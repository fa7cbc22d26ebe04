//! The API over WebSocket (RFC 6455), subprotocol `janus-protocol`.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bifrons_api::RequestSource;
use bifrons_api::rate::source_key;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::http::{Reply, empty, header_text};
use crate::listener::Shared;

/// The subprotocol of the API.
const SUBPROTOCOL: &str = "janus-protocol";

/// What may wait to be written at once, bytes. It is flushed before anything is waited for.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// Answers a request at a WebSocket endpoint: a handshake, or 403.
pub(crate) fn handshake(shared: Rc<Shared>, ip: IpAddr, mut request: Request<Incoming>) -> Reply {
    let headers = request.headers();
    let named = |name, word: &str| {
        header_text(headers, &name)
            .is_some_and(|value| value.split(',').any(|v| v.trim().eq_ignore_ascii_case(word)))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let is_handshake = request.method() == Method::GET
        && request.version() >= Version::HTTP_11
        && named(header::CONNECTION, "upgrade")
        && named(header::UPGRADE, "websocket");
    let Some(accept) = key.filter(|_| is_handshake) else { return empty(StatusCode::FORBIDDEN) };
    if !named(header::SEC_WEBSOCKET_VERSION, "13") {
        let mut reply = empty(StatusCode::UPGRADE_REQUIRED);
        reply.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return reply;
    }
    let origin = header_text(headers, &header::ORIGIN);
    if !shared.settings.access.allows_origin(origin) {
        shared.count(|counters| counters.origins_refused += 1);
        return empty(StatusCode::FORBIDDEN);
    }
    if !named(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return empty(StatusCode::FORBIDDEN);
    }
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = reply.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Ok(origin) = HeaderValue::from_str(&shared.settings.access.origin_header(origin).0) {
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    // The connection's own place is given back when its HTTP part ends.
    let place = shared.hold(Some(source_key(ip)));
    tokio::task::spawn_local(async move {
        let _place = place;
        let Ok(io) = upgrade.await else { return };
        let max = shared.settings.limits.body_bytes_max;
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(max.max(1 << 20))
            .max_message_size(Some(max))
            .max_frame_size(Some(max));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await;
        run(&shared, ip, socket).await;
    });
    reply
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// One client until it goes.
async fn run(shared: &Shared, ip: IpAddr, mut socket: Socket) {
    let (transport, mut outgoing) = shared.gateway.connect();
    let source = RequestSource { transport, ip: Some(ip) };
    let settings = &shared.settings;
    let write_timeout = settings.limits.write_timeout;
    let (ping_after, pong_timeout) = match (settings.ping_after, settings.pong_timeout) {
        (Some(after), Some(timeout)) => (after, timeout),
        _ => (FAR, FAR),
    };
    let mut heard = Instant::now();
    let mut pinged = false;
    let mut stop = shared.stop.clone();
    let reason = loop {
        let deadline = heard + ping_after + if pinged { pong_timeout } else { Duration::ZERO };
        tokio::select! {
            // First what is to go out: a client that asks faster than it reads is slowed down.
            biased;
            text = outgoing.recv() => {
                let Some(text) = text else { break Some((CloseCode::Policy, "too slow")) };
                match timeout(write_timeout, send_all(&mut socket, text, &mut outgoing)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => break None,
                    Err(_) => {
                        shared.count(|counters| counters.timeouts += 1);
                        break None;
                    }
                }
            }
            message = socket.next() => {
                heard = Instant::now();
                pinged = false;
                match message {
                    Some(Ok(Message::Text(text))) => shared.gateway.request_text(source, &text),
                    // Clients that send text as binary are understood.
                    Some(Ok(Message::Binary(bytes))) => {
                        shared.gateway.request_text(source, &String::from_utf8_lossy(&bytes));
                    }
                    Some(Ok(Message::Close(_))) | None => break None,
                    Some(Ok(_)) => {}
                    Some(Err(Error::Capacity(_))) => {
                        shared.count(|counters| counters.bodies_refused += 1);
                        break Some((CloseCode::Size, "message too long"));
                    }
                    Some(Err(_)) => break None,
                }
            }
            () = sleep_until(deadline) => {
                if pinged {
                    shared.count(|counters| counters.timeouts += 1);
                    break None;
                }
                pinged = true;
                if !matches!(timeout(write_timeout, socket.send(Message::Ping(Default::default()))).await, Ok(Ok(()))) {
                    break None;
                }
            }
            _ = stop.wait_for(|stop| *stop) => break Some((CloseCode::Away, "server stops")),
        }
    };
    shared.gateway.disconnect(transport);
    if let Some((code, reason)) = reason {
        let frame = CloseFrame { code, reason: reason.into() };
        let _ = timeout(Duration::from_secs(1), socket.close(Some(frame))).await;
    }
}

/// Sends a text and what waits behind it: one system call for an acknowledgement and the event that follows at once.
async fn send_all(
    socket: &mut Socket,
    first: String,
    outgoing: &mut tokio::sync::mpsc::Receiver<String>,
) -> Result<(), Error> {
    socket.feed(Message::text(first)).await?;
    while let Ok(text) = outgoing.try_recv() {
        socket.feed(Message::text(text)).await?;
    }
    socket.flush().await
}

/// Longer than any connection.
const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);
