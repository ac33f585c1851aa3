//! The time, read once per wake-up.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::ClockId;

use crate::app::Moment;

/// The load of a worker between the last two readings. Time that the worker spent blocked on its channel does not
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Percent of the time in which the thread ran or waited for a CPU.
    pub ready: u64,
    /// Percent of the time in which the thread waited for a CPU.
    pub waited: u64,
}

impl Load {
    /// Percent of the time in which the thread ran.
    pub(super) fn ran(self) -> u64 {
        self.ready.saturating_sub(self.waited)
    }

    /// The mean of the loads; no load without any.
    pub(super) fn mean(loads: impl Iterator<Item = Load>) -> Load {
        let (mut sum, mut count) = (Load::default(), 0);
        for load in loads {
            sum = Load { ready: sum.ready + load.ready, waited: sum.waited + load.waited };
            count += 1;
        }
        let count = count.max(1);
        Load { ready: sum.ready / count, waited: sum.waited / count }
    }
}

/// The minimum observed time for a load. Blocked time does not count. So the observed time of a new leader is only a
/// few milliseconds of work, and would look saturated.
const OBSERVED_MIN: Duration = Duration::from_millis(50);

/// The scheduler's statistics of one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct SchedStat {
    /// Nanoseconds on a CPU.
    ran_ns: u64,
    /// Nanoseconds on a run queue.
    waited_ns: u64,
}

impl SchedStat {
    /// Reads the statistics of this thread. A kernel without /proc/thread-self/schedstat tells only the time on a CPU:
    /// then no wait for a CPU is seen.
    fn read() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Self::parse(&text).unwrap_or_else(|| {
            let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
            SchedStat { ran_ns: time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64, waited_ns: 0 }
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
        Some(SchedStat { ran_ns: numbers.next()?, waited_ns: numbers.next()? })
    }
}

/// The time that a worker's thread runs and waits for a CPU.
#[derive(Debug, Default)]
pub(super) struct RunQueueStat {
    /// The last reading.
    before: Option<(Instant, SchedStat)>,
    /// The time since the last reading in which the worker had no job.
    blocked: Duration,
    blocked_since: Option<Instant>,
}

impl RunQueueStat {
    /// Records that the worker has no job from `now` on.
    pub(super) fn block(&mut self, now: Instant) {
        self.blocked_since = Some(now);
    }

    /// Records that the worker has a job again.
    pub(super) fn resume(&mut self, now: Instant) {
        if let Some(since) = self.blocked_since.take() {
            self.blocked += now.saturating_duration_since(since);
        }
    }

    /// The load since the last reading. None on the first call and after less than [`OBSERVED_MIN`].
    pub(super) fn read(&mut self, now: Instant) -> Option<Load> {
        self.read_as(now, SchedStat::read())
    }

    fn read_as(&mut self, now: Instant, stat: SchedStat) -> Option<Load> {
        let Some((read, before)) = self.before else {
            *self = RunQueueStat { before: Some((now, stat)), ..RunQueueStat::default() };
            return None;
        };
        let observed = now.saturating_duration_since(read).saturating_sub(self.blocked);
        if observed < OBSERVED_MIN {
            return None;
        }
        *self = RunQueueStat { before: Some((now, stat)), ..RunQueueStat::default() };
        let percent = |ns: u64| (u128::from(ns) * 100 / observed.as_nanos()).min(100) as u64;
        let ran = stat.ran_ns.saturating_sub(before.ran_ns);
        let waited = stat.waited_ns.saturating_sub(before.waited_ns);
        Some(Load { ready: percent(ran + waited), waited: percent(waited) })
    }
}

/// A worker's view of the time.
#[derive(Debug)]
pub(super) struct Clock {
    now: Moment,
    /// The start of the wall-clock second of the date. The date is read again one second later.
    dated: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut clock = Clock {
            now: Moment { instant: Instant::now(), date: [b' '; 29], clients: 0 },
            dated: Instant::now(),
        };
        clock.read_date();
        clock
    }

    /// Reads the time.
    pub(super) fn tick(&mut self) {
        self.now.instant = Instant::now();
        if self.now.instant >= self.dated + Duration::from_secs(1) {
            self.read_date();
        }
    }

    /// Sets the time to the given moment. The simulation uses a clock of its own.
    pub(super) fn set(&mut self, now: Moment) {
        self.now = now;
    }

    pub(super) fn now(&self) -> Moment {
        self.now
    }

    fn read_date(&mut self) {
        let wall = SystemTime::now();
        let text = httpdate::fmt_http_date(wall);
        if let Ok(date) = text.as_bytes().try_into() {
            self.now.date = date;
        }
        let into_second = wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        self.dated = self.now.instant - Duration::from_nanos(into_second.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_are_two_numbers_of_nanoseconds() {
        for (text, expected) in
            [("12 34 5\n", Some((12, 34))), ("12", None), ("", None), ("12 x 5", None), ("-1 2 3", None)]
        {
            let parsed = SchedStat::parse(text).map(|stat| (stat.ran_ns, stat.waited_ns));
            assert_eq!(parsed, expected, "{text:?}");
        }
    }

    #[test]
    fn the_mean_load_is_over_all_workers() {
        let load = |ran, waited| Load { ready: ran + waited, waited };
        let cases = [
            (vec![], load(0, 0)),
            (vec![load(90, 3)], load(90, 3)),
            (vec![load(90, 0), load(30, 20)], load(60, 10)),
        ];
        for (loads, mean) in cases {
            assert_eq!(Load::mean(loads.iter().copied()), mean, "{loads:?}");
        }
        assert_eq!(load(60, 10).ran(), 60);
    }

    fn stat(ran_ms: u64, waited_ms: u64) -> SchedStat {
        SchedStat { ran_ns: ran_ms * 1_000_000, waited_ns: waited_ms * 1_000_000 }
    }

    #[test]
    fn the_first_reading_tells_no_load() {
        let mut run_queue = RunQueueStat::default();
        let start = Instant::now();
        assert_eq!(run_queue.read_as(start, stat(900, 900)), None);
        let later = start + Duration::from_millis(200);
        assert_eq!(run_queue.read_as(later, stat(1000, 950)), Some(Load { ready: 75, waited: 25 }));
    }

    #[test]
    fn time_blocked_on_the_channel_is_no_idle_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        // blocked, now, ran, waited (all in ms), load in percent
        let cases = [
            (0, 200, 150, 20, Some((85, 10))),
            (100, 200, 90, 10, Some((100, 10))),
            // Most of the wait for a CPU came with the wake-up from the channel.
            (100, 200, 90, 60, Some((100, 60))),
            (900, 1000, 50, 0, Some((50, 0))),
            // Too short for a load.
            (990, 1000, 10, 0, None),
            (151, 200, 40, 9, None),
        ];
        for (blocked, now, ran, waited, load) in cases {
            let mut run_queue = RunQueueStat::default();
            run_queue.read_as(start, stat(0, 0));
            run_queue.block(at(10));
            run_queue.resume(at(10 + blocked));
            let read = run_queue.read_as(at(now), stat(ran, waited));
            assert_eq!(read.map(|load| (load.ready, load.waited)), load, "{blocked} of {now} ms blocked");
        }
    }

    #[test]
    fn time_that_was_too_short_is_part_of_the_next_reading() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut run_queue = RunQueueStat::default();
        run_queue.read_as(start, stat(0, 0));
        run_queue.block(start);
        run_queue.resume(at(160));
        assert_eq!(run_queue.read_as(at(200), stat(30, 10)), None);
        assert_eq!(run_queue.read_as(at(240), stat(60, 10)), Some(Load { ready: 87, waited: 12 }));
        assert_eq!(run_queue.read_as(at(340), stat(60, 10)), Some(Load { ready: 0, waited: 0 }));
    }
}
