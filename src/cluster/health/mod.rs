//! The health of a backend: which results eject a backend, and for how long.
//!
//! | what | ejects | file |
//! |---|---|---|
//! | a failed connect | at once: a dead backend refuses at once, so it always has the fewest requests in flight | here |
//! | [`SILENCES_MAX`] attempts in a row without a timely response | a single timeout proves little: one slow endpoint of a healthy backend causes one too | here |
//! | failed responses, many more than at the other backends | a request that fails everywhere ejects nobody | `outliers` |
//! | failed active checks | until checks pass again; a response does not undo it | `active` |
//!
//! An ejection lasts for [`HealthSettings::ejection`], and twice as long each time that the backend fails again. When the
//! ejection has ended, the backend gets one request at a time until a request works. Then its share grows to the full
//! share within [`HealthSettings::slow_start`].
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::settings::HealthSettings;

pub(crate) mod active;
#[cfg(test)]
mod tests;
pub(crate) mod window;

/// Number of attempts in a row without a timely response that eject a backend. (nginx has `max_fails`, Envoy
/// `consecutive_gateway_failure`.)
pub const SILENCES_MAX: u32 = 3;

/// The phase of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The backend gets its share of the requests.
    Healthy,
    /// The backend gets no request.
    Ejected,
    /// The ejection has ended. The backend gets one request at a time until a request works.
    Probing,
}

/// The health of one backend, without active checks. All times are milliseconds since the epoch of the cluster. The
/// loads and stores are relaxed: a worker that sees an ejection late makes one more failed attempt.
// The order is that of the fields' use: a pick reads the first two.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Health {
    /// The end of the last ejection; 0 after a response.
    ejected_until: AtomicU64,
    /// The start of the slow start; 0 without a slow start.
    returned_at: AtomicU64,
    /// Number of attempts in a row without a timely response.
    silences: AtomicU32,
    /// Number of ejections in a row.
    ejections: AtomicU32,
    /// The start of the last ejection.
    ejected_at: AtomicU64,
    /// The last return after an ejection.
    last_return: AtomicU64,
}

impl Health {
    /// Returns the phase. Costs one load while the backend is healthy.
    pub(super) fn phase(&self, now_ms: u64) -> Phase {
        match self.ejected_until.load(Relaxed) {
            0 => Phase::Healthy,
            until if now_ms < until => Phase::Ejected,
            _ => Phase::Probing,
        }
    }

    /// True when the backend is healthy and gets its full share.
    pub(super) fn is_calm(&self) -> bool {
        self.ejected_until.load(Relaxed) | self.returned_at.load(Relaxed) == 0
    }

    /// Returns the share of its weight that the backend gets: `parts` outside of a slow start, at least 1.
    pub(super) fn share_of(&self, parts: u32, now_ms: u64, slow_start: Duration) -> u32 {
        let returned_at = self.returned_at.load(Relaxed);
        if returned_at == 0 {
            return parts;
        }
        let (passed, whole) = (now_ms.saturating_sub(returned_at), slow_start.as_millis() as u64);
        if passed >= whole {
            self.returned_at.store(0, Relaxed);
            return parts;
        }
        // The first moment counts as a tenth, or else the share would begin at nothing.
        (u64::from(parts) * (passed + whole / 10).min(whole) / whole).max(1) as u32
    }

    /// Ejects the backend. Failures of requests that were in flight at an ejection do not prolong it.
    pub(super) fn eject(&self, now_ms: u64, settings: &HealthSettings) {
        if self.phase(now_ms) == Phase::Ejected {
            return;
        }
        let until = self.ejected_until.load(Relaxed).max(self.last_return.load(Relaxed));
        let calm = until + settings.ejection_max.as_millis() as u64;
        let earlier = if now_ms > calm { 0 } else { self.ejections.load(Relaxed) };
        let longer = settings.ejection.saturating_mul(1 << earlier.min(16)).min(settings.ejection_max);
        self.ejections.store(earlier + 1, Relaxed);
        self.ejected_at.store(now_ms, Relaxed);
        self.returned_at.store(0, Relaxed);
        self.ejected_until.store((now_ms + longer.as_millis() as u64).max(1), Relaxed);
    }

    /// Counts an attempt without a timely response. True when the attempts in a row are enough for an ejection.
    pub(super) fn count_silence(&self) -> bool {
        self.silences.fetch_add(1, Relaxed) + 1 >= SILENCES_MAX
    }

    /// True when a good response changes something. This question is asked after every response. It only loads, because all
    /// workers share the cache line.
    #[inline]
    pub(super) fn has_troubles(&self) -> bool {
        self.ejected_until.load(Relaxed) | u64::from(self.silences.load(Relaxed)) != 0
    }

    /// Notes a good response to a request that began at `started_ms`. A request that began before the ejection proves
    /// nothing. True when the backend returns.
    pub(super) fn note_success(&self, started_ms: u64, now_ms: u64) -> bool {
        self.silences.store(0, Relaxed);
        let returns = self.ejected_until.load(Relaxed) != 0 && started_ms >= self.ejected_at.load(Relaxed);
        if returns {
            let now_ms = now_ms.max(1);
            self.returned_at.store(now_ms, Relaxed);
            self.last_return.store(now_ms, Relaxed);
            self.ejected_until.store(0, Relaxed);
        }
        returns
    }

    /// True while the backend is ejected or probed.
    pub(super) fn is_disturbed(&self) -> bool {
        self.ejected_until.load(Relaxed) != 0
    }
}
