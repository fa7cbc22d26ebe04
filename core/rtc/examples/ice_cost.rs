//! What ICE costs on one core with many agents in turn, in nanoseconds a message.
//!
//! ```text
//! taskset -c 0 cargo run --release -p bifrons-rtc --example ice_cost
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use bifrons_rtc::Time;
use bifrons_rtc::ice::*;
use bifrons_wire::stun::{BINDING, Class, IntegrityKey, Message, Writer};

/// So many that their state does not stay in the core's cache.
const AGENTS: usize = 10_000;
const ROUNDS: u64 = 7;
const PASSWORD: &str = "passwordpasswordpassword";

fn main() {
    let mut random = SeededRandom::new(1);
    let ids = TransactionIds::from_random(&mut random);
    let ours = SocketAddr::from(([192, 0, 2, 1], 1000));
    let theirs = SocketAddr::from(([192, 0, 2, 2], 2000));
    let mut agents: Vec<Agent> =
        (0..AGENTS).map(|token| agent(token as u32, ours, ids, &mut random)).collect();
    println!("an agent is {} bytes and its candidate and pair tables", size_of::<Agent>());

    let requests: Vec<Vec<u8>> = agents.iter().map(request).collect();
    let mut written = vec![[0u8; 200]; AGENTS];
    let (mut answered, mut checked, mut taken, mut idle) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let now = Time::from_millis(round * 10_000);
        answered.push(each(&mut agents, |index, agent| {
            let message = Message::parse(&requests[index]).expect("a message");
            assert_eq!(id::leg_token(&message, &ids), Some(index as u32));
            let outcome = agent.handle_stun(now, 0, theirs, &message, &mut |_: u8, _, _: &[u8]| ());
            assert_eq!(outcome, Outcome::Answered);
        }));
        let mut sizes = vec![0; AGENTS];
        checked.push(each(&mut agents, |index, agent| {
            let mut out = |_: u8, _, check: &[u8]| {
                sizes[index] = check.len();
                written[index][..check.len()].copy_from_slice(check);
            };
            agent.on_timeout(now, &mut random, &mut out);
        }));
        let responses: Vec<Vec<u8>> =
            written.iter().zip(&sizes).map(|(check, len)| response(&check[..*len], ours)).collect();
        taken.push(each(&mut agents, |index, agent| {
            let message = Message::parse(&responses[index]).expect("a message");
            assert_eq!(id::leg_token(&message, &ids), Some(index as u32));
            let outcome = agent.handle_stun(now, 0, theirs, &message, &mut |_: u8, _, _: &[u8]| ());
            assert_eq!(outcome, Outcome::Accepted);
        }));
        for agent in &mut agents {
            while agent.poll_event().is_some() {}
        }
        idle.push(each(&mut agents, |_, agent| {
            assert!(agent.next_timeout().is_some());
            agent.on_timeout(now, &mut random, &mut |_: u8, _, _: &[u8]| ());
        }));
    }
    for (name, times) in [
        ("request parsed, routed and answered", answered),
        ("check written", checked),
        ("response taken", taken),
        ("timer, nothing due", idle),
    ] {
        println!("{name}: {:.0} ns (median of {})", median(&times), times.len());
    }
}

fn agent(
    token: u32,
    address: SocketAddr,
    transaction_ids: TransactionIds,
    random: &mut SeededRandom,
) -> Agent {
    let config = AgentConfig {
        role: Role::Controlled,
        lite: false,
        token,
        tie_breaker: 1,
        local: vec![LocalCandidate { socket: 0, address, advertised: None }],
        transaction_ids,
        policy: AddressPolicy::default(),
        consent_loss: ConsentLoss::Fail,
        timers: Timers::default(),
    };
    let mut agent = Agent::new(config, random);
    agent.set_remote_credentials(RemoteCredentials::new("peer", PASSWORD).expect("credentials"));
    agent
}

/// A nominating check as a browser sends it.
fn request(agent: &Agent) -> Vec<u8> {
    let local = agent.local_credentials();
    let mut buffer = [0; 200];
    let len = Writer::new(&mut buffer, Class::Request, BINDING, [7; 12])
        .username(&[local.ufrag().as_bytes(), b":peer"])
        .attribute(0xc057, &[&[0, 1, 0, 10]])
        .ice_controlling(5)
        .use_candidate()
        .priority(1_845_501_695)
        .integrity(&IntegrityKey::short_term(local.password().as_bytes()))
        .fingerprint()
        .finish()
        .expect("room");
    buffer[..len].to_vec()
}

fn response(check: &[u8], mapped: SocketAddr) -> Vec<u8> {
    let id = Message::parse(check).expect("a message").transaction_id();
    let mut buffer = [0; 100];
    let len = Writer::new(&mut buffer, Class::Success, BINDING, id)
        .xor_mapped_address(mapped)
        .integrity(&IntegrityKey::short_term(PASSWORD.as_bytes()))
        .fingerprint()
        .finish()
        .expect("room");
    buffer[..len].to_vec()
}

/// Nanoseconds for each of the agents in turn.
fn each(agents: &mut [Agent], mut work: impl FnMut(usize, &mut Agent)) -> f64 {
    let start = Instant::now();
    for (index, agent) in agents.iter_mut().enumerate() {
        work(index, agent);
    }
    start.elapsed().as_nanos() as f64 / agents.len() as f64
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
