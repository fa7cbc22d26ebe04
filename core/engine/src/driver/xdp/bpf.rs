//! The commands of bpf(2) that the driver needs. Each takes a structure of its own; what it leaves out at
//! the end is zero for the kernel.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::program::Instruction;

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROGRAM_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const LINK_DETACH: libc::c_int = 34;

/// An array map.
pub(super) const ARRAY: u32 = 2;
/// A map from a queue to its AF_XDP socket.
pub(super) const XSKMAP: u32 = 17;
/// User space can map the values of an array (Linux 5.5).
pub(super) const MMAPABLE: u32 = 1 << 10;
const PROGRAM_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// In the device's driver.
pub(super) const NATIVE: u32 = 1 << 2;
/// In the kernel's own path, behind the allocation of its packet structure.
pub(super) const GENERIC: u32 = 1 << 1;
/// Bytes of what the kernel's verifier says about a refused program.
const LOG_BYTES: usize = 64 << 10;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach: u32,
    flags: u32,
}

/// # Safety
/// `attribute` is the structure of `command`, and the pointers in it are what that command expects.
unsafe fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the structure outlives the call and its size is given; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

/// # Safety
/// As [`bpf`], and the command gives a new descriptor (closed on exec).
unsafe fn descriptor<T>(command: libc::c_int, attribute: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    unsafe { bpf(command, attribute).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// A map with keys of 32 bits.
pub(super) fn map(kind: u32, value_bytes: usize, entries: usize, flags: u32) -> io::Result<OwnedFd> {
    let (value_bytes, entries) = (value_bytes as u32, entries as u32);
    let mut attribute = MapCreate { kind, key_bytes: 4, value_bytes, entries, flags };
    // SAFETY: the structure has no pointers; the command gives a descriptor.
    unsafe { descriptor(MAP_CREATE, &mut attribute) }
}

/// Puts a descriptor into a map of sockets.
pub(super) fn put_socket(map: &OwnedFd, key: u32, socket: RawFd) -> io::Result<()> {
    let value = socket as u32;
    let mut attribute = MapUpdate {
        map: map.as_raw_fd() as u32,
        padding: 0,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    // SAFETY: key and value outlive the call and have the 4 bytes with which such a map is made.
    unsafe { bpf(MAP_UPDATE, &mut attribute) }.map(drop)
}

/// Loads an XDP program; the error has what the verifier said.
pub(super) fn load(code: &[Instruction]) -> Result<OwnedFd, (io::Error, String)> {
    let mut log = vec![0_u8; LOG_BYTES];
    let mut attribute = ProgramLoad {
        kind: PROGRAM_XDP,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"MIT OR Apache-2.0".as_ptr() as u64,
        log_level: 1,
        log_bytes: LOG_BYTES as u32,
        log: log.as_mut_ptr() as u64,
    };
    // SAFETY: code, licence and log outlive the call, the sizes are given, the licence ends with a zero.
    unsafe { descriptor(PROGRAM_LOAD, &mut attribute) }.map_err(|error| {
        let text = String::from_utf8_lossy(&log);
        (error, text.trim_end_matches('\0').trim().to_owned())
    })
}

/// Attaches a program to an interface for as long as the descriptor is open anywhere.
pub(super) fn attach(program: &OwnedFd, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd() as u32;
    let mut attribute = LinkCreate { program, interface, attach: ATTACH_XDP, flags };
    // SAFETY: the structure has no pointers; the command gives a descriptor.
    unsafe { descriptor(LINK_CREATE, &mut attribute) }
}

/// Takes a program off its interface, though its link stays open.
pub(super) fn detach(link: &OwnedFd) -> io::Result<()> {
    let mut link = link.as_raw_fd() as u32;
    // SAFETY: the structure is this one word.
    unsafe { bpf(LINK_DETACH, &mut link) }.map(drop)
}

/// Lets the kernel run a program on a frame that came on queue 0 of nowhere, and gives its result.
#[cfg(test)]
pub(super) fn run(program: &OwnedFd, frame: &[u8]) -> io::Result<i32> {
    const PROGRAM_TEST_RUN: libc::c_int = 10;

    #[repr(C)]
    struct TestRun {
        program: u32,
        result: u32,
        bytes_in: u32,
        bytes_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
    }
    let mut attribute = TestRun {
        program: program.as_raw_fd() as u32,
        result: 0,
        bytes_in: frame.len() as u32,
        bytes_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    // SAFETY: the frame outlives the call and its length is given; nothing is asked back.
    unsafe { bpf(PROGRAM_TEST_RUN, &mut attribute) }.map(|_| attribute.result as i32)
}
