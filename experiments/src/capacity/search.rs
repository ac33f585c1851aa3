//! The search for the highest rate that holds an objective. The search is pure: it asks a function whether a rate holds.

use std::time::Duration;

use crate::run::lab::Trouble;

/// A limit for the latency of a share of the requests.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Objective {
    /// The objective in words, such as `p99 ≤ 20ms`.
    pub(crate) text: String,
    /// Between 0 and 1.
    pub(crate) share: f64,
    pub(crate) limit: Duration,
}

/// Reads an objective such as `p99=20ms`.
pub(crate) fn objective(given: &str) -> Result<Objective, String> {
    let parsed = || {
        let (percent, limit) = given.strip_prefix('p')?.split_once('=')?;
        let (percent, limit) = (percent.parse::<f64>().ok()?, humantime::parse_duration(limit).ok()?);
        let is_meant = percent > 0.0 && percent < 100.0 && limit > Duration::ZERO;
        let text = given.replacen('=', " ≤ ", 1);
        is_meant.then_some(Objective { text, share: percent / 100.0, limit })
    };
    let form = "expected a percentile and a time, such as p99=20ms or p99.9=5ms";
    parsed().ok_or_else(|| format!("{given:?}: {form}"))
}

/// The first rate of a search in requests per second, and the range of the search.
const FIRST: f64 = 1000.0;
const LEAST: f64 = 10.0;
const MOST: f64 = 200_000.0;
/// The search ends when the lowest failing rate is at most this share higher than the result.
const TOLERANCE: f64 = 0.05;

/// Returns the highest rate that holds; None when even the least rate fails.
///
/// The rate is doubled until it fails, and then the middle between the last two rates is tried. A rate fails if two
/// runs fail before two runs hold, so one disturbed run decides nothing.
pub(crate) fn highest(mut holds: impl FnMut(f64) -> Result<bool, Trouble>) -> Result<Option<f64>, Trouble> {
    let mut twice = |rate: f64| {
        let [first, second] = [holds(rate)?, holds(rate)?];
        if first == second { Ok(first) } else { holds(rate) }
    };
    let (mut low, mut high) = (0.0, f64::INFINITY);
    while low < MOST && high > LEAST && high > low * (1.0 + TOLERANCE) {
        let rate = match (low > 0.0, high.is_finite()) {
            (false, false) => FIRST,
            (true, false) => (low * 2.0).min(MOST),
            (false, true) => (high / 2.0).max(LEAST),
            (true, true) => (low * high).sqrt(),
        };
        *(if twice(rate)? { &mut low } else { &mut high }) = rate;
    }
    Ok((low > 0.0).then_some(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read() {
        let cases = [
            ("p99=20ms", Some("p99 ≤ 20ms")),
            ("p99.9=5ms", Some("p99.9 ≤ 5ms")),
            ("p50=1s", Some("p50 ≤ 1s")),
            ("99=20ms", None),
            ("p100=20ms", None),
            ("p0=20ms", None),
            ("p99=0s", None),
            ("p99=fast", None),
            ("p99", None),
        ];
        for (text, expected) in cases {
            let read = objective(text);
            assert_eq!(read.as_ref().ok().map(|objective| objective.text.as_str()), expected, "{text}");
            assert!(read.is_ok() || read.unwrap_err().contains("such as p99=20ms"), "{text}");
        }
    }

    #[test]
    fn a_threshold_is_found_one_disturbed_run_decides_nothing_and_an_error_ends_the_search() {
        // Every so many runs, one is disturbed.
        let quiet = [0.0, 9.0, 11.0, 950.0, 1000.0, 12_345.0, 1e9].map(|threshold| (threshold, usize::MAX));
        for (threshold, every) in quiet.into_iter().chain([(5000.0, 5)]) {
            let mut runs = 0;
            let holds = |rate| {
                runs += 1;
                Ok(rate <= threshold && runs % every != 0)
            };
            let (found, most) = (highest(holds).unwrap(), threshold.min(MOST));
            let is_close = |found: f64| (most / (1.0 + TOLERANCE)..=most).contains(&found);
            assert_eq!(found.is_some(), threshold >= LEAST, "{threshold}: {found:?}");
            assert!(found.is_none_or(is_close) && runs <= 30, "{threshold}: {found:?}, {runs} runs");
        }
        assert!(matches!(highest(|_| Err(Trouble::Failed(String::new()))), Err(Trouble::Failed(_))));
    }
}
