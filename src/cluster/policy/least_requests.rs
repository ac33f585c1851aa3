//! `least-requests`: the backend with the fewest requests in flight for its weight; among equals, a random one.
//!
//! All candidates are compared. The random choice among equals matters: without it all workers would pick the same idle
//! backend. Heavier backends are more likely, so shares follow the weights even when every backend is idle.
use std::cmp::Ordering;
use std::sync::Arc;

use super::candidates::{Candidate, Candidates};
use crate::cluster::backend::{Backend, WEIGHT_PARTS};
use crate::cluster::chance::Random;

/// Number of backends in a block: one bit each.
const BLOCK: usize = u64::BITS as usize;

pub(super) fn pick<'a>(candidates: &Candidates<'a>, random: impl Fn() -> Random) -> Option<&'a Arc<Backend>> {
    least(candidates, load, random)
}

/// Returns the load that `least-requests` compares.
pub(super) fn load(candidate: &Candidate<'_>) -> u64 {
    u64::from(candidate.backend.in_flight())
}

/// Compares load / weight of two candidates, in nearly all cases without a division or a product.
pub(super) fn compare((load, weight): (u64, u32), (other, other_weight): (u64, u32)) -> Ordering {
    if weight == other_weight {
        return load.cmp(&other);
    }
    (u128::from(load) * u128::from(other_weight)).cmp(&(u128::from(other) * u128::from(weight)))
}

/// Returns the candidate with the least load for its weight; of equals, one in proportion to the weights.
///
/// One pass looks at every backend and notes equals as bits, a block at a time. Random numbers are drawn only for equals: one
/// for each block with equals, and one within the block.
#[inline]
pub(super) fn least<'a>(
    candidates: &Candidates<'a>,
    mut load: impl FnMut(&Candidate<'a>) -> u64,
    random: impl Fn() -> Random,
) -> Option<&'a Arc<Backend>> {
    let backends = candidates.members.backends();
    let mut known = None;
    let mut below = |n| known.get_or_insert_with(&random).below(n);
    // Every load is less than this one, and no weight is 0.
    let mut least = (u64::MAX, 1);
    // The picked block with its equals, and the sum of the weights of all equals so far.
    let (mut picked, mut sum) = (Equals::default(), 0);
    let mut start = 0;
    while start < backends.len() {
        let block = &backends[start..backends.len().min(start + BLOCK)];
        let (mut bit, mut bits, mut weights) = (1, 0, 0);
        for backend in block {
            if let Some(candidate) = candidates.candidate(backend) {
                let mine = (load(&candidate), candidate.weight);
                match compare(mine, least) {
                    Ordering::Less => (least, bits, weights, sum) = (mine, bit, u64::from(mine.1), 0),
                    Ordering::Equal => (bits, weights) = (bits | bit, weights + u64::from(mine.1)),
                    Ordering::Greater => {}
                }
            }
            bit <<= 1;
        }
        sum += weights;
        if bits != 0 && (sum == weights || below(sum) < weights) {
            picked = Equals { start, bits, weights };
        }
        start += BLOCK;
    }
    match picked.bits {
        0 => None,
        _ => backends.get(picked.draw(candidates, below)),
    }
}

/// Candidates of one block that have the same load for their weight.
#[derive(Default)]
struct Equals {
    /// The place of the block's first backend.
    start: usize,
    bits: u64,
    /// The sum of their weights.
    weights: u64,
}

impl Equals {
    /// Draws one of them in proportion to the weights. Returns its place. `below` makes a random number below a number.
    fn draw(mut self, candidates: &Candidates<'_>, mut below: impl FnMut(u64) -> u64) -> usize {
        let rest = |bits: u64| bits & (bits - 1);
        let place = |bits: u64| self.start + bits.trailing_zeros() as usize;
        if rest(self.bits) == 0 {
            return place(self.bits);
        }
        // No weight is higher than the highest configured one. So all are equal when the sum is that of so many highest ones.
        let count = u64::from(self.bits.count_ones());
        if self.weights == count * u64::from(candidates.members.weight_max()) * u64::from(WEIGHT_PARTS) {
            (0..below(count)).for_each(|_| self.bits = rest(self.bits));
            return place(self.bits);
        }
        let mut level = below(self.weights);
        let backends = candidates.members.backends();
        loop {
            let weight = candidates.candidate(&backends[place(self.bits)]).map_or(0, |one| one.weight.into());
            // A weight may have changed since. Then the last one stands.
            if level < weight || rest(self.bits) == 0 {
                return place(self.bits);
            }
            (level, self.bits) = (level - weight, rest(self.bits));
        }
    }
}
