//! The media thread: every client and every plain RTP end of the generator, on one driver of the
//! engine. It sends 20 ms packets, spread over the 20 ms, and reads the stamps of what comes back.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, SystemTime};

use bifrons_engine::driver::{Driver, HEADROOM, Received, SocketKey, Wait};
use bifrons_rtc::Time;
use bifrons_rtc::srtp::Outbound;
use bifrons_wire::demux::{Kind, classify};
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

use crate::client::Client;
use crate::histogram::Histogram;
use crate::plain::Ends;
use crate::sdes::Srtp;
use crate::stamp::Stamp;

/// Milliseconds between two audio packets; the timers of whoever sends nothing run as often.
pub const PACKET_MS: usize = 20;
const TICK: Duration = Duration::from_millis(1);
/// Ticks that are made up for before packets are read again.
const TICKS_MAX: usize = 5;
const BATCH: usize = 256;
const HEADER_BYTES: usize = 12;
/// Of video; any dynamic one will do.
pub const VIDEO_PAYLOAD_TYPE: u8 = 96;
/// Tags at and above it are plain sockets.
const PLAIN_TAG: u64 = 1 << 32;

/// One end of a call.
pub enum End {
    /// A WebRTC client that has its answer, on a socket of its own.
    WebRtc(Box<Client>, UdpSocket),
    /// SRTP with keys from the description, on a socket of its own.
    Srtp(Box<Srtp>, UdpSocket),
    /// Plain RTP over the shared plain socket with this number, to this address.
    Plain(usize, SocketAddr),
}

/// What an end sends.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// Packets each time, handed to the kernel together; 0: silence.
    pub packets: u32,
    /// Milliseconds from one time to the next.
    pub period_ms: usize,
    /// Payload of each, bytes.
    pub payload_bytes: usize,
    /// Their payload type.
    pub payload_type: u8,
    /// RTP clock units in that time.
    pub timestamp_step: u32,
}

impl Sending {
    /// Nothing.
    pub const NOTHING: Self =
        Self { packets: 0, period_ms: PACKET_MS, payload_bytes: 0, payload_type: 0, timestamp_step: 0 };

    /// Video frames of so many packets of 1,200 bytes, each frame at once: so libwebrtc's pacer sends one
    /// where its burst interval (40 ms in browsers) covers it, instead of spreading it at 2.5 times the bit rate.
    pub fn video(packets: u32, frames_per_s: u32) -> Self {
        let frames_per_s = frames_per_s.clamp(1, 1_000);
        Self {
            packets,
            period_ms: 1_000 / frames_per_s as usize,
            payload_bytes: 1_200 - HEADER_BYTES,
            payload_type: VIDEO_PAYLOAD_TYPE,
            timestamp_step: 90_000 / frames_per_s,
        }
    }
}

/// What the media thread is told.
pub enum Command {
    /// Takes a call. With one end, what it sends comes back to it; with two, each hears the other.
    Add(u32, Vec<End>, Sending),
    /// Forgets a call and closes its sockets.
    Remove(u32),
    /// What this call sends comes out so many times; once where nothing else was said.
    Copies(u32, u32),
    /// Packets sent from now on for so long are counted and timed.
    Open(Duration),
    /// Gives what was counted.
    Close(oneshot::Sender<Window>),
    /// Ends the thread.
    Stop,
}

/// Commands on their way to the media thread.
///
/// The thread never waits for who gives them: it has real-time priority on a core that it shares with them, so
/// one that is interrupted while it gives a command would not go on until the kernel stops the thread. (A channel
/// of the standard library has such a wait: its receiver yields until a message that was begun is there.)
#[derive(Clone, Default)]
pub struct Commands(Arc<Mutex<Vec<Command>>>);

impl Commands {
    /// Gives one.
    pub fn push(&self, command: Command) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(command);
    }

    /// Takes all into `taken`, or none where one is just being given: they come at the next look.
    fn take(&self, taken: &mut Vec<Command>) {
        match self.0.try_lock() {
            Ok(mut waiting) => std::mem::swap(&mut *waiting, taken),
            Err(TryLockError::Poisoned(error)) => std::mem::swap(&mut *error.into_inner(), taken),
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

/// What the media thread says.
#[derive(Debug)]
pub enum Event {
    /// The WebRTC end of this call has keys.
    Up(u32),
    /// It never will, or no longer has.
    Failed(u32, String),
}

/// What was counted in a window, by way: index 0 is what end 0 sent.
#[derive(Clone, Debug, Default)]
pub struct Window {
    start_ns: u64,
    end_ns: u64,
    /// Packets sent in the window.
    pub sent: [u64; 2],
    /// Those of them that came out.
    pub received: [u64; 2],
    /// Those that came after a later one, or twice.
    pub reordered: [u64; 2],
    /// Packets that came out while the window was open, whenever sent.
    pub arrived: u64,
    /// From the sender's clock reading to the kernel's receive time, of the timed calls.
    pub latency: [Histogram; 2],
    /// How late the generator's own ticks were.
    pub lateness: Histogram,
    /// SRTP packets that could not be decrypted.
    pub undecryptable: u64,
    /// Packets that reached the generator's interface and that its driver had no room for (`xdp`, read once a second).
    pub dropped: u64,
}

impl Window {
    /// Its length, seconds.
    pub fn seconds(&self) -> f64 {
        self.end_ns.saturating_sub(self.start_ns) as f64 / 1e9
    }
}

enum Transport {
    WebRtc(Box<Client>),
    Srtp(Box<Srtp>),
    Plain(SocketAddr),
    /// The call was removed.
    Gone,
}

struct Flow {
    call: u32,
    way: u8,
    socket: SocketKey,
    transport: Transport,
    sending: Sending,
    copies: u32,
    slot: usize,
    up: bool,
    dead: bool,
    /// Of the next packet.
    number: u32,
    /// Number after the highest that came out here, where the socket is its own.
    next: u32,
    /// SRTP packets that could not be decrypted (a WebRTC client counts its own).
    undecryptable: u64,
}

/// The thread's state.
pub struct Media<D: Driver<Socket = UdpSocket>> {
    driver: D,
    commands: Commands,
    events: tokio_mpsc::UnboundedSender<Event>,
    plain: Vec<SocketKey>,
    ends: Ends,
    flows: Vec<Flow>,
    by_call: HashMap<u32, Vec<usize>>,
    /// Flows by their period and, within it, the tick in which they send.
    periods: Vec<Vec<Vec<usize>>>,
    /// Flows that are not up yet: their timers run every tick.
    rising: Vec<usize>,
    /// Number after the highest that came out of a shared socket, by call and way.
    next: HashMap<(u32, u8), u32>,
    window: Window,
    /// From the driver's clock to the kernel's receive times, nanoseconds.
    offset_ns: u64,
    unsent: usize,
    /// Packets that are handed to the kernel at once: the stamp is written when the packet is made, so the
    /// last one's wait for the others is in its latency.
    send_batch: usize,
}

impl<D: Driver<Socket = UdpSocket>> Media<D> {
    /// A media thread's state with these plain sockets.
    ///
    /// # Errors
    /// The driver has no place for them.
    pub fn new(
        (mut driver, send_batch): (D, usize),
        plain: Vec<UdpSocket>,
        ends: Ends,
        commands: Commands,
        events: tokio_mpsc::UnboundedSender<Event>,
    ) -> Result<Self, String> {
        let add = |(number, socket)| driver.add_socket(socket, PLAIN_TAG + number as u64);
        let plain: Result<Vec<_>, _> = plain.into_iter().enumerate().map(add).collect();
        Ok(Self {
            plain: plain.map_err(|_| "too many sockets")?,
            driver,
            ends,
            commands,
            events,
            flows: Vec::new(),
            by_call: HashMap::new(),
            periods: Vec::new(),
            rising: Vec::new(),
            next: HashMap::new(),
            window: Window::default(),
            offset_ns: 0,
            unsent: 0,
            send_batch,
        })
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut commands = Vec::new();
        let mut tick_at = self.driver.now();
        let mut tick = 0;
        loop {
            self.driver.receive(&mut batch);
            let full = batch.len() == BATCH;
            let now = self.driver.now();
            for received in batch.drain(..) {
                self.receive(now, received);
            }
            self.commands.take(&mut commands);
            for command in commands.drain(..) {
                if !self.obey(command) {
                    return;
                }
            }
            for _ in 0..TICKS_MAX {
                let now = self.driver.now();
                if tick_at > now {
                    break;
                }
                if self.in_window(now.as_nanos()) {
                    self.window.lateness.add((now - tick_at).as_nanos() as u64);
                }
                self.tick(now, tick);
                tick += 1;
                tick_at += TICK;
            }
            // Between processes of one machine a packet that wakes its receiver costs its *sender* an
            // interrupt of another core, 2–5 µs; no network card asks for that. So it reads at its ticks.
            let wait = Wait::Until { deadline: tick_at, coalesce_us: TICK.as_micros() as u32 };
            self.driver.wait(if full { Wait::Poll } else { wait });
            while self.driver.next_removed().is_some() {} // closes the sockets of calls that ended
        }
    }

    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Add(call, ends, sending) => self.add(call, ends, sending),
            Command::Remove(call) => self.remove(call),
            Command::Copies(call, copies) => {
                for index in self.by_call.get(&call).into_iter().flatten() {
                    self.flows[*index].copies = copies;
                }
            }
            Command::Open(length) => {
                let start_ns = self.driver.now().as_nanos();
                let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                self.offset_ns = (since_1970.as_nanos() as u64).saturating_sub(start_ns);
                let end_ns = start_ns + length.as_nanos() as u64;
                let undecryptable = self.undecryptable();
                let dropped = self.dropped();
                self.window = Window { start_ns, end_ns, undecryptable, dropped, ..Window::default() };
            }
            Command::Close(reply) => {
                let mut window = std::mem::take(&mut self.window);
                window.undecryptable = self.undecryptable() - window.undecryptable;
                window.dropped = self.dropped() - window.dropped;
                // Nobody waits for it only when the program ends.
                let _ = reply.send(window);
            }
            Command::Stop => return false,
        }
        true
    }

    fn dropped(&self) -> u64 {
        let counters = self.driver.counters();
        counters.xdp_dropped + counters.xdp_ring_full
    }

    fn undecryptable(&self) -> u64 {
        let count = |flow: &Flow| match &flow.transport {
            Transport::WebRtc(client) => client.undecryptable,
            _ => flow.undecryptable,
        };
        self.flows.iter().map(count).sum()
    }

    fn add(&mut self, call: u32, ends: Vec<End>, sending: Sending) {
        for (way, end) in ends.into_iter().enumerate() {
            let index = self.flows.len();
            let (own, transport) = match end {
                End::WebRtc(client, socket) => (Ok(socket), Transport::WebRtc(client)),
                End::Srtp(srtp, socket) => (Ok(socket), Transport::Srtp(srtp)),
                End::Plain(number, remote) => (Err(self.plain[number]), Transport::Plain(remote)),
            };
            let up = !matches!(transport, Transport::WebRtc(_));
            let socket = match own {
                Ok(socket) => match self.driver.add_socket(socket, index as u64) {
                    Ok(key) => key,
                    Err(_) => {
                        let _ = self.events.send(Event::Failed(call, "no place for the socket".to_owned()));
                        return;
                    }
                },
                Err(shared) => shared,
            };
            if !up {
                self.rising.push(index);
            }
            // The two ends send half a period apart.
            let period_ms = sending.period_ms.max(1);
            let slot = (call as usize + way * period_ms / 2) % period_ms;
            self.period(period_ms)[slot].push(index);
            self.by_call.entry(call).or_default().push(index);
            self.flows.push(Flow {
                call,
                way: way as u8,
                socket,
                transport,
                sending,
                copies: 1,
                slot,
                up,
                dead: false,
                number: 0,
                next: 0,
                undecryptable: 0,
            });
        }
    }

    /// The flows that send every so many milliseconds, by tick.
    fn period(&mut self, period_ms: usize) -> &mut Vec<Vec<usize>> {
        let at = self.periods.iter().position(|slots| slots.len() == period_ms).unwrap_or_else(|| {
            self.periods.push(vec![Vec::new(); period_ms]);
            self.periods.len() - 1
        });
        &mut self.periods[at]
    }

    fn remove(&mut self, call: u32) {
        for index in self.by_call.remove(&call).unwrap_or_default() {
            let flow = &mut self.flows[index];
            flow.dead = true;
            if !matches!(std::mem::replace(&mut flow.transport, Transport::Gone), Transport::Plain(_)) {
                self.driver.remove_socket(flow.socket);
            }
            let (period_ms, slot) = (flow.sending.period_ms.max(1), flow.slot);
            self.period(period_ms)[slot].retain(|other| *other != index);
            self.rising.retain(|other| *other != index);
        }
    }

    fn in_window(&self, ns: u64) -> bool {
        (self.window.start_ns..self.window.end_ns).contains(&ns)
    }

    fn receive(&mut self, now: Time, received: Received) {
        let Received { buffer, start, len, tag, source, .. } = received;
        let now_ns = now.as_nanos();
        let timed = match tag.checked_sub(PLAIN_TAG) {
            Some(number) => self.ends.timed_plain().contains(&(number as usize)),
            None => self.flows.get(tag as usize).is_some_and(|flow| self.ends.is_timed(flow.call)),
        };
        let arrived = if timed { self.driver.arrived_ns(&buffer) } else { None };
        let arrived = arrived.map(|ns| ns.saturating_sub(self.offset_ns));
        let bytes = self.driver.bytes(&buffer).get_mut(start..start + len);
        let stamp = bytes.and_then(|bytes| {
            let packet = if tag >= PLAIN_TAG {
                &*bytes
            } else {
                let flow = self.flows.get_mut(tag as usize)?;
                match &mut flow.transport {
                    Transport::WebRtc(client) => client.handle(now, source, bytes)?,
                    // The port above another end's is this one's: its RTCP may come here.
                    Transport::Srtp(_) if classify(bytes) != Kind::Rtp => return None,
                    Transport::Srtp(srtp) => match srtp.inbound.unprotect_rtp(now, bytes) {
                        Ok(len) => &bytes[..len],
                        Err(_) => {
                            flow.undecryptable += 1;
                            return None;
                        }
                    },
                    Transport::Plain(_) | Transport::Gone => return None,
                }
            };
            Stamp::read(bifrons_wire::rtp::Packet::parse(packet).ok()?.payload())
        });
        self.driver.release(buffer);
        match stamp {
            Some(stamp) => self.count(now_ns, arrived, tag, stamp),
            None if tag < PLAIN_TAG => self.after_client(tag as usize),
            None => {}
        }
    }

    fn count(&mut self, now_ns: u64, arrived_ns: Option<u64>, tag: u64, stamp: Stamp) {
        self.window.arrived += u64::from(self.in_window(now_ns));
        let way = usize::from(stamp.way & 1);
        let next = match self.flows.get_mut(tag as usize) {
            Some(flow) if tag < PLAIN_TAG => &mut flow.next,
            _ => self.next.entry((stamp.call, stamp.way)).or_default(),
        };
        let late = stamp.number < *next;
        *next = (*next).max(stamp.number + 1);
        if self.in_window(stamp.sent_ns) {
            self.window.received[way] += 1;
            self.window.reordered[way] += u64::from(late);
            if let Some(arrived_ns) = arrived_ns {
                self.window.latency[way].add(arrived_ns.saturating_sub(stamp.sent_ns));
            }
        }
    }

    /// Sends what a client wants to send besides media, and tells when its state has changed.
    fn after_client(&mut self, index: usize) {
        let Some(flow) = self.flows.get_mut(index) else { return };
        let Transport::WebRtc(client) = &mut flow.transport else { return };
        let mut sent = 0;
        for (to, datagram) in client.transmits() {
            sent += 1;
            let Some(buffer) = self.driver.allocate() else { continue }; // it will be sent again
            let len = datagram.len();
            if let Some(bytes) = self.driver.bytes(&buffer).get_mut(HEADROOM..HEADROOM + len) {
                bytes.copy_from_slice(&datagram);
                self.driver.send(flow.socket, to, buffer, HEADROOM, len);
            } else {
                self.driver.release(buffer);
            }
        }
        // A flight costs 0.1 ms to make: many must not wait for each other.
        self.unsent += sent;
        if self.unsent >= self.send_batch {
            self.unsent = 0;
            self.driver.wait(Wait::Poll);
        }
        let event = match &client.failed {
            Some(why) if !flow.dead => {
                flow.dead = true;
                Event::Failed(flow.call, why.clone())
            }
            None if !flow.up && client.keys.is_some() => {
                flow.up = true;
                Event::Up(flow.call)
            }
            _ => return,
        };
        self.rising.retain(|rising| *rising != index);
        let _ = self.events.send(event);
    }

    fn tick(&mut self, now: Time, tick: usize) {
        self.unsent = 0; // the wait before this tick has sent them
        for at in (0..self.rising.len()).rev() {
            self.timeout(now, self.rising[at]);
        }
        for period in 0..self.periods.len() {
            let slot = tick % self.periods[period].len();
            for at in 0..self.periods[period][slot].len() {
                let index = self.periods[period][slot][at];
                self.timeout(now, index);
                for _ in 0..self.flows[index].sending.packets {
                    self.send(index);
                }
            }
        }
    }

    fn timeout(&mut self, now: Time, index: usize) {
        if let Transport::WebRtc(client) = &mut self.flows[index].transport {
            client.timeout(now);
            self.after_client(index);
        }
    }

    fn send(&mut self, index: usize) {
        let flow = &mut self.flows[index];
        if !flow.up || flow.dead {
            return;
        }
        self.unsent += 1;
        if self.unsent >= self.send_batch {
            self.unsent = 0;
            self.driver.wait(Wait::Poll);
        }
        let buffer = match self.driver.allocate() {
            Some(buffer) => buffer,
            None => {
                self.driver.wait(Wait::Poll); // what is queued goes out and its buffers come back
                let Some(buffer) = self.driver.allocate() else { return };
                buffer
            }
        };
        let sent_ns = self.driver.now().as_nanos();
        let bytes = &mut self.driver.bytes(&buffer)[HEADROOM..];
        let Sending { packets, payload_bytes, payload_type, timestamp_step, .. } = flow.sending;
        let number = flow.number;
        // Audio marks the first packet of a talkspurt, video the last of a frame.
        let marker = if packets > 1 { (number + 1).is_multiple_of(packets) } else { number == 0 };
        bytes[0] = 0x80;
        bytes[1] = payload_type | if marker { 0x80 } else { 0 };
        bytes[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        bytes[4..8].copy_from_slice(&(number / packets).wrapping_mul(timestamp_step).to_be_bytes());
        bytes[8..12].copy_from_slice(&ssrc(flow.call, flow.way).to_be_bytes());
        let stamp = Stamp { call: flow.call, way: flow.way, number, sent_ns };
        let mut len = HEADER_BYTES + payload_bytes;
        stamp.write(&mut bytes[HEADER_BYTES..len]);
        let mut protect = |outbound: &mut Outbound| {
            len = outbound.protect_rtp(bytes, len).ok()?;
            Some(())
        };
        let remote = match &mut flow.transport {
            Transport::Plain(remote) => Some(*remote),
            Transport::Srtp(srtp) => protect(&mut srtp.outbound).map(|()| srtp.remote),
            Transport::WebRtc(client) => client
                .remote
                .zip(client.keys.as_mut())
                .and_then(|(remote, keys)| protect(&mut keys.1).map(|()| remote)),
            Transport::Gone => None,
        };
        let Some(remote) = remote else { return self.driver.release(buffer) };
        self.driver.send(flow.socket, remote, buffer, HEADROOM, len);
        flow.number += 1;
        let (way, copies) = (usize::from(flow.way), u64::from(flow.copies));
        if self.in_window(sent_ns) {
            self.window.sent[way] += copies;
        }
    }
}

/// The SSRC that an end of a call sends with.
pub fn ssrc(call: u32, way: u8) -> u32 {
    0x0b1f_0000 + call * 2 + u32::from(way)
}
