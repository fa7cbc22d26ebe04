//! What moves datagrams between a worker and the kernel.
//!
//! One small trait, four bodies: `uring` (default), `mmsg` (every kernel), `xdp` (past the kernel's stack),
//! `sim` (a simulated network with virtual time). The engine above it is the same code for all.
//!
//! **Buffers.** A received datagram comes in a [`Buffer`] that the driver lends: at least
//! [`HEADROOM`] bytes are free before it, so that a header can grow downwards, and it can be sent
//! again in place. A `Buffer` is a token, not memory: it is given back to exactly one of
//! [`Driver::send`] and [`Driver::release`], and only the driver decides when its memory is free.

mod address;
mod buf_ring;
mod clock;
pub mod eventfd;
mod memory;
pub mod mmsg;
pub(crate) mod prefetch;
mod queue;
mod segment;
pub mod sim;
mod table;
pub mod thread;
mod timestamp;
pub mod uring;
pub mod xdp;

pub use clock::Clock;

use std::net::SocketAddr;

use bifrons_rtc::Time;

/// Free bytes before a received datagram (`ARCHITECTURE.md`, Buffers).
pub const HEADROOM: usize = 96;
/// Free bytes after the longest datagram taken: SRTP tag and MKI.
pub const TAILROOM: usize = 64;
/// Size of a buffer.
pub const BUFFER_BYTES: usize = 2048;
/// Longest datagram that is taken; a longer one is counted ([`DriverCounters::truncated`]) and dropped.
pub const DATAGRAM_BYTES_MAX: usize = BUFFER_BYTES - HEADROOM - TAILROOM;

/// A buffer lent by a driver.
#[derive(Debug)]
#[must_use = "a buffer goes back by send or release"]
pub struct Buffer(pub(crate) u32);

/// A socket of a driver: slot and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey(pub(crate) u64);

/// A datagram that came in.
#[derive(Debug)]
pub struct Received {
    /// Where it lies.
    pub buffer: Buffer,
    /// First byte of the datagram in [`Driver::bytes`].
    pub start: usize,
    /// Its length.
    pub len: usize,
    /// The socket that it came to.
    pub socket: SocketKey,
    /// What [`Driver::add_socket`] was told about that socket.
    pub tag: u64,
    /// Who sent it.
    pub source: SocketAddr,
}

/// How long [`Driver::wait`] may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: hand over what is queued, take what is there.
    Poll,
    /// Until the time, a wake-up, or packets; with packets it may go on to wait for up to
    /// `coalesce_us` microseconds for more of them.
    Until {
        /// The worker's next timer.
        deadline: Time,
        /// Longest delay that coalescing may add to a packet, microseconds.
        coalesce_us: u32,
    },
    /// The same, but first a nap: for so long no packet ends the wait. A wake-up does.
    Nap {
        /// The worker's next timer; not before the nap's end.
        deadline: Time,
        /// How long the nap lasts, microseconds.
        nap_us: u32,
    },
}

/// What a driver counts. Plain words; the worker publishes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Datagrams received and handed up.
    pub received: u64,
    /// Datagrams sent (given to the kernel without an error).
    pub sent: u64,
    /// Sends that the kernel refused (EAGAIN, ENOBUFS, EPERM, unreachable …).
    pub send_failed: u64,
    /// Datagrams longer than [`DATAGRAM_BYTES_MAX`].
    pub truncated: u64,
    /// Receives that ended for want of a buffer and were armed again.
    pub no_buffers: u64,
    /// Errors on receiving (ECONNREFUSED by ICMP …); the socket was armed again.
    pub receive_errors: u64,
    /// [`Driver::allocate`] found nothing.
    pub arena_empty: u64,
    /// Calls into the kernel.
    pub system_calls: u64,
    /// Of those received, packets that came by an AF_XDP ring and not through a socket.
    pub xdp_received: u64,
    /// Of those sent, packets that went by an AF_XDP ring.
    pub xdp_sent: u64,
    /// Packets of a ring that were no UDP datagram to a port of the worker's after all: a wrong checksum, a
    /// source that cannot be, a port that has just been closed.
    pub xdp_malformed: u64,
    /// Sends that found their ring full.
    pub xdp_send_ring_full: u64,
    /// Packets that the kernel dropped before a ring for another reason than the two below.
    pub xdp_dropped: u64,
    /// Packets that the kernel dropped because the worker's ring was full.
    pub xdp_ring_full: u64,
    /// Times that the kernel found no frame to fill.
    pub xdp_no_frames: u64,
    /// Packets that went through a socket because too many questions were asked of the kernel at that time.
    pub xdp_neighbours_postponed: u64,
    /// Destinations whose way was forgotten for want of room.
    pub xdp_neighbours_evicted: u64,
}

/// Moves datagrams. All calls come from the worker's thread.
pub trait Driver {
    /// A bound socket, made on the control side: a `UdpSocket`, or an address on a simulated network.
    type Socket: Send + 'static;

    /// The time, read from the clock; the worker asks once a turn.
    fn now(&mut self) -> Time;

    /// Takes a bound socket in. `tag` comes back with each of its datagrams. When the table is full
    /// the socket comes back.
    fn add_socket(&mut self, socket: Self::Socket, tag: u64) -> Result<SocketKey, Self::Socket>;

    /// Stops receiving and gives the socket back as soon as the kernel has let go of it, through
    /// [`Driver::next_removed`]: a worker does not close descriptors.
    fn remove_socket(&mut self, socket: SocketKey);

    /// A socket whose removal is complete, with its tag.
    fn next_removed(&mut self) -> Option<(Self::Socket, u64)>;

    /// Moves up to `batch.capacity() - batch.len()` datagrams that have arrived into `batch`, in
    /// order of arrival. No waiting. Returns how many.
    fn receive(&mut self, batch: &mut Vec<Received>) -> usize;

    /// All bytes of a buffer, headroom and tailroom included ([`BUFFER_BYTES`]).
    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8];

    /// When the kernel received the datagram in this buffer, nanoseconds since 1970. Only a driver made
    /// for measuring knows it, and only until the headroom is written.
    fn arrived_ns(&mut self, _buffer: &Buffer) -> Option<u64> {
        None
    }

    /// Two buffers at once: the first to read, the second to write.
    fn bytes_pair(&mut self, from: &Buffer, to: &Buffer) -> (&[u8], &mut [u8]);

    /// An empty buffer of the send arena; `None` when none is free (counted).
    fn allocate(&mut self) -> Option<Buffer>;

    /// Queues `bytes(buffer)[start..start + len]` to `destination` and takes the buffer. A queue
    /// that is full is handed to the kernel first. Failure is counted, not returned.
    fn send(&mut self, socket: SocketKey, destination: SocketAddr, buffer: Buffer, start: usize, len: usize);

    /// Gives a buffer back unsent.
    fn release(&mut self, buffer: Buffer);

    /// Hands what is queued to the kernel and waits. Returns when there is something to
    /// [`Driver::receive`], at a wake-up, or at the deadline.
    fn wait(&mut self, wait: Wait);

    /// Wakes a worker from another thread; clones are cheap.
    fn waker(&self) -> DriverWaker;

    /// A descriptor that becomes readable when [`Driver::wait`] would not sleep, for a host with an
    /// event loop of its own. `None` where there is none (`sim`).
    fn wake_fd(&self) -> Option<std::os::fd::RawFd>;

    /// The counters so far.
    fn counters(&self) -> DriverCounters;
}

/// Wakes a sleeping [`Driver::wait`].
#[derive(Clone)]
pub struct DriverWaker(pub(crate) std::sync::Arc<dyn Fn() + Send + Sync>);

impl DriverWaker {
    /// A waker that runs `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(std::sync::Arc::new(wake))
    }

    /// Wakes the worker.
    pub fn wake(&self) {
        (self.0)();
    }
}
