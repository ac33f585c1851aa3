//! A plan: the cells to measure, and the targets.

use std::hash::Hash;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The version of the layout of plans and results.
pub(crate) const SCHEMA: u32 = 2;

/// The cells to measure, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) schema: u32,
    /// `smoke`, `bench`, or the name of a user's plan.
    pub(crate) name: String,
    /// SHA-256 over name, targets and cells.
    pub(crate) hash: String,
    pub(crate) targets: Vec<Target>,
    /// The cells in the order of the run. `seq` counts from 0 in this order.
    pub(crate) cells: Vec<Cell>,
    /// The goals of our engines under each load, which is a cell without a target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) goals: Vec<(Cell, Vec<Goal>)>,
}

/// A goal: a minimum for a rate, a maximum for any other quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goal {
    pub(crate) measure: Quantity,
    /// The targets that the engine is compared with. Empty: the goal is about the value itself.
    #[serde(default)]
    pub(crate) against: String,
    pub(crate) thread: f64,
    #[serde(rename = "async")]
    pub(crate) asynchronous: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Quantity {
    /// Requests per second.
    Rate,
    /// CPU microseconds of the target per request.
    Cpu,
    /// The 99th percentile of the latency, from wrk.
    P99,
    /// The 99th percentile of the time to the first byte on a new connection, from the prober.
    FirstByteP99,
    /// Context switches of the target per request.
    Switches,
    /// Proportional set size of the target at the end.
    Pss,
    /// Memory per idle connection.
    PerConnection,
    /// Failed connections and requests of all classes.
    Failed,
}

/// A measured program that answers HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    /// Unique, such as `thread`, `async`, `serve-thread`, `haproxy`, `thread-textbook`, `ablate-access-log`.
    pub(crate) id: String,
    /// The name in the report, such as `Neraca, thread engine`.
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) what: What,
    #[serde(default)]
    pub(crate) kind: TargetKind,
    /// The id of the target without the change, for variants, ablations and `thread-again`.
    pub(crate) baseline: Option<String>,
    /// Number of worker threads, if the target is measured for it.
    pub(crate) workers: Option<u32>,
    /// The program that must be installed.
    pub(crate) needs: Option<String>,
    /// The command. Placeholders are filled when the target starts; experiments/plans/targets.toml lists them.
    #[serde(deserialize_with = "words")]
    pub(crate) command: Vec<String>,
    /// The configuration file, with the same placeholders, stored as `{dir}/{id}.conf`.
    pub(crate) config: Option<String>,
    /// Only for programs of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fixed: Option<Fixed>,
}

/// Reads a command: one line in a file for people, a list of words in plan.json.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(from)? {
        Value::String(line) => Ok(line.split_whitespace().map(Into::into).collect()),
        words => Vec::deserialize(words).map_err(Error::custom),
    }
}

/// Fixed ports of a program, and the command of its backends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fixed {
    /// The port of the program; None when its command has `{port}`.
    pub(crate) listens: Option<u16>,
    /// The ports of the backends; empty for free ports.
    pub(crate) backends: Vec<u16>,
    /// The shell command of one backend, which listens on `{port}`.
    pub(crate) backend_command: Option<String>,
}

/// What a target does. It says nothing about why the target is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Forwards to backends, so backends run behind it and count its requests.
    #[default]
    Balancer,
    /// Answers itself. The best of them is the upper limit of the rate of a balancer.
    Server,
}

/// Why a target is measured. It says nothing about what the target does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TargetKind {
    /// One of our two engines, without a change.
    Engine,
    /// Another program that does the same.
    Peer,
    /// One of our programs with another design choice.
    Variant,
    /// One of our programs with an extra overhead.
    Ablation,
    /// The same engine under a second name (A/A).
    Control,
    /// Does less than the others, and shows what the least costs.
    Reference,
    /// Given by the user.
    #[default]
    User,
}

/// One measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) seq: usize,
    /// Unique in the plan and valid as a directory name, such as `assignment-thread-c1000-t150`.
    pub(crate) id: String,
    pub(crate) section: Section,
    /// Number of the repetition, from 0. Cells of one section and block are compared with each other.
    pub(crate) block: usize,
    pub(crate) target: String,
    pub(crate) work: Work,
    /// Connections and threads of wrk (`-c` and `-t`).
    pub(crate) connections: u32,
    pub(crate) threads: u32,
    /// The requested file without the slash, and its length in bytes.
    pub(crate) path: String,
    pub(crate) body_bytes: u64,
    /// False for a new connection per request.
    pub(crate) keep_alive: bool,
    /// Delay of the backends' responses in milliseconds.
    pub(crate) delay_ms: u64,
    /// The handshakes beside the requests (`Work::Handshakes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) handshakes: Option<Handshakes>,
    pub(crate) warm_s: f64,
    pub(crate) seconds: f64,
}

/// New full TLS handshakes with a second listener of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Handshakes {
    pub(crate) key: Key,
    pub(crate) per_s: u32,
}

/// The key of the target's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Key {
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

impl Key {
    pub(crate) const ALL: [Key; 2] = [Key::EcdsaP256, Key::Rsa2048];

    /// Returns the name of the key in names of cells, and in the report.
    pub(crate) fn names(self) -> [&'static str; 2] {
        [["ecdsa", "ECDSA P-256"], ["rsa", "RSA 2048"]][self as usize]
    }
}

impl Cell {
    /// Returns the load, to compare it with that of another cell. The order is that of the rows of a table.
    pub(crate) fn load(&self) -> impl Ord + Hash {
        let connections = (self.connections, self.threads, self.handshakes);
        (self.body_bytes, !self.keep_alive, self.delay_ms, connections, self.work)
    }

    /// Returns the number of connections that wrk opens. wrk gives each thread the same number and drops the remainder.
    pub(crate) fn opened(&self) -> u32 {
        self.connections / self.threads.max(1) * self.threads
    }

    /// Returns the load of the warm-up. The start of 200 threads takes half a second or more, and warms nothing.
    pub(crate) fn warm_up(&self) -> Cell {
        const THREADS_MAX: u32 = 10;
        Cell { threads: self.threads.min(THREADS_MAX), seconds: self.warm_s, ..self.clone() }
    }
}

/// The question that a cell answers. The report has a part for each section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Section {
    /// Thread against async: `-c 1000`, `-t` 10 to 200.
    Assignment,
    /// Both engines with 1, 2, 4 and the default number of workers.
    Workers,
    /// Our programs with extra overheads, and with other design choices.
    Ablations,
    /// File servers without a balancer.
    Servers,
    /// Other balancers.
    Peers,
    /// Few threads, connections from 10 to 1000.
    #[default]
    Concurrency,
    /// 10 KB to 1 MB.
    Bodies,
    /// A new connection per request.
    Reuse,
    /// Backend latency x concurrency x body size.
    Crossover,
    /// Idle connections (`Work::Idle`).
    Memory,
    /// System calls per request (`Work::Syscalls`).
    Syscalls,
    /// Where the CPU time goes (`Work::Profile`).
    Profile,
    /// Requests beside new TLS handshakes (`Work::Handshakes`).
    Handshakes,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// wrk, the prober and the collectors.
    #[default]
    Load,
    /// `connections` idle keep-alive connections.
    Idle,
    /// Counts of system calls, under strace, without times.
    Syscalls,
    /// Sampled stacks, under perf.
    Profile,
    /// [`REQUESTS_HZ`] requests per second on kept connections, beside new TLS handshakes.
    Handshakes,
}

/// Requests per second on all kept connections together, beside handshakes.
pub(crate) const REQUESTS_HZ: f64 = 1000.0;

impl Work {
    /// Returns the program that observes the target, if the work needs one.
    pub(crate) fn needs(self) -> Option<&'static str> {
        match self {
            Work::Load | Work::Idle => None,
            Work::Syscalls => Some("strace"),
            Work::Profile => Some("perf"),
            // It makes the certificates.
            Work::Handshakes => Some("openssl"),
        }
    }
}
