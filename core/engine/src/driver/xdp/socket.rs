//! An AF_XDP socket with its four rings (Documentation/networking/af_xdp.rst).

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};
use std::time::Duration;

use super::super::memory::Memory;
use super::interface::Interface;
use super::ring::{Consumer, Producer};
use super::umem;

/// Entries of each ring.
pub(super) const RING: u32 = 4_096;
/// What may be under way of the sends, bytes of the kernel's memory: some 5,000 audio packets.
const SEND_BYTES: libc::c_int = 4 << 20;
/// How many sends a call takes in copy mode; 32 where it is not set (Linux 6.17).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// How long a start waits for a queue that another has. The kernel takes one back some time after its program has
/// ended, even by a signal, and the next may be there before.
const BUSY_MAX: Duration = Duration::from_secs(3);
const BUSY_AGAIN: Duration = Duration::from_millis(10);

/// A socket on one queue of an interface.
pub(super) struct Socket {
    pub received: Consumer<libc::xdp_desc>,
    pub sends: Producer<libc::xdp_desc>,
    pub fill: Producer<u64>,
    pub sent: Consumer<u64>,
    fd: OwnedFd,
}

/// What the kernel counted on a socket (`struct xdp_statistics`).
pub(super) type Statistics = libc::xdp_statistics;

impl Socket {
    /// Opens one on a worker's queue. `shared`: the worker's first socket, which has the UMEM.
    pub(super) fn open(
        interface: &Interface,
        queue: u32,
        memory: &Memory,
        shared: Option<&Socket>,
    ) -> io::Result<Self> {
        // SAFETY: three integers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made and nobody else owns it.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        if shared.is_none() {
            umem::register(fd, memory)?;
        }
        for ring in
            [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING]
        {
            set_option(fd, libc::SOL_XDP, ring, &RING)?;
        }
        // Kernels that do not know it take 32.
        let _ = set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &RING);
        let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BYTES);
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut at: libc::xdp_mmap_offsets = unsafe { zeroed() };
        // SAFETY: the option is this structure.
        unsafe { get_option(fd, libc::XDP_MMAP_OFFSETS, &mut at) }?;
        let socket = Self {
            received: Consumer::map(fd, libc::XDP_PGOFF_RX_RING, &at.rx, RING)?,
            sends: Producer::map(fd, libc::XDP_PGOFF_TX_RING, &at.tx, RING)?,
            fill: Producer::map(fd, libc::XDP_UMEM_PGOFF_FILL_RING as i64, &at.fr, RING)?,
            sent: Consumer::map(fd, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64, &at.cr, RING)?,
            fd: owned,
        };
        let name = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: if shared.is_some() { libc::XDP_SHARED_UMEM } else { libc::XDP_USE_NEED_WAKEUP },
            sxdp_ifindex: interface.index(),
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: shared.map_or(0, |shared| shared.fd() as u32),
        };
        let mut waited = Duration::ZERO;
        loop {
            // SAFETY: the name outlives the call and its size is given.
            let result =
                unsafe { libc::bind(fd, (&raw const name).cast(), size_of::<libc::sockaddr_xdp>() as u32) };
            if result == 0 {
                return Ok(socket);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::ResourceBusy || waited >= BUSY_MAX {
                return Err(error);
            }
            std::thread::sleep(BUSY_AGAIN);
            waited += BUSY_AGAIN;
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether the device reads and writes the buffers itself.
    pub(super) fn is_zero_copy(&self) -> bool {
        let mut options = libc::xdp_options { flags: 0 };
        // SAFETY: the option is this structure.
        unsafe { get_option(self.fd(), libc::XDP_OPTIONS, &mut options) }.is_ok()
            && options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0
    }

    /// Makes the kernel send what is in the ring, or some of it.
    pub(super) fn kick_sends(&self) {
        // What keeps it from sending (full queue, interface down) shows in the ring, which stays as it is.
        // SAFETY: nothing is pointed to.
        unsafe { libc::sendto(self.fd(), null(), 0, libc::MSG_DONTWAIT, null(), 0) };
    }

    /// Makes the kernel look for frames to fill.
    pub(super) fn kick_fill(&self) {
        // SAFETY: nothing is pointed to.
        unsafe { libc::recvfrom(self.fd(), null_mut(), 0, libc::MSG_DONTWAIT, null_mut(), null_mut()) };
    }

    pub(super) fn statistics(&self) -> Option<Statistics> {
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut statistics: Statistics = unsafe { zeroed() };
        // SAFETY: the option is this structure.
        unsafe { get_option(self.fd(), libc::XDP_STATISTICS, &mut statistics) }.ok().map(|()| statistics)
    }
}

pub(super) fn set_option<T>(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value outlives the call and its size is given.
    let result =
        unsafe { libc::setsockopt(fd, level, name, (&raw const *value).cast(), size_of::<T>() as u32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// # Safety
/// `T` is the plain C structure of the option, of which an older kernel fills less.
unsafe fn get_option<T>(fd: RawFd, name: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: value and length outlive the call; the kernel writes at most `len` bytes.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_XDP, name, (&raw mut *value).cast(), &raw mut len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
