//! Rings that are shared with the kernel: one side writes entries and moves the producer's index, the other
//! reads them and moves the consumer's. Indexes run free; the size is a power of two.

use std::io;
use std::os::fd::RawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

/// Memory of a ring, mapped from an AF_XDP socket.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(socket: RawFd, page_offset: i64, bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice takes nothing away from anybody.
        let base = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket,
                page_offset,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(start) if base != libc::MAP_FAILED => Ok(Self { base: start, bytes }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and the ring whose part it is goes with it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// What both ends have.
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    /// Our own index.
    own: u32,
    /// The kernel's, as it was when it was last read.
    seen: u32,
    /// `None`: somebody else sees to the memory (tests).
    _mapping: Option<Mapping>,
}

// SAFETY: the ring has one owner on this side, whose thread does not matter; the other side is the kernel.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Maps a ring of `size` entries of a socket on which it was set up with that size.
    fn map(socket: RawFd, page_offset: i64, at: &libc::xdp_ring_offset, size: u32) -> io::Result<Self> {
        let bytes = at.desc as usize + size as usize * size_of::<T>();
        let mapping = Mapping::new(socket, page_offset, bytes)?;
        // SAFETY: the kernel gave the offsets for this ring, so all lie within the mapping and are aligned;
        // the mapping lives as long as the ring.
        unsafe { Ok(Self::over(mapping.base, at, size, Some(mapping))) }
    }

    /// # Safety
    /// `base` with the offsets added are an index each, the flags, and `size` entries, all aligned and valid
    /// as long as the ring lives; nobody but the other end uses them.
    unsafe fn over(
        base: NonNull<u8>,
        at: &libc::xdp_ring_offset,
        size: u32,
        mapping: Option<Mapping>,
    ) -> Self {
        assert!(size.is_power_of_two());
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                producer: base.add(at.producer as usize).cast(),
                consumer: base.add(at.consumer as usize).cast(),
                flags: base.add(at.flags as usize).cast(),
                entries: base.add(at.desc as usize).cast(),
                size,
                own: 0,
                seen: 0,
                _mapping: mapping,
            }
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: valid as long as the ring (see `over`).
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    fn entry(&self, index: u32) -> NonNull<T> {
        // SAFETY: the mask keeps it among the `size` entries.
        unsafe { self.entries.add((index & (self.size - 1)) as usize) }
    }

    /// The kernel asks to be called (`XDP_USE_NEED_WAKEUP`).
    fn wants_call(&self) -> bool {
        // SAFETY: valid as long as the ring (see `over`).
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// A ring that we write: sends, and frames for the kernel to fill.
pub(super) struct Producer<T>(Ring<T>);

impl<T: Copy> Producer<T> {
    pub(super) fn map(
        socket: RawFd,
        page_offset: i64,
        at: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<Self> {
        Ring::map(socket, page_offset, at, size).map(Self)
    }

    /// Entries that the kernel has not taken yet, those included that it was not shown.
    pub(super) fn waiting(&mut self) -> u32 {
        self.0.seen = self.0.consumer().load(Ordering::Acquire);
        self.0.own.wrapping_sub(self.0.seen)
    }

    /// Writes an entry, which [`Producer::publish`] shows to the kernel. False: the ring is full.
    pub(super) fn push(&mut self, entry: T) -> bool {
        if self.0.own.wrapping_sub(self.0.seen) >= self.0.size && self.waiting() >= self.0.size {
            return false;
        }
        // SAFETY: the entry is valid memory, and ours until it is published: the kernel has read what stood in
        // it (the consumer's index was loaded with acquire).
        unsafe { self.0.entry(self.0.own).write(entry) };
        self.0.own = self.0.own.wrapping_add(1);
        true
    }

    /// Shows the kernel what was written.
    pub(super) fn publish(&mut self) {
        self.0.producer().store(self.0.own, Ordering::Release);
    }

    pub(super) fn wants_call(&self) -> bool {
        self.0.wants_call()
    }
}

/// A ring that we read: packets that came, and frames that were sent.
pub(super) struct Consumer<T>(Ring<T>);

impl<T: Copy> Consumer<T> {
    pub(super) fn map(
        socket: RawFd,
        page_offset: i64,
        at: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<Self> {
        Ring::map(socket, page_offset, at, size).map(Self)
    }

    /// Whether there is something, without taking it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.producer().load(Ordering::Acquire) == self.0.own
    }

    /// How many entries there are.
    pub(super) fn ready(&mut self) -> u32 {
        self.0.seen = self.0.producer().load(Ordering::Acquire);
        self.0.seen.wrapping_sub(self.0.own)
    }

    /// An entry that was there when [`Consumer::ready`] was last asked, `ahead` places behind the next one.
    pub(super) fn peek(&self, ahead: u32) -> Option<T> {
        if ahead >= self.0.seen.wrapping_sub(self.0.own) {
            return None;
        }
        // SAFETY: the kernel wrote it before it moved its index, which was loaded with acquire, and writes it
        // again only after [`Consumer::release`].
        Some(unsafe { self.0.entry(self.0.own.wrapping_add(ahead)).read() })
    }

    /// Takes the next entry of those that were there when [`Consumer::ready`] was last asked.
    pub(super) fn next(&mut self) -> Option<T> {
        let entry = self.peek(0)?;
        self.0.own = self.0.own.wrapping_add(1);
        Some(entry)
    }

    /// Gives the entries that were taken back to the kernel.
    pub(super) fn release(&mut self) {
        self.0.consumer().store(self.0.own, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 8;

    /// Indexes on lines of their own, flags, entries.
    #[repr(C, align(64))]
    struct Block([u32; 64]);

    const AT: libc::xdp_ring_offset =
        libc::xdp_ring_offset { producer: 0, consumer: 64, flags: 68, desc: 128 };

    /// Frees the memory, after both ends.
    struct Owner(NonNull<Block>);

    impl Drop for Owner {
        fn drop(&mut self) {
            // SAFETY: it was a box, and the ends are gone: a test's first variable is dropped last.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }

    /// Both ends over the same memory, with indexes that soon wrap.
    fn pair() -> (Owner, Producer<u64>, Consumer<u64>) {
        let start = u32::MAX - 20;
        let mut block = Box::new(Block([0; 64]));
        (block.0[0], block.0[16]) = (start, start);
        let block = NonNull::from(Box::leak(block));
        let end = || {
            // SAFETY: the block is 256 bytes long and aligned, 128 + 8 * 8 end inside it, and its owner is
            // dropped last.
            let ring = unsafe { Ring::over(block.cast(), &AT, SIZE, None) };
            Ring { own: start, seen: start, ..ring }
        };
        (Owner(block), Producer(end()), Consumer(end()))
    }

    #[test]
    fn full_and_empty() {
        let (_owner, mut producer, mut consumer) = pair();
        for round in 0..40 {
            assert!(consumer.is_empty());
            for n in 0..u64::from(SIZE) {
                assert!(producer.push(round * 100 + n));
            }
            assert!(!producer.push(99));
            assert_eq!((producer.waiting(), consumer.ready()), (SIZE, 0), "not published yet");
            producer.publish();
            assert!(!consumer.is_empty());
            assert_eq!(consumer.peek(0), None, "not asked yet");
            assert_eq!(consumer.ready(), SIZE);
            assert_eq!((consumer.peek(7), consumer.peek(8)), (Some(round * 100 + 7), None));
            for n in 0..u64::from(SIZE) {
                assert_eq!(consumer.next(), Some(round * 100 + n));
            }
            assert_eq!((consumer.next(), producer.waiting()), (None, SIZE), "not given back yet");
            consumer.release();
            assert_eq!(producer.waiting(), 0);
        }
        assert!(!producer.wants_call());
    }

    #[test]
    fn across_threads() {
        let (_owner, mut producer, mut consumer) = pair();
        let thread = std::thread::spawn(move || {
            for n in 0..20_000 {
                while !producer.push(n) {
                    std::thread::yield_now();
                }
                producer.publish();
            }
        });
        let mut wanted = 0;
        while wanted < 20_000 {
            if consumer.ready() == 0 {
                std::thread::yield_now();
            }
            while let Some(entry) = consumer.next() {
                assert_eq!(entry, wanted);
                wanted += 1;
            }
            consumer.release();
        }
        thread.join().unwrap();
    }
}
