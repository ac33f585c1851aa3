//! Item 9 of the report: the source of the numbers, and the numbers that cannot be trusted.

use std::collections::BTreeMap;

use crate::judge::record::{Measured, Record};
use crate::judge::study::Study;
use crate::judge::verdict::{Gate, Validity};
use crate::plans::model::Section;
use crate::report::page::{Block, Table, Tone};

/// Returns the reasons why a record is invalid or has a remark.
pub(crate) fn reasons(record: &Record) -> Vec<String> {
    let failed = match &record.measured {
        Measured::Failed { reason } => Some(format!("not measured: {reason}")),
        _ => None,
    };
    let gates = record.gates.iter().filter(|result| result.verdict != Validity::Valid);
    let said = gates.map(|result| {
        let mark = if result.verdict == Validity::Invalid { "**" } else { "" };
        format!("{mark}{:?}{mark} {}", result.gate, result.reason)
    });
    failed.into_iter().chain(said).collect()
}

fn environment(study: &Study) -> Block {
    let (manifest, host) = (&study.manifest, &study.manifest.host);
    let mut table = Table::new(2, &["what", "is"]);
    let mut row = |name: &str, value: String| table.push(Tone::Plain, vec![name.into(), value]);
    row("machine", format!("{}: {}, {} CPUs, {} MB", host.name, host.cpu, host.cpus, host.memory_mb));
    row("kernel", host.kernel.clone());
    row("CPU frequency governor", host.governor.clone().unwrap_or_else(|| "not told".into()));
    row("descriptors, listen queue", format!("{}, {}", host.descriptors, host.somaxconn));
    row("client ports", format!("{} to {}", host.port_range.0, host.port_range.1));
    let commit = manifest.neraca.commit.as_deref().unwrap_or("unknown");
    row("neraca", format!("{}, commit `{commit}`", manifest.neraca.version));
    row("its SHA-256", format!("`{}`", manifest.neraca.sha256));
    for (tool, version) in &manifest.tools {
        row(tool, version.clone());
    }
    row("placement", manifest.topology.placement.clone());
    row("begun", manifest.started.clone());
    row("plan", format!("{}, {} cells", study.plan.name, study.plan.cells.len()));
    row("command", format!("`{}`", manifest.command.join(" ")));
    Block::Table(table)
}

/// Lists the command line of each target and role, from the first cell of the target.
fn commands(study: &Study) -> Block {
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
    Block::Code("text", text)
}

fn configurations(study: &Study) -> Vec<Block> {
    let configured = study.plan.targets.iter().filter_map(|target| Some((target, target.config.as_ref()?)));
    configured
        .map(|(target, config)| Block::Folded {
            summary: format!("Configuration of {}", target.title),
            blocks: vec![Block::Code("text", config.clone())],
        })
        .collect()
}

fn gates(study: &Study) -> Block {
    let mut table = Table::new(2, &["gate", "asks for", "cells with a remark", "cells that failed"]);
    for gate in Gate::ALL {
        let count = |verdict| {
            let with = |record: &&Record| record.gates.iter().any(|r| r.gate == gate && r.verdict == verdict);
            study.records.iter().filter(with).count().to_string()
        };
        table.push(
            Tone::Plain,
            vec![format!("{gate:?}"), gate.title().into(), count(Validity::Note), count(Validity::Invalid)],
        );
    }
    Block::Table(table)
}

/// Lists the cells with this verdict, with every reason.
fn cells(study: &Study, verdict: Validity) -> Vec<String> {
    let with = study.records.iter().filter(|record| record.validity == verdict);
    with.map(|record| format!("`{}`: {}", record.cell.id, reasons(record).join("; "))).collect()
}

fn trust(study: &Study) -> Vec<Block> {
    let (invalid, noted) = (cells(study, Validity::Invalid), cells(study, Validity::Note));
    let all = study.records.len();
    let mut blocks = vec![
        Block::Heading("Which numbers cannot be trusted".into()),
        Block::text(format!(
            "Of {all} cells {} are valid, {} have a remark, {} failed a gate and are not ranked.",
            all - invalid.len() - noted.len(),
            noted.len(),
            invalid.len()
        )),
        gates(study),
    ];
    if !study.missing.is_empty() {
        let names: Vec<String> = study.missing.iter().map(|cell| format!("`{}`", cell.id)).collect();
        blocks.push(Block::text(format!("Not run ({}), because the run was cut short:", names.len())));
        blocks.push(Block::List(names));
    }
    for (cells, title) in [(invalid, "Cells that failed a gate"), (noted, "Cells with a remark")] {
        if !cells.is_empty() {
            let summary = format!("{title} ({})", cells.len());
            blocks.push(Block::Folded { summary, blocks: vec![Block::List(cells)] });
        }
    }
    blocks
}

/// Describes the size of the run.
pub(crate) fn size(study: &Study) -> String {
    let sections: std::collections::BTreeSet<Section> =
        study.records.iter().map(|record| record.cell.section).collect();
    format!("{} cells in {} sections", study.records.len(), sections.len())
}

/// Item 9.
pub(crate) fn part(study: &Study) -> Vec<Block> {
    let mut blocks = vec![Block::part("about", "9. Environment, commands, raw data"), environment(study)];
    if !study.manifest.warnings.is_empty() {
        blocks.push(Block::text("What `neraca-lab doctor` had to say before the run:"));
        blocks.push(Block::List(study.manifest.warnings.clone()));
    }
    blocks.extend(trust(study));
    blocks.push(Block::Heading("Exact commands".into()));
    blocks.push(Block::text(
        "As they ran in the first cell of each target; `{dir}` is a directory of the run. Ports differ from cell to cell.",
    ));
    blocks.push(commands(study));
    blocks.extend(configurations(study));
    blocks.push(Block::Heading("Raw data".into()));
    blocks.push(Block::text(
        "[manifest.json](../manifest.json), [plan.json](../plan.json), [cells.ndjson](../cells.ndjson) and a directory for \
         each cell under [raw](../raw); [summary.json](../summary.json) and [summary.csv](../summary.csv) are derived from \
         them, and so is this page: `make report` makes it again, and `neraca-lab check` fails when a number was changed.",
    ));
    blocks
}
