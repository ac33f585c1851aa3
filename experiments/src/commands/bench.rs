//! A whole run: finds or makes the directory, measures the missing cells, and reports the progress.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::judge::derive::derive;
use crate::judge::record::{Measured, Record};
use crate::judge::study::Study;
use crate::judge::verdict::{Gate, Validity};
use crate::plans::build::{self, Changes, FILES, PLANS, PlanFile};
use crate::plans::given::Given;
use crate::plans::model::{Cell, Plan, SCHEMA, Work};
use crate::plans::targets;
use crate::report;
use crate::run::cell::PROBE_HZ;
use crate::run::child::Program;
use crate::run::doctor::{self, Diagnosis};
use crate::run::exchange;
use crate::run::files::{self, MANIFEST, PACKED, PLAN, RAW};
use crate::run::lab::{self, Lab, Stopped, Trouble};
use crate::run::manifest::{Manifest, Topology};

/// The arguments of `neraca-lab run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// A plan of the laboratory (bench, smoke, peers), or a file such as experiments/plans/bench.toml
    #[arg(long, value_name = "NAME|FILE", default_value = "smoke")]
    plan: String,
    /// Blocks of the part with the most blocks; the other parts change in proportion
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    blocks: Option<u32>,
    /// Measured seconds of each load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: Option<u32>,
    /// Only cells whose names contain one of these, such as c1000,memory
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,
    /// Run a busy loop under `nice` beside every measurement
    #[arg(long)]
    disturb: bool,
    /// Time that the run may take; 0 for no limit [default: of the plan]
    #[arg(long, value_name = "N")]
    minutes: Option<u32>,
    /// Directory for the results [default: a new directory in experiments/results]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only resume an existing run
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    common: Common,
}

/// The program under test and the name of the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/neraca")]
    pub(crate) neraca: PathBuf,
    /// Name of this machine in the results [default: after its CPU]
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
}

/// Measures every cell of the plan that is not yet measured, within the plan's time. Prints a summary.
pub(crate) fn run(options: &Bench, stop: &AtomicBool) -> Result<(), Stopped> {
    let Common { neraca, host } = &options.common;
    let diagnosis = doctor::examine(neraca, host.as_deref());
    for line in diagnosis.lines() {
        eprintln!("{line}");
    }
    if !diagnosis.fatal.is_empty() {
        return Err(Stopped::Refused("the machine is not ready, so no measurement was started".into()));
    }
    let file = plan_file(&options.plan)?;
    let plan = plan(&file, options, &diagnosis)?;
    enough_descriptors(&plan, diagnosis.host.descriptors)?;
    let minutes = options.minutes.map_or(file.minutes, |minutes| Some(f64::from(minutes)));
    let deadline = minutes.filter(|m| *m > 0.0).map(|m| Instant::now() + Duration::from_secs_f64(m * 60.0));
    let manifest = manifest(&plan, &diagnosis)?;
    let results = Results::open(options, &plan, manifest)?;
    lab::with(neraca, stop, |lab| {
        let disturbance = options.disturb.then(|| disturb(lab)).transpose()?;
        let lab = Lab { disturbance: disturbance.as_ref().map(Program::group), ..lab.clone() };
        measure(&lab, &plan, &results, deadline)
    })?;
    let directory = results.finish()?;
    let page = report::run(Some(&directory), report::words::Lang::En)?;
    let study = report::load(&directory)?;
    for line in summary(&study) {
        println!("{line}");
    }
    if !study.plan.goals.is_empty() {
        println!("\n{}", report::goals::table(&study).text());
    }
    println!("report: {}", page.display());
    Ok(())
}

/// Starts a busy loop under `nice`, in a session of its own.
fn disturb<'a>(lab: &Lab<'a>) -> Result<Program<'a>, String> {
    let words = ["nice", "sh", "-c", "while :; do :; done"];
    let [out, err] = ["disturb.out", "disturb.err"].map(|name| lab.scratch.join(name));
    Program::start(&words, &[], &out, &err, lab.guard).map_err(|error| format!("the disturbance: {error}"))
}

/// Descriptors that a cell needs in addition to two per connection.
const SPARE_DESCRIPTORS: u64 = 400;

/// Checks that the limit allows a client and a backend connection for each connection of a cell.
fn enough_descriptors(plan: &Plan, most: u64) -> Result<(), String> {
    let Some(cell) = plan.cells.iter().max_by_key(|cell| cell.connections) else { return Ok(()) };
    let needed = 2 * u64::from(cell.connections) + SPARE_DESCRIPTORS;
    if most >= needed {
        return Ok(());
    }
    let remedy = format!("raise `ulimit -Hn` to {needed}, or choose other cells with --only");
    Err(format!("{} needs {needed} open files and {most} are allowed; {remedy}", cell.id))
}

fn measure(lab: &Lab<'_>, plan: &Plan, results: &Results, deadline: Option<Instant>) -> Result<(), Stopped> {
    let remaining: Vec<&Cell> = plan.cells.iter().filter(|cell| !results.done.contains(&cell.seq)).collect();
    let progress = Progress::new(&remaining);
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    progress.say(&format!(
        "{} of {} cells to measure, about {}{}; results go to {}",
        remaining.len(),
        plan.cells.len(),
        duration(build::seconds(remaining.iter().copied())),
        left.map_or(String::new(), |left| format!(", at most {}", duration(left.as_secs_f64()))),
        results.directory.display(),
    ));
    progress.say(&heading());
    for (n, cell) in remaining.iter().enumerate() {
        let end = Instant::now() + Duration::from_secs_f64(build::seconds([*cell]));
        if deadline.is_some_and(|deadline| end > deadline) {
            progress.say(&format!("the time is up: {} cells were left out", remaining.len() - n));
            break;
        }
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

/// Finds a plan of the laboratory by its name, or reads a file.
fn plan_file(name: &str) -> Result<PlanFile, String> {
    if let Some((name, text)) = PLANS.iter().find(|(known, _)| *known == name) {
        return build::parse(name, text);
    }
    let known = PLANS.map(|(name, _)| name).join(" ");
    let text = fs::read_to_string(name)
        .map_err(|error| format!("--plan {name}: {error}; takes a file or one of: {known}"))?;
    build::parse(name, &text)
}

fn plan(file: &PlanFile, options: &Bench, diagnosis: &Diagnosis) -> Result<Plan, String> {
    let mut all = targets::all();
    let given = options.given.targets()?;
    for target in file.own_targets().into_iter().chain(given) {
        if all.iter().any(|other| other.id == target.id) {
            return Err(format!("target {:?}: there is already a target of this name", target.id));
        }
        all.push(target);
    }
    let known: Vec<String> = all.iter().map(|target| target.id.clone()).collect();
    all.retain(|target| target.needs.as_ref().is_none_or(|tool| diagnosis.tools.contains_key(tool)));
    let changes = Changes {
        blocks: options.blocks.map(|blocks| blocks as usize),
        seconds: options.seconds.map(f64::from),
        only: options.only.clone(),
    };
    let mut plan = file.plan(all, &known, &changes)?;
    let missing = |tool| !diagnosis.tools.contains_key(tool);
    plan.cells.retain(|cell| {
        !(cell.work == Work::Syscalls && missing("strace") || cell.work == Work::Profile && missing("perf"))
    });
    let name = if options.disturb { format!("{}-disturbed", plan.name) } else { plan.name };
    Ok(Plan { goals: plan.goals, ..build::of_cells(&name, plan.targets, plan.cells) })
}

pub(super) fn manifest(plan: &Plan, diagnosis: &Diagnosis) -> Result<Manifest, String> {
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
            probe_nice: exchange::NICE,
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

/// The end of the name of a run that is not complete. Git ignores such a directory.
const PARTIAL: &str = "-partial";

impl Results {
    /// Opens the directory of a run. Resumes an interrupted run if plan, binary and machine are the same.
    fn open(options: &Bench, plan: &Plan, manifest: Manifest) -> Result<Self, String> {
        let directory = match &options.out {
            Some(directory) => directory.clone(),
            None => choose(Path::new(report::RESULTS), options, plan, &manifest)?,
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
        fs::create_dir_all(&directory).map_err(files::said(&directory))?;
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

    /// Compresses the run and gives the directory its final name.
    fn finish(self) -> Result<PathBuf, String> {
        files::pack(&self.directory)?;
        let name = self.directory.display().to_string();
        let Some(name) = name.strip_suffix(PARTIAL) else { return Ok(self.directory) };
        let mut free = numbered(name).map(PathBuf::from).filter(|directory| !directory.exists());
        let directory = free.next().ok_or("no free name")?;
        fs::rename(&self.directory, &directory).map_err(files::said(&self.directory))?;
        Ok(directory)
    }
}

/// Returns a name, then the name with 2, 3, ...
fn numbered(name: &str) -> impl Iterator<Item = String> {
    std::iter::once(name.to_owned()).chain((2..).map(move |n| format!("{name}-{n}")))
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

/// Chooses the directory `<date>-<host>-partial`: an incomplete run of this plan, or a new name. A part of a plan and a
/// smoke run have names that Git ignores.
fn choose(parent: &Path, options: &Bench, plan: &Plan, manifest: &Manifest) -> Result<PathBuf, String> {
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
    let is_whole = options.only.is_empty() && options.blocks.is_none() && options.seconds.is_none();
    let date = manifest.started.get(..10).ok_or("no date")?;
    let mut name = format!("{date}-{}", manifest.host.name);
    if plan.name != "bench" {
        name += &format!("-{}", plan.name.replace('/', "-"));
    }
    if !is_whole {
        name += if options.blocks.is_some_and(|blocks| blocks >= 12) && options.only.is_empty() {
            "-long"
        } else {
            "-part"
        };
    }
    Ok(parent.join(name + PARTIAL))
}

/// Returns the heading over the lines of [`describe`].
fn heading() -> String {
    format!(
        "{:>7} {:<42} {:>8} {:>17} {:>7} {}",
        "", "cell", "req/s", "wait p50/p99 ms", "failed", "not ranked"
    )
}

/// Describes a finished cell in one line of at most 100 columns.
pub(super) fn describe(n: usize, of: usize, record: &Record) -> String {
    let bad = record.gates.iter().filter(|gate| gate.verdict == Validity::Invalid);
    let bad: Vec<String> = bad.map(|gate| format!("{:?}", gate.gate)).collect();
    let result = match &record.measured {
        Measured::Load(load) => {
            let at = |fraction: f64| {
                let found =
                    load.probe.waiting_us.percentiles.iter().find(|(f, _)| (f - fraction).abs() < 1e-9);
                found.map_or("-".into(), |(_, us)| format!("{:.1}", *us as f64 / 1e3))
            };
            let waiting = format!("{}/{}", at(0.5), at(0.99));
            format!("{:>8.0} {waiting:>17} {:>7}", load.requests_per_second(), load.failures.total())
        }
        Measured::Idle(idle) => {
            let each = idle.per_connection_kb().map_or("?".into(), |kb| format!("{kb:.2}"));
            format!("{each:>8} KB per idle connection")
        }
        Measured::Syscalls(calls) => format!("{:>8.2} system calls per request", calls.per_request()),
        Measured::Profile(folded) => format!("{:>8} sampled stacks", folded.lines().count()),
        Measured::Failed { .. } => "NOT MEASURED".into(),
    };
    let line = format!("{n:>3}/{of:<3} {:<42} {result} {}", record.cell.id, bad.join(" "));
    line.trim_end().chars().take(100).collect()
}

/// Returns the closing summary: how many cells are ranked, and why the others are not.
fn summary(study: &Study) -> Vec<String> {
    let invalid: Vec<&Record> =
        study.records.iter().filter(|record| record.validity == Validity::Invalid).collect();
    let all = study.records.len();
    let mut lines = vec![format!(
        "measured {all} of {} cells: {} ranked, {} not ranked",
        study.plan.cells.len(),
        all - invalid.len(),
        invalid.len()
    )];
    let mut reason = |name: String, found: Vec<(&Record, &str)>| {
        if let Some((record, reason)) = found.first() {
            lines.push(format!("  {name}: {} cells, such as {}: {reason}", found.len(), record.cell.id));
        }
    };
    for gate in Gate::ALL {
        let failed = |record: &&'_ Record| {
            record.gates.iter().any(|r| r.gate == gate && r.verdict == Validity::Invalid)
        };
        let why = |record: &Record| record.gates.iter().position(|r| r.gate == gate).unwrap_or(0);
        let found = invalid.iter().copied().filter(failed);
        let found = found.map(|record| (record, record.gates[why(record)].reason.as_str())).collect();
        reason(format!("{gate:?} {}", gate.title()), found);
    }
    let failed = invalid.iter().filter_map(|record| match &record.measured {
        Measured::Failed { reason } => Some((*record, reason.as_str())),
        _ => None,
    });
    reason("not measured".into(), failed.collect());
    lines
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;

    #[test]
    fn lines_of_progress_fit_100_columns_and_their_heading() {
        let study = Run::bench();
        let column = heading().find("req/s").unwrap() + 5;
        for record in &study.records {
            let line = describe(record.cell.seq + 1, study.plan.cells.len(), record);
            assert!(line.chars().count() <= 100, "{line}");
            assert!(line.as_bytes()[column - 1].is_ascii_digit(), "{line}");
        }
        assert!(heading().len() <= 100);
    }

    #[test]
    fn the_summary_says_why_cells_are_not_ranked() {
        let mut study = Run::new("smoke").study();
        let record = &mut study.records[0];
        record.validity = Validity::Invalid;
        record.gates.retain(|result| result.gate != Gate::G4);
        let (gate, verdict) = (Gate::G4, Validity::Invalid);
        record.gates.push(crate::judge::verdict::GateResult { gate, verdict, reason: "9 failed".into() });
        let lines = summary(&study);
        let all = study.records.len();
        assert_eq!(lines[0], format!("measured {all} of {all} cells: {} ranked, 1 not ranked", all - 1));
        assert_eq!(
            lines[1],
            format!("  G4 failures: 1 cells, such as {}: 9 failed", study.records[0].cell.id)
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_plan_is_a_name_or_a_file() {
        assert_eq!(plan_file("bench").unwrap().minutes, Some(40.0));
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/plans/smoke.toml");
        assert_eq!(plan_file(file).unwrap().name, "smoke");
        let said = plan_file("no-such-plan").map(drop).unwrap_err();
        assert!(
            said.starts_with("--plan no-such-plan: ") && said.ends_with("one of: bench smoke peers"),
            "{said}"
        );
    }
}
