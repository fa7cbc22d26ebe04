//! Taps: a copy of a stream's packets for a thread that is no worker (a recorder, a mixer, an analyser).
//!
//! A tap is a bounded ring of packets, decrypted, as they came: before gates and rewrites, without RTX
//! and without repetitions. The worker only copies into it; one that nobody empties loses packets and
//! counts them ([`crate::counter::Drop::TapFull`]), and never holds the call up.

use bifrons_rtc::Time;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::message::CROSS_BYTES;

/// Taps that a stream may have.
pub const TAPS_MAX: usize = 4;
/// Packets that a tap may hold: at 50 packets a second, half a minute.
pub const TAP_PACKETS_MAX: usize = 2_048;

/// One packet of a tapped stream.
pub struct TapPacket {
    /// When it came.
    pub at: Time,
    /// Sequence number extended to 64 bits: it does not wrap.
    pub index: u64,
    len: u16,
    bytes: [u8; CROSS_BYTES],
}

impl TapPacket {
    /// The RTP packet, header included.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The reading end of a tap; dropping it ends the tap.
pub struct TapReader(Consumer<TapPacket>);

impl TapReader {
    /// The next packet, if one is there.
    pub fn next_packet(&mut self) -> Option<TapPacket> {
        self.0.pop().ok()
    }

    /// The stream is gone (or had [`TAPS_MAX`] taps already): nothing more will come.
    pub fn is_closed(&self) -> bool {
        self.0.is_abandoned() && self.0.is_empty()
    }
}

/// The worker's end: a link of a stream's chain of taps, so that adding one allocates nothing there.
pub(crate) struct Tap {
    ring: Producer<TapPacket>,
    next: Option<Box<Tap>>,
}

/// What came of offering a packet to a chain of taps.
pub(crate) struct Offered {
    /// Taps that had no room.
    pub full: u64,
    /// A tap whose reader is gone.
    pub ended: Option<Box<Tap>>,
}

impl Tap {
    /// Both ends of a tap with room for `packets`.
    pub(crate) fn new(packets: usize) -> (Box<Self>, TapReader) {
        let (ring, reader) = RingBuffer::new(packets.clamp(1, TAP_PACKETS_MAX));
        (Box::new(Self { ring, next: None }), TapReader(reader))
    }

    /// Adds a tap to a chain; gives it back when the chain is full.
    pub(crate) fn add(chain: &mut Option<Box<Self>>, tap: Box<Self>) -> Result<(), Box<Self>> {
        let mut place = chain;
        for _ in 0..TAPS_MAX {
            match place {
                None => {
                    *place = Some(tap);
                    return Ok(());
                }
                Some(link) => place = &mut link.next,
            }
        }
        Err(tap)
    }

    /// Copies a packet into every tap of a chain; takes out one whose reader is gone.
    pub(crate) fn offer(chain: &mut Option<Box<Self>>, at: Time, index: u64, packet: &[u8]) -> Offered {
        let mut offered = Offered { full: 0, ended: None };
        let mut place = chain;
        while let Some(link) = place.as_mut() {
            if link.ring.is_abandoned() && offered.ended.is_none() {
                let next = link.next.take();
                offered.ended = std::mem::replace(place, next);
                continue;
            }
            let mut slot = TapPacket { at, index, len: packet.len() as u16, bytes: [0; CROSS_BYTES] };
            if let Some(room) = slot.bytes.get_mut(..packet.len()) {
                room.copy_from_slice(packet);
                offered.full += u64::from(link.ring.push(slot).is_err());
            }
            // The borrow checker does not see that `link` ends here when written as `&mut link.next`.
            match place {
                Some(link) => place = &mut link.next,
                None => break,
            }
        }
        offered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(chain: &mut Option<Box<Tap>>, index: u64) -> (u64, bool) {
        let offered = Tap::offer(chain, Time::from_millis(index), index, &[index as u8; 172]);
        (offered.full, offered.ended.is_some())
    }

    #[test]
    fn each_tap_has_its_own_room_and_its_own_end() {
        let mut chain = None;
        let (small, mut small_reader) = Tap::new(2);
        let (large, mut large_reader) = Tap::new(10);
        assert!(Tap::add(&mut chain, small).is_ok() && Tap::add(&mut chain, large).is_ok());
        assert_eq!([1, 2, 3].map(|n| offer(&mut chain, n).0), [0, 0, 1]);
        let first = small_reader.next_packet().unwrap();
        assert_eq!((first.index, first.at, first.bytes()), (1, Time::from_millis(1), &[1; 172][..]));
        drop(small_reader);
        assert_eq!(offer(&mut chain, 4), (0, true), "the one without a reader goes back");
        let seen: Vec<u64> =
            std::iter::from_fn(|| large_reader.next_packet()).map(|packet| packet.index).collect();
        assert_eq!(seen, [1, 2, 3, 4]);
        assert!(!large_reader.is_closed());
        drop(chain);
        assert!(large_reader.is_closed());
    }

    #[test]
    fn a_chain_has_an_end() {
        let mut chain = None;
        let mut readers = Vec::new();
        for n in 0..=TAPS_MAX {
            let (tap, reader) = Tap::new(1);
            assert_eq!(Tap::add(&mut chain, tap).is_ok(), n < TAPS_MAX);
            readers.push(reader);
        }
        assert!(readers[TAPS_MAX].is_closed(), "who is refused sees it");
        readers.clear();
        let ended = (0..TAPS_MAX as u64 + 1).filter(|n| offer(&mut chain, *n).1).count();
        assert_eq!((ended, chain.is_none()), (TAPS_MAX, true));
    }
}
