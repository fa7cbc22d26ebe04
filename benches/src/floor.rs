//! What the kernel alone takes for a packet, here and now: the figure that all others stand on. It
//! differs by a factor of three between machines, and with what else runs on this one.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bifrons_engine::driver::mmsg::{Mmsg, MmsgConfig};
use bifrons_engine::driver::{Clock, Driver, HEADROOM, Wait, thread};

use crate::netns::{self, Netns};

/// About a G.711 packet with its SRTP tag. Each datagram of a batch is one byte longer than the one before, so
/// that the driver does not make one send of them.
const DATAGRAM_BYTES_MIN: usize = 150;
const BATCH: usize = 64;
const RECEIVE_BYTES: usize = 4 << 20;
const LENGTH: Duration = Duration::from_millis(500);

/// CPU time for sending one datagram and receiving one, microseconds: one thread on `core`, one hot
/// socket at each end, from the generator's to the server's, sendmmsg and recvmmsg in batches of 64, no look at the
/// bytes. What `kernel_threads` receive meanwhile is part of it.
///
/// # Errors
/// A socket or the driver is refused.
pub fn measure(
    from: IpAddr,
    to: IpAddr,
    to_netns: Option<&Netns>,
    kernel_threads: &[u32],
    core: usize,
) -> Result<f64, String> {
    let bind = |ip| -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
        // The kernel gives what its limit allows.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BYTES);
        socket.set_nonblocking(true).map(|()| socket)
    };
    let fail = |error: std::io::Error| format!("floor: {error}");
    let sender = bind(from).map_err(fail)?;
    let receiver = netns::within(to_netns, || bind(to))?.map_err(fail)?;
    let receive_files: Vec<_> = kernel_threads.iter().map(|tid| format!("/proc/{tid}/schedstat")).collect();
    let work = move || -> std::io::Result<f64> {
        thread::pin_to_core(core)?;
        // Where it is refused the figure is a little worse, not wrong.
        let _ = thread::schedule_fifo(1);
        let address = receiver.local_addr()?;
        let mut driver = Mmsg::new(MmsgConfig { sockets_max: 2 }, Clock::start())?;
        let full = |_| std::io::Error::other("the driver has no place for two sockets");
        let key = driver.add_socket(sender, 0).map_err(full)?;
        driver.add_socket(receiver, 1).map_err(full)?;
        let used = || -> std::io::Result<u64> {
            let mut sum = cpu_ns("/proc/thread-self/schedstat")?;
            for file in &receive_files {
                sum += cpu_ns(file)?;
            }
            Ok(sum)
        };
        let mut batch = Vec::with_capacity(BATCH);
        let (start, cpu) = (Instant::now(), used()?);
        while start.elapsed() < LENGTH {
            for more in 0..BATCH {
                let Some(buffer) = driver.allocate() else { break };
                driver.send(key, address, buffer, HEADROOM, DATAGRAM_BYTES_MIN + more);
            }
            driver.wait(Wait::Poll);
            driver.wait(Wait::Poll); // the first found the socket ready after it had sent
            while driver.receive(&mut batch) > 0 {
                batch.drain(..).for_each(|received| driver.release(received.buffer));
            }
        }
        let received = driver.counters().received.max(1);
        Ok((used()? - cpu) as f64 / 1e3 / received as f64)
    };
    let thread = std::thread::spawn(work);
    thread.join().map_err(|_| "the floor's thread panicked")?.map_err(fail)
}

/// CPU time of a thread so far, from its `schedstat`.
fn cpu_ns(file: &str) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(file)?;
    text.split(' ').next().and_then(|ns| ns.parse().ok()).ok_or_else(|| std::io::Error::other("schedstat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_cost_something() {
        let ip = "127.0.0.1".parse().unwrap();
        let us = measure(ip, ip, None, &[], 0).unwrap();
        assert!(us > 0.1 && us < LENGTH.as_micros() as f64, "{us}");
    }
}
