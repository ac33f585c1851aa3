//! Item 2 of the report: the thread engine against the async engine, load by load, and the number of workers.

use crate::judge::measure;
use crate::judge::stats::{Ratio, sign_test};
use crate::judge::study::{Group, Study};
use crate::judge::verdicts::{self, LoadVerdict, Workers};
use crate::plans::model::{Section, Work};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Table, plain};
use crate::report::number::{bytes, dash, interval, load_cell, maybe, maybe_grouped, name, ratio};
use crate::report::words::{self, english};

/// Returns the other loads with which both engines ran (async, thread), and the ratio for each.
pub(crate) fn conditions(study: &Study) -> Vec<(Group<'_>, Group<'_>, Ratio)> {
    let others = study.groups(|cell| {
        let is_other = !matches!(cell.section, Section::Assignment | Section::Workers);
        cell.target == ASYNC && is_other && cell.work == Work::Load
    });
    let compared = others.into_iter().filter_map(|group| {
        let thread = study.twin(group.cell, THREAD)?;
        let ratio = group.against(&thread, measure::rate)?;
        Some((group, thread, ratio))
    });
    compared.collect()
}

/// The ratio, its interval and the number of its pairs.
fn cells(of: &Ratio) -> [String; 3] {
    [ratio(of.ratio), interval(of), of.blocks.len().to_string()]
}

fn by_load(verdicts: &[LoadVerdict<'_>]) -> Table {
    let mut table = words::table("verdicts");
    for verdict in verdicts {
        let words = [load_cell(verdict.cell), verdict.sentence()];
        let sign = format!("{:.3}", sign_test(&verdict.ratio.blocks));
        let control = dash(verdict.control.as_ref().map(interval));
        table.push(words.into_iter().chain(cells(&verdict.ratio)).chain([sign, control]));
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
    doc.text(english("workers", &[]));
    let (mut architecture, mut default) = (words::table("architecture"), words::table("workers"));
    for Workers { cell, a, b, ratio, is_architecture } in &found {
        let table = if *is_architecture { &mut architecture } else { &mut default };
        let (a, b) = (plain(a), plain(b));
        let sentence = ratio.sentence(&a, &b);
        table.push([load_cell(cell), a, b, sentence].into_iter().chain(cells(ratio)));
    }
    doc.table(&architecture);
    doc.table(&default);
    let mut rates = words::table("rates");
    for group in study.section(Section::Workers) {
        rates.push([name(study, &group), load_cell(group.cell), maybe_grouped(group.median(measure::rate))]);
    }
    doc.folded("The rates of both tables", |doc| doc.table(&rates));
}

fn others(study: &Study, doc: &mut Doc) {
    let conditions = conditions(study);
    if conditions.is_empty() {
        return;
    }
    let mut table = words::table("conditions");
    for (group, thread, of) in &conditions {
        let load = [load_cell(group.cell), bytes(group.cell.body_bytes)];
        let p99 = [group, thread].map(|group| maybe(group.median(measure::waiting_p99_ms)));
        table.push(load.into_iter().chain(cells(of)).chain(p99));
    }
    doc.folded(&format!("The ratio under each of the other loads ({})", conditions.len()), |doc| {
        doc.text("One pair is no verdict; it shows where to look.");
        doc.table(&table);
    });
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("2. Thread against async");
    let verdicts = verdicts::by_load(study, Section::Assignment);
    doc.text(english(if verdicts.is_empty() { "no_verdict" } else { "verdicts" }, &[]));
    doc.table(&by_load(&verdicts));
    workers(study, doc);
    others(study, doc);
}
