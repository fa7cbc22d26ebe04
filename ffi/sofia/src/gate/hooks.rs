//! What the three functions of the C library do that the program defines itself, so that Sofia calls them.
//!
//! They are exported from the program (main.rs) and stand before the C library's in symbol order. Each is a
//! plain system call for every socket that is not one of ours; a panic in them falls back to that too.

use std::ffi::{c_int, c_void};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use bifrons_sip_protocol::Transport;

use super::{Listener, Traced, Verdict, with};
use crate::clock;

/// Receive buffer asked for a UDP listener, in bytes: a burst while the loop is busy.
static UDP_BUFFER_BYTES: c_int = 4 * 1024 * 1024;

/// `recvmsg(2)`. On a UDP listener what the gate refuses does not arrive: the call says EAGAIN.
///
/// # Safety
/// As for the C library's function: `message` points to a valid header for `fd`.
pub unsafe fn recvmsg(fd: c_int, message: *mut libc::msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's arguments as they are.
    let received = unsafe { libc::syscall(libc::SYS_recvmsg, fd, message, flags) } as isize;
    if received <= 0 || flags & (libc::MSG_ERRQUEUE | libc::MSG_PEEK) != 0 {
        return received;
    }
    let gated = catch_unwind(AssertUnwindSafe(|| {
        let listener = with(|gate| gate.udp_listener(fd))?;
        // SAFETY: the call above succeeded, so the header and its buffers are valid and hold `received` bytes.
        unsafe { gate_received(listener, &*message, received as usize) }
    }));
    match gated {
        Ok(None) | Err(_) => received,
        Ok(Some(Some(len))) => len as isize,
        Ok(Some(None)) => {
            // SAFETY: errno is this thread's.
            unsafe { *libc::__errno_location() = libc::EAGAIN };
            -1
        }
    }
}

/// `sendmsg(2)`, with a copy for tracing on a UDP listener.
///
/// # Safety
/// As for the C library's function: `message` points to a valid header for `fd`.
pub unsafe fn sendmsg(fd: c_int, message: *const libc::msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's arguments as they are.
    let sent = unsafe { libc::syscall(libc::SYS_sendmsg, fd, message, flags) } as isize;
    if sent > 0 {
        // SAFETY: errno is this thread's; the copy must not change what the caller sees in it.
        let errno = unsafe { *libc::__errno_location() };
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let tracing = with(|gate| gate.tracing.then(|| gate.udp_listener(fd)).flatten());
            let Some(listener) = tracing else { return };
            // SAFETY: the call above succeeded, so the header and its buffers are valid.
            if let Some((remote, text)) = unsafe { contents(&*message, sent as usize) } {
                trace(listener, remote, false, &text);
            }
        }));
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
    }
    sent
}

/// `bind(2)`. While a listener is opened, a socket that control has bound takes the new one's place.
///
/// # Safety
/// As for the C library's function: `address` points to `len` bytes.
pub unsafe fn bind(fd: c_int, address: *const libc::sockaddr, len: libc::socklen_t) -> c_int {
    // SAFETY: the address has the length given.
    let wanted = unsafe { self::address(address, len) };
    let is_listener =
        with(|gate| gate.opening.as_ref().map(|opening| opening.address)) == wanted && wanted.is_some();
    let replaced =
        is_listener && catch_unwind(AssertUnwindSafe(|| with(|gate| replace(gate, fd)))).unwrap_or(false);
    let result = if replaced {
        0
    } else {
        // SAFETY: the caller's arguments as they are.
        unsafe { libc::syscall(libc::SYS_bind, fd, address, len) as c_int }
    };
    if result == 0 && is_listener {
        let _ = catch_unwind(AssertUnwindSafe(|| with(|gate| bound(gate, fd))));
    }
    result
}

/// None: leave it to the caller as it is; `Some(None)`: dropped; `Some(Some(len))`: passed with this length.
///
/// # Safety
/// `message` is a header into whose buffers `len` bytes were received.
unsafe fn gate_received(listener: Listener, message: &libc::msghdr, len: usize) -> Option<Option<usize>> {
    // SAFETY: as the caller says.
    let (source, datagram) = unsafe { contents(message, len) }?;
    let verdict = with(|gate| {
        let verdict = gate.judge(source, &datagram, clock::steady_ms());
        if let Verdict::Drop(reason) = verdict {
            gate.count(reason);
        }
        Some(verdict)
    })?;
    match verdict {
        Verdict::Drop(_) => Some(None),
        Verdict::Pass => {
            trace(listener, source, true, &datagram);
            Some(Some(len))
        }
        Verdict::Replace(text) => {
            trace(listener, source, true, &datagram);
            // SAFETY: the buffers hold `len` bytes and the text is not longer.
            unsafe { scatter(message, &text) };
            Some(Some(text.len()))
        }
    }
}

fn trace(listener: Listener, remote: SocketAddr, received: bool, text: &[u8]) {
    with(|gate| {
        if gate.tracing {
            gate.trace(Traced {
                received,
                transport: Transport::Udp,
                local: listener.local,
                remote,
                time_us: clock::unix_us(),
                text: text.to_vec(),
            });
        }
    });
}

fn replace(gate: &mut super::Gate, fd: RawFd) -> bool {
    let Some(opening) = &mut gate.opening else { return false };
    let Some(descriptor) = opening.descriptor.take() else { return false };
    // SAFETY: both are open descriptors; the old socket of `fd` is closed by this.
    let replaced = unsafe { libc::dup3(descriptor.as_raw_fd(), fd, libc::O_CLOEXEC) } == fd;
    if replaced {
        // SAFETY: flag calls on an open descriptor.
        unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFL);
            libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
        }
    }
    replaced
}

/// Notes the socket of a listener.
fn bound(gate: &mut super::Gate, fd: RawFd) {
    let Some(opening) = &mut gate.opening else { return };
    let Some(local) = local_address(fd) else { return };
    if opening.transport == Transport::Udp {
        let size = mem::size_of_val(&UDP_BUFFER_BYTES) as libc::socklen_t;
        for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
            // SAFETY: the option's value is an int of the length given.
            let done = unsafe {
                let value = (&raw const UDP_BUFFER_BYTES).cast();
                libc::setsockopt(fd, libc::SOL_SOCKET, option, value, size)
            };
            if done == 0 {
                break;
            }
        }
    }
    opening.bound = Some(local);
    let transport = opening.transport;
    gate.listeners.retain(|listener| listener.fd != fd);
    gate.listeners.push(Listener { fd, transport, local });
}

/// The other end of a datagram and its bytes.
///
/// # Safety
/// `message` is a header whose buffers hold at least `len` bytes.
unsafe fn contents(message: &libc::msghdr, len: usize) -> Option<(SocketAddr, Vec<u8>)> {
    if message.msg_name.is_null() || message.msg_iov.is_null() {
        return None;
    }
    let name = message.msg_name.cast::<libc::sockaddr>();
    // SAFETY: the name has the length given.
    let remote = unsafe { address(name, message.msg_namelen) }?;
    let mut bytes = Vec::with_capacity(len);
    // SAFETY: the header says how many buffers there are.
    let parts = unsafe { slice::from_raw_parts(message.msg_iov, message.msg_iovlen) };
    for part in parts {
        let take = part.iov_len.min(len - bytes.len());
        if take > 0 {
            // SAFETY: the buffer has at least `take` bytes.
            bytes.extend_from_slice(unsafe { slice::from_raw_parts(part.iov_base.cast::<u8>(), take) });
        }
    }
    (bytes.len() == len).then_some((remote, bytes))
}

/// Writes over what was received.
///
/// # Safety
/// The header's buffers have room for the text.
unsafe fn scatter(message: &libc::msghdr, text: &[u8]) {
    // SAFETY: the header says how many buffers there are.
    let parts = unsafe { slice::from_raw_parts(message.msg_iov, message.msg_iovlen) };
    let mut rest = text;
    for part in parts {
        let (now, later) = rest.split_at(part.iov_len.min(rest.len()));
        if !now.is_empty() {
            // SAFETY: the buffer has at least that many bytes.
            unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), part.iov_base.cast::<u8>(), now.len()) };
        }
        rest = later;
    }
}

fn local_address(fd: RawFd) -> Option<SocketAddr> {
    // SAFETY: a zeroed storage is a valid one.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut len = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let name = (&raw mut storage).cast::<libc::sockaddr>();
    // SAFETY: the storage has the length given.
    if unsafe { libc::getsockname(fd, name, &raw mut len) } != 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { address(name, len) }
}

/// A socket address; IPv4-mapped ones as IPv4.
///
/// # Safety
/// `name` points to `len` bytes.
pub(crate) unsafe fn address(name: *const libc::sockaddr, len: libc::socklen_t) -> Option<SocketAddr> {
    if name.is_null() || (len as usize) < mem::size_of::<libc::sa_family_t>() {
        return None;
    }
    let at = name.cast::<c_void>();
    // SAFETY: the length was checked.
    let family = c_int::from(unsafe { std::ptr::read_unaligned(at.cast::<libc::sa_family_t>()) });
    match family {
        libc::AF_INET if len as usize >= mem::size_of::<libc::sockaddr_in>() => {
            // SAFETY: the length was checked.
            let v4 = unsafe { std::ptr::read_unaligned(at.cast::<libc::sockaddr_in>()) };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 if len as usize >= mem::size_of::<libc::sockaddr_in6>() => {
            // SAFETY: the length was checked.
            let v6 = unsafe { std::ptr::read_unaligned(at.cast::<libc::sockaddr_in6>()) };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let ip = std::net::IpAddr::from(ip).to_canonical();
            Some(SocketAddr::new(ip, u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}
