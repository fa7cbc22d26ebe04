//! Rooms for SSRCs that a worker has in store.
//!
//! An SRTP context has places for a few SSRCs, which is enough for nearly every call, and asks for a room when
//! there are more. A worker must not allocate, and a packet that waited for the control side would come late or be
//! lost. So each worker has some rooms in store and takes from those; the control side is asked for more once half
//! are gone. Nobody has to know beforehand how many SSRCs a leg will have: they may be learnt from packets, and
//! those of former negotiations stay. A room goes with its leg's keys, and the control side frees both.
//!
//! There is a limit to how many are asked for: contexts take no more than for their own limit of SSRCs.

use bifrons_rtc::srtp::Room;

/// Rooms in store: a hundred KiB, and more contexts than outgrow their places before the control side answers.
pub(crate) const ROOMS: usize = 64;
/// When there are fewer, more are asked for.
const LOW: usize = ROOMS / 2;

/// The store.
pub(crate) struct Rooms {
    store: Vec<Room>,
    /// More are on their way.
    asked: bool,
}

impl Rooms {
    pub(crate) fn new() -> Self {
        Self { store: Self::load(), asked: false }
    }

    /// As many as fit into a store.
    pub(crate) fn load() -> Vec<Room> {
        std::iter::repeat_with(Room::new).take(ROOMS).collect()
    }

    /// Gives a room to who takes it. Tells whether there was one, and it was taken.
    #[cold]
    pub(crate) fn give(&mut self, take: impl FnOnce(Room) -> Result<(), Room>) -> bool {
        match self.store.pop().map(take) {
            Some(Ok(())) => true,
            Some(Err(room)) => {
                self.store.push(room);
                false
            }
            None => false,
        }
    }

    /// Whether more should be asked for; says so once for each load that comes.
    pub(crate) fn ask(&mut self) -> bool {
        self.store.len() < LOW && !std::mem::replace(&mut self.asked, true)
    }

    /// Takes as many as fit. Gives back the rest and the memory that they came in.
    pub(crate) fn fill(&mut self, mut load: Vec<Room>) -> Vec<Room> {
        self.asked = false;
        while self.store.len() < ROOMS
            && let Some(room) = load.pop()
        {
            self.store.push(room);
        }
        load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_once_when_half_are_gone_and_takes_what_fits() {
        let mut rooms = Rooms::new();
        for left in (LOW..ROOMS).rev() {
            assert!(!rooms.ask(), "{left}");
            assert!(rooms.give(|_| Ok(())));
        }
        assert!(!rooms.give(Err), "a room that nobody needs goes back");
        assert!(!rooms.ask());
        assert!(rooms.give(|_| Ok(())));
        assert!(rooms.ask() && !rooms.ask());
        assert_eq!(rooms.fill(Rooms::load()).len(), LOW - 1);
        (0..ROOMS).for_each(|_| assert!(rooms.give(|_| Ok(()))));
        assert!(!rooms.give(|_| unreachable!("there is none")));
        assert!(rooms.ask());
        let capacity = rooms.store.capacity();
        assert!(rooms.fill(Rooms::load()).is_empty());
        assert_eq!(rooms.store.capacity(), capacity);
    }
}
