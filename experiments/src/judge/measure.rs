//! The numbers of the report. Each number is a function of one cell.

use crate::judge::record::{Load, Measured, Record};
use crate::plans::model::Cell;
use crate::run::histogram::Distribution;
use crate::run::raw::Role;

pub(crate) fn rate(_: &Cell, load: &Load) -> Option<f64> {
    Some(load.requests_per_second())
}

pub(crate) fn success(_: &Cell, load: &Load) -> Option<f64> {
    Some(load.success() as f64)
}

pub(crate) fn failed(_: &Cell, load: &Load) -> Option<f64> {
    Some(load.failures.total() as f64)
}

/// Mean latency by Little's law, in milliseconds.
pub(crate) fn latency_ms(cell: &Cell, load: &Load) -> Option<f64> {
    Some(load.latency_ms(cell.opened()))
}

pub(crate) fn transferred_kb(_: &Cell, load: &Load) -> Option<f64> {
    Some(load.client.bytes as f64 / 1024.0)
}

pub(crate) fn transfer_kb_s(_: &Cell, load: &Load) -> Option<f64> {
    Some(load.client.bytes as f64 / 1024.0 / load.seconds())
}

/// Returns a percentile in milliseconds. None when too few probes were answered.
fn percentile_ms(times: &Distribution, fraction: f64) -> Option<f64> {
    let found = times.percentiles.iter().find(|(f, _)| (f - fraction).abs() < 1e-9);
    found.map(|(_, us)| *us as f64 / 1e3)
}

/// Mean time to the first byte in milliseconds, from the prober on new connections.
pub(crate) fn waiting_ms(_: &Cell, load: &Load) -> Option<f64> {
    let waiting = &load.probe.waiting_us;
    (waiting.count > 0).then_some(waiting.mean / 1e3)
}

/// The same on kept connections, as the load has them.
pub(crate) fn kept_waiting_ms(_: &Cell, load: &Load) -> Option<f64> {
    let waiting = &load.probe.kept_waiting_us;
    (waiting.count > 0).then_some(waiting.mean / 1e3)
}

/// The 99th percentile of the latency in milliseconds, from wrk.
pub(crate) fn latency_p99_ms(_: &Cell, load: &Load) -> Option<f64> {
    load.client.latency_us.get("p99").copied().flatten().map(|us| us / 1e3)
}

pub(crate) fn waiting_p99_ms(_: &Cell, load: &Load) -> Option<f64> {
    percentile_ms(&load.probe.waiting_us, 0.99)
}

pub(crate) fn total_p99_ms(_: &Cell, load: &Load) -> Option<f64> {
    percentile_ms(&load.probe.total_us, 0.99)
}

/// Maximum time in milliseconds from the intended time of a request to its last byte.
pub(crate) fn total_max_ms(_: &Cell, load: &Load) -> Option<f64> {
    let total = &load.probe.total_us;
    (total.count > 0).then_some(total.max as f64 / 1e3)
}

/// Divides an amount by the requests of the client. The requests of the prober are ignored, because they are far below
/// one percent.
fn per_request(load: &Load, amount: f64) -> Option<f64> {
    (load.client.requests > 0).then(|| amount / load.client.requests as f64)
}

fn of_role(load: &Load, role: Role, amount: fn(&crate::judge::record::Use) -> f64) -> Option<f64> {
    per_request(load, amount(load.roles.get(&role)?))
}

pub(crate) fn cpu_us(_: &Cell, load: &Load) -> Option<f64> {
    role_cpu_us(load, Role::Target)
}

/// Returns the CPU microseconds of a role per request.
pub(crate) fn role_cpu_us(load: &Load, role: Role) -> Option<f64> {
    of_role(load, role, |used| (used.user_s + used.system_s) * 1e6)
}

pub(crate) fn user_us(_: &Cell, load: &Load) -> Option<f64> {
    of_role(load, Role::Target, |used| used.user_s * 1e6)
}

pub(crate) fn system_us(_: &Cell, load: &Load) -> Option<f64> {
    of_role(load, Role::Target, |used| used.system_s * 1e6)
}

pub(crate) fn client_cpu_us(_: &Cell, load: &Load) -> Option<f64> {
    role_cpu_us(load, Role::Client)
}

pub(crate) fn backends_cpu_us(_: &Cell, load: &Load) -> Option<f64> {
    role_cpu_us(load, Role::Backends)
}

/// CPU microseconds per request of client and backends, which share the CPUs with the target.
pub(crate) fn others_cpu_us(_: &Cell, load: &Load) -> Option<f64> {
    Some(role_cpu_us(load, Role::Client)? + role_cpu_us(load, Role::Backends).unwrap_or(0.0))
}

/// Share of the CPU time of all CPUs that the client used.
pub(crate) fn client_share(_: &Cell, load: &Load) -> Option<f64> {
    let used = load.roles.get(&Role::Client)?;
    let all = load.host.seconds * load.host.cpus as f64;
    (all > 0.0).then(|| (used.user_s + used.system_s) / all)
}

/// Idle share of the CPU time of all CPUs.
pub(crate) fn idle_share(_: &Cell, load: &Load) -> Option<f64> {
    let all = load.host.seconds * load.host.cpus as f64;
    (all > 0.0).then(|| load.host.idle_s / all)
}

pub(crate) fn voluntary(_: &Cell, load: &Load) -> Option<f64> {
    of_role(load, Role::Target, |used| used.voluntary_switches as f64)
}

pub(crate) fn involuntary(_: &Cell, load: &Load) -> Option<f64> {
    of_role(load, Role::Target, |used| used.involuntary_switches as f64)
}

/// Context switches of the target per request.
pub(crate) fn switches(_: &Cell, load: &Load) -> Option<f64> {
    of_role(load, Role::Target, |used| (used.voluntary_switches + used.involuntary_switches) as f64)
}

pub(crate) fn run_delay_us(_: &Cell, load: &Load) -> Option<f64> {
    of_role(load, Role::Target, |used| used.run_delay_s * 1e6)
}

pub(crate) fn would_blocks(_: &Cell, load: &Load) -> Option<f64> {
    load.target.as_ref()?.per_request("would_blocks")
}

pub(crate) fn wakeups(_: &Cell, load: &Load) -> Option<f64> {
    load.target.as_ref()?.per_request("wakeups")
}

pub(crate) fn jobs(_: &Cell, load: &Load) -> Option<f64> {
    load.target.as_ref()?.per_request("jobs")
}

/// Mean time of a job in the channel, in microseconds. None when no job went through the channel.
pub(crate) fn queue_wait_us(_: &Cell, load: &Load) -> Option<f64> {
    let during = &load.target.as_ref()?.during;
    let (jobs, wait_ns) = (*during.get("jobs")?, *during.get("queue_wait_ns")?);
    (jobs > 0).then(|| wait_ns as f64 / jobs as f64 / 1e3)
}

pub(crate) fn peak_mb(_: &Cell, load: &Load) -> Option<f64> {
    load.roles.get(&Role::Target).map(|used| used.peak_kb as f64 / 1024.0)
}

/// Proportional set size of the target at the end.
pub(crate) fn pss_mb(_: &Cell, load: &Load) -> Option<f64> {
    load.roles.get(&Role::Target)?.pss_kb.map(|kb| kb as f64 / 1024.0)
}

/// Jain's index of fairness over the client's connections.
pub(crate) fn fairness(_: &Cell, load: &Load) -> Option<f64> {
    crate::judge::stats::jain(load.per_connection.as_deref()?)
}

/// Returns the KB per idle connection; None for a record of other work.
pub(crate) fn idle_kb(record: &Record) -> Option<f64> {
    match &record.measured {
        Measured::Idle(idle) => idle.per_connection_kb(),
        _ => None,
    }
}
