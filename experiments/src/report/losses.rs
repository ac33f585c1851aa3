//! Our engines against the other programs: where we lose, with the interval, and the goals beside what was measured.

use itertools::Itertools;

use crate::judge::measure::{self, Measure};
use crate::judge::stats::{Ratio, Verdict};
use crate::judge::study::{Group, Study};
use crate::plans::model::{Cell, Goal, Quantity, Section, Target, TargetKind, What, Work};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Table};
use crate::report::number::{bytes, interval, load_cell, name, short};
use crate::report::tables::{self, failed};
use crate::report::words::{self, LOSSES_PART, Lang, PEERS_PART, english};

/// A comparison of one of our targets with another program, by one measure.
pub(crate) struct Comparison {
    /// Ours, theirs, the load, the measure.
    pub(crate) words: [String; 4],
    /// The value of ours and of theirs.
    values: [f64; 2],
    /// The ratio; above 1 means that ours is better.
    pub(crate) gain: Ratio,
}

/// A program that was measured: under which loads it could be compared with others, and what it failed.
pub(crate) struct Opponent {
    pub(crate) name: String,
    pub(crate) is_ours: bool,
    pub(crate) compared: Vec<String>,
    /// The loads under which it failed a gate.
    pub(crate) not_ranked: Vec<String>,
    /// Number of failed requests under all these loads.
    pub(crate) failed: u64,
}

/// The compared measures: name, measure, and true when a larger value is better.
const COMPARED: [(&str, Measure, bool); 4] = [
    ("requests/s", measure::rate, true),
    ("waiting p99 (ms)", measure::waiting_p99_ms, false),
    ("CPU (µs/request)", measure::cpu_us, false),
    ("memory (KB/connection)", measure::idle_kb, false),
];

fn is_other(target: &Target) -> bool {
    matches!(target.kind, TargetKind::Peer | TargetKind::User)
}

/// Describes a load and, if it is not the usual one, the size of the body.
fn load(group: &Group<'_>) -> String {
    let body = Some(group.cell.body_bytes).filter(|bytes| *bytes != 128);
    load_cell(group.cell) + &body.map(|body| format!(", {}", bytes(body))).unwrap_or_default()
}

/// Returns what is compared: our engines and the other programs, with the loads that compare them.
fn groups(study: &Study) -> Vec<Group<'_>> {
    use Section::{Assignment, Bodies, Concurrency, Peers, Reuse, Servers};
    let sections = [Assignment, Bodies, Concurrency, Peers, Reuse, Servers];
    let mut groups = study.groups(|cell| sections.contains(&cell.section));
    groups.retain(|Group { target, .. }| is_other(target) || target.kind == TargetKind::Engine);
    groups
}

/// Returns the programs that [`losses`] compares: our engines, then the others.
pub(crate) fn opponents(study: &Study) -> Vec<Opponent> {
    let groups = groups(study).into_iter().into_group_map_by(|group| group.cell.target.as_str());
    let of = |target: &str| {
        let groups = groups.get(target)?;
        let (ranked, others): (Vec<_>, Vec<_>) = groups.iter().partition(|group| group.is_ranked());
        let [compared, not_ranked] = [ranked, others].map(|groups| groups.into_iter().map(load).collect());
        let failed = groups.iter().map(failed).sum();
        let (name, is_ours) = (name(study, &groups[0]), !is_other(groups[0].target));
        Some(Opponent { name, is_ours, compared, not_ranked, failed })
    };
    study.plan.targets.iter().filter_map(|target| of(&target.id)).collect()
}

/// Compares each of our programs with each other program under each load that both had. Servers are compared with
/// servers, and only ranked groups with each other. Idle connections have no blocks, so their medians are compared.
/// Returns what we lose, the worst first: beyond the interval, and in too few measurements for a verdict. A difference
/// within the interval is no loss.
pub(crate) fn losses(study: &Study) -> (Vec<Comparison>, Vec<Comparison>) {
    let mut groups = groups(study);
    groups.retain(Group::is_ranked);
    groups.extend(study.section(Section::Memory));
    let (theirs, ours): (Vec<_>, Vec<_>) = groups.iter().partition(|group| is_other(group.target));
    let is_twin = |(ours, theirs): &(&Group<'_>, &Group<'_>)| {
        ours.cell.load() == theirs.cell.load() && ours.target.what == theirs.target.what
    };
    let pairs = ours.into_iter().cartesian_product(theirs).filter(is_twin);
    let of = |((ours, theirs), compared): ((&Group<'_>, &Group<'_>), (&str, Measure, bool))| {
        let (measured, measure, more) = compared;
        let values = [ours.median(measure)?, theirs.median(measure)?];
        let is_idle = ours.cell.work == Work::Idle;
        let gain = match more {
            true => ours.against(theirs, measure)?,
            false if is_idle => Ratio::of_blocks([values[1] / values[0]])?,
            false => theirs.against(ours, measure)?,
        };
        let load = if is_idle { format!("{} idle connections", ours.cell.connections) } else { load(ours) };
        Some(Comparison {
            words: [name(study, ours), name(study, theirs), load, measured.to_owned()],
            values,
            gain,
        })
    };
    let compared = pairs.cartesian_product(COMPARED).filter_map(of);
    let is_loss = |c: &Comparison| match c.gain.verdict() {
        Verdict::Slower(..) => true,
        Verdict::TooFew => c.gain.ratio < 1.0,
        Verdict::Faster(..) | Verdict::Within(_) => false,
    };
    let losses = compared.filter(is_loss).sorted_by(|a, b| a.gain.ratio.total_cmp(&b.gain.ratio));
    losses.partition(|loss| loss.gain.verdict() != Verdict::TooFew)
}

fn table(comparisons: &[Comparison]) -> Table {
    let worse = |gain: f64| format!("{} %", short((1.0 / gain - 1.0) * 100.0));
    let row = |Comparison { words, values, gain }: &Comparison| {
        let by = match gain.interval {
            Some((low, high)) => [worse(gain.ratio), format!("{} to {}", worse(high), worse(low))],
            None => ["–".into(), interval(gain)],
        };
        words.clone().into_iter().chain(values.map(short)).chain(by)
    };
    words::table(Lang::En, "losses").with(comparisons.iter().map(row))
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.heading(2, PEERS_PART);
    let mut peers = study.plan.targets.iter().filter(|t| is_other(t) && t.what == What::Balancer);
    if !peers.any(|peer| study.records.iter().any(|record| record.cell.target == peer.id)) {
        return doc.text(words::no_part("no_other_balancer", study, Section::Peers));
    }
    let (certain, single) = losses(study);
    doc.heading(3, LOSSES_PART);
    let commit = study.manifest.setting.commit().unwrap_or("unknown");
    doc.text(english("peers", &[&study.manifest.topology.backends, &commit]));
    if certain.is_empty() {
        doc.text(english("no_losses", &[]));
    }
    doc.table(&table(&certain));
    if !single.is_empty() {
        let summary = format!("Worse in too few measurements for an interval ({})", single.len());
        let caption = "Too few pairs for a verdict, the worst first".into();
        doc.folded(&summary, |doc| doc.table(&Table { caption, ..table(&single) }));
    }
    doc.heading(3, "All balancers over the same backends, best first");
    let mut groups = study.section(Section::Peers);
    tables::rank(&mut groups);
    tables::with_reasons(study, &groups, "Balancers", doc);
    if !study.plan.goals.is_empty() {
        doc.heading(3, "The goals of our engines");
        doc.text(english("goals", &[]));
        doc.table(&goals(study));
    }
}

/// Returns the name of a quantity, and its measure; None for a quantity that is no median over loads.
fn meaning(quantity: Quantity) -> (&'static str, Option<Measure>) {
    match quantity {
        Quantity::Rate => ("requests/s", Some(measure::rate)),
        Quantity::Cpu => ("CPU µs/request", Some(measure::cpu_us)),
        Quantity::P99 => ("latency p99 (ms)", Some(measure::latency_p99_ms)),
        Quantity::FirstByteP99 => ("first byte p99 (ms)", Some(measure::waiting_p99_ms)),
        Quantity::Switches => ("context switches/request", Some(measure::switches)),
        Quantity::Pss => ("memory, PSS (MB)", Some(measure::pss_mb)),
        Quantity::PerConnection => ("KB/idle connection", Some(measure::idle_kb)),
        Quantity::Failed => ("failed", None),
    }
}

/// Returns the value of an engine. Among several other programs, the program with the worst ratio for ours counts.
fn value(study: &Study, ours: &Group<'_>, goal: &Goal) -> Option<f64> {
    let (_, measure) = meaning(goal.measure);
    if goal.against.is_empty() {
        return match goal.measure {
            Quantity::Failed => Some(ours.runs.iter().map(|run| measure::failures(run) as f64).sum()),
            _ => ours.median(measure?),
        };
    }
    let ratios = goal.against.split_whitespace().filter_map(|id| {
        // A variant is compared with its own engine only.
        let baseline = study.target(id)?.baseline.as_ref();
        let theirs = study.twin(ours.cell, id).filter(|_| baseline.is_none_or(|of| *of == ours.cell.target));
        Some(ours.against(&theirs?, measure?)?.ratio)
    });
    ratios.reduce(if goal.measure == Quantity::Rate { f64::min } else { f64::max })
}

/// Returns the value, the goal and the verdict of an engine.
fn cells(study: &Study, load: &Cell, goal: &Goal, engine: &str) -> [String; 3] {
    let id = if load.section == Section::Servers { format!("serve-{engine}") } else { engine.to_owned() };
    let Some(value) = study.twin(load, &id).and_then(|ours| value(study, &ours, goal)) else {
        return ["–", "", "not measured"].map(String::from);
    };
    let bound = if engine == THREAD { goal.thread } else { goal.asynchronous };
    let (sign, met) =
        if goal.measure == Quantity::Rate { ('≥', value >= bound) } else { ('≤', value <= bound) };
    let decimals = if goal.measure == Quantity::Failed { 0 } else { 2 };
    let verdict = if met { "met" } else { "missed" };
    [format!("{value:.decimals$}"), format!("{sign} {bound:.decimals$}"), verdict.into()]
}

/// Makes the table of goals: goal and result of each engine under every load.
pub(crate) fn goals(study: &Study) -> Table {
    let mut table = words::table(Lang::En, "goals");
    for (load, goals) in &study.plan.goals {
        let kind = if load.section == Section::Servers { "file server, " } else { "" };
        let idle = if load.work == Work::Idle { ", idle" } else { "" };
        let name = format!("{kind}{}, {}{idle}", bytes(load.body_bytes), load_cell(load));
        for goal in goals {
            let against =
                if goal.against.is_empty() { String::new() } else { format!(" / {}", goal.against) };
            let both = [ASYNC, THREAD].into_iter().flat_map(|engine| cells(study, load, goal, engine));
            table.push([name.clone(), meaning(goal.measure).0.to_owned() + &against].into_iter().chain(both));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;

    #[test]
    fn an_engine_is_compared_within_its_block_with_one_program_in_all_blocks() {
        // The second block is slow for all programs, and only there HAProxy is the better peer.
        let study = Run::with_rates(
            "peers",
            &[
                ("thread", &[200, 60, 160]),
                ("async", &[100, 30, 80]),
                ("haproxy", &[50, 40, 40]),
                ("nginx", &[100, 30, 80]),
                ("thread-1", &[200, 60, 160]),
                ("thread-2", &[250, 75, 200]),
            ],
        );
        let (load, _) = &study.plan.goals[0];
        let fixed = "thread-1 thread-2 async-1";
        let cases = [
            (THREAD, Quantity::Rate, "haproxy nginx caddy", 2.0, ["2.00", "≥ 2.00", "met"]),
            (THREAD, Quantity::Rate, fixed, 0.9, ["0.80", "≥ 0.90", "missed"]),
            (ASYNC, Quantity::Rate, fixed, 0.9, ["–", "", "not measured"]),
            (THREAD, Quantity::Rate, "thread async", 0.9, ["1.00", "≥ 0.90", "met"]),
            (ASYNC, Quantity::Rate, "thread async", 0.9, ["0.50", "≥ 0.90", "missed"]),
            (THREAD, Quantity::Rate, "", 160.0, ["160.00", "≥ 160.00", "met"]),
            (THREAD, Quantity::PerConnection, "nginx", 1.0, ["–", "", "not measured"]),
            (THREAD, Quantity::Pss, "", 8.0, ["8.79", "≤ 8.00", "missed"]),
            // Two of the five blocks were not measured.
            (THREAD, Quantity::Failed, "", 0.0, ["2", "≤ 0", "missed"]),
        ];
        for (engine, measure, against, bound, expected) in cases {
            let goal = Goal { measure, against: against.into(), thread: bound, asynchronous: bound };
            assert_eq!(cells(&study, load, &goal, engine), expected, "{engine} {goal:?}");
        }
        assert_eq!(super::goals(&study).rows.len(), 8 + 5 * 7 + 2 * 2 + 3 + 3 + 2 + 2 * 2);
    }
}
