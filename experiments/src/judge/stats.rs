//! The statistics of the report. Equal inputs give equal results, because the bootstrap has a fixed seed.

use rayon::prelude::*;

use crate::plans::rng::Rng;

/// Number of resamples of the bootstrap, and number of resamples that share a generator.
const RESAMPLES: u64 = 20_000;
const PER_SEED: u64 = 500;

/// A ratio from paired blocks. With more than one block it has a 95 % interval.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ratio {
    /// Geometric mean over the blocks.
    pub(crate) ratio: f64,
    pub(crate) interval: Option<(f64, f64)>,
    /// The ratio of each block.
    pub(crate) blocks: Vec<f64>,
}

impl Ratio {
    /// Computes the ratio with a bootstrap interval; None without blocks. A block whose ratio is not a positive number
    /// is left out.
    pub(crate) fn of_blocks(ratios: &[f64]) -> Option<Ratio> {
        let blocks: Vec<f64> = ratios.iter().copied().filter(|r| r.is_finite() && *r > 0.0).collect();
        let logs: Vec<f64> = blocks.iter().map(|r| r.ln()).collect();
        let ratio = mean(&logs)?.exp();
        let interval = bootstrap_mean(&logs).map(|(low, high)| (low.exp(), high.exp()));
        Some(Ratio { ratio, interval, blocks })
    }

    /// Computes the ratio with the interval of Student's t. This interval holds for few blocks too, if the logarithms
    /// of the ratios are normal.
    pub(crate) fn of_pairs(ratios: &[f64]) -> Option<Ratio> {
        let blocks: Vec<f64> = ratios.iter().copied().filter(|r| r.is_finite() && *r > 0.0).collect();
        let logs: Vec<f64> = blocks.iter().map(|r| r.ln()).collect();
        let mean = mean(&logs)?;
        let interval = student_half_width(&logs).map(|half| ((mean - half).exp(), (mean + half).exp()));
        Some(Ratio { ratio: mean.exp(), interval, blocks })
    }

    /// Returns the greatest distance of the interval from 1, as a factor of at least 1.
    pub(crate) fn reach(&self) -> f64 {
        let (low, high) = self.interval.unwrap_or((self.ratio, self.ratio));
        (1.0 / low).max(high).max(1.0)
    }
}

/// The verdict of paired blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There are fewer blocks than [`ENOUGH_BLOCKS`].
    TooFew,
    /// The interval contains 1, or the ratio lies within the noise floor.
    NotDistinguishable,
    Faster,
    Slower,
}

/// Minimum number of blocks for a verdict. All of this number fall on one side by chance in less than 5 % of cases.
pub(crate) const ENOUGH_BLOCKS: usize = 6;

/// Returns the verdict. `noise_floor` is the reach of the A/A control, or 1 without a control.
pub(crate) fn verdict(ratio: &Ratio, noise_floor: f64) -> Verdict {
    let Some((low, high)) = ratio.interval.filter(|_| ratio.blocks.len() >= ENOUGH_BLOCKS) else {
        return Verdict::TooFew;
    };
    let within_noise = ratio.ratio.max(1.0 / ratio.ratio) <= noise_floor;
    match (low, high) {
        _ if within_noise => Verdict::NotDistinguishable,
        (low, _) if low > 1.0 => Verdict::Faster,
        (_, high) if high < 1.0 => Verdict::Slower,
        _ => Verdict::NotDistinguishable,
    }
}

pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Returns a quantile, with linear interpolation between neighbours.
pub(crate) fn quantile(values: &[f64], fraction: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, fraction)
}

fn quantile_of_sorted(sorted: &[f64], fraction: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = fraction.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

/// 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom (NIST/SEMATECH e-Handbook, section 1.3.6.7.2).
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// Returns half of the 95 % interval of the mean, by Student's t. None for fewer than two values. Above 30 degrees of
/// freedom the quantile of 30 is used, which makes the interval at most 4 % too wide.
fn student_half_width(values: &[f64]) -> Option<f64> {
    let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
    let mean = mean(values)?;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / freedom as f64;
    let quantile = STUDENT[freedom.min(STUDENT.len()) - 1];
    Some(quantile * (variance / values.len() as f64).sqrt())
}

/// Returns the 95 % percentile interval of the mean. None for fewer than two values.
fn bootstrap_mean(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let resample = |rng: &mut Rng| {
        let sum: f64 = (0..values.len()).map(|_| values[rng.below(values.len() as u64) as usize]).sum();
        sum / values.len() as f64
    };
    let chunks = (0..RESAMPLES / PER_SEED).into_par_iter();
    let mut means: Vec<f64> = chunks
        .flat_map_iter(|seed| {
            let mut rng = Rng::new(seed);
            (0..PER_SEED).map(move |_| resample(&mut rng))
        })
        .collect();
    means.par_sort_unstable_by(f64::total_cmp);
    Some((quantile_of_sorted(&means, 0.025)?, quantile_of_sorted(&means, 0.975)?))
}

/// Computes the two-sided sign test: the probability that at least this number of blocks lies on one side of 1 by
/// chance.
pub(crate) fn sign_test(ratios: &[f64]) -> f64 {
    let above = ratios.iter().filter(|r| **r > 1.0).count();
    let below = ratios.iter().filter(|r| **r < 1.0).count();
    let n = above + below;
    let most = above.max(below);
    let mut ways = 1.0;
    let mut tail = 0.0;
    for k in 0..=n {
        if k >= most {
            tail += ways;
        }
        ways *= (n - k) as f64 / (k + 1) as f64;
    }
    (2.0 * tail / 2f64.powi(n as i32)).min(1.0)
}

/// Computes Jain's index of fairness: 1 when all values are equal, 1/n when one value has everything.
pub(crate) fn jain(values: &[u64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|v| *v as f64).sum();
    let squares: f64 = values.iter().map(|v| (*v as f64).powi(2)).sum();
    (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

/// Rounds to six significant digits. So stored numbers do not depend on the last bit of a logarithm.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_ratio_is_a_geometric_mean_with_an_interval_around_it() {
        let ratio = Ratio::of_blocks(&[0.5, 2.0]).unwrap();
        assert!(near(ratio.ratio, 1.0));
        let ratios = [1.08, 1.12, 1.10, 1.09, 1.13, 1.08];
        let (ratio, again) = (Ratio::of_blocks(&ratios).unwrap(), Ratio::of_blocks(&ratios).unwrap());
        assert_eq!(ratio, again);
        let (low, high) = ratio.interval.unwrap();
        assert!(1.08 < low && low < ratio.ratio && ratio.ratio < high && high < 1.13, "{ratio:?}");
        assert!(near(ratio.reach(), high));
        assert_eq!(Ratio::of_blocks(&[1.5]).unwrap().interval, None);
        assert_eq!(Ratio::of_blocks(&[f64::NAN, 0.0, f64::INFINITY]), None);
    }

    #[test]
    fn the_interval_of_the_mean_is_as_wide_as_theory_says() {
        let values: Vec<f64> = (0..400).map(f64::from).collect();
        let (low, high) = bootstrap_mean(&values).unwrap();
        let half = 1.96 * (400.0 * 400.0 / 12.0f64).sqrt() / 20.0;
        assert!((199.5 - low - half).abs() < 0.6 && (high - 199.5 - half).abs() < 0.6, "{low} {high} {half}");
    }

    #[test]
    fn pairs_have_the_interval_of_student() {
        // The mean of 1, 2, 3 is 2, its standard error 1 / sqrt(3), and t(2) is 4.303.
        assert!(near(student_half_width(&[1.0, 2.0, 3.0]).unwrap(), 4.303 / 3f64.sqrt()));
        let thirty_one = [[0.0; 31].as_slice(), &[1.0; 31]].concat();
        let half = student_half_width(&thirty_one).unwrap();
        assert!(near(half, 2.042 * (15.5 / 61.0 / 62.0f64).sqrt()), "{half}");
        assert_eq!(student_half_width(&[1.0]), None);
        let ratio = Ratio::of_pairs(&[0.9, 1.0 / 0.9, f64::NAN]).unwrap();
        let (low, high) = ratio.interval.unwrap();
        assert!(near(ratio.ratio, 1.0) && near(low * high, 1.0) && ratio.blocks.len() == 2);
        assert!(near(high.ln(), 12.706 * (1.0 / 0.9f64).ln()), "{high}");
    }

    #[test]
    fn verdicts() {
        let cases: [(&[f64], f64, Verdict); 6] = [
            (&[1.1; 6], 1.0, Verdict::Faster),
            (&[0.9; 6], 1.02, Verdict::Slower),
            (&[1.1; 6], 1.2, Verdict::NotDistinguishable),
            (&[0.9; 6], 1.2, Verdict::NotDistinguishable),
            (&[0.9, 1.1, 0.95, 1.05, 1.0, 1.0], 1.0, Verdict::NotDistinguishable),
            (&[1.5; 5], 1.0, Verdict::TooFew),
        ];
        for (blocks, noise_floor, expected) in cases {
            assert_eq!(verdict(&Ratio::of_blocks(blocks).unwrap(), noise_floor), expected, "{blocks:?}");
        }
    }

    #[test]
    fn quantiles_fairness_and_signs() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(quantile(&[10.0, 20.0], 0.25), Some(12.5));
        assert_eq!(median(&[]), None);
        assert!(near(jain(&[5, 5, 5, 5]).unwrap(), 1.0) && near(jain(&[8, 0, 0, 0]).unwrap(), 0.25));
        assert_eq!(jain(&[]), None);
        assert!(near(sign_test(&[1.1; 6]), 2.0 / 64.0) && near(sign_test(&[0.9, 1.1]), 1.0));
        assert!(near(sign_test(&[0.9, 1.1, 1.1, 1.1, 1.1, 1.1]), 14.0 / 64.0));
    }

    #[test]
    fn rounding_keeps_six_digits() {
        for (value, expected) in
            [(123_456.789, 123_457.0), (0.001_234_567_8, 0.001_234_57), (0.0, 0.0), (-2.5, -2.5)]
        {
            assert_eq!(rounded(value), expected);
        }
    }
}
