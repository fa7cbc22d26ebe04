//! The `bifrons-sip` program: `bifrons` starts it with its end of the link as descriptor 3. No arguments.
//!
//! The gate's three functions are defined here and not in the library, whose symbols `--exclude-libs` hides;
//! build.rs exports them, so that Sofia calls them instead of the C library's.

use std::ffi::c_int;
use std::process::ExitCode;

use bifrons_sip::gate::hooks;

fn main() -> ExitCode {
    match bifrons_sip::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bifrons-sip: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `recvmsg(2)` behind the gate.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, message: *mut libc::msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's arguments as they are.
    unsafe { hooks::recvmsg(fd, message, flags) }
}

/// `sendmsg(2)` before the tap.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const libc::msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's arguments as they are.
    unsafe { hooks::sendmsg(fd, message, flags) }
}

/// `bind(2)`, by which a listener may get a socket that is bound already.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, address: *const libc::sockaddr, len: libc::socklen_t) -> c_int {
    // SAFETY: the caller's arguments as they are.
    unsafe { hooks::bind(fd, address, len) }
}
