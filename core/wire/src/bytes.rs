//! Big-endian reads that cannot fail loudly: a read past the end gives zero.
//!
//! A view checks its lengths once, when it is made; its getters then read with these. Zero past the end is
//! never reached through a checked view, and it keeps the packet path free of panics.

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    array_at(bytes, at).map_or(0, u16::from_be_bytes)
}

pub(crate) fn u24_at(bytes: &[u8], at: usize) -> u32 {
    array_at(bytes, at).map_or(0, |[a, b, c]: [u8; 3]| u32::from_be_bytes([0, a, b, c]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    array_at(bytes, at).map_or(0, u32::from_be_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    array_at(bytes, at).map_or(0, u64::from_be_bytes)
}

/// Copies `value` to `at`; a write past the end is not made.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(target) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        target.copy_from_slice(value);
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}
