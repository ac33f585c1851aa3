//! What new TLS handshakes do to the requests of other clients: a part of item 2 of the report.

use itertools::Itertools;

use crate::judge::handshakes::{self, Hurt, measured};
use crate::judge::stats::{Ratio, Verdict};
use crate::judge::study::{Group, Study};
use crate::plans::model::{Cell, Handshakes, Key, REQUESTS_HZ, Section};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::chart::{Axis, Chart, Scale};
use crate::report::doc::{Doc, Figure, Table, anchor};
use crate::report::number::{interval, maybe, name, ratio, short, struck};
use crate::report::plots::{curves, targets};
use crate::report::words::{self, GATES_PART, Lang, english, winner};
use crate::run::raw::RawHandshakes;

fn load(Handshakes { key, per_s }: Handshakes) -> String {
    if per_s == 0 { "no handshakes".into() } else { format!("{per_s}/s, {}", key.names()[1]) }
}

fn sentence(hurts: &[Hurt]) -> Option<String> {
    let hurt = handshakes::verdict(hurts)?;
    let doubt =
        if hurt.is_ranked { String::new() } else { english("hurt_not_ranked", &[&anchor(GATES_PART)]) };
    let texts = ["hurt_less", "hurt_undecided", "hurt_too_few"];
    let said = winner(Lang::En, &hurt.ratio, [THREAD, ASYNC], texts);
    let verdicts = || hurts.iter().map(|hurt| hurt.ratio.verdict());
    let worse = verdicts().filter(|verdict| matches!(verdict, Verdict::Faster(..))).count();
    let better = verdicts().filter(|verdict| matches!(verdict, Verdict::Slower(..))).count();
    let all = english("hurt_loads", &[&hurts.len(), &worse, &better]);
    Some(english("hurt", &[&load(hurt.handshakes), &said]) + &doubt + &all)
}

/// A row for each program: its p99 under each load, and what failed.
fn table(study: &Study, groups: &[Group<'_>], hurts: &[Hurt]) -> Table {
    let mut table = words::table(Lang::En, "handshakes");
    let loads = groups.iter().filter_map(|group| group.cell.handshakes).sorted().dedup().collect_vec();
    table.head.splice(1..1, loads.iter().map(|handshakes| load(*handshakes)));
    for target in targets(groups) {
        let ours = groups.iter().filter(|group| group.cell.target == target).collect_vec();
        let value = |wanted: &Handshakes| {
            let group = ours.iter().find(|group| group.cell.handshakes == Some(*wanted));
            let Some(group) = group else { return "–".to_owned() };
            let p99 = maybe(group.median(handshakes::p99_ms));
            let growth = handshakes::growths(study, group).into_values();
            let growth = Ratio::of_blocks(growth).filter(|_| wanted.per_s > 0);
            let growth = growth.map_or(String::new(), |growth| format!(" ({})", ratio(growth.ratio)));
            struck(group, p99) + &growth
        };
        let runs = ours.iter().flat_map(|group| &group.runs).filter_map(|run| measured(run)).collect_vec();
        let sum = |of: fn(&RawHandshakes) -> u64| runs.iter().map(|run| of(run)).sum::<u64>().to_string();
        // The least share of the wanted handshakes that were made.
        let wanted = runs.iter().map(|run| &run.handshakes).filter(|counts| counts.wanted > 0);
        let least = wanted.map(|counts| counts.made as f64 / counts.wanted as f64).fold(1.0, f64::min);
        let failed = [sum(|run| run.handshakes.failed), sum(|run| run.requests.errors.total())];
        let made = short(least * 100.0);
        let values = loads.iter().map(value).chain(failed).chain([made]);
        table.push([name(study, ours[0])].into_iter().chain(values));
    }
    let of = |handshakes: &Handshakes| {
        let hurt = hurts.iter().find(|hurt| hurt.handshakes == *handshakes);
        hurt.map_or("–".into(), |hurt| format!("{} ({})", ratio(hurt.ratio.ratio), interval(&hurt.ratio)))
    };
    let last = std::iter::once(english("hurt_row", &[])).chain(loads.iter().map(of));
    table.push(last.chain(["", "", ""].map(String::from)));
    table
}

/// Draws the p99 by the rate of the handshakes, a chart for each key.
fn figure(study: &Study, groups: &[Group<'_>]) -> Figure {
    let per_s = |cell: &Cell| cell.handshakes.map_or(0, |handshakes| handshakes.per_s);
    let of = |key: Key| {
        let mut groups = groups.to_vec();
        groups.retain(|group| group.cell.handshakes.is_some_and(|h| h.key == key || h.per_s == 0));
        let mut series = curves(study, &groups, per_s, handshakes::p99_ms);
        series.retain(|series| series.points.len() > 1);
        series.iter_mut().flat_map(|series| &mut series.points).for_each(|point| point.spread = None);
        series
    };
    let parts = Key::ALL.map(|key| (key.names()[1].to_owned(), of(key))).into();
    let x: Scale = ("new handshakes per second", Axis::from_zero_at);
    let y: Scale = ("p99 of the requests in ms (logarithmic)", Axis::log);
    words::figure(study, "handshakes", &[], Chart::alike(x, y, 200.0, parts))
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.heading(3, "Handshakes and architecture");
    let groups = study.section(Section::Handshakes);
    if groups.is_empty() {
        return doc.text(words::no_part("no_handshakes", study, Section::Handshakes));
    }
    let hurts = handshakes::hurts(study);
    doc.text(sentence(&hurts).unwrap_or_else(|| english("hurt_unknown", &[])));
    doc.text(english("handshakes", &[&REQUESTS_HZ, &groups[0].cell.connections]));
    doc.table(&table(study, &groups, &hurts));
    doc.figure(figure(study, &groups), "");
}
