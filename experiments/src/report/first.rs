//! The first screen of the report: the questions of the assignment and their answers, in each language.

use crate::judge::measure;
use crate::judge::stats::{ENOUGH_BLOCKS, Ratio, Verdict, median};
use crate::judge::study::{Group, Study, load};
use crate::judge::verdicts::{self, Cost, LoadVerdict};
use crate::plans::model::{Section, TargetKind};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Drawing, Table, anchor, plain};
use crate::report::losses;
use crate::report::number::{maybe, maybe_grouped, signed};
use crate::report::words::{Lang, say, terms};
use crate::report::{LOSSES_PART, PEERS_PART, picture, why};

/// Number of losses on the first screen.
const SHOWN_LOSSES: usize = 4;

/// Writes a factor above 1 as per cent.
fn percent(lang: Lang, factor: f64) -> String {
    lang.number(&format!("{:.1}", (factor - 1.0) * 100.0))
}

/// Returns the faster of `a` and `b`, and by how much.
fn winner(lang: Lang, ratio: &Ratio, a: &str, b: &str) -> String {
    let by = |name: &str, low, high| say(lang, "by", &[name, &percent(lang, low), &percent(lang, high)]);
    match ratio.verdict() {
        Verdict::Faster(low, high) => by(a, low, high),
        Verdict::Slower(low, high) => by(b, low, high),
        Verdict::Within(factor) => say(lang, "within", &[&percent(lang, factor)]),
        Verdict::TooFew => {
            say(lang, "too_few", &[&ratio.blocks.len().to_string(), &ENOUGH_BLOCKS.to_string()])
        }
    }
}

pub(crate) fn failed(group: &Group<'_>) -> u64 {
    group.runs.iter().filter_map(|run| load(run)).map(|load| load.failures.total()).sum()
}

fn engines(study: &Study, lang: Lang, doc: &mut Doc, verdicts: &[LoadVerdict<'_>]) {
    let text = |said| say(lang, said, &[]);
    let head = [
        "wrk -t".to_owned(),
        text("faster"),
        text("rate"),
        text("failed"),
        text("waiting"),
        text("kept_waiting"),
        text("transfer"),
    ];
    let mut table = Table::new(&text("engines_caption"), 2, &head);
    for verdict in verdicts {
        let (Some(thread), Some(other)) = (study.twin(verdict.cell, THREAD), study.twin(verdict.cell, ASYNC))
        else {
            continue;
        };
        let groups = [&thread, &other];
        let both = |of: &dyn Fn(&Group<'_>) -> String| lang.number(&groups.map(of).join(" / "));
        let not_ranked = groups.iter().find(|group| !group.is_ranked());
        let faster = match not_ranked {
            Some(group) => say(lang, "not_ranked", &[&format!("{} ({})", group.cell.target, group.mark())]),
            None => winner(lang, &verdict.ratio, ASYNC, THREAD),
        };
        let opened = verdict.cell.opened();
        let threads = match opened == verdict.cell.connections {
            true => verdict.cell.threads.to_string(),
            false => format!("{} ({opened})", verdict.cell.threads),
        };
        table.push([
            threads,
            faster,
            both(&|group| maybe_grouped(group.median(measure::rate))),
            both(&|group| failed(group).to_string()),
            both(&|group| maybe(group.median(measure::waiting_ms))),
            both(&|group| maybe(group.median(measure::kept_waiting_ms))),
            both(&|group| maybe_grouped(group.median(measure::transfer_kb_s))),
        ]);
    }
    doc.table(&table);
    if let Some(last) = verdicts.last() {
        doc.text(sentence(lang, last));
    }
}

/// Returns the verdict under one load in full sentences.
fn sentence(lang: Lang, verdict: &LoadVerdict<'_>) -> String {
    let blocks = verdict.ratio.blocks.len().to_string();
    let faster = |name: &str, low, high, other: &str| {
        say(lang, "at_faster", &[name, &percent(lang, low), &percent(lang, high), other, &blocks])
    };
    let answer = match verdict.ratio.verdict() {
        Verdict::Faster(low, high) => faster(ASYNC, low, high, THREAD),
        Verdict::Slower(low, high) => faster(THREAD, low, high, ASYNC),
        Verdict::Within(factor) => say(lang, "at_within", &[&percent(lang, factor), &blocks]),
        Verdict::TooFew => say(lang, "at_too_few", &[&blocks, &ENOUGH_BLOCKS.to_string()]),
    };
    let at = say(lang, "at", &[&verdict.cell.threads.to_string(), &answer]);
    let noise = verdict.control.as_ref().filter(|control| control.interval.is_some());
    noise.map_or(at.clone(), |control| {
        format!("{at} {}", say(lang, "noise", &[&percent(lang, control.reach())]))
    })
}

/// Returns the verdict under each load of the assignment, for a terminal.
pub(crate) fn verdicts(study: &Study, lang: Lang) -> Vec<String> {
    verdicts::by_load(study, Section::Assignment).iter().map(|verdict| sentence(lang, verdict)).collect()
}

/// Compares the two fastest web servers under each load.
fn servers(study: &Study, lang: Lang, doc: &mut Doc) {
    let groups = study.section(Section::Servers);
    let mut targets: Vec<&str> = Vec::new();
    let mut loads: Vec<&Group<'_>> = Vec::new();
    for group in &groups {
        if !targets.contains(&group.cell.target.as_str()) {
            targets.push(&group.cell.target);
        }
        if !loads.iter().any(|known| {
            (known.cell.connections, known.cell.threads) == (group.cell.connections, group.cell.threads)
        }) {
            loads.push(group);
        }
    }
    if targets.len() < 2 {
        return;
    }
    doc.heading(&say(lang, "which_server", &[]));
    let mut head = vec!["wrk -c, -t".to_owned(), say(lang, "faster", &[])];
    head.extend(targets.iter().map(|target| plain(&study.title(target))));
    let mut table = Table::new(&say(lang, "servers_caption", &[]), 2, &head);
    for load in loads {
        let twins: Vec<Option<Group<'_>>> =
            targets.iter().map(|target| study.twin(load.cell, target)).collect();
        let rate = |group: &Group<'_>| group.median(measure::rate).unwrap_or(0.0);
        let mut order: Vec<&Group<'_>> = twins.iter().flatten().filter(|group| group.is_ranked()).collect();
        order.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
        let ratio = match order[..] {
            [first, second, ..] => {
                let ratio = Ratio::of_blocks(&study.paired(first, second, measure::rate));
                let names = [first, second].map(|group| plain(&study.title(&group.cell.target)));
                ratio.map(|ratio| winner(lang, &ratio, &names[0], &names[1]))
            }
            _ => None,
        };
        let mut row = vec![
            format!("{}, {}", load.cell.connections, load.cell.threads),
            ratio.unwrap_or_else(|| "–".into()),
        ];
        row.extend(twins.iter().map(|group| maybe_grouped(group.as_ref().map(rate))));
        table.push(row);
    }
    doc.table(&table);
}

/// Returns the cost of one overhead: the change and its interval.
fn cost(lang: Lang, ratio: &Ratio) -> String {
    let number = |factor| lang.number(&signed(factor));
    match (ratio.verdict(), ratio.interval) {
        (Verdict::Within(factor), _) => say(lang, "no_matter", &[&percent(lang, factor)]),
        (_, Some((low, high))) => {
            format!("**{} %** ({} … {} %)", number(ratio.ratio), number(low), number(high))
        }
        (_, None) => say(lang, "one_pair", &[]),
    }
}

/// One row for each overhead, one column for each engine.
fn costs(study: &Study, lang: Lang, doc: &mut Doc) {
    let costs = verdicts::costs(study);
    let is_overhead = |cost: &&Cost<'_>| study.kind(&cost.changed.cell.target) == Some(TargetKind::Ablation);
    let mut rows: Vec<(&str, [Option<&Cost<'_>>; 2])> = Vec::new();
    for cost in costs.iter().filter(is_overhead) {
        let Some(target) = study.target(&cost.changed.cell.target) else { continue };
        let column = usize::from(target.baseline.as_deref().is_some_and(|id| id.ends_with(ASYNC)));
        match rows.iter_mut().find(|(title, _)| *title == target.title) {
            Some((_, row)) => row[column] = Some(cost),
            None => {
                let mut row = [None, None];
                row[column] = Some(cost);
                rows.push((&target.title, row));
            }
        }
    }
    if rows.is_empty() {
        return;
    }
    let factor =
        |cost: Option<&Cost<'_>>| cost.and_then(|cost| Some(cost.ratio.as_ref()?.ratio)).unwrap_or(1.0);
    rows.sort_by(|(_, a), (_, b)| (factor(a[0]) * factor(a[1])).total_cmp(&(factor(b[0]) * factor(b[1]))));
    doc.heading(&say(lang, "what_costs", &[]));
    let head = [say(lang, "overhead", &[]), "thread".into(), "async".into(), say(lang, "calls", &[])];
    let mut table = Table::new(&say(lang, "costs_caption", &[]), 1, &head);
    for (title, row) in rows {
        let of = |found: Option<&Cost<'_>>| {
            found.and_then(|found| Some(cost(lang, found.ratio.as_ref()?))).unwrap_or_else(|| "–".into())
        };
        let added = row.map(|cost| cost.and_then(|cost| why::added_calls(study, &cost.changed.cell.target)));
        let added = match added {
            [None, None] => "–".into(),
            added => added.map(|n| n.map_or("–".into(), |n| lang.number(&format!("{n:+.2}")))).join(" / "),
        };
        table.push([plain(title), of(row[0]), of(row[1]), added]);
    }
    doc.table(&table);
}

fn losing(study: &Study, lang: Lang, doc: &mut Doc) {
    doc.heading(&say(lang, "loses", &[]));
    if !losses::has_peers(study) {
        doc.text(say(lang, "no_peers", &[]));
        return;
    }
    let losses = losses::losses(study);
    let (mut certain, mut kinds, mut shown) = (0, Vec::new(), Vec::new());
    for loss in &losses {
        let Verdict::Slower(low, high) = loss.gain.verdict() else { continue };
        certain += 1;
        let by = [1.0 / loss.gain.ratio, low, high].map(|factor| percent(lang, factor));
        let [ours, theirs, load, name] = &loss.words;
        // The worst of each other program and measure.
        if shown.len() < SHOWN_LOSSES && !kinds.contains(&(theirs, name)) {
            kinds.push((theirs, name));
            shown.push(say(lang, "loss", &[ours, theirs, load, name, &by[0], &by[1], &by[2]]));
        }
    }
    match certain {
        0 => doc.text(say(lang, "no_loss", &[])),
        n => {
            doc.list(&shown);
            doc.text(say(lang, "all_losses", &[&n.to_string(), &anchor(LOSSES_PART)]));
        }
    }
    if losses.len() > certain {
        doc.text(say(lang, "suspected", &[&anchor(PEERS_PART)]));
    }
}

/// Writes the first screen.
pub(crate) fn write(study: &Study, lang: Lang, doc: &mut Doc) {
    let manifest = &study.manifest;
    doc.title(&say(lang, "title", &[]));
    let commit: String = manifest.neraca.commit.as_deref().unwrap_or("?").chars().take(12).collect();
    let measured = study.records.len().to_string();
    let glossary = anchor(&say(lang, "glossary", &[]));
    let [name, host] = [&study.plan.name, &manifest.host.name].map(|text| plain(text));
    let (cpus, date) = (manifest.host.cpus.to_string(), manifest.started.get(..10).unwrap_or_default());
    let values = [&name, &host, cpus.as_str(), date, &commit, &measured, &glossary];
    doc.text(format!("{} {}", say(lang, "run", &values), say(lang, "other_language", &[])));
    doc.heading(&say(lang, "which_engine", &[]));
    let by_load = verdicts::by_load(study, Section::Assignment);
    match by_load.is_empty() {
        true => doc.text(say(lang, "no_engines", &[])),
        false => engines(study, lang, doc, &by_load),
    }
    servers(study, lang, doc);
    costs(study, lang, doc);
    losing(study, lang, doc);
    doc.heading(&say(lang, "picture", &[]));
    let caption = say(lang, "picture_caption", &[]);
    doc.text(format!("[![{caption}](experiment.svg)](experiment.svg)"));
    doc.drawings.insert("experiment.svg".into(), Drawing::Ours(picture::draw(study)));
}

/// Writes the glossary.
pub(crate) fn glossary(lang: Lang, doc: &mut Doc) {
    doc.part(&say(lang, "glossary", &[]));
    let mut table = Table::new(
        &say(lang, "glossary_caption", &[]),
        2,
        &[say(lang, "term", &[]), say(lang, "meaning", &[])],
    );
    terms().iter().for_each(|term| table.push(term.say(lang)));
    doc.table(&table);
    doc.heading(&say(lang, "try", &[]));
    doc.block("sh", &say(lang, "quick_start", &[]));
}

/// Returns the median of a number over the repetitions of one kind of work.
pub(crate) fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    median(&values.collect::<Vec<_>>())
}
