//! The counters of the kernel: CPU time, context switches and memory of process groups, and the state of the machine.
//!
//! Every program runs in its own process group, so a role consists of the processes of its groups. When a thread ends,
//! its switches and its run-queue delay are lost; its CPU time stays with the process.

use std::fs;

use procfs::process::{Process, Stat, all_processes};
use procfs::{CpuTime, CurrentSI, KernelStats};
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

/// Parses a counter in /proc/net/netstat. A line of names and a line of values both start with the protocol.
fn parse_netstat(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(':'));
    let (names, values) = (lines.next()?, lines.next()?);
    let index = names.split_whitespace().position(|n| n == name)?;
    values.split_whitespace().nth(index)?.parse().ok()
}

/// Returns the processes of a group, including zombies.
fn members(group: u32) -> impl Iterator<Item = (Process, Stat)> {
    let all = all_processes().into_iter().flatten().flatten();
    all.filter_map(|process| process.stat().ok().map(|stat| (process, stat)))
        .filter(move |(_, stat)| stat.pgrp as u32 == group)
}

/// True when a process of the group still runs. The first thread of a killed process is a zombie at once, but the process
/// holds its ports until its last thread has ended.
pub(crate) fn is_alive(group: u32) -> bool {
    members(group).any(|(_, stat)| is_running(stat.state, stat.num_threads))
}

fn is_running(state: char, threads: i64) -> bool {
    !matches!(state, 'Z' | 'X') || threads > 1
}

impl GroupCounters {
    /// Sums the counters of the processes of a group.
    pub(crate) fn of_group(group: u32) -> Self {
        let mut sum = GroupCounters::default();
        members(group).for_each(|(process, stat)| sum.add(&process, &stat));
        sum
    }

    /// Reads the counters of this process.
    pub(crate) fn of_this_process() -> Self {
        let mut sum = GroupCounters::default();
        if let Ok((process, stat)) = Process::myself().and_then(|p| p.stat().map(|stat| (p, stat))) {
            sum.add(&process, &stat);
        }
        sum
    }

    /// Adds a process. Its times include children that were waited for.
    fn add(&mut self, process: &Process, stat: &Stat) {
        self.processes += 1;
        self.threads += stat.num_threads as u64;
        self.user_ticks += stat.utime + stat.cutime as u64;
        self.system_ticks += stat.stime + stat.cstime as u64;
        self.peak_kb += process.status().ok().and_then(|status| status.vmhwm).unwrap_or(0);
        let pss = process.smaps_rollup().ok().and_then(|maps| {
            Some(maps.memory_map_rollup.into_iter().next()?.extension.map.get("Pss").copied()? / 1024)
        });
        if let Some(kb) = pss {
            *self.pss_kb.get_or_insert(0) += kb;
        }
        for thread in process.tasks().into_iter().flatten().flatten() {
            if let Ok(status) = thread.status() {
                self.voluntary_switches += status.voluntary_ctxt_switches.unwrap_or(0);
                self.involuntary_switches += status.nonvoluntary_ctxt_switches.unwrap_or(0);
            }
            self.run_delay_ns += thread.schedstat().map_or(0, |stat| stat.run_delay);
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
        let vmstat = procfs::vmstat().unwrap_or_default();
        let netstat = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
        let dropped = |name| parse_netstat(&netstat, "TcpExt", name).unwrap_or(0);
        let cpu = KernelStats::current().ok().map(|stats| stats.total);
        let ticks = |sum: fn(&CpuTime) -> u64| cpu.as_ref().map_or(0, sum);
        HostCounters {
            process_ticks: ticks(|cpu| cpu.user + cpu.nice + cpu.system),
            interrupt_ticks: ticks(|cpu| cpu.irq.unwrap_or(0) + cpu.softirq.unwrap_or(0)),
            idle_ticks: ticks(|cpu| cpu.idle + cpu.iowait.unwrap_or(0)),
            steal_ticks: ticks(|cpu| cpu.steal.unwrap_or(0)),
            swapped_pages: ["pswpin", "pswpout"].iter().filter_map(|name| vmstat.get(*name)).sum::<i64>()
                as u64,
            listen_overflows: dropped("ListenOverflows"),
            listen_drops: dropped("ListenDrops"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_runs_until_its_last_thread_has_ended() {
        for (state, threads, running) in [
            ('S', 1, true),
            ('R', 9, true),
            ('Z', 1, false),
            ('Z', 0, false),
            ('Z', 2, true),
            ('X', 0, false),
        ] {
            assert_eq!(is_running(state, threads), running, "{state} with {threads} threads");
        }
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
    fn this_process_has_counters() {
        let counters = GroupCounters::of_this_process();
        assert_eq!(counters.processes, 1);
        assert!(counters.threads >= 1 && counters.peak_kb > 0, "{counters:?}");
        assert!(HostCounters::read().process_ticks > 0);
    }
}
