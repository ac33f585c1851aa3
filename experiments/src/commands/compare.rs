//! `neraca-lab compare`: two builds of the balancer, side by side, under the same load; or two runs of the laboratory.
//!
//! A block measures a load with both builds, one directly after the other. The order alternates from block to block. A
//! ratio is taken within a block, so noise that affects both builds cancels out. Both balancers have the same backends:
//! one `neraca serve` of the new build. The blocks of two runs are paired by their number. Such a pair shares no noise,
//! so the interval is wider.

mod instructions;
mod verdict;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::commands::{bench, mark};
use crate::judge::study::Study;
use crate::plans::build::{self, Changes};
use crate::plans::given::arguments;
use crate::plans::model::Plan;
use crate::report;
use crate::run::child::printed;
use crate::run::doctor;
use crate::run::files::said;
use crate::run::lab::{self, Trouble};
use crate::run::raw::{Found, Raw};

/// The arguments of `neraca-lab compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// Two runs of the laboratory: the older, then the newer one
    #[arg(value_name = "RUN", num_args = 2, conflicts_with = "base")]
    runs: Vec<PathBuf>,
    /// The older build: a commit of this repository, or a program [default: HEAD]
    #[arg(long, value_name = "COMMIT|FILE")]
    base: Option<String>,
    /// The newer build
    #[arg(long, value_name = "FILE", default_value = "target/release/neraca")]
    neraca: PathBuf,
    /// Count no instructions
    #[arg(long)]
    no_instructions: bool,
    #[command(flatten)]
    changes: Changes,
    /// More arguments for the newer build
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    with: String,
}

/// Makes the plan over the targets `base-ENGINE` and `new-ENGINE`. The newer build gets more arguments.
fn plan(arguments: &Compare, base: &Path) -> Result<Plan, String> {
    if arguments.changes.blocks == Some(1) {
        return Err("--pairs 1: expected at least two, because one pair has no interval".into());
    }
    let mut file = build::parse("compare.toml", include_str!("../../plans/compare.toml"))?;
    let mut all = std::mem::take(&mut file.targets);
    for target in &mut all {
        match target.id.starts_with("base-") {
            true => target.command[0] = base.display().to_string(),
            false => target.command.extend(arguments.with.split_whitespace().map(Into::into)),
        }
    }
    file.plan(all, |_| true, &arguments.changes)
}

/// Where commits are built. Each commit has a worktree of its own, and cargo builds a commit only once.
const COMMITS: &str = "target/compare/commits";

/// Finds the older build and prints its name. A commit is built on its first use. Returns the program, and the source
/// tree of a commit.
///
/// # Errors
/// When `base` is neither a program nor a commit, and when a commit does not build.
fn find_base(base: &str) -> Result<(PathBuf, Option<PathBuf>), String> {
    let absolute = |path: &Path| fs::canonicalize(path).map_err(said(path));
    if Path::new(base).is_file() {
        println!("base: {base}");
        return Ok((absolute(Path::new(base))?, None));
    }
    let commit = format!("{base}^{{commit}}");
    let id = printed(Path::new("."), &["git", "rev-parse", "--verify", "--quiet", &commit])
        .map_err(|_| format!("{base:?} is neither a program nor a commit of this repository"))?;
    let (name, source) = (format!("commit {}", &id[..12]), Path::new(COMMITS).join(&id));
    if !source.join(".git").exists() {
        let path = source.display().to_string();
        printed(Path::new("."), &["git", "worktree", "add", "--force", "--detach", &path, &id])?;
    }
    eprintln!("building {name} in {}", source.display());
    printed(&source, &["cargo", "build", "--release", "--quiet", "--target-dir", "target"])?;
    println!("base: {name}");
    Ok((absolute(&source.join("target/release/neraca"))?, Some(source)))
}

/// Measures and prints. Returns true when the newer build is good enough.
pub(crate) fn run(arguments: &Compare) -> Result<bool, Trouble> {
    if let [older, newer] = &arguments.runs[..] {
        let [old, new] = [older, newer].map(|run| report::load(run));
        println!("base: {}\nnew: {}", older.display(), newer.display());
        return Ok(verdict::tell(&old?, &new?, 2, |target| Some(target.to_owned())));
    }
    let diagnosis = doctor::examine(&arguments.neraca, None);
    if !diagnosis.fatal.is_empty() {
        return Err(Trouble::Broken(diagnosis.fatal.join("; ")));
    }
    let can_count = || instructions::can_count().inspect_err(|said| eprintln!("{said}")).is_ok();
    let counts = !arguments.no_instructions && can_count();
    let (base, source) = find_base(arguments.base.as_deref().unwrap_or("HEAD"))?;
    let plan = plan(arguments, &base)?;
    println!("new: commit {} {}", diagnosis.setting.commit().unwrap_or("unknown"), arguments.with);
    let loads = diagnosis.warnings.iter().filter(|line| line.contains('%'));
    loads.for_each(|warning| println!("warning: {warning}"));
    let manifest = bench::manifest(&plan, &diagnosis);
    let mut raws: Vec<Raw> = Vec::new();
    lab::with(&arguments.neraca, |lab| {
        bench::measure(lab, &plan, &BTreeSet::new(), None, |raw| match &raw.found {
            // A build that fails in its first block ends the comparison.
            Found::Failed(reason) if raw.cell.block == 0 => Err(format!("{}: {reason}", raw.cell.id)),
            _ => {
                raws.push(raw);
                Ok(())
            }
        })
    })?;
    let study = Study::new(manifest, plan, raws, "")?;
    let base_name = |new: &str| Some(format!("base-{}", new.strip_prefix("new-")?));
    let good = verdict::tell(&study, &study, 0, base_name);
    if counts {
        println!();
        instructions::report(source.as_deref(), Path::new("."))?;
    }
    Ok(good)
}

/// Counts and prints the instructions of a request. `base` is a commit of this repository.
pub(crate) fn instructions(base: Option<&str>) -> Result<(), Trouble> {
    instructions::can_count()?;
    let source = base.map(find_base).transpose()?.and_then(|(_, source)| source);
    Ok(instructions::report(source.as_deref(), Path::new("."))?)
}

/// Checks the comparison itself: a build equals itself, and a build with a receive buffer of 64 bytes is worse. Returns
/// true when both verdicts are right.
pub(crate) fn selftest(neraca: &Path) -> Result<bool, Trouble> {
    let builds = ["base-thread", "new-thread", "base-async", "new-async"];
    let (path, only) =
        (&*neraca.display().to_string(), builds.map(|build| format!("concurrency-{build}-c100")).join(","));
    // More pairs than two, because on a noisy machine a wide interval can hide the slowed build.
    let mut good = true;
    for (with, expected) in [("", true), ("--experiment-receive-bytes 64", false)] {
        let words = ["--base", path, "--neraca", path, "--no-instructions", "--pairs", "6", "--seconds", "1"];
        let more = ["--only", &only, "--with", with];
        let found = run(&arguments(&[&words[..], &more].concat())?)?;
        let said = if found { "not worse" } else { "worse" };
        println!("{}: a build is {said} than itself {with}\n", mark(found == expected));
        good &= found == expected;
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &[&str]) -> Result<Plan, String> {
        plan(&arguments(line)?, Path::new("/older/neraca"))
    }

    #[test]
    fn cells_are_selected_and_only_the_newer_build_gets_more_arguments() {
        let count = |only: &str| planned(&["--only", only, "--pairs", "3"]).unwrap().cells.len();
        // Five loads on two engines, two builds, three pairs.
        assert_eq!(planned(&["--pairs", "3"]).unwrap().cells.len(), 5 * 2 * 2 * 3);
        assert_eq!([count("async"), count("c100-t2,close"), count("thread-c10")], [30, 36, 6]);
        assert!(planned(&["--only", "c11"]).unwrap_err().contains("c11"));
        assert!(planned(&["--pairs", "1"]).unwrap_err().contains("at least two"));
        let plan = planned(&["--only", "async-c10", "--with=--cores 1"]).unwrap();
        let firsts: Vec<&str> = plan.cells.chunks(2).map(|pair| pair[0].target.as_str()).collect();
        assert_eq!(firsts[..3], ["base-async", "new-async", "base-async"]);
        let command = |id: &str| plan.targets.iter().find(|t| t.id == id).unwrap().command.join(" ");
        let base = command("base-async");
        assert!(base.starts_with("/older/neraca balance --engine async --listen"), "{base}");
        assert_eq!(command("new-async"), base.replace("/older/neraca", "{neraca}") + " --cores 1");
    }
    #[test]
    fn a_base_is_a_program_or_a_commit() {
        let program = std::env::current_exe().unwrap();
        let base = find_base(program.to_str().unwrap()).unwrap();
        assert_eq!(base, (fs::canonicalize(&program).unwrap(), None));
        let error = find_base("no-such-commit").unwrap_err();
        assert!(error.contains("neither a program nor a commit"), "{error}");
    }
}
