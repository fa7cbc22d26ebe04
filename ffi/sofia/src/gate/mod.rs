//! The gate: what reaches Sofia's parser, and the tap beside it.
//!
//! Sofia has no hook before its parser. The program therefore exports `recvmsg`, `sendmsg` and `bind`
//! ([`hooks`]), and Debian's shared library calls these. For a UDP listener's socket they drop what is no SIP
//! (`Gate::judge`), take multipart bodies apart, and copy what passes for tracing; `bind` swaps in a socket
//! that control has bound before.

pub mod hooks;
mod rate;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};

use bifrons_sip_protocol::{GateRules, Part, Settings, Transport};

use crate::multipart::{self, Limits, Refusal};
use crate::scan;
use rate::Rates;

/// Bodies taken apart whose message the stack has not delivered yet; the oldest goes first.
const WAITING_PARTS_MAX: usize = 256;
/// Traced messages that wait to be sent to control.
const TRACED_MAX: usize = 4096;

thread_local! {
    /// The one gate; the program has one thread.
    pub(crate) static GATE: RefCell<Gate> = RefCell::new(Gate::new());
}

/// Runs `f` with the gate; the default if it is in use further up the stack (it never is) or gone.
pub(crate) fn with<R: Default>(f: impl FnOnce(&mut Gate) -> R) -> R {
    GATE.try_with(|gate| gate.try_borrow_mut().map(|mut gate| f(&mut gate)).unwrap_or_default())
        .unwrap_or_default()
}

/// A socket that `bind` gave an address while a listener was being opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    fd: RawFd,
    transport: Transport,
    pub(crate) local: SocketAddr,
}

/// The listener that is being opened. The library binds other sockets on the way, to see what IPv6 can do.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    pub(crate) descriptor: Option<OwnedFd>,
    /// What was bound.
    pub(crate) bound: Option<SocketAddr>,
}

/// A message as it passed a UDP socket.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) received: bool,
    pub(crate) transport: Transport,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) time_us: u64,
    pub(crate) text: Vec<u8>,
}

/// What becomes of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// With this content instead, which is not longer.
    Replace(Vec<u8>),
    Drop(Reason),
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why the gate dropped a datagram; each has a counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason { $($(#[$doc])* $reason,)* }
        pub(crate) const REASONS: &[(Reason, &str)] = &[$((Reason::$reason, $name),)*];
    };
}
reasons! {
    /// The source is blocked, or not allowed while only allowed ones are.
    Blocked = "gate_blocked",
    /// Too many from this source.
    Rate = "gate_rate",
    /// Larger than allowed.
    Size = "gate_size",
    /// STUN: Sofia would answer it itself.
    Stun = "gate_stun",
    /// The first byte begins no SIP message.
    FirstByte = "gate_first_byte",
    /// No end of headers, or a request of another version.
    Malformed = "gate_malformed",
    /// The top Via names a host where an address must stand: the stack would look it up, and block.
    Via = "gate_via",
    /// Only line ends: a keep-alive.
    KeepAlive = "gate_keepalive",
    /// A multipart body that is malformed.
    Multipart = "gate_multipart",
    /// A multipart body that is larger than allowed.
    MultipartSize = "gate_multipart_size",
}

pub(crate) struct Gate {
    rules: GateRules,
    message_bytes_max: usize,
    multipart: Limits,
    rates: Rates,
    listeners: Vec<Listener>,
    pub(crate) opening: Option<Opening>,
    dropped: [u64; REASONS.len()],
    /// Messages whose parts were lost because too many waited.
    pub(crate) parts_lost: u64,
    /// Traces lost because too many waited.
    pub(crate) traced_lost: u64,
    waiting_parts: VecDeque<(u64, Vec<Part>)>,
    next_parts: u64,
    /// Name of the header that leads from a message to its parts: it cannot be guessed, so nobody can send it.
    parts_header: String,
    pub(crate) tracing: bool,
    pub(crate) traced: VecDeque<Traced>,
}

impl Gate {
    fn new() -> Gate {
        let settings = Settings::default();
        let mut gate = Gate {
            rules: GateRules::default(),
            message_bytes_max: 0,
            multipart: Limits { bytes_max: 0, parts_max: 0 },
            rates: Rates::default(),
            listeners: Vec::new(),
            opening: None,
            dropped: [0; REASONS.len()],
            parts_lost: 0,
            traced_lost: 0,
            waiting_parts: VecDeque::new(),
            next_parts: 0,
            parts_header: format!("X-Parts-{:016x}", random()),
            tracing: false,
            traced: VecDeque::new(),
        };
        gate.configure(&settings);
        gate
    }

    pub(crate) fn configure(&mut self, settings: &Settings) {
        self.message_bytes_max = settings.message_bytes_max as usize;
        self.multipart = Limits {
            bytes_max: settings.multipart_bytes_max as usize,
            parts_max: settings.multipart_parts_max as usize,
        };
    }

    pub(crate) fn set_rules(&mut self, rules: GateRules) {
        self.rules = rules;
        self.rates = Rates::default();
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        REASONS.iter().map(|(reason, name)| (*name, self.dropped[*reason as usize]))
    }

    pub(crate) fn count(&mut self, reason: Reason) {
        self.dropped[reason as usize] += 1;
    }

    /// Whether a source may speak to us at all; for connections, where no datagram is judged.
    pub(crate) fn admits(&self, source: SocketAddr) -> bool {
        let within = |networks: &[bifrons_sip_protocol::Network]| {
            networks.iter().any(|network| network.contains(source.ip()))
        };
        within(&self.rules.allowed) || !(self.rules.only_allowed || within(&self.rules.blocked))
    }

    /// Looks at a datagram before the stack does. `now_ms` is any steady clock.
    pub(crate) fn judge(&mut self, source: SocketAddr, datagram: &[u8], now_ms: u64) -> Verdict {
        let allowed = self.rules.allowed.iter().any(|network| network.contains(source.ip()));
        if !self.admits(source) {
            return Verdict::Drop(Reason::Blocked);
        }
        if !allowed && self.rules.source_rate_per_s > 0 {
            let burst = self.rules.source_burst.max(1);
            if !self.rates.admit(source.ip(), self.rules.source_rate_per_s, burst, now_ms) {
                return Verdict::Drop(Reason::Rate);
            }
        }
        let own_limit = self.rules.datagram_bytes_max as usize;
        if datagram.len() > self.message_bytes_max
            || (!allowed && own_limit > 0 && datagram.len() > own_limit)
        {
            return Verdict::Drop(Reason::Size);
        }
        match datagram.iter().find(|byte| !matches!(byte, b'\r' | b'\n')) {
            None => return Verdict::Drop(Reason::KeepAlive),
            // RFC 7983: 0..3 is STUN. The stack itself would answer it.
            Some(0..=3) => return Verdict::Drop(Reason::Stun),
            Some(byte) if !scan::is_token(*byte) => return Verdict::Drop(Reason::FirstByte),
            Some(_) => {}
        }
        if let Some(reason) = blocks_the_stack(datagram) {
            return Verdict::Drop(reason);
        }
        let key = self.next_parts;
        let extra = format!("{}: {key}\r\n", self.parts_header);
        match multipart::take_apart(datagram, self.multipart, extra.as_bytes()) {
            Ok(None) => Verdict::Pass,
            // The stack made room for the datagram as it came; a message that grew was nearly all headers.
            Ok(Some(apart)) if apart.message.len() > datagram.len() => Verdict::Drop(Reason::Multipart),
            Ok(Some(apart)) => {
                self.next_parts += 1;
                if self.waiting_parts.len() == WAITING_PARTS_MAX {
                    self.waiting_parts.pop_front();
                    self.parts_lost += 1;
                }
                self.waiting_parts.push_back((key, apart.parts));
                Verdict::Replace(apart.message)
            }
            Err(Refusal::TooLarge) => Verdict::Drop(Reason::MultipartSize),
            Err(Refusal::Malformed) => Verdict::Drop(Reason::Multipart),
        }
    }

    /// Takes the parts that belong to a message which the stack delivers, and the header that led to them.
    pub(crate) fn claim_parts(&mut self, text: &mut Vec<u8>) -> Vec<Part> {
        if self.waiting_parts.is_empty() {
            return Vec::new();
        }
        let Some(scan) = scan::Scan::new(text) else { return Vec::new() };
        let name = self.parts_header.as_bytes();
        let found = scan.headers().find(|header| header.name.eq_ignore_ascii_case(name));
        let Some(header) = found else { return Vec::new() };
        let key = std::str::from_utf8(header.value).ok().and_then(|value| value.parse::<u64>().ok());
        let (from, to) = (scan.headers_at + header.line.0, scan.headers_at + header.line.1);
        text.drain(from..to);
        let at = self.waiting_parts.iter().position(|(waiting, _)| Some(*waiting) == key);
        at.and_then(|at| self.waiting_parts.remove(at)).map(|(_, parts)| parts).unwrap_or_default()
    }

    fn udp_listener(&self, fd: RawFd) -> Option<Listener> {
        self.listeners
            .iter()
            .find(|listener| listener.fd == fd && listener.transport == Transport::Udp)
            .copied()
    }

    /// Records a message for tracing.
    pub(crate) fn trace(&mut self, traced: Traced) {
        if !self.tracing {
            return;
        }
        if self.traced.len() >= TRACED_MAX {
            self.traced_lost += 1;
        } else {
            self.traced.push_back(traced);
        }
    }
}

/// The stack answers some requests before it has put their source into Via, and then looks the host of Via up,
/// blocking for the resolver's whole time-out; `maddr` and a forged `received` do the same later. So such
/// requests never reach it.
fn blocks_the_stack(datagram: &[u8]) -> Option<Reason> {
    let Some(scan) = scan::Scan::new(datagram) else { return Some(Reason::Malformed) };
    if scan.start_line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return None;
    }
    let version = scan.start_line.trim_ascii_end();
    let at = version.len().checked_sub(7);
    if !at.and_then(|at| version.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(b"SIP/2.0")) {
        return Some(Reason::Malformed);
    }
    let via = scan.values("Via", Some(b'v')).next()?;
    let is_address = |name: &[u8]| {
        let times = via.windows(name.len()).filter(|piece| piece.eq_ignore_ascii_case(name)).count();
        let value = scan::parameter(via, name).and_then(|value| std::str::from_utf8(value).ok());
        let value = value.map(|value| value.trim_start_matches('[').trim_end_matches(']'));
        times == 0 || (times == 1 && value.is_some_and(|value| value.parse::<std::net::IpAddr>().is_ok()))
    };
    (!is_address(b"maddr") || !is_address(b"received")).then_some(Reason::Via)
}

/// 64 bits that nobody outside can guess.
fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer has the length given.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(got, 8, "the kernel gives random bytes once it has booted");
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use bifrons_sip_protocol::Network;

    use super::*;

    const SOURCE: &str = "127.0.0.9:5060";
    const A: &[u8] = b"A sip:a SIP/2.0\r\n\r\n";

    fn judge(gate: &mut Gate, datagram: &[u8]) -> Verdict {
        gate.judge(SOURCE.parse().unwrap(), datagram, 0)
    }

    #[test]
    fn only_what_begins_like_sip_passes() {
        let mut gate = Gate::new();
        assert_eq!(judge(&mut gate, b"OPTIONS sip:a SIP/2.0\r\n\r\n"), Verdict::Pass);
        assert_eq!(judge(&mut gate, b"\r\nSIP/2.0 200 OK\r\n\r\n"), Verdict::Pass);
        assert_eq!(judge(&mut gate, b"\r\n\r\n"), Verdict::Drop(Reason::KeepAlive));
        assert_eq!(judge(&mut gate, b"A sip:a SIP/2.0\r\n"), Verdict::Drop(Reason::Malformed));
        assert_eq!(judge(&mut gate, b"A sip:a SIP/3.0\r\n\r\n"), Verdict::Drop(Reason::Malformed));
        for (via, passes) in [
            ("host.example;branch=1", true),
            ("127.0.0.1;maddr=[::1];received=127.0.0.1", true),
            ("127.0.0.1;maddr=host.example", false),
            ("127.0.0.1;Received=host.example", false),
            ("127.0.0.1;received=127.0.0.1;received=host.example", false),
            ("127.0.0.1;received", false),
        ] {
            let text = format!("A sip:a SIP/2.0\r\nv: SIP/2.0/UDP {via}\r\n\r\n");
            assert_eq!(judge(&mut gate, text.as_bytes()) == Verdict::Pass, passes, "{via}");
        }
        assert_eq!(judge(&mut gate, &[0, 1, 0, 0]), Verdict::Drop(Reason::Stun));
        assert_eq!(judge(&mut gate, &[1, 1, 0, 0]), Verdict::Drop(Reason::Stun));
        assert_eq!(judge(&mut gate, &[0xf8, 1]), Verdict::Drop(Reason::FirstByte));
        assert_eq!(judge(&mut gate, &[22, 3, 1]), Verdict::Drop(Reason::FirstByte));
        let large = vec![b'A'; Settings::default().message_bytes_max as usize + 1];
        assert_eq!(judge(&mut gate, &large), Verdict::Drop(Reason::Size));
    }

    #[test]
    fn lists_and_rates_decide_by_source() {
        let mut gate = Gate::new();
        let network = |prefix| Network { address: "127.0.0.9".parse().unwrap(), prefix };
        let rules = GateRules { blocked: vec![network(8)], ..GateRules::default() };
        gate.set_rules(rules.clone());
        assert_eq!(judge(&mut gate, A), Verdict::Drop(Reason::Blocked));
        gate.set_rules(GateRules { allowed: vec![network(32)], ..rules });
        assert_eq!(judge(&mut gate, A), Verdict::Pass);
        gate.set_rules(GateRules { only_allowed: true, ..GateRules::default() });
        assert_eq!(judge(&mut gate, A), Verdict::Drop(Reason::Blocked));
        gate.set_rules(GateRules { source_rate_per_s: 1, source_burst: 2, ..GateRules::default() });
        assert_eq!(judge(&mut gate, A), Verdict::Pass);
        assert_eq!(judge(&mut gate, A), Verdict::Pass);
        assert_eq!(judge(&mut gate, A), Verdict::Drop(Reason::Rate));
        assert_eq!(gate.judge(SOURCE.parse().unwrap(), A, 1_000), Verdict::Pass);
        gate.set_rules(GateRules { datagram_bytes_max: 1, ..GateRules::default() });
        assert_eq!(judge(&mut gate, A), Verdict::Drop(Reason::Size));
    }

    #[test]
    fn parts_find_their_message() {
        let mut gate = Gate::new();
        let message =
            b"INVITE sip:a SIP/2.0\r\nCall-ID: 1\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n\
            --b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b\r\nContent-Type: application/isup\r\n\
            X-Long: to make it longer than the header that is added\r\n\r\nisup\r\n--b--\r\n";
        let Verdict::Replace(mut text) = judge(&mut gate, message) else { panic!("not taken apart") };
        let parts = gate.claim_parts(&mut text);
        assert_eq!(parts[0].body, b"isup");
        let expected: &[u8] = b"INVITE sip:a SIP/2.0\r\nCall-ID: 1\r\nContent-Type: application/sdp\r\n\
            Content-Length: 5\r\n\r\nv=0\r\n";
        assert_eq!(text, expected);
        assert!(gate.claim_parts(&mut text).is_empty());
    }
}
