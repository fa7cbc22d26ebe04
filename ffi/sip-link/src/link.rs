//! One end of the socket pair.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// What each socket buffer is raised to, in bytes: some thousands of ordinary messages. The kernel caps it
/// at `net.core.wmem_max` unless the process may exceed that.
static SOCKET_BUFFER_BYTES: libc::c_int = 4 * 1024 * 1024;

/// One end of a non-blocking Unix `SOCK_SEQPACKET` pair.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

/// One received datagram.
#[derive(Debug)]
pub struct Received {
    /// Bytes at the start of the caller's buffer. 0: the other end is closed.
    pub len: usize,
    /// The descriptor that came with it.
    pub descriptor: Option<OwnedFd>,
}

impl Link {
    /// A connected pair.
    ///
    /// # Errors
    /// The kernel's, e.g. too many open files.
    pub fn pair() -> io::Result<(Link, Link)> {
        let mut fds: [RawFd; 2] = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the array has room for the two descriptors that the call writes.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } as isize)?;
        // SAFETY: the call succeeded, so both are open and nobody else owns them.
        let [a, b] = fds.map(|fd| Link { fd: unsafe { OwnedFd::from_raw_fd(fd) } });
        a.raise_buffers();
        b.raise_buffers();
        Ok((a, b))
    }

    /// Takes over a connected `SOCK_SEQPACKET` socket, e.g. an inherited one.
    ///
    /// # Errors
    /// If it cannot be made non-blocking.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Link> {
        // SAFETY: plain flag calls on a descriptor that we own.
        let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) } as isize)? as libc::c_int;
        // SAFETY: as above.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } as isize)?;
        // SAFETY: as above.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } as isize)?;
        Ok(Link { fd })
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// `WouldBlock` if the other side does not keep up; `BrokenPipe` or `ConnectionReset` if it is gone.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.send_message(frame, None)
    }

    /// Sends one frame and a copy of a descriptor (SCM_RIGHTS).
    ///
    /// # Errors
    /// As for [`Link::send`].
    pub fn send_with(&self, frame: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.send_message(frame, Some(descriptor))
    }

    fn send_message(&self, frame: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        let mut control = Control::new();
        // SAFETY: a zeroed msghdr is a valid empty one.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(descriptor) = descriptor {
            message.msg_control = control.bytes.as_mut_ptr().cast();
            message.msg_controllen = Control::LEN as _;
            // SAFETY: the control buffer is aligned for a header and large enough for one descriptor.
            unsafe {
                let header = libc::CMSG_FIRSTHDR(&raw const message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(mem::size_of::<RawFd>() as u32) as _;
                ptr::write_unaligned(libc::CMSG_DATA(header).cast(), descriptor.as_raw_fd());
            }
        }
        loop {
            // SAFETY: the message points to live buffers; the kernel only reads them.
            let sent = unsafe { libc::sendmsg(self.fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
            match check(sent) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|_| ()),
            }
        }
    }

    /// Receives one frame; `buffer` should have `FRAME_BYTES_MAX` bytes, what does not fit is lost. Of
    /// several descriptors the first is given and the others are closed.
    ///
    /// # Errors
    /// `WouldBlock` if there is none, `InvalidData` if the frame did not fit, `ConnectionReset` if the other
    /// end died with frames unread.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = Control::new();
        // SAFETY: a zeroed msghdr is a valid empty one.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.bytes.as_mut_ptr().cast();
        message.msg_controllen = Control::LEN as _;
        let len = loop {
            // SAFETY: the message points to live buffers of the lengths given.
            let received =
                unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
            match check(received) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        let descriptor = control_descriptor(&message);
        if message.msg_flags & libc::MSG_TRUNC != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame larger than the buffer"));
        }
        Ok(Received { len, descriptor })
    }

    /// Best effort: a smaller buffer only means `WouldBlock` earlier.
    fn raise_buffers(&self) {
        for (force, plain) in
            [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)]
        {
            if !self.set_buffer(force) {
                self.set_buffer(plain);
            }
        }
    }

    fn set_buffer(&self, option: libc::c_int) -> bool {
        let size = mem::size_of_val(&SOCKET_BUFFER_BYTES) as libc::socklen_t;
        let value = (&raw const SOCKET_BUFFER_BYTES).cast();
        // SAFETY: the option's value is an int of the length given.
        unsafe { libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_SOCKET, option, value, size) == 0 }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> OwnedFd {
        link.fd
    }
}

/// Room for one SCM_RIGHTS header with one descriptor.
#[repr(C, align(8))]
struct Control {
    bytes: [u8; Control::LEN],
}

impl Control {
    // SAFETY: pure arithmetic.
    const LEN: usize = unsafe { libc::CMSG_SPACE(mem::size_of::<RawFd>() as u32) } as usize;

    fn new() -> Self {
        Control { bytes: [0; Control::LEN] }
    }
}

fn control_descriptor(message: &libc::msghdr) -> Option<OwnedFd> {
    let mut found = None;
    // SAFETY: the kernel filled the control buffer and its length; the macros stay inside it. Each descriptor
    // in it was opened for us, so owning (and closing) each exactly once is right.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for index in 0..bytes / mem::size_of::<RawFd>() {
                    let fd = ptr::read_unaligned(libc::CMSG_DATA(header).cast::<RawFd>().add(index));
                    let owned = OwnedFd::from_raw_fd(fd);
                    found.get_or_insert(owned);
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    found
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use bifrons_sip_protocol::FRAME_BYTES_MAX;

    use super::*;

    #[test]
    fn frames_keep_their_borders() {
        let (a, b) = Link::pair().unwrap();
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        assert_eq!(b.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        a.send(b"one").unwrap();
        a.send(&vec![7; FRAME_BYTES_MAX]).unwrap();
        assert_eq!(b.recv(&mut buffer).unwrap().len, 3);
        assert_eq!(b.recv(&mut buffer).unwrap().len, FRAME_BYTES_MAX);
        drop(a);
        assert_eq!(b.recv(&mut buffer).unwrap().len, 0);
        assert_eq!(b.send(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_link_says_so_and_loses_nothing() {
        let (a, b) = Link::pair().unwrap();
        let mut sent = 0u32;
        let error = loop {
            match a.send(&sent.to_le_bytes()) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let mut buffer = [0; 16];
        for expected in 0..sent {
            assert_eq!(b.recv(&mut buffer).unwrap().len, 4);
            assert_eq!(buffer[..4], expected.to_le_bytes());
        }
        assert!(b.recv(&mut buffer).is_err());
    }

    #[test]
    fn a_frame_larger_than_the_buffer_is_an_error() {
        let (a, b) = Link::pair().unwrap();
        a.send(&[0; 100]).unwrap();
        assert_eq!(b.recv(&mut [0; 99]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_descriptor_rides_along() {
        let (a, b) = Link::pair().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        a.send_with(b"take", socket.as_fd()).unwrap();
        drop(socket);
        let mut buffer = [0; 16];
        let received = b.recv(&mut buffer).unwrap();
        let socket = UdpSocket::from(received.descriptor.expect("a descriptor"));
        assert_eq!(socket.local_addr().unwrap(), address);
        a.send(b"none").unwrap();
        assert!(b.recv(&mut buffer).unwrap().descriptor.is_none());
    }
}
