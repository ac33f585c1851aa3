//! The results of a cell, and the verdict about them: can the numbers be trusted?

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::plans::model::{Cell, Work};
use crate::run::raw::{IdleMemory, RawHandshakes, RawProbe, RawSystem};
use crate::run::reply::Errors;
use crate::run::wrk::Client;

/// The result of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) cell: Cell,
    /// The commands by role: `client`, `target`, `backends`. Scratch paths are shortened to `{dir}`.
    pub(crate) commands: BTreeMap<String, String>,
    pub(crate) measured: Measured,
    /// The gates that need this cell only. G6, G9 and G11 need other cells: [`crate::judge::gates::across`].
    pub(crate) gates: Vec<GateResult>,
    pub(crate) validity: Validity,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Measured {
    Load(Box<Load>),
    Idle(IdleMemory),
    Syscalls(Syscalls),
    /// The sampled stacks, a line for each.
    Profile(String),
    Handshakes(Box<RawHandshakes>),
    /// The cell could not be measured.
    Failed {
        reason: String,
    },
}

/// Returns the results of a load. None for other work, and for a cell that could not be measured.
pub(crate) fn load(record: &Record) -> Option<&Load> {
    match &record.measured {
        Measured::Load(load) if record.cell.work == Work::Load => Some(load),
        _ => None,
    }
}

/// The results of a load cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) client: Client,
    pub(crate) probe: RawProbe,
    /// The sum is the column *failed* of the tables.
    pub(crate) failures: Errors,
    /// The use of resources during the measured seconds.
    pub(crate) system: RawSystem,
    /// Counters of a target of ours, over the whole seconds within the measured time. A counter divided by `served` is
    /// per request.
    pub(crate) target: Option<Counted>,
    /// The sums of the backends' counters.
    pub(crate) backends: Option<Counted>,
    pub(crate) conservation: Option<Conservation>,
    /// Answered requests per connection of the client: minimum, 99 percentiles, maximum. Only with keep-alive; the
    /// error is at most 1.6 %.
    pub(crate) per_connection: Option<Vec<u64>>,
}

impl Load {
    /// Returns the number of good answers. wrk counts late and wrong answers too, so these are subtracted.
    pub(crate) fn success(&self) -> u64 {
        self.client.requests.saturating_sub(self.client.errors.status + self.client.errors.timeout)
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.client.duration_us as f64 / 1e6
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.client.requests as f64 / self.seconds()
    }

    /// Returns the mean latency by Little's law: connections / rate. Independent of wrk's correction, but assumes that
    /// no connection is idle (gate G2).
    pub(crate) fn latency_ms(&self, opened: u32) -> f64 {
        f64::from(opened) / self.requests_per_second() * 1e3
    }
}

/// Counters of one of our programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// The counters by the program's names: `served`, `would_blocks`, `wakeups`, `jobs`, `queue_wait_ns`, ... ...
    pub(crate) during: BTreeMap<String, u64>,
    /// From the program's start to its end.
    pub(crate) whole: BTreeMap<String, u64>,
    /// Requests per second in each measured second, as (seconds since the start, rate).
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
    /// Answers to wrk (including the warm-up) and to the prober.
    pub(crate) client: u64,
    pub(crate) target: Option<u64>,
    pub(crate) backends: Option<u64>,
    /// Answers that may have been in flight when wrk stopped, and errors.
    pub(crate) slack: u64,
}

/// System calls of the target in a short run under strace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Syscalls {
    pub(crate) requests: u64,
    /// By name.
    pub(crate) calls: BTreeMap<String, u64>,
    /// System calls that returned an error (mostly `WouldBlock`).
    pub(crate) errors: u64,
}

impl Syscalls {
    pub(crate) fn per_request(&self, calls: u64) -> f64 {
        calls as f64 / self.requests.max(1) as f64
    }
}

/// A condition that a cell must meet to be ranked. gates.toml describes the gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Gate {
    G1,
    G2,
    G3,
    G4,
    G5,
    G6,
    G7,
    G8,
    G9,
    G10,
    G11,
}

use Gate::{G1, G2, G3, G4, G5, G6, G7, G8, G9, G10, G11};

/// The description of a gate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    /// The condition in a few words.
    pub(crate) title: String,
    /// When a cell gets a remark.
    pub(crate) note: String,
    /// When a cell fails.
    pub(crate) invalid: String,
}

static TEXTS: LazyLock<BTreeMap<Gate, Text>> =
    LazyLock::new(|| toml::from_str(include_str!("gates.toml")).expect("gates.toml is checked by a test"));

impl Gate {
    pub(crate) const ALL: [Gate; 11] = [G1, G2, G3, G4, G5, G6, G7, G8, G9, G10, G11];

    pub(crate) fn text(self) -> &'static Text {
        &TEXTS[&self]
    }
}

/// Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Validity {
    Valid,
    /// The cell is ranked, with a remark.
    Note,
    /// The cell is shown with a mark, and not ranked.
    Invalid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GateResult {
    pub(crate) gate: Gate,
    pub(crate) verdict: Validity,
    /// One sentence with the numbers; empty when the verdict is valid.
    pub(crate) reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_is_described() {
        assert!(TEXTS.keys().eq(&Gate::ALL));
    }
}
