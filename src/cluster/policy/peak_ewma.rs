//! `peak-ewma`: the backend with the least expected wait: latency x (requests in flight + 1) / weight.
//!
//! The latency of a backend is a moving average that follows a rise at once and a fall slowly, as in Finagle's load
//! balancer "Peak EWMA". A failed attempt counts as slow, so that a backend that fails fast attracts nobody. Without new
//! samples, what is known of a backend fades towards the least latency of a backend. So a backend that was slow is tried
//! again, also when there is little load: the mean would contain its own latency.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::candidates::{Candidate, Candidates};
use super::least_requests::least;
use crate::cluster::backend::Backend;
use crate::cluster::chance::Random;
use crate::cluster::latency::passed_ms;

/// Time without a sample after which a sixteenth of the difference from the least latency is left; after ten times as long,
/// a 15,000th. So a latency of a second does not outlast ten seconds beside backends that take milliseconds.
const FADE_MS: f32 = 1_000.0;
/// Steps of a microsecond in the integer cost.
const STEPS: f32 = 16.0;

/// Picks with the least latency that the last pick has found, so that one look at the candidates is enough. `least_latency`
/// holds the bits of an f32 of microseconds; 0 before the first sample.
pub(super) fn pick<'a>(
    candidates: &Candidates<'a>,
    least_latency: &AtomicU32,
    random: impl FnOnce() -> Random,
) -> Option<&'a Arc<Backend>> {
    let before = least_latency.load(Relaxed);
    let neutral = f32::from_bits(before).max(1.0);
    let now_ms = candidates.now_ms as u32;
    let mut lowest = f32::INFINITY;
    let cost = |candidate: &Candidate<'a>| {
        let expected = candidate.backend.latency().get().map_or(neutral, |(latency, at)| {
            lowest = lowest.min(latency);
            let left = FADE_MS / (FADE_MS + passed_ms(at, now_ms));
            neutral + (latency - neutral) * (left * left) * (left * left)
        });
        u64::from((expected * STEPS) as u32) * (u64::from(candidate.backend.in_flight()) + 1)
    };
    let picked = least(candidates, cost, random);
    if lowest < f32::INFINITY && lowest.to_bits() != before {
        least_latency.store(lowest.to_bits(), Relaxed);
    }
    picked
}
