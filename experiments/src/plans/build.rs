//! The cells of a run, and their order.
//!
//! Cells that are compared with each other form a group and run one after the other. The groups run in a random order
//! with a seed. So a slow drift of the machine affects all groups alike.

use sha2::{Digest, Sha256};

use crate::plans::model::SCHEMA;
use crate::plans::model::{Cell, Plan, Section, Target, TargetKind, What, Work};
use crate::plans::rng::Rng;
use crate::plans::targets::{AGAIN, ASYNC, DIRECT, SERVE_ASYNC, SERVE_THREAD, THREAD};

/// The files of the site: name and length in bytes.
pub(crate) const FILES: [(&str, u64); 4] =
    [("128.html", 128), ("10k.bin", 10 * 1024), ("75k.bin", 75 * 1024), ("1m.bin", 1024 * 1024)];

/// Seconds of a cell without its warm-up and its measurement, for the estimate of the remaining time.
pub(crate) const AROUND_S: f64 = 0.7;

/// The size of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scale {
    /// Every target once, for one or two seconds.
    Smoke,
    /// The whole assignment, about 20 minutes.
    Bench,
    /// The whole assignment with repetitions for intervals, about 80 minutes.
    Full,
}

impl Scale {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scale::Smoke => "smoke",
            Scale::Bench => "bench",
            Scale::Full => "full",
        }
    }
}

/// Collects groups of cells.
struct Builder<'a> {
    targets: &'a [Target],
    scale: Scale,
    groups: Vec<Vec<Cell>>,
}

/// The properties that the cells of a group share.
#[derive(Debug, Clone, Copy)]
struct Shape {
    connections: u32,
    threads: u32,
    file: usize,
    keep_alive: bool,
    delay_ms: u64,
    seconds: f64,
}

impl Shape {
    fn new(connections: u32, threads: u32) -> Self {
        Shape { connections, threads, file: 0, keep_alive: true, delay_ms: 0, seconds: 3.0 }
    }

    fn id(self, section: Section, block: usize, target: &str) -> String {
        let section = serde_json::to_value(section).unwrap_or_default();
        let mut id = format!(
            "{}-{target}-c{}-t{}",
            section.as_str().unwrap_or_default(),
            self.connections,
            self.threads
        );
        if self.file > 0 {
            id += &format!("-{}", FILES[self.file].0.split('.').next().unwrap_or_default());
        }
        if !self.keep_alive {
            id += "-close";
        }
        if self.delay_ms > 0 {
            id += &format!("-d{}", self.delay_ms);
        }
        if block > 0 {
            id += &format!("-r{block}");
        }
        id
    }
}

impl Builder<'_> {
    fn group(&mut self, section: Section, work: Work, blocks: usize, targets: &[&str], shape: Shape) {
        for block in 0..blocks {
            let present = targets.iter().filter(|id| self.targets.iter().any(|target| target.id == **id));
            let cell = |target: &&str| Cell {
                seq: 0,
                id: shape.id(section, block, target),
                section,
                block,
                target: (*target).into(),
                work,
                connections: shape.connections,
                threads: shape.threads,
                path: FILES[shape.file].0.into(),
                body_bytes: FILES[shape.file].1,
                keep_alive: shape.keep_alive,
                delay_ms: shape.delay_ms,
                warm_s: if self.scale == Scale::Smoke || work != Work::Load { 0.0 } else { 1.0 },
                seconds: shape.seconds,
            };
            let cells: Vec<Cell> = present.map(cell).collect();
            if !cells.is_empty() {
                self.groups.push(cells);
            }
        }
    }

    /// Pairs each changed target with its baseline.
    fn with_baselines(&self, kind: TargetKind) -> Vec<Vec<String>> {
        let mut groups: Vec<Vec<String>> = Vec::new();
        for target in self.targets.iter().filter(|target| target.kind == kind) {
            let Some(baseline) = &target.baseline else { continue };
            match groups.iter_mut().find(|group| group[0] == *baseline) {
                Some(group) => group.push(target.id.clone()),
                None => groups.push(vec![baseline.clone(), target.id.clone()]),
            }
        }
        groups
    }

    fn smoke(&mut self) {
        let short = |connections, threads, seconds| Shape { seconds, ..Shape::new(connections, threads) };
        let targets = self.targets;
        let user: Vec<&str> = targets
            .iter()
            .filter(|t| t.kind == TargetKind::User && t.what == What::Balancer)
            .map(|t| t.id.as_str())
            .collect();
        let engines: Vec<&str> = [THREAD, ASYNC].into_iter().chain(user).collect();
        self.group(Section::Assignment, Work::Load, 1, &engines, short(1000, 10, 2.0));
        self.group(Section::ThreadsControl, Work::Load, 1, &engines, short(1000, 2, 1.0));
        let servers: Vec<&str> =
            [SERVE_THREAD, SERVE_ASYNC, DIRECT].into_iter().chain(user_servers(targets)).collect();
        self.group(Section::Servers, Work::Load, 1, &servers, short(100, 2, 2.0));
        let peers: Vec<&str> = targets
            .iter()
            .filter(|t| t.kind == TargetKind::Peer && t.what == What::Balancer)
            .map(|t| t.id.as_str())
            .collect();
        self.group(Section::Peers, Work::Load, 1, &peers, short(100, 2, 2.0));
        for (section, kind) in
            [(Section::Variants, TargetKind::Variant), (Section::Ablations, TargetKind::Ablation)]
        {
            let ids: Vec<&str> = targets.iter().filter(|t| t.kind == kind).map(|t| t.id.as_str()).collect();
            self.group(section, Work::Load, 1, &ids, short(100, 2, 1.0));
        }
        self.group(Section::Memory, Work::Idle, 1, &[THREAD, ASYNC], short(200, 1, 1.0));
        self.group(Section::Syscalls, Work::Syscalls, 1, &[THREAD, ASYNC], short(20, 2, 1.0));
    }

    fn matrix(&mut self) {
        let repeat = |bench: usize| if self.scale == Scale::Full { 6 } else { bench };
        let (twice, once) = (repeat(2), repeat(1));
        let targets = self.targets;
        let of_kind = |kinds: &[TargetKind]| -> Vec<&str> {
            targets
                .iter()
                .filter(|t| t.what == What::Balancer && kinds.contains(&t.kind))
                .map(|t| t.id.as_str())
                .collect()
        };
        let engines = of_kind(&[TargetKind::Engine, TargetKind::User]);
        let load = Work::Load;
        for threads in [10, 50, 100, 150, 200] {
            self.group(Section::Assignment, load, twice, &engines, Shape::new(1000, threads));
        }
        self.group(Section::ThreadsControl, load, twice, &engines, Shape::new(1000, 2));
        let headline = Shape { seconds: 5.0, ..Shape::new(1000, 2) };
        self.group(Section::Headline, load, 6, &[THREAD, ASYNC, AGAIN], headline);
        for connections in [10, 50, 100, 150, 200, 1000] {
            let ids = [THREAD, ASYNC, SERVE_ASYNC, DIRECT];
            self.group(Section::Concurrency, load, once, &ids, Shape::new(connections, 2));
        }
        let peers = of_kind(&[TargetKind::Engine, TargetKind::Peer, TargetKind::User]);
        for connections in [100, 1000] {
            let shape = Shape::new(connections, 2);
            let servers: Vec<&str> =
                [SERVE_THREAD, SERVE_ASYNC, DIRECT].into_iter().chain(user_servers(targets)).collect();
            self.group(Section::Servers, load, twice, &servers, shape);
            self.group(Section::Peers, load, twice, &peers, shape);
            for ids in self.with_baselines(TargetKind::Variant) {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                self.group(Section::Variants, load, once, &ids, shape);
            }
        }
        for ids in self.with_baselines(TargetKind::Ablation) {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            self.group(Section::Ablations, load, once, &ids, Shape::new(100, 2));
        }
        for file in 0..FILES.len() {
            let shape = Shape { file, ..Shape::new(100, 2) };
            self.group(Section::Bodies, load, once, &[THREAD, ASYNC, "haproxy", "nginx", DIRECT], shape);
        }
        let close = Shape { keep_alive: false, ..Shape::new(100, 2) };
        let reuse = [THREAD, ASYNC, "haproxy", "nginx", SERVE_ASYNC, DIRECT];
        self.group(Section::Reuse, load, once, &reuse, close);
        self.crossover(once);
        let balancers = of_kind(&[TargetKind::Engine, TargetKind::Peer]);
        self.group(Section::Memory, Work::Idle, once, &balancers, Shape::new(2000, 1));
        let traced = [&balancers[..], &["thread-textbook", "thread-rayon", "async-smol"]].concat();
        let shape = Shape { seconds: 2.0, ..Shape::new(100, 2) };
        self.group(Section::Syscalls, Work::Syscalls, once, &traced, shape);
    }

    fn crossover(&mut self, blocks: usize) {
        for connections in [10, 100, 1000] {
            for delay_ms in [0, 2, 20] {
                for file in [0, 2] {
                    let shape = Shape { delay_ms, file, seconds: 2.0, ..Shape::new(connections, 2) };
                    self.group(Section::Crossover, Work::Load, blocks, &[THREAD, ASYNC], shape);
                }
            }
        }
    }

    /// Orders the cells. In the headline every second block runs backwards (A B, B A); in the other sections the order
    /// is random.
    fn order(mut self, seed: u64) -> Vec<Cell> {
        let mut rng = Rng::new(seed);
        for group in &mut self.groups {
            match group[0].section {
                Section::Headline if group[0].block % 2 == 1 => group.reverse(),
                Section::Headline => {}
                _ => rng.shuffle(group),
            }
        }
        rng.shuffle(&mut self.groups);
        let mut cells: Vec<Cell> = self.groups.into_iter().flatten().collect();
        for (seq, cell) in cells.iter_mut().enumerate() {
            cell.seq = seq;
        }
        cells
    }
}

/// Returns the names of the web servers of the user.
fn user_servers(targets: &[Target]) -> impl Iterator<Item = &str> {
    targets.iter().filter(|t| t.kind == TargetKind::User && t.what == What::Server).map(|t| t.id.as_str())
}

/// Makes the plan for the available targets.
pub(crate) fn build(scale: Scale, seed: u64, targets: Vec<Target>) -> Plan {
    let mut builder = Builder { targets: &targets, scale, groups: Vec::new() };
    match scale {
        Scale::Smoke => builder.smoke(),
        Scale::Bench | Scale::Full => builder.matrix(),
    }
    let cells = builder.order(seed);
    of_cells(scale.name(), seed, targets, cells)
}

/// Makes a plan of exactly these cells.
pub(crate) fn of_cells(name: &str, seed: u64, targets: Vec<Target>, cells: Vec<Cell>) -> Plan {
    let text = serde_json::to_vec(&(name, seed, &targets, &cells)).unwrap_or_default();
    let hash = hex(&Sha256::digest(&text));
    Plan { schema: SCHEMA, name: name.into(), seed, hash, targets, cells }
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::plans::targets;

    /// An ordinary cell: 100 connections on 2 threads, 128 bytes.
    pub(crate) fn cell(target: &str) -> Cell {
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

    fn all() -> Vec<Target> {
        let others = targets::others(2).into_iter().map(|(_, target)| target);
        let user = crate::plans::given::balancer("mine=x {port}").unwrap();
        targets::own().into_iter().chain(others).chain([user]).collect()
    }

    #[test]
    fn a_plan_is_a_function_of_its_seed() {
        let plan = |seed| build(Scale::Bench, seed, all());
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1).hash, plan(2).hash);
        let ids = |seed| plan(seed).cells.into_iter().map(|cell| cell.id).collect::<BTreeSet<_>>();
        assert_eq!(ids(1), ids(2));
        assert_ne!(build(Scale::Bench, 1, targets::own()).hash, plan(1).hash);
    }

    #[test]
    fn every_cell_has_a_name_a_target_and_threads_for_its_connections() {
        for scale in [Scale::Smoke, Scale::Bench, Scale::Full] {
            let plan = build(scale, 1, all());
            let ids: BTreeSet<&str> = plan.cells.iter().map(|cell| cell.id.as_str()).collect();
            assert_eq!(ids.len(), plan.cells.len(), "{scale:?}");
            for (seq, cell) in plan.cells.iter().enumerate() {
                assert_eq!(cell.seq, seq);
                assert!(plan.targets.iter().any(|target| target.id == cell.target), "{cell:?}");
                assert!(cell.threads >= 1 && cell.connections >= cell.threads, "{cell:?}");
            }
        }
    }

    #[test]
    fn a_scale_takes_as_long_as_it_says() {
        let cases = [(Scale::Smoke, 60.0), (Scale::Bench, 1320.0), (Scale::Full, 3.0 * 3600.0)];
        for (scale, most) in cases {
            let took = seconds(&build(scale, 1, all()).cells);
            assert!(took <= most, "{scale:?}: {took} s");
        }
    }

    #[test]
    fn smoke_has_every_target_but_the_control() {
        let plan = build(Scale::Smoke, 1, all());
        for target in plan.targets.iter().filter(|target| target.kind != TargetKind::Control) {
            assert!(plan.cells.iter().any(|cell| cell.target == target.id), "{}", target.id);
        }
    }

    #[test]
    fn headline_blocks_run_forwards_and_backwards() {
        let plan = build(Scale::Bench, 1, all());
        for block in 0..6 {
            let in_block = |cell: &&Cell| cell.section == Section::Headline && cell.block == block;
            let order: Vec<&str> =
                plan.cells.iter().filter(in_block).map(|cell| cell.target.as_str()).collect();
            let mut expected = [THREAD, ASYNC, AGAIN];
            if block % 2 == 1 {
                expected.reverse();
            }
            assert_eq!(order, expected, "{block}");
        }
    }

    #[test]
    fn wrk_opens_a_multiple_of_its_threads() {
        let cases = [(1000, 10, 1000), (1000, 150, 900), (10, 8, 8), (10, 10, 10)];
        for (connections, threads, opened) in cases {
            assert_eq!(Cell { connections, threads, ..cell("x") }.opened(), opened);
        }
    }
}
