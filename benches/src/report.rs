//! One JSON line and one table row a step.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::histogram::Histogram;
use crate::media::Window;
use crate::proc::{Snapshot, Usage};

/// Share of its core from which on the generator counts as the limit.
const BUSY_SHARE_MAX: f64 = 0.85;
/// Lateness of the generator's own ticks (99th percentile) from which on latencies are not the
/// server's alone.
const LATENESS_MS_MAX: f64 = 3.0;

/// Share of a core used by other programs from which on they disturb.
const OTHERS_SHARE_MAX: f64 = 0.1;

/// What one step measured.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Name of the server as given on the command line.
    pub server: String,
    /// Scenario.
    pub scenario: String,
    /// SRTP profile.
    pub profile: String,
    /// Calls up in the window.
    pub calls: usize,
    /// Calls that could not be set up.
    pub failed: usize,
    /// Calls set up per second in this step's ramp.
    pub setups_per_s: f64,
    /// From the first request of a call until its keys are there and its answer is applied.
    pub setup_p50_ms: f64,
    /// The same, 99th percentile.
    pub setup_p99_ms: f64,
    /// Length of the window.
    pub window_s: f64,
    /// Packets that came out of the server in the window, a second: each is one forwarded packet.
    pub forwarded_per_s: f64,
    /// CPU time of the server per forwarded packet, all its threads and processes.
    pub cpu_us_per_packet: f64,
    /// What the kernel alone takes to receive and send a packet on the server's core, measured just
    /// before with one hot socket, microseconds.
    pub floor_us: f64,
    /// The same as `cpu_us_per_packet`, of the busiest kind of thread.
    pub cpu_us_per_packet_busiest: f64,
    /// CPU time of the server, share of one core.
    pub cpu_share: f64,
    /// CPU share by kind of thread.
    pub cpu_share_by_thread: BTreeMap<String, f64>,
    /// Resident memory, KiB.
    pub rss_kib: u64,
    /// Growth of resident memory since there was no call, by calls.
    pub kib_per_call: f64,
    /// Threads.
    pub threads: usize,
    /// Growth of the number of threads since there was no call, by calls.
    pub threads_per_call: f64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Context switches a second, by own will and by force.
    pub switches_per_s: (f64, f64),
    /// Each way: from the WebRTC end, and from the plain end where there is one.
    pub ways: Vec<Way>,
    /// SRTP packets that the generator could not decrypt.
    pub undecryptable: u64,
    /// Share of one core that the generator used.
    pub generator_share: f64,
    /// Lateness of the generator's ticks, 99th percentile and longest.
    pub generator_late_ms: (f64, f64),
    /// CPU time that neither the server nor the generator used, in cores.
    pub others_share: f64,
    /// CPU time that the host took away, in cores.
    pub stolen_share: f64,
    /// What the figures must not be taken for.
    pub warnings: Vec<String>,
}

/// Packets of one way.
#[derive(Debug, Serialize)]
pub struct Way {
    /// Sent while CPU and latency were measured.
    pub sent: u64,
    /// Came out.
    pub received: u64,
    /// Did not.
    pub lost: u64,
    /// Came after a later one.
    pub reordered: u64,
    /// Latency through the server, generator's clock at both ends.
    pub latency_p50_ms: f64,
    /// 99th percentile.
    pub latency_p99_ms: f64,
}

/// What a step is made from.
pub struct Parts<'a> {
    /// Server, scenario, profile.
    pub names: [&'a str; 3],
    /// Calls up, failed.
    pub calls: (usize, usize),
    /// What the kernel alone takes.
    pub floor_us: f64,
    /// Calls a second of the ramp.
    pub setups_per_s: f64,
    /// Set-up times.
    pub setups: &'a Histogram,
    /// What the media thread counted while CPU was measured.
    pub window: &'a Window,
    /// What it counted while it read at once.
    pub timed: &'a Window,
    /// Of the server in the window.
    pub usage: Usage,
    /// The server without a call and at the end.
    pub server: (&'a Snapshot, &'a Snapshot),
    /// Of the generator in the window.
    pub own: Usage,
}

impl Step {
    /// Works out the figures.
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { names, calls, setups, window, timed, usage, server, own, .. } = parts;
        let share = |ns: u64| ns as f64 / 1e9 / usage.seconds;
        let arrived = window.arrived.max(1) as f64;
        let ways = (0..2).filter(|way| window.sent[*way] > 0).map(|way| Way {
            sent: window.sent[way] + timed.sent[way],
            received: window.received[way] + timed.received[way],
            lost: (window.sent[way] + timed.sent[way])
                .saturating_sub(window.received[way] + timed.received[way]),
            reordered: window.reordered[way] + timed.reordered[way],
            latency_p50_ms: timed.latency[way].quantile_ms(0.5),
            latency_p99_ms: timed.latency[way].quantile_ms(0.99),
        });
        let each = |now: f64, before: f64| (now - before) / calls.0.max(1) as f64;
        let busiest = usage.by_thread.values().max().copied().unwrap_or(0);
        let mut step = Self {
            server: names[0].to_owned(),
            scenario: names[1].to_owned(),
            profile: names[2].to_owned(),
            calls: calls.0,
            failed: calls.1,
            setups_per_s: parts.setups_per_s,
            setup_p50_ms: setups.quantile_ms(0.5),
            setup_p99_ms: setups.quantile_ms(0.99),
            window_s: usage.seconds,
            forwarded_per_s: window.arrived as f64 / usage.seconds,
            cpu_us_per_packet: usage.cpu_ns as f64 / 1e3 / arrived,
            floor_us: parts.floor_us,
            cpu_us_per_packet_busiest: busiest as f64 / 1e3 / arrived,
            cpu_share: share(usage.cpu_ns),
            cpu_share_by_thread: usage
                .by_thread
                .iter()
                .map(|(name, ns)| (name.clone(), share(*ns)))
                .collect(),
            rss_kib: server.1.rss_kib,
            kib_per_call: each(server.1.rss_kib as f64, server.0.rss_kib as f64),
            threads: usage.threads,
            threads_per_call: each(server.1.threads() as f64, server.0.threads() as f64),
            descriptors: server.1.descriptors,
            switches_per_s: (
                usage.switches.0 as f64 / usage.seconds,
                usage.switches.1 as f64 / usage.seconds,
            ),
            ways: ways.collect(),
            undecryptable: window.undecryptable + timed.undecryptable,
            generator_share: own.cpu_ns as f64 / 1e9 / own.seconds,
            generator_late_ms: (timed.lateness.quantile_ms(0.99), timed.lateness.max_ms()),
            others_share: share(usage.cores.0.saturating_sub(usage.cpu_ns + own.cpu_ns)),
            stolen_share: share(usage.cores.1),
            warnings: Vec::new(),
        };
        step.warn(own.switches.1 as f64 / own.seconds);
        step
    }

    fn warn(&mut self, forced_per_s: f64) {
        if self.generator_share > BUSY_SHARE_MAX {
            self.warnings.push(format!(
                "the generator is the limit: it used {:.0} % of its core",
                self.generator_share * 100.0
            ));
        } else if self.generator_late_ms.0 > LATENESS_MS_MAX {
            self.warnings.push(format!(
                "the generator was late: {:.1} ms at p99 ({forced_per_s:.0} times a second others had its core); \
                 latency and loss are not the server's alone",
                self.generator_late_ms.0
            ));
        }
        if self.others_share > OTHERS_SHARE_MAX {
            self.warnings.push(format!(
                "other programs used {:.0} % of a core: the server's caches were not its own",
                self.others_share * 100.0
            ));
        }
        if self.failed > 0 {
            self.warnings.push(format!("{} calls were not set up", self.failed));
        }
        if self.undecryptable > 0 {
            self.warnings.push(format!("{} packets could not be decrypted", self.undecryptable));
        }
    }

    /// Heading of the table.
    pub const HEADING: &'static str = "\
| server | scenario | calls | pkt/s | CPU µs/pkt | floor µs | CPU % | KiB/call | thr/call | set-ups/s | set-up p50/p99 ms | lost | p50/p99 ms | generator CPU %, late p99 ms | others CPU % |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";

    /// Its row in the table.
    pub fn row(&self) -> String {
        let lost: u64 = self.ways.iter().map(|way| way.lost).sum();
        let sent: u64 = self.ways.iter().map(|way| way.sent).sum();
        let latency: Vec<String> = self
            .ways
            .iter()
            .map(|way| format!("{:.2}/{:.2}", way.latency_p50_ms, way.latency_p99_ms))
            .collect();
        format!(
            "| {} | {} {} | {} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0}/{:.0} | {:.3} % | {} | {:.0}, {:.1} | {:.0} |",
            self.server,
            self.scenario,
            self.profile,
            self.calls,
            self.forwarded_per_s,
            self.cpu_us_per_packet,
            self.floor_us,
            self.cpu_share * 100.0,
            self.kib_per_call,
            self.threads_per_call,
            self.setups_per_s,
            self.setup_p50_ms,
            self.setup_p99_ms,
            lost as f64 * 100.0 / sent.max(1) as f64,
            latency.join(", "),
            self.generator_share * 100.0,
            self.generator_late_ms.0,
            self.others_share * 100.0,
        )
    }
}
