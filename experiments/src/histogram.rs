//! A histogram of times. It is small enough to store for each cell, and fine enough for the tail.

use serde::{Deserialize, Serialize};

use crate::model::Distribution;

/// Buckets per doubling. So the error of a value is at most 1/64.
const BUCKETS_PER_DOUBLING: u64 = 64;

/// The reported percentiles, if there are enough samples.
const FRACTIONS: [f64; 13] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999];

/// The count of each value. Values are the lower ends of buckets; sum, minimum and maximum are exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Histogram {
    pub(crate) sum: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// (value, count), ascending.
    pub(crate) buckets: Vec<(u64, u64)>,
}

fn bucket(value: u64) -> u64 {
    let shift = (value / BUCKETS_PER_DOUBLING).checked_ilog2().unwrap_or(0);
    value >> shift << shift
}

impl Histogram {
    pub(crate) fn of(values: &[u64]) -> Self {
        let mut sorted: Vec<u64> = values.to_vec();
        sorted.sort_unstable();
        let mut buckets: Vec<(u64, u64)> = Vec::new();
        for value in sorted.iter().copied().map(bucket) {
            match buckets.last_mut() {
                Some((last, count)) if *last == value => *count += 1,
                _ => buckets.push((value, 1)),
            }
        }
        Histogram {
            sum: sorted.iter().sum(),
            min: sorted.first().copied().unwrap_or(0),
            max: sorted.last().copied().unwrap_or(0),
            buckets,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Returns the number of values that are at least `value`.
    pub(crate) fn count_from(&self, value: u64) -> u64 {
        self.buckets.iter().filter(|(v, _)| *v >= bucket(value)).map(|(_, count)| count).sum()
    }

    /// Returns the smallest value that this fraction of all values does not exceed.
    fn percentile(&self, fraction: f64) -> u64 {
        let rank = (fraction * self.count() as f64).ceil() as u64;
        let mut seen = 0;
        let reached = |(_, count): &&(u64, u64)| {
            seen += count;
            seen >= rank
        };
        self.buckets.iter().find(reached).map_or(self.max, |(value, _)| (*value).max(self.min))
    }

    /// Returns the least value, then the values that 1/n, 2/n, ... n/n of all values do not exceed. Empty for an empty
    /// histogram.
    pub(crate) fn quantiles(&self, n: u32) -> Vec<u64> {
        if self.buckets.is_empty() {
            return Vec::new();
        }
        let inner = (1..n).map(|i| self.percentile(f64::from(i) / f64::from(n)));
        std::iter::once(self.min).chain(inner).chain([self.max]).collect()
    }

    /// Returns the summary. A percentile is reported only if a value lies above it.
    pub(crate) fn summary(&self) -> Distribution {
        let count = self.count();
        let known = |fraction: &f64| count as f64 * (1.0 - fraction) >= 0.999;
        Distribution {
            count,
            mean: if count == 0 { 0.0 } else { self.sum as f64 / count as f64 },
            min: self.min,
            max: self.max,
            percentiles: FRACTIONS.into_iter().filter(known).map(|f| (f, self.percentile(f))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_narrow_and_holds_its_value() {
        for value in (0..5000).chain([1 << 20, (1 << 20) + 12_345, u64::from(u32::MAX)]) {
            let low = bucket(value);
            assert!(low <= value && (value - low) * BUCKETS_PER_DOUBLING <= value, "{value} in {low}");
            assert_eq!(bucket(low), low, "{value}");
        }
    }

    #[test]
    fn percentiles_of_one_to_a_thousand() {
        let values: Vec<u64> = (1..=1000).rev().collect();
        let summary = Histogram::of(&values).summary();
        assert_eq!((summary.count, summary.min, summary.max), (1000, 1, 1000));
        assert!((summary.mean - 500.5).abs() < 1e-9);
        for (fraction, value) in &summary.percentiles {
            let exact = fraction * 1000.0;
            assert!(*value as f64 <= exact && exact - *value as f64 <= exact / 64.0, "{fraction}: {value}");
        }
        assert_eq!(summary.percentiles.last().map(|(fraction, _)| *fraction), Some(0.999));
    }

    #[test]
    fn quantiles_go_from_the_least_to_the_greatest() {
        assert_eq!(Histogram::of(&[5, 1, 2, 4, 3]).quantiles(4), [1, 2, 3, 4, 5]);
        assert!(Histogram::default().quantiles(4).is_empty());
    }

    #[test]
    fn few_values_have_few_percentiles() {
        let cases: [(&[u64], usize); 3] = [(&[], 0), (&[7], 0), (&[7, 8], 5)];
        for (values, percentiles) in cases {
            let summary = Histogram::of(values).summary();
            assert_eq!(summary.percentiles.len(), percentiles, "{values:?}: {summary:?}");
        }
        assert_eq!(Histogram::of(&[5, 50, 500]).count_from(50), 2);
    }
}
