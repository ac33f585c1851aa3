//! Our engines against the other programs: where we lose, with the interval.

use itertools::Itertools;

use crate::judge::measure::{self, Measure};
use crate::judge::stats::{Ratio, Verdict};
use crate::judge::study::{Group, Study};
use crate::plans::model::{Section, Target, TargetKind, What};
use crate::report::doc::{Doc, Table};
use crate::report::failures::failed;
use crate::report::number::{bytes, interval, load_cell, name, short};
use crate::report::words::{self, LOSSES_PART, Lang, PEERS_PART, english};
use crate::report::{goals, tables};

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
const COMPARED: [(&str, Measure, bool); 3] = [
    ("requests/s", measure::rate, true),
    ("waiting p99 (ms)", measure::waiting_p99_ms, false),
    ("CPU (µs/request)", measure::cpu_us, false),
];

fn is_other(target: &Target) -> bool {
    matches!(target.kind, TargetKind::Peer | TargetKind::User)
}

/// True when another balancer was measured.
fn has_peers(study: &Study) -> bool {
    let mut peers = study.plan.targets.iter().filter(|t| is_other(t) && t.what == What::Balancer);
    peers.any(|peer| study.records.iter().any(|record| record.cell.target == peer.id))
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
/// servers, and only ranked groups with each other.
fn compare(study: &Study) -> Vec<Comparison> {
    let mut groups = groups(study);
    groups.retain(Group::is_ranked);
    let (theirs, ours): (Vec<_>, Vec<_>) = groups.iter().partition(|group| is_other(group.target));
    let is_twin = |(ours, theirs): &(&Group<'_>, &Group<'_>)| {
        ours.cell.load() == theirs.cell.load() && ours.target.what == theirs.target.what
    };
    let pairs = ours.into_iter().cartesian_product(theirs).filter(is_twin);
    let of = |((ours, theirs), compared): ((&Group<'_>, &Group<'_>), (&str, Measure, bool))| {
        let (measured, measure, more) = compared;
        let gain = if more { ours.against(theirs, measure) } else { theirs.against(ours, measure) };
        let words = [name(study, ours), name(study, theirs), load(ours), measured.to_owned()];
        Some(Comparison { words, values: [ours.median(measure)?, theirs.median(measure)?], gain: gain? })
    };
    pairs.cartesian_product(COMPARED).filter_map(of).collect()
}

/// Compares the KB per idle connection.
fn compare_memory(study: &Study) -> Vec<Comparison> {
    let groups = study.section(Section::Memory);
    let known = groups
        .iter()
        .filter_map(|group| Some((group, group.median(measure::idle_kb).filter(|kb| *kb > 0.0)?)));
    let (theirs, ours): (Vec<_>, Vec<_>) = known.partition(|(group, _)| is_other(group.target));
    let of = |((group, ours), (other, theirs)): ((&Group<'_>, f64), (&Group<'_>, f64))| {
        let load = format!("{} idle connections", group.cell.connections);
        let words = [name(study, group), name(study, other), load, "memory (KB/connection)".into()];
        Some(Comparison { words, values: [ours, theirs], gain: Ratio::of_blocks([theirs / ours])? })
    };
    ours.into_iter().cartesian_product(theirs).filter_map(of).collect()
}

/// Returns what we lose, the worst first: beyond the interval, or in a single measurement. A difference within the
/// interval is no loss.
pub(crate) fn losses(study: &Study) -> Vec<Comparison> {
    let mut all = compare(study);
    all.extend(compare_memory(study));
    all.retain(|c| match c.gain.verdict() {
        Verdict::Slower(..) => true,
        Verdict::TooFew => c.gain.ratio < 1.0,
        Verdict::Faster(..) | Verdict::Within(_) => false,
    });
    all.sort_by(|a, b| a.gain.ratio.total_cmp(&b.gain.ratio));
    all
}

fn table(comparisons: &[&Comparison]) -> Table {
    let worse = |gain: f64| format!("{} %", short((1.0 / gain - 1.0) * 100.0));
    let row = |Comparison { words, values, gain }: &&Comparison| {
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
    if !has_peers(study) {
        doc.text(words::absent(study, Lang::En, &[Section::Peers], english("no_other_balancer", &[])));
        return;
    }
    let losses = losses(study);
    let (single, certain): (Vec<&Comparison>, Vec<&Comparison>) =
        losses.iter().partition(|loss| loss.gain.verdict() == Verdict::TooFew);
    doc.heading(3, LOSSES_PART);
    let commit = study.manifest.setting.commit().unwrap_or("unknown");
    doc.text(english("peers", &[&study.manifest.topology.backends, &commit]));
    if certain.is_empty() {
        doc.text(
            "In no comparison with an interval is Neraca worse. The first screen names who was compared.",
        );
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
    goals::write(study, doc);
}
