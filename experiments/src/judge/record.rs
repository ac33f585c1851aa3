//! The results of a cell, and the verdict about them: can the numbers be trusted?

use std::collections::BTreeMap;
use std::sync::LazyLock;

use derive_more::Deref;
use serde::{Deserialize, Serialize};

use crate::plans::model::{Cell, What};
use crate::run::raw::{Found, Raw, RawLoad};
use crate::run::reply::Errors;

/// A measured cell, and what the gates say about it.
#[derive(Debug, Clone, PartialEq, Deref)]
pub(crate) struct Record {
    #[deref]
    pub(crate) raw: Raw,
    pub(crate) gates: BTreeMap<Gate, Judged>,
}

impl Record {
    /// Returns the failures of a load; none for other work.
    pub(crate) fn failures(&self) -> Errors {
        load(self).map_or_else(Errors::default, |load| load.failures())
    }

    /// Returns the worst verdict of the gates. A cell without numbers is invalid.
    pub(crate) fn validity(&self) -> Validity {
        let worst = self.gates.values().map(|(verdict, _)| *verdict).max().unwrap_or(Validity::Valid);
        if matches!(self.found, Found::Failed(_)) { Validity::Invalid } else { worst }
    }
}

/// A measured load.
#[derive(Debug, Clone, Copy, Deref)]
pub(crate) struct Load<'a> {
    pub(crate) cell: &'a Cell,
    pub(crate) what: What,
    #[deref(forward)]
    raw: &'a RawLoad,
}

/// Returns a load. None for other work, and for a cell that could not be measured.
pub(crate) fn load(record: &Record) -> Option<Load<'_>> {
    let Found::Load(raw) = &record.found else { return None };
    Some(Load { cell: &record.cell, what: record.what, raw })
}

impl Load<'_> {
    pub(crate) fn seconds(&self) -> f64 {
        self.client.duration_us as f64 / 1e6
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.client.requests as f64 / self.seconds()
    }

    /// Returns the failures. The sum is the column *failed* of the tables.
    pub(crate) fn failures(&self) -> Errors {
        let silent_ms = (self.cell.seconds * 500.0) as u64;
        let stalled = self.sockets.as_ref().map(|s| s.silent_ms.count_from(silent_ms) + s.unopened);
        Errors { stalled: stalled.unwrap_or(0), ..self.client.errors }
    }

    /// Returns the answers per connection: minimum, 99 percentiles, maximum. They are estimated from the received bytes
    /// and the mean length of an answer; the error is at most 1.6 %. None when the target closes each connection after
    /// its answer: then a connection is not a client.
    pub(crate) fn per_connection(&self) -> Option<Vec<u64>> {
        let RawLoad { client, sockets, .. } = self.raw;
        let received = &sockets.as_ref()?.received;
        let answer = client.bytes as f64 / client.requests.max(1) as f64;
        let answers = |bytes: &u64| (*bytes as f64 / answer.max(1.0)).round() as u64;
        let answers: Vec<u64> = received.quantiles(100).iter().map(answers).collect();
        let closes = answers.last() <= Some(&1) && client.requests > 2 * received.len();
        (!closes).then_some(answers)
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

/// Every gate with its description.
pub(crate) static GATES: LazyLock<BTreeMap<Gate, Text>> =
    LazyLock::new(|| toml::from_str(include_str!("gates.toml")).expect("gates.toml is checked by a test"));

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

/// What a gate says of a cell, and one sentence with the numbers, which is empty when the verdict is valid.
pub(crate) type Judged = (Validity, String);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::gates::judge;
    use crate::judge::synthetic::Run;
    use crate::run::histogram::Histogram;
    use crate::run::sockets::RawSockets;

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
    fn a_silent_connection_is_stalled() {
        let mut run = Run::new("smoke");
        let raw = run.load_of(|_| true);
        raw.cell.seconds = 4.0;
        let Found::Load(found) = &mut raw.found else { panic!("it is no load") };
        (found.client.requests, found.client.bytes) = (100, 1000);
        found.client.errors = Errors { connect: 1, status: 2, ..Errors::default() };
        found.sockets = Some(RawSockets {
            received: Histogram::of(&[0, 100, 206, 300]),
            silent_ms: Histogram::of(&[0, 1900, 2000, 3000]),
            unopened: 7,
        });
        let record = judge(raw.clone());
        assert_eq!((record.failures().stalled, record.failures().total()), (9, 12));
        let quantiles = load(&record).unwrap().per_connection().unwrap();
        assert_eq!((quantiles.len(), quantiles[0], quantiles[50], quantiles[100]), (101, 0, 10, 30));
    }
}
