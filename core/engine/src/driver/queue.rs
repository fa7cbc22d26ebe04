//! What waits to be sent: datagrams in order, those of equal size to one destination as one run.
//!
//! The kernel takes a run in one send (`UDP_SEGMENT`, Linux 4.18), which costs a third to a fifth of as
//! many single sends. Runs are what a frame of video to one subscriber is; they form although packets to
//! other subscribers are queued between. Order within a destination stays; between destinations there is
//! none to keep.

use std::net::SocketAddr;

use super::address::Name;

/// Datagrams that may wait.
pub(super) const DATAGRAMS_MAX: usize = 2_048;
/// Datagrams in a run; the kernel takes 64 and more.
pub(super) const RUN_MAX: u16 = 32;
/// Bytes in a run: an IPv6 datagram's payload, with room.
const RUN_BYTES_MAX: usize = 60_000;
/// What stands for the buffer of a datagram that left.
const LEFT: u32 = u32::MAX;
/// Places of the index: many more than destinations that get more than one packet a turn.
const INDEX: usize = 512;
const NONE: u16 = u16::MAX;
const _: () = assert!(DATAGRAMS_MAX <= NONE as usize);

/// A datagram in a buffer of the driver's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub buffer: u32,
    pub start: u16,
    pub len: u16,
    /// The next one of its run.
    next: u16,
}

/// One send: a datagram, or a run of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Send {
    /// Slot of the socket.
    pub socket: u32,
    pub count: u16,
    /// Size of all its datagrams but the last, which may be shorter.
    pub segment: u16,
    pub destination: Name,
    /// The send to the same destination before it.
    pub before: Option<u16>,
    first: u16,
    last: u16,
    bytes: u16,
    closed: bool,
}

/// The queue. All of its memory is taken at the start.
pub(super) struct Queue {
    datagrams: Vec<Datagram>,
    sends: Vec<Send>,
    /// By destination: its newest send.
    index: Box<[u16; INDEX]>,
    /// Longest datagram that goes into a run; 0: none.
    segment_max: u16,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            datagrams: Vec::with_capacity(DATAGRAMS_MAX),
            sends: Vec::with_capacity(DATAGRAMS_MAX),
            index: Box::new([NONE; INDEX]),
            segment_max: u16::MAX,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.datagrams.len() >= DATAGRAMS_MAX
    }

    /// Datagrams that wait.
    pub(super) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// The sends so far. One that was given to the kernel must not grow: see [`Queue::seal`].
    pub(super) fn sends(&self) -> &[Send] {
        &self.sends
    }

    /// The send with this number.
    pub(super) fn send(&self, number: u16) -> &Send {
        &self.sends[usize::from(number)]
    }

    /// How many datagrams these sends have.
    pub(super) fn datagrams(&self, numbers: &[u16]) -> u64 {
        numbers.iter().map(|number| u64::from(self.send(*number).count)).sum()
    }

    /// The datagrams of a send, in order.
    pub(super) fn of(&self, send: &Send) -> impl Iterator<Item = &Datagram> {
        let first = self.datagrams.get(usize::from(send.first));
        std::iter::successors(first, |datagram| self.datagrams.get(usize::from(datagram.next)))
    }

    /// The buffer of the datagram that was queued as number `at`.
    pub(super) fn buffer(&self, at: usize) -> Option<u32> {
        self.datagrams.get(at).map(|datagram| datagram.buffer).filter(|buffer| *buffer != LEFT)
    }

    /// The first datagram of a send leaves by another way: its buffer is no longer the queue's. A send is
    /// over when it has none ([`Send::count`]).
    pub(super) fn leave(&mut self, number: u16) -> Option<Datagram> {
        let send = self.sends.get_mut(usize::from(number)).filter(|send| send.count > 0)?;
        let datagram = self.datagrams.get_mut(usize::from(send.first))?;
        (send.count, send.first) = (send.count - 1, datagram.next);
        Some(Datagram { buffer: std::mem::replace(&mut datagram.buffer, LEFT), ..*datagram })
    }

    /// Adds a datagram. The caller has seen that the queue is not full.
    pub(super) fn push(
        &mut self,
        socket: u32,
        destination: SocketAddr,
        buffer: u32,
        start: usize,
        len: usize,
    ) {
        let (start, len) = (start as u16, len as u16);
        let number = self.datagrams.len() as u16;
        self.datagrams.push(Datagram { buffer, start, len, next: NONE });
        let place = &mut self.index[place(socket, &destination)];
        let destination = Name::from(destination);
        let mut before = None;
        if let Some(send) = self.sends.get_mut(usize::from(*place))
            && send.socket == socket
            && send.destination == destination
        {
            if send.takes(len, self.segment_max) {
                self.datagrams[usize::from(send.last)].next = number;
                send.last = number;
                send.count += 1;
                send.bytes += len;
                // A shorter one ends the run: where one datagram ends the next begins is told by size alone.
                send.closed = len < send.segment;
                return;
            }
            before = Some(*place);
        }
        *place = self.sends.len() as u16;
        self.sends.push(Send {
            socket,
            count: 1,
            segment: len,
            destination,
            before,
            first: number,
            last: number,
            bytes: len,
            closed: len == 0,
        });
    }

    /// No run that stands here grows any more.
    pub(super) fn seal(&mut self) {
        self.index.fill(NONE);
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        if !self.datagrams.is_empty() {
            self.datagrams.clear();
            self.sends.clear();
            self.seal();
        }
    }

    /// A run was refused. Where that was for its size or for what the network device cannot do, runs like
    /// it are not made again.
    pub(super) fn refused(&mut self, segment: u16, error: i32) {
        self.segment_max = match error {
            // The datagrams are longer than the path's MTU: single ones are fragmented.
            libc::EINVAL | libc::EMSGSIZE => self.segment_max.min(segment.saturating_sub(1)),
            libc::EIO | libc::EOPNOTSUPP => 0,
            _ => self.segment_max,
        };
    }
}

impl Send {
    fn takes(&self, len: u16, segment_max: u16) -> bool {
        !self.closed
            && len <= self.segment
            && len > 0
            && self.segment <= segment_max
            && self.count < RUN_MAX
            && usize::from(self.bytes) + usize::from(len) <= RUN_BYTES_MAX
    }
}

/// Ports differ where addresses do not.
fn place(socket: u32, destination: &SocketAddr) -> usize {
    let ip = match destination {
        SocketAddr::V4(v4) => u64::from(v4.ip().to_bits()),
        SocketAddr::V6(v6) => {
            let bits = v6.ip().to_bits();
            bits as u64 ^ (bits >> 64) as u64
        }
    };
    let key = ip ^ u64::from(destination.port()) << 40 ^ u64::from(socket) << 20;
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize % INDEX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// (port, sizes) of each send.
    fn runs(queue: &Queue) -> Vec<(Name, Vec<u16>)> {
        let of = |send: &Send| (send.destination, queue.of(send).map(|datagram| datagram.len).collect());
        queue.sends().iter().map(of).collect()
    }

    #[test]
    fn a_frame_to_each_of_two_is_two_runs() {
        let mut queue = Queue::new();
        for (number, len) in [1_200, 1_200, 700].into_iter().enumerate() {
            queue.push(0, to(1), number as u32, 96, len);
            queue.push(0, to(2), number as u32 + 10, 96, len);
        }
        queue.push(0, to(1), 99, 96, 700); // the next frame begins anew
        let sizes = vec![1_200, 1_200, 700];
        let expected =
            [(Name::from(to(1)), sizes.clone()), (Name::from(to(2)), sizes), (Name::from(to(1)), vec![700])];
        assert_eq!(runs(&queue), expected);
        assert_eq!(queue.len(), 7);
        queue.clear();
        assert!(queue.is_empty() && queue.sends().is_empty());
    }

    #[test]
    fn what_the_kernel_refused_is_not_tried_again() {
        let mut queue = Queue::new();
        let push = |queue: &mut Queue, len| {
            queue.clear();
            (0..2).for_each(|number| queue.push(0, to(1), number, 96, len));
            queue.sends().len()
        };
        queue.refused(1_500, libc::EAGAIN);
        assert_eq!((push(&mut queue, 1_600), push(&mut queue, 1_400)), (1, 1));
        queue.refused(1_500, libc::EINVAL);
        assert_eq!((push(&mut queue, 1_500), push(&mut queue, 1_499)), (2, 1));
        queue.refused(10, libc::EIO);
        assert_eq!(push(&mut queue, 1), 2);
    }

    #[test]
    fn a_sealed_run_does_not_grow() {
        let mut queue = Queue::new();
        queue.push(0, to(1), 0, 96, 10);
        queue.seal();
        queue.push(0, to(1), 1, 96, 10);
        assert_eq!(queue.sends().len(), 2);
    }

    proptest! {
        /// Each destination gets its datagrams in order and once, in runs that the kernel cuts as they were.
        #[test]
        fn runs_are_what_was_queued(
            pushed in prop::collection::vec(
                (0u32..2, 1u16..6, prop::sample::select(vec![0, 1, 160, 700, 1_200, 1_888])), 0..300),
        ) {
            let mut queue = Queue::new();
            for (number, (socket, port, len)) in pushed.iter().enumerate() {
                queue.push(*socket, to(*port), number as u32, 96, *len);
            }
            let mut seen = vec![false; pushed.len()];
            let mut last = std::collections::HashMap::new();
            for send in queue.sends() {
                let run: Vec<Datagram> = queue.of(send).copied().collect();
                prop_assert_eq!(run.len(), usize::from(send.count));
                prop_assert!(send.count <= RUN_MAX);
                let bytes: usize = run.iter().map(|datagram| usize::from(datagram.len)).sum();
                prop_assert!(bytes <= RUN_BYTES_MAX);
                for (at, datagram) in run.iter().enumerate() {
                    let (socket, port, len) = pushed[datagram.buffer as usize];
                    prop_assert_eq!((socket, Name::from(to(port))), (send.socket, send.destination));
                    prop_assert_eq!(usize::from(datagram.len), len);
                    prop_assert!(!std::mem::replace(&mut seen[datagram.buffer as usize], true));
                    let before = last.insert((socket, port), datagram.buffer);
                    prop_assert!(before.is_none_or(|before| before < datagram.buffer));
                    let segment = usize::from(send.segment);
                    prop_assert!(len == segment || at + 1 == run.len() && len < segment);
                }
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
        }
    }
}
