//! Keys pressed, from telephone events (RFC 4733 §2.5).

use core::time::Duration;

use bifrons_wire::rtp::TelephoneEvent;

use crate::Time;

/// An event without a packet for this long has ended, though nobody said so (RFC 4733 §2.5.2.2).
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// The longest duration one segment can tell; a longer event goes on with a new timestamp (RFC 4733 §2.5.1.3).
const SEGMENT_MAX: u32 = 0xffff;

/// A key that was pressed and let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtmfEvent {
    /// Event code; [`TelephoneEvent::code`] has the keys.
    pub event: u8,
    /// How long, units of the timestamp, all segments together.
    pub duration: u32,
    /// Power of the tone, −dBm0.
    pub volume: u8,
}

/// Tells each event once, however often its packets are repeated, and also when its end got lost.
#[derive(Debug, Clone, Copy, Default)]
pub struct DtmfDetector {
    current: Option<Current>,
    last_timestamp: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    told: DtmfEvent,
    timestamp: u32,
    segments: u32,
    seen_at: Time,
}

impl DtmfDetector {
    /// Takes one `telephone-event` packet; an event that ends with it, or whose end must have been lost, is
    /// returned.
    pub fn on_packet(&mut self, timestamp: u32, packet: &TelephoneEvent, now: Time) -> Option<DtmfEvent> {
        if let Some(last) = self.last_timestamp {
            // Repeated or reordered packets of an event that has been told.
            if timestamp.wrapping_sub(last) as i32 <= 0 {
                return None;
            }
        }
        let mut ended = None;
        let mut current = match self.current {
            Some(current) if current.timestamp == timestamp => current,
            Some(current) if (timestamp.wrapping_sub(current.timestamp) as i32) < 0 => return None,
            Some(mut current) if continues(&current, timestamp, packet) => {
                current.timestamp = timestamp;
                current.segments = current.segments.saturating_add(1);
                current
            }
            before => {
                ended = before.map(|before| self.tell(before));
                let told = DtmfEvent { event: packet.event, duration: 0, volume: packet.volume };
                Current { told, timestamp, segments: 0, seen_at: now }
            }
        };
        let duration =
            current.segments.saturating_mul(SEGMENT_MAX).saturating_add(u32::from(packet.duration));
        current.told.duration = current.told.duration.max(duration);
        current.seen_at = now;
        self.current = Some(current);
        // Two ends at once cannot be told; the second waits for its repetition, or for silence.
        if packet.end && ended.is_none() {
            self.current = None;
            ended = Some(self.tell(current));
        }
        ended
    }

    /// An event that has been silent for too long.
    pub fn on_timeout(&mut self, now: Time) -> Option<DtmfEvent> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        let current = self.current.take()?;
        Some(self.tell(current))
    }

    /// When [`DtmfDetector::on_timeout`] is to be called.
    pub fn deadline(&self) -> Option<Time> {
        self.current.map(|current| current.seen_at + SILENCE_MAX)
    }

    fn tell(&mut self, current: Current) -> DtmfEvent {
        self.last_timestamp = Some(current.timestamp);
        current.told
    }
}

/// The packet is the next segment of a long event.
fn continues(current: &Current, timestamp: u32, packet: &TelephoneEvent) -> bool {
    packet.event == current.told.event && timestamp.wrapping_sub(current.timestamp) == SEGMENT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(event: u8, end: bool, duration: u16) -> TelephoneEvent {
        TelephoneEvent { event, end, volume: 10, duration }
    }

    fn told(event: u8, duration: u32) -> Option<DtmfEvent> {
        Some(DtmfEvent { event, duration, volume: 10 })
    }

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn one_event_for_three_ends() {
        let mut d = DtmfDetector::default();
        for i in 1..5 {
            assert_eq!(d.on_packet(1000, &packet(5, false, 160 * i), ms(0)), None);
        }
        assert_eq!(d.on_packet(1000, &packet(5, true, 800), ms(100)), told(5, 800));
        assert_eq!(d.on_packet(1000, &packet(5, true, 800), ms(120)), None);
        assert_eq!(d.on_packet(1000, &packet(5, true, 800), ms(140)), None);
        assert_eq!((d.deadline(), d.on_packet(1000, &packet(5, false, 640), ms(150))), (None, None));
        // The same key again is another event.
        assert_eq!(d.on_packet(3000, &packet(5, true, 400), ms(300)), told(5, 400));
    }

    #[test]
    fn a_lost_end_is_told_by_silence_or_by_the_next_key() {
        let mut d = DtmfDetector::default();
        d.on_packet(1000, &packet(1, false, 320), ms(0));
        assert_eq!((d.on_timeout(ms(499)), d.on_timeout(ms(500))), (None, told(1, 320)));
        assert_eq!(d.on_packet(1000, &packet(1, true, 800), ms(501)), None);
        d.on_packet(9000, &packet(2, false, 320), ms(1000));
        assert_eq!(d.on_packet(11_000, &packet(3, true, 480), ms(1200)), told(2, 320));
        assert_eq!(d.on_packet(11_000, &packet(3, true, 480), ms(1210)), told(3, 480));
        assert_eq!(d.on_packet(11_000, &packet(3, true, 480), ms(1220)), None);
    }

    #[test]
    fn long_events_go_on_in_segments() {
        let mut d = DtmfDetector::default();
        assert_eq!(d.on_packet(1000, &packet(9, false, 0xffff), ms(0)), None);
        assert_eq!(d.on_packet(1000 + 0xffff, &packet(9, false, 160), ms(20)), None);
        assert_eq!(d.on_packet(1000 + 0xffff, &packet(9, true, 320), ms(40)), told(9, 0xffff + 320));
        assert_eq!(d.on_packet(1000, &packet(9, false, 0xffff), ms(50)), None);
    }

    #[test]
    fn an_endless_event_does_not_overflow() {
        let mut d = DtmfDetector::default();
        for i in 0..70_000u32 {
            assert_eq!(d.on_packet(i.wrapping_mul(0xffff), &packet(9, false, 0xffff), ms(0)), None);
        }
        assert_eq!(d.on_timeout(ms(500)).unwrap().duration, u32::MAX);
    }
}
