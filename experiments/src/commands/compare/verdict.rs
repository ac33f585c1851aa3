//! The ratios of the newer build to the older build, and the verdict.

use crate::commands::peers::measure::Sample;
use crate::commands::peers::rows::Metric;
use crate::judge::stats::{Ratio, median};
use crate::report::text_table::TextTable;

/// Maximum distance of a ratio from 1, beyond its interval, before the newer build is worse.
const ALLOWED: f64 = 0.03;

/// All pairs of one cell.
pub(super) struct Compared {
    name: String,
    /// Each pair has the sample of the older build, then the sample of the newer build.
    pub(super) pairs: Vec<[Sample; 2]>,
}

impl Compared {
    pub(super) fn new(name: &str) -> Self {
        Compared { name: name.into(), pairs: Vec::new() }
    }

    /// Returns the ratio of the newer build's value to the older build's value, over the pairs with both values.
    fn ratio(&self, metric: Metric) -> Option<Ratio> {
        let ratio = |[base, new]: &[Sample; 2]| Some(new.get(&metric)? / base.get(&metric)?);
        Ratio::of_blocks(&self.pairs.iter().filter_map(ratio).collect::<Vec<_>>())
    }

    /// Returns the median of one build: 0 is the older build, 1 is the newer build.
    fn median(&self, build: usize, metric: Metric) -> Option<f64> {
        median(&self.pairs.iter().filter_map(|pair| pair[build].get(&metric).copied()).collect::<Vec<_>>())
    }

    /// Returns the number of failures of one build.
    fn failed(&self, build: usize) -> f64 {
        self.pairs.iter().filter_map(|pair| pair[build].get(&Metric::Failed)).sum()
    }

    /// Returns the reasons why the newer build is not good enough; empty when it is.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (build, name) in [(0, "base"), (1, "new")] {
            let failed = self.failed(build);
            if failed > 0.0 {
                complaints.push(format!("{}: {failed} requests or connections of {name} failed", self.name));
            }
        }
        let worst = [
            (Metric::Rate, "requests per second", 1.0 - ALLOWED),
            (Metric::Cpu, "CPU time per request", 1.0 + ALLOWED),
        ];
        for (metric, title, bound) in worst {
            let Some((ratio, (low, high))) = self.ratio(metric).and_then(|r| Some((r.ratio, r.interval?)))
            else {
                complaints.push(format!("{}: fewer than two pairs have a ratio of {title}", self.name));
                continue;
            };
            if if metric == Metric::Rate { high < bound } else { low > bound } {
                let interval = format!("95 % interval {low:.3} to {high:.3}");
                complaints.push(format!("{}: {title} {ratio:.3}, {interval}, bound {bound}", self.name));
            }
        }
        complaints
    }

    fn line(&self) -> Vec<String> {
        let number = |value: Option<f64>, metric: Metric| {
            value.map_or("-".into(), |value| format!("{value:.*}", metric.decimals()))
        };
        let mut line = vec![self.name.clone()];
        for metric in [Metric::Rate, Metric::Cpu] {
            line.extend([0, 1].map(|build| number(self.median(build, metric), metric)));
            let ratio = self.ratio(metric);
            line.push(ratio.as_ref().map_or("-".into(), |ratio| format!("{:.3}", ratio.ratio)));
            let interval = ratio.and_then(|ratio| ratio.interval);
            line.push(interval.map_or("-".into(), |(low, high)| format!("{low:.3}..{high:.3}")));
        }
        line.push(format!("{} + {}", self.failed(0), self.failed(1)));
        line.push(if self.complaints().is_empty() { "ok" } else { "WORSE" }.into());
        line
    }
}

/// Formats the table, with one line per cell.
pub(super) fn table(compared: &[Compared]) -> String {
    let heading =
        ["cell", "req/s base", "new", "ratio", "95 %", "us/req base", "new", "ratio", "95 %", "failed", ""];
    let mut lines = vec![heading.map(String::from).to_vec()];
    lines.extend(compared.iter().map(Compared::line));
    TextTable { words: 1, lines }.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes pairs of an older build (1000 requests per second, 10 us) and a newer build with these ratios.
    fn compared(ratios: &[(f64, f64)]) -> Compared {
        let sample = |rate: f64, cpu: f64| {
            Sample::from([(Metric::Rate, 1000.0 * rate), (Metric::Cpu, 10.0 * cpu), (Metric::Failed, 0.0)])
        };
        let pairs = ratios.iter().map(|(rate, cpu)| [sample(1.0, 1.0), sample(*rate, *cpu)]);
        Compared { name: "async c10".into(), pairs: pairs.collect() }
    }

    #[test]
    fn only_a_ratio_that_is_worse_beyond_its_interval_is_worse() {
        // Ratios of requests per second and of CPU time, parts of the complaints.
        type Case = (&'static [(f64, f64)], &'static [&'static str]);
        let cases: [Case; 7] = [
            (&[(1.0, 1.0), (1.01, 0.99), (0.99, 1.01)], &[]),
            (&[(1.3, 0.7), (1.31, 0.69)], &[]),
            // 4 % worse in every pair.
            (&[(0.96, 1.0), (0.961, 1.0), (0.959, 1.0)], &["requests per second 0.960"]),
            (&[(1.0, 1.04), (1.0, 1.041), (1.0, 1.039)], &["CPU time per request 1.040"]),
            // 4 % worse on average, with an interval that includes the bound.
            (&[(0.90, 1.1), (1.02, 0.98), (0.96, 1.04)], &[]),
            // 2 % worse without any noise.
            (&[(0.98, 1.02), (0.9801, 1.0201)], &[]),
            (&[(1.0, 1.0)], &["fewer than two pairs", "fewer than two pairs"]),
        ];
        for (ratios, expected) in cases {
            let found = compared(ratios).complaints();
            assert_eq!(found.len(), expected.len(), "{ratios:?}: {found:?}");
            for (complaint, part) in found.iter().zip(expected) {
                assert!(complaint.starts_with("async c10: ") && complaint.contains(part), "{complaint}");
            }
        }
    }

    #[test]
    fn every_failure_of_either_build_is_a_complaint() {
        for build in [0, 1] {
            let mut compared = compared(&[(1.0, 1.0), (1.01, 1.0), (0.99, 1.0)]);
            compared.pairs[1][build] = Sample::from([(Metric::Failed, 7.0)]);
            let found = compared.complaints();
            assert!(found.len() == 1 && found[0].contains("7 requests or connections"), "{found:?}");
            assert!(found[0].contains(["base", "new"][build]), "{found:?}");
        }
    }

    #[test]
    fn the_table_says_ratio_interval_and_verdict() {
        let text = table(&[compared(&[(0.5, 2.0), (0.5, 2.0)])]);
        let line = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = "async c10 1000 500 0.500 0.500..0.500 10.0 20.0 2.000 2.000..2.000 0 + 0 WORSE";
        assert_eq!(line, expected);
    }
}
