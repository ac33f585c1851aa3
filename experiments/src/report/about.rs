//! Item 9 of the report: the source of the numbers, and the numbers that cannot be trusted.

use itertools::Itertools;
use serde_json::json;

use crate::judge::record::{GATES, Gate, Record, Text, Validity, load};
use crate::judge::study::Study;
use crate::plans::model::Target;
use crate::report::doc::{Doc, Table, code, plain};
use crate::report::number::dash;
use crate::report::svg::escape;
use crate::report::words::{self, GATES_PART, Lang, english};
use crate::run::manifest::{Manifest, Setting};
use crate::run::raw::Found;

/// Returns the reason why a record failed, and the reasons of the gates with at least this verdict.
pub(crate) fn reasons(record: &Record, least: Validity) -> Vec<String> {
    let failed = match &record.found {
        Found::Failed(reason) => Some(format!("not measured: {reason}")),
        _ => None,
    };
    let gates = record.gates.iter().filter(|(_, (verdict, _))| *verdict >= least);
    let said = gates.map(|(gate, (_, reason))| format!("{gate:?} {reason}"));
    failed.into_iter().chain(said).collect()
}

/// Counts the records about which a gate has this verdict.
fn count(study: &Study, gate: Gate, verdict: Validity) -> usize {
    let judged = study.records.iter().filter_map(|record| record.gates.get(&gate));
    judged.filter(|(found, _)| *found == verdict).count()
}

/// Returns the gates with a remark about more than half of the loads. Such a remark is a fact about the run and tells
/// nothing about a cell, so the tables leave it out.
pub(crate) fn common(study: &Study) -> Vec<Gate> {
    let loads = study.records.iter().filter(|record| load(record).is_some()).count();
    GATES.keys().copied().filter(|gate| count(study, *gate, Validity::Note) * 2 > loads).collect()
}

/// Lists what the manifest says of the machine and of the programs.
fn environment(study: &Study) -> Table {
    let Manifest { setting, command, topology, .. } = &study.manifest;
    let Setting { started, host, neraca, tools } = setting;
    let parts = json!({ "host": host, "neraca": neraca, "placement": topology, "tools": tools });
    let parts = parts.as_object().into_iter().flatten();
    let values =
        parts.flat_map(|(part, all)| all.as_object().into_iter().flatten().map(move |all| (part, all)));
    let rows = values.map(|(part, (name, value))| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        [plain(&format!("{part}: {}", name.replace('_', " "))), plain(&text)]
    });
    let run = [("started", started), ("command", &command.join(" "))]
        .map(|(name, text)| [name.into(), plain(text)]);
    words::table(Lang::En, "environment").with(rows.chain(run))
}

/// Returns the command line of each target and role, from the first cell of the target.
fn commands(study: &Study) -> String {
    let of = |target: &Target| {
        let record = study.records.iter().find(|record| record.cell.target == target.id)?;
        let commands = ["target", "backends", "client"]
            .into_iter()
            .filter_map(|role| Some(format!("{role:<9}{}\n", record.commands.get(role)?)));
        Some(format!("# {}\n{}", study.title(&target.id), commands.format("")))
    };
    study.plan.targets.iter().filter_map(of).join("\n")
}

fn gates(study: &Study, doc: &mut Doc) {
    doc.heading(3, GATES_PART);
    let [noted, invalid] = [Validity::Note, Validity::Invalid].map(|verdict| cells(study, verdict).len());
    doc.text(english("gates", &[&study.records.len(), &invalid, &noted]));
    let row = |(&gate, Text { title, note, invalid }): (&Gate, &Text)| {
        // Of the worst results the first of the run.
        let all = study.records.iter().filter_map(|record| Some((record, record.gates.get(&gate)?)));
        let found = all.filter(|(_, (verdict, _))| *verdict != Validity::Valid);
        let worst = found.rev().max_by_key(|(_, (verdict, _))| *verdict);
        let value = worst.map(|(record, (_, reason))| plain(&format!("{reason} ({})", record.cell.id)));
        let [notes, failures] =
            [Validity::Note, Validity::Invalid].map(|verdict| count(study, gate, verdict).to_string());
        [format!("{gate:?}"), title.clone(), note.clone(), invalid.clone(), dash(value), notes, failures]
    };
    doc.table(&words::table(Lang::En, "gates").with(GATES.iter().map(row)));
    let common = common(study).iter().map(|gate| format!("{gate:?}")).join(", ");
    if !common.is_empty() {
        doc.text(english("common_gates", &[&common]));
    }
}

/// Lists the cells with this verdict, with every reason that the tables have.
fn cells(study: &Study, verdict: Validity) -> Vec<String> {
    let common = common(study);
    let is_common = |reason: &String| common.iter().any(|gate| reason.starts_with(&format!("{gate:?} ")));
    let with = study.records.iter().filter(|record| record.validity() == verdict);
    let lines = with.filter_map(|record| {
        let mut reasons = reasons(record, verdict);
        reasons.retain(|reason| verdict == Validity::Invalid || !is_common(reason));
        (!reasons.is_empty()).then(|| format!("{}: {}", code(&record.cell.id), plain(&reasons.join("; "))))
    });
    lines.collect()
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.heading(2, "9. Gates, environment, commands, raw data");
    gates(study, doc);
    let lists = [
        ("Cells that were planned and not run", study.missing.iter().map(|cell| code(&cell.id)).collect()),
        ("Cells that failed a gate", cells(study, Validity::Invalid)),
        ("Cells with a remark", cells(study, Validity::Note)),
    ];
    for (title, cells) in lists.iter().filter(|(_, cells)| !cells.is_empty()) {
        doc.folded(&format!("{title} ({})", cells.len()), |doc| doc.list(cells));
    }
    doc.heading(3, "Environment");
    doc.table(&environment(study));
    if !study.manifest.warnings.is_empty() {
        doc.text("What `neraca-lab doctor` had to say before the run:");
        doc.list(&study.manifest.warnings.iter().map(|line| plain(line)).collect_vec());
    }
    doc.heading(3, "Exact commands");
    doc.text(english("commands", &[]));
    doc.folded("The commands of each target", |doc| doc.block("text", &commands(study)));
    for Target { title, config, .. } in &study.plan.targets {
        if let Some(config) = config {
            let summary = format!("Configuration of {}", escape(title));
            doc.folded(&summary, |doc| doc.block("text", config));
        }
    }
    doc.heading(3, "Raw data");
    doc.text(english("raw_data", &[]));
}
