//! The scorecards of grade.json.

use serde::{Deserialize, Serialize};

use crate::grade::cases::CaseResult;
use crate::grade::choice::Setting;
use crate::grade::score::{Behaviour, Item};

/// The scorecards of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cards {
    #[serde(flatten)]
    pub(crate) setting: Setting,
    /// The title of the balancer whose throughput gives all points.
    pub(crate) reference: String,
    pub(crate) cards: Vec<Card>,
}

/// The scorecard of one balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) command: String,
    /// The configuration file with placeholders.
    pub(crate) config: Option<String>,
    pub(crate) total: f64,
    pub(crate) items: Vec<Item>,
    /// The cases of requests, then those of responses.
    pub(crate) cases: [Vec<CaseResult>; 2],
    pub(crate) behaviour: Behaviour,
}
