//! Item 9 of the report: the source of the numbers, and the numbers that cannot be trusted.

use std::collections::BTreeMap;

use crate::judge::record::{Measured, Record};
use crate::judge::study::{Study, load};
use crate::judge::verdict::{Gate, GateResult, Validity};
use crate::report::GATES_PART;
use crate::report::doc::{Doc, Table, code, plain};

/// Returns the reasons why a record failed, and its remarks.
pub(crate) fn reasons(record: &Record) -> Vec<String> {
    reasons_from(record, Validity::Note)
}

/// Returns the reasons of the gates with at least this verdict.
pub(crate) fn reasons_from(record: &Record, least: Validity) -> Vec<String> {
    let failed = match &record.measured {
        Measured::Failed { reason } => Some(format!("not measured: {reason}")),
        _ => None,
    };
    let gates = record.gates.iter().filter(|result| result.verdict >= least);
    let said = gates.map(|result| format!("{:?} {}", result.gate, result.reason));
    failed.into_iter().chain(said).collect()
}

/// Returns the gates with a remark about more than half of the loads. Such a remark is a fact about the run and tells
/// nothing about a cell, so the tables leave it out.
pub(crate) fn common(study: &Study) -> Vec<Gate> {
    let loads = study.records.iter().filter(|record| load(record).is_some()).count();
    let is_common =
        |gate: &Gate| study.records.iter().filter(|record| noted(record, *gate)).count() * 2 > loads;
    Gate::ALL.into_iter().filter(is_common).collect()
}

fn noted(record: &Record, gate: Gate) -> bool {
    record.gates.iter().any(|result| result.gate == gate && result.verdict == Validity::Note)
}

fn environment(study: &Study) -> Table {
    let (manifest, host) = (&study.manifest, &study.manifest.host);
    let mut table = Table::new("The environment", 2, &["what", "is"]);
    let mut row = |name: &str, value: String| table.push([plain(name), value]);
    let machine = format!("{}: {}, {} CPUs, {} MB", host.name, host.cpu, host.cpus, host.memory_mb);
    row("machine", plain(&machine));
    row("kernel", plain(&host.kernel));
    row("CPU frequency governor", plain(host.governor.as_deref().unwrap_or("unknown")));
    row("descriptors, listen queue", format!("{}, {}", host.descriptors, host.somaxconn));
    row("client ports", format!("{} to {}", host.port_range.0, host.port_range.1));
    let commit = manifest.neraca.commit.as_deref().unwrap_or("unknown");
    row("neraca", format!("{}, commit {}", plain(&manifest.neraca.version), code(commit)));
    row("its SHA-256", code(&manifest.neraca.sha256));
    for (tool, version) in &manifest.tools {
        row(tool, plain(version));
    }
    row("placement of the processes on the CPUs", plain(&manifest.topology.placement));
    row("begun", plain(&manifest.started));
    row("plan", format!("{}, {} cells", plain(&study.plan.name), study.plan.cells.len()));
    row("command", code(&manifest.command.join(" ")));
    table
}

/// Returns the command line of each target and role, from the first cell of the target.
fn commands(study: &Study) -> String {
    let mut by_target: BTreeMap<&str, &Record> = BTreeMap::new();
    for record in &study.records {
        by_target.entry(&record.cell.target).or_insert(record);
    }
    let mut text = String::new();
    for target in &study.plan.targets {
        let Some(record) = by_target.get(target.id.as_str()) else { continue };
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
    let found: Vec<(&Record, &GateResult)> =
        all.filter(|(_, result)| result.gate == gate && result.verdict != Validity::Valid).collect();
    found.into_iter().rev().max_by_key(|(_, result)| result.verdict)
}

fn gates(study: &Study, doc: &mut Doc) {
    doc.heading(GATES_PART);
    let all = study.records.len();
    let [noted, invalid] = [Validity::Note, Validity::Invalid].map(|verdict| cells(study, verdict).len());
    doc.text(format!(
        "A gate is a check. A cell that fails one is shown and not ranked. Of {all} cells {invalid} failed a gate, and {noted} \
         have a remark that tells something about the cell."
    ));
    let head =
        ["gate", "checks", "remark when", "fails when", "worst value in this run", "remarks", "failed"];
    let mut table = Table::new("The gates, their thresholds and the worst value", 5, &head);
    for gate in Gate::ALL {
        let with = |verdict| {
            let found =
                |record: &&Record| record.gates.iter().any(|r| r.gate == gate && r.verdict == verdict);
            study.records.iter().filter(found).count().to_string()
        };
        let value = worst(study, gate).map_or("–".into(), |(record, result)| {
            format!("{} ({})", plain(&result.reason), code(&record.cell.id))
        });
        let [note, invalid] = gate.limits();
        table.push([
            format!("{gate:?}"),
            gate.title().into(),
            note.into(),
            invalid.into(),
            value,
            with(Validity::Note),
            with(Validity::Invalid),
        ]);
    }
    doc.table(&table);
    let common: Vec<String> = common(study).iter().map(|gate| format!("{gate:?}")).collect();
    if !common.is_empty() {
        doc.text(format!(
            "More than half of the cells have a remark of {}, so the tables do not repeat it.",
            common.join(", ")
        ));
    }
}

/// Lists the cells with this verdict, with every reason that the tables have.
fn cells(study: &Study, verdict: Validity) -> Vec<String> {
    let common = common(study);
    let is_common = |reason: &String| common.iter().any(|gate| reason.starts_with(&format!("{gate:?} ")));
    let with = study.records.iter().filter(|record| record.validity == verdict);
    let lines = with.filter_map(|record| {
        let mut reasons = reasons_from(record, verdict);
        reasons.retain(|reason| verdict == Validity::Invalid || !is_common(reason));
        (!reasons.is_empty()).then(|| format!("{}: {}", code(&record.cell.id), plain(&reasons.join("; "))))
    });
    lines.collect()
}

/// Item 9.
pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("9. Gates, environment, commands, raw data");
    gates(study, doc);
    if !study.missing.is_empty() {
        let names: Vec<String> = study.missing.iter().map(|cell| code(&cell.id)).collect();
        doc.text(format!("Not run ({}), because the run was cut short:", names.len()));
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
    doc.text(
        "From the first cell of each target. `{dir}` is a scratch directory; ports differ from cell to cell.",
    );
    doc.folded("The commands of each target", |doc| doc.block("text", &commands(study)));
    for target in &study.plan.targets {
        if let Some(config) = &target.config {
            let summary = format!("Configuration of {}", crate::report::svg::escape(&target.title));
            doc.folded(&summary, |doc| doc.block("text", config));
        }
    }
    doc.heading("Raw data");
    doc.text(
        "[manifest.json](../manifest.json), [plan.json](../plan.json) and the compressed measurements beside them. \
         [summary.json](../summary.json) and [summary.csv](../summary.csv) are derived from them, and so is this page: \
         `make report` makes it again, and `neraca-lab check` fails when a number was changed.",
    );
}
