//! What the kernel alone takes for a packet, here and now: the figure that all others stand on. It
//! differs by a factor of three between machines, and with what else runs on this one.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bifrons_engine::driver::mmsg::{Mmsg, MmsgConfig};
use bifrons_engine::driver::{Clock, Driver, HEADROOM, Wait, thread};

/// About a G.711 packet with its SRTP tag. Each datagram of a batch is one byte longer than the one before, so
/// that the driver does not make one send of them.
const DATAGRAM_BYTES_MIN: usize = 150;
const BATCH: usize = 64;
const LENGTH: Duration = Duration::from_millis(500);

/// CPU time for sending one datagram and receiving one, microseconds: one thread on `core`, one hot
/// socket that sends to itself, sendmmsg and recvmmsg in batches of 64, no look at the bytes.
///
/// # Errors
/// A socket or the driver is refused.
pub fn measure(ip: IpAddr, core: usize) -> Result<f64, String> {
    let work = move || -> std::io::Result<f64> {
        thread::pin_to_core(core)?;
        // Where it is refused the figure is a little worse, not wrong.
        let _ = thread::schedule_fifo(1);
        let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let mut driver = Mmsg::new(MmsgConfig { sockets_max: 1 }, Clock::start())?;
        let full = || std::io::Error::other("the driver has no place for one socket");
        let key = driver.add_socket(socket, 0).map_err(|_| full())?;
        let mut batch = Vec::with_capacity(BATCH);
        let (start, cpu) = (Instant::now(), cpu_ns()?);
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
        Ok((cpu_ns()? - cpu) as f64 / 1e3 / received as f64)
    };
    let thread = std::thread::spawn(work);
    let result = thread.join().map_err(|_| "the floor's thread panicked")?;
    result.map_err(|error| format!("floor: {error}"))
}

/// CPU time of the calling thread so far.
fn cpu_ns() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    text.split(' ').next().and_then(|ns| ns.parse().ok()).ok_or_else(|| std::io::Error::other("schedstat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_cost_something() {
        let us = measure("127.0.0.1".parse().unwrap(), 0).unwrap();
        assert!(us > 0.1 && us < LENGTH.as_micros() as f64, "{us}");
    }
}
