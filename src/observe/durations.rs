//! Counts of durations in fixed ranges, such as metrics have.
use std::time::Duration;

/// Upper bounds of the counted durations, in microseconds.
pub const BOUNDS_US: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Counts of durations: one for each bound, and one for longer durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Durations {
    /// Counts a duration.
    pub fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|&bound| bound < us);
        self.counts[place] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Durations) {
        self.counts.iter_mut().zip(other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Returns the counts since `earlier`, which holds an earlier state of the same counts.
    #[must_use]
    pub fn since(&self, earlier: &Durations) -> Durations {
        let counts = std::array::from_fn(|place| self.counts[place].saturating_sub(earlier.counts[place]));
        Durations { counts, sum_us: self.sum_us.saturating_sub(earlier.sum_us) }
    }

    /// Returns the number of durations.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// Returns each upper bound with the number of durations that belong to it. The last bound is None: without end.
    pub fn counts(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS_US.iter().map(|&us| Some(Duration::from_micros(us))).chain([None]);
        bounds.zip(self.counts)
    }

    /// Returns the bound that a share of all durations does not exceed; None without a duration. `share` is from 0 to 1.
    /// A longer duration than all bounds counts as the last bound.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = (share * self.total() as f64).ceil().max(1.0) as u64;
        let mut sum = 0;
        let place = self.counts.iter().position(|count| {
            sum += count;
            sum >= wanted
        })?;
        Some(Duration::from_micros(BOUNDS_US[place.min(BOUNDS_US.len() - 1)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_up_to_its_bound() {
        let us = Duration::from_micros;
        // duration, bound
        let cases = [
            (us(0), Some(us(100))),
            (us(100), Some(us(100))),
            (us(101), Some(us(250))),
            (us(60_000_000), Some(us(60_000_000))),
            (us(60_000_001), None),
            (Duration::MAX, None),
        ];
        for (duration, bound) in cases {
            let mut durations = Durations::default();
            durations.add(duration);
            let counted: Vec<_> = durations.counts().filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(bound, 1)], "{duration:?}");
        }
    }

    #[test]
    fn quantiles_sums_and_differences() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile(0.5), None);
        (1..=99).for_each(|_| durations.add(Duration::from_millis(1)));
        let earlier = durations;
        durations.add(Duration::from_secs(1));
        assert_eq!(durations.quantile(0.99), Some(Duration::from_millis(1)));
        assert_eq!(durations.quantile(1.0), Some(Duration::from_secs(1)));
        assert_eq!((durations.total(), durations.sum()), (100, Duration::from_millis(1_099)));
        let since = durations.since(&earlier);
        assert_eq!((since.total(), since.quantile(0.0)), (1, Some(Duration::from_secs(1))));
        let mut both = earlier;
        both.merge(&since);
        assert_eq!(both, durations);
    }
}
