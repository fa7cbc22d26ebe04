//! Envelope, levels, verbs: replies as Janus gives them, byte for byte.

mod support;

use std::collections::BTreeMap;

use bifrons_api::auth::sign_token;
use bifrons_api::config::{AllowedPlugins, Tokens};
use bifrons_api::rate::Rate;
use bifrons_api::{ApiConfig, Output, RequestSource, SessionEnd, TransportId};
use serde_json::{Value, json};
use support::client::{World, text};
use support::plugin::PACKAGE;

fn world() -> World {
    World::new(ApiConfig::default())
}

/// Expected texts were seen from Janus 1.1.2 for the same requests.
#[test]
fn errors_in_order() {
    let mut world = world();
    let (s, h) = world.handle();
    let error = |head: &str, code: u32, reason: &str| {
        format!(r#"{{"janus":"error",{head}"error":{{"code":{code},"reason":"{reason}"}}}}"#)
    };
    let (t, st) = (r#""transaction":"t","#.to_owned(), format!(r#""session_id":{s},"transaction":"t","#));
    let only_s = format!(r#""session_id":{s},"#);
    for (request, head, code, reason) in [
        (json!({"janus":"create"}), "", 456, "Missing mandatory element (transaction)"),
        (json!({"transaction":"t"}), "", 456, "Missing mandatory element (janus)"),
        (
            json!({"janus":"ping","transaction":5}),
            "",
            467,
            "Invalid element type (transaction should be a string)",
        ),
        (
            json!({"janus":"ping","transaction":null}),
            "",
            467,
            "Invalid element type (transaction should be a string)",
        ),
        (
            json!({"janus":"ping","transaction":"t","id":null}),
            "",
            467,
            "Invalid element type (id should be a positive integer)",
        ),
        (json!({"janus":"","transaction":"t"}), &t, 457, "Unhandled request '' at this path"),
        (
            json!({"janus":"keepalive","transaction":"t","session_id":1.5}),
            &t,
            457,
            "Unhandled request 'keepalive' at this path",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":null}),
            &st,
            467,
            "Invalid element type (body should be an object)",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{},"jsep":null}),
            &st,
            455,
            "Invalid jsep object",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{},"jsep":{"type":"offer","sdp":null}}),
            &st,
            467,
            "JSEP error: invalid element type (sdp should be a string)",
        ),
        (
            json!({"janus":"trickle","transaction":"t","session_id":s,"handle_id":h,"candidate":null,"candidates":[]}),
            &st,
            454,
            "Can't have both candidate and candidates",
        ),
        (json!({"janus":7,"transaction":"t"}), "", 467, "Invalid element type (janus should be a string)"),
        (
            json!({"janus":"ping","transaction":"t","id":"x"}),
            "",
            467,
            "Invalid element type (id should be a positive integer)",
        ),
        (
            json!({"janus":"ping","transaction":"t","id":-1}),
            "",
            467,
            "Invalid element type (id should be a positive integer)",
        ),
        (json!({"session_id":s,"janus":"x"}), &only_s, 456, "Missing mandatory element (transaction)"),
        (json!([]), "", 456, "Missing mandatory element (transaction)"),
        (json!({"janus":"create","transaction":"t","id":s}), &st, 468, "Session ID already in use"),
        (json!({"janus":"foo","transaction":"t"}), &t, 457, "Unhandled request 'foo' at this path"),
        (
            json!({"janus":"keepalive","transaction":"t","session_id":5}),
            r#""session_id":5,"transaction":"t","#,
            458,
            "No such session 5",
        ),
        (
            json!({"janus":"keepalive","transaction":"t","session_id":-5}),
            r#""session_id":-5,"transaction":"t","#,
            458,
            "No such session 18446744073709551611",
        ),
        (
            json!({"janus":"keepalive","transaction":"t","session_id":0}),
            &t,
            457,
            "Unhandled request 'keepalive' at this path",
        ),
        (
            json!({"janus":"keepalive","transaction":"t","session_id":"5"}),
            &t,
            457,
            "Unhandled request 'keepalive' at this path",
        ),
        (json!({"janus":"keepalive","transaction":"t","handle_id":5}), &t, 458, "Session not found"),
        (
            json!({"janus":"message","transaction":"t","session_id":s}),
            &st,
            457,
            "Unhandled request 'message' at this path",
        ),
        (json!({"janus":"foo","transaction":"t","session_id":s}), &st, 453, "Unknown request 'foo'"),
        (json!({"janus":"info","transaction":"t","session_id":s}), &st, 453, "Unknown request 'info'"),
        (
            json!({"janus":"attach","transaction":"t","session_id":s}),
            &st,
            456,
            "Missing mandatory element (plugin)",
        ),
        (
            json!({"janus":"attach","transaction":"t","session_id":s,"plugin":3}),
            &st,
            467,
            "Invalid element type (plugin should be a string)",
        ),
        (
            json!({"janus":"attach","transaction":"t","session_id":s,"plugin":"x"}),
            &st,
            460,
            "No such plugin 'x'",
        ),
        (
            json!({"janus":"attach","transaction":"t","session_id":s,"plugin":PACKAGE,"opaque_id":4}),
            &st,
            467,
            "Invalid element type (opaque_id should be a string)",
        ),
        (
            json!({"janus":"attach","transaction":"t","session_id":s,"plugin":PACKAGE,"loop_index":"a"}),
            &st,
            467,
            "Invalid element type (loop_index should be a positive integer)",
        ),
        (
            json!({"janus":"attach","transaction":"t","session_id":s,"plugin":PACKAGE,"opaque_id":"refuse"}),
            &st,
            461,
            "Couldn't attach to plugin: error '-2'",
        ),
        (
            json!({"janus":"keepalive","transaction":"t","session_id":s,"handle_id":0}),
            &st,
            459,
            "Handle not found",
        ),
        (
            json!({"janus":"attach","transaction":"t","session_id":s,"handle_id":h}),
            &st,
            457,
            "Unhandled request 'attach' at this path",
        ),
        (
            json!({"janus":"destroy","transaction":"t","session_id":s,"handle_id":h}),
            &st,
            457,
            "Unhandled request 'destroy' at this path",
        ),
        (
            json!({"janus":"create","transaction":"t","session_id":s,"handle_id":h}),
            &st,
            453,
            "Unknown request 'create'",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h}),
            &st,
            456,
            "Missing mandatory element (body)",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":3}),
            &st,
            467,
            "Invalid element type (body should be an object)",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{},"jsep":3}),
            &st,
            455,
            "Invalid jsep object",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{},"jsep":{}}),
            &st,
            456,
            "JSEP error: missing mandatory element (type)",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{},"jsep":{"type":3,"sdp":"x"}}),
            &st,
            467,
            "JSEP error: invalid element type (type should be a string)",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{},"jsep":{"type":"foo","sdp":"x"}}),
            &st,
            464,
            "JSEP error: unknown message type 'foo'",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{},"jsep":{"type":"offer"}}),
            &st,
            456,
            "JSEP error: missing mandatory element (sdp)",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{},"jsep":{"type":"offer","sdp":"x","trickle":3}}),
            &st,
            467,
            "JSEP error: invalid element type (trickle should be a boolean)",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{},"jsep":{"type":"answer","sdp":"x"}}),
            &st,
            465,
            "Invalid SDP (doesn't start with v=)",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{"do":"error"}}),
            &st,
            462,
            "it went wrong",
        ),
        (
            json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{"do":"nothing"}}),
            &st,
            462,
            "Plugin didn't provide any content for this synchronous response",
        ),
        (
            json!({"janus":"trickle","transaction":"t","session_id":s,"handle_id":h}),
            &st,
            456,
            "Missing mandatory element (candidate|candidates)",
        ),
        (
            json!({"janus":"trickle","transaction":"t","session_id":s,"handle_id":h,"candidate":{},"candidates":[]}),
            &st,
            454,
            "Can't have both candidate and candidates",
        ),
    ] {
        assert_eq!(world.ask(request.clone()), [error(head, code, reason)], "{request}");
    }
    let missing = json!({"janus":"keepalive","transaction":"t","session_id":s,"handle_id":99});
    assert_eq!(world.reply(missing)["error"]["reason"], format!("No such handle 99 in session {s}"));
}

#[test]
fn replies() {
    let mut world = world();
    assert_eq!(
        world.ask(json!({"janus":"PING","transaction":"t"})),
        [r#"{"janus":"pong","transaction":"t"}"#]
    );
    assert_eq!(
        world.ask(json!({"janus":"create","transaction":"t","id":12})),
        ["opened", r#"{"janus":"success","transaction":"t","data":{"id":12}}"#]
    );
    let on = |verb: &str| json!({"janus":verb,"transaction":"t","session_id":12});
    assert_eq!(world.ask(on("keepalive")), [r#"{"janus":"ack","session_id":12,"transaction":"t"}"#]);
    assert_eq!(world.ask(on("claim")), [r#"{"janus":"success","session_id":12,"transaction":"t"}"#]);
    let mut attach = on("attach");
    attach["plugin"] = PACKAGE.into();
    let h = world.reply(attach.clone())["data"]["id"].as_u64().unwrap();
    let ask =
        |body: Value| json!({"janus":"message","transaction":"t","session_id":12,"handle_id":h,"body":body});
    assert_eq!(
        world.ask(ask(json!({"do":"sync"}))),
        [format!(
            r#"{{"janus":"success","session_id":12,"transaction":"t","sender":{h},"plugindata":{{"plugin":"{PACKAGE}","data":{{"ok":true}}}}}}"#
        )]
    );
    assert_eq!(
        world.ask(ask(json!({}))),
        [
            r#"{"janus":"ack","session_id":12,"transaction":"t","hint":"wait"}"#.to_owned(),
            format!(
                r#"{{"janus":"event","session_id":12,"transaction":"t","sender":{h},"plugindata":{{"plugin":"{PACKAGE}","data":{{"ok":true}}}}}}"#
            ),
        ]
    );
    let on_handle = |verb: &str| json!({"janus":verb,"transaction":"t","session_id":12,"handle_id":h});
    let success = r#"{"janus":"success","session_id":12,"transaction":"t"}"#.to_owned();
    assert_eq!(world.ask(on_handle("hangup")), [success.as_str()]);
    assert_eq!(
        world.ask(on_handle("detach")),
        [success.clone(), format!(r#"{{"janus":"detached","session_id":12,"sender":{h}}}"#)]
    );
    let h = world.reply(attach)["data"]["id"].as_u64().unwrap();
    let end = json!({"janus":"message","transaction":"t","session_id":12,"handle_id":h,"body":{"do":"end"}});
    assert_eq!(world.ask(end)[1], format!(r#"{{"janus":"detached","session_id":12,"sender":{h}}}"#));
    assert_eq!(world.ask(on("destroy")), [success, "closed".into()]);
    assert_eq!((world.api.session_count(), world.api.handle_count()), (0, 0));
}

#[test]
fn info_has_every_member() {
    let mut world = world();
    let info = world.reply(json!({"janus":"info","transaction":"t"}));
    assert_eq!(info["janus"], "server_info");
    assert_eq!((&info["name"], &info["version"]), (&json!("Janus WebRTC Server"), &json!(1402)));
    for member in "transaction version_string author commit-hash compile-time log-to-stdout log-to-file \
        data_channels accepting-new-sessions session-timeout reclaim-session-timeout candidates-timeout \
        server-name local-ip ipv6 ice-lite ice-tcp ice-nomination ice-consent-freshness ice-keepalive-conncheck \
        hangup-on-failed full-trickle mdns-enabled min-nack-queue nack-optimizations twcc-period dtls-mtu \
        static-event-loops api_secret auth_token event_handlers opaqueid_in_api transports events loggers plugins"
        .split_whitespace()
    {
        assert!(info.get(member).is_some(), "{member}");
    }
    assert_eq!(info["plugins"][PACKAGE]["version"], 3);
}

#[test]
fn several_objects_and_broken_texts() {
    let mut world = world();
    let ping = r#"{"janus":"ping","transaction":"a"} {"janus":"ping","transaction":"b"}"#;
    let replies = world.send(1, ping);
    assert_eq!(
        replies.iter().map(text).collect::<Vec<_>>(),
        [r#"{"janus":"pong","transaction":"a"}"#, r#"{"janus":"pong","transaction":"b"}"#]
    );
    for broken in
        [format!("{ping} x"), "3".into(), "{".into(), "".into(), r#"{"janus":"ping","x":1e400}"#.into()]
    {
        let replies = world.send(1, &broken);
        assert_eq!(replies.len(), 1, "{broken}");
        assert!(
            text(&replies[0])
                .starts_with(r#"{"janus":"error","error":{"code":454,"reason":"Invalid Janus API request"#)
        );
    }
    assert_eq!(world.api.counters().json_rejected, 5);
}

#[test]
fn sessions_end_when_idle() {
    let mut world = world();
    let s = world.session();
    assert!(world.later(50).is_empty());
    // A request for a missing handle is activity, too.
    world.ask(json!({"janus":"keepalive","transaction":"t","session_id":s,"handle_id":9}));
    assert!(world.later(59).is_empty());
    assert_eq!(world.later(3), [format!(r#"{{"janus":"timeout","session_id":{s}}}"#), "closed".into()]);
    assert_eq!(world.api.session_count(), 0);
}

#[test]
fn sessions_end_with_their_transport() {
    let mut world = world();
    world.handle();
    world.api.transport_gone(world.now, &mut world.media, TransportId(1));
    assert!(world.outputs().iter().all(|output| matches!(output, Output::SessionClosed { .. })));
    assert_eq!((world.api.session_count(), world.api.handle_count()), (0, 0));
    assert_eq!(world.calls(), ["detach"]);
}

#[test]
fn sessions_wait_for_a_claim_and_keep_their_events() {
    let mut config = ApiConfig { reclaim_session_timeout_s: 20, ..ApiConfig::default() };
    config.limits.events_kept_max = 2;
    let mut world = World::new(config);
    let (s, h) = world.handle();
    world.api.transport_gone(world.now, &mut world.media, TransportId(1));
    for transaction in ["1", "2", "3"] {
        let body =
            json!({"janus":"message","transaction":transaction,"session_id":s,"handle_id":h,"body":{}});
        assert_eq!(world.send(5, &body.to_string()).len(), 1, "only the ack");
    }
    assert_eq!(world.api.counters().events_dropped, 1);
    let claim = json!({"janus":"claim","transaction":"c","session_id":s}).to_string();
    let outputs = world.send(7, &claim);
    assert!(matches!(outputs[1], Output::SessionOpened { transport: TransportId(7), .. }));
    assert!(
        text(&outputs[2]).contains(r#""transaction":"2""#)
            && text(&outputs[3]).contains(r#""transaction":"3""#)
    );
    // From one living transport to another.
    let outputs = world.send(8, &claim);
    assert!(matches!(
        outputs[1],
        Output::SessionClosed { transport: TransportId(7), why: SessionEnd::Claimed, .. }
    ));
    world.api.transport_gone(world.now, &mut world.media, TransportId(7));
    assert_eq!(world.api.session_count(), 1, "it is 8's now");
    world.api.transport_gone(world.now, &mut world.media, TransportId(8));
    world.later(23);
    assert_eq!(world.api.session_count(), 0);
}

#[test]
fn secrets_and_tokens() {
    let tokens = Tokens::Stored(BTreeMap::from([
        ("all".into(), AllowedPlugins::All),
        ("none".into(), AllowedPlugins::Only(vec![])),
    ]));
    let config = ApiConfig { api_secret: Some("s3".into()), tokens, ..ApiConfig::default() };
    let mut world = World::new(config);
    let refused = r#"{"janus":"error","transaction":"t","error":{"code":403,"reason":"Unauthorized request (wrong or missing secret/token)"}}"#;
    for wrong in [json!({}), json!({"apisecret":"s"}), json!({"apisecret":3}), json!({"token":"s3"})] {
        let mut request = wrong;
        request["janus"] = "create".into();
        request["transaction"] = "t".into();
        assert_eq!(world.ask(request), [refused]);
    }
    assert_eq!(world.reply(json!({"janus":"ping","transaction":"t"}))["janus"], "pong");
    let s = world.reply(json!({"janus":"create","transaction":"t","token":"all"}))["data"]["id"].clone();
    let attach = |token: &str, secret: &str| json!({"janus":"attach","transaction":"t","session_id":s,"plugin":PACKAGE,"token":token,"apisecret":secret});
    assert_eq!(world.reply(attach("all", ""))["janus"], "success");
    assert_eq!(
        world.reply(attach("none", ""))["error"]["reason"],
        format!("Provided token can't access plugin '{PACKAGE}'")
    );
    assert_eq!(world.reply(attach("unknown", "s3"))["error"]["code"], 405);
    // Authorization comes before the session, so that ids cannot be tried without it.
    let unknown = json!({"janus":"keepalive","transaction":"t","session_id":1});
    assert_eq!(world.reply(unknown)["error"]["code"], 403);
}

#[test]
fn signed_tokens_expire() {
    let config = ApiConfig { tokens: Tokens::Signed("key".into()), ..ApiConfig::default() };
    let mut world = World::new(config);
    world.api.set_unix_time(world.now, 1_000_000_000);
    let token = sign_token("key", &format!("1010,janus,{PACKAGE}"));
    let create = json!({"janus":"create","transaction":"t","token":token});
    assert_eq!(world.reply(create.clone())["janus"], "success");
    world.now += std::time::Duration::from_secs(11);
    assert_eq!(world.reply(create)["error"]["code"], 403);
}

#[test]
fn drain_and_limits() {
    let mut config = ApiConfig::default();
    config.limits.sessions_max = 2;
    config.limits.handles_per_session_max = 1;
    config.limits.message_per_source = Some(Rate { per_s: 1.0, burst: 2.0 });
    config.limits.create_per_token = Some(Rate { per_s: 1.0, burst: 1.0 });
    let mut world = World::new(config);
    let (s, h) = world.handle();
    let again = json!({"janus":"attach","plugin":PACKAGE,"transaction":"t","session_id":s});
    assert_eq!(world.reply(again)["error"]["reason"], "Couldn't attach to plugin: too many handles");
    let body = json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{"do":"sync"}});
    assert_eq!(world.reply(body.clone())["janus"], "success");
    assert_eq!(world.reply(body.clone())["janus"], "success");
    assert_eq!(
        world.reply(body.clone())["error"],
        json!({"code":429,"reason":"Too many requests (message per source)"})
    );
    world.later(2);
    assert_eq!(world.reply(body)["janus"], "success");
    let create = json!({"janus":"create","transaction":"t","token":"x"});
    assert_eq!(world.reply(create.clone())["janus"], "success");
    assert_eq!(world.reply(create)["error"]["reason"], "Too many requests (create per token)");
    assert_eq!(
        world.reply(json!({"janus":"create","transaction":"t"}))["error"],
        json!({"code":472,"reason":"Too many sessions"})
    );
    world.api.set_accepting(false);
    let drained = world.reply(json!({"janus":"create","transaction":"t"}));
    assert_eq!(drained["error"], json!({"code":472,"reason":"Currently not accepting new sessions"}));
    let counters = world.api.counters();
    assert_eq!((counters.message_limited, counters.create_limited, counters.handles_full), (1, 1, 1));
}

#[test]
fn guessing_finds_nothing() {
    let mut world = world();
    let s = world.session();
    let guess = |world: &mut World, ip: [u8; 4], id: u64| {
        let source = RequestSource { transport: TransportId(50), ip: Some(ip.into()) };
        let request = json!({"janus":"keepalive","transaction":"t","session_id":id});
        world.api.request(world.now, &mut world.media, source, request);
        text(&world.outputs()[0]).contains(r#""ack""#)
    };
    let (stranger, owner) = ([198, 51, 100, 9], [192, 0, 2, 1]);
    assert!(guess(&mut world, stranger, s), "an application server may know the id");
    for id in 1..=200 {
        assert!(!guess(&mut world, stranger, id));
    }
    assert!(!guess(&mut world, stranger, s), "after 100 misses only what is his own");
    assert!(guess(&mut world, owner, s));
    assert!(world.api.counters().guesses_refused >= 100);
}

#[test]
fn plugins_have_timers_and_are_woken() {
    let mut world = world();
    let (s, h) = world.handle();
    world
        .ask(json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{"do":"timer"}}));
    assert!(world.later(4).is_empty());
    assert!(world.later(1)[0].contains(r#""timer":true"#));
    world.api.plugin_woken(world.now, &mut world.media, 0);
    world.api.plugin_woken(world.now, &mut world.media, 7);
    assert_eq!(world.calls(), ["woken"]);
}

#[test]
fn legs_of_a_plugin_end_with_the_handle() {
    let mut world = world();
    let (s, h) = world.handle();
    world.ask(json!({"janus":"message","transaction":"t","session_id":s,"handle_id":h,"body":{"do":"leg"}}));
    assert_eq!(world.record.borrow().open.len(), 1);
    world.ask(json!({"janus":"destroy","transaction":"t","session_id":s}));
    assert!(world.record.borrow().open.is_empty());
}
