//! AF_XDP: packets between a network interface and a worker's buffers, past most of the kernel's network
//! stack.
//!
//! It is [`Mmsg`] with a fast path. Each port is a bound socket as it is there. A small program on the interface
//! ([`program`]) gives the packets that it understands to the ring of their worker; every other one, and all
//! of them when the program is gone, come through the socket. A packet goes out by the ring when the kernel
//! has said by which way it has to go ([`Neighbours`]), else through the socket. So what is right does
//! not depend on XDP, only what is cheap.
//!
//! The buffers are the UMEM: a packet is decrypted in the frame in which it came and sent from it.

mod bpf;
mod interface;
mod neighbour;
mod netlink;
mod program;
mod ring;
mod socket;
mod umem;

pub use interface::{INTERFACES_MAX, Interface};

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use bifrons_rtc::Time;
use bifrons_wire::frame;

use super::clock::Clock;
use super::memory::Memory;
use super::mmsg::{Mmsg, MmsgConfig, QUEUE};
use super::prefetch;
use super::{
    BUFFER_BYTES, Buffer, DATAGRAM_BYTES_MAX, Driver, DriverCounters, DriverWaker, Received, SocketKey,
    TAILROOM, Wait,
};
use neighbour::{Hop, Neighbours};
use program::PORTS;
use socket::Socket;

/// Buffers that an interface has, at most, for packets to come: for 8 ms at 250,000 packets a second. Fewer stay
/// in the cache better (0.1 µs a packet between 1,024 and 4,096), but what finds none is lost.
const FILL: usize = 2_048;
/// Buffers that are kept for sends when an interface asks for more.
const SENDS: usize = QUEUE + 512;
/// Frames that interfaces have not sent yet, each interface its share: one that stands still keeps no more, so packets
/// still come and others still send. For 12 ms at 250,000 packets a second.
const SENDING: usize = 3_072;
/// Buffers besides those that wait for packets.
const BUFFERS: usize = SENDS + SENDING;
/// As many packets of equal size to one destination go through the socket: one send with `UDP_SEGMENT` is
/// cheaper than they are one by one.
const RUN_MIN: u16 = 4;
/// Frames that are asked for ahead of the one that is read.
const AHEAD: u32 = 4;
/// Of a batch, the share that sockets with packets get.
const SOCKETS_SHARE: usize = 4;
/// How often the kernel's counters are read.
const STATISTICS_EVERY: Duration = Duration::from_secs(1);
/// How soon sends that the kernel did not take are tried again.
const KICK_AGAIN: Duration = Duration::from_millis(1);

const _: () = assert!(
    256 + frame::ETHERNET_BYTES + interface::MTU_MAX + TAILROOM <= BUFFER_BYTES,
    "what the kernel keeps free, a frame, and what SRTP adds"
);

/// Memory that a worker's buffers take with so many interfaces, bytes; the kernel locks it.
pub const fn memory_bytes(interfaces: usize) -> usize {
    (BUFFERS + FILL * interfaces) * BUFFER_BYTES
}

/// How to make an [`Xdp`].
#[derive(Clone)]
pub struct XdpConfig {
    /// Sockets at most.
    pub sockets_max: usize,
    /// The worker's number, which is that of its queue on each interface.
    pub worker: u8,
    /// The interfaces, the same for all workers; [`INTERFACES_MAX`] at most.
    pub interfaces: Vec<Arc<Interface>>,
}

/// The driver.
pub struct Xdp {
    sockets: Mmsg,
    worker: u8,
    devices: Vec<Device>,
    /// Who is asked first.
    first: usize,
    neighbours: Neighbours,
    statistics_at: Time,
    /// By the socket's slot.
    locals: Box<[Option<Local>]>,
    /// By number of the queue's sends: which way they went.
    ways: Vec<Option<Way>>,
    counters: Counted,
}

/// An interface as one worker has it.
struct Device {
    interface: Arc<Interface>,
    socket: Socket,
    /// By address and port: who has it.
    ports: Vec<Vec<Port>>,
    /// Buffers that are the kernel's: in the fill ring or filled.
    filling: usize,
    /// Buffers with frames to send that the kernel has not given back.
    sending: usize,
}

/// Key and tag of the socket that is bound to a port; key 0: none.
type Port = [u64; 2];

/// Where a socket is bound, if that is an address of a device.
#[derive(Clone, Copy)]
struct Local {
    device: u8,
    address: u8,
    name: SocketAddr,
}

/// The way of a send.
#[derive(Clone, Copy)]
struct Way {
    device: u8,
    link: frame::Link,
    mtu: u16,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    received: u64,
    sent: u64,
    malformed: u64,
    send_ring_full: u64,
    dropped: u64,
    ring_full: u64,
    no_frames: u64,
    system_calls: u64,
}

impl Xdp {
    /// Makes a driver. `clock` is shared by all workers of an engine.
    ///
    /// # Errors
    /// What is missing, in words: a right, locked memory, a free queue.
    pub fn new(config: XdpConfig, clock: Clock) -> Result<Self, String> {
        let XdpConfig { sockets_max, worker, interfaces } = config;
        let memory = Memory::aligned(BUFFERS + FILL * interfaces.len());
        let mut devices: Vec<Device> = Vec::new();
        for interface in interfaces {
            let first = devices.first().map(|device| &device.socket);
            let fail = |error: io::Error| {
                let name = interface.name();
                format!("xdp: {name}: AF_XDP socket on queue {worker}: {error}{}", interface::hint(&error))
            };
            let socket = Socket::open(&interface, worker.into(), &memory, first).map_err(fail)?;
            let ports = interface.addresses().iter().map(|_| vec![[0; 2]; PORTS]).collect();
            devices.push(Device { interface, socket, ports, filling: 0, sending: 0 });
        }
        let ways_out: Vec<_> = devices.iter().map(|device| device.interface.way_out()).collect();
        let neighbours = Neighbours::new(&ways_out)
            .map_err(|error| format!("xdp: asking the kernel for routes: {error}"))?;
        let sockets = Mmsg::with_memory(MmsgConfig { sockets_max }, clock, memory)
            .map_err(|error| error.to_string())?;
        for (number, device) in devices.iter().enumerate() {
            sockets.watch(device.socket.fd(), number).map_err(|error| error.to_string())?;
        }
        let mut driver = Self {
            sockets,
            worker,
            devices,
            first: 0,
            neighbours,
            statistics_at: Time::ZERO,
            locals: vec![None; sockets_max].into_boxed_slice(),
            ways: Vec::with_capacity(QUEUE),
            counters: Counted::default(),
        };
        driver.exchange();
        for device in &driver.devices {
            let joined = device.interface.join(worker.into(), device.socket.fd());
            joined.map_err(|error| format!("xdp: {}: {error}", device.interface.name()))?;
        }
        Ok(driver)
    }

    /// The same, with [`Driver::arrived_ns`] of what comes through sockets; of what comes through a ring it says
    /// nothing that means anything. To be called before the first socket is added.
    #[must_use]
    pub fn with_timestamps(mut self) -> Self {
        self.sockets = self.sockets.with_timestamps();
        self
    }

    /// One line for the start report.
    pub fn describe(&self) -> String {
        let one = |device: &Device| {
            let how = if device.socket.is_zero_copy() { "zero-copy" } else { "copy" };
            format!("{} queue {} ({how})", device.interface.name(), self.worker)
        };
        self.devices.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Takes back frames that were sent, and gives the kernel frames to fill.
    fn exchange(&mut self) {
        for device in &mut self.devices {
            let sent = &mut device.socket.sent;
            if sent.ready() > 0 {
                while let Some(address) = sent.next() {
                    device.sending = device.sending.saturating_sub(1);
                    self.sockets.free.push(umem::place(address).0);
                }
                sent.release();
            }
            let want = FILL.saturating_sub(device.filling);
            let spare = self.sockets.free.len().saturating_sub(SENDS);
            let mut given = 0;
            for buffer in self.sockets.free.drain(self.sockets.free.len() - want.min(spare)..).rev() {
                given += usize::from(device.socket.fill.push(umem::address(buffer, 0)));
            }
            device.filling += given;
            if given > 0 {
                device.socket.fill.publish();
            }
            if device.socket.fill.wants_call() {
                self.counters.system_calls += 1;
                device.socket.kick_fill();
            }
        }
    }

    /// Takes up to `want` frames of one device.
    fn receive_from(&mut self, device: usize, want: usize, batch: &mut Vec<Received>) {
        let Some(Device { socket, ports, interface, filling, .. }) = self.devices.get_mut(device) else {
            return;
        };
        let want = want.min(socket.received.ready() as usize);
        let memory = &mut self.sockets.memory;
        let ask = |descriptor: Option<libc::xdp_desc>, memory: &Memory| {
            if let Some(libc::xdp_desc { addr, .. }) = descriptor {
                let (buffer, at) = umem::place(addr);
                let first = memory.address(buffer).wrapping_add(at);
                (0..4).for_each(|line| prefetch::line(first.wrapping_add(line * 64)));
            }
        };
        (0..AHEAD).for_each(|ahead| ask(socket.received.peek(ahead), memory));
        for _ in 0..want {
            ask(socket.received.peek(AHEAD), memory);
            let Some(descriptor) = socket.received.next() else { break };
            *filling = filling.saturating_sub(1);
            let (buffer, at) = umem::place(descriptor.addr);
            let parsed = frame::parse(memory.bytes(buffer), at, descriptor.len as usize)
                .filter(|parsed| is_sender(parsed.source))
                .and_then(|parsed| {
                    let address = address_of(interface, parsed.destination.ip())?;
                    let [key, tag] = *ports.get(address)?.get(usize::from(parsed.destination.port()))?;
                    (key != 0 && parsed.len <= DATAGRAM_BYTES_MAX).then_some((parsed, SocketKey(key), tag))
                });
            let Some((frame::Parsed { start, len, source, .. }, socket, tag)) = parsed else {
                self.counters.malformed += 1;
                self.sockets.free.push(buffer);
                continue;
            };
            self.counters.received += 1;
            batch.push(Received { buffer: Buffer(buffer), start, len, socket, tag, source });
        }
        socket.received.release();
    }

    /// Sends what is queued: by the rings what can go there, the rest through its sockets.
    fn flush(&mut self, now: Time) {
        self.neighbours.turn(now);
        if !self.sockets.queue.is_empty() {
            self.ways.clear();
            for number in 0..self.sockets.queue.sends().len() as u16 {
                let way = self.way(number, now);
                self.ways.push(way);
                if let Some(way) = way {
                    self.send_by(way, number);
                }
            }
            // What was in front of a packet in the queue, on another way, may be behind it now; never on the same.
            self.sockets.flush();
        }
        for device in &mut self.devices {
            let mut waiting = device.socket.sends.waiting();
            while waiting > 0 && device.socket.sends.wants_call() {
                self.counters.system_calls += 1;
                device.socket.kick_sends();
                let left = device.socket.sends.waiting();
                if left == waiting {
                    break;
                }
                waiting = left;
            }
        }
        self.exchange();
    }

    /// By which ring a send goes; `None`: through its socket. All that the queue has for one destination goes
    /// the same way, and so stays in order.
    fn way(&mut self, number: u16, now: Time) -> Option<Way> {
        let send = self.sockets.queue.send(number);
        let local = (*self.locals.get(send.socket as usize)?)?;
        let way = match send.before {
            Some(before) => (*self.ways.get(usize::from(before))?)?,
            None if send.count >= RUN_MIN => return None,
            None => {
                let destination = send.destination.address()?.ip();
                let Hop { interface, link, mtu } = self.neighbours.to(local.name.ip(), destination, now)?;
                Way { device: interface, link: *link, mtu }
            }
        };
        // A longer one is fragmented by the kernel.
        let headers = if local.name.is_ipv4() { frame::IPV4_BYTES } else { frame::IPV6_BYTES };
        let fits = usize::from(send.segment) + headers + frame::UDP_BYTES <= usize::from(way.mtu);
        (fits && way.device == local.device).then_some(way)
    }

    fn send_by(&mut self, way: Way, number: u16) {
        let send = *self.sockets.queue.send(number);
        let sending_max = SENDING / self.devices.len().max(1);
        let Some(device) = self.devices.get_mut(usize::from(way.device)) else { return };
        let local = self.locals.get(send.socket as usize).copied().flatten();
        let (Some(local), Some(destination)) = (local, send.destination.address()) else { return };
        for _ in 0..send.count {
            let Some(datagram) = self.sockets.queue.leave(number) else { break };
            let bytes = self.sockets.memory.bytes(datagram.buffer);
            let (start, len) = (usize::from(datagram.start), usize::from(datagram.len));
            let at = frame::head(bytes, start, len, &way.link, local.name, destination);
            let end = start + len;
            let pushed = at.is_some_and(|at| {
                let addr = umem::address(datagram.buffer, at);
                let descriptor = libc::xdp_desc { addr, len: (end - at) as u32, options: 0 };
                let pushed = device.sending < sending_max && device.socket.sends.push(descriptor);
                self.counters.send_ring_full += u64::from(!pushed);
                pushed
            });
            if pushed {
                device.sending += 1;
                self.counters.sent += 1;
            } else {
                self.sockets.counters.send_failed += 1;
                self.sockets.free.push(datagram.buffer);
            }
        }
        device.socket.sends.publish();
    }

    fn read_statistics(&mut self) {
        let all = self.devices.iter().filter_map(|device| device.socket.statistics());
        let (mut dropped, mut ring_full, mut no_frames) = (0, 0, 0);
        for one in all {
            self.counters.system_calls += 1;
            dropped += one.rx_dropped;
            ring_full += one.rx_ring_full;
            no_frames += one.rx_fill_ring_empty_descs;
        }
        let counters = &mut self.counters;
        (counters.dropped, counters.ring_full, counters.no_frames) = (dropped, ring_full, no_frames);
    }
}

/// The number of an address among those of an interface.
#[inline]
fn address_of(interface: &Interface, ip: IpAddr) -> Option<usize> {
    interface.addresses().iter().position(|address| *address == ip)
}

/// Whether somebody can have sent from there: the kernel's stack, which the packet did not pass, drops others
/// as "martians" (RFC 1812 §5.3.7).
#[inline]
fn is_sender(source: SocketAddr) -> bool {
    let ip = source.ip();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.is_broadcast());
    source.port() != 0 && !ip.is_loopback() && !ip.is_multicast() && !ip.is_unspecified() && !broadcast
}

impl Driver for Xdp {
    type Socket = UdpSocket;

    fn now(&mut self) -> Time {
        self.sockets.now()
    }

    fn add_socket(&mut self, socket: UdpSocket, tag: u64) -> Result<SocketKey, UdpSocket> {
        let name = socket.local_addr();
        let key = self.sockets.add_socket(socket, tag)?;
        let Ok(name) = name else { return Ok(key) };
        for (number, device) in self.devices.iter_mut().enumerate() {
            let Some(address) = address_of(&device.interface, name.ip()) else { continue };
            let places = (self.locals.get_mut(key.0 as u32 as usize), device.ports.get_mut(address));
            let (Some(local), Some(ports)) = places else { continue };
            *local = Some(Local { device: number as u8, address: address as u8, name });
            if let Some(port) = ports.get_mut(usize::from(name.port())) {
                *port = [key.0, tag];
            }
            device.interface.open_port(address, name.port(), self.worker);
            break;
        }
        Ok(key)
    }

    fn remove_socket(&mut self, socket: SocketKey) {
        let now = self.now();
        self.flush(now);
        if let Some((index, _)) = self.sockets.table.find(socket)
            && let Some(local) = self.locals.get_mut(index as usize).and_then(Option::take)
            && let Some(device) = self.devices.get_mut(usize::from(local.device))
        {
            let (address, port) = (usize::from(local.address), local.name.port());
            device.interface.close_port(address, port);
            if let Some(port) = device.ports.get_mut(address).and_then(|all| all.get_mut(usize::from(port))) {
                *port = [0; 2];
            }
        }
        self.sockets.remove_socket(socket);
    }

    fn next_removed(&mut self) -> Option<(UdpSocket, u64)> {
        self.sockets.next_removed()
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> usize {
        let before = batch.len();
        let room = batch.capacity() - before;
        let kept = if self.sockets.ready.is_empty() { 0 } else { room.div_ceil(SOCKETS_SHARE) };
        let mut left = room - kept;
        let count = self.devices.len();
        for step in 0..count {
            let so_far = batch.len();
            // Each of those that are left gets its share; what one does not need is the next one's.
            self.receive_from((self.first + step) % count, left.div_ceil(count - step), batch);
            left -= batch.len() - so_far;
        }
        self.first = (self.first + 1) % count.max(1);
        self.exchange();
        self.sockets.receive(batch);
        batch.len() - before
    }

    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.sockets.bytes(buffer)
    }

    fn arrived_ns(&mut self, buffer: &Buffer) -> Option<u64> {
        self.sockets.arrived_ns(buffer)
    }

    fn bytes_pair(&mut self, from: &Buffer, to: &Buffer) -> (&[u8], &mut [u8]) {
        self.sockets.bytes_pair(from, to)
    }

    fn allocate(&mut self) -> Option<Buffer> {
        self.sockets.allocate()
    }

    fn send(&mut self, socket: SocketKey, destination: SocketAddr, buffer: Buffer, start: usize, len: usize) {
        if self.sockets.queue.len() + 1 >= QUEUE {
            let now = self.now();
            self.flush(now);
        }
        self.sockets.send(socket, destination, buffer, start, len);
    }

    fn release(&mut self, buffer: Buffer) {
        self.sockets.release(buffer);
    }

    fn wait(&mut self, wait: Wait) {
        let now = self.now();
        self.flush(now);
        if now - self.statistics_at >= STATISTICS_EVERY {
            self.statistics_at = now;
            self.read_statistics();
        }
        let stuck = self.devices.iter_mut().any(|device| device.socket.sends.waiting() > 0);
        let wait = match wait {
            Wait::Until { deadline, coalesce_us } if stuck => {
                Wait::Until { deadline: deadline.min(now + KICK_AGAIN), coalesce_us }
            }
            Wait::Nap { .. } if stuck => Wait::Until { deadline: now + KICK_AGAIN, coalesce_us: 0 },
            wait => wait,
        };
        let devices = &self.devices;
        self.sockets.sleep(wait, || devices.iter().any(|device| !device.socket.received.is_empty()));
    }

    fn waker(&self) -> DriverWaker {
        self.sockets.waker()
    }

    fn wake_fd(&self) -> Option<RawFd> {
        self.sockets.wake_fd()
    }

    fn counters(&self) -> DriverCounters {
        let (sockets, own, neighbours) = (self.sockets.counters, self.counters, self.neighbours.counters());
        DriverCounters {
            received: sockets.received + own.received,
            sent: sockets.sent + own.sent,
            system_calls: sockets.system_calls + own.system_calls,
            xdp_received: own.received,
            xdp_sent: own.sent,
            xdp_malformed: own.malformed,
            xdp_send_ring_full: own.send_ring_full,
            xdp_dropped: own.dropped,
            xdp_ring_full: own.ring_full,
            xdp_no_frames: own.no_frames,
            xdp_neighbours_postponed: neighbours.postponed,
            xdp_neighbours_evicted: neighbours.evicted,
            ..sockets
        }
    }
}
