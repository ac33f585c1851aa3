//! The latency of a backend: a moving average that follows a rise at once and a fall slowly.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Time after which a fall of the latency counts half.
const FALL_MS: f32 = 1_000.0;
/// The least latency of a failed attempt.
const FAILURE: Duration = Duration::from_secs(1);
/// The moving average of one backend's latency.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// Microseconds as f32 in the high half; the time of the last sample in milliseconds in the low half. 0: no sample.
    packed: AtomicU64,
}

impl Latency {
    /// Adds a sample. Of the samples within one millisecond only rises count.
    pub(crate) fn add(&self, sample: Duration, failed: bool, now_ms: u64) {
        let sample = if failed { sample.max(FAILURE) } else { sample };
        let sample = sample.as_secs_f32() * 1e6;
        let new = match self.get() {
            None => sample,
            Some((old, _)) if sample >= old => sample,
            Some((_, at)) if at == now_ms as u32 => return,
            Some((old, at)) => {
                let passed = (now_ms as u32).wrapping_sub(at) as f32;
                old + (sample - old) * (passed / (FALL_MS + passed))
            }
        };
        self.packed.store(u64::from(new.max(1.0).to_bits()) << 32 | (now_ms & 0xFFFF_FFFF), Relaxed);
    }

    /// Returns the average in microseconds, and the time of the last sample.
    pub(crate) fn get(&self) -> Option<(f32, u32)> {
        let packed = self.packed.load(Relaxed);
        (packed != 0).then(|| (f32::from_bits((packed >> 32) as u32), packed as u32))
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
        let cases: [(Samples, f32); 7] = [
            (&[(5, false, 10)], 5.0),
            (&[(5, false, 10), (50, false, 10)], 50.0),
            (&[(50, false, 10), (5, false, 10)], 50.0),
            (&[(50, false, 10), (10, false, 1010)], 30.0),
            (&[(50, false, 10), (10, false, 1010), (10, false, 2010)], 20.0),
            (&[(5, true, 10)], 1000.0),
            (&[(2000, true, 10)], 2000.0),
        ];
        for (samples, expected) in cases {
            let latency = Latency::default();
            assert_eq!(latency.get(), None);
            for &(sample, failed, at) in samples {
                latency.add(ms(sample), failed, at);
            }
            let (average, _) = latency.get().unwrap();
            assert!((average / 1000.0 - expected).abs() < 0.01, "{samples:?}: {average}");
        }
    }
}
