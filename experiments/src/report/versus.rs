//! Item 2 of the report: the thread engine against the async engine, load by load, and the number of workers.

use crate::judge::stats::{Ratio, sign_test};
use crate::judge::study::Study;
use crate::judge::verdicts::{self, LoadVerdict, Workers};
use crate::plans::model::Section;
use crate::report::doc::{Doc, plain};
use crate::report::number::{dash, interval, load_cell, ratio};
use crate::report::tables;
use crate::report::words::{self, english};

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
    doc.heading("The number of workers");
    doc.text(english("workers", &[]));
    let row = |Workers { cell, a, b, ratio, .. }: &Workers<'_>| {
        let (a, b) = (plain(a), plain(b));
        let sentence = ratio.sentence(&a, &b);
        [load_cell(cell), a, b, sentence].into_iter().chain(cells(ratio))
    };
    let (architecture, default): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.is_architecture);
    doc.table(&words::table("architecture").with(architecture.into_iter().map(row)));
    doc.table(&words::table("workers").with(default.into_iter().map(row)));
    doc.folded("The rates of both tables", |doc| {
        tables::with_reasons(study, &study.section(Section::Workers), "The numbers of workers", doc);
    });
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("2. Thread against async");
    let verdicts = verdicts::by_load(study, Section::Assignment);
    doc.text(english(if verdicts.is_empty() { "no_verdict" } else { "verdicts" }, &[]));
    let row = |verdict: &LoadVerdict<'_>| {
        let sign = format!("{:.3}", sign_test(&verdict.ratio.blocks));
        let control = dash(verdict.control.as_ref().map(interval));
        let words = [load_cell(verdict.cell), verdict.sentence()];
        words.into_iter().chain(cells(&verdict.ratio)).chain([sign, control])
    };
    doc.table(&words::table("verdicts").with(verdicts.iter().map(row)));
    workers(study, doc);
}
