//! `round-robin`: the backends take turns, in proportion to their weights.
//!
//! A fair queue in virtual time (Demers, Keshav, Shenker 1989; the rule for late comers is that of start-time fair
//! queueing: Goyal, Vin, Cheng 1996). Each pick moves its backend forward by a stride, which is small for a large weight.
//! The next pick is the backend that is the least far on. So turns are exact, and a heavy backend's turns lie apart.
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::candidates::{Candidate, Candidates};
use crate::cluster::backend::Backend;

/// The stride of a candidate with weight 1 (of [`Candidate::weight`], which counts in small parts).
const STRIDE: u64 = 1 << 30;

/// How often a pick is repeated when other workers pick at the same moment. After it the pick stands, and the turns are
/// not exact.
const REPEATS_MAX: u32 = 4;

/// Picks the backend whose turn it is. `clock` is the virtual time of the cluster.
pub(super) fn pick<'a>(candidates: &Candidates<'a>, clock: &AtomicU64) -> Option<&'a Arc<Backend>> {
    for _ in 0..REPEATS_MAX {
        let now = clock.load(Relaxed);
        let (candidate, start, stride) = next(candidates, now)?;
        let turn = candidate.backend.turn();
        let before = turn.load(Relaxed);
        if turn.compare_exchange(before, start.max(before) + stride, Relaxed, Relaxed).is_ok() {
            clock.fetch_max(start, Relaxed);
            return Some(candidate.backend);
        }
    }
    next(candidates, clock.load(Relaxed)).map(|(candidate, ..)| candidate.backend)
}

/// Returns the candidate whose turn has the earliest middle, with the start of the turn and its stride.
fn next<'a>(candidates: &Candidates<'a>, now: u64) -> Option<(Candidate<'a>, u64, u64)> {
    let mut earliest: Option<(Candidate<'a>, u64, u64)> = None;
    // The last weight and its stride: a division costs more than all the rest.
    let (mut weight, mut stride) = (1, STRIDE);
    for candidate in candidates.iter() {
        if candidate.weight != weight {
            (weight, stride) = (candidate.weight, STRIDE / u64::from(candidate.weight));
        }
        // A backend that was away does not get the turns that it has missed, except for one.
        let start = candidate.backend.turn().load(Relaxed).max(now.saturating_sub(stride));
        let middle = start + stride / 2;
        if earliest.is_none_or(|(_, start, stride)| middle < start + stride / 2) {
            earliest = Some((candidate, start, stride));
        }
    }
    earliest
}
