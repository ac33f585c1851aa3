//! Outliers: backends whose responses fail much more often than those of the other backends.
//!
//! A response fails when its status is 500, 502, 503 or 504, and when its connection breaks. Such failures eject a backend
//! only when the other backends fail less. So a request that fails everywhere ejects nobody. Only failures do work here:
//! a response that is good costs nothing.
use std::sync::Arc;

use super::backend::Backend;

/// Failures in a window from which on a backend may be an outlier.
const FAILURES_MIN: u64 = 5;
/// A backend is an outlier when its share of failures exceeds the mean of the others twice, plus this share.
const MARGIN: f64 = 0.25;
/// A window is closed after a second when the cluster had this many answers per backend, and in any case after
/// [`WINDOW_MAX_MS`].
const ANSWERS_MIN: u64 = 20;
const WINDOW_MS: u64 = 1_000;
const WINDOW_MAX_MS: u64 = 10_000;

/// Counts a failed response of `backend`, which is one of `backends` and whose attempt is already counted as ended. True
/// when the backend is an outlier. `since_ms` is the start of the current window.
pub(super) fn note(backend: &Backend, backends: &[Arc<Backend>], since_ms: &mut u64, now_ms: u64) -> bool {
    renew(backends, since_ms, now_ms);
    if backend.window().count_failure() < FAILURES_MIN {
        return false;
    }
    let others = backends.iter().filter(|other| other.id() != backend.id() && !other.is_out());
    let (mut count, mut sum) = (0.0, 0.0);
    for share in others.filter_map(|other| other.window().failed_share(other.ended())) {
        (count, sum) = (count + 1.0, sum + share);
    }
    let share = backend.window().failed_share(backend.ended());
    share.is_some_and(|share| count > 0.0 && share > 2.0 * sum / count + MARGIN)
}

/// Begins a new window for all backends when the current window is old.
fn renew(backends: &[Arc<Backend>], since_ms: &mut u64, now_ms: u64) {
    let age = now_ms.saturating_sub(*since_ms);
    let answers = || backends.iter().map(|backend| backend.window().answers(backend.ended())).sum::<u64>();
    let enough = || answers() >= ANSWERS_MIN * backends.len() as u64;
    if age >= WINDOW_MAX_MS || (age >= WINDOW_MS && enough()) {
        *since_ms = now_ms;
        backends.iter().for_each(|backend| backend.window().begin(backend.ended()));
    }
}
