//! `least-requests`: the backend with the fewest requests in flight for its weight; among equals, a random one.
//!
//! All candidates are compared. The random choice among equals matters: without it all workers would pick the same idle
//! backend. Heavier backends are more likely, so shares follow the weights even when every backend is idle.
use std::sync::Arc;

use super::candidates::{Candidate, Candidates};
use crate::cluster::backend::Backend;
use crate::cluster::chance::Random;

pub(super) fn pick<'a>(candidates: &Candidates<'a>, mut random: Random) -> Option<&'a Arc<Backend>> {
    least(
        candidates.iter().map(|candidate| (candidate, u64::from(candidate.backend.in_flight()))),
        &mut random,
    )
}

/// Returns the candidate with the least load for its weight. A candidate that equals those before it replaces the
/// earlier pick with a probability of its weight divided by the sum of their weights.
pub(super) fn least<'a>(
    loads: impl Iterator<Item = (Candidate<'a>, u64)>,
    random: &mut Random,
) -> Option<&'a Arc<Backend>> {
    let mut picked: Option<(Candidate<'a>, u64)> = None;
    let mut equals = 0;
    for (candidate, load) in loads {
        let weight = u64::from(candidate.weight);
        // load / weight < best load / best weight, without a division
        let order =
            picked.as_ref().map(|(best, least)| (load * u64::from(best.weight)).cmp(&(least * weight)));
        match order {
            None | Some(std::cmp::Ordering::Less) => (picked, equals) = (Some((candidate, load)), weight),
            Some(std::cmp::Ordering::Equal) => {
                equals += weight;
                if random.below(equals) < weight {
                    picked = Some((candidate, load));
                }
            }
            Some(std::cmp::Ordering::Greater) => {}
        }
    }
    picked.map(|(candidate, _)| candidate.backend)
}
