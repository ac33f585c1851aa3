//! The ratios of the newer build to the older build, and the verdict.

use crate::judge::measure;
use crate::judge::record::Record;
use crate::judge::stats::{Ratio, median};
use crate::judge::study::{Group, Measure, Study, load};
use crate::plans::model::Work;
use crate::report::doc::Table;
use crate::report::number::load_name;

/// Maximum distance of a ratio from 1, beyond its interval, before the newer build is worse.
const ALLOWED: f64 = 0.03;

/// The compared measures: the name, the measure, its decimals, and true when a larger value is better.
const MEASURES: [(&str, Measure, usize, bool); 2] =
    [("requests per second", measure::rate, 0, true), ("CPU time per request", measure::cpu_us, 1, false)];

/// One load with both builds. A pair has the value of the older build, then the value of the newer build in the same
/// block.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared {
    name: String,
    /// The pairs of each measure.
    pairs: [Vec<[f64; 2]>; 2],
    /// Failures of each build.
    failed: [u64; 2],
}

/// Compares the targets `base-ENGINE` and `new-ENGINE` of a study.
pub(super) fn of_builds(study: &Study) -> Vec<Compared> {
    let older = study.groups(|cell| cell.target.starts_with("base-"));
    let compared = older.iter().filter_map(|base| {
        let engine = base.cell.target.strip_prefix("base-")?;
        let new = study.twin(base.cell, &format!("new-{engine}"))?;
        Some(Compared::new(engine, base, &new))
    });
    compared.collect()
}

/// Compares the loads that two runs measured at least twice.
pub(super) fn of_runs(older: &Study, newer: &Study) -> Vec<Compared> {
    let groups = newer.groups(|cell| cell.work == Work::Load);
    let compared = groups.iter().filter_map(|new| {
        let base = older.twin(new.cell, &new.cell.target)?;
        Some(Compared::new(&new.cell.target, &base, new))
    });
    compared.filter(|compared| compared.pairs[0].len() > 1).collect()
}

impl Compared {
    fn new(target: &str, base: &Group<'_>, new: &Group<'_>) -> Self {
        let (older, newer) = (base.shown(), new.shown());
        let pairs = MEASURES.map(|(_, measure, ..)| {
            let value = |run: &Record| measure(&run.cell, load(run)?);
            let pair = |base: &&Record| {
                let place = (base.cell.section, base.cell.block);
                let new = newer.iter().find(|new| (new.cell.section, new.cell.block) == place)?;
                Some([value(base)?, value(new)?])
            };
            older.iter().filter_map(pair).collect()
        });
        let body = if new.cell.body_bytes == 128 { String::new() } else { format!(", {}", new.cell.path) };
        let name = format!("{target} {}{body}", load_name(new.cell));
        Compared {
            name,
            pairs,
            failed: [base, new].map(|group| group.runs.iter().map(|run| measure::failures(run)).sum()),
        }
    }

    /// Returns the ratio of the newer build's value to the older build's value.
    fn ratio(&self, measure: usize) -> Option<Ratio> {
        Ratio::of_blocks(&self.pairs[measure].iter().map(|[base, new]| new / base).collect::<Vec<_>>())
    }

    /// Returns the reasons why the newer build is not good enough; empty when it is.
    pub(super) fn complaints(&self) -> Vec<String> {
        let failed = self.failed.into_iter().zip(["base", "new"]).filter(|(failed, _)| *failed > 0);
        let failed = failed.map(|(n, build)| format!("{n} requests or connections of {build} failed"));
        let worse = (0..MEASURES.len()).filter_map(|measure| self.worse(measure));
        failed.chain(worse).map(|complaint| format!("{}: {complaint}", self.name)).collect()
    }

    /// Returns the complaint about a measure.
    fn worse(&self, measure: usize) -> Option<String> {
        let (title, _, _, more) = MEASURES[measure];
        let Some((ratio, (low, high))) = self.ratio(measure).and_then(|r| Some((r.ratio, r.interval?)))
        else {
            return Some(format!("fewer than two pairs have a ratio of {title}"));
        };
        let bound = if more { 1.0 - ALLOWED } else { 1.0 + ALLOWED };
        let is_worse = if more { high < bound } else { low > bound };
        is_worse.then(|| format!("{title} {ratio:.3}, 95 % interval {low:.3} to {high:.3}, bound {bound}"))
    }

    fn line(&self) -> Vec<String> {
        let mut line = vec![self.name.clone()];
        for (i, (_, _, decimals, _)) in MEASURES.into_iter().enumerate() {
            for build in [0, 1] {
                let values: Vec<f64> = self.pairs[i].iter().map(|pair| pair[build]).collect();
                line.push(median(&values).map_or("-".into(), |value| format!("{value:.decimals$}")));
            }
            let (ratio, interval) = self.ratio(i).map(|r| (r.ratio, r.interval)).unzip();
            line.push(ratio.map_or("-".into(), |ratio| format!("{ratio:.3}")));
            line.push(interval.flatten().map_or("-".into(), |(low, high)| format!("{low:.3}..{high:.3}")));
        }
        line.push(format!("{} + {}", self.failed[0], self.failed[1]));
        line.push(if self.complaints().is_empty() { "ok" } else { "WORSE" }.into());
        line
    }
}

/// Makes the table, with one line per load.
pub(super) fn table(compared: &[Compared]) -> Table {
    let head =
        ["load", "req/s base", "new", "ratio", "95 %", "us/req base", "new", "ratio", "95 %", "failed", ""];
    let mut table = Table::new("Two builds", 1, &head);
    compared.iter().for_each(|compared| table.push(compared.line()));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes pairs of an older build (1000 requests per second, 10 us) and a newer build with these ratios.
    fn compared(ratios: &[(f64, f64)]) -> Compared {
        let rates = ratios.iter().map(|(rate, _)| [1000.0, 1000.0 * rate]).collect();
        let cpu = ratios.iter().map(|(_, cpu)| [10.0, 10.0 * cpu]).collect();
        Compared { name: "async c10".into(), pairs: [rates, cpu], failed: [0, 0] }
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
            compared.failed[build] = 7;
            let found = compared.complaints();
            assert!(found.len() == 1 && found[0].contains("7 requests or connections"), "{found:?}");
            assert!(found[0].contains(["base", "new"][build]), "{found:?}");
        }
    }

    #[test]
    fn the_table_says_ratio_interval_and_verdict() {
        let text = table(&[compared(&[(0.5, 2.0), (0.5, 2.0)])]).text();
        let line = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = "async c10 1000 500 0.500 0.500..0.500 10.0 20.0 2.000 2.000..2.000 0 + 0 WORSE";
        assert_eq!(line, expected);
    }
}
