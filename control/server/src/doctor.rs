//! What the kernel granted, and the exact line that mends each shortfall. Read-only: from `/proc`
//! one probe of io_uring, and questions about network interfaces.

use std::fmt;
use std::fs;

use bifrons_engine::driver::{uring, xdp};

use crate::config::Config;
use crate::config::schema::DriverChoice;

/// Receive buffer that a shared socket wants, bytes (`benches/README.md`: the kernel's queue holds the burst).
const RECEIVE_BUFFER_BYTES: u64 = 4 << 20;
/// Descriptors beside those of legs: listeners, clients, files.
const DESCRIPTORS_SPARE: u64 = 1_024;

// Numbers of capabilities (capabilities(7)) in the sets of `/proc/self/status`.
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_NICE: u32 = 23;
const CAP_BPF: u32 = 39;

/// Locked memory beside that of the workers' buffers: rings of io_uring that were just closed still count.
const LOCKED_SPARE_BYTES: u64 = 1 << 20;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As wanted.
    Good,
    /// It runs, but with less than it could have.
    Short,
    /// It cannot run like that.
    Bad,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// The line that mends it; empty where there is nothing to mend.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Good => "ok   ",
            Verdict::Short => "short",
            Verdict::Bad => "BAD  ",
        };
        write!(f, "{mark}  {:<18} {}", self.what, self.found)?;
        if !self.remedy.is_empty() {
            write!(f, "\n       to mend: {}", self.remedy)?;
        }
        Ok(())
    }
}

fn good(what: &'static str, found: String) -> Finding {
    Finding { what, verdict: Verdict::Good, found, remedy: String::new() }
}

/// All checks for a configuration.
pub fn examine(config: &Config) -> Vec<Finding> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let limits = read("/proc/self/limits");
    let workers = workers(config);
    let mut findings = vec![
        io_uring(config),
        receive_buffers(read("/proc/sys/net/core/rmem_max").trim().parse().unwrap_or(0)),
        descriptors(soft_limit(&limits, "Max open files"), workers * config.media.legs_per_worker_max as u64),
        ports(
            config,
            &read("/proc/sys/net/ipv4/ip_local_port_range"),
            &read("/proc/sys/net/ipv4/ip_local_reserved_ports"),
        ),
        scheduling(
            config,
            soft_limit(&limits, "Max realtime priority"),
            has_capability(&read("/proc/self/status"), CAP_SYS_NICE),
        ),
    ];
    findings.extend(xdp_needs(config, &read("/proc/self/status"), soft_limit(&limits, "Max locked memory")));
    findings.push(match crate::sip_program::find(config) {
        Ok(path) => good("bifrons-sip", path.display().to_string()),
        Err(reason) => Finding {
            what: "bifrons-sip",
            verdict: if config.plugins.disable.iter().any(|name| name == "janus.plugin.sip") {
                Verdict::Short
            } else {
                Verdict::Bad
            },
            found: reason,
            remedy: "cargo build --release -p bifrons-sip, or set sip.program".into(),
        },
    });
    findings
}

/// Engine threads that a configuration means.
pub fn workers(config: &Config) -> u64 {
    match config.media.workers {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
        n => n as u64,
    }
}

fn io_uring(config: &Config) -> Finding {
    match uring::probe() {
        Ok(()) => good("io_uring", "granted".into()),
        Err(reason) => Finding {
            what: "io_uring",
            verdict: if config.media.driver == DriverChoice::Uring { Verdict::Bad } else { Verdict::Short },
            found: format!("{reason}; the mmsg driver runs instead"),
            remedy: "sysctl -w kernel.io_uring_disabled=0 (in a container: allow io_uring_setup, io_uring_enter, io_uring_register in its seccomp profile)".into(),
        },
    }
}

/// Rights, locked memory and interfaces of the driver `xdp`, where it is the one.
fn xdp_needs(config: &Config, status: &str, locked_bytes: u64) -> Vec<Finding> {
    if config.media.driver != DriverChoice::Xdp {
        return Vec::new();
    }
    let bad = |what, found, remedy| Finding { what, verdict: Verdict::Bad, found, remedy };
    let has = |number| has_capability(status, number);
    let rights = [
        ("CAP_NET_ADMIN", has(CAP_NET_ADMIN)),
        ("CAP_NET_RAW", has(CAP_NET_RAW)),
        // Before Linux 5.8 there was only the second.
        ("CAP_BPF", has(CAP_BPF) || has(CAP_SYS_ADMIN)),
    ];
    let missing: Vec<&str> = rights.iter().filter(|(_, granted)| !granted).map(|(name, _)| *name).collect();
    let mut findings = vec![match missing.as_slice() {
        [] => good("XDP rights", "granted".into()),
        missing => bad(
            "XDP rights",
            format!("{} missing", missing.join(", ")),
            "setcap cap_net_admin,cap_net_raw,cap_bpf+ep bifrons (systemd: \
             AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_BPF), or another media.driver"
                .into(),
        ),
    }];
    let interfaces = &config.media.xdp_interfaces;
    let wanted = workers(config) * xdp::memory_bytes(interfaces.len()) as u64;
    findings.push(if has(CAP_IPC_LOCK) || locked_bytes >= wanted + LOCKED_SPARE_BYTES {
        good("locked memory", format!("{} MiB for the buffers of the workers", wanted >> 20))
    } else {
        bad(
            "locked memory",
            format!(
                "{} KiB, but the buffers of the workers are {} KiB and other parts need some",
                locked_bytes >> 10,
                wanted >> 10
            ),
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)".into(),
        )
    });
    let addresses = crate::start::media_addresses(config);
    let count = usize::try_from(workers(config)).unwrap_or(usize::MAX);
    findings.extend(interfaces.iter().map(|name| match xdp::Interface::check(name, &addresses, count) {
        Ok(found) => good("XDP interface", found),
        Err(reason) => bad("XDP interface", reason, String::new()),
    }));
    findings
}

fn receive_buffers(rmem_max: u64) -> Finding {
    if rmem_max >= RECEIVE_BUFFER_BYTES {
        return good("socket buffers", format!("{} KiB a shared socket", RECEIVE_BUFFER_BYTES >> 10));
    }
    Finding {
        what: "socket buffers",
        verdict: Verdict::Short,
        found: format!("{} KiB of {} KiB a shared socket", rmem_max >> 10, RECEIVE_BUFFER_BYTES >> 10),
        remedy: format!("sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}"),
    }
}

fn descriptors(limit: u64, legs: u64) -> Finding {
    // An RTP leg has a pair of sockets; a call has one such leg and one WebRTC leg, which has none.
    let wanted = legs + DESCRIPTORS_SPARE;
    if limit >= wanted {
        return good("descriptors", format!("{limit} for {legs} legs"));
    }
    Finding {
        what: "descriptors",
        verdict: Verdict::Short,
        found: format!("{limit}, but {legs} legs may want {wanted}"),
        remedy: format!(
            "ulimit -n {wanted} (systemd: LimitNOFILE={wanted}), or lower media.legs_per_worker_max"
        ),
    }
}

fn ports(config: &Config, local_range: &str, reserved: &str) -> Finding {
    let own = config.media.rtp_port_range;
    let mut bounds = local_range.split_whitespace().map(|word| word.parse::<u16>().unwrap_or(0));
    let (low, high) = (bounds.next().unwrap_or(0), bounds.next().unwrap_or(0));
    let found = format!("{}-{}", own.first, own.last);
    let is_reserved = reserved.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(a), Ok(b)) if a <= own.first && own.last <= b)
    });
    if own.last < low || own.first > high || is_reserved {
        return good("RTP ports", found);
    }
    Finding {
        what: "RTP ports",
        verdict: Verdict::Short,
        found: format!("{found} overlaps {low}-{high}, from which the kernel gives ports to any program"),
        remedy: format!("sysctl -w net.ipv4.ip_local_reserved_ports={}-{}", own.first, own.last),
    }
}

fn scheduling(config: &Config, priority: u64, sys_nice: bool) -> Finding {
    if !config.media.realtime {
        return good("scheduling", "normal (media.realtime = false)".into());
    }
    if priority >= 1 || sys_nice {
        return good("scheduling", "SCHED_FIFO 1 for workers".into());
    }
    Finding {
        what: "scheduling",
        verdict: Verdict::Short,
        found: "real-time priority is not granted; workers are as late as others are busy".into(),
        remedy: "setcap cap_sys_nice+ep bifrons (systemd: LimitRTPRIO=1), or media.realtime = false".into(),
    }
}

/// The soft limit of a line of `/proc/self/limits`.
fn soft_limit(limits: &str, name: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    match line.and_then(|rest| rest.split_whitespace().next()) {
        Some("unlimited") => u64::MAX,
        Some(number) => number.parse().unwrap_or(0),
        None => 0,
    }
}

/// Whether the effective set of `/proc/self/status` has a capability.
fn has_capability(status: &str, number: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|mask| mask >> number & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shortfall_has_its_remedy() {
        let finding = receive_buffers(212_992);
        assert_eq!(
            (finding.verdict, finding.remedy.as_str()),
            (Verdict::Short, "sysctl -w net.core.rmem_max=4194304")
        );
        assert_eq!(receive_buffers(8 << 20).verdict, Verdict::Good);
        let finding = descriptors(1_024, 4_096);
        assert!(finding.remedy.starts_with("ulimit -n 5120 "), "{finding}");
        assert_eq!(descriptors(1_048_576, 4_096).verdict, Verdict::Good);
        assert_eq!(scheduling(&Config::default(), 0, false).verdict, Verdict::Short);
        assert_eq!(scheduling(&Config::default(), 0, true).verdict, Verdict::Good);
    }

    #[test]
    fn what_xdp_needs_is_looked_at_where_it_is_the_driver() {
        let status = |capabilities: &[u32]| {
            let mask = capabilities.iter().fold(0u64, |mask, number| mask | 1 << number);
            format!("CapEff:\t{mask:016x}\n")
        };
        let mut config = Config::default();
        config.media.workers = 2;
        config.media.xdp_interfaces = vec!["nothing0".into()];
        assert!(xdp_needs(&config, &status(&[]), 0).is_empty(), "another driver");
        config.media.driver = DriverChoice::Xdp;
        let verdicts = |capabilities: &[u32], locked| -> Vec<(Verdict, String)> {
            let findings = xdp_needs(&config, &status(capabilities), locked);
            findings.into_iter().map(|finding| (finding.verdict, finding.found)).collect()
        };
        let found = verdicts(&[CAP_NET_ADMIN], 8 << 20);
        assert_eq!(found[0], (Verdict::Bad, "CAP_NET_RAW, CAP_BPF missing".into()));
        assert_eq!(found[1].0, Verdict::Bad, "8 MiB are the kernel's default");
        assert_eq!(found[2].0, Verdict::Bad);
        assert!(found[2].1.contains("nothing0"), "{found:?}");
        let all = [CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF];
        let found = verdicts(&all, u64::MAX);
        assert_eq!((found[0].0, found[1].0), (Verdict::Good, Verdict::Good));
        assert_eq!(verdicts(&[CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW], 0)[0].0, Verdict::Good);
        assert_eq!(verdicts(&[CAP_IPC_LOCK], 0)[1].0, Verdict::Good);
    }

    #[test]
    fn ports_that_the_kernel_also_gives_away() {
        let mut config = Config::default();
        assert_eq!(ports(&config, "32768\t60999\n", "").verdict, Verdict::Good);
        config.media.rtp_port_range.last = 40_000;
        let finding = ports(&config, "32768\t60999\n", "\n");
        assert_eq!(finding.remedy, "sysctl -w net.ipv4.ip_local_reserved_ports=10000-40000");
        assert_eq!(ports(&config, "32768\t60999\n", "80,9000-50000\n").verdict, Verdict::Good);
    }

    #[test]
    fn reads_proc() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 524288               files     \nMax realtime priority     unlimited            0                    \n";
        assert_eq!(soft_limit(limits, "Max open files"), 1_024);
        assert_eq!(soft_limit(limits, "Max realtime priority"), u64::MAX);
        assert_eq!(soft_limit(limits, "Max cats"), 0);
        assert!(has_capability("Name:\tx\nCapEff:\t0000000000800000\n", 23));
        assert!(!has_capability("CapEff:\t0000000000800000\n", 12));
        assert!(examine(&Config::default()).len() >= 6);
    }
}
