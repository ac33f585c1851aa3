//! A whole run: finds or makes the directory, measures the missing cells, and reports the progress.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::judge::derive::derive;
use crate::judge::record::{Measured, Record};
use crate::judge::verdict::Validity;
use crate::plans::build::{self, FILES, Scale};
use crate::plans::given::Given;
use crate::plans::model::{Cell, Plan, SCHEMA};
use crate::plans::targets;
use crate::run::cell::PROBE_HZ;
use crate::run::doctor::{self, Diagnosis};
use crate::run::files::{self, MANIFEST, PACKED, PLAN, RAW};
use crate::run::lab::{self, Lab, Stopped, Trouble};
use crate::run::manifest::{Manifest, Topology};
use crate::run::probe;

/// The arguments of `neraca-lab run`.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) scale: Scale,
    pub(crate) out: Option<PathBuf>,
    pub(crate) resume: bool,
    pub(crate) seed: u64,
    pub(crate) host: Option<String>,
    pub(crate) neraca: PathBuf,
    pub(crate) given: Given,
    /// Only cells whose names contain one of these texts.
    pub(crate) only: Vec<String>,
}

/// Measures every cell of the plan that is not yet measured. Returns the directory of the results.
pub(crate) fn run(options: &Options, stop: &AtomicBool) -> Result<PathBuf, Stopped> {
    let diagnosis = doctor::examine(&options.neraca, options.host.as_deref());
    for line in diagnosis.lines() {
        eprintln!("{line}");
    }
    if !diagnosis.fatal.is_empty() {
        return Err(Stopped::Refused("the machine is not ready, so no measurement was started".into()));
    }
    let plan = plan(options, &diagnosis)?;
    let manifest = manifest(&plan, &diagnosis)?;
    let results = Results::open(options, &plan, manifest)?;
    lab::with(&options.neraca, stop, |lab| measure(lab, &plan, &results))?;
    files::pack(&results.directory)?;
    Ok(results.directory)
}

fn measure(lab: &Lab<'_>, plan: &Plan, results: &Results) -> Result<(), Stopped> {
    let remaining: Vec<&Cell> = plan.cells.iter().filter(|cell| !results.done.contains(&cell.seq)).collect();
    let progress = Progress::new(&remaining);
    progress.say(&format!(
        "{} of {} cells to measure; results go to {}; about {}",
        remaining.len(),
        plan.cells.len(),
        results.directory.display(),
        duration(build::seconds(remaining.iter().copied()))
    ));
    for (n, cell) in remaining.iter().enumerate() {
        let target = plan.targets.iter().find(|target| target.id == cell.target);
        let target = target.ok_or_else(|| format!("the plan has no target {}", cell.target))?;
        progress.begin(cell);
        let raw = lab.measure(target, cell).map_err(|trouble| match trouble {
            Trouble::Interrupted => Stopped::Interrupted(format!(
                "stopped with {} of {} cells measured; the same command resumes the run",
                results.done.len() + n,
                plan.cells.len()
            )),
            trouble => trouble.into(),
        })?;
        files::append(&results.directory, &raw)?;
        progress.end(cell, &describe(cell.seq + 1, plan.cells.len(), &derive(&raw)));
    }
    Ok(())
}

fn plan(options: &Options, diagnosis: &Diagnosis) -> Result<Plan, String> {
    let mut all = targets::own();
    let others = targets::others(diagnosis.host.cpus).into_iter();
    all.extend(others.filter(|(tool, _)| diagnosis.tools.contains_key(*tool)).map(|(_, target)| target));
    all.extend(options.given.targets().map_err(|error| error.to_string())?);
    let mut plan = build::build(options.scale, options.seed, all);
    if !diagnosis.tools.contains_key("strace") {
        plan.cells.retain(|cell| cell.work != crate::plans::model::Work::Syscalls);
    }
    if !options.only.is_empty() {
        plan.cells.retain(|cell| options.only.iter().any(|part| cell.id.contains(part)));
    }
    for (seq, cell) in plan.cells.iter_mut().enumerate() {
        cell.seq = seq;
    }
    Ok(build::of_cells(&plan.name, plan.seed, plan.targets, plan.cells))
}

fn manifest(plan: &Plan, diagnosis: &Diagnosis) -> Result<Manifest, String> {
    let neraca = diagnosis.neraca.clone().ok_or("there is no program to measure")?;
    let cpus = diagnosis.host.cpus;
    let mut command: Vec<String> = std::env::args().collect();
    for word in command.iter_mut().filter(|word| word.starts_with('/')) {
        *word = word.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(program) = command.first_mut() {
        *program = "neraca-lab".into();
    }
    Ok(Manifest {
        schema: SCHEMA,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        host: diagnosis.host.clone(),
        neraca,
        tools: diagnosis.tools.clone(),
        topology: Topology {
            backends: 3,
            backend_command: targets::BACKENDS.split_whitespace().collect::<Vec<_>>().join(" "),
            thread_workers: (2 * cpus).max(4),
            async_workers: cpus,
            batch: (512 / cpus).max(16),
            placement: "shared".into(),
            probe_rate_hz: PROBE_HZ,
            probe_nice: probe::NICE,
            files: FILES.map(|(name, bytes)| (name.to_owned(), bytes)).into(),
        },
        plan_hash: plan.hash.clone(),
        command,
        warnings: diagnosis.warnings.clone(),
    })
}

/// A results directory that fits the plan.
#[derive(Debug)]
struct Results {
    directory: PathBuf,
    /// Cells that are already measured.
    done: BTreeSet<usize>,
}

impl Results {
    /// Opens the directory of a run. Resumes an interrupted run if plan, binary and machine are the same.
    fn open(options: &Options, plan: &Plan, manifest: Manifest) -> Result<Self, String> {
        let directory = match &options.out {
            Some(directory) => directory.clone(),
            None => choose(Path::new("experiments/results"), plan, &manifest)?,
        };
        if directory.join(MANIFEST).exists() {
            let before = files::read_json(&directory.join(MANIFEST))?;
            if let Some(difference) = difference(&before, &manifest) {
                return Err(format!(
                    "{} is a run with another {difference}; remove it or give another --out",
                    directory.display()
                ));
            }
            return Self::resume(directory);
        }
        if options.resume {
            return Err(format!("--resume: there is no run in {}", directory.display()));
        }
        let cannot = |error: io::Error| format!("{}: {error}", directory.display());
        fs::create_dir_all(&directory).map_err(cannot)?;
        files::write_json(&directory.join(PLAN), plan)?;
        files::write_json(&directory.join(MANIFEST), &manifest)?;
        Ok(Results { directory, done: BTreeSet::new() })
    }

    /// Finds the measured cells, and removes an incomplete last line.
    fn resume(directory: PathBuf) -> Result<Self, String> {
        let text = files::raw_text(&directory)?;
        let done = files::parse_raw(&text)?.iter().map(|raw| raw.cell.seq).collect();
        let path = directory.join(RAW);
        if path.exists() {
            fs::write(&path, &text).map_err(files::said(&path))?;
        }
        Ok(Results { directory, done })
    }
}

/// Returns the difference that forbids resuming a run.
fn difference(before: &Manifest, now: &Manifest) -> Option<&'static str> {
    let cases = [
        ("plan", before.plan_hash == now.plan_hash),
        ("build of neraca", before.neraca.sha256 == now.neraca.sha256),
        ("machine", before.host.fingerprint == now.host.fingerprint),
    ];
    cases.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

/// Chooses the directory `<date>-<host>`: an incomplete run, or the next free name.
fn choose(parent: &Path, plan: &Plan, manifest: &Manifest) -> Result<PathBuf, String> {
    let suffix = if plan.name == "bench" { String::new() } else { format!("-{}", plan.name) };
    let mut unfinished = Vec::new();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let directory = entry.path();
        let before = files::read_json::<Manifest>(&directory.join(MANIFEST));
        let same = before.is_ok_and(|before| difference(&before, manifest).is_none());
        if same && !directory.join(PACKED).exists() {
            unfinished.push(directory);
        }
    }
    unfinished.sort();
    if let Some(directory) = unfinished.pop() {
        return Ok(directory);
    }
    let date = manifest.started.get(..10).ok_or("no date")?;
    let name = format!("{date}-{}{suffix}", manifest.host.name);
    let names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}-{n}")));
    let mut free = names.map(|name| parent.join(name)).filter(|directory| !directory.exists());
    free.next().ok_or_else(|| "no free name".into())
}

/// Describes a finished cell in one line.
fn describe(n: usize, of: usize, record: &Record) -> String {
    let id = &record.cell.id;
    let failing = record.gates.iter().filter(|gate| gate.verdict != Validity::Valid);
    // Among equally bad gates, the first.
    let worst = failing.rev().max_by_key(|gate| gate.verdict);
    let remark = match (record.validity, worst) {
        (Validity::Invalid, Some(gate)) => format!("  INVALID {:?}: {}", gate.gate, gate.reason),
        (Validity::Note, Some(gate)) => format!("  note {:?}: {}", gate.gate, gate.reason),
        _ => String::new(),
    };
    let result = match &record.measured {
        Measured::Load(load) => {
            let at = |fraction: f64| {
                let found =
                    load.probe.waiting_us.percentiles.iter().find(|(f, _)| (f - fraction).abs() < 1e-9);
                found.map_or("-".into(), |(_, us)| format!("{:.1}", *us as f64 / 1e3))
            };
            format!(
                "{:>7.0} req/s  waiting {:>5}/{:>5} ms  failed {}",
                load.requests_per_second(),
                at(0.5),
                at(0.99),
                load.failures.total()
            )
        }
        Measured::Idle(idle) => {
            let each = idle.per_connection_kb().map_or("?".into(), |kb| format!("{kb:.2}"));
            format!("{each} KB per idle connection, {} of {} still answer", idle.alive, idle.tried)
        }
        Measured::Syscalls(calls) => format!("{:.2} system calls per request", calls.per_request()),
        Measured::Failed { reason } => format!("NOT MEASURED: {reason}"),
    };
    format!("{n:>3}/{of} {id:<40} {result}{remark}")
}

fn duration(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string()
}

/// The progress: a bar with the remaining time on a terminal, plain lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(cells: &[&Cell]) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {wide_msg}");
        let bar = style.ok().filter(|_| io::stderr().is_terminal()).map(|style| {
            let total = build::seconds(cells.iter().copied());
            ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr()).with_style(style)
        });
        Progress { bar }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => println!("{line}"),
        }
    }

    fn begin(&self, cell: &Cell) {
        if let Some(bar) = &self.bar {
            let remaining = bar.length().unwrap_or(0).saturating_sub(bar.position());
            bar.set_message(format!("{} remaining, now {}", duration(remaining as f64), cell.id));
        }
    }

    fn end(&self, cell: &Cell, line: &str) {
        self.say(line);
        if let Some(bar) = &self.bar {
            bar.inc(build::seconds([cell]).round() as u64);
        }
    }
}
