//! A limit on the requests in flight while the CPUs are saturated.
//!
//! There is no limit while the machine has CPU time to spare. When the workers wait for a CPU, more requests in flight
//! do not get more answers: they spread over more connections, and the state of these connections no longer fits a
//! cache. This was measured with 1000 clients and all programs on two CPUs. Without a limit, a request costs the
//! balancer 20 microseconds of CPU time, and the backend 12. With 64 requests per core it costs 16 and 10.6. While
//! limited, new requests stay unread in their sockets, and responses are handled first.
//!
//! Slow backends are the other case. There the limit lowers the throughput: with backends that take 5 milliseconds,
//! 1000 clients got a third of the responses. The sign is a worker with nothing to do while requests wait. Then the
//! limit is lifted for a while, twice as long each time. A request that is not answered within one or two epochs is not
//! counted any more, so that a few slow requests do not delay the rest.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::clock::Load;
use super::pauses::Pauses;

/// The default epoch. A request is counted for one to two epochs.
pub(super) const EPOCH: Duration = Duration::from_millis(10);

/// Maximum wait of an event loop while requests are held back. They may begin when an epoch ends.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(10);

/// The CPUs are saturated when a worker waits for one in this share of the time, in percent.
const SHORT_PERCENT: u64 = 10;
/// A worker is idle when it is ready to run in less than this share of the time, in percent. With 1000 clients and everything
/// on two CPUs the workers were ready for 91 to 100 %, limited or not.
const READY_PERCENT: u64 = 85;

/// The maximum of requests in flight per core that is awake. Further requests wait. With smol's own reactor no request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConcurrencyLimit {
    /// No maximum.
    Unlimited,
    /// A maximum per core while the CPUs are saturated.
    WhenSaturated(usize),
    /// A maximum per core at all times.
    Always(usize),
}

impl Default for ConcurrencyLimit {
    /// 64: with 32 and with 128 the differences were within the noise.
    fn default() -> Self {
        ConcurrencyLimit::WhenSaturated(64)
    }
}

/// Counts the requests in flight of one engine or of one core. Workers may race over the end of an epoch. A request that
/// is counted wrongly because of the race is forgotten with its epoch.
#[derive(Debug)]
pub struct PressureLimit {
    concurrency: ConcurrencyLimit,
    /// The number of cores that serve these requests.
    cores: AtomicUsize,
    /// A request is counted for one to two epochs.
    epoch_ms: u64,
    limited: AtomicBool,
    /// A request was held back since the last load measurement.
    held: AtomicBool,
    /// The pauses after the limit left a worker idle.
    pauses: Mutex<Pauses>,
    epoch: AtomicU64,
    /// Requests begun in this epoch and in the epoch before, by parity.
    young: [AtomicUsize; 2],
}

/// The epoch in which a request is counted, by parity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InFlight {
    Even,
    Odd,
}

impl PressureLimit {
    /// No request is in flight. The maximum is per core.
    pub fn new(concurrency: ConcurrencyLimit, cores: usize) -> Self {
        Self::with_epoch(concurrency, cores, EPOCH)
    }

    /// The same with another epoch.
    pub fn with_epoch(concurrency: ConcurrencyLimit, cores: usize, epoch: Duration) -> Self {
        PressureLimit {
            concurrency,
            cores: AtomicUsize::new(cores),
            epoch_ms: (epoch.as_millis() as u64).max(1),
            limited: AtomicBool::new(false),
            held: AtomicBool::new(false),
            pauses: Mutex::default(),
            epoch: AtomicU64::new(0),
            young: Default::default(),
        }
    }

    /// Brings the epoch up to date. `now_ms` is the time since the engine's start.
    pub fn tick(&self, now_ms: u64) {
        let epoch = now_ms / self.epoch_ms;
        let before = self.epoch.load(Ordering::Relaxed);
        if epoch == before {
            return;
        }
        self.epoch.store(epoch, Ordering::Relaxed);
        self.young[parity(epoch)].store(0, Ordering::Relaxed);
        if epoch != before + 1 {
            self.young[parity(epoch + 1)].store(0, Ordering::Relaxed);
        }
    }

    /// Decides whether the limit holds, from the load of a worker that handles these requests.
    pub fn note_load(&self, load: Load) {
        let (short, idle) = (load.waited >= SHORT_PERCENT, load.ready < READY_PERCENT);
        let held = self.held.swap(false, Ordering::Relaxed);
        let mut pauses = self.pauses.lock();
        let limited = match self.limited.load(Ordering::Relaxed) {
            true if idle && !held => false,
            true if idle => {
                pauses.begin();
                false
            }
            true => {
                pauses.worked();
                short
            }
            false => {
                let may_return = pauses.is_over();
                short && !idle && may_return
            }
        };
        self.limited.store(limited, Ordering::Relaxed);
    }

    /// Changes the number of cores that serve these requests.
    pub(super) fn set_cores(&self, cores: usize) {
        self.cores.store(cores, Ordering::Relaxed);
    }

    /// Counts a request that goes to a backend.
    pub(super) fn begin(&self) -> InFlight {
        let parity = parity(self.epoch.load(Ordering::Relaxed));
        self.young[parity].fetch_add(1, Ordering::Relaxed);
        [InFlight::Even, InFlight::Odd][parity]
    }

    /// Counts a request that has ended.
    pub(super) fn finish(&self, in_flight: InFlight) {
        let less = |count: usize| count.checked_sub(1);
        // The count is zero when the request has outlived its epochs.
        let _ = self.young[in_flight as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// The number of waiting requests that may begin now.
    pub fn permit(&self, waiting: usize) -> usize {
        let room = self.room();
        if room < waiting {
            self.held.store(true, Ordering::Relaxed);
        }
        room.min(waiting)
    }

    /// The number of requests that may begin now; unlimited without a limit.
    pub fn room(&self) -> usize {
        let each = match self.concurrency {
            ConcurrencyLimit::Always(each) => each,
            ConcurrencyLimit::WhenSaturated(each) if self.limited.load(Ordering::Relaxed) => each,
            _ => return usize::MAX,
        };
        let most = each * self.cores.load(Ordering::Relaxed);
        let young: usize = self.young.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        most.saturating_sub(young)
    }
}

fn parity(epoch: u64) -> usize {
    (epoch % 2) as usize
}

#[cfg(test)]
mod tests {
    use super::super::pauses::{PAUSE_MAX, PAUSE_MIN};
    use super::*;

    const BUSY: Load = Load { ready: 100, waited: 30 };
    const ALONE: Load = Load { ready: 100, waited: 9 };
    const IDLE: Load = Load { ready: 84, waited: 30 };

    #[test]
    fn there_is_a_limit_only_while_processors_are_short() {
        let pressure = PressureLimit::new(ConcurrencyLimit::WhenSaturated(2), 2);
        let counted = [(); 3].map(|()| pressure.begin());
        for (load, room) in [(ALONE, usize::MAX), (BUSY, 1), (BUSY, 1), (ALONE, usize::MAX)] {
            pressure.note_load(load);
            assert_eq!(pressure.room(), room, "{load:?}");
        }
        counted.into_iter().for_each(|in_flight| pressure.finish(in_flight));
        pressure.note_load(BUSY);
        assert_eq!(pressure.room(), 4);
        for concurrency in [ConcurrencyLimit::Unlimited, ConcurrencyLimit::WhenSaturated(7)] {
            let pressure = PressureLimit::new(concurrency, 1);
            pressure.note_load(IDLE);
            assert_eq!(pressure.room(), usize::MAX);
        }
    }

    /// The number of busy loads until the limit returns.
    fn pause(pressure: &PressureLimit) -> u32 {
        let mut loads = 0;
        while pressure.room() == usize::MAX {
            pressure.note_load(BUSY);
            loads += 1;
            assert!(loads <= PAUSE_MAX);
        }
        loads
    }

    #[test]
    fn a_limit_that_leaves_workers_idle_is_tried_again_later_and_later() {
        let pressure = PressureLimit::new(ConcurrencyLimit::WhenSaturated(2), 2);
        assert_eq!(pause(&pressure), 1);
        for expected in [5, 10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(pressure.permit(5), 4);
            pressure.note_load(IDLE);
            assert_eq!(pause(&pressure), expected);
        }
        // The pause is short again after the limit has worked for longer than the last pause.
        (0..=PAUSE_MAX).for_each(|_| pressure.note_load(BUSY));
        assert_eq!(pressure.permit(5), 4);
        pressure.note_load(IDLE);
        assert_eq!(pause(&pressure), PAUSE_MIN);
        // Nobody waited: there was nothing to do.
        assert_eq!(pressure.permit(4), 4);
        pressure.note_load(IDLE);
        assert_eq!(pause(&pressure), 1);
    }

    const EPOCH_MS: u64 = EPOCH.as_millis() as u64;

    #[test]
    fn the_old_are_not_counted() {
        let pressure = PressureLimit::new(ConcurrencyLimit::Always(10), 1);
        let first = pressure.begin();
        pressure.tick(EPOCH_MS);
        let second = pressure.begin();
        assert_eq!(pressure.room(), 8);
        pressure.tick(EPOCH_MS * 2 - 1);
        assert_eq!(pressure.room(), 8);
        pressure.tick(EPOCH_MS * 2);
        assert_eq!(pressure.room(), 9, "the first is old");
        pressure.finish(first);
        assert_eq!(pressure.room(), 9, "and not counted twice");
        pressure.finish(second);
        assert_eq!(pressure.room(), 10);
        let _ = [pressure.begin(), pressure.begin()];
        pressure.tick(EPOCH_MS * 40);
        assert_eq!(pressure.room(), 10, "all are old");
    }

    #[test]
    fn the_limit_is_per_core() {
        let pressure = PressureLimit::new(ConcurrencyLimit::Always(10), 1);
        let _ = pressure.begin();
        for (cores, room) in [(1, 9), (3, 29), (1, 9)] {
            pressure.set_cores(cores);
            assert_eq!(pressure.room(), room, "{cores} cores");
        }
    }

    #[test]
    fn more_than_the_limit_leaves_no_room() {
        let pressure = PressureLimit::new(ConcurrencyLimit::Always(1), 1);
        let _ = [pressure.begin(), pressure.begin(), pressure.begin()];
        assert_eq!(pressure.room(), 0);
    }
}
