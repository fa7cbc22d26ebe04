//! What the network brings: events of the library become messages for control, or answers of our own.

use std::mem;

use bifrons_sip_protocol::{
    ClientId, DownCause, ExpiredCause, FlowId, FromSip, Origin, Part, PrackOutcome, ReliableId, ServerId,
    TEXT_BYTES_MAX, Transport,
};

use crate::agent::Incoming;
use crate::event::{self, Event};
use crate::gate::{self, Traced};
use crate::multipart::{self, Limits, Refusal};
use crate::program::{Program, Server, direction};
use crate::scan::Scan;
use crate::{clock, flow, log, sys};

/// An INVITE that control leaves unanswered so long is answered 500. Longer than any ring time.
const INVITE_UNANSWERED_MS: u64 = 15 * 60 * 1000;

impl Program {
    /// Handles everything that callbacks have left; says whether there was anything.
    pub(crate) fn events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = event::next() {
            self.event(event);
            any = true;
        }
        any
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Request { id, transaction, origin, text } => {
                self.request_received(id, transaction, origin, text);
            }
            Event::AckOrCancel { id, text } => self.ack_or_cancel(id, text),
            Event::IncomingTimeout { id, status } => self.incoming_timeout(id, status),
            Event::Response { id, status, internal, origin, branch, text } => {
                let branch = String::from_utf8_lossy(&branch);
                let branch = branch.strip_prefix("branch=").unwrap_or(&branch).to_owned();
                self.response(id, status as u16, internal, origin, branch, text);
            }
            Event::Prack { id, received } => self.prack(id, received.map(|event| *event)),
            Event::Stray { origin, text } => self.stray(origin, text),
            Event::FlowUp { id } => self.flow_up(FlowId(id)),
            Event::FlowDown { id, error } => {
                let cause = if error > 0 { DownCause::Failed } else { DownCause::Closed };
                self.close_flow(FlowId(id), cause);
            }
        }
    }

    fn request_received(
        &mut self,
        id: u64,
        transaction: *mut sys::nta_incoming_t,
        origin: Option<Origin>,
        mut text: Vec<u8>,
    ) {
        let Some(transaction) = Incoming::new(transaction) else { return };
        let method = transaction.method();
        if method == b"ACK" {
            // It matches nothing; there is no answer to an ACK.
            self.counters.stray_acks += 1;
            return transaction.destroy();
        }
        let Some(origin) = origin else {
            log::line("a request without a source");
            return transaction.destroy();
        };
        self.trace_received(&origin, &text);
        if !gate::with(|gate| gate.admits(origin.source)) {
            self.counters.refused_source += 1;
            if let Some(flow) = origin.flow {
                self.close_flow(flow, DownCause::Local);
            }
            return transaction.destroy();
        }
        let parts = match self.parts(&origin, &mut text) {
            Ok(parts) => parts,
            Err(refusal) => {
                self.counters.refused_multipart += 1;
                let status = if refusal == Refusal::TooLarge { 413 } else { 400 };
                return self.answer_alone(transaction, status, None);
            }
        };
        if text.len() > (self.settings.message_bytes_max as usize).min(TEXT_BYTES_MAX) {
            self.counters.refused_size += 1;
            return self.answer_alone(transaction, 413, None);
        }
        let in_dialog = Scan::new(&text).is_some_and(|scan| scan.has_to_tag());
        if !in_dialog && let Some(retry_after_s) = self.overload() {
            return self.answer_alone(transaction, 503, Some(retry_after_s));
        }
        self.serve(id, transaction, method == b"INVITE", origin.clone());
        self.counters.requests_received += 1;
        self.outbox.push(&FromSip::Request { id: ServerId(id), origin, text, parts });
    }

    /// Keeps a server transaction until it is answered.
    fn serve(&mut self, id: u64, transaction: Incoming, invite: bool, origin: Origin) {
        let wait_ms = if invite { INVITE_UNANSWERED_MS } else { 64 * u64::from(self.settings.t1_ms) };
        self.unanswered[usize::from(invite)].push_back((clock::steady_ms() + wait_ms, id));
        self.servers.insert(id, Server { transaction, invite, finished: false, origin });
    }

    /// Retry-After of the 503 that a new request gets, if it gets one.
    fn overload(&mut self) -> Option<u32> {
        let counters = &mut self.counters;
        let (count, retry_after_s) = if let Some(retry_after_s) = self.draining {
            (&mut counters.refused_drain, retry_after_s)
        } else if self.outbox.is_full() {
            (&mut counters.refused_queue, self.settings.retry_after_s)
        } else if self.servers.len() >= self.settings.server_transactions_max as usize {
            (&mut counters.refused_limit, self.settings.retry_after_s)
        } else {
            return None;
        };
        *count += 1;
        Some(retry_after_s)
    }

    /// Answers a request of which control does not hear.
    fn answer_alone(&mut self, transaction: Incoming, status: u16, retry_after_s: Option<u32>) {
        if let Some(agent) = &self.agent {
            let headers = match retry_after_s {
                Some(seconds) if seconds > 0 => format!("Retry-After: {seconds}\r\n"),
                _ => String::new(),
            };
            // A failure leaves it to `destroy`, which sends 500.
            let _ = agent.respond(&transaction, status, "", "", headers.as_bytes(), b"");
        }
        transaction.destroy();
    }

    /// Parts of the body that the stack did not see, or that are taken out of the text now.
    fn parts(&mut self, origin: &Origin, text: &mut Vec<u8>) -> Result<Vec<Part>, Refusal> {
        if origin.transport == Transport::Udp {
            return Ok(gate::with(|gate| gate.claim_parts(text)));
        }
        let limits = self.multipart_limits();
        Ok(match multipart::take_apart(text, limits, b"")? {
            None => Vec::new(),
            Some(apart) => {
                *text = apart.message;
                apart.parts
            }
        })
    }

    fn multipart_limits(&self) -> Limits {
        Limits {
            bytes_max: self.settings.multipart_bytes_max as usize,
            parts_max: self.settings.multipart_parts_max as usize,
        }
    }

    /// As `parts`, where nothing can be answered: a body that is refused is cut off.
    fn parts_or_none(&mut self, origin: Option<&Origin>, text: &mut Vec<u8>) -> Vec<Part> {
        let Some(origin) = origin else { return Vec::new() };
        self.parts(origin, text).unwrap_or_else(|_| {
            self.counters.refused_multipart += 1;
            let end = Scan::new(text).map(|scan| scan.body_at);
            text.truncate(end.unwrap_or(text.len()));
            Vec::new()
        })
    }

    fn ack_or_cancel(&mut self, id: u64, mut text: Vec<u8>) {
        let Some(server) = self.servers.get(&id) else { return };
        let origin = server.origin.clone();
        self.trace_received(&origin, &text);
        let parts = self.parts_or_none(Some(&origin), &mut text);
        let is_ack = Scan::new(&text).and_then(|scan| scan.method()) == Some(b"ACK");
        self.drop_server(id);
        let id = ServerId(id);
        self.outbox.push(&if is_ack {
            FromSip::Ack { id, text, parts }
        } else {
            FromSip::Cancelled { id, text }
        });
    }

    fn incoming_timeout(&mut self, id: u64, status: i32) {
        let Some(server) = self.servers.get(&id) else { return };
        let cause = match status {
            200..300 if server.invite => ExpiredCause::NoAck,
            _ => ExpiredCause::Ended,
        };
        self.drop_server(id);
        self.outbox.push(&FromSip::Expired { id: ServerId(id), cause });
    }

    fn response(
        &mut self,
        id: u64,
        status: u16,
        internal: bool,
        origin: Option<Origin>,
        branch: String,
        mut text: Vec<u8>,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.answered = true;
        client.finished |= status >= 200;
        if internal {
            self.counters.responses_internal += 1;
        } else {
            self.counters.responses_received += 1;
        }
        if let Some(origin) = &origin {
            self.trace_received(origin, &text);
        }
        let parts = self.parts_or_none(origin.as_ref(), &mut text);
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(Scan::new(&text).map_or(0, |scan| scan.body_at));
        }
        self.outbox.push(&FromSip::Response {
            id: ClientId(id),
            status,
            internal,
            origin,
            branch,
            text,
            parts,
        });
    }

    fn prack(&mut self, id: u64, received: Option<Event>) {
        let known = self.reliables.remove(&id);
        let outcome = match received {
            None => PrackOutcome::TimedOut,
            Some(Event::Request { id: server, transaction, origin, mut text }) => {
                let Some(transaction) = Incoming::new(transaction) else { return };
                let (Some(origin), true) = (origin, known.is_some()) else {
                    return self.answer_alone(transaction, 481, None);
                };
                self.trace_received(&origin, &text);
                let parts = self.parts_or_none(Some(&origin), &mut text);
                self.serve(server, transaction, false, origin.clone());
                PrackOutcome::Received { server: ServerId(server), origin, text, parts }
            }
            Some(_) => return,
        };
        if let Some(known) = known {
            let expired = outcome == PrackOutcome::TimedOut;
            self.outbox.push(&FromSip::Prack { id: ReliableId(id), outcome });
            if expired && self.drop_server(known.server) {
                let (id, cause) = (ServerId(known.server), ExpiredCause::Ended);
                self.outbox.push(&FromSip::Expired { id, cause });
            }
        }
    }

    fn stray(&mut self, origin: Option<Origin>, mut text: Vec<u8>) {
        let Some(origin) = origin else { return };
        self.trace_received(&origin, &text);
        let is_final = text.get(8).is_some_and(|digit| (b'2'..=b'6').contains(digit));
        if !text.starts_with(b"SIP/2.0 ") || !is_final || text.len() > TEXT_BYTES_MAX {
            return;
        }
        let parts = self.parts_or_none(Some(&origin), &mut text);
        self.counters.stray_responses += 1;
        if !self.outbox.is_full() {
            self.outbox.push(&FromSip::Stray { origin, text, parts });
        }
    }

    fn flow_up(&mut self, id: FlowId) {
        let Some(flow) = flow::get(id) else { return };
        self.outbox.push(&FromSip::FlowUp {
            id,
            transport: flow.kind,
            ident: flow.ident,
            local: flow.local,
            remote: flow.remote,
            tls: flow.tls,
        });
        let (all, from_source) = flow::count(flow.remote.ip());
        if all > self.settings.flows_max as usize || from_source > self.settings.flows_per_source_max as usize
        {
            self.counters.refused_flows += 1;
            self.close_flow(id, DownCause::Local);
        }
    }

    /// Whether [`sweep`](Self::sweep) may have something to do.
    pub(crate) fn has_to_sweep(&self) -> bool {
        flow::len() > 0 || self.unanswered.iter().any(|queue| !queue.is_empty())
    }

    /// What is due from time to time: unanswered requests, idle connections.
    pub(crate) fn sweep(&mut self) {
        let now_ms = clock::steady_ms();
        for queue in 0..self.unanswered.len() {
            while let Some((due_ms, id)) = self.unanswered[queue].front().copied() {
                let waits = self.servers.get(&id).is_some_and(|server| !server.finished);
                if waits && due_ms > now_ms {
                    break;
                }
                self.unanswered[queue].pop_front();
                if waits && self.drop_server(id) {
                    self.counters.unanswered += 1;
                    let cause = ExpiredCause::Unanswered;
                    self.outbox.push(&FromSip::Expired { id: ServerId(id), cause });
                }
            }
        }
        for (id, closed) in flow::idle(u64::from(self.settings.flow_idle_ms)) {
            self.close_flow(id, if closed { DownCause::Closed } else { DownCause::Local });
        }
    }

    fn trace_received(&self, origin: &Origin, text: &[u8]) {
        if origin.transport == Transport::Udp {
            return;
        }
        gate::with(|gate| {
            if gate.tracing {
                gate.trace(Traced {
                    received: true,
                    transport: origin.transport,
                    local: origin.local,
                    remote: origin.source,
                    time_us: clock::unix_us(),
                    text: text.to_vec(),
                });
            }
        });
    }

    /// Hands traced messages on, as far as control keeps up.
    pub(crate) fn traces(&mut self) {
        let (traced, lost) =
            gate::with(|gate| (mem::take(&mut gate.traced), mem::take(&mut gate.traced_lost)));
        self.counters.traces_lost += lost;
        for traced in traced {
            if self.outbox.is_full() || traced.text.len() > TEXT_BYTES_MAX {
                self.counters.traces_lost += 1;
                continue;
            }
            let (source, destination) =
                if traced.received { (traced.remote, traced.local) } else { (traced.local, traced.remote) };
            self.outbox.push(&FromSip::Trace {
                direction: direction(traced.received),
                transport: traced.transport,
                source,
                destination,
                time_us: traced.time_us,
                text: traced.text,
            });
        }
    }
}
