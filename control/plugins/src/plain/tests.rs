//! Descriptions in all four orders, and what the engine is told of them.

use bifrons_engine::LegId;
use bifrons_engine::media::StreamRef;
use bifrons_sip_ua::message::Uri;
use bifrons_sip_ua::ua::Source;
use bifrons_wire::sdp::{Crypto, Direction, Sdp, Suite};

use super::*;
use crate::testing::{World, audio_pc};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;
const KEY: &str = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn sdp(rest: &str) -> String {
    format!("v=0\r\no=- 5 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\n{rest}")
}

/// What the core hands over of a browser's offer.
fn browser_offer() -> String {
    sdp(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 126\r\nc=IN IP4 1.1.1.1\r\na=sendrecv\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n\
         a=rtpmap:126 telephone-event/8000\r\n",
    )
}

fn telephone(port: u16, formats: &str, more: &str) -> String {
    sdp(&format!("c=IN IP4 198.51.100.7\r\nm=audio {port} RTP/AVP {formats}\r\n{more}"))
        .replace("t=0 0\r\nc=", "c=")
        .replace("m=audio", "t=0 0\r\nm=audio")
}

fn side() -> PlainSide {
    PlainSide::new(PlainConfig { own_origin: true, prune_duplicates: true, ..PlainConfig::default() })
}

fn both(world: &World, telephone: LegId) -> (bool, bool) {
    let browser = StreamRef { leg: LegId::new(0, 1_000, 1), mline: 0 };
    let telephone = StreamRef { leg: telephone, mline: 0 };
    (world.told.gates[&(browser, telephone)], world.told.gates[&(telephone, browser)])
}

#[test]
fn a_call_out_is_routed_both_ways_with_the_peers_numbers() {
    let (mut world, mut side) = (World::default(), side());
    let plain = side.local_offer(&mut world.cx(), &browser_offer(), SrtpPolicy::Follow, &SUITE).unwrap();
    let offer = Sdp::parse(&plain).unwrap();
    assert_eq!(offer.media[0].line.to_string(), "audio 10000 RTP/AVP 111 0 8 126");
    assert_eq!(offer.connection(&offer.media[0]).unwrap().ip().unwrap().to_string(), "192.0.2.1");
    assert!(!plain.contains("a=mid") && !plain.contains("1.1.1.1") && !plain.contains("crypto"), "{plain}");

    let answer = telephone(
        4000,
        "96 0 101",
        "a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\na=rtcp:4100\r\n",
    );
    let browser = side.remote_answer(&mut world.cx(), answer.as_bytes(), SrtpPolicy::Follow).unwrap();
    let browser = Sdp::parse(&browser).unwrap();
    assert_eq!(browser.media[0].payload_types(), [111, 0, 126], "numbered as the browser's offer");
    let leg = world.told.opened[0];
    assert_eq!(world.told.remotes[&leg].rtp.to_string(), "198.51.100.7:4000");
    assert_eq!(world.told.remotes[&leg].rtcp.unwrap().port(), 4100);

    let pc = audio_pc(&[(111, "opus", 48_000), (0, "pcmu", 8_000), (126, "telephone-event", 8_000)]);
    side.connect(&mut world.cx(), &pc).unwrap();
    let outward = &world.told.routes[&StreamRef { leg: pc.leg, mline: 0 }][0];
    assert_eq!(outward.payload_types, [(111, 96), (0, 0), (126, 101)]);
    let inward = &world.told.routes[&StreamRef { leg, mline: 0 }][0];
    assert_eq!(inward.payload_types, [(111, 111), (0, 0), (126, 126)]);
    assert_eq!(both(&world, leg), (true, true));
    side.close(&mut world.cx());
    assert_eq!(world.told.closed, [leg]);
}

#[test]
fn a_call_in_is_answered_with_the_offers_numbers_and_rejects_what_no_browser_knows() {
    let (mut world, mut side) = (World::default(), side());
    let offer = telephone(
        4000,
        "8 96 97",
        "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 opus/48000/2\r\nm=image 5000 udptl t38\r\nm=audio 4002 RTP/AVP 0\r\n",
    );
    let offered = side.remote_offer(offer.as_bytes()).unwrap();
    assert_eq!(offered.srtp, SrtpPolicy::Follow);
    assert_eq!(Sdp::parse(&offered.browser).unwrap().media.len(), 1);
    assert!(world.told.opened.is_empty(), "no leg before the browser's own leg is known");
    let answer = sdp(
        "m=audio 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 1.1.1.1\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 opus/48000/2\r\n",
    );
    let plain = side.local_answer(&mut world.cx(), &answer, SrtpPolicy::Follow).unwrap();
    let plain = Sdp::parse(&plain).unwrap();
    let lines: Vec<_> = plain.media.iter().map(|media| media.line.to_string()).collect();
    assert_eq!(lines, ["audio 10000 RTP/AVP 96", "image 0 udptl t38", "audio 0 RTP/AVP 0"]);
    assert_eq!(world.told.remotes[&world.told.opened[0]].rtp.to_string(), "198.51.100.7:4000");
}

#[test]
fn no_common_codec_names_both_lists() {
    let (mut world, mut side) = (World::default(), side());
    side.local_offer(&mut world.cx(), &browser_offer(), SrtpPolicy::Follow, &SUITE).unwrap();
    let answer = telephone(4000, "18 101", "a=rtpmap:101 telephone-event/8000\r\n");
    let error = side.remote_answer(&mut world.cx(), answer.as_bytes(), SrtpPolicy::Follow).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("opus/48000 PCMU/8000") && text.contains("G729/8000"), "{text}");
}

#[test]
fn hold_and_its_end_both_ways() {
    let (mut world, mut side) = (World::default(), side());
    side.local_offer(&mut world.cx(), &browser_offer(), SrtpPolicy::Follow, &SUITE).unwrap();
    side.remote_answer(&mut world.cx(), telephone(4000, "0", "").as_bytes(), SrtpPolicy::Follow).unwrap();
    let pc = audio_pc(&[(0, "pcmu", 8_000)]);
    side.connect(&mut world.cx(), &pc).unwrap();
    let leg = world.told.opened[0];

    side.set_hold(Some(Direction::from_flags(true, false)));
    let held = Sdp::parse(&side.reoffer().unwrap()).unwrap();
    assert_eq!(held.media[0].section.direction(), Some(Direction::from_flags(true, false)));
    assert_eq!(held.origin().unwrap().version, 2, "the version rises");
    side.remote_reanswer(&mut world.cx(), telephone(4000, "0", "a=recvonly\r\n").as_bytes()).unwrap();
    side.apply_gates(&mut world.cx(), &pc).unwrap();
    assert_eq!(both(&world, leg), (true, false), "music may go out, nothing comes in");
    side.set_hold(None);
    let resumed = Sdp::parse(&side.reoffer().unwrap()).unwrap();
    assert_eq!(resumed.media[0].section.direction(), None, "sendrecv is not written");
    side.remote_reanswer(&mut world.cx(), telephone(4000, "0", "").as_bytes()).unwrap();
    side.apply_gates(&mut world.cx(), &pc).unwrap();
    assert_eq!(both(&world, leg), (true, true));

    // The peer holds: a direction, and the old way with 0.0.0.0; then comes back from elsewhere.
    for hold in
        [telephone(4000, "0", "a=sendonly\r\n"), telephone(4000, "0", "").replace("198.51.100.7", "0.0.0.0")]
    {
        let answer = side.answer_reoffer(&mut world.cx(), hold.as_bytes());
        side.apply_gates(&mut world.cx(), &pc).unwrap();
        match answer {
            Ok(answer) => {
                let answer = Sdp::parse(&answer).unwrap();
                assert_eq!(answer.media[0].section.direction(), Some(Direction::from_flags(false, true)));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(!both(&world, leg).0, "nothing is sent to a peer that holds");
    }
    side.answer_reoffer(&mut world.cx(), telephone(6000, "0", "").as_bytes()).unwrap();
    side.apply_gates(&mut world.cx(), &pc).unwrap();
    assert_eq!(both(&world, leg), (true, true));
    assert_eq!(world.told.remotes[&leg].rtp.port(), 6000);
}

#[test]
fn sdes_is_agreed_falls_back_and_is_insisted_on() {
    let (mut world, mut side) = (World::default(), side());
    let plain = side.local_offer(&mut world.cx(), &browser_offer(), SrtpPolicy::Optional, &SUITE).unwrap();
    let own = Sdp::parse(&plain).unwrap().media[0].section.get::<Crypto>().unwrap().unwrap();
    assert!(plain.contains("RTP/AVP") && own.tag == 1);
    let secured = telephone(4000, "0", &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n"));
    let browser = side.remote_answer(&mut world.cx(), secured.as_bytes(), SrtpPolicy::Optional).unwrap();
    assert!(!browser.contains("crypto"), "a browser sees no keys");
    let leg = world.told.opened[0];
    let keys = world.told.remotes[&leg].sdes.clone().unwrap();
    assert_eq!((keys.local, keys.suite.as_str()), (own.keys[0].key_salt.clone(), "AES_CM_128_HMAC_SHA1_80"));
    side.remote_answer(&mut world.cx(), telephone(4000, "0", "").as_bytes(), SrtpPolicy::Optional).unwrap();
    assert!(world.told.remotes[&leg].sdes.is_none(), "answered in plain: neither side protects");
    let plain = telephone(4000, "0", "");
    let refused = side.remote_answer(&mut world.cx(), plain.as_bytes(), SrtpPolicy::Mandatory);
    assert_eq!(refused, Err(PlainError::SrtpRequired));

    // A secured offer is answered secured, in its own profile, whatever the client asked for.
    let mut incoming = self::side();
    let offer = secured.replace("RTP/AVP", "RTP/SAVPF");
    assert_eq!(incoming.remote_offer(offer.as_bytes()).unwrap().srtp, SrtpPolicy::Mandatory);
    let answer = sdp("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 1.1.1.1\r\n");
    let text = incoming.local_answer(&mut world.cx(), &answer, SrtpPolicy::Follow).unwrap();
    assert!(text.contains("RTP/SAVPF 0") && text.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80"), "{text}");

    // A re-offer, or the answer to ours, that drops the keys is no way back to plain RTP.
    assert_eq!(incoming.answer_reoffer(&mut world.cx(), plain.as_bytes()), Err(PlainError::SrtpRequired));
    incoming.reoffer().unwrap();
    assert_eq!(incoming.remote_reanswer(&mut world.cx(), plain.as_bytes()), Err(PlainError::SrtpRequired));

    // Mandatory against a plain offer fails, and does not stick.
    let mut incoming = self::side();
    incoming.remote_offer(plain.as_bytes()).unwrap();
    assert_eq!(
        incoming.local_answer(&mut world.cx(), &answer, SrtpPolicy::Mandatory),
        Err(PlainError::SrtpRequired)
    );
    assert!(incoming.local_answer(&mut world.cx(), &answer, SrtpPolicy::Follow).is_ok());
}

#[test]
fn an_offer_that_changes_nothing_is_seen() {
    let (mut world, mut side) = (World::default(), side());
    side.local_offer(&mut world.cx(), &browser_offer(), SrtpPolicy::Optional, &SUITE).unwrap();
    assert!(!side.is_unchanged());
    side.remote_answer(&mut world.cx(), telephone(4000, "0", "").as_bytes(), SrtpPolicy::Optional).unwrap();
    side.local_offer(&mut world.cx(), &browser_offer(), SrtpPolicy::Optional, &SUITE).unwrap();
    assert!(side.is_unchanged());
    let again = side.repeat_answer(&mut world.cx(), SrtpPolicy::Optional).unwrap();
    assert_eq!(Sdp::parse(&again).unwrap().media[0].payload_types(), [0]);
    let changed = browser_offer().replace("a=sendrecv", "a=recvonly");
    side.local_offer(&mut world.cx(), &changed, SrtpPolicy::Optional, &SUITE).unwrap();
    assert!(!side.is_unchanged());
    assert_eq!(world.told.opened.len(), 1, "a renegotiation keeps its leg");
}

#[test]
fn what_cannot_be_carried_is_named_and_leaves_nothing_behind() {
    let (mut world, mut side) = (World::default(), side());
    let data = browser_offer() + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    let refused = side.local_offer(&mut world.cx(), &data, SrtpPolicy::Follow, &SUITE);
    assert_eq!(refused, Err(PlainError::DataChannels));
    let refused = side.local_offer(&mut world.cx(), "v=0\r\nwhat\r\n", SrtpPolicy::Follow, &SUITE);
    assert!(matches!(refused, Err(PlainError::Parse(text)) if text.contains("line 2")));
    let fax = sdp("m=image 5000 udptl t38\r\n");
    assert!(matches!(self::side().remote_offer(fax.as_bytes()), Err(PlainError::NoMedia)));
    let named = telephone(4000, "0", "").replace("198.51.100.7", "media.example.com");
    assert!(matches!(self::side().remote_offer(named.as_bytes()), Err(PlainError::NoRemoteAddress)));
    assert!(matches!(
        self::side().remote_answer(&mut world.cx(), named.as_bytes(), SrtpPolicy::Follow),
        Err(PlainError::NoOffer)
    ));

    world.told.ports_max = Some(0);
    let refused = side.local_offer(&mut world.cx(), &browser_offer(), SrtpPolicy::Follow, &SUITE);
    assert!(matches!(refused, Err(PlainError::Media(_))));
    side.close(&mut world.cx());
    assert!(world.told.closed.is_empty() && world.told.opened.is_empty());
}

/// The trunk whose media come from 198.51.100.0/24.
fn trunk(rtcp_mux: bool) -> PlainSide {
    let peer = |name: &str, group, network: [u8; 4]| SharedPeer {
        name: name.into(),
        group,
        media: vec![Source { address: network.into(), prefix: 24 }],
        hops: vec!["sbc.example.com".parse().unwrap()],
        rtcp_mux,
    };
    let shared = [peer("other", 0, [203, 0, 113, 0]), peer("carrier", 1, [198, 51, 100, 0])];
    PlainSide::new(PlainConfig { own_origin: true, shared: shared.into(), ..PlainConfig::default() })
}

#[test]
fn an_offer_of_a_trunk_gets_a_shared_port_and_others_their_own() {
    for (offer, shares) in [
        (telephone(4000, "0", ""), true),
        (telephone(4000, "0", "").replace("198.51.100.7", "192.0.2.77"), false),
        (telephone(4000, "0", "").replace("198.51.100.7", "0.0.0.0"), false),
    ] {
        let (mut world, mut side) = (World::default(), trunk(false));
        let answer = browser_offer();
        // One that holds from the start has no address yet.
        if side.remote_offer(offer.as_bytes()).is_err() {
            assert!(offer.contains("0.0.0.0"));
            continue;
        }
        side.local_answer(&mut world.cx(), &answer, SrtpPolicy::Follow).unwrap();
        let shared = world.told.opens[0].shared.as_ref();
        let known = shared.map(|shared| (shared.group, shared.remote.as_ref().map(|remote| remote.rtp)));
        assert_eq!(known, shares.then(|| (1, Some("198.51.100.7:4000".parse().unwrap()))));
    }
}

#[test]
fn an_offer_to_a_trunk_names_a_shared_port_and_its_answer_must_have_the_trunks_address() {
    let (mut world, mut side) = (World::default(), trunk(true));
    assert!(!side.share(|peer| peer.name == "nobody"));
    assert!(side.share(|peer| peer.name == "carrier"));
    let offer =
        browser_offer() + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 1.1.1.1\r\na=rtpmap:96 VP8/90000\r\n";
    let plain = side.local_offer(&mut world.cx(), &offer, SrtpPolicy::Follow, &SUITE).unwrap();
    let shared: Vec<_> = world.told.opens.iter().map(|open| open.shared.clone().unwrap()).collect();
    assert!(shared.iter().all(|shared| shared.group == 1 && shared.remote.is_none()));
    assert_eq!(shared[1].not, [10_000], "video is not on the port of audio");
    let lines = |text: &str| {
        let sdp = Sdp::parse(text).unwrap();
        sdp.media.iter().map(|media| media.section.has("rtcp-mux")).collect::<Vec<_>>()
    };
    assert_eq!(lines(&plain), [true, true]);

    let elsewhere = telephone(4000, "0", "").replace("198.51.100.7", "192.0.2.77");
    let refused = side.remote_answer(&mut world.cx(), elsewhere.as_bytes(), SrtpPolicy::Follow).unwrap_err();
    assert!(matches!(refused, PlainError::NotItsMedia { .. }), "{refused}");
    assert!(
        refused.to_string().contains("192.0.2.77") && refused.to_string().contains("carrier"),
        "{refused}"
    );
    assert!(world.told.remotes.is_empty());

    let answer = telephone(4000, "0", "a=rtcp-mux\r\nm=video 0 RTP/AVP 96\r\n");
    side.remote_answer(&mut world.cx(), answer.as_bytes(), SrtpPolicy::Follow).unwrap();
    assert!(world.told.remotes[&world.told.opened[0]].rtcp_mux);
    // A re-offer that takes it back is answered without it.
    let reoffer = telephone(4010, "0", "m=video 0 RTP/AVP 96\r\n");
    let answer = side.answer_reoffer(&mut world.cx(), reoffer.as_bytes()).unwrap();
    assert_eq!(lines(&answer), [false, false]);
    assert!(!world.told.remotes[&world.told.opened[0]].rtcp_mux);
}

#[test]
fn rtcp_mux_is_taken_only_where_it_is_configured_and_offered() {
    for (configured, offered) in [(true, true), (true, false), (false, true)] {
        let (mut world, mut side) = (World::default(), trunk(configured));
        let offer = telephone(4000, "0", if offered { "a=rtcp-mux\r\n" } else { "" });
        side.remote_offer(offer.as_bytes()).unwrap();
        let plain = side.local_answer(&mut world.cx(), &browser_offer(), SrtpPolicy::Follow).unwrap();
        let both = configured && offered;
        assert_eq!(plain.contains("a=rtcp-mux"), both, "{plain}");
        assert_eq!(world.told.remotes[&world.told.opened[0]].rtcp_mux, both);
    }
}

#[test]
fn a_hop_is_known_by_its_domain() {
    let side = trunk(false);
    let hop = |text: &str| {
        let uri = Uri::parse(text).unwrap().as_sip().unwrap().clone();
        side.config.shared[1].is_hop(&uri)
    };
    assert!(hop("sip:+4930@SBC.example.com:5070") && !hop("sip:+4930@example.com"));
}
