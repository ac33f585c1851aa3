//! The time, read once per wake-up.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::app::Now;

/// A worker's view of the time.
#[derive(Debug)]
pub(super) struct Clock {
    now: Now,
    /// When the date was read; it is read again a second later.
    dated: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut clock =
            Clock { now: Now { instant: Instant::now(), date: [b' '; 29] }, dated: Instant::now() };
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

    pub(super) fn now(&self) -> Now {
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
