//! The ring of receive buffers that user space shares with the kernel
//! (`IORING_REGISTER_PBUF_RING`).

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// A provided-buffer ring. First in, first out, so its whole size is the working set (`512 × 2 KiB`
/// stay in L2; eight times as many cost 130–240 ns a packet more).
pub(super) struct BufRing {
    base: *mut BufRingEntry,
    mask: u16,
    tail: u16,
    published: u16,
}

impl BufRing {
    /// Allocates a ring of `entries` (a power of two) and registers it as `group`.
    pub(super) fn register(ring: &IoUring, entries: u16, group: u16) -> io::Result<Self> {
        assert!(entries.is_power_of_two(), "the kernel wants a power of two");
        let bytes = usize::from(entries) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(bytes, 4096).expect("a few KiB fit an isize");
        // SAFETY: the layout is not empty. The block is leaked: the kernel may read it for as long
        // as the ring lives.
        let base = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        if base.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: the address is page-aligned, holds `entries` entries and is never freed.
        unsafe { ring.submitter().register_buf_ring_with_flags(base as u64, entries, group, 0)? };
        Ok(Self { base, mask: entries - 1, tail: 0, published: 0 })
    }

    /// Puts a buffer in; the kernel sees it after [`BufRing::publish`].
    pub(super) fn push(&mut self, address: *mut u8, len: u32, id: u16) {
        // SAFETY: the index is masked, so the entry lies in the block; the kernel does not read
        // entries at or behind the published tail.
        let entry = unsafe { &mut *self.base.add(usize::from(self.tail & self.mask)) };
        entry.set_addr(address as u64);
        entry.set_len(len);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all that was pushed.
    pub(super) fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        // SAFETY: `base` is the first entry of a registered ring; its tail field is a u16 that the
        // kernel reads with acquire, and only this thread writes it.
        let tail = unsafe { &*BufRingEntry::tail(self.base).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }
}

// SAFETY: the block belongs to this value (and the kernel); nothing in it is tied to a thread.
unsafe impl Send for BufRing {}
