//! The SSRCs of one context: a table of a fixed size, laid out for a short scan.

use super::{RtcpWindow, RtpWindow};

/// What a context knows of one SSRC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    pub rtp: RtpWindow,
    pub rtcp: RtcpWindow,
}

/// At most `N` SSRCs with their indices. Entries never leave: a leg's SSRCs are few, and
/// forgetting an index would let it be used again.
pub(super) struct Table<const N: usize> {
    ssrcs: [u32; N],
    len: usize,
    /// Where the last lookup ended: packets of one SSRC come in runs.
    last: usize,
    streams: [Stream; N],
}

impl<const N: usize> Table<N> {
    pub fn new() -> Self {
        Self { ssrcs: [0; N], len: 0, last: 0, streams: [Stream::default(); N] }
    }

    pub fn is_full(&self) -> bool {
        self.len == N
    }

    #[inline]
    pub fn get_mut(&mut self, ssrc: u32) -> Option<&mut Stream> {
        if self.ssrcs.get(self.last) != Some(&ssrc) || self.last >= self.len {
            self.last = self.ssrcs.iter().take(self.len).position(|s| *s == ssrc)?;
        }
        self.streams.get_mut(self.last)
    }

    /// The memory of the first SSRC.
    #[inline]
    pub fn hot_lines(&self, mut line: impl FnMut(*const u8)) {
        line((&raw const self.ssrcs).cast());
        line((&raw const self.last).cast());
        line((&raw const self.streams).cast());
    }

    /// Adds an SSRC that is not there; none when full.
    pub fn insert(&mut self, ssrc: u32) -> Option<&mut Stream> {
        let slot = self.len;
        *self.ssrcs.get_mut(slot)? = ssrc;
        self.len += 1;
        self.last = slot;
        self.streams.get_mut(slot)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Stream)> {
        self.ssrcs.iter().copied().zip(&self.streams).take(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_so_many_and_no_more() {
        let mut table = Table::<3>::new();
        assert!(table.get_mut(0).is_none(), "an empty slot is not SSRC 0");
        for ssrc in [7, 0, 9] {
            table.insert(ssrc).unwrap().rtp.highest = ssrc.into();
        }
        assert!(table.is_full() && table.insert(1).is_none());
        for ssrc in [0, 9, 9, 7] {
            assert_eq!(table.get_mut(ssrc).unwrap().rtp.highest, u64::from(ssrc));
        }
        assert!(table.get_mut(8).is_none());
        assert_eq!(table.iter().count(), 3);
    }
}
