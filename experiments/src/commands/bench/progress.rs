//! What a run prints: a line for each cell, a bar with the remaining time, and the closing summary.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::judge::measure::{self, percentile_ms};
use crate::judge::record::{Record, Validity};
use crate::judge::study::Study;
use crate::run::histogram::Histogram;
use crate::run::raw::Found;

/// Returns the heading over the lines of [`describe`].
pub(super) fn heading() -> String {
    format!(
        "{:>7} {:<46} {:>8} {:>17} {:>7} {}",
        "", "cell", "req/s", "wait p50/p99 ms", "failed", "not ranked"
    )
}

/// Describes a finished cell in one line of at most 100 columns.
pub(super) fn describe(n: usize, of: usize, record: &Record) -> String {
    let bad = record.gates.iter().filter(|result| result.verdict == Validity::Invalid);
    let bad: Vec<String> = bad.map(|result| format!("{:?}", result.gate)).collect();
    let requests = |rate: f64, times: &Histogram| {
        let at = |f: f64| percentile_ms(times, f).map_or("-".into(), |ms| format!("{ms:.1}"));
        format!("{rate:>8.0} {:>17} {:>7}", format!("{}/{}", at(0.5), at(0.99)), measure::failures(record))
    };
    let result = match &record.found {
        Found::Load(load) => requests(measure::rate(record).unwrap_or(0.0), &load.probe.fresh.waiting_us),
        Found::Handshakes(found) => {
            requests(found.intended as f64 / record.cell.seconds, &found.requests.total_us)
        }
        Found::Idle(idle) => {
            let each = idle.per_connection_kb().map_or("?".into(), |kb| format!("{kb:.2}"));
            format!("{each:>8} KB per idle connection")
        }
        Found::Syscalls { .. } => {
            format!("{:>8.2} system calls per request", measure::calls(record).unwrap_or(0.0))
        }
        Found::Profile { folded, .. } => format!("{:>8} sampled stacks", folded.lines().count()),
        Found::Failed(_) => "NOT MEASURED".into(),
    };
    let line = format!("{n:>3}/{of:<3} {:<46} {result} {}", record.cell.id, bad.join(" "));
    line.trim_end().chars().take(100).collect()
}

/// Returns the closing summary: how many cells are ranked. The report says why the others are not.
pub(super) fn summary(study: &Study) -> String {
    let (all, planned) = (study.records.len(), study.plan.cells.len());
    let not = study.records.iter().filter(|record| record.validity() == Validity::Invalid).count();
    format!("measured {all} of {planned} cells: {} ranked, {not} not ranked", all - not)
}

pub(super) fn duration(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string()
}

/// Makes a bar over this number of seconds. The bar is hidden when stderr is no terminal.
pub(super) fn bar(seconds: f64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta} remaining, now {wide_msg}");
    ProgressBar::new(seconds as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;

    #[test]
    fn lines_of_progress_fit_100_columns_and_their_heading() {
        let study = Run::bench();
        let column = heading().find("req/s").unwrap() + 5;
        for record in &study.records {
            let line = describe(record.cell.seq + 1, study.plan.cells.len(), record);
            assert!(line.chars().count() <= 100, "{line}");
            assert!(line.as_bytes()[column - 1].is_ascii_digit(), "{line}");
        }
        assert!(heading().len() <= 100);
    }
}
