//! The buffers of a driver: one block of memory, cut into [`BUFFER_BYTES`], never given back.
//!
//! The kernel writes into it at any time while a receive is armed, so the block outlives the ring:
//! it is leaked on purpose (`ARCHITECTURE.md`, Faults: buffers are never unmapped).

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

use super::BUFFER_BYTES;

/// A block of `count` buffers.
pub(super) struct Memory {
    base: *mut u8,
    count: usize,
}

impl Memory {
    /// Takes a block. It is page-aligned and zeroed.
    pub(super) fn new(count: usize) -> Self {
        let layout = Layout::from_size_align(count * BUFFER_BYTES, 4096).expect("a few MiB fit an isize");
        // SAFETY: the layout is not empty (`count` > 0 by the callers' constants).
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        Self { base, count }
    }

    /// Address of a buffer.
    pub(super) fn address(&self, index: u32) -> *mut u8 {
        debug_assert!((index as usize) < self.count);
        // A wrong index would be a bug of the driver; the remainder keeps it inside the block.
        let index = index as usize % self.count;
        // SAFETY: `index < count`, so the result stays inside the block.
        unsafe { self.base.add(index * BUFFER_BYTES) }
    }

    /// The bytes of a buffer that user space owns at the moment.
    pub(super) fn bytes(&mut self, index: u32) -> &mut [u8] {
        // SAFETY: the buffer lies in the block, lives for ever, and while a `Buffer` token for it
        // exists neither the kernel (it was taken out of the ring) nor another slice (`&mut self`)
        // refers to it.
        unsafe { std::slice::from_raw_parts_mut(self.address(index), BUFFER_BYTES) }
    }

    /// Two different buffers: the first to read, the second to write.
    pub(super) fn pair(&mut self, from: u32, to: u32) -> (&[u8], &mut [u8]) {
        assert_ne!(from, to, "tokens are unique");
        // SAFETY: as in `bytes`; the two do not overlap because the indexes differ.
        unsafe {
            (
                std::slice::from_raw_parts(self.address(from), BUFFER_BYTES),
                std::slice::from_raw_parts_mut(self.address(to), BUFFER_BYTES),
            )
        }
    }
}

// SAFETY: the block belongs to this value alone; nothing in it is tied to a thread.
unsafe impl Send for Memory {}
