//! A whole run: finds or makes the directory, measures the missing cells, and reports the progress.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use std::{fs, iter};

use crate::judge::derive::derive;
use crate::plans::build::{self, Changes, FILES, PLANS, PlanFile};
use crate::plans::given::Given;
use crate::plans::model::{Cell, Plan, SCHEMA};
use crate::plans::targets;
use crate::report;
use crate::run::cell::PROBE_HZ;
use crate::run::child::Program;
use crate::run::doctor::{self, Diagnosis};
use crate::run::files;
use crate::run::lab::{self, Lab, Trouble};
use crate::run::load;
use crate::run::manifest::{Manifest, Topology};
use crate::run::ports::Reserved;
use crate::run::raw::Raw;
use progress::{describe, duration, summary};
use results::Results;

mod progress;
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
pub(crate) fn run(options: &Bench, stop: &AtomicBool) -> Result<(), Trouble> {
    let Common { neraca, host } = &options.common;
    let diagnosis = doctor::examine(neraca, host.as_deref());
    diagnosis.lines().iter().for_each(|line| eprintln!("{line}"));
    if !diagnosis.fatal.is_empty() {
        return Err(Trouble::Broken("the machine is not ready, so no measurement was started".into()));
    }
    let file = plan_file(&options.plan)?;
    let minutes = options.minutes.map_or(file.minutes, |minutes| Some(f64::from(minutes)));
    let plan = plan(file, options, &diagnosis)?;
    enough_descriptors(&plan, diagnosis.setting.host.descriptors)?;
    let deadline = minutes.filter(|m| *m > 0.0).map(|m| Instant::now() + Duration::from_secs_f64(m * 60.0));
    let Changes { blocks, seconds, only } = &options.changes;
    let part = match (only.is_empty(), blocks, seconds) {
        (true, None, None) => "",
        (true, Some(12..), _) => "-long",
        _ => "-part",
    };
    let name = (options.out.as_deref(), part);
    let results = Results::open(name, options.resume, &plan, &manifest(&plan, &diagnosis))?;
    let fixed = plan.targets.iter().filter_map(|target| target.fixed.as_ref());
    let _reserved =
        Reserved::new(&fixed.flat_map(|fixed| fixed.backends.iter().copied().chain(fixed.listens)).collect());
    lab::with(neraca, stop, |lab| {
        let disturbance = options.disturb.then(|| disturb(lab)).transpose()?;
        let lab = Lab { disturbance: disturbance.as_ref().map(Program::group), ..lab.clone() };
        println!(
            "results go to {}; the same command resumes a run that was stopped",
            results.directory.display()
        );
        measure(&lab, &plan, &results.done, deadline, |raw| files::append(&results.directory, &raw))
    })?;
    let directory = results.finish()?;
    let page = report::run(Some(&directory), report::words::Lang::En)?;
    let study = report::load(&directory)?;
    println!("{}", summary(&study));
    if !study.plan.goals.is_empty() {
        println!("\n{}", report::losses::goals(&study).text());
    }
    println!("report: {}", page.display());
    Ok(())
}

/// Starts a busy loop under `nice`, in a session of its own.
fn disturb<'a>(lab: &Lab<'a>) -> Result<Program<'a>, String> {
    let words = ["nice", "sh", "-c", "while :; do :; done"];
    lab.program("disturb", &words).map_err(|error| format!("the disturbance: {error}"))
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
    lab: &Lab<'_>,
    plan: &Plan,
    done: &BTreeSet<usize>,
    deadline: Option<Instant>,
    mut keep: impl FnMut(Raw) -> Result<(), String>,
) -> Result<(), Trouble> {
    let remaining: Vec<&Cell> = plan.cells.iter().filter(|cell| !done.contains(&cell.seq)).collect();
    let (all, total) = (plan.cells.len(), build::seconds(remaining.iter().copied()));
    let bar = progress::bar(total);
    let say = |line: String| bar.suspend(|| println!("{line}"));
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64());
    let most = left.map_or(String::new(), |left| format!(", at most {}", duration(left)));
    say(format!("{} of {all} cells to measure, about {}{most}", remaining.len(), duration(total)));
    say(progress::heading());
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
        say(describe(cell.seq + 1, all, &derive(&raw)));
        keep(raw)?;
        bar.inc(seconds.round() as u64);
    }
    Ok(())
}

/// Finds a plan of the laboratory by its name, or reads a file.
fn plan_file(name: &str) -> Result<PlanFile, String> {
    let text = match PLANS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Ok((*text).to_owned()),
        None => fs::read_to_string(name),
    };
    let known = PLANS.map(|(name, _)| name).join(" ");
    let text = text.map_err(|error| format!("--plan {name}: {error}; takes a file or one of: {known}"));
    build::parse(name, &text?)
}

fn plan(mut file: PlanFile, options: &Bench, diagnosis: &Diagnosis) -> Result<Plan, String> {
    let all = targets::with(file.targets.drain(..).chain(options.given.targets()?))?;
    if options.disturb {
        file.name += "-disturbed";
    }
    file.plan(all, |tool| diagnosis.setting.tools.contains_key(tool), &options.changes)
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

    #[test]
    fn a_plan_is_a_name_or_a_file() {
        assert_eq!(plan_file("bench").unwrap().minutes, Some(40.0));
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/plans/smoke.toml");
        assert_eq!(plan_file(file).unwrap().name, "smoke");
        let said = plan_file("no-such-plan").map(drop).unwrap_err();
        assert!(
            said.starts_with("--plan no-such-plan: ")
                && said.ends_with("one of: bench smoke peers handshakes"),
            "{said}"
        );
    }
}
