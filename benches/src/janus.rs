//! A client of the Janus API over one WebSocket: requests by transaction, events by handle.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Longest wait for an answer or an event.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection; clones share it.
#[derive(Clone)]
pub struct Janus {
    send: mpsc::UnboundedSender<String>,
    shared: Arc<Mutex<Shared>>,
    transactions: Arc<AtomicU64>,
}

#[derive(Default)]
struct Shared {
    answers: HashMap<String, oneshot::Sender<Value>>,
    handles: HashMap<u64, mpsc::UnboundedSender<Value>>,
    closed: Option<String>,
}

/// A handle and its events.
pub struct Handle {
    janus: Janus,
    session: u64,
    id: u64,
    events: mpsc::UnboundedReceiver<Value>,
}

impl Janus {
    /// Connects to a WebSocket address, `host:port`.
    ///
    /// # Errors
    /// The server is not there or does not speak the subprotocol.
    pub async fn connect(address: SocketAddr) -> Result<Self, String> {
        let fail = |error: &dyn std::fmt::Display| format!("ws://{address}: {error}");
        let stream = TcpStream::connect(address).await.map_err(|error| fail(&error))?;
        stream.set_nodelay(true).map_err(|error| fail(&error))?;
        let mut request = format!("ws://{address}/").into_client_request().map_err(|error| fail(&error))?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("janus-protocol"));
        let (stream, _) =
            tokio_tungstenite::client_async(request, stream).await.map_err(|error| fail(&error))?;
        let (mut sink, mut source) = stream.split();
        let (send, mut queue) = mpsc::unbounded_channel::<String>();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        tokio::spawn(async move {
            while let Some(text) = queue.recv().await {
                if sink.send(Message::text(text)).await.is_err() {
                    return; // the reading side says so
                }
            }
        });
        let reader = shared.clone();
        tokio::spawn(async move {
            let why = loop {
                match source.next().await {
                    Some(Ok(Message::Text(text))) => lock(&reader).take(text.as_str()),
                    Some(Ok(_)) => {}
                    Some(Err(Error::ConnectionClosed)) | None => break "the server closed it".to_owned(),
                    Some(Err(error)) => break error.to_string(),
                }
            };
            let mut shared = lock(&reader);
            shared.closed = Some(why);
            shared.answers.clear();
            shared.handles.clear();
        });
        Ok(Self { send, shared, transactions: Arc::default() })
    }

    /// Sends a request and waits for what has its transaction: `success`, `ack` or `error`.
    ///
    /// # Errors
    /// `error` from the server, no answer, or a lost connection.
    pub async fn request(&self, mut request: Value) -> Result<Value, String> {
        let transaction = self.transactions.fetch_add(1, Ordering::Relaxed).to_string();
        request["transaction"] = json!(transaction);
        let (reply, answer) = oneshot::channel();
        {
            let mut shared = lock(&self.shared);
            if let Some(why) = &shared.closed {
                return Err(format!("the connection is gone: {why}"));
            }
            shared.answers.insert(transaction, reply);
        }
        let what = request["janus"].as_str().unwrap_or_default().to_owned();
        // A lost connection is noticed by the answer that never comes.
        let _ = self.send.send(request.to_string());
        let answer =
            tokio::time::timeout(PATIENCE, answer).await.map_err(|_| format!("{what}: no answer"))?;
        let answer = answer.map_err(|_| format!("{what}: the connection is gone"))?;
        match answer["janus"].as_str() {
            Some("error") => Err(format!("{what}: {}", answer["error"])),
            _ => Ok(answer),
        }
    }

    /// Makes a session and keeps it alive as long as the connection is.
    ///
    /// # Errors
    /// As [`Janus::request`].
    pub async fn create(&self) -> Result<u64, String> {
        let answer = self.request(json!({"janus": "create"})).await?;
        let session = answer["data"]["id"].as_u64().ok_or_else(|| format!("create: {answer}"))?;
        let janus = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(20)).await;
                let alive = json!({"janus": "keepalive", "session_id": session});
                if janus.request(alive).await.is_err() {
                    return;
                }
            }
        });
        Ok(session)
    }

    /// Ends a session and all its handles.
    ///
    /// # Errors
    /// As [`Janus::request`].
    pub async fn destroy(&self, session: u64) -> Result<(), String> {
        self.request(json!({"janus": "destroy", "session_id": session})).await.map(drop)
    }

    /// Attaches to a plugin.
    ///
    /// # Errors
    /// As [`Janus::request`].
    pub async fn attach(&self, session: u64, plugin: &str) -> Result<Handle, String> {
        let request = json!({"janus": "attach", "session_id": session, "plugin": plugin});
        let answer = self.request(request).await?;
        let id = answer["data"]["id"].as_u64().ok_or_else(|| format!("attach: {answer}"))?;
        let (send, events) = mpsc::unbounded_channel();
        lock(&self.shared).handles.insert(id, send);
        Ok(Handle { janus: self.clone(), session, id, events })
    }
}

impl Handle {
    /// Sends a message to the plugin, with an offer where there is one.
    ///
    /// # Errors
    /// As [`Janus::request`].
    pub async fn message(&self, body: Value, offer: Option<&str>) -> Result<(), String> {
        let mut request =
            json!({"janus": "message", "session_id": self.session, "handle_id": self.id, "body": body});
        if let Some(sdp) = offer {
            request["jsep"] = json!({"type": "offer", "sdp": sdp, "trickle": false});
        }
        self.janus.request(request).await.map(drop)
    }

    /// Detaches: the server ends what the handle has.
    ///
    /// # Errors
    /// As [`Janus::request`].
    pub async fn detach(self) -> Result<(), String> {
        let request = json!({"janus": "detach", "session_id": self.session, "handle_id": self.id});
        let answer = self.janus.request(request).await;
        lock(&self.janus.shared).handles.remove(&self.id);
        answer.map(drop)
    }

    /// Waits for an event of the plugin that `wanted` takes; others are passed over.
    ///
    /// # Errors
    /// An error of the plugin, `hangup`, or nothing in time.
    pub async fn event<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T, String> {
        let wait = async {
            while let Some(event) = self.events.recv().await {
                if event["janus"] == "hangup" {
                    return Err(format!("{what}: hangup, {}", event["reason"]));
                }
                let data = &event["plugindata"]["data"];
                if let Some(error) = data.get("error") {
                    return Err(format!("{what}: {error}"));
                }
                if data["result"]["event"] == "hangup" || data["result"]["event"] == "registration_failed" {
                    return Err(format!("{what}: {}", data["result"]));
                }
                if let Some(found) = wanted(&event) {
                    return Ok(found);
                }
            }
            Err(format!("{what}: the connection is gone"))
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| Err(format!("{what}: no event")))
    }
}

impl Shared {
    fn take(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else { return };
        // An event carries the transaction of its request too, and may overtake the `ack`.
        if message["janus"] != "event"
            && let Some(answer) = message["transaction"].as_str().and_then(|t| self.answers.remove(t))
        {
            let _ = answer.send(message);
            return;
        }
        if let Some(handle) = message["sender"].as_u64().and_then(|id| self.handles.get(&id)) {
            let _ = handle.send(message);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
