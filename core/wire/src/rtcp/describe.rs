//! Source description, goodbye and application-defined packets (RFC 3550 §6.5 to §6.7).

use crate::bytes::{u8_at, u32_at};

/// SDES item type of the canonical name (RFC 3550 §6.5.1).
pub const SDES_CNAME: u8 = 1;

/// A source description: an iterator over its chunks.
#[derive(Debug, Clone)]
pub struct Sdes<'a> {
    rest: &'a [u8],
    left: u8,
}

impl<'a> Sdes<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Self {
        Sdes { rest: body, left: count }
    }

    /// Canonical name of `ssrc`.
    pub fn cname(&self, ssrc: u32) -> Option<&'a [u8]> {
        let chunk = self.clone().find(|chunk| chunk.ssrc == ssrc)?;
        chunk.items.into_iter().find(|(item_type, _)| *item_type == SDES_CNAME).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Sdes<'a> {
    type Item = SdesChunk<'a>;

    /// The next chunk; a chunk that the packet cuts off ends the walk.
    fn next(&mut self) -> Option<SdesChunk<'a>> {
        self.left = self.left.checked_sub(1)?;
        let items = self.rest.get(4..).filter(|items| !items.is_empty())?;
        let mut len = 0;
        while u8_at(items, len) != 0 {
            len += 2 + usize::from(u8_at(items, len + 1));
        }
        let chunk = SdesChunk { ssrc: u32_at(self.rest, 0), items: SdesItems(items.get(..len)?) };
        // At least one zero ends the items, up to the next 32-bit boundary.
        self.rest = items.get((len + 1).next_multiple_of(4)..).unwrap_or(&[]);
        Some(chunk)
    }
}

/// What a source says of itself.
#[derive(Debug, Clone)]
pub struct SdesChunk<'a> {
    /// Source.
    pub ssrc: u32,
    /// Its items.
    pub items: SdesItems<'a>,
}

/// Items of one chunk: type and value (UTF-8 by the standard, not checked).
#[derive(Debug, Clone)]
pub struct SdesItems<'a>(&'a [u8]);

impl<'a> Iterator for SdesItems<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let item_type = *self.0.first()?;
        let (item, rest) = self.0.split_at_checked(2 + usize::from(u8_at(self.0, 1)))?;
        self.0 = rest;
        Some((item_type, item.get(2..)?))
    }
}

/// A goodbye.
#[derive(Debug, Clone)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
    /// Why they leave, if said.
    pub reason: Option<&'a [u8]>,
}

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let (ssrcs, rest) = body.split_at_checked(4 * usize::from(count))?;
        let reason = rest.split_first().and_then(|(len, text)| text.get(..usize::from(*len)));
        Some(Bye { ssrcs, reason })
    }

    /// Sources that leave.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + 'a {
        self.ssrcs.chunks_exact(4).map(|bytes| u32_at(bytes, 0))
    }
}

/// An application-defined packet.
#[derive(Debug, Clone)]
pub struct App<'a> {
    /// Subtype, 0..=31.
    pub subtype: u8,
    /// Sender.
    pub ssrc: u32,
    /// Name, four ASCII characters.
    pub name: [u8; 4],
    /// Content.
    pub data: &'a [u8],
}

impl<'a> App<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let name = *body.get(4..)?.first_chunk()?;
        Some(App { subtype: count, ssrc: u32_at(body, 0), name, data: body.get(8..)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdes_chunks() {
        let body = [0, 0, 0, 1, 1, 2, b'a', b'b', 0, 0, 0, 0, 0, 0, 0, 2, 1, 1, b'c', 2, 1, b'd', 0, 0];
        let sdes = Sdes::parse(2, &body);
        assert_eq!(sdes.clone().count(), 2);
        assert_eq!((sdes.cname(1), sdes.cname(2), sdes.cname(3)), (Some(&b"ab"[..]), Some(&b"c"[..]), None));
    }

    #[test]
    fn hostile_sdes() {
        assert_eq!(Sdes::parse(31, &[0, 0, 0, 1, 1, 200, 1, 2]).count(), 0);
        assert_eq!(Sdes::parse(31, &[0, 0, 0, 1]).count(), 0);
        assert_eq!(Sdes::parse(31, &[0, 0]).count(), 0);
        assert_eq!(Sdes::parse(31, &[0, 0, 0, 1, 1, 1, b'x', 7]).count(), 0);
        assert_eq!(SdesItems(&[1, 9, 1]).count(), 0);
    }

    #[test]
    fn bye_reasons() {
        let bye = Bye::parse(1, &[0, 0, 0, 7, 3, b'b', b'y', b'e']).unwrap();
        assert_eq!((bye.ssrcs().collect::<Vec<_>>(), bye.reason), (vec![7], Some(&b"bye"[..])));
        assert_eq!(Bye::parse(1, &[0, 0, 0, 7, 9, b'b', b'y', b'e']).unwrap().reason, None);
        assert!(Bye::parse(2, &[0, 0, 0, 7]).is_none());
        assert!(App::parse(0, &[0, 0, 0, 7, b'a', b'b', b'c']).is_none());
    }
}
