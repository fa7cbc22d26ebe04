//! The rules, each with its test, on both back ends.

use std::time::Duration;

use proptest::prelude::*;

use super::differential::with_room;
use super::testing::{rtcp, rtp};
use super::*;
use crate::Time;

const NOW: Time = Time::from_millis(1_000);
const BACKENDS: [Backend; 2] = [Backend::Native, Backend::Libsrtp];

fn key(profile: Profile, seed: u8) -> MasterKey {
    let bytes: Vec<u8> = (0..profile.key_len() + profile.salt_len()).map(|i| seed ^ i as u8).collect();
    MasterKey::from_bytes(profile, &bytes).unwrap()
}

fn every_pair() -> impl Iterator<Item = (Outbound, Inbound)> {
    Profile::ALL.into_iter().flat_map(|profile| {
        BACKENDS.into_iter().map(move |backend| {
            let key = key(profile, 1);
            (Outbound::new(backend, &key).unwrap(), Inbound::new(backend, &key).unwrap())
        })
    })
}

fn protect(out: &mut Outbound, clear: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buf = clear.to_vec();
    buf.resize(clear.len() + out.profile().rtp_overhead(), 0);
    let len = out.protect_rtp(&mut buf, clear.len())?;
    assert_eq!(len, buf.len());
    Ok(buf)
}

fn protect_rtcp(out: &mut Outbound, clear: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buf = clear.to_vec();
    buf.resize(clear.len() + out.profile().rtcp_overhead(), 0);
    let len = out.protect_rtcp(&mut buf, clear.len())?;
    assert_eq!(len, buf.len());
    Ok(buf)
}

fn unprotect(inn: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buf = packet.to_vec();
    let len = inn.unprotect_rtp(NOW, &mut buf)?;
    buf.truncate(len);
    Ok(buf)
}

#[test]
fn back_and_forth_over_a_wrap() {
    for (mut out, mut inn) in every_pair() {
        for n in 0..200u16 {
            let clear = rtp(7, n.wrapping_sub(100), 160);
            let sealed = protect(&mut out, &clear).unwrap();
            assert_ne!(sealed[12..clear.len()], clear[12..]);
            assert_eq!(sealed[..12], clear[..12]);
            assert_eq!(unprotect(&mut inn, &sealed).unwrap(), clear);
        }
        assert_eq!(inn.state().streams[0].rtp.highest, 0x1_0000 + 99);
        for _ in 0..3 {
            let mut sealed = protect_rtcp(&mut out, &rtcp(7)).unwrap();
            let len = inn.unprotect_rtcp(NOW, &mut sealed).unwrap();
            assert_eq!(sealed[..len], rtcp(7));
        }
        assert_eq!(out.counters().rtcp_packets, 3);
        assert_eq!(inn.counters().rtp_packets, 200);
    }
}

#[test]
fn no_index_protects_two_packets() {
    for (mut out, _) in every_pair() {
        protect(&mut out, &rtp(7, 500, 20)).unwrap();
        protect(&mut out, &rtp(7, 499, 20)).unwrap(); // reordered, but new
        for seq in [500, 499] {
            assert_eq!(protect(&mut out, &rtp(7, seq, 30)), Err(SrtpError::IndexUsed));
        }
        protect(&mut out, &rtp(7, 600 + WINDOW_LEN as u16, 20)).unwrap();
        // Below the window nobody knows any more, so it is not sent.
        assert_eq!(protect(&mut out, &rtp(7, 600, 20)), Err(SrtpError::TooOld));
        protect(&mut out, &rtp(8, 500, 20)).unwrap(); // another SSRC, another index
        assert_eq!(out.counters().index_used, 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever order a rewrite gives: each index at most once.
    #[test]
    fn indices_are_unique_over_any_order(
        profile in 0usize..4,
        steps in proptest::collection::vec((0u32..3, -200i32..200), 1..300),
    ) {
        let mut out = Outbound::new(Backend::Native, &key(Profile::ALL[profile], 1)).unwrap();
        let mut used = std::collections::HashSet::new();
        // Where a stream starts decides its rollover counter, so all start in round zero.
        let mut at = [65_400i64; 3];
        for ssrc in 0..3 {
            protect(&mut out, &rtp(ssrc, 65_400, 10)).unwrap();
            used.insert((ssrc, 65_400));
        }
        for (ssrc, step) in steps {
            let position = (at[ssrc as usize] + i64::from(step)).max(40_000);
            let sent = protect(&mut out, &rtp(ssrc, position as u16, 10));
            if let Ok(packet) = sent {
                at[ssrc as usize] = at[ssrc as usize].max(position);
                prop_assert!(used.insert((ssrc, position)), "{} twice", position);
                prop_assert_eq!(packet.len(), 22 + out.profile().rtp_overhead());
            }
        }
    }

    #[test]
    fn both_back_ends_agree(script in proptest::collection::vec(any::<u8>(), 50..1500)) {
        differential(&script);
    }
}

/// The generator above seldom tells its story at length; this one wraps and replays a lot.
#[test]
fn both_back_ends_agree_on_a_long_call() {
    for profile in 0..4u8 {
        let mut script = vec![profile];
        script.extend(std::iter::repeat_n(profile ^ 0x5a, Profile::ALL[usize::from(profile)].key_len()));
        script.extend(std::iter::repeat_n(3, Profile::ALL[usize::from(profile)].salt_len()));
        script.extend([0xff, 0xc0]); // 64 packets before the wrap
        for n in 0..130u8 {
            script.extend([0, 20, 0, 0, 0, 0, n]); // a packet of n bytes
            script.extend([2, n, 5]); // arrives
            script.extend([2, n / 2, n % 8]); // an older one again, perhaps mutated
        }
        differential(&script);
    }
}

/// A rollover counter beyond what any call reaches, in which the two stay together: half of all steps are as
/// long as one can be. Forged and repeated packets come all the time.
#[test]
fn a_million_packets_and_more_wraps_than_there_are_sequence_numbers() {
    let key = key(Profile::AeadAes128Gcm, 9);
    let [mut ours, mut theirs] = BACKENDS.map(|backend| Outbound::new(backend, &key).unwrap());
    let [mut own, mut other] = BACKENDS.map(|backend| Inbound::new(backend, &key).unwrap());
    let mut index = 0u64;
    let mut clear = rtp(7, 0, 20);
    let mut last = Vec::new();
    for n in 0..1_000_000u32 {
        clear[2..4].copy_from_slice(&(index as u16).to_be_bytes());
        clear[12..16].copy_from_slice(&n.to_be_bytes());
        let sealed = protect(&mut ours, &clear).unwrap();
        assert_eq!(sealed, protect(&mut theirs, &clear).unwrap(), "packet {n}, index {index}");
        if n % 1_000 == 999 {
            let mut forged = sealed.clone();
            forged[2] ^= 0x40;
            assert_eq!(unprotect(&mut own, &forged), Err(SrtpError::Authentication));
            assert_eq!(unprotect(&mut other, &forged), Err(SrtpError::Authentication));
            assert!(unprotect(&mut own, &last).is_err() && unprotect(&mut other, &last).is_err());
        }
        assert_eq!(unprotect(&mut own, &sealed).unwrap(), clear);
        assert_eq!(unprotect(&mut other, &sealed).unwrap(), clear);
        last = sealed;
        index += if n % 2 == 0 { 1 } else { 32_767 };
    }
    let highest = |state: ContextState| state.streams[0].rtp.highest;
    let reached = [ours.state(), theirs.state(), own.state(), other.state()].map(highest);
    assert_eq!(reached, [index - 32_767; 4]);
    assert!(index >> 16 > 200_000, "{index}");
}

#[test]
fn replay_tampering_and_truncation_are_refused() {
    for (mut out, mut inn) in every_pair() {
        let clear = rtp(7, 1, 50);
        let sealed = protect(&mut out, &clear).unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 0x04;
            assert!(unprotect(&mut inn, &bad).is_err(), "byte {at}");
        }
        for len in 0..sealed.len() {
            assert!(unprotect(&mut inn, &sealed[..len]).is_err(), "length {len}");
        }
        assert_eq!(inn.state().streams, [], "nothing unauthentic left a trace");
        unprotect(&mut inn, &sealed).unwrap();
        assert_eq!(unprotect(&mut inn, &sealed), Err(SrtpError::Replayed));
        let later = protect(&mut out, &rtp(7, 1 + WINDOW_LEN as u16, 50)).unwrap();
        unprotect(&mut inn, &later).unwrap();
        assert_eq!(unprotect(&mut inn, &sealed), Err(SrtpError::TooOld));
        assert_eq!(inn.counters().replayed, 2);

        let sealed = protect_rtcp(&mut out, &rtcp(7)).unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 0x80;
            assert!(inn.unprotect_rtcp(NOW, &mut bad).is_err(), "byte {at}");
        }
        inn.unprotect_rtcp(NOW, &mut sealed.clone()).unwrap();
        assert_eq!(inn.unprotect_rtcp(NOW, &mut sealed.clone()), Err(SrtpError::Replayed));
    }
}

#[test]
fn a_flood_of_unauthentic_packets_changes_nothing() {
    let key = key(Profile::AesCm128HmacSha1_80, 1);
    let mut out = Outbound::new(Backend::Native, &key).unwrap();
    let mut inn = Inbound::new(Backend::Native, &key).unwrap();
    unprotect(&mut inn, &protect(&mut out, &rtp(7, 40_000, 50)).unwrap()).unwrap();
    let before = inn.state();
    for n in 0..20_000u32 {
        let ssrc = if n % 2 == 0 { 7 } else { n };
        assert_eq!(unprotect(&mut inn, &rtp(ssrc, n as u16, 60)).ok(), None);
    }
    assert_eq!(inn.state(), before);
    assert_eq!(inn.counters().authentication + inn.counters().replayed, 20_000);
    unprotect(&mut inn, &protect(&mut out, &rtp(7, 40_001, 50)).unwrap()).unwrap();
}

#[test]
fn so_many_ssrcs_and_no_more() {
    for (mut out, mut inn) in every_pair() {
        for ssrc in 0..OUTBOUND_SSRCS_MAX as u32 {
            let sealed =
                with_room(&mut out, Outbound::add_room, |out| protect(out, &rtp(ssrc, 1, 10))).unwrap();
            let expected = if ssrc < INBOUND_SSRCS_MAX as u32 {
                Ok(rtp(ssrc, 1, 10))
            } else {
                Err(SrtpError::SsrcTableFull)
            };
            let got = with_room(&mut inn, Inbound::add_room, |inn| unprotect(inn, &sealed));
            assert_eq!(got, expected);
        }
        assert_eq!(protect(&mut out, &rtp(1_000, 1, 10)), Err(SrtpError::SsrcTableFull));
        // Those that have a place go on.
        let sealed = protect(&mut out, &rtp(3, 2, 10)).unwrap();
        unprotect(&mut inn, &sealed).unwrap();
        assert_eq!(inn.counters().ssrc_table_full, 32);
        assert!(out.add_room(Room::new()).is_err() && inn.add_room(Room::new()).is_err());
        if out.backend() == Backend::Native {
            assert_eq!(Outbound::resume(&out.state()).unwrap().state(), out.state());
            assert_eq!(Inbound::resume(&inn.state()).unwrap().state(), inn.state());
        }
    }
}

/// A packet that finds no room is as it was, under the new key and under the one before, and so is the context.
#[test]
fn what_asks_for_room_can_be_tried_again() {
    for (mut out, mut inn) in every_pair() {
        let few = super::table::FEW as u32;
        let mut old = Outbound::new(Backend::Native, &key(out.profile(), 1)).unwrap();
        let last = protect(&mut old, &rtp(few, 1, 30)).unwrap();
        for ssrc in 0..few {
            unprotect(&mut inn, &protect(&mut out, &rtp(ssrc, 1, 10)).unwrap()).unwrap();
        }
        let mut buf = rtp(few, 1, 30);
        buf.extend([0; 32]);
        let before = buf.clone();
        assert_eq!(out.protect_rtp(&mut buf, before.len() - 32), Err(SrtpError::SsrcRoom));
        assert_eq!(buf, before);
        assert_eq!(out.counters().ssrc_table_full, 0);

        // Under the key before, whose places are used up, while those of the new one are not.
        inn.rekey(NOW, &key(out.profile(), 9), Rollover::Reset).unwrap();
        let mut packet = last.clone();
        assert_eq!(inn.unprotect_rtp(NOW, &mut packet), Err(SrtpError::SsrcRoom));
        assert_eq!(packet, last);
        inn.add_room(Room::new()).unwrap();
        let len = inn.unprotect_rtp(NOW, &mut packet).unwrap();
        assert_eq!(packet[..len], rtp(few, 1, 30));
        assert_eq!(inn.counters().previous_key, 1);
        assert_eq!(inn.counters().ssrc_table_full + inn.counters().authentication, 0);
    }
}

#[test]
fn two_key_generations_for_three_seconds() {
    for (mut out, mut inn) in every_pair() {
        let mut old_out = out;
        let first = protect(&mut old_out, &rtp(7, 10, 50)).unwrap();
        unprotect(&mut inn, &first).unwrap();
        let (late, too_late) = (
            protect(&mut old_out, &rtp(7, 11, 50)).unwrap(),
            protect(&mut old_out, &rtp(7, 12, 50)).unwrap(),
        );

        let new_key = key(inn.profile(), 99);
        out = Outbound::new(old_out.backend(), &key(inn.profile(), 1)).unwrap();
        out.rekey(&new_key, Rollover::Reset).unwrap();
        inn.rekey(NOW, &new_key, Rollover::Reset).unwrap();
        assert_eq!(inn.next_timeout(), Some(NOW + REKEY_OVERLAP));

        let new = protect(&mut out, &rtp(7, 11, 50)).unwrap();
        assert_ne!(new, late, "outbound has switched");
        assert_eq!(unprotect(&mut inn, &new).unwrap(), rtp(7, 11, 50));
        assert_eq!(unprotect(&mut inn, &late).unwrap(), rtp(7, 11, 50));
        assert_eq!(unprotect(&mut inn, &late), Err(SrtpError::Replayed));
        assert_eq!(unprotect(&mut inn, &first), Err(SrtpError::Authentication), "error of the newest key");
        assert_eq!(inn.counters().previous_key, 1);

        let end = NOW + REKEY_OVERLAP;
        assert_eq!(
            inn.unprotect_rtp(end, &mut too_late.clone()),
            Err(SrtpError::Authentication),
            "even before on_timeout"
        );
        inn.on_timeout(end - Duration::from_nanos(1));
        assert!(inn.next_timeout().is_some());
        inn.on_timeout(end);
        assert_eq!(inn.next_timeout(), None);
        assert_eq!(unprotect(&mut inn, &too_late), Err(SrtpError::Authentication));
    }
}

#[test]
fn rollover_counters_go_on_when_asked() {
    for (mut out, mut inn) in every_pair() {
        for seq in [65_535u16, 0, 1] {
            let sealed = protect(&mut out, &rtp(7, seq, 5)).unwrap();
            unprotect(&mut inn, &sealed).unwrap();
        }
        let new_key = key(inn.profile(), 50);
        out.rekey(&new_key, Rollover::Keep).unwrap();
        inn.rekey(NOW, &new_key, Rollover::Keep).unwrap();
        let sealed = protect(&mut out, &rtp(7, 2, 5)).unwrap();
        assert_eq!(unprotect(&mut inn, &sealed).unwrap(), rtp(7, 2, 5));
        assert_eq!(out.state().streams[0].rtp.highest, 0x1_0002);
    }
}

#[test]
fn another_process_goes_on_from_the_state() {
    for (mut out, mut inn) in every_pair() {
        for seq in [65_534u16, 65_535, 0, 1] {
            let sealed = protect(&mut out, &rtp(7, seq, 5)).unwrap();
            unprotect(&mut inn, &sealed).unwrap();
        }
        protect_rtcp(&mut out, &rtcp(7)).unwrap();
        let mut out2 = Outbound::resume(&out.state()).unwrap();
        let mut inn2 = Inbound::resume(&inn.state()).unwrap();
        assert_eq!(protect(&mut out2, &rtp(7, 1, 9)), Err(SrtpError::IndexUsed));
        let sealed = protect(&mut out2, &rtp(7, 2, 5)).unwrap();
        assert_eq!(sealed, protect(&mut out, &rtp(7, 2, 5)).unwrap());
        assert_eq!(unprotect(&mut inn2, &sealed).unwrap(), rtp(7, 2, 5));
        assert_eq!(protect_rtcp(&mut out2, &rtcp(7)).unwrap(), protect_rtcp(&mut out, &rtcp(7)).unwrap());
        assert_eq!(unprotect(&mut inn2, &sealed), Err(SrtpError::Replayed));
    }
}

#[test]
fn a_key_ends() {
    let key = key(Profile::AeadAes128Gcm, 1);
    let mut state = Outbound::new(Backend::Native, &key).unwrap().state();
    state.rtp_packets = (1 << 48) - 1;
    state.rtcp_packets = (1 << 31) - 1;
    let mut out = Outbound::resume(&state).unwrap();
    protect(&mut out, &rtp(7, 1, 5)).unwrap();
    assert_eq!(protect(&mut out, &rtp(7, 2, 5)), Err(SrtpError::KeyExhausted));
    protect_rtcp(&mut out, &rtcp(7)).unwrap();
    assert_eq!(protect_rtcp(&mut out, &rtcp(7)), Err(SrtpError::KeyExhausted));
    assert_eq!(out.counters().key_exhausted, 2);

    // The rollover counter does not wrap either, nor the SRTCP index.
    let rtp_window = RtpWindow { highest: (1 << 48) - 1, ..Default::default() };
    let rtcp_window = RtcpWindow { highest: (1 << 31) - 1, ..Default::default() };
    let streams = vec![StreamState { ssrc: 7, rtp: rtp_window, rtcp: rtcp_window }];
    let mut out = Outbound::resume(&ContextState { key, rtp_packets: 0, rtcp_packets: 0, streams }).unwrap();
    assert_eq!(protect(&mut out, &rtp(7, 0, 5)), Err(SrtpError::KeyExhausted));
    assert_eq!(protect_rtcp(&mut out, &rtcp(7)), Err(SrtpError::KeyExhausted));
}

/// A stored state may be damaged; that costs the stream, not the worker.
#[test]
fn an_impossible_state_is_an_error() {
    let key = key(Profile::AeadAes128Gcm, 1);
    let rtp_window = RtpWindow { highest: u64::MAX, used: [u64::MAX; 8] };
    let rtcp_window = RtcpWindow { highest: u64::MAX, used: [u64::MAX; 2] };
    let stream = StreamState { ssrc: 7, rtp: rtp_window, rtcp: rtcp_window };
    let state =
        |streams| ContextState { key: key.clone(), rtp_packets: u64::MAX, rtcp_packets: u64::MAX, streams };
    assert_eq!(Outbound::resume(&state(vec![stream; 65])).unwrap_err(), SrtpError::SsrcTableFull);
    let state = ContextState { rtp_packets: 0, rtcp_packets: 0, ..state(vec![stream]) };
    let mut out = Outbound::resume(&state).unwrap();
    let mut inn = Inbound::resume(&state).unwrap();
    for seq in [0, 1, 32_768, 65_535] {
        assert_eq!(protect(&mut out, &rtp(7, seq, 5)), Err(SrtpError::KeyExhausted));
        assert_eq!(unprotect(&mut inn, &rtp(7, seq, 30)), Err(SrtpError::KeyExhausted));
    }
    assert_eq!(protect_rtcp(&mut out, &rtcp(7)), Err(SrtpError::KeyExhausted));
}

#[test]
fn header_extension_and_csrcs_stay_clear_and_are_authenticated() {
    for (mut out, mut inn) in every_pair() {
        let mut clear = rtp(7, 1, 0);
        clear[0] = 0x80 | 0x10 | 2;
        clear.extend([0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
        let header_len = clear.len();
        clear.extend([1, 2, 3, 4, 5]);
        let sealed = protect(&mut out, &clear).unwrap();
        assert_eq!(sealed[..header_len], clear[..header_len]);
        let mut bad = sealed.clone();
        bad[header_len - 3] ^= 1;
        assert_eq!(unprotect(&mut inn, &bad), Err(SrtpError::Authentication));
        assert_eq!(unprotect(&mut inn, &sealed).unwrap(), clear);
    }
}

#[test]
fn buffers_and_packets_that_do_not_fit() {
    for (mut out, mut inn) in every_pair() {
        let mut clear = rtp(7, 1, 50);
        let len = clear.len();
        assert_eq!(out.protect_rtp(&mut clear, len), Err(SrtpError::NoTailroom));
        assert_eq!(out.protect_rtp(&mut clear, len + 1), Err(SrtpError::NoTailroom));
        assert_eq!(out.protect_rtp(&mut clear, 11), Err(SrtpError::Malformed));
        assert_eq!(out.protect_rtcp(&mut clear, 7), Err(SrtpError::Malformed));
        assert_eq!(protect(&mut out, &rtp(7, 1, 3_000)), Err(SrtpError::TooLong));
        assert_eq!(unprotect(&mut inn, &rtp(7, 1, 3_000)), Err(SrtpError::TooLong));
        protect(&mut out, &rtp(7, 1, 1_900)).expect("no index was spent on the failures");
    }
}

#[test]
fn an_unencrypted_srtcp_packet_is_refused() {
    for (mut out, mut inn) in every_pair() {
        let mut sealed = protect_rtcp(&mut out, &rtcp(7)).unwrap();
        let word = match inn.profile() {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => sealed.len() - 4,
            _ => sealed.len() - 14,
        };
        sealed[word] &= 0x7f;
        assert_eq!(inn.unprotect_rtcp(NOW, &mut sealed), Err(SrtpError::Unencrypted));
    }
}

#[test]
fn debug_shows_no_key() {
    for (out, inn) in every_pair() {
        let text = format!("{out:?} {inn:?} {:?} {:?}", out.state(), inn.state());
        let key = key(out.profile(), 1);
        let listed = format!("{:?}", key.expose());
        assert!(!text.contains(listed.trim_matches(['[', ']'])), "{text}");
    }
}
