//! Asks the processor for memory before it is needed.

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Asks for the cache line at an address. The program sees nothing of it, whatever the address is.
#[inline(always)]
pub(crate) fn line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it changes no register and no memory, and an address that is not mapped
    // raises no fault. SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for the first line of a value.
#[inline(always)]
pub(crate) fn first<T: ?Sized>(value: &T) {
    line((&raw const *value).cast());
}

/// Asks for a whole value.
#[inline(always)]
pub(crate) fn all<T>(value: &T) {
    part(value, size_of::<T>());
}

/// Asks for the first bytes of a value.
#[inline(always)]
pub(crate) fn part<T>(value: &T, bytes: usize) {
    let address: *const u8 = (&raw const *value).cast();
    for at in (0..bytes).step_by(LINE) {
        line(address.wrapping_add(at));
    }
    // A value that does not begin with a line ends one line later.
    if align_of::<T>() < LINE {
        line(address.wrapping_add(bytes.saturating_sub(1)));
    }
}
