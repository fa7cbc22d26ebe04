//! Calls over the death of the SIP process.

use bifrons_sip_ua::ua::UaEvent;

use crate::sim::T64_MS;
use crate::{ANSWER, OFFER, answered_to_peer, assert_idle, established, in_dialog, invite, pair};

#[test]
fn dialogs_survive_the_death_of_the_sip_process() {
    let (mut net, a, b) = established();
    for node in [0, 1] {
        net.kill(node);
    }
    let now = net.now;
    net.agent(0).reinvite(now, a, Some(OFFER.to_vec()), &[]).expect("sent");
    while !matches!(net.event(1), Some(UaEvent::ReinviteReceived { .. })) {}
    net.agent(1).answer_reinvite(now, b, ANSWER.to_vec(), &[]).expect("answered");
    while !matches!(net.event(0), Some(UaEvent::ReinviteAccepted { .. })) {}
    net.agent(1).hangup(now, b, &[]).expect("hung up");
    expect!(net, 0, UaEvent::Ended { code: 200, .. });
    assert_idle(&mut net);
}

#[test]
fn an_ack_that_died_with_the_sip_process_is_not_missed() {
    for goes_on in [true, false] {
        let (mut net, peer, call, answer, _) = answered_to_peer("");
        let tag = answer.to.tag().expect("a tag").to_owned();
        net.kill(0);
        net.event(0);
        net.event(0);
        if goes_on {
            let text =
                in_dialog("INVITE", 2, &tag, "Contact: <sip:p@127.0.0.2>\nContent-Type: application/sdp\n");
            net.send_body(peer, 2, &text, OFFER);
        } else {
            net.advance(T64_MS + 1);
        }
        expect!(net, 0, UaEvent::Acknowledged { sdp: None, .. });
        if goes_on {
            expect!(net, 0, UaEvent::ReinviteReceived { .. });
        }
        assert_eq!(net.count_sent(0, "BYE"), 0);
        let now = net.now;
        net.agent(0).hangup(now, call, &[]).expect("hung up");
        assert_idle(&mut net);
    }
}

#[test]
fn a_late_200_after_the_death_is_acknowledged() {
    let (mut net, alice, _) = pair();
    invite(&mut net, alice, Some(OFFER));
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    net.kill(0);
    let now = net.now;
    net.agent(1).accept(now, b, ANSWER.to_vec(), &[]).expect("accepted");
    while !matches!(net.event(0), Some(UaEvent::Accepted { .. })) {}
    expect!(net, 1, UaEvent::Acknowledged { .. });
    net.agent(1).hangup(now, b, &[]).expect("hung up");
    expect!(net, 0, UaEvent::Ended { code: 200, .. });
    assert_idle(&mut net);
}

#[test]
fn an_invite_that_comes_again_after_the_death_does_not_ring_twice() {
    let (mut net, alice, _) = pair();
    let a = invite(&mut net, alice, Some(OFFER));
    let b = expect!(net, 1, UaEvent::Incoming { call, .. } => call);
    let now = net.now;
    net.agent(1).ring(now, b, &[]).expect("rings");
    net.kill(1);
    net.retransmit(1);
    net.nodes[1].events.retain(|event| !matches!(event, UaEvent::Listening { .. }));
    assert_eq!(net.event(1), None, "no second call");
    net.agent(1).accept(now, b, ANSWER.to_vec(), &[]).expect("accepted");
    while !matches!(net.event(0), Some(UaEvent::Accepted { .. })) {}
    expect!(net, 1, UaEvent::Acknowledged { .. });
    net.agent(0).hangup(now, a, &[]).expect("hung up");
    assert_idle(&mut net);
}

#[test]
fn an_invite_without_any_answer_after_the_death_ends() {
    let (mut net, alice, _) = pair();
    invite(&mut net, alice, Some(OFFER));
    expect!(net, 1, UaEvent::Incoming { .. });
    net.kill(0);
    net.kill(1);
    net.advance(T64_MS + 1);
    while !matches!(net.event(0), Some(UaEvent::Ended { code: 503, internal: true, .. })) {}
    assert_idle(&mut net);
}
