//! The latency of a backend: a moving average that follows a rise at once and a fall slowly.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The old average loses weight with the time t since its last sample: about as e^(-t / 1 s), computed as (1 + t / 4 s)^-4.
const FALL_MS: f32 = 4_000.0;
/// The least latency of a failed attempt.
const FAILURE: Duration = Duration::from_secs(1);
/// Units of a latency in a microsecond: so u32 holds 268 s, and integers are exact enough.
const UNITS: f32 = 16.0;

/// Returns the time between two times, in milliseconds that wrap. Each worker has a clock of its own, so `at` may be later
/// than `now`; then the result is negative, and no time has passed.
pub(super) fn passed_ms(at: u32, now: u32) -> i32 {
    now.wrapping_sub(at) as i32
}

/// The moving average of one backend's latency.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// The average in [`UNITS`] in the high half; the time of the last sample in milliseconds in the low half. 0: no sample.
    packed: AtomicU64,
}

impl Latency {
    /// Adds a sample. Of the samples within one millisecond only rises count.
    pub(crate) fn add(&self, sample: Duration, failed: bool, now_ms: u64) {
        let sample = if failed { sample.max(FAILURE) } else { sample };
        // A longer time becomes the longest one.
        let sample = ((sample.as_secs_f32() * 1e6 * UNITS) as u32).max(1);
        let new = match self.get() {
            None => sample,
            Some((old, _)) if sample >= old => sample,
            Some((_, at)) if at == now_ms as u32 => return,
            Some((old, at)) => {
                let left = FALL_MS / (FALL_MS + passed_ms(at, now_ms as u32).max(0) as f32);
                sample + ((old - sample) as f32 * (left * left) * (left * left)) as u32
            }
        };
        self.packed.store(u64::from(new) << 32 | (now_ms & 0xFFFF_FFFF), Relaxed);
    }

    /// Returns the average in sixteenths of a microsecond, at least 1, and the time of the last sample.
    pub(crate) fn get(&self) -> Option<(u32, u32)> {
        let packed = self.packed.load(Relaxed);
        (packed != 0).then_some(((packed >> 32) as u32, packed as u32))
    }

    /// Returns the average.
    pub(crate) fn average(&self) -> Option<Duration> {
        self.get().map(|(average, _)| Duration::from_secs_f32(average as f32 / UNITS / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_follows_a_rise_at_once_and_a_fall_slowly() {
        let ms = Duration::from_millis;
        // samples: milliseconds, failed, time; the average in milliseconds
        type Samples = &'static [(u64, bool, u64)];
        let cases: [(Samples, f32); 9] = [
            (&[(5, false, 10)], 5.0),
            (&[(5, false, 10), (50, false, 10)], 50.0),
            (&[(50, false, 10), (5, false, 10)], 50.0),
            (&[(50, false, 10), (10, false, 1010)], 26.384),
            (&[(50, false, 10), (10, false, 1010), (10, false, 2010)], 16.711),
            (&[(1000, false, 10), (2, false, 8010)], 14.321),
            // The clock of another worker is behind.
            (&[(1000, false, 10), (2, false, 7)], 1000.0),
            (&[(5, true, 10)], 1000.0),
            (&[(2000, true, 10)], 2000.0),
        ];
        for (samples, expected) in cases {
            let latency = Latency::default();
            assert_eq!(latency.get(), None);
            for &(sample, failed, at) in samples {
                latency.add(ms(sample), failed, at);
            }
            let average = latency.average().unwrap().as_secs_f32() * 1000.0;
            assert!((average - expected).abs() < 0.01, "{samples:?}: {average}");
        }
    }
}
