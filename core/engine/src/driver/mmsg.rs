//! `recvmmsg` and `sendmmsg` with epoll: as fast as io_uring for a few sockets, on every kernel and
//! in every container that forbids io_uring (`benches/README.md`).

use std::io;
use std::mem::zeroed;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{addr_of_mut, null_mut};
use std::sync::Arc;
use std::time::Duration;

use bifrons_rtc::Time;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::address::{self, NAME_BYTES};
use super::clock::Clock;
use super::eventfd::{self, EventFd};
use super::memory::Memory;
use super::queue::Queue;
use super::segment::Messages;
use super::table::Table;
use super::timestamp;
use super::{
    BUFFER_BYTES, Buffer, DATAGRAM_BYTES_MAX, Driver, DriverCounters, DriverWaker, HEADROOM, Received,
    SocketKey, Wait,
};

/// Datagrams a system call; batches of 8 already save most of what batches can.
const BATCH: usize = 64;
/// Buffers in all. Those freed last are used next, so what audio touches stays in L2; a fan-out needs many, so
/// that packets to one destination meet in the queue.
const BUFFERS: usize = 1_536;
/// Sends that may wait for [`Driver::wait`]: the rest of the buffers is for receiving.
pub(super) const QUEUE: usize = 1_024;
const _: () = assert!(QUEUE <= super::queue::DATAGRAMS_MAX);
const WAKE: Token = Token(usize::MAX);
/// Tokens from here downwards are no sockets of the table.
const OTHERS: usize = usize::MAX - 1;

/// How to make an [`Mmsg`].
#[derive(Clone, Copy, Debug)]
pub struct MmsgConfig {
    /// Sockets at most.
    pub sockets_max: usize,
}

#[derive(Default)]
pub(super) struct Readiness {
    queued: bool,
}

/// The portable driver.
pub struct Mmsg {
    pub(super) clock: Clock,
    pub(super) poll: Poll,
    events: Events,
    wake: Arc<EventFd>,
    pub(super) memory: Memory,
    pub(super) free: Vec<u32>,
    pub(super) table: Table<Readiness>,
    pub(super) ready: Vec<u32>,
    removed: Vec<(UdpSocket, u64)>,
    pub(super) queue: Queue,
    /// Numbers of the queue's sends, by socket.
    order: Vec<u16>,
    messages: Messages,
    headers: Box<[libc::mmsghdr; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
    names: Box<[[u8; NAME_BYTES]; BATCH]>,
    /// Bytes at the start of the headroom for the kernel's control message; 0: none is asked for.
    control_bytes: usize,
    pub(super) counters: DriverCounters,
}

// SAFETY: the raw pointers inside `headers` and `vectors` point into the boxes and the memory that
// this value owns; they are written anew before each call.
unsafe impl Send for Mmsg {}

impl Mmsg {
    /// Makes a driver. `clock` is shared by all workers of an engine.
    ///
    /// # Errors
    /// epoll or eventfd is refused (descriptor limit).
    pub fn new(config: MmsgConfig, clock: Clock) -> io::Result<Self> {
        Self::with_memory(config, clock, Memory::new(BUFFERS))
    }

    /// The same with buffers of somebody's choice.
    pub(super) fn with_memory(config: MmsgConfig, clock: Clock, memory: Memory) -> io::Result<Self> {
        let poll = Poll::new()?;
        let wake = Arc::new(EventFd::new()?);
        poll.registry().register(&mut SourceFd(&wake.as_raw_fd()), WAKE, Interest::READABLE)?;
        Ok(Self {
            clock,
            poll,
            events: Events::with_capacity(1024),
            wake,
            free: (0..memory.count() as u32).rev().collect(),
            memory,
            table: Table::new(config.sockets_max),
            ready: Vec::with_capacity(config.sockets_max),
            removed: Vec::with_capacity(config.sockets_max),
            queue: Queue::new(),
            order: Vec::with_capacity(QUEUE),
            messages: Messages::new(),
            // SAFETY: all-zero is a valid value of these plain C structures.
            headers: Box::new(unsafe { zeroed() }),
            // SAFETY: as above.
            vectors: Box::new(unsafe { zeroed() }),
            names: Box::new([[0; NAME_BYTES]; BATCH]),
            control_bytes: 0,
            counters: DriverCounters::default(),
        })
    }

    /// The same, with [`Driver::arrived_ns`]. To be called before the first socket is added.
    #[must_use]
    pub fn with_timestamps(mut self) -> Self {
        self.control_bytes = timestamp::CONTROL_BYTES;
        self
    }

    /// Receives up to `want` datagrams from one socket. Returns whether it may have more.
    fn receive_from(&mut self, index: u32, want: usize, batch: &mut Vec<Received>) -> bool {
        let Some(slot) = self.table.get(index) else { return false };
        let Some(socket) = slot.socket.as_ref() else { return false };
        let (fd, tag) = (socket.as_raw_fd(), slot.tag);
        let key = self.table.key(index);
        let first = self.free.len() - want;
        for i in 0..want {
            let base = self.memory.address(self.free[first + i]);
            self.vectors[i].iov_base = base.wrapping_add(HEADROOM).cast();
            self.vectors[i].iov_len = DATAGRAM_BYTES_MAX;
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = self.names[i].as_mut_ptr().cast();
            header.msg_namelen = NAME_BYTES as u32;
            header.msg_iov = addr_of_mut!(self.vectors[i]);
            header.msg_iovlen = 1;
            header.msg_control = if self.control_bytes > 0 { base.cast() } else { null_mut() };
            header.msg_controllen = self.control_bytes;
            header.msg_flags = 0;
        }
        self.counters.system_calls += 1;
        // SAFETY: `want` headers are filled; names, vectors and buffers are owned by `self` and
        // outlive the call; the buffers were taken from the free list, so no token names them.
        let got = unsafe {
            libc::recvmmsg(fd, self.headers.as_mut_ptr(), want as u32, libc::MSG_DONTWAIT, null_mut())
        };
        if got < 0 {
            if io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
                // The error of a former send was taken off the socket; what arrived is behind it.
                self.counters.receive_errors += 1;
                return true;
            }
            return false;
        }
        let got = got as usize;
        // The buffers used are the first `got` of the stretch; swap them out of the free list.
        for i in 0..got {
            let buffer = Buffer(self.free[first + i]);
            let header = &self.headers[i];
            let name = &self.names[i][..(header.msg_hdr.msg_namelen as usize).min(NAME_BYTES)];
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            match address::read(name) {
                Some(source) if !truncated => {
                    self.counters.received += 1;
                    let len = header.msg_len as usize;
                    batch.push(Received { buffer, start: HEADROOM, len, socket: key, tag, source });
                }
                _ => {
                    self.counters.truncated += 1;
                    self.free.push(buffer.0);
                }
            }
        }
        self.free.drain(first..first + got);
        got == want
    }

    /// Watches another descriptor: what makes it readable ends a sleep and is not looked at otherwise.
    pub(super) fn watch(&self, fd: RawFd, number: usize) -> io::Result<()> {
        let token = Token(OTHERS - number);
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    /// Hands the queue to the kernel.
    pub(super) fn flush(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let mut order = std::mem::take(&mut self.order);
        let sends = self.queue.sends().iter().zip(0..);
        order.extend(sends.filter(|(send, _)| send.count > 0).map(|(_, number)| number));
        // One call serves one socket: bring the sends of a socket together, in their order.
        order.sort_unstable_by_key(|number| (self.queue.send(*number).socket, *number));
        let mut rest = &order[..];
        while let Some(first) = rest.first() {
            let socket = self.queue.send(*first).socket;
            let (run, behind) = rest.split_at(
                rest.iter().take_while(|number| self.queue.send(**number).socket == socket).count(),
            );
            rest = behind;
            let slot = self.table.get(socket);
            match slot.and_then(|slot| slot.socket.as_ref().map(AsRawFd::as_raw_fd)) {
                Some(fd) => run.chunks(BATCH).for_each(|chunk| self.send_run(fd, chunk)),
                None => self.counters.send_failed += self.queue.datagrams(run),
            }
        }
        order.clear();
        self.order = order;
        self.free.extend((0..self.queue.len()).filter_map(|at| self.queue.buffer(at)));
        self.queue.clear();
        self.messages.clear();
    }

    fn send_run(&mut self, fd: RawFd, run: &[u16]) {
        for (header, number) in self.headers.iter_mut().zip(run) {
            let send = self.queue.send(*number);
            let message = self.messages.write(send, self.queue.of(send), &self.memory);
            // SAFETY: it was written right above; a header is plain data that may be copied.
            header.msg_hdr = unsafe { *message };
        }
        let mut done = 0;
        while done < run.len() {
            self.counters.system_calls += 1;
            // SAFETY: headers `done..run.len()` were filled above; names, vectors and control data lie in
            // `queue` and `messages`, buffers in `memory`, all beyond the call; the kernel only reads them.
            let sent = unsafe {
                libc::sendmmsg(
                    fd,
                    self.headers.as_mut_ptr().add(done),
                    (run.len() - done) as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            if sent > 0 {
                let end = (done + sent as usize).min(run.len());
                self.counters.sent += self.queue.datagrams(&run[done..end]);
                done = end;
            } else {
                // The first of the rest failed (full, unreachable …): it is dropped, the rest goes on.
                let send = *self.queue.send(run[done]);
                self.counters.send_failed += u64::from(send.count);
                if send.count > 1 {
                    let error = io::Error::last_os_error().raw_os_error().unwrap_or(0);
                    self.queue.refused(send.segment, error);
                }
                done += 1;
            }
        }
    }

    /// Waits, after everything was sent. `more`: whether something has come that is in no socket; what brings
    /// it is watched, too ([`Mmsg::watch`]).
    pub(super) fn sleep(&mut self, wait: Wait, more: impl Fn() -> bool) {
        let (deadline, nap_us) = match wait {
            Wait::Until { deadline, coalesce_us: us } | Wait::Nap { deadline, nap_us: us }
                if self.ready.is_empty() && !more() =>
            {
                (deadline, us)
            }
            _ => {
                self.poll_events(Duration::ZERO);
                return;
            }
        };
        if nap_us > 0 {
            // Packets are coming. Being woken is dearer than they are, so the first of them does not wake: what
            // has gathered is looked at after a nap.
            let nap = Duration::from_micros(nap_us.into()).min(deadline - self.clock.now());
            self.counters.system_calls += 1;
            match wait {
                Wait::Nap { .. } => eventfd::nap(self.wake.as_raw_fd(), nap),
                _ => std::thread::sleep(nap),
            }
            if self.poll_events(Duration::ZERO) || more() {
                return;
            }
        }
        self.poll_events(deadline - self.clock.now());
    }

    /// Notes which sockets are ready. Gives whether there was any event, a wake-up included.
    fn poll_events(&mut self, timeout: Duration) -> bool {
        self.counters.system_calls += 1;
        if self.poll.poll(&mut self.events, Some(timeout)).is_err() {
            return true; // interrupted: the worker turns and waits again
        }
        for event in self.events.iter() {
            if event.token() == WAKE {
                self.wake.clear();
            }
            // The waker, or what the table does not have.
            let Ok(index) = u32::try_from(event.token().0) else { continue };
            if let Some(slot) = self.table.get(index)
                && !slot.extra.queued
            {
                slot.extra.queued = true;
                self.ready.push(index);
            }
        }
        !self.events.is_empty()
    }
}

impl Driver for Mmsg {
    type Socket = UdpSocket;

    fn now(&mut self) -> Time {
        self.clock.now()
    }

    fn add_socket(&mut self, socket: UdpSocket, tag: u64) -> Result<SocketKey, UdpSocket> {
        let fd = socket.as_raw_fd();
        if self.control_bytes > 0 && timestamp::enable(fd).is_err() {
            return Err(socket);
        }
        let index = self.table.insert(socket, tag)?;
        let registered =
            self.poll.registry().register(&mut SourceFd(&fd), Token(index as usize), Interest::READABLE);
        if registered.is_err() {
            return match self.table.take(index) {
                Some((socket, _)) => Err(socket),
                None => unreachable!("it was inserted above"),
            };
        }
        Ok(self.table.key(index))
    }

    fn remove_socket(&mut self, socket: SocketKey) {
        self.flush();
        if let Some((index, slot)) = self.table.find(socket) {
            if let Some(socket) = slot.socket.as_ref() {
                let _ = self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
            }
            self.ready.retain(|&ready| ready != index);
            self.removed.extend(self.table.take(index));
        }
    }

    fn next_removed(&mut self) -> Option<(UdpSocket, u64)> {
        self.removed.pop()
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> usize {
        let before = batch.len();
        let mut at = 0;
        while at < self.ready.len() && batch.len() < batch.capacity() {
            if self.free.is_empty() {
                self.counters.no_buffers += 1;
                break;
            }
            let index = self.ready[at];
            let want = (batch.capacity() - batch.len()).min(BATCH).min(self.free.len());
            if self.receive_from(index, want, batch) {
                at += 1; // the others first
                continue;
            }
            // Edge-triggered: only an empty socket leaves the list.
            self.ready.swap_remove(at);
            if let Some(slot) = self.table.get(index) {
                slot.extra.queued = false;
            }
        }
        // Whoever was served now is last in the next turn.
        self.ready.rotate_left(at);
        batch.len() - before
    }

    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.memory.bytes(buffer.0)
    }

    fn arrived_ns(&mut self, buffer: &Buffer) -> Option<u64> {
        timestamp::read(&self.memory.bytes(buffer.0)[..self.control_bytes])
    }

    fn bytes_pair(&mut self, from: &Buffer, to: &Buffer) -> (&[u8], &mut [u8]) {
        self.memory.pair(from.0, to.0)
    }

    fn allocate(&mut self) -> Option<Buffer> {
        let buffer = self.free.pop().map(Buffer);
        self.counters.arena_empty += u64::from(buffer.is_none());
        buffer
    }

    fn send(&mut self, socket: SocketKey, destination: SocketAddr, buffer: Buffer, start: usize, len: usize) {
        let Some((index, _)) = self.table.find(socket).filter(|_| start + len <= BUFFER_BYTES) else {
            self.counters.send_failed += 1;
            return self.release(buffer);
        };
        self.queue.push(index, destination, buffer.0, start, len);
        if self.queue.len() == QUEUE {
            self.flush();
        }
    }

    fn release(&mut self, buffer: Buffer) {
        self.free.push(buffer.0);
    }

    fn wait(&mut self, wait: Wait) {
        self.flush();
        self.sleep(wait, || false);
    }

    fn waker(&self) -> DriverWaker {
        let wake = Arc::clone(&self.wake);
        DriverWaker::new(move || wake.signal())
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.poll.as_raw_fd())
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }
}
