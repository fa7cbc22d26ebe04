//! Where a packet to an address goes: which interface, and whose MAC address.
//!
//! The kernel's routing decides. It is asked by netlink and its answer is kept, by source and destination
//! address, for [`VALID`]. Then one packet goes through the socket, so that the kernel uses its neighbour entry
//! and looks after it (ARP and neighbour discovery stay its business), and it is asked again. What it tells of
//! changed routes, links, addresses and neighbours takes effect at the next [`Neighbours::turn`]. Nothing is
//! ever learnt from received packets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bifrons_rtc::Time;
use bifrons_wire::frame::Link;

use super::netlink::{Attributes, Message, Netlink, Request, u16_at, u32_at};

/// How long an answer holds.
const VALID: Duration = Duration::from_secs(30);
/// How long "through the socket" holds: the neighbour may be found in the meantime.
const RETRY: Duration = Duration::from_secs(1);
/// From one turn that does something to the next.
const TURN: Duration = Duration::from_millis(1);
/// Questions to the kernel a turn; the answer to one takes some microseconds.
const LOOK_UPS_A_TURN: u32 = 16;
/// Datagrams of notifications that are read a turn.
const NOTIFICATIONS_A_TURN: usize = 64;
/// Destinations that are kept: sets of [`WAYS`].
const SETS: usize = 4_096;
const WAYS: usize = 4;
/// Routers that are kept. Destinations behind one more go through the socket.
const GATEWAYS_MAX: usize = 64;

/// States in which a neighbour's address may be used (NUD_VALID of the kernel).
const USABLE: u16 = libc::NUD_PERMANENT
    | libc::NUD_NOARP
    | libc::NUD_REACHABLE
    | libc::NUD_PROBE
    | libc::NUD_STALE
    | libc::NUD_DELAY;

// Of linux/rtnetlink.h, which libc does not have.
const RTA_VIA: u16 = 18;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const RTA_IP_PROTO: u16 = 27;
const RTAX_MTU: u16 = 2;
/// struct rtmsg, struct ndmsg, struct ifinfomsg.
const ROUTE_BYTES: usize = 12;
const NEIGHBOUR_BYTES: usize = 12;
const LINK_BYTES: usize = 16;

const GROUPS: [libc::c_uint; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_NEXTHOP,
];

/// An interface that packets may leave by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    /// Its number (if_nametoindex(3)).
    pub index: u32,
    /// Its address.
    pub mac: [u8; 6],
    /// Longest IP packet that it takes, bytes.
    pub mtu: u16,
}

/// How to reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop<'a> {
    /// Which of the devices.
    pub interface: u8,
    /// What the frame's Ethernet header says.
    pub link: &'a Link,
    /// Longest IP packet, bytes: the device's MTU, or the route's where it is known to be less. A longer one
    /// goes through the socket, where it is fragmented or refused.
    pub mtu: u16,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NeighbourCounters {
    /// Questions to the kernel.
    pub look_ups: u64,
    /// Packets that went through the socket because the turn's questions were asked.
    pub postponed: u64,
    /// Destinations that made room for others before their time.
    pub evicted: u64,
    /// Notifications after which all destinations were asked for again.
    pub invalidated: u64,
}

/// The cache, and the kernel's ear.
pub(super) struct Neighbours {
    ask: Netlink,
    watch: Netlink,
    cache: Cache,
    budget: u32,
    next_turn: Time,
}

impl Neighbours {
    /// Asks and listens in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no routing netlink, or refuses (descriptor limit).
    pub(super) fn new(devices: &[Device]) -> io::Result<Self> {
        Ok(Self {
            ask: Netlink::new(&[])?,
            watch: Netlink::new(&GROUPS)?,
            cache: Cache {
                devices: devices.into(),
                entries: vec![Entry::VACANT; SETS * WAYS].into_boxed_slice(),
                gateways: Vec::with_capacity(GATEWAYS_MAX),
                generation: 1,
                seed: RandomState::new().build_hasher().finish(),
                counters: NeighbourCounters::default(),
            },
            budget: LOOK_UPS_A_TURN,
            next_turn: Time::ZERO,
        })
    }

    /// How a packet from this address of ours to that address is sent; `None`: through the socket, this time.
    #[inline]
    pub(super) fn to(&mut self, source: IpAddr, destination: IpAddr, now: Time) -> Option<Hop<'_>> {
        let (from, to) = (bits(source), bits(destination));
        let first = self.cache.first(to);
        let found = self.cache.entries[first..first + WAYS]
            .iter()
            .position(|entry| entry.destination == to && entry.source == from)
            .map(|at| first + at);
        let at = match found {
            Some(at) if self.cache.is_fresh(at) && now < self.cache.entries[at].until => at,
            // The kernel shall see a packet from time to time.
            Some(at) if self.cache.is_fresh(at) && self.cache.entries[at].verdict != SOCKET => {
                self.cache.expire(at);
                return None;
            }
            _ => self.look_up(source, destination, found, now)?,
        };
        let Entry { verdict: interface, link, mtu, .. } = &self.cache.entries[at];
        (*interface != SOCKET).then_some(Hop { interface: *interface, link, mtu: *mtu })
    }

    /// To be called once a turn: hears what has changed, and allows new questions. Between two turns that
    /// do something is a millisecond or more.
    #[inline]
    pub(super) fn turn(&mut self, now: Time) {
        if now >= self.next_turn {
            self.next_turn = now + TURN;
            self.budget = LOOK_UPS_A_TURN;
            self.listen();
        }
    }

    pub(super) fn counters(&self) -> NeighbourCounters {
        self.cache.counters
    }

    #[cold]
    fn listen(&mut self) {
        for _ in 0..NOTIFICATIONS_A_TURN {
            match self.watch.told() {
                Ok(Some(messages)) => messages.for_each(|message| self.cache.told(message)),
                Ok(None) => return,
                // There was more than the socket holds; what, nobody knows.
                Err(_) => self.cache.invalidate(),
            }
        }
    }

    /// Asks the kernel and writes the answer down, over `found` where that is given. Gives its place, unless
    /// this packet shall go through the socket.
    #[cold]
    fn look_up(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        found: Option<usize>,
        now: Time,
    ) -> Option<usize> {
        if self.budget == 0 {
            self.cache.counters.postponed += 1;
            return None;
        }
        self.budget -= 1;
        self.cache.counters.look_ups += 1;
        let answer = self.resolve(source, destination);
        let to = bits(destination);
        let at = found.unwrap_or_else(|| self.cache.vacate(to, now));
        let device = answer.and_then(|answer| self.cache.devices.get(usize::from(answer.interface)));
        let entry = Entry { source: bits(source), destination: to, ..Entry::VACANT };
        let generation = self.cache.generation;
        self.cache.entries[at] = match (answer, device) {
            (Some(answer), Some(device)) => Entry {
                until: now + VALID,
                generation,
                link: Link { destination_mac: answer.mac, source_mac: device.mac },
                mtu: answer.mtu.unwrap_or(u16::MAX).min(device.mtu),
                verdict: answer.interface,
                ..entry
            },
            _ => Entry { until: now + RETRY, generation, ..entry },
        };
        // The kernel has not heard of a stale neighbour for long. This packet makes it ask, and should nobody
        // answer it tells.
        answer.is_some_and(|answer| !answer.stale).then_some(at)
    }

    fn resolve(&mut self, source: IpAddr, destination: IpAddr) -> Option<Answer> {
        if !is_plain(destination) || source.is_ipv4() != destination.is_ipv4() {
            return None;
        }
        let route = Route::ask(&mut self.ask, source, destination)?;
        let interface = self.cache.devices.iter().position(|device| device.index == route.device)?;
        let hop = route.gateway.unwrap_or(destination);
        let (state, mac) = ask_neighbour(&mut self.ask, route.device, hop)?;
        let answer =
            Answer { interface: interface as u8, mac, mtu: route.mtu, stale: state & libc::NUD_STALE != 0 };
        match route.gateway {
            Some(gateway) => self.cache.keep_gateway(gateway, route.device, mac).then_some(answer),
            None => Some(answer),
        }
    }
}

/// `verdict` of an entry that says "through the socket".
const SOCKET: u8 = u8::MAX;

/// One line of the cache.
#[derive(Clone, Copy, Debug)]
struct Entry {
    source: u128,
    destination: u128,
    until: Time,
    generation: u32,
    link: Link,
    mtu: u16,
    /// Which device, or [`SOCKET`].
    verdict: u8,
}

const _: () = assert!(size_of::<Entry>() == 64, "a cache line");

impl Entry {
    /// `::` is nobody's address.
    const VACANT: Entry = Entry {
        source: 0,
        destination: 0,
        until: Time::ZERO,
        generation: 0,
        link: Link { destination_mac: [0; 6], source_mac: [0; 6] },
        mtu: 0,
        verdict: SOCKET,
    };
}

/// A router in use.
struct Gateway {
    address: IpAddr,
    device: u32,
    mac: [u8; 6],
}

#[derive(Clone, Copy)]
struct Answer {
    interface: u8,
    mac: [u8; 6],
    mtu: Option<u16>,
    stale: bool,
}

struct Cache {
    devices: Box<[Device]>,
    entries: Box<[Entry]>,
    gateways: Vec<Gateway>,
    /// Entries of another one are void.
    generation: u32,
    /// So that nobody outside knows which addresses share a set.
    seed: u64,
    counters: NeighbourCounters,
}

impl Cache {
    /// The first of the places where an address may stand. The source is no part of it: a notification names
    /// the neighbour only.
    fn first(&self, destination: u128) -> usize {
        let key = destination as u64 ^ (destination >> 64) as u64 ^ self.seed;
        let hash = (key ^ key >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize % SETS * WAYS
    }

    fn is_fresh(&self, at: usize) -> bool {
        self.entries[at].generation == self.generation
    }

    /// It is asked for again at its next packet.
    fn expire(&mut self, at: usize) {
        self.entries[at].generation = self.generation.wrapping_sub(1);
    }

    /// All are asked for again.
    fn invalidate(&mut self) {
        self.counters.invalidated += 1;
        self.generation = self.generation.wrapping_add(1);
        self.gateways.clear();
    }

    /// A place for an address: a vacant or void one, else the one that ends first.
    fn vacate(&mut self, destination: u128, now: Time) -> usize {
        let first = self.first(destination);
        let until = |at: &usize| if self.is_fresh(*at) { self.entries[*at].until } else { Time::ZERO };
        let at = (first..first + WAYS).min_by_key(until).unwrap_or(first);
        self.counters.evicted += u64::from(until(&at) > now);
        at
    }

    /// Whether the router could be written down.
    fn keep_gateway(&mut self, address: IpAddr, device: u32, mac: [u8; 6]) -> bool {
        let known = self.gateways.iter_mut().find(|known| known.address == address && known.device == device);
        if let Some(known) = known {
            // Told of, but not read yet: those behind it are void when it is.
            return known.mac == mac;
        }
        let room = self.gateways.len() < GATEWAYS_MAX;
        if room {
            self.gateways.push(Gateway { address, device, mac });
        }
        room
    }

    fn told(&mut self, message: Message<'_>) {
        match message.kind {
            libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => {
                self.told_neighbour(message.body, message.kind == libc::RTM_NEWNEIGH);
            }
            libc::RTM_NEWLINK | libc::RTM_DELLINK => self.told_link(message.body),
            _ => self.invalidate(),
        }
    }

    fn told_neighbour(&mut self, body: &[u8], is_there: bool) {
        let Some(neighbour) = Neighbour::read(body) else { return };
        let mac = neighbour.mac.filter(|_| is_there && neighbour.state & USABLE != 0);
        let gateway = self
            .gateways
            .iter()
            .find(|gateway| gateway.address == neighbour.address && gateway.device == neighbour.device);
        if gateway.is_some_and(|gateway| Some(gateway.mac) != mac) {
            self.invalidate();
        }
        let to = bits(neighbour.address);
        let first = self.first(to);
        for at in first..first + WAYS {
            let entry = &self.entries[at];
            let known = (entry.verdict != SOCKET).then_some(entry.link.destination_mac);
            if entry.destination == to && self.is_fresh(at) && known != mac {
                self.expire(at);
            }
        }
    }

    fn told_link(&mut self, body: &[u8]) {
        let index = u32_at(body, 4);
        let Some(device) = self.devices.iter_mut().find(|device| Some(device.index) == index) else { return };
        for (kind, value) in Attributes::behind(body, LINK_BYTES) {
            match kind {
                libc::IFLA_ADDRESS => device.mac = *value.first_chunk().unwrap_or(&device.mac),
                libc::IFLA_MTU => device.mtu = u32_at(value, 0).map_or(device.mtu, saturating),
                _ => {}
            }
        }
        self.invalidate();
    }
}

/// What the kernel says about a destination.
struct Route {
    device: u32,
    gateway: Option<IpAddr>,
    mtu: Option<u16>,
}

impl Route {
    /// `None`: no route, or one that is not a plain way to another host.
    fn ask(netlink: &mut Netlink, source: IpAddr, destination: IpAddr) -> Option<Self> {
        let (family, bytes) = (family(destination), address_bytes(&destination));
        let prefix = bytes.0 as u8 * 8;
        let body = [family, prefix, prefix, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let request = Request::new(libc::RTM_GETROUTE, &body)
            .attribute(libc::RTA_DST, bytes.as_ref())
            .attribute(libc::RTA_SRC, address_bytes(&source).as_ref())
            .attribute(RTA_IP_PROTO, &[libc::IPPROTO_UDP as u8]);
        let answer = netlink.ask(&request, libc::RTM_NEWROUTE)?;
        if *answer.get(7)? != libc::RTN_UNICAST {
            return None;
        }
        let (mut device, mut gateway, mut mtu) = (None, None, None);
        for (kind, value) in Attributes::behind(answer, ROUTE_BYTES) {
            match kind {
                libc::RTA_OIF => device = u32_at(value, 0),
                libc::RTA_GATEWAY => gateway = Some(read_address(value)?),
                // struct rtvia: a router of the other family.
                RTA_VIA => gateway = Some(read_address(value.get(2..)?)?),
                libc::RTA_METRICS => {
                    let metric = Attributes::behind(value, 0).find(|(kind, _)| *kind == RTAX_MTU);
                    mtu = metric.and_then(|(_, value)| u32_at(value, 0)).map(saturating);
                }
                RTA_ENCAP | RTA_ENCAP_TYPE => return None,
                _ => {}
            }
        }
        Some(Self { device: device?, gateway, mtu })
    }
}

/// State and MAC address of a neighbour that may be used.
fn ask_neighbour(netlink: &mut Netlink, device: u32, address: IpAddr) -> Option<(u16, [u8; 6])> {
    let [a, b, c, d] = device.to_ne_bytes();
    let body = [family(address), 0, 0, 0, a, b, c, d, 0, 0, 0, 0];
    let request =
        Request::new(libc::RTM_GETNEIGH, &body).attribute(libc::NDA_DST, address_bytes(&address).as_ref());
    let neighbour = Neighbour::read(netlink.ask(&request, libc::RTM_NEWNEIGH)?)?;
    let mac = neighbour.mac.filter(|_| neighbour.state & USABLE != 0)?;
    Some((neighbour.state, mac))
}

struct Neighbour {
    address: IpAddr,
    device: u32,
    state: u16,
    /// `None`: not known, or not an Ethernet address that a host can have.
    mac: Option<[u8; 6]>,
}

impl Neighbour {
    fn read(body: &[u8]) -> Option<Self> {
        let (device, state) = (u32_at(body, 4)?, u16_at(body, 8)?);
        let (mut address, mut mac) = (None, None);
        for (kind, value) in Attributes::behind(body, NEIGHBOUR_BYTES) {
            match kind {
                libc::NDA_DST => address = read_address(value),
                libc::NDA_LLADDR => mac = <[u8; 6]>::try_from(value).ok(),
                _ => {}
            }
        }
        let mac = mac.filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6]);
        Some(Self { address: address?, device, state, mac })
    }
}

/// Whether an address may be another host's, and the same on all interfaces.
fn is_plain(address: IpAddr) -> bool {
    !address.is_multicast()
        && !address.is_unspecified()
        && !address.is_loopback()
        && match address {
            IpAddr::V4(v4) => !v4.is_broadcast(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local() && v6.to_ipv4_mapped().is_none(),
        }
}

fn saturating(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

/// Length and bytes of an address.
struct AddressBytes(usize, [u8; 16]);

impl AsRef<[u8]> for AddressBytes {
    fn as_ref(&self) -> &[u8] {
        &self.1[..self.0]
    }
}

fn address_bytes(address: &IpAddr) -> AddressBytes {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            AddressBytes(4, bytes)
        }
        IpAddr::V6(v6) => AddressBytes(16, v6.octets()),
    }
}

fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|four| IpAddr::from(*four)),
        16 => bytes.first_chunk::<16>().map(|sixteen| IpAddr::from(*sixteen)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
