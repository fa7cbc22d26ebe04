//! Where a stream's packets go, compiled by the control side.

use bifrons_wire::rtp::ExtensionMap;

use crate::driver::prefetch::LINE;
use crate::media::{Extension, Output, StreamConfig, StreamRef};

/// Payload types that stand in the output itself. Mostly an m-line has one or two codecs.
const FEW: usize = 11;

/// The outputs of one source on one worker.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// Outputs on this worker.
    pub outputs: Vec<RouteOutput>,
    /// Other workers that have outputs: each gets a packet once.
    pub workers: Vec<u8>,
}

/// One output, on one line of the cache.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct RouteOutput {
    pub to: StreamRef,
    pub open: bool,
    payload_types: PayloadTypes,
    /// Header extensions of the source that go on, and their ids there.
    pub extensions: ExtensionMap,
}

const _: () = assert!(size_of::<RouteOutput>() == LINE);

/// Pairs of payload types: the source's, the output's.
#[derive(Clone, Debug)]
enum PayloadTypes {
    Few(u8, [(u8, u8); FEW]),
    Many(Box<[(u8, u8)]>),
}

impl PayloadTypes {
    /// Those over 127 are left out.
    fn new(pairs: &[(u8, u8)]) -> Self {
        let mut few = [(0, 0); FEW];
        let valid: Vec<_> = pairs.iter().copied().filter(|(from, to)| *from < 128 && *to < 128).collect();
        match few.get_mut(..valid.len()) {
            Some(places) => {
                places.copy_from_slice(&valid);
                Self::Few(valid.len() as u8, few)
            }
            None => Self::Many(valid.into()),
        }
    }

    /// Of two pairs for one payload type the later counts.
    #[inline]
    fn get(&self, from: u8) -> Option<u8> {
        let pairs = match self {
            Self::Few(count, pairs) => pairs.get(..usize::from(*count)).unwrap_or_default(),
            Self::Many(pairs) => pairs,
        };
        pairs.iter().rfind(|(known, _)| *known == from).map(|(_, to)| *to)
    }
}

impl RouteOutput {
    /// Compiles an output. Payload types over 127 are left out.
    pub(crate) fn new(output: &Output, source: &StreamConfig, target: &StreamConfig) -> Self {
        let mut extensions = ExtensionMap::DROP;
        for (from, extension) in &source.extensions {
            // What belongs to the transport or the m-line is written anew for each output.
            let own = matches!(
                extension,
                Extension::Mid
                    | Extension::Rid
                    | Extension::RepairedRid
                    | Extension::TransportCc
                    | Extension::AbsSendTime
            );
            let same = target.extensions.iter().find(|(_, candidate)| candidate == extension);
            if let Some((to, _)) = same.filter(|_| !own) {
                extensions = extensions.map(*from, *to);
            }
        }
        Self {
            to: output.to,
            open: output.open,
            payload_types: PayloadTypes::new(&output.payload_types),
            extensions,
        }
    }

    /// The payload type on the output.
    pub(crate) fn payload_type(&self, from: u8) -> Option<u8> {
        self.payload_types.get(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_payload_type_is_found_however_many_there_are() {
        for count in [0, 1, FEW as u8, FEW as u8 + 1, 128] {
            let pairs: Vec<(u8, u8)> = (0..count).map(|from| (from, 127 - from)).collect();
            let types = PayloadTypes::new(&pairs);
            let found: Vec<_> = (0..=255).filter_map(|from| Some((from, types.get(from)?))).collect();
            assert_eq!(found, pairs);
        }
    }

    #[test]
    fn what_is_no_payload_type_is_left_out_and_the_later_counts() {
        let types = PayloadTypes::new(&[(96, 128), (128, 96), (97, 99), (97, 98)]);
        assert_eq!([96, 128, 97].map(|from| types.get(from)), [None, None, Some(98)]);
    }
}
