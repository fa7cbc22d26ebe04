use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use bifrons_engine::media::*;
use bifrons_engine::{LegId, Media};

/// An engine that writes down what it is told and says what the test makes it say.
#[derive(Default)]
pub struct FakeMedia(pub Rc<RefCell<Record>>);

#[derive(Default)]
pub struct Record {
    pub log: Vec<String>,
    pub open: BTreeSet<LegId>,
    pub notices: VecDeque<Notice>,
    pub streams: Vec<StreamConfig>,
    pub remote: Option<WebRtcRemote>,
    pub full: bool,
    made: u32,
    restarts: u32,
}

impl FakeMedia {
    fn note(&self, text: String) {
        self.0.borrow_mut().log.push(text);
    }
    fn known(&self, leg: LegId) -> Result<(), MediaError> {
        if self.0.borrow().open.contains(&leg) { Ok(()) } else { Err(MediaError::NoSuchLeg) }
    }
}

impl Media for FakeMedia {
    fn open_webrtc_leg(&mut self, open: WebRtcOpen) -> Result<WebRtcLocal, MediaError> {
        let mut record = self.0.borrow_mut();
        if record.full {
            return Err(MediaError::Full("legs"));
        }
        record.made += 1;
        let leg = LegId::new(0, record.made, 1);
        record.open.insert(leg);
        record.log.push(format!("open offerer={} near={}", open.offerer, open.near.is_some()));
        Ok(WebRtcLocal {
            leg,
            ice: IceCredentials { ufrag: "luf".into(), pwd: "lpw".into() },
            candidates: vec!["1 1 udp 2015363327 192.0.2.1 10000 typ host".into()],
            fingerprint: "AB:CD".into(),
            ice_lite: false,
        })
    }
    fn set_webrtc_remote(&mut self, leg: LegId, remote: WebRtcRemote) -> Result<(), MediaError> {
        self.known(leg)?;
        self.note(format!("remote {} {:?} eoc={}", remote.ice.ufrag, remote.role, remote.end_of_candidates));
        self.0.borrow_mut().remote = Some(remote);
        Ok(())
    }
    fn add_remote_candidate(&mut self, leg: LegId, candidate: &str) -> Result<(), MediaError> {
        self.known(leg)?;
        self.note(format!("candidate {candidate}"));
        Ok(())
    }
    fn end_of_candidates(&mut self, leg: LegId) -> Result<(), MediaError> {
        self.known(leg)?;
        self.note("end-of-candidates".into());
        Ok(())
    }
    fn restart_ice(&mut self, leg: LegId) -> Result<IceCredentials, MediaError> {
        self.known(leg)?;
        let mut record = self.0.borrow_mut();
        record.restarts += 1;
        record.log.push("restart".into());
        Ok(IceCredentials { ufrag: format!("luf{}", record.restarts), pwd: "lpw2".into() })
    }
    fn open_rtp_leg(&mut self, _: RtpOpen) -> Result<RtpLocal, MediaError> {
        let mut record = self.0.borrow_mut();
        record.made += 1;
        let leg = LegId::new(0, record.made, 1);
        record.open.insert(leg);
        let address = ([127, 0, 0, 1], 4000).into();
        Ok(RtpLocal { leg, rtp: address, rtcp: address })
    }
    fn set_rtp_remote(&mut self, leg: LegId, _: RtpRemote) -> Result<(), MediaError> {
        self.known(leg)
    }
    fn set_streams(&mut self, leg: LegId, streams: Vec<StreamConfig>) -> Result<(), MediaError> {
        self.known(leg)?;
        self.note(format!("streams {}", streams.len()));
        self.0.borrow_mut().streams = streams;
        Ok(())
    }
    fn set_route(&mut self, source: StreamRef, _: Vec<Output>) -> Result<(), MediaError> {
        self.known(source.leg)
    }
    fn set_gate(&mut self, source: StreamRef, _: StreamRef, _: bool) -> Result<(), MediaError> {
        self.known(source.leg)
    }
    fn set_bitrate_cap(&mut self, source: StreamRef, _: Option<u64>) -> Result<(), MediaError> {
        self.known(source.leg)
    }
    fn request_keyframe(&mut self, source: StreamRef) -> Result<(), MediaError> {
        self.known(source.leg)
    }
    fn close_leg(&mut self, leg: LegId) {
        assert!(self.0.borrow_mut().open.remove(&leg), "a leg is closed once");
        self.note("close".into());
    }
    fn leg_stats(&self, _: LegId) -> Option<LegStats> {
        None
    }
    fn poll_notice(&mut self) -> Option<Notice> {
        self.0.borrow_mut().notices.pop_front()
    }
}
