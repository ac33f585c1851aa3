//! A histogram of times or sizes: small enough to store for each cell, and fine enough for the tail.

use derive_more::Deref;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize};

/// Significant decimal digits. So the error of a value is at most 1 %.
const DIGITS: u8 = 2;

/// The number of samples of each value. Stored as an HdrHistogram (version 2) in hexadecimal digits: the file of a run is
/// compressed as a whole, which is smaller than base64 of compressed histograms.
#[derive(Debug, Clone, PartialEq, Deref)]
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

    /// Returns the mean; None without values.
    pub(crate) fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.mean())
    }

    /// Returns the value that this fraction of all values does not exceed. None if no value can lie above it.
    pub(crate) fn percentile(&self, fraction: f64) -> Option<u64> {
        let is_known = self.len() as f64 * (1.0 - fraction) >= 0.999;
        is_known.then(|| self.0.value_at_quantile(fraction))
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
        assert_eq!((histogram.len(), histogram.max()), (1000, 1003));
        assert!((histogram.mean().unwrap() / 500.5 - 1.0).abs() < 0.01);
        for fraction in [0.1, 0.5, 0.99, 0.999] {
            let value = histogram.percentile(fraction).unwrap();
            assert!((value as f64 / (fraction * 1000.0) - 1.0).abs() < 0.011, "{fraction}: {value}");
        }
        assert_eq!(histogram.percentile(0.9999), None);
        let text = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
        assert!(serde_json::from_str::<Histogram>("\"nonsense\"").is_err());
    }

    #[test]
    fn few_values_have_few_percentiles_and_none_have_none() {
        assert_eq!(Histogram::of(&[5, 1, 2, 4, 3]).quantiles(4), [1, 2, 3, 4, 5]);
        assert!(Histogram::default().quantiles(4).is_empty());
        assert_eq!([0.5, 0.6].map(|fraction| Histogram::of(&[7, 8]).percentile(fraction)), [Some(7), None]);
        assert_eq!((Histogram::default().percentile(0.1), Histogram::default().mean()), (None, None));
        assert_eq!(Histogram::of(&[5, 50, 500]).count_from(50), 2);
        assert_eq!(Histogram::default().count_from(0), 0);
    }
}
