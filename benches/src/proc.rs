//! A process and its children from outside: CPU time by thread, memory, descriptors, switches.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

/// What a thread used so far.
#[derive(Clone, Copy, Debug)]
struct Thread {
    /// When it was looked at: with hundreds of threads a look takes its time.
    at: Instant,
    cpu_ns: u64,
    voluntary: u64,
    involuntary: u64,
    scheduling: Scheduling,
}

/// How the kernel chooses a thread: policy (sched(7)), real-time priority, nice value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scheduling {
    policy: u32,
    priority: u32,
    nice: i32,
}

/// One look at a process and its children.
pub struct Snapshot {
    at: Instant,
    threads: BTreeMap<u32, (String, Thread)>,
    /// Resident memory of all processes, KiB.
    pub rss_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Busy and stolen time of each core so far, nanoseconds.
    cores: Vec<(u64, u64)>,
}

/// What happened between two looks.
#[derive(Debug, Default)]
pub struct Usage {
    /// Length of the time between them, seconds.
    pub seconds: f64,
    /// CPU time of all threads, nanoseconds.
    pub cpu_ns: u64,
    /// The same by thread name; threads whose names differ only in a number are one.
    pub by_thread: BTreeMap<String, u64>,
    /// Threads at the end.
    pub threads: usize,
    /// Context switches: by own will, by force.
    pub switches: (u64, u64),
    /// Busy and stolen time of each core, whoever used it, nanoseconds.
    pub cores: Vec<(u64, u64)>,
}

impl Usage {
    /// Busy time of all cores, nanoseconds.
    pub fn busy_ns(&self) -> u64 {
        self.cores.iter().map(|core| core.0).sum()
    }

    /// Time that the host took away from all cores, nanoseconds.
    pub fn stolen_ns(&self) -> u64 {
        self.cores.iter().map(|core| core.1).sum()
    }
}

impl Snapshot {
    /// Looks at `pid` and every process that descends from it.
    ///
    /// # Errors
    /// There is no such process, or its files cannot be read.
    pub fn take(pid: u32) -> Result<Self, String> {
        let mut snapshot =
            Self { at: Instant::now(), threads: BTreeMap::new(), rss_kib: 0, descriptors: 0, cores: cores() };
        for pid in family(pid) {
            snapshot.add(pid).map_err(|error| format!("process {pid}: {error}"))?;
        }
        Ok(snapshot)
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Scheduling by kind of thread; of several the first that is not the ordinary one.
    pub fn scheduling(&self, which: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let mut kinds = BTreeMap::<String, Scheduling>::new();
        for (name, thread) in self.threads.values().filter(|(name, _)| which(name)) {
            let known = kinds.entry(kind_of(name)).or_default();
            if *known == Scheduling::default() {
                *known = thread.scheduling;
            }
        }
        kinds.into_iter().map(|(kind, scheduling)| (kind, scheduling.to_string())).collect()
    }

    /// What was used since `before`. `which` chooses threads by name.
    pub fn since(&self, before: &Self, which: impl Fn(&str) -> bool) -> Usage {
        let mut usage = Usage { seconds: (self.at - before.at).as_secs_f64(), ..Usage::default() };
        for (now, then) in self.cores.iter().zip(&before.cores) {
            usage.cores.push((now.0.saturating_sub(then.0), now.1.saturating_sub(then.1)));
        }
        for (tid, (name, now)) in self.threads.iter().filter(|(_, (name, _))| which(name)) {
            usage.threads += 1;
            let cpu_ns = match before.threads.get(tid) {
                Some((_, then)) => {
                    usage.switches.0 += now.voluntary.saturating_sub(then.voluntary);
                    usage.switches.1 += now.involuntary.saturating_sub(then.involuntary);
                    let used = now.cpu_ns.saturating_sub(then.cpu_ns) as f64;
                    (used * usage.seconds / (now.at - then.at).as_secs_f64()) as u64
                }
                None => now.cpu_ns, // it began in between
            };
            usage.cpu_ns += cpu_ns;
            *usage.by_thread.entry(kind_of(name)).or_default() += cpu_ns;
        }
        usage
    }

    fn add(&mut self, pid: u32) -> std::io::Result<()> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        self.rss_kib += field(&status, "VmRSS:");
        self.descriptors += fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            // A thread may end between the listing and the reading.
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let read = |file: &str| fs::read_to_string(task.path().join(file));
            let (Ok(name), Ok(times), Ok(status)) = (read("comm"), read("schedstat"), read("status")) else {
                continue;
            };
            let thread = Thread {
                at: Instant::now(),
                cpu_ns: times.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0),
                voluntary: field(&status, "voluntary_ctxt_switches:"),
                involuntary: field(&status, "nonvoluntary_ctxt_switches:"),
                scheduling: read("stat").map(|stat| Scheduling::of(&stat)).unwrap_or_default(),
            };
            self.threads.insert(tid, (name.trim_end().to_owned(), thread));
        }
        Ok(())
    }
}

impl Scheduling {
    /// From `/proc/…/stat` (proc(5)): the name in parentheses may contain anything.
    fn of(stat: &str) -> Self {
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        // The first field behind the name is number 3.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or("0");
        Self {
            policy: field(41).parse().unwrap_or(0),
            priority: field(40).parse().unwrap_or(0),
            nice: field(19).parse().unwrap_or(0),
        }
    }
}

impl std::fmt::Display for Scheduling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.policy {
            0 => write!(f, "other, nice {}", self.nice),
            1 => write!(f, "fifo {}", self.priority),
            2 => write!(f, "rr {}", self.priority),
            3 => write!(f, "batch, nice {}", self.nice),
            5 => f.write_str("idle"),
            other => write!(f, "policy {other}"),
        }
    }
}

/// Busy time of each core so far, nanoseconds, and the time that the host took away.
fn cores() -> Vec<(u64, u64)> {
    const TICK_NS: u64 = 10_000_000; // USER_HZ is 100 on every Linux
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    lines
        .map(|line| {
            let ticks: Vec<u64> = line.split(' ').skip(1).map(|word| word.parse().unwrap_or(0)).collect();
            let at = |column: usize| ticks.get(column).copied().unwrap_or(0);
            // user, nice, system, (idle, iowait,) irq, softirq; then steal.
            ((at(0) + at(1) + at(2) + at(5) + at(6)) * TICK_NS, at(7) * TICK_NS)
        })
        .collect()
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// `hloop 8123` and `worker-3` are of one kind each.
fn kind_of(name: &str) -> String {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    kind.split(' ').next().unwrap_or("").trim_end_matches(['-', '_', '/']).to_owned()
}

fn family(pid: u32) -> Vec<u32> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(status) = fs::read_to_string(format!("/proc/{child}/status")) else { continue };
        parents.insert(child, field(&status, "PPid:") as u32);
    }
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        let parent = all[at];
        all.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(child, _)| *child));
        at += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_itself_work() {
        let before = Snapshot::take(std::process::id()).unwrap();
        let until = Instant::now() + std::time::Duration::from_millis(30);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let after = Snapshot::take(std::process::id()).unwrap();
        let usage = after.since(&before, |_| true);
        assert!(usage.cpu_ns > 0 && usage.threads > 0 && after.rss_kib > 0 && after.descriptors > 0);
        assert!(Snapshot::take(u32::MAX).is_err());
    }

    #[test]
    fn reads_scheduling() {
        let mut fields = vec!["0"; 50];
        fields[0] = "S";
        let line = |fields: &[&str]| Scheduling::of(&format!("12 (a) b) {}", fields.join(" "))).to_string();
        fields[16] = "-10";
        assert_eq!(line(&fields), "other, nice -10");
        (fields[37], fields[38]) = ("1", "1");
        assert_eq!(line(&fields), "fifo 1");
    }

    #[test]
    fn threads_of_a_kind() {
        assert_eq!(kind_of("hloop 1234"), "hloop");
        assert_eq!(kind_of("bifrons-worker-12"), "bifrons-worker");
        assert_eq!(kind_of("janus"), "janus");
    }
}
