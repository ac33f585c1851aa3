//! Whether a backend is worth a try, learnt from the traffic itself (passive).
//!
//! The first connect that fails is enough to eject: a dead backend refuses at once and so always has the fewest
//! requests, and without an ejection it would draw every request of the least-requests policy.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a backend is passed over when no connection to it could be had: long enough that a dead one costs
/// few retries, short enough that one that only restarted is back at once.
pub const EJECTED_FOR: Duration = Duration::from_secs(1);

/// The end of an ejection as milliseconds since `epoch`, 0 without one. Nothing else is ordered by it, so
/// relaxed loads and stores do: a worker that sees it late makes one failed connect more.
#[derive(Debug)]
pub(super) struct Health {
    epoch: Instant,
    ejected_until: AtomicU64,
}

impl Health {
    /// Healthy.
    pub(super) fn new(epoch: Instant) -> Self {
        Health { epoch, ejected_until: AtomicU64::new(0) }
    }

    pub(super) fn is_healthy(&self, now: Instant) -> bool {
        let until = self.ejected_until();
        until == 0 || self.since_epoch(now) >= until
    }

    pub(super) fn eject(&self, now: Instant) {
        self.ejected_until.store(self.since_epoch(now + EJECTED_FOR), Relaxed);
    }

    /// Looks before it writes: this runs on every success, and the line is shared by all workers.
    pub(super) fn restore(&self) {
        if self.ejected_until() != 0 {
            self.ejected_until.store(0, Relaxed);
        }
    }

    pub(super) fn ejected_until(&self) -> u64 {
        self.ejected_until.load(Relaxed)
    }

    fn since_epoch(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.epoch).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ejection_ends_by_itself_or_by_a_success() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let health = Health::new(epoch);
        assert!(health.is_healthy(at(0)));
        // eject at, restored, asked at, healthy
        let cases = [
            (0, false, 0, false),
            (0, false, 999, false),
            (0, false, 1000, true),
            (500, false, 1000, false),
            (500, false, 1499, false),
            (500, false, 1500, true),
            (500, true, 500, true),
            (86_400_000, false, 86_400_999, false),
        ];
        for (eject, restored, asked, healthy) in cases {
            health.eject(at(eject));
            if restored {
                health.restore();
            }
            assert_eq!(health.is_healthy(at(asked)), healthy, "ejected at {eject} ms, asked at {asked} ms");
        }
    }
}
