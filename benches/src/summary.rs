//! One report from the steps of many servers: what was measured on what, ratios, tables, pictures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::plot::{Line, Plot};
use crate::report::{Step, Storm, latencies, lost_share};

/// A server that lost more has not carried the calls; no ratio is taken from it.
const LOSS_SHARE_MAX: f64 = 0.01;

/// Arguments of `bifrons-load report`.
#[derive(Debug, clap::Args)]
pub struct Report {
    /// JSON lines that `--json` wrote.
    #[arg(long)]
    steps: PathBuf,
    /// Lines `name: value` about the machine and the versions; `missing: …` for what was left out.
    #[arg(long)]
    about: PathBuf,
    /// Directory that gets `README.md` and the pictures.
    #[arg(long)]
    out: PathBuf,
}

/// A comparison that the report makes: ours and theirs, by server and scenario.
struct Pair {
    title: &'static str,
    ours: (&'static str, &'static str),
    theirs: (&'static str, &'static str),
}

const JANUS: &str = "janus-openssl";
const PAIRS: [Pair; 8] = [
    pair("EchoTest, WebRTC", ("bifrons", "echotest"), (JANUS, "echotest")),
    pair("SIP: WebRTC⇄RTP", ("bifrons", "sip"), (JANUS, "sip")),
    pair("NoSIP: WebRTC⇄RTP", ("bifrons", "nosip"), (JANUS, "nosip")),
    pair("idle WebRTC legs", ("bifrons", "idle"), (JANUS, "idle")),
    pair("SIP registrations", ("bifrons", "registrations"), (JANUS, "registrations")),
    pair("SIP call beside SRTP⇄RTP alone", ("bifrons", "sip"), ("rtpengine", "rtpengine")),
    pair("SRTP⇄RTP, the engine alone", ("engine", "engine-sdes"), ("rtpengine", "rtpengine")),
    pair("RTP⇄RTP, the engine alone", ("engine", "engine-rtp"), ("rtpengine", "rtpengine-rtp")),
];

const fn pair(
    title: &'static str,
    ours: (&'static str, &'static str),
    theirs: (&'static str, &'static str),
) -> Pair {
    Pair { title, ours, theirs }
}

impl Report {
    /// Writes the report and prints its ratios.
    ///
    /// # Errors
    /// A file cannot be read or written, or a line is not a step.
    pub fn write(&self) -> Result<(), String> {
        let read =
            |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        let steps =
            read_steps(&read(&self.steps)?).map_err(|why| format!("{}: {why}", self.steps.display()))?;
        let about = read(&self.about)?;
        let write = |name: &str, text: &str| {
            let path = self.out.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        fs::create_dir_all(&self.out).map_err(|error| format!("{}: {error}", self.out.display()))?;
        let mut pictures = Vec::new();
        for (name, plot) in plots(&steps) {
            if let Some(svg) = plot.svg() {
                write(name, &svg)?;
                pictures.push((name, plot.title));
            }
        }
        write("README.md", &markdown(&steps, &about, &pictures))?;
        println!("{}", ratios(&steps));
        println!("{}", self.out.join("README.md").display());
        Ok(())
    }
}

fn read_steps(text: &str) -> Result<Vec<Step>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1)))
        .collect()
}

/// `engine, uring` is a server called `engine`.
fn is(step: &Step, (server, scenario): (&str, &str)) -> bool {
    step.server.split(',').next() == Some(server) && step.scenario == scenario
}

fn markdown(steps: &[Step], about: &str, pictures: &[(&str, String)]) -> String {
    let mut out = String::from("# Measured by `ci/bench`\n\n");
    let entries = || about.lines().filter_map(|line| line.split_once(": "));
    for (name, value) in entries().filter(|(name, _)| *name != "missing") {
        let _ = writeln!(out, "- {name}: {value}");
    }
    for (_, what) in entries().filter(|(name, _)| *name == "missing") {
        let _ = writeln!(out, "- **left out**: {what}");
    }
    out += "\nAll servers ran in turn in one run, each on core 0 in a network namespace of its own, with the generator on \
            core 1 in another and a veth pair between. CPU includes the kernel thread that receives for the server \
            (\"of it NAPI\"). What the columns mean stands in `benches/README.md`.\n\n## Ratios\n\n";
    out += &ratios(steps);
    for (name, title) in pictures {
        let _ = write!(out, "\n![{title}]({name})\n");
    }
    let _ = write!(out, "\n## All steps\n\n{}\n", Step::HEADING);
    for step in steps {
        let _ = writeln!(out, "{}", step.row());
    }
    out += &fan_out(steps);
    out += &without_media(steps);
    out += &storms(steps);
    out += &scheduling(steps);
    let notes: Vec<String> = steps
        .iter()
        .flat_map(|step| step.warnings.iter().map(move |why| format!("- {}: {why}\n", name_of(step))))
        .collect();
    if !notes.is_empty() {
        let _ = write!(out, "\n## What the figures must not be taken for\n\n{}", notes.concat());
    }
    out
}

fn name_of(step: &Step) -> String {
    format!("{}, {} {}, {} calls", step.server, step.scenario, step.profile, step.calls)
}

/// The table of ratios: at the highest number of calls that both carried.
fn ratios(steps: &[Step]) -> String {
    let mut out = String::from(
        "| compared: ours, theirs | calls | CPU µs/packet | ratio | KiB a call | ratio | threads a call | p99 ms |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let pairs =
        PAIRS.iter().flat_map(|pair| labels(steps, pair.ours).into_iter().map(move |ours| (pair, ours)));
    for (pair, label) in pairs {
        let Some((ours, theirs)) = highest_common(steps, pair, label) else { continue };
        let name = format!("{}: {} and {}", pair.title, ours.server, theirs.server);
        let (cpu, cpu_ratio) = match ours.forwarded_per_s > 0.0 && theirs.forwarded_per_s > 0.0 {
            true => beside(ours.cpu_us_per_packet, theirs.cpu_us_per_packet),
            false => {
                let (each, ratio) = beside(ours.cpu_us_per_call_s, theirs.cpu_us_per_call_s);
                (format!("{each} a call and second"), ratio)
            }
        };
        let (memory, memory_ratio) = beside(ours.kib_per_call, theirs.kib_per_call);
        let _ = writeln!(
            out,
            "| {name} | {} | {cpu} | **{cpu_ratio}** | {memory} | {memory_ratio} | {:.1}, {:.1} | {}, {} |",
            ours.calls,
            ours.threads_per_call,
            theirs.threads_per_call,
            worst_p99(ours),
            worst_p99(theirs),
        );
    }
    out + "\nA ratio is theirs by ours: above 1, Bifrons needs less. Only steps in which both lost at most 1 % are \
           compared. Debian's `janus` as packaged is in the table of all steps, without a ratio: its libsrtp is \
           built on NSS.\n"
}

fn beside(ours: f64, theirs: f64) -> (String, String) {
    let ratio = if ours > 0.0 && theirs > 0.0 { format!("{:.1}", theirs / ours) } else { "–".to_owned() };
    (format!("{}, {}", figure(ours), figure(theirs)), ratio)
}

fn figure(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn worst_p99(step: &Step) -> String {
    let worst = step.ways.iter().map(|way| way.latency_p99_ms).reduce(f64::max);
    worst.map_or("–".to_owned(), |ms| format!("{ms:.2}"))
}

/// What the steps of a server and scenario are called, each once: `bifrons, xdp`, `bifrons, uring` …
fn labels<'a>(steps: &'a [Step], of: (&str, &str)) -> Vec<&'a str> {
    let mut labels: Vec<&str> = Vec::new();
    for step in steps.iter().filter(|step| is(step, of)) {
        if !labels.contains(&&*step.server) {
            labels.push(&step.server);
        }
    }
    labels
}

fn highest_common<'a>(steps: &'a [Step], pair: &Pair, label: &str) -> Option<(&'a Step, &'a Step)> {
    let carried = |step: &&Step| {
        step.lost_share() <= LOSS_SHARE_MAX && step.calls > 0 && step.failed == 0 && step.storm.is_none()
    };
    let all =
        |of: (&'static str, &'static str)| steps.iter().filter(move |step| is(step, of)).filter(carried);
    let both = all(pair.ours).filter(|ours| ours.server == label).filter_map(|ours| {
        let theirs =
            all(pair.theirs).find(|theirs| theirs.calls == ours.calls && theirs.profile == ours.profile);
        theirs.map(|theirs| (ours, theirs))
    });
    both.max_by_key(|(ours, _)| ours.calls)
}

fn fan_out(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps.iter().filter(|step| step.scenario == "engine-fanout") {
        let _ = writeln!(
            out,
            "- {}, {} viewers: {:.0} packets of 1,200 bytes out a second, **{:.2} µs** of CPU a packet out, {:.0} % of \
             the core, {:.3} % lost, p50/p99 {} ms",
            step.server,
            step.calls,
            step.forwarded_per_s,
            step.cpu_us_per_packet,
            step.cpu_share * 100.0,
            step.lost_share() * 100.0,
            latencies(&step.ways)
        );
    }
    titled("Video to many (the engine alone, SRTP)", out)
}

fn without_media(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps.iter().filter(|step| matches!(step.scenario.as_str(), "idle" | "registrations")) {
        let _ = writeln!(
            out,
            "- {}: {:.1} KiB each, {:.1} µs of CPU each a second, {:.1} threads each; made at {:.0} a second, \
             p50/p99 {:.0}/{:.0} ms",
            name_of(step),
            step.kib_per_call,
            step.cpu_us_per_call_s,
            step.threads_per_call,
            step.setups_per_s,
            step.setup_p50_ms,
            step.setup_p99_ms
        );
    }
    titled("Legs and accounts without media", out)
}

fn storms(steps: &[Step]) -> String {
    let mut out = String::new();
    for (step, storm) in steps.iter().filter_map(|step| Some((step, step.storm.as_ref()?))) {
        let Storm {
            setups_per_s, failed, setup_p50_ms, setup_p99_ms, cpu_share, generator_share, ways, ..
        } = storm;
        let _ = writeln!(
            out,
            "- {} running: {setups_per_s:.0} calls a second set up and ended ({failed} failed, p50/p99 \
             {setup_p50_ms:.0}/{setup_p99_ms:.0} ms, {:.0} % CPU, generator {:.0} %); the running calls' p50/p99 {} ms before, **{} ms** \
             during it, {:.3} % lost",
            name_of(step),
            cpu_share * 100.0,
            generator_share * 100.0,
            latencies(&step.ways),
            latencies(ways),
            lost_share(ways) * 100.0
        );
    }
    titled("Storms of set-ups", out)
}

fn scheduling(steps: &[Step]) -> String {
    let mut out = String::new();
    let mut seen = Vec::new();
    for step in steps.iter().filter(|step| !step.scheduling.is_empty()) {
        let server = step.server.split(',').next().unwrap_or("");
        if seen.contains(&server) {
            continue;
        }
        seen.push(server);
        let mut by_policy = BTreeMap::<&str, Vec<&str>>::new();
        for (kind, how) in &step.scheduling {
            by_policy.entry(how).or_default().push(kind);
        }
        let each: Vec<String> = match by_policy.len() {
            1 => by_policy.keys().map(|how| format!("all {how}")).collect(),
            _ => by_policy.iter().map(|(how, kinds)| format!("`{}` {how}", kinds.join("`, `"))).collect(),
        };
        let _ = writeln!(out, "- {server}: {}", each.join("; "));
    }
    titled("Scheduling in force", out)
}

fn titled(title: &str, list: String) -> String {
    if list.is_empty() { list } else { format!("\n## {title}\n\n{list}") }
}

fn plots(steps: &[Step]) -> Vec<(&'static str, Plot)> {
    let media =
        |step: &Step| step.forwarded_per_s > 0.0 && step.scenario != "engine-fanout" && step.storm.is_none();
    let cpu =
        |step: &Step| (media(step) && step.lost_share() <= LOSS_SHARE_MAX).then_some(step.cpu_us_per_packet);
    let p99 = |step: &Step| {
        let worst = step.ways.iter().map(|way| way.latency_p99_ms).reduce(f64::max);
        worst.filter(|_| media(step))
    };
    let memory = |step: &Step| {
        Some(step.rss_kib as f64 / 1024.0).filter(|_| media(step) && !step.scenario.starts_with("engine"))
    };
    vec![
        ("cpu.svg", plot(steps, "CPU time of the server a packet", "µs", cpu)),
        ("latency.svg", plot(steps, "Time through the server, 99th percentile", "ms", p99)),
        ("memory.svg", plot(steps, "Resident memory of the server", "MiB", memory)),
    ]
}

fn plot(steps: &[Step], title: &str, y: &str, value: impl Fn(&Step) -> Option<f64>) -> Plot {
    let mut lines: Vec<Line> = Vec::new();
    for step in steps {
        let Some(value) = value(step).filter(|value| *value > 0.0 && step.calls > 0) else { continue };
        let (server, how) = step.server.split_once(',').unwrap_or((&step.server, ""));
        let mut name = match step.scenario.strip_prefix(server) {
            Some("") => server.to_owned(),
            Some(rest) => format!("{server} {}", rest.trim_start_matches('-')),
            None => format!("{server} {}", step.scenario),
        };
        name += how;
        let at = lines.iter().position(|line| line.name == name).unwrap_or_else(|| {
            lines.push(Line { name, points: Vec::new() });
            lines.len() - 1
        });
        lines[at].points.push((step.calls as f64, value));
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    Plot { title: title.to_owned(), x: "calls".to_owned(), y: y.to_owned(), lines }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Way;

    fn step(server: &str, scenario: &str, calls: usize, cpu_us_per_packet: f64, lost: u64) -> Step {
        let way = Way { sent: 1_000, received: 1_000 - lost, lost, latency_p99_ms: 1.5, ..Way::default() };
        Step {
            server: server.to_owned(),
            scenario: scenario.to_owned(),
            profile: "gcm".to_owned(),
            calls,
            cpu_us_per_packet,
            forwarded_per_s: 50.0 * calls as f64,
            kib_per_call: 100.0,
            rss_kib: 10_000,
            ways: vec![way],
            ..Step::default()
        }
    }

    #[test]
    fn compares_where_both_carried_the_calls() {
        let steps = [
            step("bifrons", "echotest", 100, 10.0, 0),
            step("bifrons", "echotest", 500, 6.0, 0),
            step("janus-openssl", "echotest", 100, 30.0, 0),
            step("janus-openssl", "echotest", 500, 99.0, 400),
            step("engine, uring", "engine-sdes", 100, 5.0, 0),
            step("engine, xdp", "engine-sdes", 100, 2.0, 0),
            step("rtpengine", "rtpengine", 100, 10.0, 0),
        ];
        let text = ratios(&steps);
        assert!(text.contains("| 100 | 10.00, 30.00 | **3.0** | 100, 100 | 1.0 |"), "{text}");
        assert!(text.contains("| 100 | 5.00, 10.00 | **2.0** |"), "{text}");
        assert!(text.contains("engine, xdp and rtpengine | 100 | 2.00, 10.00 | **5.0** |"), "{text}");
        assert!(!text.contains("99.00"), "{text}");
    }

    #[test]
    fn a_report_says_everything() {
        let mut running = step("bifrons", "sip", 100, 9.0, 0);
        let calm = running.clone();
        running.storm = Some(Storm { setups_per_s: 123.0, failed: 4, ..Storm::default() });
        running.warnings.push("the generator is the limit".to_owned());
        running.scheduling.insert("bifrons".to_owned(), "other, nice 0".to_owned());
        running.scheduling.insert("bifrons-worker".to_owned(), "fifo 1".to_owned());
        let steps = [running, calm, step("engine, uring", "engine-fanout", 20, 1.2, 0)];
        let lines: String = steps.iter().map(|step| serde_json::to_string(step).unwrap() + "\n").collect();
        let again = read_steps(&lines).unwrap();
        let text = markdown(&again, "kernel: 6.1\nmissing: rtpengine (ci/setup bench)\n", &[]);
        for part in [
            "- kernel: 6.1",
            "**left out**: rtpengine",
            "123 calls a second",
            "20 viewers",
            "`bifrons-worker` fifo 1",
            "the generator is the limit",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(read_steps("{}\n").unwrap_err().contains("line 1"));
        let plots = plots(&again);
        assert_eq!(plots[0].1.lines.len(), 1, "the fan-out is a scale of its own");
        let line = &plots[0].1.lines[0];
        assert_eq!(
            (line.name.as_str(), line.points.len()),
            ("bifrons sip", 1),
            "a storm's step is no other point"
        );
    }
}
