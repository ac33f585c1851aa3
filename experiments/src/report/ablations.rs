//! Item 6 of the report: the cost of each design choice, and of extra overheads.

use crate::judge::measure;
use crate::judge::stats::Ratio;
use crate::judge::study::{Group, Study};
use crate::judge::verdicts::{Cost, costs};
use crate::report::number::{change, load_name, maybe};
use crate::report::page::{Block, Table, Tone};

/// Item 6.
pub(crate) fn part(study: &Study) -> Vec<Block> {
    let mut blocks = vec![Block::part("ablations", "6. What each choice costs")];
    let mut costs = costs(study);
    if costs.is_empty() {
        blocks.push(Block::text(
            "This run has no cell with an overhead switched on or a choice made otherwise.",
        ));
        return blocks;
    }
    let order = |cost: &Cost<'_>| cost.ratio.as_ref().map_or(f64::INFINITY, |ratio| ratio.ratio);
    costs.sort_by(|a, b| order(a).total_cmp(&order(b)));
    blocks.push(Block::text(
        "Each change alone, against the same program without it, measured beside it; dearest first. The overheads are \
         switches that exist for this experiment and are off by default.",
    ));
    let head = [
        "change",
        "load",
        "requests/s",
        "without",
        "rate",
        "95 % interval",
        "CPU (µs/request)",
        "without",
        "valid",
    ];
    let mut table = Table::new(2, &head);
    for cost in &costs {
        let of = |group: Option<&Group<'_>>, measure| maybe(group.and_then(|group| group.median(measure)));
        let (changed, baseline) = (Some(&cost.changed), cost.baseline.as_ref());
        let interval = cost.ratio.as_ref().and_then(|ratio| ratio.interval);
        let tone = if cost.changed.is_ranked() { Tone::Plain } else { Tone::Invalid };
        table.push(
            tone,
            vec![
                cost.name.clone(),
                load_name(cost.changed.cell),
                of(changed, measure::rate),
                of(baseline, measure::rate),
                said(cost.ratio.as_ref()),
                interval.map_or("–".into(), |(a, b)| format!("{} to {}", change(a), change(b))),
                of(changed, measure::cpu_us),
                of(baseline, measure::cpu_us),
                cost.changed.mark(),
            ],
        );
    }
    blocks.push(Block::Table(table.caption(
        "CPU is that of the balancer, or of the server asked directly. An interval needs repetitions.",
    )));
    let alone = costs.iter().filter(|cost| cost.ratio.is_none()).count();
    if alone > 0 {
        blocks.push(Block::text(format!(
            "{} of {} changes have no ratio: the same program without the change was not measured beside it in this plan, \
             or one of the two failed a gate.",
            alone,
            costs.len()
        )));
    }
    blocks
}

/// Returns the change in percent. A ratio without an interval gets no percentage, because one pair proves nothing.
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
