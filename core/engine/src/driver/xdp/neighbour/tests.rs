//! The cache against the kernel's own tables, in a network namespace of each test's own.

use std::process::Command;

use super::*;

const OURS: &str = "10.9.0.1";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// Runs a test on a thread of its own in a new network namespace with the interface `near`, 10.9.0.1/24 and
/// 2001:db8::1/64. Without the right to make one it says so.
fn in_namespace(test: impl FnOnce(Bench) + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // SAFETY: only this thread, which was just made, goes to the new namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let error = std::io::Error::last_os_error();
            println!("skipped: no network namespace can be made here: {error}");
            return;
        }
        if !ip("link add type veth") {
            println!("skipped: `ip` is not there, or the kernel has no veth");
            return;
        }
        // Without link-local addresses. The kernel tells of one a second or two after its link is up, when nobody
        // else turned out to have it; that would void the cache in the middle of a test.
        std::fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1").unwrap();
        for command in [
            "link add near address 02:00:00:00:00:01 type veth peer name far",
            "link set lo up",
            "link set near up",
            "link set far up",
            "addr add 10.9.0.1/24 dev near",
            "addr add 2001:db8::1/64 dev near nodad",
        ] {
            assert!(ip(command), "{command}");
        }
        // That a link is up, and an address nobody else's, the kernel tells later, under a lock that each change
        // takes: behind one that comes after, nothing is left to tell.
        let settled = |said: String| said.contains("state UP") && !said.contains("tentative");
        while !settled(ip_says("address show near")) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(ip("link set near up"));
        test(Bench::new());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) -> bool {
    // The child has the namespace of the thread that makes it.
    Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success())
}

fn ip_says(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

struct Bench {
    neighbours: Neighbours,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        let index = index("near");
        let device = Device { index, mac: MAC, mtu: 1_500 };
        Self { neighbours: Neighbours::new(&[device]).unwrap(), now: Time::from_millis(1) }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.neighbours.turn(self.now);
    }

    /// The MAC address that a packet is sent to; `None`: through the socket.
    fn to(&mut self, destination: &str) -> Option<[u8; 6]> {
        let source = if destination.contains(':') { "2001:db8::1" } else { OURS };
        let hop = self.neighbours.to(address(source), address(destination), self.now)?;
        assert_eq!((hop.interface, hop.link.source_mac), (0, MAC));
        Some(hop.link.destination_mac)
    }

    fn look_ups(&self) -> u64 {
        self.neighbours.counters().look_ups
    }
}

fn index(name: &str) -> u32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: the name ends with a zero and outlives the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

#[test]
fn a_neighbour_on_the_link() {
    in_namespace(|mut bench| {
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        assert!(ip("neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        bench.pass(1);
        for destination in ["10.9.0.2", "2001:db8::2"] {
            let before = bench.look_ups();
            assert_eq!(bench.to(destination), Some(PEER));
            assert_eq!(bench.to(destination), Some(PEER));
            assert_eq!(bench.look_ups(), before + 1, "asked once");
        }
        // Thirty seconds later the kernel gets one packet, then it is asked again.
        bench.pass(30_000);
        assert_eq!(bench.to("10.9.0.2"), None);
        assert_eq!(bench.look_ups(), 2);
        assert_eq!(bench.to("10.9.0.2"), Some(PEER));
        assert_eq!(bench.look_ups(), 3);
    });
}

#[test]
fn a_neighbour_that_is_not_known_yet() {
    in_namespace(|mut bench| {
        for _ in 0..100 {
            assert_eq!(bench.to("10.9.0.2"), None);
        }
        assert_eq!(bench.look_ups(), 1, "not asked for each packet");
        bench.pass(1_000);
        assert_eq!(bench.to("10.9.0.2"), None);
        assert_eq!(bench.look_ups(), 2);
        // Its appearance is told: there is nothing to wait for.
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud reachable"));
        bench.pass(1);
        assert_eq!(bench.to("10.9.0.2"), Some(PEER));
    });
}

#[test]
fn a_stale_neighbour_gets_its_first_packet_from_the_kernel() {
    in_namespace(|mut bench| {
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud stale"));
        bench.pass(1);
        assert_eq!(bench.to("10.9.0.2"), None);
        assert_eq!(bench.to("10.9.0.2"), Some(PEER));
        assert_eq!(bench.look_ups(), 1);
    });
}

#[test]
fn a_change_of_a_neighbour_is_heard() {
    in_namespace(|mut bench| {
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud reachable"));
        assert!(ip("neigh add 10.9.0.4 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        bench.pass(1);
        assert_eq!((bench.to("10.9.0.2"), bench.to("10.9.0.4")), (Some(PEER), Some(PEER)));
        assert!(ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:03 dev near nud reachable"));
        bench.pass(1);
        assert_eq!((bench.to("10.9.0.2"), bench.to("10.9.0.4")), (Some(OTHER), Some(PEER)));
        assert_eq!(bench.look_ups(), 3, "the other one was not asked for again");
        // A state that changes nothing is passed over.
        assert!(ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:03 dev near nud delay"));
        bench.pass(1);
        assert_eq!((bench.to("10.9.0.2"), bench.look_ups()), (Some(OTHER), 3));
        for gone in ["neigh replace 10.9.0.2 dev near nud failed", "neigh del 10.9.0.4 dev near"] {
            assert!(ip(gone));
        }
        bench.pass(1);
        assert_eq!((bench.to("10.9.0.2"), bench.to("10.9.0.4")), (None, None));
        assert_eq!(bench.neighbours.counters().invalidated, 0);
    });
}

#[test]
fn by_a_router() {
    in_namespace(|mut bench| {
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        assert!(ip("neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        assert_eq!(bench.to("192.0.2.7"), None, "no route");
        assert!(ip("route add default via 10.9.0.2"));
        assert!(ip("-6 route add default via 2001:db8::2"));
        // An IPv4 destination behind an IPv6 router (RFC 5549).
        assert!(ip("route add 203.0.113.0/24 via inet6 2001:db8::2 dev near"));
        bench.pass(1);
        for destination in ["192.0.2.7", "198.51.100.9", "203.0.113.1", "2001:db8:1::7"] {
            assert_eq!(bench.to(destination), Some(PEER), "{destination}");
        }
        assert!(ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:03 dev near nud permanent"));
        bench.pass(1);
        assert_eq!((bench.to("192.0.2.7"), bench.to("198.51.100.9")), (Some(OTHER), Some(OTHER)));
        assert!(ip("route del default via 10.9.0.2"));
        bench.pass(1);
        assert_eq!((bench.to("192.0.2.7"), bench.to("203.0.113.1")), (None, Some(PEER)));
        assert!(ip("link set near down"));
        bench.pass(1);
        assert_eq!((bench.to("203.0.113.1"), bench.to("2001:db8:1::7")), (None, None));
    });
}

#[test]
fn what_is_not_a_way_to_another_host_goes_through_the_socket() {
    in_namespace(|mut bench| {
        assert!(ip("link add other type veth peer name end"));
        for command in ["link set other up", "link set end up", "addr add 10.8.0.1/24 dev other"] {
            assert!(ip(command), "{command}");
        }
        assert!(ip("neigh add 10.8.0.2 lladdr 02:00:00:00:00:02 dev other nud permanent"));
        assert!(ip("route add unreachable 192.0.2.0/24"));
        assert!(ip("route add blackhole 2001:db8:2::/64"));
        for destination in [
            "10.8.0.2",
            OURS,
            "2001:db8::1",
            "127.0.0.1",
            "::1",
            "10.9.0.255",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "fe80::1",
            "0.0.0.0",
            "::",
            "192.0.2.1",
            "2001:db8:2::1",
            "::ffff:10.9.0.2",
        ] {
            bench.pass(1);
            assert_eq!(bench.to(destination), None, "{destination}");
        }
        // An address that is not ours has no way, and one of the other family none either.
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        bench.pass(1);
        for source in ["10.9.0.77", "2001:db8::1"] {
            assert!(bench.neighbours.to(address(source), address("10.9.0.2"), bench.now).is_none());
        }
        assert_eq!(bench.to("10.9.0.2"), Some(PEER));
    });
}

#[test]
fn routes_may_depend_on_the_source() {
    in_namespace(|mut bench| {
        assert!(ip("addr add 10.9.0.9/24 dev near"));
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        assert!(ip("neigh add 10.9.0.3 lladdr 02:00:00:00:00:03 dev near nud permanent"));
        assert!(ip("route add default via 10.9.0.2"));
        assert!(ip("route add default via 10.9.0.3 table 9"));
        assert!(ip("rule add from 10.9.0.9 table 9"));
        bench.pass(1);
        let (first, second, destination) = (address(OURS), address("10.9.0.9"), address("192.0.2.1"));
        for (source, mac) in [(first, PEER), (second, OTHER), (first, PEER)] {
            let hop = bench.neighbours.to(source, destination, bench.now).unwrap();
            assert_eq!(hop.link.destination_mac, mac);
        }
        assert_eq!(bench.look_ups(), 2);
        assert!(ip("rule del from 10.9.0.9 table 9"));
        bench.pass(1);
        let hop = bench.neighbours.to(second, destination, bench.now).unwrap();
        assert_eq!(hop.link.destination_mac, PEER);
    });
}

#[test]
fn the_mtu_is_the_devices_or_the_routes() {
    in_namespace(|mut bench| {
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        assert!(ip("route add 192.0.2.0/24 via 10.9.0.2 mtu 1280"));
        bench.pass(1);
        let mtu = |bench: &mut Bench, to| {
            bench.neighbours.to(address(OURS), address(to), bench.now).map(|hop| hop.mtu)
        };
        assert_eq!((mtu(&mut bench, "10.9.0.2"), mtu(&mut bench, "192.0.2.1")), (Some(1_500), Some(1_280)));
        assert!(ip("link set near mtu 1400"));
        bench.pass(1);
        assert_eq!(mtu(&mut bench, "10.9.0.2"), Some(1_400));
        assert!(ip("link set near address 02:00:00:00:00:09"));
        assert!(ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        bench.pass(1);
        let hop = bench.neighbours.to(address(OURS), address("10.9.0.2"), bench.now).unwrap();
        assert_eq!(hop.link.source_mac, [2, 0, 0, 0, 0, 9]);
    });
}

#[test]
fn questions_have_a_budget() {
    in_namespace(|mut bench| {
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        assert!(ip("route add default via 10.9.0.2"));
        bench.pass(1);
        let found =
            |bench: &mut Bench| (0..40).filter(|host| bench.to(&format!("192.0.2.{host}")).is_some()).count();
        assert_eq!(found(&mut bench), 16);
        assert_eq!(found(&mut bench), 16, "the same turn");
        assert_eq!(bench.neighbours.counters().postponed, 48);
        bench.neighbours.turn(bench.now);
        assert_eq!(found(&mut bench), 16, "and the same millisecond");
        bench.pass(1);
        assert_eq!(found(&mut bench), 32);
        bench.pass(1);
        assert_eq!(found(&mut bench), 40);
        assert_eq!(bench.look_ups(), 40);
    });
}

#[test]
fn a_full_table_takes_new_destinations() {
    in_namespace(|mut bench| {
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        assert!(ip("route add default via 10.9.0.2"));
        bench.pass(1);
        let hosts = || (0..20_000u32).map(|host| format!("172.16.{}.{}", host / 250, host % 250 + 1));
        for (number, host) in hosts().enumerate() {
            if number % 16 == 0 {
                // A turn that hears nothing: what the kernel still has to tell of the link would void some.
                bench.now += TURN;
                bench.neighbours.budget = LOOK_UPS_A_TURN;
            }
            assert_eq!(bench.to(&host), Some(PEER), "{host}");
        }
        let evicted = bench.neighbours.counters().evicted;
        let held = hosts()
            .filter(|host| {
                let to = bits(address(host));
                bench.neighbours.cache.entries.iter().any(|entry| entry.destination == to)
            })
            .count();
        assert!(evicted >= 20_000 - (SETS * WAYS) as u64, "{evicted}");
        assert_eq!(held as u64 + evicted, 20_000);
        // Void ones give way first and are not counted.
        bench.neighbours.cache.invalidate();
        bench.pass(1);
        assert_eq!(bench.to("192.0.2.1"), Some(PEER));
        assert_eq!(bench.neighbours.counters().evicted, evicted);
    });
}

#[test]
fn more_routers_than_are_kept() {
    in_namespace(|mut bench| {
        for host in 2..=70 {
            assert!(ip(&format!("neigh add 10.9.0.{host} lladdr 02:00:00:00:00:02 dev near nud permanent")));
            assert!(ip(&format!("route add 192.0.2.{host}/32 via 10.9.0.{host}")));
        }
        // All that was told is read before.
        (0..10).for_each(|_| bench.pass(1));
        let mut found = 0;
        for host in 2..=70 {
            bench.pass(1);
            found += usize::from(bench.to(&format!("192.0.2.{host}")).is_some());
        }
        assert_eq!(found, GATEWAYS_MAX);
    });
}

#[test]
fn notifications_that_were_lost_void_everything() {
    in_namespace(|mut bench| {
        assert!(ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent"));
        bench.pass(1);
        assert_eq!(bench.to("10.9.0.2"), Some(PEER));
        // Thousands of neighbours while nobody reads: more than a socket's buffer holds. The change is behind.
        let batch: String = (0..8_000u32)
            .map(|host| format!("172.16.{}.{}", host / 250, host % 250 + 1))
            .map(|host| format!("neigh add {host} lladdr 02:00:00:00:00:02 dev near nud permanent\n"))
            .collect();
        let file = std::env::temp_dir().join(format!("bifrons-neighbour-{}", std::process::id()));
        std::fs::write(&file, batch).unwrap();
        assert!(ip(&format!("-batch {}", file.display())));
        std::fs::remove_file(&file).unwrap();
        assert!(ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:03 dev near nud permanent"));
        (0..1_000).for_each(|_| bench.pass(1));
        assert_eq!(bench.neighbours.counters().invalidated, 1);
        assert_eq!(bench.to("10.9.0.2"), Some(OTHER));
    });
}
