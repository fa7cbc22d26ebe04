//! The media thread: every client and every plain RTP end of the generator, on one driver of the
//! engine. It sends 20 ms packets, spread over the 20 ms, and reads the stamps of what comes back.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use bifrons_engine::driver::{Driver, HEADROOM, Received, SocketKey, Wait};
use bifrons_rtc::Time;
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

use crate::client::Client;
use crate::histogram::Histogram;
use crate::stamp::{PAYLOAD_BYTES, Stamp};

/// Milliseconds between two packets of a stream.
const PACKET_MS: usize = 20;
const TICK: Duration = Duration::from_millis(1);
/// Ticks that are made up for before packets are read again.
const TICKS_MAX: usize = 5;
const BATCH: usize = 256;
const HEADER_BYTES: usize = 12;
const PCMU: u8 = 0;
/// Tags at and above it are plain sockets.
const PLAIN_TAG: u64 = 1 << 32;

/// One end of a call.
pub enum End {
    /// A WebRTC client that has its answer, on a socket of its own.
    WebRtc(Box<Client>, UdpSocket),
    /// Plain RTP over the shared plain socket with this number, to this address.
    Plain(usize, SocketAddr),
}

/// What the media thread is told.
pub enum Command {
    /// Takes a call. With one end, what it sends comes back to it; with two, each hears the other.
    Add(u32, Vec<End>),
    /// Packets sent from now on for so long are counted and timed. The thread sleeps from tick to tick
    /// and reads then, or it wakes for every packet.
    Open(Duration, Reading),
    /// Gives what was counted.
    Close(oneshot::Sender<Window>),
    /// Ends the thread.
    Stop,
}

/// When the media thread reads what has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Every millisecond. Between processes of one machine a packet that wakes its receiver costs its
    /// *sender* an interrupt of another core, 2–5 µs; no network card asks for that. For measuring CPU.
    AtTicks,
    /// At once. For measuring latency.
    AtOnce,
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
    /// From the sender's clock reading to the receiver's.
    pub latency: [Histogram; 2],
    /// How late the generator's own ticks were.
    pub lateness: Histogram,
    /// SRTP packets that could not be decrypted.
    pub undecryptable: u64,
}

enum Transport {
    WebRtc(Box<Client>),
    Plain(SocketAddr),
}

struct Flow {
    call: u32,
    way: u8,
    socket: SocketKey,
    transport: Transport,
    up: bool,
    dead: bool,
    number: u32,
}

/// The thread's state.
pub struct Media<D: Driver<Socket = UdpSocket>> {
    driver: D,
    commands: mpsc::Receiver<Command>,
    events: tokio_mpsc::UnboundedSender<Event>,
    plain: Vec<SocketKey>,
    flows: Vec<Flow>,
    /// Flows by the tick in which they send.
    slots: Vec<Vec<usize>>,
    /// Flows that are not up yet: their timers run every tick.
    rising: Vec<usize>,
    /// Number after the highest that came out, by call and way.
    next: Vec<[u32; 2]>,
    window: Window,
    reading: Reading,
}

impl<D: Driver<Socket = UdpSocket>> Media<D> {
    /// A media thread's state with these plain sockets.
    ///
    /// # Errors
    /// The driver has no place for them.
    pub fn new(
        mut driver: D,
        plain: Vec<UdpSocket>,
        commands: mpsc::Receiver<Command>,
        events: tokio_mpsc::UnboundedSender<Event>,
    ) -> Result<Self, String> {
        let add = |(number, socket)| driver.add_socket(socket, PLAIN_TAG + number as u64);
        let plain: Result<Vec<_>, _> = plain.into_iter().enumerate().map(add).collect();
        Ok(Self {
            plain: plain.map_err(|_| "too many sockets")?,
            driver,
            commands,
            events,
            flows: Vec::new(),
            slots: vec![Vec::new(); PACKET_MS],
            rising: Vec::new(),
            next: Vec::new(),
            window: Window::default(),
            reading: Reading::AtTicks,
        })
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut tick_at = self.driver.now();
        let mut tick = 0;
        loop {
            self.driver.receive(&mut batch);
            let full = batch.len() == BATCH;
            let now = self.driver.now();
            for received in batch.drain(..) {
                self.receive(now, received);
            }
            while let Ok(command) = self.commands.try_recv() {
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
                self.tick(now, tick % PACKET_MS);
                tick += 1;
                tick_at += TICK;
            }
            let coalesce_us = match self.reading {
                Reading::AtTicks => TICK.as_micros() as u32,
                Reading::AtOnce => 0,
            };
            let wait = Wait::Until { deadline: tick_at, coalesce_us };
            self.driver.wait(if full { Wait::Poll } else { wait });
        }
    }

    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Add(call, ends) => self.add(call, ends),
            Command::Open(length, reading) => {
                self.reading = reading;
                let start_ns = self.driver.now().as_nanos();
                let end_ns = start_ns + length.as_nanos() as u64;
                let undecryptable = self.undecryptable();
                self.window = Window { start_ns, end_ns, undecryptable, ..Window::default() };
            }
            Command::Close(reply) => {
                let mut window = std::mem::take(&mut self.window);
                window.undecryptable = self.undecryptable() - window.undecryptable;
                // Nobody waits for it only when the program ends.
                let _ = reply.send(window);
                self.reading = Reading::AtTicks;
            }
            Command::Stop => return false,
        }
        true
    }

    fn undecryptable(&self) -> u64 {
        let clients = self.flows.iter().map(|flow| match &flow.transport {
            Transport::WebRtc(client) => client.undecryptable,
            Transport::Plain(_) => 0,
        });
        clients.sum()
    }

    fn add(&mut self, call: u32, ends: Vec<End>) {
        let slot = call as usize % PACKET_MS;
        if self.next.len() <= call as usize {
            self.next.resize(call as usize + 1, [0; 2]);
        }
        for (way, end) in ends.into_iter().enumerate() {
            let index = self.flows.len();
            let (socket, transport, up) = match end {
                End::WebRtc(client, socket) => {
                    let Ok(key) = self.driver.add_socket(socket, index as u64) else {
                        let _ = self.events.send(Event::Failed(call, "no place for the socket".to_owned()));
                        return;
                    };
                    self.rising.push(index);
                    (key, Transport::WebRtc(client), false)
                }
                End::Plain(number, remote) => (self.plain[number], Transport::Plain(remote), true),
            };
            // The two ends send half a period apart.
            let slot = (slot + way * PACKET_MS / 2) % PACKET_MS;
            self.slots[slot].push(index);
            self.flows.push(Flow { call, way: way as u8, socket, transport, up, dead: false, number: 0 });
        }
    }

    fn in_window(&self, ns: u64) -> bool {
        (self.window.start_ns..self.window.end_ns).contains(&ns)
    }

    fn receive(&mut self, now: Time, received: Received) {
        let Received { buffer, start, len, tag, source, .. } = received;
        let bytes = self.driver.bytes(&buffer).get_mut(start..start + len);
        let stamp = bytes.and_then(|bytes| {
            let packet = if tag >= PLAIN_TAG {
                &*bytes
            } else {
                match &mut self.flows.get_mut(tag as usize)?.transport {
                    Transport::WebRtc(client) => client.handle(now, source, bytes)?,
                    Transport::Plain(_) => return None,
                }
            };
            Stamp::read(bifrons_wire::rtp::Packet::parse(packet).ok()?.payload())
        });
        self.driver.release(buffer);
        match stamp {
            Some(stamp) => self.count(now, stamp),
            None if tag < PLAIN_TAG => self.after_client(tag as usize),
            None => {}
        }
    }

    fn count(&mut self, now: Time, stamp: Stamp) {
        let now_ns = now.as_nanos();
        self.window.arrived += u64::from(self.in_window(now_ns));
        let way = usize::from(stamp.way & 1);
        let Some(next) = self.next.get_mut(stamp.call as usize).map(|ways| &mut ways[way]) else { return };
        let late = stamp.number < *next;
        *next = (*next).max(stamp.number + 1);
        if self.in_window(stamp.sent_ns) {
            self.window.received[way] += 1;
            self.window.reordered[way] += u64::from(late);
            self.window.latency[way].add(now_ns.saturating_sub(stamp.sent_ns));
        }
    }

    /// Sends what a client wants to send besides media, and tells when its state has changed.
    fn after_client(&mut self, index: usize) {
        let Some(flow) = self.flows.get_mut(index) else { return };
        let Transport::WebRtc(client) = &mut flow.transport else { return };
        for (to, datagram) in client.transmits() {
            let Some(buffer) = self.driver.allocate() else { continue }; // it will be sent again
            let len = datagram.len();
            if let Some(bytes) = self.driver.bytes(&buffer).get_mut(HEADROOM..HEADROOM + len) {
                bytes.copy_from_slice(&datagram);
                self.driver.send(flow.socket, to, buffer, HEADROOM, len);
            } else {
                self.driver.release(buffer);
            }
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

    fn tick(&mut self, now: Time, slot: usize) {
        for at in (0..self.rising.len()).rev() {
            self.timeout(now, self.rising[at]);
        }
        for at in 0..self.slots[slot].len() {
            let index = self.slots[slot][at];
            self.timeout(now, index);
            self.send(now, index);
        }
    }

    fn timeout(&mut self, now: Time, index: usize) {
        if let Transport::WebRtc(client) = &mut self.flows[index].transport {
            client.timeout(now);
            self.after_client(index);
        }
    }

    fn send(&mut self, now: Time, index: usize) {
        let in_window = self.in_window(now.as_nanos());
        let flow = &mut self.flows[index];
        if !flow.up || flow.dead {
            return;
        }
        let buffer = match self.driver.allocate() {
            Some(buffer) => buffer,
            None => {
                self.driver.wait(Wait::Poll); // what is queued goes out and its buffers come back
                let Some(buffer) = self.driver.allocate() else { return };
                buffer
            }
        };
        let bytes = &mut self.driver.bytes(&buffer)[HEADROOM..];
        let number = flow.number;
        bytes[0] = 0x80;
        bytes[1] = PCMU | if number == 0 { 0x80 } else { 0 };
        bytes[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        bytes[4..8].copy_from_slice(&number.wrapping_mul(PAYLOAD_BYTES as u32).to_be_bytes());
        bytes[8..12].copy_from_slice(&ssrc(flow.call, flow.way).to_be_bytes());
        let stamp = Stamp { call: flow.call, way: flow.way, number, sent_ns: now.as_nanos() };
        let mut len = HEADER_BYTES + PAYLOAD_BYTES;
        stamp.write(&mut bytes[HEADER_BYTES..len]);
        let remote = match &mut flow.transport {
            Transport::Plain(remote) => Some(*remote),
            Transport::WebRtc(client) => {
                client.remote.zip(client.keys.as_mut()).and_then(|(remote, keys)| {
                    len = keys.1.protect_rtp(bytes, len).ok()?;
                    Some(remote)
                })
            }
        };
        let Some(remote) = remote else { return self.driver.release(buffer) };
        self.driver.send(flow.socket, remote, buffer, HEADROOM, len);
        flow.number += 1;
        self.window.sent[usize::from(flow.way)] += u64::from(in_window);
    }
}

/// The SSRC that an end of a call sends with.
pub fn ssrc(call: u32, way: u8) -> u32 {
    0x0b1f_0000 + call * 2 + u32::from(way)
}
