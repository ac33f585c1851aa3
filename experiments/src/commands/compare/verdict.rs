//! The ratios of the newer build to the older build, and the verdict.

use crate::judge::measure::{self, Measure};
use crate::judge::stats::{Ratio, median};
use crate::judge::study::{Group, Study, by_block};
use crate::plans::model::Work;
use crate::report::number::{dash, interval, load_name, maybe, ratio};
use crate::report::words::{self, Lang};

/// Maximum distance of a ratio from 1, beyond its interval, before the newer build is worse.
const ALLOWED: f64 = 0.03;

/// The compared measures: the name, the measure, and true when a larger value is better.
const MEASURES: [(&str, Measure, bool); 2] =
    [("requests per second", measure::rate, true), ("CPU time per request", measure::cpu_us, false)];

/// Compares every load of the newer study that has this number of pairs. `older_name` returns the target of the older
/// study. Prints the table and the complaints. Returns true when there is no complaint.
pub(super) fn tell(
    older: &Study,
    newer: &Study,
    least: usize,
    older_name: impl Fn(&str) -> Option<String>,
) -> bool {
    let compared = |new: &Group<'_>| {
        let base = older.twin(new.cell, &older_name(&new.cell.target)?)?;
        let pairs = MEASURES.map(|(_, measure, ..)| {
            let newer = by_block(new.shown(), measure);
            let pair = |(block, value)| Some([value, *newer.get(&block)?]);
            by_block(base.shown(), measure).into_iter().filter_map(pair).collect::<Vec<_>>()
        });
        let (target, load) = (new.cell.target.trim_start_matches("new-"), load_name(new.cell));
        let body = if new.cell.body_bytes == 128 { String::new() } else { format!(", {}", new.cell.path) };
        let failed = [&base, new].map(|group| group.runs.iter().map(|run| measure::failures(run)).sum());
        (pairs[0].len() >= least).then(|| judge(&format!("{target} {load}{body}"), &pairs, failed))
    };
    let loads = newer.groups(|cell| cell.work == Work::Load);
    let (rows, complaints): (Vec<_>, Vec<_>) = loads.iter().filter_map(compared).unzip();
    let mut complaints = complaints.concat();
    if rows.is_empty() {
        complaints.push("no load was measured twice in both".into());
    }
    print!("\n{}", words::table(Lang::En, "builds").with(rows.into_iter()).text());
    complaints.iter().for_each(|complaint| println!("WORSE: {complaint}"));
    complaints.is_empty()
}

/// Judges a load. A pair of a measure has the value of the older build, then the value of the newer build in the same
/// block. Returns the row of the table, and the reasons why the newer build is not good enough.
fn judge(name: &str, pairs: &[Vec<[f64; 2]>; 2], failed: [u64; 2]) -> (Vec<String>, Vec<String>) {
    let some_failed = failed.into_iter().zip(["base", "new"]).filter(|(n, _)| *n > 0);
    let said = some_failed.map(|(n, build)| format!("{n} requests or connections of {build} failed"));
    let (mut complaints, mut row) = (said.collect::<Vec<_>>(), vec![name.to_owned()]);
    for ((title, _, more), pairs) in MEASURES.into_iter().zip(pairs) {
        let of = Ratio::of_blocks(pairs.iter().map(|[base, new]| new / base));
        complaints.extend(worse(title, more, of.as_ref()));
        row.extend([0, 1].map(|build| maybe(median(pairs.iter().map(|pair| pair[build])))));
        row.extend([dash(of.as_ref().map(|of| ratio(of.ratio))), dash(of.as_ref().map(interval))]);
    }
    let verdict = if complaints.is_empty() { "ok" } else { "WORSE" };
    row.extend([format!("{} + {}", failed[0], failed[1]), verdict.into()]);
    complaints.iter_mut().for_each(|complaint| *complaint = format!("{name}: {complaint}"));
    (row, complaints)
}

/// Returns the complaint about a measure: the newer build is worse beyond the interval, or nobody knows.
fn worse(title: &str, more: bool, of: Option<&Ratio>) -> Option<String> {
    let Some((of, (low, high))) = of.and_then(|of| Some((of.ratio, of.interval?))) else {
        return Some(format!("fewer than two pairs have a ratio of {title}"));
    };
    let bound = if more { 1.0 - ALLOWED } else { 1.0 + ALLOWED };
    let is_worse = if more { high < bound } else { low > bound };
    is_worse.then(|| format!("{title} {of:.3}, 95 % interval {low:.3} to {high:.3}, bound {bound}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges an older build (1000 requests per second, 10 us) and a newer build with these ratios.
    fn judged(ratios: &[(f64, f64)], failed: [u64; 2]) -> (Vec<String>, Vec<String>) {
        let rates = ratios.iter().map(|(rate, _)| [1000.0, 1000.0 * rate]).collect();
        let cpu = ratios.iter().map(|(_, cpu)| [10.0, 10.0 * cpu]).collect();
        judge("async c10", &[rates, cpu], failed)
    }

    #[test]
    fn builds_are_judged_by_failures_and_by_ratios_beyond_their_interval() {
        // Ratios of requests per second and of CPU time, failures of each build, parts of the complaints.
        type Case = (&'static [(f64, f64)], [u64; 2], &'static [&'static str]);
        let equal: &[(f64, f64)] = &[(1.0, 1.0), (1.01, 0.99), (0.99, 1.01)];
        let cases: [Case; 9] = [
            (equal, [0, 0], &[]),
            (equal, [7, 0], &["7 requests or connections of base"]),
            (equal, [0, 7], &["7 requests or connections of new"]),
            (&[(1.3, 0.7), (1.31, 0.69)], [0, 0], &[]),
            // 4 % worse in every pair.
            (&[(0.96, 1.0), (0.961, 1.0), (0.959, 1.0)], [0, 0], &["requests per second 0.960"]),
            (&[(1.0, 1.04), (1.0, 1.041), (1.0, 1.039)], [0, 0], &["CPU time per request 1.040"]),
            // 4 % worse on average, with an interval that includes the bound.
            (&[(0.90, 1.1), (1.02, 0.98), (0.96, 1.04)], [0, 0], &[]),
            // 2 % worse without any noise.
            (&[(0.98, 1.02), (0.9801, 1.0201)], [0, 0], &[]),
            (&[(1.0, 1.0)], [0, 0], &["fewer than two pairs", "fewer than two pairs"]),
        ];
        for (ratios, failed, expected) in cases {
            let found = judged(ratios, failed).1;
            assert_eq!(found.len(), expected.len(), "{ratios:?}: {found:?}");
            for (complaint, part) in found.iter().zip(expected) {
                assert!(complaint.starts_with("async c10: ") && complaint.contains(part), "{complaint}");
            }
        }
        let line = judged(&[(0.5, 2.0), (0.5, 2.0)], [0, 0]).0.join(" ");
        let expected =
            "async c10 1000 500 0.500× 0.500× to 0.500× 10.0 20.0 2.000× 2.000× to 2.000× 0 + 0 WORSE";
        assert_eq!(line, expected);
    }
}
