//! The first screen of the report: the questions of the assignment and their answers, in each language.

use std::fmt::Display;

use crate::judge::measure;
use crate::judge::stats::{ENOUGH_BLOCKS, Ratio, Verdict};
use crate::judge::study::{Group, Measure, Study};
use crate::judge::verdicts::{self, Cost, LoadVerdict, Servers};
use crate::plans::model::{Section, TargetKind};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Table, anchor, plain};
use crate::report::failures::failed;
use crate::report::number::{dash, maybe, maybe_grouped, name, signed};
use crate::report::plots::targets;
use crate::report::words::{LOSSES_PART, Lang, PEERS_PART, say, terms};
use crate::report::{losses, picture, why};

/// Number of losses on the first screen.
const SHOWN_LOSSES: usize = 4;

/// Writes a factor above 1 as per cent.
fn percent(lang: Lang, factor: f64) -> String {
    lang.number(&format!("{:.1}", (factor - 1.0) * 100.0))
}

/// Returns the faster of `a` and `b`, and by how much.
fn winner(lang: Lang, ratio: &Ratio, a: &str, b: &str) -> String {
    let by = |name: &str, low, high| say(lang, "by", &[&name, &percent(lang, low), &percent(lang, high)]);
    match ratio.verdict() {
        Verdict::Faster(low, high) => by(a, low, high),
        Verdict::Slower(low, high) => by(b, low, high),
        Verdict::Within(factor) => say(lang, "within", &[&percent(lang, factor)]),
        Verdict::TooFew => say(lang, "too_few", &[&ratio.blocks.len(), &ENOUGH_BLOCKS]),
    }
}

fn engines(study: &Study, lang: Lang, doc: &mut Doc) {
    let text = |name| say(lang, name, &[]);
    doc.heading(&text("which_engine"));
    let verdicts = verdicts::by_load(study, Section::Assignment);
    let Some(last) = verdicts.last() else {
        doc.text(text("no_engines"));
        return;
    };
    let columns = [
        text("faster"),
        text("rate"),
        text("failed"),
        text("waiting"),
        text("kept_waiting"),
        text("transfer"),
    ];
    let mut table = Table::new(&text("engines_caption"), 2, &[&["wrk -t".to_owned()], &columns[..]].concat());
    for LoadVerdict { cell, ratio, .. } in &verdicts {
        let Some((thread, other)) = study.twin(cell, THREAD).zip(study.twin(cell, ASYNC)) else { continue };
        let groups = [&thread, &other];
        let both = |of: &dyn Fn(&Group<'_>) -> String| lang.number(&groups.map(of).join(" / "));
        let short = |measure: Measure| both(&|group| maybe(group.median(measure)));
        let whole = |measure: Measure| both(&|group| maybe_grouped(group.median(measure)));
        let faster = match groups.iter().find(|group| !group.is_ranked()) {
            Some(group) => {
                say(lang, "not_ranked", &[&format!("{} ({})", group.cell.target, group.mark(&[]))])
            }
            None => winner(lang, ratio, ASYNC, THREAD),
        };
        let opened = cell.opened();
        let brackets = if opened == cell.connections { String::new() } else { format!(" ({opened})") };
        table.push([
            format!("{}{brackets}", cell.threads),
            faster,
            whole(measure::rate),
            both(&|group| failed(group).to_string()),
            short(measure::waiting_ms),
            short(measure::kept_waiting_ms),
            whole(measure::transfer_kb_s),
        ]);
    }
    doc.table(&table);
    doc.text(sentence(lang, last));
}

/// Returns the verdict under one load in full sentences.
fn sentence(lang: Lang, LoadVerdict { cell, ratio, control }: &LoadVerdict<'_>) -> String {
    let blocks = ratio.blocks.len();
    let faster = |name: &str, low, high, other: &str| {
        say(lang, "at_faster", &[&name, &percent(lang, low), &percent(lang, high), &other, &blocks])
    };
    let answer = match ratio.verdict() {
        Verdict::Faster(low, high) => faster(ASYNC, low, high, THREAD),
        Verdict::Slower(low, high) => faster(THREAD, low, high, ASYNC),
        Verdict::Within(factor) => say(lang, "at_within", &[&percent(lang, factor), &blocks]),
        Verdict::TooFew => say(lang, "at_too_few", &[&blocks, &ENOUGH_BLOCKS]),
    };
    let at = say(lang, "at", &[&cell.threads, &answer]);
    match control.as_ref().filter(|control| control.interval.is_some()) {
        Some(control) => format!("{at} {}", say(lang, "noise", &[&percent(lang, control.reach())])),
        None => at,
    }
}

/// Returns the verdict under each load of the assignment, for a terminal.
pub(crate) fn verdicts(study: &Study, lang: Lang) -> Vec<String> {
    verdicts::by_load(study, Section::Assignment).iter().map(|verdict| sentence(lang, verdict)).collect()
}

/// Returns which web server is fastest under a load, by how much, and which faster number is not compared.
fn fastest(study: &Study, lang: Lang, servers: &Servers<'_>) -> String {
    let Servers { rates, leaders, within, beaten, blocks, .. } = servers;
    let bold = |(group, _): &(Group<'_>, _)| format!("**{}**", name(study, group));
    let leaders = &rates[..*leaders];
    let names = leaders.iter().map(bold).collect::<Vec<_>>().join(&say(lang, "and", &[]));
    let mut said = match leaders.len() {
        0 => say(lang, "too_few", &[blocks, &ENOUGH_BLOCKS]),
        1 => names,
        _ => say(lang, "level", &[&names, &percent(lang, *within)]),
    };
    if let Some((other, low, high)) = beaten {
        let values: [&dyn Display; 3] = [&percent(lang, *low), &percent(lang, *high), &name(study, other)];
        said +=
            &if leaders.len() > 1 { say(lang, "each_ahead", &values) } else { say(lang, "ahead", &values) };
    }
    let most = leaders.first().and_then(|(_, rate)| *rate).unwrap_or(f64::INFINITY);
    for (group, _) in rates.iter().filter(|(_, rate)| *rate > Some(most)) {
        said += &say(lang, "larger", &[&name(study, group), &group.mark(&[])]);
    }
    said
}

fn servers(study: &Study, lang: Lang, doc: &mut Doc) {
    let targets = targets(&study.section(Section::Servers));
    if targets.len() < 2 {
        return;
    }
    doc.heading(&say(lang, "which_server", &[]));
    let mut head = vec!["wrk -c, -t".to_owned(), say(lang, "fastest", &[])];
    head.extend(targets.iter().map(|target| plain(&study.title(target))));
    let mut table = Table::new(&say(lang, "servers_caption", &[]), 2, &head);
    for servers in verdicts::servers(study) {
        let load = format!("{}, {}", servers.cell.connections, servers.cell.threads);
        let rate = |target: &&str| {
            let (group, rate) = servers.rates.iter().find(|(group, _)| group.cell.target == *target)?;
            let mark = if group.is_ranked() { String::new() } else { format!(" ({})", group.mark(&[])) };
            Some(maybe_grouped(*rate) + &mark)
        };
        let said = fastest(study, lang, &servers);
        table.push([load, said].into_iter().chain(targets.iter().map(|target| dash(rate(target)))));
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
    let mut rows: Vec<(&str, [Option<Cost<'_>>; 2])> = Vec::new();
    for cost in verdicts::costs(study) {
        let target = study.target(&cost.changed.cell.target);
        let Some(target) = target.filter(|target| target.kind == TargetKind::Ablation) else { continue };
        let column = usize::from(target.baseline.as_deref().is_some_and(|id| id.ends_with(ASYNC)));
        let known = rows.iter().position(|(title, _)| *title == target.title);
        let row = known.unwrap_or(rows.len());
        if known.is_none() {
            rows.push((&target.title, [None, None]));
        }
        rows[row].1[column] = Some(cost);
    }
    if rows.is_empty() {
        return;
    }
    let ratio = |cost: &Option<Cost<'_>>| cost.as_ref().and_then(|cost| cost.ratio.clone());
    let factor = |row: &[_; 2]| row.iter().filter_map(ratio).map(|ratio| ratio.ratio).product::<f64>();
    rows.sort_by(|(_, a), (_, b)| factor(a).total_cmp(&factor(b)));
    doc.heading(&say(lang, "what_costs", &[]));
    let head = [say(lang, "overhead", &[]), THREAD.into(), ASYNC.into(), say(lang, "calls", &[])];
    let mut table = Table::new(&say(lang, "costs_caption", &[]), 1, &head);
    for (title, row) in rows {
        let [thread, other] = row.each_ref().map(|found| dash(ratio(found).map(|ratio| cost(lang, &ratio))));
        let added = row.map(|cost| why::added_calls(study, &cost?.changed.cell.target));
        let added = match added {
            [None, None] => "–".into(),
            added => added.map(|n| dash(n.map(|n| lang.number(&format!("{n:+.2}"))))).join(" / "),
        };
        table.push([plain(title), thread, other, added]);
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
        let [by, low, high] = [1.0 / loss.gain.ratio, low, high].map(|factor| percent(lang, factor));
        let [ours, theirs, load, name] = &loss.words;
        // The worst of each other program and measure.
        if shown.len() < SHOWN_LOSSES && !kinds.contains(&(theirs, name)) {
            kinds.push((theirs, name));
            shown.push(say(lang, "loss", &[ours, theirs, load, name, &by, &low, &high]));
        }
    }
    if certain == 0 {
        doc.text(say(lang, "no_loss", &[]));
    } else {
        doc.list(&shown);
        doc.text(say(lang, "all_losses", &[&certain, &anchor(LOSSES_PART)]));
    }
    if losses.len() > certain {
        doc.text(say(lang, "suspected", &[&anchor(PEERS_PART)]));
    }
}

/// Writes the first screen.
pub(crate) fn write(study: &Study, lang: Lang, doc: &mut Doc) {
    let (manifest, host) = (&study.manifest, &study.manifest.host);
    doc.title(&say(lang, "title", &[]));
    let commit: String = manifest.neraca.commit.as_deref().unwrap_or("?").chars().take(12).collect();
    let date = manifest.started.get(..10).unwrap_or_default();
    let glossary = anchor(&say(lang, "glossary", &[]));
    let [plan, machine] = [&study.plan.name, &host.name].map(|text| plain(text));
    let run: [&dyn Display; 7] =
        [&plan, &machine, &host.cpus, &date, &commit, &study.records.len(), &glossary];
    doc.text(format!("{} {}", say(lang, "run", &run), say(lang, "other_language", &[])));
    engines(study, lang, doc);
    servers(study, lang, doc);
    costs(study, lang, doc);
    losing(study, lang, doc);
    doc.heading(&say(lang, "picture", &[]));
    let caption = say(lang, "picture_caption", &[]);
    doc.text(format!("[![{caption}](experiment.svg)](experiment.svg)"));
    doc.drawings.insert("experiment.svg".into(), picture::draw(study));
}

/// Writes the glossary.
pub(crate) fn glossary(lang: Lang, doc: &mut Doc) {
    doc.part(&say(lang, "glossary", &[]));
    let head = [say(lang, "term", &[]), say(lang, "meaning", &[])];
    let mut table = Table::new(&say(lang, "glossary_caption", &[]), 2, &head);
    terms(lang).for_each(|term| table.push(term));
    doc.table(&table);
    doc.heading(&say(lang, "try", &[]));
    doc.block("sh", &say(lang, "quick_start", &[]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;
    use crate::plans::targets::DIRECT;
    use crate::run::raw::Found;

    #[test]
    fn a_larger_number_that_is_not_compared_is_explained() {
        let mut run = Run::new("bench");
        for raw in run.raws.iter_mut().filter(|raw| raw.cell.target == DIRECT) {
            let Found::Load(load) = &mut raw.found else { continue };
            load.probe.fresh.errors.corrupt = 3;
        }
        let study = run.study();
        let said = fastest(&study, Lang::En, &verdicts::servers(&study)[0]);
        for part in [
            "**Neraca file server, ",
            "; the larger number of nginx, asked directly is not compared (NO: G10)",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
