//! Offers, answers, candidates and what the engine says of them.

mod support;

use std::time::Duration;

use bifrons_api::ApiConfig;
use bifrons_engine::LegId;
use bifrons_engine::media::{DtlsRole, Extension, LegEnd, MediaKind, Notice, StreamRef};
use serde_json::{Value, json};
use support::client::World;
use support::plugin::PACKAGE;

const FINGERPRINT: &str = "a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";

/// As a browser offers: audio, video with RTX.
fn browser(setup: &str, ufrag: &str) -> String {
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:pppppppppppppppppppppp\r\na=ice-options:trickle\r\n{FINGERPRINT}a=setup:{setup}\r\n"
    );
    format!(
        "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a v\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n{transport}a=mid:a\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=sendrecv\r\na=msid:s t\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\na=rtpmap:0 PCMU/8000\r\na=ssrc:77 cname:c\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n{transport}a=mid:v\r\na=sendrecv\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=ssrc-group:FID 10 11\r\na=ssrc:10 cname:c\r\na=ssrc:11 cname:c\r\n"
    )
}

struct Call {
    world: World,
    s: u64,
    h: u64,
}

impl Call {
    fn new(config: ApiConfig) -> Self {
        let mut world = World::new(config);
        let (s, h) = world.handle();
        Self { world, s, h }
    }

    fn request(&self, verb: &str, members: Value) -> Value {
        let mut request =
            json!({"janus": verb, "transaction": "t", "session_id": self.s, "handle_id": self.h});
        for (name, value) in members.as_object().unwrap() {
            request[name] = value.clone();
        }
        request
    }

    fn ask(&mut self, verb: &str, members: Value) -> Vec<Value> {
        let request = self.request(verb, members);
        self.world.ask(request).iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
    }

    /// Sends a description; gives what comes.
    fn describe(&mut self, kind: &str, sdp: &str, what: &str) -> Vec<Value> {
        self.ask("message", json!({"body": {"do": what}, "jsep": {"type": kind, "sdp": sdp}}))
    }

    fn established() -> Self {
        let mut call = Self::new(ApiConfig::default());
        call.describe("offer", &browser("actpass", "uuuu"), "");
        call.world.notice(Notice::Up { leg: LEG });
        call.world.log();
        call.world.calls();
        call
    }
}

const LEG: LegId = LegId::new(0, 1, 1);
const VIDEO: StreamRef = StreamRef { leg: LEG, mline: 1 };

fn lines_with<'a>(sdp: &'a str, start: &str) -> Vec<&'a str> {
    sdp.lines().filter(|line| line.starts_with(start)).collect()
}

#[test]
fn an_offer_is_answered() {
    let mut call = Call::new(ApiConfig::default());
    let out = call.describe("offer", &browser("actpass", "uuuu"), "");
    assert_eq!(
        (&out[0]["janus"], &out[1]["janus"], &out[1]["jsep"]["type"]),
        (&json!("ack"), &json!("event"), &json!("answer"))
    );
    let sdp = out[1]["jsep"]["sdp"].as_str().unwrap();
    let streams = call.world.record.borrow().streams.clone();
    let (a, v, r) = (streams[0].local_ssrc, streams[1].local_ssrc, streams[1].local_rtx_ssrc.unwrap());
    let transport =
        "a=rtcp-mux\r\na=ice-ufrag:luf\r\na=ice-pwd:lpw\r\na=ice-options:trickle\r\na=setup:active\r\n";
    let candidates = "a=candidate:1 1 udp 2015363327 192.0.2.1 10000 typ host\r\na=end-of-candidates\r\n";
    assert_eq!(
        sdp,
        format!(
            "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a v\r\na=ice-options:trickle\r\n\
             a=fingerprint:sha-256 AB:CD\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 127.0.0.1\r\na=sendrecv\r\na=mid:a\r\n{transport}\
             a=rtpmap:111 opus/48000/2\r\na=msid:janus janusa\r\na=ssrc:{a} cname:janus\r\n{candidates}\
             m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 127.0.0.1\r\na=sendrecv\r\na=mid:v\r\n{transport}\
             a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 goog-remb\r\n\
             a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc-group:FID {v} {r}\r\na=msid:janus janusv\r\n\
             a=ssrc:{v} cname:janus\r\na=ssrc:{r} cname:janus\r\n{candidates}"
        )
    );
    assert_eq!(
        call.world.log(),
        ["open offerer=false near=false", "streams 2", "remote uuuu Client eoc=false"]
    );
    assert_eq!(call.world.calls(), ["negotiated 2"]);
    let video = &streams[1];
    assert_eq!((video.kind, video.mid.as_str(), video.send, video.recv), (MediaKind::Video, "v", true, true));
    assert_eq!((&video.remote_ssrcs[..], video.remote_rtx_ssrc), (&[10][..], Some(11)));
    let types: Vec<_> =
        video.payload_types.iter().map(|pt| (pt.number, pt.encoding.as_str(), pt.repairs)).collect();
    assert_eq!(types, [(96, "vp8", None), (97, "rtx", Some(96))]);
    assert!(video.feedback.nack && video.feedback.pli && !video.feedback.transport_cc);
    assert_eq!((streams[0].payload_types.len(), &streams[0].remote_ssrcs[..]), (1, &[77][..]));
    let plugin_saw = call.world.jsep.borrow().clone().unwrap();
    assert!(!plugin_saw.update && !plugin_saw.sdp.contains("ice-ufrag") && !plugin_saw.sdp.contains("rtx"));
}

#[test]
fn extensions_reach_the_engine() {
    let mut call = Call::new(ApiConfig::default());
    call.describe("offer", &browser("actpass", "uuuu"), "quiet");
    // The test plugin accepts none in an answer; its offers are answered with the browser's.
    call.ask("message", json!({"body": {"do": "offer"}}));
    let offered = "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid";
    assert!(browser("active", "u").contains(offered));
    call.describe("answer", &browser("active", "vvvv"), "quiet");
    let streams = call.world.record.borrow().streams.clone();
    assert!(!streams[0].extensions.contains(&(4, Extension::Mid)), "we did not offer it");
    assert_eq!(call.world.record.borrow().remote.as_ref().unwrap().role, DtlsRole::Server);
}

#[test]
fn events_of_a_peer_connection() {
    let mut call = Call::new(ApiConfig { no_media_timer_s: 2, ..ApiConfig::default() });
    call.describe("offer", &browser("actpass", "uuuu"), "");
    let (s, h) = (call.s, call.h);
    let event =
        |name: &str, rest: &str| format!(r#"{{"janus":"{name}","session_id":{s},"sender":{h}{rest}}}"#);
    let world = &mut call.world;
    assert_eq!(world.notice(Notice::Up { leg: LEG }), [event("webrtcup", "")]);
    assert!(world.notice(Notice::Up { leg: LEG }).is_empty());
    let receiving = |receiving, silent_s| Notice::Receiving { stream: VIDEO, receiving, silent_s };
    assert_eq!(
        world.notice(receiving(true, 0)),
        [event("media", r#","mid":"v","type":"video","receiving":true"#)]
    );
    assert_eq!(
        world.notice(receiving(false, 2)),
        [event("media", r#","mid":"v","type":"video","receiving":false,"seconds":2"#)]
    );
    assert_eq!(
        world.notice(Notice::SlowLink { stream: VIDEO, uplink: true, lost: 9 }),
        [event("slowlink", r#","mid":"v","media":"video","uplink":true,"lost":9"#)]
    );
    assert_eq!(world.notice(Notice::IceDisconnected { leg: LEG }), [event("ice-failed", "")]);
    assert!(world.notice(Notice::IceDisconnected { leg: LEG }).is_empty());
    let done = format!(
        r#"{{"janus":"event","session_id":{s},"sender":{h},"plugindata":{{"plugin":"{PACKAGE}","data":{{"result":"done"}}}}}}"#
    );
    assert_eq!(
        world.notice(Notice::Ended { leg: LEG, why: LegEnd::DtlsAlert }),
        [done.clone(), event("hangup", r#","reason":"DTLS alert""#)]
    );
    assert!(world.record.borrow().open.is_empty());
    assert!(world.notice(receiving(true, 0)).is_empty(), "notices of a leg that is gone");
    // The handle can negotiate again.
    assert_eq!(call.describe("offer", &browser("actpass", "uuuu"), "")[1]["jsep"]["type"], "answer");
    let hangup = call.request("hangup", json!({}));
    assert_eq!(
        call.world.ask(hangup),
        [
            done,
            format!(r#"{{"janus":"success","session_id":{s},"transaction":"t"}}"#),
            event("hangup", r#","reason":"Janus API""#)
        ]
    );
}

#[test]
fn a_plugin_offers() {
    let mut call = Call::new(ApiConfig::default());
    assert_eq!(
        call.describe("answer", &browser("active", "uuuu"), "")[0]["error"],
        json!({"code":469,"reason":"Unexpected ANSWER (did we offer?)"})
    );
    let out = call.ask("message", json!({"body": {"do": "offer"}}));
    let sdp = out[1]["jsep"]["sdp"].as_str().unwrap();
    assert!(sdp.starts_with("v=0\r\no=- 5 1 IN IP4 127.0.0.1\r\n") && sdp.contains("a=group:BUNDLE 0 1\r\n"));
    assert_eq!(lines_with(sdp, "a=setup"), ["a=setup:actpass"; 2]);
    assert_eq!(
        lines_with(sdp, "m="),
        ["m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=video 9 UDP/TLS/RTP/SAVPF 96 97"]
    );
    // Too early for the engine.
    call.ask("trickle", json!({"candidate": {"sdpMid": "a", "candidate": "candidate:early"}}));
    call.ask(
        "trickle",
        json!({"candidates": [{"sdpMid": "v", "candidate": "other m-line"}, {"completed": true}, 3]}),
    );
    assert_eq!(call.world.log(), ["open offerer=true near=false"]);
    call.world.calls();
    let out = call.describe("answer", &browser("active", "uuuu"), "quiet");
    assert_eq!(out[0]["janus"], "ack");
    assert_eq!(call.world.calls(), ["negotiated 2"]);
}

#[test]
fn candidates_wait_for_the_answer() {
    let mut call = Call::new(ApiConfig::default());
    call.ask("trickle", json!({"candidate": {"sdpMid": "a", "candidate": "candidate:old"}}));
    call.world.now += Duration::from_secs(50);
    call.ask("trickle", json!({"candidate": {"sdpMid": "a", "candidate": "candidate:new"}}));
    call.ask("trickle", json!({"candidate": {"sdpMid": "v", "candidate": "candidate:other"}}));
    call.ask("trickle", json!({"candidate": null}));
    call.describe("offer", &browser("actpass", "uuuu"), "quiet");
    assert_eq!(call.world.log(), ["open offerer=false near=false"]);
    call.describe("offer", &browser("actpass", "uuuu"), "");
    assert_eq!(
        call.world.log(),
        ["streams 2", "remote uuuu Client eoc=false", "candidate new", "end-of-candidates"]
    );
    // Now at once, and with errors.
    assert_eq!(
        call.ask("trickle", json!({"candidate": {"sdpMLineIndex": 0, "candidate": "x"}}))[0]["janus"],
        "ack"
    );
    assert_eq!(
        call.ask("trickle", json!({"candidate": {"sdpMLineIndex": 1, "candidate": "y"}}))[0]["janus"],
        "ack"
    );
    assert_eq!(call.world.log(), ["candidate x"]);
    assert_eq!(call.ask("trickle", json!({"candidate": {"candidate": "x"}}))[0]["error"]["code"], 456);
    assert_eq!(
        call.ask("trickle", json!({"candidates": 3}))[0]["error"]["reason"],
        "candidates is not an array"
    );
}

#[test]
fn renegotiation() {
    let mut call = Call::established();
    let ssrcs: Vec<u32> = call.world.record.borrow().streams.iter().map(|s| s.local_ssrc).collect();
    let added =
        format!("{}m=audio 9 UDP/TLS/RTP/SAVPF 8\r\na=mid:b\r\na=sendonly\r\n", browser("actpass", "uuuu"));
    let out = call.describe("offer", &added, "");
    let sdp = out[1]["jsep"]["sdp"].as_str().unwrap();
    assert!(call.world.jsep.borrow().as_ref().unwrap().update);
    assert_eq!(call.world.log(), ["streams 3"], "same transport: only streams change");
    assert_eq!(call.world.calls(), ["negotiated 3"]);
    assert!(sdp.contains("a=group:BUNDLE a v b\r\n") && sdp.contains("a=setup:active"));
    let streams = call.world.record.borrow().streams.clone();
    assert_eq!(streams.iter().take(2).map(|s| s.local_ssrc).collect::<Vec<_>>(), ssrcs);
    assert_eq!((streams[2].send, streams[2].recv), (false, true));
    // ICE restart of the client.
    let out = call.describe("offer", &added.replace("uuuu", "nnnn"), "");
    assert!(out[1]["jsep"]["sdp"].as_str().unwrap().contains("a=ice-ufrag:luf1\r\n"));
    assert_eq!(call.world.log(), ["restart", "streams 3", "remote nnnn Client eoc=false"]);
    // A failure leaves what is.
    assert_eq!(
        call.describe("offer", &added.replace("ice-pwd", "x"), "")[0]["error"],
        json!({"code":469,"reason":"Error processing SDP"})
    );
    // Fewer m-lines than before cannot be offered; the PeerConnection stays.
    let out = call.ask("message", json!({"body": {"do": "offer"}}));
    assert!(out[1].get("jsep").is_none() && call.world.record.borrow().open.contains(&LEG));
}

#[test]
fn ice_restart_by_the_plugin() {
    let mut call = Call::established();
    let out = call.ask("message", json!({"body": {"do": "restart"}}));
    let sdp = out[1]["jsep"]["sdp"].as_str().unwrap();
    assert!(sdp.contains("a=ice-ufrag:luf1\r\n") && sdp.contains("a=mid:a\r\n"));
    assert_eq!(lines_with(sdp, "a=setup"), ["a=setup:actpass"; 2]);
    assert_eq!(call.world.log(), ["restart"]);
    call.describe("answer", &browser("passive", "nnnn"), "quiet");
    assert_eq!(call.world.log(), ["streams 2", "remote nnnn Client eoc=false"]);
}

#[test]
fn rejected_lines() {
    let mut call = Call::new(ApiConfig::default());
    let offer = format!(
        "{}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\na=sctp-port:5000\r\nm=audio 9 UDP/TLS/RTP/SAVPF 99\r\na=mid:x\r\na=rtpmap:99 unknown/8000\r\n",
        browser("actpass", "uuuu")
    );
    let out = call.describe("offer", &offer, "");
    let sdp = out[1]["jsep"]["sdp"].as_str().unwrap();
    assert!(sdp.ends_with(
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 127.0.0.1\r\na=inactive\r\na=mid:d\r\n\
         m=audio 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 127.0.0.1\r\na=inactive\r\na=mid:x\r\n"
    ));
    assert!(sdp.contains("a=group:BUNDLE a v\r\n"));
    let streams = call.world.record.borrow().streams.clone();
    assert!(streams.len() == 4 && !streams[2].send && !streams[3].recv);
}

#[test]
fn full_trickle_sends_candidates_after_the_answer() {
    let mut call = Call::new(ApiConfig { full_trickle: true, opaqueid_in_api: true, ..ApiConfig::default() });
    let out = call.describe("offer", &browser("passive", "uuuu"), "");
    assert!(!out[1]["jsep"]["sdp"].as_str().unwrap().contains("candidate"));
    assert_eq!(
        out[2]["candidate"],
        json!({"sdpMid":"a","sdpMLineIndex":0,"candidate":"candidate:1 1 udp 2015363327 192.0.2.1 10000 typ host"})
    );
    assert_eq!(out[3]["candidate"], json!({"completed": true}));
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut call = Call::new(ApiConfig::default());
    let no_ice = browser("actpass", "u").replace("ice-ufrag", "x");
    assert_eq!(
        call.describe("offer", &no_ice, "")[0]["error"],
        json!({"code":465,"reason":"Error processing SDP"})
    );
    call.world.record.borrow_mut().full = true;
    assert_eq!(
        call.describe("offer", &browser("actpass", "u"), "")[0]["error"],
        json!({"code":490,"reason":"Error setting ICE locally: legs is full"})
    );
    call.world.record.borrow_mut().full = false;
    // A plugin whose answer is no SDP: the client hears of the end.
    let out = call.describe("offer", &browser("actpass", "u"), "badanswer");
    let names: Vec<_> = out.iter().map(|value| value["janus"].as_str().unwrap()).collect();
    assert_eq!(names, ["ack", "event", "event", "hangup"]);
    assert!(out[1].get("jsep").is_none());
    assert!(call.world.record.borrow().open.is_empty());
}

#[test]
fn end_to_end_encryption_and_no_trickle() {
    let mut call = Call::new(ApiConfig::default());
    let jsep = json!({"type": "OFFER", "sdp": browser("active", "uuuu"), "trickle": false, "e2ee": true});
    call.ask("message", json!({"body": {}, "jsep": jsep}));
    assert!(call.world.jsep.borrow().as_ref().unwrap().e2ee);
    assert_eq!(call.world.log()[2], "remote uuuu Server eoc=true");
}
