//! Item 2 of the report: the thread engine against the async engine, load by load, and the number of workers.

use crate::judge::measure;
use crate::judge::stats::{Ratio, sign_test};
use crate::judge::study::{Group, Study};
use crate::judge::verdicts::{self, LoadVerdict, Workers};
use crate::plans::model::{Cell, Section, Work};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Table, plain};
use crate::report::number::{bytes, grouped, interval, load_cell, maybe, ratio};

/// Returns the other loads with which both engines ran, and the ratio for each.
pub(crate) fn conditions(study: &Study) -> Vec<(Group<'_>, Ratio)> {
    let other = |c: &Cell| {
        c.target == ASYNC
            && !matches!(c.section, Section::Assignment | Section::Workers)
            && c.work == Work::Load
    };
    let mut found = Vec::new();
    for group in study.groups(other) {
        let Some(thread) = study.twin(group.cell, THREAD) else { continue };
        let ratio = Ratio::of_blocks(&study.paired(&group, &thread, measure::rate));
        found.extend(ratio.map(|ratio| (group, ratio)));
    }
    found
}

fn by_load(verdicts: &[LoadVerdict<'_>]) -> Table {
    let head = [
        "load",
        "verdict",
        "async / thread",
        "95 % interval",
        "pairs",
        "sign test p",
        "thread again / thread (A/A)",
    ];
    let mut table = Table::new("Requests per second, async / thread", 2, &head);
    for verdict in verdicts {
        let of = &verdict.ratio;
        table.push([
            load_cell(verdict.cell),
            verdict.sentence(),
            ratio(of.ratio),
            interval(of),
            of.blocks.len().to_string(),
            format!("{:.3}", sign_test(&of.blocks)),
            verdict.control.as_ref().map_or("–".into(), interval),
        ]);
    }
    table
}

/// Says what the architecture does (equal numbers of workers), and what the number of workers does.
fn workers(study: &Study, doc: &mut Doc) {
    let found = verdicts::workers(study);
    if found.is_empty() {
        return;
    }
    doc.heading("The number of workers");
    doc.text(
        "Where client, balancer and backends share the CPUs, fewer workers may be faster. The first table has the same \
         number of workers in both engines, so the difference is the architecture's. The second has one engine with another \
         number of workers than its default.",
    );
    let rows = |is_architecture, caption, names: [&str; 2]| {
        let mut table = Table::new(
            caption,
            3,
            &["load", names[0], names[1], "verdict", "ratio", "95 % interval", "pairs"],
        );
        table.words = 4;
        for Workers { cell, a, b, ratio: of, .. } in
            found.iter().filter(|w| w.is_architecture == is_architecture)
        {
            let (a, b) = (plain(a), plain(b));
            table.push([
                load_cell(cell),
                a.clone(),
                b.clone(),
                of.sentence(&a, &b),
                ratio(of.ratio),
                interval(of),
                of.blocks.len().to_string(),
            ]);
        }
        table
    };
    doc.table(&rows(true, "The architecture: both engines with as many workers", ["async", "thread"]));
    doc.table(&rows(false, "The number of workers: each engine against its default", ["workers", "default"]));
    let mut rates = Table::new("The rates behind the ratios", 2, &["program", "load", "requests/s"]);
    for group in study.section(Section::Workers) {
        let rate = group.median(measure::rate).map_or("–".into(), grouped);
        rates.push([plain(&study.title(&group.cell.target)), load_cell(group.cell), rate]);
    }
    doc.folded("The rates of both tables", |doc| doc.table(&rates));
}

fn others(study: &Study, doc: &mut Doc) {
    let conditions = conditions(study);
    if conditions.is_empty() {
        return;
    }
    let head =
        ["load", "body", "async / thread", "95 % interval", "pairs", "waiting p99 (ms), async", "thread"];
    let mut table = Table::new("async / thread under the other loads, descriptive", 2, &head);
    for (group, of) in &conditions {
        let thread = study.twin(group.cell, THREAD);
        let p99 = |group: &Group<'_>| group.median(measure::waiting_p99_ms);
        table.push([
            load_cell(group.cell),
            bytes(group.cell.body_bytes),
            ratio(of.ratio),
            interval(of),
            of.blocks.len().to_string(),
            maybe(p99(group)),
            maybe(thread.as_ref().and_then(p99)),
        ]);
    }
    doc.folded(&format!("The ratio under each of the other loads ({})", conditions.len()), |doc| {
        doc.text("One pair is no verdict; it shows where to look.");
        doc.table(&table);
    });
}

/// Item 2.
pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("2. Thread against async");
    let verdicts = verdicts::by_load(study, Section::Assignment);
    match verdicts.is_empty() {
        true => doc.text(
            "**No verdict:** this plan has no blocks of both engines under the loads of the assignment.",
        ),
        false => {
            doc.text(
                "In a block both engines and the control run one after the other, and the first one changes from block to \
                 block. A ratio is the geometric mean over the blocks, its interval is Student's t on their logarithms. The \
                 sign test supposes nothing about their distribution. The control runs the thread engine twice: its interval \
                 says how far a program differs from itself.",
            );
            doc.table(&by_load(&verdicts));
        }
    }
    workers(study, doc);
    others(study, doc);
}
