//! Synthetic results for tests: the raw files of a whole plan, from a simple model of each target.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::counters::RawCounters;
use crate::histogram::Histogram;
use crate::model::{
    Binary, CELLS, Cell, Client, ClientErrors, Host, IdleMemory, MANIFEST, Manifest, PLAN, Plan, Role,
    SCHEMA, Target, TargetKind, Topology, Work, file,
};
use crate::plan::{self, FILES, Scale};
use crate::probe::RawProbe;
use crate::proc::{GroupCounters, HostCounters};
use crate::raw::{self, RawPrograms, RawSystem, Started};
use crate::sockets::RawSockets;
use crate::targets;

/// A temporary directory with a run, removed on drop.
#[derive(Debug)]
pub(crate) struct Run(pub(crate) PathBuf);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Run {
    /// Makes synthetic results for the plan of this scale over every target. Each test has its own `name`.
    pub(crate) fn new(name: &str, scale: Scale) -> Self {
        let others = targets::others(2).into_iter().map(|(_, target)| target);
        let targets: Vec<Target> = targets::own().into_iter().chain(others).collect();
        Run::of(name, &plan::build(scale, 1, targets))
    }

    pub(crate) fn of(name: &str, plan: &Plan) -> Self {
        let path = std::env::temp_dir().join(format!("neraca-lab-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let run = Run(path);
        fs::create_dir_all(&run.0).unwrap();
        write(&run.0, PLAN, plan);
        write(&run.0, MANIFEST, &manifest(plan));
        let mut lines = String::new();
        for cell in &plan.cells {
            let target = plan.targets.iter().find(|target| target.id == cell.target).unwrap();
            let directory = raw::directory(&run.0, cell);
            measure(&directory, target, cell);
            lines += &(serde_json::to_string(&raw::derive(&directory).unwrap()).unwrap() + "\n");
        }
        fs::write(run.0.join(CELLS), lines).unwrap();
        run
    }
}

fn write<T: Serialize>(directory: &Path, name: &str, value: &T) {
    fs::write(directory.join(name), serde_json::to_string(value).unwrap() + "\n").unwrap();
}

fn manifest(plan: &Plan) -> Manifest {
    Manifest {
        schema: SCHEMA,
        started: "2026-01-31T12:00:00Z".into(),
        host: Host {
            name: "synthetic".into(),
            cpu: "A CPU that does not exist".into(),
            cpus: 2,
            memory_mb: 8000,
            kernel: "Linux 6.1".into(),
            governor: None,
            descriptors: 20_000,
            somaxconn: 4096,
            port_range: (32_768, 60_999),
            fingerprint: "none".into(),
        },
        neraca: Binary {
            version: "neraca 0.1.0".into(),
            sha256: "0".repeat(64),
            commit: Some("abc+".into()),
        },
        tools: BTreeMap::from([("wrk".into(), "4.1.0".into()), ("haproxy".into(), "2.6.12".into())]),
        topology: Topology {
            backends: 3,
            backend_command: "neraca serve".into(),
            thread_workers: 4,
            async_workers: 2,
            batch: 32,
            placement: "shared".into(),
            probe_rate_hz: 100.0,
            probe_nice: 0,
            files: FILES.map(|(name, bytes)| (name.to_owned(), bytes)).into(),
        },
        plan_hash: plan.hash.clone(),
        command: vec!["neraca-lab".into(), "run".into()],
        warnings: vec!["the CPU has <no> governor".into()],
    }
}

/// Returns a number between -1 and 1 that depends on the cell and on `what`.
fn jitter(cell: &Cell, what: &str) -> f64 {
    let text = format!("{}{what}", cell.id);
    let hash =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (hash >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Returns the CPU microseconds of the target per request.
fn cpu_us(target: &Target) -> f64 {
    let of_id = |id: &str| match id {
        "async" => 13.0,
        "nginx-direct" => 6.0,
        "serve-thread" | "serve-async" => 9.0,
        "haproxy" => 24.0,
        "nginx" => 12.0,
        "caddy" => 80.0,
        "apache" => 120.0,
        _ => 14.0,
    };
    let base = of_id(target.baseline.as_deref().unwrap_or(&target.id));
    match target.kind {
        TargetKind::Variant => base * 1.6,
        TargetKind::Ablation => base * 2.1,
        _ => of_id(&target.id),
    }
}

/// Returns the requests per second when all programs share two CPUs.
fn rate(target: &Target, cell: &Cell) -> f64 {
    let client = 9.0 + f64::from(cell.threads) * 0.04 + if cell.keep_alive { 0.0 } else { 30.0 };
    let backends = if target.kind.forwards() { 7.0 } else { 0.0 };
    let body = cell.body_bytes as f64 * 0.0006;
    let busy = 2e6 / (client + backends + cpu_us(target) + body);
    let latency_s = 0.000_15 + cell.delay_ms as f64 / 1e3;
    let most = f64::from(cell.opened()) / latency_s;
    busy.min(most) * (1.0 + 0.02 * jitter(cell, "rate"))
}

fn measure(directory: &Path, target: &Target, cell: &Cell) {
    fs::create_dir_all(directory).unwrap();
    let commands = BTreeMap::from([
        ("target".to_owned(), target.command.join(" ")),
        ("client".to_owned(), format!("wrk -c {} -t {}", cell.connections, cell.threads)),
    ]);
    let started = "2026-01-31T12:00:00Z".to_owned();
    write(directory, file::STARTED, &Started { cell: cell.clone(), kind: target.kind, started, commands });
    match cell.work {
        Work::Load => load(directory, target, cell),
        Work::Idle => write(directory, file::MEMORY, &idle(target, cell)),
        Work::Syscalls => {
            write(directory, file::WRK_JSON, &client(1000, cell));
            let table = format!("50.0 0.1 1 {} 5 recvfrom\n50.0 0.1 1 2000 writev\n", 2000 + cell.id.len());
            fs::write(directory.join(file::STRACE), table).unwrap();
        }
    }
    fs::write(directory.join(file::DONE), "").unwrap();
}

fn idle(target: &Target, cell: &Cell) -> IdleMemory {
    let each_kb = cpu_us(target) / 20.0;
    let point = |n: u64| (n, 2000 + (n as f64 * each_kb) as u64);
    let all = u64::from(cell.connections);
    IdleMemory { points: vec![point(0), point(all / 2), point(all)], alive: 10, tried: 10 }
}

fn client(requests: u64, cell: &Cell) -> Client {
    let seconds = cell.seconds;
    let mean_us = f64::from(cell.opened()) / (requests as f64 / seconds) * 1e6;
    Client {
        duration_us: (seconds * 1e6) as u64,
        requests,
        bytes: requests * (cell.body_bytes + 150),
        errors: ClientErrors::default(),
        latency_us: BTreeMap::from([("mean".into(), Some(mean_us)), ("min".into(), None)]),
    }
}

fn load(directory: &Path, target: &Target, cell: &Cell) {
    let rate = rate(target, cell);
    let requests = (rate * cell.seconds) as u64;
    write(directory, file::WRK_JSON, &client(requests, cell));
    let mean_us = f64::from(cell.opened()) / rate * 1e6;
    let probe = probe(cell, mean_us);
    let asked = requests + 1 + probe.total_us.count();
    write(directory, file::PROBE, &probe);
    write(directory, file::SYSTEM, &system(target, cell, requests));
    let ours = target.command.iter().any(|word| word.contains("{neraca}"));
    let programs = RawPrograms {
        target: ours.then(|| counters(cell, rate, asked)),
        backends: target.kind.forwards().then(|| counters(cell, rate, asked)),
    };
    write(directory, file::COUNTERS, &programs);
    if cell.keep_alive {
        let each = requests * (cell.body_bytes + 150) / u64::from(cell.opened());
        let spread = if target.id == "thread-textbook" { 0.9 } else { 0.1 };
        let of = |i: u32| (each as f64 * (1.0 + spread * f64::from(i % 21).mul_add(0.1, -1.0))) as u64;
        let received: Vec<u64> = (0..cell.opened()).map(of).collect();
        let silent: Vec<u64> = (0..cell.opened()).map(u64::from).map(|i| i % 10).collect();
        let sockets = RawSockets { received: Histogram::of(&received), silent_ms: Histogram::of(&silent) };
        write(directory, file::SOCKETS, &sockets);
    }
}

fn probe(cell: &Cell, mean_us: f64) -> RawProbe {
    let count = (100.0 * cell.seconds) as u64;
    let waits: Vec<u64> = (0..count)
        .map(|i| (mean_us * (0.3 - (1.0 - (i as f64 + 0.5) / count as f64).ln() * 0.7)) as u64 + 40)
        .collect();
    let later: Vec<u64> = waits.iter().map(|us| us + 60).collect();
    RawProbe {
        rate_hz: 100.0,
        intended: count,
        connect_us: Histogram::of(&vec![50; count as usize]),
        waiting_us: Histogram::of(&waits),
        total_us: Histogram::of(&later),
        ..RawProbe::default()
    }
}

fn counters(cell: &Cell, rate: f64, asked: u64) -> RawCounters {
    let names = ["jobs", "queue_wait_ns", "served", "wakeups", "would_blocks"].map(Into::into).to_vec();
    let row = |served: u64| vec![served / 20, served * 3000, served, served / 12, served / 50];
    let mut rows: Vec<(f64, Vec<u64>)> = Vec::new();
    let mut served = 0.0;
    for second in 0..cell.seconds as u32 {
        rows.push((f64::from(second) + 0.3, row(served as u64)));
        served += rate * (1.0 + 0.02 * jitter(cell, &second.to_string()));
    }
    rows.push((cell.seconds + 0.5, row(asked)));
    RawCounters { names, rows }
}

fn group(cpu_s: f64, requests: u64) -> (GroupCounters, GroupCounters) {
    let after = GroupCounters {
        processes: 1,
        threads: 4,
        user_ticks: (cpu_s * 30.0) as u64,
        system_ticks: (cpu_s * 70.0) as u64,
        voluntary_switches: requests / 3,
        involuntary_switches: requests / 40,
        run_delay_ns: requests * 9000,
        peak_kb: 12_000,
        pss_kb: Some(9000),
    };
    (GroupCounters::default(), after)
}

fn system(target: &Target, cell: &Cell, requests: u64) -> RawSystem {
    let n = requests as f64 / 1e6;
    let mut roles = BTreeMap::from([
        (Role::Client, group(n * (9.0 + f64::from(cell.threads) * 0.04), requests)),
        (Role::Target, group(n * cpu_us(target), requests)),
        (Role::Lab, group(0.02, 10)),
    ]);
    if target.kind.forwards() {
        roles.insert(Role::Backends, group(n * 7.0, requests));
    }
    let ticks = |(_, after): &(GroupCounters, GroupCounters)| after.user_ticks + after.system_ticks;
    let used: u64 = roles.values().map(ticks).sum();
    let all = (cell.seconds * 200.0) as u64;
    let after =
        HostCounters { process_ticks: used, idle_ticks: all.saturating_sub(used), ..HostCounters::default() };
    let host = (HostCounters::default(), after);
    RawSystem { seconds: cell.seconds, cpus: 2, ticks_per_second: 100, roles, host }
}
