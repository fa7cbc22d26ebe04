//! A hundred calls of three kinds whose media pass through one worker.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bifrons_engine::media::*;
use bifrons_engine::{LegId, Media};
use bifrons_rtc::Time;
use bifrons_rtc::dtls::Role as DtlsSide;
use bifrons_rtc::ice::Role;
use bifrons_wire::demux::{Kind, classify};
use bifrons_wire::rtcp::{NtpTime, SenderInfo, Writer};
use bifrons_wire::rtp::Packet;

use crate::common::client::Client;
use crate::common::{audio, output, rtp, video};

/// Longest wait for anything; reached only when something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rounds from one of a client's reports, requests and gaps to the next.
const REPORT_ROUNDS: u64 = 100;
/// Packets of a call in a round.
pub const ROUND_PACKETS: u64 = 2;

/// What joins the clients with the engine.
pub trait Net {
    /// A new client's socket: its number and address.
    fn add(&mut self) -> (usize, SocketAddr);
    /// Sends a datagram from a client's socket.
    fn send(&mut self, socket: usize, to: SocketAddr, datagram: &[u8]);
    /// The next datagram that came to a client's socket: its length and source.
    fn receive(&mut self, socket: usize, datagram: &mut [u8]) -> Option<(usize, SocketAddr)>;
    /// Lets the engine work on what was sent.
    fn step(&mut self);
    /// Lets the time between two packets of a call pass, where time is ours.
    fn pass(&mut self);
    /// The time of the clients.
    fn now(&self) -> Time;
    /// The control side.
    fn engine(&mut self) -> &mut dyn Media;
    /// The worker's counters.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}

/// What came to the clients besides media.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub packets: u64,
    /// Consent checks and answers to the clients' own.
    pub stun: u64,
    /// Reports, NACKs and requests for pictures, as datagrams.
    pub rtcp: u64,
    /// Packets sent again out of the history.
    pub rtx: u64,
}

/// One client of a call: a browser, or a phone with plain RTP.
struct Party {
    socket: usize,
    browser: Option<Box<Client>>,
    leg: LegId,
    /// Where a phone sends to; where a browser is.
    rtp: SocketAddr,
    video: bool,
    /// Packets that it sends in a round, and that come to it.
    packets: u64,
    sequence: u16,
    timestamp: u32,
    came: u64,
    /// The last sequence number that came.
    last: u16,
}

/// All calls, and what they are joined by.
pub struct Calls<'a, N: Net> {
    net: &'a mut N,
    parties: Vec<Party>,
    notices: Vec<Notice>,
    pub seen: Seen,
}

impl<'a, N: Net> Calls<'a, N> {
    /// `count` calls: browsers whose media come back (a third of them video), browsers with phones, and
    /// phones with phones. All are up.
    pub fn new(net: &'a mut N, count: usize) -> Self {
        let mut calls = Self { net, parties: Vec::new(), notices: Vec::new(), seen: Seen::default() };
        for call in 0..count {
            match call % 3 {
                0 => {
                    let echo = calls.browser(call % 9 == 0, ROUND_PACKETS, None);
                    calls.route(echo, echo);
                }
                kind => {
                    let a = if kind == 1 { calls.browser(false, 1, None) } else { calls.phone(None) };
                    let b = calls.phone(Some(a));
                    calls.route(a, b);
                    calls.route(b, a);
                }
            }
        }
        let up = |calls: &Self| {
            calls.parties.iter().filter_map(|party| Some((party, party.browser.as_ref()?))).all(
                |(party, browser)| browser.is_up() && calls.notices.contains(&Notice::Up { leg: party.leg }),
            )
        };
        calls.until("all calls are up", up);
        calls.stray();
        calls
    }

    /// RTCP from somewhere else comes to each browser: another program on this machine, of a colleague or of
    /// another test, takes the port for that above a telephone's.
    fn stray(&mut self) {
        let report = [0x81, 201, 0, 7, 0, 0, 0, 9].into_iter().chain([0; 24]).collect::<Vec<u8>>();
        for to in 1..self.parties.len() {
            if self.parties[to].browser.is_some() {
                self.net.send(self.parties[0].socket, self.parties[to].rtp, &report);
            }
        }
    }

    /// So many packets of each call go their way, each waited for before the next is sent: what a full
    /// socket would lose, no driver is to blame for.
    pub fn talk(&mut self, rounds: std::ops::Range<u64>) {
        for round in rounds {
            for index in 0..self.parties.len() {
                self.speak(index, round);
            }
            let wanted = round + 1;
            self.until("all packets arrive", |calls| {
                calls.parties.iter().all(|party| party.came >= wanted * party.packets)
            });
            if round % REPORT_ROUNDS == 0 {
                self.look();
            }
            self.net.pass();
        }
    }

    /// Media that were sent, an RTCP compound now and then, and a gap where video is sent.
    fn speak(&mut self, index: usize, round: u64) {
        let party = &mut self.parties[index];
        let time = round % REPORT_ROUNDS;
        for n in 0..party.packets {
            if party.video && time == 10 && n == 0 {
                party.sequence = party.sequence.wrapping_add(1);
            }
            let dtmf = !party.video && time == 50;
            let (pt, payload): (u8, &[u8]) = match (party.video, dtmf) {
                (true, _) => (96, &[0x10; 1_000]),
                (false, true) => (101, &[5, 0x8a, 3, 0x20]),
                (false, false) => (0, &[0x55; 160]),
            };
            let mid = party.browser.is_some().then_some("0");
            let packet = rtp(pt, party.sequence, party.timestamp, 5, mid, payload);
            party.sequence = party.sequence.wrapping_add(1);
            party.timestamp = party.timestamp.wrapping_add(if party.video { 3_000 } else { 160 });
            match &mut party.browser {
                Some(browser) => browser.send_rtp(&packet),
                None => self.net.send(party.socket, party.rtp, &packet),
            }
        }
        if time == 20 {
            let mut buffer = [0; 200];
            let mut writer = Writer::new(&mut buffer);
            let info = SenderInfo {
                ntp: NtpTime::from_unix_nanos(1_767_225_600_000_000_000 + self.net.now().as_nanos()),
                rtp_timestamp: party.timestamp,
                packet_count: round as u32,
                octet_count: round as u32 * 160,
            };
            writer.sender_report(5, &info, &[]).unwrap();
            writer.sdes_cname(5, "client").unwrap();
            if party.video {
                writer.nack(5, local_ssrc(party.socket), [party.last]).unwrap();
                writer.pli(5, local_ssrc(party.socket)).unwrap();
            }
            match &mut party.browser {
                Some(browser) => browser.send_rtcp(writer.bytes()),
                None => self.net.send(party.socket, party.rtp, writer.bytes()),
            }
        }
        if time == 30
            && let Some(browser) = &mut party.browser
        {
            // An SSRC that has only this to say: in time there are more than a leg has room for from the start.
            let mut buffer = [0; 200];
            let mut writer = Writer::new(&mut buffer);
            writer.receiver_report(6 + (round / REPORT_ROUNDS % 8) as u32, &[]).unwrap();
            browser.send_rtcp(writer.bytes());
        }
        self.flush(index);
    }

    /// Reads statistics and sends commands that change nothing, as a control side does meanwhile.
    fn look(&mut self) {
        for party in &self.parties {
            let stats = self.net.engine().leg_stats(party.leg).unwrap();
            assert!(stats.streams[0].in_packets > 0);
            if party.packets == ROUND_PACKETS {
                let stream = stream(party.leg);
                self.net.engine().set_gate(stream, stream, true).unwrap();
            }
        }
    }

    fn browser(&mut self, is_video: bool, packets: u64, near: Option<LegId>) -> LegId {
        let (socket, address) = self.net.add();
        let mut client = Client::new(address, socket as u64 + 1, DtlsSide::Client, Role::Controlling);
        let engine = self.net.engine();
        let local = engine.open_webrtc_leg(WebRtcOpen { near, offerer: false }).unwrap();
        engine.set_webrtc_remote(local.leg, client.description()).unwrap();
        let ssrc = local_ssrc(socket);
        let line = if is_video { video("0", ssrc) } else { audio("0", ssrc, 0, "pcmu") };
        engine.set_streams(local.leg, vec![line]).unwrap();
        client.set_remote(&local);
        self.parties.push(Party {
            video: is_video,
            packets,
            ..Party::new(socket, Some(Box::new(client)), local.leg, address)
        });
        local.leg
    }

    fn phone(&mut self, near: Option<LegId>) -> LegId {
        let (socket, address) = self.net.add();
        let engine = self.net.engine();
        let open = RtpOpen { near, rtcp_mux: true, ..RtpOpen::default() };
        let local = engine.open_rtp_leg(open).unwrap();
        engine.set_rtp_remote(local.leg, RtpRemote::muxed(address)).unwrap();
        engine.set_streams(local.leg, vec![audio("", local_ssrc(socket), 0, "pcmu")]).unwrap();
        self.parties.push(Party::new(socket, None, local.leg, local.rtp));
        local.leg
    }

    fn route(&mut self, from: LegId, to: LegId) {
        let outputs = vec![output(stream(to), &[0, 96, 101])];
        self.net.engine().set_route(stream(from), outputs).unwrap();
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            self.net.step();
            for index in 0..self.parties.len() {
                self.hear(index);
            }
            while let Some(notice) = self.net.engine().poll_notice() {
                self.notices.push(notice);
            }
            let ended = self.notices.iter().find(|notice| matches!(notice, Notice::Ended { .. }));
            assert_eq!(ended, None, "{:?}", self.net.counters());
            let missing: Vec<_> = self.parties.iter().map(|party| party.came).collect();
            assert!(Instant::now() < end, "{what}: {missing:?} {:?}", self.net.counters());
        }
        self.notices.retain(|notice| matches!(notice, Notice::Up { .. }));
    }

    fn hear(&mut self, index: usize) {
        let party = &mut self.parties[index];
        let now = self.net.now();
        let mut buffer = [0; 2_048];
        while let Some((len, source)) = self.net.receive(party.socket, &mut buffer) {
            let kind = classify(&buffer[..len]);
            self.seen.stun += u64::from(kind == Kind::Stun);
            self.seen.rtcp += u64::from(kind == Kind::Rtcp);
            match &mut party.browser {
                Some(browser) => browser.handle(now, source, &mut buffer[..len]),
                None if kind == Kind::Rtp => party.came += 1,
                None => {}
            }
        }
        let Some(browser) = &mut party.browser else { return };
        if browser.next_timeout().is_some_and(|at| at <= now) {
            browser.timeout(now);
        }
        for bytes in browser.rtp.drain(..) {
            let header = *Packet::parse(&bytes[..]).unwrap().header();
            if header.ssrc == local_ssrc(party.socket) {
                party.came += 1;
                party.last = header.sequence;
            } else {
                self.seen.rtx += 1;
            }
        }
        browser.srtp.clear();
        browser.rtcp.clear();
        assert_eq!(browser.undecryptable, 0);
        self.flush(index);
    }

    fn flush(&mut self, index: usize) {
        let party = &mut self.parties[index];
        if let Some(browser) = &mut party.browser {
            for (to, datagram) in browser.out.drain(..) {
                self.net.send(party.socket, to, &datagram);
            }
        }
    }

    /// What came so far.
    pub fn seen(&self) -> Seen {
        Seen { packets: self.parties.iter().map(|party| party.came).sum(), ..self.seen }
    }

    /// What joins them.
    pub fn net(&mut self) -> &mut N {
        self.net
    }
}

impl Party {
    fn new(socket: usize, browser: Option<Box<Client>>, leg: LegId, rtp: SocketAddr) -> Self {
        Self {
            socket,
            browser,
            leg,
            rtp,
            video: false,
            packets: 1,
            sequence: 0,
            timestamp: 0,
            came: 0,
            last: 0,
        }
    }
}

fn stream(leg: LegId) -> StreamRef {
    StreamRef { leg, mline: 0 }
}

/// The SSRC that the engine sends with to a client; the one above it is for RTX.
fn local_ssrc(socket: usize) -> u32 {
    1_000 + socket as u32 * 10
}
