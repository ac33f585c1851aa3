//! `cap=auto`: a limit on the requests in flight at one backend that follows the backend's latency.
//!
//! The algorithm is the gradient limit of Netflix' "concurrency-limits" (Netflix Technology Blog, "Performance Under Load",
//! 2018): new limit = requests in flight x (latency without load / latency) + allowance, smoothed. The idea is that of TCP
//! Vegas (Brakmo, O'Malley, Peterson 1994): when requests queue, the latency grows with the requests in flight, and the limit
//! settles where about `allowance` requests queue at the backend. We chose it because it needs latencies only: it need not
//! know the capacity, and it lowers the limit before requests fail.
//!
//! Two things differ from Netflix' code, because single latencies vary much:
//!
//! - Latencies are compared as means. The latency without load is the least mean of a class; a class is a range of requests
//!   in flight. So it is known although a busy backend is rarely idle, and a limit that is too high does not change it.
//! - When no request has begun at a lightly used backend for [`STALE`], the classes are forgotten, and the limit is a
//!   quarter for [`PROBES`] requests, which measure the latency again. Envoy's adaptive concurrency filter does similar.
//!   The same is done when the limit has met resistance and the latency of half as many requests is not known: then a limit
//!   that is too high would be compared with latencies of the same overload.
//!
//! A limit that falls becomes a whole number. So it takes some comparisons until one request more is tried again. For a
//! backend that works on two requests at a time, the third request is already too much.
use std::time::{Duration, Instant};

/// The limit at first. It doubles in few requests when the backend can do more.
pub(crate) const START: u32 = 4;
/// The highest limit.
pub(crate) const MAX: u32 = 1000;

/// A failed attempt or a rejection leaves this part of the limit.
const AFTER_FAILURE: f64 = 0.8;
/// The gradient is at least this, so one comparison leaves at least this part of the limit.
const GRADIENT_MIN: f64 = 0.5;
/// The limit doubles after each comparison at first, as long as the gradient is at least this. When only the error of the
/// means makes it so, the next comparison decides.
const GRADIENT_DOUBLE: f64 = 0.8;
/// The requests that may queue at the backend: this number, and this part of the requests in flight.
const ALLOWANCE: (f64, f64) = (0.5, 0.125);
/// The part of the way to a higher limit that one comparison goes. A lower limit counts at once: one request too many slows
/// all requests.
const RISE: f64 = 0.15;
/// Number of requests for one comparison, for each request of the limit; and its bounds.
const SAMPLES_PER_SLOT: u32 = 8;
const SAMPLES: (u32, u32) = (32, 256);
/// Number of requests over which the latency of a class is averaged, and from which on the mean counts.
const CLASS_SAMPLES: (u32, u32) = (8, 512);
/// The limit is a quarter for some requests when no request has begun at a lightly used backend for this time.
const STALE: Duration = Duration::from_secs(20);
/// The number of these requests.
const PROBES: u32 = 16;
/// The classes of numbers of requests in flight: 1, 2, 3 and 4, 5 to 8, and so on up to [`MAX`].
const CLASSES: usize = 11;

/// An attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// The requests in flight when the attempt began, with this one.
    pub(crate) in_flight: u32,
    pub(crate) started: Instant,
    /// The time to the first byte of the response, or to the failure.
    pub(crate) latency: Duration,
    /// True when the attempt failed or the backend rejected the request.
    pub(crate) failed: bool,
}

/// The adaptive limit of one backend. Latencies are in seconds.
#[derive(Debug)]
pub(crate) struct Limit {
    limit: f64,
    /// The latencies by the number of requests in flight.
    classes: [Mean; CLASSES],
    /// The latencies near the limit since its last change, and the requests in flight when they began.
    loaded: Mean,
    in_flight: Mean,
    /// Attempts that began earlier tell nothing of the current limit.
    changed: Instant,
    /// The last time that a request began while at most half of the limit was in use.
    light: Instant,
    /// True until the limit has met resistance for the first time.
    doubles: bool,
    /// While the latency without load is measured: the limit before, and the number of requests that have ended since.
    probe: Option<(f64, u32)>,
}

/// A mean of latencies in seconds.
#[derive(Debug, Default, Clone, Copy)]
struct Mean {
    count: u32,
    value: f64,
}

impl Mean {
    /// Adds a value. Beyond `last_max` values, the older ones fade.
    fn add(&mut self, value: f64, last_max: u32) {
        self.count = (self.count + 1).min(last_max);
        self.value += (value - self.value) / f64::from(self.count);
    }
}

impl Mean {
    /// Returns the mean and twice its error: the least of several means is too low by about their error.
    fn careful(&self) -> f64 {
        self.value * (1.0 + 2.0 / f64::from(self.count).sqrt())
    }
}

impl Limit {
    /// Makes a limit of [`START`].
    pub(crate) fn new(now: Instant) -> Self {
        Limit {
            limit: f64::from(START),
            classes: [Mean::default(); CLASSES],
            loaded: Mean::default(),
            in_flight: Mean::default(),
            changed: now,
            light: now,
            doubles: true,
            probe: None,
        }
    }

    /// Returns the limit: 1 to [`MAX`].
    pub(crate) fn get(&self) -> u32 {
        self.limit as u32
    }

    /// Notes an attempt that has ended.
    pub(crate) fn note(&mut self, sample: Sample, now: Instant) {
        let is_current = sample.started >= self.changed;
        if sample.failed {
            // Attempts that were in flight together fail together. They shrink the limit once.
            if is_current {
                self.doubles = false;
                if let Some((before, _)) = &mut self.probe {
                    *before *= AFTER_FAILURE;
                }
                self.change(self.limit * AFTER_FAILURE, now);
            }
            return;
        }
        let (latency, limit) = (sample.latency.as_secs_f64(), self.get());
        let class = (u32::BITS - (sample.in_flight.max(1) - 1).leading_zeros()) as usize;
        self.classes[class.min(CLASSES - 1)].add(latency, CLASS_SAMPLES.1);
        if sample.in_flight * 2 <= limit || limit == 1 {
            self.light = now;
        }
        if !is_current {
            return;
        }
        if let Some((before, count)) = &mut self.probe {
            *count += 1;
            if *count >= PROBES {
                let before = *before;
                (self.probe, self.light) = (None, now);
                self.change(before, now);
            }
        } else if sample.in_flight * 3 > limit * 2 {
            self.loaded.add(latency, u32::MAX);
            self.in_flight.add(f64::from(sample.in_flight), u32::MAX);
            let wanted = (limit * SAMPLES_PER_SLOT).clamp(SAMPLES.0, SAMPLES.1);
            let wanted = if self.doubles { wanted / 4 } else { wanted };
            if self.loaded.count >= wanted {
                self.compare(now);
            }
        }
    }

    /// Returns the latency without load: the least mean of a class.
    fn unloaded(&self) -> Option<Mean> {
        let known = self.classes.iter().filter(|class| class.count >= CLASS_SAMPLES.0);
        known.min_by(|one, other| one.careful().total_cmp(&other.careful())).copied()
    }

    /// True when the latency is known for at most half as many requests in flight.
    fn knows_half(&self, limit: f64) -> bool {
        let halves = self.classes.iter().enumerate().take_while(|(class, _)| f64::from(2 << class) <= limit);
        halves.into_iter().any(|(_, mean)| mean.count >= CLASS_SAMPLES.0)
    }

    /// Compares the latency near the limit with the latency without load.
    fn compare(&mut self, now: Instant) {
        let (loaded, in_flight) = (self.loaded.value, self.in_flight.value);
        let unloaded = self.unloaded().unwrap_or(self.loaded);
        let gradient = (unloaded.careful() / loaded.max(1e-9)).clamp(GRADIENT_MIN, 1.0);
        let is_clear = unloaded.value >= loaded * GRADIENT_DOUBLE;
        let target = in_flight * gradient + ALLOWANCE.0 + ALLOWANCE.1 * in_flight;
        if self.get() == 1 {
            // A single request in flight has the latency without load, whatever larger requests in flight had long ago.
            self.classes = [Mean::default(); CLASSES];
            self.classes[0] = self.loaded;
        }
        let is_used = in_flight > f64::from(self.get()) - 0.5;
        self.doubles &= gradient >= GRADIENT_DOUBLE && target >= in_flight;
        let new = if target < in_flight {
            // A whole number: it takes some comparisons until one request more is tried again.
            target.floor()
        } else if !is_used {
            self.limit
        } else if self.doubles {
            // When the means do not say enough, more requests are measured.
            if is_clear { self.limit * 2.0 } else { self.limit }
        } else {
            self.limit + (target - in_flight) * RISE
        };
        let is_stale = now.saturating_duration_since(self.light) > STALE;
        if new >= 2.0 && (is_stale || !self.doubles && !self.knows_half(new)) {
            self.classes = [Mean::default(); CLASSES];
            self.probe = Some((new, 0));
            return self.change(new / 4.0, now);
        }
        self.change(new, now);
    }

    fn change(&mut self, limit: f64, now: Instant) {
        self.limit = limit.clamp(1.0, f64::from(MAX));
        (self.loaded, self.in_flight, self.changed) = (Mean::default(), Mean::default(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend with a number of slots, whose limit is always in use: requests beyond the slots wait.
    struct Busy {
        slots: f64,
        /// Seconds for a request.
        service: f64,
        limit: Limit,
        now: Instant,
    }

    impl Busy {
        fn new(slots: u32) -> Self {
            let now = Instant::now();
            Busy { slots: f64::from(slots), service: 0.01, limit: Limit::new(now), now }
        }

        /// Ends this many requests. Returns the limits that occurred in the last quarter.
        fn run(&mut self, requests: u32) -> (u32, u32) {
            let (mut least, mut most) = (u32::MAX, 0);
            for n in 0..requests {
                let in_flight = self.limit.get();
                let latency = self.service * (f64::from(in_flight) / self.slots).max(1.0);
                self.now += Duration::from_secs_f64(latency / f64::from(in_flight));
                let latency = Duration::from_secs_f64(latency);
                let started = self.now - latency;
                self.limit.note(Sample { in_flight, started, latency, failed: false }, self.now);
                if n >= requests / 4 * 3 {
                    (least, most) = (least.min(self.limit.get()), most.max(self.limit.get()));
                }
            }
            (least, most)
        }
    }

    #[test]
    fn a_limit_in_use_finds_the_slots_of_the_backend() {
        // slots, seconds, the least and the highest limit in the last quarter of the time. A backend that has fewer slots than
        // the first limit shows its latency without load when it is measured, after 20 s.
        let cases = [
            (1, 50, 1, 4),
            (2, 50, 1, 4),
            (4, 15, 4, 8),
            (8, 15, 8, 14),
            (16, 15, 16, 26),
            (300, 15, 300, 400),
        ];
        for (slots, seconds, least, most) in cases {
            let limits = Busy::new(slots).run(100 * slots * seconds);
            assert!(limits.0 >= least && limits.1 <= most, "{slots} slots: {limits:?}");
        }
        assert_eq!(Busy::new(5000).run(100_000).1, MAX);
    }

    #[test]
    fn a_backend_that_becomes_slower_or_faster_keeps_its_slots() {
        for factor in [4.0, 0.25] {
            let mut busy = Busy::new(16);
            busy.run(20_000);
            busy.service *= factor;
            // Long enough for the latency without load to be measured again.
            let requests = (3.0 * STALE.as_secs_f64() * busy.slots / busy.service) as u32;
            let limits = busy.run(requests);
            assert!(limits.0 >= 4 && limits.1 <= 28, "{factor} times: {limits:?}");
        }
    }

    #[test]
    fn a_backend_that_becomes_slower_after_a_long_time_keeps_its_slots() {
        let mut busy = Busy::new(16);
        busy.run(20_000);
        // Every number of requests in flight was measured often.
        busy.limit.classes = [Mean { count: CLASS_SAMPLES.1, value: 0.01 }; CLASSES];
        busy.service *= 4.0;
        let requests = (3.0 * STALE.as_secs_f64() * busy.slots / busy.service) as u32;
        let limits = busy.run(requests);
        assert!(limits.0 >= 4 && limits.1 <= 28, "{limits:?}");
    }

    #[test]
    fn a_failure_while_the_latency_is_measured_counts_for_the_limit_that_comes_back() {
        for (failures, expected) in [(0, 100), (1, 80), (2, 64)] {
            let now = Instant::now();
            let mut limit = Limit { limit: 25.0, probe: Some((100.0, 0)), ..Limit::new(now) };
            let mut sample =
                Sample { in_flight: 1, started: now, latency: Duration::from_millis(1), failed: true };
            for n in 0..failures + PROBES {
                sample.started = now + Duration::from_millis(u64::from(n));
                sample.failed = n < failures;
                limit.note(sample, sample.started);
            }
            assert_eq!(limit.get(), expected, "{failures} failures");
        }
    }

    #[test]
    fn a_limit_that_met_resistance_is_measured_when_no_lighter_latency_is_known() {
        // samples of the class of two requests in flight, whether the latency is measured
        for (known, probes) in [(0, true), (CLASS_SAMPLES.0, false)] {
            let now = Instant::now();
            let mut limit = Limit { limit: 6.0, doubles: false, ..Limit::new(now) };
            limit.classes[1] = Mean { count: known, value: 0.01 };
            for n in 0..256 {
                let latency = Duration::from_millis(10);
                limit.note(
                    Sample { in_flight: 6, started: now + latency * n, latency, failed: false },
                    now + latency * n,
                );
            }
            assert_eq!(limit.probe.is_some() || limit.classes[1].count == 0, probes, "{known} samples");
        }
    }

    #[test]
    fn a_limit_that_is_not_in_use_does_not_rise() {
        let epoch = Instant::now();
        for in_flight in 1..START {
            let (mut limit, mut now) = (Limit::new(epoch), epoch);
            for _ in 0..10_000 {
                now += Duration::from_millis(10);
                let sample =
                    Sample { in_flight, started: now, latency: Duration::from_millis(10), failed: false };
                limit.note(sample, now);
            }
            assert_eq!(limit.get(), START, "{in_flight} in flight");
        }
    }

    #[test]
    fn failures_shrink_the_limit_once_for_all_that_were_in_flight() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        // failed attempts as (start, end) in milliseconds, and the limit: 100 at first
        let cases: [(&[(u64, u64)], u32); 5] = [
            (&[], 100),
            (&[(0, 10)], 80),
            (&[(0, 10), (5, 11), (9, 30)], 80),
            (&[(0, 10), (10, 20), (20, 30)], 51),
            (&[(0, 10), (10, 20), (11, 40), (20, 50)], 51),
        ];
        for (failures, expected) in cases {
            let mut limit = Limit { limit: 100.0, ..Limit::new(epoch) };
            for &(start, end) in failures {
                let latency = Duration::from_millis(end - start);
                let sample = Sample { in_flight: 100, started: at(start), latency, failed: true };
                limit.note(sample, at(end));
            }
            assert_eq!(limit.get(), expected, "{failures:?}");
        }
        let mut limit = Limit::new(epoch);
        for ms in 0..100 {
            let sample = Sample { in_flight: 1, started: at(ms), latency: Duration::ZERO, failed: true };
            limit.note(sample, at(ms));
        }
        assert_eq!(limit.get(), 1);
    }
}
