//! The counters of the kernel: CPU time, context switches and memory of process groups, and the state of the machine.
//!
//! Every program runs in its own process group, so a role consists of the processes of its group and of their
//! descendants. When a thread ends, its switches and its run-queue delay are lost; its CPU time stays with the process.
//! When a process ends that its parent does not wait for, all its counters are lost.

use std::collections::BTreeMap;
use std::{fs, iter};

use procfs::process::{Process, Stat, all_processes};
use procfs::{CpuTime, CurrentSI, KernelStats};
use serde::{Deserialize, Serialize};

/// Counters of a group of processes, since the start of each process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GroupCounters {
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    /// Time in which threads were ready and waited for a CPU.
    pub(crate) run_delay_ns: u64,
    /// Sum of the peak memory of each process since its start (`VmHWM`).
    pub(crate) peak_kb: u64,
    /// Proportional set size, if the kernel reports it.
    pub(crate) pss_kb: Option<u64>,
}

/// Counters of the machine, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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

/// Parses a counter of TCP in /proc/net/netstat. A line of names and a line of values both start with the protocol.
fn parse_netstat(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let index = names.split_whitespace().position(|n| n == name)?;
    values.split_whitespace().nth(index)?.parse().ok()
}

/// Returns the processes of a group and their descendants, including zombies.
fn members(group: u32) -> Vec<(Process, Stat)> {
    let all = all_processes().into_iter().flatten().flatten();
    let mut all: Vec<_> = all.filter_map(|process| process.stat().ok().map(|stat| (process, stat))).collect();
    let places = all.iter().map(|(_, stat)| (stat.pid, (stat.ppid, stat.pgrp))).collect();
    all.retain(|(_, stat)| belongs(stat.pid, group as i32, &places));
    all
}

/// True when a process or one of its ancestors is in a group. Each process has its (parent, group).
fn belongs(process: i32, group: i32, all: &BTreeMap<i32, (i32, i32)>) -> bool {
    let line = iter::successors(all.get(&process), |(parent, _)| all.get(parent));
    // An id that is used again while /proc is read could make a circle of parents.
    line.take(all.len()).any(|(_, its)| *its == group)
}

/// True when a process of the group still runs. The first thread of a killed process is a zombie at once, but the process
/// holds its ports until its last thread has ended.
pub(crate) fn is_alive(group: u32) -> bool {
    members(group).iter().any(|(_, stat)| is_running(stat.state, stat.num_threads))
}

fn is_running(state: char, threads: i64) -> bool {
    !matches!(state, 'Z' | 'X') || threads > 1
}

impl GroupCounters {
    pub(crate) fn of_group(group: u32) -> Self {
        Self::sum(members(group))
    }

    pub(crate) fn of_this_process() -> Self {
        Self::sum(Process::myself().and_then(|process| process.stat().map(|stat| (process, stat))))
    }

    /// Sums the counters of processes. Their times include children that were waited for.
    fn sum(processes: impl IntoIterator<Item = (Process, Stat)>) -> Self {
        let mut sum = GroupCounters::default();
        for (process, stat) in processes {
            sum.user_ticks += stat.utime + stat.cutime as u64;
            sum.system_ticks += stat.stime + stat.cstime as u64;
            sum.peak_kb += process.status().ok().and_then(|status| status.vmhwm).unwrap_or(0);
            let maps = process.smaps_rollup().ok().and_then(|maps| maps.memory_map_rollup.into_iter().next());
            if let Some(bytes) = maps.and_then(|map| map.extension.map.get("Pss").copied()) {
                *sum.pss_kb.get_or_insert(0) += bytes / 1024;
            }
            for thread in process.tasks().into_iter().flatten().flatten() {
                if let Ok(status) = thread.status() {
                    sum.voluntary_switches += status.voluntary_ctxt_switches.unwrap_or(0);
                    sum.involuntary_switches += status.nonvoluntary_ctxt_switches.unwrap_or(0);
                }
                sum.run_delay_ns += thread.schedstat().map_or(0, |stat| stat.run_delay);
            }
        }
        sum
    }

    /// Takes over the counters of the threads and the processes that have ended since an earlier reading.
    pub(crate) fn or_earlier(self, earlier: GroupCounters) -> Self {
        GroupCounters {
            user_ticks: self.user_ticks.max(earlier.user_ticks),
            system_ticks: self.system_ticks.max(earlier.system_ticks),
            voluntary_switches: self.voluntary_switches.max(earlier.voluntary_switches),
            involuntary_switches: self.involuntary_switches.max(earlier.involuntary_switches),
            run_delay_ns: self.run_delay_ns.max(earlier.run_delay_ns),
            peak_kb: self.peak_kb.max(earlier.peak_kb),
            pss_kb: self.pss_kb.max(earlier.pss_kb),
        }
    }
}

impl HostCounters {
    pub(crate) fn read() -> Self {
        let vmstat = procfs::vmstat().unwrap_or_default();
        let netstat = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
        let dropped = |name| parse_netstat(&netstat, name).unwrap_or(0);
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
        let cases = [('S', 1), ('R', 9), ('Z', 2), ('Z', 1), ('Z', 0), ('X', 0)];
        let running = cases.map(|(state, threads)| is_running(state, threads));
        assert_eq!(running, [true, true, true, false, false, false], "{cases:?}");
    }

    #[test]
    fn a_descendant_belongs_to_the_program_that_started_it() {
        // 10 has a child in its group and a grandchild in a group of its own. 20 is another program of 1. 30 and 31 are a circle.
        let all = BTreeMap::from([
            (13, (12, 13)),
            (1, (0, 1)),
            (30, (31, 30)),
            (31, (30, 30)),
            (10, (1, 10)),
            (12, (11, 12)),
            (11, (10, 10)),
            (20, (1, 20)),
        ]);
        for (group, expected) in [(10, [10, 11, 12, 13].as_slice()), (12, &[12, 13]), (20, &[20]), (9, &[])] {
            let family: Vec<_> = all.keys().copied().filter(|id| belongs(*id, group, &all)).collect();
            assert_eq!(family, expected, "{group}");
        }
    }

    #[test]
    fn a_process_that_has_ended_keeps_its_counters() {
        let earlier =
            GroupCounters { user_ticks: 90, run_delay_ns: 7, pss_kb: Some(5), ..Default::default() };
        let now = GroupCounters { user_ticks: 40, system_ticks: 3, ..Default::default() };
        assert_eq!(now.or_earlier(earlier), GroupCounters { system_ticks: 3, ..earlier });
    }

    #[test]
    fn netstat_has_names_and_values_on_lines_of_their_own() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 2 3\nIpExt: InNoRoutes\nIpExt: 4\n";
        let found = ["ListenOverflows", "ListenDrops", "InNoRoutes"].map(|name| parse_netstat(text, name));
        assert_eq!(found, [Some(2), Some(3), None]);
    }

    #[test]
    fn this_process_has_counters() {
        let counters = GroupCounters::of_this_process();
        assert!(counters.peak_kb > 0, "{counters:?}");
        assert!(HostCounters::read().process_ticks > 0);
    }
}
