//! Item 6 of the report: the cost of each design choice, and of extra overheads.

use crate::judge::measure;
use crate::judge::stats::Ratio;
use crate::judge::study::{Group, Measure, Study};
use crate::judge::verdicts::{Cost, costs};
use crate::report::doc::{Doc, plain};
use crate::report::number::{change, dash, interval_change, load_cell, maybe, maybe_grouped};
use crate::report::words::{self, english};
use crate::report::{about, why};

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("6. What each choice costs");
    let mut costs = costs(study);
    if costs.is_empty() {
        doc.text(english("no_costs", &[]));
        return;
    }
    let order = |cost: &Cost<'_>| cost.ratio.as_ref().map_or(f64::INFINITY, |ratio| ratio.ratio);
    costs.sort_by(|a, b| order(a).total_cmp(&order(b)));
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
        let mut row = vec![
            plain(name),
            load_cell(changed.cell),
            said(ratio),
            dash(ratio.map(interval_change)),
            ratio.map_or(0, |ratio| ratio.blocks.len()).to_string(),
        ];
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

/// Returns the change in per cent. A ratio without an interval gets no percentage, because one pair proves nothing.
fn said(ratio: Option<&Ratio>) -> String {
    match ratio {
        None => "–".into(),
        Some(ratio) if ratio.interval.is_none() => "one pair".into(),
        Some(ratio) => change(ratio.ratio),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pair_gets_no_percentage() {
        let of = |blocks: &[f64]| said(Ratio::of_blocks(blocks).as_ref()).replace('\u{a0}', " ");
        assert_eq!([of(&[1.18]), of(&[0.5, 0.5]), of(&[])], ["one pair", "−50.0 %", "–"]);
    }
}
