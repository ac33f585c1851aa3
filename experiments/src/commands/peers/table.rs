//! The results as text for a terminal, or as Markdown for a page.

use std::fmt::Write;

use super::results::{Outcome, Results};
use super::rows::{Against, Goal, Metric};
use super::subjects::Kind;
use crate::report::text_table::TextTable;

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.decimals$}"))
}

/// Makes the table of a row: the medians of every subject, and its rate relative to the best peer.
fn measured(results: &Results) -> TextTable {
    let metrics = results.row.metrics();
    let rated = metrics.contains(&Metric::Rate);
    let mut heading: Vec<String> = vec!["subject".into()];
    heading.extend(rated.then(|| "of best peer".into()));
    heading.extend(metrics.iter().map(|metric| metric.title().into()));
    let mut lines = vec![heading];
    for (n, subject) in results.subjects.iter().enumerate() {
        let mut line = vec![subject.name.clone()];
        line.extend(rated.then(|| number(results.compare(n, Metric::Rate, Against::BestPeer), 2)));
        line.extend(metrics.iter().map(|metric| number(results.value(n, *metric), metric.decimals())));
        lines.push(line);
    }
    TextTable { words: 1, lines }
}

/// Makes the table of goals: goal and result of each engine in every row.
fn goals(all: &[Results]) -> TextTable {
    let mut lines =
        vec![["work", "what", "async", "target", "", "thread", "target", ""].map(String::from).to_vec()];
    for results in all {
        for goal in results.row.goals {
            let mut line =
                vec![results.row.title.into(), format!("{}{}", goal.metric.title(), goal.against.title())];
            for kind in [Kind::Async, Kind::Thread] {
                line.extend(cells(goal, results.outcome(goal, kind)));
            }
            lines.push(line);
        }
    }
    TextTable { words: 2, lines }
}

fn cells(goal: &Goal, outcome: Option<Outcome>) -> [String; 3] {
    let Some(Outcome { value, bound, met }) = outcome else {
        return ["-", "", "not measured"].map(String::from);
    };
    let decimals = if goal.metric == Metric::Failed { 0 } else { 2 };
    let verdict = if met { "met" } else { "missed" };
    [format!("{value:.decimals$}"), format!("{} {bound:.decimals$}", goal.sign()), verdict.into()]
}

/// Formats the whole report. `head` has the lines of its head.
pub(super) fn render(head: &[String], all: &[Results], markdown: bool) -> String {
    let mut out = String::new();
    for line in head {
        let _ = writeln!(out, "{}{line}", if markdown { "- " } else { "" });
    }
    let title = |out: &mut String, title: &str| match markdown {
        true => writeln!(out, "\n### {title}\n"),
        false => writeln!(out, "\n{title}"),
    };
    let table = |table: TextTable| if markdown { table.markdown() } else { table.text() };
    if !markdown {
        for results in all {
            let _ = title(&mut out, results.row.title);
            out.push_str(&table(measured(results)));
        }
    }
    let _ = title(&mut out, "Goals");
    out.push_str(&table(goals(all)));
    if markdown {
        for results in all {
            let _ = title(&mut out, results.row.title);
            out.push_str(&table(measured(results)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::measure::Sample;
    use super::super::rows::ROWS;
    use super::super::subjects::Subject;
    use super::*;
    use crate::plans::targets::simple as target;

    fn results() -> Results {
        let subjects = [("async", Kind::Async), ("nginx", Kind::Peer)];
        let subjects =
            subjects.map(|(name, kind)| Subject { name: name.into(), kind, target: target(name, "", None) });
        let sample = |rate| Sample::from([(Metric::Rate, rate), (Metric::Cpu, 12.34), (Metric::Failed, 0.0)]);
        Results {
            row: ROWS[1],
            subjects: subjects.into(),
            rounds: vec![vec![sample(24_000.0), sample(20_000.0)]],
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let text = measured(&results()).text();
        let expected = "\
subject  of best peer  req/s  us/req  user  system  origin us  wrk us  csw/req  p99 ms  PSS MB  failed  idle %
async            1.20  24000    12.3     -       -          -       -        -       -       -       0       -
nginx            1.00  20000    12.3     -       -          -       -        -       -       -       0       -
";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_goal_is_met_missed_or_not_measured() {
        let markdown = render(&["a machine".into()], &[results()], true);
        let expected = "- a machine\n\n### Goals\n
| work | what | async | target |  | thread | target |  |
|---|---|---:|---:|---:|---:|---:|---:|
| 128 B, 200 connections | req/s / best peer's | 1.20 | >= 1.10 | met | - |  | not measured |
| 128 B, 200 connections | us/req / best peer's | 1.00 | <= 0.80 | missed | - |  | not measured |
| 128 B, 200 connections | us/req / better engine's | 1.00 | <= 1.05 | met | - |  | not measured |
| 128 B, 200 connections | csw/req | - |  | not measured | - |  | not measured |
| 128 B, 200 connections | req/s / best fixed workers' | - |  | not measured | - |  | not measured |
| 128 B, 200 connections | us/req / best fixed workers' | - |  | not measured | - |  | not measured |
| 128 B, 200 connections | failed | 0 | <= 0 | met | - |  | not measured |
";
        assert_eq!(&markdown[..expected.len()], expected);
    }
}
