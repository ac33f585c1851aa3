//! What is to be measured, and where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Unique, such as `thread`, `async`, `serve-thread`, `haproxy`, `thread-textbook`, `ablate-access-log`.
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
