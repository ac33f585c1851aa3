//! The traffic of the last minutes, one entry a second, for the charts of the status page.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::observe::requests::Requests;

/// Number of entries that are kept: five minutes.
const KEPT: usize = 300;
/// Time between two entries.
const STEP: Duration = Duration::from_secs(1);

/// The traffic of one second.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
pub struct Second {
    /// Requests that ended, per second.
    pub requests_per_s: f64,
    /// Requests that failed, per second.
    pub failed_per_s: f64,
    /// 99 % of the requests took at most so many milliseconds; null without a request.
    pub p99_ms: Option<f64>,
}

/// The traffic of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Past {
    last: Option<(Instant, Requests)>,
    seconds: VecDeque<Second>,
}

impl Past {
    /// Takes note of all requests so far. Does nothing when the last note is less than a second old.
    pub(super) fn note(&mut self, total: &Requests, now: Instant) {
        if let Some((then, before)) = &self.last {
            let passed = now.saturating_duration_since(*then);
            if passed < STEP {
                return;
            }
            let per_second = |new: u64, old: u64| new.saturating_sub(old) as f64 / passed.as_secs_f64();
            let second = Second {
                requests_per_s: per_second(total.total(), before.total()),
                failed_per_s: per_second(total.failed(), before.failed()),
                p99_ms: total.durations.since(&before.durations).quantile(0.99).map(ms),
            };
            self.seconds.push_back(second);
            if self.seconds.len() > KEPT {
                self.seconds.pop_front();
            }
        }
        self.last = Some((now, total.clone()));
    }

    /// Returns the entries, the oldest first.
    pub(super) fn seconds(&self) -> Vec<Second> {
        self.seconds.iter().copied().collect()
    }
}

/// Returns a duration in milliseconds.
pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::requests::RequestEnd;

    #[test]
    fn each_second_is_the_difference_of_two_notes() {
        let start = Instant::now();
        let (mut past, mut total) = (Past::default(), Requests::default());
        past.note(&total, start);
        let add = |total: &mut Requests, status| {
            total.add(Some(status), RequestEnd::Complete, Some(Duration::from_millis(2)));
        };
        (0..10).for_each(|_| add(&mut total, 200));
        past.note(&total, start + STEP / 2);
        assert_eq!(past.seconds(), []);
        add(&mut total, 503);
        past.note(&total, start + 2 * STEP);
        past.note(&total, start + 3 * STEP);
        let busy = Second { requests_per_s: 5.5, failed_per_s: 0.5, p99_ms: Some(2.5) };
        let idle = Second { requests_per_s: 0.0, failed_per_s: 0.0, p99_ms: None };
        assert_eq!(past.seconds(), [busy, idle]);
        (4..1000).for_each(|n| past.note(&total, start + n * STEP));
        assert_eq!(past.seconds().len(), KEPT);
    }
}
