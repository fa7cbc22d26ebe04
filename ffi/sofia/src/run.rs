//! The loop. It blocks in a poll of its own on Sofia's epoll descriptor and the link, and rounds the library's
//! timers up: left to itself the library's loop spins whenever a timer is due within the same millisecond.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bifrons_sip_link::{LINK_FD, Link};
use bifrons_sip_protocol::FRAME_BYTES_MAX;

use crate::program::Program;
use crate::{clock, log, sys};

/// Turns of the library's loop before control is heard again.
const STEPS_MAX: usize = 40;
/// Frames of control before the library is.
const FRAMES_MAX: usize = 64;
/// Least wait, in milliseconds, if nothing but a timer is due.
const PAUSE_MS: i64 = 2;
/// Longest wait, in milliseconds, while there is something that `Program::sweep` looks after: it may be so late.
const SWEEP_MS: i64 = 1_000;
/// A wait without end: what comes next, comes from outside.
const FOREVER_MS: i64 = -1;

/// Runs the program until control stops it or is gone.
///
/// # Errors
/// If descriptor 3 is no link.
pub fn run() -> io::Result<()> {
    ignore_signals();
    never_block_on_names();
    log::redirect();
    // SAFETY: asks for flags only.
    if unsafe { libc::fcntl(LINK_FD, libc::F_GETFD) } < 0 {
        return Err(io::Error::other(
            "descriptor 3 is not open: this program is started by bifrons, not by hand",
        ));
    }
    // SAFETY: descriptor 3 is open, and ours by the contract with the parent.
    let link = Link::from_fd(unsafe { OwnedFd::from_raw_fd(LINK_FD) })?;
    let mut program = Program::new();
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let mut swept_ms = 0;
    loop {
        let more = match receive(&mut program, &link, &mut buffer) {
            Ok(more) => more,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let now_ms = clock::steady_ms();
        if now_ms.saturating_sub(swept_ms) >= SWEEP_MS as u64 {
            swept_ms = now_ms;
            program.sweep();
            program.events();
        }
        // After all else: what was done above may have set a timer.
        let next_timer_ms = turn(&mut program);
        program.traces();
        match program.outbox.flush(&link) {
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
            Ok(()) if program.stopping => return Ok(()),
            Ok(()) => {}
        }
        wait(&program, &link, if more { 0 } else { next_timer_ms });
    }
}

/// Lets the library work off what is due. Returns how long until its next timer, rounded up.
fn turn(program: &mut Program) -> i64 {
    let epoll = program.agent.as_ref().and_then(|agent| agent.epoll);
    for _ in 0..STEPS_MAX {
        let Some(agent) = &program.agent else { return FOREVER_MS };
        let next_ms = agent.step();
        // What an event led to may have set a timer.
        let quiet = !program.events();
        if quiet && next_ms != 0 && !epoll.is_some_and(readable) {
            return match next_ms {
                ..0 if program.has_to_sweep() => SWEEP_MS,
                ..0 => FOREVER_MS,
                timer_ms => timer_ms.clamp(PAUSE_MS, SWEEP_MS),
            };
        }
    }
    PAUSE_MS
}

/// Takes frames of control. True if there may be more.
fn receive(program: &mut Program, link: &Link, buffer: &mut [u8]) -> io::Result<bool> {
    for _ in 0..FRAMES_MAX {
        match link.recv(buffer) {
            Ok(received) if received.len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(received) => {
                program.frame(&buffer[..received.len], received.descriptor);
                // What a frame caused is known before the next one can name it.
                program.events();
                if program.stopping {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // A frame that is too large: it is gone, the next one is whole.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => program.frame(&[], None),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof)
}

fn wait(program: &Program, link: &Link, timeout_ms: i64) {
    let epoll = program.agent.as_ref().map(|agent| agent.epoll);
    // Without Sofia's descriptor only short waits keep the delay small.
    let timeout_ms = if epoll == Some(None) && timeout_ms != 0 { PAUSE_MS } else { timeout_ms };
    let wants_out = if program.outbox.is_empty() { 0 } else { libc::POLLOUT };
    let fds = [
        libc::pollfd { fd: link.as_raw_fd(), events: libc::POLLIN | wants_out, revents: 0 },
        // A negative descriptor is skipped.
        libc::pollfd { fd: epoll.flatten().unwrap_or(-1), events: libc::POLLIN, revents: 0 },
    ];
    poll(fds, timeout_ms);
}

fn readable(fd: RawFd) -> bool {
    let none = libc::pollfd { fd: -1, events: 0, revents: 0 };
    poll([libc::pollfd { fd, events: libc::POLLIN, revents: 0 }, none], 0)
}

/// True if something is ready. An interruption or error is as good as a time-out.
fn poll(mut fds: [libc::pollfd; 2], timeout_ms: i64) -> bool {
    let timeout_ms = timeout_ms.clamp(FOREVER_MS, i64::from(i32::MAX)) as i32;
    // SAFETY: the array has the length given.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) > 0 }
}

/// Ends with the link, not with a signal to the whole group or service: while control drains, calls need us.
fn ignore_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Where a request is answered before its source is in Via (400, 505), the library looks the host of Via up with
/// `getaddrinfo`, which would block for the resolver's time-outs: anybody could stop us with one datagram each.
/// Names that requests are sent to are not concerned, the library has a resolver of its own for these.
fn never_block_on_names() {
    // SAFETY: both are C strings, which the call copies.
    unsafe { sys::__nss_configure_lookup(c"hosts".as_ptr(), c"files".as_ptr()) };
}
