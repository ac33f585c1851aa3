//! The search for the highest rate that holds an objective. The search is pure: it asks a function whether a rate holds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A limit for the latency of a share of the requests, such as `p99=20ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Objective {
    /// Between 0 and 1.
    pub(crate) share: f64,
    pub(crate) limit: Duration,
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: expected a percentile and a time, such as p99=20ms or p99.9=5ms");
        let (percent, limit) =
            text.strip_prefix('p').and_then(|rest| rest.split_once('=')).ok_or_else(wrong)?;
        let percent: f64 = percent.parse().map_err(|_| wrong())?;
        let limit = humantime::parse_duration(limit).map_err(|_| wrong())?;
        if percent > 0.0 && percent < 100.0 && limit > Duration::ZERO {
            Ok(Objective { share: percent / 100.0, limit })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded, because 0.999 x 100 is not 99.9 in binary.
        let percent = (self.share * 1e8).round() / 1e6;
        write!(f, "p{percent} ≤ {}", humantime::format_duration(self.limit))
    }
}

/// The range of the search, in requests per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    /// The first rate.
    pub(crate) first: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// The search ends when the lowest failing rate is at most this much higher than the result, such as 0.05.
    pub(crate) tolerance: f64,
}

/// Returns the highest rate that holds; None when even the least rate fails.
///
/// The rate is doubled until it fails, and then the middle between the last two rates is tried. A rate fails if two
/// runs fail before two runs hold, so one disturbed run decides nothing.
pub(crate) fn highest<E>(
    range: Range,
    mut holds: impl FnMut(f64) -> Result<bool, E>,
) -> Result<Option<f64>, E> {
    let mut twice = |rate: f64| -> Result<bool, E> {
        let (mut held, mut failed) = (0, 0);
        while held < 2 && failed < 2 {
            *(if holds(rate)? { &mut held } else { &mut failed }) += 1;
        }
        Ok(held == 2)
    };
    let (mut low, mut high) = (None, None);
    let mut rate = range.first.clamp(range.least, range.most);
    loop {
        if twice(rate)? {
            low = Some(rate);
        } else {
            high = Some(rate);
        }
        rate = match (low, high) {
            (Some(low), _) if low >= range.most => return Ok(Some(low)),
            (Some(low), None) => (low * 2.0).min(range.most),
            (None, Some(high)) if high <= range.least => return Ok(None),
            (None, Some(high)) => (high / 2.0).max(range.least),
            (Some(low), Some(high)) if high / low <= 1.0 + range.tolerance => return Ok(Some(low)),
            (Some(low), Some(high)) => (low * high).sqrt(),
            (None, None) => return Ok(None),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::capacity::load::{Rng, exponential};

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
            let read = text.parse::<Objective>();
            assert_eq!(read.as_ref().map(ToString::to_string).ok().as_deref(), expected, "{text}");
            assert!(read.is_ok() || read.unwrap_err().contains("such as p99=20ms"), "{text}");
        }
    }

    const RANGE: Range = Range { first: 1000.0, least: 10.0, most: 100_000.0, tolerance: 0.05 };

    #[test]
    fn a_threshold_is_found() {
        let cases = [
            (0.0, None),
            (9.0, None),
            (11.0, Some(11.0)),
            (950.0, Some(950.0)),
            (1000.0, Some(1000.0)),
            (12_345.0, Some(12_345.0)),
            (1e9, Some(100_000.0)),
        ];
        for (threshold, expected) in cases {
            let mut runs = 0;
            let found = highest(RANGE, |rate| {
                runs += 1;
                Ok::<_, Infallible>(rate <= threshold)
            });
            let close = |found: f64, expected: f64| found <= expected && found >= expected / 1.05;
            match (found.unwrap(), expected) {
                (Some(found), Some(expected)) => assert!(close(found, expected), "{threshold}: {found}"),
                (found, expected) => assert_eq!(found, expected, "{threshold}"),
            }
            assert!(runs <= 30, "{threshold}: {runs} runs");
        }
    }

    #[test]
    fn one_disturbed_run_decides_nothing_and_an_error_ends_the_search() {
        let mut run = 0;
        let found = highest(RANGE, |rate| {
            run += 1;
            Ok::<_, Infallible>(rate <= 5000.0 && run % 5 != 0)
        });
        assert!((4700.0..=5000.0).contains(&found.unwrap().unwrap()), "{found:?}");
        assert_eq!(highest(RANGE, |_| Err("broken")), Err("broken"));
    }

    /// Returns the percentile of the times in the system of an M/M/1 queue: random arrivals, one server with random
    /// service times.
    fn queue(rng: &mut Rng, arrivals_hz: f64, service_hz: f64, share: f64) -> f64 {
        let (mut now, mut free) = (0.0, 0.0);
        let mut times: Vec<f64> = (0..100_000)
            .map(|_| {
                now += exponential(rng) / arrivals_hz;
                free = f64::max(now, free) + exponential(rng) / service_hz;
                free - now
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[(times.len() as f64 * share) as usize]
    }

    /// In an M/M/1 queue the time in the system has an exponential distribution with the rate `service - arrivals`. So
    /// p99 = ln(100) / (service - arrivals).
    #[test]
    fn the_capacity_of_a_queue_is_what_theory_says() {
        let objective: Objective = "p99=20ms".parse().unwrap();
        for service_hz in [1000.0, 5000.0, 40_000.0] {
            let expected = service_hz - 100f64.ln() / objective.limit.as_secs_f64();
            let mut rng = Rng(7);
            let found = highest(RANGE, |rate| {
                let latency_s = queue(&mut rng, rate, service_hz, objective.share);
                Ok::<_, Infallible>(latency_s <= objective.limit.as_secs_f64())
            });
            let found = found.unwrap().unwrap();
            assert!((found / expected).ln().abs() < 0.08, "{service_hz}: {found}, theory {expected}");
        }
    }
}
