//! The two back ends against each other: the same bytes out, the same verdict on every packet.

use bifrons_libsrtp::{Direction, Session};

use super::context::libsrtp_profile;
use super::index::WINDOW_LEN;
use super::{Backend, Inbound, MasterKey, Outbound, PACKET_LEN_MAX, Profile, Room, SrtpError};
use crate::Time;

/// Reads a script of packets and mutations from `data` and plays it on both back ends.
///
/// For tests and fuzzing. Panics where native and libsrtp differ: in the bytes that protecting
/// gives, in what is accepted, or in what was decrypted.
pub fn differential(data: &[u8]) {
    let mut script = Script(data);
    let profile = Profile::ALL[usize::from(script.byte() % 4)];
    let key: Vec<u8> = (0..profile.key_len() + profile.salt_len()).map(|_| script.byte()).collect();
    let Ok(master) = MasterKey::from_bytes(profile, &key) else { return };
    let oracle = |direction| Session::new(libsrtp_profile(profile), direction, &key, WINDOW_LEN as u16);
    let (Ok(mut oracle_out), Ok(mut oracle_in)) = (oracle(Direction::Outbound), oracle(Direction::Inbound))
    else {
        return;
    };
    let Ok(mut out) = Outbound::new(Backend::Native, &master) else { return };
    let Ok(mut inn) = Inbound::new(Backend::Native, &master) else { return };
    let mut sequence_number = script.word();
    let mut sent: Vec<(bool, Vec<u8>)> = Vec::new();

    for _ in 0..SCRIPT_STEPS_MAX {
        if script.0.is_empty() {
            break;
        }
        let action = script.byte();
        let is_rtcp = action & 1 == 1;
        if action & 2 == 0 {
            // A new packet from the sender.
            let clear = if is_rtcp {
                script.rtcp()
            } else {
                sequence_number = sequence_number.wrapping_add_signed(script.step());
                script.rtp(sequence_number)
            };
            let mut ours = clear.clone();
            ours.resize(clear.len() + 32, 0);
            let mut theirs = ours.clone();
            let (a, b) = if is_rtcp {
                (
                    with_room(&mut out, Outbound::add_room, |out| out.protect_rtcp(&mut ours, clear.len())),
                    oracle_out.protect_rtcp(&mut theirs, clear.len()),
                )
            } else {
                (
                    with_room(&mut out, Outbound::add_room, |out| out.protect_rtp(&mut ours, clear.len())),
                    oracle_out.protect_rtp(&mut theirs, clear.len()),
                )
            };
            match (a, b) {
                (Ok(a), Ok(b)) => {
                    assert_eq!(ours.get(..a), theirs.get(..b), "{profile}: protected bytes differ");
                    ours.truncate(a);
                    sent.push((is_rtcp, ours));
                }
                (Err(_), Err(_)) => {}
                (a, b) => panic!("{profile}: protect gave {a:?} and {b:?} for {clear:02x?}"),
            }
        } else if let Some((was_rtcp, packet)) =
            sent.get(usize::from(script.byte()) % sent.len().max(1)).cloned()
        {
            // One that was sent, or most of it, arrives.
            let mut ours = packet;
            script.mutate(&mut ours);
            // Where the version is wrong libsrtp asks the tag only, and we not even that.
            let mut theirs = ours.clone();
            let (a, b) = if was_rtcp {
                (
                    with_room(&mut inn, Inbound::add_room, |inn| inn.unprotect_rtcp(Time::ZERO, &mut ours)),
                    oracle_in.unprotect_rtcp(&mut theirs),
                )
            } else {
                (
                    with_room(&mut inn, Inbound::add_room, |inn| inn.unprotect_rtp(Time::ZERO, &mut ours)),
                    oracle_in.unprotect_rtp(&mut theirs),
                )
            };
            match (a, b) {
                (Ok(a), Ok(b)) => assert_eq!(ours.get(..a), theirs.get(..b), "{profile}: clear bytes differ"),
                (Err(_), Err(_)) => {}
                (a, b) => panic!("{profile}: unprotect gave {a:?} and {b:?}"),
            }
        }
    }
}

const SCRIPT_STEPS_MAX: usize = 400;
/// More than have their places from the start.
const SSRCS: u8 = 6;

/// Does what may ask for a room, and gives it one.
pub(super) fn with_room<C, T>(
    context: &mut C,
    add: impl Fn(&mut C, Room) -> Result<(), Room>,
    mut work: impl FnMut(&mut C) -> Result<T, SrtpError>,
) -> Result<T, SrtpError> {
    match work(context) {
        Err(SrtpError::SsrcRoom) if add(context, Room::new()).is_ok() => work(context),
        result => result,
    }
}

/// Bytes that are decisions; zero when there are no more.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Mostly the next packet, at times a jump or a step back.
    fn step(&mut self) -> i16 {
        match self.byte() {
            b @ 0..=7 => -i16::from(b),
            8..=15 => self.word() as i16,
            _ => 1,
        }
    }

    fn rtp(&mut self, sequence_number: u16) -> Vec<u8> {
        let shape = self.byte();
        let csrcs = if shape & 3 == 3 { shape >> 4 } else { 0 };
        let extension = shape & 4 != 0;
        let mut packet = vec![0x80 | u8::from(extension) << 4 | csrcs, self.byte()];
        packet.extend(sequence_number.to_be_bytes());
        packet.extend([0, 0, 1, 2, 0, 0, 0, self.byte() % SSRCS]);
        packet.extend(std::iter::repeat_n(9, 4 * usize::from(csrcs)));
        if extension {
            let words = self.byte() % 8;
            packet.extend([0xbe, 0xde, 0, words]);
            packet.extend(std::iter::repeat_n(5, 4 * usize::from(words)));
        }
        let payload_len = usize::from(self.word() % 1300);
        packet.extend((0..payload_len).map(|i| i as u8));
        packet.truncate(PACKET_LEN_MAX - 32);
        packet
    }

    fn rtcp(&mut self) -> Vec<u8> {
        let words = self.byte() % 40 + 1;
        let mut packet = vec![0x81, 200, 0, words, 0, 0, 0, self.byte() % SSRCS];
        packet.extend(std::iter::repeat_n(3, 4 * usize::from(words - 1)));
        packet
    }

    fn mutate(&mut self, packet: &mut Vec<u8>) {
        match self.byte() % 8 {
            0 => {
                let at = usize::from(self.word()) % packet.len().max(1);
                if let Some(byte) = packet.get_mut(at) {
                    *byte ^= 1 << (self.byte() % 8);
                }
            }
            1 => packet.truncate(usize::from(self.word()) % (packet.len() + 1)),
            2 => packet.push(self.byte()),
            _ => {}
        }
    }
}
