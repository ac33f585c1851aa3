//! Items 1 and 3 of the report: the table of the assignment and the web servers, with the same columns.

use crate::judge::measure;
use crate::judge::record::Failures;
use crate::judge::study::{Group, Measure, Study, load};
use crate::judge::verdict::{Gate, Validity};
use crate::plans::model::Section;
use crate::report::about::{common, reasons_from};
use crate::report::doc::{Doc, Table, anchor, code, plain};
use crate::report::number::{grouped, load_cell, load_name, maybe, maybe_grouped};
use crate::report::{GATES_PART, first};

const COLUMNS: [&str; 10] = [
    "load",
    "success",
    "failed",
    "average latency (ms)",
    "waiting (ms)",
    "waiting, kept (ms)",
    "total transfer (KB)",
    "requests/s",
    "transfer/s (KB)",
    "ranked",
];

const DEFINITIONS: &str = "Each number is the median of the repetitions; **failed** is their sum. **success**: answers below \
    status 400 that came in time. **failed**: connect, read, write, status and timeout errors, and connections that were \
    never answered. **average latency**: connections / rate (Little's law), because wrk alters its own mean. **waiting**: \
    mean time from a sent request to the first byte, from the prober; wrk does not measure it. The prober opens a \
    connection for each request; **kept**: the same on connections that stay open, as those of the load do.";

/// Makes a table of loads, with the rows in the given order.
fn load_table(study: &Study, groups: &[Group<'_>], caption: &str) -> Table {
    let head: Vec<&str> = std::iter::once("program").chain(COLUMNS).collect();
    let mut table = Table::new(caption, 2, &head);
    for group in groups {
        let median = |measure: Measure| group.median(measure);
        let measured = group.runs.iter().any(|record| load(record).is_some());
        let row = vec![
            plain(&study.title(&group.cell.target)),
            load_cell(group.cell),
            maybe_grouped(median(measure::success)),
            if measured { grouped(first::failed(group) as f64) } else { "–".into() },
            maybe(median(measure::latency_ms)),
            maybe(median(measure::waiting_ms)),
            maybe(median(measure::kept_waiting_ms)),
            maybe_grouped(median(measure::transferred_kb)),
            maybe_grouped(median(measure::rate)),
            maybe_grouped(median(measure::transfer_kb_s)),
            mark(study, group),
        ];
        table.push_marked(group.validity() == Validity::Invalid, row);
    }
    table
}

/// Returns `yes`, or `NO` with the gates that failed. A remark that nearly every cell has is left out.
pub(crate) fn mark(study: &Study, group: &Group<'_>) -> String {
    let common = common(study);
    let mark = group.mark();
    if group.validity() == Validity::Invalid {
        return mark;
    }
    let is_common = |word: &&str| common.iter().any(|gate| format!("{gate:?}") == **word);
    let rest: Vec<&str> = mark.split(' ').filter(|word| !is_common(word)).collect();
    let is_gate = |word: &str| Gate::ALL.iter().any(|gate| format!("{gate:?}") == word);
    let text = rest.join(" ");
    if rest.iter().any(|word| is_gate(word)) { text } else { text.replace("yes, see", "yes") }
}

/// Describes the failures of all runs by class, in one sentence.
fn failure_classes(groups: &[Group<'_>]) -> String {
    let mut sum = Failures::default();
    let runs = groups.iter().flat_map(|group| &group.runs).filter_map(|record| load(record));
    for f in runs.map(|load| load.failures) {
        sum.connect += f.connect;
        sum.read += f.read;
        sum.write += f.write;
        sum.status += f.status;
        sum.timeout += f.timeout;
        sum.stalled += f.stalled;
    }
    match sum.total() {
        0 => "Nothing failed in any run of this table.".into(),
        n => format!(
            "Over all runs of this table {} failed: connect {}, read {}, write {}, status {}, timeout {}, never answered {}.",
            grouped(n as f64),
            sum.connect,
            sum.read,
            sum.write,
            sum.status,
            sum.timeout,
            sum.stalled
        ),
    }
}

/// Writes a table of loads, its failures, and why groups are not ranked.
pub(crate) fn with_reasons(study: &Study, groups: &[Group<'_>], caption: &str, doc: &mut Doc) {
    doc.table(&load_table(study, groups, caption));
    doc.text(failure_classes(groups));
    let invalid = groups.iter().filter(|group| !group.is_ranked());
    let lines: Vec<String> = invalid
        .map(|group| {
            let mut reasons: Vec<String> =
                group.runs.iter().flat_map(|record| reasons_from(record, Validity::Invalid)).collect();
            reasons.sort();
            reasons.dedup();
            let name = plain(&study.title(&group.cell.target));
            format!("{name}, {}: not ranked. {}", code(&load_name(group.cell)), plain(&reasons.join("; ")))
        })
        .collect();
    doc.list(&lines);
}

/// Item 1.
pub(crate) fn assignment(study: &Study, doc: &mut Doc) {
    doc.part("1. The assignment's table");
    doc.text(DEFINITIONS);
    doc.text(format!(
        "**ranked**: `yes`, or `NO` with the gates that failed, or the gates with a remark. [The gates](#{}) have their \
         thresholds there.",
        anchor(GATES_PART)
    ));
    let groups = study.section(Section::Assignment);
    if groups.is_empty() {
        doc.text("This run has no cell of the assignment's loads.");
        return;
    }
    if groups.iter().any(|group| group.cell.opened() != group.cell.connections) {
        doc.text(
            "wrk gives each thread the same number of connections and drops the rest, so `-c 1000 -t 150` opens 900. The \
             number in brackets is what was opened.",
        );
    }
    let (control, mut rows): (Vec<Group<'_>>, Vec<Group<'_>>) =
        groups.into_iter().partition(|group| group.cell.target == crate::plans::targets::AGAIN);
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
    groups.sort_by(|a, b| {
        let load =
            |g: &Group<'_>| (!g.cell.keep_alive, g.cell.body_bytes, g.cell.connections, g.cell.threads);
        load(a).cmp(&load(b)).then(b.is_ranked().cmp(&a.is_ranked())).then(rate(b).total_cmp(&rate(a)))
    });
}

/// Item 3.
pub(crate) fn servers(study: &Study, doc: &mut Doc) {
    doc.part("3. The web servers");
    let mut groups = study.section(Section::Servers);
    if groups.is_empty() {
        doc.text("This run has no cell in which a web server was asked directly.");
        return;
    }
    rank(&mut groups);
    doc.text(
        "The file servers asked directly, without a balancer between, best first under each load. What a balancer reaches \
         over them stays below this. Columns as in part 1.",
    );
    with_reasons(study, &groups, "Web servers", doc);
}
