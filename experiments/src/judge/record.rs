//! The results of a cell, and the verdict about them: can the numbers be trusted?

use std::collections::BTreeMap;
use std::sync::LazyLock;

use derive_more::Deref;
use serde::{Deserialize, Serialize};

use crate::run::raw::{Found, Raw};
use crate::run::reply::Errors;

/// A measured cell, and what the gates say about it.
#[derive(Debug, Clone, PartialEq, Deref)]
pub(crate) struct Record {
    #[deref]
    pub(crate) raw: Raw,
    /// The failures of a load. The sum is the column *failed* of the tables.
    pub(crate) failures: Errors,
    pub(crate) gates: Vec<GateResult>,
}

impl Record {
    /// Makes the record of a cell, still without gates.
    pub(crate) fn new(mut raw: Raw) -> Self {
        let mut failures = Errors::default();
        match &raw.found {
            Found::Load(load) => {
                let silent_ms = (raw.cell.seconds * 500.0) as u64;
                let stalled = load.sockets.as_ref().map(|s| s.silent_ms.count_from(silent_ms) + s.unopened);
                failures = Errors { stalled: stalled.unwrap_or(0), ..load.client.errors };
            }
            Found::Syscalls { strace, .. } if parse_strace(strace).is_empty() => {
                raw.found = Found::Failed("strace wrote no table".into());
            }
            _ => {}
        }
        Record { raw, failures, gates: Vec::new() }
    }

    /// Returns the worst verdict of the gates. A cell without numbers is invalid.
    pub(crate) fn validity(&self) -> Validity {
        let worst = self.gates.iter().map(|gate| gate.verdict).max().unwrap_or(Validity::Valid);
        if matches!(self.found, Found::Failed(_)) { Validity::Invalid } else { worst }
    }
}

/// A row of the table of `strace -c`: a system call, how often it was called, and how often it returned an error (mostly
/// `WouldBlock`).
pub(crate) type Calls<'a> = (&'a str, u64, u64);

/// Parses the table of `strace -c`: % time, seconds, usecs/call, calls, errors (may be empty), name.
pub(crate) fn parse_strace(text: &str) -> Vec<Calls<'_>> {
    let row = |line| {
        let (calls, errors, name) = match str::split_whitespace(line).collect::<Vec<_>>()[..] {
            [_, _, _, calls, name] => (calls, "0", name),
            [_, _, _, calls, errors, name] => (calls, errors, name),
            _ => return None,
        };
        Some((name, calls.parse().ok()?, errors.parse().ok()?)).filter(|_| name != "total")
    };
    text.lines().filter_map(row).collect()
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
    fn the_table_of_strace() {
        let text = "% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 46.38    0.061000           1     40000         5 recvfrom
 30.00    0.040000           1     20000           writev
------ ----------- ----------- --------- --------- ----------------
100.00    0.131000           1     60000         5 total
";
        assert_eq!(parse_strace(text), [("recvfrom", 40000, 5), ("writev", 20000, 0)]);
    }

    #[test]
    fn every_gate_is_described() {
        assert!(TEXTS.keys().eq(&Gate::ALL));
    }
}
