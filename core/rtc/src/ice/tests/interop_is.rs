//! Against the crate `is`, an agent of other authors, on the simulated network.

use std::net::SocketAddr;
use std::time::Instant;

use is::stun::{StunMessage, StunPacket};
use is::{IceAgent, IceConnectionState, IceCreds, Protocol};

use super::world::*;
use crate::Time;
use crate::ice::*;
use crate::sim::{Link, Network};

struct Other {
    agent: IceAgent,
    epoch: Instant,
    address: SocketAddr,
    nominated: Option<SocketAddr>,
}

impl Other {
    fn new(controlling: bool, lite: bool) -> Other {
        let mut agent = IceAgent::new(IceCreds::new());
        agent.set_controlling(controlling);
        agent.set_ice_lite(lite);
        let address = "192.0.2.2:2000".parse().unwrap();
        agent.add_local_candidate(is::Candidate::host(address, "udp").unwrap());
        Other { agent, epoch: Instant::now(), address, nominated: None }
    }

    fn instant(&self, now: Time) -> Instant {
        self.epoch + (now - Time::ZERO)
    }

    fn next_timeout(&mut self) -> Option<Time> {
        self.agent.poll_timeout().map(|at| Time::ZERO + at.saturating_duration_since(self.epoch))
    }

    fn drive(&mut self, now: Time, network: &mut Network) {
        let instant = self.instant(now);
        self.agent.handle_timeout(instant);
        while let Some(transmit) = self.agent.poll_transmit() {
            network.send(now, transmit.source, transmit.destination, &transmit.contents);
        }
        while let Some(event) = self.agent.poll_event() {
            if let is::IceAgentEvent::NominatedSend { destination, .. } = event {
                self.nominated = Some(destination);
            }
        }
    }
}

/// Runs until both have selected, or 30 s.
fn connect(now: &mut Time, network: &mut Network, ours: &mut Peer, other: &mut Other) -> bool {
    let end = *now + secs(30);
    while *now < end {
        other.drive(*now, network);
        let connected = other.nominated == Some(ours.sockets[0]) && ours.agent.current.path.is_some();
        if connected
            && matches!(other.agent.state(), IceConnectionState::Connected | IceConnectionState::Completed)
        {
            return true;
        }
        let next =
            [network.next_at(), ours.agent.next_timeout(), other.next_timeout()].into_iter().flatten().min();
        let Some(next) = next else { return false };
        // Where a peer asks for a past moment time goes on all the same.
        *now = next.max(*now + millis(1));
        while let Some(datagram) = network.receive(*now) {
            let (source, destination) = (datagram.source, datagram.destination);
            if ours.receive(*now, source, destination, &datagram.bytes, network) {
                continue;
            }
            assert_eq!(destination, other.address);
            let message = StunMessage::parse(&datagram.bytes).unwrap();
            let instant = other.instant(*now);
            other
                .agent
                .handle_packet(instant, StunPacket { proto: Protocol::Udp, source, destination, message });
            other.drive(*now, network);
        }
        if ours.agent.next_timeout().is_some_and(|at| at <= *now) {
            ours.timeout(*now, network);
        }
    }
    false
}

fn exchange(ours: &mut Peer, other: &mut Other, lite: bool, tell_candidates: bool) {
    let local = ours.agent.local_credentials();
    other
        .agent
        .set_remote_credentials(IceCreds { ufrag: local.ufrag().into(), pass: local.password().into() });
    let theirs = other.agent.local_credentials();
    let remote = RemoteCredentials::new(&theirs.ufrag, &theirs.pass).unwrap();
    ours.agent.set_remote_lite(lite);
    ours.agent.set_remote_credentials(remote);
    for line in ours.agent.local_candidates() {
        other.agent.add_remote_candidate(is::Candidate::from_sdp_string(&line.to_string()).unwrap());
    }
    if tell_candidates {
        for theirs in other.agent.local_candidates() {
            let candidate: Candidate = theirs.to_sdp_string().parse().unwrap();
            ours.agent.add_remote_candidate(candidate.to_remote().unwrap()).unwrap_or_default();
        }
    }
}

struct Case {
    role: Role,
    other_controls: bool,
    lite: bool,
    other_lite: bool,
    told: bool,
}

#[test]
fn all_roles_and_restart() {
    use Role::*;
    let full =
        |role, other_controls| Case { role, other_controls, lite: false, other_lite: false, told: true };
    for (number, case) in [
        full(Controlling, false),
        full(Controlled, true),
        full(Controlling, true),
        full(Controlled, false),
        Case { lite: true, ..full(Controlled, true) },
        Case { other_lite: true, ..full(Controlling, false) },
        Case { told: false, ..full(Controlling, false) },
        Case { told: false, ..full(Controlled, true) },
    ]
    .into_iter()
    .enumerate()
    {
        for seed in 0..10 {
            let link = if seed == 0 { Link::CLEAN } else { Link { loss_per_mille: 50, ..Link::BAD } };
            let mut ours = Peer::new(seed, case.role, &["192.0.2.1:1000"], |config| config.lite = case.lite);
            let mut other = Other::new(case.other_controls, case.other_lite);
            let mut network = Network::new(seed, link);
            let mut now = Time::ZERO;
            exchange(&mut ours, &mut other, case.other_lite, case.told);
            let connected = connect(&mut now, &mut network, &mut ours, &mut other);
            assert!(connected, "case {number} seed {seed}: {:#?}", ours.agent.counters());
            assert_eq!(ours.remote(), Some(other.address));

            ours.agent.restart(&mut ours.random);
            other.agent.ice_restart(IceCreds::new(), true);
            other.nominated = None;
            exchange(&mut ours, &mut other, case.other_lite, case.told);
            let connected = connect(&mut now, &mut network, &mut ours, &mut other);
            assert!(connected, "restart, case {number} seed {seed}: {:#?}", ours.agent.counters());
        }
    }
}
