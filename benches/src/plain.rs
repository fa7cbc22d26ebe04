//! The shared sockets for plain RTP, and which calls are timed.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Where a run's ends are. Where a driver does not know when a packet arrived (`xdp`), one call in so many has its
/// ends on an address of its own, whose packets come through sockets and have the kernel's receive times.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Of all others.
    address: IpAddr,
    /// Of the timed calls.
    timed: IpAddr,
    /// One in so many is timed; 1: all are.
    every: u32,
    /// Addresses of the shared plain sockets: those of all others, then those of the timed.
    plain: Vec<SocketAddr>,
}

impl Ends {
    /// Whether a call is timed.
    pub fn is_timed(&self, call: u32) -> bool {
        call.is_multiple_of(self.every)
    }

    /// The local address of a call.
    pub fn address(&self, call: u32) -> IpAddr {
        if self.is_timed(call) { self.timed } else { self.address }
    }

    /// Number and address of the shared plain socket that is the `end`th of a call. The two ends of a plain call
    /// must not be one socket: they are told apart by it.
    pub fn plain(&self, call: u32, end: usize) -> (usize, SocketAddr) {
        let half = self.plain.len() / 2;
        let number = (call as usize / self.every as usize * 2 + end) % half
            + if self.is_timed(call) { half } else { 0 };
        (number, self.plain[number])
    }

    /// Numbers of the timed plain sockets.
    pub fn timed_plain(&self) -> std::ops::Range<usize> {
        self.plain.len() / 2..self.plain.len()
    }
}

/// Sockets for plain RTP.
pub struct PlainSockets {
    /// For RTP, on even ports.
    pub rtp: Vec<UdpSocket>,
    /// On the ports above. Nobody reads them; they are open so that nobody answers "unreachable".
    pub rtcp: Vec<UdpSocket>,
}

/// Binds `count` pairs of ports for plain RTP on each address. `every`: one call in so many is timed.
///
/// # Errors
/// No pair of ports is free.
pub fn bind(
    address: IpAddr,
    timed: IpAddr,
    every: u32,
    count: usize,
) -> Result<(Ends, PlainSockets), String> {
    let mut ends = Ends { address, timed, every: every.max(1), plain: Vec::new() };
    let mut sockets = PlainSockets { rtp: Vec::new(), rtcp: Vec::new() };
    for ip in [address, timed] {
        let mut left = count.max(2);
        for port in (50_000..60_000).step_by(2) {
            let bind = |port| UdpSocket::bind(SocketAddr::new(ip, port));
            if let (Ok(first), Ok(second)) = (bind(port), bind(port + 1)) {
                first.set_nonblocking(true).map_err(|error| error.to_string())?;
                // The kernel gives what its limit allows.
                let _ = socket2::SockRef::from(&first).set_recv_buffer_size(8 << 20);
                ends.plain.push(SocketAddr::new(ip, port));
                sockets.rtp.push(first);
                sockets.rtcp.push(second);
                left -= 1;
            }
            if left == 0 {
                break;
            }
        }
        if left > 0 {
            return Err(format!("no free pair of ports between 50000 and 59999 on {ip}"));
        }
    }
    Ok((ends, sockets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_in_so_many_has_its_ends_elsewhere() {
        let (address, timed) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
        let (ends, sockets) = bind(address, timed, 4, 2).unwrap();
        assert_eq!(sockets.rtp.len(), 4);
        for call in 0..8 {
            let [(first, at), (second, _)] = [0, 1].map(|end| ends.plain(call, end));
            assert_ne!(first, second);
            assert_eq!(sockets.rtp[first].local_addr().unwrap(), at);
            assert_eq!(ends.is_timed(call), call % 4 == 0);
            assert_eq!(at.ip(), ends.address(call));
            assert_eq!(ends.timed_plain().contains(&first), call % 4 == 0);
        }
    }
}
