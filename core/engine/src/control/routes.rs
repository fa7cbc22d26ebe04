//! Routes: from what plugins say to what workers run.

use std::collections::BTreeSet;

use bifrons_rtc::stream::{History, SenderClock};

use rtrb::RingBuffer;

use super::{BoundSocket, Engine};
use crate::leg::{Route, RouteOutput};
use crate::media::{MediaError, MediaKind, Output, StreamRef};
use crate::message::{Command, Replica};
use crate::tap::{Tap, TapReader};

/// Packets that a replica's history reaches back.
const REPLICA_HISTORY_PACKETS: usize = 512;

impl<S: BoundSocket> Engine<S> {
    /// Begins to copy what arrives on a stream into a ring of `packets` (at most [`TAP_PACKETS_MAX`]) for
    /// another thread. It ends when the reader is dropped or the leg is closed.
    ///
    /// # Errors
    /// The leg or m-line does not exist, or the worker's command ring is full.
    ///
    /// [`TAP_PACKETS_MAX`]: crate::tap::TAP_PACKETS_MAX
    pub fn open_tap(&mut self, source: StreamRef, packets: usize) -> Result<TapReader, MediaError> {
        let entry = self.entry(source.leg).ok_or(MediaError::NoSuchLeg)?;
        if usize::from(source.mline) >= entry.streams.len() {
            return Err(MediaError::Invalid(format!("source: the leg has no m-line {}", source.mline)));
        }
        let (tap, reader) = Tap::new(packets);
        self.command(source.leg.worker(), Command::Tap { source, tap })?;
        Ok(reader)
    }

    pub(super) fn set_outputs(&mut self, source: StreamRef, outputs: Vec<Output>) -> Result<(), MediaError> {
        if outputs.len() > self.config.limits.outputs {
            return Err(MediaError::Full("the outputs of a route"));
        }
        let entry = self.entry(source.leg).ok_or(MediaError::NoSuchLeg)?;
        if usize::from(source.mline) >= entry.streams.len() {
            return Err(MediaError::Invalid(format!("source: the leg has no m-line {}", source.mline)));
        }
        for output in &outputs {
            let entry = self.entry(output.to.leg).ok_or(MediaError::NoSuchLeg)?;
            if usize::from(output.to.mline) >= entry.streams.len() {
                return Err(MediaError::Invalid(format!(
                    "outputs: the leg has no m-line {}",
                    output.to.mline
                )));
            }
        }
        let before = entry.routes.get(&source.mline).cloned().unwrap_or_default();
        self.compile(source, &before, &outputs)?;
        for output in before {
            if let Ok(entry) = self.entry_mut(output.to.leg) {
                entry.sources.remove(&source);
            }
        }
        for output in &outputs {
            self.entry_mut(output.to.leg)?.sources.insert(source);
        }
        self.entry_mut(source.leg)?.routes.insert(source.mline, outputs);
        Ok(())
    }

    /// Sends a route to its workers: the source's own, and a replica to each other that has outputs.
    fn compile(&mut self, source: StreamRef, before: &[Output], now: &[Output]) -> Result<(), MediaError> {
        let own = source.leg.worker();
        let workers = |outputs: &[Output]| -> BTreeSet<u8> {
            outputs.iter().map(|output| output.to.leg.worker()).filter(|worker| *worker != own).collect()
        };
        let (gone, here) = (workers(before), workers(now));
        // A way there and one back, for keyframe requests.
        let unjoined: Vec<u8> =
            here.iter().copied().filter(|worker| !self.rings.contains(&(own, *worker))).collect();
        self.room(own, 1 + 2 * unjoined.len())?;
        for worker in gone.union(&here) {
            self.room(*worker, 3)?;
        }
        if self.rings.len() + 2 * unjoined.len() > self.config.limits.replica_rings {
            return Err(MediaError::Full("the table of rings between workers"));
        }
        let config = self.entry(source.leg).and_then(|entry| entry.streams.get(usize::from(source.mline)));
        let config = config.ok_or(MediaError::NoSuchLeg)?.clone();
        let on = |worker: u8| -> Vec<RouteOutput> {
            let mine = now.iter().filter(|output| output.to.leg.worker() == worker);
            mine.filter_map(|output| {
                let entry = self.entry(output.to.leg)?;
                let target = entry.streams.get(usize::from(output.to.mline))?;
                Some(RouteOutput::new(output, &config, target))
            })
            .collect()
        };
        let route = (!now.is_empty())
            .then(|| Box::new(Route { outputs: on(own), workers: here.iter().copied().collect() }));
        let mut commands = vec![(own, Command::Route { source, route })];
        for worker in gone.union(&here) {
            let route = here.contains(worker).then(|| {
                Box::new(Replica {
                    route: Route { outputs: on(*worker), workers: Vec::new() },
                    history: (config.kind == MediaKind::Video)
                        .then(|| Box::new(History::new(REPLICA_HISTORY_PACKETS))),
                    mapping: None,
                    clock: SenderClock::default(),
                })
            });
            commands.push((*worker, Command::Replica { source, route }));
        }
        for worker in unjoined {
            self.join(own, worker)?;
            self.join(worker, own)?;
        }
        // Replicas first: the first packet then finds its place.
        commands.rotate_left(1);
        for (worker, command) in commands {
            self.command(worker, command)?;
        }
        Ok(())
    }

    /// Makes a ring from one worker to another.
    fn join(&mut self, from: u8, to: u8) -> Result<(), MediaError> {
        let (producer, consumer) = RingBuffer::new(self.config.limits.replica_ring);
        self.command(to, Command::CrossFrom { worker: from, ring: consumer })?;
        self.command(from, Command::CrossTo { worker: to, ring: producer })?;
        self.rings.insert((from, to));
        Ok(())
    }

    /// Compiles anew all routes that a leg takes part in, after its streams have changed.
    pub(super) fn recompile(&mut self, leg: crate::LegId) -> Result<(), MediaError> {
        let entry = self.entry(leg).ok_or(MediaError::NoSuchLeg)?;
        let own = entry.routes.keys().map(|mline| StreamRef { leg, mline: *mline });
        let sources: BTreeSet<StreamRef> = own.chain(entry.sources.iter().copied()).collect();
        for source in sources {
            let outputs = self.entry(source.leg).and_then(|entry| entry.routes.get(&source.mline)).cloned();
            if let Some(outputs) = outputs {
                self.compile(source, &outputs, &outputs)?;
            }
        }
        Ok(())
    }

    /// Takes a closed leg out of all routes.
    pub(super) fn forget_routes(&mut self, leg: crate::LegId, closed: super::legs::ClosedLeg) {
        for source in closed.sources {
            let Some(before) =
                self.entry(source.leg).and_then(|entry| entry.routes.get(&source.mline)).cloned()
            else {
                continue;
            };
            let mut outputs = before.clone();
            outputs.retain(|output| output.to.leg != leg);
            // A full ring leaves an output that leads nowhere; the worker counts its packets as such.
            let _ = self.compile(source, &before, &outputs);
            if let Ok(entry) = self.entry_mut(source.leg) {
                entry.routes.insert(source.mline, outputs);
            }
        }
        for (mline, outputs) in closed.routes {
            let source = StreamRef { leg, mline };
            let workers: BTreeSet<u8> = outputs.iter().map(|output| output.to.leg.worker()).collect();
            for worker in workers.into_iter().filter(|worker| *worker != leg.worker()) {
                let _ = self.command(worker, Command::Replica { source, route: None });
            }
            for output in outputs {
                if let Ok(entry) = self.entry_mut(output.to.leg) {
                    entry.sources.remove(&source);
                }
            }
        }
    }
}
