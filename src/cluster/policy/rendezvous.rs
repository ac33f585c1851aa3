//! `hash:...`: requests with the same key go to the same backend.
//!
//! Rendezvous hashing (Thaler, Ravishankar 1998), with weights (Schindelhauer, Schomaker 2005): each backend gets a score
//! from the key and its address, and the highest score wins. When a backend goes, only its own keys move. A key whose
//! backend has too many requests in flight goes to the backend with the next score (Mirrokni, Thorup, Zadimoghaddam 2016:
//! "consistent hashing with bounded loads").
use std::sync::Arc;

use super::candidates::{Candidate, Candidates};
use crate::cluster::backend::{Backend, WEIGHT_PARTS};
use crate::cluster::chance::ln_uniform;

/// A backend may have this many percent of its fair share of the requests in flight.
const LOAD_MAX_PERCENT: u64 = 125;

pub(super) fn pick<'a>(candidates: &Candidates<'a>, key: u64) -> Option<&'a Arc<Backend>> {
    let owner = owner(candidates, key)?;
    let fits = candidates.candidate(owner).is_some_and(|candidate| {
        // A backend with less than its weight, in a slow start, may have lost the key to another one.
        candidate.weight == owner.weight() * WEIGHT_PARTS && has_room(candidates, &candidate)
    });
    if fits { Some(owner) } else { next(candidates, key) }
}

/// Returns the backend with the highest score for its configured weight, candidate or not. When it is a candidate with its
/// full weight, it has the highest score of all candidates too, because no other backend ever has more than its weight.
fn owner<'a>(candidates: &Candidates<'a>, key: u64) -> Option<&'a Arc<Backend>> {
    let (backends, hashes) = (candidates.members.backends(), candidates.members.hashes());
    let numbers = hashes.iter().map(|&hash| number(key, hash));
    let place = if candidates.members.have_equal_weights() {
        // The order of the scores is that of the numbers.
        highest(numbers, 0)
    } else {
        let weighted = numbers.zip(backends).map(|(number, backend)| score(number, backend.weight()));
        highest(weighted, f64::NEG_INFINITY)
    };
    backends.get(place)
}

/// Returns the place of the highest score; 0 without a score. Equal scores are as good as impossible.
fn highest<S: PartialOrd + Copy>(scores: impl Iterator<Item = S>, least: S) -> usize {
    let (mut highest, mut best) = (0, least);
    for (place, score) in scores.enumerate() {
        if score > best {
            (highest, best) = (place, score);
        }
    }
    highest
}

/// True when the candidate has less than its share of the requests in flight at all candidates, and this request:
/// in flight < [`LOAD_MAX_PERCENT`] / 100 * sum * weight / weights, rounded up.
fn has_room(candidates: &Candidates<'_>, candidate: &Candidate<'_>) -> bool {
    let own = u64::from(candidate.backend.in_flight());
    own == 0 || Load::of(candidates).leaves_room(candidate)
}

/// The load of all candidates.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// The requests in flight, with this one.
    in_flight: u64,
    weights: u64,
}

impl Load {
    fn of(candidates: &Candidates<'_>) -> Load {
        candidates.iter().fold(Load { in_flight: 1, weights: 0 }, |load, candidate| Load {
            in_flight: load.in_flight + u64::from(candidate.backend.in_flight()),
            weights: load.weights + u64::from(candidate.weight),
        })
    }

    fn leaves_room(&self, candidate: &Candidate<'_>) -> bool {
        let share = LOAD_MAX_PERCENT * self.in_flight * u64::from(candidate.weight);
        u64::from(candidate.backend.in_flight()) * 100 * self.weights < share
    }
}

/// Returns the candidate with the highest score among those with room.
fn next<'a>(candidates: &Candidates<'a>, key: u64) -> Option<&'a Arc<Backend>> {
    let load = Load::of(candidates);
    let fit = candidates.iter().filter(|candidate| load.leaves_room(candidate));
    let scores = fit.map(|one| (score(number(key, one.backend.hash()), one.weight), one.backend));
    let best = scores.max_by(|(one, _), (other, _)| one.total_cmp(other));
    // Another worker may begin requests between the two passes. Then no backend may seem to have room.
    best.map(|(_, backend)| backend).or_else(|| candidates.iter().next().map(|candidate| candidate.backend))
}

/// Returns the number of a key at a backend. Key and hash are well mixed already, so two multiplications (with the odd
/// numbers of SplitMix64) are enough: the high half of the first product depends on all bits, and the second product carries
/// it on.
fn number(key: u64, hash: u64) -> u64 {
    let product = (key ^ hash).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (product ^ (product >> 32)).wrapping_mul(0x94D0_49BB_1331_11EB)
}

/// Returns the logarithm of a uniform number, divided by the weight.
fn score(number: u64, weight: u32) -> f64 {
    ln_uniform(number) / f64::from(weight)
}
