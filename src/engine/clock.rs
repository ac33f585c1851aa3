//! The time, read once per wake-up.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::ClockId;

use crate::app::Moment;

/// How much of its time this thread has cpu_time: what it waited for a processor does not count.
#[derive(Debug, Default)]
pub(super) struct CpuTime(Duration);

impl CpuTime {
    /// Percent of the time between the two instants; the first of them is when this was asked last.
    pub(super) fn percent_since(&mut self, from: Instant, to: Instant) -> usize {
        let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        let total = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
        let since = total.saturating_sub(std::mem::replace(&mut self.0, total));
        let elapsed = to.saturating_duration_since(from).as_micros().max(1);
        (since.as_micros() * 100 / elapsed).min(100) as usize
    }
}

/// What a thread did with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Load {
    /// Percent of the time in which it ran or could have run.
    pub(super) ready: u64,
    /// Percent of the time in which it could have run and waited for a processor.
    pub(super) waited: u64,
}

/// The load of this thread, as the kernel counts it.
#[derive(Debug, Default)]
pub(super) struct RunQueueStat {
    read: Option<Instant>,
    ran_ns: u64,
    waited_ns: u64,
}

impl RunQueueStat {
    /// The load since the last call; none the first time, and where the kernel does not tell
    /// (/proc/thread-self/schedstat: nanoseconds that it ran, nanoseconds that it waited).
    pub(super) fn read(&mut self, now: Instant) -> Load {
        let Ok(text) = std::fs::read_to_string("/proc/thread-self/schedstat") else { return Load::default() };
        let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
        let (Some(ran_ns), Some(waited_ns)) = (numbers.next(), numbers.next()) else {
            return Load::default();
        };
        let before = std::mem::replace(self, RunQueueStat { read: Some(now), ran_ns, waited_ns });
        let Some(read) = before.read else { return Load::default() };
        let elapsed = now.saturating_duration_since(read).as_nanos().max(1) as u64;
        let (ran, waited) =
            (ran_ns.saturating_sub(before.ran_ns), waited_ns.saturating_sub(before.waited_ns));
        Load { ready: (ran + waited) * 100 / elapsed, waited: waited * 100 / elapsed }
    }
}

/// A worker's view of the time.
#[derive(Debug)]
pub(super) struct Clock {
    now: Moment,
    /// When the date was read; it is read again a second later.
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

    /// Sets the time to one that the caller chooses.
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
