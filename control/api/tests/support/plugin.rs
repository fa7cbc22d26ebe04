use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bifrons_api::plugin::*;
use bifrons_api::sdp_tools::{AnswerLine, Codec, OfferLine, answer, offer};
use bifrons_engine::media::{Latching, RtpOpen};
use bifrons_wire::sdp::Sdp;
use serde_json::{Map, Value, json};

pub const PACKAGE: &str = "janus.plugin.test";

/// Does what the body's `do` says, and writes down how it is called.
#[derive(Default)]
pub struct TestPlugin {
    pub calls: Rc<RefCell<Vec<String>>>,
    /// The last description that came.
    pub jsep: Rc<RefCell<Option<Jsep>>>,
}

impl TestPlugin {
    fn note(&self, text: impl Into<String>) {
        self.calls.borrow_mut().push(text.into());
    }
}

impl Plugin for TestPlugin {
    fn info(&self) -> PluginInfo {
        PluginInfo {
            package: PACKAGE,
            name: "Test",
            description: "Does what it is told",
            author: "Tests",
            version: 3,
            version_string: "0.0.3",
        }
    }
    fn attach(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) -> Result<(), i32> {
        let (_, _, opaque) = cx.identity(handle).unwrap();
        if opaque.as_deref() == Some("refuse") { Err(-2) } else { Ok(()) }
    }
    fn message(
        &mut self,
        cx: &mut PluginCx<'_>,
        handle: HandleKey,
        transaction: &str,
        body: Map<String, Value>,
        jsep: Option<Jsep>,
    ) -> MessageResult {
        *self.jsep.borrow_mut() = jsep.clone();
        let ok = json!({"ok": true});
        let what = body.get("do").and_then(Value::as_str).unwrap_or("");
        match what {
            "sync" => return MessageResult::Success(ok),
            "nothing" => return MessageResult::Success(Value::Null),
            "error" => return MessageResult::Error("it went wrong".into()),
            "close" => cx.close_pc(handle),
            "end" => cx.end_handle(handle),
            "timer" => cx.set_timer(TimerKey(handle.0), Duration::from_secs(5)),
            "leg" => {
                let open = RtpOpen { latching: Latching::Off, rtcp_mux: true, ..RtpOpen::default() };
                let leg = cx.media.open_rtp_leg(open).unwrap().leg;
                cx.own_leg(leg, handle);
            }
            "offer" | "restart" => {
                let lines = [
                    OfferLine::new(Codec::named("opus").unwrap()),
                    OfferLine::new(Codec::named("vp8").unwrap()),
                ];
                let mut jsep = Jsep::new(JsepType::Offer, offer("s", 5, 1, &lines).to_string());
                jsep.restart = what == "restart";
                cx.push_event(handle, None, ok, Some(jsep));
            }
            "badanswer" => {
                cx.push_event(handle, Some(transaction), ok, Some(Jsep::new(JsepType::Answer, "nonsense")))
            }
            "quiet" => {}
            _ => {
                let reply = jsep.filter(|jsep| jsep.kind == JsepType::Offer).map(|jsep| {
                    let sdp = Sdp::parse(&jsep.sdp).unwrap();
                    Jsep::new(JsepType::Answer, answer(&sdp, |_, _| Some(AnswerLine::default())).to_string())
                });
                cx.push_event(handle, Some(transaction), ok, reply);
            }
        }
        MessageResult::Ack(Some("wait"))
    }
    fn webrtc_up(&mut self, _: &mut PluginCx<'_>, _: HandleKey) {
        self.note("up");
    }
    fn negotiated(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        self.note(format!("negotiated {}", cx.peer_connection(handle).unwrap().streams.len()));
    }
    fn hangup_media(&mut self, cx: &mut PluginCx<'_>, handle: HandleKey) {
        self.note("hangup");
        assert!(cx.peer_connection(handle).is_none());
        cx.push_event(handle, None, json!({"result": "done"}), None);
    }
    fn detach(&mut self, _: &mut PluginCx<'_>, _: HandleKey) {
        self.note("detach");
    }
    fn timer(&mut self, cx: &mut PluginCx<'_>, timer: TimerKey) {
        cx.push_event(HandleKey(timer.0), None, json!({"timer": true}), None);
    }
    fn woken(&mut self, _: &mut PluginCx<'_>) {
        self.note("woken");
    }
    fn query(&self, _: HandleKey) -> Value {
        Value::Null
    }
}
