//! Two hosts joined by a cable: network namespaces with a veth pair, for tests that are root.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Side 0 is the engine's, side 1 its peers'. Both go when it is dropped.
pub struct Cable {
    names: [String; 2],
}

/// The interface's name, on either side.
pub const INTERFACE: &str = "cable0";

impl Cable {
    /// A cable with so many queues, or, with a message, none: where one is not allowed to.
    pub fn new(queues: usize) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let cable = Self { names: ["a", "b"].map(|side| format!("bifrons-{process}-{number}{side}")) };
        for name in &cable.names {
            let made = Command::new("ip").args(["netns", "add", name]).output();
            match made {
                Ok(Output { status, .. }) if status.success() => {}
                Ok(Output { stderr, .. }) => {
                    println!("skipped: ip netns add: {}", String::from_utf8_lossy(&stderr).trim());
                    return None;
                }
                Err(error) => {
                    println!("skipped: ip: {error}");
                    return None;
                }
            }
        }
        let [a, b] = &cable.names;
        ip(&format!(
            "-n {a} link add {INTERFACE} numrxqueues {queues} numtxqueues {queues} type veth \
             peer name {INTERFACE} netns {b} numrxqueues {queues} numtxqueues {queues}"
        ));
        for side in 0..2 {
            let name = &cable.names[side];
            let (v4, v6) = (address(side, false), address(side, true));
            ip(&format!("-n {name} address add {v4}/24 dev {INTERFACE}"));
            ip(&format!("-n {name} address add {v6}/64 dev {INTERFACE} nodad"));
            ip(&format!("-n {name} link set lo up"));
            ip(&format!("-n {name} link set {INTERFACE} up"));
        }
        Some(cable)
    }

    /// The namespace's name.
    pub fn name(&self, side: usize) -> &str {
        &self.names[side]
    }

    /// Moves the calling thread there: sockets that it makes, and threads that it begins, are there.
    pub fn enter(&self, side: usize) {
        enter(self.name(side));
    }

    /// Does something there on a thread of its own.
    pub fn within<T: Send>(&self, side: usize, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter(side);
                work()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            // One that was never made is reported and harmless.
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

/// The address of a side.
pub fn address(side: usize, ipv6: bool) -> IpAddr {
    let last = side as u16 + 1;
    if ipv6 {
        Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, last).into()
    } else {
        Ipv4Addr::new(10, 9, 0, last as u8).into()
    }
}

/// Moves the calling thread to a namespace that `ip netns` knows.
pub fn enter(name: &str) {
    let namespace = File::open(format!("/run/netns/{name}")).unwrap();
    // SAFETY: the descriptor is open during the call; only this thread is moved.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Runs `ip`.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a line of shell in a namespace, with the namespace's own `/sys`.
pub fn run(name: &str, line: &str) {
    let output = Command::new("ip").args(["netns", "exec", name, "sh", "-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether an error of the xdp driver's start says that it may not, or that the kernel cannot.
pub fn is_not_granted(error: &str) -> bool {
    ["CAP_NET_ADMIN", "LimitMEMLOCK", "without AF_XDP"].iter().any(|what| error.contains(what))
}
