//! Where a stream's packets go, compiled by the control side.

use bifrons_wire::rtp::ExtensionMap;

use crate::media::{Extension, Output, StreamConfig, StreamRef};

/// A payload type that an output does not take.
const NOT_TAKEN: u8 = 0xff;

/// The outputs of one source on one worker.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// Outputs on this worker.
    pub outputs: Vec<RouteOutput>,
    /// Other workers that have outputs: each gets a packet once.
    pub workers: Vec<u8>,
}

/// One output.
#[derive(Clone, Debug)]
pub(crate) struct RouteOutput {
    pub to: StreamRef,
    pub open: bool,
    payload_types: [u8; 128],
    /// Header extensions of the source that go on, and their ids there.
    pub extensions: ExtensionMap,
}

impl RouteOutput {
    /// Compiles an output. Payload types over 127 are left out.
    pub(crate) fn new(output: &Output, source: &StreamConfig, target: &StreamConfig) -> Self {
        let mut payload_types = [NOT_TAKEN; 128];
        for (from, to) in &output.payload_types {
            if let Some(place) = payload_types.get_mut(usize::from(*from)).filter(|_| *to < 128) {
                *place = *to;
            }
        }
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
        Self { to: output.to, open: output.open, payload_types, extensions }
    }

    /// The payload type on the output.
    pub(crate) fn payload_type(&self, from: u8) -> Option<u8> {
        self.payload_types.get(usize::from(from)).copied().filter(|to| *to != NOT_TAKEN)
    }
}
