//! The spare exchanges of a worker.

use std::time::Instant;

use super::active::Active;
use super::options::SWEEP;

/// Spares that a worker keeps although no request has needed them for long.
const KEPT: usize = 64;
/// Maximum spares of a worker.
const SPARES_MAX: usize = 1024;

/// A stack of spare exchanges. The exchange that was used last is the most likely to be in the processor's cache.
///
/// A worker with many requests in flight needs many exchanges again and again, so it keeps them. With 64 at most, one of six
/// requests of 100 connections allocated its exchange (callgrind, one worker). With the access log it allocated a note, too,
/// and a request of 1000 connections cost 7 and 8 % more CPU time than without log (thread, async), now 5 and 6 %. When the
/// load is over, half of the spares that no request has needed are freed at each look.
#[derive(Debug)]
pub(super) struct Spares<T> {
    exchanges: Vec<Box<Active<T>>>,
    /// The spares that no request has needed since the last look: the least number that was left.
    unneeded: usize,
    looked: Instant,
}

impl<T> Spares<T> {
    /// Has no spare yet.
    pub(super) fn new(now: Instant) -> Self {
        Spares { exchanges: Vec::new(), unneeded: 0, looked: now }
    }

    /// Takes the spare that was used last.
    pub(super) fn pop(&mut self) -> Option<Box<Active<T>>> {
        let spare = self.exchanges.pop();
        self.unneeded = self.unneeded.min(self.exchanges.len());
        spare
    }

    /// Keeps an exchange, or frees it when there are too many.
    pub(super) fn push(&mut self, exchange: Box<Active<T>>) {
        if self.exchanges.len() < SPARES_MAX {
            self.exchanges.push(exchange);
        }
    }

    /// Frees spares that were not needed for the time of a sweep. Call it at each wake-up.
    pub(super) fn look(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked) < SWEEP {
            return;
        }
        let freed = self.unneeded.saturating_sub(KEPT).div_ceil(2);
        self.exchanges.drain(..freed);
        (self.unneeded, self.looked) = (self.exchanges.len(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Limits;

    #[test]
    fn spares_stay_while_they_are_needed_and_go_in_halves() {
        let mut now = Instant::now();
        let mut spares = Spares::<()>::new(now);
        for _ in 0..SPARES_MAX + 1 {
            spares.push(Box::new(Active::new(&Limits::default(), now)));
        }
        // exchanges that requests need at the same time, spares after the look
        let looks = [
            (1024, 1024),
            (1000, 1024),
            (960, 1024),
            (500, 794),
            (500, 679),
            (0, 371),
            (0, 217),
            (217, 217),
            (0, 140),
            (0, 102),
            (0, 83),
            (0, 73),
            (0, 68),
            (0, 66),
            (0, 65),
            (0, 64),
            (64, 64),
            (0, 64),
        ];
        for (needed, left) in looks {
            let lent: Vec<_> = (0..needed).map(|_| spares.pop().unwrap()).collect();
            lent.into_iter().for_each(|exchange| spares.push(exchange));
            now += SWEEP;
            spares.look(now);
            assert_eq!(spares.exchanges.len(), left, "{needed}");
        }
        assert!((0..64).all(|_| spares.pop().is_some()) && spares.pop().is_none());
    }
}
