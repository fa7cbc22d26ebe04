//! The buffers that a worker has in hand, so that a panic loses none.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use bifrons_rtc::Time;

use crate::driver::{Buffer, Driver, DriverCounters, DriverWaker, Received, SocketKey, Wait};

/// A driver that notes which buffers are in hand: of packets in work at most one received one, and one taken
/// from the arena for a copy. Their tokens go down with the stack when a panic is caught;
/// [`InHand::release_all`] gives the buffers back.
pub(super) struct InHand<D> {
    driver: D,
    received: Option<u32>,
    allocated: Option<u32>,
    /// Calls that read or write a buffer until one of them panics.
    #[cfg(test)]
    pub fault_in: Option<u32>,
}

impl<D: Driver> InHand<D> {
    pub(super) fn new(driver: D) -> Self {
        Self {
            driver,
            received: None,
            allocated: None,
            #[cfg(test)]
            fault_in: None,
        }
    }

    /// The driver itself.
    pub(super) fn driver(&self) -> &D {
        &self.driver
    }

    /// Work on a received buffer begins.
    pub(super) fn take(&mut self, buffer: &Buffer) {
        self.received = Some(buffer.0);
    }

    /// A buffer is put aside where it is found again, or is consumed.
    pub(super) fn lay_down(&mut self, buffer: &Buffer) {
        for hand in [&mut self.received, &mut self.allocated] {
            hand.take_if(|held| *held == buffer.0);
        }
    }

    /// Gives back what was in hand when a panic was caught.
    pub(super) fn release_all(&mut self) {
        for index in [self.received.take(), self.allocated.take()].into_iter().flatten() {
            self.driver.release(Buffer(index));
        }
    }

    #[cfg(test)]
    fn fault(&mut self) {
        self.fault_in = match self.fault_in {
            Some(0) => {
                self.fault_in = None;
                panic!("a fault made by a test")
            }
            left => left.map(|left| left - 1),
        };
    }

    #[cfg(not(test))]
    fn fault(&mut self) {}
}

impl<D: Driver> Driver for InHand<D> {
    type Socket = D::Socket;

    fn now(&mut self) -> Time {
        self.driver.now()
    }

    fn add_socket(&mut self, socket: Self::Socket, tag: u64) -> Result<SocketKey, Self::Socket> {
        self.driver.add_socket(socket, tag)
    }

    fn remove_socket(&mut self, socket: SocketKey) {
        self.driver.remove_socket(socket);
    }

    fn next_removed(&mut self) -> Option<(Self::Socket, u64)> {
        self.driver.next_removed()
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> usize {
        self.driver.receive(batch)
    }

    #[inline]
    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.fault();
        self.driver.bytes(buffer)
    }

    #[inline]
    fn bytes_pair(&mut self, from: &Buffer, to: &Buffer) -> (&[u8], &mut [u8]) {
        self.fault();
        self.driver.bytes_pair(from, to)
    }

    #[inline]
    fn allocate(&mut self) -> Option<Buffer> {
        self.fault();
        let buffer = self.driver.allocate();
        self.allocated = buffer.as_ref().map(|buffer| buffer.0);
        buffer
    }

    #[inline]
    fn send(&mut self, socket: SocketKey, destination: SocketAddr, buffer: Buffer, start: usize, len: usize) {
        self.lay_down(&buffer);
        self.driver.send(socket, destination, buffer, start, len);
    }

    #[inline]
    fn release(&mut self, buffer: Buffer) {
        self.lay_down(&buffer);
        self.driver.release(buffer);
    }

    fn wait(&mut self, wait: Wait) {
        self.driver.wait(wait);
    }

    fn waker(&self) -> DriverWaker {
        self.driver.waker()
    }

    fn wake_fd(&self) -> Option<RawFd> {
        self.driver.wake_fd()
    }

    fn counters(&self) -> DriverCounters {
        self.driver.counters()
    }
}
