//! Header extensions, one- and two-byte form (RFC 8285 §4.2, §4.3).

use core::ops::Range;

use super::{ONE_BYTE_PROFILE, TWO_BYTE_PROFILE};

/// Elements one walk gives at most; a packet with more is walked no further. Sixteen negotiated extensions
/// are already many.
pub const EXTENSIONS_MAX: usize = 64;

/// One header extension element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Local identifier: 1..=14 in the one-byte form, 1..=255 in the two-byte form.
    pub id: u8,
    /// Its value: 1..=16 bytes in the one-byte form, 0..=255 in the two-byte form.
    pub value: &'a [u8],
    /// Where the value stands within the elements of the block.
    pub(super) range: Range<usize>,
}

/// Walk over the elements of an extension block. A malformed element ends the walk; what came before it
/// counts (RFC 8285 §4.1.2 leaves it to the receiver).
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    elements: &'a [u8],
    at: usize,
    left: usize,
    two_byte: bool,
}

impl<'a> Extensions<'a> {
    pub(super) fn new(profile: u16, elements: &'a [u8]) -> Self {
        let two_byte = profile & 0xfff0 == TWO_BYTE_PROFILE;
        let known = two_byte || profile == ONE_BYTE_PROFILE;
        Extensions { elements, at: 0, left: if known { EXTENSIONS_MAX } else { 0 }, two_byte }
    }

    fn element(&mut self) -> Option<(u8, Range<usize>)> {
        let first = *self.elements.get(self.at)?;
        if first == 0 {
            self.at += 1;
            return Some((0, 0..0));
        }
        let (id, len, start) = if self.two_byte {
            (first, usize::from(*self.elements.get(self.at + 1)?), self.at + 2)
        } else {
            (first >> 4, usize::from(first & 0x0f) + 1, self.at + 1)
        };
        // One-byte id 15 ends the block; id 0 with a length is not allowed there (RFC 8285 §4.2).
        if !self.two_byte && (id == 15 || id == 0) {
            return None;
        }
        self.at = start + len;
        (self.at <= self.elements.len()).then_some((id, start..self.at))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Extension<'a>> {
        while self.left > 0 {
            let Some((id, range)) = self.element() else { break };
            if id != 0 {
                self.left -= 1;
                let value = self.elements.get(range.clone())?;
                return Some(Extension { id, value, range });
            }
        }
        self.left = 0;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(profile: u16, elements: &[u8]) -> Vec<(u8, Vec<u8>)> {
        Extensions::new(profile, elements).map(|e| (e.id, e.value.to_vec())).collect()
    }

    #[test]
    fn one_byte_form() {
        // RFC 8285 §4.2: padding between elements, and id 15 ends the walk.
        assert_eq!(walk(0xbede, &[0x10, 1, 0, 0, 0x21, 2, 3, 0]), [(1, vec![1]), (2, vec![2, 3])]);
        assert_eq!(walk(0xbede, &[0x10, 1, 0xf0, 9, 0x10, 2, 0, 0]), [(1, vec![1])]);
        assert_eq!(walk(0xbede, &[0x10, 1, 0x03, 9, 0x10, 2, 0, 0]), [(1, vec![1])]);
    }

    #[test]
    fn two_byte_form() {
        assert_eq!(walk(0x1005, &[1, 0, 2, 2, 7, 8, 0, 0]), [(1, vec![]), (2, vec![7, 8])]);
        assert_eq!(walk(0x1000, &[15, 1, 5, 0]), [(15, vec![5])]);
    }

    #[test]
    fn hostile() {
        assert_eq!(walk(0xbede, &[0x1f, 1, 2, 3]), []);
        assert_eq!(walk(0x1000, &[1, 200, 1, 2]), []);
        assert_eq!(walk(0x1000, &[1]), []);
        assert_eq!(walk(0x0000, &[0x10, 1, 0, 0]), []);
        assert_eq!(walk(0x1000, &[1, 0].repeat(30_000)).len(), EXTENSIONS_MAX);
    }
}
