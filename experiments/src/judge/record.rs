//! The results of a cell, and the verdict about them: can the numbers be trusted?

use std::collections::BTreeMap;
use std::sync::LazyLock;

use derive_more::Deref;
use serde::{Deserialize, Serialize};

use crate::run::raw::{Found, Raw};

/// A measured cell, and what the gates say about it.
#[derive(Debug, Clone, PartialEq, Deref)]
pub(crate) struct Record {
    #[deref]
    pub(crate) raw: Raw,
    pub(crate) gates: Vec<GateResult>,
}

impl Record {
    /// Returns the worst verdict of the gates. A cell without numbers is invalid.
    pub(crate) fn validity(&self) -> Validity {
        let worst = self.gates.iter().map(|gate| gate.verdict).max().unwrap_or(Validity::Valid);
        if matches!(self.found, Found::Failed(_)) { Validity::Invalid } else { worst }
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
