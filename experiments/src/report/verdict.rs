//! Item 2 of the report: the thread engine against the async engine.

use crate::judge::measure;
use crate::judge::stats::{ENOUGH_BLOCKS, Ratio, Verdict, sign_test, verdict};
use crate::judge::study::{Group, Study};
use crate::judge::verdict::Validity;
use crate::plans::model::{Cell, Section, Work};
use crate::plans::targets::{AGAIN, ASYNC, THREAD};
use crate::report::number::{bytes, change, load_name, maybe, ratio};
use crate::report::page::{Block, Table, Tone};

/// The result of the repeated blocks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Headline {
    pub(crate) load: String,
    /// The ratio async / thread.
    pub(crate) ratio: Ratio,
    /// The ratio thread again / thread.
    pub(crate) control: Option<Ratio>,
    /// Number of blocks in the plan, and number of blocks in which both engines may be ranked.
    pub(crate) planned: usize,
    pub(crate) verdict: Verdict,
}

impl Headline {
    /// Returns the greatest factor by which the control differs from itself.
    pub(crate) fn noise_floor(&self) -> f64 {
        self.control.as_ref().map_or(1.0, Ratio::reach)
    }
}

/// Computes the headline. None when the plan has no blocks in which both engines may be ranked.
pub(crate) fn headline(study: &Study) -> Option<Headline> {
    let groups = study.section(Section::Headline);
    let of = |target: &str| groups.iter().find(|group| group.cell.target == target);
    let (thread, asynchronous) = (of(THREAD)?, of(ASYNC)?);
    let ratio = Ratio::of_blocks(&study.paired(asynchronous, thread, measure::rate))?;
    let control = of(AGAIN).and_then(|again| Ratio::of_blocks(&study.paired(again, thread, measure::rate)));
    let noise_floor = control.as_ref().map_or(1.0, Ratio::reach);
    Some(Headline {
        load: load_name(thread.cell),
        planned: thread.runs.len().max(asynchronous.runs.len()),
        verdict: verdict(&ratio, noise_floor),
        ratio,
        control,
    })
}

/// Returns the verdict in one sentence.
pub(crate) fn sentence(headline: &Headline) -> String {
    let Headline { load, ratio, verdict, .. } = headline;
    let n = ratio.blocks.len();
    let interval = ratio
        .interval
        .map_or(String::new(), |(a, b)| format!(", 95 % interval {} to {}", change(a), change(b)));
    let measured = format!("{}{interval}, {n} blocks, `{load}`", change(ratio.ratio));
    match verdict {
        Verdict::Faster => format!(
            "**The async engine serves more requests per second than the thread engine** ({measured})."
        ),
        Verdict::Slower => format!(
            "**The thread engine serves more requests per second than the async engine** (async against thread: {measured})."
        ),
        Verdict::NotDistinguishable => {
            format!(
                "**The two engines are not distinguishable in requests per second** (async against thread: {measured})."
            )
        }
        Verdict::TooFew => format!(
            "**No verdict: {n} paired blocks are too few**, {ENOUGH_BLOCKS} are the fewest that can tell (async against \
             thread: {measured})."
        ),
    }
}

fn interval(of: &Ratio) -> String {
    of.interval.map_or("one block, none".into(), |(low, high)| format!("{} to {}", ratio(low), ratio(high)))
}

fn headline_blocks(headline: &Headline) -> Vec<Block> {
    let mut table =
        Table::new(1, &["ratio of requests/s", "geometric mean", "95 % interval", "blocks", "sign test p"]);
    let mut row = |name: &str, of: &Ratio| {
        let p = format!("{:.3}", sign_test(&of.blocks));
        table.push(
            Tone::Plain,
            vec![name.into(), ratio(of.ratio), interval(of), of.blocks.len().to_string(), p],
        );
    };
    row("async / thread", &headline.ratio);
    if let Some(control) = &headline.control {
        row("thread again / thread (A/A)", control);
    }
    let noise = match &headline.control {
        Some(_) => format!(
            "The A/A control runs the thread engine against itself in the same blocks. It reaches {}: a ratio that is \
             nearer to 1 than that is noise.",
            ratio(headline.noise_floor())
        ),
        None => "There was no A/A control, so the noise floor is unknown.".into(),
    };
    let left_out = headline.planned - headline.ratio.blocks.len().min(headline.planned);
    let left_out = match left_out {
        0 => String::new(),
        n => {
            format!(" {n} of {} blocks are left out, because a cell in them failed a gate.", headline.planned)
        }
    };
    vec![
        Block::Table(table.caption(
            "Blocks run thread, async, thread again, and every other one backwards. The interval is a bootstrap over the \
             blocks' log ratios. With so few blocks it is rather too narrow; the sign test beside it supposes nothing.",
        )),
        Block::text(noise + &left_out),
    ]
}

/// Returns the loads with which both engines ran, and the ratio for each load.
pub(crate) fn conditions(study: &Study) -> Vec<(Group<'_>, Ratio)> {
    let ranked = |c: &Cell| c.target == ASYNC && c.section != Section::Headline && c.work == Work::Load;
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
        "One or two pairs are no verdict; they show where to look. Only pairs in which both cells may be ranked. Waiting in \
         milliseconds, from the prober.",
    );
    let summary = format!("The ratio under each of the other loads ({})", conditions.len());
    Some(Block::Folded { summary, blocks: vec![Block::Table(table)] })
}

pub(crate) fn part(study: &Study) -> Vec<Block> {
    let mut blocks = vec![Block::part("verdict", "2. Thread against async")];
    match headline(study) {
        Some(headline) => {
            blocks.push(Block::Verdict(sentence(&headline)));
            blocks.extend(headline_blocks(&headline));
        }
        None => blocks.push(Block::text(missing(study))),
    }
    blocks.extend(condition_table(study));
    blocks
}

/// Returns the reason why there is no verdict.
fn missing(study: &Study) -> &'static str {
    let groups = study.section(Section::Headline);
    if groups.iter().any(|group| group.validity() == Validity::Invalid) {
        return "**No verdict:** in no block of the headline may both engines be ranked; the reasons are in part 9.";
    }
    "**No verdict:** this plan has no repeated blocks of thread, async and thread again, so a difference between the two \
     engines cannot be told from chance."
}
