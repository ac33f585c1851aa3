//! Makes the cells of a plan from its file, and their order.
//!
//! The targets of a block run directly after each other, so that noise that lasts affects all of them. Their order
//! rotates from block to block, so no target is always the first or always in the middle. The blocks of all parts are
//! spread evenly over the run, so a run that ends early is a complete study with fewer blocks.

use std::ops::Range;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::plans::model::{Cell, Goal, Goals, Plan, SCHEMA, Section, Target, TargetKind, What, Work};
use crate::plans::targets::Written;

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
    targets: Vec<Written>,
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
    #[serde(default = "load")]
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

fn load() -> Work {
    Work::Load
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
        if let Some(file) = part.files.iter().find(|file| FILES.iter().all(|(name, _)| name != file)) {
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
        self.targets.iter().cloned().map(Written::target).collect()
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
                let cells = part.loads(self, changes).map(|load| load.block(&ids, block));
                groups.extend(cells.map(|cells| (at, cells)));
            }
        }
        groups.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut cells: Vec<Cell> = groups.into_iter().flat_map(|(_, cells)| cells).collect();
        cells.retain(|cell| {
            changes.only.is_empty() || changes.only.iter().any(|part| cell.id.contains(part.as_str()))
        });
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
        let goals_of = |part: &'_ Part| -> Vec<Goals> {
            let loads = part.loads(self, changes).map(|Load(load)| load);
            loads.map(|load| Goals { load, goals: part.goals.clone() }).collect()
        };
        let with_goals = self.parts.iter().filter(|part| !part.goals.is_empty());
        let goals = with_goals.flat_map(goals_of).collect();
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
    fn loads<'p>(&'p self, plan: &'p PlanFile, changes: &'p Changes) -> impl Iterator<Item = Load> + 'p {
        let seconds = changes.seconds.or(self.seconds).unwrap_or(plan.seconds);
        let warm_s = if self.work == Work::Load { self.warm_s.unwrap_or(plan.warm_s) } else { 0.0 };
        let threads =
            self.threads.iter().flat_map(|threads| self.connections.iter().map(move |c| (*c, *threads)));
        threads.flat_map(move |(connections, threads)| {
            self.delays_ms.iter().flat_map(move |delay_ms| {
                self.files.iter().map(move |file| {
                    Load(Cell {
                        seq: 0,
                        id: String::new(),
                        section: self.section,
                        block: 0,
                        target: String::new(),
                        work: self.work,
                        connections,
                        threads,
                        path: file.clone(),
                        body_bytes: FILES
                            .iter()
                            .find(|(name, _)| name == file)
                            .map_or(0, |(_, bytes)| *bytes),
                        keep_alive: self.keep_alive,
                        delay_ms: *delay_ms,
                        warm_s,
                        seconds,
                    })
                })
            })
        })
    }
}

/// A cell without a target.
struct Load(Cell);

impl Load {
    /// Makes the cells of a block, in the order of this block.
    fn block(self, ids: &[String], block: usize) -> Vec<Cell> {
        let mut order: Vec<&String> = ids.iter().collect();
        if !order.is_empty() {
            order.rotate_left(block % ids.len());
        }
        let cell = |target: &String| Cell {
            id: name(&self.0, target, block),
            target: target.clone(),
            block,
            ..self.0.clone()
        };
        order.into_iter().map(cell).collect()
    }
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

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::plans::model::Quantity;
    use crate::plans::targets;

    /// Makes a plan of the laboratory over all its targets and one of a user.
    pub(crate) fn plan(name: &str, changes: &Changes) -> Plan {
        let targets: Vec<Target> = targets::all()
            .into_iter()
            .chain([crate::plans::given::balancer("mine=x {port}").unwrap()])
            .collect();
        let (_, text) = PLANS.iter().find(|(known, _)| *known == name).unwrap();
        parse(name, text).unwrap().plan(targets, &[], changes).unwrap()
    }

    #[test]
    fn every_cell_has_a_name_and_a_target() {
        for (name, _) in PLANS {
            let plan = plan(name, &Changes::default());
            let ids: BTreeSet<&str> = plan.cells.iter().map(|cell| cell.id.as_str()).collect();
            assert_eq!(ids.len(), plan.cells.len(), "{name}");
            for (seq, cell) in plan.cells.iter().enumerate() {
                assert_eq!(cell.seq, seq);
                assert!(plan.targets.iter().any(|target| target.id == cell.target), "{cell:?}");
            }
        }
    }

    #[test]
    fn a_plan_keeps_to_its_time() {
        for (name, most) in [("smoke", 60.0), ("bench", 39.0 * 60.0)] {
            let took = seconds(&plan(name, &Changes::default()).cells);
            assert!(took <= most, "{name}: {took} s");
        }
    }

    #[test]
    fn smoke_has_every_target_of_bench_but_the_control_and_some_plan_has_every_target() {
        let [smoke, bench, peers] = ["smoke", "bench", "peers"].map(|name| plan(name, &Changes::default()));
        let has = |plan: &Plan, id: &str| plan.cells.iter().any(|cell| cell.target == id);
        for target in smoke.targets.iter().filter(|target| target.kind != TargetKind::Control) {
            let id = target.id.as_str();
            assert!(has(&smoke, id) || (!has(&bench, id) && has(&peers, id)), "{id}");
        }
    }

    #[test]
    fn every_load_with_a_goal_wants_no_failure() {
        let plan = plan("peers", &Changes::default());
        assert_eq!(plan.goals.len(), 13);
        for goals in &plan.goals {
            let wants = |goal: &Goal| goal.measure == Quantity::Failed && goal.thread == 0.0;
            assert!(goals.goals.iter().any(wants), "{:?}", goals.load);
        }
    }

    /// Each target of a part is at every place of the order equally often.
    #[test]
    fn the_order_rotates_from_block_to_block() {
        let plan = plan("bench", &Changes::default());
        let mut places: BTreeMap<(&str, usize), usize> = BTreeMap::new();
        let of = |cell: &&Cell| cell.section == Section::Assignment && cell.threads == 10;
        for block in 0..12 {
            let targets = plan.cells.iter().filter(of).filter(|cell| cell.block == block);
            for (place, cell) in targets.enumerate() {
                *places.entry((&cell.target, place)).or_default() += 1;
            }
        }
        assert_eq!(places.values().copied().collect::<BTreeSet<_>>(), BTreeSet::from([3]), "{places:?}");
    }

    /// After any share of the run, each repeated part has about this share of its blocks.
    #[test]
    fn an_interrupted_run_is_a_smaller_study() {
        let plan = plan("bench", &Changes::default());
        let repeated = plan.cells.iter().rposition(|cell| cell.block > 0).unwrap();
        for share in [0.25, 0.5, 0.75] {
            let cut = &plan.cells[..(repeated as f64 * share) as usize];
            for section in
                [Section::Assignment, Section::Workers, Section::Ablations, Section::Servers, Section::Peers]
            {
                let blocks = |cells: &[Cell]| cells.iter().filter(|c| c.section == section).count() as f64;
                let measured = blocks(cut) / blocks(&plan.cells);
                assert!((measured - share).abs() < 0.13, "{section:?}: {measured} of {share}");
            }
        }
        assert!(plan.cells[repeated + 1..].iter().all(|cell| cell.block == 0));
    }

    #[test]
    fn blocks_seconds_and_cells_can_be_changed() {
        let count = |changes: &Changes, section| {
            let plan = plan("bench", changes);
            plan.cells.iter().filter(|cell| cell.section == section).map(|cell| cell.block + 1).max()
        };
        let more = Changes { blocks: Some(24), ..Changes::default() };
        assert_eq!(count(&more, Section::Assignment), Some(24));
        assert_eq!(count(&more, Section::Ablations), Some(16));
        assert_eq!(count(&more, Section::Memory), Some(1));
        let some = Changes { seconds: Some(5.0), only: vec!["servers".into()], ..Changes::default() };
        let plan = plan("bench", &some);
        assert!(plan.cells.iter().all(|cell| cell.section == Section::Servers && cell.seconds == 5.0));
    }

    #[test]
    fn a_wrong_plan_is_one_line_with_its_place() {
        let head = "name = \"x\"\nwarm_s = 1\nseconds = 1\n";
        let cases = [
            ("name = \"x\"\nsecond = 1", "p.toml:2:1: unknown field `second`"),
            ("name = 5", "p.toml:1:8: invalid type"),
            ("[[part]\n", "p.toml:1:8: "),
            (
                &format!("{head}[[part]]\nsection = \"peer\"\ntargets = []\nconnections = [1]"),
                "p.toml:5:11: unknown variant `peer`, expected one of `assignment`",
            ),
            (
                &format!("{head}[[part]]\nsection = \"peers\"\ntargets = []\nconnections = [1]"),
                "p.toml: a part of section Peers has 1 connections for 2 threads; wrk needs one for each",
            ),
            (
                &format!(
                    "{head}[[part]]\nsection = \"peers\"\ntargets = []\nconnections = [2]\nfiles = [\"y\"]"
                ),
                "p.toml: a part of section Peers has the file \"y\"; the files are 128.html",
            ),
        ];
        for (text, expected) in cases {
            let said = parse("p.toml", text).map(drop).unwrap_err();
            assert!(said.starts_with(expected) && !said.contains('\n'), "{text}: {said}");
        }
        let text = format!("{head}[[part]]\nsection = \"peers\"\ntargets = [\"z\"]\nconnections = [2]");
        let plan = parse("p.toml", &text).unwrap().plan(Vec::new(), &["a".into()], &Changes::default());
        assert_eq!(plan.unwrap_err(), "there is no target \"z\"; the targets are a");
    }

    #[test]
    fn wrk_opens_a_multiple_of_its_threads() {
        let cases = [(1000, 10, 1000), (1000, 150, 900), (10, 8, 8), (10, 10, 10)];
        for (connections, threads, opened) in cases {
            assert_eq!(Cell { connections, threads, ..ordinary("x") }.opened(), opened);
        }
    }
}
