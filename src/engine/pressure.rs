//! How many requests are at the backends at once.
//!
//! Any number, as long as the machine has processors to buffers. When the workers wait for processors, more requests at
//! the backends do not get more answers: they only spread over more connections, whose state then fits no cache. With
//! 1000 clients and everything on two processors, 64 requests for each of them instead of all 1000 cost 16 microseconds
//! a request for 20, and the origins 10.5 for 12. So then a request is begun when there is room, until then it waits in
//! its socket, and what has come back goes first.
//!
//! Where backends take their time over each request, the limit would cost answers: 1000 clients of backends that take
//! 5 milliseconds got a third of them. It shows in a worker that has nothing to do although requests wait. Then there
//! is no limit for a while, twice as long each time. And a request that was not answered within an epoch or two is not
//! counted any more, so that a few slow ones do not hold up the others.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::clock::Load;

/// A request is counted for so long, and up to twice as long.
pub(super) const EPOCH: Duration = Duration::from_millis(EPOCH_MS);
const EPOCH_MS: u64 = 10;

/// A worker that waits for a processor for so many percent of the time is short of them.
const SHORT_PERCENT: u64 = 10;
/// A worker that is ready to run for less than so many percent of the time has nothing to do. With 1000 clients and
/// everything on two processors they were ready for 91 to 100, limited or not.
const READY_PERCENT: u64 = 85;
/// For how many loads there is no limit after one that left workers idle, at first and at most: 1 s, 1 minute.
const PAUSE_MIN: u32 = 5;
const PAUSE_MAX: u32 = 300;

/// When requests have to wait for others to be answered. smol's own reactor lets none wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConcurrencyLimit {
    /// Never.
    Unlimited,
    /// When the machine is short of processors and so many for each core are at the backends.
    WhenSaturated(usize),
    /// When so many for each core are at the backends.
    Always(usize),
}

impl Default for ConcurrencyLimit {
    /// 64: with 32 and with 128 the differences were within the noise.
    fn default() -> Self {
        ConcurrencyLimit::WhenSaturated(64)
    }
}

/// The requests of one engine, or of one core, that are at the backends. Workers may race over the end of an epoch; a
/// request that is then counted wrongly is forgotten with its epoch.
#[derive(Debug)]
pub struct PressureLimit {
    concurrency: ConcurrencyLimit,
    cores: usize,
    limited: AtomicBool,
    /// A request has had to wait since the last load.
    held: AtomicBool,
    pauses: Mutex<Pauses>,
    epoch: AtomicU64,
    /// Begun in this epoch and in the one before, by parity.
    young: [AtomicUsize; 2],
}

/// In loads noted.
#[derive(Debug)]
struct Pauses {
    /// Until there may be a limit again.
    left: u32,
    /// How long the next one lasts.
    next: u32,
    /// Since when the limit has left nobody idle.
    worked: u32,
}

/// Where a request is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InFlight {
    Even,
    Odd,
}

impl PressureLimit {
    /// For so many cores.
    pub fn new(concurrency: ConcurrencyLimit, cores: usize) -> Self {
        PressureLimit {
            concurrency,
            cores,
            limited: AtomicBool::new(false),
            held: AtomicBool::new(false),
            pauses: Mutex::new(Pauses { left: 0, next: PAUSE_MIN, worked: 0 }),
            epoch: AtomicU64::new(0),
            young: Default::default(),
        }
    }

    /// Milliseconds since the engine's start; requests grow old by it.
    pub(super) fn tick(&self, now_ms: u64) {
        let epoch = now_ms / EPOCH_MS;
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

    /// What a worker, which had to do with all of these requests, did with its time since the last call.
    pub(super) fn note_load(&self, load: Load) {
        let (short, idle) = (load.waited >= SHORT_PERCENT, load.ready < READY_PERCENT);
        let held = self.held.swap(false, Ordering::Relaxed);
        let mut pauses = self.pauses.lock();
        let limited = match self.limited.load(Ordering::Relaxed) {
            true if idle && !held => false,
            true if idle => {
                *pauses = Pauses { left: pauses.next, next: (pauses.next * 2).min(PAUSE_MAX), worked: 0 };
                false
            }
            true => {
                pauses.worked += 1;
                if pauses.worked > pauses.next {
                    pauses.next = PAUSE_MIN;
                }
                short
            }
            false => {
                pauses.left = pauses.left.saturating_sub(1);
                short && !idle && pauses.left == 0
            }
        };
        self.limited.store(limited, Ordering::Relaxed);
    }

    /// A request goes to a backend.
    pub(super) fn begin(&self) -> InFlight {
        let parity = parity(self.epoch.load(Ordering::Relaxed));
        self.young[parity].fetch_add(1, Ordering::Relaxed);
        [InFlight::Even, InFlight::Odd][parity]
    }

    /// It was answered, or given up.
    pub(super) fn finish(&self, in_flight: InFlight) {
        let less = |count: usize| count.checked_sub(1);
        // None are left when it had grown old.
        let _ = self.young[in_flight as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// How many of so many that wait may begin.
    pub(super) fn admit(&self, waiting: usize) -> usize {
        let room = self.room();
        if room < waiting {
            self.held.store(true, Ordering::Relaxed);
        }
        room.min(waiting)
    }

    /// How many more may begin.
    pub(super) fn room(&self) -> usize {
        let most = match self.concurrency {
            ConcurrencyLimit::Always(each) => each * self.cores,
            ConcurrencyLimit::WhenSaturated(each) if self.limited.load(Ordering::Relaxed) => {
                each * self.cores
            }
            _ => return usize::MAX,
        };
        let young: usize = self.young.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        most.saturating_sub(young)
    }
}

fn parity(epoch: u64) -> usize {
    (epoch % 2) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Load = Load { ready: 100, waited: 30 };
    const ALONE: Load = Load { ready: 100, waited: 9 };
    const IDLE: Load = Load { ready: 84, waited: 30 };

    #[test]
    fn there_is_a_limit_only_while_processors_are_short() {
        let pressure = PressureLimit::new(ConcurrencyLimit::WhenSaturated(2), 2);
        let counted = [(); 3].map(|()| pressure.begin());
        for (load, room) in
            [(Load::default(), usize::MAX), (ALONE, usize::MAX), (BUSY, 1), (BUSY, 1), (ALONE, usize::MAX)]
        {
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

    /// How many busy loads it takes until there is a limit again.
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
            assert_eq!(pressure.admit(5), 4);
            pressure.note_load(IDLE);
            assert_eq!(pause(&pressure), expected);
        }
        // Until it has worked for longer than it was not tried.
        (0..=PAUSE_MAX).for_each(|_| pressure.note_load(BUSY));
        assert_eq!(pressure.admit(5), 4);
        pressure.note_load(IDLE);
        assert_eq!(pause(&pressure), PAUSE_MIN);
        // Nobody waited: there was nothing to do.
        assert_eq!(pressure.admit(4), 4);
        pressure.note_load(IDLE);
        assert_eq!(pause(&pressure), 1);
    }

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
    fn more_than_the_limit_leaves_no_room() {
        let pressure = PressureLimit::new(ConcurrencyLimit::Always(1), 1);
        let _ = [pressure.begin(), pressure.begin(), pressure.begin()];
        assert_eq!(pressure.room(), 0);
    }
}
