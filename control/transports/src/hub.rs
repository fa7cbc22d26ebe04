//! Carries what comes out of the core to the clients: replies to their requests, events to sockets and
//! long polls.

use std::collections::{HashMap, VecDeque};

use bifrons_api::{Output, TransportId};
use tokio::sync::{mpsc, oneshot};

/// Where everything goes.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    next_id: u64,
    sockets: HashMap<TransportId, mpsc::Sender<String>>,
    replies: HashMap<TransportId, oneshot::Sender<String>>,
    polled: HashMap<u64, Polled>,
    /// Sessions with new events since the last [`Hub::release`].
    fresh: Vec<u64>,
    events_max: usize,
    pub counters: HubCounters,
}

/// What the hub counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubCounters {
    /// Clients disconnected because they did not read.
    pub slow_clients: u64,
    /// Events of long-polled sessions that were dropped because too many waited.
    pub events_dropped: u64,
}

/// A session whose events are fetched.
#[derive(Debug)]
struct Polled {
    owner: TransportId,
    events: VecDeque<String>,
    parked: VecDeque<Parked>,
}

#[derive(Debug)]
struct Parked {
    to: oneshot::Sender<Vec<String>>,
    max: usize,
}

/// Outcome of a long poll at its start.
#[derive(Debug)]
pub(crate) enum Poll {
    /// These are waiting.
    Events(Vec<String>),
    /// Nothing yet; it comes here. No event: another poll took it.
    Parked(oneshot::Receiver<Vec<String>>),
    /// The session is not fetched from here.
    NoSession,
    /// Too many polls of one session.
    TooMany,
}

/// Polls of one session that may be parked at one time.
const POLLS_MAX: usize = 16;

impl Hub {
    pub(crate) fn new(events_max: usize) -> Self {
        Self { events_max, ..Self::default() }
    }

    /// A socket connects; its replies and events come out of the receiver.
    pub(crate) fn connect(&mut self) -> (TransportId, mpsc::Receiver<String>) {
        let (to, from) = mpsc::channel(self.events_max);
        let id = self.id();
        self.sockets.insert(id, to);
        (id, from)
    }

    /// A socket is gone.
    pub(crate) fn disconnect(&mut self, id: TransportId) {
        self.sockets.remove(&id);
    }

    /// One request that has one reply.
    pub(crate) fn request(&mut self) -> (TransportId, oneshot::Receiver<String>) {
        let (to, from) = oneshot::channel();
        let id = self.id();
        self.replies.insert(id, to);
        (id, from)
    }

    fn id(&mut self) -> TransportId {
        self.next_id += 1;
        TransportId(self.next_id)
    }

    /// Delivers one output.
    pub(crate) fn deliver(&mut self, output: Output) {
        match output {
            Output::Reply { transport, text } => match self.replies.remove(&transport) {
                // Nobody waits when the client has gone meanwhile.
                Some(to) => drop(to.send(text)),
                None => self.send(transport, text),
            },
            Output::Event { transport, session, text } => {
                let Some(polled) = self.polled.get_mut(&session).filter(|polled| polled.owner == transport)
                else {
                    return self.send(transport, text);
                };
                if polled.events.len() >= self.events_max {
                    polled.events.pop_front();
                    self.counters.events_dropped += 1;
                }
                polled.events.push_back(text);
                self.fresh.push(session);
            }
            Output::SessionOpened { transport, session } => {
                if !self.sockets.contains_key(&transport) {
                    let polled =
                        Polled { owner: transport, events: VecDeque::new(), parked: VecDeque::new() };
                    self.polled.insert(session, polled);
                }
            }
            Output::SessionClosed { transport, session, .. } => {
                self.release(session);
                if self.polled.get(&session).is_some_and(|polled| polled.owner == transport) {
                    self.polled.remove(&session);
                }
            }
        }
    }

    /// Wakes the polls of sessions that have something now; called after a batch of outputs.
    pub(crate) fn release_all(&mut self) {
        for session in std::mem::take(&mut self.fresh) {
            self.release(session);
        }
    }

    fn release(&mut self, session: u64) {
        let Some(polled) = self.polled.get_mut(&session) else { return };
        while !polled.events.is_empty()
            && let Some(parked) = polled.parked.pop_front()
        {
            let events = polled.events.drain(..polled.events.len().min(parked.max)).collect();
            match parked.to.send(events) {
                // One event answers every poll; the others have nothing to carry.
                Ok(()) => polled.parked.drain(..).for_each(|other| drop(other.to.send(Vec::new()))),
                // That client has gone: the next poll gets them.
                Err(events) => events.into_iter().rev().for_each(|event| polled.events.push_front(event)),
            }
        }
    }

    /// A long poll of at most `max` events.
    pub(crate) fn poll(&mut self, session: u64, max: usize) -> Poll {
        let Some(polled) = self.polled.get_mut(&session) else { return Poll::NoSession };
        if !polled.events.is_empty() {
            return Poll::Events(polled.events.drain(..polled.events.len().min(max)).collect());
        }
        polled.parked.retain(|parked| !parked.to.is_closed());
        if polled.parked.len() >= POLLS_MAX {
            return Poll::TooMany;
        }
        let (to, from) = oneshot::channel();
        polled.parked.push_back(Parked { to, max });
        Poll::Parked(from)
    }

    fn send(&mut self, transport: TransportId, text: String) {
        let Some(socket) = self.sockets.get(&transport) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = socket.try_send(text) {
            // Its task sees the end of the channel and closes the connection.
            self.sockets.remove(&transport);
            self.counters.slow_clients += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use bifrons_api::SessionEnd;

    use super::*;

    fn event(transport: TransportId, session: u64, text: &str) -> Output {
        Output::Event { transport, session, text: text.into() }
    }

    #[test]
    fn one_event_releases_all_polls() {
        let mut hub = Hub::new(4);
        let (id, mut reply) = hub.request();
        hub.deliver(Output::SessionOpened { transport: id, session: 7 });
        hub.deliver(Output::Reply { transport: id, text: "r".into() });
        assert_eq!(reply.try_recv().unwrap(), "r");
        let (Poll::Parked(gone), Poll::Parked(mut first), Poll::Parked(mut second)) =
            (hub.poll(7, 1), hub.poll(7, 5), hub.poll(7, 1))
        else {
            panic!("three polls wait");
        };
        drop(gone);
        hub.deliver(event(id, 7, "a"));
        hub.deliver(event(id, 7, "b"));
        hub.release_all();
        assert_eq!(first.try_recv().unwrap(), ["a", "b"]);
        assert!(second.try_recv().unwrap().is_empty());
        hub.deliver(event(id, 7, "c"));
        hub.release_all();
        assert!(matches!(hub.poll(7, 1), Poll::Events(events) if events == ["c"]));
        let Poll::Parked(mut last) = hub.poll(7, 1) else { panic!("waits") };
        hub.deliver(event(id, 7, "timeout"));
        hub.deliver(Output::SessionClosed { transport: id, session: 7, why: SessionEnd::TimedOut });
        assert_eq!(last.try_recv().unwrap(), ["timeout"]);
        assert!(matches!(hub.poll(7, 1), Poll::NoSession));
    }

    #[test]
    fn bounds() {
        let mut hub = Hub::new(2);
        let (id, mut from) = hub.connect();
        for text in ["1", "2", "3", "4"] {
            hub.deliver(event(id, 1, text));
        }
        assert_eq!(hub.counters.slow_clients, 1);
        assert_eq!((from.try_recv().unwrap(), from.try_recv().unwrap()), ("1".into(), "2".into()));
        assert_eq!(from.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        let poller = hub.request().0;
        hub.deliver(Output::SessionOpened { transport: poller, session: 9 });
        for text in ["1", "2", "3"] {
            hub.deliver(event(poller, 9, text));
        }
        assert_eq!(hub.counters.events_dropped, 1);
        assert!(matches!(hub.poll(9, 9), Poll::Events(events) if events == ["2", "3"]));
        let parked: Vec<Poll> = (0..POLLS_MAX).map(|_| hub.poll(9, 1)).collect();
        assert!(matches!(hub.poll(9, 1), Poll::TooMany));
        drop(parked);
        assert!(matches!(hub.poll(9, 1), Poll::Parked(_)));
    }
}
