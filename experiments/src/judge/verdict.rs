//! The verdict about a cell: can its numbers be trusted?

use serde::{Deserialize, Serialize};

/// A condition that a cell must meet to be ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Gate {
    /// wrk opened as many connections as requested.
    G1,
    /// No connection of the client was starved.
    G2,
    /// Client, target and backends count the same number of requests.
    G3,
    /// At most 0.1 % failed.
    G4,
    /// The client was not the limit.
    G5,
    /// A balancer's rate is well below the direct one (across cells).
    G6,
    /// The machine is quiet: stolen CPU time, foreign load, swap, listen queues.
    G7,
    /// The rate has no drift, and no second is without an answer.
    G8,
    /// Repetitions agree (across cells).
    G9,
    /// Every byte of the bodies is right.
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

    /// Returns the condition in a few words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Gate::G1 => "connections really opened",
            Gate::G2 => "no connection starved",
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

impl Gate {
    /// Returns when a cell gets a remark, and when it fails.
    pub(crate) fn limits(self) -> [&'static str; 2] {
        match self {
            Gate::G1 => ["fewer connections than asked for", "never"],
            Gate::G2 => [
                "Jain's index under 0.8; with a median under 20 answers, what fails otherwise",
                "the slowest tenth has under a tenth of the median, or Jain's index under 0.5",
            ],
            Gate::G3 => ["only the client counted", "the counts differ by more than was in flight"],
            Gate::G4 => ["any failure", "more than 0.1 % failed, or of the connections never answered"],
            Gate::G5 => ["never", "wrk used over 85 % of the CPU that its threads can have"],
            Gate::G6 => ["over 80 % of the direct rate", "over 95 % of the direct rate"],
            Gate::G7 => [
                "over 1 % of the CPU stolen, over 5 % used by others, swapping, or a full listen queue",
                "over 5 % stolen, over 10 % used by others, or over 1000 pages swapped",
            ],
            Gate::G8 => [
                "from 4 s on: the halves differ by over 5 %, or nobody counted",
                "by over 20 %, or a second without an answer",
            ],
            Gate::G9 => ["repetitions vary by over 15 %", "by over 30 %"],
            Gate::G10 => ["a probe failed", "a wrong body, or over 1 % of the probes failed"],
            Gate::G11 => ["the same engine twice differs", "never"],
        }
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
