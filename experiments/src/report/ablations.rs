//! Item 6 of the report: the cost of each design choice, and of extra overheads.

use crate::judge::measure;
use crate::judge::study::{Group, Measure, Study};
use crate::judge::verdicts::{Cost, costs};
use crate::plans::model::Section;
use crate::report::doc::{Doc, plain};
use crate::report::first::{certain, cost};
use crate::report::number::{dash, load_cell, maybe, maybe_grouped};
use crate::report::words::{self, Lang, english};
use crate::report::{about, why};

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("6. What each choice costs");
    let mut costs = costs(study);
    if costs.is_empty() {
        doc.text(words::absent(study, Lang::En, &[Section::Ablations], english("no_costs", &[])));
        return;
    }
    let ratio = |cost: &Cost<'_>| cost.ratio.as_ref().map_or(f64::INFINITY, |ratio| ratio.ratio);
    let certain = |cost: &Cost<'_>| cost.ratio.as_ref().map_or(1.0, certain);
    costs.sort_by(|a, b| certain(a).total_cmp(&certain(b)).then(ratio(a).total_cmp(&ratio(b))));
    doc.text(english("costs", &[]));
    let mut table = words::table("costs");
    let common = about::common(study);
    for Cost { name, changed, baseline, ratio } in &costs {
        // Each number without the change and with it.
        let both = [baseline.as_ref(), Some(changed)];
        let median = |measure: Measure| both.map(|group| group?.median(measure));
        let calls = both.map(|group| {
            let group: &Group<'_> = group.filter(|group| group.cell.keep_alive)?;
            why::calls_of(study, &group.cell.target)
        });
        let ratio = ratio.as_ref();
        let pairs = ratio.map_or(0, |ratio| ratio.blocks.len()).to_string();
        let mut row =
            vec![plain(name), load_cell(changed.cell), dash(ratio.map(|ratio| cost(Lang::En, ratio))), pairs];
        row.extend(median(measure::rate).map(maybe_grouped));
        row.extend(median(measure::cpu_us).map(maybe));
        row.extend(calls.map(maybe));
        row.push(changed.mark(&common));
        table.push_marked(!changed.is_ranked(), row);
    }
    doc.table(&table);
    let alone = costs.iter().filter(|cost| cost.ratio.is_none()).count();
    if alone > 0 {
        doc.text(english("costs_alone", &[&alone, &costs.len()]));
    }
}
