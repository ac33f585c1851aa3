//! A histogram of whole numbers, such as latencies in microseconds, with a bounded relative error.

/// Parts of each power of two. So a value is known to within 1/64 of itself.
const PARTS: u64 = 64;
const PART_BITS: u32 = PARTS.trailing_zeros();

/// Counts of values by size. Values below 128 are exact; a larger value counts as the upper end of its part, which is at
/// most 1.6 % more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        let place = place(value);
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Adds all values of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Returns the number of values.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the value that a share of all values does not exceed; None without a value. `share` is from 0 to 1.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = ((share * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut sum = 0;
        let found = self.counts.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        found.map(|place| upper_end(place).min(self.max))
    }
}

fn place(value: u64) -> usize {
    let exponent = (u64::BITS - value.leading_zeros()).saturating_sub(PART_BITS + 1);
    (u64::from(exponent) * PARTS + (value >> exponent)) as usize
}

fn upper_end(place: usize) -> u64 {
    let place = place as u64;
    if place < 2 * PARTS {
        return place;
    }
    let exponent = place / PARTS - 1;
    let part = place % PARTS + PARTS;
    // The last part of u64 ends at its maximum.
    ((u128::from(part + 1) << exponent) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_part_and_parts_are_small() {
        let powers = (0..64).map(|n| 1_u64 << n);
        for value in powers.flat_map(|p| [p - 1, p, p + 1, p + p / 3]).chain([0, 127, 128, u64::MAX]) {
            let end = upper_end(place(value));
            assert!(end >= value && end - value <= value / PARTS, "{value}: {end}");
            assert_eq!(place(end), place(value));
        }
    }

    #[test]
    fn quantiles_of_known_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=100).for_each(|value| histogram.add(value));
        for (share, value) in [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(histogram.quantile(share), Some(value), "{share}");
        }
        let mut sum = Histogram::default();
        sum.add(1_000_000);
        sum.merge(&histogram);
        assert_eq!((sum.total(), sum.quantile(1.0)), (101, Some(1_000_000)));
    }
}
