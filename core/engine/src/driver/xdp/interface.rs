//! A network interface with the XDP program on it: made once at the engine's start, shared by its workers.
//!
//! The program goes when the last descriptor of its link is closed, so when the process ends, however it
//! ends; then the sockets get everything.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU8, Ordering};

use super::bpf;
use super::neighbour::Device;
use super::program::{PORTS, Program, XDP_PASS};

/// Interfaces at most.
pub const INTERFACES_MAX: usize = 4;
/// Workers at most: the table of ports has a byte for each, and 0 is nobody.
pub const WORKERS_MAX: usize = 255;
/// The largest MTU whose frames, behind the 256 bytes that the kernel keeps free, leave room for an SRTP tag in
/// a buffer of 2,048 bytes.
pub const MTU_MAX: usize = 1_700;

const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    maxima: [u32; 4],
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// An interface whose packets come to the workers' rings.
pub struct Interface {
    name: String,
    index: u32,
    mac: [u8; 6],
    mtu: usize,
    /// Those of the engine's addresses that it has, in the order of their parts of the table.
    addresses: Vec<IpAddr>,
    ports: PortTable,
    sockets: OwnedFd,
    native: bool,
    link: OwnedFd,
}

impl Interface {
    /// Attaches the program. `addresses` are the engine's; those that the interface has are served.
    ///
    /// # Errors
    /// What is missing, in words: a right, a queue for each worker, an address, a driver that can.
    pub fn open(name: &str, addresses: &[IpAddr], workers: usize) -> Result<Self, String> {
        let fail =
            |what: &str, error: io::Error| Err(format!("xdp: {name}: {what}: {error}{}", hint(&error)));
        let Fit { index, mac, mtu, addresses, .. } = Fit::find(name, addresses, workers)?;
        let ports = match PortTable::new(addresses.len()) {
            Ok(ports) => ports,
            Err(error) => return fail("making the table of ports", error),
        };
        let sockets = match bpf::map(bpf::XSKMAP, 4, workers, 0) {
            Ok(map) => map,
            Err(error) => return fail("making the map of sockets", error),
        };
        let program = Program {
            mac,
            addresses: &addresses,
            ports: ports.fd(),
            sockets: sockets.as_raw_fd(),
            otherwise: XDP_PASS,
        };
        let program = bpf::load(&program.assemble()).map_err(|(error, log)| {
            format!("xdp: {name}: loading the program: {error}{}\n{log}", hint(&error))
        })?;
        let (link, native) = match bpf::attach(&program, index, bpf::NATIVE) {
            Ok(link) => (link, true),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                return fail("another XDP program is attached to it", error);
            }
            Err(_) => match bpf::attach(&program, index, bpf::GENERIC) {
                Ok(link) => (link, false),
                Err(error) => return fail("attaching the program", error),
            },
        };
        let name = name.to_owned();
        Ok(Self { name, index, mac, mtu, addresses, ports, sockets, native, link })
    }

    /// What [`Interface::open`] finds before it attaches anything, in a line.
    ///
    /// # Errors
    /// As there.
    pub fn check(name: &str, addresses: &[IpAddr], workers: usize) -> Result<String, String> {
        let Fit { mtu, queues, addresses, .. } = Fit::find(name, addresses, workers)?;
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        Ok(format!("{name} {}, MTU {mtu}, receive queues: {queues}", addresses.join(" ")))
    }

    /// One line for the start report.
    pub fn describe(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        let mode = if self.native { "native" } else { "generic (its driver has no XDP: slower)" };
        format!("xdp: {} {}, {mode}", self.name, addresses.join(" "))
    }

    /// Takes the program off. From then on everything comes through the sockets.
    ///
    /// # Errors
    /// The kernel is older than 5.9.
    pub fn detach(&self) -> io::Result<()> {
        bpf::detach(&self.link)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// For the question where packets go.
    pub(super) fn way_out(&self) -> Device {
        // At most `MTU_MAX`.
        Device { index: self.index, mac: self.mac, mtu: self.mtu as u16 }
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// From now on packets to this port come to the worker whose number is `worker`, if they come on its queue.
    pub(super) fn open_port(&self, address: usize, port: u16, worker: u8) {
        self.ports.set(address, port, worker.saturating_add(1));
    }

    /// From now on they come to the socket.
    pub(super) fn close_port(&self, address: usize, port: u16) {
        self.ports.set(address, port, 0);
    }

    /// Gives the packets of a queue to an AF_XDP socket that is bound to it.
    pub(super) fn join(&self, queue: u32, socket: RawFd) -> io::Result<()> {
        bpf::put_socket(&self.sockets, queue, socket)
    }
}

/// An interface that can serve.
struct Fit {
    index: u32,
    mac: [u8; 6],
    mtu: usize,
    queues: usize,
    /// Those of the engine's addresses that it has.
    addresses: Vec<IpAddr>,
}

impl Fit {
    fn find(name: &str, addresses: &[IpAddr], workers: usize) -> Result<Self, String> {
        let fail = |what: &str, error: io::Error| Err(format!("xdp: {name}: {what}: {error}"));
        if workers > WORKERS_MAX {
            return Err(format!("xdp: {workers} workers; it can serve {WORKERS_MAX}"));
        }
        let found = match Found::look(name) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(format!("xdp: there is no network interface \"{name}\"")),
            Err(error) => return fail("reading its addresses", error),
        };
        let Some(mac) = found.mac else {
            return Err(format!("xdp: {name} is no Ethernet interface"));
        };
        let (mtu, queues) = match ask(name) {
            Ok(asked) => asked,
            Err(error) => return fail("reading its MTU", error),
        };
        if mtu > MTU_MAX {
            return Err(format!(
                "xdp: {name} has an MTU of {mtu}; at most {MTU_MAX} is possible (ip link set {name} mtu 1500)"
            ));
        }
        if queues < workers {
            return Err(format!(
                "xdp: {name} has {queues} receive queues for {workers} workers; each needs one \
                 (ethtool -L {name} combined {workers}, or fewer workers)"
            ));
        }
        let is_here = |address: &&IpAddr| found.addresses.contains(address);
        let addresses: Vec<IpAddr> = addresses.iter().filter(is_here).copied().collect();
        if addresses.is_empty() {
            return Err(format!("xdp: {name} has none of the addresses that media are received on"));
        }
        Ok(Self { index: found.index, mac, mtu, queues, addresses })
    }
}

/// What is behind an error, where it is one of those that an operator can do something about.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            " (it needs CAP_NET_ADMIN, CAP_BPF and CAP_NET_RAW, and seccomp must allow bpf)"
        }
        Some(libc::ENOBUFS | libc::ENOMEM) => {
            " (locked memory: raise LimitMEMLOCK / ulimit -l, or grant CAP_IPC_LOCK)"
        }
        Some(libc::EAFNOSUPPORT) => " (this kernel was built without AF_XDP)",
        _ => "",
    }
}

/// A byte for each port of each address: the number of its worker + 1, or 0. The program reads it, user space
/// writes it without a system call.
pub(super) struct PortTable {
    map: OwnedFd,
    bytes: NonNull<AtomicU8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value; its bytes are atomic.
unsafe impl Send for PortTable {}
// SAFETY: as above.
unsafe impl Sync for PortTable {}

impl PortTable {
    pub(super) fn new(addresses: usize) -> io::Result<Self> {
        let len = addresses * PORTS;
        let map = bpf::map(bpf::ARRAY, len, 1, bpf::MMAPABLE)?;
        // SAFETY: a new mapping at an address of the kernel's choice takes nothing away from anybody.
        let bytes = unsafe {
            libc::mmap(
                null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(bytes.cast()) {
            Some(base) if bytes != libc::MAP_FAILED => Ok(Self { map, bytes: base, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.map.as_raw_fd()
    }

    pub(super) fn set(&self, address: usize, port: u16, value: u8) {
        let at = address * PORTS + usize::from(port);
        if at < self.len {
            // SAFETY: it lies within the mapping, which lives as long as `self`.
            unsafe { self.bytes.add(at).as_ref() }.store(value, Ordering::Release);
        }
    }
}

impl Drop for PortTable {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and was made with this length.
        unsafe { libc::munmap(self.bytes.as_ptr().cast(), self.len) };
    }
}

/// What the system says of an interface.
#[derive(Default)]
struct Found {
    index: u32,
    /// `None`: not Ethernet.
    mac: Option<[u8; 6]>,
    addresses: Vec<IpAddr>,
}

impl Found {
    fn look(name: &str) -> io::Result<Option<Self>> {
        let mut list: *mut libc::ifaddrs = null_mut();
        // SAFETY: the pointer outlives the call.
        if unsafe { libc::getifaddrs(&raw mut list) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut found: Option<Self> = None;
        let mut next = list;
        // SAFETY: entries of the list are valid until it is freed below; the last one's pointer is null.
        while let Some(entry) = unsafe { next.as_ref() } {
            next = entry.ifa_next;
            // SAFETY: each entry has a name that ends with a zero.
            if unsafe { CStr::from_ptr(entry.ifa_name) }.to_bytes() != name.as_bytes() {
                continue;
            }
            let found = found.get_or_insert_default();
            if entry.ifa_addr.is_null() {
                continue;
            }
            // SAFETY: an address begins with its family, which says which structure it is.
            unsafe {
                match i32::from((*entry.ifa_addr).sa_family) {
                    libc::AF_INET => {
                        let address = &*entry.ifa_addr.cast::<libc::sockaddr_in>();
                        found.addresses.push(IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()));
                    }
                    libc::AF_INET6 => {
                        let address = &*entry.ifa_addr.cast::<libc::sockaddr_in6>();
                        found.addresses.push(IpAddr::from(address.sin6_addr.s6_addr));
                    }
                    libc::AF_PACKET => {
                        let address = &*entry.ifa_addr.cast::<libc::sockaddr_ll>();
                        found.index = address.sll_ifindex.cast_unsigned();
                        let is_ethernet = address.sll_hatype == libc::ARPHRD_ETHER;
                        found.mac = address.sll_addr.first_chunk().copied().filter(|_| is_ethernet);
                    }
                    _ => {}
                }
            }
        }
        // SAFETY: the list came from getifaddrs and nothing refers to it any more.
        unsafe { libc::freeifaddrs(list) };
        Ok(found)
    }
}

/// MTU and number of receive queues of an interface.
fn ask(name: &str) -> io::Result<(usize, usize)> {
    let name = CString::new(name)?;
    // SAFETY: all-zero is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.as_bytes()) {
        *to = from.cast_signed();
    }
    // Any socket will do, and loopback need not be up.
    let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0)))?;
    // SAFETY: the request outlives the call and is what this one expects.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call wrote this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: request and channels outlive the call; the command stands in the first word of `channels`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    // A driver that does not know the question has one queue.
    let queues = if result < 0 { 1 } else { channels.receive + channels.combined };
    Ok((usize::try_from(mtu).unwrap_or(usize::MAX), queues as usize))
}
