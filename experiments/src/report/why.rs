//! Item 5 of the report: the cost of a request on each engine, and whether the cost explains the rates.

use crate::judge::measure;
use crate::judge::record::{Measured, Record, Syscalls};
use crate::judge::stats::{Ratio, median};
use crate::judge::study::{Group, Measure, Study};
use crate::plans::model::Section;
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::number::{load_name, maybe, ratio, short};
use crate::report::page::{Block, Table, Tone};

/// The shown costs of each target, one per line.
const COSTS: [(&str, Measure); 13] = [
    ("CPU, user (µs)", measure::user_us),
    ("CPU, system (µs)", measure::system_us),
    ("**CPU of the balancer (µs)**", measure::cpu_us),
    ("CPU of the client (µs)", measure::client_cpu_us),
    ("CPU of the backends (µs)", measure::backends_cpu_us),
    ("switches, voluntary", measure::voluntary),
    ("switches, involuntary", measure::involuntary),
    ("ready, but waiting for a CPU (µs)", measure::run_delay_us),
    ("calls that would have blocked", measure::would_blocks),
    ("wake-ups", measure::wakeups),
    ("jobs through the channel", measure::jobs),
    ("stay of a job in the channel (µs per job)", measure::queue_wait_us),
    ("peak memory (MB, whole process)", measure::peak_mb),
];

pub(crate) fn syscalls(record: &Record) -> Option<&Syscalls> {
    match &record.measured {
        Measured::Syscalls(calls) => Some(calls),
        _ => None,
    }
}

/// Returns the median of a value over a target's runs in a section without load.
fn other(study: &Study, section: Section, target: &str, value: fn(&Record) -> Option<f64>) -> Option<f64> {
    let groups = study.groups(|cell| cell.section == section && cell.target == target);
    median(
        &groups.iter().flat_map(|group| &group.runs).filter_map(|record| value(record)).collect::<Vec<_>>(),
    )
}

/// Returns the pair of groups to explain: from the assignment if measured, else from another section.
fn pair(study: &Study) -> Option<(Group<'_>, Group<'_>)> {
    [Section::Assignment, Section::Peers, Section::Concurrency].into_iter().find_map(|section| {
        let groups = study.section(section);
        let thread = groups.iter().rev().find(|group| group.cell.target == THREAD)?.clone();
        let asynchronous = study.twin(thread.cell, ASYNC)?;
        Some((thread, asynchronous))
    })
}

fn cost_table(study: &Study, thread: &Group<'_>, asynchronous: &Group<'_>) -> Table {
    let mut table = Table::new(1, &["per request", "thread", "async", "async / thread"]);
    let mut row = |name: &str, a: Option<f64>, b: Option<f64>| {
        let quotient = a.zip(b).filter(|(a, _)| *a > 0.0).map_or("–".into(), |(a, b)| ratio(b / a));
        table.push(Tone::Plain, vec![name.into(), maybe(a), maybe(b), quotient]);
    };
    for (name, measure) in COSTS {
        row(name, thread.median(measure), asynchronous.median(measure));
    }
    let calls = |target| other(study, Section::Syscalls, target, |r| syscalls(r).map(Syscalls::per_request));
    row("system calls (under strace)", calls(THREAD), calls(ASYNC));
    let errors = |target| {
        other(study, Section::Syscalls, target, |r| {
            syscalls(r).map(|s| s.errors as f64 / s.requests.max(1) as f64)
        })
    };
    row("of these, in vain", errors(THREAD), errors(ASYNC));
    let idle = |target| other(study, Section::Memory, target, measure::idle_kb);
    row("memory (KB per idle connection)", idle(THREAD), idle(ASYNC));
    table.caption("Medians. A dash: not counted there, or not measured in this run.")
}

/// The agreement of a prediction with the measured ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// The prediction lies in the interval, and "no difference" does not: it could have failed.
    Agrees,
    Rejected,
    /// The interval contains the prediction and "no difference", or there is no interval: nothing is proven.
    Untested,
}

/// A ratio that the CPU time predicts, and its agreement with the measured ratio.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) name: &'static str,
    pub(crate) supposes: &'static str,
    pub(crate) predicted: f64,
    pub(crate) agreement: Agreement,
}

fn agreement(predicted: f64, measured: &Ratio) -> Agreement {
    let Some((low, high)) = measured.interval else { return Agreement::Untested };
    match ((low..=high).contains(&predicted), (low..=high).contains(&1.0)) {
        (false, _) => Agreement::Rejected,
        (true, true) => Agreement::Untested,
        (true, false) => Agreement::Agrees,
    }
}

/// Predicts the ratio with two budgets. If the balancer has its CPUs for itself, its rate is inverse to its CPU time
/// per request. If all roles share the CPUs, the rate is inverse to the sum of all CPU times. The CPU time of the other
/// roles is assumed equal for both engines (the mean). Otherwise the prediction would only restate the measured rate.
pub(crate) fn predictions(thread: &Group<'_>, asynchronous: &Group<'_>, measured: &Ratio) -> Vec<Prediction> {
    let both = |measure: Measure| thread.median(measure).zip(asynchronous.median(measure));
    let Some((t, a)) = both(measure::cpu_us).filter(|(t, a)| *t > 0.0 && *a > 0.0) else { return Vec::new() };
    let mut found = vec![Prediction {
        name: "the balancer's own CPU time",
        supposes: "the balancer has CPUs of its own, and they are busy",
        predicted: t / a,
        agreement: agreement(t / a, measured),
    }];
    if let Some((x, y)) = both(measure::others_cpu_us) {
        let others = f64::midpoint(x, y);
        let predicted = (others + t) / (others + a);
        found.push(Prediction {
            name: "its share of the whole chain",
            supposes: "client, balancer and backends share CPUs that are all busy, and only the balancer differs",
            predicted,
            agreement: agreement(predicted, measured),
        });
    }
    found
}

fn explanation(study: &Study, thread: &Group<'_>, asynchronous: &Group<'_>) -> Vec<Block> {
    let ratios = study.paired(asynchronous, thread, measure::rate);
    let Some(measured) = Ratio::of_blocks(&ratios) else {
        return vec![Block::text("No pair may be ranked, so there is no ratio to explain.")];
    };
    let predictions = predictions(thread, asynchronous, &measured);
    if predictions.is_empty() {
        return vec![Block::text("The CPU time of the balancers is not known, so nothing is predicted.")];
    }
    let interval =
        measured.interval.map_or(String::new(), |(a, b)| format!(" ({} to {})", ratio(a), ratio(b)));
    let mut table = Table::new(
        2,
        &["explained by", "which supposes that", "predicted async / thread", "measured", "verdict"],
    );
    for p in &predictions {
        let verdict = match p.agreement {
            Agreement::Agrees => "agrees",
            Agreement::Rejected => "**explanation rejected**",
            Agreement::Untested => "not tested: the interval contains no difference too",
        };
        let measured = ratio(measured.ratio) + &interval;
        table.push(
            Tone::Plain,
            vec![p.name.into(), p.supposes.into(), ratio(p.predicted), measured, verdict.into()],
        );
    }
    let idle = [thread, asynchronous].map(|group| group.median(measure::idle_share).unwrap_or(0.0) * 100.0);
    let busy = format!(
        "During these cells {} % (thread) and {} % (async) of the CPU time was idle. An explanation by CPU time holds only \
         while hardly anything is.",
        short(idle[0]),
        short(idle[1])
    );
    let rejected = predictions.iter().all(|p| p.agreement == Agreement::Rejected);
    let conclusion = if rejected {
        "**Explanation rejected:** the CPU time of the engines does not account for their rates; something else, such as \
         waiting for each other, does."
    } else {
        "A prediction agrees where it lies in the measured interval and the interval excludes 1; only then could it have failed."
    };
    vec![Block::Table(table), Block::text(busy), Block::text(conclusion)]
}

/// Makes the table of system calls by name, the most frequent first.
fn calls_table(study: &Study) -> Option<Block> {
    let groups = study.section(Section::Syscalls);
    let records = groups.iter().filter_map(|group| group.runs.first().copied());
    let mut table = Table::new(1, &["system calls per request, under strace", "in all", "the most frequent"]);
    for record in records {
        let Some(calls) = syscalls(record) else { continue };
        let mut names: Vec<(&String, &u64)> = calls.calls.iter().collect();
        names.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let per = |n: u64| short(n as f64 / calls.requests.max(1) as f64);
        let most: Vec<String> =
            names.iter().take(6).map(|(name, n)| format!("{name} {}", per(**n))).collect();
        let title = study.title(&record.cell.target);
        table.push(Tone::Plain, vec![title, short(calls.per_request()), most.join(", ")]);
    }
    (!table.rows.is_empty()).then(|| {
        Block::Table(table.caption(
            "From short runs of their own, never the timed ones: strace slows a program many times.",
        ))
    })
}

/// Item 5.
pub(crate) fn part(study: &Study) -> Vec<Block> {
    let mut blocks = vec![Block::part("why", "5. Why")];
    let Some((thread, asynchronous)) = pair(study) else {
        blocks.push(Block::text(
            "The two engines were not measured under the same load, so there is nothing to explain.",
        ));
        return blocks;
    };
    blocks.push(Block::text(format!(
        "What one request costs, under `{}`. Where the CPUs are all busy, the rate is the CPU time there is, divided by the \
         CPU time a request takes; so a difference in cost predicts a difference in rate, and the prediction can fail.",
        load_name(thread.cell)
    )));
    blocks.push(Block::Table(cost_table(study, &thread, &asynchronous)));
    blocks.extend(explanation(study, &thread, &asynchronous));
    blocks.extend(calls_table(study));
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_agrees_only_if_it_could_have_failed() {
        let measured = |interval| Ratio { ratio: 1.1, interval, blocks: vec![1.1; 6] };
        let cases = [
            (1.12, Some((1.08, 1.13)), Agreement::Agrees),
            (1.2, Some((1.08, 1.13)), Agreement::Rejected),
            (1.02, Some((0.97, 1.05)), Agreement::Untested),
            (1.2, Some((0.97, 1.05)), Agreement::Rejected),
            (1.1, None, Agreement::Untested),
        ];
        for (predicted, interval, expected) in cases {
            assert_eq!(agreement(predicted, &measured(interval)), expected, "{predicted} {interval:?}");
        }
    }
}
