//! Passive health checks: the ends of a backend's attempts decide whether the backend may get a request.
//!
//! Two rules eject a backend:
//! - **One failed connect.** A dead backend refuses at once, so a dead backend always has the fewest requests in
//!   flight. Without the ejection the least-requests policy would send every request to the dead backend.
//! - **[`SILENCES_MAX`] attempts in a row without a timely response.** A single timeout proves little: one slow
//!   endpoint of a healthy backend causes a timeout too. Each whole response resets the count. So a slow resource does
//!   not eject a backend that still answers other requests. (nginx has `max_fails`, Envoy
//!   `consecutive_gateway_failure`.)
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Duration of an ejection. So a dead backend costs one failed connect per second, and a restarted backend gets
/// requests within a second.
pub const EJECTED_FOR: Duration = Duration::from_secs(1);

/// Number of attempts in a row without a timely response that eject a backend.
pub const SILENCES_MAX: u32 = 3;

/// The health of one backend. The loads and stores are relaxed: a worker that sees an ejection late makes one more
/// failed attempt.
#[derive(Debug)]
pub(super) struct Health {
    /// The end of the last ejection in milliseconds since `epoch`; 0 after a response.
    ejected_until: AtomicU64,
    /// Number of attempts in a row without a timely response.
    silences: AtomicU32,
    epoch: Instant,
}

impl Health {
    /// Makes the health of a new backend, which may get requests.
    pub(super) fn new(epoch: Instant) -> Self {
        Health { ejected_until: AtomicU64::new(0), silences: AtomicU32::new(0), epoch }
    }

    /// True when the backend may get a request. After an ejection for silence, the backend gets one request at a time
    /// until it responds. Each of these requests may wait for the whole response timeout.
    pub(super) fn is_healthy(&self, now: Instant, in_flight: impl FnOnce() -> u32) -> bool {
        let until = self.ejected_until();
        let ended = || self.since_epoch(now) >= until;
        until == 0 || (ended() && (self.silences.load(Relaxed) < SILENCES_MAX || in_flight() == 0))
    }

    /// Ejects the backend.
    pub(super) fn eject(&self, now: Instant) {
        self.ejected_until.store(self.since_epoch(now + EJECTED_FOR), Relaxed);
    }

    /// Counts an attempt without a timely response.
    pub(super) fn count_silence(&self, now: Instant) {
        if self.silences.fetch_add(1, Relaxed) + 1 >= SILENCES_MAX {
            self.eject(now);
        }
    }

    /// Ends an ejection. Loads before it stores, because `restore` runs on every response and all workers share the
    /// cache line.
    pub(super) fn restore(&self) {
        if self.silences.load(Relaxed) != 0 {
            self.silences.store(0, Relaxed);
        }
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
        assert!(health.is_healthy(at(0), || 0));
        // ejected at, restored, asked at, healthy
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
            assert_eq!(
                health.is_healthy(at(asked), || 9),
                healthy,
                "ejected at {eject} ms, asked at {asked} ms"
            );
        }
    }

    #[test]
    fn silences_in_a_row_eject_and_a_response_starts_the_count_anew() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let health = Health::new(epoch);
        for _ in 0..10 {
            for _ in 1..SILENCES_MAX {
                health.count_silence(epoch);
                assert!(health.is_healthy(epoch, || 9));
            }
            health.restore();
        }
        for _ in 0..SILENCES_MAX {
            health.count_silence(epoch);
        }
        assert!(!health.is_healthy(at(999), || 0));
        assert!(health.is_healthy(at(1000), || 0), "no probe");
        assert!(!health.is_healthy(at(1000), || 1), "two probes at a time");
        health.count_silence(at(1000));
        assert!(!health.is_healthy(at(1999), || 0) && health.is_healthy(at(2000), || 0));
        health.restore();
        assert!(health.is_healthy(at(1000), || 9));
    }
}
