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
    /// CPU time of all programs of the machine so far, nanoseconds.
    machine_ns: u64,
    /// Time that the host took away from all cores so far, nanoseconds.
    stolen_ns: u64,
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
    /// CPU time of all programs of the machine, nanoseconds.
    pub machine_ns: u64,
    /// Time that the host took away from all cores, nanoseconds.
    pub stolen_ns: u64,
}

impl Usage {
    /// CPU time by kind of thread, shares of one core.
    pub fn shares(&self) -> BTreeMap<String, f64> {
        let share = |ns: u64| ns as f64 / 1e9 / self.seconds;
        self.by_thread.iter().map(|(kind, ns)| (kind.clone(), share(*ns))).collect()
    }
}

impl Snapshot {
    /// Looks at `pid` and every process that descends from it, and at kernel threads that work for it.
    ///
    /// # Errors
    /// There is no such process, or its files cannot be read.
    pub fn take(pid: u32, kernel_threads: &[u32]) -> Result<Self, String> {
        let mut snapshot = Self {
            at: Instant::now(),
            threads: BTreeMap::new(),
            rss_kib: 0,
            descriptors: 0,
            machine_ns: machine_ns(),
            stolen_ns: stolen_ns(),
        };
        for pid in family(pid).iter().chain(kernel_threads).copied() {
            snapshot.add(pid).map_err(|error| format!("process {pid}: {error}"))?;
        }
        Ok(snapshot)
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.values().filter(|(name, _)| !is_napi_thread(name)).count()
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
        usage.machine_ns = self.machine_ns.saturating_sub(before.machine_ns);
        usage.stolen_ns = self.stolen_ns.saturating_sub(before.stolen_ns);
        for (tid, (name, now)) in self.threads.iter().filter(|(_, (name, _))| which(name)) {
            usage.threads += usize::from(!is_napi_thread(name));
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

/// A tick of `/proc`: USER_HZ is 100 on every Linux.
const TICK_NS: u64 = 10_000_000;

/// CPU time of all programs so far, those that have ended included where their parents have taken note.
///
/// The kernel scales these to what the scheduler counted. The busy time in `/proc/stat` is sampled at ticks
/// instead, and sees none or all of what a timer of the server's own wakes each time.
fn machine_ns() -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    // `self` is there too, as a second name of this program.
    let numbered = processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    let stats = numbered.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.map(|stat| cpu_ns_of(&stat)).sum()
}

/// A process's own time and that of its children who have ended, from its `stat` (proc(5), fields 14 to 17).
fn cpu_ns_of(stat: &str) -> u64 {
    let behind_name = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    let ticks = behind_name.skip(11).take(4).map(|word| word.parse().unwrap_or(0));
    ticks.sum::<u64>() * TICK_NS
}

/// Time that the host took away from all cores so far: column 8 of the first line of `/proc/stat`.
fn stolen_ns() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or("");
    first.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or(0) * TICK_NS
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Whether a kernel thread polls a network interface (`napi/INTERFACE-NUMBER`).
pub fn is_napi_thread(name: &str) -> bool {
    name.starts_with("napi/")
}

/// `hloop 8123` and `worker-3` are of one kind each.
fn kind_of(name: &str) -> String {
    if is_napi_thread(name) {
        return "napi".to_owned();
    }
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
        let before = Snapshot::take(std::process::id(), &[]).unwrap();
        let until = Instant::now() + std::time::Duration::from_millis(30);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let after = Snapshot::take(std::process::id(), &[]).unwrap();
        let usage = after.since(&before, |_| true);
        assert!(usage.cpu_ns > 0 && usage.threads > 0 && after.rss_kib > 0 && after.descriptors > 0);
        assert!(Snapshot::take(u32::MAX, &[]).is_err());
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
        assert_eq!(kind_of("napi/s12345-819"), "napi");
    }

    #[test]
    fn the_time_of_a_process_whatever_its_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 22 33 44 20 0 1 0 99";
        assert_eq!(cpu_ns_of(stat), (11 + 22 + 33 + 44) * TICK_NS);
        assert_eq!(cpu_ns_of(""), 0);
    }

    #[test]
    fn what_this_program_uses_is_seen() {
        let before = Snapshot::take(std::process::id(), &[]).unwrap();
        let begun = Instant::now();
        // Work by the scheduler's count, not by the clock: on a busy machine it takes longer.
        loop {
            let usage = Snapshot::take(std::process::id(), &[]).unwrap().since(&before, |_| true);
            if usage.cpu_ns > 100_000_000 && usage.machine_ns >= 50_000_000 {
                break;
            }
            assert!(begun.elapsed().as_secs() < 60, "{usage:?}");
        }
    }
}
