//! The numbers of the report. Each number is a function of one cell.

use crate::judge::record::{Load, Measured, Record, Use};
use crate::judge::stats::jain;
use crate::plans::model::Cell;
use crate::run::histogram::Distribution;
use crate::run::raw::Role;

/// Mean latency by Little's law, in milliseconds.
pub(crate) fn latency_ms(cell: &Cell, load: &Load) -> Option<f64> {
    Some(load.latency_ms(cell.opened()))
}

/// Defines the numbers that need only the load of a cell.
macro_rules! measures {
    ($($(#[$doc:meta])* $name:ident = |$load:ident| $value:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(_: &Cell, $load: &Load) -> Option<f64> {
            $value
        }
    )*};
}

measures! {
    rate = |load| Some(load.requests_per_second());
    success = |load| Some(load.success() as f64);
    failed = |load| Some(load.failures.total() as f64);
    transferred_kb = |load| Some(load.client.bytes as f64 / 1024.0);
    transfer_kb_s = |load| Some(load.client.bytes as f64 / 1024.0 / load.seconds());

    /// Mean time to the first byte in milliseconds, from the prober on new connections.
    waiting_ms = |load| known(&load.probe.waiting_us).map(|waiting| waiting.mean / 1e3);
    /// The same on kept connections, as the load has them.
    kept_waiting_ms = |load| known(&load.probe.kept_waiting_us).map(|waiting| waiting.mean / 1e3);
    /// The 99th percentile of the latency in milliseconds, from wrk.
    latency_p99_ms = |load| load.client.latency_us.get("p99").copied().flatten().map(|us| us / 1e3);
    waiting_p99_ms = |load| percentile_ms(&load.probe.waiting_us, 0.99);
    total_p99_ms = |load| percentile_ms(&load.probe.total_us, 0.99);
    /// Maximum time in milliseconds from the intended time of a request to its last byte.
    total_max_ms = |load| known(&load.probe.total_us).map(|total| total.max as f64 / 1e3);

    // The use of resources per request.
    cpu_us = |load| role_cpu_us(load, Role::Target);
    user_us = |load| of_role(load, Role::Target, |used| used.user_s * 1e6);
    system_us = |load| of_role(load, Role::Target, |used| used.system_s * 1e6);
    client_cpu_us = |load| role_cpu_us(load, Role::Client);
    backends_cpu_us = |load| role_cpu_us(load, Role::Backends);
    /// CPU time of client and backends, which share the CPUs with the target.
    others_cpu_us = |load| {
        Some(role_cpu_us(load, Role::Client)? + role_cpu_us(load, Role::Backends).unwrap_or(0.0))
    };
    voluntary = |load| of_role(load, Role::Target, |used| used.voluntary_switches as f64);
    involuntary = |load| of_role(load, Role::Target, |used| used.involuntary_switches as f64);
    /// Context switches of both kinds.
    switches = |load| {
        of_role(load, Role::Target, |used| (used.voluntary_switches + used.involuntary_switches) as f64)
    };
    run_delay_us = |load| of_role(load, Role::Target, |used| used.run_delay_s * 1e6);
    would_blocks = |load| load.target.as_ref()?.per_request("would_blocks");
    wakeups = |load| load.target.as_ref()?.per_request("wakeups");
    jobs = |load| load.target.as_ref()?.per_request("jobs");

    /// Mean time of a job in the channel, in microseconds. None when no job went through the channel.
    queue_wait_us = |load| {
        let during = &load.target.as_ref()?.during;
        let (jobs, wait_ns) = (*during.get("jobs")?, *during.get("queue_wait_ns")?);
        (jobs > 0).then(|| wait_ns as f64 / jobs as f64 / 1e3)
    };
    /// Share of the CPU time of all CPUs that the client used.
    client_share = |load| share(load, load.roles.get(&Role::Client)?.cpu_s());
    /// Idle share of the CPU time of all CPUs.
    idle_share = |load| share(load, load.host.idle_s);
    peak_mb = |load| load.roles.get(&Role::Target).map(|used| used.peak_kb as f64 / 1024.0);
    /// Proportional set size of the target at the end.
    pss_mb = |load| load.roles.get(&Role::Target)?.pss_kb.map(|kb| kb as f64 / 1024.0);
    /// Jain's index of fairness over the client's connections.
    fairness = |load| jain(load.per_connection.as_deref()?);
}

/// Returns the times if there are any.
fn known(times: &Distribution) -> Option<&Distribution> {
    (times.count > 0).then_some(times)
}

/// Returns a percentile in milliseconds. None when too few probes were answered.
pub(crate) fn percentile_ms(times: &Distribution, fraction: f64) -> Option<f64> {
    let found = times.percentiles.iter().find(|(f, _)| (f - fraction).abs() < 1e-9);
    found.map(|(_, us)| *us as f64 / 1e3)
}

/// Returns an amount of a role per request of the client. The requests of the prober are ignored, because they are far
/// below one percent.
fn of_role(load: &Load, role: Role, amount: fn(&Use) -> f64) -> Option<f64> {
    let amount = amount(load.roles.get(&role)?);
    (load.client.requests > 0).then(|| amount / load.client.requests as f64)
}

/// Returns the CPU microseconds of a role per request.
pub(crate) fn role_cpu_us(load: &Load, role: Role) -> Option<f64> {
    of_role(load, role, |used| used.cpu_s() * 1e6)
}

fn share(load: &Load, cpu_s: f64) -> Option<f64> {
    let all = load.host.cpu_s();
    (all > 0.0).then(|| cpu_s / all)
}

/// Returns the KB per idle connection; None for a record of other work.
pub(crate) fn idle_kb(record: &Record) -> Option<f64> {
    match &record.measured {
        Measured::Idle(idle) => idle.per_connection_kb(),
        _ => None,
    }
}

/// Returns the failures of a record. A measurement that failed counts as one failure.
pub(crate) fn failures(record: &Record) -> u64 {
    match &record.measured {
        Measured::Load(load) => load.failures.total(),
        Measured::Idle(idle) => idle.tried - idle.alive,
        Measured::Failed { .. } => 1,
        Measured::Syscalls(_) | Measured::Profile(_) => 0,
    }
}
