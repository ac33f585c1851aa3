//! `peak-ewma`: the backend with the least expected wait: latency x (requests in flight + 1) / weight.
//!
//! The latency of a backend is a moving average that follows a rise at once and a fall slowly, as in Finagle's load
//! balancer "Peak EWMA". A failed attempt counts as slow, so that a backend that fails fast attracts nobody. Without new
//! samples, what is known of a backend fades towards the mean of all backends. So a backend that was slow is tried again.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::candidates::{Candidate, Candidates};
use super::least_requests::least;
use crate::cluster::backend::Backend;
use crate::cluster::chance::Random;

/// Time without a sample after which half of the difference from the mean is forgotten.
const FADE_MS: f32 = 10_000.0;
/// Steps of a microsecond in the integer cost.
const STEPS: f32 = 16.0;

/// Picks with the mean latency that the last pick has found, so that one look at the candidates is enough. `mean` holds the
/// bits of an f32 of microseconds; 0 before the first sample.
pub(super) fn pick<'a>(
    candidates: &Candidates<'a>,
    mean: &AtomicU32,
    random: impl FnOnce() -> Random,
) -> Option<&'a Arc<Backend>> {
    let before = mean.load(Relaxed);
    let expected = f32::from_bits(before).max(1.0);
    let now_ms = candidates.now_ms as u32;
    let (mut count, mut sum) = (0_u32, 0.0);
    let cost = |candidate: &Candidate<'a>| {
        let expected = candidate.backend.latency().get().map_or(expected, |(latency, at)| {
            (count, sum) = (count + 1, sum + latency);
            let passed = now_ms.wrapping_sub(at) as f32;
            expected + (latency - expected) * (FADE_MS / (FADE_MS + passed))
        });
        u64::from((expected * STEPS) as u32) * (u64::from(candidate.backend.in_flight()) + 1)
    };
    let picked = least(candidates, cost, random);
    let after = (sum / count as f32).to_bits();
    if count > 0 && after != before {
        mean.store(after, Relaxed);
    }
    picked
}
