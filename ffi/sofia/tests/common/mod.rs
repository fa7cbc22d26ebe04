//! The real program over its link, and raw-socket peers on loopback.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use bifrons_sip_link::SipProcess;
use bifrons_sip_protocol::*;

/// How long anything may take before a test gives up. Never part of what is asserted.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The program, and control's end of its link.
pub struct Sip {
    pub process: SipProcess,
    pub generation: Generation,
    inbox: VecDeque<FromSip>,
    next_id: u64,
}

impl Sip {
    /// Started with short timers: 64*T1 is 3.2 s.
    pub fn start() -> Sip {
        Sip::start_with(Settings { t1_ms: 50, t2_ms: 400, t4_ms: 500, ..Settings::default() })
    }

    pub fn start_with(settings: Settings) -> Sip {
        let mut sip = Sip::spawn(Generation(7));
        sip.send(&ToSip::Hello { settings });
        sip.expect(|message| matches!(message, FromSip::Ready { .. }));
        sip
    }

    /// Without Hello.
    pub fn spawn(generation: Generation) -> Sip {
        let process =
            SipProcess::spawn(Path::new(env!("CARGO_BIN_EXE_bifrons-sip"))).expect("the program starts");
        Sip { process, generation, inbox: VecDeque::new(), next_id: 0 }
    }

    pub fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub fn send(&mut self, message: &ToSip) {
        let mut frame = Vec::new();
        message.encode(self.generation, &mut frame).expect("fits");
        self.send_frame(&frame, None);
    }

    pub fn send_frame(&mut self, frame: &[u8], descriptor: Option<BorrowedFd<'_>>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sent = match descriptor {
                Some(descriptor) => self.process.link().send_with(frame, descriptor),
                None => self.process.link().send(frame),
            };
            match sent {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    // The program waits for us too: take what it has.
                    self.fill(Duration::from_millis(1));
                }
                sent => return sent.expect("the program lives"),
            }
        }
    }

    /// Reads what is there, waiting for the first frame. False at the end of the link.
    fn fill(&mut self, wait: Duration) -> bool {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        wait_readable(self.process.link().as_fd(), wait);
        loop {
            match self.process.link().recv(&mut buffer) {
                Ok(received) if received.len == 0 => return false,
                Ok(received) => {
                    let (generation, message) = FromSip::decode(&buffer[..received.len]).expect("a message");
                    assert_eq!(generation, self.generation);
                    self.inbox.push_back(message);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("link: {error}"),
            }
        }
    }

    /// The next message that fits; others stay in order.
    pub fn expect(&mut self, fits: impl Fn(&FromSip) -> bool) -> FromSip {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.inbox.iter().position(&fits) {
                return self.inbox.remove(at).expect("just found");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing that fits came, but {}", self.described());
            let lives = self.fill(left);
            assert!(lives || self.inbox.iter().any(&fits), "the program ended; before: {}", self.described());
        }
    }

    fn described(&self) -> String {
        let texts = self.inbox.iter().map(|message| match message {
            FromSip::Request { text, .. } | FromSip::Response { text, .. } | FromSip::Stray { text, .. } => {
                format!("{}: {}", message.name(), String::from_utf8_lossy(text))
            }
            other => format!("{other:?}"),
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Everything that has come and was not taken.
    pub fn drain(&mut self) -> Vec<FromSip> {
        self.fill(Duration::ZERO);
        self.inbox.drain(..).collect()
    }

    pub fn listen(&mut self, ident: &str, transport: Transport, address: &str) -> SocketAddr {
        self.listen_tls(ident, transport, address, None)
    }

    pub fn listen_tls(
        &mut self,
        ident: &str,
        transport: Transport,
        address: &str,
        tls: Option<TlsSettings>,
    ) -> SocketAddr {
        let id = ListenId(self.id());
        self.send(&ToSip::Listen {
            id,
            ident: ident.into(),
            transport,
            address: address.parse().unwrap(),
            via_host: String::new(),
            descriptor: false,
            tls,
        });
        let message = self.expect(|message| match message {
            FromSip::Listening { id: it, .. } => *it == id,
            FromSip::Refused { about, .. } => *about == id.0,
            _ => false,
        });
        match message {
            FromSip::Listening { address, .. } => address,
            refused => panic!("{refused:?}"),
        }
    }

    pub fn udp(&mut self) -> SocketAddr {
        self.listen("main", Transport::Udp, "127.0.0.1:0")
    }

    /// Sends a request from "main".
    pub fn request(&mut self, next_hop: &str, text: &str) -> ClientId {
        self.request_with(next_hop, "main", None, RequestFlags::NONE, text)
    }

    pub fn request_with(
        &mut self,
        next_hop: &str,
        ident: &str,
        flow: Option<FlowId>,
        flags: RequestFlags,
        text: &str,
    ) -> ClientId {
        let id = ClientId(self.id());
        self.send(&ToSip::Request {
            id,
            next_hop: next_hop.into(),
            ident: ident.into(),
            flow,
            flags,
            text: text.into(),
        });
        id
    }

    pub fn ack(&mut self, id: ClientId, branch: &str, next_hop: &str, text: &str) {
        self.send(&ToSip::Ack {
            id,
            branch: branch.into(),
            next_hop: next_hop.into(),
            ident: "main".into(),
            flow: None,
            text: text.into(),
        });
    }

    pub fn respond(&mut self, id: ServerId, status: u16, headers: &str, body: &str) {
        self.respond_with(id, status, headers, body, None);
    }

    pub fn respond_with(
        &mut self,
        id: ServerId,
        status: u16,
        headers: &str,
        body: &str,
        reliable: Option<ReliableId>,
    ) {
        self.send(&ToSip::Respond {
            id,
            status,
            reason: String::new(),
            to_tag: "ours".into(),
            headers: headers.into(),
            body: body.into(),
            reliable,
        });
    }

    pub fn release(&mut self, transaction: TransactionId) {
        self.send(&ToSip::Release { transaction });
    }

    /// A response to this transaction; its status must be the one given.
    pub fn response(&mut self, id: ClientId, status: u16) -> Answer {
        let message = self.expect(|message| match message {
            FromSip::Response { id: it, .. } => *it == id,
            FromSip::Refused { about, .. } => *about == id.0,
            _ => false,
        });
        match message {
            FromSip::Response { status: it, internal, branch, origin, text, parts, .. } => {
                let text = String::from_utf8_lossy(&text).into_owned();
                assert_eq!(it, status, "{text}");
                Answer { internal, branch, origin, text, parts }
            }
            refused => panic!("{refused:?}"),
        }
    }

    /// The next request.
    pub fn incoming(&mut self, method: &str) -> Incoming {
        let message = self.expect(|message| matches!(message, FromSip::Request { .. }));
        let FromSip::Request { id, origin, text, parts } = message else { unreachable!() };
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.starts_with(&format!("{method} ")), "{text}");
        Incoming { id, origin, text, parts }
    }

    pub fn refused(&mut self, reason: RefusedReason) -> String {
        let message = self.expect(|message| matches!(message, FromSip::Refused { .. }));
        let FromSip::Refused { reason: it, detail, .. } = message else { unreachable!() };
        assert_eq!(it, reason, "{detail}");
        detail
    }

    pub fn counter(&mut self, name: &str) -> u64 {
        self.send(&ToSip::Stats {});
        let message = self.expect(|message| matches!(message, FromSip::Counters { .. }));
        let FromSip::Counters { counters } = message else { unreachable!() };
        let found = counters.iter().find(|(it, _)| it == name);
        found.unwrap_or_else(|| panic!("no counter {name} in {counters:?}")).1
    }

    /// That the program lives and has done everything before.
    pub fn assert_alive(&mut self) {
        assert_eq!(self.counter("callback_panics"), 0);
    }

    /// Waits for the end of the program.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the program does not end");
            self.fill(Duration::from_millis(10));
        }
    }
}

/// What `Response` brought.
pub struct Answer {
    pub internal: bool,
    pub branch: String,
    pub origin: Option<Origin>,
    pub text: String,
    pub parts: Vec<Part>,
}

/// What `Request` brought.
pub struct Incoming {
    pub id: ServerId,
    pub origin: Origin,
    pub text: String,
    pub parts: Vec<Part>,
}

pub fn wait_readable(fd: BorrowedFd<'_>, wait: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd.
    unsafe { libc::poll(&raw mut poll, 1, wait.as_millis() as i32) > 0 }
}

/// A SIP peer made of one UDP socket.
pub struct Peer {
    pub socket: UdpSocket,
    pub address: SocketAddr,
    pub sip: SocketAddr,
}

impl Peer {
    pub fn new(sip: SocketAddr) -> Peer {
        Peer::at("127.0.0.1:0", sip)
    }

    pub fn at(address: &str, sip: SocketAddr) -> Peer {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = socket.local_addr().unwrap();
        Peer { socket, address, sip }
    }

    pub fn uri(&self) -> String {
        format!("sip:peer@{}", self.address)
    }

    pub fn send(&self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    pub fn send_bytes(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.sip).unwrap();
    }

    /// The next message whose start line begins so; others (retransmissions) are dropped.
    pub fn recv(&self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        while Instant::now() < deadline {
            let Some(text) = self.try_recv(Duration::from_secs(5)) else { continue };
            if text.starts_with(start) {
                return text;
            }
            others.push(text);
        }
        panic!("no {start} came, but {others:#?}");
    }

    pub fn try_recv(&self, wait: Duration) -> Option<String> {
        if !wait_readable(self.socket.as_fd(), wait) {
            return None;
        }
        let mut buffer = vec![0; 65_536];
        // An ICMP error of an earlier datagram may come instead.
        let len = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
    }

    /// A request of the peer, with its Via.
    pub fn request(&self, method: &str, branch: &str, call: &Call, extra: &str, body: &str) -> String {
        request_of_peer("UDP", self.address, method, branch, call, extra, body)
    }
}

pub fn request_of_peer(
    transport: &str,
    address: SocketAddr,
    method: &str,
    branch: &str,
    call: &Call,
    extra: &str,
    body: &str,
) -> String {
    let Call { call_id, from, to, cseq, uri } = call;
    let cseq_method = method;
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {address};branch=z9hG4bK{branch};rport\r\n\
         From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {cseq_method}\r\nMax-Forwards: 70\r\n\
         {extra}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What a request's headers say.
#[derive(Clone)]
pub struct Call {
    pub call_id: String,
    pub from: String,
    pub to: String,
    pub cseq: u32,
    pub uri: String,
}

impl Call {
    /// Outside of a dialog.
    pub fn new(call_id: &str, uri: impl Into<String>) -> Call {
        Call {
            call_id: call_id.into(),
            from: "<sip:alice@example.org>;tag=a".into(),
            to: "<sip:bob@example.org>".into(),
            cseq: 1,
            uri: uri.into(),
        }
    }

    pub fn tagged(mut self, tag: &str) -> Call {
        self.to = format!("<sip:bob@example.org>;tag={tag}");
        self
    }

    pub fn cseq(mut self, cseq: u32) -> Call {
        self.cseq = cseq;
        self
    }

    /// A request of ours: everything but Via.
    pub fn text(&self, method: &str, extra: &str, body: &str) -> String {
        let Call { call_id, from, to, cseq, uri } = self;
        format!(
            "{method} {uri} SIP/2.0\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Max-Forwards: 70\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

pub const CONTACT: &str = "Contact: <sip:us@127.0.0.1>\r\n";

/// Values of a header.
pub fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split("\r\n").take_while(|line| !line.is_empty()).find_map(|line| {
        let (it, value) = line.split_once(':')?;
        it.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// An answer to a request that the peer got.
pub fn answer(request: &str, status: &str, to_tag: &str, extra: &str, body: &str) -> String {
    let to = header(request, "To").expect("To");
    let to = if to.contains("tag=") || to_tag.is_empty() { to.into() } else { format!("{to};tag={to_tag}") };
    let vias: String = request
        .split("\r\n")
        .filter(|line| line.starts_with("Via:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let field = |name| header(request, name).unwrap_or_else(|| panic!("no {name} in {request}"));
    format!(
        "SIP/2.0 {status}\r\n{vias}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}\
         Content-Length: {}\r\n\r\n{body}",
        field("From"),
        field("Call-ID"),
        field("CSeq"),
        body.len()
    )
}

/// Reads one message with a Content-Length from a stream.
pub fn read_message(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a whole message");
        bytes.push(byte[0]);
        if bytes == b"\r\n" {
            bytes.clear();
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let len = header(&head, "Content-Length").or(header(&head, "l")).map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    stream.read_exact(&mut body).expect("the body");
    head + &String::from_utf8_lossy(&body)
}

pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn write(stream: &mut impl Write, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    stream.flush().unwrap();
}
