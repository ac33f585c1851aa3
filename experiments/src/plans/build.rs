//! Makes the cells of a plan from its file, and their order.
//!
//! The targets of a block run directly after each other, so that noise that lasts affects all of them. Their order
//! rotates from block to block, so no target is always the first or always in the middle. The blocks of all parts are
//! spread evenly over the run, so a run that ends early is a complete study with fewer blocks.

use std::ops::Range;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::plans::model::{Cell, Goal, Goals, Plan, SCHEMA, Section, Target, TargetKind, What, Work};

#[cfg(test)]
pub(crate) mod tests;

/// The files of the site: name and length in bytes.
pub(crate) const FILES: [(&str, u64); 4] =
    [("128.html", 128), ("10k.bin", 10 * 1024), ("75k.bin", 75 * 1024), ("1m.bin", 1024 * 1024)];

/// Seconds of a cell without its warm-up and its measurement, for the estimate of the remaining time.
pub(crate) const AROUND_S: f64 = 0.7;

/// The plans of the laboratory: name and file.
pub(crate) const PLANS: [(&str, &str); 3] = [
    ("bench", include_str!("../../plans/bench.toml")),
    ("smoke", include_str!("../../plans/smoke.toml")),
    ("peers", include_str!("../../plans/peers.toml")),
];

/// Stands in a plan for the programs of the user: in the section `servers` for the web servers, elsewhere for the
/// balancers.
const USER: &str = "user";

/// A plan as it is written in a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanFile {
    pub(crate) name: String,
    /// The time that a run may take.
    pub(crate) minutes: Option<f64>,
    warm_s: f64,
    seconds: f64,
    #[serde(rename = "part")]
    parts: Vec<Part>,
    #[serde(rename = "target", default)]
    targets: Vec<Target>,
}

/// Every target under every combination of the lists.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    section: Section,
    targets: Vec<String>,
    connections: Vec<u32>,
    #[serde(default = "two_threads")]
    threads: Vec<u32>,
    #[serde(default = "smallest_file")]
    files: Vec<String>,
    #[serde(default = "no_delay")]
    delays_ms: Vec<u64>,
    #[serde(default = "yes")]
    keep_alive: bool,
    #[serde(default)]
    work: Work,
    #[serde(default = "one")]
    blocks: usize,
    warm_s: Option<f64>,
    seconds: Option<f64>,
    #[serde(default)]
    goals: Vec<Goal>,
}

fn two_threads() -> Vec<u32> {
    vec![2]
}

fn smallest_file() -> Vec<String> {
    vec![FILES[0].0.into()]
}

fn no_delay() -> Vec<u64> {
    vec![0]
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

/// Changes of a plan from the command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    /// Blocks of the part with the most blocks. The other parts with several blocks change in proportion.
    pub(crate) blocks: Option<usize>,
    /// Measured seconds of every load.
    pub(crate) seconds: Option<f64>,
    /// Only cells whose names contain one of these texts.
    pub(crate) only: Vec<String>,
}

/// Parses a plan. `file` names it in the error.
///
/// # Errors
/// One line with the file, the place, and what was expected.
pub(crate) fn parse(file: &str, text: &str) -> Result<PlanFile, String> {
    let written: PlanFile = toml::from_str(text).map_err(|error| {
        format!("{file}:{}: {}", place(text, error.span()), error.message().replace('\n', "; "))
    })?;
    for part in &written.parts {
        let wrong = |said: String| Err(format!("{file}: a part of section {:?} {said}", part.section));
        if let Some(file) = part.files.iter().find(|file| known_file(file).is_none()) {
            let all = FILES.map(|(name, _)| name).join(" ");
            return wrong(format!("has the file {file:?}; the files are {all}"));
        }
        if part.blocks == 0 || part.threads.contains(&0) || part.connections.contains(&0) {
            return wrong("has a 0; blocks, threads and connections are at least 1".into());
        }
        let (Some(least), Some(most)) = (part.connections.iter().min(), part.threads.iter().max()) else {
            return wrong("has an empty list of connections or threads".into());
        };
        if least < most {
            return wrong(format!("has {least} connections for {most} threads; wrk needs one for each"));
        }
    }
    Ok(written)
}

/// Returns `line:column` of the start of a span.
fn place(text: &str, span: Option<Range<usize>>) -> String {
    let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    format!("{}:{}", before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

impl PlanFile {
    /// Returns the targets of the file itself.
    pub(crate) fn own_targets(&self) -> Vec<Target> {
        let titled = |target: &Target| match target.title.is_empty() {
            true => Target { title: target.id.clone(), ..target.clone() },
            false => target.clone(),
        };
        self.targets.iter().map(titled).collect()
    }

    /// Makes the plan for the available targets. `known` has the names of all targets; a known target that is not
    /// available is left out.
    ///
    /// # Errors
    /// When a target is unknown, or no cell is left.
    pub(crate) fn plan(
        &self,
        targets: Vec<Target>,
        known: &[String],
        changes: &Changes,
    ) -> Result<Plan, String> {
        let most = self.parts.iter().map(|part| part.blocks).max().unwrap_or(1);
        let mut groups: Vec<(f64, Vec<Cell>)> = Vec::new();
        for part in &self.parts {
            let ids = part.ids(&targets, known)?;
            let blocks = match changes.blocks {
                Some(wanted) if part.blocks > 1 => (part.blocks * wanted).div_ceil(most),
                _ => part.blocks,
            };
            for block in 0..blocks {
                // A part with one block describes, and runs at the end.
                let at = if blocks == 1 { 1.0 } else { (block as f64 + 0.5) / blocks as f64 };
                let loads = part.loads(self, changes).into_iter();
                groups.extend(loads.map(|load| (at, block_of(&load, &ids, block))));
            }
        }
        groups.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut cells: Vec<Cell> = groups.into_iter().flat_map(|(_, cells)| cells).collect();
        // Whole words of the name, so that `c10` is not `c100`.
        let is_meant = |cell: &Cell| {
            let id = format!("-{}-", cell.id);
            changes.only.is_empty() || changes.only.iter().any(|part| id.contains(&format!("-{part}-")))
        };
        cells.retain(is_meant);
        if cells.is_empty() {
            return Err(format!(
                "--only {}: no cell of plan {} has this in its name",
                changes.only.join(" "),
                self.name
            ));
        }
        for (seq, cell) in cells.iter_mut().enumerate() {
            cell.seq = seq;
        }
        let with_goals = self.parts.iter().filter(|part| !part.goals.is_empty());
        let loads =
            with_goals.flat_map(|part| part.loads(self, changes).into_iter().map(move |load| (part, load)));
        let measured =
            |load: &Cell| cells.iter().any(|cell| cell.section == load.section && cell.has_load_of(load));
        let goals = loads
            .filter(|(_, load)| measured(load))
            .map(|(part, load)| Goals { load, goals: part.goals.clone() })
            .collect();
        Ok(Plan { goals, ..of_cells(&self.name, targets, cells) })
    }
}

impl Part {
    /// Returns the available targets of the part.
    fn ids(&self, targets: &[Target], known: &[String]) -> Result<Vec<String>, String> {
        let mut ids = Vec::new();
        for id in &self.targets {
            if id == USER {
                let what = if self.section == Section::Servers { What::Server } else { What::Balancer };
                let of_user = |target: &&Target| target.kind == TargetKind::User && target.what == what;
                let user = targets.iter().filter(of_user);
                ids.extend(user.map(|target| target.id.clone()));
            } else if targets.iter().any(|target| target.id == *id) {
                ids.push(id.clone());
            } else if !known.contains(id) {
                return Err(format!("there is no target {id:?}; the targets are {}", known.join(" ")));
            }
        }
        Ok(ids)
    }

    /// Returns a cell without a target for each load.
    fn loads(&self, plan: &PlanFile, changes: &Changes) -> Vec<Cell> {
        let plain = Cell {
            id: String::new(),
            section: self.section,
            work: self.work,
            keep_alive: self.keep_alive,
            warm_s: if self.work == Work::Load { self.warm_s.unwrap_or(plan.warm_s) } else { 0.0 },
            seconds: changes.seconds.or(self.seconds).unwrap_or(plan.seconds),
            ..ordinary("")
        };
        let mut loads = Vec::new();
        for &threads in &self.threads {
            for &connections in &self.connections {
                for &delay_ms in &self.delays_ms {
                    for (path, body_bytes) in self.files.iter().filter_map(|file| known_file(file)) {
                        let path = path.into();
                        loads.push(Cell {
                            connections,
                            threads,
                            path,
                            body_bytes,
                            delay_ms,
                            ..plain.clone()
                        });
                    }
                }
            }
        }
        loads
    }
}

fn known_file(wanted: &str) -> Option<(&'static str, u64)> {
    FILES.into_iter().find(|(name, _)| *name == wanted)
}

/// Makes the cells of a block from a cell without a target, in the order of this block.
fn block_of(load: &Cell, ids: &[String], block: usize) -> Vec<Cell> {
    let rotated = ids.iter().cycle().skip(block % ids.len().max(1)).take(ids.len());
    rotated
        .map(|target| Cell { id: name(load, target, block), target: target.clone(), block, ..load.clone() })
        .collect()
}

fn name(load: &Cell, target: &str, block: usize) -> String {
    let section = serde_json::to_value(load.section).unwrap_or_default();
    let section = section.as_str().unwrap_or_default();
    let mut id = format!("{section}-{target}-c{}-t{}", load.connections, load.threads);
    if load.path != FILES[0].0 {
        id += &format!("-{}", load.path.split('.').next().unwrap_or_default());
    }
    if !load.keep_alive {
        id += "-close";
    }
    if load.delay_ms > 0 {
        id += &format!("-d{}", load.delay_ms);
    }
    if block > 0 {
        id += &format!("-r{block}");
    }
    id
}

/// Makes a plan of exactly these cells.
pub(crate) fn of_cells(name: &str, targets: Vec<Target>, cells: Vec<Cell>) -> Plan {
    let text = serde_json::to_vec(&(name, &targets, &cells)).unwrap_or_default();
    let hash = hex(&Sha256::digest(&text));
    Plan { schema: SCHEMA, name: name.into(), hash, targets, cells, goals: Vec::new() }
}

/// Makes an ordinary cell: 100 kept connections on 2 threads of wrk, 128 bytes, 4 s.
pub(crate) fn ordinary(target: &str) -> Cell {
    Cell {
        seq: 0,
        id: format!("x-{target}"),
        section: Section::Concurrency,
        block: 0,
        target: target.into(),
        work: Work::Load,
        connections: 100,
        threads: 2,
        path: FILES[0].0.into(),
        body_bytes: FILES[0].1,
        keep_alive: true,
        delay_ms: 0,
        warm_s: 1.0,
        seconds: 4.0,
    }
}

/// Estimates the duration of cells in seconds.
pub(crate) fn seconds<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> f64 {
    cells.into_iter().map(|cell| cell.warm_s + cell.seconds + AROUND_S).sum()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
