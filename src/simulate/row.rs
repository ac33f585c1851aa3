//! The results of one system.
use std::fmt;

use super::trace::Trace;
use crate::cluster::{Cap, Policy};

/// The results of one policy over all seeds.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) policy: Policy,
    /// The slots of a backend and its cap, where the scenario compares them.
    pub(super) capped: Option<(usize, Cap)>,
    pub(super) trace: Trace,
    /// The same without a budget of retries, where the scenario asks for it.
    pub(super) unlimited: Option<Trace>,
}

/// The name of the system in tables.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.policy, self.capped) {
            (policy, None) => policy.fmt(f),
            (Policy::LeastRequests, Some((slots, cap))) => write!(f, "k={slots} cap={cap}"),
            (policy, Some((slots, cap))) => write!(f, "{policy} k={slots} cap={cap}"),
        }
    }
}
