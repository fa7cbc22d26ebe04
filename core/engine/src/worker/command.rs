//! What the control side wants.

use bifrons_rtc::Time;

use super::Worker;
use crate::counter::{Drop, Work};
use crate::driver::Driver;
use crate::handshake::ToHandshake;
use crate::id::LegId;
use crate::leg::{
    Crypto, DtlsPhase, KeyPlan, Keys, Leg, RemotePlan, Route, RtpPlan, RtpTransport, Stream, Transport,
};
use crate::media::StreamRef;
use crate::message::{Command, Garbage, Report, SocketTag};
use crate::random::Replay;
use crate::tap::Tap;

/// Commands a turn, so that a storm of calls does not hold packets up.
const COMMANDS_MAX: usize = 64;
/// How long a closing leg waits for its close_notify to be out.
const CLOSE_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

impl<D: Driver> Worker<D> {
    pub(super) fn take_commands(&mut self, now: Time) {
        for _ in 0..COMMANDS_MAX {
            let Ok(command) = self.commands.pop() else { break };
            self.busy = true;
            self.coalescing.stir();
            self.counters.add(Work::Commands, 1);
            self.run(now, command);
        }
    }

    fn run(&mut self, now: Time, command: Command<D::Socket>) {
        match command {
            Command::Open { leg, rtp, rtcp } => self.open(now, leg, rtp, rtcp),
            Command::OpenShared { number, rtp, rtcp } => self.open_shared_rtp(number, rtp, rtcp),
            Command::WebRtcRemote { leg, plan } => self.webrtc_remote(now, leg, plan),
            Command::Candidate { leg, candidate } => self.with_agent(now, leg, |worker, leg| {
                let Transport::WebRtc(webrtc) = &mut leg.transport else { return };
                if webrtc.agent.add_remote_candidate(candidate).is_err() {
                    worker.count(Drop::CandidateRefused);
                }
            }),
            Command::EndOfCandidates { leg } => self.with_agent(now, leg, |_, leg| {
                let Transport::WebRtc(webrtc) = &mut leg.transport else { return };
                webrtc.agent.end_of_candidates();
            }),
            Command::RestartIce { leg, random } => {
                self.with_agent(now, leg, |_, leg| {
                    let Transport::WebRtc(webrtc) = &mut leg.transport else { return };
                    webrtc.agent.restart(&mut Replay(&random[..]));
                });
                self.free(Garbage::Restart(random));
            }
            Command::RtpRemote { leg, plan } => self.rtp_remote(now, leg, plan),
            Command::Streams { leg, streams } => self.set_streams(now, leg, streams),
            Command::Route { source, route } => {
                self.forward_rest(now, source);
                let Some(stream) = self.stream_mut(source) else {
                    self.counters.count(Drop::StaleCommand);
                    if let Some(route) = route {
                        self.free(Garbage::Route(route));
                    }
                    return;
                };
                let old = std::mem::replace(&mut stream.route, route);
                if let Some(old) = old {
                    self.free(Garbage::Route(old));
                }
                self.tell_clock(source);
                self.feed_outputs(now, source);
            }
            Command::Replica { source, route } => {
                self.forward_rest(now, source);
                let old = match route {
                    Some(mut replica) => {
                        if let Some(old) = self.replicas.get_mut(&source) {
                            // Its history and clock go on.
                            std::mem::swap(&mut replica.history, &mut old.history);
                            (replica.mapping, replica.clock) = (old.mapping, old.clock);
                        }
                        self.replicas.insert(source, replica)
                    }
                    None => self.replicas.remove(&source),
                };
                if let Some(old) = old {
                    self.free(Garbage::Replica(old));
                }
                self.feed_outputs(now, source);
            }
            Command::CrossTo { worker, ring } => {
                if let Some(end) = self.cross.to.get_mut(usize::from(worker)) {
                    *end = Some(ring);
                }
            }
            Command::CrossFrom { worker, ring } => {
                if let Some(end) = self.cross.from.get_mut(usize::from(worker)) {
                    *end = Some(ring);
                    // The other end may have been in use before this one came.
                    self.cross.pending.insert(worker);
                }
            }
            Command::Gate { source, to, open } => self.set_gate(now, source, to, open),
            Command::BitrateCap { source, bitrate_bps } => {
                if let Some(stream) = self.stream_mut(source) {
                    stream.input.cap.set(bitrate_bps);
                    self.rearm(source.leg.slot(), now);
                } else {
                    self.counters.count(Drop::StaleCommand);
                }
            }
            Command::Tap { source, tap } => {
                let refused = match self.stream_mut(source) {
                    Some(stream) => Tap::add(&mut stream.taps, tap).err(),
                    None => Some(tap),
                };
                if let Some(tap) = refused {
                    self.counters.count(Drop::StaleCommand);
                    self.free(Garbage::Tap(tap));
                }
            }
            Command::Keyframe { source } => self.request_keyframe(now, source),
            Command::Rooms(load) => {
                let rest = self.rooms.fill(load);
                self.free(Garbage::Rooms(rest));
            }
            Command::Close { leg } => self.close(now, leg),
            #[cfg(test)]
            Command::Panic { leg } => {
                self.current = Some(leg);
                panic!("a fault made by a test");
            }
        }
    }

    fn open(&mut self, now: Time, mut leg: Box<Leg>, rtp: Option<D::Socket>, rtcp: Option<D::Socket>) {
        let id = leg.id;
        if let Transport::Rtp(transport) = &mut leg.transport {
            let mut add = |socket: Option<D::Socket>, tag: SocketTag| {
                let socket = socket?;
                match self.driver.add_socket(socket, tag.encode()) {
                    Ok(key) => Some(key),
                    Err(socket) => {
                        self.outbox.push_back(Report::Socket(socket, tag.encode()));
                        None
                    }
                }
            };
            transport.rtp_socket = add(rtp, SocketTag::Rtp(id));
            transport.rtcp_socket = add(rtcp, SocketTag::Rtcp(id));
            if let Some(shared) = &transport.shared {
                [transport.rtp_socket, transport.rtcp_socket] = self.shared_rtp.sockets(shared.number);
            }
        }
        if let Err(leg) = self.legs.insert(leg) {
            // The control side gives a slot out only after it came back, so this cannot be.
            self.free(Garbage::Leg(leg));
            return self.counters.count(Drop::StaleCommand);
        }
        self.rearm(id.slot(), now);
    }

    fn webrtc_remote(&mut self, now: Time, id: LegId, mut plan: Box<RemotePlan>) {
        if let Some(leg) = self.legs.get_mut(id)
            && let Transport::WebRtc(webrtc) = &mut leg.transport
        {
            if let Some(credentials) = plan.credentials.take() {
                webrtc.agent.set_remote_lite(plan.ice_lite);
                webrtc.agent.set_remote_credentials(credentials);
            }
            for candidate in plan.candidates.drain(..) {
                if webrtc.agent.add_remote_candidate(candidate).is_err() {
                    self.counters.count(Drop::CandidateRefused);
                }
            }
            if plan.end_of_candidates {
                webrtc.agent.end_of_candidates();
            }
            // What waits to be freed goes back inside the plan.
            if plan.start.is_some() {
                std::mem::swap(&mut webrtc.start, &mut plan.start);
            }
            self.start_dtls(id);
            self.after_ice(now, id);
        } else {
            self.counters.count(Drop::StaleCommand);
        }
        self.free(Garbage::Remote(plan));
    }

    fn with_agent(&mut self, now: Time, id: LegId, work: impl FnOnce(&crate::counter::Counters, &mut Leg)) {
        match self.legs.get_mut(id) {
            Some(leg) => work(&self.counters, leg),
            None => return self.counters.count(Drop::StaleCommand),
        }
        self.after_ice(now, id);
    }

    fn rtp_remote(&mut self, now: Time, id: LegId, mut plan: Box<RtpPlan>) {
        if let Some(leg) = self.legs.get_mut(id)
            && let Transport::Rtp(rtp) = &mut leg.transport
        {
            rtp.set_remote(now, &plan);
            if let Some(shared) = &mut rtp.shared {
                self.shared_rtp.follow(shared, id.slot(), &plan, &self.counters);
            }
            let mut unused = None;
            if !matches!(plan.keys, KeyPlan::Keep | KeyPlan::New { same_outbound: true, .. }) {
                leg.forget_ciphertext();
            }
            match (std::mem::replace(&mut plan.keys, KeyPlan::Keep), &mut leg.crypto) {
                (KeyPlan::Keep, _) => {}
                (KeyPlan::Plain, crypto) => {
                    if let Crypto::Srtp(keys) = std::mem::replace(crypto, Crypto::Plain) {
                        unused = Some(keys);
                    }
                }
                (KeyPlan::New { mut keys, same_inbound, same_outbound }, Crypto::Srtp(old)) => {
                    if same_inbound {
                        std::mem::swap(&mut old.inbound, &mut keys.inbound);
                    }
                    if same_outbound {
                        std::mem::swap(&mut old.outbound, &mut keys.outbound);
                    }
                    unused = Keys::succeed(old, keys, now);
                }
                (KeyPlan::New { keys, .. }, crypto) => *crypto = Crypto::Srtp(keys),
            }
            leg.report_at = leg.report_at.min(now + super::report::REPORT_FIRST);
            self.rearm(id.slot(), now);
            if let Some(keys) = unused {
                self.free(Garbage::Keys(keys));
            }
        } else {
            self.counters.count(Drop::StaleCommand);
        }
        self.free(Garbage::Rtp(plan));
    }

    fn set_streams(&mut self, now: Time, id: LegId, streams: Box<[Stream]>) {
        let old = match self.legs.get_mut(id) {
            Some(leg) => leg.set_streams(streams, &self.settings.budgets),
            None => {
                self.counters.count(Drop::StaleCommand);
                streams
            }
        };
        self.free(Garbage::Streams(old));
        self.rearm(id.slot(), now);
    }

    /// Tells the outputs of a route whom they ask for key frames before the first packet has come. Where
    /// packets come already their receivers hear soon what the time is in them.
    fn feed_outputs(&mut self, now: Time, source: StreamRef) {
        let mut at = 0;
        while let Some(to) =
            self.route(source).and_then(|route| route.outputs.get(at)).map(|output| output.to)
        {
            if let Some(stream) = self.stream_mut(to) {
                stream.output.feed = Some(source);
            }
            self.report_by(to.leg, now + super::report::REPORT_FIRST);
            at += 1;
        }
    }

    /// The route of a stream on this worker: its own, or its replica's.
    fn route(&self, source: StreamRef) -> Option<&Route> {
        let own = self.legs.get(source.leg).and_then(|leg| leg.streams.get(usize::from(source.mline)));
        match own {
            Some(stream) => stream.route.as_deref(),
            None => self.replicas.get(&source).map(|replica| &replica.route),
        }
    }

    fn set_gate(&mut self, now: Time, source: StreamRef, to: StreamRef, open: bool) {
        let replica = self.replicas.get_mut(&source).map(|replica| &mut replica.route);
        let stream =
            self.legs.get_mut(source.leg).and_then(|leg| leg.streams.get_mut(usize::from(source.mline)));
        let own = stream.and_then(|stream| stream.route.as_deref_mut());
        let routes = [own, replica];
        let found = routes.into_iter().flatten().flat_map(|route| &mut route.outputs);
        match found.into_iter().find(|output| output.to == to) {
            Some(output) => output.open = open,
            None => return self.counters.count(Drop::StaleCommand),
        }
        self.report_by(to.leg, now + super::report::REPORT_FIRST);
    }

    /// Says goodbye, then removes the leg: at once, or when its close_notify is out.
    fn close(&mut self, now: Time, id: LegId) {
        self.send_bye(id);
        let Some(leg) = self.legs.get_mut(id) else {
            return self.counters.count(Drop::StaleCommand);
        };
        leg.up = false;
        if let Transport::WebRtc(webrtc) = &mut leg.transport
            && webrtc.dtls != DtlsPhase::Idle
            && self.handshake.to.push(ToHandshake::Close { leg: id }).is_ok()
        {
            leg.closing = Some(now + CLOSE_WAIT);
            (self.handshake.wake)();
            return self.rearm(id.slot(), now);
        }
        self.remove_leg(id);
    }

    /// Frees a leg's slot, addresses and sockets.
    pub(super) fn remove_leg(&mut self, id: LegId) {
        let Some(leg) = self.legs.remove(id) else { return };
        self.disarm(id.slot());
        match &leg.transport {
            Transport::WebRtc(webrtc) => {
                for (socket, remote) in &webrtc.flows {
                    self.drop_flow(*socket, *remote, id.slot());
                }
            }
            Transport::Rtp(RtpTransport { shared: Some(shared), .. }) => {
                self.shared_rtp.leave(shared, id.slot());
            }
            Transport::Rtp(rtp) => {
                for socket in [rtp.rtp_socket, rtp.rtcp_socket].into_iter().flatten() {
                    self.driver.remove_socket(socket);
                }
            }
        }
        let mut at = 0;
        while let Some(held) = self.held.get(at) {
            if held.leg == id {
                let held = self.held.remove(at);
                self.driver.release(held.received.buffer);
            } else {
                at += 1;
            }
        }
        self.report(Report::LegGone(leg));
    }

    pub(super) fn stream_mut(&mut self, of: StreamRef) -> Option<&mut Stream> {
        self.legs.get_mut(of.leg)?.streams.get_mut(usize::from(of.mline))
    }
}
