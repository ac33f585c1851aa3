//! Derives the record of a cell from its raw files. Only files are read, so the record is always the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::counters::RawCounters;
use crate::model::{
    Cell, Client, Conservation, Counted, Failures, HostUse, IdleMemory, Load, Measured, RAW, Record, Role,
    SCHEMA, Syscalls, TargetKind, Use, Work, file,
};
use crate::probe::RawProbe;
use crate::proc::{GroupCounters, HostCounters};
use crate::sockets::RawSockets;
use crate::{gates, wrk};

/// The start of a cell: its commands and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) cell: Cell,
    pub(crate) kind: TargetKind,
    /// UTC.
    pub(crate) started: String,
    pub(crate) commands: BTreeMap<String, String>,
}

/// Kernel counters before and after the measured seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawSystem {
    pub(crate) seconds: f64,
    pub(crate) cpus: u64,
    pub(crate) ticks_per_second: u64,
    pub(crate) roles: BTreeMap<Role, (GroupCounters, GroupCounters)>,
    pub(crate) host: (HostCounters, HostCounters),
}

/// Counters of our programs in this cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawPrograms {
    pub(crate) target: Option<RawCounters>,
    pub(crate) backends: Option<RawCounters>,
}

/// Returns the raw directory of a cell.
pub(crate) fn directory(results: &Path, cell: &Cell) -> PathBuf {
    results.join(RAW).join(format!("{:03}-{}", cell.seq, cell.id))
}

fn text(directory: &Path, name: &str) -> Result<String, String> {
    let path = directory.join(name);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn json<T: DeserializeOwned>(directory: &Path, name: &str) -> Result<T, String> {
    serde_json::from_str(&text(directory, name)?)
        .map_err(|error| format!("{}: {error}", directory.join(name).display()))
}

/// Reads a file that may be missing.
fn optional<T: DeserializeOwned>(directory: &Path, name: &str) -> Result<Option<T>, String> {
    if directory.join(name).exists() { json(directory, name).map(Some) } else { Ok(None) }
}

/// Derives the record of one cell from its directory only.
pub(crate) fn derive(directory: &Path) -> Result<Record, String> {
    let started: Started = json(directory, file::STARTED)?;
    let cell = started.cell;
    let measured = if directory.join(file::FAILED).exists() {
        Measured::Failed { reason: text(directory, file::FAILED)?.trim().into() }
    } else {
        match cell.work {
            Work::Load => Measured::Load(Box::new(load(directory, &cell, started.kind)?)),
            Work::Idle => Measured::Idle(json::<IdleMemory>(directory, file::MEMORY)?),
            Work::Syscalls => Measured::Syscalls(syscalls(directory)?),
        }
    };
    let gates = gates::judge(&cell, &measured);
    let validity = gates::validity(&gates, &measured);
    Ok(Record {
        schema: SCHEMA,
        cell,
        started: started.started,
        commands: started.commands,
        measured,
        gates,
        validity,
    })
}

fn load(directory: &Path, cell: &Cell, kind: TargetKind) -> Result<Load, String> {
    let client = wrk::parse(&text(directory, file::WRK_JSON)?)?;
    let warm: Option<Client> = optional(directory, file::WARM_JSON)?;
    let probe: RawProbe = json(directory, file::PROBE)?;
    let system: RawSystem = json(directory, file::SYSTEM)?;
    let programs: RawPrograms = json(directory, file::COUNTERS)?;
    let sockets: Option<RawSockets> = optional(directory, file::SOCKETS)?;
    let end = client.duration_us as f64 / 1e6;
    let derive = |raw: &Option<RawCounters>| raw.as_ref().and_then(|raw| raw.derive(end));
    let (target, backends) = (derive(&programs.target), derive(&programs.backends));
    let sockets = sockets.filter(|_| cell.keep_alive);
    let failures = failures(&client, sockets.as_ref(), cell);
    Ok(Load {
        conservation: conservation(cell, kind, &client, warm.as_ref(), &probe, (&target, &backends)),
        per_connection: sockets.map(|sockets| per_connection(&sockets, &client)),
        probe: probe.derive(),
        failures,
        roles: system.roles.iter().map(|(role, pair)| (*role, system.used(*pair))).collect(),
        host: system.host_use(),
        target,
        backends,
        client,
    })
}

fn failures(client: &Client, sockets: Option<&RawSockets>, cell: &Cell) -> Failures {
    let e = client.errors;
    let silent_ms = (cell.seconds * 500.0) as u64;
    let stalled = sockets.map_or(0, |sockets| sockets.silent_ms.count_from(silent_ms));
    Failures {
        connect: e.connect,
        read: e.read,
        write: e.write,
        status: e.status,
        timeout: e.timeout,
        stalled,
    }
}

/// Returns quantiles of the answers per connection, estimated from the received bytes and the mean length of an answer.
fn per_connection(sockets: &RawSockets, client: &Client) -> Vec<u64> {
    let answer = client.bytes as f64 / client.requests.max(1) as f64;
    sockets
        .received
        .quantiles(100)
        .iter()
        .map(|bytes| (*bytes as f64 / answer.max(1.0)).round() as u64)
        .collect()
}

/// Compares the counts of client, target and backends. The request that checks the body before the warm-up counts as a
/// request of the client.
fn conservation(
    cell: &Cell,
    kind: TargetKind,
    client: &Client,
    warm: Option<&Client>,
    probe: &RawProbe,
    (target, backends): (&Option<Counted>, &Option<Counted>),
) -> Option<Conservation> {
    let served = |counted: &Option<Counted>| counted.as_ref()?.whole.get("served").copied();
    let runs = || warm.into_iter().chain([client]);
    let errors = |run: &Client| run.errors.connect + run.errors.read + run.errors.write;
    let conservation = Conservation {
        client: 1
            + runs().map(|run| run.requests).sum::<u64>()
            + probe.total_us.count()
            + probe.errors.status,
        target: served(target),
        backends: if kind.forwards() { served(backends) } else { None },
        slack: runs().map(|run| u64::from(cell.opened()) + errors(run)).sum::<u64>() + probe.errors.total(),
    };
    (conservation.target.is_some() || conservation.backends.is_some()).then_some(conservation)
}

impl RawSystem {
    fn seconds_of(&self, ticks: u64) -> f64 {
        ticks as f64 / self.ticks_per_second.max(1) as f64
    }

    fn used(&self, (before, after): (GroupCounters, GroupCounters)) -> Use {
        Use {
            processes: after.processes,
            threads: after.threads,
            user_s: self.seconds_of(after.user_ticks.saturating_sub(before.user_ticks)),
            system_s: self.seconds_of(after.system_ticks.saturating_sub(before.system_ticks)),
            voluntary_switches: after.voluntary_switches.saturating_sub(before.voluntary_switches),
            involuntary_switches: after.involuntary_switches.saturating_sub(before.involuntary_switches),
            run_delay_s: after.run_delay_ns.saturating_sub(before.run_delay_ns) as f64 / 1e9,
            peak_kb: after.peak_kb,
            pss_kb: after.pss_kb,
        }
    }

    fn host_use(&self) -> HostUse {
        let (before, after) = &self.host;
        let seconds = |of: fn(&HostCounters) -> u64| self.seconds_of(of(after).saturating_sub(of(before)));
        let count = |of: fn(&HostCounters) -> u64| of(after).saturating_sub(of(before));
        let processes = seconds(|host| host.process_ticks);
        let ours: f64 = self.roles.values().map(|pair| self.used(*pair)).map(|u| u.user_s + u.system_s).sum();
        HostUse {
            seconds: self.seconds,
            cpus: self.cpus,
            busy_s: processes + seconds(|host| host.interrupt_ticks),
            idle_s: seconds(|host| host.idle_ticks),
            steal_s: seconds(|host| host.steal_ticks),
            foreign_s: (processes - ours).max(0.0),
            swapped_pages: count(|host| host.swapped_pages),
            listen_overflows: count(|host| host.listen_overflows),
            listen_drops: count(|host| host.listen_drops),
        }
    }
}

fn syscalls(directory: &Path) -> Result<Syscalls, String> {
    let client = wrk::parse(&text(directory, file::WRK_JSON)?)?;
    let (calls, errors) = parse_strace(&text(directory, file::STRACE)?);
    if calls.is_empty() {
        return Err("strace wrote no table".into());
    }
    Ok(Syscalls { requests: client.requests, calls, errors })
}

/// Parses the table of `strace -c`: % time, seconds, usecs/call, calls, errors (may be empty), name.
fn parse_strace(text: &str) -> (BTreeMap<String, u64>, u64) {
    let mut calls = BTreeMap::new();
    let mut errors = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (count, failed, name) = match words[..] {
            [_, _, _, count, name] => (count, "0", name),
            [_, _, _, count, failed, name] => (count, failed, name),
            _ => continue,
        };
        if let (Ok(count), Ok(failed)) = (count.parse::<u64>(), failed.parse::<u64>())
            && name != "total"
        {
            *calls.entry(name.to_owned()).or_insert(0) += count;
            errors += failed;
        }
    }
    (calls, errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;
    use crate::plan::tests::cell;

    #[test]
    fn the_table_of_strace() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    46.38    0.061000           1     40000         5 recvfrom\n \
                    30.00    0.040000           1     20000           writev\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.131000           1     60000         5 total\n";
        let (calls, errors) = parse_strace(text);
        assert_eq!(calls, BTreeMap::from([("recvfrom".into(), 40000), ("writev".into(), 20000)]));
        assert_eq!(errors, 5);
    }

    #[test]
    fn a_silent_connection_is_stalled() {
        let client: Client = serde_json::from_str(
            r#"{"duration_us":4000000,"requests":100,"bytes":1000,"latency_us":{},
                "errors":{"connect":1,"read":0,"write":0,"status":2,"timeout":0}}"#,
        )
        .unwrap();
        let mut cell = cell("thread");
        cell.seconds = 4.0;
        let sockets = RawSockets {
            received: Histogram::of(&[0, 100, 206, 300]),
            silent_ms: Histogram::of(&[0, 1900, 2000, 3000]),
        };
        let failures = failures(&client, Some(&sockets), &cell);
        assert_eq!((failures.stalled, failures.total()), (2, 5));
        let quantiles = per_connection(&sockets, &client);
        assert_eq!((quantiles.len(), quantiles[0], quantiles[50], quantiles[100]), (101, 0, 10, 30));
    }

    #[test]
    fn what_no_role_used_is_foreign() {
        let group =
            |user, system| GroupCounters { user_ticks: user, system_ticks: system, ..Default::default() };
        let host =
            |process, idle| HostCounters { process_ticks: process, idle_ticks: idle, ..Default::default() };
        let system = RawSystem {
            seconds: 4.0,
            cpus: 2,
            ticks_per_second: 100,
            roles: BTreeMap::from([
                (Role::Client, (group(0, 0), group(100, 50))),
                (Role::Target, (group(10, 10), group(20, 40))),
            ]),
            host: (host(1000, 0), host(1300, 500)),
        };
        let used = system.host_use();
        assert!((used.foreign_s - 1.1).abs() < 1e-9 && (used.idle_s - 5.0).abs() < 1e-9, "{used:?}");
    }
}
