//! Makes the cells of a plan from its file, and their order.
//!
//! The targets of a block run directly after each other, so that noise that lasts affects all of them. Their order
//! rotates from block to block, so no target is always the first or always in the middle. The blocks of all parts are
//! spread evenly over the run, so a run that ends early is a complete study with fewer blocks.

use itertools::{Itertools, iproduct};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::plans::model::{
    Cell, Goal, Handshakes, Key, Plan, SCHEMA, Section, Target, TargetKind, What, Work,
};

#[cfg(test)]
pub(crate) mod tests;

/// The files of the site: name and length in bytes.
pub(crate) const FILES: [(&str, u64); 4] =
    [("128.html", 128), ("10k.bin", 10 * 1024), ("75k.bin", 75 * 1024), ("1m.bin", 1024 * 1024)];

/// The plans of the laboratory: name and file.
pub(crate) const PLANS: [(&str, &str); 4] = [
    ("bench", include_str!("../../plans/bench.toml")),
    ("smoke", include_str!("../../plans/smoke.toml")),
    ("peers", include_str!("../../plans/peers.toml")),
    ("handshakes", include_str!("../../plans/handshakes.toml")),
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
    pub(crate) targets: Vec<Target>,
}

/// Every target under every combination of the lists.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    section: Section,
    targets: Vec<String>,
    connections: Vec<u32>,
    threads: Option<Vec<u32>>,
    files: Option<Vec<String>>,
    delays_ms: Option<Vec<u64>>,
    #[serde(default)]
    handshakes_per_s: Vec<u32>,
    #[serde(default)]
    keys: Vec<Key>,
    keep_alive: Option<bool>,
    #[serde(default)]
    work: Work,
    blocks: Option<usize>,
    warm_s: Option<f64>,
    seconds: Option<f64>,
    #[serde(default)]
    goals: Vec<Goal>,
}

/// Changes of a plan from the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Changes {
    /// Blocks of the part with the most blocks; the other parts change in proportion
    #[arg(long, visible_alias = "pairs", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) blocks: Option<u32>,
    /// Measured seconds of each load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: Option<u32>,
    /// Only cells with one of these words in their names, such as c1000,memory
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
}

/// Parses a plan. `file` names it in the error, which says the place and what was expected.
pub(crate) fn parse(file: &str, text: &str) -> Result<PlanFile, String> {
    let written: PlanFile =
        toml::from_str(text).map_err(|error| format!("{file}: {}", error.to_string().trim_end()))?;
    for part in &written.parts {
        let wrong = |said| format!("{file}: a part of section {:?} {said}", part.section);
        part.loads(&written, &Changes::default()).map_err(wrong)?;
    }
    Ok(written)
}

impl PlanFile {
    /// Makes the plan for these targets. Targets and work whose program is not `installed` are left out.
    ///
    /// # Errors
    /// When a target is unknown, or no cell is left.
    pub(crate) fn plan(
        &self,
        mut targets: Vec<Target>,
        installed: impl Fn(&str) -> bool,
        changes: &Changes,
    ) -> Result<Plan, String> {
        let known: Vec<String> = targets.iter().map(|target| target.id.clone()).collect();
        targets.retain(|target| target.needs.as_deref().is_none_or(&installed));
        let most = self.parts.iter().filter_map(|part| part.blocks).max().unwrap_or(1);
        // Whole words of the name, so that `c10` is not `c100`.
        let is_meant = |cell: &Cell| {
            let id = format!("-{}-", cell.id);
            changes.only.is_empty() || changes.only.iter().any(|part| id.contains(&format!("-{part}-")))
        };
        let (mut cells, mut goals) = (Vec::new(), Vec::new());
        for part in self.parts.iter().filter(|part| part.work.needs().is_none_or(&installed)) {
            let ids = part.ids(&targets, &known)?;
            let blocks = part.blocks.unwrap_or(1);
            let blocks = match changes.blocks {
                Some(wanted) if blocks > 1 => (blocks * wanted as usize).div_ceil(most),
                _ => blocks,
            };
            for load in part.loads(self, changes)? {
                let before = cells.len();
                for block in 0..blocks {
                    // A part with one block describes, and runs in the middle: a time limit costs the others a block.
                    let at = (block as f64 + 0.5) / blocks as f64;
                    cells.extend(block_of(&load, &ids, block).filter(is_meant).map(|cell| (at, cell)));
                }
                if cells.len() > before && !part.goals.is_empty() {
                    goals.push((load, part.goals.clone()));
                }
            }
        }
        let cells = cells.into_iter().sorted_by(|a, b| a.0.total_cmp(&b.0)).enumerate();
        let cells: Vec<Cell> = cells.map(|(seq, (_, cell))| Cell { seq, ..cell }).collect();
        if cells.is_empty() {
            let (only, name) = (changes.only.join(" "), &self.name);
            return Err(format!("--only {only}: no cell of plan {name} has this in its name"));
        }
        Ok(Plan { goals, ..of_cells(&self.name, targets, cells) })
    }
}

impl Part {
    /// Returns the available targets of the part.
    fn ids(&self, targets: &[Target], known: &[String]) -> Result<Vec<String>, String> {
        let what = if self.section == Section::Servers { What::Server } else { What::Balancer };
        if let Some(id) = self.targets.iter().find(|id| *id != USER && !known.contains(id)) {
            return Err(format!("there is no target {id:?}; the targets are {}", known.join(" ")));
        }
        let is_user = |target: &Target| target.kind == TargetKind::User && target.what == what;
        let is_meant = |id: &str, target: &Target| target.id == id || id == USER && is_user(target);
        let meant = iproduct!(&self.targets, targets).filter(|(id, target)| is_meant(id, target));
        Ok(meant.map(|(_, target)| target.id.clone()).collect())
    }

    /// Returns a cell without a target for each load. The error says what is wrong with the part.
    fn loads(&self, plan: &PlanFile, changes: &Changes) -> Result<Vec<Cell>, String> {
        let seconds = changes.seconds.map(f64::from).or(self.seconds).unwrap_or(plan.seconds);
        let warms = matches!(self.work, Work::Load | Work::Handshakes);
        let warm_s = if warms { self.warm_s.unwrap_or(plan.warm_s) } else { 0.0 };
        let files = self.files.as_ref().map(|names| names.iter().map(|name| known_file(name)).collect());
        let files: Vec<(&str, u64)> = files.unwrap_or_else(|| Ok(vec![FILES[0]]))?;
        // Without handshakes the key does not matter, so it is always the first.
        let key = |per_s, key| if per_s == 0 { Key::ALL[0] } else { key };
        let pairs = iproduct!(&self.handshakes_per_s, &self.keys);
        let pairs = pairs.map(|(&per_s, &k)| Some(Handshakes { key: key(per_s, k), per_s }));
        let handshakes = pairs.unique().pad_using(1, |_| None).collect_vec();
        if handshakes[0].is_some() != (self.work == Work::Handshakes) {
            let said = "expects handshakes_per_s and keys with work = \"handshakes\", and only with it";
            return Err(said.into());
        }
        let threads = self.threads.as_deref().unwrap_or(&[2]);
        let has_threads =
            threads.iter().min() >= Some(&1) && self.connections.iter().min() >= threads.iter().max();
        if self.blocks == Some(0) || !has_threads {
            return Err("expects a block, a thread, and a connection for each thread of wrk".into());
        }
        let delays_ms = self.delays_ms.as_deref().unwrap_or(&[0]);
        let all = iproduct!(threads, &self.connections, delays_ms, files, handshakes);
        Ok(all
            .map(|(&threads, &connections, &delay_ms, (path, body_bytes), handshakes)| Cell {
                section: self.section,
                work: self.work,
                connections,
                threads,
                path: path.into(),
                body_bytes,
                keep_alive: self.keep_alive.unwrap_or(true),
                delay_ms,
                handshakes,
                warm_s,
                seconds,
                ..Cell::default()
            })
            .collect())
    }
}

fn known_file(wanted: &str) -> Result<(&'static str, u64), String> {
    let all = FILES.map(|(name, _)| name).join(" ");
    let found = FILES.into_iter().find(|(name, _)| *name == wanted);
    found.ok_or_else(|| format!("has the file {wanted:?}; the files are {all}"))
}

/// Makes the cells of a block from a cell without a target, in the order of this block.
fn block_of(load: &Cell, ids: &[String], block: usize) -> impl Iterator<Item = Cell> {
    let rotated = ids.iter().cycle().skip(block % ids.len().max(1)).take(ids.len());
    rotated.map(move |id| Cell { id: name(load, id, block), target: id.clone(), block, ..load.clone() })
}

fn name(load: &Cell, target: &str, block: usize) -> String {
    let section = format!("{:?}", load.section).to_lowercase();
    let words = [
        Some(format!("{section}-{target}-c{}-t{}", load.connections, load.threads)),
        (load.path != FILES[0].0).then(|| load.path.split('.').next().unwrap_or_default().into()),
        (!load.keep_alive).then(|| "close".into()),
        (load.delay_ms > 0).then(|| format!("d{}", load.delay_ms)),
        load.handshakes.map(|Handshakes { key, per_s }| format!("h{per_s}-{}", key.names()[0])),
        (block > 0).then(|| format!("r{block}")),
    ];
    words.iter().flatten().join("-")
}

/// Makes a plan of exactly these cells.
pub(crate) fn of_cells(name: &str, targets: Vec<Target>, cells: Vec<Cell>) -> Plan {
    let text = serde_json::to_vec(&(name, &targets, &cells)).unwrap_or_default();
    let hash = hex::encode(Sha256::digest(&text));
    Plan { schema: SCHEMA, name: name.into(), hash, targets, cells, goals: Vec::new() }
}

/// Makes an ordinary cell: 100 kept connections on 2 threads of wrk, 128 bytes, 4 s.
pub(crate) fn ordinary(target: &str) -> Cell {
    Cell {
        id: format!("x-{target}"),
        target: target.into(),
        connections: 100,
        threads: 2,
        path: FILES[0].0.into(),
        body_bytes: FILES[0].1,
        keep_alive: true,
        warm_s: 1.0,
        seconds: 4.0,
        ..Cell::default()
    }
}

/// Estimates the duration of cells in seconds. Each needs 0.7 s around its warm-up and its measurement.
pub(crate) fn seconds<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> f64 {
    cells.into_iter().map(|cell| cell.warm_s + cell.seconds + 0.7).sum()
}
