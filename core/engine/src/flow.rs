//! From a validated remote address to its leg.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use crate::driver::prefetch;

/// Address and local socket → slot of the leg. Open addressing with linear probing in a table that is
/// allocated once, at most half full; the hash is keyed, so that nobody can choose colliding addresses.
///
/// Only addresses that a leg has validated come in here (`ARCHITECTURE.md`, Addresses).
#[derive(Debug)]
pub(crate) struct FlowTable {
    entries: Vec<Option<Entry>>,
    used: usize,
    limit: usize,
    key: u64,
}

/// An address on a local socket; an IPv4 address and the IPv6 address that contains it are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    ip: u128,
    port: u16,
    local: u8,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    slot: u32,
}

impl FlowTable {
    /// Room for `limit` addresses.
    pub(crate) fn new(limit: usize) -> Self {
        let size = (limit.max(8) * 2).next_power_of_two();
        let key = RandomState::new().hash_one(size) | 1;
        Self { entries: vec![None; size], used: 0, limit, key }
    }

    /// How many addresses are in it.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// The leg that owns this address on this local socket.
    pub(crate) fn get(&self, local: u8, remote: SocketAddr) -> Option<u32> {
        let key = Key::new(local, remote);
        match self.entries.get(self.find(&key)) {
            Some(Some(entry)) => Some(entry.slot),
            _ => None,
        }
    }

    /// Asks the processor for the place of an address.
    pub(crate) fn ask(&self, local: u8, remote: SocketAddr) {
        if let Some(entry) = self.entries.get(self.home(&Key::new(local, remote))) {
            prefetch::all(entry);
        }
    }

    /// Gives an address to a leg. `Err` names the leg that has it, or `None` when the table is full.
    pub(crate) fn insert(&mut self, local: u8, remote: SocketAddr, slot: u32) -> Result<(), Option<u32>> {
        let key = Key::new(local, remote);
        let at = self.find(&key);
        match self.entries.get_mut(at) {
            Some(Some(entry)) if entry.slot == slot => Ok(()),
            Some(Some(entry)) => Err(Some(entry.slot)),
            Some(free) if self.used < self.limit => {
                *free = Some(Entry { key, slot });
                self.used += 1;
                Ok(())
            }
            _ => Err(None),
        }
    }

    /// Takes an address away, if this leg has it.
    pub(crate) fn remove(&mut self, local: u8, remote: SocketAddr, slot: u32) {
        let mask = self.entries.len() - 1;
        let mut hole = self.find(&Key::new(local, remote));
        match self.entries.get(hole) {
            Some(Some(entry)) if entry.slot == slot => {}
            _ => return,
        }
        self.used -= 1;
        // Moves later entries of the run back into the hole, so that no search ends too early.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(Some(entry)) = self.entries.get(at).copied() else { break };
            let home = self.home(&entry.key);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                if let Some(free) = self.entries.get_mut(hole) {
                    *free = Some(entry);
                }
                hole = at;
            }
        }
        if let Some(free) = self.entries.get_mut(hole) {
            *free = None;
        }
    }

    /// Gives an address to another, if `from` has it.
    pub(crate) fn replace(&mut self, local: u8, remote: SocketAddr, from: u32, to: u32) -> bool {
        let at = self.find(&Key::new(local, remote));
        match self.entries.get_mut(at) {
            Some(Some(entry)) if entry.slot == from => {
                entry.slot = to;
                true
            }
            _ => false,
        }
    }

    fn home(&self, key: &Key) -> usize {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            (product >> 64) as u64 ^ product as u64
        };
        let tail = u64::from(key.port) << 8 | u64::from(key.local);
        let first = fold((key.ip >> 64) as u64 ^ self.key, tail ^ 0x9e37_79b9_7f4a_7c15);
        let hash = fold(first ^ key.ip as u64, self.key ^ 0xe703_7ed1_a0b4_28db);
        hash as usize & (self.entries.len() - 1)
    }

    /// Where the key stands, or the free place where it would.
    fn find(&self, key: &Key) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = self.home(key);
        while let Some(Some(entry)) = self.entries.get(at) {
            if entry.key == *key {
                break;
            }
            at = (at + 1) & mask;
        }
        at
    }
}

impl Key {
    pub(crate) fn new(local: u8, remote: SocketAddr) -> Self {
        let ip = match remote.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        Self { ip, port: remote.port(), local }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_has_one_owner() {
        let mut table = FlowTable::new(2);
        let a = "127.0.0.1:1".parse().unwrap();
        let b = "[::1]:1".parse().unwrap();
        assert_eq!(table.insert(0, a, 7), Ok(()));
        assert_eq!(table.insert(0, a, 7), Ok(()));
        assert_eq!(table.insert(0, a, 8), Err(Some(7)));
        assert_eq!(table.insert(1, a, 8), Ok(()));
        assert_eq!(table.insert(0, b, 9), Err(None));
        table.remove(0, a, 8);
        assert!(!table.replace(0, a, 8, 9) && !table.replace(0, b, 8, 9));
        assert!(table.replace(0, a, 7, 9) && table.replace(0, a, 9, 7));
        assert_eq!(table.get(0, a), Some(7));
        table.remove(0, a, 7);
        assert_eq!((table.get(0, a), table.len()), (None, 1));
    }

    proptest! {
        #[test]
        fn like_a_map(ops in proptest::collection::vec((any::<bool>(), 1u16..60, 0u32..4), 0..400)) {
            let mut table = FlowTable::new(32);
            let mut model: HashMap<u16, u32> = HashMap::new();
            for (add, port, slot) in ops {
                let address = SocketAddr::from(([10, 0, 0, 1], port));
                if add {
                    let owner = model.get(&port).copied();
                    let expected = match owner {
                        Some(o) if o != slot => Err(Some(o)),
                        None if model.len() == 32 => Err(None),
                        _ => { model.insert(port, slot); Ok(()) }
                    };
                    prop_assert_eq!(table.insert(0, address, slot), expected);
                } else {
                    table.remove(0, address, slot);
                    if model.get(&port) == Some(&slot) { model.remove(&port); }
                }
                for port in 1..60 {
                    let address = SocketAddr::from(([10, 0, 0, 1], port));
                    prop_assert_eq!(table.get(0, address), model.get(&port).copied());
                }
            }
        }
    }
}
