//! Messages that wait for control.

use std::collections::VecDeque;
use std::io;

use bifrons_sip_link::Link;
use bifrons_sip_protocol::{FromSip, Generation};

use crate::log;

/// A bounded queue before the link.
pub(crate) struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    /// New requests and traces stop here; the rest has as much again.
    pub(crate) queue_max: usize,
    pub(crate) generation: Generation,
    pub(crate) lost: u64,
}

impl Outbox {
    pub(crate) fn new(queue_max: usize) -> Outbox {
        Outbox { waiting: VecDeque::new(), queue_max, generation: Generation::default(), lost: 0 }
    }

    /// Whether control is behind: new requests are refused, traces dropped.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= self.queue_max
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn push(&mut self, message: &FromSip) {
        if self.waiting.len() >= self.queue_max.saturating_mul(2) {
            self.lost += 1;
            return;
        }
        let mut frame = Vec::new();
        match message.encode(self.generation, &mut frame) {
            Ok(()) => self.waiting.push_back(frame),
            Err(error) => {
                self.lost += 1;
                log::line(&format!("{} for control: {error}", message.name()));
            }
        }
    }

    /// Sends what the link takes.
    ///
    /// # Errors
    /// If control is gone.
    pub(crate) fn flush(&mut self, link: &Link) -> io::Result<()> {
        while let Some(frame) = self.waiting.front() {
            match link.send(frame) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The kernel has no room for now; the loop comes back.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
