//! The API over HTTP: requests, long polls, and the files beside them.

use std::net::IpAddr;
use std::rc::Rc;

use bifrons_api::PollRefused;
use bifrons_api::error::{ApiError, Code};
use bifrons_api::json;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value};

use crate::config::Settings;
use crate::gateway::Gateway;
use crate::hub::Poll;
use crate::listener::Shared;

pub(crate) type Reply = Response<Full<Bytes>>;

/// Most events of one long poll.
const EVENTS_MAX: usize = 256;

/// Serves one request of one client.
pub(crate) async fn serve(shared: Rc<Shared>, ip: IpAddr, request: Request<Incoming>) -> Reply {
    let settings = &shared.settings;
    let origin = header_text(request.headers(), &header::ORIGIN).map(str::to_owned);
    let cors = Cors::new(settings, origin.as_deref(), request.headers());
    let path = request.uri().path().to_owned();
    let mut reply = match under(&settings.base_path, &path) {
        None => file(settings, &request),
        Some(_) if !settings.access.allows_origin(origin.as_deref()) => {
            shared.count(|counters| counters.origins_refused += 1);
            empty(StatusCode::FORBIDDEN)
        }
        Some(rest) => {
            let rest = rest.to_owned();
            api(&shared, ip, &rest, request).await
        }
    };
    cors.apply(reply.headers_mut());
    reply
}

/// What follows the base path (compared without case), without slashes around; `None`: another path.
fn under<'a>(base: &str, path: &'a str) -> Option<&'a str> {
    let base = base.trim_end_matches('/');
    let (head, rest) = path.split_at_checked(base.len())?;
    let rest = head.eq_ignore_ascii_case(base).then_some(rest)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest.trim_matches('/'))
}

async fn api(shared: &Rc<Shared>, ip: IpAddr, rest: &str, request: Request<Incoming>) -> Reply {
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let method = request.method().clone();
    if method == Method::OPTIONS {
        return empty(StatusCode::OK);
    }
    if let [only @ ("info" | "ping")] = parts[..] {
        return if method == Method::GET {
            fixed(&shared.gateway, ip, only).await
        } else {
            empty(StatusCode::BAD_REQUEST)
        };
    }
    if parts.len() > 2 {
        return empty(StatusCode::NOT_FOUND);
    }
    // What is no number is 0, as if it were not there.
    let id = |index: usize| parts.get(index).and_then(|part| part.parse::<u64>().ok()).unwrap_or(0);
    let (session, handle) = (id(0), id(1));
    match method {
        Method::GET if session == 0 => empty(StatusCode::NOT_FOUND),
        Method::GET if handle != 0 => {
            let mut reply = empty(StatusCode::FOUND);
            let location = format!("{}/{session}", shared.settings.base_path.trim_end_matches('/'));
            if let Ok(location) = HeaderValue::from_str(&location) {
                reply.headers_mut().insert(header::LOCATION, location);
            }
            reply
        }
        Method::GET => poll(shared, ip, session, request.uri().query().unwrap_or("")).await,
        Method::POST => post(shared, ip, session, handle, request).await,
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// `GET …/info` and `GET …/ping`.
async fn fixed(gateway: &Gateway, ip: IpAddr, verb: &str) -> Reply {
    let mut request = Map::new();
    request.insert("janus".into(), verb.into());
    request.insert("transaction".into(), random_transaction().into());
    reply_of(gateway, ip, Value::Object(request)).await
}

async fn post(
    shared: &Rc<Shared>,
    ip: IpAddr,
    session: u64,
    handle: u64,
    request: Request<Incoming>,
) -> Reply {
    let limits = &shared.settings.limits;
    let body = Limited::new(request.into_body(), limits.body_bytes_max).collect();
    let body = match tokio::time::timeout(limits.body_timeout, body).await {
        Err(_) => {
            shared.count(|counters| counters.timeouts += 1);
            return closing(StatusCode::REQUEST_TIMEOUT);
        }
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            shared.count(|counters| counters.bodies_refused += 1);
            return closing(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(Err(_)) => return closing(StatusCode::BAD_REQUEST),
        Ok(Ok(body)) => body.to_bytes(),
    };
    if body.is_empty() {
        return empty(StatusCode::BAD_REQUEST);
    }
    match read(shared, &body, session, handle) {
        Ok(request) => reply_of(&shared.gateway, ip, request).await,
        Err(error) => json_reply(error.to_value(None, None).to_string()),
    }
}

/// The body as a request, with the ids of the path in it.
fn read(shared: &Shared, body: &[u8], session: u64, handle: u64) -> Result<Value, ApiError> {
    let text = String::from_utf8_lossy(body);
    let value = json::parse(&text, &shared.gateway.json_limits()).map_err(|error| {
        ApiError::new(Code::InvalidJson, format!("JSON error: on line {}: {}", error.line, error.text))
    })?;
    let mut members = match value {
        Value::Object(members) => members,
        Value::Array(_) => return Err(ApiError::new(Code::InvalidJsonObject, "JSON error: not an object")),
        _ => return Err(ApiError::new(Code::InvalidJson, "JSON error: on line 1: '[' or '{' expected")),
    };
    for (name, what, id) in [("session_id", "session", session), ("handle_id", "handle", handle)] {
        if id == 0 {
            continue;
        }
        match members.get(name).filter(|own| own.is_i64() || own.is_u64()) {
            None => drop(members.insert(name.into(), id.into())),
            Some(own) if own.as_u64() != Some(id) => {
                let reason = format!("Conflicting {what} ID (payload and path)");
                return Err(ApiError::new(Code::InvalidRequestPath, reason));
            }
            Some(_) => {}
        }
    }
    Ok(Value::Object(members))
}

async fn reply_of(gateway: &Gateway, ip: IpAddr, request: Value) -> Reply {
    match gateway.request(ip, request).await {
        Ok(text) => json_reply(text),
        // The core answers every request; without an answer there is nothing true to say.
        Err(_) => closing(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn poll(shared: &Rc<Shared>, ip: IpAddr, session: u64, query: &str) -> Reply {
    let parameters: Vec<(String, String)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), percent_decoded(value)))
        .collect();
    let parameter =
        |name: &str| parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let max = parameter("maxev").and_then(|max| max.parse::<usize>().ok()).unwrap_or(1).clamp(1, EVENTS_MAX);
    let outcome = shared.gateway.poll(ip, session, parameter("apisecret"), parameter("token"), max);
    let events = match outcome {
        Err(PollRefused::Unauthorized) => return empty(StatusCode::FORBIDDEN),
        Err(PollRefused::NoSession) => return empty(StatusCode::NOT_FOUND),
        Ok(Poll::NoSession) => return empty(StatusCode::NOT_FOUND),
        Ok(Poll::TooMany) => {
            shared.count(|counters| counters.polls_refused += 1);
            return empty(StatusCode::TOO_MANY_REQUESTS);
        }
        Ok(Poll::Events(events)) => events,
        Ok(Poll::Parked(mut events)) => {
            let timeout = tokio::time::sleep(shared.settings.limits.poll_timeout);
            tokio::pin!(timeout);
            let mut stop = shared.stop.clone();
            let received = tokio::select! {
                received = &mut events => Some(received),
                () = &mut timeout => None,
                _ = stop.wait_for(|stop| *stop) => None,
            };
            match received {
                Some(Ok(events)) => events,
                // The session is over; the poll stays until its time.
                Some(Err(_)) => {
                    tokio::select! { () = timeout => {}, _ = stop.wait_for(|stop| *stop) => {} }
                    Vec::new()
                }
                None => Vec::new(),
            }
        }
    };
    const KEEPALIVE: &str = r#"{"janus":"keepalive"}"#;
    let mut texts: Vec<&str> = events.iter().map(String::as_str).collect();
    if texts.is_empty() {
        texts.push(KEEPALIVE);
    }
    json_reply(if max == 1 { texts.concat() } else { format!("[{}]", texts.join(",")) })
}

fn file(settings: &Settings, request: &Request<Incoming>) -> Reply {
    let Some((kind, content)) = settings.files.get(request.uri().path()) else {
        return empty(StatusCode::NOT_FOUND);
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let mut reply = Response::new(Full::new(content));
    if let Ok(kind) = HeaderValue::from_str(kind) {
        reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// What a browser is told about other pages' use of the API.
struct Cors {
    origin: String,
    by_origin: bool,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
}

impl Cors {
    fn new(settings: &Settings, origin: Option<&str>, headers: &HeaderMap) -> Self {
        let (origin, by_origin) = settings.access.origin_header(origin);
        let own = |name: HeaderName| headers.get(name).cloned();
        Self {
            origin,
            by_origin,
            methods: own(header::ACCESS_CONTROL_REQUEST_METHOD),
            headers: own(header::ACCESS_CONTROL_REQUEST_HEADERS),
        }
    }

    fn apply(self, headers: &mut HeaderMap) {
        if let Ok(origin) = HeaderValue::from_str(&self.origin) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        if self.by_origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        if let Some(methods) = self.methods {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Some(names) = self.headers {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
    }
}

pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}

/// An answer after which the connection is of no use.
fn closing(status: StatusCode) -> Reply {
    let mut reply = empty(status);
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

fn json_reply(text: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(text)));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// `%XX` and `+`; what is malformed stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = |digit: u8| (digit as char).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push((hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0)) as u8);
                rest = after;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Eleven letters and digits.
fn random_transaction() -> String {
    const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut bits = getrandom::u64().unwrap_or(0);
    let mut letter = || {
        let letter = LETTERS[(bits % 62) as usize];
        bits /= 62;
        letter as char
    };
    // 62 to the power of 10 is just below 2 to the power of 60: the eleventh has less choice.
    (0..11).map(|_| letter()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(under("/janus", "/janus/1/2"), Some("1/2"));
        assert_eq!(under("/janus", "/JANUS/"), Some(""));
        assert_eq!(under("/janus", "/janusx"), None);
        assert_eq!(under("/janus", "/jan"), None);
        assert_eq!(under("/", "/1"), Some("1"));
        assert_eq!(under("/janus", "/ä/janus"), None);
        assert_eq!(percent_decoded("a%20b+c%zz%4"), "a b c%zz%4");
        assert_eq!(random_transaction().len(), 11);
    }
}
