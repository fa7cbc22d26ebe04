/// A slot with the count of its uses, so that an id of something gone never means its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    slot: u32,
    generation: u32,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(super) Key);

        impl From<Key> for $name {
            fn from(key: Key) -> Self {
                Self(key)
            }
        }

        impl From<$name> for Key {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

ids! {
    /// An account of the user agent.
    AccountId;
    /// A call: one INVITE and the dialog that came of it. Never reused while the process lives.
    CallId;
    /// A REFER that we received and whose progress we report.
    ReferId;
}

/// A bounded table with generational keys.
#[derive(Debug, Clone)]
pub(super) struct Arena<K, T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    len_max: usize,
    key: std::marker::PhantomData<K>,
}

impl<K: From<Key> + Into<Key> + Copy, T> Arena<K, T> {
    pub fn new(len_max: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), len_max, key: std::marker::PhantomData }
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_full(&self) -> bool {
        self.len() >= self.len_max
    }

    /// Gives the value back if the table is full.
    pub fn insert(&mut self, value: T) -> Result<K, T> {
        if self.is_full() {
            return Err(value);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push((0, None));
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        match self.slots.get_mut(slot as usize) {
            Some(entry) => {
                entry.1 = Some(value);
                Ok(Key { slot, generation: entry.0 }.into())
            }
            None => Err(value),
        }
    }

    pub fn get(&self, id: K) -> Option<&T> {
        let key: Key = id.into();
        self.slots.get(key.slot as usize).filter(|(generation, _)| *generation == key.generation)?.1.as_ref()
    }

    pub fn get_mut(&mut self, id: K) -> Option<&mut T> {
        let key: Key = id.into();
        self.slots
            .get_mut(key.slot as usize)
            .filter(|(generation, _)| *generation == key.generation)?
            .1
            .as_mut()
    }

    pub fn remove(&mut self, id: K) -> Option<T> {
        let key: Key = id.into();
        let entry =
            self.slots.get_mut(key.slot as usize).filter(|(generation, _)| *generation == key.generation)?;
        let value = entry.1.take()?;
        entry.0 = entry.0.wrapping_add(1);
        self.free.push(key.slot);
        Some(value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, (generation, value))| {
            let key = Key { slot: u32::try_from(slot).ok()?, generation: *generation };
            Some((key.into(), value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_does_not_find_the_successor() {
        let mut arena: Arena<CallId, &str> = Arena::new(1);
        let first = arena.insert("a").expect("room");
        assert_eq!(arena.insert("b"), Err("b"));
        assert_eq!(arena.remove(first), Some("a"));
        let second = arena.insert("b").expect("room");
        assert_eq!((arena.get(first), arena.get(second), arena.len()), (None, Some(&"b"), 1));
        assert_eq!((arena.remove(first), arena.iter().count()), (None, 1));
    }
}
