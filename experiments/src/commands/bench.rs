//! A whole run: finds or makes the directory, measures the missing cells, and reports the progress.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fs, iter};

use indicatif::{ProgressBar, ProgressStyle};

use crate::judge::gates;
use crate::judge::measure::{self, percentile_ms};
use crate::judge::record::{Record, Validity};
use crate::plans::build::{self, Changes, FILES, PLANS, PlanFile};
use crate::plans::given::Given;
use crate::plans::model::{Cell, Plan, SCHEMA};
use crate::plans::targets;
use crate::report;
use crate::run::cell::PROBE_HZ;
use crate::run::child::Program;
use crate::run::doctor::{self, Diagnosis};
use crate::run::files;
use crate::run::histogram::Histogram;
use crate::run::lab::{self, Lab, Trouble, failed};
use crate::run::load;
use crate::run::manifest::{Manifest, Topology};
use crate::run::ports::reserve;
use crate::run::raw::{Found, Raw};

mod results;

/// The arguments of `neraca-lab run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// A plan of the laboratory (bench, smoke, peers, handshakes), or a file such as experiments/plans/bench.toml
    #[arg(long, value_name = "NAME|FILE", default_value = "smoke")]
    plan: String,
    #[command(flatten)]
    changes: Changes,
    /// Run a busy loop under `nice` beside every measurement
    #[arg(long)]
    disturb: bool,
    /// Time that the run may take; 0 for no limit [default: of the plan]
    #[arg(long, value_name = "N")]
    minutes: Option<u32>,
    /// Directory for the results [default: a new directory in experiments/results]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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
pub(crate) fn run(options: &Bench) -> Result<(), Trouble> {
    let Common { neraca, host } = &options.common;
    let diagnosis = doctor::examine(neraca, host.as_deref());
    diagnosis.lines().iter().for_each(|line| eprintln!("{line}"));
    if !diagnosis.fatal.is_empty() {
        return Err(Trouble::Broken("the machine is not ready, so no measurement was started".into()));
    }
    let mut file = plan_file(&options.plan)?;
    if options.disturb {
        file.name += "-disturbed";
    }
    let minutes = options.minutes.map(f64::from).or(file.minutes);
    let targets = targets::with(file.targets.drain(..).chain(options.given.targets()?))?;
    let plan = file.plan(targets, |tool| diagnosis.setting.tools.contains_key(tool), &options.changes)?;
    enough_descriptors(&plan, diagnosis.setting.host.descriptors)?;
    let deadline = minutes.filter(|m| *m > 0.0).map(|m| Instant::now() + Duration::from_secs_f64(m * 60.0));
    let Changes { blocks, seconds, only } = &options.changes;
    let part = match (only.is_empty(), blocks, seconds) {
        (true, None, None) => "",
        (true, Some(12..), _) => "-long",
        _ => "-part",
    };
    let manifest = manifest(&plan, &diagnosis);
    let directory = options.out.clone().map_or_else(|| results::choose(part, &plan, &manifest), Ok)?;
    let done = results::open(&directory, &plan, &manifest)?;
    lab::with(neraca, |lab| {
        let fixed = plan.targets.iter().filter_map(|target| target.fixed.as_ref());
        let ports = fixed.flat_map(|fixed| fixed.backends.iter().copied().chain(fixed.listens));
        let _reserved = reserve(&ports.collect());
        let busy_loop = ["nice", "sh", "-c", "while :; do :; done"];
        let disturbance = options.disturb.then(|| lab.program("disturb", &busy_loop));
        let disturbance = disturbance.transpose().map_err(failed("the disturbance"))?;
        let lab = Lab { disturbance: disturbance.as_ref().map(Program::group), ..lab.clone() };
        println!("results go to {}; the same command resumes a run that was stopped", directory.display());
        measure(&lab, &plan, &done, deadline, |raw| files::append(&directory, &raw))
    })?;
    let directory = results::finish(&directory)?;
    let page = report::run(Some(&directory), report::words::Lang::En)?;
    let study = report::load(&directory)?;
    // The report says why the others are not ranked.
    let (all, planned) = (study.records.len(), study.plan.cells.len());
    let not = study.records.iter().filter(|record| record.validity() == Validity::Invalid).count();
    println!("measured {all} of {planned} cells: {} ranked, {not} not ranked", all - not);
    if !study.plan.goals.is_empty() {
        println!("\n{}", report::losses::goals(&study).text());
    }
    println!("report: {}", page.display());
    Ok(())
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

/// Measures the cells of a plan that are not `done`, until the deadline. Prints a line for each and passes it to `keep`.
pub(super) fn measure(
    lab: &Lab,
    plan: &Plan,
    done: &BTreeSet<usize>,
    deadline: Option<Instant>,
    mut keep: impl FnMut(Raw) -> Result<(), String>,
) -> Result<(), Trouble> {
    let remaining: Vec<&Cell> = plan.cells.iter().filter(|cell| !done.contains(&cell.seq)).collect();
    let (all, total) = (plan.cells.len(), build::seconds(remaining.iter().copied()));
    // The bar is hidden when stderr is no terminal.
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta} remaining, now {wide_msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total as u64).with_style(style);
    let say = |line: String| bar.suspend(|| println!("{line}"));
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64());
    let most = left.map_or(String::new(), |left| format!(", at most {}", duration(left)));
    say(format!("{} of {all} cells to measure, about {}{most}", remaining.len(), duration(total)));
    say(HEADING.into());
    for (n, cell) in remaining.iter().enumerate() {
        let seconds = build::seconds([*cell]);
        if deadline.is_some_and(|deadline| Instant::now() + Duration::from_secs_f64(seconds) > deadline) {
            say(format!("the time is up: {} cells were left out", remaining.len() - n));
            break;
        }
        bar.set_message(cell.id.clone());
        let target = plan.targets.iter().find(|target| target.id == cell.target);
        let target = target.ok_or_else(|| format!("the plan has no target {}", cell.target))?;
        let raw = lab.measure(target, cell).map_err(|trouble| match trouble {
            Trouble::Interrupted(_) => {
                Trouble::Interrupted(format!("stopped with {} of {all} cells measured", done.len() + n))
            }
            trouble => trouble,
        })?;
        say(describe(cell.seq + 1, all, &gates::judge(raw.clone())));
        keep(raw)?;
        bar.inc(seconds.round() as u64);
    }
    Ok(())
}

/// The heading over the lines of [`describe`].
const HEADING: &str =
    "        cell                                              req/s   wait p50/p99 ms  failed not ranked";

/// Describes a finished cell in one line of at most 100 columns.
fn describe(n: usize, of: usize, record: &Record) -> String {
    let bad = record.gates.iter().filter(|(_, (verdict, _))| *verdict == Validity::Invalid);
    let bad: Vec<String> = bad.map(|(gate, _)| format!("{gate:?}")).collect();
    let requests = |rate: f64, times: &Histogram| {
        let at = |f: f64| percentile_ms(times, f).map_or("-".into(), |ms| format!("{ms:.1}"));
        format!("{rate:>8.0} {:>17} {:>7}", format!("{}/{}", at(0.5), at(0.99)), measure::failures(record))
    };
    let number = |value: Option<f64>, what: &str| {
        format!("{:>8} {what}", value.map_or("?".into(), |value| format!("{value:.2}")))
    };
    let result = match &record.found {
        Found::Load(load) => requests(measure::rate(record).unwrap_or(0.0), &load.probe.fresh.waiting_us),
        Found::Handshakes(found) => {
            requests(found.intended as f64 / record.cell.seconds, &found.requests.total_us)
        }
        Found::Idle(_) => number(measure::idle_kb(record), "KB per idle connection"),
        Found::Syscalls { .. } => number(measure::calls(record), "system calls per request"),
        Found::Profile { folded, .. } => format!("{:>8} sampled stacks", folded.lines().count()),
        Found::Failed(_) => "NOT MEASURED".into(),
    };
    let line = format!("{n:>3}/{of:<3} {:<46} {result} {}", record.cell.id, bad.join(" "));
    line.trim_end().chars().take(100).collect()
}

fn duration(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string()
}

/// Finds a plan of the laboratory by its name, or reads a file.
fn plan_file(name: &str) -> Result<PlanFile, String> {
    if let Some((_, text)) = PLANS.iter().find(|(known, _)| *known == name) {
        return build::parse(name, text);
    }
    let known = PLANS.map(|(name, _)| name).join(" ");
    let said = |error| format!("--plan {name}: {error}; takes a file or one of: {known}");
    build::parse(name, &fs::read_to_string(name).map_err(said)?)
}

pub(super) fn manifest(plan: &Plan, diagnosis: &Diagnosis) -> Manifest {
    let cpus = diagnosis.setting.host.cpus;
    // The arguments without the directories of this machine.
    let name = |word: String| match word.rsplit_once('/') {
        Some((_, name)) if word.starts_with('/') => name.to_owned(),
        _ => word,
    };
    let command = iter::once("neraca-lab".into()).chain(std::env::args().skip(1).map(name)).collect();
    Manifest {
        schema: SCHEMA,
        setting: diagnosis.setting.clone(),
        topology: Topology {
            backends: 3,
            backend_command: targets::BACKENDS.split_whitespace().collect::<Vec<_>>().join(" "),
            async_workers: cpus,
            batch: (512 / cpus).max(16),
            placement: "shared".into(),
            probe_rate_hz: PROBE_HZ,
            probe_nice: load::NICE,
            files: FILES.map(|(name, bytes)| (name.to_owned(), bytes)).into(),
        },
        plan_hash: plan.hash.clone(),
        command,
        warnings: diagnosis.warnings.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;

    #[test]
    fn a_plan_is_a_name_or_a_file() {
        assert_eq!(plan_file("bench").unwrap().minutes, Some(40.0));
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/plans/smoke.toml");
        assert_eq!(plan_file(file).unwrap().name, "smoke");
        let said = plan_file("no-such-plan").map(drop).unwrap_err();
        assert!(said.starts_with("--plan no-such-plan: "), "{said}");
        assert!(said.ends_with("one of: bench smoke peers handshakes"), "{said}");
    }

    #[test]
    fn lines_of_progress_fit_100_columns_and_their_heading() {
        let study = Run::bench();
        let column = HEADING.find("req/s").unwrap() + 5;
        for record in &study.records {
            let line = describe(record.cell.seq + 1, study.plan.cells.len(), record);
            assert!(line.chars().count() <= 100, "{line}");
            assert!(line.as_bytes()[column - 1].is_ascii_digit(), "{line}");
        }
        assert!(HEADING.len() <= 100);
    }
}
