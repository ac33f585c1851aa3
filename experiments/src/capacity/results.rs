//! The capacities of capacity.json.

use serde::{Deserialize, Serialize};

use crate::run::manifest::Setting;

/// The results of one run, as stored in capacity.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    #[serde(flatten)]
    pub(crate) setting: Setting,
    pub(crate) objective: String,
    pub(crate) limit_ms: f64,
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
    pub(crate) balancers: Vec<Found>,
}

impl Results {
    /// True when the results of both runs may stand on one page.
    pub(crate) fn fits(&self, other: &Results) -> bool {
        let load = |of: &Results| (of.objective.clone(), of.connections, of.seconds);
        load(self) == load(other) && self.setting.difference(&other.setting).is_none()
    }
}

/// The capacity of one balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) title: String,
    /// Requests per second; None when no rate held the objective.
    pub(crate) capacity_hz: Option<f64>,
    /// Every run of the search, in order.
    pub(crate) search: Vec<Step>,
    pub(crate) ramp: Vec<Step>,
}

/// One run at one rate. Latencies in milliseconds count from the intended time of each request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) offered_hz: f64,
    pub(crate) good_hz: f64,
    pub(crate) failed: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// The latency of the objective's percentile.
    pub(crate) objective_ms: f64,
    /// The delay of the generator itself, 99th percentile.
    pub(crate) late_ms: f64,
    /// CPU time of the balancer per second.
    pub(crate) cpus: f64,
    pub(crate) holds: bool,
}
