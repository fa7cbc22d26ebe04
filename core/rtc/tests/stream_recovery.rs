//! Two sources joined into one stream over a link that loses, delays and reorders: the receiver ends up with
//! every packet, byte for byte, by NACK and RTX. All from a seed, on a clock that the test moves.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bifrons_rtc::Time;
use bifrons_rtc::stream::{
    ExtendedSequence, History, HistorySlab, Incoming, NackGenerator, NackOutcome, NackResponder,
    ReceiveStatistics, Rewriter, SendStatistics,
};
use bifrons_wire::rtcp::{Compound, NtpTime, Packet as Rtcp, Writer};
use bifrons_wire::rtp::{Packet, rtx_unwrap, rtx_wrap};

const OUT_SSRC: u32 = 0x0a0a_0a0a;
const RTX_SSRC: u32 = 0x0b0b_0b0b;
const ROUND_TRIP: Duration = Duration::from_millis(50);
const HEADROOM: usize = 96;

/// SplitMix64: the whole test follows from one number.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A link: 10 % loss, 20 to 28 ms of delay, so packets overtake one another.
#[derive(Default)]
struct Link(BTreeMap<(u64, u64), Vec<u8>>);

impl Link {
    fn send(&mut self, bytes: &[u8], now_ms: u64, random: &mut Random) {
        if random.below(10) > 0 {
            self.0.insert((now_ms + 20 + random.below(9), random.next()), bytes.to_vec());
        }
    }

    fn receive(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let entry = self.0.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        Some(entry.remove())
    }
}

struct Sender {
    rewriter: Rewriter,
    sequences: HashMap<u32, ExtendedSequence>,
    slab: HistorySlab,
    histories: HashMap<u32, History>,
    responder: NackResponder,
    statistics: SendStatistics,
    rtx_sequence: u16,
    /// Payload by outgoing index: the truth.
    sent: BTreeMap<u64, Vec<u8>>,
}

impl Sender {
    fn forward(&mut self, bytes: &[u8], now: Time) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let mut packet = Packet::parse(&mut bytes[..]).unwrap();
        let header = *packet.header();
        let sequence = self.sequences.entry(header.ssrc).or_default();
        let index = sequence.update(header.sequence).index()?;
        let history = self.histories.entry(header.ssrc).or_insert_with(|| History::new(512));
        assert!(history.store(&mut self.slab, index, packet.bytes()));
        let incoming = Incoming { ssrc: header.ssrc, index, timestamp: header.timestamp };
        let out = self.rewriter.forward(incoming, now).ok()?;
        packet.set_ssrc(OUT_SSRC);
        packet.set_sequence(out.sequence);
        packet.set_timestamp(out.timestamp);
        self.statistics.on_packet(out.timestamp, packet.payload().len(), now);
        assert!(self.sent.insert(out.index, packet.payload().to_vec()).is_none());
        Some(bytes)
    }

    fn resend(&mut self, sequence: u16, now: Time) -> Option<Vec<u8>> {
        if !self.responder.allow(sequence, now, ROUND_TRIP) {
            return None;
        }
        let original = self.rewriter.original(sequence)?;
        let stored = self.histories.get(&original.ssrc)?.get(&self.slab, original.index)?;
        let mut buffer = vec![0; HEADROOM];
        buffer.extend(stored);
        let at = HEADROOM..buffer.len();
        let mut packet = Packet::parse(&mut buffer[HEADROOM..]).unwrap();
        let timestamp = packet.header().timestamp.wrapping_add(original.timestamp_offset);
        packet.set_timestamp(timestamp);
        packet.set_sequence(sequence);
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        let at = rtx_wrap(&mut buffer, at, 97, RTX_SSRC, self.rtx_sequence).unwrap();
        Some(buffer[at].to_vec())
    }
}

fn source_packet(ssrc: u32, count: u16, now_ms: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0x80, 96];
    bytes.extend(count.to_be_bytes());
    bytes.extend(((now_ms * 90) as u32).wrapping_add(ssrc).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend((0..50 + random.below(900)).map(|i| (i as u8) ^ count as u8));
    bytes
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let mut sender = Sender {
        rewriter: Rewriter::new(random.next() as u16, random.next() as u32, 90_000),
        sequences: HashMap::new(),
        slab: HistorySlab::new(512 * 1024),
        histories: HashMap::new(),
        responder: NackResponder::default(),
        statistics: SendStatistics::default(),
        rtx_sequence: random.next() as u16,
        sent: BTreeMap::new(),
    };
    let (mut media, mut feedback) = (Link::default(), Link::default());
    let mut received: HashMap<u16, Vec<u8>> = HashMap::new();
    let mut statistics = ReceiveStatistics::new(90_000);
    let mut nack = NackGenerator::default();
    let mut count = random.next() as u16;
    let mut gave_up = false;

    for now_ms in 0..8000u64 {
        let now = Time::from_millis(1000 + now_ms);
        // A packet every 3 ms for six seconds, from another source every two seconds.
        if now_ms < 6000 && now_ms.is_multiple_of(3) {
            let ssrc = 100 + (now_ms / 2000) as u32 % 2;
            count = count.wrapping_add(1);
            if let Some(bytes) = sender.forward(&source_packet(ssrc, count, now_ms, &mut random), now) {
                // The first and last packets get through: nobody can miss what was never hinted at.
                if now_ms == 0 || now_ms > 5990 {
                    media.0.insert((now_ms + 29, now_ms), bytes);
                } else {
                    media.send(&bytes, now_ms, &mut random);
                }
            }
        }
        while let Some(mut bytes) = media.receive(now_ms) {
            let header = *Packet::parse(&bytes[..]).unwrap().header();
            let at = if header.ssrc == RTX_SSRC {
                let len = bytes.len();
                rtx_unwrap(&mut bytes, 0..len, 96, OUT_SSRC).unwrap()
            } else {
                0..bytes.len()
            };
            let packet = Packet::at(&bytes, at).unwrap();
            let header = packet.header();
            let arrival =
                statistics.on_packet(header.sequence, header.timestamp, packet.payload().len(), now);
            gave_up |= nack.on_packet(arrival.arrival.index().unwrap(), now) == NackOutcome::GaveUp;
            if let Some(before) = received.insert(header.sequence, packet.payload().to_vec()) {
                assert_eq!(before, packet.payload(), "one sequence number, one content");
            }
        }
        let mut missing = Vec::new();
        gave_up |= nack.due(now, ROUND_TRIP, |sequence| missing.push(sequence)) == NackOutcome::GaveUp;
        if !missing.is_empty() {
            let mut buffer = [0; 1200];
            let mut writer = Writer::new(&mut buffer);
            writer.receiver_report(1, &[statistics.report_block(OUT_SSRC, now)]).unwrap();
            writer.nack(1, OUT_SSRC, missing).unwrap();
            feedback.send(writer.bytes(), now_ms, &mut random);
        }
        while let Some(bytes) = feedback.receive(now_ms) {
            for packet in Compound::new(&bytes) {
                if let Rtcp::Nack(nack) = packet.unwrap() {
                    for sequence in nack.sequences() {
                        if let Some(bytes) = sender.resend(sequence, now) {
                            media.send(&bytes, now_ms, &mut random);
                        }
                    }
                }
            }
        }
    }

    assert!(!gave_up, "seed {seed}: given up");
    assert_eq!((sender.rewriter.switches, sender.sent.len()), (2, 2000));
    let first = *sender.sent.keys().next().unwrap();
    for (place, (index, payload)) in sender.sent.iter().enumerate() {
        assert_eq!(*index, first + place as u64, "seed {seed}: a gap that nobody lost");
        assert_eq!(received.get(&(*index as u16)), Some(payload), "seed {seed}: packet {place}");
    }
    assert!(nack.lost > 100 && nack.recovered == nack.lost, "seed {seed}: {} {}", nack.lost, nack.recovered);
    assert_eq!(nack.missing(), 0);
    let info = sender.statistics.sender_info(NtpTime(1), None, 90_000, Time::from_millis(9000)).unwrap();
    assert_eq!(info.packet_count, 2000);
}

#[test]
fn every_packet_arrives_over_a_bad_link() {
    for seed in 0..20 {
        run(seed);
    }
}
