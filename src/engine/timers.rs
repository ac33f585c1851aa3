//! Exact timers for delayed answers. Ordinary deadlines are checked by the sweep.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// The times at which clients' connections must run, with the clients' descriptors, soonest first.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, usize)>>);

impl Timers {
    /// Adds a timer; true when the new timer ends before all other timers.
    pub(super) fn add(&mut self, at: Instant, client: usize) -> bool {
        let first = self.0.peek().is_none_or(|Reverse((soonest, _))| at < *soonest);
        self.0.push(Reverse((at, client)));
        first
    }

    /// The time until the next timer ends, at most `most`.
    pub(super) fn until_next(&self, now: Instant, most: Duration) -> Duration {
        let next = self.0.peek().map(|Reverse((at, _))| at.saturating_duration_since(now));
        next.map_or(most, |wait| wait.min(most))
    }

    /// Takes out one timer that has ended, and returns the client's descriptor.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<usize> {
        self.0.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.0.pop().map(|Reverse((_, client))| client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_in_order_and_on_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        assert_eq!(timers.until_next(start, at(9) - start), at(9) - start);
        assert_eq!([timers.add(at(5), 1), timers.add(at(7), 2), timers.add(at(3), 3)], [true, false, true]);
        assert_eq!(timers.until_next(at(1), at(9) - start), at(2) - start);
        assert_eq!(timers.take_due(at(2)), None);
        assert_eq!(
            [timers.take_due(at(6)), timers.take_due(at(6)), timers.take_due(at(6))],
            [Some(3), Some(1), None]
        );
    }
}
