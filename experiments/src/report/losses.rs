//! Our engines against the other balancers: where we lose, with the interval.

use crate::judge::measure;
use crate::judge::stats::{Ratio, Verdict};
use crate::judge::study::{Group, Measure, Study};
use crate::plans::model::{Section, TargetKind, What};
use crate::report::doc::{Doc, Table};
use crate::report::number::{bytes, interval, load_name, name, short};
use crate::report::words::{self, LOSSES_PART, PEERS_PART, english};
use crate::report::{goals, tables};

/// A comparison of one of our targets with another program, by one measure.
pub(crate) struct Comparison {
    /// Ours, theirs, the load, the measure.
    pub(crate) words: [String; 4],
    ours: f64,
    theirs: f64,
    /// The ratio; above 1 means that ours is better.
    pub(crate) gain: Ratio,
}

/// The compared measures: name, measure, and true when a larger value is better.
const COMPARED: [(&str, Measure, bool); 3] = [
    ("requests/s", measure::rate, true),
    ("waiting p99 (ms)", measure::waiting_p99_ms, false),
    ("CPU (µs/request)", measure::cpu_us, false),
];

fn is_other(study: &Study, id: &str) -> bool {
    matches!(study.kind(id), Some(TargetKind::Peer | TargetKind::User))
}

/// True when another balancer was measured.
pub(crate) fn has_peers(study: &Study) -> bool {
    let is_peer = |id: &str| is_other(study, id) && study.what(id) == Some(What::Balancer);
    study.records.iter().any(|record| is_peer(&record.cell.target))
}

/// Compares each of our programs with each other program under each load that both had. Servers are compared with
/// servers.
fn compare(study: &Study) -> Vec<Comparison> {
    use Section::{Bodies, Concurrency, Peers, Reuse, Servers};
    let groups = study.groups(|c| matches!(c.section, Peers | Servers | Bodies | Reuse | Concurrency));
    let mut found = Vec::new();
    for ours in groups.iter().filter(|group| study.kind(&group.cell.target) == Some(TargetKind::Engine)) {
        let what = study.what(&ours.cell.target);
        let others =
            study.plan.targets.iter().filter(|t| is_other(study, &t.id) && study.what(&t.id) == what);
        for theirs in others.filter_map(|target| study.twin(ours.cell, &target.id)) {
            found.extend(COMPARED.iter().filter_map(|compared| comparison(study, ours, &theirs, compared)));
        }
    }
    found
}

/// Compares two groups. None when no pair counts, or when one may not be ranked.
fn comparison(
    study: &Study,
    ours: &Group<'_>,
    theirs: &Group<'_>,
    (measured, measure, more): &(&str, Measure, bool),
) -> Option<Comparison> {
    (ours.is_ranked() && theirs.is_ranked()).then_some(())?;
    let gain = if *more { ours.against(theirs, *measure) } else { theirs.against(ours, *measure) };
    let load = format!("`{}`, {}", load_name(ours.cell), bytes(ours.cell.body_bytes));
    Some(Comparison {
        words: [name(study, ours), name(study, theirs), load, (*measured).to_owned()],
        ours: ours.median(*measure)?,
        theirs: theirs.median(*measure)?,
        gain: gain?,
    })
}

/// Compares the KB per idle connection.
fn compare_memory(study: &Study) -> Vec<Comparison> {
    let kb = |group: &Group<'_>| group.idle_kb().filter(|kb| *kb > 0.0);
    let groups = study.section(Section::Memory);
    let known = groups.iter().filter_map(|group| Some((group, kb(group)?)));
    let (theirs, ours): (Vec<_>, Vec<_>) = known.partition(|(group, _)| is_other(study, &group.cell.target));
    let compared = ours.iter().flat_map(|(group, ours)| {
        theirs.iter().filter_map(move |(other, theirs)| {
            let load = format!("{} idle connections", group.cell.connections);
            let words = [name(study, group), name(study, other), load, "memory (KB/connection)".into()];
            Some(Comparison {
                words,
                ours: *ours,
                theirs: *theirs,
                gain: Ratio::of_blocks(&[theirs / ours])?,
            })
        })
    });
    compared.collect()
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
    let mut table = words::table("losses");
    for Comparison { words, ours, theirs, gain } in comparisons {
        let worse = |gain: f64| format!("{} %", short((1.0 / gain - 1.0) * 100.0));
        let (by, between) = match gain.interval {
            Some((low, high)) => (worse(gain.ratio), format!("{} to {}", worse(high), worse(low))),
            None => ("–".into(), interval(gain)),
        };
        table.push(words.iter().cloned().chain([short(*ours), short(*theirs), by, between]));
    }
    table
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part(PEERS_PART);
    if !has_peers(study) {
        doc.text(english("no_peers", &[]));
        return;
    }
    let losses = losses(study);
    let (single, certain): (Vec<&Comparison>, Vec<&Comparison>) =
        losses.iter().partition(|loss| loss.gain.verdict() == Verdict::TooFew);
    doc.heading(LOSSES_PART);
    let commit = study.manifest.neraca.commit.as_deref().unwrap_or("unknown");
    doc.text(english("peers", &[&study.manifest.topology.backends, &commit]));
    if certain.is_empty() {
        doc.text("In no comparison with an interval is Neraca worse.");
    }
    doc.table(&table(&certain));
    if !single.is_empty() {
        let summary = format!("Worse in too few measurements for an interval ({})", single.len());
        let caption = "Too few pairs for a verdict, the worst first".into();
        doc.folded(&summary, |doc| doc.table(&Table { caption, ..table(&single) }));
    }
    doc.heading("All balancers over the same backends, best first");
    let mut groups = study.section(Section::Peers);
    tables::rank(&mut groups);
    tables::with_reasons(study, &groups, "Balancers", doc);
    goals::write(study, doc);
}
