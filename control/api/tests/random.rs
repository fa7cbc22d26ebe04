//! Whatever clients, engine and time do: each request is answered once, nothing panics, and in the end the
//! tables are empty.

mod support;

use bifrons_api::{ApiConfig, Output, TransportId};
use bifrons_engine::media::{LegEnd, Notice, StreamRef};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::client::World;
use support::plugin::PACKAGE;

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:uuuu\r\na=ice-pwd:pppp\r\n\
    a=fingerprint:sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n";

#[derive(Clone, Debug)]
enum Step {
    Request { transport: u64, verb: usize, session: usize, handle: usize, what: usize, jsep: usize },
    Text(String),
    Gone(u64),
    Notice(usize, usize),
    Later(u64),
}

const VERBS: &[&str] = &[
    "create",
    "attach",
    "message",
    "message",
    "message",
    "trickle",
    "hangup",
    "detach",
    "destroy",
    "claim",
    "keepalive",
    "info",
    "ping",
    "nonsense",
];
const WHATS: &[&str] = &[
    "",
    "sync",
    "nothing",
    "error",
    "close",
    "end",
    "timer",
    "leg",
    "offer",
    "restart",
    "badanswer",
    "quiet",
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (1..4u64, 0..VERBS.len(), 0..4usize, 0..5usize, 0..WHATS.len(), 0..6usize)
            .prop_map(|(transport, verb, session, handle, what, jsep)| Step::Request { transport, verb, session, handle, what, jsep }),
        1 => "[\\[\\]{}\",:0-9a-z ]{0,30}".prop_map(Step::Text),
        1 => (1..4u64).prop_map(Step::Gone),
        4 => (0..8usize, 0..6usize).prop_map(|(leg, what)| Step::Notice(leg, what)),
        2 => (1..50u64).prop_map(Step::Later),
    ]
}

fn jsep(kind: usize) -> Option<Value> {
    Some(match kind {
        0 | 1 => return None,
        2 => json!({"type": "offer", "sdp": OFFER}),
        3 => json!({"type": "answer", "sdp": OFFER.replace("uuuu", "vvvv")}),
        4 => json!({"type": "offer", "sdp": OFFER.replace("m=video 9", "m=video 0").replace("uuuu", "wwww")}),
        _ => json!({"type": "offer", "sdp": OFFER.replace("ice-pwd", "x")}),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost(steps in prop::collection::vec(step(), 1..80), reclaim in prop::bool::ANY, trickle in prop::bool::ANY) {
        let config = ApiConfig {
            reclaim_session_timeout_s: if reclaim { 20 } else { 0 },
            full_trickle: trickle,
            ..ApiConfig::default()
        };
        let mut world = World::new(config);
        let mut sessions: Vec<u64> = vec![1];
        let mut handles: Vec<u64> = vec![1];
        for step in steps {
            match step {
                Step::Request { transport, verb, session, handle, what, jsep: kind } => {
                    let verb = VERBS[verb];
                    let mut request = json!({"janus": verb, "transaction": "t", "plugin": PACKAGE, "body": {"do": WHATS[what]}});
                    // Mostly the latest, sometimes none, sometimes an old one.
                    if verb != "create" && session > 0 {
                        request["session_id"] = sessions[sessions.len().saturating_sub(session)].into();
                    }
                    if !matches!(verb, "create" | "attach" | "destroy") && handle > 0 {
                        request["handle_id"] = handles[handles.len().saturating_sub(handle)].into();
                    }
                    if verb == "trickle" {
                        request["candidate"] = json!({"sdpMid": "0", "candidate": "candidate:1 1 udp 1 192.0.2.9 9 typ host"});
                    }
                    if let Some(jsep) = jsep(kind) {
                        request["jsep"] = jsep;
                    }
                    let outputs = world.send(transport, &request.to_string());
                    let replies: Vec<&String> = outputs
                        .iter()
                        .filter_map(|output| match output {
                            Output::Reply { transport: to, text } => { assert_eq!(to.0, transport); Some(text) }
                            _ => None,
                        })
                        .collect();
                    prop_assert_eq!(replies.len(), 1, "{} to {}", replies.len(), request);
                    let reply: Value = serde_json::from_str(replies[0]).unwrap();
                    if let Some(id) = reply["data"]["id"].as_u64() {
                        if verb == "create" { sessions.push(id) } else { handles.push(id) }
                    }
                }
                Step::Text(text) => {
                    let outputs = world.send(1, &text);
                    let replied = outputs.iter().any(|output| matches!(output, Output::Reply { .. }));
                    prop_assert!(replied);
                }
                Step::Gone(transport) => {
                    world.api.transport_gone(world.now, &mut world.media, TransportId(transport));
                    world.outputs();
                }
                Step::Notice(leg, what) => {
                    let open: Vec<_> = world.record.borrow().open.iter().copied().collect();
                    let Some(&leg) = open.get(leg) else { continue };
                    let stream = StreamRef { leg, mline: 1 };
                    world.notice(match what {
                        0 | 1 => Notice::Up { leg },
                        2 => Notice::IceDisconnected { leg },
                        3 => Notice::Ended { leg, why: LegEnd::DtlsTimeout },
                        4 => Notice::Receiving { stream, receiving: true, silent_s: 0 },
                        _ => Notice::SlowLink { stream, uplink: false, lost: 3 },
                    });
                }
                Step::Later(seconds) => drop(world.later(seconds)),
            }
        }
        world.api.end_all(world.now, &mut world.media);
        world.outputs();
        prop_assert_eq!((world.api.session_count(), world.api.handle_count()), (0, 0));
        prop_assert!(world.record.borrow().open.is_empty(), "legs left open");
    }
}
