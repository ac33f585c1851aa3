//! Item 5 of the report: the cost of a request on each engine, and whether the cost explains the rates.

use crate::judge::measure;
use crate::judge::record::{Measured, Record, Syscalls};
use crate::judge::stats::Ratio;
use crate::judge::study::{Group, Measure, Study};
use crate::plans::model::Section;
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Table, plain};
use crate::report::first::middle;
use crate::report::flames;
use crate::report::number::{interval, load_name, maybe, ratio, short};

/// The shown costs of each target, one per line.
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

fn syscalls(record: &Record) -> Option<&Syscalls> {
    match &record.measured {
        Measured::Syscalls(calls) => Some(calls),
        _ => None,
    }
}

/// Returns the median of a value over a target's runs in a section without load.
fn other(study: &Study, section: Section, target: &str, value: fn(&Record) -> Option<f64>) -> Option<f64> {
    let of = |record: &&Record| record.cell.section == section && record.cell.target == target;
    middle(study.records.iter().filter(of).filter_map(value))
}

/// Returns the system calls of a target per request.
pub(crate) fn calls_of(study: &Study, target: &str) -> Option<f64> {
    other(study, Section::Syscalls, target, |record| syscalls(record).map(Syscalls::per_request))
}

/// Returns the system calls that a change adds to a request.
pub(crate) fn added_calls(study: &Study, changed: &str) -> Option<f64> {
    let baseline = study.target(changed)?.baseline.as_deref()?;
    Some(calls_of(study, changed)? - calls_of(study, baseline)?)
}

/// Returns the pair of groups to explain: the heaviest load of the assignment if measured, else of another section.
pub(crate) fn pair(study: &Study) -> Option<(Group<'_>, Group<'_>)> {
    [Section::Assignment, Section::Peers, Section::Concurrency].into_iter().find_map(|section| {
        let groups = study.section(section);
        let thread = groups.iter().rev().find(|group| group.cell.target == THREAD)?.clone();
        let asynchronous = study.twin(thread.cell, ASYNC)?;
        Some((thread, asynchronous))
    })
}

fn cost_table(study: &Study, thread: &Group<'_>, asynchronous: &Group<'_>) -> Table {
    let caption = format!("What one request costs under `{}`, medians", load_name(thread.cell));
    let mut table = Table::new(&caption, 1, &["per request", "thread", "async", "async / thread"]);
    let mut row = |name: &str, a: Option<f64>, b: Option<f64>| {
        if a.is_some() || b.is_some() {
            let quotient = a.zip(b).filter(|(a, _)| *a > 0.0).map_or("–".into(), |(a, b)| ratio(b / a));
            table.push([name.into(), maybe(a), maybe(b), quotient]);
        }
    };
    for (name, measure) in COSTS {
        row(name, thread.median(measure), asynchronous.median(measure));
    }
    row("system calls (under strace)", calls_of(study, THREAD), calls_of(study, ASYNC));
    let errors = |target| {
        other(study, Section::Syscalls, target, |record| {
            syscalls(record).map(|calls| calls.errors as f64 / calls.requests.max(1) as f64)
        })
    };
    row("of these, in vain", errors(THREAD), errors(ASYNC));
    let idle = |target| other(study, Section::Memory, target, measure::idle_kb);
    row("memory (KB per idle connection)", idle(THREAD), idle(ASYNC));
    table
}

/// How a prediction relates to the measured interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agreement {
    Agrees,
    Rejected,
    /// The interval contains both the prediction and 1, or there is no interval: the prediction could not have failed.
    Untested,
}

fn agreement(predicted: f64, measured: &Ratio) -> Agreement {
    let Some((low, high)) = measured.interval else { return Agreement::Untested };
    let contains = |ratio: f64| (low..=high).contains(&ratio);
    match (contains(predicted), contains(1.0)) {
        (false, _) => Agreement::Rejected,
        (true, true) => Agreement::Untested,
        (true, false) => Agreement::Agrees,
    }
}

/// Predicts the ratio with two budgets. If the balancer has its CPUs for itself, its rate is inverse to its CPU time
/// per request. If all roles share the CPUs, the rate is inverse to the sum of all CPU times. The CPU time of the other
/// roles is assumed equal for both engines (the mean). Otherwise the prediction would only restate the measured rate.
fn predictions(thread: &Group<'_>, asynchronous: &Group<'_>) -> Vec<(&'static str, &'static str, f64)> {
    let both = |measure: Measure| thread.median(measure).zip(asynchronous.median(measure));
    let Some((t, a)) = both(measure::cpu_us).filter(|(t, a)| *t > 0.0 && *a > 0.0) else { return Vec::new() };
    let mut found =
        vec![("the balancer's own CPU time", "the balancer has CPUs of its own, and they are busy", t / a)];
    if let Some((x, y)) = both(measure::others_cpu_us) {
        let others = f64::midpoint(x, y);
        found.push((
            "its share of the whole chain",
            "client, balancer and backends share CPUs that are all busy, and only the balancer differs",
            (others + t) / (others + a),
        ));
    }
    found
}

fn explanation(study: &Study, thread: &Group<'_>, asynchronous: &Group<'_>, doc: &mut Doc) {
    let ratios = study.paired(asynchronous, thread, measure::rate);
    let Some(measured) = Ratio::of_blocks(&ratios) else {
        doc.text("No pair counts, so there is no ratio to explain.");
        return;
    };
    let head = ["explained by", "which supposes that", "predicted async / thread", "measured", "verdict"];
    let mut table = Table::new("Does the CPU time explain the rates?", 2, &head);
    for (name, supposes, predicted) in predictions(thread, asynchronous) {
        let verdict = match agreement(predicted, &measured) {
            Agreement::Agrees => "agrees",
            Agreement::Rejected => "**rejected**",
            Agreement::Untested => "not tested",
        };
        let found = format!("{} ({})", ratio(measured.ratio), interval(&measured));
        table.push([name, supposes, &ratio(predicted), &found, verdict]);
    }
    doc.table(&table);
    let idle = [thread, asynchronous].map(|group| group.median(measure::idle_share).unwrap_or(0.0) * 100.0);
    doc.text(format!(
        "A prediction agrees when it lies in the measured interval and the interval excludes 1. It is not tested when the \
         interval also contains 1, because then it could not have failed. During these cells {} % (thread) and {} % (async) of \
         the CPU time was idle. CPU time explains a rate only while hardly any is idle.",
        short(idle[0]),
        short(idle[1])
    ));
}

/// Writes the table of system calls by name, the most frequent first.
fn calls_table(study: &Study, doc: &mut Doc) {
    let head = ["program", "the most frequent", "system calls per request"];
    let mut table = Table::new("System calls per request, under strace", 2, &head);
    for group in study.section(Section::Syscalls) {
        let Some(calls) = group.runs.first().and_then(|record| syscalls(record)) else { continue };
        let mut names: Vec<(&String, &u64)> = calls.calls.iter().collect();
        names.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let per = |n: u64| short(n as f64 / calls.requests.max(1) as f64);
        let most = names.iter().take(6).map(|(name, n)| format!("{} {}", plain(name), per(**n)));
        let title = plain(&study.title(&group.cell.target));
        table.push([title, most.collect::<Vec<_>>().join(", "), short(calls.per_request())]);
    }
    if !table.rows.is_empty() {
        doc.folded("System calls by name", |doc| {
            doc.text(
                "From short runs of their own, never the timed ones: strace slows a program many times.",
            );
            doc.table(&table);
        });
    }
}

/// Item 5.
pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("5. Why");
    match pair(study) {
        Some((thread, asynchronous)) => {
            doc.text(
                "Where the CPUs are all busy, the rate is the CPU time there is, divided by the CPU time that a request takes. \
                 So a difference in cost predicts a difference in rate, and the prediction can fail.",
            );
            doc.table(&cost_table(study, &thread, &asynchronous));
            explanation(study, &thread, &asynchronous, doc);
        }
        None => {
            doc.text(
                "The two engines were not measured under the same load, so there is nothing to explain.",
            );
        }
    }
    calls_table(study, doc);
    flames::write(study, doc);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_agrees_only_if_it_could_have_failed() {
        use Agreement::{Agrees, Rejected, Untested};
        let measured = |interval| Ratio { ratio: 1.1, interval, blocks: vec![1.1; 6] };
        let cases = [
            (1.12, Some((1.08, 1.13)), Agrees),
            (1.2, Some((1.08, 1.13)), Rejected),
            (1.01, Some((0.98, 1.13)), Untested),
            (1.2, Some((0.98, 1.13)), Rejected),
            (1.1, None, Untested),
        ];
        for (predicted, interval, expected) in cases {
            assert_eq!(agreement(predicted, &measured(interval)), expected, "{predicted} {interval:?}");
        }
    }
}
