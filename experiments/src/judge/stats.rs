//! The statistics of the report: paired ratios with the interval of Student's t, the exact sign test, fairness.

use itertools::Itertools;
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};
use statrs::statistics::Statistics;

/// A ratio from paired blocks. With more than one block it has a 95 % interval.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ratio {
    /// Geometric mean over the blocks.
    pub(crate) ratio: f64,
    /// Student's t over the logarithms of the blocks' ratios. It holds for few blocks too.
    pub(crate) interval: Option<(f64, f64)>,
    /// The ratio of each block.
    pub(crate) blocks: Vec<f64>,
}

/// The verdict about `a / b`. The bounds are factors above 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// There are fewer than [`ENOUGH_BLOCKS`] blocks.
    TooFew,
    /// `a` is faster by these factors.
    Faster(f64, f64),
    /// `b` is faster by these factors.
    Slower(f64, f64),
    /// The interval contains 1: any difference is smaller than this factor.
    Within(f64),
}

/// Minimum number of blocks for a verdict. With fewer blocks the interval is too wide to say anything.
pub(crate) const ENOUGH_BLOCKS: usize = 4;

impl Ratio {
    /// Computes the ratio; None without blocks. A block whose ratio is not a positive number is left out.
    pub(crate) fn of_blocks(ratios: impl IntoIterator<Item = f64>) -> Option<Ratio> {
        let blocks: Vec<f64> = ratios.into_iter().filter(|r| r.is_finite() && *r > 0.0).collect();
        let logs: Vec<f64> = blocks.iter().map(|r| r.ln()).collect();
        let mean = Some(logs.as_slice().mean()).filter(|mean| mean.is_finite())?;
        let interval = student_half_width(&logs).map(|half| ((mean - half).exp(), (mean + half).exp()));
        Some(Ratio { ratio: mean.exp(), interval, blocks })
    }

    /// Returns the greatest distance of the interval from 1, as a factor of at least 1.
    pub(crate) fn reach(&self) -> f64 {
        let (low, high) = self.interval.unwrap_or((self.ratio, self.ratio));
        (1.0 / low).max(high).max(1.0)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self.interval.filter(|_| self.blocks.len() >= ENOUGH_BLOCKS) {
            None => Verdict::TooFew,
            Some((low, high)) if low > 1.0 => Verdict::Faster(low, high),
            Some((low, high)) if high < 1.0 => Verdict::Slower(1.0 / high, 1.0 / low),
            Some(_) => Verdict::Within(self.reach()),
        }
    }
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(values, 0.5)
}

/// Returns a quantile, with linear interpolation between neighbours.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, fraction: f64) -> Option<f64> {
    let sorted = values.into_iter().sorted_by(f64::total_cmp).collect_vec();
    let last = sorted.len().checked_sub(1)?;
    let at = fraction.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

/// Returns half of the 95 % interval of the mean, by Student's t. None for fewer than two values.
fn student_half_width(values: &[f64]) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, values.len() as f64 - 1.0).ok()?;
    Some(student.inverse_cdf(0.975) * (values.variance() / values.len() as f64).sqrt())
}

/// Computes the two-sided sign test: the probability that at least this number of blocks lies on one side of 1 by
/// chance.
pub(crate) fn sign_test(ratios: &[f64]) -> f64 {
    let above = ratios.iter().filter(|r| **r > 1.0).count();
    let below = ratios.iter().filter(|r| **r < 1.0).count();
    let chance = Binomial::new(0.5, (above + below) as u64);
    chance.map_or(1.0, |chance| (2.0 * chance.cdf(above.min(below) as u64)).min(1.0))
}

/// Computes Jain's index of fairness: 1 when all values are equal, 1/n when one value has everything.
pub(crate) fn jain(values: &[u64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|v| *v as f64).sum();
    let squares: f64 = values.iter().map(|v| (*v as f64).powi(2)).sum();
    (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

/// Rounds to six significant digits. So stored numbers do not depend on the last bit of a logarithm.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn ratios_have_the_interval_of_student() {
        // The mean of 1, 2, 3 is 2, its standard error 1 / sqrt(3), and t(2) is 4.30265.
        assert!((student_half_width(&[1.0, 2.0, 3.0]).unwrap() - 4.30265 / 3f64.sqrt()).abs() < 1e-5);
        assert_eq!(student_half_width(&[1.0]), None);
        let ratio = Ratio::of_blocks([0.9, 1.0 / 0.9, f64::NAN]).unwrap();
        let (low, high) = ratio.interval.unwrap();
        assert!(near(ratio.ratio, 1.0) && near(low * high, 1.0) && ratio.blocks.len() == 2);
        assert!((high.ln() - 12.7062 * (1.0 / 0.9f64).ln()).abs() < 1e-4, "{high}");
        assert_eq!(Ratio::of_blocks([f64::NAN, 0.0, f64::INFINITY]), None);
    }

    /// Draws blocks from a known ratio, many times, and counts how often the interval contains it.
    #[test]
    fn the_interval_of_six_blocks_covers_95_of_100_studies() {
        const STUDIES: usize = 4000;
        let mut rng = Rng::with_seed(7);
        // The sum of twelve uniform numbers is nearly normal.
        let mut normal = || (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        let mut covers = || {
            let blocks = (0..6).map(|_| 1.1 * (0.05 * normal()).exp());
            let (low, high) = Ratio::of_blocks(blocks).unwrap().interval.unwrap();
            (low..high).contains(&1.1)
        };
        let covered = (0..STUDIES).filter(|_| covers()).count() as f64 / STUDIES as f64;
        assert!((0.94..0.96).contains(&covered), "{covered}");
    }

    #[test]
    fn quantiles_fairness_signs_and_rounding() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(quantile([10.0, 20.0], 0.25), Some(12.5));
        assert_eq!(median([]), None);
        assert!(near(jain(&[5, 5, 5, 5]).unwrap(), 1.0) && near(jain(&[8, 0, 0, 0]).unwrap(), 0.25));
        assert_eq!(jain(&[]), None);
        assert!(near(sign_test(&[1.1; 6]), 2.0 / 64.0) && near(sign_test(&[0.9, 1.1]), 1.0));
        assert!(near(sign_test(&[0.9, 1.1, 1.1, 1.1, 1.1, 1.1]), 14.0 / 64.0));
        let values = [123_456.789, 0.001_234_567_8, 0.0, -2.5, f64::INFINITY];
        assert_eq!(values.map(rounded), [123_457.0, 0.001_234_57, 0.0, -2.5, f64::INFINITY]);
    }
}
