//! Item 2 of the report: the thread engine against the async engine.

use crate::judge::measure;
use crate::judge::stats::{Ratio, sign_test};
use crate::judge::study::{Group, Study};
use crate::judge::verdicts::{LoadVerdict, by_load, workers};
use crate::plans::model::{Cell, Section, Work};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::number::{bytes, load_name, maybe, ratio};
use crate::report::page::{Block, Table, Tone};

/// Returns the verdicts of the assignment.
pub(crate) fn assignment(study: &Study) -> Vec<LoadVerdict<'_>> {
    by_load(study, Section::Assignment)
}

/// Returns the verdict about one load in one sentence.
pub(crate) fn sentence(verdict: &LoadVerdict<'_>) -> String {
    format!(
        "`{}`: **{}** ({} blocks)",
        load_name(verdict.cell),
        verdict.sentence(),
        verdict.ratio.blocks.len()
    )
}

fn interval(of: &Ratio) -> String {
    of.interval.map_or("one block, none".into(), |(low, high)| format!("{} to {}", ratio(low), ratio(high)))
}

fn verdict_table(verdicts: &[LoadVerdict<'_>]) -> Table {
    let head = [
        "load",
        "verdict",
        "async / thread",
        "95 % interval",
        "blocks",
        "sign test p",
        "thread again / thread",
    ];
    let mut table = Table::new(2, &head);
    for verdict in verdicts {
        let of = &verdict.ratio;
        let control = verdict.control.as_ref();
        let control = control.map_or("–".into(), |of| format!("{} ({})", ratio(of.ratio), interval(of)));
        table.push(
            Tone::Plain,
            vec![
                load_name(verdict.cell),
                verdict.sentence(),
                ratio(of.ratio),
                interval(of),
                of.blocks.len().to_string(),
                format!("{:.3}", sign_test(&of.blocks)),
                control,
            ],
        );
    }
    table.caption(
        "Requests per second. The engines and the control (the thread engine again) take turns within a block, and the \
         first one changes from block to block. The interval is that of Student's t over the blocks' log ratios; the \
         sign test beside it supposes nothing. The control shows how far the same program differs from itself.",
    )
}

fn workers_table(study: &Study) -> Option<Block> {
    let found = workers(study);
    let mut table = Table::new(
        5,
        &["load", "compares", "with", "what differs", "verdict", "ratio", "95 % interval", "blocks"],
    );
    for of in &found {
        table.push(
            Tone::Plain,
            vec![
                load_name(of.cell),
                study.title(&of.a),
                study.title(&of.b),
                if of.is_architecture { "the architecture" } else { "the number of workers" }.into(),
                of.ratio.sentence(&of.a, &of.b),
                ratio(of.ratio.ratio),
                interval(&of.ratio),
                of.ratio.blocks.len().to_string(),
            ],
        );
    }
    let caption = "At equal numbers of workers the difference is the architecture's. Against the default of the same \
                   engine it is the number of workers that differs.";
    (!found.is_empty()).then(|| Block::Table(table.caption(caption)))
}

/// Returns the loads with which both engines ran, and the ratio for each load.
pub(crate) fn conditions(study: &Study) -> Vec<(Group<'_>, Ratio)> {
    let ranked = |c: &Cell| c.target == ASYNC && c.section != Section::Assignment && c.work == Work::Load;
    let mut found = Vec::new();
    for group in study.groups(ranked) {
        let Some(thread) = study.twin(group.cell, THREAD) else { continue };
        let ratio = Ratio::of_blocks(&study.paired(&group, &thread, measure::rate));
        found.extend(ratio.map(|ratio| (group, ratio)));
    }
    found
}

fn condition_table(study: &Study) -> Option<Block> {
    let conditions = conditions(study);
    if conditions.is_empty() {
        return None;
    }
    let mut table = Table::new(
        3,
        &["load", "body", "part", "async / thread", "95 % interval", "pairs", "waiting p99, async", "thread"],
    );
    for (group, of) in &conditions {
        let thread = study.twin(group.cell, THREAD);
        let p99 = |group: &Group<'_>| group.median(measure::waiting_p99_ms);
        let section = serde_json::to_value(group.cell.section).unwrap_or_default();
        table.push(
            Tone::Plain,
            vec![
                load_name(group.cell),
                bytes(group.cell.body_bytes),
                section.as_str().unwrap_or_default().into(),
                ratio(of.ratio),
                interval(of),
                of.blocks.len().to_string(),
                maybe(p99(group)),
                maybe(thread.as_ref().and_then(p99)),
            ],
        );
    }
    let table = table.caption(
        "One pair is no verdict; it shows where to look. Waiting in \
         milliseconds, from the prober.",
    );
    let summary = format!("The ratio under each of the other loads ({})", conditions.len());
    Some(Block::Folded { summary, blocks: vec![Block::Table(table)] })
}

pub(crate) fn part(study: &Study) -> Vec<Block> {
    let mut blocks = vec![Block::part("verdict", "2. Thread against async")];
    let verdicts = assignment(study);
    if verdicts.is_empty() {
        blocks.push(Block::text(
            "**No verdict:** this plan has no load with both engines, so a difference between the two cannot be told \
             from chance.",
        ));
    } else {
        blocks.push(Block::Table(verdict_table(&verdicts)));
    }
    if let Some(table) = workers_table(study) {
        blocks.push(Block::Heading("What the number of workers does".into()));
        blocks.push(table);
    }
    blocks.extend(condition_table(study));
    blocks
}
