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

/// Time without a sample after which a sixteenth of the difference from the least latency is left: (1 + t / 1 s)^-4. After
/// [`STEPS`] steps nothing is left.
const FADE_MS: u64 = 1_000;
const STEP_MS: i32 = 16;
const STEPS: usize = 512;
/// The part that is left after each step, in parts of 1/65536: a pick divides nothing.
static FADES: [u32; STEPS] = fades();

const fn fades() -> [u32; STEPS] {
    let (mut fades, mut step) = ([0; STEPS], 0);
    while step < STEPS {
        let root = FADE_MS * 65_536 / (FADE_MS + step as u64 * STEP_MS as u64);
        let square = (root * root) >> 16;
        fades[step] = ((square * square) >> 16) as u32;
        step += 1;
    }
    fades
}

/// Picks with the least latency that the last pick has found, so that one look at the candidates is enough.
/// `least_latency` is in the unit of [`Latency::get`](crate::cluster::latency::Latency::get); 0 before the first sample.
#[inline(never)] // The loop then has the registers for itself.
pub(super) fn pick<'a>(
    candidates: &Candidates<'a>,
    least_latency: &AtomicU32,
    random: impl Fn() -> Random,
) -> Option<&'a Arc<Backend>> {
    let before = least_latency.load(Relaxed);
    let neutral = before.max(1);
    let now_ms = candidates.now_ms() as u32;
    let mut lowest = u32::MAX;
    let cost = |candidate: &Candidate<'a>| {
        let expected = candidate.backend.latency().get().map_or(neutral, |(latency, at)| {
            if latency < lowest {
                lowest = seldom(latency);
            }
            match passed_ms(at, now_ms) {
                ..STEP_MS => latency,
                passed => faded(latency, neutral, left(passed)),
            }
        });
        u64::from(expected) * (u64::from(candidate.backend.in_flight()) + 1)
    };
    let picked = least(candidates, cost, random);
    if lowest < u32::MAX && lowest != before {
        least_latency.store(lowest, Relaxed);
    }
    picked
}

/// Returns its argument. It marks the branch that calls it as seldom taken, so that the branch stays one. A minimum without a
/// branch would make each backend wait for the one before it.
#[cold]
#[inline(never)]
fn seldom(latency: u32) -> u32 {
    latency
}

/// Returns the part that is left after this time, in parts of 1/65536. The time is not negative.
fn left(passed_ms: i32) -> u32 {
    FADES.get((passed_ms / STEP_MS) as usize).copied().unwrap_or(0)
}

/// Returns the latency of which `left` parts of 1/65536 are left; the rest has become `neutral`.
fn faded(latency: u32, neutral: u32, left: u32) -> u32 {
    let difference = i64::from(latency) - i64::from(neutral);
    (i64::from(neutral) + ((difference * i64::from(left)) >> 16)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_fades_to_a_sixteenth_within_a_second() {
        // steps, parts of 1/65536 that are left
        for (step, left) in [(0, 65_536), (1, 61_501), (62, 4_194), (63, 4_095), (187, 261), (511, 13)] {
            assert!(FADES[step].abs_diff(left) <= 110, "{step}: {}", FADES[step]);
        }
        assert!(FADES.windows(2).all(|pair| pair[0] >= pair[1]));
        // latency, neutral, parts left, expected
        for (latency, neutral, left, expected) in [
            (1000, 10, 65_536, 1000),
            (1000, 10, 0, 10),
            (10, 1000, 32_768, 505),
            (u32::MAX, 1, 65_536, u32::MAX),
            (1, u32::MAX, 0, u32::MAX),
        ] {
            assert_eq!(faded(latency, neutral, left), expected, "{latency} {neutral} {left}");
        }
    }
}
