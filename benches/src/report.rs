//! One JSON line and one table row a step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::media::Window;
use crate::place::Ramp;
use crate::proc::{Snapshot, Usage};

/// Share of its core from which on the generator counts as the limit.
const BUSY_SHARE_MAX: f64 = 0.85;
/// Lateness of the generator's own ticks (99th percentile) from which on latencies are not the
/// server's alone.
const LATENESS_MS_MAX: f64 = 3.0;

/// Share of a core used by other programs from which on they disturb.
const OTHERS_SHARE_MAX: f64 = 0.1;

/// What one step measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// CPU time of the server per forwarded packet, all its threads and processes; 0 without packets.
    pub cpu_us_per_packet: f64,
    /// CPU time of the server per call and second.
    pub cpu_us_per_call_s: f64,
    /// What the kernel alone takes to receive and send a packet on the server's core, measured just
    /// before with one hot socket, microseconds.
    pub floor_us: f64,
    /// The same as `cpu_us_per_packet`, of the busiest kind of thread.
    pub cpu_us_per_packet_busiest: f64,
    /// Of `cpu_us_per_packet`: kernel threads that receive from the network for the server (threaded NAPI); 0 where
    /// whoever sends pays for that.
    #[serde(default)]
    pub napi_us_per_packet: f64,
    /// CPU time of the server, share of one core.
    pub cpu_share: f64,
    /// CPU share by kind of thread.
    pub cpu_share_by_thread: BTreeMap<String, f64>,
    /// Scheduling policy by kind of thread.
    pub scheduling: BTreeMap<String, String>,
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
    /// What a storm of set-ups did, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// What the figures must not be taken for.
    pub warnings: Vec<String>,
}

/// Packets of one way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Way {
    /// Sent while CPU and latency were measured.
    pub sent: u64,
    /// Came out.
    pub received: u64,
    /// Did not.
    pub lost: u64,
    /// Came after a later one.
    pub reordered: u64,
    /// Latency through the server: from the generator's clock before sending to the kernel's receive
    /// time.
    pub latency_p50_ms: f64,
    /// 99th percentile.
    pub latency_p99_ms: f64,
}

/// Set-ups as fast as they go while calls are running.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Storm {
    /// Length, seconds.
    pub seconds: f64,
    /// Calls set up and ended a second.
    pub setups_per_s: f64,
    /// Calls that could not be set up.
    pub failed: usize,
    /// From the first request of a call until its keys are there.
    pub setup_p50_ms: f64,
    /// The same, 99th percentile.
    pub setup_p99_ms: f64,
    /// CPU time of the server, share of one core.
    pub cpu_share: f64,
    /// The same by kind of thread.
    #[serde(default)]
    pub cpu_share_by_thread: BTreeMap<String, f64>,
    /// The same of the generator: near 1 it was the limit.
    #[serde(default)]
    pub generator_share: f64,
    /// The same by kind of thread.
    #[serde(default)]
    pub generator_share_by_thread: BTreeMap<String, f64>,
    /// Resident memory of the server at the storm's end, KiB.
    #[serde(default)]
    pub rss_kib: u64,
    /// Packets that the generator itself had no room for.
    #[serde(default)]
    pub generator_dropped: u64,
    /// Packets of the running calls.
    pub ways: Vec<Way>,
}

impl Storm {
    /// From how it went, what the running calls had meanwhile, and what the server used.
    pub fn new(ramp: &Ramp, window: &Window, usage: &Usage, own: &Usage, rss_kib: u64) -> Self {
        Self {
            seconds: ramp.seconds,
            setups_per_s: ramp.setups.count() as f64 / ramp.seconds,
            failed: ramp.failed,
            setup_p50_ms: ramp.setups.quantile_ms(0.5),
            setup_p99_ms: ramp.setups.quantile_ms(0.99),
            cpu_share: usage.cpu_ns as f64 / 1e9 / usage.seconds,
            cpu_share_by_thread: usage.shares(),
            generator_share: own.cpu_ns as f64 / 1e9 / own.seconds,
            generator_share_by_thread: own.shares(),
            rss_kib,
            generator_dropped: window.dropped,
            ways: Way::all(window),
        }
    }
}

impl Way {
    fn all(window: &Window) -> Vec<Self> {
        let used = (0..2).filter(|way| window.sent[*way] > 0);
        let way = |way: usize| Self {
            sent: window.sent[way],
            received: window.received[way],
            lost: window.sent[way].saturating_sub(window.received[way]),
            reordered: window.reordered[way],
            latency_p50_ms: window.latency[way].quantile_ms(0.5),
            latency_p99_ms: window.latency[way].quantile_ms(0.99),
        };
        used.map(way).collect()
    }
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
    /// What the media thread counted.
    pub window: &'a Window,
    /// Of the server in the window.
    pub usage: Usage,
    /// The server without a call and at the end.
    pub server: (&'a Snapshot, &'a Snapshot),
    /// Scheduling of the server's threads.
    pub scheduling: BTreeMap<String, String>,
    /// Of the generator in the window.
    pub own: Usage,
    /// The storm after it.
    pub storm: Option<Storm>,
}

impl Step {
    /// Works out the figures.
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { names, calls, setups, window, usage, server, own, .. } = parts;
        let share = |ns: u64| ns as f64 / 1e9 / usage.seconds;
        // The look at the server takes longer than the window of packets: rates are compared, not sums.
        let forwarded_per_s = window.arrived as f64 / window.seconds().max(f64::MIN_POSITIVE);
        let packet_us = |ns: u64| {
            if window.arrived > 0 { ns as f64 / 1e3 / usage.seconds / forwarded_per_s } else { 0.0 }
        };
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
            window_s: window.seconds(),
            forwarded_per_s,
            cpu_us_per_packet: packet_us(usage.cpu_ns),
            cpu_us_per_call_s: usage.cpu_ns as f64 / 1e3 / usage.seconds / calls.0.max(1) as f64,
            floor_us: parts.floor_us,
            cpu_us_per_packet_busiest: packet_us(busiest),
            napi_us_per_packet: packet_us(usage.by_thread.get("napi").copied().unwrap_or(0)),
            cpu_share: share(usage.cpu_ns),
            cpu_share_by_thread: usage
                .by_thread
                .iter()
                .map(|(name, ns)| (name.clone(), share(*ns)))
                .collect(),
            scheduling: parts.scheduling,
            rss_kib: server.1.rss_kib,
            kib_per_call: each(server.1.rss_kib as f64, server.0.rss_kib as f64),
            threads: usage.threads,
            threads_per_call: each(server.1.threads() as f64, server.0.threads() as f64),
            descriptors: server.1.descriptors,
            switches_per_s: (
                usage.switches.0 as f64 / usage.seconds,
                usage.switches.1 as f64 / usage.seconds,
            ),
            ways: Way::all(window),
            undecryptable: window.undecryptable,
            generator_share: own.cpu_ns as f64 / 1e9 / own.seconds,
            generator_late_ms: (window.lateness.quantile_ms(0.99), window.lateness.max_ms()),
            others_share: share(usage.machine_ns.saturating_sub(usage.cpu_ns + own.cpu_ns)),
            stolen_share: share(usage.stolen_ns),
            storm: parts.storm,
            warnings: Vec::new(),
        };
        step.warn(own.switches.1 as f64 / own.seconds);
        let dropped = window.dropped + step.storm.as_ref().map_or(0, |storm| storm.generator_dropped);
        if dropped > 0 {
            let why = format!(
                "{dropped} of the lost packets were lost by the generator, which had no room for them"
            );
            step.warnings.push(why);
        }
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
| server | scenario | calls | pkt/s | CPU µs/pkt | of it NAPI | floor µs | CPU % | KiB/call | thr/call | set-ups/s | set-up p50/p99 ms | lost | p50/p99 ms | generator CPU %, late p99 ms | others CPU % |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";

    /// Share of all packets that did not come out.
    pub fn lost_share(&self) -> f64 {
        lost_share(&self.ways)
    }

    /// Its row in the table.
    pub fn row(&self) -> String {
        format!(
            "| {} | {} {} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0}/{:.0} | {:.3} % | {} | {:.0}, {:.1} | {:.0} |",
            self.server,
            self.scenario,
            self.profile,
            self.calls,
            self.forwarded_per_s,
            self.cpu_us_per_packet,
            self.napi_us_per_packet,
            self.floor_us,
            self.cpu_share * 100.0,
            self.kib_per_call,
            self.threads_per_call,
            self.setups_per_s,
            self.setup_p50_ms,
            self.setup_p99_ms,
            self.lost_share() * 100.0,
            latencies(&self.ways),
            self.generator_share * 100.0,
            self.generator_late_ms.0,
            self.others_share * 100.0,
        )
    }
}

/// Share of the packets of all ways that did not come out.
pub fn lost_share(ways: &[Way]) -> f64 {
    let lost: u64 = ways.iter().map(|way| way.lost).sum();
    let sent: u64 = ways.iter().map(|way| way.sent).sum();
    lost as f64 / sent.max(1) as f64
}

/// `p50/p99` of each way, milliseconds.
pub fn latencies(ways: &[Way]) -> String {
    let each = ways.iter().map(|way| format!("{:.2}/{:.2}", way.latency_p50_ms, way.latency_p99_ms));
    each.collect::<Vec<_>>().join(", ")
}
