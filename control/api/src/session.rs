//! Sessions and handles as the core keeps them.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bifrons_engine::LegId;

use crate::jsep::PeerConnection;
use crate::output::TransportId;
use crate::plugin::HandleKey;
use crate::trickle::CandidateQueue;

/// A client's session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Who gets its events; `None`: its transport has gone and it waits for a `claim`.
    pub owner: Option<TransportId>,
    /// Addresses that made or claimed it (the newest few), for the limit on guessed ids.
    pub sources: VecDeque<IpAddr>,
    /// Since the start of the process.
    pub last_activity: Duration,
    /// Handles by id.
    pub handles: BTreeMap<u64, HandleKey>,
    /// Events while nobody owns it.
    pub kept: VecDeque<String>,
}

impl Session {
    const SOURCES_MAX: usize = 4;

    pub(crate) fn new(owner: TransportId, now: Duration) -> Self {
        Self {
            owner: Some(owner),
            sources: VecDeque::new(),
            last_activity: now,
            handles: BTreeMap::new(),
            kept: VecDeque::new(),
        }
    }

    pub(crate) fn add_source(&mut self, source: Option<IpAddr>) {
        let Some(source) = source else { return };
        if !self.sources.contains(&source) {
            if self.sources.len() == Self::SOURCES_MAX {
                self.sources.pop_front();
            }
            self.sources.push_back(source);
        }
    }
}

/// An attachment of a session to a plugin.
#[derive(Debug)]
pub(crate) struct Handle {
    /// The id that the client knows.
    pub id: u64,
    /// Its session's id.
    pub session: u64,
    /// Index of the plugin.
    pub plugin: usize,
    /// `opaque_id` of the `attach`.
    pub opaque_id: Option<String>,
    /// Its PeerConnection, from the first description on.
    pub pc: Option<PeerConnection>,
    /// Candidates that cannot be used yet.
    pub candidates: CandidateQueue,
    /// Legs that its plugin opened beside.
    pub own_legs: Vec<LegId>,
}
