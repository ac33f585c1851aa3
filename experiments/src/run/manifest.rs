//! The environment of a run: machine, programs and commands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) schema: u32,
    #[serde(flatten)]
    pub(crate) setting: Setting,
    pub(crate) topology: Topology,
    pub(crate) plan_hash: String,
    /// `neraca-lab` and its arguments, without paths of this machine.
    pub(crate) command: Vec<String>,
    /// The warnings of `doctor`, one per line.
    pub(crate) warnings: Vec<String>,
}

/// The time, the machine and the programs of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// UTC, such as `2026-01-31T12:00:00Z`.
    pub(crate) started: String,
    pub(crate) host: Host,
    /// The program under test, if there is one.
    pub(crate) neraca: Option<Binary>,
    /// The installed programs: name and version.
    #[serde(default)]
    pub(crate) tools: BTreeMap<String, String>,
}

impl Setting {
    /// Returns the commit of the program under test.
    pub(crate) fn commit(&self) -> Option<&str> {
        self.neraca.as_ref()?.commit.as_deref()
    }

    /// Returns the difference that forbids to put the results of both runs together.
    pub(crate) fn difference(&self, other: &Setting) -> Option<&'static str> {
        let build = |setting: &Setting| setting.neraca.as_ref().map(|neraca| neraca.sha256.clone());
        let is_same = self.host.fingerprint == other.host.fingerprint;
        (build(self) != build(other)).then_some("build of neraca").or((!is_same).then_some("machine"))
    }
}

/// The machine. `name` is a neutral name, not the host name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_mb: u64,
    pub(crate) kernel: String,
    /// Frequency governor, if the kernel shows one.
    pub(crate) governor: Option<String>,
    pub(crate) descriptors: u64,
    pub(crate) somaxconn: u64,
    pub(crate) port_range: (u16, u16),
    /// Hash over the properties that must be equal to resume a run.
    pub(crate) fingerprint: String,
}

/// The program under test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binary {
    pub(crate) version: String,
    pub(crate) sha256: String,
    /// Commit of the source. A `+` at the end means that the source was changed.
    pub(crate) commit: Option<String>,
}

/// The connections between the programs. The picture of the experiment is drawn from the topology.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Topology {
    /// Number of backend addresses of every balancer.
    pub(crate) backends: usize,
    /// The command of the backends, with placeholders.
    pub(crate) backend_command: String,
    /// Number of cores of the async engine.
    pub(crate) async_workers: usize,
    pub(crate) batch: usize,
    /// `shared` means that no process is bound to a CPU. Otherwise the CPUs of each process.
    pub(crate) placement: String,
    pub(crate) probe_rate_hz: f64,
    /// Scheduling priority of the prober: below 0 if allowed, so that the prober waits less for a CPU.
    pub(crate) probe_nice: i32,
    /// The requested files: name and length in bytes.
    pub(crate) files: Vec<(String, u64)>,
}
