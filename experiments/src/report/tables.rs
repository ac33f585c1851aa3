//! Items 1, 3 and 4 of the report: the table of the assignment, the web servers and the peers, with the same columns.

use crate::judge::measure;
use crate::judge::record::Failures;
use crate::judge::stats::{Ratio, median};
use crate::judge::study::{Group, Measure, Study, load};
use crate::judge::verdict::Validity;
use crate::plans::model::{Section, TargetKind};
use crate::report::about::reasons;
use crate::report::number::{bytes, change, grouped, load_name, maybe, maybe_grouped, ratio, short};
use crate::report::page::{Block, Table, Tone};

const COLUMNS: [&str; 10] = [
    "Load balancer",
    "concurrency (connections opened)",
    "success",
    "failed",
    "average latency (ms)",
    "waiting (ms)",
    "total transfer (KB)",
    "requests/sec",
    "transfer/sec",
    "valid",
];

const DEFINITIONS: &str = "Each number is the median of all repetitions (a repetition is left out only if the machine was busy with \
    something else); **failed** is the sum over all \
    of them. **success**: answers below status 400 that came in time. **failed**: connect + read + write + status + \
    timeout errors + stalled connections. **average latency**: connections / rate (Little's law), because wrk alters \
    its own mean. **waiting**: mean time from request sent to first byte, from the prober, which opens a connection for \
    each request; wrk does not measure it. **transfer/sec** in KB. **valid**: `yes`, `yes, see` gates with a remark, or \
    `NO` with the gates that failed; such a row is shown and not ranked. Gates are explained in part 9.";

/// Makes a table of loads, with the rows in the given order.
pub(crate) fn load_table(study: &Study, groups: &[Group<'_>], first: &str) -> Table {
    let mut table = Table::new(2, &COLUMNS);
    table.head[0] = first.into();
    for group in groups {
        let median = |measure: Measure| group.median(measure);
        let failed: f64 =
            group.runs.iter().filter_map(|r| load(r)).map(|load| load.failures.total() as f64).sum();
        let measured = group.runs.iter().any(|record| load(record).is_some());
        let tone = if group.validity() == Validity::Invalid { Tone::Invalid } else { Tone::Plain };
        table.push(
            tone,
            vec![
                study.title(&group.cell.target),
                load_name(group.cell),
                maybe_grouped(median(measure::success)),
                if measured { grouped(failed) } else { "–".into() },
                maybe(median(measure::latency_ms)),
                maybe(median(measure::waiting_ms)),
                maybe_grouped(median(measure::transferred_kb)),
                maybe_grouped(median(measure::rate)),
                maybe_grouped(median(measure::transfer_kb_s)),
                group.mark(),
            ],
        );
    }
    table
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
    let classes = format!(
        "connect {}, read {}, write {}, status {}, timeout {}, stalled {}",
        sum.connect, sum.read, sum.write, sum.status, sum.timeout, sum.stalled
    );
    match sum.total() {
        0 => format!("Nothing failed in any run of this table ({classes})."),
        n => format!("Over all runs of this table {} failed: {classes}.", grouped(n as f64)),
    }
}

/// Lists the groups that failed a gate, one per line.
fn invalid_reasons(study: &Study, groups: &[Group<'_>]) -> Vec<String> {
    let invalid = groups.iter().filter(|group| !group.is_ranked());
    invalid
        .map(|group| {
            let name = format!("{}, `{}`", study.title(&group.cell.target), load_name(group.cell));
            let mut reasons: Vec<String> = group.runs.iter().flat_map(|record| reasons(record)).collect();
            reasons.dedup();
            format!("{name}: not ranked. {}", reasons.join("; "))
        })
        .collect()
}

fn is_assignment(group: &Group<'_>) -> bool {
    group.cell.section == Section::Assignment
}

fn with_remarks(study: &Study, groups: &[Group<'_>], first: &str) -> Vec<Block> {
    let caption = if first == COLUMNS[0] && groups.iter().any(is_assignment) {
        DEFINITIONS
    } else {
        "Columns as in part 1."
    };
    let mut blocks = vec![
        Block::Table(load_table(study, groups, first).caption(caption)),
        Block::text(failure_classes(groups)),
    ];
    let reasons = invalid_reasons(study, groups);
    if !reasons.is_empty() {
        blocks.push(Block::List(reasons));
    }
    blocks
}

/// Item 1.
pub(crate) fn assignment(study: &Study) -> Vec<Block> {
    let mut groups = study.section(Section::Assignment);
    let mut blocks = vec![Block::part("assignment", "1. The assignment's table")];
    if groups.is_empty() {
        blocks.push(Block::text(
            "This run has no cell of the assignment's matrix. The columns of the tables below:",
        ));
        blocks.push(Block::text(DEFINITIONS));
        return blocks;
    }
    let place = |group: &Group<'_>| {
        let target = study.plan.targets.iter().position(|target| target.id == group.cell.target);
        (group.cell.section, group.cell.threads, target)
    };
    groups.sort_by_key(place);
    if groups.iter().any(|group| group.cell.opened() != group.cell.connections) {
        blocks.push(Block::text(
            "wrk gives each thread the same number of connections and drops the rest, so that `-c 1000 -t 150` opens \
             900. The number in brackets is what was opened.",
        ));
    }
    blocks.extend(with_remarks(study, &groups, COLUMNS[0]));
    blocks
}

/// Sorts groups: the best first, and groups that are not ranked last.
fn ranked(groups: &mut [Group<'_>]) {
    let rate = |group: &Group<'_>| group.median(measure::rate).unwrap_or(0.0);
    groups.sort_by(|a, b| {
        let load = |g: &Group<'_>| (!g.cell.keep_alive, g.cell.body_bytes, g.cell.connections);
        load(a).cmp(&load(b)).then(b.is_ranked().cmp(&a.is_ranked())).then(rate(b).total_cmp(&rate(a)))
    });
}

/// Item 3.
pub(crate) fn servers(study: &Study) -> Vec<Block> {
    let mut groups = study.section(Section::Servers);
    let mut blocks = vec![Block::part("servers", "3. The web servers")];
    if groups.is_empty() {
        blocks.push(Block::text("This run has no cell in which a web server was asked directly."));
        return blocks;
    }
    ranked(&mut groups);
    blocks.push(Block::text(
        "The file servers asked directly, without a balancer between, best first. What a balancer reaches over them \
         stays below this.",
    ));
    blocks.extend(with_remarks(study, &groups, "Web server"));
    blocks
}

/// A comparison of one of our targets with another program, by one measure.
struct Comparison {
    words: [String; 4],
    ours: f64,
    theirs: f64,
    /// The ratio; above 1 means that ours is better.
    gain: Ratio,
}

/// The compared measures: name, measure, and true when a larger value is better.
const COMPARED: [(&str, Measure, bool); 3] = [
    ("requests/s", measure::rate, true),
    ("waiting, p99 (ms)", measure::waiting_p99_ms, false),
    ("CPU of the balancer (µs/request)", measure::cpu_us, false),
];

/// Number of losses that are always shown. More losses are shown on demand.
const SHOWN_LOSSES: usize = 12;

fn compare(study: &Study) -> Vec<Comparison> {
    let groups = study.groups(|c| matches!(c.section, Section::Peers | Section::Bodies | Section::Reuse));
    let is = |id: &str, kinds: &[TargetKind]| study.kind(id).is_some_and(|kind| kinds.contains(&kind));
    let peers = study.plan.targets.iter().filter(|t| is(&t.id, &[TargetKind::Peer, TargetKind::User]));
    let peers: Vec<&str> = peers.map(|target| target.id.as_str()).collect();
    let mut found = Vec::new();
    for ours in groups.iter().filter(|group| is(&group.cell.target, &[TargetKind::Engine])) {
        for theirs in peers.iter().filter_map(|id| study.twin(ours.cell, id)) {
            found.extend(COMPARED.iter().filter_map(|compared| comparison(study, ours, &theirs, compared)));
        }
    }
    found
}

/// Compares two groups. None when no pair may be ranked.
fn comparison(
    study: &Study,
    ours: &Group<'_>,
    theirs: &Group<'_>,
    (name, measure, more): &(&str, Measure, bool),
) -> Option<Comparison> {
    let ratios = study.paired(ours, theirs, *measure);
    let gains: Vec<f64> = ratios.into_iter().map(|r| if *more { r } else { 1.0 / r }).collect();
    let load = load_name(ours.cell) + ", " + &bytes(ours.cell.body_bytes);
    Some(Comparison {
        words: [study.title(&ours.cell.target), study.title(&theirs.cell.target), load, (*name).into()],
        ours: ours.median(*measure)?,
        theirs: theirs.median(*measure)?,
        gain: Ratio::of_blocks(&gains)?,
    })
}

/// Compares the KB per idle connection.
fn compare_memory(study: &Study) -> Vec<Comparison> {
    let groups = study.section(Section::Memory);
    let kb = |group: &Group<'_>| {
        median(&group.runs.iter().filter_map(|r| measure::idle_kb(r)).collect::<Vec<_>>())
    };
    let of = |kind| groups.iter().filter(move |g| study.kind(&g.cell.target) == Some(kind));
    let mut found = Vec::new();
    for ours in of(TargetKind::Engine) {
        for theirs in of(TargetKind::Peer) {
            let (Some(a), Some(b)) = (kb(ours), kb(theirs)) else { continue };
            let Some(gain) = Ratio::of_blocks(&[b / a]) else { continue };
            let load = format!("{} idle connections", ours.cell.connections);
            let titles = [ours, theirs].map(|g| study.title(&g.cell.target));
            let [a_title, b_title] = titles;
            let words = [a_title, b_title, load, "memory (KB/connection)".into()];
            found.push(Comparison { words, ours: a, theirs: b, gain });
        }
    }
    found
}

fn comparison_table(comparisons: &[&Comparison], tone: Tone) -> Block {
    let mut table =
        Table::new(4, &["ours", "against", "load", "measure", "ours", "theirs", "ours is", "interval"]);
    for c in comparisons {
        let interval =
            c.gain.interval.map_or("one pair".into(), |(a, b)| format!("{} to {}", change(a), change(b)));
        let mut cells = c.words.to_vec();
        let gain = if c.gain.interval.is_some() { said(c.gain.ratio) } else { "–".into() };
        cells.extend([short(c.ours), short(c.theirs), gain, interval]);
        table.push(tone, cells);
    }
    Block::Table(table)
}

fn said(gain: f64) -> String {
    if gain >= 1.0 { format!("{} better", ratio(gain)) } else { format!("{} worse", ratio(1.0 / gain)) }
}

/// Item 4, with the losses first.
pub(crate) fn peers(study: &Study) -> Vec<Block> {
    let mut blocks = vec![Block::part("peers", "4. The peers")];
    let mut groups = study.section(Section::Peers);
    if !groups.iter().any(|g| matches!(study.kind(&g.cell.target), Some(TargetKind::Peer | TargetKind::User)))
    {
        blocks.push(Block::text(
            "No other balancer was measured: none was found on the machine, or the plan had none.",
        ));
        return blocks;
    }
    let mut comparisons = compare(study);
    comparisons.extend(compare_memory(study));
    comparisons.sort_by(|a, b| a.gain.ratio.total_cmp(&b.gain.ratio));
    let (losses, wins): (Vec<&Comparison>, Vec<&Comparison>) =
        comparisons.iter().partition(|c| c.gain.ratio < 1.0);
    if comparisons.is_empty() {
        blocks.push(Block::text(
            "No pair of one of our engines and a peer was measured under the same load in this plan, so nothing is \
             compared; the rows below stand for themselves.",
        ));
    } else if losses.is_empty() {
        blocks.push(Block::text("**Where we lose:** nowhere in what was measured."));
    } else {
        blocks.push(Block::Heading(format!("Where we lose ({} of {})", losses.len(), comparisons.len())));
        blocks.push(Block::text(
            "Worst first. The factor is from pairs measured in the same block; the interval (95 %) says whether a few \
             per cent mean anything.",
        ));
        let (worst, rest) = losses.split_at(losses.len().min(SHOWN_LOSSES));
        blocks.push(comparison_table(worst, Tone::Loss));
        if !rest.is_empty() {
            let summary = format!("The other {} losses", rest.len());
            blocks.push(Block::Folded { summary, blocks: vec![comparison_table(rest, Tone::Loss)] });
        }
    }
    if !wins.is_empty() {
        let wins: Vec<&Comparison> = wins.into_iter().rev().collect();
        let summary = format!("Where we do not lose ({} of {})", wins.len(), comparisons.len());
        blocks.push(Block::Folded { summary, blocks: vec![comparison_table(&wins, Tone::Plain)] });
    }
    ranked(&mut groups);
    blocks.push(Block::Heading("All balancers over the same backends, best first".into()));
    blocks.extend(with_remarks(study, &groups, COLUMNS[0]));
    blocks
}
