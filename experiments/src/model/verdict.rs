//! Whether a cell can be believed.

use serde::{Deserialize, Serialize};

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
