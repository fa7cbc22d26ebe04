//! Messages made by hand, as a peer or a stranger would send them.

use std::net::SocketAddr;

use bifrons_wire::stun::{BINDING, Class, IntegrityKey, Message, TransactionId, Writer};

use super::world::Peer;
use crate::Time;
use crate::ice::*;

pub type Sent = Vec<(u8, SocketAddr, Vec<u8>)>;

pub const THEIR_UFRAG: &str = "peer";
pub const THEIR_PASSWORD: &str = "peerpeerpeerpeerpeerpeer";

/// An agent with one address that knows the credentials of the hand-made peer.
pub fn agent(role: Role) -> Peer {
    let mut peer = Peer::new(1, role, &["192.0.2.1:1000"], |_| {});
    let remote = RemoteCredentials::new(THEIR_UFRAG, THEIR_PASSWORD).unwrap();
    peer.agent.set_remote_credentials(remote);
    peer
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn finish(writer: &mut Writer<'_>, password: &str) -> usize {
    writer.integrity(&IntegrityKey::short_term(password.as_bytes())).fingerprint().finish().unwrap()
}

/// A request with the agent's present credentials; `write` adds to user name and priority.
pub fn request(agent: &Agent, id: TransactionId, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let local = agent.local_credentials();
    signed(local.ufrag(), local.password(), id, write)
}

pub fn signed(
    ufrag: &str,
    password: &str,
    id: TransactionId,
    write: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut buffer = [0; 400];
    let mut writer = Writer::new(&mut buffer, Class::Request, BINDING, id);
    writer.username(&[ufrag.as_bytes(), b":", THEIR_UFRAG.as_bytes()]).priority(1_845_501_695);
    write(&mut writer);
    let len = finish(&mut writer, password);
    buffer[..len].to_vec()
}

/// A success response to one of the agent's checks.
pub fn response(check: &[u8], mapped: SocketAddr) -> Vec<u8> {
    let id = Message::parse(check).unwrap().transaction_id();
    let mut buffer = [0; 200];
    let mut writer = Writer::new(&mut buffer, Class::Success, BINDING, id);
    writer.xor_mapped_address(mapped);
    let len = finish(&mut writer, THEIR_PASSWORD);
    buffer[..len].to_vec()
}

pub fn give(peer: &mut Peer, now: Time, source: SocketAddr, bytes: &[u8]) -> (Outcome, Sent) {
    give_at(peer, now, 10, source, bytes)
}

pub fn give_at(peer: &mut Peer, now: Time, socket: u8, source: SocketAddr, bytes: &[u8]) -> (Outcome, Sent) {
    let mut sent = Sent::new();
    let message = Message::parse(bytes).unwrap();
    let mut out = |socket: u8, to: SocketAddr, bytes: &[u8]| sent.push((socket, to, bytes.to_vec()));
    let outcome = peer.agent.handle_stun(now, socket, source, &message, &mut out);
    peer.poll(now);
    (outcome, sent)
}

pub fn tick(peer: &mut Peer, now: Time) -> Sent {
    let mut sent = Sent::new();
    let mut out = |socket: u8, to: SocketAddr, bytes: &[u8]| sent.push((socket, to, bytes.to_vec()));
    peer.agent.on_timeout(now, &mut peer.random, &mut out);
    peer.poll(now);
    sent
}

pub fn add(peer: &mut Peer, line: &str) -> Result<(), Ignored> {
    peer.agent.add_remote_candidate(line.parse::<Candidate>().unwrap().to_remote()?)
}

/// Makes `remote` the selected pair of a controlled agent.
pub fn select(peer: &mut Peer, now: Time, remote: SocketAddr) {
    let nominate = request(&peer.agent, [9; 12], |writer| {
        writer.ice_controlling(1).use_candidate();
    });
    give(peer, now, remote, &nominate);
    let checks = tick(peer, now);
    let (_, to, check) = &checks[0];
    assert_eq!(*to, remote);
    let (outcome, _) = give(peer, now, remote, &response(check, address("192.0.2.1:1000")));
    assert_eq!(outcome, Outcome::Accepted);
    assert_eq!(peer.remote(), Some(remote));
}
