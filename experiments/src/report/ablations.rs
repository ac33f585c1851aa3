//! Item 6 of the report: the cost of each design choice, and of extra overheads.

use crate::judge::measure;
use crate::judge::stats::Ratio;
use crate::judge::study::{Group, Measure, Study};
use crate::judge::verdicts::{Cost, costs};
use crate::report::doc::{Doc, Table, plain};
use crate::report::number::{change, interval_change, load_cell, maybe, maybe_grouped};
use crate::report::tables::mark;
use crate::report::why;

/// Item 6.
pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("6. What each choice costs");
    let mut costs = costs(study);
    if costs.is_empty() {
        doc.text("This run has no cell with an overhead switched on or a choice made otherwise.");
        return;
    }
    let order = |cost: &Cost<'_>| cost.ratio.as_ref().map_or(f64::INFINITY, |ratio| ratio.ratio);
    costs.sort_by(|a, b| order(a).total_cmp(&order(b)));
    doc.text(
        "Each change alone, against the same program without it in the same block; the dearest first. The overheads are \
         switches that exist for this experiment and are off by default. CPU is that of the balancer, or of the server asked \
         directly. System calls are from short runs of their own under strace; their number hardly varies.",
    );
    let head = [
        "change",
        "load",
        "rate",
        "95 % interval",
        "pairs",
        "requests/s, without",
        "with",
        "CPU µs/request, without",
        "with",
        "system calls/request, without",
        "with",
        "ranked",
    ];
    let mut table = Table::new("Cost of each change", 2, &head);
    for cost in &costs {
        let of = |group: Option<&Group<'_>>, measure: Measure| group.and_then(|group| group.median(measure));
        let (changed, baseline) = (Some(&cost.changed), cost.baseline.as_ref());
        let calls = |group: Option<&Group<'_>>| {
            let group = group.filter(|group| group.cell.keep_alive);
            maybe(group.and_then(|group| why::calls_of(study, &group.cell.target)))
        };
        let row = vec![
            plain(&cost.name),
            load_cell(cost.changed.cell),
            said(cost.ratio.as_ref()),
            cost.ratio.as_ref().map_or("–".into(), interval_change),
            cost.ratio.as_ref().map_or(0, |ratio| ratio.blocks.len()).to_string(),
            maybe_grouped(of(baseline, measure::rate)),
            maybe_grouped(of(changed, measure::rate)),
            maybe(of(baseline, measure::cpu_us)),
            maybe(of(changed, measure::cpu_us)),
            calls(baseline),
            calls(changed),
            mark(study, &cost.changed),
        ];
        table.push_marked(!cost.changed.is_ranked(), row);
    }
    doc.table(&table);
    let alone = costs.iter().filter(|cost| cost.ratio.is_none()).count();
    if alone > 0 {
        doc.text(format!(
            "{alone} of {} changes have no ratio, because the same program without the change was not measured beside it.",
            costs.len()
        ));
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
