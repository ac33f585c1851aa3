//! The verdict about a cell: can its numbers be trusted?

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

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
struct Text {
    title: String,
    note: String,
    invalid: String,
}

static TEXTS: LazyLock<BTreeMap<Gate, Text>> =
    LazyLock::new(|| toml::from_str(include_str!("gates.toml")).expect("gates.toml is checked by a test"));

impl Gate {
    pub(crate) const ALL: [Gate; 11] = [G1, G2, G3, G4, G5, G6, G7, G8, G9, G10, G11];

    /// Returns the condition in a few words.
    pub(crate) fn title(self) -> &'static str {
        &TEXTS[&self].title
    }

    /// Returns when a cell gets a remark, and when it fails.
    pub(crate) fn limits(self) -> [&'static str; 2] {
        let text = &TEXTS[&self];
        [&text.note, &text.invalid]
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
