//! The numbers of the report. Each number is a function of one cell.

use crate::judge::record::{Calls, Load, Record, load, parse_strace};
use crate::judge::stats::jain;
use crate::run::histogram::Histogram;
use crate::run::proc::GroupCounters;
use crate::run::raw::{Found, Role};
use crate::run::wrk::Client;

/// A number of one cell; None for a cell of other work.
pub(crate) type Measure = fn(&Record) -> Option<f64>;

/// Defines the numbers of a load. A number with a name in quotes is a column of the summary, in this order.
macro_rules! measures {
    ($($(#[$doc:meta])* $($column:literal)? $name:ident = |$load:ident| $value:expr;)*) => {
        $($(#[$doc])*
        pub(crate) fn $name(record: &Record) -> Option<f64> {
            let $load = &load(record)?;
            $value
        })*

        /// The columns of the summary with numbers of a load.
        pub(crate) const COLUMNS: &[(&str, Measure)] = &[$($(($column, $name),)?)*];
    };
}

measures! {
    "requests_per_second" rate = |load| Some(load.requests_per_second());
    /// Good answers. wrk counts late and wrong answers too, so these are subtracted.
    "success" success = |load| {
        let Client { requests, errors, .. } = &load.client;
        Some(requests.saturating_sub(errors.status + errors.timeout) as f64)
    };
    "failed" failed = |load| Some(load.failures().total() as f64);
    /// Mean latency in milliseconds by Little's law: connections / rate. Independent of wrk's correction, but assumes
    /// that no connection is idle (gate G2).
    "latency_ms" latency_ms = |load| Some(f64::from(load.cell.opened()) / load.requests_per_second() * 1e3);
    /// Mean time to the first byte in milliseconds, from the prober on new connections.
    "waiting_ms" waiting_ms = |load| Some(load.probe.fresh.waiting_us.mean()? / 1e3);
    /// The same on kept connections, as the load has them.
    "kept_waiting_ms" kept_waiting_ms = |load| Some(load.probe.kept.waiting_us.mean()? / 1e3);
    "waiting_p99_ms" waiting_p99_ms = |load| percentile_ms(&load.probe.fresh.waiting_us, 0.99);
    "total_p99_ms" total_p99_ms = |load| percentile_ms(&load.probe.fresh.total_us, 0.99);
    /// Maximum time in milliseconds from the intended time of a request to its last byte.
    "total_max_ms" total_max_ms = |load| {
        let total = &load.probe.fresh.total_us;
        (!total.is_empty()).then(|| total.max() as f64 / 1e3)
    };
    /// The 99th percentile of the latency in milliseconds, from wrk.
    latency_p99_ms = |load| load.client.latency_us.get("p99").copied().flatten().map(|us| us / 1e3);
    "transferred_kb" transferred_kb = |load| Some(load.client.bytes as f64 / 1024.0);
    "transfer_kb_per_second" transfer_kb_s = |load| Some(load.client.bytes as f64 / 1024.0 / load.seconds());

    // The use of resources per request.
    "target_user_us" user_us = |load| cpu_us_of(load, Role::Target, |used| used.user_ticks);
    "target_system_us" system_us = |load| cpu_us_of(load, Role::Target, |used| used.system_ticks);
    cpu_us = |load| role_cpu_us(load, Role::Target);
    "client_cpu_us" client_cpu_us = |load| role_cpu_us(load, Role::Client);
    "backends_cpu_us" backends_cpu_us = |load| role_cpu_us(load, Role::Backends);
    /// CPU time of client and backends, which share the CPUs with the target.
    others_cpu_us = |load| {
        Some(role_cpu_us(load, Role::Client)? + role_cpu_us(load, Role::Backends).unwrap_or(0.0))
    };
    /// Share of the CPU time of all CPUs that the client used.
    "client_share" client_share = |load| share(load, load.system.cpu_s(Role::Client)?);
    /// Idle share of the CPU time of all CPUs.
    "idle_share" idle_share = |load| share(load, load.system.host_s(|host| host.idle_ticks));
    "voluntary_switches" voluntary = |load| of_role(load, Role::Target, |used| used.voluntary_switches);
    "involuntary_switches" involuntary = |load| of_role(load, Role::Target, |used| used.involuntary_switches);
    switches = |load| {
        of_role(load, Role::Target, |used| used.voluntary_switches + used.involuntary_switches)
    };
    "run_delay_us" run_delay_us = |load| Some(of_role(load, Role::Target, |used| used.run_delay_ns)? / 1e3);
    "would_blocks" would_blocks = |load| quotient(load, "would_blocks", "served");
    "wakeups" wakeups = |load| quotient(load, "wakeups", "served");
    "jobs" jobs = |load| quotient(load, "jobs", "served");
    /// Mean time of a job in the channel, in microseconds. None when no job went through the channel.
    "queue_wait_us" queue_wait_us = |load| Some(quotient(load, "queue_wait_ns", "jobs")? / 1e3);
    "peak_mb" peak_mb = |load| Some(load.system.roles.get(&Role::Target)?.1.peak_kb as f64 / 1024.0);
    /// Proportional set size of the target at the end.
    pss_mb = |load| Some(load.system.roles.get(&Role::Target)?.1.pss_kb? as f64 / 1024.0);
    /// Jain's index of fairness over the client's connections.
    "fairness" fairness = |load| jain(&load.per_connection()?);
    "probes" probes = |load| Some((load.probe.fresh.total_us.len() + load.probe.kept.total_us.len()) as f64);
}

/// Returns a percentile in milliseconds. None when too few probes were answered.
pub(crate) fn percentile_ms(times: &Histogram, fraction: f64) -> Option<f64> {
    times.percentile(fraction).map(|us| us as f64 / 1e3)
}

/// Returns what a role has added to a counter per request of the client. The requests of the prober are ignored, because
/// they are far below one percent.
fn of_role(load: &Load, role: Role, of: fn(&GroupCounters) -> u64) -> Option<f64> {
    let used = load.system.used(role, of)?;
    (load.client.requests > 0).then(|| used as f64 / load.client.requests as f64)
}

/// Divides two counters of the target, over the whole seconds within the measured time.
fn quotient(load: &Load, counter: &str, by: &str) -> Option<f64> {
    let target = load.programs.target.as_ref()?;
    let [counter, by] = [counter, by].map(|name| target.added(name, load.seconds()));
    by.filter(|by| *by > 0).and_then(|by| Some(counter? as f64 / by as f64))
}

/// Returns the CPU microseconds of a role per request.
fn cpu_us_of(load: &Load, role: Role, ticks: fn(&GroupCounters) -> u64) -> Option<f64> {
    Some(of_role(load, role, ticks)? * load.system.seconds_of(1) * 1e6)
}

fn role_cpu_us(load: &Load, role: Role) -> Option<f64> {
    cpu_us_of(load, role, |used| used.user_ticks + used.system_ticks)
}

fn share(load: &Load, cpu_s: f64) -> Option<f64> {
    let all = load.system.all_s();
    (all > 0.0).then(|| cpu_s / all)
}

/// Returns the system calls per request.
pub(crate) fn calls(record: &Record) -> Option<f64> {
    syscalls(record)
        .map(|(requests, rows)| rows.iter().map(|(_, calls, _)| calls).sum::<u64>() as f64 / requests)
}

/// Returns the system calls per request that returned an error.
pub(crate) fn calls_in_vain(record: &Record) -> Option<f64> {
    syscalls(record)
        .map(|(requests, rows)| rows.iter().map(|(.., errors)| errors).sum::<u64>() as f64 / requests)
}

/// Returns the number of requests under strace, and the system calls by name.
pub(crate) fn syscalls(record: &Record) -> Option<(f64, Vec<Calls<'_>>)> {
    let Found::Syscalls { client, strace } = &record.found else { return None };
    Some((client.requests.max(1) as f64, parse_strace(strace)))
}

pub(crate) fn idle_kb(record: &Record) -> Option<f64> {
    let Found::Idle(idle) = &record.found else { return None };
    idle.per_connection_kb()
}

/// Returns the failures of a record. A measurement that failed counts as one failure.
pub(crate) fn failures(record: &Record) -> u64 {
    match &record.found {
        Found::Load(_) => record.failures().total(),
        Found::Handshakes(found) => found.handshakes.failed + found.requests.errors.total(),
        Found::Idle(idle) => idle.tried - idle.alive,
        Found::Failed(_) => 1,
        Found::Syscalls { .. } | Found::Profile { .. } => 0,
    }
}
