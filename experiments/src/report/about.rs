//! Item 9 of the report: the source of the numbers, and the numbers that cannot be trusted.

use crate::judge::record::{Measured, Record};
use crate::judge::study::{Study, load};
use crate::judge::verdict::{Gate, GateResult, Validity};
use crate::report::doc::{Doc, Table, code, plain};
use crate::report::svg::escape;
use crate::report::words::{self, GATES_PART, english};

/// Returns the reason why a record failed, and the reasons of the gates with at least this verdict.
pub(crate) fn reasons(record: &Record, least: Validity) -> Vec<String> {
    let failed = match &record.measured {
        Measured::Failed { reason } => Some(format!("not measured: {reason}")),
        _ => None,
    };
    let gates = record.gates.iter().filter(|result| result.verdict >= least);
    let said = gates.map(|result| format!("{:?} {}", result.gate, result.reason));
    failed.into_iter().chain(said).collect()
}

/// Counts the records about which a gate has this verdict.
fn count(study: &Study, gate: Gate, verdict: Validity) -> usize {
    let is_it = |result: &GateResult| result.gate == gate && result.verdict == verdict;
    study.records.iter().filter(|record| record.gates.iter().any(is_it)).count()
}

/// Returns the gates with a remark about more than half of the loads. Such a remark is a fact about the run and tells
/// nothing about a cell, so the tables leave it out.
pub(crate) fn common(study: &Study) -> Vec<Gate> {
    let loads = study.records.iter().filter(|record| load(record).is_some()).count();
    Gate::ALL.into_iter().filter(|gate| count(study, *gate, Validity::Note) * 2 > loads).collect()
}

fn environment(study: &Study) -> Table {
    let (manifest, host, plan) = (&study.manifest, &study.manifest.host, &study.plan);
    let machine = format!("{}: {}, {} CPUs, {} MB", host.name, host.cpu, host.cpus, host.memory_mb);
    let commit = code(manifest.neraca.commit.as_deref().unwrap_or("unknown"));
    let before = [
        ("machine", plain(&machine)),
        ("kernel", plain(&host.kernel)),
        ("CPU frequency governor", plain(host.governor.as_deref().unwrap_or("unknown"))),
        ("descriptors, listen queue", format!("{}, {}", host.descriptors, host.somaxconn)),
        ("client ports", format!("{} to {}", host.port_range.0, host.port_range.1)),
        ("neraca", format!("{}, commit {commit}", plain(&manifest.neraca.version))),
        ("its SHA-256", code(&manifest.neraca.sha256)),
    ];
    let tools = manifest.tools.iter().map(|(tool, version)| (tool.as_str(), plain(version)));
    let after = [
        ("placement of the processes on the CPUs", plain(&manifest.topology.placement)),
        ("begun", plain(&manifest.started)),
        ("plan", format!("{}, {} cells", plain(&plan.name), plan.cells.len())),
        ("command", code(&manifest.command.join(" "))),
    ];
    let mut table = words::table("environment");
    before.into_iter().chain(tools).chain(after).for_each(|(what, is)| table.push([plain(what), is]));
    table
}

/// Returns the command line of each target and role, from the first cell of the target.
fn commands(study: &Study) -> String {
    let mut text = String::new();
    for target in &study.plan.targets {
        let Some(record) = study.records.iter().find(|record| record.cell.target == target.id) else {
            continue;
        };
        text += &format!("# {}\n", study.title(&target.id));
        for role in ["target", "backends", "client"] {
            if let Some(command) = record.commands.get(role) {
                text += &format!("{role:<9}{command}\n");
            }
        }
        text.push('\n');
    }
    text
}

/// Returns the result of a gate with the highest severity; among equals the first of the run.
fn worst(study: &Study, gate: Gate) -> Option<(&Record, &GateResult)> {
    let all = study.records.iter().flat_map(|record| record.gates.iter().map(move |result| (record, result)));
    let found = all.filter(|(_, result)| result.gate == gate && result.verdict != Validity::Valid);
    found.rev().max_by_key(|(_, result)| result.verdict)
}

fn gates(study: &Study, doc: &mut Doc) {
    doc.heading(GATES_PART);
    let [noted, invalid] = [Validity::Note, Validity::Invalid].map(|verdict| cells(study, verdict).len());
    doc.text(english("gates", &[&study.records.len(), &invalid, &noted]));
    let mut table = words::table("gates");
    for gate in Gate::ALL {
        let value = worst(study, gate).map_or("–".into(), |(record, result)| {
            format!("{} ({})", plain(&result.reason), code(&record.cell.id))
        });
        let [note, invalid] = gate.limits();
        let counts =
            [Validity::Note, Validity::Invalid].map(|verdict| count(study, gate, verdict).to_string());
        let words = [format!("{gate:?}"), gate.title().into(), note.into(), invalid.into(), value];
        table.push(words.into_iter().chain(counts));
    }
    doc.table(&table);
    let common: Vec<String> = common(study).iter().map(|gate| format!("{gate:?}")).collect();
    if !common.is_empty() {
        doc.text(english("common_gates", &[&common.join(", ")]));
    }
}

/// Lists the cells with this verdict, with every reason that the tables have.
fn cells(study: &Study, verdict: Validity) -> Vec<String> {
    let common = common(study);
    let is_common = |reason: &String| common.iter().any(|gate| reason.starts_with(&format!("{gate:?} ")));
    let with = study.records.iter().filter(|record| record.validity == verdict);
    let lines = with.filter_map(|record| {
        let mut reasons = reasons(record, verdict);
        reasons.retain(|reason| verdict == Validity::Invalid || !is_common(reason));
        (!reasons.is_empty()).then(|| format!("{}: {}", code(&record.cell.id), plain(&reasons.join("; "))))
    });
    lines.collect()
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("9. Gates, environment, commands, raw data");
    gates(study, doc);
    if !study.missing.is_empty() {
        let names: Vec<String> = study.missing.iter().map(|cell| code(&cell.id)).collect();
        doc.text(english("not_run", &[&names.len()]));
        doc.folded("The cells that were not run", |doc| doc.list(&names));
    }
    for (verdict, title) in
        [(Validity::Invalid, "Cells that failed a gate"), (Validity::Note, "Cells with a remark")]
    {
        let cells = cells(study, verdict);
        if !cells.is_empty() {
            doc.folded(&format!("{title} ({})", cells.len()), |doc| doc.list(&cells));
        }
    }
    doc.heading("Environment");
    doc.table(&environment(study));
    if !study.manifest.warnings.is_empty() {
        doc.text("What `neraca-lab doctor` had to say before the run:");
        doc.list(&study.manifest.warnings.iter().map(|line| plain(line)).collect::<Vec<_>>());
    }
    doc.heading("Exact commands");
    doc.text(english("commands", &[]));
    doc.folded("The commands of each target", |doc| doc.block("text", &commands(study)));
    for target in &study.plan.targets {
        if let Some(config) = &target.config {
            let summary = format!("Configuration of {}", escape(&target.title));
            doc.folded(&summary, |doc| doc.block("text", config));
        }
    }
    doc.heading("Raw data");
    doc.text(english("raw_data", &[]));
}
