//! The program at the other end.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::Link;

/// The descriptor at which the program finds its end of the link.
pub const LINK_FD: RawFd = 3;

/// A running `bifrons-sip`. Dropping it kills and reaps the process; an orderly end is `ToSip::Stop`, then
/// end of file on the link.
#[derive(Debug)]
pub struct SipProcess {
    link: Link,
    child: Child,
}

impl SipProcess {
    /// Starts the program at `path` with its end of a new link as descriptor [`LINK_FD`], standard input and
    /// output closed off and standard error inherited (one log line an event).
    ///
    /// The process is killed when the *thread* that called this ends (`PR_SET_PDEATHSIG`): call it on the
    /// control thread or the main one, not on a pool's.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(path: &Path) -> io::Result<SipProcess> {
        SipProcess::spawn_command(Command::new(path))
    }

    /// As [`SipProcess::spawn`], with a command whose arguments, environment or standard error the caller has
    /// set.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn_command(mut command: Command) -> io::Result<SipProcess> {
        let (link, theirs) = Link::pair()?;
        let their_fd = theirs.as_raw_fd();
        let parent = std::process::id();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // The parent may have died before the line above.
                if libc::getppid() as u32 != parent {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                // dup2 clears close-on-exec, except where both are the same descriptor.
                let placed = if their_fd == LINK_FD {
                    libc::fcntl(LINK_FD, libc::F_SETFD, 0)
                } else {
                    libc::dup2(their_fd, LINK_FD)
                };
                if placed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
            });
        }
        let child = command.spawn()?;
        Ok(SipProcess { link, child })
    }

    /// Our end of the link.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended. Does not block.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Kills it (SIGKILL). Reaping is left to [`SipProcess::try_wait`] or the drop.
    ///
    /// # Errors
    /// The kernel's.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }
}

impl Drop for SipProcess {
    fn drop(&mut self) {
        // An ended process gives an error here, and a killed one is reaped at once.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell stands in for the program: it answers on descriptor 3 and ends.
    fn shell(script: &str) -> SipProcess {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        SipProcess::spawn_command(command).unwrap()
    }

    fn recv_blocking(link: &Link, buffer: &mut [u8]) -> usize {
        let mut poll = libc::pollfd { fd: link.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 10_000) }, 1, "nothing arrived");
        link.recv(buffer).unwrap().len
    }

    #[test]
    fn the_program_finds_its_link_at_descriptor_3() {
        let process = shell("printf hello >&3; exec sleep 60");
        let mut buffer = [0; 16];
        assert_eq!(recv_blocking(process.link(), &mut buffer), 5);
        assert_eq!(&buffer[..5], b"hello");
    }

    #[test]
    fn its_end_is_the_end_of_the_link() {
        let mut process = shell("exit 7");
        assert_eq!(recv_blocking(process.link(), &mut [0; 16]), 0);
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            std::thread::yield_now();
        };
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error() {
        let error = SipProcess::spawn(Path::new("/nonexistent/bifrons-sip")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
