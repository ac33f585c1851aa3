//! The tables of items 1, 2, 3 and 6 of the report, and the failures of the loads by class.

use std::cmp::{Ordering, Reverse};

use itertools::Itertools;

use crate::judge::measure::{self, Measure};
use crate::judge::record::{Record, Validity, load};
use crate::judge::stats::{Ratio, sign_test};
use crate::judge::study::{Group, Study};
use crate::judge::verdicts::{self, Cost, Pair};
use crate::plans::model::Section;
use crate::plans::targets::AGAIN;
use crate::report::about::{common, reasons};
use crate::report::chart::{Bar, bars};
use crate::report::doc::{Doc, Table, anchor, plain};
use crate::report::number::{
    dash, grouped, interval, load_cell, load_name, maybe, maybe_grouped, name, ratio, short, struck,
};
use crate::report::svg::Svg;
use crate::report::why;
use crate::report::words::{self, ENGINES, GATES_PART, Lang, certain, clause, cost, english};
use crate::run::reply::Errors;

/// The classes with the CSS classes of their bars.
pub(crate) const CLASSES: [(&str, &str); 6] = [
    ("connect", "bar s0"),
    ("read", "bar s1"),
    ("write", "bar s2"),
    ("status", "bar s3"),
    ("timeout", "bar s5"),
    ("stalled", "bar s7"),
];

/// Sums the failures of each class over the runs.
fn by_class<'a>(runs: impl IntoIterator<Item = &'a &'a Record>) -> [u64; 6] {
    let sum: Errors = runs.into_iter().map(|run| run.failures()).sum();
    [sum.connect, sum.read, sum.write, sum.status, sum.timeout, sum.stalled]
}

pub(crate) fn failed(group: &Group<'_>) -> u64 {
    by_class(&group.runs).iter().sum()
}

/// Draws the failures; None without failures.
pub(crate) fn failures(study: &Study) -> Option<Svg> {
    let mut groups = study.groups(|_| true);
    groups.retain(|group| failed(group) > 0);
    groups.sort_by_key(|group| Reverse(failed(group)));
    let bar = |group: &Group<'_>| Bar {
        label: format!("{}, {}", study.title(&group.cell.target), load_name(group.cell)),
        values: by_class(&group.runs).map(|count| count as f64).into(),
        said: short(failed(group) as f64),
    };
    bars("failed, over all repetitions", &CLASSES, &groups.iter().take(12).map(bar).collect_vec())
}

/// Writes a table of loads in the given order, its failures, and why groups are not ranked.
pub(crate) fn with_reasons(study: &Study, groups: &[Group<'_>], caption: &str, doc: &mut Doc) {
    let common = common(study);
    let row = |group: &Group<'_>| {
        let short = |measure: Measure| maybe(group.median(measure));
        let whole = |measure: Measure| maybe_grouped(group.median(measure));
        let measured = group.runs.iter().any(|record| load(record).is_some());
        [
            struck(group, name(study, group)),
            load_cell(group.cell),
            whole(measure::success),
            if measured { grouped(failed(group) as f64) } else { "–".into() },
            short(measure::latency_ms),
            short(measure::waiting_ms),
            short(measure::kept_waiting_ms),
            whole(measure::transferred_kb),
            whole(measure::rate),
            whole(measure::transfer_kb_s),
            group.mark(&common),
        ]
    };
    let table = words::table(Lang::En, "loads").with(groups.iter().map(row));
    doc.table(&Table { caption: caption.into(), ..table });
    let counts = by_class(groups.iter().flat_map(|group| &group.runs));
    let [connect, read, write, status, timeout, stalled] = &counts;
    doc.text(match counts.iter().sum::<u64>() {
        0 => "Nothing failed in any run of this table.".to_owned(),
        all => english("failures", &[&grouped(all as f64), connect, read, write, status, timeout, stalled]),
    });
    let line = |group: &Group<'_>| {
        let found = group.runs.iter().flat_map(|record| reasons(record, Validity::Invalid));
        let found = found.sorted().dedup().join("; ");
        format!("{}, {}: not ranked. {}", name(study, group), load_cell(group.cell), plain(&found))
    };
    let invalid = groups.iter().filter(|group| !group.is_ranked()).map(line).collect_vec();
    if !invalid.is_empty() {
        doc.folded(&format!("Why {} rows are not ranked", invalid.len()), |doc| doc.list(&invalid));
    }
}

/// Item 1.
pub(crate) fn assignment(study: &Study, doc: &mut Doc) {
    doc.heading(2, "1. The assignment's table");
    doc.text(english("definitions", &[]));
    doc.text(english("ranked", &[&anchor(GATES_PART)]));
    let groups = study.section(Section::Assignment);
    if groups.is_empty() {
        return doc.text(words::no_part("no_assignment", study, Section::Assignment));
    }
    if groups.iter().any(|group| group.cell.opened() != group.cell.connections) {
        doc.text(english("opened", &[]));
    }
    let (control, mut rows): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|group| group.cell.target == AGAIN);
    rows.sort_by_key(|group| (group.cell.connections, group.cell.threads));
    with_reasons(study, &rows, "The loads of the assignment: `wrk -c 1000 -t 10` to `-t 200`", doc);
    if !control.is_empty() {
        doc.folded("The control: the thread engine a second time", |doc| {
            with_reasons(study, &control, "The same program again, under the same loads", doc);
        });
    }
}

/// Sorts groups: the best first, and groups that are not ranked last.
pub(crate) fn rank(groups: &mut [Group<'_>]) {
    let rate = |group: &Group<'_>| group.median(measure::rate).unwrap_or(0.0);
    groups.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
    groups.sort_by_key(|group| {
        let cell = group.cell;
        (!cell.keep_alive, cell.body_bytes, cell.connections, cell.threads, !group.is_ranked())
    });
}

/// Item 3.
pub(crate) fn servers(study: &Study, doc: &mut Doc) {
    doc.heading(2, "3. The web servers");
    let mut groups = study.section(Section::Servers);
    if groups.is_empty() {
        return doc.text(words::no_part("no_servers", study, Section::Servers));
    }
    rank(&mut groups);
    doc.text(english("servers", &[]));
    with_reasons(study, &groups, "Web servers", doc);
}

/// The ratio, its interval and the number of its pairs.
fn cells(of: &Ratio) -> [String; 3] {
    [ratio(of.ratio), interval(of), of.blocks.len().to_string()]
}

/// Says what the architecture does (equal numbers of workers), and what the number of workers does.
fn workers(study: &Study, doc: &mut Doc) {
    let found = verdicts::workers(study);
    if found.is_empty() {
        return;
    }
    doc.heading(3, "The number of workers");
    doc.text(english("workers", &[]));
    let row = |Pair { a, b, ratio }: &Pair<'_>| {
        let load = load_cell(a.cell);
        let [a, b] = [a, b].map(|group| plain(&group.target.id));
        let sentence = clause(ratio, [&a, &b]);
        [load, a, b, sentence].into_iter().chain(cells(ratio))
    };
    let is_equal = |Pair { a, b, .. }: &&Pair<'_>| a.target.workers == b.target.workers;
    let (architecture, default): (Vec<_>, Vec<_>) = found.iter().partition(is_equal);
    doc.table(&words::table(Lang::En, "architecture").with(architecture.into_iter().map(row)));
    doc.table(&words::table(Lang::En, "workers").with(default.into_iter().map(row)));
    doc.folded("The rates of both tables", |doc| {
        with_reasons(study, &study.section(Section::Workers), "The numbers of workers", doc);
    });
}

/// Item 2: the thread engine against the async engine, load by load.
pub(crate) fn versus(study: &Study, doc: &mut Doc) {
    doc.heading(2, "2. Thread against async");
    let verdicts = verdicts::by_load(study);
    doc.text(english(if verdicts.is_empty() { "no_verdict" } else { "verdicts" }, &[]));
    let row = |Pair { b: thread, ratio, .. }: &Pair<'_>| {
        let sign = format!("{:.3}", sign_test(&ratio.blocks));
        let control = dash(verdicts::control(study, thread).as_ref().map(interval));
        let words = [load_cell(thread.cell), clause(ratio, ENGINES)];
        words.into_iter().chain(cells(ratio)).chain([sign, control])
    };
    doc.table(&words::table(Lang::En, "verdicts").with(verdicts.iter().map(row)));
    workers(study, doc);
}

/// Item 6: the cost of each design choice, and of extra overheads.
pub(crate) fn ablations(study: &Study, doc: &mut Doc) {
    doc.heading(2, "6. What each choice costs");
    let mut costs = verdicts::costs(study);
    if costs.is_empty() {
        return doc.text(words::no_part("no_costs", study, Section::Ablations));
    }
    let order = |cost: &Cost<'_>| cost.ratio.as_ref().map_or([1.0, f64::INFINITY], |r| [certain(r), r.ratio]);
    costs.sort_by(|a, b| order(a).partial_cmp(&order(b)).unwrap_or(Ordering::Equal));
    doc.text(english("costs", &[]));
    let common = common(study);
    let row = |Cost { changed, baseline, ratio }: &Cost<'_>| {
        // Each number without the change and with it.
        let both = [baseline.as_ref(), Some(changed)];
        let median = |measure: Measure| both.map(|group| group?.median(measure));
        let calls = both.map(|group| {
            let group: &Group<'_> = group.filter(|group| group.cell.keep_alive)?;
            why::of_target(study, &group.cell.target, measure::calls)
        });
        let ratio = ratio.as_ref();
        let pairs = ratio.map_or(0, |ratio| ratio.blocks.len()).to_string();
        let what = if changed.cell.keep_alive { "" } else { ": a connection per request" };
        let name = struck(changed, plain(&(study.title(&changed.target.id) + what)));
        let change = dash(ratio.map(|ratio| cost(Lang::En, ratio)));
        let [rates, cpu] = [median(measure::rate).map(maybe_grouped), median(measure::cpu_us).map(maybe)];
        let numbers = [rates, cpu, calls.map(maybe)].into_iter().flatten();
        [name, load_cell(changed.cell), change, pairs]
            .into_iter()
            .chain(numbers)
            .chain([changed.mark(&common)])
    };
    doc.table(&words::table(Lang::En, "choices").with(costs.iter().map(row)));
    let alone = costs.iter().filter(|cost| cost.ratio.is_none()).count();
    if alone > 0 {
        doc.text(english("costs_alone", &[&alone, &costs.len()]));
    }
}
