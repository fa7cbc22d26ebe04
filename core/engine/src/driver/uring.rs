//! io_uring: multishot receives into a ring of buffers, sends in place from the same buffers, and
//! one wait for sockets, timers and wake-ups.
//!
//! A UDP send with `MSG_DONTWAIT` and no `ASYNC`, `LINK`, `DRAIN` flag is finished inside the
//! `io_uring_enter` that submits it, so every buffer of a turn is free when that call returns. Only
//! failures post a completion.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use bifrons_rtc::Time;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};

use super::address::{self, NAME_BYTES};
use super::buf_ring::BufRing;
use super::clock::Clock;
use super::eventfd;
use super::memory::Memory;
use super::queue::Queue;
use super::segment::Messages;
use super::table::Table;
use super::timestamp;
use super::{
    BUFFER_BYTES, Buffer, DATAGRAM_BYTES_MAX, Driver, DriverCounters, DriverWaker, HEADROOM, Received,
    SocketKey, TAILROOM, Wait,
};

/// Receive buffers: 1 MiB, half of a 2 MiB L2 cache.
const RECEIVE_BUFFERS: u16 = 512;
/// Buffers for copies: half a MiB, so that a fan-out writes to memory that is in the cache. When they are used
/// up the copies are handed to the kernel; frames come to the queue output by output, so few are cut by that.
const ARENA_BUFFERS: u32 = 256;
const SUBMISSIONS: u32 = 512;
const GROUP: u16 = 0;
/// Completions that end a coalesced wait.
const WAIT_COMPLETIONS: usize = 256;
/// `struct io_uring_recvmsg_out`: four u32 before the name.
const RECVMSG_OUT_BYTES: usize = 16;
const _: () = assert!(RECVMSG_OUT_BYTES + NAME_BYTES == HEADROOM, "the payload starts after the headroom");

const KIND_RECEIVE: u64 = 1 << 62;
const KIND_SEND: u64 = 2 << 62;
const KIND_OTHER: u64 = 3 << 62;
const OTHER_WAKE: u64 = KIND_OTHER | 1;
const OTHER_CANCEL: u64 = KIND_OTHER | 2;
const KIND_MASK: u64 = 3 << 62;

/// How to make a [`Uring`].
#[derive(Clone, Copy, Debug)]
pub struct UringConfig {
    /// Sockets at most.
    pub sockets_max: usize,
    /// A host with an event loop of its own turns the worker: [`Driver::wake_fd`] is wanted.
    pub hosted: bool,
}

#[derive(Default)]
struct Receive {
    armed: bool,
}

/// The io_uring driver. It is made on the thread that turns it.
pub struct Uring {
    clock: Clock,
    ring: IoUring,
    buffers: BufRing,
    memory: Memory,
    arena: Vec<u32>,
    /// What waits to be sent. The kernel reads addresses and buffers inside the submitting call.
    queue: Queue,
    /// How many sends of the queue stand in the submission queue.
    handed: usize,
    /// Headers of the runs among them.
    messages: Messages,
    /// What every receive is armed with: only the lengths of name and control data are read from it.
    receive_header: Box<libc::msghdr>,
    table: Table<Receive>,
    to_arm: Vec<u32>,
    removed: Vec<(UdpSocket, u64)>,
    wake: Arc<OwnedFd>,
    /// Leaked: a read that is cancelled while the ring closes may still write to it.
    wake_count: &'static mut u64,
    host_wake: Option<OwnedFd>,
    min_wait: bool,
    counters: DriverCounters,
}

fn new_eventfd(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: plain system call; a result that is not negative is a descriptor that nobody owns yet.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks the kernel for everything that the driver needs. The text says what is missing.
///
/// # Errors
/// io_uring is absent, forbidden (seccomp, `kernel.io_uring_disabled`) or too old.
pub fn probe() -> Result<(), String> {
    Uring::new(UringConfig { sockets_max: 1, hosted: false }, Clock::start())
        .map(drop)
        .map_err(|error| format!("io_uring is not usable here: {error}"))
}

impl Uring {
    /// Makes a driver. `clock` is shared by all workers of an engine.
    ///
    /// # Errors
    /// The kernel refuses the ring, the buffer ring or the file table.
    pub fn new(config: UringConfig, clock: Clock) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(4 * SUBMISSIONS)
            .build(SUBMISSIONS)?;
        if !ring.params().is_feature_skip_cqe_on_success() || !ring.params().is_feature_ext_arg() {
            return Err(io::Error::other("the kernel is older than 6.0"));
        }
        ring.submitter().register_files_sparse(config.sockets_max as u32)?;
        let mut buffers = BufRing::register(&ring, RECEIVE_BUFFERS, GROUP)?;
        let memory = Memory::new(usize::from(RECEIVE_BUFFERS) + ARENA_BUFFERS as usize);
        for id in 0..RECEIVE_BUFFERS {
            buffers.push(memory.address(u32::from(id)), (BUFFER_BYTES - TAILROOM) as u32, id);
        }
        buffers.publish();
        let host_wake = if config.hosted { Some(new_eventfd(libc::EFD_NONBLOCK)?) } else { None };
        if let Some(fd) = &host_wake {
            ring.submitter().register_eventfd(fd.as_raw_fd())?;
        }
        // SAFETY: all-zero is a valid `msghdr`: no name, no vectors, no control data.
        let mut receive_header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        receive_header.msg_namelen = NAME_BYTES as u32;
        let mut driver = Self {
            clock,
            min_wait: ring.params().is_feature_min_timeout(),
            ring,
            buffers,
            memory,
            arena: (0..ARENA_BUFFERS).map(|i| u32::from(RECEIVE_BUFFERS) + i).collect(),
            queue: Queue::new(),
            handed: 0,
            messages: Messages::new(),
            receive_header,
            table: Table::new(config.sockets_max),
            to_arm: Vec::with_capacity(config.sockets_max),
            removed: Vec::with_capacity(config.sockets_max),
            // Not non-blocking: a read that finds nothing has to wait in the ring.
            wake: Arc::new(new_eventfd(0)?),
            wake_count: Box::leak(Box::new(0)),
            host_wake,
            counters: DriverCounters::default(),
        };
        driver.arm_wake();
        driver.enter(0, None);
        Ok(driver)
    }

    /// The same, with [`Driver::arrived_ns`]. To be called before the first socket is added.
    #[must_use]
    pub fn with_timestamps(mut self) -> Self {
        self.receive_header.msg_namelen = timestamp::NAME_BYTES_BEFORE_CONTROL as u32;
        self.receive_header.msg_controllen = timestamp::CONTROL_BYTES;
        self
    }

    /// Queues one entry; a full queue is handed to the kernel first.
    fn push(&mut self, entry: &Entry) {
        loop {
            // SAFETY: every pointer in an entry made here (buffer, address, header, counter) is
            // owned by `self` and stays where it is until the kernel has consumed the entry.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            self.enter(0, None);
        }
    }

    fn arm_wake(&mut self) {
        let to: *mut u64 = self.wake_count;
        let entry = opcode::Read::new(Fd(self.wake.as_raw_fd()), to.cast(), 8).build().user_data(OTHER_WAKE);
        self.push(&entry);
    }

    fn arm_receives(&mut self) {
        while let Some(index) = self.to_arm.pop() {
            let Some(slot) = self.table.get(index) else { continue };
            if slot.leaving || slot.extra.armed {
                continue;
            }
            slot.extra.armed = true;
            let user_data = KIND_RECEIVE | u64::from(slot.generation & 0x3fff_ffff) << 32 | u64::from(index);
            let header: *const libc::msghdr = &*self.receive_header;
            let entry = opcode::RecvMsgMulti::new(Fixed(index), header, GROUP).build().user_data(user_data);
            self.push(&entry);
        }
    }

    /// One `io_uring_enter`: hands over what is queued, then waits for `want` completions.
    fn enter(&mut self, want: usize, args: Option<&SubmitArgs<'_, '_>>) {
        self.hand_over();
        self.submit(want, args);
        self.reclaim();
    }

    /// Hands over what is queued, then sleeps. The kernel keeps what comes meanwhile (DEFER_TASKRUN). A minimum
    /// wait would not do: it would not end at a wake-up, which is one completion.
    fn nap(&mut self, time: Duration) {
        if !self.queue.is_empty() || !self.ring.submission().is_empty() {
            self.enter(0, None);
        }
        if self.ring.completion().is_empty() {
            self.counters.system_calls += 1;
            eventfd::nap(self.wake.as_raw_fd(), time);
        }
    }

    fn submit(&mut self, want: usize, args: Option<&SubmitArgs<'_, '_>>) {
        self.buffers.publish();
        self.counters.system_calls += 1;
        let result = match args {
            Some(args) => self.ring.submitter().submit_with_args(want, args),
            None => self.ring.submitter().submit_and_wait(want),
        };
        // ETIME, EINTR, EBUSY (completions must be read first): the worker turns and comes back.
        let _ = result;
    }

    /// Writes an entry for each send that has none yet.
    fn hand_over(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        self.queue.seal();
        while self.handed < self.queue.sends().len() {
            if self.ring.submission().is_full() {
                self.submit(0, None);
                if self.ring.submission().is_full() {
                    return; // rare (EBUSY): the rest waits for the next call
                }
            }
            let Self { ring, queue, messages, memory, handed, .. } = self;
            let mut submission = ring.submission();
            for send in &queue.sends()[*handed..] {
                let socket = Fixed(send.socket);
                let entry = if send.count == 1 {
                    let Some(datagram) = queue.of(send).next() else { continue };
                    let address = memory.address(datagram.buffer).wrapping_add(datagram.start.into());
                    opcode::Send::new(socket, address, datagram.len.into())
                        .flags(libc::MSG_DONTWAIT)
                        .dest_addr(send.destination.as_ptr().cast())
                        .dest_addr_len(send.destination.len() as libc::socklen_t)
                        .build()
                } else {
                    let header = messages.write(send, queue.of(send), memory);
                    opcode::SendMsg::new(socket, header).flags(libc::MSG_DONTWAIT as u32).build()
                };
                let user_data = KIND_SEND | u64::from(send.count) << 16 | u64::from(send.segment);
                let entry = entry.flags(Flags::SKIP_SUCCESS).user_data(user_data);
                // SAFETY: the tokens of the buffers were given up, and their memory is never unmapped and not
                // written before `reclaim`. Addresses and headers stay where they are until then: the queue
                // and the messages have all of their memory from the start.
                if unsafe { submission.push(&entry) }.is_err() {
                    break; // full: the kernel takes these first
                }
                *handed += 1;
            }
        }
    }

    /// Buffers of sends that the kernel has consumed are free again. They are consumed in order, so
    /// what is left in the queue is the newest.
    fn reclaim(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let mut submission = self.ring.submission();
        submission.sync();
        if !submission.is_empty() || self.handed < self.queue.sends().len() {
            return; // rare (EBUSY): all wait for the next call
        }
        drop(submission);
        self.counters.sent += self.queue.len() as u64;
        for at in 0..self.queue.len() {
            if let Some(buffer) = self.queue.buffer(at) {
                self.give_back(buffer);
            }
        }
        self.queue.clear();
        self.messages.clear();
        self.handed = 0;
    }

    fn give_back(&mut self, buffer: u32) {
        if buffer < u32::from(RECEIVE_BUFFERS) {
            let address = self.memory.address(buffer);
            self.buffers.push(address, (BUFFER_BYTES - TAILROOM) as u32, buffer as u16);
        } else {
            self.arena.push(buffer);
        }
    }

    /// A datagram in a buffer of the ring.
    fn received(&mut self, index: u32, buffer: u32) -> Option<Received> {
        let (key, tag) = (self.table.key(index), self.table.get(index)?.tag);
        let bytes = self.memory.bytes(buffer);
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        // struct io_uring_recvmsg_out { namelen, controllen, payloadlen, flags }
        let (name_len, len, flags) = (word(0) as usize, word(8) as usize, word(12));
        if flags & libc::MSG_TRUNC as u32 != 0 || len > DATAGRAM_BYTES_MAX {
            return None;
        }
        let name = &bytes[RECVMSG_OUT_BYTES..RECVMSG_OUT_BYTES + name_len.min(NAME_BYTES)];
        let source = address::read(name)?;
        Some(Received { buffer: Buffer(buffer), start: HEADROOM, len, socket: key, tag, source })
    }

    fn completed(&mut self, entry: &cqueue::Entry, batch: &mut Vec<Received>) {
        let (user_data, result) = (entry.user_data(), entry.result());
        match user_data & KIND_MASK {
            KIND_SEND => {
                let (count, segment) = (user_data >> 16 & 0xffff, user_data as u16);
                self.counters.send_failed += count;
                self.counters.sent = self.counters.sent.saturating_sub(count);
                if count > 1 {
                    self.queue.refused(segment, -result);
                }
            }
            KIND_RECEIVE => {
                let index = user_data as u32;
                let generation = (user_data >> 32) as u32 & 0x3fff_ffff;
                let mine =
                    self.table.get(index).is_some_and(|slot| slot.generation & 0x3fff_ffff == generation);
                if let Some(buffer) = cqueue::buffer_select(entry.flags()) {
                    let received =
                        if mine && result >= 0 { self.received(index, u32::from(buffer)) } else { None };
                    match received {
                        Some(received) => {
                            self.counters.received += 1;
                            batch.push(received);
                        }
                        None => {
                            self.counters.truncated += u64::from(mine && result >= 0);
                            self.give_back(u32::from(buffer));
                        }
                    }
                }
                if mine && !cqueue::more(entry.flags()) {
                    self.receive_ended(index, result);
                }
            }
            _ if user_data == OTHER_WAKE => self.arm_wake(),
            _ => {}
        }
    }

    fn receive_ended(&mut self, index: u32, result: i32) {
        match -result {
            libc::ENOBUFS => self.counters.no_buffers += 1, // normal: buffers come back, then again
            libc::ECANCELED => {}
            error if error > 0 => self.counters.receive_errors += 1,
            _ => {}
        }
        let Some(slot) = self.table.get(index) else { return };
        slot.extra.armed = false;
        if slot.leaving {
            self.let_go(index);
        } else {
            self.to_arm.push(index);
        }
    }

    /// The kernel has no receive on the socket any more: free its place in the file table.
    fn let_go(&mut self, index: u32) {
        self.counters.system_calls += 1;
        // A place that stays taken would only keep the port; the next use of the slot overwrites it.
        let _ = self.ring.submitter().register_files_update(index, &[-1]);
        self.removed.extend(self.table.take(index));
    }
}

impl Driver for Uring {
    type Socket = UdpSocket;

    fn now(&mut self) -> Time {
        self.clock.now()
    }

    fn add_socket(&mut self, socket: UdpSocket, tag: u64) -> Result<SocketKey, UdpSocket> {
        let fd = socket.as_raw_fd();
        if self.receive_header.msg_controllen > 0 && timestamp::enable(fd).is_err() {
            return Err(socket);
        }
        let index = self.table.insert(socket, tag)?;
        self.counters.system_calls += 1;
        if self.ring.submitter().register_files_update(index, &[fd]).is_err() {
            return match self.table.take(index) {
                Some((socket, _)) => Err(socket),
                None => unreachable!("it was inserted above"),
            };
        }
        self.to_arm.push(index);
        Ok(self.table.key(index))
    }

    fn remove_socket(&mut self, socket: SocketKey) {
        let Some((index, slot)) = self.table.find(socket).filter(|(_, slot)| !slot.leaving) else { return };
        slot.leaving = true;
        if slot.extra.armed {
            let user_data = KIND_RECEIVE | u64::from(slot.generation & 0x3fff_ffff) << 32 | u64::from(index);
            self.push(&opcode::AsyncCancel::new(user_data).build().user_data(OTHER_CANCEL));
        } else {
            self.enter(0, None); // sends that name the place must be out before it is freed
            self.let_go(index);
        }
    }

    fn next_removed(&mut self) -> Option<(UdpSocket, u64)> {
        self.removed.pop()
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> usize {
        let before = batch.len();
        while batch.len() < batch.capacity() {
            let Some(entry) = self.ring.completion().next() else { break };
            self.completed(&entry, batch);
        }
        batch.len() - before
    }

    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.memory.bytes(buffer.0)
    }

    fn arrived_ns(&mut self, buffer: &Buffer) -> Option<u64> {
        let control_bytes = self.receive_header.msg_controllen;
        let bytes = self.memory.bytes(buffer.0);
        let filled = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize; // controllen
        timestamp::read(&bytes[HEADROOM - control_bytes..HEADROOM][..filled.min(control_bytes)])
    }

    fn bytes_pair(&mut self, from: &Buffer, to: &Buffer) -> (&[u8], &mut [u8]) {
        self.memory.pair(from.0, to.0)
    }

    fn allocate(&mut self) -> Option<Buffer> {
        if self.arena.is_empty() {
            self.enter(0, None); // copies that wait to be sent come back
        }
        let buffer = self.arena.pop().map(Buffer);
        self.counters.arena_empty += u64::from(buffer.is_none());
        buffer
    }

    fn send(&mut self, socket: SocketKey, destination: SocketAddr, buffer: Buffer, start: usize, len: usize) {
        let Some((index, _)) =
            self.table.find(socket).filter(|(_, slot)| !slot.leaving && start + len <= BUFFER_BYTES)
        else {
            self.counters.send_failed += 1;
            return self.release(buffer);
        };
        if self.queue.is_full() {
            self.enter(0, None);
        }
        if self.queue.is_full() {
            // The kernel takes nothing before completions are read (EBUSY).
            self.counters.send_failed += 1;
            return self.release(buffer);
        }
        self.queue.push(index, destination, buffer.0, start, len);
    }

    fn release(&mut self, buffer: Buffer) {
        self.give_back(buffer.0);
    }

    fn wait(&mut self, wait: Wait) {
        self.arm_receives();
        if let Some(fd) = &self.host_wake {
            let mut count = 0_u64;
            self.counters.system_calls += 1;
            // SAFETY: reads 8 bytes into a local; the descriptor is non-blocking.
            let _ = unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
        }
        let (deadline, coalesce_us) = match wait {
            Wait::Poll => return self.enter(0, None),
            Wait::Until { deadline, coalesce_us } => (deadline, coalesce_us),
            Wait::Nap { deadline, nap_us } => {
                self.nap(Duration::from_micros(nap_us.into()));
                (deadline, 0)
            }
        };
        let left = deadline - self.clock.now();
        if left == Duration::ZERO || !self.ring.completion().is_empty() {
            return self.enter(0, None);
        }
        let timeout = Timespec::from(left);
        if coalesce_us == 0 {
            return self.enter(1, Some(&SubmitArgs::new().timespec(&timeout)));
        }
        let coalesce = Duration::from_micros(u64::from(coalesce_us)).min(left);
        if self.min_wait {
            let args = SubmitArgs::new().timespec(&timeout).min_wait_usec(coalesce.as_micros() as u32);
            return self.enter(WAIT_COMPLETIONS, Some(&args));
        }
        // Before Linux 6.12: wait for the first, nap, then drain.
        self.enter(1, Some(&SubmitArgs::new().timespec(&timeout)));
        if !self.ring.completion().is_empty() && self.clock.now() + coalesce < deadline {
            std::thread::sleep(coalesce);
            self.enter(0, None);
        }
    }

    fn waker(&self) -> DriverWaker {
        let wake = Arc::clone(&self.wake);
        DriverWaker::new(move || {
            let one = 1_u64;
            // SAFETY: writes 8 bytes from a local to an eventfd that the `Arc` keeps open. It could
            // block only at 2^64 - 2 unread wake-ups.
            let _ = unsafe { libc::write(wake.as_raw_fd(), (&raw const one).cast(), 8) };
        })
    }

    fn wake_fd(&self) -> Option<RawFd> {
        self.host_wake.as_ref().map(AsRawFd::as_raw_fd)
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }
}

// SAFETY: the ring and the pointers belong to this value. The kernel insists that one thread turns
// the ring (SINGLE_ISSUER); another one gets an error from it, not undefined behaviour.
unsafe impl Send for Uring {}
