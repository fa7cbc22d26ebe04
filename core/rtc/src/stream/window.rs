//! Which of the latest indices have been seen.

/// Bits of a [`Window`].
const WORDS: usize = 16;

/// A bit for each of the latest 1024 indices.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    bits: [u64; WORDS],
    highest: Option<u64>,
}

impl Window {
    pub(super) const LEN: u64 = 64 * WORDS as u64;

    /// Marks `index`; false if it is marked already or too old to know.
    pub(super) fn insert(&mut self, index: u64) -> bool {
        match self.highest {
            Some(highest) if index <= highest => {
                if !self.covers(index) || self.contains(index) {
                    return false;
                }
            }
            Some(highest) if index - highest < Self::LEN => {
                (highest + 1..index).for_each(|between| self.set(between, false));
                self.highest = Some(index);
            }
            _ => {
                self.bits = [0; WORDS];
                self.highest = Some(index);
            }
        }
        self.set(index, true);
        true
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        let word = self.bits.get((index / 64) as usize % WORDS);
        self.covers(index) && word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn covers(&self, index: u64) -> bool {
        self.highest.is_some_and(|highest| index <= highest && highest - index < Self::LEN)
    }

    fn set(&mut self, index: u64, on: bool) {
        if let Some(word) = self.bits.get_mut((index / 64) as usize % WORDS) {
            *word = *word & !(1 << (index % 64)) | u64::from(on) << (index % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_says_yes_twice(steps in prop::collection::vec((0u64..1500, any::<bool>()), 1..400)) {
            let (mut window, mut seen, mut at) = (Window::default(), std::collections::HashSet::new(), 5000u64);
            for (step, forward) in steps {
                at = if forward { at + step } else { at.saturating_sub(step) };
                let highest = seen.iter().max().copied().unwrap_or(0);
                let expected = !seen.contains(&at) && (seen.is_empty() || at + Window::LEN > highest);
                prop_assert_eq!(window.insert(at), expected);
                if expected {
                    seen.insert(at);
                    prop_assert!(window.contains(at));
                }
            }
        }
    }
}
