//! Descriptions from hell: any text ends in a reply, in bounded time.

mod support;

use bifrons_api::ApiConfig;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::client::World;

const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:uuuu\r\na=ice-pwd:pppp\r\n\
    a=fingerprint:sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33\r\n";

fn offer(world: &mut World, sdp: &str) -> Vec<Value> {
    let (s, h) = world.handle();
    let request = json!({"janus": "message", "transaction": "t", "session_id": s, "handle_id": h, "body": {},
        "jsep": {"type": "offer", "sdp": sdp}});
    let out = world.ask(request).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    world.ask(json!({"janus": "destroy", "transaction": "t", "session_id": s}));
    out
}

fn line() -> impl Strategy<Value = String> {
    let fixed = [
        "m=audio 9 UDP/TLS/RTP/SAVPF 0 111 300 -1",
        "m=video 0 UDP/TLS/RTP/SAVPF 96 96 97",
        "m=video 9 RTP/SAVPF 96 97",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "m=application 9 X x",
        "m=audio 99999 UDP/TLS/RTP/SAVPF 0",
        "a=rtpmap:96 VP8/90000",
        "a=rtpmap:97 rtx/90000",
        "a=fmtp:97 apt=96",
        "a=fmtp:97 apt=97",
        "a=fmtp:97 apt=x",
        "a=rtcp-fb:* nack",
        "a=rtcp-fb:96 nack",
        "a=ssrc:1 cname:x",
        "a=ssrc:x",
        "a=ssrc-group:FID 1 2",
        "a=ssrc-group:SIM",
        "a=mid:0",
        "a=mid:0",
        "a=mid:ä",
        "a=rid:h send",
        "a=simulcast:send h;l",
        "a=setup:active",
        "a=setup:holdconn",
        "a=msid:a b",
        "a=extmap:0 x",
        "a=extmap:4095 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=bundle-only",
        "a=inactive",
        "a=candidate:",
        "a=candidate:x",
        "b=AS:1",
        "c=IN IP6 ::1",
        "a=rtpmap:200 x/0",
        "a=sendonly",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:encrypt",
    ];
    prop_oneof![
        20 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        1 => "[a-z]=[ -~]{0,30}",
        1 => "\\PC{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_lines(lines in prop::collection::vec(line(), 0..40)) {
        let mut world = World::new(ApiConfig::default());
        let out = offer(&mut world, &format!("{HEAD}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n{}\r\n", lines.join("\r\n")));
        prop_assert!(matches!(out[0]["janus"].as_str(), Some("ack" | "error")));
        if let Some(sdp) = out.get(1).and_then(|event| event["jsep"]["sdp"].as_str()) {
            // What we write, we can read.
            prop_assert!(bifrons_wire::sdp::Sdp::parse(sdp).is_ok());
        }
        prop_assert!(world.record.borrow().open.is_empty());
    }
}

#[test]
fn too_much_is_refused() {
    let mut world = World::new(ApiConfig::default());
    let mline = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n";
    for (sdp, word) in [
        (format!("{HEAD}{mline}{}", "a=x\r\n".repeat(600)), "m-line 0 has more than 512 lines"),
        (format!("{HEAD}{}", mline.repeat(33)), "more than 32 m= lines"),
        (format!("{HEAD}{}", mline.repeat(1000)), "more than 64 m= lines"),
        (format!("{HEAD}{}{mline}", "a=x\r\n".repeat(20_000)), "longer than 65536 bytes"),
        (format!("{HEAD}{mline}a={}\r\n", "x".repeat(60_000)), "more than 8192 bytes"),
    ] {
        let out = offer(&mut world, &sdp);
        let error = &out[0]["error"];
        assert!(error["code"] == 465 && error["reason"].as_str().unwrap().contains(word), "{out:?}");
    }
    assert_eq!(world.api.counters().sdp_rejected, 5);
}
