//! Our engines against the other balancers: where we lose, with the interval.

use crate::judge::measure;
use crate::judge::stats::{Ratio, Verdict, median};
use crate::judge::study::{Group, Measure, Study};
use crate::plans::model::{Section, TargetKind, What};
use crate::report::doc::{Doc, Table, plain};
use crate::report::number::{bytes, interval, load_name, short};
use crate::report::{LOSSES_PART, PEERS_PART, goals, tables};

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

fn words(study: &Study, ours: &Group<'_>, theirs: &Group<'_>, load: String, name: &str) -> [String; 4] {
    let [ours, theirs] = [ours, theirs].map(|group| plain(&study.title(&group.cell.target)));
    [ours, theirs, load, name.to_owned()]
}

/// Compares two groups. None when no pair counts, or when one may not be ranked.
fn comparison(
    study: &Study,
    ours: &Group<'_>,
    theirs: &Group<'_>,
    (name, measure, more): &(&str, Measure, bool),
) -> Option<Comparison> {
    let ratios = study.paired(ours, theirs, *measure);
    let gains: Vec<f64> = ratios.into_iter().map(|r| if *more { r } else { 1.0 / r }).collect();
    let load = format!("`{}`, {}", load_name(ours.cell), bytes(ours.cell.body_bytes));
    (ours.is_ranked() && theirs.is_ranked()).then_some(())?;
    Some(Comparison {
        words: words(study, ours, theirs, load, name),
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
            .filter(|kb| *kb > 0.0)
    };
    let (ours, theirs): (Vec<&Group<'_>>, Vec<&Group<'_>>) =
        groups.iter().partition(|group| !is_other(study, &group.cell.target));
    let mut found = Vec::new();
    for ours in ours {
        for theirs in &theirs {
            let (Some(a), Some(b)) = (kb(ours), kb(theirs)) else { continue };
            let Some(gain) = Ratio::of_blocks(&[b / a]) else { continue };
            let load = format!("{} idle connections", ours.cell.connections);
            let words = words(study, ours, theirs, load, "memory (KB/connection)");
            found.push(Comparison { words, ours: a, theirs: b, gain });
        }
    }
    found
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

fn table(caption: &str, comparisons: &[&Comparison]) -> Table {
    let head = ["ours", "against", "load", "measure", "ours", "theirs", "worse by", "95 % interval"];
    let mut table = Table::new(caption, 4, &head);
    for c in comparisons {
        let worse = |gain: f64| format!("{} %", short((1.0 / gain - 1.0) * 100.0));
        let between = match c.gain.interval {
            Some((low, high)) => format!("{} to {}", worse(high), worse(low)),
            None => interval(&c.gain),
        };
        let mut cells = c.words.to_vec();
        let by = if c.gain.interval.is_some() { worse(c.gain.ratio) } else { "–".into() };
        cells.extend([short(c.ours), short(c.theirs), by, between]);
        table.push(cells);
    }
    table
}

/// Item 4, with the losses first.
pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part(PEERS_PART);
    if !has_peers(study) {
        doc.text("No other balancer was measured: none was found on the machine, or the plan had none.");
        return;
    }
    let losses = losses(study);
    let (certain, single): (Vec<&Comparison>, Vec<&Comparison>) =
        losses.iter().partition(|c| c.gain.verdict() != Verdict::TooFew);
    doc.heading(LOSSES_PART);
    let commit = study.manifest.neraca.commit.as_deref().unwrap_or("unknown");
    doc.text(format!(
        "Behind every balancer stand {} addresses of one `neraca serve`, and Neraca is the build of commit `{commit}`. The \
         table of docs/performance.md has nginx as the backend, so its figures differ.",
        study.manifest.topology.backends
    ));
    match certain.is_empty() {
        true => doc.text("In no comparison with an interval is Neraca worse."),
        false => {
            doc.table(&table("Worse beyond the interval, the worst first", &certain));
        }
    }
    if !single.is_empty() {
        let summary = format!("Worse in too few measurements for an interval ({})", single.len());
        doc.folded(&summary, |doc| {
            doc.table(&table("Too few pairs for a verdict, the worst first", &single));
        });
    }
    doc.heading("All balancers over the same backends, best first");
    let mut groups = study.section(Section::Peers);
    tables::rank(&mut groups);
    tables::with_reasons(study, &groups, "Balancers", doc);
    goals::write(study, doc);
}
