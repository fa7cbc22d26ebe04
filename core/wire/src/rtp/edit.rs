//! Header extensions added, replaced, renumbered and removed in place.

use core::fmt;
use core::ops::Range;

use super::{FIXED_HEADER_LEN, Header, ONE_BYTE_PROFILE, TWO_BYTE_PROFILE};
use crate::bytes::put;

/// Longest extension block [`edit_extensions`] writes, bytes without the four-byte head.
pub const EXTENSION_BLOCK_LEN_MAX: usize = 256;

/// Which header extensions of an incoming packet go on, and under which id.
///
/// Ids are negotiated a PeerConnection, so the same extension has different ids on the two legs of a route;
/// ids over 14 are not mapped and go only with [`ExtensionMap::KEEP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionMap {
    to: [u8; 15],
    others: bool,
}

impl ExtensionMap {
    /// Everything goes on under its own id.
    pub const KEEP: ExtensionMap =
        ExtensionMap { to: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], others: true };
    /// Nothing goes on.
    pub const DROP: ExtensionMap = ExtensionMap { to: [0; 15], others: false };

    /// Lets the extension `from` (1..=14) go on as `to` (1..=255), or no more with `to` 0.
    #[must_use]
    pub fn map(mut self, from: u8, to: u8) -> Self {
        if let Some(slot) = self.to.get_mut(usize::from(from)) {
            *slot = to;
        }
        self
    }

    /// The id that `from` gets; `None` if it does not go on.
    pub fn get(&self, from: u8) -> Option<u8> {
        match self.to.get(usize::from(from)) {
            Some(0) => None,
            Some(to) => Some(*to),
            None => self.others.then_some(from),
        }
    }
}

/// Rewrites the header extensions of the packet at `packet` in `buffer`, whose header is `header`, and gives its
/// new place.
///
/// The extensions of `set` come first, in order; those that `map` lets go on follow, except where `set` names
/// their new id too. (A reader may stop after some number of elements: ours must be among the first.) The block is one-byte where every element fits that form (RFC 8285
/// §4.2), else two-byte; without an element it disappears. An extension block of another profile than RFC
/// 8285's is removed. Payload and padding stay where they are: the header moves, down into the room
/// before it, or up. On an error nothing is changed.
#[inline]
pub fn edit_extensions(
    buffer: &mut [u8],
    packet: Range<usize>,
    header: &Header,
    map: &ExtensionMap,
    set: &[(u8, &[u8])],
) -> Result<Range<usize>, EditError> {
    let bytes =
        buffer.get(packet.clone()).filter(|bytes| header.len() <= bytes.len()).ok_or(EditError::Range)?;
    if header.extension_profile.is_none() && set.is_empty() {
        return Ok(packet);
    }
    let profile = header.extension_profile.unwrap_or(0);
    let old = super::Extensions::new(profile, bytes.get(header.extension_range()).unwrap_or(&[]));
    let kept = old.filter_map(|extension| {
        let id = map.get(extension.id)?;
        (!set.iter().any(|(new, _)| *new == id)).then_some((id, extension.value))
    });
    let elements = set.iter().copied().chain(kept);

    let mut block = [0u8; EXTENSION_BLOCK_LEN_MAX];
    let one_byte = elements.clone().all(|(id, value)| id <= 14 && (1..=16).contains(&value.len()));
    let mut len = 0;
    for (id, value) in elements {
        if id == 0 || (!one_byte && value.len() > 255) {
            return Err(EditError::Element);
        }
        let head: [u8; 2] =
            if one_byte { [0, id << 4 | (value.len() as u8 - 1)] } else { [id, value.len() as u8] };
        let head = if one_byte { &head[1..] } else { &head[..] };
        let end = len + head.len() + value.len();
        if end > EXTENSION_BLOCK_LEN_MAX {
            return Err(EditError::BlockTooLong);
        }
        put(&mut block, len, head);
        put(&mut block, len + head.len(), value);
        len = end;
    }
    let len = len.next_multiple_of(4);

    let before = FIXED_HEADER_LEN + 4 * usize::from(header.csrc_count);
    let new_header_len = if len == 0 { before } else { before + 4 + len };
    let payload = packet.start + header.len();
    let start = payload.checked_sub(new_header_len).ok_or(EditError::NoHeadroom)?;
    buffer.copy_within(packet.start..packet.start + before, start);
    if let Some(first) = buffer.get_mut(start) {
        *first = *first & !0x10 | if len == 0 { 0 } else { 0x10 };
    }
    if len > 0 {
        let profile = if one_byte { ONE_BYTE_PROFILE } else { TWO_BYTE_PROFILE };
        put(buffer, start + before, &profile.to_be_bytes());
        put(buffer, start + before + 2, &((len / 4) as u16).to_be_bytes());
        put(buffer, start + before + 4, block.get(..len).unwrap_or(&[]));
    }
    Ok(start..packet.end)
}

/// Why a header was not rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditError {
    /// The packet's range is not within the buffer, or shorter than its header.
    Range,
    /// The header does not fit into the room before the payload.
    NoHeadroom,
    /// An element has id 0 or is longer than 255 bytes.
    Element,
    /// All elements together are longer than [`EXTENSION_BLOCK_LEN_MAX`].
    BlockTooLong,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::Range => f.write_str("packet range outside its buffer"),
            EditError::NoHeadroom => f.write_str("no room before the packet for a longer header"),
            EditError::Element => f.write_str("header extension with id 0 or more than 255 bytes"),
            EditError::BlockTooLong => {
                write!(f, "header extensions longer than {EXTENSION_BLOCK_LEN_MAX} bytes")
            }
        }
    }
}

impl core::error::Error for EditError {}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::*;
    use proptest::prelude::*;

    const HEADROOM: usize = 96;

    fn edit(
        buffer: &mut [u8],
        at: Range<usize>,
        map: &ExtensionMap,
        set: &[(u8, &[u8])],
    ) -> Result<Range<usize>, EditError> {
        let header = Header::parse(&buffer[at.clone()]).unwrap();
        edit_extensions(buffer, at, &header, map, set)
    }

    fn buffer(packet: &[u8]) -> (Vec<u8>, Range<usize>) {
        let mut buffer = vec![0xee; HEADROOM];
        buffer.extend(packet);
        (buffer, HEADROOM..HEADROOM + packet.len())
    }

    fn plain() -> Vec<u8> {
        let mut p = vec![0x81, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7, 0, 0, 0, 9];
        p.extend(1..=160u8);
        p
    }

    fn extensions(buffer: &[u8], at: &Range<usize>) -> Vec<(u8, Vec<u8>)> {
        let packet = Packet::at(buffer, at.clone()).unwrap();
        packet.extensions().map(|e| (e.id, e.value.to_vec())).collect()
    }

    #[test]
    fn adds_replaces_and_removes_without_moving_the_payload() {
        let (mut b, at) = buffer(&plain());
        let added = edit(&mut b, at.clone(), &ExtensionMap::KEEP, &[(4, b"0"), (1, &[0x85])]);
        let added = added.unwrap();
        assert_eq!(added, at.start - 8..at.end);
        assert_eq!(extensions(&b, &added), [(4, b"0".to_vec()), (1, vec![0x85])]);
        let p = Packet::at(&b, added.clone()).unwrap();
        assert_eq!((p.header().ssrc, p.csrcs().next()), (7, Some(9)));
        assert_eq!(p.payload(), &plain()[16..]);

        let map = ExtensionMap::KEEP.map(4, 9);
        let again = edit(&mut b, added, &map, &[(1, &[0x11]), (3, &[1, 2, 3])]).unwrap();
        assert_eq!(extensions(&b, &again), [(1, vec![0x11]), (3, vec![1, 2, 3]), (9, b"0".to_vec())]);

        let bare = edit(&mut b, again, &ExtensionMap::DROP, &[]).unwrap();
        assert_eq!(bare, at);
        assert_eq!(&b[bare], &plain()[..]);
    }

    #[test]
    fn two_byte_only_where_needed() {
        let (mut b, at) = buffer(&plain());
        let long = [5u8; 17];
        let at = edit(&mut b, at, &ExtensionMap::KEEP, &[(1, &[1]), (2, &long)]).unwrap();
        let header = Header::parse(&b[at.clone()]).unwrap();
        assert_eq!(header.extension_profile, Some(TWO_BYTE_PROFILE));
        let at = edit(&mut b, at, &ExtensionMap::KEEP.map(2, 0), &[]).unwrap();
        assert_eq!(Header::parse(&b[at]).unwrap().extension_profile, Some(ONE_BYTE_PROFILE));
    }

    #[test]
    fn refusals_change_nothing() {
        let (mut b, at) = buffer(&plain());
        let before = b.clone();
        let long = [0u8; 300];
        let keep = &ExtensionMap::KEEP;
        assert_eq!(edit(&mut b, at.clone(), keep, &[(0, &[1])]), Err(EditError::Element));
        assert_eq!(edit(&mut b, at.clone(), keep, &[(1, &long)]), Err(EditError::Element));
        let two = [(1, &long[..200]), (2, &long[..100])];
        assert_eq!(edit(&mut b, at.clone(), keep, &two), Err(EditError::BlockTooLong));
        let one = [(1, &long[..100])];
        assert_eq!(edit(&mut b, at.clone(), keep, &one), Err(EditError::NoHeadroom));
        let header = Header::parse(&b[at.clone()]).unwrap();
        let mut at_range = |range| edit_extensions(&mut b, range, &header, keep, &one);
        assert_eq!(at_range(at.start..9999), Err(EditError::Range));
        assert_eq!(at_range(at.start..at.start + header.len() - 1), Err(EditError::Range));
        #[expect(clippy::reversed_empty_ranges, reason = "a hostile range")]
        let reversed = at_range(90..80);
        assert_eq!(reversed, Err(EditError::Range));
        assert_eq!(b, before);
    }

    proptest! {
        #[test]
        fn any_packet_keeps_its_payload(
            bytes in prop::collection::vec(any::<u8>(), 0..200), first in any::<u8>(),
            set in prop::collection::vec((0u8..20, prop::collection::vec(any::<u8>(), 0..20)), 0..5),
            room in 0usize..96,
        ) {
            let mut buffer = vec![0; room];
            buffer.push(0x80 | first & 0x3f);
            buffer.extend(&bytes);
            let at = room..buffer.len();
            let Ok(header) = Header::parse(&buffer[at.clone()]) else { return Ok(()) };
            let old = Packet::parse(buffer[at.clone()].to_vec());
            let set: Vec<(u8, &[u8])> = set.iter().map(|(id, value)| (*id, &value[..])).collect();
            if let Ok(new) = edit_extensions(&mut buffer, at, &header, &ExtensionMap::KEEP, &set) {
                let Ok(old) = old else { return Ok(()) };
                let new = Packet::at(&buffer, new).unwrap();
                prop_assert_eq!(old.payload(), new.payload());
                prop_assert_eq!(old.csrcs().collect::<Vec<_>>(), new.csrcs().collect::<Vec<_>>());
                for (id, _) in &set {
                    let last = set.iter().find(|(other, _)| other == id).unwrap();
                    prop_assert_eq!(new.extension(*id), Some(last.1));
                }
            }
        }
    }
}
