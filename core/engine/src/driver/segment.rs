//! Message headers, with `UDP_SEGMENT` where a send has several datagrams.

use std::mem::zeroed;

use super::memory::Memory;
use super::queue::{DATAGRAMS_MAX, Datagram, Send};

/// A control message with a `u16`, and its padding: `CMSG_SPACE(2)`.
const CONTROL_BYTES: usize = 24;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

/// Message headers, their vectors and control data. They stay where they are until [`Messages::clear`].
pub(super) struct Messages {
    headers: Box<[libc::msghdr]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    used: usize,
    vectors_used: usize,
}

impl Messages {
    pub(super) fn new() -> Self {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (header, vector): (libc::msghdr, libc::iovec) = unsafe { (zeroed(), zeroed()) };
        Self {
            headers: vec![header; DATAGRAMS_MAX].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_BYTES]); DATAGRAMS_MAX].into_boxed_slice(),
            vectors: vec![vector; DATAGRAMS_MAX].into_boxed_slice(),
            used: 0,
            vectors_used: 0,
        }
    }

    /// A header for a send of a queue; there is one for every send that a queue can hold.
    pub(super) fn write<'a>(
        &mut self,
        send: &Send,
        run: impl Iterator<Item = &'a Datagram>,
        memory: &Memory,
    ) -> *const libc::msghdr {
        let first = self.vectors_used;
        for datagram in run {
            self.vectors[self.vectors_used] = libc::iovec {
                iov_base: memory.address(datagram.buffer).wrapping_add(datagram.start.into()).cast(),
                iov_len: datagram.len.into(),
            };
            self.vectors_used += 1;
        }
        let header = &mut self.headers[self.used];
        header.msg_name = send.destination.as_ptr().cast_mut().cast();
        header.msg_namelen = send.destination.len();
        header.msg_iov = self.vectors[first..].as_mut_ptr();
        header.msg_iovlen = self.vectors_used - first;
        (header.msg_control, header.msg_controllen) = (std::ptr::null_mut(), 0);
        let control = &mut self.controls[self.used];
        self.used += 1;
        if send.count == 1 {
            return header;
        }
        // struct cmsghdr { cmsg_len, cmsg_level, cmsg_type }, then the size.
        control.0[..8].copy_from_slice(&(size_of::<libc::cmsghdr>() + 2).to_ne_bytes());
        control.0[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        control.0[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        control.0[16..18].copy_from_slice(&send.segment.to_ne_bytes());
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES;
        header
    }

    /// All headers are free again.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.vectors_used = 0;
    }
}

const _: () =
    assert!(size_of::<libc::cmsghdr>() == 16 && size_of::<usize>() == 8, "the layout written above");
