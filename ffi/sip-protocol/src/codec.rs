//! Head, fields and the macro that turns a list of fields into an encoder and a decoder.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Generation;

/// Version of this protocol. The two programs come from one build, so there is only equal or refused.
pub const VERSION: u8 = 1;
/// Largest datagram between the processes, head included, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Largest SIP message that is carried, in bytes: what is left of a frame after the head and the other
/// fields. `bifrons-sip` answers larger requests itself (413 from UDP, 513 where Sofia sees the length).
pub const TEXT_BYTES_MAX: usize = 60 * 1024;
/// The head: version (1), type (1), reserved (2), generation (4), id (8).
pub(crate) const HEAD_BYTES: usize = 16;

/// Why bytes are no message, or a message fits no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The frame ends inside the named field.
    Short {
        /// Name of the field, or `head`.
        field: &'static str,
    },
    /// Bytes are left after the last field.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The other side speaks another version than [`VERSION`].
    Version {
        /// The version that it speaks.
        found: u8,
    },
    /// No message has this type number in this direction.
    UnknownType {
        /// The number.
        found: u8,
    },
    /// A field holds a value that it cannot have.
    Value {
        /// Name of the field's type.
        field: &'static str,
    },
    /// The message is larger than [`FRAME_BYTES_MAX`].
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::Short { field } => write!(f, "message ends inside {field}"),
            ProtocolError::Trailing { bytes } => write!(f, "{bytes} bytes after the last field"),
            ProtocolError::Version { found } => write!(f, "protocol version {found}, expected {VERSION}"),
            ProtocolError::UnknownType { found } => write!(f, "unknown message type {found}"),
            ProtocolError::Value { field } => write!(f, "value out of range in {field}"),
            ProtocolError::TooLarge { bytes } => {
                write!(f, "message of {bytes} bytes, {FRAME_BYTES_MAX} at most")
            }
        }
    }
}

impl std::error::Error for ProtocolError {}

/// An id that stands in the head rather than among the fields.
pub(crate) trait HeadId {
    fn to_head(&self) -> u64;
    fn from_head(id: u64) -> Self;
}

#[cfg(test)]
pub(crate) type TestRng = proptest::test_runner::TestRng;

/// A value with one place in a message.
pub(crate) trait Field: Sized {
    fn put(&self, to: &mut Writer);
    fn take(from: &mut Reader) -> Result<Self, ProtocolError>;
    #[cfg(test)]
    fn sample(rng: &mut TestRng) -> Self;
}

/// Appends one frame to a buffer.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn frame(out: &'a mut Vec<u8>, kind: u8, generation: Generation, id: u64) -> Self {
        let start = out.len();
        out.extend_from_slice(&[VERSION, kind, 0, 0]);
        out.extend_from_slice(&generation.0.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
        Writer { out, start }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Takes an oversized frame back, so that a caller's buffer never holds half a message.
    pub(crate) fn finish(self) -> Result<(), ProtocolError> {
        let bytes = self.out.len() - self.start;
        if bytes > FRAME_BYTES_MAX {
            self.out.truncate(self.start);
            return Err(ProtocolError::TooLarge { bytes });
        }
        Ok(())
    }
}

/// Reads one frame.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the head; returns type, generation and id.
    pub(crate) fn frame(frame: &'a [u8]) -> Result<(Self, u8, Generation, u64), ProtocolError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(ProtocolError::TooLarge { bytes: frame.len() });
        }
        let short = ProtocolError::Short { field: "head" };
        let (head, rest) = frame.split_first_chunk::<HEAD_BYTES>().ok_or(short)?;
        let [version, kind, _, _, g0, g1, g2, g3, id @ ..] = *head;
        if version != VERSION {
            return Err(ProtocolError::Version { found: version });
        }
        let generation = Generation(u32::from_le_bytes([g0, g1, g2, g3]));
        Ok((Reader { rest }, kind, generation, u64::from_le_bytes(id)))
    }

    pub(crate) fn bytes(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], ProtocolError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ProtocolError::Short { field })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ProtocolError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(ProtocolError::Short { field })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn finish(self) -> Result<(), ProtocolError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(ProtocolError::Trailing { bytes }),
        }
    }
}

macro_rules! integers {
    ($($int:ident)*) => {$(
        impl Field for $int {
            fn put(&self, to: &mut Writer) {
                to.bytes(&self.to_le_bytes());
            }
            fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
                from.array(stringify!($int)).map($int::from_le_bytes)
            }
            #[cfg(test)]
            fn sample(rng: &mut TestRng) -> Self {
                use proptest::prelude::Rng;
                rng.next_u64() as $int
            }
        }
    )*};
}
integers!(u8 u16 u32 u64);

impl Field for bool {
    fn put(&self, to: &mut Writer) {
        u8::from(*self).put(to);
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ProtocolError::Value { field: "bool" }),
        }
    }
    #[cfg(test)]
    fn sample(rng: &mut TestRng) -> Self {
        u8::sample(rng) & 1 == 1
    }
}

/// Byte strings have a 32-bit length in front.
impl Field for Vec<u8> {
    fn put(&self, to: &mut Writer) {
        (self.len() as u32).put(to);
        to.bytes(self);
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        let len = u32::take(from)? as usize;
        from.bytes(len, "byte string").map(<[u8]>::to_vec)
    }
    #[cfg(test)]
    fn sample(rng: &mut TestRng) -> Self {
        (0..u8::sample(rng) % 40).map(|_| u8::sample(rng)).collect()
    }
}

impl Field for String {
    fn put(&self, to: &mut Writer) {
        (self.len() as u32).put(to);
        to.bytes(self.as_bytes());
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        let len = u32::take(from)? as usize;
        let bytes = from.bytes(len, "string")?;
        let text = std::str::from_utf8(bytes).map_err(|_| ProtocolError::Value { field: "string" })?;
        Ok(text.to_owned())
    }
    #[cfg(test)]
    fn sample(rng: &mut TestRng) -> Self {
        String::from_utf8_lossy(&Vec::<u8>::sample(rng)).into_owned()
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, to: &mut Writer) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        if bool::take(from)? { T::take(from).map(Some) } else { Ok(None) }
    }
    #[cfg(test)]
    fn sample(rng: &mut TestRng) -> Self {
        bool::sample(rng).then(|| T::sample(rng))
    }
}

/// Lists have a 16-bit count in front. The count reserves no memory: every element takes bytes of the frame.
macro_rules! lists {
    ($($element:ty),*) => {$(
        impl $crate::codec::Field for Vec<$element> {
            fn put(&self, to: &mut $crate::codec::Writer) {
                let count = self.len().min(usize::from(u16::MAX));
                (count as u16).put(to);
                self.iter().take(count).for_each(|element| element.put(to));
            }
            fn take(from: &mut $crate::codec::Reader) -> Result<Self, $crate::ProtocolError> {
                let count = u16::take(from)?;
                (0..count).map(|_| <$element>::take(from)).collect()
            }
            #[cfg(test)]
            fn sample(rng: &mut $crate::codec::TestRng) -> Self {
                (0..u8::sample(rng) % 5).map(|_| <$element>::sample(rng)).collect()
            }
        }
    )*};
}
pub(crate) use lists;
lists!(String);

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, to: &mut Writer) {
        self.0.put(to);
        self.1.put(to);
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        Ok((A::take(from)?, B::take(from)?))
    }
    #[cfg(test)]
    fn sample(rng: &mut TestRng) -> Self {
        (A::sample(rng), B::sample(rng))
    }
}

impl Field for IpAddr {
    fn put(&self, to: &mut Writer) {
        match self {
            IpAddr::V4(v4) => {
                4u8.put(to);
                to.bytes(&v4.octets());
            }
            IpAddr::V6(v6) => {
                6u8.put(to);
                to.bytes(&v6.octets());
            }
        }
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        match u8::take(from)? {
            4 => Ok(Ipv4Addr::from(from.array::<4>("address")?).into()),
            6 => Ok(Ipv6Addr::from(from.array::<16>("address")?).into()),
            _ => Err(ProtocolError::Value { field: "address" }),
        }
    }
    #[cfg(test)]
    fn sample(rng: &mut TestRng) -> Self {
        if bool::sample(rng) {
            Ipv4Addr::from(u32::sample(rng)).into()
        } else {
            Ipv6Addr::from((u128::from(u64::sample(rng)) << 64) | u128::from(u64::sample(rng))).into()
        }
    }
}

/// Address and port; scope and flow label of IPv6 do not travel.
impl Field for SocketAddr {
    fn put(&self, to: &mut Writer) {
        self.ip().put(to);
        self.port().put(to);
    }
    fn take(from: &mut Reader) -> Result<Self, ProtocolError> {
        Ok(SocketAddr::new(IpAddr::take(from)?, u16::take(from)?))
    }
    #[cfg(test)]
    fn sample(rng: &mut TestRng) -> Self {
        SocketAddr::new(IpAddr::sample(rng), u16::sample(rng))
    }
}

/// A struct whose fields travel in the order written.
macro_rules! record {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$fdoc:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }

        impl $crate::codec::Field for $name {
            fn put(&self, to: &mut $crate::codec::Writer) {
                $($crate::codec::Field::put(&self.$field, to);)*
            }
            fn take(from: &mut $crate::codec::Reader) -> Result<Self, $crate::ProtocolError> {
                Ok($name { $($field: $crate::codec::Field::take(from)?,)* })
            }
            #[cfg(test)]
            fn sample(rng: &mut $crate::codec::TestRng) -> Self {
                $name { $($field: $crate::codec::Field::sample(rng),)* }
            }
        }
    };
}
pub(crate) use record;

/// An enum without fields that travels as one byte.
macro_rules! code {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant = $code,)* }

        impl $crate::codec::Field for $name {
            fn put(&self, to: &mut $crate::codec::Writer) {
                (*self as u8).put(to);
            }
            fn take(from: &mut $crate::codec::Reader) -> Result<Self, $crate::ProtocolError> {
                match u8::take(from)? {
                    $($code => Ok($name::$variant),)*
                    _ => Err($crate::ProtocolError::Value { field: stringify!($name) }),
                }
            }
            #[cfg(test)]
            fn sample(rng: &mut $crate::codec::TestRng) -> Self {
                let all = [$($name::$variant),*];
                all[usize::from(u8::sample(rng)) % all.len()]
            }
        }
    };
}
pub(crate) use code;

/// The messages of one direction: number, name, id of the head, fields.
macro_rules! messages {
    ($(#[$doc:meta])* pub enum $name:ident {
        $($(#[$vdoc:meta])* $kind:literal = $variant:ident
            $([$(#[$iddoc:meta])* $id:ident: $idty:ty])?
            { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* },)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$vdoc])* $variant {
                $($(#[$iddoc])* $id: $idty,)?
                $($(#[$fdoc])* $field: $ty,)*
            },)*
        }

        impl $name {
            /// The message's type number in the head.
            pub fn kind(&self) -> u8 {
                match self { $($name::$variant { .. } => $kind,)* }
            }

            /// The message's name, for logs.
            pub fn name(&self) -> &'static str {
                match self { $($name::$variant { .. } => stringify!($variant),)* }
            }

            /// Appends the message as one frame.
            ///
            /// # Errors
            /// [`ProtocolError::TooLarge`](crate::ProtocolError::TooLarge) if it fits no frame; `out` is then
            /// as it was.
            pub fn encode(
                &self,
                generation: $crate::Generation,
                out: &mut Vec<u8>,
            ) -> Result<(), $crate::ProtocolError> {
                match self {$(
                    $name::$variant { $($id,)? $($field,)* } => {
                        #[allow(unused_mut, unused_assignments)]
                        let mut head = 0;
                        $(head = $crate::codec::HeadId::to_head($id);)?
                        #[allow(unused_mut)]
                        let mut to = $crate::codec::Writer::frame(out, $kind, generation, head);
                        $($crate::codec::Field::put($field, &mut to);)*
                        to.finish()
                    }
                )*}
            }

            /// Reads one frame.
            ///
            /// # Errors
            /// Any [`ProtocolError`](crate::ProtocolError) if the bytes are not exactly one message.
            pub fn decode(frame: &[u8]) -> Result<($crate::Generation, Self), $crate::ProtocolError> {
                #[allow(unused_variables, unused_mut)]
                let (mut from, kind, generation, head) = $crate::codec::Reader::frame(frame)?;
                let message = match kind {
                    $($kind => $name::$variant {
                        $($id: $crate::codec::HeadId::from_head(head),)?
                        $($field: $crate::codec::Field::take(&mut from)?,)*
                    },)*
                    found => return Err($crate::ProtocolError::UnknownType { found }),
                };
                from.finish()?;
                Ok((generation, message))
            }

            #[cfg(test)]
            pub(crate) fn sample_all(rng: &mut $crate::codec::TestRng) -> Vec<Self> {
                vec![$($name::$variant {
                    $($id: {
                        let id: u64 = $crate::codec::Field::sample(rng);
                        $crate::codec::HeadId::from_head(id)
                    },)?
                    $($field: $crate::codec::Field::sample(rng),)*
                },)*]
            }
        }
    };
}
pub(crate) use messages;
