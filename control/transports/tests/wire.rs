//! The API over real sockets: raw HTTP, a WebSocket client, TLS.

#[path = "../../api/tests/support/mod.rs"]
mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bifrons_api::{Api, ApiConfig};
use bifrons_transports::{
    Certificates, Endpoint, Gateway, Protocol, Settings, StaticFiles, TransportCounters, Wakers, bind,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::media::FakeMedia;
use support::plugin::{PACKAGE, TestPlugin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

struct Server {
    http: SocketAddr,
    ws: SocketAddr,
    https: Option<SocketAddr>,
    gateway: Gateway,
}

/// Runs a test against a server and gives what the server counted.
fn with_server<F: Future<Output = ()>>(
    config: ApiConfig,
    settings: Settings,
    certificates: Option<Certificates>,
    events_max: usize,
    test: impl FnOnce(Server) -> F,
) -> TransportCounters {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let wakers = Wakers::new();
        let api = Api::new(config, vec![Box::new(TestPlugin::default())]);
        let gateway = Gateway::new(api, Box::new(FakeMedia::default()), wakers, Instant::now(), events_max);
        let any = "127.0.0.1:0".parse().unwrap();
        let mut endpoints = vec![
            Endpoint { protocol: Protocol::Http, listen: any, tls: None },
            Endpoint { protocol: Protocol::WebSocket, listen: any, tls: None },
        ];
        let tls = certificates.is_some();
        endpoints.extend(certificates.map(|tls| Endpoint {
            protocol: Protocol::Http,
            listen: any,
            tls: Some(tls),
        }));
        let bound = bind(&endpoints).await.unwrap();
        let addresses = bound.addresses().unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let looping = gateway.clone();
        let control = tokio::task::spawn_local(async move { looping.run(None).await });
        let serving = tokio::task::spawn_local(bound.serve(gateway.clone(), settings, stopped));
        let https = tls.then(|| addresses[2]);
        let server = Server { http: addresses[0], ws: addresses[1], https, gateway };
        tokio::time::timeout(Duration::from_secs(30), test(server)).await.expect("in time");
        stop.send(true).unwrap();
        let counters = serving.await.unwrap();
        control.abort();
        counters
    })
}

fn serve<F: Future<Output = ()>>(test: impl FnOnce(Server) -> F) -> TransportCounters {
    with_server(ApiConfig::default(), Settings::default(), None, 64, test)
}

/// Status, head and body of a request on a connection of its own.
async fn http(to: SocketAddr, head: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    response(&mut stream).await
}

/// As [`http`], with header lines of the test's own.
async fn raw(to: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    response(&mut stream).await
}

async fn response(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (u16, String, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

async fn post(to: SocketAddr, path: &str, body: Value) -> Value {
    let (status, head, body) = http(to, &format!("POST {path}"), &body.to_string()).await;
    assert!(status == 200 && head.contains("content-type: application/json"), "{head}");
    serde_json::from_str(&body).unwrap()
}

async fn get(to: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = http(to, &format!("GET {path}"), "").await;
    (status, body)
}

fn simple(verb: &str) -> Value {
    json!({"janus": verb, "transaction": "t"})
}

async fn session(to: SocketAddr) -> u64 {
    post(to, "/janus", simple("create")).await["data"]["id"].as_u64().unwrap()
}

async fn attached(to: SocketAddr) -> (u64, u64) {
    let s = session(to).await;
    let attach = json!({"janus": "attach", "transaction": "t", "plugin": PACKAGE});
    (s, post(to, &format!("/janus/{s}"), attach).await["data"]["id"].as_u64().unwrap())
}

#[test]
fn http_paths() {
    serve(|server| async move {
        let to = server.http;
        let (s, h) = attached(to).await;
        assert_eq!(post(to, "/JANUS/abc", simple("ping")).await["janus"], "pong");
        assert_eq!(post(to, &format!("/janus/{s}/{h}/"), simple("keepalive")).await["janus"], "ack");
        let conflict = json!({"janus": "keepalive", "transaction": "t", "session_id": 5});
        assert_eq!(
            post(to, &format!("/janus/{s}"), conflict).await,
            json!({"janus": "error", "error": {"code": 457, "reason": "Conflicting session ID (payload and path)"}})
        );
        let conflict = json!({"janus": "keepalive", "transaction": "t", "handle_id": 5});
        let reply = post(to, &format!("/janus/{s}/{h}"), conflict).await;
        assert_eq!(reply["error"]["reason"], "Conflicting handle ID (payload and path)");
        let (status, body) = get(to, "/janus/info").await;
        let info: Value = serde_json::from_str(&body).unwrap();
        assert!(
            status == 200
                && info["janus"] == "server_info"
                && info["transaction"].as_str().unwrap().len() == 11
        );
        assert_eq!(http(to, "POST /janus/ping", "{}").await.0, 400);
        assert_eq!(
            (get(to, "/janus").await.0, get(to, "/other").await.0, get(to, "/janus/1/2/3").await.0),
            (404, 404, 404)
        );
        let (status, head, _) = http(to, &format!("GET /janus/{s}/{h}"), "").await;
        assert!(status == 302 && head.contains(&format!("location: /janus/{s}")));
        assert_eq!(http(to, "PUT /janus", "{}").await.0, 405);
        assert_eq!(http(to, "POST /janus", "").await.0, 400);
        for (body, code, reason) in [
            ("[]", 455, "JSON error: not an object"),
            ("{", 454, "JSON error: on line 1"),
            ("3", 454, "JSON error: on line 1"),
        ] {
            let reply: Value = serde_json::from_str(&http(to, "POST /janus", body).await.2).unwrap();
            assert!(
                reply["error"]["code"] == code
                    && reply["error"]["reason"].as_str().unwrap().starts_with(reason),
                "{reply}"
            );
        }
        // What janus.js sends with a page that closes: no CORS preflight, plain text.
        let destroy = simple("destroy").to_string();
        let beacon = format!(
            "POST /janus/{s} HTTP/1.1\r\nHost: x\r\nOrigin: https://page\r\nContent-Type: text/plain;charset=UTF-8\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{destroy}",
            destroy.len()
        );
        assert!(raw(to, &beacon).await.2.contains("success"));
        assert_eq!(server.gateway.with(|api, _, _| api.session_count()), 0);
    });
}

#[test]
fn long_polls() {
    let mut settings = Settings::default();
    settings.limits.poll_timeout = Duration::from_millis(300);
    let config = ApiConfig { api_secret: Some("s 3".into()), ..ApiConfig::default() };
    with_server(config, settings, None, 64, |server| async move {
        let to = server.http;
        let with_secret = |mut request: Value| {
            request["apisecret"] = "s 3".into();
            request
        };
        let create = with_secret(simple("create"));
        let s = post(to, "/janus", create).await["data"]["id"].as_u64().unwrap();
        let attach = with_secret(json!({"janus": "attach", "transaction": "t", "plugin": PACKAGE}));
        let h = post(to, &format!("/janus/{s}"), attach).await["data"]["id"].as_u64().unwrap();
        let poll = |max: u32| format!("/janus/{s}?rid=1&maxev={max}&apisecret=s%203");
        assert_eq!(get(to, &format!("/janus/{s}?apisecret=wrong")).await, (403, "".into()));
        assert_eq!(get(to, "/janus/77?apisecret=s+3").await, (404, "".into()));
        assert_eq!(get(to, &poll(1)).await, (200, r#"{"janus":"keepalive"}"#.into()));
        assert_eq!(get(to, &poll(5)).await, (200, r#"[{"janus":"keepalive"}]"#.into()));
        let ask = |transaction: &str| {
            with_secret(json!({"janus": "message", "transaction": transaction, "body": {}}))
        };
        let path = format!("/janus/{s}/{h}");
        for transaction in ["a", "b", "c"] {
            assert_eq!(post(to, &path, ask(transaction)).await["janus"], "ack");
        }
        let one: Value = serde_json::from_str(&get(to, &poll(1)).await.1).unwrap();
        assert_eq!(one["transaction"], "a");
        let two: Value = serde_json::from_str(&get(to, &poll(9)).await.1).unwrap();
        assert_eq!((two.as_array().unwrap().len(), &two[1]["transaction"]), (2, &json!("c")));
        // Two wait; one event answers both.
        let first = tokio::task::spawn_local(http_get(to, poll(1)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let second = tokio::task::spawn_local(http_get(to, poll(1)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        post(to, &path, ask("d")).await;
        assert!(first.await.unwrap().contains(r#""transaction":"d""#));
        assert_eq!(second.await.unwrap(), r#"{"janus":"keepalive"}"#);
        // A client that left does not take an event with it.
        let mut gone = TcpStream::connect(to).await.unwrap();
        gone.write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", poll(1)).as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(gone);
        tokio::time::sleep(Duration::from_millis(50)).await;
        post(to, &path, ask("e")).await;
        assert!(get(to, &poll(1)).await.1.contains(r#""transaction":"e""#));
        post(to, &format!("/janus/{s}"), with_secret(simple("destroy"))).await;
        assert_eq!(get(to, &poll(1)).await.0, 404);
    });
}

async fn http_get(to: SocketAddr, path: String) -> String {
    get(to, &path).await.1
}

#[test]
fn origins_addresses_and_files() {
    let mut settings = Settings::default();
    settings.access.allow_origins = vec!["https://good".into()];
    settings.access.enforce_origin = true;
    settings.access.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    settings.access.allow = vec!["127.".parse().unwrap(), "192.0.2.0/24".parse().unwrap()];
    settings.files = StaticFiles::new([("/demo/".into(), "text/html".into(), b"<p>hello".to_vec())]);
    let counters = with_server(ApiConfig::default(), settings, None, 64, |server| async move {
        let ask =
            |extra: &str| format!("GET /janus/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n");
        let (status, head, _) = raw(server.http, &ask("Origin: https://good\r\n")).await;
        assert!(status == 200 && head.contains("access-control-allow-origin: https://good"), "{head}");
        assert!(head.contains("vary: origin") && head.contains("access-control-allow-credentials: true"));
        assert_eq!(raw(server.http, &ask("Origin: https://good.evil\r\n")).await.0, 403);
        assert_eq!(raw(server.http, &ask("")).await.0, 403);
        let good = "Origin: https://good\r\nX-Forwarded-For: 6.6.6.6, ";
        assert_eq!(raw(server.http, &ask(&format!("{good}192.0.2.7\r\n"))).await.0, 200);
        assert_eq!(raw(server.http, &ask(&format!("{good}198.51.100.1\r\n"))).await.0, 403);
        let preflight = "OPTIONS /janus/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: https://good\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n";
        let (status, head, _) = raw(server.http, preflight).await;
        assert!(
            status == 200
                && head.contains("access-control-allow-methods: post")
                && head.contains("access-control-allow-headers: content-type")
        );
        let (status, head, body) = http(server.http, "GET /demo/", "").await;
        assert!(status == 200 && head.contains("content-type: text/html") && body == "<p>hello");
        assert_eq!(get(server.http, "/demo/../etc/passwd").await.0, 404);
        assert!(matches!(websocket(server.ws, "janus-protocol", "https://evil").await, Err(403)));
        assert!(websocket(server.ws, "janus-protocol", "https://good").await.is_ok());
    });
    assert_eq!((counters.origins_refused, counters.addresses_refused), (3, 1));
}

type Client = WebSocketStream<TcpStream>;

/// Connects; or gives the status of the refusal.
async fn websocket(to: SocketAddr, protocol: &str, origin: &str) -> Result<Client, u16> {
    let mut request = format!("ws://{to}/any/path").into_client_request().unwrap();
    for (name, value) in [("Sec-WebSocket-Protocol", protocol), ("Origin", origin)] {
        if !value.is_empty() {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    match client_async(request, TcpStream::connect(to).await.unwrap()).await {
        Ok((client, reply)) => {
            assert_eq!(reply.headers()["Sec-WebSocket-Protocol"], "janus-protocol");
            Ok(client)
        }
        Err(Error::Http(reply)) => Err(reply.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn next(client: &mut Client) -> Value {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn say(client: &mut Client, request: Value) -> Value {
    client.send(Message::text(request.to_string())).await.unwrap();
    next(client).await
}

#[test]
fn a_websocket_session() {
    serve(|server| async move {
        for wrong in ["", "janus-admin-protocol", "other"] {
            assert!(matches!(websocket(server.ws, wrong, "").await, Err(403)), "{wrong}");
        }
        assert_eq!(get(server.ws, "/").await.0, 403, "plain HTTP");
        let mut client = websocket(server.ws, "chat, janus-protocol", "").await.unwrap();
        let s = say(&mut client, simple("create")).await["data"]["id"].as_u64().unwrap();
        let attach = json!({"janus": "attach", "transaction": "t", "session_id": s, "plugin": PACKAGE});
        let h = say(&mut client, attach).await["data"]["id"].as_u64().unwrap();
        let message =
            json!({"janus": "message", "transaction": "m", "session_id": s, "handle_id": h, "body": {}});
        assert_eq!(say(&mut client, message.clone()).await["janus"], "ack");
        assert_eq!(next(&mut client).await["janus"], "event");
        // Two in one text, one in binary, a broken one.
        client.send(Message::text(format!("{}{}", simple("ping"), simple("info")))).await.unwrap();
        assert_eq!(
            (next(&mut client).await["janus"].clone(), next(&mut client).await["janus"].clone()),
            (json!("pong"), json!("server_info"))
        );
        client.send(Message::binary(simple("ping").to_string())).await.unwrap();
        assert_eq!(next(&mut client).await["janus"], "pong");
        client.send(Message::text("{".to_string())).await.unwrap();
        assert_eq!(next(&mut client).await["error"]["code"], 454);
        // Another connection claims; events go there.
        let mut other = websocket(server.ws, "janus-protocol", "").await.unwrap();
        let claim = json!({"janus": "claim", "transaction": "c", "session_id": s});
        assert_eq!(say(&mut other, claim).await["janus"], "success");
        assert_eq!(say(&mut client, message).await["janus"], "ack");
        assert_eq!(next(&mut other).await["janus"], "event");
        client.close(None).await.unwrap();
        while client.next().await.is_some() {}
        assert_eq!(server.gateway.with(|api, _, _| api.session_count()), 1);
        drop(other);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.gateway.with(|api, _, _| api.session_count()), 0);
    });
}

#[test]
fn websocket_limits() {
    let mut settings = Settings::default();
    settings.limits.body_bytes_max = 4096;
    let counters = with_server(ApiConfig::default(), settings, None, 4, |server| async move {
        // Fragments become one message (RFC 6455 §5.4).
        let mut client = websocket(server.ws, "janus-protocol", "").await.unwrap();
        client.get_mut().write_all(&frame(0x01, br#"{"janus":"ping","#)).await.unwrap();
        client.get_mut().write_all(&frame(0x80, br#""transaction":"t"}"#)).await.unwrap();
        assert_eq!(next(&mut client).await["janus"], "pong");
        // A length of 2^63 announced.
        let mut header = vec![0x81, 0xff];
        header.extend((1u64 << 63).to_be_bytes());
        header.extend([0; 4]);
        client.get_mut().write_all(&header).await.unwrap();
        ends(client).await;
        let mut client = websocket(server.ws, "janus-protocol", "").await.unwrap();
        client.send(Message::text("x".repeat(5000))).await.unwrap();
        ends(client).await;
        // Text that is not UTF-8 (RFC 6455 §8.1).
        let mut client = websocket(server.ws, "janus-protocol", "").await.unwrap();
        client.get_mut().write_all(&frame(0x81, &[0xff, 0xfe])).await.unwrap();
        ends(client).await;
        // One that asks and never reads.
        let mut client = websocket(server.ws, "janus-protocol", "").await.unwrap();
        let many = vec![simple("ping").to_string(); 60].join(" ");
        let _ = client.send(Message::text(many)).await;
        ends(client).await;
        assert_eq!(server.gateway.hub_counters().slow_clients, 1);
        assert_eq!(post(server.http, "/janus", simple("ping")).await["janus"], "pong", "others are served");
    });
    assert_eq!(counters.bodies_refused, 2);
}

/// A masked frame (mask 0).
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    frame.extend(payload);
    frame
}

async fn ends(mut client: Client) {
    let end = async { while let Some(Ok(_)) = client.next().await {} };
    tokio::time::timeout(Duration::from_secs(5), end).await.expect("the server closes");
}

#[test]
fn slow_and_greedy_clients() {
    let mut settings = Settings::default();
    settings.limits.head_timeout = Duration::from_millis(200);
    settings.limits.body_timeout = Duration::from_millis(200);
    settings.limits.connections_per_source_max = 3;
    settings.limits.body_bytes_max = 1000;
    let counters = with_server(ApiConfig::default(), settings, None, 64, |server| async move {
        // A head that never ends, a body that never comes, a body of another length than said.
        let (status, ..) = raw(server.http, "GET /janus/ping HTTP/1.1\r\nHo").await;
        assert!(matches!(status, 0 | 408), "{status}");
        assert_eq!(
            raw(server.http, "POST /janus HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await.0,
            408
        );
        let long = "x".repeat(2000);
        assert_eq!(http(server.http, "POST /janus", &long).await.0, 413);
        let chunked = format!(
            "POST /janus HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{long}\r\n0\r\n\r\n"
        );
        assert_eq!(raw(server.http, &chunked).await.0, 413);
        let lies = "POST /janus HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}";
        assert_eq!(raw(server.http, lies).await.0, 400);
        let head = format!("GET /janus/ping HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(40_000));
        assert!(matches!(raw(server.http, &head).await.0, 0 | 431));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let held: Vec<Client> = {
            let mut held = Vec::new();
            for _ in 0..3 {
                held.push(websocket(server.ws, "janus-protocol", "").await.unwrap());
            }
            held
        };
        assert_eq!(
            raw(server.http, "GET /janus/ping HTTP/1.1\r\nHost: x\r\n\r\n").await.0,
            0,
            "a fourth is refused"
        );
        drop(held);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(post(server.http, "/janus", simple("ping")).await["janus"], "pong");
    });
    assert!(
        counters.timeouts >= 1 && counters.bodies_refused == 2 && counters.connections_refused == 1,
        "{counters:?}"
    );
}

#[test]
fn pings_find_the_dead() {
    let settings = Settings {
        ping_after: Some(Duration::from_millis(100)),
        pong_timeout: Some(Duration::from_millis(200)),
        ..Settings::default()
    };
    with_server(ApiConfig::default(), settings, None, 64, |server| async move {
        let mut alive = websocket(server.ws, "janus-protocol", "").await.unwrap();
        let dead = websocket(server.ws, "janus-protocol", "").await.unwrap();
        say(&mut alive, simple("create")).await;
        // Reading answers pings.
        let reading = async { while let Some(Ok(_)) = alive.next().await {} };
        assert!(tokio::time::timeout(Duration::from_millis(900), reading).await.is_err(), "it stays");
        let mut stream = dead.into_inner();
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        assert!(tokio::time::timeout(Duration::from_secs(5), end).await.is_ok(), "it goes");
    });
}

/// Two self-signed certificates after one another in the same files.
#[test]
fn certificates_are_exchanged() {
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let folder = std::env::temp_dir().join(format!("bifrons-wire-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    let make = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    };
    let first = make();
    let certificates = Certificates::load(&chain, &key).unwrap();
    let reloaded = certificates.clone();
    let key_file = &key;
    with_server(ApiConfig::default(), Settings::default(), Some(certificates), 64, |server| async move {
        let to = server.https.unwrap();
        let connect = async |trusted| {
            let mut roots = RootCertStore::empty();
            roots.add(trusted).unwrap();
            let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            let name = ServerName::try_from("localhost").unwrap();
            let stream = TcpStream::connect(to).await.unwrap();
            TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await
        };
        let mut old = connect(first.clone()).await.unwrap();
        std::fs::write(key_file, "no key").unwrap();
        assert!(reloaded.reload().unwrap_err().to_string().contains("key.pem"));
        assert!(connect(first.clone()).await.is_ok(), "after a failure the old one stays");
        let second = make();
        reloaded.reload().unwrap();
        assert!(connect(first).await.is_err());
        for stream in [&mut old, &mut connect(second).await.unwrap()] {
            let ask = "GET /janus/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(ask.as_bytes()).await.unwrap();
            assert!(response(stream).await.2.contains("pong"));
        }
        // No TLS at all.
        assert_eq!(raw(to, "GET / HTTP/1.1\r\n\r\n").await.0, 0);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A notice reaches the client without anybody else doing anything.
#[test]
fn the_engine_wakes_the_loop() {
    use std::io::Write;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let plugin = TestPlugin::default();
        let media = FakeMedia::default();
        let (record, calls) = (media.0.clone(), plugin.calls.clone());
        let api = Api::new(ApiConfig::default(), vec![Box::new(plugin)]);
        let wakers = Wakers::new();
        let gateway = Gateway::new(api, Box::new(media), wakers.clone(), Instant::now(), 4);
        let (reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        let looping = gateway.clone();
        tokio::task::spawn_local(async move { looping.run(None).await });
        Gateway::watch_notices(&wakers, reader.into()).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let taken = async || {
            while !record.borrow().notices.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        for _ in 0..3 {
            let leg = bifrons_engine::LegId::new(0, 1, 1);
            record.borrow_mut().notices.push_back(bifrons_engine::media::Notice::Up { leg });
            writer.write_all(&[1]).unwrap();
            tokio::time::timeout(Duration::from_secs(5), taken()).await.expect("taken");
        }
        wakers.plugin(0).wake();
        let woken = async {
            while calls.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), woken).await.expect("woken");
        drop(gateway);
    });
}
