//! Item 6 of the report: the cost of each design choice, and of extra overheads.

use crate::judge::measure;
use crate::judge::stats::Ratio;
use crate::judge::study::{Group, Study};
use crate::plans::model::{Cell, Section, TargetKind};
use crate::report::number::{change, load_name, maybe};
use crate::report::page::{Block, Table, Tone};

/// A change and its baseline.
#[derive(Debug, Clone)]
pub(crate) struct Cost<'a> {
    pub(crate) name: String,
    pub(crate) changed: Group<'a>,
    /// None when the plan has no such cell.
    pub(crate) baseline: Option<Group<'a>>,
    /// The ratio changed / baseline in requests per second.
    pub(crate) ratio: Option<Ratio>,
}

/// Returns all changes of the run: extra overheads, other design choices, and a connection per request.
pub(crate) fn costs(study: &Study) -> Vec<Cost<'_>> {
    let changed = study.groups(|cell| {
        let kind = study.kind(&cell.target);
        matches!(cell.section, Section::Ablations | Section::Variants)
            && matches!(kind, Some(TargetKind::Ablation | TargetKind::Variant))
    });
    let with_baseline = changed.into_iter().map(|group| {
        let baseline = study.target(&group.cell.target).and_then(|target| target.baseline.clone());
        let baseline = baseline.and_then(|id| study.twin(group.cell, &id));
        cost(study, study.title(&group.cell.target), group, baseline)
    });
    let reuse = study.section(Section::Reuse).into_iter().map(|group| {
        let wanted = Cell { keep_alive: true, section: Section::Concurrency, ..group.cell.clone() };
        let kept = [Section::Concurrency, Section::Peers, Section::Servers]
            .into_iter()
            .find_map(|section| study.twin(&Cell { section, ..wanted.clone() }, &group.cell.target));
        cost(study, format!("{}: a connection per request", study.title(&group.cell.target)), group, kept)
    });
    with_baseline.chain(reuse).collect()
}

fn cost<'a>(study: &Study, name: String, changed: Group<'a>, baseline: Option<Group<'a>>) -> Cost<'a> {
    let ratios = baseline.as_ref().map(|baseline| study.paired(&changed, baseline, measure::rate));
    let ratio = ratios.and_then(|ratios| Ratio::of_blocks(&ratios));
    Cost { name, changed, baseline, ratio }
}

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
                cost.ratio.as_ref().map_or("–".into(), |ratio| change(ratio.ratio)),
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
