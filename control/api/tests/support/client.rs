use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bifrons_api::plugin::Jsep;
use bifrons_api::{Api, ApiConfig, Output, RequestSource, TransportId};
use bifrons_engine::media::Notice;
use serde_json::{Value, json};

use super::media::{FakeMedia, Record};
use super::plugin::{PACKAGE, TestPlugin};

/// A server and the clients that talk to it.
pub struct World {
    pub api: Api,
    pub media: FakeMedia,
    pub record: Rc<RefCell<Record>>,
    pub calls: Rc<RefCell<Vec<String>>>,
    pub jsep: Rc<RefCell<Option<Jsep>>>,
    pub now: Duration,
}

/// What a client gets, one line each; `<S>`-like ids are replaced by the caller where they matter.
pub fn text(output: &Output) -> &str {
    match output {
        Output::Reply { text, .. } | Output::Event { text, .. } => text,
        Output::SessionOpened { .. } => "opened",
        Output::SessionClosed { .. } => "closed",
    }
}

impl World {
    pub fn new(config: ApiConfig) -> Self {
        let plugin = TestPlugin::default();
        let (calls, jsep) = (plugin.calls.clone(), plugin.jsep.clone());
        let media = FakeMedia::default();
        let record = media.0.clone();
        Self {
            api: Api::new(config, vec![Box::new(plugin)]),
            media,
            record,
            calls,
            jsep,
            now: Duration::from_secs(100),
        }
    }

    /// All that comes of a text sent by a transport instance.
    pub fn send(&mut self, transport: u64, text: &str) -> Vec<Output> {
        let source = RequestSource { transport: TransportId(transport), ip: Some([192, 0, 2, 1].into()) };
        self.api.request_text(self.now, &mut self.media, source, text);
        self.outputs()
    }

    pub fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.api.next_output()).collect()
    }

    /// Texts that come of a request.
    pub fn ask(&mut self, request: Value) -> Vec<String> {
        self.send(1, &request.to_string()).iter().map(|output| text(output).to_owned()).collect()
    }

    /// The first reply to a request.
    pub fn reply(&mut self, request: Value) -> Value {
        let outputs = self.send(1, &request.to_string());
        let reply = outputs.iter().find(|output| matches!(output, Output::Reply { .. })).expect("a reply");
        serde_json::from_str(text(reply)).unwrap()
    }

    pub fn session(&mut self) -> u64 {
        self.reply(json!({"janus": "create", "transaction": "t"}))["data"]["id"].as_u64().unwrap()
    }

    pub fn handle(&mut self) -> (u64, u64) {
        let session = self.session();
        let attach = json!({"janus": "attach", "plugin": PACKAGE, "transaction": "t", "session_id": session});
        (session, self.reply(attach)["data"]["id"].as_u64().unwrap())
    }

    /// What comes of time going on.
    pub fn later(&mut self, seconds: u64) -> Vec<String> {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            if self.api.next_timeout().is_some_and(|at| at <= self.now) {
                self.api.on_timeout(self.now, &mut self.media);
            }
        }
        self.outputs().iter().map(|output| text(output).to_owned()).collect()
    }

    /// What comes of something that the engine says.
    pub fn notice(&mut self, notice: Notice) -> Vec<String> {
        self.record.borrow_mut().notices.push_back(notice);
        assert!(!self.api.poll_media(self.now, &mut self.media));
        self.outputs().iter().map(|output| text(output).to_owned()).collect()
    }

    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.record.borrow_mut().log)
    }

    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.borrow_mut())
    }
}
