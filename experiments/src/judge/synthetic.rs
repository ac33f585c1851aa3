//! Synthetic results for tests: the measurements of a whole plan, from a simple model of each target.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fastrand::Rng;
use itertools::Itertools;

use crate::judge::study::Study;
use crate::plans::build::{self, Changes};
use crate::plans::model::{Cell, Plan, Target, TargetKind, What, Work};
use crate::plans::targets;
use crate::run::counters::RawCounters;
use crate::run::handshakes::Shaken;
use crate::run::histogram::Histogram;
use crate::run::load::Times;
use crate::run::manifest::Manifest;
use crate::run::raw::{
    Found, IdleMemory, Raw, RawHandshakes, RawLoad, RawProbe, RawPrograms, RawSystem, Role,
};
use crate::run::reply::Errors;
use crate::run::sockets::RawSockets;
use crate::run::wrk::Client;

/// A run that was not measured.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) manifest: Manifest,
    pub(crate) plan: Plan,
    pub(crate) raws: Vec<Raw>,
}

impl Run {
    /// Makes synthetic results for a plan of the laboratory over every target.
    pub(crate) fn new(plan: &str) -> Self {
        Run::of(build::tests::plan(plan, targets::all(), &Changes::default()))
    }

    pub(crate) fn of(plan: Plan) -> Self {
        let target = |cell: &Cell| plan.targets.iter().find(|target| target.id == cell.target).unwrap();
        let raws = plan.cells.iter().map(|cell| measure(target(cell), cell)).collect();
        let mut manifest: Manifest = serde_json::from_str(include_str!("synthetic_manifest.json")).unwrap();
        manifest.plan_hash.clone_from(&plan.hash);
        Run { manifest, raws, plan }
    }

    /// Makes a study in which the targets have these requests per second, one number for each block.
    pub(crate) fn with_rates(plan: &str, rates: &[(&str, &[u64])]) -> Study {
        let mut run = Run::new(plan);
        for raw in &mut run.raws {
            let Found::Load(load) = &mut raw.found else { continue };
            let rates = rates.iter().find(|(id, _)| *id == raw.cell.target).map(|(_, rates)| *rates);
            match rates.and_then(|rates| rates.get(raw.cell.block)) {
                Some(rate) => {
                    (load.client.requests, load.client.duration_us) = (*rate, 1_000_000);
                    // The target's own counters would contradict the new rate.
                    load.programs = RawPrograms::default();
                }
                None => raw.found = Found::Failed("left out".into()),
            }
        }
        run.study()
    }

    /// Returns the study of the whole plan `bench`, which is made once.
    pub(crate) fn bench() -> &'static Study {
        static BENCH: LazyLock<Study> = LazyLock::new(|| Run::new("bench").study());
        &BENCH
    }

    pub(crate) fn study(&self) -> Study {
        Study::new(self.manifest.clone(), self.plan.clone(), self.raws.clone(), "").unwrap()
    }

    pub(crate) fn load_of(&mut self, of: impl Fn(&Cell) -> bool) -> &mut Raw {
        let is_load = |raw: &&mut Raw| matches!(raw.found, Found::Load(_)) && of(&raw.cell);
        self.raws.iter_mut().find(is_load).unwrap()
    }
}

/// Returns a factor between 0.98 and 1.02 that depends on the cell.
fn noise(cell: &Cell) -> f64 {
    0.98 + 0.04 * Rng::with_seed(cell.seq as u64).f64()
}

/// Returns the CPU microseconds of the target per request.
fn cpu_us(target: &Target) -> f64 {
    let base = match target.baseline.as_deref().unwrap_or(&target.id) {
        "async" => 13.0,
        "nginx-direct" => 6.0,
        "serve-thread" | "serve-async" => 9.0,
        "haproxy" => 24.0,
        "nginx" => 12.0,
        "caddy" => 80.0,
        "apache" => 120.0,
        _ => 14.0,
    };
    if matches!(target.kind, TargetKind::Variant | TargetKind::Ablation) { base * 2.0 } else { base }
}

/// Returns the requests per second when all programs share two CPUs.
fn rate(target: &Target, cell: &Cell) -> f64 {
    let client = 9.0 + f64::from(cell.threads) * 0.04 + if cell.keep_alive { 0.0 } else { 30.0 };
    let backends = if target.what == What::Balancer { 7.0 } else { 0.0 };
    let body = cell.body_bytes as f64 * 0.0006;
    let busy = 2e6 / (client + backends + cpu_us(target) + body);
    let latency_s = 0.000_15 + cell.delay_ms as f64 / 1e3;
    let most = f64::from(cell.opened()) / latency_s;
    busy.min(most) * noise(cell)
}

fn measure(target: &Target, cell: &Cell) -> Raw {
    let commands = BTreeMap::from([
        ("target".to_owned(), target.command.join(" ")),
        ("client".to_owned(), format!("wrk -c {} -t {}", cell.connections, cell.threads)),
    ]);
    let found = match cell.work {
        Work::Load => Found::Load(Box::new(load(target, cell))),
        Work::Handshakes => Found::Handshakes(Box::new(handshakes(target, cell))),
        Work::Idle => {
            let all = u64::from(cell.connections);
            let point = |n: u64| (n, 2000 + (n as f64 * cpu_us(target) / 20.0) as u64);
            Found::Idle(IdleMemory { points: [0, all / 2, all].map(point).into(), alive: 10, tried: 10 })
        }
        Work::Syscalls => Found::Syscalls {
            client: client(1000, cell),
            strace: format!("50.0 0.1 1 {} 5 recvfrom\n50.0 0.1 1 2000 writev\n", 2000 + cell.id.len()),
        },
        Work::Profile => Found::Profile {
            client: client(1000, cell),
            folded: target.id.clone()
                + ";run;write;entry_SYSCALL_64_[k];tcp_sendmsg_[k] 900\nmain;parse 100\n",
        },
    };
    let started = "2026-01-31T12:00:00Z".to_owned();
    Raw { cell: cell.clone(), what: target.what, started, commands, found }
}

/// A handshake slows requests down: in the async engine twice as much as in any other program.
fn handshakes(target: &Target, cell: &Cell) -> RawHandshakes {
    let per_s = cell.handshakes.map_or(0, |handshakes| handshakes.per_s);
    let growth = if target.id == "async-tls" { 2.0 } else { 1.0 };
    let most_us = 1000.0 * (1.0 + f64::from(per_s) * growth / 500.0) * noise(cell);
    let total_us = Histogram::of(&(1..=1000).map(|n| n * most_us as u64 / 1000).collect::<Vec<_>>());
    let count = (f64::from(per_s) * cell.seconds) as u64;
    let handshakes = Shaken { wanted: count, made: count, ..Shaken::default() };
    let requests = Times { total_us, ..Times::default() };
    RawHandshakes { intended: 1000, requests, handshakes, system: system(target) }
}

fn client(requests: u64, cell: &Cell) -> Client {
    let seconds = cell.seconds;
    let mean_us = f64::from(cell.opened()) / (requests as f64 / seconds) * 1e6;
    Client {
        duration_us: (seconds * 1e6) as u64,
        requests,
        bytes: requests * (cell.body_bytes + 150),
        errors: Errors::default(),
        latency_us: BTreeMap::from([("mean".into(), Some(mean_us)), ("min".into(), None)]),
    }
}

fn load(target: &Target, cell: &Cell) -> RawLoad {
    let rate = rate(target, cell);
    let requests = (rate * cell.seconds) as u64;
    let probe = probe(cell, f64::from(cell.opened()) / rate * 1e6);
    let asked = requests + 1 + 2 * probe.fresh.total_us.len();
    let ours = target.command.iter().any(|word| word.contains("{neraca}"));
    let programs = RawPrograms {
        target: ours.then(|| counters(cell, rate, asked)),
        backends: (target.what == What::Balancer).then(|| counters(cell, rate, asked)),
    };
    let sockets = cell.keep_alive.then(|| {
        let each = requests * (cell.body_bytes + 150) / u64::from(cell.opened());
        let received = (0..u64::from(cell.opened())).map(|i| each * (90 + i % 21) / 100).collect_vec();
        RawSockets { received: Histogram::of(&received), silent_ms: Histogram::default(), unopened: 0 }
    });
    let client = client(requests, cell);
    RawLoad { client, warm: None, probe, system: system(target), programs, sockets }
}

fn probe(cell: &Cell, mean_us: f64) -> RawProbe {
    let count = (100.0 * cell.seconds) as u64;
    let rest = |i: u64| 1.0 - (i as f64 + 0.5) / count as f64;
    let waiting = (0..count).map(|i| (mean_us * (0.3 - rest(i).ln() * 0.7)) as u64 + 40);
    let [waiting_us, total_us] =
        [0, 60].map(|more| Histogram::of(&waiting.clone().map(|us| us + more).collect_vec()));
    let times = Times { waiting_us, total_us, ..Times::default() };
    RawProbe { intended: count, fresh: times.clone(), kept: times }
}

fn counters(cell: &Cell, rate: f64, asked: u64) -> RawCounters {
    let names = ["jobs", "queue_wait_ns", "served", "wakeups", "would_blocks"].map(Into::into).to_vec();
    let row = |served: u64| vec![served / 20, served * 3000, served, served / 12, served / 50];
    let seconds = (0..cell.seconds as u32).map(f64::from);
    let mut rows = seconds.map(|second| (second + 0.3, row((rate * second) as u64))).collect_vec();
    rows.push((cell.seconds + 0.5, row(asked)));
    RawCounters { names, rows }
}

/// Returns the counters of the kernel, which are the same for each load. A server has no backends.
fn system(target: &Target) -> RawSystem {
    let mut system: RawSystem = serde_json::from_str(include_str!("synthetic_system.json")).unwrap();
    system.roles.retain(|role, _| *role != Role::Backends || target.what == What::Balancer);
    system
}
