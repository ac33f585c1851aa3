//! The first screen of the report: the questions of the assignment and their answers, in each language.

use std::fmt::Display;

use itertools::Itertools;

use crate::judge::measure::{self, Measure};
use crate::judge::stats::{ENOUGH_BLOCKS, Ratio, Verdict};
use crate::judge::study::{Group, Study};
use crate::judge::verdicts::{self, Cost, Pair, Servers};
use crate::plans::model::{Section, Target, TargetKind};
use crate::plans::targets::{AGAIN, ASYNC, THREAD};
use crate::report::doc::{Doc, anchor, plain};
use crate::report::losses::{self, Comparison, Opponent};
use crate::report::number::{dash, grouped, maybe, maybe_grouped, name};
use crate::report::plots::targets;
use crate::report::tables::failed;
use crate::report::why;
use crate::report::words::{
    self, ENGINES, GATES_PART, LOSSES_PART, Lang, PEERS_PART, SENTENCES, SHORT, certain, cost, percent, say,
    winner,
};

/// Number of losses on the first screen.
const SHOWN_LOSSES: usize = 4;
/// Maximum number of loads that a cell of a table names. More of them are counted.
const LISTED_LOADS: usize = 7;

/// Returns the mark of a group that is not ranked, with a link to the meaning of the gates.
fn mark(lang: Lang, group: &Group<'_>) -> String {
    say(lang, "gate", &[&group.mark(&[]), &anchor(GATES_PART)])
}

fn engines(study: &Study, lang: Lang, doc: &mut Doc) {
    doc.heading(3, &say(lang, "which_engine", &[]));
    let row = |Pair { a, b, ratio }: &Pair<'_>| {
        let (cell, groups) = (b.cell, [b, a]);
        let both = |of: &dyn Fn(&Group<'_>) -> String| lang.number(&groups.map(of).join(" / "));
        let short = |measure: Measure| both(&|group| maybe(group.median(measure)));
        let whole = |measure: Measure| both(&|group| maybe_grouped(group.median(measure)));
        let faster = match groups.iter().find(|group| !group.is_ranked()) {
            Some(group) => say(lang, "not_ranked", &[&group.cell.target, &mark(lang, group)]),
            None => winner(lang, ratio, ENGINES, SHORT),
        };
        let opened = cell.opened();
        let brackets = if opened == cell.connections { String::new() } else { format!(" ({opened})") };
        [
            format!("{}{brackets}", cell.threads),
            faster,
            whole(measure::rate),
            both(&|group| failed(group).to_string()),
            short(measure::waiting_ms),
            short(measure::kept_waiting_ms),
            whole(measure::transfer_kb_s),
        ]
    };
    let verdicts = verdicts::by_load(study);
    doc.table(&words::table(lang, "engines").with(verdicts.iter().map(row)));
    if verdicts.is_empty() {
        doc.text(words::absent(study, lang, &[Section::Assignment], say(lang, "no_engines", &[])));
    }
}

/// Returns the verdict over all loads of the assignment together, in a full sentence.
pub(crate) fn together(study: &Study, lang: Lang) -> Option<String> {
    let sentence = winner(lang, &verdicts::over_all_loads(study, ASYNC)?, ENGINES, SENTENCES);
    let loads = verdicts::by_load(study).len();
    let noise = noise(lang, verdicts::over_all_loads(study, AGAIN));
    Some(say(lang, "together", &[&loads, &sentence]) + &noise)
}

/// Says how far the thread engine differs from itself, if this was measured in more than one block.
fn noise(lang: Lang, control: Option<Ratio>) -> String {
    let control = control.filter(|control| control.interval.is_some());
    control.map_or_else(String::new, |control| say(lang, "noise", &[&percent(lang, control.reach())]))
}

/// Returns the verdict under each load of the assignment in full sentences.
pub(crate) fn verdicts(study: &Study, lang: Lang) -> Vec<String> {
    let sentence = |Pair { b: thread, ratio, .. }: &Pair<'_>| {
        let winner = winner(lang, ratio, ENGINES, SENTENCES);
        say(lang, "at", &[&thread.cell.threads, &winner]) + &noise(lang, verdicts::control(study, thread))
    };
    verdicts::by_load(study).iter().map(sentence).collect()
}

/// Returns which web server is fastest under a load, by how much, and which faster number is not compared.
fn fastest(study: &Study, lang: Lang, servers: &Servers<'_>) -> String {
    let Servers { rates, leaders, within, beaten, blocks, .. } = servers;
    let bold = |(group, _): &(Group<'_>, _)| format!("**{}**", name(study, group));
    let leaders = &rates[..*leaders];
    let names = leaders.iter().map(bold).join(&say(lang, "and", &[]));
    let (mut said, ahead) = match leaders.len() {
        0 => (say(lang, "too_few", &[blocks, &ENOUGH_BLOCKS]), ""),
        1 => (names, "ahead"),
        _ => (say(lang, "level", &[&names, &percent(lang, *within)]), "each_ahead"),
    };
    if let Some((other, low, high)) = beaten {
        said += &say(lang, ahead, &[&percent(lang, *low), &percent(lang, *high), &name(study, other)]);
    }
    let most = leaders.first().and_then(|(_, rate)| *rate).unwrap_or(f64::INFINITY);
    for (group, _) in rates.iter().filter(|(_, rate)| *rate > Some(most)) {
        said += &say(lang, "larger", &[&name(study, group), &mark(lang, group)]);
    }
    said
}

fn servers(study: &Study, lang: Lang, doc: &mut Doc) {
    let targets = targets(&study.section(Section::Servers));
    if targets.len() < 2 {
        return;
    }
    doc.heading(3, &say(lang, "which_server", &[]));
    let mut table = words::table(lang, "servers");
    table.head.extend(targets.iter().map(|target| plain(&study.title(target))));
    for servers in verdicts::servers(study) {
        let cell = servers.rates[0].0.cell;
        let load = format!("{},\u{a0}{}", cell.connections, cell.threads);
        let rate = |target: &&str| {
            let (group, rate) = servers.rates.iter().find(|(group, _)| group.cell.target == *target)?;
            let mark = if group.is_ranked() { String::new() } else { mark(lang, group) };
            Some(format!("{} {mark}", maybe_grouped(*rate)).trim_end().to_owned())
        };
        let said = fastest(study, lang, &servers);
        table.push([load, said].into_iter().chain(targets.iter().map(|target| dash(rate(target)))));
    }
    doc.table(&table);
}

/// An overhead with its cost in the thread engine and in the async engine.
type Overhead<'a> = (&'a Target, [Option<Cost<'a>>; 2]);

/// Returns the overheads; the one with the largest certain cost first.
fn overheads(study: &Study) -> Vec<Overhead<'_>> {
    let mut costs = verdicts::costs(study);
    costs.retain(|cost| cost.changed.target.kind == TargetKind::Ablation);
    let row = |overhead: &Target| {
        let alike = costs.iter().filter(|cost| cost.changed.target.title == overhead.title);
        [THREAD, ASYNC].map(|engine| alike.clone().find(|cost| cost.engine() == Some(engine)).cloned())
    };
    let certain = |(_, row): &Overhead<'_>| -> f64 {
        row.iter().flatten().filter_map(|cost| cost.ratio.as_ref()).map(certain).product()
    };
    let all = costs.iter().map(|cost| cost.changed.target).unique_by(|target| &target.title);
    all.map(|target| (target, row(target))).sorted_by(|a, b| certain(a).total_cmp(&certain(b))).collect()
}

/// Returns the cost of an overhead in each engine.
fn both_costs(lang: Lang, row: &[Option<Cost<'_>>; 2]) -> [String; 2] {
    row.each_ref().map(|found| dash(found.as_ref().and_then(|found| Some(cost(lang, found.ratio.as_ref()?)))))
}

/// One row for each overhead, one column for each engine.
fn costs(study: &Study, lang: Lang, doc: &mut Doc) {
    let overheads = overheads(study);
    if overheads.is_empty() {
        return;
    }
    doc.heading(3, &say(lang, "what_costs", &[]));
    let row = |(target, row): &Overhead<'_>| {
        let [thread, other] = both_costs(lang, row);
        let added = row.each_ref().map(|cost| why::added_calls(study, &cost.as_ref()?.changed.cell.target));
        let added = match added {
            [None, None] => "–".into(),
            added => added.map(|n| dash(n.map(|n| lang.number(&format!("{n:+.2}"))))).join(" / "),
        };
        [plain(&target.title), thread, other, added]
    };
    doc.table(&words::table(lang, "costs").with(overheads.iter().map(row)));
    let why = words::absent(study, lang, &[Section::Syscalls], String::new());
    if !why.is_empty() {
        doc.text(say(lang, "no_calls", &[&why]));
    }
}

/// Returns the worst of the losses, one of each other program and measure.
fn worst(lang: Lang, losses: &[Comparison]) -> Vec<String> {
    let kinds = losses.iter().unique_by(|loss| (&loss.words[1], &loss.words[3]));
    let said = |Comparison { words: [ours, theirs, load, name], gain, .. }: &Comparison| {
        let Verdict::Slower(low, high) = gain.verdict() else { return None };
        let [by, low, high] = [1.0 / gain.ratio, low, high].map(|factor| percent(lang, factor));
        Some(say(lang, "loss", &[ours, theirs, load, name, &by, &low, &high]))
    };
    kinds.take(SHOWN_LOSSES).filter_map(said).collect()
}

fn losing(study: &Study, lang: Lang, doc: &mut Doc) {
    doc.heading(3, &say(lang, "loses", &[]));
    let (certain, single) = losses::losses(study);
    let row = |Opponent { name, compared, not_ranked, failed, .. }: Opponent| {
        let all = compared.len() + not_ranked.len();
        let loads = |loads: Vec<String>| match loads.len() {
            0 => "–".into(),
            1..=LISTED_LOADS => loads.join("; "),
            some if some < all => say(lang, "of_loads", &[&some, &all]),
            _ => say(lang, "all_loads", &[&all]),
        };
        [name, grouped(failed as f64), loads(compared), loads(not_ranked)]
    };
    doc.list(&worst(lang, &certain));
    if !certain.is_empty() {
        doc.text(say(lang, "all_losses", &[&certain.len(), &anchor(LOSSES_PART)]));
    }
    if !single.is_empty() {
        doc.text(say(lang, "suspected", &[&anchor(PEERS_PART)]));
    }
    let opponents = losses::opponents(study);
    let has_others = opponents.iter().any(|opponent| !opponent.is_ours);
    doc.text(say(lang, if has_others { "opponents" } else { "no_peers" }, &[]));
    doc.table(&words::table(lang, "opponents").with(opponents.into_iter().map(row)));
}

/// Answers the questions in a sentence each: which engine is faster over all loads and under the heaviest one, what a
/// line printed per request costs, where Neraca loses.
fn answers(study: &Study, lang: Lang) -> Vec<String> {
    let printing = overheads(study).into_iter().find(|(target, _)| target.id.ends_with("access-log"));
    let printing = printing.map(|(_, row)| {
        let [thread, other] = both_costs(lang, &row);
        say(lang, "printing", &[&thread, &other])
    });
    let (certain, _) = losses::losses(study);
    let opponents = losses::opponents(study);
    let names =
        |of: fn(&&Opponent) -> bool| opponents.iter().filter(of).map(|opponent| &opponent.name).join("; ");
    let against = names(|opponent| !opponent.is_ours && !opponent.compared.is_empty());
    let failing = Some(names(|opponent| opponent.failed > 0)).filter(|names| !names.is_empty());
    let losing = match worst(lang, &certain).first() {
        Some(worst) => Some(say(lang, "losing", &[&certain.len(), worst])),
        None => (!against.is_empty()).then(|| say(lang, "no_loss", &[&against, &dash(failing)])),
    };
    let engines = together(study, lang).into_iter().chain(verdicts(study, lang).pop());
    engines.chain(printing).chain(losing).collect()
}

pub(crate) fn write(study: &Study, lang: Lang, doc: &mut Doc) {
    let setting = &study.manifest.setting;
    doc.heading(1, &say(lang, "title", &[]));
    let commit: String = setting.commit().unwrap_or("?").chars().take(12).collect();
    let date = setting.started.get(..10).unwrap_or_default();
    let glossary = anchor(&say(lang, "glossary", &[]));
    let [plan, machine] = [&study.plan.name, &setting.host.name].map(|text| plain(text));
    let (measured, planned) = (study.records.len(), study.plan.cells.len());
    let run: [&dyn Display; 8] =
        [&plan, &machine, &setting.host.cpus, &date, &commit, &measured, &planned, &glossary];
    doc.text(say(lang, "run", &run) + &say(lang, "other_language", &[]));
    doc.list(&answers(study, lang));
    engines(study, lang, doc);
    servers(study, lang, doc);
    costs(study, lang, doc);
    losing(study, lang, doc);
    doc.heading(3, &say(lang, "picture", &[]));
    let caption = say(lang, "picture_caption", &[]);
    doc.text(format!("[![{caption}](experiment.svg)](experiment.svg)"));
}

pub(crate) fn glossary(lang: Lang, doc: &mut Doc) {
    doc.heading(2, &say(lang, "glossary", &[]));
    doc.table(&words::table(lang, "glossary"));
    doc.heading(3, &say(lang, "try", &[]));
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
        let larger = "; the larger number of nginx, asked directly is not compared ([NO: G10](#the-gates";
        assert!(said.contains("**Neraca file server, ") && said.contains(larger), "{said}");
    }
}
