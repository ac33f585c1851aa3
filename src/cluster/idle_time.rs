//! The time after which a backend closes a connection without a request. It is learnt from such closes.
//!
//! - A sample is the time for which a connection was idle when the backend closed it. A sample below [`SAMPLE_MIN`] does
//!   not count: the connection was hardly idle.
//! - The learnt time is the smallest sample.
//! - The learnt time grows by half when no sample near it came for twice this time, and for at least [`GROWS_AFTER`]. So
//!   one early close is forgotten. When the learnt time has become too long, the next closes make it short again.
//! - Closes within one [`MOMENT`] belong together. When they leave no parked connection, and their samples differ by more
//!   than a quarter, the backend has restarted. Then they teach nothing, because a time limit closes connections of equal
//!   idle time.
//! - A close below [`SAMPLE_MIN`] says that the backend closes connections right after a response, for example after a
//!   number of requests, or that it has restarted. This is known for [`EARLY_FOR`].
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

/// The least idle time that is a sample.
const SAMPLE_MIN: Duration = Duration::from_millis(10);
/// The least time after which the learnt time grows.
const GROWS_AFTER: Duration = Duration::from_secs(10);
/// The time for which an early close is known.
const EARLY_FOR: Duration = Duration::from_secs(10);
/// The time in which a restart closes all connections of a backend, as we see it.
const MOMENT: Duration = Duration::from_millis(100);
/// The value of a learnt time that is not known, in milliseconds.
const UNKNOWN: u32 = u32::MAX;

/// The learnt time of one backend. Picking a connection costs one atomic load, or two for a request that may not
/// be repeated. Closes and sweeps take the lock.
#[derive(Debug)]
pub(super) struct IdleTime {
    /// A copy of the learnt time, for readers.
    learnt_ms: AtomicU32,
    /// The time of the last early close, plus 1; 0 without one.
    early_ms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    learnt_ms: u32,
    /// The time of the last sample near the learnt time, or of the last growth.
    confirmed_ms: u64,
    closes: Option<Closes>,
}

/// The closes of one moment.
#[derive(Debug, Clone, Copy)]
struct Closes {
    since_ms: u64,
    /// The smallest and the largest sample.
    least_ms: u32,
    most_ms: u32,
    /// No connection is parked any more.
    all: bool,
}

impl Default for IdleTime {
    fn default() -> Self {
        let state = State { learnt_ms: UNKNOWN, confirmed_ms: 0, closes: None };
        IdleTime { learnt_ms: AtomicU32::new(UNKNOWN), early_ms: AtomicU64::new(0), state: Mutex::new(state) }
    }
}

impl IdleTime {
    /// Returns the learnt time; None when nothing is known.
    pub(super) fn learnt(&self) -> Option<Duration> {
        let ms = self.learnt_ms.load(Relaxed);
        (ms != UNKNOWN).then(|| Duration::from_millis(ms.into()))
    }

    /// True when the backend has closed a connection right after a response lately.
    pub(super) fn closes_early(&self, now_ms: u64) -> bool {
        let early_ms = self.early_ms.load(Relaxed);
        early_ms != 0 && now_ms < early_ms + ms(EARLY_FOR)
    }

    /// Notes that the backend has closed a connection that was idle for `idle`. `parked` is the number of connections that
    /// are still parked; None when it is not known.
    pub(super) fn note_close(&self, idle: Duration, parked: Option<usize>, now_ms: u64) {
        if idle < SAMPLE_MIN {
            self.early_ms.store(now_ms + 1, Relaxed);
        }
        let mut state = self.state.lock();
        state.settle(now_ms);
        state.add(idle.as_millis().min(u128::from(UNKNOWN)) as u32, parked, now_ms);
        self.learnt_ms.store(state.learnt_ms, Relaxed);
    }

    /// Counts the closes of a moment that is over, and lets an old learnt time grow. Call it now and then.
    pub(super) fn settle(&self, now_ms: u64) {
        let mut state = self.state.lock();
        state.settle(now_ms);
        self.learnt_ms.store(state.learnt_ms, Relaxed);
    }
}

impl State {
    fn add(&mut self, idle_ms: u32, parked: Option<usize>, now_ms: u64) {
        let one = Closes { since_ms: now_ms, least_ms: idle_ms, most_ms: idle_ms, all: false };
        let closes = self.closes.get_or_insert(one);
        closes.least_ms = closes.least_ms.min(idle_ms);
        closes.most_ms = closes.most_ms.max(idle_ms);
        closes.all = parked.map_or(closes.all, |parked| parked == 0);
    }

    fn settle(&mut self, now_ms: u64) {
        let is_over = |closes: &mut Closes| now_ms.saturating_sub(closes.since_ms) >= ms(MOMENT);
        if let Some(closes) = self.closes.take_if(is_over)
            && !closes.is_restart()
            && u64::from(closes.least_ms) >= ms(SAMPLE_MIN)
        {
            self.learn(closes.least_ms, closes.since_ms);
        }
        let learnt_ms = u64::from(self.learnt_ms);
        if self.learnt_ms != UNKNOWN
            && now_ms.saturating_sub(self.confirmed_ms) >= ms(GROWS_AFTER).max(2 * learnt_ms)
        {
            self.learnt_ms = self.learnt_ms.saturating_add(self.learnt_ms / 2);
            self.confirmed_ms = now_ms;
        }
    }

    fn learn(&mut self, sample_ms: u32, at_ms: u64) {
        if is_near(sample_ms, self.learnt_ms) {
            self.confirmed_ms = at_ms;
        }
        self.learnt_ms = self.learnt_ms.min(sample_ms);
    }
}

impl Closes {
    fn is_restart(&self) -> bool {
        self.all && !is_near(self.most_ms, self.least_ms)
    }
}

/// True when the sample exceeds `learnt_ms` by at most a quarter.
fn is_near(sample_ms: u32, learnt_ms: u32) -> bool {
    sample_ms <= learnt_ms.saturating_add(learnt_ms / 4)
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes these closes: the time, the idle time, and the connections that stay parked. Returns what is learnt at `end`.
    fn learnt(closes: &[(u64, u64, Option<usize>)], end: u64) -> Option<u64> {
        let (idle_time, mut now) = (IdleTime::default(), 0);
        let sweep_until = |now: &mut u64, until| {
            while *now < until {
                idle_time.settle(*now);
                *now += 200;
            }
        };
        for &(at, idle, parked) in closes {
            sweep_until(&mut now, at);
            idle_time.note_close(Duration::from_millis(idle), parked, at);
        }
        sweep_until(&mut now, end);
        idle_time.settle(end);
        idle_time.learnt().map(|learnt| learnt.as_millis() as u64)
    }

    #[test]
    fn the_smallest_recent_idle_time_is_learnt() {
        const ONE: Option<usize> = Some(1);
        type Case<'a> = (&'a str, &'a [(u64, u64, Option<usize>)], u64, Option<u64>);
        let cases: &[Case<'_>] = &[
            ("nothing is known at first", &[], 1000, None),
            ("a moment teaches when it is over", &[(500, 100, ONE)], 599, None),
            ("one close", &[(500, 100, ONE)], 700, Some(100)),
            ("the smallest", &[(500, 100, ONE), (900, 60, ONE), (1300, 80, ONE)], 1500, Some(60)),
            ("the smallest of a moment", &[(500, 100, ONE), (550, 60, ONE), (560, 80, ONE)], 700, Some(60)),
            ("the next close ends a moment", &[(500, 100, ONE), (601, 300, ONE)], 601, Some(100)),
            ("a close without idle time", &[(500, 9, ONE)], 700, None),
            ("the last one of a single connection", &[(500, 100, Some(0))], 700, Some(100)),
            (
                "equal times are a limit, not a restart",
                &[(500, 100, ONE), (510, 120, Some(0))],
                700,
                Some(100),
            ),
            ("a restart", &[(500, 5000, Some(2)), (501, 40, ONE), (502, 700, Some(0))], 700, None),
            ("a restart with a request", &[(500, 0, None), (501, 700, Some(0)), (502, 0, None)], 700, None),
            ("different times while others stay", &[(500, 100, Some(2)), (501, 200, ONE)], 700, Some(100)),
            (
                "a restart changes nothing",
                &[(500, 400, ONE), (900, 90, ONE), (901, 20, Some(0))],
                1200,
                Some(400),
            ),
        ];
        for &(name, closes, end, expected) in cases {
            assert_eq!(learnt(closes, end), expected, "{name}");
        }
    }

    #[test]
    fn an_early_close_is_forgotten_and_a_true_limit_is_not() {
        let early = [(0, 50, Some(1))];
        // Seconds after the close, learnt time in milliseconds.
        for (seconds, expected) in [(9, 50), (11, 75), (21, 112), (31, 168), (95, 1912)] {
            assert_eq!(learnt(&early, seconds * 1000), Some(expected), "after {seconds} s");
        }
        let again: Vec<_> = (0..20).map(|n| (n * 9000, 50 + n % 10, Some(1))).collect();
        assert_eq!(learnt(&again, 180_000), Some(50), "confirmed");
        let after_growth = [(0, 50, Some(1)), (11_000, 52, Some(1))];
        assert_eq!(learnt(&after_growth, 12_000), Some(52), "grown to 75, and learnt again");
        // A long time grows later: the next close needs this time to come.
        let long = [(0, 20_000, Some(1))];
        for (seconds, expected) in [(39, 20_000), (41, 30_000)] {
            assert_eq!(learnt(&long, seconds * 1000), Some(expected), "after {seconds} s");
        }
    }

    #[test]
    fn an_early_close_is_known_for_ten_seconds() {
        // idle time of the close at 5 s in ms, time, closes early
        let cases = [(9, 5_000, true), (9, 15_000, true), (9, 15_001, false), (10, 5_000, false)];
        for (idle, now, early) in cases {
            let idle_time = IdleTime::default();
            assert!(!idle_time.closes_early(5_000));
            idle_time.note_close(Duration::from_millis(idle), Some(1), 5_000);
            assert_eq!(idle_time.closes_early(now), early, "{idle} ms, at {now}");
        }
    }
}
