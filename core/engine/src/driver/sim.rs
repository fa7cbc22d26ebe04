//! A simulated network with virtual time: the same seed gives the same run.
//!
//! [`Network`] joins any number of hosts. A host is a worker (through [`SimDriver`]) or a simulated
//! client (through [`Network::send`] and [`Network::take`]). Nothing moves unless somebody calls
//! [`Network::advance`].

use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bifrons_rtc::Time;

use super::{
    BUFFER_BYTES, Buffer, DATAGRAM_BYTES_MAX, Driver, DriverCounters, DriverWaker, HEADROOM, Received,
    SocketKey, Wait,
};

/// Datagrams that a host may have waiting; more are lost, as in a full socket buffer.
const INBOX_MAX: usize = 4_096;
/// Datagrams whose memory is kept to be used again. As many on the way at one time cost no allocation,
/// so that a worker's allocations are its own and not those of the network below it.
const SPARE_MAX: usize = 1_024;
/// Copies that [`Network::watch`] keeps; later datagrams are not copied.
const WATCHED_MAX: usize = 65_536;

/// What a way through the network does to datagrams. Chances are in parts of 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Lost.
    pub loss_permille: u32,
    /// Delivered twice.
    pub duplicate_permille: u32,
    /// Held back for a further `jitter`, so that later ones overtake.
    pub reorder_permille: u32,
    /// Least time on the way.
    pub delay: Duration,
    /// Evenly spread on top of it.
    pub jitter: Duration,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            loss_permille: 0,
            duplicate_permille: 0,
            reorder_permille: 0,
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
        }
    }
}

/// A bound address of a simulated host.
#[derive(Debug, PartialEq, Eq)]
pub struct SimSocket(pub(crate) SocketAddr);

/// Handle of one simulated network; clones are the same network.
#[derive(Clone)]
pub struct Network(Rc<RefCell<State>>);

struct State {
    now: Time,
    random: u64,
    link: Link,
    links: HashMap<(IpAddr, IpAddr), Link>,
    on_the_way: BinaryHeap<Reverse<Datagram>>,
    number: u64,
    bound: HashMap<SocketAddr, usize>,
    hosts: Vec<VecDeque<Datagram>>,
    undelivered: u64,
    /// Memory of datagrams that have arrived.
    spare: Vec<Vec<u8>>,
    watched: Option<(IpAddr, Vec<Datagram>)>,
}

#[derive(Clone)]
struct Datagram {
    at: Time,
    number: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// By time of arrival, then by number, so that equal times keep their order.
impl Ord for Datagram {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Datagram {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Datagram {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Datagram {}

impl Network {
    /// A network at time `start`, all of whose ways are `link`.
    pub fn new(seed: u64, link: Link, start: Time) -> Self {
        Self(Rc::new(RefCell::new(State {
            now: start,
            random: seed ^ 0x9e37_79b9_7f4a_7c15,
            link,
            links: HashMap::new(),
            on_the_way: BinaryHeap::with_capacity(SPARE_MAX),
            number: 0,
            bound: HashMap::new(),
            hosts: Vec::new(),
            undelivered: 0,
            spare: (0..SPARE_MAX).map(|_| Vec::with_capacity(BUFFER_BYTES)).collect(),
            watched: None,
        })))
    }

    /// Sets the way from one address to another.
    pub fn set_link(&self, from: IpAddr, to: IpAddr, link: Link) {
        self.0.borrow_mut().links.insert((from, to), link);
    }

    /// Sets all ways that have no link of their own.
    pub fn set_default_link(&self, link: Link) {
        self.0.borrow_mut().link = link;
    }

    /// The virtual time.
    pub fn now(&self) -> Time {
        self.0.borrow().now
    }

    /// A new host.
    pub fn add_host(&self) -> usize {
        let mut state = self.0.borrow_mut();
        state.hosts.push(VecDeque::new());
        state.hosts.len() - 1
    }

    /// Gives an address to a host; `false` if it is taken.
    pub fn bind(&self, host: usize, address: SocketAddr) -> bool {
        let mut state = self.0.borrow_mut();
        if state.bound.contains_key(&address) {
            return false;
        }
        state.bound.insert(address, host);
        true
    }

    /// Takes an address away.
    pub fn unbind(&self, address: SocketAddr) {
        self.0.borrow_mut().bound.remove(&address);
    }

    /// Puts a datagram on its way.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.0.borrow_mut().send(from, to, bytes);
    }

    /// The next datagram that has arrived at a host: from, to, bytes.
    pub fn take(&self, host: usize) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut state = self.0.borrow_mut();
        let datagram = state.hosts.get_mut(host)?.pop_front()?;
        let taken = (datagram.from, datagram.to, datagram.bytes.clone());
        state.keep(datagram.bytes);
        Some(taken)
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Time> {
        self.0.borrow().on_the_way.peek().map(|Reverse(datagram)| datagram.at)
    }

    /// Moves time forward and delivers what has arrived by then.
    pub fn advance(&self, to: Time) {
        let mut state = self.0.borrow_mut();
        state.now = state.now.max(to);
        while state.on_the_way.peek().is_some_and(|Reverse(datagram)| datagram.at <= state.now) {
            let Some(Reverse(datagram)) = state.on_the_way.pop() else { return };
            if let Some((address, seen)) = &mut state.watched
                && *address == datagram.to.ip()
                && seen.len() < WATCHED_MAX
            {
                seen.push(datagram.clone());
            }
            let host = state.bound.get(&datagram.to).copied();
            match host.and_then(|host| state.hosts.get_mut(host)) {
                Some(inbox) if inbox.len() < INBOX_MAX => inbox.push_back(datagram),
                _ => {
                    state.undelivered += 1;
                    state.keep(datagram.bytes);
                }
            }
        }
    }

    /// Keeps a copy of what arrives at a host from now on, for [`Network::watched`]; up to 65,536 datagrams.
    pub fn watch(&self, address: IpAddr) {
        self.0.borrow_mut().watched = Some((address, Vec::new()));
    }

    /// What has arrived at the watched host since the last call: from, to, bytes.
    pub fn watched(&self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut state = self.0.borrow_mut();
        let seen = state.watched.as_mut().map(|(_, seen)| std::mem::take(seen)).unwrap_or_default();
        seen.into_iter().map(|datagram| (datagram.from, datagram.to, datagram.bytes)).collect()
    }

    /// Datagrams that arrived where nobody was bound, or at a full host.
    pub fn undelivered(&self) -> u64 {
        self.0.borrow().undelivered
    }
}

impl State {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let link = self.links.get(&(from.ip(), to.ip())).copied().unwrap_or(self.link);
        if self.chance(link.loss_permille) {
            return;
        }
        let copies = if self.chance(link.duplicate_permille) { 2 } else { 1 };
        for _ in 0..copies {
            let jitter_ns = link.jitter.as_nanos() as u64;
            let mut delay = link.delay + Duration::from_nanos(self.below(jitter_ns + 1));
            if self.chance(link.reorder_permille) {
                delay += link.jitter.max(Duration::from_millis(30));
            }
            self.number += 1;
            let mut memory = self.spare.pop().unwrap_or_default();
            memory.extend_from_slice(bytes);
            let datagram = Datagram { at: self.now + delay, number: self.number, from, to, bytes: memory };
            self.on_the_way.push(Reverse(datagram));
        }
    }

    /// Keeps the memory of a datagram for another one.
    fn keep(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1_000) < u64::from(permille)
    }

    /// SplitMix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

/// A worker's end of a [`Network`].
pub struct SimDriver {
    network: Network,
    host: usize,
    sockets: Vec<Option<(SocketAddr, u64, u32)>>,
    generation: u32,
    by_address: HashMap<SocketAddr, usize>,
    removed: VecDeque<(SimSocket, u64)>,
    memory: Vec<[u8; BUFFER_BYTES]>,
    free: BinaryHeap<Reverse<u32>>,
    lent: Vec<bool>,
    counters: DriverCounters,
}

impl SimDriver {
    /// A new host on the network with so many buffers.
    pub fn new(network: &Network, buffers: u32) -> Self {
        Self {
            network: network.clone(),
            host: network.add_host(),
            sockets: Vec::new(),
            generation: 0,
            by_address: HashMap::new(),
            removed: VecDeque::new(),
            memory: vec![[0; BUFFER_BYTES]; buffers as usize],
            free: (0..buffers).map(Reverse).collect(),
            lent: vec![false; buffers as usize],
            counters: DriverCounters::default(),
        }
    }

    /// Buffers that are out: none may be after a turn.
    pub fn lent(&self) -> usize {
        self.lent.iter().filter(|lent| **lent).count()
    }

    /// Copies a datagram into a buffer, of which there is one.
    fn take_in(&mut self, datagram: &Datagram) -> Option<Received> {
        let slot = *self.by_address.get(&datagram.to)?;
        let (_, tag, generation) = self.sockets[slot]?;
        let len = datagram.bytes.len();
        if len > DATAGRAM_BYTES_MAX {
            self.counters.truncated += 1;
            return None;
        }
        let buffer = self.lend()?;
        self.memory[buffer.0 as usize][HEADROOM..HEADROOM + len].copy_from_slice(&datagram.bytes);
        self.counters.received += 1;
        let socket = SocketKey(u64::from(generation) << 32 | slot as u64);
        Some(Received { buffer, start: HEADROOM, len, socket, tag, source: datagram.from })
    }

    fn lend(&mut self) -> Option<Buffer> {
        let Reverse(index) = self.free.pop()?;
        assert!(!std::mem::replace(&mut self.lent[index as usize], true), "buffer {index} lent twice");
        Some(Buffer(index))
    }

    fn give_back(&mut self, buffer: Buffer) {
        assert!(std::mem::replace(&mut self.lent[buffer.0 as usize], false), "{buffer:?} was not lent");
        // What is read after it was given back shows in tests.
        self.memory[buffer.0 as usize].fill(0xdd);
        self.free.push(Reverse(buffer.0));
    }
}

impl Driver for SimDriver {
    type Socket = SimSocket;

    fn now(&mut self) -> Time {
        self.network.now()
    }

    fn add_socket(&mut self, socket: SimSocket, tag: u64) -> Result<SocketKey, SimSocket> {
        self.network.unbind(socket.0);
        self.network.bind(self.host, socket.0);
        self.generation += 1;
        let entry = Some((socket.0, tag, self.generation));
        let slot = match self.sockets.iter().position(Option::is_none) {
            Some(slot) => {
                self.sockets[slot] = entry;
                slot
            }
            None => {
                self.sockets.push(entry);
                self.sockets.len() - 1
            }
        };
        self.by_address.insert(socket.0, slot);
        Ok(SocketKey(u64::from(self.generation) << 32 | slot as u64))
    }

    fn remove_socket(&mut self, socket: SocketKey) {
        let Some(entry) = self.sockets.get_mut(socket.0 as u32 as usize) else { return };
        if entry.is_some_and(|(_, _, generation)| u64::from(generation) == socket.0 >> 32)
            && let Some((address, tag, _)) = entry.take()
        {
            self.by_address.remove(&address);
            self.removed.push_back((SimSocket(address), tag));
        }
    }

    fn next_removed(&mut self) -> Option<(SimSocket, u64)> {
        self.removed.pop_front()
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> usize {
        let before = batch.len();
        while batch.len() < batch.capacity() {
            if self.free.is_empty() {
                self.counters.no_buffers += 1;
                break;
            }
            let datagram = self.network.0.borrow_mut().hosts[self.host].pop_front();
            let Some(datagram) = datagram else { break };
            batch.extend(self.take_in(&datagram));
            self.network.0.borrow_mut().keep(datagram.bytes);
        }
        batch.len() - before
    }

    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        &mut self.memory[buffer.0 as usize]
    }

    fn bytes_pair(&mut self, from: &Buffer, to: &Buffer) -> (&[u8], &mut [u8]) {
        let [from, to] = self
            .memory
            .get_disjoint_mut([from.0 as usize, to.0 as usize])
            .expect("two lent buffers are never the same one");
        (from, to)
    }

    fn allocate(&mut self) -> Option<Buffer> {
        let buffer = self.lend();
        self.counters.arena_empty += u64::from(buffer.is_none());
        buffer
    }

    fn send(&mut self, socket: SocketKey, destination: SocketAddr, buffer: Buffer, start: usize, len: usize) {
        match self.sockets.get(socket.0 as u32 as usize) {
            Some(Some((address, _, generation))) if u64::from(*generation) == socket.0 >> 32 => {
                let bytes = &self.memory[buffer.0 as usize][start..start + len];
                self.network.send(*address, destination, bytes);
                self.counters.sent += 1;
            }
            _ => self.counters.send_failed += 1,
        }
        self.give_back(buffer);
    }

    fn release(&mut self, buffer: Buffer) {
        self.give_back(buffer);
    }

    fn wait(&mut self, _: Wait) {}

    fn waker(&self) -> DriverWaker {
        DriverWaker::new(|| {})
    }

    fn wake_fd(&self) -> Option<std::os::fd::RawFd> {
        None
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64) -> Vec<(u64, u8)> {
        let link = Link {
            loss_permille: 100,
            duplicate_permille: 100,
            reorder_permille: 100,
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(20),
        };
        let network = Network::new(seed, link, Time::ZERO);
        let mut driver = SimDriver::new(&network, 8);
        let address = "10.0.0.1:5000".parse().unwrap();
        let _key = driver.add_socket(SimSocket(address), 42).unwrap();
        let mut seen = Vec::new();
        for i in 0..100u8 {
            network.send("10.0.0.2:1".parse().unwrap(), address, &[i]);
            network.advance(Time::from_millis(u64::from(i) * 5));
            let mut batch = Vec::with_capacity(4);
            driver.receive(&mut batch);
            for received in batch {
                assert_eq!((received.tag, received.start, received.len), (42, HEADROOM, 1));
                seen.push((network.now().as_millis(), driver.bytes(&received.buffer)[HEADROOM]));
                driver.release(received.buffer);
            }
        }
        assert_eq!(driver.lent(), 0);
        seen
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let first = run(1);
        assert_eq!(first, run(1));
        assert_ne!(first, run(2));
        assert!(first.len() > 60, "{}", first.len());
        assert!(!first.is_sorted_by_key(|(_, n)| *n), "nothing was reordered");
    }

    #[test]
    fn removed_sockets_come_back_and_stale_keys_do_nothing() {
        let network = Network::new(1, Link::default(), Time::ZERO);
        let mut driver = SimDriver::new(&network, 2);
        let address: SocketAddr = "10.0.0.1:5000".parse().unwrap();
        let key = driver.add_socket(SimSocket(address), 1).unwrap();
        driver.remove_socket(key);
        driver.remove_socket(key);
        assert_eq!(driver.next_removed(), Some((SimSocket(address), 1)));
        assert_eq!(driver.next_removed(), None);
        let buffer = driver.allocate().unwrap();
        driver.send(key, address, buffer, HEADROOM, 10);
        assert_eq!((driver.counters().sent, driver.counters().send_failed, driver.lent()), (0, 1, 0));
    }
}
