//! The SSRCs of one context: few at once, more when there are more.
//!
//! A call has one to four SSRCs a direction, and the limit is sixteen times that. So a table has room for a few,
//! and a [`Room`] of more is added where it turns out to be too small. Whoever has the packets must not allocate:
//! it brings rooms that were made elsewhere, when a context asks for one ([`SrtpError::SsrcRoom`]). Nothing has
//! been read or changed by then, so the packet that asked is simply tried again.

use super::{RtcpWindow, RtpWindow, SrtpError};

/// SSRCs that have their place from the start: audio, video, its retransmissions, and one that only reports.
pub(super) const FEW: usize = 4;
/// SSRCs that a [`Room`] has places for.
pub(super) const ROOM_SSRCS: usize = 12;
/// Bytes of a cache line.
const LINE: usize = 64;

/// What a context knows of one SSRC. The first line has what most SRTP packets need: the highest index and seven
/// words in eight of the window.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    pub rtp: RtpWindow,
    pub rtcp: RtcpWindow,
}

const _: () = assert!(size_of::<Stream>() == 2 * LINE);

/// At most `N` SSRCs with their indices, and how much the key has been used. Entries never leave: a leg's SSRCs
/// are few, and forgetting an index would let it be used again.
///
/// The first line has all that is needed beside the stream itself.
#[repr(C)]
pub(super) struct Table<const N: usize> {
    ssrcs: [u32; FEW],
    len: u16,
    /// SSRCs that there is room for now.
    places: u16,
    /// SRTP packets under this key.
    pub rtp_packets: u64,
    /// SRTCP packets under this key.
    pub rtcp_packets: u64,
    more: Option<Room>,
    streams: [Stream; FEW],
}

const _: () = assert!(std::mem::offset_of!(Table<32>, streams) == LINE);
const _: () = assert!(size_of::<Table<32>>() == (1 + 2 * FEW) * LINE);

/// Places for more SSRCs than a context has from the start.
///
/// It is made where memory may be asked for, and given to
/// [`Inbound::add_room`](super::Inbound::add_room) or [`Outbound::add_room`](super::Outbound::add_room) where the
/// packets are, which take nothing but the pointer. It goes with its context.
pub struct Room(Box<Places>);

struct Places {
    ssrcs: [u32; ROOM_SSRCS],
    next: Option<Room>,
    streams: [Stream; ROOM_SSRCS],
}

impl Room {
    /// An empty one: 1.6 KiB.
    pub fn new() -> Self {
        Self(Box::new(Places {
            ssrcs: [0; ROOM_SSRCS],
            next: None,
            streams: [Stream::default(); ROOM_SSRCS],
        }))
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl<const N: usize> Table<N> {
    pub fn new() -> Self {
        Self {
            ssrcs: [0; FEW],
            len: 0,
            places: FEW as u16,
            rtp_packets: 0,
            rtcp_packets: 0,
            more: None,
            streams: [Stream::default(); FEW],
        }
    }

    /// Whether another SSRC has a place: [`SrtpError::SsrcRoom`] where a room would help,
    /// [`SrtpError::SsrcTableFull`] where nothing does.
    pub fn has_place(&self) -> Result<(), SrtpError> {
        if usize::from(self.len) >= N {
            return Err(SrtpError::SsrcTableFull);
        }
        if self.len >= self.places { Err(SrtpError::SsrcRoom) } else { Ok(()) }
    }

    #[inline]
    pub fn get_mut(&mut self, ssrc: u32) -> Option<&mut Stream> {
        let len = usize::from(self.len);
        match self.ssrcs.iter().take(len).position(|known| *known == ssrc) {
            Some(at) => self.streams.get_mut(at),
            None => get_mut(self.more.as_mut()?, ssrc, len.checked_sub(FEW)?),
        }
    }

    /// The memory of the first SSRC.
    #[inline]
    pub fn hot_lines(&self, mut line: impl FnMut(*const u8)) {
        line((&raw const self.ssrcs).cast());
        line((&raw const self.streams).cast());
    }

    /// Adds an SSRC that is not there.
    ///
    /// # Errors
    /// As [`has_place`](Self::has_place).
    pub fn insert(&mut self, ssrc: u32) -> Result<&mut Stream, SrtpError> {
        self.has_place()?;
        let mut at = usize::from(self.len);
        self.len += 1;
        let (mut ssrcs, mut streams) = (&mut self.ssrcs[..], &mut self.streams[..]);
        let mut next = self.more.as_mut();
        while at >= ssrcs.len() {
            at -= ssrcs.len();
            let Room(places) = next.ok_or(SrtpError::SsrcRoom)?;
            (ssrcs, streams) = (&mut places.ssrcs[..], &mut places.streams[..]);
            next = places.next.as_mut();
        }
        *ssrcs.get_mut(at).ok_or(SrtpError::SsrcRoom)? = ssrc;
        streams.get_mut(at).ok_or(SrtpError::SsrcRoom)
    }

    /// Takes a room, if it is of use.
    ///
    /// # Errors
    /// Gives it back where there are all the places that there may be.
    pub fn add_room(&mut self, room: Room) -> Result<(), Room> {
        if usize::from(self.places) >= N {
            return Err(room);
        }
        let mut end = &mut self.more;
        while let Some(Room(places)) = end {
            end = &mut places.next;
        }
        *end = Some(room);
        self.places += ROOM_SSRCS as u16;
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Stream)> {
        let rooms = std::iter::successors(self.more.as_ref(), |Room(places)| places.next.as_ref());
        let others = rooms.flat_map(|Room(places)| places.ssrcs.iter().zip(&places.streams));
        let all = self.ssrcs.iter().zip(&self.streams).chain(others);
        all.map(|(ssrc, stream)| (*ssrc, stream)).take(self.len.into())
    }
}

/// Looks through the rooms, which have `len` SSRCs.
#[inline(never)]
fn get_mut(mut room: &mut Room, ssrc: u32, mut len: usize) -> Option<&mut Stream> {
    loop {
        let Room(places) = room;
        if let Some(at) = places.ssrcs.iter().take(len).position(|known| *known == ssrc) {
            return places.streams.get_mut(at);
        }
        len = len.checked_sub(ROOM_SSRCS)?;
        room = places.next.as_mut()?;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// An SSRC that is looked for or added, or a room.
    #[derive(Clone, Debug)]
    enum Step {
        Use(u32),
        Room,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![6 => (0u32..40).prop_map(Step::Use), 1 => Just(Step::Room)]
    }

    /// As a map of the same size, but that it asks for rooms.
    fn like_a_map<const N: usize>(steps: &[Step]) -> Result<(), TestCaseError> {
        let (mut table, mut map) = (Table::<N>::new(), HashMap::new());
        let mut places = FEW;
        for (number, step) in steps.iter().enumerate() {
            let Step::Use(ssrc) = *step else {
                let useful = places < N;
                prop_assert_eq!(table.add_room(Room::new()).is_ok(), useful);
                places += if useful { ROOM_SSRCS } else { 0 };
                continue;
            };
            let expected = if map.len() >= N {
                Err(SrtpError::SsrcTableFull)
            } else if map.len() >= places {
                Err(SrtpError::SsrcRoom)
            } else {
                Ok(())
            };
            prop_assert_eq!(table.has_place(), expected);
            let stream = match table.get_mut(ssrc) {
                Some(stream) => stream,
                None => {
                    prop_assert!(!map.contains_key(&ssrc));
                    match table.insert(ssrc) {
                        Ok(stream) => {
                            prop_assert_eq!(*stream, Stream::default());
                            stream
                        }
                        Err(error) => {
                            prop_assert_eq!(Err(error), expected);
                            continue;
                        }
                    }
                }
            };
            let before = map.insert(ssrc, number as u64 + 1).unwrap_or_default();
            prop_assert_eq!(stream.rtp.highest, before);
            stream.rtp.highest = number as u64 + 1;
        }
        let found: HashMap<u32, u64> =
            table.iter().map(|(ssrc, stream)| (ssrc, stream.rtp.highest)).collect();
        prop_assert_eq!(table.iter().count(), map.len());
        prop_assert_eq!(found, map);
        Ok(())
    }

    proptest! {
        #[test]
        fn same_as_a_map(steps in proptest::collection::vec(step(), 0..200)) {
            like_a_map::<3>(&steps)?;
            like_a_map::<4>(&steps)?;
            like_a_map::<16>(&steps)?;
            like_a_map::<32>(&steps)?;
            like_a_map::<64>(&steps)?;
        }
    }

    #[test]
    fn an_empty_place_is_not_ssrc_0() {
        let mut table = Table::<32>::new();
        assert!(table.get_mut(0).is_none());
        (1..=FEW as u32).for_each(|ssrc| assert!(table.insert(ssrc).is_ok()));
        table.add_room(Room::new()).unwrap();
        assert!(table.get_mut(0).is_none());
        table.insert(9).unwrap();
        assert!(table.get_mut(0).is_none());
    }
}
