//! Packets that wait for the rest of their frame.
//!
//! A packet to many outputs costs each of them the state of its leg, which is in no cache by then, and a send
//! of its own. A video frame is several packets that come together. So where a stream has many outputs its
//! packets wait for the one with the marker bit, which ends a frame (RFC 6184 §5.1, RFC 7741 §4.1), and each
//! output is gone to once a frame: its state is loaded once, and its packets are one send (`UDP_SEGMENT`).
//!
//! A frame to a thousand outputs keeps a worker busy for ten milliseconds. So it goes to some outputs a turn, and
//! what came for other legs meanwhile is worked on between.

use std::time::Duration;

use bifrons_rtc::Time;

use super::receive::Placed;
use crate::driver::Buffer;
use crate::media::StreamRef;

/// Outputs on one worker from which on packets wait.
pub(super) const OUTPUTS_MIN: usize = 8;
/// Packets that wait at most: a longer frame goes in parts.
pub(super) const FRAME_PACKETS_MAX: usize = 16;
/// Streams whose packets wait at one time; those of others go at once. Together they keep a quarter of the
/// receive buffers.
const FRAMES_MAX: usize = 8;

/// Packets that go to outputs of a stream in one turn, about: half a millisecond's work.
pub(super) const SLICE_PACKETS: usize = 512;
/// Frames that have some of their outputs still before them. With so many nothing more is taken from the network, and
/// what comes all the same makes the oldest of them go to all its outputs at once.
const UNDER_WAY_MAX: usize = 4;

/// A decrypted packet in its buffer.
pub(super) struct Arrived {
    /// Taken by the last output, which sends it in place.
    pub buffer: Option<Buffer>,
    pub packet: Placed,
}

/// The frames that wait, those that are under way, and the packets that go now.
pub(super) struct Frames {
    /// Those in use come first.
    frames: [Frame; FRAMES_MAX],
    used: usize,
    wait: Duration,
    /// Those in use come first, the oldest before the others.
    under_way: [UnderWay; UNDER_WAY_MAX],
    begun: usize,
    /// Packets that did not wait because too many streams had some that do.
    pub crowded: u64,
    /// What is forwarded at the moment. A caught panic leaves here what is to be given back.
    pub going: Vec<Arrived>,
}

struct Frame {
    source: StreamRef,
    until: Time,
    packets: Vec<Arrived>,
}

/// A frame that outputs from `next` on have not got.
struct UnderWay {
    source: StreamRef,
    next: usize,
    packets: Vec<Arrived>,
}

impl Frames {
    /// Packets wait for at most `wait_us`; 0: not at all.
    pub(super) fn new(wait_us: u32) -> Self {
        let source = StreamRef { leg: crate::id::LegId::new(0, 0, 0), mline: 0 };
        let packets = || Vec::with_capacity(FRAME_PACKETS_MAX);
        let frame = |_| Frame { source, until: Time::ZERO, packets: packets() };
        let under_way = |_| UnderWay { source, next: 0, packets: packets() };
        Self {
            frames: std::array::from_fn(frame),
            used: 0,
            under_way: std::array::from_fn(under_way),
            begun: 0,
            crowded: 0,
            wait: Duration::from_micros(wait_us.into()),
            going: packets(),
        }
    }

    /// Packets that wait or are under way.
    pub(super) fn len(&self) -> usize {
        let waiting = self.waiting().iter().map(|frame| frame.packets.len());
        waiting.chain(self.under_way.iter().map(|frame| frame.packets.len())).sum()
    }

    /// There is room for another frame under way.
    pub(super) fn has_room(&self) -> bool {
        self.begun < UNDER_WAY_MAX
    }

    /// A frame is under way.
    pub(super) fn any_under_way(&self) -> bool {
        self.begun > 0
    }

    /// A frame of this stream is under way: its next ones have to go behind it.
    #[inline]
    pub(super) fn is_under_way(&self, source: StreamRef) -> bool {
        self.under_way.iter().take(self.begun).any(|frame| frame.source == source)
    }

    /// What is in `going` goes on in a later turn, to the outputs from `next` on, behind the others that are under
    /// way. Where there is no room the oldest of them gives way: then it is in `going`, with its next output.
    pub(super) fn go_on_later(&mut self, source: StreamRef, next: usize) -> Option<(StreamRef, usize)> {
        let oldest = if self.has_room() { None } else { self.under_way.first() };
        let oldest = oldest.map(|frame| (frame.source, frame.next));
        if oldest.is_some() {
            self.under_way.rotate_left(1);
            self.begun -= 1;
        }
        if let Some(frame) = self.under_way.get_mut(self.begun) {
            (frame.source, frame.next) = (source, next);
            std::mem::swap(&mut frame.packets, &mut self.going);
            self.begun += 1;
        }
        oldest
    }

    /// The frame that is longest under way, and its next output; it is in `going`.
    pub(super) fn go_on(&mut self) -> Option<(StreamRef, usize)> {
        debug_assert!(self.going.is_empty());
        let frame = self.under_way.get_mut(..self.begun)?.first_mut()?;
        std::mem::swap(&mut frame.packets, &mut self.going);
        let found = (frame.source, frame.next);
        self.under_way.get_mut(..self.begun)?.rotate_left(1);
        self.begun -= 1;
        Some(found)
    }

    /// What [`Frames::go_on`] gave goes on in the next turn, before all others.
    pub(super) fn go_on_next(&mut self, source: StreamRef, next: usize) {
        let none = self.go_on_later(source, next);
        debug_assert!(none.is_none(), "it has just left its room");
        self.under_way.get_mut(..self.begun).unwrap_or_default().rotate_right(1);
    }

    /// When [`Frames::due`] has something.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.waiting().iter().map(|frame| frame.until).min()
    }

    /// Takes a packet, which may wait or not. Whether it goes now: then it is in `going`, after those of its
    /// stream that have waited.
    pub(super) fn add(&mut self, now: Time, source: StreamRef, arrived: Arrived, may_wait: bool) -> bool {
        let may_wait = may_wait && !self.wait.is_zero();
        let found = self.waiting().iter().position(|frame| frame.source == source);
        let at = match found {
            Some(at) => at,
            None if !may_wait || self.used == FRAMES_MAX => {
                self.crowded += u64::from(may_wait);
                self.going.push(arrived);
                return true;
            }
            None => self.used,
        };
        let Some(frame) = self.frames.get_mut(at) else { return false };
        if found.is_none() {
            (frame.source, frame.until) = (source, now + self.wait);
            self.used += 1;
        }
        frame.packets.push(arrived);
        let goes = !may_wait || frame.packets.len() == FRAME_PACKETS_MAX;
        if goes {
            self.go(at);
        }
        goes
    }

    /// A stream whose packets have waited long enough; they are in `going`.
    pub(super) fn due(&mut self, now: Time) -> Option<StreamRef> {
        let at = self.waiting().iter().position(|frame| frame.until <= now)?;
        Some(self.go(at))
    }

    fn waiting(&self) -> &[Frame] {
        self.frames.get(..self.used).unwrap_or_default()
    }

    fn go(&mut self, at: usize) -> StreamRef {
        debug_assert!(self.going.is_empty());
        self.used -= 1;
        self.frames.swap(at, self.used);
        let frame = &mut self.frames[self.used];
        std::mem::swap(&mut frame.packets, &mut self.going);
        frame.source
    }
}

#[cfg(test)]
mod tests {
    use bifrons_wire::rtp::Packet;

    use super::*;
    use crate::id::LegId;

    fn source(number: u32) -> StreamRef {
        StreamRef { leg: LegId::new(0, number, 1), mline: 0 }
    }

    fn arrived(number: u32) -> Arrived {
        let bytes = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let packet = Placed::new(0, &Packet::parse(&bytes[..]).unwrap(), 0, 0);
        Arrived { buffer: Some(Buffer(number)), packet }
    }

    fn gone(frames: &mut Frames) -> Vec<u32> {
        frames.going.drain(..).filter_map(|arrived| arrived.buffer).map(|buffer| buffer.0).collect()
    }

    #[test]
    fn a_frame_goes_when_it_ends_is_full_or_is_late() {
        let mut frames = Frames::new(500);
        let now = Time::from_millis(1);
        for number in 0..3 {
            assert!(!frames.add(now, source(1), arrived(number), true));
            assert!(!frames.add(now, source(2), arrived(10 + number), true));
        }
        assert!(frames.add(now, source(1), arrived(3), false));
        assert_eq!((gone(&mut frames), frames.len()), (vec![0, 1, 2, 3], 3));
        assert_eq!(frames.next_timeout(), Some(now + Duration::from_micros(500)));
        assert_eq!(frames.due(now), None);
        assert_eq!(frames.due(now + Duration::from_micros(500)), Some(source(2)));
        assert_eq!((gone(&mut frames), frames.len(), frames.next_timeout()), (vec![10, 11, 12], 0, None));
        for number in 1..FRAME_PACKETS_MAX as u32 {
            assert!(!frames.add(now, source(1), arrived(number), true));
        }
        assert!(frames.add(now, source(1), arrived(0), true));
        assert_eq!((gone(&mut frames).len(), frames.len()), (FRAME_PACKETS_MAX, 0));
    }

    #[test]
    fn what_is_under_way_goes_on_in_order() {
        let mut frames = Frames::new(500);
        let begin = |frames: &mut Frames, number: u32| {
            frames.going.push(arrived(number));
            frames.go_on_later(source(number), 7)
        };
        assert!((0..UNDER_WAY_MAX as u32).all(|number| begin(&mut frames, number).is_none()));
        assert_eq!((frames.has_room(), frames.len()), (false, UNDER_WAY_MAX));
        assert!(frames.is_under_way(source(3)) && !frames.is_under_way(source(4)));
        assert_eq!(frames.go_on(), Some((source(0), 7)));
        frames.go_on_next(source(0), 14);
        assert_eq!(frames.go_on(), Some((source(0), 14)));
        assert_eq!(gone(&mut frames), [0]);
        assert_eq!(begin(&mut frames, 8), None);
        assert_eq!(begin(&mut frames, 9), Some((source(1), 7)));
        assert_eq!(gone(&mut frames), [1]);
        for number in [2, 3, 8, 9] {
            assert_eq!(frames.go_on(), Some((source(number), 7)));
            assert_eq!(gone(&mut frames), [number]);
        }
        assert_eq!((frames.go_on(), frames.any_under_way(), frames.len()), (None, false, 0));
    }

    #[test]
    fn what_finds_no_room_goes_at_once() {
        let mut frames = Frames::new(500);
        for number in 0..FRAMES_MAX as u32 {
            assert!(!frames.add(Time::ZERO, source(number), arrived(number), true));
        }
        assert!(frames.add(Time::ZERO, source(99), arrived(99), true));
        assert_eq!((gone(&mut frames), frames.crowded), (vec![99], 1));
        assert!(frames.add(Time::ZERO, source(0), arrived(50), false));
        assert_eq!(gone(&mut frames), [0, 50]);
        assert!(Frames::new(0).add(Time::ZERO, source(1), arrived(1), true));
    }
}
