//! One DTLS connection.

use std::collections::VecDeque;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslStream, SslVerifyMode};
use zeroize::Zeroizing;

use super::datagrams::Datagrams;
use super::{
    Connected, DtlsContext, DtlsCounters, DtlsError, Event, FailReason, Fingerprint, Hash, Role, SrtpKeys,
    Tail,
};
use crate::Time;
use crate::srtp::{MasterKey, Profile};

/// Datagrams that wait to be sent; more are lost.
pub const DATAGRAM_QUEUE_LEN_MAX: usize = 16;

/// Pieces of application data that wait to be taken; more are lost.
pub const APPLICATION_QUEUE_LEN_MAX: usize = 64;

/// ClientHellos that a server refuses before it gives up.
const HELLOS_REFUSED_MAX: u64 = 1_000;

/// The longest time between two retransmissions. RFC 6347 §4.2.4.1 says 60 s for a path that nobody keeps
/// open; here ICE asks the peer for its consent, a caller waits, and all is over after
/// [`handshake_timeout`](super::DtlsConfig::handshake_timeout).
const RETRANSMIT_MAX: Duration = Duration::from_secs(1);

/// The longest plaintext of a record (RFC 6347 §4.1).
const RECORD_PLAINTEXT_LEN_MAX: usize = 1 << 14;

/// A DTLS connection to one peer.
///
/// After each call that takes `now`, send what [`poll_transmit`](Self::poll_transmit) gives, take
/// the events, and come back at [`next_timeout`](Self::next_timeout).
pub struct Session {
    stream: SslStream<Datagrams>,
    context: DtlsContext,
    role: Role,
    state: State,
    /// The peer's fingerprints that count; empty until its SDP is known.
    expected: Vec<Fingerprint>,
    deadline: Time,
    retransmit_at: Option<Time>,
    retransmit_after: Duration,
    /// What ended the handshake, if it was ours to end.
    last_flight: Vec<Vec<u8>>,
    events: VecDeque<Event>,
    application: VecDeque<Vec<u8>>,
    counters: DtlsCounters,
    /// Why the last ClientHello was refused.
    refusal: Option<FailReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Handshaking,
    /// The handshake is done, and the peer's SDP with its fingerprint has yet to come.
    Unverified,
    Connected,
    /// Failed or closed.
    Over,
}

impl Session {
    /// Starts a session; a client's first flight is ready to be sent.
    ///
    /// `remote` are the fingerprints of the peer's SDP. Where the SDP is not there yet, give none
    /// and call [`set_remote_fingerprints`](Self::set_remote_fingerprints) later: the handshake
    /// goes on meanwhile, and nothing comes out of it before.
    pub fn new(
        context: &DtlsContext,
        role: Role,
        now: Time,
        remote: &[Fingerprint],
    ) -> Result<Self, DtlsError> {
        let expected = match remote {
            [] => Vec::new(),
            given => Fingerprint::strongest(given, context.config.accept_sha1)?,
        };
        let mut session = Self {
            stream: start(context, role, &expected).map_err(DtlsError::OpenSsl)?,
            context: context.clone(),
            role,
            state: State::Handshaking,
            expected,
            deadline: now + context.config.handshake_timeout,
            retransmit_at: None,
            retransmit_after: context.config.retransmit_initial,
            last_flight: Vec::new(),
            events: VecDeque::new(),
            application: VecDeque::new(),
            counters: DtlsCounters::default(),
            refusal: None,
        };
        if role == Role::Client {
            session.advance(now);
        }
        Ok(session)
    }

    /// The fingerprints of the peer's SDP, where [`new`](Self::new) was without them. Later calls
    /// change nothing: another fingerprint needs another session.
    pub fn set_remote_fingerprints(&mut self, remote: &[Fingerprint]) -> Result<(), DtlsError> {
        let expected = Fingerprint::strongest(remote, self.context.config.accept_sha1)?;
        if self.expected.is_empty() {
            self.expected = expected;
            if self.state == State::Unverified {
                self.verify();
            }
        }
        Ok(())
    }

    /// Takes a datagram from the peer. Only those from the validated pair belong here.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8]) {
        // The content types of DTLS 1.2; OpenSSL would end the connection over any other.
        let is_dtls = datagram.first().is_some_and(|content_type| (20..=23).contains(content_type));
        if !is_dtls || datagram.len() < super::datagrams::RECORD_HEADER_LEN {
            self.counters.garbage += 1;
            return;
        }
        if self.state == State::Over {
            return;
        }
        self.stream.get_mut().incoming = Some(datagram.to_vec());
        self.advance(now);
        // Whatever OpenSSL did not ask for is gone, like a datagram lost on the way.
        self.stream.get_mut().incoming = None;
    }

    /// The next datagram for the peer.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().pop()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next piece of application data that the verified peer sent.
    pub fn poll_application_data(&mut self) -> Option<Vec<u8>> {
        self.application.pop_front()
    }

    /// Sends application data in a record of its own.
    pub fn send_application_data(&mut self, data: &[u8]) -> Result<(), DtlsError> {
        if self.state != State::Connected {
            return Err(DtlsError::NotConnected);
        }
        if data.len() > RECORD_PLAINTEXT_LEN_MAX {
            return Err(DtlsError::TooLong(data.len()));
        }
        if data.is_empty() {
            return Ok(());
        }
        self.stream
            .ssl_write(data)
            .map(drop)
            .map_err(|error| DtlsError::OpenSsl(error.ssl_error().cloned().unwrap_or_else(ErrorStack::get)))
    }

    /// When [`on_timeout`](Self::on_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        match self.state {
            State::Handshaking => Some(self.retransmit_at.map_or(self.deadline, |t| t.min(self.deadline))),
            State::Unverified => Some(self.deadline),
            State::Connected | State::Over => None,
        }
    }

    /// Sends an unanswered flight again, or gives up.
    pub fn on_timeout(&mut self, now: Time) {
        if !matches!(self.state, State::Handshaking | State::Unverified) {
            return;
        }
        if now >= self.deadline {
            let reason = match self.refusal.take() {
                _ if self.stream.get_ref().handshake_was_sent => FailReason::Timeout,
                None => FailReason::Timeout,
                Some(FailReason::Protocol(text)) => FailReason::HelloRefused(text),
                Some(other) => FailReason::HelloRefused(other.to_string()),
            };
            return self.fail(reason);
        }
        if self.retransmit_at.is_some_and(|at| at <= now) {
            self.counters.retransmissions += 1;
            self.retransmit_after = (self.retransmit_after * 2).min(RETRANSMIT_MAX);
            self.retransmit_at = Some(now + self.retransmit_after);
            if let Err(error) = bifrons_openssl::retransmit(&mut self.stream) {
                self.fail(reason_of(&error));
            }
        }
    }

    /// Sends `close_notify` if there is a connection, and ends the session.
    pub fn close(&mut self) {
        if matches!(self.state, State::Connected | State::Unverified) {
            // An error means that nothing is sent: the peer then notices by the media's end.
            let _ = self.stream.shutdown();
        }
        self.state = State::Over;
    }

    /// Frees the SSL, which nothing but application data needs once the handshake is done, and keeps what
    /// `close_notify` and a peer that missed our last flight need. None where there is no connection.
    ///
    /// Send what [`poll_transmit`](Self::poll_transmit) has before.
    pub fn into_tail(self) -> Option<Tail> {
        if self.state != State::Connected {
            return None;
        }
        Tail::from_ssl(self.stream.ssl(), self.role, self.stream.get_ref().last_sent?, self.last_flight)
    }

    /// Whether the handshake is done and the peer verified.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// What it counted.
    pub fn counters(&self) -> DtlsCounters {
        DtlsCounters {
            overflowed: self.counters.overflowed + self.stream.get_ref().overflowed,
            ..self.counters
        }
    }

    /// Lets OpenSSL read what there is and go on.
    fn advance(&mut self, now: Time) {
        let written = self.stream.get_ref().written;
        if self.state == State::Handshaking {
            match self.stream.do_handshake() {
                Ok(()) => {
                    if self.role == Role::Server {
                        // Whatever waits was written for the Finished that has just been read.
                        self.last_flight = self.stream.get_ref().outgoing().cloned().collect();
                    }
                    self.state = State::Unverified;
                    if !self.expected.is_empty() {
                        self.verify();
                    }
                }
                Err(error) if error.code() == ErrorCode::WANT_READ => {}
                Err(error) => self.handshake_failed(error.ssl_error()),
            }
        }
        if matches!(self.state, State::Unverified | State::Connected) {
            self.read();
        }
        self.set_clock(now, self.stream.get_ref().written != written);
    }

    /// A new flight starts the clock anew; an answered one stops it.
    fn set_clock(&mut self, now: Time, flight_was_sent: bool) {
        if self.state != State::Handshaking || !bifrons_openssl::is_waiting(self.stream.ssl()) {
            self.retransmit_at = None;
        } else if flight_was_sent || self.retransmit_at.is_none() {
            self.retransmit_after = self.context.config.retransmit_initial;
            self.retransmit_at = Some(now + self.retransmit_after);
        }
    }

    /// Reads application data and alerts; OpenSSL answers repeated last flights meanwhile.
    fn read(&mut self) {
        let mut buf = [0u8; RECORD_PLAINTEXT_LEN_MAX];
        loop {
            match self.stream.ssl_read(&mut buf) {
                // Nothing of a peer is delivered before it is verified.
                Ok(len) if self.state == State::Connected && len > 0 => {
                    if self.application.len() < APPLICATION_QUEUE_LEN_MAX {
                        self.application.push_back(buf[..len].to_vec());
                    } else {
                        self.counters.overflowed += 1;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    match error.code() {
                        ErrorCode::ZERO_RETURN => self.closed(),
                        ErrorCode::WANT_READ => {}
                        _ => match error.ssl_error().map(reason_of) {
                            Some(FailReason::Alert(description)) => self.fail(FailReason::Alert(description)),
                            _ => self.counters.errors_ignored += 1,
                        },
                    }
                    return;
                }
            }
        }
    }

    fn closed(&mut self) {
        let _ = self.stream.shutdown(); // answer with ours (RFC 5246 §7.2.1)
        let was_connected = self.state == State::Connected;
        self.state = State::Over;
        self.events.push_back(if was_connected {
            Event::Closed
        } else {
            Event::Failed(FailReason::Protocol("closed before it was verified".into()))
        });
    }

    /// The handshake is done: who is the peer, and what are the keys?
    fn verify(&mut self) {
        let ssl = self.stream.ssl();
        let Some(certificate) = ssl.peer_certificate() else {
            return self.fail(FailReason::NoPeerCertificate);
        };
        // The verify callback compared too, if it knew the fingerprints; this is what counts.
        if !Fingerprint::any_matches(&self.expected, &certificate) {
            return self.fail(FailReason::FingerprintMismatch);
        }
        let Some(peer_fingerprint) = Fingerprint::of(&certificate, Hash::Sha256) else {
            return self.fail(reason_of(&ErrorStack::get()));
        };
        let srtp = match self.srtp_keys() {
            Ok(None) if self.context.config.require_srtp => return self.fail(FailReason::NoSrtpProfile),
            Ok(srtp) => srtp,
            Err(reason) => return self.fail(reason),
        };
        self.state = State::Connected;
        self.events.push_back(Event::Connected(Connected { srtp, peer_fingerprint }));
    }

    /// The exporter's output: client key, server key, client salt, server salt (RFC 5764 §4.2).
    fn srtp_keys(&self) -> Result<Option<SrtpKeys>, FailReason> {
        let ssl = self.stream.ssl();
        let Some(profile) = ssl.selected_srtp_profile().and_then(|p| Profile::from_use_srtp_name(p.name()))
        else {
            return Ok(None);
        };
        let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
        let mut material = Zeroizing::new([0u8; 2 * (32 + 14)]);
        let material = &mut material[..2 * (key_len + salt_len)];
        ssl.export_keying_material(material, "EXTRACTOR-dtls_srtp", None)
            .map_err(|error| reason_of(&error))?;
        let (keys, salts) = material.split_at(2 * key_len);
        let master = |n: usize| {
            MasterKey::from_parts(
                profile,
                &keys[n * key_len..][..key_len],
                &salts[n * salt_len..][..salt_len],
            )
            .map_err(|error| FailReason::Protocol(error.to_string()))
        };
        let (client, server) = (master(0)?, master(1)?);
        Ok(Some(match self.role {
            Role::Client => SrtpKeys { profile, local: client, remote: server },
            Role::Server => SrtpKeys { profile, local: server, remote: client },
        }))
    }

    /// A server that has not answered any hello yet goes on waiting: whoever sent this one has
    /// proved nothing, so it ends no call, and no alert betrays that it arrived.
    fn handshake_failed(&mut self, error: Option<&ErrorStack>) {
        let reason = error.map_or_else(|| FailReason::Protocol("connection lost".into()), reason_of);
        let nothing_sent = !self.stream.get_ref().handshake_was_sent;
        if self.role == Role::Server && nothing_sent {
            self.counters.hellos_refused += 1;
            if self.counters.hellos_refused > HELLOS_REFUSED_MAX {
                return self.fail(FailReason::HelloFlood);
            }
            self.refusal = Some(reason);
            match start(&self.context, self.role, &self.expected) {
                Ok(stream) => self.stream = stream,
                Err(error) => self.fail(reason_of(&error)),
            }
            return;
        }
        self.fail(reason);
    }

    fn fail(&mut self, reason: FailReason) {
        if self.state == State::Unverified {
            let _ = self.stream.shutdown(); // OpenSSL is content, so the peer hears of it from us
        }
        self.state = State::Over;
        self.retransmit_at = None;
        self.application.clear();
        self.events.push_back(Event::Failed(reason));
    }
}

/// A fresh SSL over an empty queue.
fn start(
    context: &DtlsContext,
    role: Role,
    expected: &[Fingerprint],
) -> Result<SslStream<Datagrams>, ErrorStack> {
    let mut ssl = Ssl::new(&context.ssl)?;
    ssl.set_mtu(context.config.mtu_bytes.into())?;
    bifrons_openssl::hold_timer(&mut ssl);
    let expected = expected.to_vec();
    // Self-signed certificates are the rule, so OpenSSL's own verdict does not count; comparing
    // here already tells the peer with an alert. `verify` compares again.
    ssl.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, move |_, chain| {
        expected.is_empty()
            || chain.error_depth() != 0
            || chain.current_cert().is_some_and(|c| Fingerprint::any_matches(&expected, c))
    });
    match role {
        Role::Client => ssl.set_connect_state(),
        Role::Server => ssl.set_accept_state(),
    }
    SslStream::new(ssl, Datagrams::new(DATAGRAM_QUEUE_LEN_MAX))
}

/// OpenSSL's reason codes that have a name here (`sslerr.h`).
fn reason_of(stack: &ErrorStack) -> FailReason {
    const CERTIFICATE_VERIFY_FAILED: i32 = 134;
    const PEER_DID_NOT_RETURN_A_CERTIFICATE: i32 = 199;
    const ALERT_OFFSET: i32 = 1000;
    let Some(error) = stack.errors().first() else {
        return FailReason::Protocol("unknown error".into());
    };
    match error.reason_code() {
        CERTIFICATE_VERIFY_FAILED => FailReason::FingerprintMismatch,
        PEER_DID_NOT_RETURN_A_CERTIFICATE => FailReason::NoPeerCertificate,
        code @ ALERT_OFFSET..=1255 => FailReason::Alert((code - ALERT_OFFSET) as u8),
        code => FailReason::Protocol(
            error.reason().map_or_else(|| format!("OpenSSL reason {code}"), str::to_owned),
        ),
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("role", &self.role)
            .field("state", &self.state)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
