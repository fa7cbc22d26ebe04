//! How a call of each scenario is set up over the Janus API.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bifrons_rtc::dtls::DtlsContext;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::client::Client;
use crate::codec::Codec;
use crate::janus::{Handle, Janus};
use crate::media::{Command, Commands, End, Event, Sending};
use crate::plain::Ends;
use crate::{sdp, uas};

/// Longest wait for ICE and DTLS.
const UP_PATIENCE: Duration = Duration::from_secs(30);

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// WebRTC to itself: `janus.plugin.echotest`.
    Echotest,
    /// WebRTC to plain RTP: `janus.plugin.nosip`.
    Nosip,
    /// The same by a SIP call to the generator's phone: `janus.plugin.sip`.
    Sip,
    /// EchoTest legs that are up and silent: what a leg costs without media.
    Idle,
    /// SIP accounts registered at the generator's registrar, which challenges them.
    Registrations,
    /// SDES-SRTP to plain RTP, through rtpengine.
    Rtpengine,
    /// Plain RTP to plain RTP, through rtpengine.
    RtpengineRtp,
    /// WebRTC to itself, through an engine inside the generator's process.
    EngineEcho,
    /// WebRTC to plain RTP, likewise.
    EngineBridge,
    /// SDES-SRTP to plain RTP, likewise.
    EngineSdes,
    /// Plain RTP to plain RTP, a port pair a leg, likewise.
    EngineRtp,
    /// One WebRTC client's video to as many others as there are calls, likewise.
    EngineFanout,
}

/// What a scenario is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A server with the Janus API.
    Janus,
    /// rtpengine, by its NG protocol.
    Rtpengine,
    /// The engine inside the generator's process.
    Engine,
}

impl Scenario {
    /// What it is played on.
    pub fn stage(self) -> Stage {
        match self {
            Self::Echotest | Self::Nosip | Self::Sip | Self::Idle | Self::Registrations => Stage::Janus,
            Self::Rtpengine | Self::RtpengineRtp => Stage::Rtpengine,
            Self::EngineEcho
            | Self::EngineBridge
            | Self::EngineSdes
            | Self::EngineRtp
            | Self::EngineFanout => Stage::Engine,
        }
    }

    /// Its name, as on the command line.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Who waits for which call to be up.
type Waiting = Arc<Mutex<HashMap<u32, oneshot::Sender<Result<(), String>>>>>;

/// Tells the media thread.
#[derive(Clone)]
pub struct MediaLink {
    commands: Commands,
    waiting: Waiting,
}

impl MediaLink {
    /// A link to a running media thread.
    pub fn new(commands: Commands) -> Self {
        Self { commands, waiting: Arc::default() }
    }

    /// Gives a command. The thread, which lives as long as the program, looks at it at its next tick.
    pub fn tell(&self, command: Command) {
        self.commands.push(command);
    }

    /// Takes what the media thread says; gives a call that broke after it had been up.
    pub fn hear(&self, event: Event) -> Option<(u32, String)> {
        let (call, result) = match event {
            Event::Up(call) => (call, Ok(())),
            Event::Failed(call, why) => (call, Err(why)),
        };
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
        match (waiting, result) {
            (Some(waiting), result) => {
                let _ = waiting.send(result);
                None
            }
            (None, Err(why)) => Some((call, why)),
            (None, Ok(())) => None,
        }
    }

    /// Adds a call and waits until its WebRTC end is up.
    ///
    /// # Errors
    /// ICE or DTLS failed.
    pub async fn add(&self, call: u32, ends: Vec<End>, sending: Sending) -> Result<(), String> {
        let wait = ends.iter().any(|end| matches!(end, End::WebRtc(..)));
        let (up, is_up) = oneshot::channel();
        if wait {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(call, up);
        }
        self.tell(Command::Add(call, ends, sending));
        if !wait {
            return Ok(());
        }
        let result = tokio::time::timeout(UP_PATIENCE, is_up).await;
        result.map_err(|_| "media: not up in time")?.map_err(|_| "media: thread gone")?
    }
}

/// What all calls share.
pub struct Calls {
    /// Scenario.
    pub scenario: Scenario,
    /// Where the ends of calls are.
    pub ends: Ends,
    /// All clients have one certificate.
    pub dtls: Arc<DtlsContext>,
    /// The media thread.
    pub media: MediaLink,
    /// Codec.
    pub codec: Codec,
    /// What each end of a call sends.
    pub sending: Sending,
    /// The phone and registrar of the SIP scenarios.
    pub phone: Option<(SocketAddr, uas::Media)>,
}

impl Calls {
    /// A client and its socket.
    pub fn client(&self, call: u32) -> Result<(Client, UdpSocket, SocketAddr), String> {
        let io = |error: std::io::Error| format!("client socket: {error}");
        let socket = UdpSocket::bind(SocketAddr::new(self.ends.address(call), 0)).map_err(io)?;
        socket.set_nonblocking(true).map_err(io)?;
        let address = socket.local_addr().map_err(io)?;
        Ok((Client::new(address, call, self.dtls.clone())?, socket, address))
    }

    /// Sets up one call, or registers one account.
    ///
    /// # Errors
    /// Says which request or event went wrong.
    pub async fn place(
        &self,
        janus: &Janus,
        session: u64,
        call: u32,
        sending: Sending,
    ) -> Result<Handle, String> {
        let plugin = match self.scenario {
            Scenario::Nosip => "janus.plugin.nosip",
            Scenario::Sip | Scenario::Registrations => "janus.plugin.sip",
            _ => "janus.plugin.echotest",
        };
        let mut handle = janus.attach(session, plugin).await?;
        if self.scenario == Scenario::Registrations {
            self.register(&mut handle, call).await?;
            return Ok(handle);
        }
        let (mut client, socket, address) = self.client(call)?;
        let offer = sdp::offer(&client, call, address, self.codec)?;
        let (answer, plain) = match self.scenario {
            Scenario::Nosip => self.nosip(&mut handle, call, &offer).await?,
            Scenario::Sip => self.sip(&mut handle, call, &offer).await?,
            _ => {
                let body = json!({"audio": true, "video": false});
                handle.message(body, Some(&offer)).await?;
                (handle.event("answer", jsep).await?, None)
            }
        };
        client.set_remote(&sdp::remote(&answer)?)?;
        let mut ends = vec![End::WebRtc(Box::new(client), socket)];
        ends.extend(plain.map(|(number, remote)| End::Plain(number, remote)));
        self.media.add(call, ends, sending).await?;
        Ok(handle)
    }

    /// Ends one call.
    ///
    /// # Errors
    /// The server does not let go of the handle.
    pub async fn end(&self, handle: Handle, call: u32) -> Result<(), String> {
        self.media.tell(Command::Remove(call));
        handle.detach().await
    }

    async fn register(&self, handle: &mut Handle, call: u32) -> Result<(), String> {
        let (registrar, _) = self.phone.as_ref().ok_or("no registrar")?;
        let body = json!({
            "request": "register", "username": format!("sip:account{call}@{registrar}"),
            "secret": "secret", "proxy": format!("sip:{registrar}"),
        });
        handle.message(body, None).await?;
        handle.event("registered", registered).await
    }

    async fn nosip(
        &self,
        handle: &mut Handle,
        call: u32,
        offer: &str,
    ) -> Result<(String, Option<(usize, SocketAddr)>), String> {
        handle.message(json!({"request": "generate"}), Some(offer)).await?;
        let generated = |event: &Value| {
            let result = &event["plugindata"]["data"]["result"];
            (result["event"] == "generated").then(|| result["sdp"].as_str().map(str::to_owned)).flatten()
        };
        let theirs = handle.event("generated", generated).await?;
        let remote = sdp::plain_address(&theirs)?;
        let (number, address) = self.ends.plain(call, 0);
        let ours = sdp::plain(call, address, self.codec);
        handle.message(json!({"request": "process", "type": "answer", "sdp": ours}), None).await?;
        Ok((handle.event("processed", jsep).await?, Some((number, remote))))
    }

    async fn sip(
        &self,
        handle: &mut Handle,
        call: u32,
        offer: &str,
    ) -> Result<(String, Option<(usize, SocketAddr)>), String> {
        let (phone, media) = self.phone.as_ref().ok_or("no phone")?;
        let user = format!("sip:caller{call}@{}", phone.ip());
        handle.message(json!({"request": "register", "type": "guest", "username": user}), None).await?;
        handle.event("registered", registered).await?;
        let uri = format!("sip:load{call}@{phone}");
        handle.message(json!({"request": "call", "uri": uri}), Some(offer)).await?;
        let answer = handle.event("accepted", jsep).await?;
        let remote = media.lock().unwrap_or_else(PoisonError::into_inner).get(&call).copied();
        let remote = remote.ok_or("accepted, but the phone saw no INVITE")?;
        Ok((answer, Some((self.ends.plain(call, 0).0, remote))))
    }
}

fn jsep(event: &Value) -> Option<String> {
    event["jsep"]["sdp"].as_str().map(str::to_owned)
}

fn registered(event: &Value) -> Option<()> {
    (event["plugindata"]["data"]["result"]["event"] == "registered").then_some(())
}
