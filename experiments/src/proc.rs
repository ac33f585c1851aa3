//! The counters of the kernel: CPU time, context switches and memory of process groups, and the state of the machine.
//!
//! Every program runs in its own process group, so a role consists of the processes of its groups. When a thread ends,
//! its switches and its run-queue delay are lost; its CPU time stays with the process.

use std::fs;

use serde::{Deserialize, Serialize};

/// Counters of a group of processes, since the start of each process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupCounters {
    pub(crate) processes: u64,
    pub(crate) threads: u64,
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    pub(crate) run_delay_ns: u64,
    pub(crate) peak_kb: u64,
    pub(crate) pss_kb: Option<u64>,
}

/// Counters of the machine, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostCounters {
    /// User, nice and system.
    pub(crate) process_ticks: u64,
    /// Interrupts. They belong to no process.
    pub(crate) interrupt_ticks: u64,
    pub(crate) idle_ticks: u64,
    pub(crate) steal_ticks: u64,
    pub(crate) swapped_pages: u64,
    pub(crate) listen_overflows: u64,
    pub(crate) listen_drops: u64,
}

/// The used fields of /proc/PID/stat.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// True unless the process is a zombie.
    alive: bool,
    group: u32,
    user_ticks: u64,
    system_ticks: u64,
    threads: u64,
}

/// Parses /proc/PID/stat. The name is in parentheses and may contain spaces and parentheses. The times include children
/// that were waited for.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        alive: !matches!(*fields.first()?, "Z" | "X"),
        group: fields.get(2)?.parse().ok()?,
        user_ticks: number(11)? + number(13)?,
        system_ticks: number(12)? + number(14)?,
        threads: number(17)?,
    })
}

/// Finds the number in a line such as `Name: 123 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Parses the second number of schedstat: nanoseconds in which a thread was ready and waited for a CPU.
fn parse_run_delay(text: &str) -> Option<u64> {
    text.split_whitespace().nth(1)?.parse().ok()
}

/// Parses a counter in /proc/net/netstat. A line of names and a line of values both start with the protocol.
fn parse_netstat(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(':'));
    let (names, values) = (lines.next()?, lines.next()?);
    let index = names.split_whitespace().position(|n| n == name)?;
    values.split_whitespace().nth(index)?.parse().ok()
}

/// Parses the first line of /proc/stat: user nice system idle iowait irq softirq steal.
fn parse_cpu(text: &str) -> Option<HostCounters> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let [user, nice, system, idle, wait, irq, softirq, steal, ..] = ticks[..] else { return None };
    Some(HostCounters {
        process_ticks: user + nice + system,
        interrupt_ticks: irq + softirq,
        idle_ticks: idle + wait,
        steal_ticks: steal,
        ..HostCounters::default()
    })
}

/// Returns the process ids in /proc.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn stat_of(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Returns the processes of a group, including zombies.
fn members(group: u32) -> Vec<u32> {
    processes().filter(|pid| stat_of(*pid).is_some_and(|stat| stat.group == group)).collect()
}

/// True when a process of the group still runs.
pub(crate) fn is_alive(group: u32) -> bool {
    processes().any(|pid| stat_of(pid).is_some_and(|stat| stat.group == group && stat.alive))
}

impl GroupCounters {
    /// Sums the counters of the processes of a group.
    pub(crate) fn of_group(group: u32) -> Self {
        Self::of(&members(group))
    }

    /// Sums the counters of these processes.
    pub(crate) fn of(pids: &[u32]) -> Self {
        let mut sum = GroupCounters::default();
        for pid in pids {
            sum.add_process(*pid);
        }
        sum
    }

    fn add_process(&mut self, pid: u32) {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let Some(stat) = parse_stat(&read("stat")) else { return };
        self.processes += 1;
        self.threads += stat.threads;
        self.user_ticks += stat.user_ticks;
        self.system_ticks += stat.system_ticks;
        self.peak_kb += field(&read("status"), "VmHWM").unwrap_or(0);
        if let Some(kb) = field(&read("smaps_rollup"), "Pss") {
            *self.pss_kb.get_or_insert(0) += kb;
        }
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let status = read("status");
            self.voluntary_switches += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
            self.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
            self.run_delay_ns += parse_run_delay(&read("schedstat")).unwrap_or(0);
        }
    }

    /// Takes over the counters that only running threads have from an earlier reading.
    pub(crate) fn with_threads_of(self, earlier: GroupCounters) -> Self {
        GroupCounters { user_ticks: self.user_ticks, system_ticks: self.system_ticks, ..earlier }
    }
}

impl HostCounters {
    /// Reads the counters of the machine.
    pub(crate) fn read() -> Self {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut counters = parse_cpu(&file("/proc/stat")).unwrap_or_default();
        let swapped = |name: &str| {
            let text = file("/proc/vmstat");
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            line.unwrap_or(0)
        };
        counters.swapped_pages = swapped("pswpin ") + swapped("pswpout ");
        let netstat = file("/proc/net/netstat");
        counters.listen_overflows = parse_netstat(&netstat, "TcpExt", "ListenOverflows").unwrap_or(0);
        counters.listen_drops = parse_netstat(&netstat, "TcpExt", "ListenDrops").unwrap_or(0);
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let rest = "S 1 77 77 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 9 0 100 200 300";
        let expected = Stat { alive: true, group: 77, user_ticks: 57, system_ticks: 68, threads: 9 };
        for name in ["wrk", "a b", "x) S 1 2 (y", ")"] {
            assert_eq!(parse_stat(&format!("12 ({name}) {rest}")).as_ref(), Some(&expected), "{name}");
        }
        for text in ["", "12 (wrk", "12 (wrk) S 1", "12 (wrk) S 1 x 77"] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "VmHWM:\t  1234 kB\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n";
        let cases = [
            ("VmHWM", Some(1234)),
            ("voluntary_ctxt_switches", Some(5)),
            ("nonvoluntary_ctxt_switches", Some(6)),
            ("VmH", None),
            ("Pss", None),
        ];
        for (name, expected) in cases {
            assert_eq!(field(status, name), expected, "{name}");
        }
        assert_eq!(parse_run_delay("11 22 33\n"), Some(22));
        assert_eq!(parse_run_delay(""), None);
    }

    #[test]
    fn netstat_has_names_and_values_on_lines_of_their_own() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 2 3\nIpExt: InNoRoutes\nIpExt: 4\n";
        let cases = [
            ("TcpExt", "ListenOverflows", Some(2)),
            ("TcpExt", "ListenDrops", Some(3)),
            ("TcpExt", "InNoRoutes", None),
            ("IpExt", "InNoRoutes", Some(4)),
        ];
        for (protocol, name, expected) in cases {
            assert_eq!(parse_netstat(text, protocol, name), expected, "{name}");
        }
    }

    #[test]
    fn cpu_ticks_are_split_by_whose_they_are() {
        let counters = parse_cpu("cpu  10 20 30 40 50 60 70 80 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(
            (counters.process_ticks, counters.interrupt_ticks, counters.idle_ticks, counters.steal_ticks),
            (60, 130, 90, 80)
        );
        assert_eq!(parse_cpu("intr 1 2"), None);
    }

    #[test]
    fn this_process_has_counters() {
        let counters = GroupCounters::of(&[std::process::id()]);
        assert_eq!(counters.processes, 1);
        assert!(counters.threads >= 1 && counters.peak_kb > 0, "{counters:?}");
        assert!(HostCounters::read().process_ticks > 0);
    }
}
