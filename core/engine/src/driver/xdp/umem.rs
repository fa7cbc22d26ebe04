//! The worker's buffers as the kernel knows them: a UMEM, in which a buffer is a chunk and its address the
//! distance from the first one.

use std::io;
use std::os::fd::RawFd;

use super::super::BUFFER_BYTES;
use super::super::memory::Memory;
use super::socket::set_option;

/// Registers the buffers with the first AF_XDP socket of a worker; its other sockets share them.
pub(super) fn register(socket: RawFd, memory: &Memory) -> io::Result<()> {
    let registration = libc::xdp_umem_reg {
        addr: memory.address(0) as u64,
        len: (memory.count() * BUFFER_BYTES) as u64,
        chunk_size: BUFFER_BYTES as u32,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set_option(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
}

/// The address of a byte in a buffer.
pub(super) fn address(buffer: u32, at: usize) -> u64 {
    u64::from(buffer) * BUFFER_BYTES as u64 + at as u64
}

/// The buffer at an address, and where in it.
pub(super) fn place(address: u64) -> (u32, usize) {
    ((address / BUFFER_BYTES as u64) as u32, address as usize % BUFFER_BYTES)
}
