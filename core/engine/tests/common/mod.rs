//! What the engine's tests share.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod client;
pub mod phone;
pub mod world;

use bifrons_engine::media::{Extension, Feedback, MediaKind, Output, PayloadType, StreamConfig, StreamRef};

/// An audio m-line with Opus (or PCMU) and telephone events.
pub fn audio(mid: &str, ssrc: u32, pt: u8, encoding: &str) -> StreamConfig {
    let clock_hz = if encoding == "opus" { 48_000 } else { 8_000 };
    let extensions =
        if mid.is_empty() { vec![] } else { vec![(1, Extension::AudioLevel), (4, Extension::Mid)] };
    let payload_types =
        vec![PayloadType::new(pt, encoding, clock_hz), PayloadType::new(101, "telephone-event", clock_hz)];
    StreamConfig {
        mid: mid.to_owned(),
        extensions,
        ..StreamConfig::new(MediaKind::Audio, ssrc, payload_types)
    }
}

/// A video m-line with VP8 and RTX.
pub fn video(mid: &str, ssrc: u32) -> StreamConfig {
    let rtx = PayloadType { repairs: Some(96), ..PayloadType::new(97, "rtx", 90_000) };
    StreamConfig {
        mid: mid.to_owned(),
        local_rtx_ssrc: Some(ssrc + 1),
        extensions: vec![(4, Extension::Mid), (5, Extension::TransportCc)],
        feedback: Feedback { nack: true, pli: true, fir: false, remb: true, transport_cc: true },
        ..StreamConfig::new(MediaKind::Video, ssrc, vec![PayloadType::new(96, "vp8", 90_000), rtx])
    }
}

/// An open output with the same payload types on both sides.
pub fn output(to: StreamRef, payload_types: &[u8]) -> Output {
    Output { to, open: true, payload_types: payload_types.iter().map(|pt| (*pt, *pt)).collect() }
}

/// An RTP packet.
pub fn rtp(pt: u8, sequence: u16, timestamp: u32, ssrc: u32, mid: Option<&str>, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![if mid.is_some() { 0x90 } else { 0x80 }, pt];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    if let Some(mid) = mid {
        let mut block = vec![4 << 4 | (mid.len() as u8 - 1)];
        block.extend(mid.as_bytes());
        block.resize(block.len().next_multiple_of(4), 0);
        packet.extend(0xbedeu16.to_be_bytes());
        packet.extend((block.len() as u16 / 4).to_be_bytes());
        packet.extend(block);
    }
    packet.extend(payload);
    packet
}
