//! The sockets of a driver: slots with generations, so that a completion for a socket that is gone
//! never reaches its successor.

use std::net::UdpSocket;

use super::SocketKey;

/// A socket in the table.
pub(super) struct Slot<X> {
    /// The socket; `None` when the slot is free.
    pub socket: Option<UdpSocket>,
    /// What the worker calls it.
    pub tag: u64,
    /// How often the slot was used.
    pub generation: u32,
    /// Removal was asked for.
    pub leaving: bool,
    /// What the driver keeps beside it.
    pub extra: X,
}

/// A bounded table of sockets.
pub(super) struct Table<X> {
    slots: Vec<Slot<X>>,
    free: Vec<u32>,
}

impl<X: Default> Table<X> {
    /// Room for `capacity` sockets, taken at once.
    pub(super) fn new(capacity: usize) -> Self {
        let slots = (0..capacity)
            .map(|_| Slot { socket: None, tag: 0, generation: 0, leaving: false, extra: X::default() })
            .collect();
        Self { slots, free: (0..capacity as u32).rev().collect() }
    }

    /// Takes a socket in, or gives it back when the table is full.
    pub(super) fn insert(&mut self, socket: UdpSocket, tag: u64) -> Result<u32, UdpSocket> {
        let Some(index) = self.free.pop() else { return Err(socket) };
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        (slot.socket, slot.tag, slot.leaving, slot.extra) = (Some(socket), tag, false, X::default());
        Ok(index)
    }

    /// Frees a slot and gives its socket back.
    pub(super) fn take(&mut self, index: u32) -> Option<(UdpSocket, u64)> {
        let slot = self.slots.get_mut(index as usize)?;
        let socket = slot.socket.take()?;
        self.free.push(index);
        Some((socket, slot.tag))
    }

    /// The key of a used slot.
    pub(super) fn key(&self, index: u32) -> SocketKey {
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        SocketKey(u64::from(generation) << 32 | u64::from(index))
    }

    /// The slot of a key, if its socket is still there.
    pub(super) fn find(&mut self, key: SocketKey) -> Option<(u32, &mut Slot<X>)> {
        let index = key.0 as u32;
        let slot = self.slots.get_mut(index as usize)?;
        (slot.generation == (key.0 >> 32) as u32 && slot.socket.is_some()).then_some((index, slot))
    }

    /// The slot at an index, if it holds a socket.
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Slot<X>> {
        self.slots.get_mut(index as usize).filter(|slot| slot.socket.is_some())
    }
}
