//! The capacities of capacity.json.

use serde::{Deserialize, Serialize};

use crate::grade::choice::Setting;

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
        load(self) == load(other) && self.setting.fits(&other.setting)
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

impl Step {
    pub(crate) const HEAD: &'static str = "balancer,offered_hz,good_hz,failed,p50_ms,p99_ms,max_ms,objective_ms,generator_late_ms,balancer_cpus,holds";

    pub(crate) fn csv(&self, name: &str) -> String {
        let Step { offered_hz, good_hz, failed, p50_ms, p99_ms, max_ms, objective_ms, late_ms, cpus, holds } =
            self;
        format!(
            "{name},{offered_hz:.0},{good_hz:.0},{failed},{p50_ms:.3},{p99_ms:.3},{max_ms:.3},{objective_ms:.3},{late_ms:.3},{cpus:.3},{holds}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_every_column() {
        let step = Step {
            offered_hz: 1000.0,
            good_hz: 999.5,
            failed: 1,
            p50_ms: 0.25,
            p99_ms: 1.0,
            max_ms: 3.0,
            objective_ms: 1.0,
            late_ms: 0.1,
            cpus: 0.5,
            holds: true,
        };
        assert_eq!(step.csv("x"), "x,1000,1000,1,0.250,1.000,3.000,1.000,0.100,0.500,true");
        assert_eq!(Step::HEAD.split(',').count(), step.csv("x").split(',').count());
    }
}
