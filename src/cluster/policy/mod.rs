//! The policies that pick a backend: one file each. A policy sees the candidates, a key and random numbers; it does no
//! I/O and reads no clock.
//!
//! | policy | picks | when to use it | a pick looks at |
//! |---|---|---|---|
//! | [`round-robin`](round_robin) | in turns | equal requests, equal backends | all candidates |
//! | [`least-requests`](least_requests) | fewest requests in flight | nearly always: the default | all candidates |
//! | [`two-choices`](two_choices) | the better of two random ones | hundreds of backends | two backends |
//! | [`random`] | a random one | as a base line | one backend |
//! | [`peak-ewma`](peak_ewma) | least expected wait | backends of unequal speed | all candidates |
//! | [`hash:...`](rendezvous) | by a key of the request | caches, state in the backends | the hashes of all backends, and one candidate |
//! | [`first`] | the first one with room | few requests, backends that may sleep | the first candidate |
//!
//! Weights work in every policy. docs/balancing.md has the figures and says how to choose.
use std::sync::Arc;

use self::candidates::Candidates;
use super::backend::Backend;
use super::chance::Random;
use super::settings::Policy;
use super::state::ClusterState;

pub(crate) mod candidates;
mod first;
mod least_requests;
mod peak_ewma;
mod random;
mod rendezvous;
mod round_robin;
mod two_choices;

/// Picks one of the candidates; None when there are none. `key` is the hash of the request's key, if it has one.
/// The same seed, turn, candidates and key make the same pick.
pub(super) fn pick<'a>(
    candidates: &Candidates<'a>,
    key: Option<u64>,
    state: &ClusterState,
) -> Option<&'a Arc<Backend>> {
    let random = || Random::new(state.seed, state.next_turn());
    match candidates.members.policy() {
        Policy::RoundRobin => round_robin::pick(candidates, &state.changing.virtual_time),
        Policy::LeastRequests => least_requests::pick(candidates, random),
        Policy::TwoChoices => two_choices::pick(candidates, random()),
        Policy::Random => random::pick(candidates, random()),
        Policy::PeakEwma => peak_ewma::pick(candidates, &state.changing.least_latency, random),
        Policy::Hash(_) => rendezvous::pick(candidates, key.unwrap_or_else(|| random().bits())),
        Policy::First => first::pick(candidates),
    }
}

#[cfg(test)]
mod tests;
