//! A histogram of times or sizes: small enough to store for each cell, and fine enough for the tail.

use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize};

/// Significant decimal digits. So the error of a value is at most 1 %.
const DIGITS: u8 = 2;

/// The reported percentiles, if there are enough samples.
const FRACTIONS: [f64; 13] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999];

/// Summary of many times. The error of a value is at most 1 %.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// `(fraction, value)`, such as `(0.99, 1234)`: 0.1 to 0.9, 0.95, 0.99, 0.995, 0.999 as the count allows.
    pub(crate) percentiles: Vec<(f64, u64)>,
}

/// The number of samples of each value. Stored as an HdrHistogram (version 2) in hexadecimal digits: the file of a run is
/// compressed as a whole, which is smaller than base64 of compressed histograms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Histogram(hdrhistogram::Histogram::new(DIGITS).expect("two digits are allowed"))
    }
}

impl Histogram {
    #[cfg(test)]
    pub(crate) fn of(values: &[u64]) -> Self {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    pub(crate) fn record(&mut self, value: u64) {
        // Grows as needed, so only a value without room in memory would fail.
        let _ = self.0.record(value);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn max(&self) -> u64 {
        self.0.max()
    }

    /// Returns the number of values that are at least `value`.
    pub(crate) fn count_from(&self, value: u64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.count_between(value, u64::MAX) }
    }

    /// Returns the least value, then the values that 1/n, 2/n, ... n/n of all values do not exceed. Empty for an empty
    /// histogram.
    pub(crate) fn quantiles(&self, n: u32) -> Vec<u64> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let inner = (1..n).map(|i| self.0.value_at_quantile(f64::from(i) / f64::from(n)));
        std::iter::once(self.0.min()).chain(inner).chain([self.0.max()]).collect()
    }

    /// Returns the summary. A percentile is reported only if a value lies above it.
    pub(crate) fn summary(&self) -> Distribution {
        let count = self.count();
        let known = |fraction: &f64| count as f64 * (1.0 - fraction) >= 0.999;
        let at = |fraction| (fraction, self.0.value_at_quantile(fraction));
        Distribution {
            count,
            mean: self.0.mean(),
            min: self.0.min(),
            max: self.0.max(),
            percentiles: FRACTIONS.into_iter().filter(known).map(at).collect(),
        }
    }
}

impl Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.0, &mut bytes).map_err(S::Error::custom)?;
        to.serialize_str(&hex::encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = hex::decode(&text).map_err(D::Error::custom)?;
        let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(D::Error::custom)?;
        Ok(Histogram(histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_one_to_a_thousand() {
        let values: Vec<u64> = (1..=1000).rev().collect();
        let histogram = Histogram::of(&values);
        let summary = histogram.summary();
        assert_eq!((summary.count, summary.min, histogram.max()), (1000, 1, 1003));
        assert!((summary.mean / 500.5 - 1.0).abs() < 0.01);
        for (fraction, value) in &summary.percentiles {
            assert!((*value as f64 / (fraction * 1000.0) - 1.0).abs() < 0.011, "{fraction}: {value}");
        }
        assert_eq!(summary.percentiles.last().map(|(fraction, _)| *fraction), Some(0.999));
        let text = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
        assert!(serde_json::from_str::<Histogram>("\"nonsense\"").is_err());
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
        assert_eq!(Histogram::default().count_from(0), 0);
    }
}
