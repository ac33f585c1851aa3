//! What a run leaves on disk. The measuring half writes it, the reporting half reads it.
//!
//! ```text
//! experiments/results/<date>-<host>/
//!     manifest.json       Manifest: host, programs, binary, topology
//!     plan.json           Plan: seed, targets, cells in the order in which they run
//!     cells.ndjson        one Record a line, appended as a cell ends
//!     raw/<NNN>-<cell>/   what each cell's numbers are derived from (`Files`); `DONE` is written last
//! ```
//!
//! A [`Record`] is a pure function of its raw directory and the plan ([`crate::raw::derive`]), so whoever doubts a
//! number can derive it again. Everything between cells (intervals, ceilings, repeatability) is the report's.
//!
//! Times are microseconds where the name ends in `_us`, seconds in `_s`. A value that could not be had is `None`,
//! never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of this layout.
pub(crate) const SCHEMA: u32 = 1;

/// File names below a results directory.
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const PLAN: &str = "plan.json";
pub(crate) const CELLS: &str = "cells.ndjson";
pub(crate) const RAW: &str = "raw";

/// File names below `raw/<NNN>-<cell>/`.
pub(crate) mod file {
    /// `Started`: the cell, when it began and each command as it ran.
    pub(crate) const STARTED: &str = "started.json";
    /// `Client` of the warm-up and of the measured run, as wrk.lua wrote them, and what wrk printed.
    pub(crate) const WARM_JSON: &str = "warm.json";
    pub(crate) const WRK_JSON: &str = "wrk.json";
    pub(crate) const WRK_TEXT: &str = "wrk.txt";
    /// `RawProbe`.
    pub(crate) const PROBE: &str = "probe.json";
    /// `RawSystem`: role and host counters before and after the measured seconds.
    pub(crate) const SYSTEM: &str = "system.json";
    /// `RawCounters`: what the target and the backends counted, a row a second.
    pub(crate) const COUNTERS: &str = "counters.json";
    /// `RawSockets`: bytes received by each connection of the client, shortly before the end.
    pub(crate) const SOCKETS: &str = "sockets.json";
    /// `IdleMemory`, and the table printed by strace.
    pub(crate) const MEMORY: &str = "memory.json";
    pub(crate) const STRACE: &str = "strace.txt";
    /// Why the cell has no numbers (plain text), instead of the files above.
    pub(crate) const FAILED: &str = "failed.txt";
    /// Written when the directory is complete.
    pub(crate) const DONE: &str = "DONE";
}

/// Where, with what and how a run was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) schema: u32,
    /// UTC, such as `2026-01-31T12:00:00Z`.
    pub(crate) started: String,
    pub(crate) host: Host,
    pub(crate) neraca: Binary,
    /// Programs that were found: name to the version that it prints.
    pub(crate) tools: BTreeMap<String, String>,
    pub(crate) topology: Topology,
    pub(crate) plan_hash: String,
    /// `neraca-lab` and its arguments, without paths of this machine.
    pub(crate) command: Vec<String>,
    /// What `doctor` had to say, one line each.
    pub(crate) warnings: Vec<String>,
}

/// The machine. `name` is neutral and chosen by us, not the system's host name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_mb: u64,
    pub(crate) kernel: String,
    /// Frequency governor, where the kernel shows one.
    pub(crate) governor: Option<String>,
    pub(crate) descriptors: u64,
    pub(crate) somaxconn: u64,
    pub(crate) port_range: (u16, u16),
    /// Hash over what above must be equal for a run to be resumed here.
    pub(crate) fingerprint: String,
}

/// The program under test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binary {
    pub(crate) version: String,
    pub(crate) sha256: String,
    /// Commit of the source, `+` appended where it had been changed.
    pub(crate) commit: Option<String>,
}

/// Who talks to whom. The picture of the experiment is drawn from this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Topology {
    /// How many backend addresses every balancer is given.
    pub(crate) backends: usize,
    /// The backends' command, placeholders for what changes.
    pub(crate) backend_command: String,
    /// Threads that carry the work of each of our programs.
    pub(crate) thread_workers: usize,
    pub(crate) async_workers: usize,
    pub(crate) batch: usize,
    /// `shared`: no process is bound to a CPU; otherwise who is where.
    pub(crate) placement: String,
    pub(crate) probe_rate_hz: f64,
    /// Scheduling priority of the prober: below 0 where we may, so that it seldom waits for a CPU itself.
    pub(crate) probe_nice: i32,
    /// Files that are requested: name and length.
    pub(crate) files: Vec<(String, u64)>,
}

/// What will be measured, in which order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) schema: u32,
    /// `smoke`, `bench` or `full`.
    pub(crate) name: String,
    pub(crate) seed: u64,
    /// SHA-256 over name, seed, targets and cells.
    pub(crate) hash: String,
    pub(crate) targets: Vec<Target>,
    /// `seq` counts from 0 in this order, which is the order of the run.
    pub(crate) cells: Vec<Cell>,
}

/// Something that answers HTTP and is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// Unique, such as `thread`, `async`, `serve-thread`, `haproxy`, `thread-batch1`, `ablate-access-log`.
    pub(crate) id: String,
    /// For people: `Neraca, thread engine`.
    pub(crate) title: String,
    pub(crate) kind: TargetKind,
    /// What it is compared with: the id of the target without the change (variants, ablations and `thread-again`).
    pub(crate) baseline: Option<String>,
    /// How it is started; `{port} {o1} {o2} {o3} {root} {dir} {neraca} {stats} {delay}` are filled in.
    pub(crate) command: Vec<String>,
    /// A configuration file of its own, with the same placeholders, stored as `{dir}/{id}.conf`.
    pub(crate) config: Option<String>,
    /// Extra arguments of the backends (ablations of the file server).
    pub(crate) backend_arguments: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TargetKind {
    /// One of the two engines as they are.
    Engine,
    /// Our file server, asked directly.
    Server,
    /// Another file server, asked directly: how fast it could be at most.
    Ceiling,
    /// Another balancer over the same backends.
    Peer,
    /// One of our engines with a choice made otherwise.
    Variant,
    /// An overhead switched on for the experiment.
    Ablation,
    /// The same engine under a second name (A/A).
    Control,
    /// Given with `--target`.
    User,
}

impl TargetKind {
    /// It forwards to backends, so that a direct server is its ceiling.
    pub(crate) fn forwards(self) -> bool {
        !matches!(self, TargetKind::Server | TargetKind::Ceiling)
    }
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) seq: usize,
    /// Unique in the plan, fit for a directory name: `assignment-thread-c1000-t150`.
    pub(crate) id: String,
    pub(crate) section: Section,
    /// Repetition, from 0. Cells of one section and block are compared with each other.
    pub(crate) block: usize,
    pub(crate) target: String,
    pub(crate) work: Work,
    /// Connections asked for, and threads of wrk (`-c` and `-t`).
    pub(crate) connections: u32,
    pub(crate) threads: u32,
    /// File requested, without the slash, and its length.
    pub(crate) path: String,
    pub(crate) body_bytes: u64,
    /// False: a connection per request.
    pub(crate) keep_alive: bool,
    /// The backends wait this long before they answer.
    pub(crate) delay_ms: u64,
    pub(crate) warm_s: f64,
    pub(crate) seconds: f64,
}

impl Cell {
    /// Connections that wrk really opens: it gives each thread the same number and drops the rest.
    pub(crate) fn opened(&self) -> u32 {
        self.connections / self.threads.max(1) * self.threads
    }
}

/// Which question a cell answers; the report has a part for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Section {
    /// `-c 1000`, `-t` 10 to 200.
    Assignment,
    /// The same with `-t 2`: what the client's own threads cost.
    ThreadsControl,
    /// Few threads, connections from 10 to 1000.
    Concurrency,
    /// Thread, async and thread again, in repeated blocks.
    Headline,
    /// File servers asked directly.
    Servers,
    /// Other balancers.
    Peers,
    /// 128 bytes to 1 MB.
    Bodies,
    /// A connection per request.
    Reuse,
    /// Backend latency x concurrency x body size.
    Crossover,
    /// Our engines with a choice made otherwise.
    Variants,
    /// Overheads switched on.
    Ablations,
    /// Idle connections (`Work::Idle`).
    Memory,
    /// System calls per request (`Work::Syscalls`).
    Syscalls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// wrk, the prober and the collectors.
    Load,
    /// `connections` idle keep-alive connections.
    Idle,
    /// Under strace: counts, no times.
    Syscalls,
}

/// One line of cells.ndjson.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) schema: u32,
    pub(crate) cell: Cell,
    /// UTC.
    pub(crate) started: String,
    /// Each command as it ran, by role: `client`, `target`, `backends`. Scratch paths are shortened to `{dir}`.
    pub(crate) commands: BTreeMap<String, String>,
    pub(crate) measured: Measured,
    /// Every gate that can be judged from this cell alone. G6, G9 and G11 need other cells:
    /// [`crate::gates::across`].
    pub(crate) gates: Vec<GateResult>,
    pub(crate) validity: Validity,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Measured {
    Load(Box<Load>),
    Idle(IdleMemory),
    Syscalls(Syscalls),
    /// The cell could not be measured.
    Failed {
        reason: String,
    },
}

/// What a load cell gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) client: Client,
    pub(crate) probe: Probe,
    pub(crate) failures: Failures,
    /// Over the measured seconds, by role. `target` is absent where the target is itself the file server's peer.
    pub(crate) roles: BTreeMap<Role, Use>,
    pub(crate) host: HostUse,
    /// Counters of a target of ours, over whole seconds inside the measured ones; per request = x / served.
    pub(crate) target: Option<Counted>,
    /// The same of the backends, all together.
    pub(crate) backends: Option<Counted>,
    pub(crate) conservation: Option<Conservation>,
    /// Requests that a connection of the client had answered: the least, 99 percentiles, the greatest. Only with
    /// keep-alive, and 1.6 % exact.
    pub(crate) per_connection: Option<Vec<u64>>,
}

impl Load {
    /// wrk counts every answer, also the late and the wrong ones.
    pub(crate) fn success(&self) -> u64 {
        let e = &self.client.errors;
        self.client.requests.saturating_sub(e.status + e.timeout)
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.client.duration_us as f64 / 1e6
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.client.requests as f64 / self.seconds()
    }

    /// Mean latency by Little's law: connections / rate. Immune to wrk's correction; it supposes no idle
    /// connection, so see gate G2.
    pub(crate) fn latency_ms(&self, opened: u32) -> f64 {
        f64::from(opened) / self.requests_per_second() * 1e3
    }
}

/// What wrk reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) duration_us: u64,
    /// Every complete response, with those of status 400 and above and the late ones.
    pub(crate) requests: u64,
    /// Heads included.
    pub(crate) bytes: u64,
    pub(crate) errors: ClientErrors,
    /// wrk's own latencies. It alters them before it tells anybody; never to be shown without that word.
    pub(crate) latency_us: BTreeMap<String, Option<f64>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientErrors {
    pub(crate) connect: u64,
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// Status 400 and above.
    pub(crate) status: u64,
    /// Answered, but too late.
    pub(crate) timeout: u64,
}

/// Every way to fail. The sum is the table's *failed*.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failures {
    pub(crate) connect: u64,
    pub(crate) read: u64,
    pub(crate) write: u64,
    pub(crate) status: u64,
    pub(crate) timeout: u64,
    /// Connections of the client on which nothing came during the last half of the measured time.
    pub(crate) stalled: u64,
}

impl Failures {
    pub(crate) fn total(&self) -> u64 {
        self.connect + self.read + self.write + self.status + self.timeout + self.stalled
    }
}

/// The open-loop prober: a fresh connection for each request, at intended times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) rate_hz: f64,
    pub(crate) intended: u64,
    pub(crate) ok: u64,
    pub(crate) errors: ProbeErrors,
    /// Of the answered ones.
    pub(crate) connect_us: Distribution,
    /// *Waiting*: from handing the request to the kernel to the first byte of the response.
    pub(crate) waiting_us: Distribution,
    /// From the intended time to the last byte: what a user would have waited.
    pub(crate) total_us: Distribution,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbeErrors {
    pub(crate) connect: u64,
    /// Broke off or no HTTP.
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// Status other than 200.
    pub(crate) status: u64,
    /// Nothing within the prober's patience.
    pub(crate) timeout: u64,
    /// The body ended before its announced length.
    pub(crate) truncated: u64,
    /// The right length, other bytes.
    pub(crate) corrupt: u64,
}

impl ProbeErrors {
    pub(crate) fn total(&self) -> u64 {
        self.connect + self.read + self.write + self.status + self.timeout + self.truncated + self.corrupt
    }
}

/// Summary of many times. Percentiles are at most 1.6 % too low (the raw histogram's buckets).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// `(fraction, value)`, such as `(0.99, 1234)`: 0.1 to 0.9, 0.95, 0.99, 0.995, 0.999 as the count allows.
    pub(crate) percentiles: Vec<(f64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// wrk.
    Client,
    /// What is measured: a balancer, or a server asked directly.
    Target,
    /// The servers behind a balancer.
    Backends,
    /// The prober and the collectors.
    Lab,
}

/// What the processes of a role used during the measured seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Use {
    pub(crate) processes: u64,
    pub(crate) threads: u64,
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    /// Ready to run, and waiting for a CPU.
    pub(crate) run_delay_s: f64,
    /// Sum of the peaks of each process (`VmHWM`), since its start.
    pub(crate) peak_kb: u64,
    /// Proportional share at the end, where the kernel tells.
    pub(crate) pss_kb: Option<u64>,
}

/// The machine during the measured seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostUse {
    pub(crate) seconds: f64,
    pub(crate) cpus: u64,
    pub(crate) busy_s: f64,
    pub(crate) idle_s: f64,
    pub(crate) steal_s: f64,
    /// CPU time of processes that are none of ours.
    pub(crate) foreign_s: f64,
    pub(crate) swapped_pages: u64,
    pub(crate) listen_overflows: u64,
    pub(crate) listen_drops: u64,
}

/// Counters of one of our programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Length of the stretch that `during` is about.
    pub(crate) seconds: f64,
    /// By the program's own names: `served`, `would_blocks`, `wakeups`, `jobs`, `queue_wait_ns`, ...
    pub(crate) during: BTreeMap<String, u64>,
    /// From the program's start to its end.
    pub(crate) whole: BTreeMap<String, u64>,
    /// Requests served in each second of the measured ones, as (seconds since the start, per second).
    pub(crate) series: Vec<(f64, f64)>,
}

impl Counted {
    pub(crate) fn per_request(&self, counter: &str) -> Option<f64> {
        let served = *self.during.get("served")?;
        let n = *self.during.get(counter)?;
        (served > 0).then(|| n as f64 / served as f64)
    }
}

/// Requests over the whole life of the target, warm-up and probes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conservation {
    /// wrk's (warm-up too) and the prober's.
    pub(crate) client: u64,
    pub(crate) target: Option<u64>,
    pub(crate) backends: Option<u64>,
    /// Answers that may have been under way when wrk stopped, errors included.
    pub(crate) slack: u64,
}

/// Memory of the target by idle keep-alive connections, each of which had one request answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct IdleMemory {
    /// (connections open, PSS of the target in KB), from 0 upwards.
    pub(crate) points: Vec<(u64, u64)>,
    /// Connections that still answered at the end, of those tried.
    pub(crate) alive: u64,
    pub(crate) tried: u64,
}

impl IdleMemory {
    /// KB a connection, from the first point to the last.
    pub(crate) fn per_connection_kb(&self) -> Option<f64> {
        let (&(n0, kb0), &(n1, kb1)) = (self.points.first()?, self.points.last()?);
        (n1 > n0).then(|| (kb1 as f64 - kb0 as f64) / (n1 - n0) as f64)
    }
}

/// System calls of the target in a short run under strace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Syscalls {
    pub(crate) requests: u64,
    /// By name.
    pub(crate) calls: BTreeMap<String, u64>,
    /// Of these, how many returned an error (mostly: would block).
    pub(crate) errors: u64,
}

impl Syscalls {
    pub(crate) fn per_request(&self) -> f64 {
        self.calls.values().sum::<u64>() as f64 / self.requests.max(1) as f64
    }
}

/// A condition that a cell must meet to be ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Gate {
    /// As many connections as asked for.
    G1,
    /// Little's law: rate x latency = connections.
    G2,
    /// What the client got, the target served and the backends served is the same.
    G3,
    /// At most 0.1 % failed.
    G4,
    /// The client was not the limit.
    G5,
    /// A balancer's rate is well below the direct one (across cells).
    G6,
    /// A quiet machine: steal, foreign load, swap, listen queues.
    G7,
    /// No drift, no second without an answer.
    G8,
    /// Repetitions agree (across cells).
    G9,
    /// Bodies are byte for byte right.
    G10,
    /// The A/A ratio's interval contains 1 (across cells).
    G11,
}

impl Gate {
    pub(crate) const ALL: [Gate; 11] = [
        Gate::G1,
        Gate::G2,
        Gate::G3,
        Gate::G4,
        Gate::G5,
        Gate::G6,
        Gate::G7,
        Gate::G8,
        Gate::G9,
        Gate::G10,
        Gate::G11,
    ];

    /// What it asks, in a few words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Gate::G1 => "connections really opened",
            Gate::G2 => "Little's law",
            Gate::G3 => "conservation of requests",
            Gate::G4 => "failures",
            Gate::G5 => "load generator not saturated",
            Gate::G6 => "below the direct ceiling",
            Gate::G7 => "quiet host",
            Gate::G8 => "steady",
            Gate::G9 => "repeatable",
            Gate::G10 => "right bodies",
            Gate::G11 => "A/A control",
        }
    }
}

/// Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Validity {
    Valid,
    /// Ranked, with a remark.
    Note,
    /// Shown, marked and not ranked.
    Invalid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GateResult {
    pub(crate) gate: Gate,
    pub(crate) verdict: Validity,
    /// Empty when valid; otherwise one sentence with the numbers.
    pub(crate) reason: String,
}
