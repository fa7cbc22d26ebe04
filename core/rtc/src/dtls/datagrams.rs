//! OpenSSL's transport: one datagram in, a bounded queue of datagrams out.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// The header of a DTLS record (RFC 6347 §4.1): type, version, epoch, sequence number, length.
pub(super) const RECORD_HEADER_LEN: usize = 13;

/// A record as it lies in a datagram.
pub(super) struct Record<'a> {
    pub content_type: u8,
    pub epoch: u16,
    pub sequence_number: u64,
    pub header: &'a [u8; RECORD_HEADER_LEN],
    pub fragment: &'a [u8],
}

pub(super) const CONTENT_ALERT: u8 = 21;
pub(super) const CONTENT_HANDSHAKE: u8 = 22;

/// The records of a datagram, up to the first that is cut short.
pub(super) fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (header, rest) = datagram.split_first_chunk::<RECORD_HEADER_LEN>()?;
        let &[content_type, _, _, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1] = header;
        let (fragment, rest) = rest.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
        datagram = rest;
        Some(Record {
            content_type,
            epoch: u16::from_be_bytes([e0, e1]),
            sequence_number: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            header,
            fragment,
        })
    })
}

/// The last encrypted record that was sent: where a [`Tail`](super::Tail) goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastSent {
    pub sequence_number: u64,
    /// The explicit part of the nonce (RFC 5288 §3).
    pub explicit_nonce: u64,
}

#[derive(Debug, Default)]
pub(super) struct Datagrams {
    pub incoming: Option<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
    queue_len_max: usize,
    /// Datagrams for which there was no place.
    pub overflowed: u64,
    /// Flights, or parts of them, that went out: whether the peer's clock must be awaited anew.
    pub written: u64,
    pub handshake_was_sent: bool,
    pub last_sent: Option<LastSent>,
}

impl Datagrams {
    pub fn new(queue_len_max: usize) -> Self {
        Self { queue_len_max, ..Self::default() }
    }

    /// What waits to be sent.
    pub fn outgoing(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.outgoing.iter()
    }

    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }
}

impl Read for Datagrams {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.take().ok_or(io::ErrorKind::WouldBlock)?;
        // What does not fit is cut, as recv does.
        let len = datagram.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

impl Write for Datagrams {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.written += 1;
        for record in records(datagram) {
            self.handshake_was_sent |= record.content_type == CONTENT_HANDSHAKE;
            if record.epoch == 1
                && let Some(explicit) = record.fragment.first_chunk()
            {
                self.last_sent = Some(LastSent {
                    sequence_number: record.sequence_number,
                    explicit_nonce: u64::from_be_bytes(*explicit),
                });
            }
        }
        if self.outgoing.len() < self.queue_len_max {
            self.outgoing.push_back(datagram.to_vec());
        } else {
            self.overflowed += 1; // lost, as on the way: the retransmission brings it
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
