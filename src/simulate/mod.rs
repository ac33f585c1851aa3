//! Simulations of a cluster: the shipped policies, health and retries over seeded requests and backends, in simulated time.
//!
//! Only the backends, the network and the arrival of requests are models. All decisions are made by the code of
//! [`crate::cluster`] that the balancer runs. The same arguments give the same results, to the bit.
use std::fmt;
use std::time::Instant;

use rayon::prelude::*;

mod backend;
mod plot;
mod report;
mod row;
mod scenario;
mod trace;
mod world;

use crate::cluster::{ClusterSettings, Policy, RetrySettings};
pub use report::Report;
use row::Row;
use scenario::Scenario;
use trace::Trace;
use world::World;

/// What to simulate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    /// The name of the scenario.
    pub scenario: String,
    /// The policies to compare. Empty: those that the scenario is about, nearly always all.
    pub policies: Vec<Policy>,
    /// The number of runs for each policy, with the seeds from 0 on.
    pub seeds: u64,
}

/// The error for an unknown scenario. Display lists the known names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownScenario;

impl fmt::Display for UnknownScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Scenario::all().iter().map(|scenario| scenario.name).collect();
        write!(f, "expected one of {}", names.join(", "))
    }
}

impl std::error::Error for UnknownScenario {}

/// Returns the names of the scenarios, each with a sentence about it.
pub fn scenarios() -> Vec<(&'static str, &'static str)> {
    Scenario::all().iter().map(|scenario| (scenario.name, scenario.about)).collect()
}

/// More retries than any request makes.
const UNLIMITED: RetrySettings = RetrySettings { percent: 100_000, per_second: 1_000_000, answers: false };

impl Simulation {
    /// Runs all seeds of all policies, on all cores. `progress` is called after each run.
    ///
    /// # Errors
    /// When no scenario has the name.
    pub fn run(&self, progress: impl Fn() + Sync) -> Result<Report, UnknownScenario> {
        let scenario = find(&self.scenario)?;
        let needs_both = scenario.promise == scenario::Promise::Recovers;
        let run_all = |policy: &Policy, scenario: &Scenario, retries: RetrySettings| {
            let settings = ClusterSettings { policy: policy.clone(), retries, ..scenario.cluster.clone() };
            let run = |seed| {
                let trace = World::new(scenario, settings.clone(), seed, Instant::now()).run();
                progress();
                trace
            };
            let empty = || Trace::new(scenario::BACKENDS, scenario.seconds);
            (0..self.seeds).into_par_iter().map(run).reduce(empty, |all, one| all.merge(&one))
        };
        let compares_caps = scenario.promise == scenario::Promise::AutoFits;
        let row = |policy: &Policy, variant: &Scenario| Row {
            policy: policy.clone(),
            capped: variant.cap.filter(|_| compares_caps).map(|cap| (variant.slots, cap)),
            trace: run_all(policy, variant, scenario.cluster.retries),
            unlimited: needs_both.then(|| run_all(policy, variant, UNLIMITED)),
        };
        let mut rows = Vec::new();
        for policy in self.policies_of(&scenario) {
            rows.extend(scenario.variants().iter().map(|variant| row(&policy, variant)));
        }
        Ok(Report { scenario, rows })
    }

    fn policies_of(&self, scenario: &Scenario) -> Vec<Policy> {
        if self.policies.is_empty() { scenario.policies() } else { self.policies.clone() }
    }

    /// Returns the number of runs, for a progress bar.
    ///
    /// # Errors
    /// When no scenario has the name.
    pub fn runs(&self) -> Result<u64, UnknownScenario> {
        let scenario = find(&self.scenario)?;
        let budgets = if scenario.promise == scenario::Promise::Recovers { 2 } else { 1 };
        let systems = self.policies_of(&scenario).len() * scenario.variants().len() * budgets;
        Ok(self.seeds * systems as u64)
    }

    /// Runs one seed for each policy. Returns a line for each pick, with what the policy knew of each backend.
    ///
    /// # Errors
    /// When no scenario has the name.
    pub fn replay(&self, seed: u64) -> Result<String, UnknownScenario> {
        let scenario = find(&self.scenario)?;
        let policies = self.policies_of(&scenario);
        let replays = policies.iter().map(|policy| {
            let settings = ClusterSettings { policy: policy.clone(), ..scenario.cluster.clone() };
            let lines = World::new(&scenario, settings, seed, Instant::now()).replay();
            format!("{policy}: requests in flight at each backend before each pick\n{lines}")
        });
        Ok(replays.collect())
    }
}

fn find(name: &str) -> Result<Scenario, UnknownScenario> {
    Scenario::all().into_iter().find(|scenario| scenario.name == name).ok_or(UnknownScenario)
}

#[cfg(test)]
mod seeds;
#[cfg(test)]
mod tests;
