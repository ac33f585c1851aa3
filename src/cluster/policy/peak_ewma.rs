//! `peak-ewma`: the backend with the least expected wait: latency x (requests in flight + 1) / weight.
//!
//! The latency of a backend is a moving average that follows a rise at once and a fall slowly, as in Finagle's load
//! balancer "Peak EWMA". A failed attempt counts as slow, so that a backend that fails fast attracts nobody. Without new
//! samples, what is known of a backend fades towards the mean of all backends. So a backend that was slow is tried again.
use std::sync::Arc;

use super::candidates::{Candidate, Candidates};
use super::least_requests;
use crate::cluster::backend::Backend;
use crate::cluster::chance::Random;

/// Time without a sample after which half of the difference from the mean is forgotten.
const FADE_MS: f32 = 10_000.0;
/// Steps of a microsecond in the integer cost.
const STEPS: f32 = 16.0;

pub(super) fn pick<'a>(
    candidates: &Candidates<'a>,
    now_ms: u64,
    mut random: Random,
) -> Option<&'a Arc<Backend>> {
    let known = |candidate: &Candidate<'a>| candidate.backend.latency().get();
    let (count, sum) = candidates
        .iter()
        .filter_map(|candidate| known(&candidate))
        .fold((0.0, 0.0), |(count, sum), (latency, _)| (count + 1.0, sum + latency));
    let mean: f32 = if count > 0.0 { sum / count } else { 1.0 };
    let costs = candidates.iter().map(|candidate| {
        let expected = known(&candidate).map_or(mean, |(latency, at)| {
            let passed = (now_ms as u32).wrapping_sub(at) as f32;
            mean + (latency - mean) * (FADE_MS / (FADE_MS + passed))
        });
        let cost = (expected * STEPS) as u64 * (u64::from(candidate.backend.in_flight()) + 1);
        (candidate, cost)
    });
    least_requests::least(costs, &mut random)
}
