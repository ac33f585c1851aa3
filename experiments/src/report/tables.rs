//! Items 1 and 3 of the report: the table of the assignment and the web servers, with the same columns.

use itertools::Itertools;

use crate::judge::measure;
use crate::judge::study::{Group, Measure, Study, load};
use crate::judge::verdict::Validity;
use crate::plans::model::Section;
use crate::plans::targets::AGAIN;
use crate::report::about::{common, reasons};
use crate::report::doc::{Doc, Table, anchor, plain};
use crate::report::failures::{failed, sentence};
use crate::report::number::{grouped, load_cell, maybe, maybe_grouped, name};
use crate::report::words::{self, GATES_PART, Lang, english};

/// Writes a table of loads in the given order, its failures, and why groups are not ranked.
pub(crate) fn with_reasons(study: &Study, groups: &[Group<'_>], caption: &str, doc: &mut Doc) {
    let mut table = Table { caption: caption.into(), ..words::table("loads") };
    let common = common(study);
    for group in groups {
        let short = |measure: Measure| maybe(group.median(measure));
        let whole = |measure: Measure| maybe_grouped(group.median(measure));
        let measured = group.runs.iter().any(|record| load(record).is_some());
        let row = vec![
            name(study, group),
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
        ];
        table.push_marked(group.validity() == Validity::Invalid, row);
    }
    doc.table(&table);
    doc.text(sentence(groups));
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
    doc.part("1. The assignment's table");
    doc.text(english("definitions", &[]));
    doc.text(english("ranked", &[&anchor(GATES_PART)]));
    let groups = study.section(Section::Assignment);
    if groups.is_empty() {
        doc.text(words::absent(study, Lang::En, &[Section::Assignment], english("no_assignment", &[])));
        return;
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
    doc.part("3. The web servers");
    let mut groups = study.section(Section::Servers);
    if groups.is_empty() {
        doc.text(words::absent(study, Lang::En, &[Section::Servers], english("no_servers", &[])));
        return;
    }
    rank(&mut groups);
    doc.text(english("servers", &[]));
    with_reasons(study, &groups, "Web servers", doc);
}
