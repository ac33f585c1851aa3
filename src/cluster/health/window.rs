//! What a backend did in the current window of time.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The failed responses of one backend since the window began.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Attempts that had ended when the window began.
    before: AtomicU64,
    failures: AtomicU64,
}

impl Window {
    /// Begins a new window. `ended` is the number of all attempts that have ended so far.
    pub(crate) fn begin(&self, ended: u64) {
        self.before.store(ended, Relaxed);
        self.failures.store(0, Relaxed);
    }

    /// Counts a failed response. Returns the failures in the window.
    pub(crate) fn count_failure(&self) -> u64 {
        self.failures.fetch_add(1, Relaxed) + 1
    }

    /// Returns the attempts that have ended in the window.
    pub(crate) fn answers(&self, ended: u64) -> u64 {
        ended.saturating_sub(self.before.load(Relaxed))
    }

    /// Returns the share of failures, from 0 to 1. Without an attempt the share is unknown.
    pub(crate) fn failed_share(&self, ended: u64) -> Option<f64> {
        let (answers, failures) = (self.answers(ended), self.failures.load(Relaxed));
        (answers > 0).then(|| (failures as f64 / answers as f64).min(1.0))
    }
}
