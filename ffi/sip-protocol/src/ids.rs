//! The numbers by which the two processes speak of the same thing.

use crate::ProtocolError;
use crate::codec::{Field, HeadId, Reader, Writer};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl HeadId for $name {
            fn to_head(&self) -> u64 {
                self.0
            }
            fn from_head(id: u64) -> Self {
                $name(id)
            }
        }

        impl Field for $name {
            fn put(&self, to: &mut Writer) {
                self.0.put(to);
            }
            fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
                u64::take(from).map($name)
            }
            #[cfg(test)]
            fn sample(rng: &mut crate::codec::TestRng) -> Self {
                $name(u64::sample(rng))
            }
        }
    )*};
}

ids! {
    /// A client transaction (we sent the request), or one fork of an INVITE. Numbered by control; never 0.
    ClientId;
    /// A server transaction (we received the request). Numbered by `bifrons-sip`, never twice in one
    /// generation.
    ServerId;
    /// A reliable provisional response (RFC 3262) that we sent. Numbered by control.
    ReliableId;
    /// A listener: one (ident, transport, address). Numbered by control.
    ListenId;
    /// A TCP or TLS connection. Numbered by `bifrons-sip`, never twice in one generation.
    FlowId;
}

/// One life of the SIP process: chosen by control, told in `Hello`, carried by every message after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Generation(pub u32);
