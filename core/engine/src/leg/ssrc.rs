//! Which m-line a received SSRC belongs to.

/// SSRCs that a leg tells apart; as many as an inbound SRTP context holds.
pub(crate) const SSRCS_MAX: usize = 32;
/// SSRCs that are found without another line of the cache: audio and video.
const FEW: usize = 2;

/// What a received SSRC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SsrcUse {
    pub mline: u8,
    /// The m-line's retransmissions (RFC 4588).
    pub rtx: bool,
}

/// The first SSRCs of a leg. They stand among what each packet needs, the others elsewhere.
#[derive(Debug, Default)]
pub(crate) struct FewSsrcs([Option<(u32, SsrcUse)>; FEW]);

/// The other SSRCs of a leg. All of their memory is taken when the leg is opened.
#[derive(Debug)]
pub(crate) struct MoreSsrcs(Vec<(u32, SsrcUse)>);

impl MoreSsrcs {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(SSRCS_MAX - FEW))
    }
}

impl FewSsrcs {
    /// What an SSRC is, if it is known.
    #[inline]
    pub(crate) fn get(&self, more: &MoreSsrcs, ssrc: u32) -> Option<SsrcUse> {
        let mut known = self.0.iter().flatten().chain(&more.0);
        known.find(|(known, _)| *known == ssrc).map(|(_, what)| *what)
    }

    /// Notes what an SSRC is. False: there are [`SSRCS_MAX`].
    pub(crate) fn set(&mut self, more: &mut MoreSsrcs, ssrc: u32, what: SsrcUse) -> bool {
        self.retain(more, |known, _| known != ssrc);
        if let Some(place) = self.0.iter_mut().find(|place| place.is_none()) {
            *place = Some((ssrc, what));
        } else if more.0.len() < SSRCS_MAX - FEW {
            more.0.push((ssrc, what));
        } else {
            return false;
        }
        true
    }

    /// Forgets all others.
    pub(crate) fn retain(&mut self, more: &mut MoreSsrcs, keep: impl Fn(u32, SsrcUse) -> bool) {
        for place in &mut self.0 {
            place.take_if(|(ssrc, what)| !keep(*ssrc, *what));
        }
        more.0.retain(|(ssrc, what)| keep(*ssrc, *what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(mline: u8) -> SsrcUse {
        SsrcUse { mline, rtx: false }
    }

    #[test]
    fn all_are_found_up_to_the_limit() {
        let (mut few, mut more) = (FewSsrcs::default(), MoreSsrcs::new());
        let max = SSRCS_MAX as u32;
        for ssrc in 0..max {
            assert!(few.set(&mut more, ssrc, video(ssrc as u8)));
        }
        assert!(!few.set(&mut more, max, video(0)));
        assert!((0..max).all(|ssrc| few.get(&more, ssrc) == Some(video(ssrc as u8))));
        assert_eq!(few.get(&more, max), None);
    }

    #[test]
    fn a_place_that_is_free_again_is_taken_and_the_newest_use_counts() {
        let (mut few, mut more) = (FewSsrcs::default(), MoreSsrcs::new());
        (0..3).for_each(|ssrc| assert!(few.set(&mut more, ssrc, video(ssrc as u8))));
        few.retain(&mut more, |ssrc, _| ssrc != 0);
        assert!(few.set(&mut more, 2, video(9)));
        assert_eq!([0, 1, 2].map(|ssrc| few.get(&more, ssrc)), [None, Some(video(1)), Some(video(9))]);
        assert!(more.0.is_empty());
    }
}
