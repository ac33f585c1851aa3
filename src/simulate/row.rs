//! The results of one policy.
use super::trace::Trace;
use crate::cluster::Policy;

/// The results of one policy over all seeds.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) policy: Policy,
    pub(super) trace: Trace,
    /// The same without a budget of retries, where the scenario asks for it.
    pub(super) unlimited: Option<Trace>,
}
