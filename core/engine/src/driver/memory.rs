//! The buffers of a driver: one block of memory, cut into [`BUFFER_BYTES`], never given back.
//!
//! The kernel writes into it at any time while a receive is armed, so the block outlives the ring:
//! it is leaked on purpose (`ARCHITECTURE.md`, Faults: buffers are never unmapped).

use std::alloc::{Layout, alloc, handle_alloc_error};

use super::BUFFER_BYTES;

/// From one buffer to the next. Were it a power of two, the first bytes of all buffers, the only ones that
/// an audio packet touches, would share a few sets of the caches.
const STRIDE: usize = BUFFER_BYTES + 64;
/// The same where the kernel asks for buffers at multiples of their size, which is a power of two.
const STRIDE_ALIGNED: usize = BUFFER_BYTES;
/// A page of 2 MiB: one entry of the TLB instead of 512.
const HUGE_PAGE: usize = 2 << 20;

/// A block of `count` buffers.
pub(super) struct Memory {
    base: *mut u8,
    count: usize,
    stride: usize,
}

impl Memory {
    /// Takes a block. It is page-aligned and zeroed.
    pub(super) fn new(count: usize) -> Self {
        Self::with_stride(count, STRIDE)
    }

    /// The same with one buffer right behind the other, each at a multiple of [`BUFFER_BYTES`].
    pub(super) fn aligned(count: usize) -> Self {
        Self::with_stride(count, STRIDE_ALIGNED)
    }

    fn with_stride(count: usize, stride: usize) -> Self {
        let bytes = (count * stride).next_multiple_of(HUGE_PAGE);
        let layout = Layout::from_size_align(bytes, HUGE_PAGE).expect("a few MiB fit an isize");
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: the block was just allocated with this size and is not used yet. The kernel may refuse the
        // advice; then the pages are small.
        unsafe {
            libc::madvise(base.cast(), bytes, libc::MADV_HUGEPAGE);
            base.write_bytes(0, bytes);
        }
        Self { base, count, stride }
    }

    /// Address of a buffer.
    pub(super) fn address(&self, index: u32) -> *mut u8 {
        debug_assert!((index as usize) < self.count);
        // A wrong index would be a bug of the driver; the remainder keeps it inside the block.
        let index = index as usize % self.count;
        // SAFETY: `index < count`, so the result stays inside the block.
        unsafe { self.base.add(index * self.stride) }
    }

    /// How many buffers there are.
    pub(super) fn count(&self) -> usize {
        self.count
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
