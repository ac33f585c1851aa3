//! `hash:...`: requests with the same key go to the same backend.
//!
//! Rendezvous hashing (Thaler, Ravishankar 1998), with weights (Schindelhauer, Schomaker 2005): each backend gets a score
//! from the key and its address, and the highest score wins. When a backend goes, only its own keys move. A key whose
//! backend has too many requests in flight goes to the backend with the next score (Mirrokni, Thorup, Zadimoghaddam 2016:
//! "consistent hashing with bounded loads").
use std::sync::Arc;

use super::candidates::{Candidate, Candidates};
use crate::cluster::backend::Backend;
use crate::cluster::chance::{mix, uniform};

/// A backend may have this many percent of its fair share of the requests in flight.
const LOAD_MAX_PERCENT: u64 = 125;

pub(super) fn pick<'a>(candidates: &Candidates<'a>, key: u64) -> Option<&'a Arc<Backend>> {
    let (mut in_flight, mut weights) = (1, 0);
    for candidate in candidates.iter() {
        in_flight += u64::from(candidate.backend.in_flight());
        weights += u64::from(candidate.weight);
    }
    // in flight < LOAD_MAX_PERCENT / 100 * sum * weight / weights, rounded up
    let has_room = |candidate: &Candidate<'a>| {
        let share = LOAD_MAX_PERCENT * in_flight * u64::from(candidate.weight);
        u64::from(candidate.backend.in_flight()) * 100 * weights < share
    };
    let mut best: Option<(f64, &'a Arc<Backend>)> = None;
    for candidate in candidates.iter().filter(has_room) {
        let score = score(key, &candidate);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, candidate.backend));
        }
    }
    // Another worker may begin requests between the two passes. Then no backend may seem to have room.
    best.map(|(_, backend)| backend).or_else(|| candidates.iter().next().map(|candidate| candidate.backend))
}

/// Returns the logarithm of a uniform number, divided by the weight.
fn score(key: u64, candidate: &Candidate<'_>) -> f64 {
    uniform(mix(key ^ candidate.backend.hash())).ln() / f64::from(candidate.weight)
}
