//! A client of rtpengine's NG protocol (bencode over UDP): sets calls up in rtpengine as a SIP proxy
//! would, so that its media path can be measured with the generator's own media.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bifrons_rtc::srtp::{MasterKey, Profile};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use crate::bencode::Value;
use crate::calls::{Calls, Scenario};
use crate::media::End;
use crate::sdes::{self, Srtp};
use crate::sdp;

/// A request is sent so often; rtpengine knows a repeated cookie and answers as before.
const TRIES: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);

type Answers = Arc<Mutex<HashMap<String, oneshot::Sender<String>>>>;

/// A link to one rtpengine.
pub struct Rtpengine {
    socket: Arc<UdpSocket>,
    answers: Answers,
    cookies: AtomicU64,
}

impl Rtpengine {
    /// Asks the rtpengine at this address whether it is there.
    ///
    /// # Errors
    /// It is not.
    pub async fn connect(address: SocketAddr) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("rtpengine at {address}: {error}");
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = Arc::new(UdpSocket::bind(any).await.map_err(fail)?);
        socket.connect(address).await.map_err(fail)?;
        let answers = Answers::default();
        let (reader, heard) = (socket.clone(), answers.clone());
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                // Refused before rtpengine listens; the request is repeated.
                let Ok(len) = reader.recv(&mut buffer).await else { continue };
                let Ok(text) = std::str::from_utf8(&buffer[..len]) else { continue };
                let Some((cookie, body)) = text.split_once(' ') else { continue };
                let waiting = heard.lock().unwrap_or_else(PoisonError::into_inner).remove(cookie);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(body.to_owned());
                }
            }
        });
        let rtpengine = Self { socket, answers, cookies: AtomicU64::new(1) };
        rtpengine.request(Value::dictionary([("command", "ping".into())])).await?;
        Ok(rtpengine)
    }

    async fn request(&self, request: Value) -> Result<Value, String> {
        let what = request.text("command").unwrap_or_default().to_owned();
        let cookie = format!("load{}", self.cookies.fetch_add(1, Ordering::Relaxed));
        let mut text = format!("{cookie} ");
        request.encode(&mut text);
        let (reply, mut answer) = oneshot::channel();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(cookie.clone(), reply);
        for _ in 0..TRIES {
            self.socket.send(text.as_bytes()).await.map_err(|error| format!("{what}: {error}"))?;
            if let Ok(Ok(body)) = tokio::time::timeout(RETRY, &mut answer).await {
                let answer = Value::decode(&body)?;
                return match answer.text("result") {
                    Some("ok" | "pong") => Ok(answer),
                    _ => Err(format!("{what}: {}", answer.text("error-reason").unwrap_or(&body))),
                };
            }
        }
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&cookie);
        Err(format!("{what}: rtpengine does not answer"))
    }

    /// Sets up one call: the caller has plain RTP; the callee SDES-SRTP, or plain RTP too.
    ///
    /// # Errors
    /// rtpengine refuses, or its description cannot be used.
    pub async fn place(&self, calls: &Calls, call: u32, profile: Profile) -> Result<(), String> {
        let secure = calls.scenario == Scenario::Rtpengine;
        let [(caller, caller_at), (callee, callee_at)] = [0, 1].map(|end| calls.ends.plain(call, end));
        let id = format!("load-{call}");
        let protocol = if secure { "RTP/SAVP" } else { "RTP/AVP" };
        let offer = self.request(Value::dictionary([
            ("command", "offer".into()),
            ("call-id", id.as_str().into()),
            ("from-tag", "a".into()),
            ("ICE", "remove".into()),
            ("transport-protocol", protocol.into()),
            ("replace", Value::list(["origin", "session-connection"])),
            ("sdp", sdp::plain(call, caller_at, calls.codec).as_str().into()),
        ]));
        let offer = offer.await?;
        let offered = offer.text("sdp").ok_or("offer: no sdp")?;
        let towards_callee = sdp::plain_address(offered)?;
        let (answer_sdp, end) = if secure {
            let theirs = sdes::of_suite(offered, profile)?;
            let ours = MasterKey::generate(profile).map_err(|error| error.to_string())?;
            let socket = StdSocket::bind(SocketAddr::new(calls.ends.address(call), 0))
                .map_err(|error| error.to_string())?;
            socket.set_nonblocking(true).map_err(|error| error.to_string())?;
            let address = socket.local_addr().map_err(|error| error.to_string())?;
            let text = sdp::secure(call, address, calls.codec, &sdes::line(theirs.tag, &ours)?);
            (text, End::Srtp(Box::new(Srtp::new(&ours, &theirs.key, towards_callee)?), socket))
        } else {
            (sdp::plain(call, callee_at, calls.codec), End::Plain(callee, towards_callee))
        };
        let answer = self.request(Value::dictionary([
            ("command", "answer".into()),
            ("call-id", id.as_str().into()),
            ("from-tag", "a".into()),
            ("to-tag", "b".into()),
            ("ICE", "remove".into()),
            ("transport-protocol", "RTP/AVP".into()),
            ("replace", Value::list(["origin", "session-connection"])),
            ("sdp", answer_sdp.as_str().into()),
        ]));
        let answer = answer.await?;
        let towards_caller = sdp::plain_address(answer.text("sdp").ok_or("answer: no sdp")?)?;
        calls.media.add(call, vec![end, End::Plain(caller, towards_caller)], calls.sending).await
    }

    /// Ends a call.
    ///
    /// # Errors
    /// rtpengine does not answer.
    pub async fn end(&self, call: u32) -> Result<(), String> {
        let request = Value::dictionary([
            ("command", "delete".into()),
            ("call-id", format!("load-{call}").as_str().into()),
            ("from-tag", "a".into()),
            ("delete-delay", Value::Integer(0)),
        ]);
        self.request(request).await.map(drop)
    }
}
