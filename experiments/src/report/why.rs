//! Item 5 of the report: the cost of a request on each engine, and whether the cost explains the rates.

use std::cmp::Reverse;

use itertools::Itertools;

use crate::judge::measure::{self, Measure};
use crate::judge::stats::{Ratio, median};
use crate::judge::study::{Group, Study};
use crate::plans::model::Section;
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Table, plain};
use crate::report::flames;
use crate::report::number::{dash, interval, load_name, maybe, name, ratio, short};
use crate::report::words::{self, Lang, english};

/// The shown costs of a request under the load, one per line.
const COSTS: [(&str, Measure); 13] = [
    ("**CPU of the balancer (µs)**", measure::cpu_us),
    ("of it in the program, user (µs)", measure::user_us),
    ("of it in the kernel, system (µs)", measure::system_us),
    ("CPU of the client (µs)", measure::client_cpu_us),
    ("CPU of the backends (µs)", measure::backends_cpu_us),
    ("context switches, voluntary", measure::voluntary),
    ("context switches, involuntary", measure::involuntary),
    ("ready, but waiting for a CPU (µs)", measure::run_delay_us),
    ("calls that would have blocked", measure::would_blocks),
    ("wake-ups", measure::wakeups),
    ("jobs through the channel", measure::jobs),
    ("time of a job in the channel (µs per job)", measure::queue_wait_us),
    ("peak memory (MB, whole process)", measure::peak_mb),
];

/// The costs that only the runs of one section have, each under the load of that section.
const OTHER_COSTS: [(&str, Measure); 3] = [
    ("system calls (under strace)", measure::calls),
    ("of these, in vain", measure::calls_in_vain),
    ("memory (KB per idle connection)", measure::idle_kb),
];

/// Returns the median of a value over all runs of a target that have this value.
pub(crate) fn of_target(study: &Study, target: &str, measure: Measure) -> Option<f64> {
    median(study.records.iter().filter(|record| record.cell.target == target).filter_map(measure))
}

/// Returns the system calls that a change adds to a request.
pub(crate) fn added_calls(study: &Study, changed: &str) -> Option<f64> {
    let baseline = study.target(changed)?.baseline.as_deref()?;
    Some(of_target(study, changed, measure::calls)? - of_target(study, baseline, measure::calls)?)
}

fn cost_table(study: &Study, groups: &[Group<'_>; 2]) -> Table {
    let mut table = words::table(Lang::En, "request");
    table.caption = table.caption.replace("{}", &load_name(groups[0].cell));
    let costs = COSTS.map(|(name, of)| (name, groups.each_ref().map(|group| group.median(of))));
    let others = OTHER_COSTS.map(|(name, of)| (name, [THREAD, ASYNC].map(|id| of_target(study, id, of))));
    for (name, [a, b]) in costs.into_iter().chain(others) {
        if a.or(b).is_some() {
            let quotient = a.zip(b).filter(|(a, _)| *a > 0.0).map(|(a, b)| ratio(b / a));
            table.push([name.into(), maybe(a), maybe(b), dash(quotient)]);
        }
    }
    table
}

/// Says how a prediction relates to the measured interval. If the interval contains both the prediction and 1, or if
/// there is no interval, the prediction could not have failed.
fn agreement(predicted: f64, measured: &Ratio) -> &'static str {
    let Some((low, high)) = measured.interval else { return "not tested" };
    let contains = |ratio: f64| (low..=high).contains(&ratio);
    match (contains(predicted), contains(1.0)) {
        (false, _) => "**rejected**",
        (true, true) => "not tested",
        (true, false) => "agrees",
    }
}

/// Predicts the ratio with two budgets. If the balancer has its CPUs for itself, its rate is inverse to its CPU time
/// per request. If all roles share the CPUs, the rate is inverse to the sum of all CPU times. The CPU time of the other
/// roles is assumed equal for both engines (the mean). Otherwise the prediction would only restate the measured rate.
fn explanation([thread, asynchronous]: &[Group<'_>; 2], doc: &mut Doc) {
    let Some(measured) = asynchronous.against(thread, measure::rate) else {
        return doc.text("No pair counts, so there is no ratio to explain.");
    };
    let found = format!("{} ({})", ratio(measured.ratio), interval(&measured));
    let row = |name: &str, supposes: &str, predicted: f64| {
        [name, supposes, &ratio(predicted), &found, agreement(predicted, &measured)].map(str::to_owned)
    };
    let both = |measure: Measure| thread.median(measure).zip(asynchronous.median(measure));
    let mut table = words::table(Lang::En, "predictions");
    if let Some((t, a)) = both(measure::cpu_us).filter(|(t, a)| *t > 0.0 && *a > 0.0) {
        let supposes = "the balancer has CPUs of its own, and they are busy";
        table.push(row("the balancer's own CPU time", supposes, t / a));
        let others = both(measure::others_cpu_us).map(|(x, y)| f64::midpoint(x, y));
        let supposes =
            "client, balancer and backends share CPUs that are all busy, and only the balancer differs";
        let chain = |others| row("its share of the whole chain", supposes, (others + t) / (others + a));
        table.rows.extend(others.map(|others| chain(others).into()));
    }
    doc.table(&table);
    let idle = |group: &Group<'_>| short(group.median(measure::idle_share).unwrap_or(0.0) * 100.0);
    doc.text(english("predictions", &[&idle(thread), &idle(asynchronous)]));
}

/// Writes the table of system calls by name, the most frequent first.
fn calls_table(study: &Study, doc: &mut Doc) {
    let row = |group: &Group<'_>| {
        let run = group.runs.first()?;
        let (requests, rows) = measure::syscalls(run)?;
        let rows = rows.into_iter().sorted_by_key(|(name, calls, _)| (Reverse(*calls), *name)).take(6);
        let each = |(name, calls, _)| format!("{} {}", plain(name), short(calls as f64 / requests));
        let most = rows.map(each).join(", ");
        Some([name(study, group), most, short(measure::calls(run)?)])
    };
    let table = words::table(Lang::En, "calls").with(study.section(Section::Syscalls).iter().filter_map(row));
    if !table.rows.is_empty() {
        doc.folded("System calls by name", |doc| {
            doc.text(english("calls", &[]));
            doc.table(&table);
        });
    }
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.heading(2, "5. Why");
    // The heaviest load of the assignment, if it was measured, or else of another section.
    let mut sections = [Section::Assignment, Section::Peers, Section::Concurrency].into_iter();
    let pair = sections.find_map(|section| {
        let thread = study.section(section).into_iter().rfind(|group| group.cell.target == THREAD)?;
        let asynchronous = study.twin(thread.cell, ASYNC)?;
        Some([thread, asynchronous])
    });
    match pair {
        Some(groups) => {
            doc.text(english("why", &[]));
            doc.table(&cost_table(study, &groups));
            explanation(&groups, doc);
        }
        None => doc.text(english("no_pair", &[])),
    }
    calls_table(study, doc);
    flames::write(study, doc);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_agrees_only_if_it_could_have_failed() {
        let measured = |interval| Ratio { ratio: 1.1, interval, blocks: vec![1.1; 6] };
        let cases = [
            (1.12, Some((1.08, 1.13)), "agrees"),
            (1.2, Some((1.08, 1.13)), "**rejected**"),
            (1.01, Some((0.98, 1.13)), "not tested"),
            (1.2, Some((0.98, 1.13)), "**rejected**"),
            (1.1, None, "not tested"),
        ];
        for (predicted, interval, expected) in cases {
            assert_eq!(agreement(predicted, &measured(interval)), expected, "{predicted} {interval:?}");
        }
    }
}
