//! What the examples do with an embedded engine: an RTP leg that sends everything back.

use std::net::UdpSocket;
use std::time::Duration;

use bifrons_engine::media::*;
use bifrons_engine::{Assembled, Engine, EngineConfig, LocalAddress, Media};
use bifrons_rtc::dtls::Certificate;

/// An engine of one worker in parts.
pub fn assemble() -> Assembled<UdpSocket> {
    let config = EngineConfig {
        addresses: vec![LocalAddress { address: "127.0.0.1".parse().unwrap(), advertised: None }],
        rtp_port_range: (30_000, 39_999),
        ..EngineConfig::default()
    };
    Engine::assemble(config, &Certificate::generate().unwrap()).unwrap()
}

/// Sends ten packets through an echo and counts those that come back.
pub fn round_trips(engine: &mut Engine) -> usize {
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let open = RtpOpen { latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
    let local = engine.open_rtp_leg(open).unwrap();
    let stream = StreamRef { leg: local.leg, mline: 0 };
    engine.set_rtp_remote(local.leg, RtpRemote::muxed(phone.local_addr().unwrap())).unwrap();
    let config = StreamConfig::new(MediaKind::Audio, 7, vec![PayloadType::new(0, "pcmu", 8_000)]);
    engine.set_streams(local.leg, vec![config]).unwrap();
    let echo = Output { to: stream, open: true, payload_types: vec![(0, 0)] };
    engine.set_route(stream, vec![echo]).unwrap();

    let mut back = 0;
    let mut buffer = [0; 1_500];
    for n in 0..10u8 {
        let mut packet = [0u8; 172];
        packet[0] = 0x80;
        packet[3] = n;
        packet[6] = n;
        packet[11] = 1;
        phone.send_to(&packet, local.rtp).unwrap();
        // Reports come in between.
        while let Ok(len) = phone.recv(&mut buffer) {
            if len == packet.len() {
                back += 1;
                break;
            }
        }
    }
    engine.close_leg(local.leg);
    back
}
